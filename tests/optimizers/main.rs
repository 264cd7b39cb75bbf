//! Optimizers against PyTorch's trajectories, learning rates against PyTorch's schedulers, and the halt flag; on the
//! CPU and on every adapter of this machine. `scripts/golden_optimizers.py` says what the goldens hold.

mod run;
mod schedules;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use safetensors::SafeTensors;
use serde::Deserialize;
use wgrad::graph::{Step, Update};
use wgrad::optim::{Adagrad, Adam, AdaptiveClip, AdjustLr, Lamb, Lion, Muon, RmsProp, Sgd};
use wgrad::plan::PageList;
use wgrad::tensor::Shape;

use run::{Device, Run};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(name)
}

/// One entry of the metadata of `optimizers.safetensors`.
#[derive(Debug, Deserialize)]
struct Case {
    id: String,
    optimizer: String,
    args: Args,
    clip_norm: Option<f32>,
    clip_value: Option<f32>,
    clip_adaptive: Option<f64>,
    steps: u32,
    atol: HashMap<String, f64>,
}

/// PyTorch's arguments; those that are left out have PyTorch's defaults.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Args {
    lr: f32,
    momentum: Option<f64>,
    dampening: f64,
    nesterov: Option<bool>,
    weight_decay: Option<f32>,
    betas: Option<[f64; 2]>,
    eps: Option<f64>,
    alpha: Option<f64>,
    centered: bool,
    lr_decay: f64,
    initial_accumulator_value: f64,
    ns_steps: Option<u32>,
    adjust_lr_fn: Option<String>,
}

impl Case {
    fn update(&self) -> Arc<dyn Update> {
        let Args { dampening, centered, lr_decay, initial_accumulator_value, .. } = self.args;
        let (momentum, nesterov) = (self.args.momentum.unwrap_or(0.0), self.args.nesterov.unwrap_or(false));
        let betas = |default| self.args.betas.unwrap_or(default);
        let eps = |default| self.args.eps.unwrap_or(default);
        let alpha = self.args.alpha.unwrap_or(0.99);
        match self.optimizer.as_str() {
            "sgd" => Arc::new(Sgd { momentum, dampening, nesterov }),
            "rmsprop" => Arc::new(RmsProp { alpha, eps: eps(1e-8), momentum, centered }),
            "adagrad" => Arc::new(Adagrad { lr_decay, initial_accumulator_value, eps: eps(1e-10) }),
            "lamb" => Arc::new(Lamb { betas: betas([0.9, 0.999]), eps: eps(1e-6) }),
            "muon" => Arc::new(Muon {
                momentum: self.args.momentum.unwrap_or(0.95),
                nesterov: self.args.nesterov.unwrap_or(true),
                ns_steps: self.args.ns_steps.unwrap_or(5),
                adjust_lr: match self.args.adjust_lr_fn.as_deref() {
                    None => AdjustLr::Original,
                    Some("match_rms_adamw") => AdjustLr::MatchRmsAdamW,
                    Some(other) => panic!("a golden has the adjustment {other}"),
                },
                first_and_last: true,
                betas: betas([0.9, 0.999]),
                eps: eps(1e-8),
            }),
            "lion" => Arc::new(Lion { betas: betas([0.9, 0.99]) }),
            name => Arc::new(Adam { betas: betas([0.9, 0.999]), eps: eps(1e-8), decoupled: name == "adamw" }),
        }
    }

    fn weight_decay(&self) -> f32 {
        self.args.weight_decay.unwrap_or(match self.optimizer.as_str() {
            "adamw" | "lamb" => 0.01,
            "muon" => 0.1,
            _ => 0.0,
        })
    }

    fn step(&self, done: u32) -> Step {
        Step {
            step: done,
            learning_rate: self.args.lr,
            clip_norm: self.clip_norm.unwrap_or(f32::INFINITY),
            clip_value: self.clip_value.unwrap_or(f32::INFINITY),
            optimizer: self.update().step_numbers(done + 1),
            ..Step::default()
        }
    }
}

fn read(file: &SafeTensors<'_>, name: &str) -> (Shape, Vec<f32>) {
    let view = file.tensor(name).unwrap_or_else(|error| panic!("{name}: {error}"));
    let data = view.data().chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()));
    (Shape::from(view.shape()), data.collect())
}

