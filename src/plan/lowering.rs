use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::ops::Range;

use indexmap::IndexMap;

use super::colour::{Lifetime, colour};
use super::half_parameters::half_parameters;
use super::liveness::Liveness;
use super::split::{Split, refuse_whole};
use super::stage::is_gradient;
use super::update::CONTROL;
use super::{Command, Control, Memory, PageList, Place, Plan, Program, Span, micro_batches, update};
use crate::error::{Error, Result};
use crate::graph::{
    Access, Capabilities, Choice, Dispatch, Graph, Lower, Lowered, NodeKind, Op, Slot, Value,
};

/// Lowers a graph: every node's dispatches, with each value given a place.
pub(super) fn lower(program: &Program, graph: &Graph, capabilities: &Capabilities) -> Result<Plan> {
    let liveness = Liveness::of(graph);
    let split = Split::of(program, graph);
    let lowered = lower_nodes(graph, &liveness, &split, capabilities)?;
    let pins = Pins::choose(program, graph, &lowered);
    let mut places = Places::new(program, graph, &pins, split);
    let commands = places.add_half_parameters(program, graph, capabilities);
    let mut plan = Plan {
        commands,
        temporaries: vec![],
        tables: vec![],
        inputs: places.inputs.clone(),
        outputs: IndexMap::new(),
        updates: false,
        update_from: 0,
        choices: vec![],
    };
    for mut node in lowered {
        plan.choices.extend(node.choices.drain(..).map(|choice| (node.index, choice)));
        plan.commands.extend(places.emit(graph, &liveness, node));
    }
    plan.commands.extend(places.copies(&pins));
    for (name, value) in graph.outputs() {
        let [place] = places.of[value][..] else {
            return Err(Error::Model(format!(
                "has an output \"{name}\" of {} that the device does not bind at once; use --device cpu",
                graph.shape(*value)
            )));
        };
        plan.outputs.insert(name.clone(), (place, graph.desc(*value).clone()));
    }
    share_memory(&mut plan, &places.lifetimes);
    let trains = program.optimizer.is_some() && !graph.gradients().is_empty();
    if trains && program.micro_batches > 1 {
        micro_batches::append(program, graph, &mut plan);
    }
    plan.update_from = plan.commands.len();
    if trains {
        update::append(program, graph, capabilities, &mut plan)?;
    }
    check_limits(&plan, capabilities)?;
    Ok(plan)
}

/// Appends a graph that reworks gradients in their pages. Its values take the memory of values that are dead by then: of
/// all temporaries but `busy`.
pub(super) fn append_graph(
    program: &Program,
    graph: &Graph,
    capabilities: &Capabilities,
    busy: Memory,
    plan: &mut Plan,
) -> Result<()> {
    let liveness = Liveness::of(graph);
    let split = Split::of(program, graph);
    let lowered = lower_nodes(graph, &liveness, &split, capabilities)?;
    let pins = Pins::choose(program, graph, &lowered);
    let mut places = Places::new(program, graph, &pins, split);
    let mut commands: Vec<Command> =
        lowered.into_iter().flat_map(|node| places.emit(graph, &liveness, node)).collect();
    commands.extend(places.copies(&pins));
    let (buffers, sizes) = colour(&places.lifetimes);
    let mut free: Vec<usize> =
        (0..plan.temporaries.len()).filter(|index| Memory::Temporary(*index) != busy).collect();
    free.sort_by_key(|index| Reverse(plan.temporaries[*index]));
    let mut largest_first: Vec<usize> = (0..sizes.len()).collect();
    largest_first.sort_by_key(|buffer| Reverse(sizes[*buffer]));
    let mut home = vec![0; sizes.len()];
    for (rank, buffer) in largest_first.into_iter().enumerate() {
        home[buffer] = free.get(rank).copied().unwrap_or_else(|| {
            plan.temporaries.push(0);
            plan.temporaries.len() - 1
        });
        let bytes = &mut plan.temporaries[home[buffer]];
        *bytes = sizes[buffer].max(*bytes);
    }
    for place in commands.iter_mut().flat_map(places_of) {
        if let Memory::Temporary(index) = &mut place.memory {
            *index = home[buffers[*index]];
        }
    }
    plan.commands.extend(commands);
    Ok(())
}

/// The places that a command names.
fn places_of(command: &mut Command) -> Vec<&mut Place> {
    match command {
        Command::Dispatch { dispatch, .. } => {
            dispatch.bindings.iter_mut().map(|binding| &mut binding.buffer).collect()
        }
        Command::Copy { from, to } => vec![from, to],
    }
}

