//! `images[indices], labels[indices]`: a batch of a stored data set, whose pixels may be bytes.

use super::{Draw, Operator, Sample};
use crate::cpu_kernel;
use crate::error::Result;
use crate::graph::{Context, Graph, Lower, Op, Real, Slot, TensorDesc, Value, View, ViewMut};
use crate::tensor::{DType, Shape};

/// The registry's line.
pub const OPERATOR: Operator = Operator {
    name: "gather_batch",
    summary: "images and labels of a data set by index, bytes through a table (images[indices], labels[indices])",
    shader: shader!("gather_batch"),
    layer: None,
    samples,
};

/// The label of padding, which losses and metrics ignore.
const IGNORE_INDEX: i32 = -100;

/// Values of a byte.
pub const TABLE_LEN: usize = 256;

/// Elements that one thread takes at a time, in whole images.
const CHUNK: usize = 8192;

/// The operator: `(images [M, C, H, W], labels [M], indices [N], table) -> (images [N, C, H, W], labels [N])`.
///
/// Bytes become floats through `table [C, 256]`, which says what each byte of each channel means; so scaling and
/// normalising cost a load, and give the same bits on every device. Images that are f32 are copied, and there is no
/// table. An index that is no image's, such as -1, is padding: zeros, and the label -100.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GatherBatch {
    /// Element type of the gathered images: F32 or F16.
    pub dtype: DType,
}

impl Op for GatherBatch {
    fn name(&self) -> &'static str {
        "gather_batch"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        let [images, labels, indices, table @ ..] = inputs else {
            return Err(format!("takes images, labels, indices and a table, it was given {}", inputs.len()));
        };
        let Some([m, c, h, w]) = images.shape.as_4d() else {
            return Err(format!("images must be [M, C, H, W], they are {}", images.shape));
        };
        if *labels != TensorDesc::i32([m]) {
            return Err(format!("labels of images {} must be [{m}], they are {}", images.shape, labels.shape));
        }
        if indices.dtype != DType::I32 || indices.shape.len() != 1 {
            return Err(format!("indices must be i32 [N], they are {:?} {}", indices.dtype, indices.shape));
        }
        match (images.dtype, table) {
            (DType::U8, [table]) if *table == TensorDesc::f32([c, TABLE_LEN]) => {}
            (DType::F32, []) => {}
            (dtype, table) => {
                let given: Vec<&Shape> = table.iter().map(|table| &table.shape).collect();
                return Err(format!(
                    "images are bytes with a table [{c}, {TABLE_LEN}], or f32 without one; they are {dtype:?}, the \
                     table is {given:?}"
                ));
            }
        }
        let n = indices.shape[0];
        Ok(vec![TensorDesc::f32([n, c, h, w]).with_dtype(self.dtype), TensorDesc::i32([n])])
    }

    fn lower(&self, lower: &mut Lower<'_>) {
        let (images, count) = (&lower.inputs[0], lower.outputs[0].numel());
        let (m, channels) = (images.shape[0], images.shape[1]);
        let bytes = images.dtype == DType::U8;
        let dispatch = lower
            .dispatch("gather_batch", if bytes { "bytes" } else { "floats" })
            .read("images", Slot::Input(0))
            .read("labels", Slot::Input(1))
            .read("indices", Slot::Input(2))
            .write("output", Slot::Output(0))
            .write("output_labels", Slot::Output(1))
            .uniforms(&[("count", count), ("image", images.numel() / m), ("channels", channels), ("stored", m)])
            .stores(self.dtype, false);
        let dispatch = if bytes { dispatch.read("table", Slot::Input(3)) } else { dispatch };
        dispatch.over(count.div_ceil(4));
    }

    cpu_kernel!(eval);
}

