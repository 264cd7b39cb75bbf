//! Evaluation does not depend on the batch size and changes nothing; steps do not depend on how many are in flight.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use pollster::block_on;
use wgrad::data::Split;
use wgrad::graph::Step;
use wgrad::plan::{Data, PageList, StepReport};
use wgrad::train::program::{self, TRAIN, Task};
use wgrad::train::recipe::Precision;
use wgrad::train::weights::{self, Tensors};
use wgrad::train::{Device, Evaluation, Evaluator, Feed, Placement, Session};

use super::setup::{Setup, Watch, devices};

fn setup() -> Setup {
    Setup::of_flags("max_steps = 4")
}

fn task(setup: &Setup, batch_size: usize) -> Task {
    Task {
        image: setup.data.image,
        classes: setup.data.classes.len(),
        batch_size,
        label_smoothing: 0.0,
        precision: Precision::F32,
    }
}

fn evaluate(setup: &Setup, device: &Device, weights: &Tensors, split: &Split, batch: usize) -> Evaluation {
    let task = task(setup, batch);
    let data = wgrad::data::Dataset { test: split.clone(), ..setup.data.clone() };
    let [_, feed] = Feed::choose(&data, device, Placement::Auto);
    let program = Arc::new(program::inference_from(feed, &setup.model, &task, device).unwrap());
    let mut session = block_on(Session::new(device, program.clone())).unwrap();
    let [parameters, statistics] = weights::all_pages(&program.pages, weights);
    session.write_pages(PageList::Parameters, &parameters);
    session.write_pages(PageList::Statistics, &statistics);
    block_on(feed.install(&mut session, split, setup.normalization.as_ref())).unwrap();
    let mut evaluator = Evaluator { session: &mut session, graph: 0, task, feed };
    block_on(evaluator.run(split)).unwrap()
}

#[test]
fn the_batch_size_does_not_change_an_evaluation() {
    let setup = setup();
    let weights = setup.train(&Device::Cpu).model;
    let split = setup.data.test.subset(&(0..90).collect::<Vec<u32>>()).unwrap();
    for device in devices() {
        let whole = evaluate(&setup, &device, &weights, &split, 90);
        let largest = whole.logits.iter().map(|x| x.abs()).max_by(f32::total_cmp).unwrap();
        assert_eq!(whole.logits.len(), 900);
        assert_eq!(whole.confusion.iter().flatten().sum::<u64>(), 90);
        for batch in [7, 64, 100] {
            let what = format!("{}, batches of {batch}", device.name());
            let parts = evaluate(&setup, &device, &weights, &split, batch);
            assert_eq!(parts.logits.len(), whole.logits.len(), "{what}");
            for (part, whole) in parts.logits.iter().zip(&whole.logits) {
                assert!((part - whole).abs() <= 1e-5 * largest, "{what}: {part}, in one batch {whole}");
            }
            assert!(
                (parts.loss - whole.loss).abs() <= 1e-6 * whole.loss,
                "{what}: {} {}",
                parts.loss,
                whole.loss
            );
            assert_eq!((parts.accuracy, &parts.confusion), (whole.accuracy, &whole.confusion), "{what}");
        }
    }
}

#[test]
fn evaluating_changes_nothing() {
    let setup = setup();
    for device in devices() {
        let mut trainer = setup.trainer(&device);
        let trained = block_on(trainer.train(&mut Watch::default(), &AtomicBool::new(false))).unwrap();
        let before = block_on(trainer.model()).unwrap();
        for _ in 0..2 {
            assert_eq!(block_on(trainer.evaluate()).unwrap(), trained.evaluation, "{}", device.name());
        }
        assert_eq!(block_on(trainer.model()).unwrap(), before, "{}", device.name());
    }
}

/// Reports, parameters and statistics after five steps of which up to `in_flight` are queued.
fn steps(setup: &Setup, device: &Device, in_flight: usize) -> (Vec<StepReport>, Vec<Vec<Vec<f32>>>) {
    let task = task(setup, 16);
    let update = setup.recipe.algorithm.update();
    let program = program::training(&setup.model, &task, update.clone(), 0.01, device).unwrap();
    let program = Arc::new(program);
    let mut session = block_on(Session::new(device, program.clone())).unwrap();
    let initial = weights::initial(&program.graphs[TRAIN], 0);
    let [parameters, statistics] = weights::all_pages(&program.pages, &initial);
    session.write_pages(PageList::Parameters, &parameters);
    session.write_pages(PageList::Statistics, &statistics);
    let mut reports = vec![];
    for step in 0..5 {
        let samples: Vec<u32> = (step * 16..(step + 1) * 16).collect();
        let images = setup.data.train.pixels(&samples, setup.normalization.as_ref()).unwrap();
        let labels: Vec<i32> = samples.iter().map(|i| setup.data.train.labels()[*i as usize]).collect();
        let settings = Step {
            step,
            learning_rate: 1e-3 * (step + 1) as f32,
            clip_norm: f32::INFINITY,
            optimizer: update.step_numbers(step + 1),
            ..Step::default()
        };
        let inputs = [("images", Data::Real(&images[..])), ("labels", Data::Int(&labels))];
        session.submit(TRAIN, &inputs, &settings).unwrap();
        while let Some(finished) = block_on(session.collect(in_flight)).unwrap() {
            reports.extend(finished.report);
        }
    }
    while let Some(finished) = block_on(session.collect(0)).unwrap() {
        reports.extend(finished.report);
    }
    let lists = [PageList::Parameters, PageList::Statistics, PageList::Slot(0), PageList::Slot(1)];
    (reports, lists.map(|list| block_on(session.read_pages(list)).unwrap()).to_vec())
}

#[test]
fn steps_do_not_depend_on_how_many_are_in_flight() {
    let setup = setup();
    for device in devices() {
        let one_by_one = steps(&setup, &device, 0);
        assert_eq!(one_by_one.0.iter().map(|report| report.step).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        assert!(one_by_one.0.windows(2).all(|pair| pair[0].loss != pair[1].loss), "{one_by_one:?}");
        for in_flight in [2, 5] {
            let same = steps(&setup, &device, in_flight) == one_by_one;
            assert!(same, "{}: {in_flight} in flight", device.name());
        }
    }
}
