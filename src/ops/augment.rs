//! `images[indices]` as a batch of bytes, augmented: cropped, flipped, turned, their colours changed, normalised, erased.

use super::gather_batch::TABLE_LEN;
use super::{Draw, Operator, Sample};
use crate::augment::{Affine, Augmentation, Auto, Crop, Erasing, Jitter, Parameters, Pixels, Rectangle, WORDS};
use crate::cpu_kernel;
use crate::error::Result;
use crate::graph::{Context, Graph, Lower, Op, Real, Slot, TensorDesc, Value, View, ViewMut};

/// The registry's line.
pub const OPERATOR: Operator = Operator {
    name: "augment",
    summary: "images and labels of a data set by index, augmented (torchvision.transforms.v2, one row of parameters a sample)",
    shader: shader!("augment"),
    layer: None,
    samples,
};

/// The label of padding, which losses and metrics ignore.
const IGNORE_INDEX: i32 = -100;

/// Elements that one thread takes at a time, in whole images.
const CHUNK: usize = 1 << 15;

/// The operator: `(images [M, C, h, w], labels [M], indices [N], table [C, 256], parameters [N, WORDS]) -> (images
/// [N, C, H, W], labels [N])`, all images stored as bytes; the table says what each byte of each channel means. An
/// index that is no image's, such as -1, is padding: zeros, and the label -100.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Augment {
    /// Height and width of the batch's images.
    pub size: [usize; 2],
    /// Whether the parameters may have colour operations, which only images of 1 or 3 channels have.
    pub colours: bool,
}

impl Op for Augment {
    fn name(&self) -> &'static str {
        "augment"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        let [images, labels, indices, table, parameters] = inputs else {
            return Err(format!(
                "takes images, labels, indices, a table and parameters, it was given {}",
                inputs.len()
            ));
        };
        let Some([m, c, ..]) = images.shape.as_4d() else {
            return Err(format!("images must be [M, C, H, W], they are {}", images.shape));
        };
        if images.dtype != crate::tensor::DType::U8 {
            return Err(format!("images must be bytes, they are {:?} {}", images.dtype, images.shape));
        }
        let n = indices.shape.first().copied().unwrap_or(0);
        let wanted = [
            ("labels", labels, TensorDesc::i32([m])),
            ("indices", indices, TensorDesc::i32([n])),
            ("table", table, TensorDesc::f32([c, TABLE_LEN])),
            ("parameters", parameters, TensorDesc::i32([n, WORDS])),
        ];
        for (name, given, wanted) in wanted {
            if *given != wanted {
                return Err(format!(
                    "{name} of {n} from images {} must be {:?} {}, they are {:?} {}",
                    images.shape, wanted.dtype, wanted.shape, given.dtype, given.shape
                ));
            }
        }
        if self.colours && c != 1 && c != 3 {
            return Err(format!("colours of images of {c} channels cannot be changed; they must have 1 or 3"));
        }
        let [h, w] = self.size;
        Ok(vec![TensorDesc::f32([n, c, h, w]), TensorDesc::i32([n])])
    }

    fn lower(&self, lower: &mut Lower<'_>) {
        let [stored, channels, in_height, in_width] = dims(&lower.inputs[0]);
        let [n, _, height, width] = dims(&lower.outputs[0]);
        let pixels = n * height * width;
        let kept = self.colours.then(|| lower.scratch(pixels));
        let sizes = [
            ("pixels", pixels),
            ("height", height),
            ("width", width),
            ("channels", channels),
            ("in_height", in_height),
            ("in_width", in_width),
            ("stored", stored),
        ];
        let dispatch = lower
            .dispatch("augment", if self.colours { "geometry" } else { "forward" })
            .read("images", Slot::Input(0))
            .read("labels", Slot::Input(1))
            .read("indices", Slot::Input(2))
            .read("parameters", Slot::Input(4))
            .write("output_labels", Slot::Output(1))
            .uniforms(&sizes);
        let Some(kept) = kept else {
            dispatch.read("table", Slot::Input(3)).write("output", Slot::Output(0)).over(pixels);
            return;
        };
        dispatch.write("kept", kept).over(pixels);
        lower
            .dispatch("augment", "colour")
            .read("indices", Slot::Input(2))
            .read("table", Slot::Input(3))
            .read("parameters", Slot::Input(4))
            .write("kept", kept)
            .write("output", Slot::Output(0))
            .uniforms(&sizes)
            .groups(n);
    }

    cpu_kernel!(eval);
}

fn dims(desc: &TensorDesc) -> [usize; 4] {
    desc.shape.as_4d().expect("the shape rule has checked the rank")
}

