use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

#[cfg(feature = "tui")]
use super::dashboard::{Dashboard, Facts};
use super::device;
use super::pretrained;
use super::progress::{Both, Display, Style};
use super::report::{self, bar, say};
use super::report_run;
use super::{TrainArgs, Ui};
use crate::data::{
    DIGITS_CREDIT, DataSource, Dataset, LoadOptions, Normalization, clamp_batch_size, epoch_order,
};
use crate::error::{Error, Result};
use crate::exchange::{Imported, import, is_onnx};
use crate::models::{Model, ModelSpec};
use crate::report::Picture;
use crate::report::tensorboard::EventWriter;
use crate::train::program::Task;
use crate::train::recipe::ResolvedRecipe;
use crate::train::weights::{self, TensorFile};
use crate::train::{
    Device, Ending, Length, Observer, PreviewSettings, Run, Settings, Trained, Trainer, preview,
};

/// Training samples that TensorBoard is shown; pairs, for these may be mixed.
const SHOWN: usize = 8;

/// `wgrad train`
pub(super) fn run(args: &TrainArgs) -> Result<()> {
    args.ui.check()?;
    let recipe = args.resolve()?;
    let cooperative = device::cooperative(recipe.cooperative, recipe.precision);
    let opened = device::open_with_table(&recipe.device, cooperative)?;
    let mut prepared = Prepared::new(recipe, None)?;
    if args.dry_run {
        prepared.shorten()?;
    }
    let device = device::tune_briefly(opened, &prepared.model, &prepared.task(), prepared.recipe.quiet)?;
    let mut trainer = prepared.started(&device)?;
    if args.dry_run {
        return rehearse(&mut trainer, &prepared, &device);
    }
    let run = match &prepared.recipe.out {
        Some(path) => Run::create(path)?,
        None => Run::create_numbered(Path::new("runs"), file_stem(&prepared.recipe.model))?,
    };
    let mut recorded = prepared.recipe.clone();
    recorded.data = recorded.data.absolute();
    // What fitted here may not be what would fit when the run is resumed, and it matters for the bits.
    recorded.micro_batch_size = recorded.micro_batch_size.or(prepared.split(&trainer));
    run.write_recipe(&recorded.to_toml()?, prepared.model.to_toml().unwrap_or_default())?;
    pollster::block_on(trainer.record_in(run.clone()))?;
    if !args.json {
        prepared.introduce(&device, &trainer);
    }
    let style = Style::of(args.ui, args.json, prepared.recipe.quiet);
    finish(trainer, &prepared, &run, &device, style)
}

/// Trains to the end, says how well the model does, and leaves a page about the run; of an interrupted one too.
pub(super) fn finish(
    mut trainer: Trainer<'_>,
    prepared: &Prepared,
    run: &Run,
    device: &Device,
    style: Style,
) -> Result<()> {
    let begun = trainer.progress().step;
    let wanted = prepared.recipe.tensorboard && begun < trainer.total_steps();
    let events = wanted.then(|| events(run, prepared, begun, device));
    let trained = watch(&mut trainer, prepared, events.transpose()?, (style, device));
    match &trained {
        Ok(trained) if style == Style::Json => {
            say(report::line(&report::evaluation_report(&trained.evaluation, &prepared.data.classes))?);
        }
        Ok(trained) => conclude(prepared, trained, &trainer, run),
        Err(Error::Interrupted { .. }) => {}
        Err(_) => return trained.map(|_| ()),
    }
    // A run that was over before has its page.
    if trainer.progress().step > begun || !run.file("report.html").is_file() {
        report_run::after_training(run, prepared, trained.as_ref().ok(), trainer, device);
    }
    trained.map(|_| ())
}

