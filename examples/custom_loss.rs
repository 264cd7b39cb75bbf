//! A loss and a metric of one's own. The loss is cross-entropy plus a penalty on large logits, which keeps a network from
//! being too sure of itself; the metric is balanced accuracy, the mean recall of the classes.
//!
//! `cargo run --release --example custom_loss`

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use wgrad::data::{DataSource, Dataset, Normalization};
use wgrad::graph::{Graph, Value};
use wgrad::models::ModelSpec;
use wgrad::ops::{add_scaled::AddScaled, cross_entropy::CrossEntropy, fill::Fill, mse::Mse};
use wgrad::optim::{Adam, Curve, Schedule, Unit, Warmup};
use wgrad::train::program::Loss;
use wgrad::train::{Device, DeviceChoice, Evaluation, Length, Settings, Trainer};

/// L = cross-entropy + strength mean(logits^2)
#[derive(Debug)]
struct Modest {
    strength: f32,
}

impl Loss for Modest {
    fn build(&self, graph: &mut Graph, logits: Value, targets: Value) -> wgrad::Result<Value> {
        let cross_entropy = graph.apply(CrossEntropy::default(), &[logits, targets])?[0];
        let shape = graph.shape(logits).clone();
        let zero = graph.apply1(Fill { shape, value: 0.0 }, &[])?;
        let size = graph.apply1(Mse::default(), &[logits, zero])?;
        graph.apply1(AddScaled { alpha: 1.0, beta: self.strength }, &[cross_entropy, size])
    }
}

/// The mean over the classes of the share of their samples that is found.
fn balanced_accuracy(evaluation: &Evaluation) -> f64 {
    let classes = evaluation.classes();
    classes.iter().map(|class| class.recall).sum::<f64>() / classes.len() as f64
}

/// The largest magnitude of a logit.
pub fn largest_logit(evaluation: &Evaluation) -> f32 {
    evaluation.logits.iter().map(|logit| logit.abs()).max_by(f32::total_cmp).unwrap_or_default()
}

/// Trains with a penalty of this strength.
pub fn train(strength: f32) -> wgrad::Result<Evaluation> {
    let data = Dataset::load(&DataSource::Digits, 0, &|_, _| {})?;
    let model = ModelSpec::load("digits-cnn")?.bind(data.image, data.classes.len())?;
    let settings = Settings {
        length: Length::Epochs(4),
        loss: Some(Arc::new(Modest { strength })),
        update: Arc::new(Adam { betas: [0.9, 0.999], eps: 1e-8, decoupled: true }),
        schedule: Schedule { lr: 0.01, warmup: Warmup::NONE, curve: Curve::Constant, unit: Unit::Step },
        ..Settings::default()
    };
    let normalization = Normalization::of(&data.train)?;
    let device = pollster::block_on(Device::open(&DeviceChoice::Auto))?;
    let mut trainer = pollster::block_on(Trainer::new(&model, &data, normalization, settings, &device))?;
    Ok(pollster::block_on(trainer.train(&mut (), &AtomicBool::new(false)))?.evaluation)
}

/// Trains with and without the penalty.
pub fn main() -> wgrad::Result<()> {
    for strength in [0.0, 0.1] {
        let evaluation = train(strength)?;
        println!(
            "strength {strength}: balanced accuracy {:.2} %, largest logit {:.1}",
            balanced_accuracy(&evaluation) * 100.0,
            largest_logit(&evaluation)
        );
    }
    Ok(())
}
