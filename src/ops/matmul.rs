//! `torch.matmul` of two matrices.

use super::shared::product::{Product, half_when_by_four, same_floats};
use super::cast::cast;
use super::{Draw, Operator, Sample};
use crate::cpu_kernel;
use crate::error::Result;
use crate::graph::{Backward, Context, Lower, Op, Real, Slot, TensorDesc, Value, View, ViewMut};
use crate::tensor::Shape;

/// The registry's line.
pub const OPERATOR: Operator = Operator {
    name: "matmul",
    summary: "the product of two matrices (torch.matmul)",
    shader: shader!("matmul", GEMM, PRODUCT, SLABS, EPILOGUE, SPECIAL),
    layer: None,
    samples,
};

/// The operator: `(a [M, K], b [K, N]) -> output [M, N]`; a transposed factor is given as `[K, M]` or `[N, K]`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Matmul {
    /// Whether the first factor is used transposed.
    pub a_transposed: bool,
    /// Whether the second factor is used transposed.
    pub b_transposed: bool,
}

impl Matmul {
    fn product(&self, a: &Shape, b: &Shape) -> Result<Product, String> {
        let (Some(a_dims), Some(b_dims)) = (a.as_2d(), b.as_2d()) else {
            return Err(format!("takes two matrices, the inputs are {a} and {b}"));
        };
        let turned = |[rows, columns]: [usize; 2], turn| if turn { [columns, rows] } else { [rows, columns] };
        let ([m, k], [depth, n]) = (turned(a_dims, self.a_transposed), turned(b_dims, self.b_transposed));
        if k != depth || k == 0 {
            let transposed = |yes| if yes { " transposed" } else { "" };
            let (a_note, b_note) = (transposed(self.a_transposed), transposed(self.b_transposed));
            return Err(format!("{a}{a_note} cannot be multiplied with {b}{b_note}"));
        }
        Ok(Product::new([m, k, n], self.a_transposed, self.b_transposed))
    }

    fn checked(&self, a: &Shape, b: &Shape) -> Product {
        self.product(a, b).expect("the shape rule has checked the matrices")
    }
}

impl Op for Matmul {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        let product = self.product(&inputs[0].shape, &inputs[1].shape)?;
        same_floats(&inputs[0], &inputs[1])?;
        Ok(vec![half_when_by_four(inputs[0].dtype, [product.m, product.n], product.n)])
    }

    /// C = A B: dA = dC B^T, dB = A^T dC; a transposed factor's gradient is the transpose of that
    fn backward(&self, b: &mut Backward<'_>) -> Result<Vec<Option<Value>>> {
        let (left, right) = (b.input(0), b.input(1));
        let dtype = b.desc(left).dtype;
        let grad = cast(b, b.grad_output(), dtype)?;
        let matmul = |a_transposed, b_transposed| Matmul { a_transposed, b_transposed };
        let (grad_a, a_factors) = match self.a_transposed {
            false => (matmul(false, !self.b_transposed), [grad, right]),
            true => (matmul(self.b_transposed, true), [right, grad]),
        };
        let (grad_b, b_factors) = match self.b_transposed {
            false => (matmul(!self.a_transposed, false), [left, grad]),
            true => (matmul(true, self.a_transposed), [grad, left]),
        };
        Ok(vec![b.when_needed(0, grad_a, &a_factors)?, b.when_needed(1, grad_b, &b_factors)?])
    }

    fn lower(&self, lower: &mut Lower<'_>) {
        let product = self.checked(&lower.inputs[0].shape, &lower.inputs[1].shape);
        let names = ("matmul", "matmul.forward");
        product.lower(lower, names, [Slot::Input(0), Slot::Input(1)], None, None);
    }

    fn makes_half(&self, _: usize) -> bool {
        true
    }

    fn takes_half(&self, _: usize, _: &[TensorDesc]) -> bool {
        true
    }

    fn flops(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> u64 {
        self.checked(&inputs[0].shape, &inputs[1].shape).flops()
    }

    cpu_kernel!(eval);
}

impl Matmul {
    fn eval<T: Real>(&self, context: &Context<T>, inputs: &[View<T>], outputs: &mut [ViewMut<T>]) {
        let product = self.checked(inputs[0].shape(), inputs[1].shape());
        product.eval(context.host, inputs[0].real, inputs[1].real, outputs[0].real);
    }
}

fn samples() -> Vec<Sample> {
    let case = |id: &str, a: [usize; 2], b: [usize; 2], a_transposed: bool, b_transposed: bool| {
        let inputs = vec![(a.to_vec(), Draw::Normal), (b.to_vec(), Draw::Normal)];
        let op = Matmul { a_transposed, b_transposed };
        Sample::new(format!("matmul/{id}"), inputs, move |graph, values| graph.apply(op, values))
    };
    vec![
        case("plain", [5, 7], [7, 3], false, false),
        case("one", [1, 1], [1, 1], false, false),
        case("first-transposed", [7, 5], [7, 11], true, false),
        case("second-transposed", [5, 7], [11, 7], false, true),
        case("both-transposed", [7, 5], [3, 7], true, true),
        case("row-times-column", [1, 201], [201, 1], false, false),
        case("column-times-row", [37, 1], [1, 13], false, false),
        case("by-four", [36, 12], [12, 132], false, false),
        case("first-transposed-by-four", [12, 8], [12, 20], true, false),
        case("second-transposed-by-four", [8, 12], [20, 12], false, true),
        case("both-transposed-by-four", [12, 8], [20, 12], true, true),
        case("split-sum-by-four", [8, 400], [400, 12], false, false),
        case("half", [8, 12], [12, 20], false, false).with_half([0, 1]),
    ]
}