impl Augment {
    fn eval<T: Real>(&self, context: &Context<T>, inputs: &[View<T>], outputs: &mut [ViewMut<T>]) {
        let (images, labels, indices) = (inputs[0], inputs[1].int, inputs[2].int);
        let tables = inputs[3].real.as_chunks::<TABLE_LEN>().0;
        let rows = inputs[4].int.as_chunks::<WORDS>().0;
        let stored = |index: i32| usize::try_from(index).ok().filter(|index| *index < labels.len());
        let [_, channels, in_height, in_width] = images.dims4();
        let source = [channels, in_height, in_width];
        let (size, wanted) = (source.iter().product::<usize>(), channels * self.size[0] * self.size[1]);
        let per_chunk = (CHUNK / wanted).max(1);
        context.host.for_each_chunk(outputs[0].real, per_chunk * wanted, &|chunk, output| {
            let (mut planes, mut spare) = (vec![0; wanted], vec![]);
            for (image, output) in output.chunks_exact_mut(wanted).enumerate() {
                let place = chunk * per_chunk + image;
                let Some(index) = stored(indices[place]) else {
                    output.fill(T::zero());
                    continue;
                };
                let pixels = Pixels { bytes: &images.bytes[index * size..][..size], image: source };
                let parameters = Parameters(rows[place]);
                pixels.transform(&parameters, self.size, &mut planes);
                if self.colours {
                    let image = [channels, self.size[0], self.size[1]];
                    parameters.colours().for_each(|colour| colour.apply(&mut planes, image, &mut spare));
                }
                look_up(&planes, tables, output);
                parameters.erased().into_iter().for_each(|part| self.erase(part, output));
            }
        });
        for (label, &index) in outputs[1].int.iter_mut().zip(indices) {
            *label = stored(index).map_or(IGNORE_INDEX, |index| labels[index]);
        }
    }

    fn erase<T: Real>(&self, part: Rectangle, output: &mut [T]) {
        let [height, width] = self.size;
        let channels = output.len() / (height * width);
        let [[left, right], [top, bottom]] = [(part.columns, width), (part.rows, height)]
            .map(|([first, end], length)| [first, end].map(|at| (at as usize).min(length)));
        for row in top..bottom {
            if left < right {
                output[(row * width + left) * channels..(row * width + right) * channels].fill(T::zero());
            }
        }
    }
}

/// What each byte of each plane means in its channel; the output is channels last.
fn look_up<T: Real>(planes: &[u8], tables: &[[T; TABLE_LEN]], output: &mut [T]) {
    let channels = tables.len();
    let mut planes = planes.chunks_exact(planes.len() / channels);
    if let [red, green, blue] = tables {
        let [r, g, b] = std::array::from_fn(|_| planes.next().unwrap_or_default());
        let bytes = r.iter().zip(g).zip(b);
        for (output, ((&r, &g), &b)) in output.as_chunks_mut::<3>().0.iter_mut().zip(bytes) {
            *output = [red[usize::from(r)], green[usize::from(g)], blue[usize::from(b)]];
        }
        return;
    }
    for (channel, (plane, table)) in planes.zip(tables).enumerate() {
        let output = output[channel..].iter_mut().step_by(channels);
        output.zip(plane).for_each(|(output, &byte)| *output = table[usize::from(byte)]);
    }
}

fn samples() -> Vec<Sample> {
    let case = |id: &str, image: [usize; 3], size: [usize; 2], augmentation: Augmentation| {
        let ([c, h, w], [m, n]) = (image, [7, 11]);
        let inputs = vec![
            (vec![m, c, h, w], Draw::Bytes),
            (vec![m], Draw::Classes(7, false)),
            (vec![n], Draw::Classes(m, true)),
            (vec![c, TABLE_LEN], Draw::Constant),
            (vec![n, WORDS], Draw::Augmentation(augmentation, [h, w], size)),
        ];
        let op = Augment { size, colours: augmentation.changes_colours() };
        let build = move |graph: &mut Graph, values: &[Value]| Ok(graph.apply(op, values)?[..1].to_vec());
        Sample::new(format!("augment/{id}"), inputs, build).without_gradient().may_drop_nan()
    };
    let none = Augmentation::NONE;
    let padded = |reflect| Augmentation { crop: Crop::Padded { padding: 2, reflect }, horizontal_flip: 0.5, ..none };
    let resized = Crop::Resized { scale: [0.3, 1.0], ratio: [0.75, 1.33] };
    let affine = Affine { degrees: 40.0, translate: [0.1, 0.2], scale: [0.8, 1.2], shear: 10.0 };
    let erasing = Erasing { p: 0.7, ..Erasing::NONE };
    let jitter = Jitter { brightness: 0.4, contrast: 0.4, saturation: 1.5, hue: 0.5 };
    let rand = Auto::RandAugment { num_ops: 3, magnitude: 17 };
    let all = Augmentation { crop: resized, affine, jitter, greyscale: 0.3, erasing, cutout: 3, ..none };
    vec![
        case("centre", [3, 7, 9], [5, 6], none),
        case("padded-crop-flip", [1, 9, 7], [9, 7], padded(false)),
        case("reflected", [3, 9, 7], [9, 7], padded(true)),
        case("resized-crop", [3, 13, 11], [7, 9], Augmentation { crop: resized, vertical_flip: 0.5, ..none }),
        case("affine", [5, 11, 13], [11, 13], Augmentation { affine, ..none }),
        case("nearest", [3, 11, 13], [11, 13], Augmentation { affine, nearest: true, ..none }),
        case("erasing", [2, 11, 13], [11, 13], Augmentation { erasing, cutout: 5, ..none }),
        case("colours", [3, 11, 13], [11, 13], Augmentation { jitter, greyscale: 0.5, ..none }),
        case("colours-of-grey", [1, 9, 5], [9, 5], Augmentation { jitter, greyscale: 0.5, ..none }),
        case("trivial-augment", [3, 37, 31], [37, 31], Augmentation { auto: Some(Auto::TrivialAugmentWide), ..none }),
        case("rand-augment", [3, 37, 31], [37, 31], Augmentation { auto: Some(rand), ..none }),
        case("one-pixel", [3, 1, 1], [1, 1], Augmentation { auto: Some(rand), jitter, ..none }),
        case("all", [3, 17, 19], [13, 11], Augmentation { auto: Some(Auto::TrivialAugmentWide), ..all }),
    ]
}
