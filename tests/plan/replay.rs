//! A device that remembers, for each range of memory, which value was written there last, and no numbers.

use std::collections::HashMap;

use wgrad::graph::{Access, Binding, Capabilities, Dispatch, Graph, Lower, NodeKind, Slot, Value};
use wgrad::plan::{Command, Control, Memory, PageList, Place, Plan, Program, Span, Split};

/// What a range of memory holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Content {
    /// A value, or one of its parts.
    Value(Value, usize),
    Scratch {
        node: usize,
        index: usize,
    },
    /// The control words.
    Control,
}

/// What is wrong with a plan.
#[derive(Debug)]
#[allow(dead_code, reason = "the fields are printed")]
pub enum Fault {
    /// A read finds something else than the value that it is of.
    Stale { at: String, wanted: Content, place: Place, found: Vec<Content> },
    /// One dispatch reads and writes one buffer, or writes overlapping ranges.
    Aliased { at: String, place: Place },
    /// A range is not within its memory, or not aligned as WebGPU asks.
    OutOfBounds { at: String, place: Place },
    /// The plan is not the graph's dispatches in order, then copies and the update.
    Different { at: String },
}

/// Runs a plan. Returns the most bytes of temporaries that hold values which are still to be read.
pub fn replay(program: &Program, graph: &Graph, plan: &Plan, limits: &Capabilities) -> Result<u64, Fault> {
    let mut replay = Replay { program, plan, written: HashMap::new(), uses: vec![], clock: 0 };
    replay.fill_stored(graph);
    let mut commands = plan.commands.iter();
    replay.cast_parameters(graph, &mut commands)?;
    let split = Split::of(program, graph);
    for (index, dispatch, inputs) in lowered(graph, &split, limits) {
        let Some(Command::Dispatch { label, dispatch: placed }) = commands.next() else {
            return Err(Fault::Different {
                at: format!("the end, for {} {}", dispatch.shader, dispatch.entry),
            });
        };
        if (dispatch.shader, dispatch.entry) != (placed.shader, placed.entry) {
            return Err(Fault::Different { at: label.clone() });
        }
        let content = |slot: Slot| match slot {
            Slot::Input(i) => Content::Value(inputs[i], 0),
            Slot::InputPart(i, part) => Content::Value(inputs[i], part),
            Slot::Output(output) => Content::Value(Value { node: index, output }, 0),
            Slot::OutputPart(output, part) => Content::Value(Value { node: index, output }, part),
            Slot::Scratch(i) => Content::Scratch { node: index, index: i },
            Slot::Control => Content::Control,
        };
        let contents: Vec<Content> =
            dispatch.bindings.iter().map(|binding| content(binding.buffer)).collect();
        replay.dispatch(label, &placed.bindings, &contents)?;
    }
    let rest: Vec<&Command> = commands.collect();
    let copies = rest.iter().take_while(|command| matches!(command, Command::Copy { .. })).count();
    for command in &rest[..copies] {
        if let Command::Copy { from, to } = command {
            replay.copy(from, to)?;
        }
    }
    replay.check_results(graph)?;
    for command in &rest[copies..] {
        let Command::Dispatch { label, dispatch } = command else {
            return Err(Fault::Different { at: "a copy after the update's begin".to_string() });
        };
        replay.check_bindings(label, &dispatch.bindings)?;
    }
    let updates = rest.len() > copies;
    if updates != plan.updates {
        return Err(Fault::Different { at: "the update".to_string() });
    }
    Ok(replay.most_alive())
}

/// Each dispatch of the graph with its node and the node's inputs.
fn lowered<'a>(
    graph: &'a Graph,
    split: &'a Split,
    limits: &'a Capabilities,
) -> impl Iterator<Item = (usize, Dispatch<Slot>, &'a [Value])> {
    let needed = graph.needed();
    let nodes = graph.nodes().iter().enumerate().filter(move |(index, _)| needed[*index]);
    nodes.flat_map(move |(index, node)| {
        let NodeKind::Op(op) = &node.kind else { return vec![] };
        // Whole pages of parameters are cast when a plan begins.
        if graph.half_parameters().iter().any(|(_, half)| half.node == index) {
            return vec![];
        }
        let inputs: Vec<_> = node.inputs.iter().map(|value| graph.desc(*value).clone()).collect();
        let mut lower =
            Lower::new(&node.name, &inputs, &node.outputs, limits).in_parts(split.of_node(graph, index));
        op.lower(&mut lower);
        let dispatches = lower.finish().dispatches.into_iter();
        dispatches.map(|dispatch| (index, dispatch, node.inputs.as_slice())).collect()
    })
}

