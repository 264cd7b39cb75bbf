//! What `/metrics` tells Prometheus.

use std::time::Duration;

use axum::http::StatusCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Answered {
    path: &'static str,
    status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Asked {
    path: &'static str,
}

/// Everything that is counted.
pub(super) struct Metrics {
    registry: Registry,
    requests: Family<Answered, Counter>,
    seconds: Family<Asked, Histogram>,
    batches: Histogram,
    /// Images that wait or are computed.
    pub(super) queue: Gauge,
}

impl Default for Metrics {
    fn default() -> Metrics {
        let mut registry = Registry::with_prefix("wgrad");
        let requests = Family::default();
        // From half a millisecond to 16 seconds.
        let seconds: Family<Asked, Histogram> =
            Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.0005, 2.0, 16)));
        let batches = Histogram::new(exponential_buckets(1.0, 2.0, 10));
        let queue = Gauge::default();
        registry.register("requests", "Requests that were answered", requests.clone());
        registry.register("request_seconds", "From a request's header to its answer", seconds.clone());
        registry.register("batch_images", "Images that were computed at once", batches.clone());
        registry.register("queue_images", "Images that wait or are computed", queue.clone());
        Metrics { registry, requests, seconds, batches, queue }
    }
}

impl Metrics {
    /// A request was answered. `path` is one of ours, so that strangers cannot make up labels.
    pub(super) fn answered(&self, path: &'static str, status: StatusCode, time: Duration) {
        self.requests.get_or_create(&Answered { path, status: status.as_u16() }).inc();
        self.seconds.get_or_create(&Asked { path }).observe(time.as_secs_f64());
    }

    /// So many images were computed at once.
    pub(super) fn computed(&self, images: usize) {
        self.batches.observe(images as f64);
    }

    /// In Prometheus' text format.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
