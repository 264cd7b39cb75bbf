//! Runs as `wgrad train` sets them up, on the CPU path and on the adapters of this machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pollster::block_on;
use wgrad::data::{Dataset, Normalization};
use wgrad::gpu::{self, Gpu};
use wgrad::models::{Model, ModelSpec};
use wgrad::train::recipe::{Recipe, ResolvedRecipe};
use wgrad::train::weights::Tensors;
use wgrad::train::{Device, Evaluation, Observer, Settings, StepEvent, Trainer};

/// All adapters of this machine.
pub fn gpus() -> Vec<Device> {
    let adapters = block_on(gpu::adapters());
    if adapters.is_empty() {
        assert!(
            std::env::var_os("WGRAD_REQUIRE_GPU").is_none(),
            "WGRAD_REQUIRE_GPU is set, but there is no adapter"
        );
        eprintln!("SKIPPED: this machine has no adapter; training on a GPU was not tested");
    }
    let open = |adapter| Device::Gpu(Arc::new(block_on(Gpu::open(adapter)).expect("the adapter opens")));
    adapters.iter().map(open).collect()
}

/// The CPU path and all adapters.
pub fn devices() -> Vec<Device> {
    [Device::Cpu].into_iter().chain(gpus()).collect()
}

/// What a run is made of.
pub struct Setup {
    pub recipe: ResolvedRecipe,
    pub data: Dataset,
    pub model: Model,
    pub normalization: Option<Normalization>,
}

impl Setup {
    /// What `wgrad train` does with these flags, written as in a recipe.
    pub fn of_flags(flags: &str) -> Setup {
        Setup::of_recipe(flags, None)
    }

    /// What `wgrad train FILE` does with these flags.
    pub fn of_recipe(flags: &str, file: Option<Recipe>) -> Setup {
        let recipe = Recipe::from_flags(flags.parse().unwrap(), file).resolve().unwrap();
        let data = Dataset::load(&recipe.data, recipe.seed, &|_, _| {}).unwrap();
        let model = ModelSpec::load(&recipe.model).unwrap().bind(data.image, data.classes.len()).unwrap();
        let normalization = if recipe.normalize { Normalization::of(&data.train).unwrap() } else { None };
        Setup { recipe, data, model, normalization }
    }

    pub fn trainer(&self, device: &Device) -> Trainer<'_> {
        let settings = Settings::of(&self.recipe, self.recipe.batch_size);
        let normalization = self.normalization.clone();
        block_on(Trainer::new(&self.model, &self.data, normalization, settings, device)).unwrap()
    }

    /// Trains to the end.
    pub fn train(&self, device: &Device) -> Outcome {
        let mut trainer = self.trainer(device);
        let mut watch = Watch::default();
        let trained = block_on(trainer.train(&mut watch, &AtomicBool::new(false))).unwrap();
        Outcome::of(watch.losses, &mut trainer, trained.evaluation)
    }
}

/// All numbers of a run.
#[derive(Debug)]
pub struct Outcome {
    pub losses: Vec<f32>,
    pub model: Tensors,
    pub averages: Option<Tensors>,
    pub evaluation: Evaluation,
}

impl Outcome {
    pub fn of(losses: Vec<f32>, trainer: &mut Trainer<'_>, evaluation: Evaluation) -> Outcome {
        let model = block_on(trainer.model()).unwrap();
        let averages = block_on(trainer.averages()).unwrap();
        Outcome { losses, model, averages, evaluation }
    }

    /// The first thing whose bits differ.
    pub fn difference(&self, other: &Outcome) -> Option<String> {
        let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<u32>>();
        if bits(&self.losses) != bits(&other.losses) {
            let at = self.losses.iter().zip(&other.losses).position(|(a, b)| a.to_bits() != b.to_bits());
            return Some(format!("losses, from step {at:?}: {:?} and {:?}", self.losses, other.losses));
        }
        assert!(self.model.keys().eq(other.model.keys()));
        assert_eq!(self.averages.is_some(), other.averages.is_some());
        let all = |outcome: &'_ Outcome| -> Vec<(String, wgrad::tensor::HostTensor)> {
            let averages = outcome.averages.iter().flatten();
            outcome
                .model
                .iter()
                .chain(averages)
                .map(|(name, tensor)| (name.clone(), tensor.clone()))
                .collect()
        };
        let tensors = all(self).into_iter().zip(all(other).into_iter().map(|(_, tensor)| tensor));
        let mut differing = tensors.filter(|((_, a), b)| bits(&a.data) != bits(&b.data));
        if let Some(((name, _), _)) = differing.next() {
            return Some(name);
        }
        (self.evaluation != other.evaluation).then(|| "the evaluation".to_string())
    }
}

/// Keeps the losses, and asks to stop after a step if it is told to.
#[derive(Default)]
pub struct Watch<'a> {
    pub losses: Vec<f32>,
    pub stop_after: Option<(u64, &'a AtomicBool)>,
}

impl Observer for Watch<'_> {
    fn step(&mut self, event: StepEvent) {
        self.losses.push(event.loss);
        if let Some((step, stop)) = self.stop_after {
            stop.store(event.step >= step, Ordering::Relaxed);
        }
    }
}
