//! Programs that train and evaluate a classifier.

use std::collections::HashSet;
use std::fmt::Debug;
use std::sync::Arc;

use super::augmented::{Fed, TrainFeed};
use super::device::Device;
use super::feed::Feed;
use super::groups::GroupRules;
use super::recipe::Precision;
use crate::error::{Error, Result};
use crate::fusion::{fuse, fuse_gradients};
use crate::graph::{GradientRule, Graph, Mode, Update, Value};
use crate::models::Model;
use crate::ops::accuracy::Accuracy;
use crate::ops::cross_entropy::CrossEntropy;
use crate::ops::fill::Fill;
use crate::ops::views::TestView;
use crate::ops::{Reduction, gradients};
use crate::plan::{Optimizer, Program};

/// The training graph's place in a training program.
pub const TRAIN: usize = 0;
/// The evaluation graph's place in a training program. It sees each image as it is.
pub const EVAL: usize = 1;
/// The place of the evaluation graph that averages the model's views of each image, if it has any; else [`EVAL`] does.
pub const EVAL_VIEWS: usize = 2;

/// What a classifier is trained for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Task {
    /// Channels, height and width of an image.
    pub image: [usize; 3],
    /// Number of classes.
    pub classes: usize,
    /// Images per step.
    pub batch_size: usize,
    /// Share of the target that is spread over all classes.
    pub label_smoothing: f32,
    /// The type of activations and their gradients.
    pub precision: Precision,
}

/// What training minimises, where it is not cross-entropy. `examples/custom_loss.rs` has one.
///
/// Evaluations still tell cross-entropy and accuracy; [`super::Evaluation::logits`] serves other measures.
pub trait Loss: Debug + Send + Sync {
    /// Adds the mean loss of a batch's samples to a training graph: a tensor of shape `[]`.
    ///
    /// `logits` are `[N, classes]` in f32; `targets` are class indices `[N]`, or probabilities `[N, classes]` where
    /// samples are mixed (mixup, cutmix).
    ///
    /// # Errors
    /// Of the operators that it applies.
    fn build(&self, graph: &mut Graph, logits: Value, targets: Value) -> Result<Value>;
}

/// What is minimised, and how the parameters are updated.
#[derive(Clone, Debug)]
pub struct Optimizing {
    /// What is minimised in place of cross-entropy.
    pub loss: Option<Arc<dyn Loss>>,
    /// The optimizer.
    pub update: Arc<dyn Update>,
    /// Settings of the parameters.
    pub groups: GroupRules,
    /// The epoch, from 0, which says what the rules freeze.
    pub epoch: u32,
    /// Whether running averages of the weights are kept.
    pub averages: bool,
    /// What clips gradients by units before the update.
    pub clip: Option<Arc<dyn GradientRule>>,
}

impl Optimizing {
    /// The same weight decay on all parameters, and nothing else.
    pub fn plain(update: Arc<dyn Update>, weight_decay: f32) -> Optimizing {
        let groups = GroupRules::with_weight_decay(f64::from(weight_decay));
        Optimizing { loss: None, update, groups, epoch: 0, averages: false, clip: None }
    }

    /// The program of these graphs, with the settings of each parameter.
    fn program(&self, graphs: Vec<Graph>, device: &Device) -> Result<Program> {
        let groups = self.groups.of(&graphs[TRAIN])?;
        let (update, clip) = (self.update.clone(), self.clip.clone());
        let optimizer = Optimizer { update, groups, averages: self.averages, clip };
        Program::new(graphs, Some(optimizer), device.max_page_bytes())
    }

    /// The names of the parameters of a graph that are not trained.
    fn frozen(&self, graph: &Graph) -> HashSet<String> {
        let parameters = graph.parameters().into_iter().map(|value| graph.nodes()[value.node].name.clone());
        parameters.filter(|name| self.groups.is_frozen(name, self.epoch)).collect()
    }
}

/// The program that trains and evaluates a classifier: two graphs over the same parameters, and a third one if the model
/// averages views.
pub fn training(
    model: &Model,
    task: &Task,
    update: Arc<dyn Update>,
    weight_decay: f32,
    device: &Device,
) -> Result<Program> {
    let feeds = (Feed::Given.into(), Feed::Given);
    training_from(feeds, model, task, &Optimizing::plain(update, weight_decay), device)
}

/// [`training`] for samples that come to the training and the evaluation graph by these feeds.
pub fn training_from(
    (train, test): (TrainFeed, Feed),
    model: &Model,
    task: &Task,
    optimizing: &Optimizing,
    device: &Device,
) -> Result<Program> {
    let eval = fuse(eval_forward(test, model, task, &[])?)?;
    let learning = Learning { loss: optimizing.loss.clone(), frozen: optimizing.frozen(&eval) };
    let mut graphs = vec![train_graph_from(train, model, task, learning)?, eval];
    if !model.views().is_empty() {
        graphs.push(eval_graph_from(test, model, task)?);
    }
    optimizing.program(graphs, device)
}

/// [`training`] without [fusion](crate::fusion), to measure what that gains.
pub fn unfused_training(
    model: &Model,
    task: &Task,
    update: Arc<dyn Update>,
    weight_decay: f32,
    device: &Device,
) -> Result<Program> {
    Optimizing::plain(update, weight_decay).program(unfused_graphs(model, task)?, device)
}

