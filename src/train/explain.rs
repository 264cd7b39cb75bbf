//! Where in an image the evidence for a class is: Grad-CAM, through the engine's own gradients, or occlusion.

use super::device::Device;
use super::predictor::{Predictor, loaded};
use super::run::{Run, RunModel};
use super::session::Session;
use super::weights::TensorFile;
use crate::error::Result;
use crate::graph::{Graph, Mode, NodeKind, Step, TensorDesc, Value};
use crate::models::Model;
use crate::ops::gradients_of;
use crate::plan::{Data, Program};

/// Patches along each side of an image that is occluded piece by piece.
const PATCHES: usize = 8;

/// How much each part of an image speaks for a class.
#[derive(Clone, Debug, PartialEq)]
pub struct Heat {
    /// Rows and columns of the map, which lies over the whole image that the network saw.
    pub size: [usize; 2],
    /// Row by row, from 0 to 1; all 0 where nothing speaks for the class.
    pub map: Vec<f32>,
}

/// Explains what a model sees in images.
///
/// The map is `relu(sum_c A_c dlogit/dA_c)` of the last feature map `A` that is larger than one pixel. For networks that
/// end in global pooling this is Grad-CAM (Selvaraju et al. 2017), whose weights are means of the gradient: there the
/// gradient is the same for all pixels. For networks that flatten it is HiResCAM (Draelos and Carin 2020), which keeps
/// the places that Grad-CAM averages away. A network without a feature map is shown the image with a part hidden
/// instead (occlusion, Zeiler and Fergus 2014): what hiding a part takes from the logit is that part's share.
pub struct Explainer {
    /// The graph with the feature map and its gradient, and the map's channels, height and width.
    features: Option<(Session, [usize; 3])>,
    image: [usize; 3],
    classes: usize,
}

impl Explainer {
    /// Prepares the model of a run.
    ///
    /// # Errors
    /// If weights are missing, or the device has no room.
    pub async fn new(
        (about, model, weights): (&RunModel, &Model, &TensorFile),
        run: &Run,
        device: &Device,
    ) -> Result<Explainer> {
        let (image, classes) = (about.image, about.classes.len());
        let features = match graph(model, image, classes)? {
            None => None,
            Some((graph, size)) => {
                let program = Program::new(vec![graph], None, device.max_page_bytes())?;
                Some((loaded(program, weights, device, &run.file("model.safetensors")).await?, size))
            }
        };
        Ok(Explainer { features, image, classes })
    }

    /// Whether it hides parts of the image because the network has no feature map.
    pub fn occludes(&self) -> bool {
        self.features.is_none()
    }

    /// The evidence for a class in one image, as [`RunModel::read_image`] gives it; `predictor` is of the same model.
    pub async fn heat(&mut self, predictor: &mut Predictor, pixels: &[f32], class: usize) -> Result<Heat> {
        let Some((session, [channels, height, width])) = &mut self.features else {
            return occluded(predictor, self.image, pixels, class).await;
        };
        let mut seed = vec![0.0; self.classes];
        seed[class] = 1.0;
        let inputs = [("images", Data::Real(pixels)), ("seed", Data::Real(&seed[..]))];
        session.prepare(0).await?;
        session.submit(0, &inputs, &Step::default())?;
        let mut outputs = session.collect(0).await?.map(|finished| finished.outputs).unwrap_or_default();
        let [features, gradient] =
            ["features", "gradient"].map(|name| outputs.remove(name).unwrap_or_default());
        // Channels are innermost.
        let pixels = features.chunks_exact(*channels).zip(gradient.chunks_exact(*channels));
        let evidence =
            pixels.map(|(features, gradient)| features.iter().zip(gradient).map(|(a, g)| a * g).sum());
        Ok(Heat::of([*height, *width], evidence.collect()))
    }
}

impl Heat {
    /// Evidence, without what speaks against the class, as shares of the largest.
    fn of(size: [usize; 2], evidence: Vec<f32>) -> Heat {
        let largest = evidence.iter().copied().fold(0.0, |a, b| if b > a { b } else { a });
        let share = |value: f32| if value > 0.0 && largest > 0.0 { value / largest } else { 0.0 };
        Heat { size, map: evidence.into_iter().map(share).collect() }
    }
}

/// The network with its last feature map and the gradient of a chosen mix of logits with respect to it; none if there is
/// no map that the logits depend on.
fn graph(model: &Model, [c, h, w]: [usize; 3], classes: usize) -> Result<Option<(Graph, [usize; 3])>> {
    // Layer by layer: fused operators need not have gradients.
    let mut graph = Graph::new(Mode::Eval);
    let images = graph.input("images", TensorDesc::f32([1, c, h, w]));
    let logits = model.build(&mut graph, images)?;
    model.check_classes(&graph, logits, classes)?;
    let Some((features, size)) = last_map(&graph, logits) else { return Ok(None) };
    let seed = graph.input("seed", TensorDesc::f32([1, classes]));
    let Some(gradient) = gradients_of(&mut graph, &[(logits, seed)], &[features])?[0] else {
        return Ok(None);
    };
    graph.output("features", features);
    graph.output("gradient", gradient);
    Ok(Some((graph, size)))
}

/// The last value of several pixels that an operator makes on the way to `logits`.
fn last_map(graph: &Graph, logits: Value) -> Option<(Value, [usize; 3])> {
    let needed = graph.needed_by([&logits]);
    (0..=logits.node).rev().filter(|index| needed[*index]).find_map(|index| {
        let node = &graph.nodes()[index];
        if !matches!(node.kind, NodeKind::Op(_)) {
            return None;
        }
        let [_, c, h, w] = node.outputs[0].shape.as_4d()?;
        (h * w > 1).then_some((Value { node: index, output: 0 }, [c, h, w]))
    })
}

/// What hiding each part of the image behind the mean colour takes from the class's logit.
async fn occluded(
    predictor: &mut Predictor,
    [channels, height, width]: [usize; 3],
    pixels: &[f32],
    class: usize,
) -> Result<Heat> {
    let [rows, columns] = [height, width].map(|length| length.min(PATCHES));
    let mut images = pixels.to_vec();
    for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
        let mut hidden = pixels.to_vec();
        for y in row * height / rows..(row + 1) * height / rows {
            let [first, end] =
                [column, column + 1].map(|edge| (y * width + edge * width / columns) * channels);
            hidden[first..end].fill(0.0);
        }
        images.extend(hidden);
    }
    let logits = predictor.logits(&images).await?;
    let mut of_class = logits.chunks_exact(predictor.about().classes.len()).map(|logits| logits[class]);
    let whole = of_class.next().unwrap_or(0.0);
    Ok(Heat::of([rows, columns], of_class.map(|hidden| whole - hidden).collect()))
}
