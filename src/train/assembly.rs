//! A run's program on its device.

use std::sync::Arc;

use super::augmented::TrainFeed;
use super::device::Device;
use super::feed::Feed;
use super::micro_batches::{Fit, Fitted};
use super::program::{self, Optimizing, Task};
use super::session::Session;
use super::settings::Settings;
use super::trainer::Trainer;
use crate::data::{Dataset, Normalization};
use crate::error::Result;
use crate::graph::GradientRule;
use crate::models::Model;
use crate::plan::{PageList, Program};

/// What a run is of.
#[derive(Clone)]
pub(super) struct Parts<'d> {
    pub(super) model: &'d Model,
    pub(super) data: &'d Dataset,
    pub(super) normalization: Option<Normalization>,
    pub(super) device: Device,
}

/// A program, and the session that runs it and holds what stays on the device.
pub(super) struct Assembly {
    /// Sizes; the batch size is a micro-batch's.
    pub(super) task: Task,
    pub(super) feed: TrainFeed,
    pub(super) test_feed: Feed,
    pub(super) program: Arc<Program>,
    pub(super) session: Session,
    pub(super) recomputes: bool,
    /// The epoch, from 0, whose frozen parameters it has.
    pub(super) epoch: u32,
}

impl Assembly {
    pub(super) async fn new(parts: &Parts<'_>, settings: &Settings, epoch: u32) -> Result<Assembly> {
        let Parts { model, data, normalization, device } = parts;
        let mut task = settings.task(data);
        let [train, test_feed] = Feed::choose(data, device, settings.placement);
        let done = (settings.augmentation, settings.mixing);
        let feed = TrainFeed::new(train, done, &data.train, &task, settings.seed)?;
        let fit = Fit {
            batch_size: settings.batch_size,
            group: feed.group(),
            micro_batch_size: settings.micro_batch_size,
            memory_limit: settings.memory_limit,
            recompute: settings.recompute,
        };
        let optimizing = Optimizing {
            loss: settings.loss.clone(),
            update: settings.update.clone(),
            groups: settings.groups.clone(),
            epoch,
            averages: settings.ema.is_some(),
            clip: settings.adaptive_clip.map(|clip| Arc::new(clip) as Arc<dyn GradientRule>),
        };
        let build = |batch_size| {
            let task = Task { batch_size, ..task };
            program::training_from((feed, test_feed), model, &task, &optimizing, device)
        };
        let Fitted { program, mut session, micro_batch_size, recomputes } = fit.find(device, build).await?;
        task.batch_size = micro_batch_size;
        for (feed, split) in [(train, &data.train), (test_feed, &data.test)] {
            feed.install(&mut session, split, normalization.as_ref()).await?;
        }
        Ok(Assembly { task, feed, test_feed, program, session, recomputes, epoch })
    }
}

impl Trainer<'_> {
    /// Where this epoch freezes other parameters than the one before, goes on with a program that computes the gradients
    /// of those that are trained now, from the state in which the run is.
    pub(super) async fn freeze_and_thaw(&mut self) -> Result<()> {
        let (groups, epoch) = (&self.settings.groups, self.progress.epoch);
        // Asked before each step: only a new epoch may change anything.
        let before = std::mem::replace(&mut self.assembly.epoch, epoch);
        if before == epoch || groups.freezing(before) == groups.freezing(epoch) {
            return Ok(());
        }
        let mut next = Assembly::new(&self.parts, &self.settings, epoch).await?;
        for list in state_lists(&next.program) {
            let pages = self.assembly.session.read_pages(list).await?;
            next.session.write_pages(list, &pages);
        }
        next.session.set_loss_scale(self.progress.loss_scale);
        self.assembly = next;
        Ok(())
    }
}

/// All lists of pages that make up the state of a run.
fn state_lists(program: &Program) -> Vec<PageList> {
    let slots = (0..program.slots().len()).map(PageList::Slot);
    let averages = PageList::AVERAGED.into_iter().filter(|_| program.averages()).map(|[_, average]| average);
    [PageList::Parameters, PageList::Statistics].into_iter().chain(slots).chain(averages).collect()
}
