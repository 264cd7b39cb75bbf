//! Event files for TensorBoard: of a run while it trains, or of one that is over.

pub mod proto;
mod writer;

use std::path::Path;

pub use writer::{EventFile, read_events};

use super::picture::{self, Picture};
use super::record::Record;
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
        let StepLine { loss, lr, grad_norm, loss_scale, img_per_s, .. } = *line;
        let mut scalars = vec![
            ("loss/step", f64::from(loss)),
            ("learning_rate", lr),
            ("gradient_norm", f64::from(grad_norm)),
            ("images_per_second", img_per_s),
        ];
        scalars.extend(loss_scale.map(|scale| ("loss_scale", f64::from(scale))));
        self.write(|events, step| events.scalars(step, &scalars));
    }

    fn epoch(&mut self, line: &EpochLine) {
        let mut scalars = vec![
            ("loss/train", line.train_loss),
            ("accuracy/train", line.train_accuracy),
            ("epoch", f64::from(line.epoch)),
        ];
        scalars.extend(tested(&line.test, line.ema.as_ref()));
        self.write(|events, step| events.scalars(step, &scalars));
    }

    fn evaluation(&mut self, line: &EvaluationLine) {
        let scalars = tested(&line.test, line.ema.as_ref());
        self.write(|events, step| events.scalars(step, &scalars));
    }

    fn saved(&mut self, model: &Tensors) {
        self.write(|events, step| of_model(events, step, model));
    }
}

fn tested(test: &TestLine, averages: Option<&TestLine>) -> Vec<(&'static str, f64)> {
    let mut scalars = vec![("loss/test", test.test_loss), ("accuracy/test", test.test_accuracy)];
    scalars.extend(averages.into_iter().flat_map(|averages| {
        [("loss/test_averaged", averages.test_loss), ("accuracy/test_averaged", averages.test_accuracy)]
    }));
    scalars
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
    let known = |scalars: Vec<(&'static str, f64)>| -> Vec<(&'static str, f64)> {
        scalars.into_iter().filter(|(_, value)| value.is_finite()).collect()
    };
    for row in &record.steps {
        let scalars = known(vec![
            ("loss/step", row.loss),
            ("learning_rate", row.lr),
            ("gradient_norm", row.grad_norm),
            ("loss_scale", row.loss_scale),
            ("images_per_second", row.img_per_s),
        ]);
        events.scalars(row.step, &scalars)?;
    }
    for row in &record.evaluations {
        let scalars = known(vec![
            ("loss/train", row.train_loss),
            ("accuracy/train", row.train_accuracy),
            ("loss/test", row.test_loss),
            ("accuracy/test", row.test_accuracy),
            ("loss/test_averaged", row.ema_loss),
            ("accuracy/test_averaged", row.ema_accuracy),
        ]);
        events.scalars(row.step, &scalars)?;
    }
    if let (Some(model), Some(last)) = (model, record.last()) {
        of_model(&mut events, last.step, model)?;
    }
    Ok(events)
}
