//! `torch.add`: a + b, broadcast; residual connections, and the sum of gradients.

use super::shared::binary::{Binary, Combine};
use super::{Draw, Operator, Sample};
use crate::error::Result;
use crate::graph::{Backward, Real, Value};

/// The registry's line.
pub const OPERATOR: Operator = Operator {
    name: "add",
    summary: "a + b with broadcasting (torch.add)",
    shader: shader!("add", BINARY),
    layer: None,
    samples: || samples::<Sum>("add"),
};

/// The operator: `(a, b) -> a + b`.
pub type Add = Binary<Sum>;

/// a + b
#[derive(Clone, Debug, Default)]
pub struct Sum;

impl Combine for Sum {
    const NAME: &'static str = "add";

    fn combine<T: Real>(&self, a: T, b: T) -> T {
        a + b
    }

    /// da = dy, db = dy
    fn gradients(&self, b: &mut Backward<'_>) -> Result<[Option<Value>; 2]> {
        let grad = Some(b.grad_output());
        Ok([grad, grad])
    }
}

/// Samples of a broadcasting function of two tensors.
pub(super) fn samples<C: Combine + Default>(name: &str) -> Vec<Sample> {
    let case = |id: &str, a: &[usize], b: &[usize]| {
        let inputs = vec![(a.to_vec(), Draw::Normal), (b.to_vec(), Draw::Normal)];
        Sample::new(format!("{name}/{id}"), inputs, |graph, values| graph.apply(Binary(C::default()), values))
    };
    vec![
        case("same-shape", &[2, 3, 5, 7], &[2, 3, 5, 7]),
        case("per-channel", &[2, 3, 5, 7], &[3, 1, 1]),
        case("per-sample-and-channel", &[2, 3, 5, 7], &[2, 3, 1, 1]),
        case("both-stretched", &[2, 1, 5, 1], &[1, 3, 1, 7]),
        case("channels-of-four", &[2, 8, 3, 5], &[2, 8, 1, 1]),
        case("pixels-of-four", &[1, 8, 3, 5], &[2, 1, 3, 5]),
        case("same-shape-of-four", &[2, 8, 3, 5], &[2, 8, 3, 5]),
        case("rows", &[5, 7], &[7]),
        case("scalar", &[3, 5], &[]),
        case("smaller-first", &[5, 7], &[2, 3, 5, 7]),
    ]
}
