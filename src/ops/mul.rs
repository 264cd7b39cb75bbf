//! `torch.mul`: a b, broadcast; channel scaling.

use super::shared::binary::{Binary, Combine};
use super::{Operator, add};
use crate::error::Result;
use crate::graph::{Backward, Real, Value};

/// The registry's line.
pub const OPERATOR: Operator = Operator {
    name: "mul",
    summary: "a b with broadcasting (torch.mul)",
    shader: shader!("mul", BINARY),
    layer: None,
    samples: || add::samples::<Product>("mul"),
};

/// The operator: `(a, b) -> a b`.
pub type Mul = Binary<Product>;

/// a b
#[derive(Clone, Debug, Default)]
pub struct Product;

impl Combine for Product {
    const NAME: &'static str = "mul";

    fn combine<T: Real>(&self, a: T, b: T) -> T {
        a * b
    }

    /// da = dy b, db = dy a
    fn gradients(&self, b: &mut Backward<'_>) -> Result<[Option<Value>; 2]> {
        let grad = b.grad_output();
        let (left, right) = (b.input(0), b.input(1));
        Ok([
            b.when_needed(0, Binary(Product), &[grad, right])?,
            b.when_needed(1, Binary(Product), &[grad, left])?,
        ])
    }
}
