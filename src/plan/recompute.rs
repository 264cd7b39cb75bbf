//! What is cheap to make again is not kept from the forward to the backward pass where that lowers the most memory that is
//! taken at once: an ordinary node ([`Op::again`](crate::graph::Op::again)) makes it again, in the same bits, before it is
//! next read.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{Liveness, Program};
use crate::error::Result;
use crate::graph::{Again, Graph, NodeKind, Op, Value};

impl Program {
    /// Lets training steps recompute what is cheap. Says whether that needs less memory; if not, nothing changes.
    pub fn recompute(&mut self) -> Result<bool> {
        let mut changed = false;
        for index in 0..self.graphs.len() {
            let again = if self.trains(index) { recomputations(&self.graphs[index]) } else { vec![] };
            if !again.is_empty() {
                self.graphs[index] = self.graphs[index].with_again(again)?;
                changed = true;
            }
        }
        Ok(changed)
    }
}

/// What to make again, and where.
fn recomputations(graph: &Graph) -> Vec<Again> {
    let values = Values::of(graph);
    let mut dropped = Dropped::new();
    let mut now = values.lives(&dropped);
    let mut best = (now.peak, dropped.clone());
    while let Some((more, lives)) = values.improved(&dropped, &now) {
        (dropped, now) = (more, lives);
        if now.peak < best.0 {
            best = (now.peak, dropped.clone());
        }
    }
    let (peak, mut dropped) = best;
    // What does not count after all, the smallest first.
    let mut all: Vec<usize> = dropped.keys().copied().collect();
    all.sort_by_key(|index| values.all[*index].bytes);
    for index in all {
        let mut without = dropped.clone();
        without.remove(&index);
        if values.lives(&without).peak <= peak {
            dropped = without;
        }
    }
    values.lives(&dropped).again(&values)
}

/// Points of time: a node runs at an odd one, what is made again for it at the one before.
type Time = usize;

fn time_of(node: usize) -> Time {
    2 * node + 1
}

/// Values that are made again, by their place in [`Values::all`], each with the last use of what was made first.
type Dropped = BTreeMap<usize, Time>;

/// A value that takes memory during a run only.
struct Temporary {
    value: Value,
    bytes: u64,
    /// The nodes that read it, in order.
    reads: Vec<Time>,
    /// What makes it again, from which values; of these, which are temporaries.
    again: Option<(Arc<dyn Op>, Vec<Value>)>,
    from: Vec<usize>,
}

/// All such values of a graph. What a value is made again from comes after it.
struct Values {
    all: Vec<Temporary>,
    end: Time,
}

impl Values {
    fn of(graph: &Graph) -> Values {
        let needed = Liveness::of(graph).needed;
        let mut all = vec![];
        for (index, node) in graph.nodes().iter().enumerate().rev().filter(|(index, _)| needed[*index]) {
            let NodeKind::Op(op) = &node.kind else { continue };
            let outputs: Vec<Value> =
                (0..node.outputs.len()).map(|output| Value { node: index, output }).collect();
            for value in outputs.iter().copied().filter(|value| !graph.is_kept(*value)) {
                let again = op.again(&node.inputs, &outputs).filter(|_| value.output == 0);
                let bytes = graph.desc(value).bytes() as u64;
                all.push(Temporary { value, bytes, reads: vec![], again, from: vec![] });
            }
        }
        // The f16 copies of parameters are made by the plan, at its begin.
        for (_, half) in graph.half_parameters() {
            all.retain(|temporary| temporary.value != half);
        }
        let place: HashMap<Value, usize> =
            all.iter().enumerate().map(|(index, temporary)| (temporary.value, index)).collect();
        for (index, node) in graph.nodes().iter().enumerate().filter(|(index, _)| needed[*index]) {
            for read in node.inputs.iter().filter_map(|input| place.get(input)) {
                all[*read].reads.push(time_of(index));
            }
        }
        for temporary in &mut all {
            let inputs = temporary.again.iter().flat_map(|(_, inputs)| inputs);
            temporary.from = inputs.filter_map(|input| place.get(input).copied()).collect();
        }
        Values { all, end: time_of(graph.nodes().len()) }
    }

