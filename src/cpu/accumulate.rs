//! Micro-batches: `shaders/accumulate.wgsl` on the host.

use super::session::{Element, Session};
use crate::graph::{Graph, Step};
use crate::plan::{PageList, Program};

/// What the micro-batches of a step have added up so far.
#[derive(Debug, Default)]
pub(super) struct Sums<T> {
    /// Of weights, of weighted losses, of correct predictions.
    totals: [T; 3],
    gradients: Vec<Vec<T>>,
    statistics: Vec<Vec<T>>,
}

impl<T: Element> Session<T> {
    /// Adds a micro-batch whose outputs, gradients and statistics are in their places to those before it. Says whether it
    /// was the last: then all of these are the whole batch's.
    pub(super) fn accumulate(&mut self, program: &Program, graph: &Graph, step: &Step) -> bool {
        let (first, last) = (step.micro_batch == 0, step.micro_batch + 1 == step.micro_batches);
        let mut sums = std::mem::take(&mut self.sums);
        if first {
            sums.totals = [T::zero(); 3];
            sums.gradients.resize_with(self.pages(PageList::Gradients).len(), Vec::new);
            sums.statistics.resize_with(self.pages(PageList::BatchStatistics).len(), Vec::new);
        }
        let output = |name: &str| self.output(name).map(|values| values[0]);
        let weight = output("weight").unwrap_or(T::one());
        let loss = output("loss").unwrap_or(T::zero());
        let loss = if weight == T::zero() { T::zero() } else { weight * loss };
        let found = [weight, loss, output("correct").unwrap_or(T::zero())];
        sums.totals.iter_mut().zip(found).for_each(|(total, found)| *total += found);
        let total = sums.totals[0];
        for (page, sum) in self.pages_mut(PageList::Gradients).iter_mut().zip(&mut sums.gradients) {
            sum.resize(page.len(), T::zero());
            for (value, sum) in page.iter_mut().zip(sum) {
                *sum = if first { weight * *value } else { *sum + weight * *value };
                *value = if last { *sum / total } else { *value };
            }
        }
        self.accumulate_statistics(program, graph, step, &mut sums.statistics);
        if last {
            let [weight, loss, correct] = sums.totals;
            for (name, value) in [("loss", loss / weight), ("correct", correct), ("weight", weight)] {
                self.outputs.get_mut(name).into_iter().for_each(|output| output[0] = value);
            }
        }
        self.sums = sums;
        last
    }

    fn accumulate_statistics(&mut self, program: &Program, graph: &Graph, step: &Step, sums: &mut [Vec<T>]) {
        let (first, last) = (step.micro_batch == 0, step.micro_batch + 1 == step.micro_batches);
        let pages = self.pages_mut(PageList::BatchStatistics);
        for (page, sum) in pages.iter().zip(sums.iter_mut()) {
            sum.resize(page.len(), T::zero());
        }
        for update in graph.statistic_updates() {
            let span = program.pages.span(graph, update.running);
            let range = span.offset..span.offset + span.len;
            let momentum = T::of(f64::from(update.momentum));
            let whole = T::of(f64::from(program.step_momentum(update.momentum)));
            let sums = &mut sums[span.page][range.clone()];
            for (value, sum) in pages[span.page][range].iter_mut().zip(sums) {
                let before = if first { T::zero() } else { (T::one() - momentum) * *sum };
                *sum = before + momentum * *value;
                if last && whole > T::zero() {
                    *value = *sum / whole;
                }
            }
        }
    }
}
