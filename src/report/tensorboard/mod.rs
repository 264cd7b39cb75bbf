//! Event files for TensorBoard: of a run while it trains, or of one that is over.

pub mod proto;
mod writer;

use std::path::Path;

pub use writer::{EventFile, read_events};

use super::picture::{self, Picture};
use super::record::{Record, StepRow};
use crate::error::Result;
use crate::train::metrics::{EpochLine, EvaluationLine, StepLine, TestLine};
use crate::train::weights::Tensors;
use crate::train::{Observer, Run, StepEvent};

/// Writes what it sees of a run into an event file.
pub struct EventWriter {
    events: EventFile,
    step: u64,
    failed: Option<crate::error::Error>,
}

impl EventWriter {
    /// Begins a file in the folder of a run that has done so many steps.
    pub fn create(run: &Run, done: u64) -> Result<EventWriter> {
        let mut events = EventFile::create(&run.path, done)?;
        let record = Record::read(&run.path)?;
        events.settings(&record.name, &record.settings)?;
        Ok(EventWriter { events, step: done, failed: None })
    }

    /// Adds pictures under a name.
    pub fn pictures(&mut self, tag: &str, pictures: &[Picture]) {
        self.write(|events, step| events.pictures(step, tag, pictures));
    }

    /// What went wrong first; nothing has been written since. The run goes on without its events.
    pub fn failure(&self) -> Option<&crate::error::Error> {
        self.failed.as_ref()
    }

    fn write(&mut self, write: impl FnOnce(&mut EventFile, u64) -> Result<()>) {
        if self.failed.is_none() {
            self.failed = write(&mut self.events, self.step).err();
        }
    }
}

impl Observer for EventWriter {
    fn step(&mut self, event: StepEvent) {
        self.step = event.step;
    }

    fn logged(&mut self, line: &StepLine) {
        self.write(|events, step| of_step(events, step, &StepRow::from(line)));
    }

    fn epoch(&mut self, line: &EpochLine) {
        let trained = [line.train_loss, line.train_accuracy];
        self.write(|events, step| {
            events.scalars(step, &[("epoch", f64::from(line.epoch))])?;
            of_evaluation(events, step, trained, [Some(&line.test), line.ema.as_ref()].map(tested))
        });
    }

    fn evaluation(&mut self, line: &EvaluationLine) {
        let tests = [Some(&line.test), line.ema.as_ref()].map(tested);
        self.write(|events, step| of_evaluation(events, step, [f64::NAN; 2], tests));
    }

    fn saved(&mut self, model: &Tensors) {
        self.write(|events, step| of_model(events, step, model));
    }
}

/// Loss and accuracy, if they are known.
fn tested(test: Option<&TestLine>) -> [f64; 2] {
    test.map_or([f64::NAN; 2], |test| [test.test_loss, test.test_accuracy])
}

/// Numbers by their names, but for those that are not finite or not known.
fn finite(events: &mut EventFile, step: u64, scalars: &[(&str, f64)]) -> Result<()> {
    let finite: Vec<_> = scalars.iter().copied().filter(|(_, value)| value.is_finite()).collect();
    events.scalars(step, &finite)
}

fn of_step(events: &mut EventFile, step: u64, row: &StepRow) -> Result<()> {
    let scalars = [
        ("loss/step", row.loss),
        ("learning_rate", row.lr),
        ("gradient_norm", row.grad_norm),
        ("loss_scale", row.loss_scale),
        ("images_per_second", row.img_per_s),
    ];
    finite(events, step, &scalars)
}

/// Loss and accuracy of training, of the test split, and of that with the running averages.
fn of_evaluation(
    events: &mut EventFile,
    step: u64,
    trained: [f64; 2],
    [test, averages]: [[f64; 2]; 2],
) -> Result<()> {
    let scalars = [
        ("loss/train", trained[0]),
        ("accuracy/train", trained[1]),
        ("loss/test", test[0]),
        ("accuracy/test", test[1]),
        ("loss/test_averaged", averages[0]),
        ("accuracy/test_averaged", averages[1]),
    ];
    finite(events, step, &scalars)
}

/// How weights are distributed, and what the first filters look like.
fn of_model(events: &mut EventFile, step: u64, model: &Tensors) -> Result<()> {
    events.histograms(step, model)?;
    match picture::filters(model).transpose()? {
        Some((_, filters)) => events.pictures(step, "filters", &[filters]),
        None => Ok(()),
    }
}

/// Writes the events of a run that is over, as far as its folder tells, into a folder.
pub fn convert(record: &Record, model: Option<&Tensors>, folder: &Path) -> Result<EventFile> {
    let mut events = EventFile::create(folder, 0)?;
    events.settings(&record.name, &record.settings)?;
    for row in &record.steps {
        of_step(&mut events, row.step, row)?;
    }
    for row in &record.evaluations {
        let trained = [row.train_loss, row.train_accuracy];
        let tests = [[row.test_loss, row.test_accuracy], [row.ema_loss, row.ema_accuracy]];
        of_evaluation(&mut events, row.step, trained, tests)?;
    }
    if let (Some(model), Some(last)) = (model, record.last()) {
        of_model(&mut events, last.step, model)?;
    }
    Ok(events)
}