/// Gives the plan's temporaries, one for each lifetime so far, buffers that they share.
fn share_memory(plan: &mut Plan, lifetimes: &[Lifetime]) {
    let (buffers, sizes) = colour(lifetimes);
    let in_commands = plan.commands.iter_mut().flat_map(places_of);
    for place in in_commands.chain(plan.outputs.values_mut().map(|(place, _)| place)) {
        if let Memory::Temporary(index) = &mut place.memory {
            *index = buffers[*index];
        }
    }
    plan.temporaries = sizes;
}

/// A node's dispatches before its buffers have places.
struct LoweredNode {
    index: usize,
    label: String,
    dispatches: Vec<Dispatch<Slot>>,
    scratch: Vec<usize>,
    choices: Vec<Choice>,
}

fn lower_nodes(
    graph: &Graph,
    liveness: &Liveness,
    split: &Split,
    capabilities: &Capabilities,
) -> Result<Vec<LoweredNode>> {
    let nodes = graph.nodes().iter().enumerate().filter(|(index, _)| liveness.needed[*index]);
    let half: HashSet<usize> = graph.half_parameters().iter().map(|(_, half)| half.node).collect();
    nodes
        .filter(|(index, _)| !half.contains(index))
        .filter_map(|(index, node)| match &node.kind {
            NodeKind::Op(op) => Some(lower_node(graph, index, op.as_ref(), split, capabilities)),
            _ => None,
        })
        .collect()
}

fn lower_node(
    graph: &Graph,
    index: usize,
    op: &dyn Op,
    split: &Split,
    capabilities: &Capabilities,
) -> Result<LoweredNode> {
    let node = &graph.nodes()[index];
    let inputs: Vec<_> = node.inputs.iter().map(|value| graph.desc(*value).clone()).collect();
    let split = split.of_node(graph, index);
    let mut lower = Lower::new(&node.name, &inputs, &node.outputs, capabilities).in_parts(split.clone());
    op.lower(&mut lower);
    let Lowered { mut dispatches, scratch, choices } = lower.finish();
    refuse_whole(&split, (&node.name, op), &dispatches)?;
    let bytes = |slot: Slot| match slot {
        Slot::Input(i) | Slot::InputPart(i, _) => inputs[i].bytes(),
        Slot::Output(i) | Slot::OutputPart(i, _) => node.outputs[i].bytes(),
        Slot::Scratch(i) => scratch[i] * 4,
        Slot::Control => Control::WORDS * 4,
    };
    let moved = |dispatch: &Dispatch<Slot>| dispatch.bindings.iter().map(|b| bytes(b.buffer)).sum::<usize>();
    // The operator's own shader before one that it borrows; of several that move as much, the first.
    let main = |dispatch: &&mut Dispatch<Slot>| (dispatch.shader == op.name(), moved(dispatch));
    if let Some(main) = dispatches.iter_mut().rev().max_by_key(main) {
        main.flops = op.flops(&inputs, &node.outputs);
    }
    Ok(LoweredNode { index, label: node.label(), dispatches, scratch, choices })
}

/// Values that are computed straight into a page, and those that have to be copied there.
#[derive(Default)]
struct Pins {
    pinned: HashMap<Value, Vec<Place>>,
    copies: Vec<(Value, Vec<Place>)>,
}

impl Pins {
    /// Gradients and batch statistics go straight into their pages; they are copied there at the end if one value
    /// belongs in two places, or if a dispatch would read and write buffers of one page.
    fn choose(program: &Program, graph: &Graph, nodes: &[LoweredNode]) -> Pins {
        let mut pins = Pins::default();
        let gradients = graph.gradients().iter().map(|(p, g)| (*p, *g, PageList::Gradients));
        let updates = graph.statistic_updates().iter();
        let statistics = updates.map(|update| (update.running, update.batch, PageList::BatchStatistics));
        let mut wanted: IndexMap<Value, Vec<Vec<Place>>> = IndexMap::new();
        for (stored, value, list) in gradients.chain(statistics) {
            wanted.entry(value).or_default().push(page_places(program, graph, stored, list));
        }
        for (value, places) in wanted {
            let computed = matches!(graph.nodes()[value.node].kind, NodeKind::Op(_));
            // A page is not copied within itself: WebGPU forbids it.
            let apart = !places[1..].iter().any(|place| share(place, &places[0]));
            let pinned = usize::from(computed && apart);
            pins.pinned.extend(places[..pinned].iter().map(|place| (value, place.clone())));
            pins.copies.extend(places[pinned..].iter().map(|place| (value, place.clone())));
        }
        // Gradients that are read where they lie are written elsewhere, and copied.
        for node in nodes {
            let inputs = graph.nodes()[node.index].inputs.iter();
            let read: HashSet<Memory> = inputs
                .filter(|input| is_gradient(graph, **input))
                .flat_map(|input| page_places(program, graph, *input, PageList::Gradients))
                .map(|place| place.memory)
                .collect();
            for output in 0..graph.nodes()[node.index].outputs.len() {
                let value = Value { node: node.index, output };
                let lies = |place: &Place| read.contains(&place.memory);
                if pins.pinned.get(&value).is_some_and(|places| places.iter().any(lies)) {
                    pins.copies.extend(pins.pinned.remove_entry(&value));
                }
            }
        }
        while let Some(value) = nodes.iter().find_map(|node| pins.conflict(graph, node)) {
            pins.copies.extend(pins.pinned.remove_entry(&value));
        }
        pins
    }

