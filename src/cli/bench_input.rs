use super::report::Column::{Number, Text};
use super::report::{say, table};
use super::train::load_data;
use super::{BenchArgs, device, model};
use crate::data::clamp_batch_size;
use crate::error::{Error, Result};
use crate::train::recipe::{Algorithm, Recipe};
use crate::train::{InputBenchmark, InputBenchmarkSettings, input_benchmark};

/// `wgrad bench --input-pipeline`
pub(super) fn run(args: &BenchArgs) -> Result<()> {
    let file = args.recipe.as_deref().map(Recipe::load).transpose()?;
    let mut given = Recipe::default();
    given.input.data.clone_from(&args.data);
    let recipe = given.over(file.unwrap_or_default()).resolve()?;
    let data = load_data(&recipe.data, &recipe.load_options(), args.json)?;
    let (batch_size, clamped) = clamp_batch_size(args.batch_size as usize, data.train.len());
    if clamped {
        eprintln!("warning: there are {batch_size} training images: --batch-size {batch_size} is used");
    }
    let model = model::load(&args.model, Some(data.image), Some(data.classes.len() as u32))?;
    let device = device::open(&args.device, device::cooperative(args.cooperative, args.precision))?;
    let steps = args.steps as usize;
    let settings = InputBenchmarkSettings {
        batch_size,
        warmup: args.warmup.map_or(steps.div_ceil(10).max(3), |warmup| warmup as usize),
        steps,
        algorithm: Algorithm::named(args.optimizer, args.momentum)?,
        augmentation: recipe.augmentation,
    };
    let measured = pollster::block_on(input_benchmark(&model, &data, &device, &settings))?;
    if args.json {
        say(serde_json::to_string_pretty(&measured).map_err(|error| Error::Model(error.to_string()))?);
    } else {
        print(&measured);
    }
    Ok(())
}

fn print(measured: &InputBenchmark) {
    say(format!(
        "{} on {}, {}, batches of {}, {} steps; images per second",
        measured.model, measured.device, measured.data, measured.batch_size, measured.steps
    ));
    let mut rows = table(&[
        Text("data set"),
        Number("input alone"),
        Number("model alone"),
        Number("together"),
        Text("bottleneck"),
    ]);
    for input in &measured.inputs {
        let rate = |rate: f64| format!("{rate:.0}");
        rows.add_row([
            input.placement.to_string(),
            rate(input.input_img_per_s),
            rate(measured.model_img_per_s),
            rate(input.together_img_per_s),
            input.bottleneck.to_string(),
        ]);
    }
    say(rows);
    let stages: Vec<String> =
        measured.stages.iter().map(|stage| format!("{} {:.0}", stage.stage, stage.img_per_s)).collect();
    say(format!("bottleneck: {} (each by itself: {})", measured.bottleneck, stages.join(", ")));
}
