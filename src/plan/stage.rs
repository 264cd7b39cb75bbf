//! What an update consists of: elementwise passes over pages, and between them graphs that rework gradients in place.

use super::Optimizer;
use crate::error::Result;
use crate::graph::{GradientRule, Graph, Init, Mode, NodeKind, Parameter, Value};

/// One part of an update.
#[derive(Clone, Debug)]
pub enum Stage {
    /// The optimizer's n-th elementwise pass.
    Pass(usize),
    /// A graph whose gradients, once it has run, are in the places of those that it has read.
    Graph(Box<Graph>),
}

/// The parts of an update, in order.
#[derive(Clone, Debug, Default)]
pub struct Stages {
    /// In order.
    pub stages: Vec<Stage>,
    /// For each parameter whether the optimizer's own graph makes its direction.
    pub directed: Vec<bool>,
}

impl Stages {
    pub(super) fn of(optimizer: &Optimizer, train: &Graph) -> Result<Stages> {
        let mut stages = vec![];
        if let Some(rule) = &optimizer.clip {
            stages.extend(rework(rule.as_ref(), optimizer, train)?.0);
        }
        stages.push(Stage::Pass(0));
        let mut directed = vec![false; optimizer.groups.len()];
        if let Some(rule) = optimizer.update.direction() {
            let (graph, reworked) = rework(rule, optimizer, train)?;
            stages.extend(graph);
            directed = reworked;
        }
        stages.extend((1..optimizer.update.passes().len()).map(Stage::Pass));
        Ok(Stages { stages, directed })
    }

    /// The graphs, in order.
    pub fn graphs(&self) -> impl Iterator<Item = &Graph> {
        self.stages.iter().filter_map(|stage| match stage {
            Stage::Graph(graph) => Some(graph.as_ref()),
            Stage::Pass(_) => None,
        })
    }
}

/// The graph of a rule over all parameters that have gradients, if it is for any, and which it is for.
fn rework(
    rule: &dyn GradientRule,
    optimizer: &Optimizer,
    train: &Graph,
) -> Result<(Option<Stage>, Vec<bool>)> {
    let parameters = train.parameters();
    let matrices = || parameters.iter().filter(|value| train.shape(**value).len() >= 2);
    let (first, last) = (matrices().next().copied(), matrices().next_back().copied());
    let module = |value: Value| {
        let name = train.nodes()[value.node].name.as_str();
        name.rsplit_once('.').map_or(name, |(module, _)| module)
    };
    let head = parameters.last().copied().map(module);
    let mut graph = Graph::new(Mode::Eval);
    let mut reworked = vec![];
    for (&value, &group) in parameters.iter().zip(&optimizer.groups) {
        if !train.gradients().contains_key(&value) {
            reworked.push(false);
            continue;
        }
        let (node, shape) = (&train.nodes()[value.node], train.shape(value));
        let about = Parameter {
            shape,
            group,
            first_matrix: Some(value) == first,
            last_matrix: Some(value) == last,
            in_head: Some(module(value)) == head,
        };
        let parameter = graph.parameter(&node.name, shape.clone(), Init::Default)?;
        let result = graph.scope(&node.name, |graph| rule.apply(graph, parameter, &about))?;
        reworked.push(result.is_some());
        if let Some(result) = result {
            graph.set_gradient(parameter, result);
        }
    }
    let any = reworked.contains(&true);
    Ok((any.then(|| Stage::Graph(Box::new(graph))), reworked))
}

/// Whether a value is a gradient as it lies in its page.
pub(crate) fn is_gradient(graph: &Graph, value: Value) -> bool {
    matches!(graph.nodes()[value.node].kind, NodeKind::Gradient)
}