    /// A pinned value that a dispatch reads while it writes another value of the same page.
    fn conflict(&self, graph: &Graph, node: &LoweredNode) -> Option<Value> {
        let value_of = |slot: &Slot| match *slot {
            Slot::Input(i) => Some((graph.nodes()[node.index].inputs[i], 0)),
            Slot::InputPart(i, part) => Some((graph.nodes()[node.index].inputs[i], part)),
            Slot::Output(output) => Some((Value { node: node.index, output }, 0)),
            Slot::OutputPart(output, part) => Some((Value { node: node.index, output }, part)),
            Slot::Scratch(_) | Slot::Control => None,
        };
        node.dispatches.iter().find_map(|dispatch| {
            let pinned = |access: Access| {
                let bindings = dispatch.bindings.iter().filter(move |binding| binding.access == access);
                bindings
                    .filter_map(|binding| value_of(&binding.buffer))
                    .filter_map(|(value, part)| Some((value, self.pinned.get(&value)?[part])))
            };
            let written: HashSet<Memory> = pinned(Access::ReadWrite).map(|(_, place)| place.memory).collect();
            pinned(Access::Read).find(|(_, place)| written.contains(&place.memory)).map(|(value, _)| value)
        })
    }
}

/// Whether any of some places is in the same piece of memory as any of others.
fn share(some: &[Place], others: &[Place]) -> bool {
    some.iter().any(|place| others.iter().any(|other| place.memory == other.memory))
}

/// The places of a parameter's, or a statistic's, parts, or of what is laid out alike.
fn page_places(program: &Program, graph: &Graph, stored: Value, list: PageList) -> Vec<Place> {
    let place = |span: &Span| {
        let memory = Memory::Page(list, span.page);
        Place { memory, offset: span.offset as u64 * 4, bytes: span.len as u64 * 4 }
    };
    program.pages.spans(graph, stored).iter().map(place).collect()
}

/// Gives places to values while the nodes are emitted in order.
struct Places {
    /// Of each value, or of each of its parts.
    of: HashMap<Value, Vec<Place>>,
    split: Split,
    inputs: IndexMap<String, crate::graph::TensorDesc>,
    /// Of each temporary.
    lifetimes: Vec<Lifetime>,
    /// Values that share memory with others until the end.
    kept: HashSet<Value>,
}

impl Places {
    fn new(program: &Program, graph: &Graph, pins: &Pins, split: Split) -> Places {
        let mut places = Places {
            of: pins.pinned.clone(),
            split,
            inputs: IndexMap::new(),
            lifetimes: vec![],
            kept: HashSet::new(),
        };
        for (index, node) in graph.nodes().iter().enumerate() {
            let value = Value { node: index, output: 0 };
            let place = match node.kind {
                NodeKind::Input => {
                    places.inputs.insert(node.name.clone(), node.outputs[0].clone());
                    let memory = Memory::Input(places.inputs.len() - 1);
                    vec![Place { memory, offset: 0, bytes: node.outputs[0].bytes() as u64 }]
                }
                NodeKind::Resident => {
                    let index = program.residents.get_index_of(&node.name);
                    let memory =
                        Memory::Resident(index.expect("a program lists the residents of its graphs"));
                    vec![Place { memory, offset: 0, bytes: node.outputs[0].bytes() as u64 }]
                }
                NodeKind::Parameter(_) => page_places(program, graph, value, PageList::Parameters),
                NodeKind::Statistic(_) => page_places(program, graph, value, PageList::Statistics),
                NodeKind::Gradient => page_places(program, graph, value, PageList::Gradients),
                NodeKind::Op(_) => continue,
            };
            places.of.insert(value, place);
        }
        places
    }

