//! `wgrad serve`: a run's model behind HTTP.
//!
//! A request's image is decoded on a thread for such work (`routes`) and waits in a queue; the one thread that owns
//! the model (`batcher`) takes whatever waits, up to a batch, and computes it by the smallest plan that holds it. So a
//! lone request is a batch of one, and under load batches grow by themselves. Everything that strangers may ask for has
//! a limit (`limits`): connections, headers, bodies, bytes in all, pixels, waiting requests, time.

mod api;
mod batcher;
mod body;
mod connections;
mod fault;
mod limits;
mod metrics;
mod routes;
mod timed;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;

use crate::error::{Error, Result};
use crate::train::Predictor;
use batcher::Batcher;
use metrics::Metrics;
use routes::App;

/// How a model is served.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The run's name, for people.
    pub name: String,
    /// The device's name, for people.
    pub device: String,
    /// Where to listen; port 0 is any that is free.
    pub addr: SocketAddr,
    /// How long an image waits for others to share its batch.
    pub max_delay: Duration,
    /// Images that may wait or be computed; what comes beyond is told to come again.
    pub max_queue: usize,
    /// The time in which a client must have sent its request.
    pub timeout: Duration,
    /// Classes in an answer, if the request does not say.
    pub top: usize,
}

/// Serves until SIGINT or SIGTERM, then answers what was accepted. `ready` is told the address.
///
/// # Errors
/// If the address cannot be listened on.
pub fn run(predictor: Predictor, settings: Settings, ready: impl FnOnce(SocketAddr)) -> Result<()> {
    let failed =
        |what: &str, error: std::io::Error| Error::Data(format!("the server cannot {what}: {error}"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| failed("start its threads", error))?;
    runtime.block_on(async {
        let listener = TcpListener::bind(settings.addr).await;
        let listener = listener.map_err(|error| {
            Error::Data(format!("cannot listen on {}: {error}; give another --addr", settings.addr))
        })?;
        let address = listener.local_addr().map_err(|error| failed("tell its address", error))?;
        let stop = connections::stop_signal().map_err(|error| failed("listen for signals", error))?;
        let about = predictor.about().clone();
        let metrics = Arc::new(Metrics::default());
        let (batcher, worker) = Batcher::start(predictor, &settings, metrics.clone())
            .map_err(|error| failed("start the model's thread", error))?;
        let app = Arc::new(App::new(about, settings, batcher, metrics));
        ready(address);
        connections::serve(listener, app.clone(), stop).await;
        // The last sender goes with the application: the worker computes what is queued, and ends.
        drop(app);
        let _ = tokio::task::spawn_blocking(move || worker.join()).await;
        Ok(())
    })
}
