//! Running averages of a run's weights: where they start, how they are evaluated and saved.

use super::evaluation::Evaluation;
use super::trainer::Trainer;
use super::weights::{self, Tensors};
use crate::error::Result;
use crate::plan::PageList;

/// What is averaged, and where the averages are.
const LISTS: [[PageList; 2]; 2] =
    [[PageList::Parameters, PageList::Ema], [PageList::Statistics, PageList::EmaStatistics]];

impl Trainer<'_> {
    /// Overwrites the running averages, if there are any.
    pub(super) fn set_averages(&mut self, tensors: &Tensors) {
        if self.program.averages() {
            let [parameters, statistics] = weights::all_pages(&self.program.pages, tensors);
            self.session.write_pages(PageList::Ema, &parameters);
            self.session.write_pages(PageList::EmaStatistics, &statistics);
        }
    }

    /// The running averages of parameters and running statistics, if they are kept.
    pub async fn averages(&mut self) -> Result<Option<Tensors>> {
        if !self.program.averages() {
            return Ok(None);
        }
        let tensors = self.tensors_of([PageList::Ema, PageList::EmaStatistics]).await?;
        Ok(Some(tensors))
    }

    /// Evaluates the test split with the running averages, if they are kept. They take the weights' place meanwhile.
    pub async fn evaluate_averages(&mut self) -> Result<Option<Evaluation>> {
        if !self.program.averages() {
            return Ok(None);
        }
        self.swap_averages().await?;
        let evaluation = self.evaluate().await;
        self.swap_averages().await?;
        evaluation.map(Some)
    }

    async fn swap_averages(&mut self) -> Result<()> {
        for lists in LISTS {
            self.session.swap_pages(lists).await?;
        }
        Ok(())
    }
}