/// Begins TensorBoard's events of a run: with its first training samples, as the network gets them.
fn events(run: &Run, prepared: &Prepared, done: u64, device: &Device) -> Result<EventWriter> {
    let mut events = EventWriter::create(run, done)?;
    let Prepared { recipe, data, .. } = prepared;
    let order = epoch_order(data.train.len(), recipe.seed, recipe.shuffle, 0);
    let settings = PreviewSettings {
        augmentation: recipe.augmentation,
        mixing: recipe.mixing,
        normalize: recipe.normalize,
        seed: recipe.seed,
        samples: order.into_iter().take(recipe.batch_size.min(SHOWN)).collect(),
        epochs: vec![0],
    };
    let shown = pollster::block_on(preview(data, &settings, device))?;
    let pictures = shown.rows.iter().filter_map(|row| row.last());
    let pictures = pictures.map(|picture| Picture::of_bytes(picture.size, shown.channels, &picture.pixels));
    events.pictures("training_samples", &pictures.collect::<Result<Vec<Picture>>>()?);
    Ok(events)
}

/// `--dry-run`: one step and one evaluation, of a batch each, of which nothing remains.
fn rehearse(trainer: &mut Trainer<'_>, prepared: &Prepared, device: &Device) -> Result<()> {
    prepared.introduce(device, trainer);
    let begun = Instant::now();
    let style = Style::of(Ui::Auto, false, prepared.recipe.quiet);
    let Trained { evaluation, .. } = watch(trainer, prepared, None, (style, device))?;
    say(format!(
        "dry run: one step and the evaluation of {} images took {:.2} s, test loss {:.4}; nothing was written",
        prepared.data.test.len(),
        begun.elapsed().as_secs_f64(),
        evaluation.loss
    ));
    Ok(())
}

/// Recipe, data and model of a run, all checked.
pub(super) struct Prepared {
    pub(super) recipe: ResolvedRecipe,
    pub(super) data: Dataset,
    pub(super) model: Model,
    pub(super) normalization: Option<Normalization>,
    /// The tensors that depend on the number of classes; looked for only if weights are pretrained.
    pub(super) head: Vec<String>,
    /// The weights that came with the model, if it is an ONNX file.
    pub(super) imported: Option<TensorFile>,
}

impl Prepared {
    /// Loads the data and binds the model; `model` is a model file's text, if it is not the recipe's.
    pub(super) fn new(mut recipe: ResolvedRecipe, model: Option<&str>) -> Result<Prepared> {
        let (spec, imported) = match model {
            Some(text) => (ModelSpec::parse(&recipe.model, text)?, None),
            None if is_onnx(Path::new(&recipe.model)) => {
                let Imported { spec, weights, notes, .. } = import(Path::new(&recipe.model))?;
                notes.iter().for_each(|note| eprintln!("note: {note}"));
                (spec, Some(weights))
            }
            None => (ModelSpec::load(&recipe.model)?, None),
        };
        let mut data = load_data(&recipe.data, &recipe.load_options(), recipe.quiet)?;
        let (batch_size, clamped) = clamp_batch_size(recipe.batch_size, data.train.len());
        if clamped {
            eprintln!(
                "warning: --batch-size is {}, but there are {batch_size} training images: {batch_size} is used",
                recipe.batch_size
            );
            recipe.batch_size = batch_size;
        }
        if recipe.control.overfit_one_batch {
            let order = epoch_order(data.train.len(), recipe.seed, recipe.shuffle, 0);
            data.train = data.train.subset(&order[..batch_size])?;
            data.test = data.train.clone();
        }
        recipe.total_steps((data.train.len() / batch_size) as u64)?;
        let model = spec.bind(data.image, data.classes.len())?.averaging(recipe.control.tta.views());
        let pretrained = recipe.pretrained.is_some() || imported.is_some();
        let head = if pretrained { spec.head(data.image)? } else { vec![] };
        let normalization = if recipe.normalize { Normalization::of(&data.train)? } else { None };
        Ok(Prepared { recipe, data, model, normalization, head, imported })
    }

    /// Leaves one step, and one batch to evaluate.
    fn shorten(&mut self) -> Result<()> {
        self.recipe.length = Length::Steps(1);
        let samples = self.data.test.len().min(self.recipe.batch_size) as u32;
        self.data.test = self.data.test.subset(&(0..samples).collect::<Vec<u32>>())?;
        Ok(())
    }

    /// What the model is trained for.
    fn task(&self) -> Task {
        Settings::of(&self.recipe, self.recipe.batch_size).task(&self.data)
    }

