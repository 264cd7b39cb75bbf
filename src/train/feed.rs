//! How the samples of a data set reach the graphs.

use std::sync::Arc;

use super::device::Device;
use super::program::Task;
use super::session::Session;
use crate::data::{Batch, Dataset, Images, Loader, LoaderOptions, Normalization, Order, Pixels, Split};
use crate::error::Result;
use crate::graph::{Graph, TensorDesc, Value};
use crate::ops::gather_batch::{GatherBatch, TABLE_LEN};
use crate::plan::{Data, Resident};
use crate::tensor::DType;

/// Bytes of a data set up to which it is kept on a GPU. WebGPU does not tell how much memory a device has; what is
/// larger streams, which costs bandwidth but always works.
const MOST_RESIDENT: u64 = 1 << 30;

/// What each byte of each channel means: the same for all splits.
const TABLE: &str = "byte_table";

/// Whether a data set may be kept on the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Placement {
    /// Where it fits.
    #[default]
    Auto,
    /// Never: every batch is uploaded.
    Streamed,
}

/// How the samples of a split reach a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feed {
    /// Each run is given `images` as the network takes them, and `labels`.
    Given,
    /// Each run is given `images` and `labels` as they are stored, and `indices` that gather its batch from them.
    Streamed {
        /// Element type of the images: U8 or F32.
        stored: DType,
    },
    /// The session keeps all images and labels of the split; each run is given `indices`.
    Resident {
        /// What tells the split from others of the program.
        name: &'static str,
        /// Element type of the images: U8 or F32.
        stored: DType,
        /// Images of the split.
        samples: usize,
    },
}

impl Feed {
    /// For the training and the test split of a data set: each is kept on the device if the device can bind it whole,
    /// and both together are not too large. The host has the data anyway, in memory that the CPU path reads from.
    pub fn choose(data: &Dataset, device: &Device, placement: Placement) -> [Feed; 2] {
        let mut left = MOST_RESIDENT;
        [("train", &data.train), ("test", &data.test)].map(|(name, split)| {
            let stored = if matches!(split.images(), Images::F32(_)) { DType::F32 } else { DType::U8 };
            let bytes = (split.len() as u64).saturating_mul((split.sample_len() * stored.size()) as u64);
            let fits = match (split.images(), device) {
                (Images::Files(_), _) => false,
                (_, Device::Cpu) => true,
                (_, Device::Gpu(_)) => bytes <= left.min(device.max_page_bytes()),
            };
            if placement == Placement::Streamed || !fits {
                return Feed::Streamed { stored };
            }
            left = left.saturating_sub(bytes);
            Feed::Resident { name, stored, samples: split.len() }
        })
    }

    /// Adds what leads to a batch's images and labels to a graph.
    pub fn build(self, graph: &mut Graph, task: &Task) -> Result<(Value, Value)> {
        let inputs = self.sources(graph, task, task.image)?;
        if let Feed::Given = self {
            return Ok((inputs[0], inputs[1]));
        }
        let batch = graph.scope("batch", |graph| graph.apply(GatherBatch { dtype: DType::F32 }, &inputs))?;
        Ok((batch[0], batch[1]))
    }

    /// Adds images and labels as they are stored, indices into them and, for bytes, the table of what these mean.
    pub(super) fn sources(self, graph: &mut Graph, task: &Task, image: [usize; 3]) -> Result<Vec<Value>> {
        let [c, h, w] = image;
        let labels = TensorDesc::i32([task.batch_size]);
        let (stored, images, labels) = match self {
            Feed::Given => {
                let images = graph.input("images", TensorDesc::f32([task.batch_size, c, h, w]));
                return Ok(vec![images, graph.input("labels", labels)]);
            }
            Feed::Streamed { stored } => {
                let images = TensorDesc::f32([task.batch_size, c, h, w]).with_dtype(stored);
                (stored, graph.input("images", images), graph.input("labels", labels))
            }
            Feed::Resident { name, stored, samples } => {
                let images = TensorDesc::f32([samples, c, h, w]).with_dtype(stored);
                let images = graph.resident(&format!("{name}.images"), images);
                let labels = graph.resident(&format!("{name}.labels"), TensorDesc::i32([samples]));
                (stored, images, labels)
            }
        };
        let mut inputs = vec![images, labels, graph.input("indices", TensorDesc::i32([task.batch_size]))];
        if stored == DType::U8 {
            inputs.push(graph.resident(TABLE, TensorDesc::f32([c, TABLE_LEN])));
        }
        Ok(inputs)
    }

    /// Gives a session what it keeps of a split.
    pub async fn install(
        self,
        session: &mut Session,
        split: &Split,
        normalization: Option<&Normalization>,
    ) -> Result<()> {
        if self == Feed::Given {
            return Ok(());
        }
        if let Some(table) = split.byte_table(normalization)? {
            session.write_resident(TABLE, &Resident::Real(Arc::new(table))).await?;
        }
        let Feed::Resident { name, .. } = self else { return Ok(()) };
        let images = match split.images() {
            Images::U8 { data, .. } => Resident::Bytes(data.clone()),
            Images::F32(data) => Resident::Real(data.clone()),
            Images::Files(_) => return Ok(()),
        };
        session.write_resident(&format!("{name}.images"), &images).await?;
        session.write_resident(&format!("{name}.labels"), &Resident::Int(split.shared_labels())).await
    }

    /// A loader of batches that hold what [`Feed::inputs`] needs.
    pub fn loader(self, split: &Split, batch_size: usize, order: Order) -> Result<Loader> {
        let pixels = !matches!(self, Feed::Resident { .. });
        Loader::spawn(split, LoaderOptions { batch_size, order, pixels })
    }

    /// What a run of the graph is given; `places` are the batch's, or those in its micro-batches.
    pub fn inputs<'a>(self, batch: &'a Batch, places: &'a [i32]) -> Vec<(&'static str, Data<'a, f32>)> {
        let mut inputs = vec![("indices", Data::Int(places))];
        if let Some(pixels) = &batch.pixels {
            let images = match pixels {
                Pixels::Bytes(bytes) => Data::Bytes(bytes),
                Pixels::Real(values) => Data::Real(values),
            };
            inputs.extend([("images", images), ("labels", Data::Int(&batch.labels))]);
        }
        inputs
    }
}
