//! Files from the net: data sets from their homes and weights from a hub; resumable, checked, and whole or not there.

mod archive;
mod datasets;
mod http;
mod hub;
#[cfg(feature = "download")]
mod receive;

pub use datasets::{Download, downloads};
pub use http::{File, fetch};
pub use hub::{HUB_ENDPOINT, hub_file};
