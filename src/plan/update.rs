//! The end of a training step: gradient norm and halt flag, optimizer, running statistics.

use super::lowering::append_graph;
use super::pages::ALIGN;
use super::{BINDING_UNIT, Command, Control, Memory, PageList, Place, Plan, Program, Stage};
use crate::error::Result;
use crate::graph::{Access, Binding, Capabilities, Dispatch, Graph, ParameterGroup, Variant};

/// Workgroups that add up squares of gradients, at most, but for one more a page: every workgroup of the optimizer adds up
/// their sums again.
const NORM_PARTS: usize = 512;
/// Elements of which a workgroup adds up the squares, at least.
const SHORTEST_PART: usize = 1024;
/// Words before the sums of squares: halted before, loss, correct predictions, loss scale.
const HEADER: usize = 4;
/// Workgroups of the optimizer, at most; an estimate, enough to fill a large GPU.
const UPDATE_GROUPS: usize = 4096;

pub(super) const CONTROL: Place =
    Place { memory: Memory::Control, offset: 0, bytes: Control::WORDS as u64 * 4 };

/// Appends the update of parameters and statistics to a plan whose gradients are in their pages.
pub(super) fn append(
    program: &Program,
    graph: &Graph,
    capabilities: &Capabilities,
    plan: &mut Plan,
) -> Result<()> {
    let norm = append_norm(program, graph, plan);
    for stage in &program.stages.stages {
        match stage {
            Stage::Pass(pass) => append_pass(program, plan, &norm, *pass),
            Stage::Graph(graph) => append_graph(program, graph, capabilities, norm.partials.memory, plan)?,
        }
    }
    append_statistics(program, graph, plan);
    append_averages(program, plan);
    plan.updates = true;
    Ok(())
}

/// Sums of squares of all gradients.
struct Norm {
    partials: Place,
    parts: usize,
}

fn append_norm(program: &Program, graph: &Graph, plan: &mut Plan) -> Norm {
    let lens = program.pages.parameters.page_lens();
    let all: usize = lens.iter().sum();
    let part_len = all.div_ceil(NORM_PARTS).next_multiple_of(ALIGN).max(SHORTEST_PART);
    let parts = lens.iter().map(|len| len.div_ceil(part_len)).sum();
    let bytes = (HEADER + parts) as u64 * 4;
    plan.temporaries.push(bytes.next_multiple_of(BINDING_UNIT));
    let partials = Place { memory: Memory::Temporary(plan.temporaries.len() - 1), offset: 0, bytes };
    let loss = plan.outputs.get("loss").map(|(place, _)| *place);
    let loss = loss.expect("a training graph has the output loss: train::program names it");
    let correct = graph.outputs().contains_key("correct").then(|| plan.outputs["correct"].0);
    let mut base = HEADER;
    for (page, &len) in lens.iter().enumerate() {
        let groups = len.div_ceil(part_len);
        push(
            plan,
            "gradients grad_norm.partial",
            Dispatch {
                shader: "grad_norm",
                entry: "partial",
                variant: Variant::default(),
                bindings: vec![
                    read("gradients", whole(PageList::Gradients, page, len)),
                    read("loss", loss),
                    read("correct", correct.unwrap_or(loss)),
                    read("control", CONTROL),
                    write("partials", partials),
                ],
                uniforms: vec![("count", len.into()), ("base", base.into()), ("part_len", part_len.into())],
                workgroups: spread(groups),
                flops: 0,
            },
        );
        base += groups;
    }
    Norm { partials, parts }
}

/// An elementwise pass of the optimizer over all pages.
fn append_pass(program: &Program, plan: &mut Plan, norm: &Norm, pass: usize) {
    let Some(optimizer) = &program.optimizer else { return };
    let set = &program.pages.parameters;
    let update = &optimizer.update;
    let pass = update.passes().get(pass);
    let entry = pass.map_or("update", |pass| pass.entry);
    for (page, &len) in set.page_lens().iter().enumerate() {
        let groups = group_table(program, page, &optimizer.groups);
        let mut bindings = vec![
            write("parameters", whole(PageList::Parameters, page, len)),
            write("gradients", whole(PageList::Gradients, page, len)),
            read("groups", table(plan, groups)),
            read("partials", norm.partials),
            write("control", CONTROL),
        ];
        let slots = update.slots().iter().enumerate();
        bindings.extend(slots.map(|(slot, &name)| write(name, whole(PageList::Slot(slot), page, len))));
        bindings.retain(|binding| pass.is_none_or(|pass| pass.binds.contains(&binding.name)));
        let mut uniforms = update.uniforms();
        uniforms.extend([("count", len.into()), ("parts", norm.parts.into())]);
        uniforms.push(("scales_loss", program.scales_loss().into()));
        let label = format!("parameters {}.{entry}", update.name());
        let workgroups = spread(len.div_ceil(4 * 64).min(UPDATE_GROUPS));
        let dispatch = Dispatch {
            shader: update.name(),
            entry,
            variant: Variant::default(),
            bindings,
            uniforms,
            workgroups,
            flops: 0,
        };
        push(plan, &label, dispatch);
    }
}

