use super::EvalArgs;
use super::device;
use super::report::{self, say};
use super::train::load_data;
use crate::data::{DataSource, LoadOptions};
use crate::error::{Error, Result};
use crate::tensor::HostTensor;
use crate::train::program;
use crate::train::recipe::ResolvedRecipe;
use crate::train::weights::TensorFile;
use crate::train::{Evaluator, Feed, Placement, Run, loaded};

/// `wgrad eval`
pub(super) fn run(args: &EvalArgs) -> Result<()> {
    let run = Run::open(&args.run)?;
    let (about, model, weights) =
        if args.ema { run.read_averages(args.checkpoint)? } else { run.read_chosen(args.checkpoint)? };
    let recipe = ResolvedRecipe::load(&run.file("recipe.toml"))?;
    let model = model.averaging(args.tta.unwrap_or(recipe.control.tta).views());
    let mut options = recipe.load_options();
    if let Some(other) = &args.data {
        // Its pictures are given the same size, but were not decoded into the run's file.
        let seed = options.seed;
        let of_folder = LoadOptions { cache: None, ..options };
        options = match other {
            DataSource::Folder(_) => of_folder,
            _ => LoadOptions { seed, ..LoadOptions::default() },
        };
    }
    let source = args.data.clone().unwrap_or(recipe.data);
    let data = load_data(&source, &options, args.json)?;
    if data.image != about.image || data.classes.len() != about.classes.len() {
        return Err(Error::Data(format!(
            "{source} has images of {:?} and {} classes, the run's model takes {:?} and {} classes",
            data.image,
            data.classes.len(),
            about.image,
            about.classes.len()
        )));
    }
    let device = device::open(&args.device, false)?;
    let batch_size = args.batch_size.map_or(recipe.batch_size, |size| size as usize).min(data.test.len());
    let task = about.task(batch_size);
    let [_, feed] = Feed::choose(&data, &device, Placement::Auto);
    let program = program::inference_from(feed, &model, &task, &device)?;
    let mut session = pollster::block_on(loaded(program, &weights, &device, &run.file("model.safetensors")))?;
    pollster::block_on(feed.install(&mut session, &data.test, about.normalization.as_ref()))?;
    let mut evaluator = Evaluator { session: &mut session, graph: 0, task, feed };
    let evaluation = pollster::block_on(evaluator.run(&data.test))?;
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
