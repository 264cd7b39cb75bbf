//! The end of a training step on the host: norm of the gradients, halt flag, optimizer, running statistics.

use rayon::prelude::*;

use super::{Element, Session};
use crate::graph::{Clip, Graph, ParameterGroup, Step, UpdatePage};
use crate::plan::{PageList, Program};

impl<T: Element> Session<T> {
    /// The norm over all gradients, in blocks of fixed size, so that it does not depend on the number of threads.
    pub(super) fn gradient_norm(&self) -> T {
        const BLOCK: usize = 4096;
        let pages = self.pages(PageList::Gradients);
        let sums = pages.iter().flat_map(|page| page.par_chunks(BLOCK).map(squares).collect::<Vec<T>>());
        sums.sum::<T>().sqrt()
    }

    pub(super) fn update_parameters(&mut self, program: &Program, [norm, scale]: [T; 2], step: &Step) {
        let Some(optimizer) = &program.optimizer else { return };
        let clip_norm = T::of(f64::from(step.clip_norm));
        let clip = clip_norm / (norm + T::of(1e-6));
        let clip = if step.clip_norm.is_finite() && clip < T::one() { clip } else { T::one() };
        let clip = Clip { factor: clip / scale, value: T::of(f64::from(step.clip_value)) };
        let mut parameters = std::mem::take(self.list_mut(PageList::Parameters));
        let slots = 0..program.slots().len();
        let mut slots: Vec<Vec<Vec<T>>> =
            slots.map(|slot| std::mem::take(self.list_mut(PageList::Slot(slot)))).collect();
        let gradients = self.pages(PageList::Gradients);
        let tensors = program.pages.parameters.tensors().iter().zip(&optimizer.groups);
        for ((_, _, span), &group) in tensors {
            let range = span.offset..span.offset + span.len;
            let slots = slots.iter_mut().map(|pages| &mut pages[span.page][range.clone()]).collect();
            let update = |page: UpdatePage<'_, T>| T::update(optimizer.update.as_ref(), page);
            let pieces = Pieces { gradients: &gradients[span.page][range.clone()], group, clip, step };
            pieces.for_each(&mut parameters[span.page][range.clone()], slots, &update);
        }
        for (slot, pages) in slots.into_iter().enumerate() {
            *self.list_mut(PageList::Slot(slot)) = pages;
        }
        *self.list_mut(PageList::Parameters) = parameters;
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

/// One parameter's update, cut into pieces for the threads.
struct Pieces<'a, T> {
    gradients: &'a [T],
    group: ParameterGroup,
    clip: Clip<T>,
    step: &'a Step,
}

impl<T: Element> Pieces<'_, T> {
    fn for_each(
        &self,
        parameters: &mut [T],
        slots: Vec<&mut [T]>,
        update: &(dyn Fn(UpdatePage<'_, T>) + Sync),
    ) {
        const PIECE: usize = 65_536;
        if parameters.len() <= PIECE {
            let Pieces { gradients, group, clip, step } = *self;
            return update(UpdatePage { parameters, gradients, slots, group, clip, step });
        }
        let middle = (parameters.len() / 2).next_multiple_of(64);
        let (left, right) = parameters.split_at_mut(middle);
        let (left_slots, right_slots) = slots.into_iter().map(|slot| slot.split_at_mut(middle)).unzip();
        let (left_gradients, right_gradients) = self.gradients.split_at(middle);
        rayon::join(
            || Pieces { gradients: left_gradients, ..*self }.for_each(left, left_slots, update),
            || Pieces { gradients: right_gradients, ..*self }.for_each(right, right_slots, update),
        );
    }
}
