//! An operator of one's own, with its own WGSL: Mish (Misra 2019, `torch.nn.Mish`), y = x tanh(log(1 + exp(x))).
//!
//! It is registered, checked (gradients against central differences in f64, and on a GPU, if there is one, against the CPU
//! path), named in a model file, and trained.
//!
//! `cargo run --release --example custom_operator`

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde::Deserialize;
use wgrad::data::{DataSource, Dataset, Normalization};
use wgrad::graph::{Backward, Context, Graph, Lower, Op, Real, Slot, TensorDesc, Value, View, ViewMut};
use wgrad::models::ModelSpec;
use wgrad::ops::{self, Draw, Layer, Operator, Sample, Shader, parse_layer, snippets};
use wgrad::optim::Adam;
use wgrad::train::{Device, DeviceChoice, Length, Settings, Trainer};
use wgrad::{cpu_kernel, selftest};

/// The registry's line: name, shader, how model files name it, and what it is tested on.
pub const OPERATOR: Operator = Operator {
    name: "mish",
    summary: "x tanh(softplus(x)) (torch.nn.Mish)",
    shader: Shader { source: include_str!("mish.wgsl"), snippets: &[snippets::INDEX] },
    layer: Some(parse_layer::<Mish>),
    samples: || {
        let case = |id: &str, shape: &[usize]| {
            let inputs = vec![(shape.to_vec(), Draw::Normal)];
            Sample::new(format!("mish/{id}"), inputs, |graph, values| graph.apply(Mish {}, values))
        };
        vec![case("matrix", &[7, 13]), case("image", &[3, 5, 7, 2])]
    },
};

/// The layer and the forward pass.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mish {}

/// The backward pass: `(input, grad_output) -> grad_input`.
#[derive(Clone, Copy, Debug)]
struct MishGrad;

impl Layer for Mish {
    fn build(&self, graph: &mut Graph, input: Value) -> wgrad::Result<Value> {
        graph.apply1(*self, &[input])
    }
}

impl Op for Mish {
    fn name(&self) -> &'static str {
        "mish"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        Ok(vec![inputs[0].clone()])
    }

    /// dx = dy (t + x (1 - t^2) sigmoid(x)), t = tanh(softplus(x))
    fn backward(&self, b: &mut Backward<'_>) -> wgrad::Result<Vec<Option<Value>>> {
        let inputs = [b.input(0), b.grad_output()];
        Ok(vec![b.when_needed(0, MishGrad, &inputs)?])
    }

    fn lower(&self, lower: &mut Lower<'_>) {
        let count = lower.outputs[0].numel();
        let dispatch = lower.dispatch("mish", "forward").read("input", Slot::Input(0));
        dispatch.write("output", Slot::Output(0)).uniform("count", count).over(count);
    }

    cpu_kernel!(eval);
}

impl Mish {
    fn eval<T: Real>(&self, _: &Context<T>, inputs: &[View<T>], outputs: &mut [ViewMut<T>]) {
        let pairs = outputs[0].real.iter_mut().zip(inputs[0].real);
        pairs.for_each(|(y, &x)| *y = if x > T::of(20.0) { x } else { x * tanh_of_softplus(x) });
    }
}

impl Op for MishGrad {
    fn name(&self) -> &'static str {
        "mish"
    }

    fn pass(&self) -> &'static str {
        "grad_input"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        Ok(vec![inputs[0].clone()])
    }

    fn lower(&self, lower: &mut Lower<'_>) {
        let count = lower.outputs[0].numel();
        lower
            .dispatch("mish", "grad_input")
            .read("input", Slot::Input(0))
            .read("grad_output", Slot::Input(1))
            .write("output", Slot::Output(0))
            .uniform("count", count)
            .over(count);
    }

    cpu_kernel!(eval);
}

impl MishGrad {
    fn eval<T: Real>(&self, _: &Context<T>, inputs: &[View<T>], outputs: &mut [ViewMut<T>]) {
        let pairs = inputs[0].real.iter().zip(inputs[1].real);
        for (grad_input, (&x, &grad_output)) in outputs[0].real.iter_mut().zip(pairs) {
            let t = tanh_of_softplus(x);
            let sigmoid = T::one() / (T::one() + (-x).exp());
            let slope = t + x * (T::one() - t * t) * sigmoid;
            *grad_input = grad_output * if x > T::of(20.0) { T::one() } else { slope };
        }
    }
}

/// With n = exp(x) (exp(x) + 2): tanh(log(1 + exp(x))) = n / (n + 2).
fn tanh_of_softplus<T: Real>(x: T) -> T {
    let e = x.exp();
    let n = e * (e + T::of(2.0));
    n / (n + T::of(2.0))
}

const MODEL: &str = r#"
layers = [
  { conv2d = { out_channels = 16, kernel_size = 3, padding = 1 } }, "mish", { max_pool2d = { kernel_size = 2 } },
  "flatten", { linear = { out_features = "classes" } },
]
"#;

/// Registers Mish, checks it and trains a network with it on the embedded digits.
pub fn main() -> wgrad::Result<()> {
    ops::register(OPERATOR)?;
    for sample in selftest::samples(&OPERATOR) {
        selftest::check_on_host(&sample).map_err(wgrad::Error::Model)?;
        println!("{}: gradients agree with central differences", sample.id);
    }
    let device = pollster::block_on(Device::open(&DeviceChoice::Auto))?;
    // Auto takes no software driver for a GPU: tests/examples.rs compares on those too.
    if let Device::Gpu(gpu) = &device {
        for sample in selftest::samples(&OPERATOR) {
            pollster::block_on(selftest::check_on_gpu(gpu, &sample)).map_err(wgrad::Error::Model)?;
            println!("{}: {} agrees with the CPU path", sample.id, gpu.name);
        }
    }
    let data = Dataset::load(&DataSource::Digits, 0, &|_, _| {})?;
    let model = ModelSpec::parse("mish", MODEL)?.bind(data.image, data.classes.len())?;
    let settings = Settings {
        length: Length::Epochs(5),
        update: Arc::new(Adam { betas: [0.9, 0.999], eps: 1e-8, decoupled: true }),
        ..Settings::default()
    };
    let normalization = Normalization::of(&data.train)?;
    let mut trainer = pollster::block_on(Trainer::new(&model, &data, normalization, settings, &device))?;
    let trained = pollster::block_on(trainer.train(&mut (), &AtomicBool::new(false)))?;
    println!("test accuracy {:.2} %", trained.evaluation.accuracy * 100.0);
    Ok(())
}