/// Replays one case and compares as the goldens' header says: |got - want| <= atol + 1e-5 |want|.
fn check(case: &Case, file: &SafeTensors<'_>, device: &Device) {
    let count = file.names().iter().filter(|name| name.starts_with(&format!("{}/grad.", case.id))).count();
    let tensor = |name: &str| read(file, &format!("{}/{name}", case.id));
    let initial: Vec<(Shape, Vec<f32>)> = (0..count).map(|i| tensor(&format!("param.{i}.0"))).collect();
    let gradients: Vec<Vec<f32>> = (0..count).map(|i| tensor(&format!("grad.{i}")).1).collect();
    let steps = (0..case.steps).map(|done| {
        let of_step = |(all, (shape, _)): (&Vec<f32>, &(Shape, Vec<f32>))| {
            all[done as usize * shape.numel()..][..shape.numel()].to_vec()
        };
        (case.step(done), gradients.iter().zip(&initial).map(of_step).collect(), 1.0)
    });
    let steps: Vec<_> = steps.collect();
    let clip = case.clip_adaptive.map(|clip_factor| AdaptiveClip { clip_factor });
    let mut run = Run::clipped(device, &initial, case.update(), case.weight_decay(), clip);
    let mut got = HashMap::new();
    let mut reports = run.steps(&steps[..1]);
    got.extend((0..count).map(|i| (format!("want.param.{i}.step1"), run.tensor(PageList::Parameters, i))));
    reports.extend(run.steps(&steps[1..]));
    got.extend((0..count).map(|i| (format!("want.param.{i}"), run.tensor(PageList::Parameters, i))));
    for (slot, name) in run.slots().iter().enumerate() {
        got.extend((0..count).map(|i| (format!("want.{name}.{i}"), run.tensor(PageList::Slot(slot), i))));
    }
    let counted = (1..).zip(&reports).all(|(step, report)| report.step == step && !report.halted);
    assert!(counted, "{} on {}: {reports:?}", case.id, device.name());
    assert!(case.atol.len() >= 2 * count, "{} compares too little", case.id);
    for (name, atol) in &case.atol {
        let want = tensor(name).1.into_iter().map(f64::from);
        for (i, (got, want)) in got[name].iter().zip(want).enumerate() {
            let close = (got - want).abs() <= atol + 1e-5 * want.abs();
            assert!(close, "{} on {}, {name}[{i}]: {got}, PyTorch {want}", case.id, device.name());
        }
    }
}

#[test]
fn optimizers_follow_pytorch() {
    let bytes = std::fs::read(golden("optimizers.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let cases = &header.metadata().as_ref().unwrap()["cases"];
    let cases: Vec<Case> = serde_json::from_str(cases).unwrap();
    assert_eq!(cases.len(), 38);
    for device in Device::all() {
        for case in &cases {
            check(case, &file, &device);
        }
    }
}

/// From the first step whose loss or gradient is not finite, nothing changes any more, though the steps after it are
/// in flight when it is found.
fn check_halt(device: &Device, update: &Arc<dyn Update>, bad: f32, in_loss: bool) {
    let what = format!("{} on {}, {bad} in the {in_loss:?}", update.name(), device.name());
    let values = |start: f32| vec![(0..21).map(|i| start - 0.1 * i as f32).collect(), vec![start]];
    let initial: Vec<(Shape, Vec<f32>)> =
        [Shape::from([7, 3]), Shape::from([])].into_iter().zip(values(1.0)).collect();
    let step = |done| Step {
        step: done,
        learning_rate: 0.1,
        clip_norm: 1.0,
        optimizer: update.step_numbers(done + 1),
        ..Step::default()
    };
    let mut run = Run::new(device, &initial, update.clone(), 0.01);
    let start = run.state();
    assert!(!run.steps(&[(step(0), values(0.5), 1.0)])[0].halted, "{what}");
    let good = run.state();
    assert!(start.iter().zip(&good).all(|(start, good)| start != good), "{what}: a good step changes all");
    let (mut gradients, mut loss) = (values(0.7), 1.0);
    *(if in_loss { &mut loss } else { &mut gradients[0][20] }) = bad;
    let steps = [(step(1), gradients, loss), (step(2), values(0.5), 1.0), (step(3), values(0.4), 1.0)];
    let reports = run.steps(&steps);
    assert!(reports.iter().all(|report| report.halted), "{what}: {reports:?}");
    assert_eq!(reports.iter().map(|report| report.step).collect::<Vec<_>>(), [2, 3, 4], "{what}");
    assert_eq!(
        [reports[0].loss.is_finite(), reports[0].grad_norm.is_finite()],
        [!in_loss, in_loss],
        "{what}"
    );
    assert!(reports[1].loss == 1.0 && reports[1].grad_norm.is_finite(), "{what}: {reports:?}");
    assert_eq!(run.state(), good, "{what}");
}

fn muon() -> Muon {
    let (momentum, nesterov, ns_steps, adjust_lr) = (0.9, true, 5, AdjustLr::Original);
    Muon { momentum, nesterov, ns_steps, adjust_lr, first_and_last: true, betas: [0.9, 0.999], eps: 1e-8 }
}

#[test]
fn nothing_changes_from_the_first_step_that_is_not_finite() {
    let updates: [Arc<dyn Update>; 7] = [
        Arc::new(Sgd { momentum: 0.9, dampening: 0.0, nesterov: false }),
        Arc::new(Adam { betas: [0.9, 0.999], eps: 1e-8, decoupled: true }),
        Arc::new(RmsProp { alpha: 0.9, eps: 1e-8, momentum: 0.9, centered: true }),
        Arc::new(Adagrad { lr_decay: 0.1, initial_accumulator_value: 0.0, eps: 1e-10 }),
        Arc::new(Lion { betas: [0.9, 0.99] }),
        Arc::new(Lamb { betas: [0.9, 0.999], eps: 1e-6 }),
        Arc::new(muon()),
    ];
    for device in Device::all() {
        for update in &updates {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                check_halt(&device, update, bad, false);
                check_halt(&device, update, bad, true);
            }
        }
    }
}