/// The program that evaluates a classifier.
pub fn inference(model: &Model, task: &Task, device: &Device) -> Result<Program> {
    inference_from(Feed::Given, model, task, device)
}

/// The program that evaluates a classifier in batches of several sizes: a graph for each task.
pub fn inference_of(model: &Model, tasks: &[Task], device: &Device) -> Result<Program> {
    let graphs = tasks.iter().map(|task| eval_graph(model, task)).collect::<Result<Vec<Graph>>>()?;
    Program::new(graphs, None, device.max_page_bytes())
}

/// [`inference`] for samples that come by a feed.
pub fn inference_from(feed: Feed, model: &Model, task: &Task, device: &Device) -> Result<Program> {
    Program::new(vec![eval_graph_from(feed, model, task)?], None, device.max_page_bytes())
}

/// Forward, loss, number of correct predictions, and the gradient of every parameter.
pub fn train_graph(model: &Model, task: &Task) -> Result<Graph> {
    train_graph_from(Feed::Given.into(), model, task, Learning::default())
}

/// What a training graph has besides network and data.
#[derive(Default)]
struct Learning {
    loss: Option<Arc<dyn Loss>>,
    /// Parameters that are not trained.
    frozen: HashSet<String>,
}

fn train_graph_from(feed: TrainFeed, model: &Model, task: &Task, learning: Learning) -> Result<Graph> {
    fuse_gradients(with_gradients(fuse(train_forward(feed, model, task, learning)?)?)?)
}

/// Logits with running statistics, and the loss summed over the batch's valid samples.
pub fn eval_graph(model: &Model, task: &Task) -> Result<Graph> {
    eval_graph_from(Feed::Given, model, task)
}

fn eval_graph_from(feed: Feed, model: &Model, task: &Task) -> Result<Graph> {
    fuse(eval_forward(feed, model, task, model.views())?)
}

/// [`train_graph`] and [`eval_graph`] layer by layer, without [fusion](crate::fusion): what they are compared with.
pub fn unfused_graphs(model: &Model, task: &Task) -> Result<Vec<Graph>> {
    let feed = Feed::Given;
    Ok(vec![
        with_gradients(train_forward(feed.into(), model, task, Learning::default())?)?,
        eval_forward(feed, model, task, model.views())?,
    ])
}

fn train_forward(feed: TrainFeed, model: &Model, task: &Task, learning: Learning) -> Result<Graph> {
    let mut graph = task.precision.graph(Mode::Train);
    graph.freeze(learning.frozen);
    let Fed { images, labels, targets } = feed.build(&mut graph, task)?;
    let logits = model.build(&mut graph, images)?;
    let logits = checked(logits, model, task, &mut graph)?;
    let (loss, weight) = graph.scope("loss", |graph| match &learning.loss {
        Some(loss) => own_loss(loss.as_ref(), graph, [logits, targets]),
        None => {
            let loss = CrossEntropy { label_smoothing: task.label_smoothing, ..Default::default() };
            graph.apply(loss, &[logits, targets]).map(|of_loss| (of_loss[0], of_loss[2]))
        }
    })?;
    let correct = graph.scope("correct", |graph| graph.apply1(Accuracy {}, &[logits, labels]))?;
    graph.output("loss", loss);
    graph.output("correct", correct);
    // What the mean was divided by: how much a micro-batch counts.
    graph.output("weight", weight);
    Ok(graph)
}

/// A loss and the number of samples that it is the mean of.
fn own_loss(loss: &dyn Loss, graph: &mut Graph, [logits, targets]: [Value; 2]) -> Result<(Value, Value)> {
    let samples = graph.shape(logits)[0] as f32;
    let value = loss.build(graph, logits, targets)?;
    let shape = graph.shape(value).clone();
    if !shape.is_empty() {
        return Err(Error::Model(format!("has a loss of shape {shape}; it must be one number, of shape []")));
    }
    let value = graph.as_f32(value)?;
    Ok((value, graph.apply1(Fill { shape, value: samples }, &[])?))
}

fn with_gradients(mut graph: Graph) -> Result<Graph> {
    let loss = graph.outputs()["loss"];
    let parameters = graph.parameters();
    let trained = |value: &Value| !graph.is_frozen(&graph.nodes()[value.node].name);
    let parameters: Vec<Value> = parameters.into_iter().filter(trained).collect();
    let found = gradients(&mut graph, loss, &parameters)?;
    for (parameter, gradient) in parameters.into_iter().zip(found) {
        if let Some(gradient) = gradient {
            graph.set_gradient(parameter, gradient);
        }
    }
    Ok(graph)
}

fn eval_forward(feed: Feed, model: &Model, task: &Task, views: &'static [TestView]) -> Result<Graph> {
    let mut graph = task.precision.graph(Mode::Eval);
    let (images, labels) = feed.build(&mut graph, task)?;
    let logits = model.build_averaging(views, &mut graph, images)?;
    let logits = checked(logits, model, task, &mut graph)?;
    let loss = CrossEntropy { reduction: Reduction::Sum, ..Default::default() };
    let loss = graph.scope("loss", |graph| graph.apply(loss, &[logits, labels]))?[0];
    graph.output("logits", logits);
    graph.output("loss", loss);
    Ok(graph)
}

/// A model's logits in f32, of the task's classes.
fn checked(logits: Value, model: &Model, task: &Task, graph: &mut Graph) -> Result<Value> {
    model.check_classes(graph, logits, task.classes)?;
    graph.as_f32(logits)
}
