use std::sync::Arc;

use wgrad::gpu::{self, Gpu, Opening};
use wgrad::graph::Cooperative;
use wgrad::ops;
use wgrad::selftest::{Case, check_product, compare, product_cases, run_on_gpu};

#[test]
fn addresses_and_ways_out_are_right_on_every_adapter() {
    let adapters = pollster::block_on(gpu::adapters());
    if adapters.is_empty() {
        let required = std::env::var_os("WGRAD_REQUIRE_GPU").is_some();
        assert!(!required, "WGRAD_REQUIRE_GPU is set, but there is no adapter");
        eprintln!("SKIPPED: this machine has no adapter; cooperative products were not emulated");
        return;
    }
    let only = std::env::var("WGRAD_SAMPLE").unwrap_or_default();
    let mut failures = vec![];
    for adapter in &adapters {
        for staged in [false, true] {
            let cooperative = Some(Cooperative { staged, ..Cooperative::EMULATED });
            let opening = Opening { cooperative, ..Opening::default() };
            let gpu = Arc::new(pollster::block_on(Gpu::open_with(adapter, opening)).expect("it opens"));
            for case in product_cases(4).into_iter().filter(|case| case.id.contains(&only)) {
                let result = pollster::block_on(check_product(&gpu, &case));
                failures.extend(result.err().map(|error| format!("{} (staged: {staged}): {error}", case.id)));
            }
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

/// Without such a GPU nothing of the tier is used, also if it is asked for.
#[test]
fn without_the_tier_products_are_portable() {
    for adapter in pollster::block_on(gpu::adapters()) {
        let offered = adapter.cooperative_ways();
        let wanted = Cooperative { size: 16, subgroup: 32, staged: true };
        let opening = Opening { cooperative: Some(wanted), ..Opening::default() };
        let gpu = pollster::block_on(Gpu::open_with(&adapter, opening)).expect("it opens");
        assert_eq!(gpu.capabilities.cooperative.is_some(), !offered.is_empty(), "{}", adapter.name);
        let plain = pollster::block_on(Gpu::open(&adapter)).expect("it opens");
        assert_eq!(plain.capabilities.cooperative, None, "{}: never unless asked for", adapter.name);
    }
}

/// The registry's own samples of f16 products, forward and backward through a graph.
#[test]
fn samples_of_f16_pass_with_the_tier() {
    let operators = ops::registry().iter().filter(|op| ["conv2d", "linear", "matmul"].contains(&op.name));
    let samples: Vec<_> = operators.flat_map(|operator| (operator.samples)()).collect();
    let half = || samples.iter().filter(|sample| sample.id.contains("half"));
    assert!(half().count() > 0, "there are samples of f16");
    for adapter in pollster::block_on(gpu::adapters()) {
        for staged in [false, true] {
            let cooperative = Some(Cooperative { staged, ..Cooperative::EMULATED });
            let opening = Opening { cooperative, ..Opening::default() };
            let gpu = Arc::new(pollster::block_on(Gpu::open_with(&adapter, opening)).expect("it opens"));
            for sample in half() {
                let case = Case::new(sample).expect("samples build");
                let got = pollster::block_on(run_on_gpu(&gpu, &case)).expect("it runs");
                compare(sample, &case.run_cpu::<f64>(), &case.run_cpu::<f32>(), &got).unwrap();
            }
        }
    }
}
