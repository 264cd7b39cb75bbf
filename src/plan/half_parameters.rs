//! f16 copies of parameters: every page is cast as a whole when a plan begins, instead of each tensor by itself.

use std::collections::HashMap;

use super::{Command, Memory, PageList, Place, Program, Span};
use crate::graph::{Capabilities, Graph, Lower, NodeKind, Op, Slot, TensorDesc, Value};
use crate::tensor::DType;

/// Where the f16 copies of parameters lie, and the dispatches that make them. `take` gives memory that stays taken.
pub(super) fn half_parameters(
    program: &Program,
    graph: &Graph,
    capabilities: &Capabilities,
    mut take: impl FnMut(u64) -> Place,
) -> (HashMap<Value, Vec<Place>>, Vec<Command>) {
    let mut copies: HashMap<usize, Place> = HashMap::new();
    let (mut places, mut commands) = (HashMap::new(), vec![]);
    let needed = graph.needed();
    for (parameter, half) in graph.half_parameters().into_iter().filter(|(_, half)| needed[half.node]) {
        let NodeKind::Op(cast) = &graph.nodes()[half.node].kind else { continue };
        let mut place = |span: &Span| {
            let len = program.pages.parameters.page_lens()[span.page];
            let copy = *copies.entry(span.page).or_insert_with(|| {
                let copy = take(len as u64 * 2);
                commands.extend(cast_page(cast.as_ref(), span.page, copy, capabilities));
                copy
            });
            Place { offset: span.offset as u64 * 2, bytes: span.len as u64 * 2, ..copy }
        };
        places.insert(half, program.pages.spans(graph, parameter).iter().map(&mut place).collect());
    }
    (places, commands)
}

fn cast_page(cast: &dyn Op, page: usize, to: Place, capabilities: &Capabilities) -> Vec<Command> {
    let label = "parameters cast.forward";
    let input = [TensorDesc::f32([to.bytes as usize / 2])];
    let output = [input[0].with_dtype(DType::F16)];
    let mut lower = Lower::new(label, &input, &output, capabilities);
    cast.lower(&mut lower);
    let from = Place { memory: Memory::Page(PageList::Parameters, page), offset: 0, bytes: to.bytes * 2 };
    let dispatches = lower.finish().dispatches.into_iter();
    let placed =
        dispatches.map(|dispatch| dispatch.placed(|slot| if slot == Slot::Input(0) { from } else { to }));
    placed.map(|dispatch| Command::Dispatch { label: label.to_string(), dispatch }).collect()
}
