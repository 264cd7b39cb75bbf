//! Running averages of a run's weights: where they start, how they are evaluated and saved.

use super::evaluation::Evaluation;
use super::trainer::Trainer;
use super::weights::{self, Tensors};
use crate::error::Result;
use crate::plan::PageList;

impl Trainer<'_> {
    /// Overwrites the running averages, if there are any.
    pub(super) fn set_averages(&mut self, tensors: &Tensors) {
        if self.assembly.program.averages() {
            let pages = weights::all_pages(&self.assembly.program.pages, tensors);
            for ([_, average], pages) in PageList::AVERAGED.into_iter().zip(pages) {
                self.assembly.session.write_pages(average, &pages);
            }
        }
    }

    /// The running averages of parameters and running statistics, if they are kept.
    pub async fn averages(&mut self) -> Result<Option<Tensors>> {
        if !self.assembly.program.averages() {
            return Ok(None);
        }
        let tensors = self.tensors_of(PageList::AVERAGED.map(|[_, average]| average)).await?;
        Ok(Some(tensors))
    }

    /// Evaluates the test split with the running averages, if they are kept. They take the weights' place meanwhile.
    pub async fn evaluate_averages(&mut self) -> Result<Option<Evaluation>> {
        if !self.assembly.program.averages() {
            return Ok(None);
        }
        self.swap_averages().await?;
        let evaluation = self.evaluate().await;
        self.swap_averages().await?;
        evaluation.map(Some)
    }

    async fn swap_averages(&mut self) -> Result<()> {
        for lists in PageList::AVERAGED {
            self.assembly.session.swap_pages(lists).await?;
        }
        Ok(())
    }
}
