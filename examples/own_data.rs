//! Training on data of one's own, made in memory: here 16 x 16 pictures of a bright stripe, upright or lying, in noise.
//!
//! `cargo run --release --example own_data`

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use wgrad::data::{Dataset, Images, Normalization, Split};
use wgrad::models::{Model, Sequential};
use wgrad::ops::{conv2d::Conv2d, flatten::Flatten, linear::Linear, max_pool2d::MaxPool2d, relu::Relu};
use wgrad::optim::{Adam, Curve, Schedule, Unit, Warmup};
use wgrad::train::metrics::EpochLine;
use wgrad::train::{Device, DeviceChoice, Length, Observer, Settings, Trainer};

const SIDE: usize = 16;

/// Pictures of a stripe at a random place: bytes in the order height, width, channel, all samples one after the other.
fn stripes(count: usize, seed: u32) -> wgrad::Result<Split> {
    let mut state = seed;
    let mut random = |below: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) as usize % below
    };
    let (mut pixels, mut labels) = (vec![], vec![]);
    for sample in 0..count {
        let (upright, place) = (sample % 2, random(SIDE));
        for y in 0..SIDE {
            for x in 0..SIDE {
                let bright = place == if upright == 1 { x } else { y };
                pixels.push(random(120) as u8 + if bright { 100 } else { 0 });
            }
        }
        labels.push(upright as i32);
    }
    let images = Images::U8 { data: Arc::new(pixels), scale: 1.0 / 255.0 };
    Split::new(images, labels, [1, SIDE, SIDE])
}

struct Printer;

impl Observer for Printer {
    fn epoch(&mut self, line: &EpochLine) {
        println!(
            "epoch {}: loss {:.4}, accuracy {:.4}",
            line.epoch, line.train_loss, line.test.test_accuracy
        );
    }
}

/// Trains for some epochs and prints the accuracy of each; gives the last one.
pub fn train() -> wgrad::Result<f64> {
    let data = Dataset {
        name: "stripes".into(),
        train: stripes(512, 1)?,
        test: stripes(128, 2)?,
        classes: vec!["lying".into(), "upright".into()],
        image: [1, SIDE, SIDE],
        skipped: vec![],
    };
    let layers = Sequential::new()
        .push(Conv2d::new(8, 5).padding(2))
        .push(Relu {})
        .push(MaxPool2d::new(4))
        .push(Flatten {})
        .push(Linear::new(2));
    let model = Model::new(data.image, layers);
    let normalization = Normalization::of(&data.train)?;
    let settings = Settings {
        length: Length::Epochs(5),
        batch_size: 32,
        update: Arc::new(Adam { betas: [0.9, 0.999], eps: 1e-8, decoupled: true }),
        schedule: Schedule { lr: 0.01, warmup: Warmup::NONE, curve: Curve::Constant, unit: Unit::Step },
        ..Settings::default()
    };
    let device = pollster::block_on(Device::open(&DeviceChoice::Auto))?;
    let mut trainer = pollster::block_on(Trainer::new(&model, &data, normalization, settings, &device))?;
    let trained = pollster::block_on(trainer.train(&mut Printer, &AtomicBool::new(false)))?;
    Ok(trained.evaluation.accuracy)
}

/// Says how well it went.
pub fn main() -> wgrad::Result<()> {
    println!("test accuracy {:.2} %", train()? * 100.0);
    Ok(())
}
