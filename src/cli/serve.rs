use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, value_parser};

use super::args::{TtaArgs, WeightsArgs};
use super::device;
use super::report::say;
use crate::error::{Error, Result};
use crate::serve::{self, Settings};
use crate::train::recipe::DeviceChoice;
use crate::train::{Predictor, Run};

/// The arguments of `wgrad serve`.
#[derive(Clone, Debug, PartialEq, Args)]
#[command(
    after_help = "POST /predict takes an image and gives JSON; / is a page to drop a picture on; /health, /metrics and
/openapi.json are for machines.

Example:
  wgrad serve runs/pets
  wgrad serve runs/pets --addr 0.0.0.0:80 --max-batch 64 --max-delay-ms 2"
)]
pub struct ServeArgs {
    /// The folder of the run
    pub run: PathBuf,
    /// Where to listen; only this machine reaches the default
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8080")]
    pub addr: SocketAddr,
    /// Which weights
    #[command(flatten)]
    pub weights: WeightsArgs,
    /// Views of an image
    #[command(flatten)]
    pub tta: TtaArgs,
    /// Where to compute: auto, cpu, gpu, or an index or a name from `wgrad devices`
    #[arg(long, default_value_t)]
    pub device: DeviceChoice,
    /// The most images that are computed at once
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = value_parser!(u32).range(1..=1024))]
    pub max_batch: u32,
    /// How long an image waits for others; with 0 a batch is what came while the one before was computed
    #[arg(long, value_name = "MS", default_value_t = 0, value_parser = value_parser!(u32).range(0..=10_000))]
    pub max_delay_ms: u32,
    /// Images that may wait; further requests are told to come again
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = value_parser!(u32).range(1..=65_536))]
    pub max_queue: u32,
    /// Seconds in which a request must have arrived
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = value_parser!(u32).range(1..=3600))]
    pub timeout_s: u32,
    /// How many classes to name for each image, the most probable first
    #[arg(long, value_name = "K", default_value_t = 3, value_parser = value_parser!(u32).range(1..))]
    pub top: u32,
}

/// `wgrad serve`
pub(super) fn run(args: &ServeArgs) -> Result<()> {
    let run = Run::open(&args.run)?;
    let device = device::open(&args.device, false)?;
    let most = args.max_batch as usize;
    let (about, model, weights) = args.weights.read(&run)?;
    let model = args.tta.averaging(model, &run)?;
    let mut predictor = pollster::block_on(Predictor::of((&about, &model, &weights), &run, &device, most))?;
    if predictor.about().classes.is_empty() {
        return Err(Error::file(&run.path, "has a model without classes"));
    }
    pollster::block_on(predictor.warm_up())?;
    let settings = Settings {
        name: run.path.display().to_string(),
        device: device.name(),
        addr: args.addr,
        max_delay: Duration::from_millis(args.max_delay_ms.into()),
        max_queue: args.max_queue as usize,
        timeout: Duration::from_secs(args.timeout_s.into()),
        top: args.top as usize,
    };
    serve::run(predictor, settings, |address| {
        if !address.ip().is_loopback() {
            eprintln!(
                "warning: {address} is no loopback address: whoever reaches this machine may use the server, \
                 unencrypted and without a password"
            );
        }
        say(format!("serving {} on {} at http://{address}", run.path.display(), device.name()));
    })
}
