//! Where the samples lie changes no bit: on the device, in the host's memory, or in files.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use pollster::block_on;
use wgrad::data::{Dataset, Images, Split};
use wgrad::models::ModelSpec;
use wgrad::plan::{BINDING_UNIT, RUNS_IN_FLIGHT};
use wgrad::train::{Device, Feed, Placement, Settings, Trainer};

use super::setup::{Outcome, Setup, Watch, devices, gpus};

const MODEL: &str = r#"
layers = [
  { conv2d = { out_channels = 6, kernel_size = 3, bias = false } }, "batch_norm", "relu",
  "flatten", { linear = { out_features = "classes" } },
]
"#;

/// Over an epoch's end.
fn setup() -> Setup {
    let mut setup = Setup::of_flags("max_steps = 16\nbatch_size = 97");
    setup.model = ModelSpec::parse("small", MODEL).unwrap().bind([1, 8, 8], 10).unwrap();
    setup
}

fn trainer<'d>(setup: &'d Setup, data: &'d Dataset, placement: Placement, device: &Device) -> Trainer<'d> {
    let settings = Settings { placement, ..Settings::of(&setup.recipe, setup.recipe.batch_size) };
    block_on(Trainer::new(&setup.model, data, setup.normalization.clone(), settings, device)).unwrap()
}

fn train(mut trainer: Trainer<'_>) -> Outcome {
    let mut watch = Watch::default();
    let evaluation = block_on(trainer.train(&mut watch, &AtomicBool::new(false))).unwrap().evaluation;
    Outcome::of(watch.losses, &mut trainer, evaluation)
}

/// The images of a split as files in a folder.
fn as_files(split: &Split, folder: &std::path::Path) -> Split {
    let Images::U8 { data, .. } = split.images() else { panic!("the digits are bytes") };
    let [_, height, width] = split.image();
    let images = data.chunks(split.sample_len()).enumerate();
    let paths = images.map(|(number, bytes)| {
        let path = folder.join(format!("{number}.png"));
        image::save_buffer(&path, bytes, width as u32, height as u32, image::ColorType::L8).unwrap();
        path
    });
    Split::new(Images::Files(paths.collect()), split.labels().to_vec(), split.image()).unwrap()
}

#[test]
fn resident_streamed_and_decoded_samples_train_to_the_same_bits() {
    let mut setup = setup();
    // Files scale by 1/255 and the digits by 1/16, so both are scaled like files here.
    let rescale = |split: &Split| {
        let Images::U8 { data, .. } = split.images() else { panic!("the digits are bytes") };
        let images = Images::U8 { data: data.clone(), scale: 1.0 / 255.0 };
        Split::new(images, split.labels().to_vec(), split.image()).unwrap()
    };
    setup.data.train = rescale(&setup.data.train);
    setup.data.test = rescale(&setup.data.test);
    let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let files = Dataset {
        train: as_files(&setup.data.train, folders[0].path()),
        test: as_files(&setup.data.test, folders[1].path()),
        ..setup.data.clone()
    };
    let pixels = |split: &Split| {
        let all: Vec<u32> = (0..split.len() as u32).collect();
        let values = Arc::new(split.pixels(&all, setup.normalization.as_ref()).unwrap());
        Split::new(Images::F32(values), split.labels().to_vec(), split.image()).unwrap()
    };
    let floats =
        Dataset { train: pixels(&setup.data.train), test: pixels(&setup.data.test), ..setup.data.clone() };
    for device in devices() {
        let feeds = Feed::choose(&setup.data, &device, Placement::Auto);
        assert!(feeds.iter().all(|feed| matches!(feed, Feed::Resident { .. })), "{feeds:?}");
        let feeds = Feed::choose(&files, &device, Placement::Auto);
        assert!(feeds.iter().all(|feed| matches!(feed, Feed::Streamed { .. })), "{feeds:?}");
        let resident = train(trainer(&setup, &setup.data, Placement::Auto, &device));
        for (what, data, placement) in [
            ("streamed", &setup.data, Placement::Streamed),
            ("from files", &files, Placement::Auto),
            ("resident floats", &floats, Placement::Auto),
            ("streamed floats", &floats, Placement::Streamed),
        ] {
            let other = train(trainer(&setup, data, placement, &device));
            assert_eq!(resident.difference(&other), None, "{what} on {}", device.name());
        }
    }
}

#[test]
fn the_memory_of_a_data_set_is_counted() {
    let setup = setup();
    let (train, test, batch) = (setup.data.train.len(), setup.data.test.len(), setup.recipe.batch_size);
    let units = |bytes: usize| (bytes as u64).next_multiple_of(BINDING_UNIT);
    // Images are 64 bytes, labels 4; for each of the two graphs.
    let kept: u64 = [train, test].map(|count| units(count * 64) + units(count * 4)).iter().sum();
    // What streams has a buffer on the device for each graph, and staging buffers for the runs in flight.
    let staged = (RUNS_IN_FLIGHT * batch * (64 + 4)) as u64;
    let streamed = 2 * (units(batch * 64) + units(batch * 4) + staged);
    for device in gpus() {
        let bytes = |placement| trainer(&setup, &setup.data, placement, &device).device_bytes().unwrap();
        let difference = bytes(Placement::Auto) as i64 - bytes(Placement::Streamed) as i64;
        assert_eq!(difference, kept as i64 - streamed as i64, "{}", device.name());
    }
}

#[test]
fn a_data_set_beyond_a_binding_streams() {
    let model = "layers = [{ avg_pool2d = { kernel_size = 32 } }, 'flatten', { linear = { out_features = 'classes' } }]";
    let split = |count: usize| {
        let data = Arc::new(vec![7; count << 16]);
        Split::new(Images::U8 { data, scale: 1.0 / 255.0 }, vec![0; count], [1, 256, 256]).unwrap()
    };
    let mut setup = setup();
    // 160 MiB, more than WebGPU's default of 128 MiB; never read but where a batch is.
    setup.data = Dataset { train: split(2560), test: split(3), image: [1, 256, 256], ..setup.data.clone() };
    setup.model = ModelSpec::parse("tiny", model).unwrap().bind([1, 256, 256], 10).unwrap();
    setup.normalization = None;
    setup.recipe.batch_size = 2;
    setup.recipe.length = wgrad::train::Length::Steps(3);
    for device in devices() {
        let [train, test] = Feed::choose(&setup.data, &device, Placement::Auto);
        let binds = device.max_page_bytes() >= 160 << 20;
        assert_eq!(matches!(train, Feed::Resident { .. }), binds, "{}: {train:?}", device.name());
        assert!(matches!(test, Feed::Resident { .. }));
        assert_eq!(self::train(trainer(&setup, &setup.data, Placement::Auto, &device)).losses.len(), 3);
    }
}

#[test]
fn a_file_that_cannot_be_decoded_is_named() {
    let setup = setup();
    let folder = tempfile::tempdir().unwrap();
    let files = as_files(&setup.data.train, folder.path());
    std::fs::write(folder.path().join("1000.png"), b"no image").unwrap();
    let data = Dataset { train: files, ..setup.data.clone() };
    for device in devices() {
        let mut trainer = trainer(&setup, &data, Placement::Auto, &device);
        let error = block_on(trainer.train(&mut Watch::default(), &AtomicBool::new(false))).unwrap_err();
        assert!(error.to_string().contains("1000.png"), "{}: {error}", device.name());
    }
}