impl GatherBatch {
    fn eval<T: Real>(&self, context: &Context<T>, inputs: &[View<T>], outputs: &mut [ViewMut<T>]) {
        let (images, labels, indices) = (inputs[0], inputs[1].int, inputs[2].int);
        let stored = |index: i32| usize::try_from(index).ok().filter(|index| *index < labels.len());
        let image = images.desc.numel() / labels.len();
        let per_chunk = (CHUNK / image).max(1);
        context.host.for_each_chunk(outputs[0].real, per_chunk * image, &|chunk, output| {
            let indices = &indices[chunk * per_chunk..];
            for (output, &index) in output.chunks_exact_mut(image).zip(indices) {
                let Some(index) = stored(index) else {
                    output.fill(T::zero());
                    continue;
                };
                let range = index * image..(index + 1) * image;
                match inputs.get(3) {
                    Some(table) => look_up(&images.bytes[range], table.real, output),
                    None => output.copy_from_slice(&images.real[range]),
                }
            }
        });
        for (label, &index) in outputs[1].int.iter_mut().zip(indices) {
            *label = stored(index).map_or(IGNORE_INDEX, |index| labels[index]);
        }
    }
}

/// What each byte means in its channel; pixels are channels last.
fn look_up<T: Real>(bytes: &[u8], table: &[T], output: &mut [T]) {
    let (channels, _) = table.as_chunks::<TABLE_LEN>();
    if let [table] = channels {
        output.iter_mut().zip(bytes).for_each(|(output, &byte)| *output = table[usize::from(byte)]);
        return;
    }
    let pixels = output.chunks_exact_mut(channels.len()).zip(bytes.chunks_exact(channels.len()));
    for (output, bytes) in pixels {
        for ((output, &byte), table) in output.iter_mut().zip(bytes).zip(channels) {
            *output = table[usize::from(byte)];
        }
    }
}

fn samples() -> Vec<Sample> {
    let gather = |graph: &mut Graph, values: &[Value], dtype| graph.apply(GatherBatch { dtype }, values);
    let stored = |id: &str, image: [usize; 3], [m, n]: [usize; 2], dtype: DType| {
        let [c, h, w] = image;
        let inputs = vec![
            (vec![m, c, h, w], Draw::Bytes),
            (vec![m], Draw::Classes(7, false)),
            (vec![n], Draw::Classes(m, true)),
            (vec![c, TABLE_LEN], Draw::Constant),
        ];
        let build = move |graph: &mut Graph, values: &[Value]| gather(graph, values, dtype);
        Sample::new(format!("gather_batch/{id}"), inputs, build).without_gradient().may_drop_nan()
    };
    let floats = |id: &str, image: [usize; 3], [m, n]: [usize; 2]| {
        let [c, h, w] = image;
        let inputs = vec![
            (vec![m, c, h, w], Draw::Constant),
            (vec![m], Draw::Classes(7, false)),
            (vec![n], Draw::Classes(m, true)),
        ];
        let build = move |graph: &mut Graph, values: &[Value]| gather(graph, values, DType::F32);
        Sample::new(format!("gather_batch/{id}"), inputs, build).without_gradient().may_drop_nan()
    };
    vec![
        stored("grey", [1, 5, 7], [11, 9], DType::F32),
        stored("colour", [3, 3, 5], [13, 29], DType::F32),
        stored("one-byte", [1, 1, 1], [1, 1], DType::F32),
        stored("many-bytes", [5, 7, 2], [3, 37], DType::F32),
        stored("f16", [4, 5, 3], [5, 13], DType::F16),
        floats("floats", [3, 5, 3], [7, 11]),
        labels(),
    ]
}

/// The gathered labels, as a loss sees them: padding counts in none.
fn labels() -> Sample {
    let inputs = vec![
        (vec![17, 5, 1, 1], Draw::Constant),
        (vec![17], Draw::Classes(5, false)),
        (vec![23], Draw::Classes(17, true)),
    ];
    let sample = Sample::new("gather_batch/labels", inputs, |graph, values| {
        let gathered = graph.apply(GatherBatch { dtype: DType::F32 }, values)?;
        let logits = graph.apply1(super::flatten::ToRows, &gathered[..1])?;
        graph.apply(super::cross_entropy::CrossEntropy::default(), &[logits, gathered[1]])
    });
    sample.without_gradient().may_drop_nan()
}
