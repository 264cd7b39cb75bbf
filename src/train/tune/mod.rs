//! Tuning: which configurations of the kernels of a step are fastest on a GPU. Each is compared with the portable kernel
//! before it may be chosen; exact ones have to give the same bits, so that tuning never changes a result.

mod table;
mod trial;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

pub use table::{TunedChoice, TuningTable};

use crate::error::Result;
use crate::gpu::Gpu;
use crate::graph::{Capabilities, Choice, Graph, Tier, Tuning};
use crate::plan::{Plan, Program};
use trial::Trial;

/// How much faster than the default a configuration has to be to be worth a change: less is noise.
const WORTHWHILE: f64 = 0.97;

/// How to tune.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TuneOptions {
    /// No trial begins after this time; the largest products come first.
    pub budget: Option<Duration>,
    /// Whether configurations that may change bits (cooperative matrices) may be chosen.
    pub inexact: bool,
}

impl TuneOptions {
    /// What may be done before a run without asking: no result changes, and the user waits at most two seconds. A trial
    /// that has begun is finished, so there is time left for it.
    pub const BEFORE_TRAINING: TuneOptions =
        TuneOptions { budget: Some(Duration::from_millis(1200)), inexact: false };
}

/// A configuration that was tried.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tried {
    /// Its name.
    pub configuration: String,
    /// Milliseconds of the node's dispatches; none if it was not chosen for the reason in `refused`.
    pub ms: Option<f64>,
    /// Why it must not be used.
    pub refused: Option<String>,
}

/// What came out for one key.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// The [`crate::graph::TuningKey`] as text.
    pub key: String,
    /// A node with this key.
    pub node: String,
    /// The configurations in the order in which they were tried; the default one first.
    pub tried: Vec<Tried>,
    /// The fastest one that is right; the default one unless another is clearly faster.
    pub chosen: String,
}

/// Tries the configurations of all products of a graph that `table` does not know yet, largest first, and adds the
/// fastest to it. `observe` is called with each verdict, the number of those before it and of all.
///
/// # Errors
/// If the device fails. A configuration that fails by itself is refused and said so in the verdict.
pub async fn tune(
    gpu: &Arc<Gpu>,
    graph: &Graph,
    table: &mut TuningTable,
    options: TuneOptions,
    observe: &mut dyn FnMut(&Verdict, usize, usize),
) -> Result<()> {
    let began = Instant::now();
    let left = || options.budget.is_none_or(|budget| began.elapsed() < budget);
    let open = undecided(gpu, graph, table, options)?;
    for (done, (node, choice)) in open.iter().enumerate() {
        if !left() {
            break;
        }
        let trial = Trial::new(graph, *node, gpu)?;
        let Some((verdict, exact)) = decide(gpu, &trial, choice, &left).await? else {
            break;
        };
        observe(&verdict, done, open.len());
        table.insert(&verdict, exact, options.budget.is_none());
    }
    Ok(())
}

/// One node for each key that is not decided, the largest product first.
fn undecided(
    gpu: &Gpu,
    graph: &Graph,
    table: &TuningTable,
    options: TuneOptions,
) -> Result<Vec<(usize, Choice)>> {
    let program = Program::new(vec![graph.clone()], None, u64::MAX)?;
    let plan = Plan::lower(&program, graph, &gpu.capabilities)?;
    let mut seen = BTreeSet::new();
    let new = plan.choices.into_iter().filter(|(_, choice)| {
        // Without leave to change bits, a choice that could is left as it is.
        let allowed = options.inexact || choice.candidates.iter().all(|(_, exact)| *exact);
        allowed
            && choice.candidates.len() > 1
            && !table.knows(&choice.key, options)
            && seen.insert(choice.key.clone())
    });
    let mut new: Vec<(usize, Choice)> = new.collect();
    new.sort_by_key(|(node, _)| std::cmp::Reverse(trial::flops(graph, *node)));
    Ok(new)
}

/// The verdict, with whether what was chosen is exact; none if the time was over before the default was measured.
async fn decide(
    gpu: &Arc<Gpu>,
    trial: &Trial,
    choice: &Choice,
    left: &dyn Fn() -> bool,
) -> Result<Option<(Verdict, bool)>> {
    let portable =
        Capabilities { tier: Tier::Portable, tuning: None, cooperative: None, ..gpu.capabilities.clone() };
    let reference = trial.run(gpu, &portable).await?.outputs;
    let mut verdict =
        Verdict { key: choice.key.clone(), node: trial.label.clone(), tried: vec![], chosen: String::new() };
    let mut best: Option<(f64, bool)> = None;
    for (name, exact) in &choice.candidates {
        if !left() {
            break;
        }
        let tuning = Some(Arc::new(Tuning::of(&choice.key, name)));
        let run = trial.run(gpu, &Capabilities { tuning, ..gpu.capabilities.clone() }).await;
        let (ms, refused) = match run {
            Err(error) => (None, Some(error.to_string())),
            Ok(run) => match trial::difference(&reference, &run.outputs, *exact) {
                None => (Some(run.ms), None),
                difference => (None, difference),
            },
        };
        if let Some(ms) = ms {
            let margin = if best.is_some() { WORTHWHILE } else { 1.0 };
            if best.is_none_or(|(fastest, _)| ms < fastest * margin) {
                best = Some((ms, *exact));
                verdict.chosen.clone_from(name);
            }
        }
        verdict.tried.push(Tried { configuration: name.clone(), ms, refused });
    }
    Ok(best.map(|(_, exact)| (verdict, exact)))
}
