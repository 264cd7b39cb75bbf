//! Trains a network of run.py in Burn on random images and prints the time of a step.

#![recursion_limit = "256"]

#[path = "../../spec.rs"]
mod spec;

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::pool::{AdaptiveAvgPool2d, AdaptiveAvgPool2dConfig, MaxPool2d, MaxPool2dConfig};
use burn::nn::{
    BatchNorm, BatchNormConfig, Dropout, DropoutConfig, Linear, LinearConfig, PaddingConfig2d, Relu,
};
use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdamConfig, GradientsParams, SgdConfig};
use burn::tensor::{Device, Int, Tensor, TensorData};
use spec::{Arguments, Layer};

/// Clamps to 0..6.
#[derive(Module, Debug)]
struct Relu6;

/// `body(x) + shortcut(x)`; an empty shortcut is the identity.
#[derive(Module, Debug)]
struct Residual {
    body: Vec<Block>,
    shortcut: Vec<Block>,
}

/// A layer of images.
#[derive(Module, Debug)]
enum Block {
    Conv(Conv2d),
    BatchNorm(BatchNorm),
    Relu(Relu),
    Relu6(Relu6),
    MaxPool(MaxPool2d),
    GlobalAvgPool(AdaptiveAvgPool2d),
    Residual(Residual),
}

/// A layer after `flatten`.
#[derive(Module, Debug)]
enum Head {
    Linear(Linear),
    Relu(Relu),
    Dropout(Dropout),
}

#[derive(Module, Debug)]
struct Network {
    blocks: Vec<Block>,
    head: Vec<Head>,
}

fn padding(by: usize) -> PaddingConfig2d {
    PaddingConfig2d::Explicit(by, by, by, by)
}

fn block(layer: &Layer, device: &Device) -> Block {
    match *layer {
        Layer::Conv { inputs, outputs, kernel, stride, padding: by, groups, bias } => {
            let config = Conv2dConfig::new([inputs, outputs], [kernel; 2]).with_stride([stride; 2]);
            Block::Conv(config.with_padding(padding(by)).with_groups(groups).with_bias(bias).init(device))
        }
        Layer::BatchNorm { channels } => Block::BatchNorm(BatchNormConfig::new(channels).init(device)),
        Layer::Relu => Block::Relu(Relu::new()),
        Layer::Relu6 => Block::Relu6(Relu6),
        Layer::MaxPool { kernel, stride, padding: by } => {
            let config = MaxPool2dConfig::new([kernel; 2]).with_strides([stride; 2]).with_padding(padding(by));
            Block::MaxPool(config.init())
        }
        Layer::GlobalAvgPool => Block::GlobalAvgPool(AdaptiveAvgPool2dConfig::new([1, 1]).init()),
        Layer::Residual { ref body, ref shortcut } => {
            let blocks = |layers: &[Layer]| layers.iter().map(|layer| block(layer, device)).collect();
            Block::Residual(Residual { body: blocks(body), shortcut: blocks(shortcut) })
        }
        Layer::Flatten | Layer::Linear { .. } | Layer::Dropout { .. } => panic!("no layer of images"),
    }
}

fn head(layer: &Layer, device: &Device) -> Head {
    match *layer {
        Layer::Linear { inputs, outputs } => Head::Linear(LinearConfig::new(inputs, outputs).init(device)),
        Layer::Relu => Head::Relu(Relu::new()),
        Layer::Dropout { p } => Head::Dropout(DropoutConfig::new(p).init()),
        _ => panic!("no layer after flatten"),
    }
}

fn pass(blocks: &[Block], input: Tensor<4>) -> Tensor<4> {
    blocks.iter().fold(input, |x, block| match block {
        Block::Conv(conv) => conv.forward(x),
        Block::BatchNorm(norm) => norm.forward(x),
        Block::Relu(relu) => relu.forward(x),
        Block::Relu6(_) => x.clamp(0.0, 6.0),
        Block::MaxPool(pool) => pool.forward(x),
        Block::GlobalAvgPool(pool) => pool.forward(x),
        Block::Residual(residual) => pass(&residual.body, x.clone()) + pass(&residual.shortcut, x),
    })
}

impl Network {
    fn new(layers: &[Layer], device: &Device) -> Network {
        let flatten = layers.iter().position(|layer| matches!(layer, Layer::Flatten)).expect("a flatten");
        Network {
            blocks: layers[..flatten].iter().map(|layer| block(layer, device)).collect(),
            head: layers[flatten + 1..].iter().map(|layer| head(layer, device)).collect(),
        }
    }

    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let features = pass(&self.blocks, images).flatten(1, 3);
        self.head.iter().fold(features, |x, layer| match layer {
            Head::Linear(linear) => linear.forward(x),
            Head::Relu(relu) => relu.forward(x),
            Head::Dropout(dropout) => dropout.forward(x),
        })
    }
}

fn main() {
    let arguments = Arguments::parse();
    let device = match arguments.backend.as_str() {
        "flex" => Device::flex(),
        #[cfg(feature = "wgpu")]
        "wgpu" => Device::wgpu(burn::tensor::DeviceKind::DefaultDevice),
        other => panic!("no backend {other}"),
    };
    let device = device.autodiff();
    let mut network = Network::new(&arguments.layers(), &device);
    let [c, h, w] = arguments.input;
    let (images, labels) = arguments.batch();
    let images = Tensor::<4>::from_data(TensorData::new(images, [arguments.batch, c, h, w]), &device);
    let labels = Tensor::<1, Int>::from_data(TensorData::new(labels, [arguments.batch]), &device);
    let loss = CrossEntropyLossConfig::new().init(&device);
    let mut optimizer = if arguments.adam {
        AdamConfig::new().init()
    } else {
        let momentum = MomentumConfig::new().with_momentum(arguments.momentum).with_dampening(0.0);
        SgdConfig::new().with_momentum((arguments.momentum > 0.0).then_some(momentum)).init()
    };
    spec::measure(&arguments, || {
        let loss = loss.forward(network.forward(images.clone()), labels.clone());
        let gradients = GradientsParams::from_grads(loss.backward(), &network);
        network = optimizer.step(1e-3, network.clone(), gradients);
        // Fetching the loss alone would not wait for the update.
        let _: f32 = loss.into_scalar();
        device.sync().expect("the device");
    });
}