    /// A run of this, from initial weights.
    pub(super) fn trainer(&self, device: &Device) -> Result<Trainer<'_>> {
        let settings = Settings::of(&self.recipe, self.recipe.batch_size);
        pollster::block_on(Trainer::new(
            &self.model,
            &self.data,
            self.normalization.clone(),
            settings,
            device,
        ))
    }

    /// The same from the weights that the recipe names, if it names any.
    pub(super) fn started(&self, device: &Device) -> Result<Trainer<'_>> {
        let mut trainer = self.trainer(device)?;
        if let Some(weights) = &self.imported {
            pretrained::take(&mut trainer, weights, Path::new(&self.recipe.model), self)?;
        }
        if let Some(path) = &self.recipe.init {
            initialise(&mut trainer, path, self.recipe.quiet)?;
        }
        if let Some(source) = &self.recipe.pretrained {
            pretrained::adopt(&mut trainer, source, self)?;
        }
        Ok(trainer)
    }

    /// Samples of a micro-batch, if a step is done in several.
    fn split(&self, trainer: &Trainer<'_>) -> Option<usize> {
        Some(trainer.micro_batch_size()).filter(|size| *size < self.recipe.batch_size)
    }

    fn introduce(&self, device: &Device, trainer: &Trainer<'_>) {
        if self.recipe.quiet {
            return;
        }
        let parameters = trainer.elements();
        let memory =
            trainer.device_bytes().map(|bytes| format!(", {:.1} MiB on it", bytes as f64 / 1048576.0));
        say(format!("device  {}{}", device.name(), memory.unwrap_or_default()));
        let [c, h, w] = self.data.image;
        say(format!(
            "data    {}: {} training and {} test images of {c}x{h}x{w}, {} classes",
            self.data.name,
            self.data.train.len(),
            self.data.test.len(),
            self.data.classes.len()
        ));
        if self.recipe.data == DataSource::Digits {
            say(format!("        {DIGITS_CREDIT}"));
        }
        say(format!("model   {}: {parameters} parameters and statistics", self.model.name()));
        say(format!(
            "recipe  {} steps of {} images, seed {}",
            trainer.total_steps(),
            self.recipe.batch_size,
            self.recipe.seed
        ));
        if trainer.recomputes() && matches!(device, Device::Gpu(_)) {
            say("        activations that are cheap to make again are recomputed, to save memory".to_string());
        }
        if let Some(size) = self.split(trainer) {
            say(format!(
                "        {size} images at a time: gradients are added up; batch norm, if there is any, takes its \
                 statistics from each {size}"
            ));
        }
    }
}

