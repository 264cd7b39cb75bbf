//! Every operator's kernels on every adapter of this machine against the CPU path, in memory poisoned with NaN.

use std::sync::Arc;

use wgrad::{gpu, ops, selftest};

#[test]
fn kernels_agree_with_the_cpu_on_every_adapter() {
    let adapters = pollster::block_on(gpu::adapters());
    if adapters.is_empty() {
        assert!(
            std::env::var_os("WGRAD_REQUIRE_GPU").is_none(),
            "WGRAD_REQUIRE_GPU is set, but there is no adapter"
        );
        eprintln!("SKIPPED: this machine has no adapter; GPU kernels were not compared");
        return;
    }
    let only = std::env::var("WGRAD_SAMPLE").unwrap_or_default();
    let mut failures = vec![];
    for adapter in &adapters {
        let device = Arc::new(pollster::block_on(gpu::Gpu::open(adapter)).expect("the adapter opens"));
        let samples = ops::registry().iter().flat_map(|operator| (operator.samples)());
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
