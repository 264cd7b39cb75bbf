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
fn data_that_does_not_fit_is_refused() {
    use wgrad::data::{Dataset, Images, Split};
    use wgrad::models::{Model, Sequential};
    use wgrad::ops::{flatten::Flatten, linear::Linear};
    use wgrad::train::{Device, Settings, Trainer};

    let split = |side: usize, labels: &[i32]| {
        let images = Images::U8 { data: Arc::new(vec![7; side * side * labels.len()]), scale: 1.0 / 255.0 };
        Split::new(images, labels.to_vec(), [1, side, side]).expect("as many images as labels")
    };
    let refused = |train: Split, test: Split, batch_size: usize| {
        let classes = vec!["a".to_string(), "b".to_string()];
        let data = Dataset { name: "own".into(), train, test, classes, image: [1, 4, 4], skipped: vec![] };
        let model = Model::new(data.image, Sequential::new().push(Flatten {}).push(Linear::new(2)));
        let settings = Settings { batch_size, ..Settings::default() };
        let mut trainer = pollster::block_on(Trainer::new(&model, &data, None, settings, &Device::Cpu))?;
        let stop = std::sync::atomic::AtomicBool::new(false);
        pollster::block_on(trainer.train(&mut Silent, &stop)).map(|trained| trained.evaluation.accuracy)
    };
    let cases = [
        (split(4, &[]), split(4, &[0]), 1, "no training samples"),
        (split(4, &[0, 1]), split(4, &[]), 1, "no test samples"),
        (split(4, &[0, 2]), split(4, &[0]), 1, "training sample 1 has the label 2; labels of 2 classes"),
        (split(4, &[0, 1]), split(4, &[-100]), 1, "test sample 0 has the label -100"),
        (split(3, &[0, 1]), split(4, &[0]), 1, "training samples are [1, 3, 3]"),
        (split(4, &[0, 1]), split(5, &[0]), 1, "test samples are [1, 5, 5]"),
        (split(4, &[0, 1]), split(4, &[0]), 0, "batch"),
        (split(4, &[0, 1]), split(4, &[0]), 3, "batch"),
    ];
    for (train, test, batch_size, part) in cases {
        let error = refused(train, test, batch_size).expect_err(part).to_string();
        assert!(error.contains(part), "{part:?} is not in: {error}");
    }
    refused(split(4, &[0, 1, -100]), split(4, &[0]), 2).expect("it trains");
}

struct Silent;

impl wgrad::train::Observer for Silent {}

#[test]
fn inference_in_an_application() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut predictor = classify::trained_predictor(folder.path()).expect("the example trains");
    let accuracy = classify::classify_digits(&mut predictor).expect("the example classifies");
    assert!(accuracy > 0.9, "{accuracy}");
    let half = pollster::block_on(predictor.logits(&[0.0; 65])).expect_err("no whole image").to_string();
    assert_eq!(half, "65 numbers are no images of 8 x 8 x 1");
    assert_eq!(pollster::block_on(predictor.logits(&[])).expect("nothing is something"), [0.0; 0]);
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
