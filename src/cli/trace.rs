//! A profile as a trace for Perfetto or Chrome.

use std::path::Path;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::train::{Profile, files};

/// The format that ui.perfetto.dev and chrome://tracing read ("Trace Event Format"): complete events on one track.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Trace<'a> {
    trace_events: Vec<Event<'a>>,
    display_time_unit: &'static str,
}

/// An event; `ph` is its kind, `ts` and `dur` are in microseconds.
#[derive(Serialize)]
struct Event<'a> {
    name: &'a str,
    cat: &'a str,
    ph: &'static str,
    pid: u32,
    tid: u32,
    ts: f64,
    dur: f64,
    args: Arguments<'a>,
}

/// What a viewer shows beside an event.
#[derive(Serialize)]
#[serde(untagged)]
enum Arguments<'a> {
    Process {
        name: &'a str,
    },
    Kernel {
        kernel: &'a str,
        flops: u64,
        bytes: u64,
        gflop_per_s: f64,
        gb_per_s: f64,
        share_of_roofline: f64,
    },
}

/// Writes the kernels of one step on the track of a device.
pub(super) fn write(path: &Path, device: &str, profile: &Profile) -> Result<()> {
    let name = Event {
        name: "process_name",
        cat: "__metadata",
        ph: "M",
        pid: 1,
        tid: 1,
        ts: 0.0,
        dur: 0.0,
        args: Arguments::Process { name: device },
    };
    let kernels = profile.kernels.iter().map(|kernel| Event {
        name: &kernel.label,
        cat: &kernel.kernel,
        ph: "X",
        pid: 1,
        tid: 1,
        ts: kernel.began_ms * 1e3,
        dur: kernel.ms * 1e3,
        args: Arguments::Kernel {
            kernel: &kernel.kernel,
            flops: kernel.flops,
            bytes: kernel.bytes,
            gflop_per_s: kernel.gflop_per_s,
            gb_per_s: kernel.gb_per_s,
            share_of_roofline: kernel.share_of_roofline,
        },
    });
    let trace = Trace { trace_events: [name].into_iter().chain(kernels).collect(), display_time_unit: "ms" };
    let text = serde_json::to_string(&trace).map_err(|error| Error::file(path, error.to_string()))?;
    files::write_bytes(path, text)
}
