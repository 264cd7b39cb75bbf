//! Views of images at test time: a batch becomes several, flipped and shifted, whose logits are averaged afterwards.

use super::{Draw, Operator, Sample};
use crate::cpu_kernel;
use crate::graph::{Context, Graph, Lower, Op, Real, Slot, TensorDesc, Value, View, ViewMut};
use crate::error::Result;

/// The registry's line.
pub const OPERATOR: Operator = Operator {
    name: "views",
    summary: "views of images, flipped and shifted, and the mean of what becomes of them (airbench's infer_mirror_translate)",
    shader: shader!("views"),
    layer: None,
    samples,
};

/// One view of an image, and its share of the mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TestView {
    /// Whether it is flipped horizontally.
    pub flip: bool,
    /// From which row and column beside its own a pixel is taken, before the flip; reflected at the edges.
    pub shift: [i32; 2],
    /// Weight of the mean; all views' are 1 together.
    pub weight: f32,
}

const fn view(flip: bool, shift: i32, weight: f32) -> TestView {
    TestView { flip, shift: [shift, shift], weight }
}

/// An image and its mirror image.
pub const FLIP: &[TestView] = &[view(false, 0, 0.5), view(true, 0, 0.5)];

/// An image with half of the weight, and shifted by a pixel up and left, and down and right.
pub const TRANSLATE: &[TestView] = &[view(false, 0, 0.5), view(false, -1, 0.25), view(false, 1, 0.25)];

/// [`FLIP`] with half of the weight, and both shifted by a pixel up and left, and down and right (Jordan 2024, "94% on
/// CIFAR-10 in 3.29 seconds on a single GPU", section 3.6).
pub const FLIP_TRANSLATE: &[TestView] = &[
    view(false, 0, 0.25),
    view(true, 0, 0.25),
    view(false, -1, 0.125),
    view(true, -1, 0.125),
    view(false, 1, 0.125),
    view(true, 1, 0.125),
];

/// The operator: `images [N, C, H, W] -> [V N, C, H, W]`, all of one view after all of another. For evaluation: it has no
/// gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Views(pub &'static [TestView]);

/// The operator: `[V N, K] -> [N, K]`, the weighted mean over the views.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MeanOfViews(pub &'static [TestView]);

impl Op for Views {
    fn name(&self) -> &'static str {
        "views"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        let shape = &inputs[0].shape;
        let Some([n, c, h, w]) = shape.as_4d() else {
            return Err(format!("takes images [N, C, H, W], the input is {shape}"));
        };
        let [up, left] = [0, 1].map(|axis| self.0.iter().map(|view| view.shift[axis].unsigned_abs()).max());
        if up >= Some(h as u32) || left >= Some(w as u32) {
            return Err(format!("shifts images by less than their size, the input is {shape}"));
        }
        Ok(vec![TensorDesc::f32([self.0.len() * n, c, h, w])])
    }

    fn lower(&self, lower: &mut Lower<'_>) {
        let [_, c, h, w] = lower.inputs[0].shape.as_4d().expect("the shape rule has checked the rank");
        let count = lower.inputs[0].numel();
        for (index, view) in self.0.iter().enumerate() {
            lower
                .dispatch("views", "forward")
                .read("input", Slot::Input(0))
                .write("output", Slot::Output(0))
                .uniforms(&[("count", count), ("first", index * count), ("C", c), ("H", h), ("W", w)])
                .uniform("flip", view.flip)
                .uniform("dy", view.shift[0])
                .uniform("dx", view.shift[1])
                .over(count);
        }
    }

    cpu_kernel!(eval);
}

impl Views {
    fn eval<T: Real>(&self, context: &Context<T>, inputs: &[View<T>], outputs: &mut [ViewMut<T>]) {
        let [n, c, h, w] = inputs[0].dims4();
        let images = inputs[0].real;
        context.host.for_each_chunk(outputs[0].real, w * c, &|row, output| {
            let (view, image, y) = (self.0[row / h / n], row / h % n, row % h);
            let source = &images[(image * h + reflected(y, view.shift[0], h)) * w * c..][..w * c];
            for (x, pixel) in output.chunks_exact_mut(c).enumerate() {
                let x = reflected(if view.flip { w - 1 - x } else { x }, view.shift[1], w);
                pixel.copy_from_slice(&source[x * c..][..c]);
            }
        });
    }
}