struct Replay<'a> {
    program: &'a Program,
    plan: &'a Plan,
    written: HashMap<Memory, Vec<(Place, Content)>>,
    /// Content of temporaries: bytes, first write, last use.
    uses: Vec<(Content, u64, usize, usize)>,
    clock: usize,
}

impl Replay<'_> {
    /// Inputs, parameters and running statistics are there from the start.
    fn fill_stored(&mut self, graph: &Graph) {
        let words = Place { memory: Memory::Control, offset: 0, bytes: Control::WORDS as u64 * 4 };
        self.write(words, Content::Control);
        let mut inputs = 0;
        for (node, kind) in graph.nodes().iter().map(|node| &node.kind).enumerate() {
            let value = Value { node, output: 0 };
            let bytes = graph.desc(value).bytes() as u64;
            let whole = |memory| vec![Place { memory, offset: 0, bytes }];
            let places = match kind {
                NodeKind::Input => {
                    inputs += 1;
                    whole(Memory::Input(inputs - 1))
                }
                NodeKind::Resident => {
                    let name = &graph.nodes()[node].name;
                    let index =
                        self.program.residents.get_index_of(name).expect("a program lists its residents");
                    whole(Memory::Resident(index))
                }
                NodeKind::Parameter(_) => self.pages(graph, value, PageList::Parameters),
                NodeKind::Statistic(_) => self.pages(graph, value, PageList::Statistics),
                NodeKind::Gradient => self.pages(graph, value, PageList::Gradients),
                NodeKind::Op(_) => continue,
            };
            for (part, place) in places.into_iter().enumerate() {
                self.write(place, Content::Value(value, part));
            }
        }
    }

    /// A dispatch for each page that has parameters which are read as f16.
    fn cast_parameters<'c>(
        &mut self,
        graph: &Graph,
        commands: &mut impl Iterator<Item = &'c Command>,
    ) -> Result<(), Fault> {
        let needed = graph.needed();
        let casts: Vec<_> =
            graph.half_parameters().into_iter().filter(|(_, half)| needed[half.node]).collect();
        let mut pages: Vec<usize> = vec![];
        let spans = casts.iter().flat_map(|(parameter, _)| self.program.pages.spans(graph, *parameter));
        for page in spans.map(|span| span.page).collect::<Vec<_>>() {
            if pages.contains(&page) {
                continue;
            }
            pages.push(page);
            let Some(Command::Dispatch { label, dispatch }) = commands.next() else {
                return Err(Fault::Different { at: "the casts of parameters".to_string() });
            };
            self.check_bindings(label, &dispatch.bindings)?;
            let [from, to] = [&dispatch.bindings[0].buffer, &dispatch.bindings[1].buffer];
            if from.memory != Memory::Page(PageList::Parameters, page) || to.bytes * 2 != from.bytes {
                return Err(Fault::Different { at: label.clone() });
            }
            for (parameter, value) in &casts {
                let spans = self.program.pages.spans(graph, *parameter).iter().enumerate();
                for (part, span) in spans.filter(|(_, span)| span.page == page) {
                    let place = Place { offset: span.offset as u64 * 2, bytes: span.len as u64 * 2, ..*to };
                    self.write(place, Content::Value(*value, part));
                }
            }
        }
        Ok(())
    }

    fn pages(&self, graph: &Graph, stored: Value, list: PageList) -> Vec<Place> {
        let place = |span: &Span| {
            let memory = Memory::Page(list, span.page);
            Place { memory, offset: span.offset as u64 * 4, bytes: span.len as u64 * 4 }
        };
        self.program.pages.spans(graph, stored).iter().map(place).collect()
    }

    fn dispatch(&mut self, at: &str, bindings: &[Binding<Place>], contents: &[Content]) -> Result<(), Fault> {
        self.clock += 1;
        self.check_bindings(at, bindings)?;
        if bindings.len() != contents.len() {
            return Err(Fault::Different { at: at.to_string() });
        }
        let bound = || bindings.iter().zip(contents);
        for (binding, content) in bound().filter(|(binding, _)| binding.access == Access::Read) {
            self.read(at, binding.buffer, *content)?;
        }
        for (binding, content) in bound().filter(|(binding, _)| binding.access == Access::ReadWrite) {
            self.write(binding.buffer, *content);
        }
        Ok(())
    }

    fn copy(&mut self, from: &Place, to: &Place) -> Result<(), Fault> {
        self.clock += 1;
        for place in [from, to] {
            self.check_bounds("a copy", *place)?;
        }
        if from.memory == to.memory || from.bytes != to.bytes {
            return Err(Fault::Aliased { at: "a copy".to_string(), place: *to });
        }
        let held = self.written.get(&from.memory).into_iter().flatten();
        let held = held.filter(|(place, _)| place == from).map(|(_, content)| *content).next_back();
        let content = held.ok_or(Fault::Different { at: format!("a copy from {from:?}") })?;
        self.read("a copy", *from, content)?;
        self.write(*to, content);
        Ok(())
    }

    /// Outputs, gradients and statistics of the batch are where they belong.
    fn check_results(&mut self, graph: &Graph) -> Result<(), Fault> {
        self.clock += 1;
        for (name, value) in graph.outputs() {
            self.read(&format!("output {name}"), self.plan.outputs[name].0, Content::Value(*value, 0))?;
        }
        let gradients = graph.gradients().iter().map(|(p, g)| (*p, *g, PageList::Gradients));
        let updates = graph.statistic_updates().iter();
        let statistics = updates.map(|update| (update.running, update.batch, PageList::BatchStatistics));
        for (stored, value, list) in gradients.chain(statistics) {
            let at = format!("{list:?} of {}", graph.nodes()[stored.node].name);
            for (part, place) in self.pages(graph, stored, list).into_iter().enumerate() {
                self.read(&at, place, Content::Value(value, part))?;
            }
        }
        Ok(())
    }

    fn read(&mut self, at: &str, place: Place, wanted: Content) -> Result<(), Fault> {
        let overlapping = self.written.get(&place.memory).into_iter().flatten();
        let overlapping: Vec<_> = overlapping.filter(|(other, _)| overlap(*other, place)).collect();
        if overlapping.as_slice() != [&(place, wanted)] {
            let found = overlapping.iter().map(|(_, content)| *content).collect();
            return Err(Fault::Stale { at: at.to_string(), wanted, place, found });
        }
        let clock = self.clock;
        let uses = self.uses.iter_mut().filter(|(content, ..)| *content == wanted);
        uses.for_each(|(.., last)| *last = clock);
        Ok(())
    }

    fn write(&mut self, place: Place, content: Content) {
        let written = self.written.entry(place.memory).or_default();
        written.retain(|(other, _)| !overlap(*other, place));
        written.push((place, content));
        let known = self.uses.iter_mut().find(|(other, ..)| *other == content);
        match known {
            Some((.., last)) => *last = self.clock,
            None if matches!(place.memory, Memory::Temporary(_)) => {
                self.uses.push((content, place.bytes, self.clock, self.clock));
            }
            None => {}
        }
    }

    fn check_bindings(&self, at: &str, bindings: &[Binding<Place>]) -> Result<(), Fault> {
        for (index, binding) in bindings.iter().enumerate() {
            let place = binding.buffer;
            self.check_bounds(at, place)?;
            let aliased = bindings[..index].iter().any(|other| match (binding.access, other.access) {
                (Access::Read, Access::Read) => false,
                (Access::ReadWrite, Access::ReadWrite) => overlap(place, other.buffer),
                _ => place.memory == other.buffer.memory,
            });
            if aliased {
                return Err(Fault::Aliased { at: at.to_string(), place });
            }
        }
        Ok(())
    }

    fn check_bounds(&self, at: &str, place: Place) -> Result<(), Fault> {
        let pages = &self.program.pages;
        let size = match place.memory {
            Memory::Temporary(i) => self.plan.temporaries[i],
            Memory::Input(i) => self.plan.inputs[i].bytes() as u64,
            Memory::Resident(i) => self.program.residents[i].bytes() as u64,
            Memory::Page(
                PageList::Statistics | PageList::BatchStatistics | PageList::StatisticSums,
                page,
            ) => pages.statistics.page_lens()[page] as u64 * 4,
            Memory::Page(_, page) => pages.parameters.page_lens()[page] as u64 * 4,
            Memory::Table(i) => self.plan.tables[i].len() as u64 * 4,
            Memory::Control => Control::WORDS as u64 * 4,
        };
        if place.offset + place.bytes > size || !place.offset.is_multiple_of(256) || place.bytes == 0 {
            return Err(Fault::OutOfBounds { at: at.to_string(), place });
        }
        Ok(())
    }

    /// The most bytes between first write and last use, over time.
    fn most_alive(&self) -> u64 {
        let alive = |now: usize| {
            let alive = self.uses.iter().filter(|(_, _, first, last)| (*first..=*last).contains(&now));
            alive.map(|(_, bytes, ..)| bytes).sum::<u64>()
        };
        (0..=self.clock).map(alive).max().unwrap_or(0)
    }
}

fn overlap(a: Place, b: Place) -> bool {
    a.memory == b.memory && a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes
}