    /// Gives places to the f16 copies of parameters; what makes them comes before all else.
    fn add_half_parameters(
        &mut self,
        program: &Program,
        graph: &Graph,
        capabilities: &Capabilities,
    ) -> Vec<Command> {
        let (places, commands) = half_parameters(program, graph, capabilities, |bytes| self.take(0, bytes));
        self.kept.extend(places.keys());
        self.of.extend(places);
        commands
    }

    fn emit(&mut self, graph: &Graph, liveness: &Liveness, lowered: LoweredNode) -> Vec<Command> {
        let node = &graph.nodes()[lowered.index];
        for (output, desc) in node.outputs.iter().enumerate() {
            let value = Value { node: lowered.index, output };
            if !self.of.contains_key(&value) {
                let rows = desc.shape.first().copied().unwrap_or(1);
                let of_rows = |part: &Range<usize>| (desc.bytes() / rows * part.len()) as u64;
                let whole = || vec![desc.bytes() as u64];
                let bytes =
                    self.split.parts(value).map_or_else(whole, |parts| parts.iter().map(of_rows).collect());
                let places = bytes.into_iter().map(|bytes| self.take(lowered.index, bytes)).collect();
                self.of.insert(value, places);
            }
        }
        let scratch: Vec<Place> =
            lowered.scratch.iter().map(|&len| self.take(lowered.index, len as u64 * 4)).collect();
        let place = |slot: Slot| match slot {
            Slot::Input(i) => self.of[&node.inputs[i]][0],
            Slot::InputPart(i, part) => self.of[&node.inputs[i]][part],
            Slot::Output(output) => self.of[&Value { node: lowered.index, output }][0],
            Slot::OutputPart(output, part) => self.of[&Value { node: lowered.index, output }][part],
            Slot::Scratch(i) => scratch[i],
            Slot::Control => CONTROL,
        };
        let commands = lowered.dispatches.into_iter().map(|dispatch| Command::Dispatch {
            label: lowered.label.clone(),
            dispatch: dispatch.placed(place),
        });
        let commands = commands.collect();
        let dead = liveness.dies_after[lowered.index].iter();
        let dead = dead.filter(|value| !self.kept.contains(value)).flat_map(|value| self.of[value].clone());
        for place in dead.chain(scratch).collect::<Vec<_>>() {
            if let Memory::Temporary(temporary) = place.memory {
                self.lifetimes[temporary].last = lowered.index;
            }
        }
        commands
    }

    /// What is copied into pages after the last node.
    fn copies(&self, pins: &Pins) -> Vec<Command> {
        let mut commands = vec![];
        for (value, places) in &pins.copies {
            let (from, mut offset) = (&self.of[value], 0);
            for (part, &to) in places.iter().enumerate() {
                // A gradient that is an input is whole.
                let from = from.get(part).filter(|_| from.len() == places.len()).copied();
                let from = from.unwrap_or_else(|| {
                    let whole = self.of[value][0];
                    Place { offset: whole.offset + offset, bytes: to.bytes, ..whole }
                });
                offset += to.bytes;
                commands.push(Command::Copy { from, to });
            }
        }
        commands
    }

    fn take(&mut self, node: usize, bytes: u64) -> Place {
        self.lifetimes.push(Lifetime { bytes, first: node, last: usize::MAX });
        Place { memory: Memory::Temporary(self.lifetimes.len() - 1), offset: 0, bytes }
    }
}

fn check_limits(plan: &Plan, capabilities: &Capabilities) -> Result<()> {
    let limit = capabilities.max_storage_binding.min(capabilities.max_buffer);
    for command in &plan.commands {
        let Command::Dispatch { label, dispatch } = command else { continue };
        if let Some(count) = dispatch.workgroups.iter().find(|count| **count > capabilities.max_workgroups) {
            return Err(Error::OutOfMemory {
                device: format!("(which runs at most {} workgroups in a row)", capabilities.max_workgroups),
                what: format!("the {count} workgroups of {label}"),
            });
        }
        if let Some(large) = dispatch.bindings.iter().find(|binding| binding.buffer.bytes > limit) {
            return Err(Error::OutOfMemory {
                device: format!("(which binds at most {} MiB at once)", limit >> 20),
                what: format!("{} of {label}, {} MiB", large.name, large.buffer.bytes >> 20),
            });
        }
    }
    Ok(())
}