/// Loads a data set, with a bar for what takes long.
pub(super) fn load_data(source: &DataSource, options: &LoadOptions, quiet: bool) -> Result<Dataset> {
    let bar = bar(0, "reading images {wide_bar} {pos}/{len}", quiet);
    let data = Dataset::load_with(source, options, &|done, total| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    let data = data?;
    if !data.skipped.is_empty() {
        eprintln!("warning: {} pictures cannot be read and are left out:", data.skipped.len());
        data.skipped.iter().for_each(|reason| eprintln!("  {reason}"));
    }
    Ok(data)
}

/// Overwrites initial weights by those of a file and says which were missing or left over.
fn initialise(trainer: &mut Trainer<'_>, path: &Path, quiet: bool) -> Result<()> {
    let mut tensors = trainer.initial()?;
    let leftovers = weights::merge(&mut tensors, &TensorFile::read(path)?, path)?;
    trainer.set_model(&tensors);
    let list = |names: &[String]| names.join(", ");
    if !leftovers.missing.is_empty() {
        let names = list(&leftovers.missing);
        eprintln!("warning: {} has no {names}; they keep their initial values", path.display());
    }
    if !leftovers.unused.is_empty() {
        eprintln!(
            "warning: {} also has {}; the model has no such tensors",
            path.display(),
            list(&leftovers.unused)
        );
    }
    if !quiet {
        let taken = tensors.len() - leftovers.missing.len();
        say(format!("init    {taken} of {} tensors from {}", tensors.len(), path.display()));
    }
    Ok(())
}

/// Trains until the end or Ctrl-C, and shows how far it is.
#[cfg_attr(not(feature = "tui"), expect(unused_variables, reason = "only the dashboard names the device"))]
fn watch(
    trainer: &mut Trainer<'_>,
    prepared: &Prepared,
    mut events: Option<EventWriter>,
    (style, device): (Style, &Device),
) -> Result<Trained> {
    let stop = stop_flag(style)?;
    let total = trainer.total_steps();
    let epochs = match prepared.recipe.length {
        Length::Epochs(epochs) => epochs,
        Length::Steps(steps) => u64::from(steps).div_ceil(trainer.steps_per_epoch()) as u32,
    };
    let done = trainer.progress().step;
    #[cfg(feature = "tui")]
    let facts = Facts {
        run: trainer.run().map_or(String::new(), |run| run.path.display().to_string()),
        model: prepared.model.name().to_string(),
        device: device.name(),
        device_bytes: trainer.device_bytes(),
        classes: prepared.data.classes.clone(),
        epochs,
        steps: total,
        done,
    };
    let events_too = &mut events;
    let mut train = |shown: &mut dyn Observer| {
        let Some(events) = events_too else { return pollster::block_on(trainer.train(shown, &stop)) };
        pollster::block_on(trainer.train(&mut Both(shown, events), &stop))
    };
    let trained = match style {
        #[cfg(feature = "tui")]
        Style::Dashboard => {
            let mut dashboard = Dashboard::open(facts, stop.clone())?;
            let trained = train(&mut dashboard);
            dashboard.close(prepared.recipe.quiet);
            trained
        }
        style => {
            let mut display = Display::new(total, done, epochs, style);
            let trained = train(&mut display);
            display.finish();
            trained
        }
    };
    if let Some(error) = events.as_ref().and_then(EventWriter::failure) {
        eprintln!("warning: TensorBoard's events are not all written: {error}");
    }
    trained
}

/// Says how well the model does, why training ended, and where the model is.
fn conclude(prepared: &Prepared, trained: &Trained, trainer: &Trainer<'_>, run: &Run) {
    if prepared.recipe.quiet {
        return;
    }
    say(report::evaluation(&trained.evaluation, &prepared.data.classes));
    if let Some(remark) = prepared.recipe.control.tta.remark() {
        say(remark);
    }
    let (progress, control) = (trainer.progress(), &prepared.recipe.control);
    let (step, folder) = (progress.step, run.path.display());
    match trained.ending {
        Ending::Complete => {}
        Ending::Patience => say(format!(
            "stopped at step {step}: no improvement of {} in {} evaluations",
            control.rule.monitor.name(),
            progress.history.since_best
        )),
        Ending::MaxTime => {
            say(format!("stopped at step {step}: --max-time is over; `wgrad resume {folder}` goes on"));
        }
    }
    let best = progress.history.best_kept(control.rule.monitor);
    if let Some(best) = best.filter(|best| best.step != step) {
        let (name, value) = (control.rule.monitor.name(), best.value());
        say(format!("best {name} {value:.4} at step {}: `wgrad eval {folder} --checkpoint best`", best.step));
    }
    say(format!("saved in {}", run.path.display()));
}

/// A flag that Ctrl-C raises; a second Ctrl-C ends the program at once.
fn stop_flag(style: Style) -> Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    let raised = flag.clone();
    ctrlc::set_handler(move || {
        let again = raised.swap(true, Ordering::Relaxed);
        match style {
            // It shows that it is stopping.
            #[cfg(feature = "tui")]
            Style::Dashboard if !again => {}
            #[cfg(feature = "tui")]
            Style::Dashboard => super::dashboard::give_back(),
            _ if again => {}
            _ => eprintln!("stopping after the steps in flight; Ctrl-C again stops at once"),
        }
        if again {
            std::process::exit(130);
        }
    })
    .map_err(|error| Error::Recipe(format!("cannot listen for Ctrl-C: {error}")))?;
    Ok(flag)
}

fn file_stem(model: &str) -> &str {
    Path::new(model).file_stem().and_then(|stem| stem.to_str()).unwrap_or("run")
}
