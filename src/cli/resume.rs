use super::ResumeArgs;
use super::device;
use super::progress::Style;
use super::report::say;
use super::train::{Prepared, finish};
use crate::error::{Error, Result};
use crate::train::recipe::ResolvedRecipe;
use crate::train::{Checkpoint, Environment, Run, files};

/// `wgrad resume`
pub(super) fn run(args: &ResumeArgs) -> Result<()> {
    args.ui.check()?;
    let run = Run::open(&args.run)?;
    let recipe = ResolvedRecipe::load(&run.file("recipe.toml"))?;
    let model = files::read_text(&run.file("model.toml"))?;
    let update = recipe.algorithm.update();
    let (checkpoint, passed_over) = Checkpoint::read(&run.path, update.slots())?;
    if let Some(reason) = passed_over {
        eprintln!("warning: {reason}; the checkpoint before it is used");
    }
    let cooperative = device::cooperative(recipe.cooperative, recipe.precision);
    let device = device::open(&recipe.device, cooperative)?;
    warn_of_changes(&checkpoint.progress.environment, &device.environment());
    let prepared = Prepared::new(recipe, Some(&model))?;
    check_data(&run, &prepared)?;
    let mut trainer = prepared.trainer(&device)?;
    trainer.restore(&checkpoint, &run)?;
    run.remove_leftovers();
    pollster::block_on(trainer.record_in(run.clone()))?;
    let (step, total) = (trainer.progress().step, trainer.total_steps());
    if !prepared.recipe.quiet && !args.json {
        let state = if step < total { "continuing" } else { "already finished" };
        say(format!("{state} at step {step} of {total} on {}", device.name()));
    }
    finish(trainer, &prepared, &run, &device, Style::of(args.ui, args.json, prepared.recipe.quiet))
}

/// The bits of a run depend on device, driver, threads and kernels: says so if one of them has changed.
fn warn_of_changes(before: &Environment, now: &Environment) {
    let threads = (before.threads.to_string(), now.threads.to_string());
    let facts = [
        ("device", &before.device, &now.device),
        ("driver", &before.driver, &now.driver),
        ("number of threads", &threads.0, &threads.1),
        ("precision", &before.precision, &now.precision),
        ("version of wgrad", &before.version, &now.version),
        ("way of cooperative products", &before.cooperative, &now.cooperative),
        ("table of tuned kernels", &before.tuning, &now.tuning),
    ];
    for (name, before, now) in facts.into_iter().filter(|(_, before, now)| before != now) {
        eprintln!(
            "warning: the {name} was \"{before}\" and is \"{now}\"; the run continues, but not to the same bits"
        );
    }
}

/// Refuses data that is not what the run was trained on so far.
fn check_data(run: &Run, prepared: &Prepared) -> Result<()> {
    let Ok((about, ..)) = run.read_model() else { return Ok(()) };
    if about.image != prepared.data.image || about.classes != prepared.data.classes {
        let message = format!(
            "was trained on other data than {} holds now: image size or classes differ",
            prepared.recipe.data
        );
        return Err(Error::file(&run.path, message));
    }
    if about.normalization != prepared.normalization {
        eprintln!(
            "warning: the training images have changed since; the run continues, but not to the same bits"
        );
    }
    Ok(())
}
