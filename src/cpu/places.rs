//! Where the values of a graph lie on the host: planned once, so that a step allocates nothing.

use std::collections::{HashMap, HashSet};

use crate::graph::{Graph, NodeKind, Value};
use crate::plan::{Lifetime, Liveness, PageList, Program, Span, colour};
use crate::tensor::DType;

/// A piece of memory of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Memory {
    /// A reusable buffer of floats.
    Real(usize),
    /// A reusable buffer of class indices.
    Int(usize),
    /// A page.
    Page(PageList, usize),
}

/// Where a value lies in a piece of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) memory: Memory,
    pub(super) offset: usize,
    pub(super) len: usize,
}

/// A value and the place in a page that it is copied to.
pub(super) type Copied = (Value, PageList, Span);

/// The places of a graph's values, but for inputs and residents, which are read where the caller has them.
#[derive(Debug)]
pub(super) struct Places {
    of: HashMap<Value, Place>,
    /// Elements of each buffer of floats.
    pub(super) reals: Vec<usize>,
    /// Elements of each buffer of class indices.
    pub(super) ints: Vec<usize>,
    /// Values that are copied into pages after the last node.
    pub(super) copies: Vec<Copied>,
}

impl Places {
    /// Gradients and batch statistics are computed straight into their pages, unless something else reads them; what is
    /// dead leaves its buffer to others.
    pub(super) fn of(program: &Program, graph: &Graph, liveness: &Liveness) -> Places {
        let (pinned, copies) = pins(program, graph, liveness);
        let mut of = pinned;
        let (mut reals, mut ints): (Vec<Lifetime>, Vec<Lifetime>) = (vec![], vec![]);
        for (index, node) in graph.nodes().iter().enumerate().filter(|(index, _)| liveness.needed[*index]) {
            let list = match node.kind {
                NodeKind::Parameter(_) => Some(PageList::Parameters),
                NodeKind::Statistic(_) => Some(PageList::Statistics),
                NodeKind::Gradient => Some(PageList::Gradients),
                NodeKind::Op(_) => None,
                NodeKind::Input | NodeKind::Resident => continue,
            };
            for (output, desc) in node.outputs.iter().enumerate() {
                let (value, len) = (Value { node: index, output }, desc.numel());
                of.entry(value).or_insert_with(|| match (list, desc.dtype) {
                    (Some(list), _) => in_page(list, program.pages.span(graph, value)),
                    (None, DType::I32) => {
                        Place { memory: Memory::Int(begin(&mut ints, index, len)), offset: 0, len }
                    }
                    (None, _) => {
                        Place { memory: Memory::Real(begin(&mut reals, index, len)), offset: 0, len }
                    }
                });
            }
            for dead in &liveness.dies_after[index] {
                match of[dead].memory {
                    Memory::Real(lifetime) => reals[lifetime].last = index,
                    Memory::Int(lifetime) => ints[lifetime].last = index,
                    Memory::Page(..) => {}
                }
            }
        }
        let ((real_of, reals), (int_of, ints)) = (colour(&reals), colour(&ints));
        for place in of.values_mut() {
            match &mut place.memory {
                Memory::Real(lifetime) => *lifetime = real_of[*lifetime],
                Memory::Int(lifetime) => *lifetime = int_of[*lifetime],
                Memory::Page(..) => {}
            }
        }
        let elements = |sizes: Vec<u64>| sizes.into_iter().map(|bytes| (bytes / 4) as usize).collect();
        Places { of, reals: elements(reals), ints: elements(ints), copies }
    }

    /// Where a value lies; nothing for inputs and residents.
    pub(super) fn get(&self, value: Value) -> Option<Place> {
        self.of.get(&value).copied()
    }
}

/// A new lifetime of `len` elements that nothing has ended yet.
fn begin(lifetimes: &mut Vec<Lifetime>, first: usize, len: usize) -> usize {
    lifetimes.push(Lifetime { bytes: len as u64 * 4, first, last: usize::MAX });
    lifetimes.len() - 1
}

fn in_page(list: PageList, Span { page, offset, len }: Span) -> Place {
    Place { memory: Memory::Page(list, page), offset, len }
}

/// The values that are computed in pages, and those that are copied there.
fn pins(program: &Program, graph: &Graph, liveness: &Liveness) -> (HashMap<Value, Place>, Vec<Copied>) {
    let gradients =
        graph.gradients().iter().map(|(parameter, gradient)| (*parameter, *gradient, PageList::Gradients));
    let updates = graph.statistic_updates().iter();
    let statistics = updates.map(|update| (update.running, update.batch, PageList::BatchStatistics));
    let needed = graph.nodes().iter().zip(&liveness.needed).filter(|(_, needed)| **needed);
    let mut taken: HashSet<Value> = needed.flat_map(|(node, _)| node.inputs.iter().copied()).collect();
    taken.extend(graph.outputs().values());
    let (mut pinned, mut copies) = (HashMap::new(), vec![]);
    for (stored, value, list) in gradients.chain(statistics) {
        let span = program.pages.span(graph, stored);
        let computed = matches!(graph.nodes()[value.node].kind, NodeKind::Op(_));
        // A page is not written where one of its gradients is read.
        let read = graph.nodes()[value.node].inputs.iter();
        let apart = read
            .filter(|input| matches!(graph.nodes()[input.node].kind, NodeKind::Gradient))
            .all(|input| (PageList::Gradients, program.pages.span(graph, *input).page) != (list, span.page));
        if computed && apart && taken.insert(value) {
            pinned.insert(value, in_page(list, span));
        } else {
            copies.push((value, list, span));
        }
    }
    (pinned, copies)
}
