//! The end of a training step on the host: norm of the gradients, halt flag, optimizer, running statistics.

use rayon::prelude::*;

use super::{Element, Session};
use crate::graph::{Clip, Graph, ParameterGroup, Step, UpdatePage};
use crate::plan::{PageList, Program};

/// Elements of a page that one thread does at a time.
const BLOCK: usize = 4096;

impl<T: Element> Session<T> {
    /// The norm over all gradients, in blocks of fixed size, so that it does not depend on the number of threads.
    pub(super) fn gradient_norm(&self) -> T {
        let pages = self.pages(PageList::Gradients);
        let sums = pages.iter().flat_map(|page| page.par_chunks(BLOCK).map(squares).collect::<Vec<T>>());
        sums.sum::<T>().sqrt()
    }

    pub(super) fn update_parameters(
        &mut self,
        program: &Program,
        [norm, scale]: [T; 2],
        step: &Step,
        pass: usize,
    ) {
        let Some(optimizer) = &program.optimizer else { return };
        let clip_norm = T::of(f64::from(step.clip_norm));
        let clip = clip_norm / (norm + T::of(1e-6));
        let clip = if step.clip_norm.is_finite() && clip < T::one() { clip } else { T::one() };
        let clip = Clip { factor: clip / scale, value: T::of(f64::from(step.clip_value)) };
        let slots = (0..program.slots().len()).map(PageList::Slot);
        let lists: Vec<PageList> =
            [PageList::Parameters, PageList::Gradients].into_iter().chain(slots).collect();
        let mut taken: Vec<Vec<Vec<T>>> =
            lists.iter().map(|list| std::mem::take(self.list_mut(*list))).collect();
        let tensors = program.pages.parameters.tensors().iter().zip(&optimizer.groups);
        for (((_, _, spans), &group), &directed) in tensors.zip(&program.stages.directed) {
            for span in spans {
                let range = span.offset..span.offset + span.len;
                let arrays = taken.iter_mut().map(|pages| &mut pages[span.page][range.clone()]).collect();
                let settings = Settings { group, clip, step, pass, directed };
                settings.update(arrays, &|page| T::update(optimizer.update.as_ref(), page));
            }
        }
        for (list, pages) in lists.into_iter().zip(taken) {
            *self.list_mut(list) = pages;
        }
    }

    pub(super) fn update_statistics(&mut self, program: &Program, graph: &Graph) {
        let batch = std::mem::take(self.list_mut(PageList::BatchStatistics));
        let running = self.pages_mut(PageList::Statistics);
        for update in graph.statistic_updates() {
            let span = program.pages.span(graph, update.running);
            let momentum = T::of(f64::from(program.step_momentum(update.momentum)));
            let range = span.offset..span.offset + span.len;
            let pairs = running[span.page][range.clone()].iter_mut().zip(&batch[span.page][range]);
            pairs.for_each(|(running, batch)| *running += momentum * (*batch - *running));
        }
        *self.list_mut(PageList::BatchStatistics) = batch;
    }

    /// average = lerp(average, values, share), as torch.lerp does it
    pub(super) fn update_averages(&mut self, step: &Step) {
        let share = T::of(f64::from(step.ema_share));
        let rest = T::one() - share;
        for [values, averages] in PageList::AVERAGED {
            let mut pages = std::mem::take(self.list_mut(averages));
            for (page, values) in pages.iter_mut().zip(self.pages(values)) {
                page.par_chunks_mut(BLOCK).zip(values.par_chunks(BLOCK)).for_each(|(page, values)| {
                    for (average, value) in page.iter_mut().zip(values) {
                        let change = *value - *average;
                        *average = if step.ema_share < 0.5 {
                            *average + share * change
                        } else {
                            *value - change * rest
                        };
                    }
                });
            }
            *self.list_mut(averages) = pages;
        }
    }
}

/// Zeros that were written, not only promised by the system: where memory is read first, as the update does with its state,
/// the system lends one page of zeros for all of it, and takes it back with an interrupt to every core, page by page.
pub(super) fn written<T: Element>(mut pages: Vec<Vec<T>>) -> Vec<Vec<T>> {
    for page in &mut pages {
        page.par_chunks_mut(BLOCK).for_each(|piece| piece.fill(T::zero()));
    }
    pages
}

/// The sum of squares, in several sums side by side.
fn squares<T: Element>(values: &[T]) -> T {
    let (blocks, rest) = values.as_chunks::<16>();
    let mut sums = [T::zero(); 16];
    for block in blocks {
        sums.iter_mut().zip(block).for_each(|(sum, x)| *sum += *x * *x);
    }
    let rest = rest.iter().map(|x| *x * *x).sum::<T>();
    sums.into_iter().sum::<T>() + rest
}

/// What is the same for all of one parameter.
struct Settings<'a, T> {
    group: ParameterGroup,
    clip: Clip<T>,
    step: &'a Step,
    pass: usize,
    directed: bool,
}

impl<T: Element> Settings<'_, T> {
    /// Updates a parameter, given with its gradient and state, in pieces for the threads.
    fn update(&self, arrays: Vec<&mut [T]>, update: &(dyn Fn(UpdatePage<'_, T>) + Sync)) {
        const PIECE: usize = 65_536;
        let len = arrays.first().map_or(0, |array| array.len());
        if len <= PIECE {
            let Settings { group, clip, step, pass, directed } = *self;
            let mut arrays = arrays.into_iter();
            let (Some(parameters), Some(gradients)) = (arrays.next(), arrays.next()) else { return };
            let slots = arrays.collect();
            return update(UpdatePage { parameters, gradients, slots, group, clip, step, pass, directed });
        }
        let middle = (len / 2).next_multiple_of(64);
        let (left, right) = arrays.into_iter().map(|array| array.split_at_mut(middle)).unzip();
        rayon::join(|| self.update(left, update), || self.update(right, update));
    }
}
