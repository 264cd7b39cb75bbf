//! Data sets and the loader: labelled images from files in the common formats, split into training and test samples,
//! and batches of them made on a thread of their own.
//!
//! Samples are stored and delivered channels last (`H, W, C` per sample, `N, H, W, C` per batch), which is the
//! engine's physical layout; what files hold plane by plane is transposed once, at load.
//!
//! # Credit
//!
//! The built-in `digits` are the test part of "Optical Recognition of Handwritten Digits" by E. Alpaydin and
//! C. Kaynak, UCI Machine Learning Repository, CC BY 4.0, in the file that scikit-learn ships.

mod cifar;
mod dataset;
mod decoded;
mod digits;
mod file;
mod folder;
mod idx;
mod image_file;
mod loader;
mod normalization;
mod order;
mod pictures;
mod resize;
mod source;
mod split;
mod tensors;

pub use dataset::{Dataset, ImageSize, LoadOptions};
pub use decoded::StoredImages;
pub use digits::DIGITS_CREDIT;
pub use image_file::{ImageLimits, ReadImage, decode_image, read_image, read_picture, read_resized_image};
pub use loader::{Batch, Loader, LoaderOptions};
pub use normalization::Normalization;
pub use order::{End, Order, Position, clamp_batch_size, epoch_order};
pub use pictures::images_under;
pub use source::DataSource;
pub use split::{Images, Pixels, Split};

/// The label of padding: such samples count in no loss and no metric.
pub const IGNORE_INDEX: i32 = -100;