fn append_statistics(program: &Program, graph: &Graph, plan: &mut Plan) {
    if graph.statistic_updates().is_empty() {
        return;
    }
    let set = &program.pages.statistics;
    for (page, &len) in set.page_lens().iter().enumerate() {
        let mut momenta = vec![0.0; len / ALIGN];
        for update in graph.statistic_updates() {
            let span = program.pages.span(graph, update.running);
            if span.page == page {
                let momentum = program.step_momentum(update.momentum);
                momenta[span.offset / ALIGN..(span.offset + span.len).div_ceil(ALIGN)].fill(momentum);
            }
        }
        let bindings = vec![
            write("running", whole(PageList::Statistics, page, len)),
            read("batch", whole(PageList::BatchStatistics, page, len)),
            read("momenta", table(plan, momenta)),
            read("control", CONTROL),
        ];
        push(
            plan,
            "statistics running_statistics.update",
            Dispatch {
                shader: "running_statistics",
                entry: "update",
                variant: Variant::default(),
                bindings,
                uniforms: vec![("count", len.into())],
                workgroups: spread(len.div_ceil(64)),
                flops: 0,
            },
        );
    }
}

fn append_averages(program: &Program, plan: &mut Plan) {
    if !program.averages() {
        return;
    }
    let sets = [&program.pages.parameters, &program.pages.statistics];
    for (set, [values, average]) in sets.into_iter().zip(PageList::AVERAGED) {
        for (page, &len) in set.page_lens().iter().enumerate() {
            let dispatch = Dispatch {
                shader: "ema",
                entry: "update",
                variant: Variant::default(),
                bindings: vec![
                    read("values", whole(values, page, len)),
                    write("average", whole(average, page, len)),
                    read("control", CONTROL),
                ],
                uniforms: vec![("count", len.into())],
                workgroups: spread(len.div_ceil(64)),
                flops: 0,
            };
            push(plan, "averages ema.update", dispatch);
        }
    }
}

/// Learning-rate factor, weight decay and whether a graph makes the direction, for each block of 64 elements of a page.
fn group_table(program: &Program, page: usize, groups: &[ParameterGroup]) -> Vec<f32> {
    let set = &program.pages.parameters;
    let mut table = vec![0.0; set.page_lens()[page] / ALIGN * 4];
    let tensors = set.tensors().iter().zip(groups).zip(&program.stages.directed);
    for (((_, _, spans), group), directed) in tensors {
        for span in spans.iter().filter(|span| span.page == page) {
            for block in span.offset / ALIGN..(span.offset + span.len).div_ceil(ALIGN) {
                let settings = [group.rate, group.weight_decay, f32::from(u8::from(*directed)), 0.0];
                table[block * 4..block * 4 + 4].copy_from_slice(&settings);
            }
        }
    }
    table
}

pub(super) fn table(plan: &mut Plan, content: Vec<f32>) -> Place {
    let bytes = content.len() as u64 * 4;
    plan.tables.push(content);
    Place { memory: Memory::Table(plan.tables.len() - 1), offset: 0, bytes }
}

pub(super) fn whole(list: PageList, page: usize, len: usize) -> Place {
    Place { memory: Memory::Page(list, page), offset: 0, bytes: len as u64 * 4 }
}

pub(super) fn read(name: &'static str, buffer: Place) -> Binding<Place> {
    Binding { name, buffer, access: Access::Read }
}

pub(super) fn write(name: &'static str, buffer: Place) -> Binding<Place> {
    Binding { name, buffer, access: Access::ReadWrite }
}

pub(super) fn push(plan: &mut Plan, label: &str, dispatch: Dispatch<Place>) {
    plan.commands.push(Command::Dispatch { label: label.to_string(), dispatch });
}

/// Workgroups spread over x and y.
pub(super) fn spread(groups: usize) -> [u32; 3] {
    let width = groups.clamp(1, 65_535);
    [width as u32, groups.div_ceil(width) as u32, 1]
}
