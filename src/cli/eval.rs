use super::EvalArgs;
use super::device;
use super::report::{self, say};
use super::train::load_data;
use crate::data::{DataSource, Dataset, LoadOptions};
use crate::error::{Error, Result};
use crate::models::Model;
use crate::tensor::HostTensor;
use crate::train::program;
use crate::train::recipe::ResolvedRecipe;
use crate::train::weights::TensorFile;
use crate::train::{Device, Evaluation, Evaluator, Feed, Placement, Run, RunModel, loaded};

/// `wgrad eval`
pub(super) fn run(args: &EvalArgs) -> Result<()> {
    let run = Run::open(&args.run)?;
    let (about, model, weights) = args.weights.read(&run)?;
    let recipe = ResolvedRecipe::load(&run.file("recipe.toml"))?;
    let model = args.tta.averaging(model, &run)?;
    let data = test_data(&recipe, args.data.as_ref(), &about, args.json)?;
    let device = device::open(&args.device, false)?;
    let batch_size = args.batch_size.map_or(recipe.batch_size, |size| size as usize);
    let network = Network { about: &about, model: &model, weights: &weights };
    let evaluation = network.evaluate(&data, batch_size, &device, &run)?;
    if args.json {
        say(report::evaluation_json(&evaluation, &about.classes)?);
    } else {
        say(report::evaluation(&evaluation, &about.classes));
        if args.confusion {
            say(report::confusion(&evaluation, &about.classes));
        }
    }
    if let Some(path) = &args.logits {
        let mut file = TensorFile::default();
        let shape = [data.test.len(), about.classes.len()];
        file.tensors.insert("logits".to_string(), HostTensor::new(shape, evaluation.logits));
        let labels = data.test.labels().iter().map(|label| i64::from(*label)).collect();
        file.integers.insert("labels".to_string(), (vec![data.test.len()], labels));
        file.write(path)?;
        if !args.json {
            say(format!("logits {shape:?} and labels written to {}", path.display()));
        }
    }
    Ok(())
}

/// The data set that a run's model is tested on: the run's, or another that fits.
pub(super) fn test_data(
    recipe: &ResolvedRecipe,
    other: Option<&DataSource>,
    about: &RunModel,
    quiet: bool,
) -> Result<Dataset> {
    let mut options = recipe.load_options();
    if let Some(other) = other {
        // Its pictures are given the same size, but were not decoded into the run's file.
        let seed = options.seed;
        let of_folder = LoadOptions { cache: None, ..options };
        options = match other {
            DataSource::Folder(_) => of_folder,
            _ => LoadOptions { seed, ..LoadOptions::default() },
        };
    }
    let source = other.unwrap_or(&recipe.data);
    let data = load_data(source, &options, quiet)?;
    if data.image != about.image || data.classes.len() != about.classes.len() {
        return Err(Error::Data(format!(
            "{source} has images of {:?} and {} classes, the run's model takes {:?} and {} classes",
            data.image,
            data.classes.len(),
            about.image,
            about.classes.len()
        )));
    }
    Ok(data)
}

/// A run's model with weights.
pub(super) struct Network<'a> {
    pub(super) about: &'a RunModel,
    pub(super) model: &'a Model,
    pub(super) weights: &'a TensorFile,
}

impl Network<'_> {
    /// Tests it on the test samples of a data set, so many at a time.
    pub(super) fn evaluate(
        &self,
        data: &Dataset,
        batch_size: usize,
        device: &Device,
        run: &Run,
    ) -> Result<Evaluation> {
        let task = self.about.task(batch_size.min(data.test.len()));
        let [_, feed] = Feed::choose(data, device, Placement::Auto);
        let program = program::inference_from(feed, self.model, &task, device)?;
        let path = run.file("model.safetensors");
        pollster::block_on(async {
            let mut session = loaded(program, self.weights, device, &path).await?;
            feed.install(&mut session, &data.test, self.about.normalization.as_ref()).await?;
            Evaluator { session: &mut session, graph: 0, task, feed }.run(&data.test).await
        })
    }
}