/// A place beside another, mirrored at the outermost pixel.
fn reflected(place: usize, shift: i32, size: usize) -> usize {
    let (place, last) = ((place as i64 + i64::from(shift)).abs(), size as i64 - 1);
    (if place > last { 2 * last - place } else { place }) as usize
}

impl Op for MeanOfViews {
    fn name(&self) -> &'static str {
        "views"
    }

    fn pass(&self) -> &'static str {
        "average"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        let (shape, views) = (&inputs[0].shape, self.0.len());
        match shape.as_2d() {
            Some([rows, columns]) if rows.is_multiple_of(views) => {
                Ok(vec![TensorDesc::f32([rows / views, columns])])
            }
            _ => Err(format!("takes a matrix of the rows of {views} views, the input is {shape}")),
        }
    }

    fn lower(&self, lower: &mut Lower<'_>) {
        let count = lower.outputs[0].numel();
        for (index, view) in self.0.iter().enumerate() {
            lower
                .dispatch("views", "average")
                .read("input", Slot::Input(0))
                .write("output", Slot::Output(0))
                .uniforms(&[("count", count), ("first", index * count)])
                .uniform("weight", view.weight)
                .uniform("begins", index == 0)
                .over(count);
        }
    }

    cpu_kernel!(eval);
}

impl MeanOfViews {
    fn eval<T: Real>(&self, _: &Context<T>, inputs: &[View<T>], outputs: &mut [ViewMut<T>]) {
        let mean = &mut *outputs[0].real;
        mean.fill(T::zero());
        for (view, rows) in self.0.iter().zip(inputs[0].real.chunks_exact(mean.len())) {
            let weight = T::of(f64::from(view.weight));
            mean.iter_mut().zip(rows).for_each(|(mean, row)| *mean = weight.mul_add(*row, *mean));
        }
    }
}

/// Adds views of `images` to a graph of evaluation, what `network` makes of them, and its mean `[N, K]` in f32.
pub(crate) fn averaged(
    views: &'static [TestView],
    graph: &mut Graph,
    images: Value,
    network: impl FnOnce(&mut Graph, Value) -> Result<Value>,
) -> Result<Value> {
    let images = graph.scope("views", |graph| graph.apply1(Views(views), &[images]))?;
    let output = network(graph, images)?;
    let output = graph.as_f32(output)?;
    graph.scope("views", |graph| graph.apply1(MeanOfViews(views), &[output]))
}

fn samples() -> Vec<Sample> {
    let views = |id: &str, shape: [usize; 4], views: &'static [TestView]| {
        let inputs = vec![(shape.to_vec(), Draw::Normal)];
        Sample::new(format!("views/{id}"), inputs, move |graph, values| graph.apply(Views(views), values))
            .without_gradient()
    };
    let mean = |id: &str, rows: usize, views: &'static [TestView]| {
        let inputs = vec![(vec![rows * views.len(), 7], Draw::Normal)];
        Sample::new(format!("views/{id}"), inputs, move |graph, values| graph.apply(MeanOfViews(views), values))
            .without_gradient()
    };
    const FAR: &[TestView] = &[TestView { flip: true, shift: [2, -3], weight: 1.0 }];
    vec![
        views("flip", [3, 5, 4, 7], FLIP),
        views("translate", [2, 1, 5, 4], TRANSLATE),
        views("flip-translate", [2, 3, 5, 6], FLIP_TRANSLATE),
        views("far", [3, 1, 3, 4], FAR),
        mean("mean-of-two", 5, FLIP),
        mean("mean-of-six", 3, FLIP_TRANSLATE),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_beside_the_edge_are_mirrored() {
        let row = |shift| [0, 1, 2, 3].map(|place| reflected(place, shift, 4));
        assert_eq!(row(0), [0, 1, 2, 3]);
        assert_eq!(row(-1), [1, 0, 1, 2]);
        assert_eq!(row(1), [1, 2, 3, 2]);
        assert_eq!(row(-3), [3, 2, 1, 0]);
    }

    #[test]
    fn weights_are_those_of_a_mean() {
        for views in [FLIP, TRANSLATE, FLIP_TRANSLATE] {
            assert_eq!(views.iter().map(|view| view.weight).sum::<f32>(), 1.0);
        }
    }
}
