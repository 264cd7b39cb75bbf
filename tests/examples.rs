//! The examples run as they stand.

use std::sync::Arc;

use wgrad::{gpu, selftest};

#[expect(dead_code, reason = "its main takes arguments of its own")]
#[path = "../examples/classify.rs"]
mod classify;
#[path = "../examples/custom_loss.rs"]
mod custom_loss;
#[path = "../examples/custom_operator/main.rs"]
mod custom_operator;
#[expect(dead_code, reason = "its main takes arguments of its own")]
#[path = "../examples/dump_shaders.rs"]
mod dump_shaders;
#[path = "../examples/gradient.rs"]
mod gradient;
#[path = "../examples/own_data.rs"]
mod own_data;

#[test]
fn a_loss_of_ones_own() {
    custom_loss::main().expect("the example runs");
    let [free, modest] = [0.0, 0.1].map(|strength| custom_loss::train(strength).expect("the example trains"));
    assert!(free.accuracy > 0.9 && modest.accuracy > 0.9, "{} {}", free.accuracy, modest.accuracy);
    let [free, modest] = [free, modest].map(|evaluation| custom_loss::largest_logit(&evaluation));
    assert!(modest < 0.9 * free, "the penalty does nothing: {modest} with it, {free} without");
}

#[test]
fn an_operator_of_ones_own() {
    custom_operator::main().expect("the example runs");
    let twice = custom_operator::main().expect_err("the name is taken").to_string();
    assert!(twice.contains("\"mish\""), "{twice}");
    let adapters = pollster::block_on(gpu::adapters());
    if adapters.is_empty() {
        assert!(
            std::env::var_os("WGRAD_REQUIRE_GPU").is_none(),
            "WGRAD_REQUIRE_GPU is set, but there is no adapter"
        );
        eprintln!("SKIPPED: this machine has no adapter; the shader of Mish was not compared");
    }
    for adapter in adapters {
        let device = Arc::new(pollster::block_on(gpu::Gpu::open(&adapter)).expect("the adapter opens"));
        for sample in selftest::samples(&custom_operator::OPERATOR) {
            pollster::block_on(selftest::check_on_gpu(&device, &sample)).unwrap();
        }
    }
}

#[test]
fn the_gradient_of_any_graph() {
    gradient::main().expect("the example runs");
}

#[test]
fn data_of_ones_own() {
    own_data::main().expect("the example runs");
    let accuracy = own_data::train().expect("the example trains");
    assert!(accuracy > 0.95, "{accuracy}");
}

#[test]
fn inference_in_an_application() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut predictor = classify::trained_predictor(folder.path()).expect("the example trains");
    let accuracy = classify::classify_digits(&mut predictor).expect("the example classifies");
    assert!(accuracy > 0.9, "{accuracy}");
}

#[test]
fn shaders_as_the_driver_gets_them() {
    let texts = dump_shaders::texts(["digits-cnn"].into_iter()).expect("the example runs");
    for ((shader, variant), text) in &texts {
        naga::front::wgsl::parse_str(text).unwrap_or_else(|error| panic!("{shader} {variant}: {error}"));
    }
    // Another test of this file registers an operator meanwhile, and tensor cores are for devices that have them.
    let others = [custom_operator::OPERATOR.name, "cooperative"];
    for shader in wgrad::plan::shaders().map(|(shader, _)| shader).filter(|shader| !others.contains(shader)) {
        assert!(texts.keys().any(|(dumped, _)| *dumped == shader), "{shader} is not dumped");
    }
}