    /// When each value takes memory.
    fn lives(&self, dropped: &Dropped) -> Lives {
        let mut reads: Vec<Vec<Time>> = self.all.iter().map(|temporary| temporary.reads.clone()).collect();
        let mut again = BTreeMap::new();
        let mut changes = vec![0i64; self.end + 2];
        let mut live = |bytes: u64, first: Time, last: Time| {
            changes[first] += bytes as i64;
            changes[last + 1] -= bytes as i64;
        };
        for (index, Temporary { value, bytes, from, .. }) in self.all.iter().enumerate() {
            reads[index].sort();
            let until = dropped.get(&index).copied().unwrap_or(self.end);
            let (kept, later) = reads[index].split_at(reads[index].partition_point(|time| *time <= until));
            let made = time_of(value.node);
            live(*bytes, made, kept.last().copied().unwrap_or(made));
            if let [first, ..] = later {
                // Just before the node that reads it first, or that needs what is made from it.
                let begin = first & !1;
                live(*bytes, begin, later.last().copied().unwrap_or(*first));
                again.insert(index, begin);
                from.iter().for_each(|input| reads[*input].push(begin));
            }
        }
        let mut now = 0;
        let over_time: Vec<i64> = changes.iter().map(|change| (now += change, now).1).collect();
        let peak = over_time.iter().copied().max().unwrap_or(0);
        let at = over_time.iter().position(|bytes| *bytes == peak).unwrap_or(0);
        let times = over_time.iter().filter(|bytes| **bytes == peak).count();
        Lives { reads, again, peak, times, at }
    }

    /// The same with one more value dropped, and what it needs, so that less memory is taken at the worst time.
    fn improved(&self, dropped: &Dropped, now: &Lives) -> Option<(Dropped, Lives)> {
        let mut idle: Vec<usize> =
            (0..self.all.len()).filter(|index| self.can_drop(*index, dropped, now)).collect();
        idle.sort_by_key(|index| (Reverse(self.all[*index].bytes), self.all[*index].from.len()));
        idle.into_iter().find_map(|index| {
            let mut dropped = dropped.clone();
            self.drop_with_inputs(index, &mut dropped, now);
            let lives = self.lives(&dropped);
            ((lives.peak, lives.times) < (now.peak, now.times)).then_some((dropped, lives))
        })
    }

    /// Whether a value lies unused at the worst time, and can be made again.
    fn can_drop(&self, index: usize, dropped: &Dropped, now: &Lives) -> bool {
        let (temporary, reads) = (&self.all[index], &now.reads[index]);
        let lies = time_of(temporary.value.node) < now.at && reads.last().is_some_and(|last| *last > now.at);
        lies && temporary.again.is_some() && !dropped.contains_key(&index) && !reads.contains(&now.at)
    }

    /// Drops a value, and with it what it is made from, as far as that is not kept anyway and can be made again too.
    fn drop_with_inputs(&self, index: usize, dropped: &mut Dropped, now: &Lives) {
        let made = time_of(self.all[index].value.node);
        let last = now.reads[index].iter().rev().find(|time| **time < now.at);
        dropped.insert(index, last.copied().unwrap_or(made));
        for input in &self.all[index].from {
            let kept = now.reads[*input].last().is_some_and(|last| *last > now.at);
            if !kept && !dropped.contains_key(input) && self.all[*input].again.is_some() {
                self.drop_with_inputs(*input, dropped, now);
            }
        }
    }
}

/// When values are read and made again, and how much memory that takes.
struct Lives {
    /// Of each value: by nodes, and by what is made again from it.
    reads: Vec<Vec<Time>>,
    /// When a value is made again.
    again: BTreeMap<usize, Time>,
    /// The most bytes at once.
    peak: i64,
    /// At how many points of time, and the first of them.
    times: usize,
    at: Time,
}

impl Lives {
    fn again(&self, values: &Values) -> Vec<Again> {
        let again = self.again.iter().filter_map(|(index, time)| {
            let Temporary { value, again, .. } = &values.all[*index];
            let (op, inputs) = again.clone()?;
            Some(Again { value: *value, before: time / 2, op, inputs })
        });
        again.collect()
    }
}
