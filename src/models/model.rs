use super::Sequential;
use crate::error::{Error, Result};
use crate::graph::{Graph, Mode, TensorDesc, Value};
use crate::ops::Layer;
use crate::ops::views::{self, TestView};

/// A network for images of one size.
///
/// ```
/// use wgrad::graph::Mode;
/// use wgrad::models::{Model, Sequential};
/// use wgrad::ops::{conv2d::Conv2d, relu::Relu};
///
/// let layers = Sequential::new().push(Conv2d::new(16, 3).padding(1)).push(Relu {});
/// let model = Model::new([3, 32, 32], layers);
/// let (graph, output) = model.graph(Mode::Train, 8)?;
/// assert_eq!(graph.shape(output).to_vec(), [8, 16, 32, 32]);
/// # Ok::<(), wgrad::Error>(())
/// ```
#[derive(Debug)]
pub struct Model {
    pub(super) name: String,
    pub(super) input: [usize; 3],
    pub(super) layers: Sequential,
    pub(super) source: Option<String>,
    pub(super) views: &'static [TestView],
}

impl Model {
    /// A model for images of channels, height and width `input`.
    pub fn new(input: [usize; 3], layers: Sequential) -> Model {
        Model { name: "model".to_string(), input, layers, source: None, views: &[] }
    }

    /// The same network, whose graphs for evaluation average the logits of several views of each image: test-time
    /// augmentation. No views are none. `TestView`s of use: [`crate::ops::views::FLIP`],
    /// [`crate::ops::views::FLIP_TRANSLATE`].
    pub fn averaging(self, views: &'static [TestView]) -> Model {
        Model { views, ..self }
    }

    /// The views that graphs for evaluation average.
    pub fn views(&self) -> &'static [TestView] {
        self.views
    }

    /// The built-in's name or the file's path; `model` for one that was built in Rust.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Channels, height and width of its images.
    pub fn input(&self) -> [usize; 3] {
        self.input
    }

    /// The model file that makes exactly this model, without a data set; none for a model that was built in Rust.
    pub fn to_toml(&self) -> Option<&str> {
        self.source.as_deref()
    }

    /// Applies the model to `images` `[N, C, H, W]`, in the graph's current scope.
    pub fn build(&self, graph: &mut Graph, images: Value) -> Result<Value> {
        self.build_averaging(self.views, graph, images)
    }

    /// The same with other views than the model's own, where the graph is for evaluation.
    pub(crate) fn build_averaging(
        &self,
        views: &'static [TestView],
        graph: &mut Graph,
        images: Value,
    ) -> Result<Value> {
        let shape = graph.shape(images);
        if shape.get(1..) != Some(&self.input[..]) {
            let (name, [c, h, w]) = (&self.name, self.input);
            return Err(Error::Model(format!("\"{name}\" takes images of [N, {c}, {h}, {w}], not {shape}")));
        }
        if graph.mode() == Mode::Train || views.is_empty() {
            return self.layers.build(graph, images);
        }
        views::averaged(views, graph, images, |graph, images| self.layers.build(graph, images))
    }

    /// A new graph with the input `images` `[batch, C, H, W]` and the model's output.
    pub fn graph(&self, mode: Mode, batch: usize) -> Result<(Graph, Value)> {
        let [c, h, w] = self.input;
        let mut graph = Graph::new(mode);
        let images = graph.input("images", TensorDesc::f32([batch, c, h, w]));
        let output = self.build(&mut graph, images)?;
        Ok((graph, output))
    }

    /// Refuses a model whose output is not `[N, classes]`.
    pub fn check_classes(&self, graph: &Graph, output: Value, classes: usize) -> Result<()> {
        let shape = graph.shape(output);
        match shape.as_2d() {
            Some([_, features]) if features == classes => Ok(()),
            Some([_, features]) => Err(Error::Model(format!(
                "\"{}\" ends in {features} outputs ({shape}), the data set has {classes} classes; the last layer may \
                 say out_features = \"classes\"",
                self.name
            ))),
            None => Err(Error::Model(format!(
                "\"{}\" ends in {shape}, a classifier of {classes} classes in [N, {classes}]; \"flatten\" and a linear \
                 layer make that",
                self.name
            ))),
        }
    }
}
