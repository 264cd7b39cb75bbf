//! Every operator's kernels on every adapter of this machine against the CPU path, in memory poisoned with NaN.

use std::sync::Arc;

use wgrad::gpu::{AdapterKind, Checks, Gpu, Opening};
use wgrad::graph::Tier;
use wgrad::selftest::Case;
use wgrad::{gpu, ops, selftest};

fn adapters() -> Vec<gpu::Adapter> {
    let adapters = pollster::block_on(gpu::adapters());
    if adapters.is_empty() {
        assert!(
            std::env::var_os("WGRAD_REQUIRE_GPU").is_none(),
            "WGRAD_REQUIRE_GPU is set, but there is no adapter"
        );
        eprintln!("SKIPPED: this machine has no adapter; GPU kernels were not compared");
    }
    adapters
}

#[test]
fn kernels_agree_with_the_cpu_on_every_adapter() {
    let adapters = adapters();
    let only = std::env::var("WGRAD_SAMPLE").unwrap_or_default();
    let mut failures = vec![];
    for adapter in &adapters {
        let device = Arc::new(pollster::block_on(gpu::Gpu::open(adapter)).expect("the adapter opens"));
        let samples = ops::registry().iter().flat_map(selftest::samples);
        let mut count = 0;
        for sample in samples.filter(|sample| sample.id.starts_with(&only)) {
            count += 1;
            let checked = pollster::block_on(selftest::check_on_gpu(&device, &sample));
            failures.extend(checked.err().map(|error| format!("{}: {error}", adapter.name)));
        }
        eprintln!("{}: {count} samples compared", adapter.name);
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

/// One sample per operator as users run it: without run-time checks.
#[test]
fn unchecked_kernels_do_what_checked_ones_do() {
    let only = std::env::var("WGRAD_SAMPLE").unwrap_or_default();
    for adapter in adapters() {
        let open = |checks| {
            let opening = Opening { checks, ..Opening::default() };
            Arc::new(pollster::block_on(Gpu::open_with(&adapter, opening)).expect("the adapter opens"))
        };
        let (checked, unchecked) = (open(Checks::On), open(Checks::Off));
        for sample in ops::registry().iter().filter_map(|operator| (operator.samples)().into_iter().next()) {
            if !sample.id.starts_with(&only) {
                continue;
            }
            pollster::block_on(selftest::check_on_gpu(&unchecked, &sample)).unwrap();
            let case = Case::new(&sample).unwrap();
            let run = |gpu| pollster::block_on(selftest::run_on_gpu(gpu, &case)).unwrap();
            let same = format!("{:?}", run(&unchecked)) == format!("{:?}", run(&checked));
            // A compiler may fuse products and sums otherwise where it has no branches; lavapipe never does.
            assert!(same || adapter.kind != AdapterKind::Software, "{}: {} differs", adapter.name, sample.id);
        }
    }
}

#[test]
fn tiers_are_settable_downward() {
    for adapter in adapters() {
        let highest = adapter.capabilities().tier;
        for tier in [Tier::Portable, Tier::Subgroups, Tier::HalfPrecision, Tier::CooperativeMatrix] {
            let opening = Opening { tier, ..Opening::default() };
            let gpu = pollster::block_on(Gpu::open_with(&adapter, opening)).expect("the adapter opens");
            assert_eq!(gpu.capabilities.tier, tier.min(highest), "{}", adapter.name);
        }
    }
}
