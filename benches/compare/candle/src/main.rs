//! Trains a network of run.py in candle on random images and prints the time of a step.
//!
//! candle has neither momentum nor max-pooling with overlapping windows in its backward pass: momentum is added here, and
//! networks with such a pool (ResNet-50) end with candle's own message.

#[path = "../../spec.rs"]
mod spec;

use candle_core::{DType, Device, Result, Tensor, Var, backprop::GradStore};
use candle_nn::{
    AdamW, BatchNorm, Conv2d, Conv2dConfig, Dropout, Linear, Module, ModuleT, Optimizer, ParamsAdamW, VarBuilder,
    VarMap,
};
use spec::{Arguments, Layer};

enum Built {
    Conv(Conv2d),
    BatchNorm(BatchNorm),
    Relu,
    Relu6,
    MaxPool { kernel: usize, stride: usize, padding: usize },
    GlobalAvgPool,
    Flatten,
    Linear(Linear),
    Dropout(Dropout),
    Residual { body: Vec<Built>, shortcut: Vec<Built> },
}

fn build(layers: &[Layer], vb: VarBuilder) -> Result<Vec<Built>> {
    layers.iter().enumerate().map(|(index, layer)| build_one(layer, vb.pp(index))).collect()
}

fn build_one(layer: &Layer, vb: VarBuilder) -> Result<Built> {
    Ok(match *layer {
        Layer::Conv { inputs, outputs, kernel, stride, padding, groups, bias } => {
            let config = Conv2dConfig { padding, stride, groups, ..Default::default() };
            Built::Conv(match bias {
                true => candle_nn::conv2d(inputs, outputs, kernel, config, vb)?,
                false => candle_nn::conv2d_no_bias(inputs, outputs, kernel, config, vb)?,
            })
        }
        Layer::BatchNorm { channels } => Built::BatchNorm(candle_nn::batch_norm(channels, 1e-5, vb)?),
        Layer::Relu => Built::Relu,
        Layer::Relu6 => Built::Relu6,
        Layer::MaxPool { kernel, stride, padding } => Built::MaxPool { kernel, stride, padding },
        Layer::GlobalAvgPool => Built::GlobalAvgPool,
        Layer::Flatten => Built::Flatten,
        Layer::Linear { inputs, outputs } => Built::Linear(candle_nn::linear(inputs, outputs, vb)?),
        Layer::Dropout { p } => Built::Dropout(Dropout::new(p as f32)),
        Layer::Residual { ref body, ref shortcut } => {
            Built::Residual { body: build(body, vb.pp("body"))?, shortcut: build(shortcut, vb.pp("shortcut"))? }
        }
    })
}

fn forward(layers: &[Built], input: &Tensor) -> Result<Tensor> {
    layers.iter().try_fold(input.clone(), |x, layer| match layer {
        Built::Conv(conv) => conv.forward(&x),
        Built::BatchNorm(norm) => norm.forward_t(&x, true),
        Built::Relu => x.relu(),
        Built::Relu6 => x.clamp(0.0, 6.0),
        // What is pooled has been through a ReLU, so zeros around it change nothing.
        Built::MaxPool { kernel, stride, padding } => x
            .pad_with_zeros(2, *padding, *padding)?
            .pad_with_zeros(3, *padding, *padding)?
            .max_pool2d_with_stride(*kernel, *stride),
        Built::GlobalAvgPool => x.mean_keepdim((2, 3)),
        Built::Flatten => x.flatten_from(1),
        Built::Linear(linear) => linear.forward(&x),
        Built::Dropout(dropout) => dropout.forward(&x, true),
        Built::Residual { body, shortcut } => forward(body, &x)? + forward(shortcut, &x)?,
    })
}

/// SGD as PyTorch has it.
struct Momentum {
    parameters: Vec<(Var, Option<Tensor>)>,
    momentum: f64,
}

impl Momentum {
    fn step(&mut self, grads: &GradStore) -> Result<()> {
        for (parameter, velocity) in &mut self.parameters {
            let Some(grad) = grads.get(parameter) else { continue };
            let update = match velocity.take() {
                Some(old) => ((old * self.momentum)? + grad)?,
                None => grad.clone(),
            };
            parameter.set(&parameter.sub(&(&update * 1e-3)?)?)?;
            *velocity = (self.momentum > 0.0).then(|| update.detach());
        }
        Ok(())
    }
}

enum Rule {
    Adam(AdamW),
    Sgd(Momentum),
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let device = Device::Cpu;
    let variables = VarMap::new();
    let network = build(&arguments.layers(), VarBuilder::from_varmap(&variables, DType::F32, &device))?;
    let [c, h, w] = arguments.input;
    let (images, labels) = arguments.batch();
    let images = Tensor::from_vec(images, (arguments.batch, c, h, w), &device)?;
    let labels = Tensor::from_vec(labels, arguments.batch, &device)?;
    let mut rule = if arguments.adam {
        let settings = ParamsAdamW { lr: 1e-3, weight_decay: 0.0, ..Default::default() };
        Rule::Adam(AdamW::new(variables.all_vars(), settings)?)
    } else {
        let parameters = variables.all_vars().into_iter().map(|parameter| (parameter, None)).collect();
        Rule::Sgd(Momentum { parameters, momentum: arguments.momentum })
    };
    let mut step = || -> Result<f32> {
        let loss = candle_nn::loss::cross_entropy(&forward(&network, &images)?, &labels)?;
        let grads = loss.backward()?;
        match &mut rule {
            Rule::Adam(adam) => adam.step(&grads)?,
            Rule::Sgd(sgd) => sgd.step(&grads)?,
        }
        loss.to_scalar()
    };
    spec::measure(&arguments, || {
        step().unwrap_or_else(|error| panic!("error: {error}"));
    });
    Ok(())
}
