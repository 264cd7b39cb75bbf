//! Trains a small network, built in Rust, on the embedded digits, and prints its accuracy.
//!
//! `cargo run --release --example train_digits`

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use wgrad::data::{DataSource, Dataset, Normalization};
use wgrad::models::{Model, Sequential};
use wgrad::ops::{
    batch_norm::BatchNorm, conv2d::Conv2d, flatten::Flatten, linear::Linear, max_pool2d::MaxPool2d,
    relu::Relu,
};
use wgrad::optim::{Adam, Curve, Schedule, Unit, Warmup};
use wgrad::train::groups::GroupRules;
use wgrad::train::metrics::EpochLine;
use wgrad::train::{Device, DeviceChoice, Length, Observer, Settings, Trainer};

struct Printer;

impl Observer for Printer {
    fn epoch(&mut self, line: &EpochLine) {
        let EpochLine { epoch, train_loss, test, img_per_s, .. } = line;
        println!(
            "epoch {epoch}: loss {train_loss:.4}, test accuracy {:.4}, {img_per_s:.0} img/s",
            test.test_accuracy
        );
    }
}

fn main() -> wgrad::Result<()> {
    let seed = 0;
    let data = Dataset::load(&DataSource::Digits, seed, &|_, _| {})?;
    let normalization = Normalization::of(&data.train)?;
    let layers = Sequential::new()
        .push(Conv2d::new(16, 3).padding(1).bias(false))
        .push(BatchNorm::default())
        .push(Relu {})
        .push(MaxPool2d::new(2))
        .push(Conv2d::new(32, 3).padding(1).bias(false))
        .push(BatchNorm::default())
        .push(Relu {})
        .push(Flatten {})
        .push(Linear::new(10));
    let model = Model::new(data.image, layers);
    let settings = Settings {
        length: Length::Epochs(8),
        update: Arc::new(Adam { betas: [0.9, 0.999], eps: 1e-8, decoupled: true }),
        groups: GroupRules::with_weight_decay(0.01),
        schedule: Schedule { lr: 0.01, warmup: Warmup::NONE, curve: Curve::Constant, unit: Unit::Step },
        seed,
        ..Settings::default()
    };
    let device = pollster::block_on(Device::open(&DeviceChoice::Auto))?;
    let mut trainer = pollster::block_on(Trainer::new(&model, &data, normalization, settings, &device))?;
    let trained = pollster::block_on(trainer.train(&mut Printer, &AtomicBool::new(false)))?;
    println!("test accuracy {:.2} %", trained.evaluation.accuracy * 100.0);
    Ok(())
}
