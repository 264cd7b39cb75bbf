//! The optimizer, its settings, and what is done to loss and gradients.

use std::sync::Arc;

use super::dependent::{Dependent, Setting, with_choice};
use super::range::{below_one, count, fail, not_negative, positive, require, within_one};
use super::theme::{names, pair, theme};
use crate::error::Result;
use crate::graph::Update;
use crate::optim::{Adagrad, Adam, AdaptiveClip, AdjustLr, Ema, Lamb, Lion, Muon, RmsProp, Sgd};

theme! {
/// Optimizer and loss.
#[command(next_help_heading = "Optimizer and loss")]
pub struct OptimizerSettings {
    /// Optimizer [default: sgd]
    #[arg(long, value_name = "NAME")]
    pub optimizer: Option<OptimizerName>,
    /// Learning rate; one-cycle's maximum [default: 0.001]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub lr: Option<f64>,
    /// sgd, rmsprop, muon: factor on the running gradient or step [default: 0; muon: 0.95]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub momentum: Option<f64>,
    /// sgd: how much of a new gradient is left out of the running one [default: 0]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub dampening: Option<f64>,
    /// sgd, muon: look ahead by the running gradient [default: false; muon: true]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(hide_possible_values = true, value_name = "BOOL")]
    pub nesterov: Option<bool>,
    /// adam, adamw, lamb, muon (for what is no matrix): decay of the averages of gradient and square [default: 0.9,0.999]; lion: how much of the running
    /// gradient is in the direction, and is kept [default: 0.9,0.99]
    #[arg(long, value_name = "B1,B2", value_parser = pair, allow_hyphen_values = true)]
    pub betas: Option<[f64; 2]>,
    /// adam, adamw, rmsprop, adagrad, lamb, muon: added to the denominator [default: 1e-8; adagrad: 1e-10, lamb: 1e-6]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub eps: Option<f64>,
    /// rmsprop: decay of the average of the gradient's square [default: 0.99]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub alpha: Option<f64>,
    /// rmsprop: scale by the gradient's deviation instead of its root mean square
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(hide_possible_values = true, value_name = "BOOL")]
    pub centered: Option<bool>,
    /// adagrad: step t, from 0, has the rate over 1 + X t [default: 0]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub lr_decay: Option<f64>,
    /// adagrad: what the sums of squares start at [default: 0]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub initial_accumulator_value: Option<f64>,
    /// muon: iterations that make a matrix orthogonal [default: 5]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub ns_steps: Option<u32>,
    /// muon: what a matrix' shape does to its learning rate: original, or match-rms-adamw, which takes AdamW's rates
    /// [default: original]
    #[arg(long, value_name = "NAME")]
    pub adjust_lr: Option<AdjustLrName>,
    /// muon: take the first and the last matrix as matrices too, not as AdamW's
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(hide_possible_values = true, value_name = "BOOL")]
    pub muon_first_and_last: Option<bool>,
    /// Decay of all parameters [default: 0; adamw and lamb: 0.01; muon: 0.1]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub weight_decay: Option<f64>,
    /// Part of the target that is spread over all classes [default: 0]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub label_smoothing: Option<f64>,
    /// Scale gradients down to this norm, all together [default: never]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub clip_norm: Option<f64>,
    /// Bring each element of a gradient within this of zero [default: never]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub clip_value: Option<f64>,
    /// Bring the gradient of each unit to this share of its weights' norm, except in the last layer (AGC)
    /// [default: never]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub clip_adaptive: Option<f64>,
    /// Keep a running average of the weights, of which each step keeps this share, and evaluate and save it too
    /// [default: none]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub ema_decay: Option<f64>,
    /// Begin with a smaller share: at most 1 - t^(-2/3) after t steps
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(hide_possible_values = true, value_name = "BOOL")]
    pub ema_warmup: Option<bool>,
}
}

names! { "optimizer",
/// An optimizer, by its name in flags and recipes.
pub enum OptimizerName {
    /// `torch.optim.SGD`.
    #[default]
    Sgd = "sgd",
    /// `torch.optim.Adam`.
    Adam = "adam",
    /// `torch.optim.AdamW`.
    AdamW = "adamw",
    /// `torch.optim.RMSprop`.
    RmsProp = "rmsprop",
    /// `torch.optim.Adagrad`.
    Adagrad = "adagrad",
    /// Lion.
    Lion = "lion",
    /// LAMB.
    Lamb = "lamb",
    /// `torch.optim.Muon` for matrices, AdamW for the rest.
    Muon = "muon",
}
}

names! { "adjust_lr",
/// What a matrix' shape does to its learning rate, by its name in flags and recipes.
pub enum AdjustLrName {
    /// `sqrt(max(1, A / B))`
    #[default]
    Original = "original",
    /// `0.2 sqrt(max(A, B))`
    MatchRmsAdamW = "match-rms-adamw",
}
}

/// An optimizer with its settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Algorithm {
    /// SGD.
    Sgd(Sgd),
    /// Adam or AdamW.
    Adam(Adam),
    /// RMSprop.
    RmsProp(RmsProp),
    /// Adagrad.
    Adagrad(Adagrad),
    /// Lion.
    Lion(Lion),
    /// LAMB.
    Lamb(Lamb),
    /// Muon.
    Muon(Muon),
}

impl Algorithm {
    /// An optimizer with its default settings, SGD with a momentum.
    pub fn named(name: OptimizerName, momentum: f64) -> Result<Algorithm> {
        let momentum = (name == OptimizerName::Sgd).then_some(momentum);
        OptimizerSettings { optimizer: Some(name), momentum, ..Default::default() }.algorithm()
    }

    /// Its elementwise rule, for [`crate::plan::Optimizer`].
    pub fn update(&self) -> Arc<dyn Update> {
        match *self {
            Algorithm::Sgd(sgd) => Arc::new(sgd),
            Algorithm::Adam(adam) => Arc::new(adam),
            Algorithm::RmsProp(rmsprop) => Arc::new(rmsprop),
            Algorithm::Adagrad(adagrad) => Arc::new(adagrad),
            Algorithm::Lion(lion) => Arc::new(lion),
            Algorithm::Lamb(lamb) => Arc::new(lamb),
            Algorithm::Muon(muon) => Arc::new(muon),
        }
    }

    /// Its name in flags and recipes.
    pub fn name(&self) -> OptimizerName {
        match self {
            Algorithm::Sgd(_) => OptimizerName::Sgd,
            Algorithm::Adam(Adam { decoupled: false, .. }) => OptimizerName::Adam,
            Algorithm::Adam(Adam { decoupled: true, .. }) => OptimizerName::AdamW,
            Algorithm::RmsProp(_) => OptimizerName::RmsProp,
            Algorithm::Adagrad(_) => OptimizerName::Adagrad,
            Algorithm::Lion(_) => OptimizerName::Lion,
            Algorithm::Lamb(_) => OptimizerName::Lamb,
            Algorithm::Muon(_) => OptimizerName::Muon,
        }
    }

    /// The same as settings.
    pub(super) fn settings(&self) -> OptimizerSettings {
        let named = OptimizerSettings { optimizer: Some(self.name()), ..OptimizerSettings::default() };
        match *self {
            Algorithm::Sgd(Sgd { momentum, dampening, nesterov }) => OptimizerSettings {
                momentum: Some(momentum),
                dampening: Some(dampening),
                nesterov: Some(nesterov),
                ..named
            },
            Algorithm::Adam(Adam { betas, eps, .. }) => {
                OptimizerSettings { betas: Some(betas), eps: Some(eps), ..named }
            }
            Algorithm::RmsProp(RmsProp { alpha, eps, momentum, centered }) => OptimizerSettings {
                alpha: Some(alpha),
                eps: Some(eps),
                momentum: Some(momentum),
                centered: Some(centered),
                ..named
            },
            Algorithm::Adagrad(Adagrad { lr_decay, initial_accumulator_value, eps }) => OptimizerSettings {
                lr_decay: Some(lr_decay),
                initial_accumulator_value: Some(initial_accumulator_value),
                eps: Some(eps),
                ..named
            },
            Algorithm::Lion(Lion { betas }) => OptimizerSettings { betas: Some(betas), ..named },
            Algorithm::Lamb(Lamb { betas, eps }) => {
                OptimizerSettings { betas: Some(betas), eps: Some(eps), ..named }
            }
            Algorithm::Muon(Muon { momentum, nesterov, ns_steps, adjust_lr, first_and_last, betas, eps }) => {
                OptimizerSettings {
                    momentum: Some(momentum),
                    nesterov: Some(nesterov),
                    ns_steps: Some(ns_steps),
                    adjust_lr: Some(match adjust_lr {
                        AdjustLr::Original => AdjustLrName::Original,
                        AdjustLr::MatchRmsAdamW => AdjustLrName::MatchRmsAdamW,
                    }),
                    muon_first_and_last: Some(first_and_last),
                    betas: Some(betas),
                    eps: Some(eps),
                    ..named
                }
            }
        }
    }
}

impl OptimizerSettings {
    pub(super) fn algorithm(&self) -> Result<Algorithm> {
        match self.optimizer.unwrap_or_default() {
            OptimizerName::Sgd => self.sgd().map(Algorithm::Sgd),
            OptimizerName::Adam => self.adam(false).map(Algorithm::Adam),
            OptimizerName::AdamW => self.adam(true).map(Algorithm::Adam),
            OptimizerName::RmsProp => self.rmsprop().map(Algorithm::RmsProp),
            OptimizerName::Adagrad => self.adagrad().map(Algorithm::Adagrad),
            OptimizerName::Lion => Ok(Algorithm::Lion(Lion { betas: self.betas([0.9, 0.99])? })),
            OptimizerName::Lamb => {
                Ok(Algorithm::Lamb(Lamb { betas: self.betas([0.9, 0.999])?, eps: self.eps(1e-6)? }))
            }
            OptimizerName::Muon => self.muon().map(Algorithm::Muon),
        }
    }

    pub(super) fn weight_decay(&self) -> Result<f64> {
        let default = match self.optimizer.unwrap_or_default() {
            OptimizerName::AdamW | OptimizerName::Lamb => 0.01,
            OptimizerName::Muon => 0.1,
            _ => 0.0,
        };
        not_negative("--weight-decay", self.weight_decay.unwrap_or(default))
    }

    pub(super) fn lr(&self) -> Result<f64> {
        not_negative("--lr", self.lr.unwrap_or(1e-3))
    }

    pub(super) fn label_smoothing(&self) -> Result<f64> {
        within_one("--label-smoothing", self.label_smoothing.unwrap_or(0.0))
    }

    pub(super) fn clip_norm(&self) -> Result<Option<f64>> {
        self.clip_norm.map(|norm| positive("--clip-norm", norm)).transpose()
    }

    pub(super) fn clip_value(&self) -> Result<Option<f64>> {
        let ways = [
            ("--clip-norm", self.clip_norm),
            ("--clip-value", self.clip_value),
            ("--clip-adaptive", self.clip_adaptive),
        ];
        let given: Vec<String> =
            ways.iter().filter_map(|(flag, value)| Some(format!("{flag} is {}", (*value)?))).collect();
        if given.len() > 1 {
            return fail(format!("{}; clip in one way", given.join(" and ")));
        }
        self.clip_value.map(|value| positive("--clip-value", value)).transpose()
    }

    pub(super) fn adaptive_clip(&self) -> Result<Option<AdaptiveClip>> {
        let factor = self.clip_adaptive.map(|factor| positive("--clip-adaptive", factor)).transpose()?;
        Ok(factor.map(|clip_factor| AdaptiveClip { clip_factor }))
    }

    pub(super) fn ema(&self) -> Result<Option<Ema>> {
        let Some(decay) = self.ema_decay else {
            return match self.ema_warmup {
                Some(true) => fail("--ema-warmup goes with --ema-decay, which is not given"),
                _ => Ok(None),
            };
        };
        let warmup = self.ema_warmup.unwrap_or(false);
        Ok(Some(Ema { decay: below_one("--ema-decay", decay)?, warmup }))
    }

    fn sgd(&self) -> Result<Sgd> {
        let momentum = not_negative("--momentum", self.momentum.unwrap_or(0.0))?;
        let dampening = self.dampening.unwrap_or(0.0);
        require((dampening as f32).is_finite(), "--dampening", dampening, "finite")?;
        let nesterov = self.nesterov.unwrap_or(false);
        if nesterov && (momentum == 0.0 || dampening != 0.0) {
            return fail(format!(
                "--nesterov needs a --momentum above 0 and no --dampening, not {momentum} and {dampening}"
            ));
        }
        Ok(Sgd { momentum, dampening, nesterov })
    }

    fn adam(&self, decoupled: bool) -> Result<Adam> {
        Ok(Adam { betas: self.betas([0.9, 0.999])?, eps: self.eps(1e-8)?, decoupled })
    }

    fn rmsprop(&self) -> Result<RmsProp> {
        Ok(RmsProp {
            alpha: below_one("--alpha", self.alpha.unwrap_or(0.99))?,
            eps: self.eps(1e-8)?,
            momentum: not_negative("--momentum", self.momentum.unwrap_or(0.0))?,
            centered: self.centered.unwrap_or(false),
        })
    }

    fn muon(&self) -> Result<Muon> {
        let ns_steps = count("--ns-steps", self.ns_steps.unwrap_or(5))?;
        require(ns_steps < 100, "--ns-steps", ns_steps, "less than 100")?;
        Ok(Muon {
            momentum: below_one("--momentum", self.momentum.unwrap_or(0.95))?,
            nesterov: self.nesterov.unwrap_or(true),
            ns_steps,
            adjust_lr: match self.adjust_lr.unwrap_or_default() {
                AdjustLrName::Original => AdjustLr::Original,
                AdjustLrName::MatchRmsAdamW => AdjustLr::MatchRmsAdamW,
            },
            first_and_last: self.muon_first_and_last.unwrap_or(false),
            betas: self.betas([0.9, 0.999])?,
            eps: self.eps(1e-8)?,
        })
    }

    fn adagrad(&self) -> Result<Adagrad> {
        let lr_decay = not_negative("--lr-decay", self.lr_decay.unwrap_or(0.0))?;
        let initial = self.initial_accumulator_value.unwrap_or(0.0);
        let initial_accumulator_value = not_negative("--initial-accumulator-value", initial)?;
        Ok(Adagrad { lr_decay, initial_accumulator_value, eps: self.eps(1e-10)? })
    }

    fn betas(&self, default: [f64; 2]) -> Result<[f64; 2]> {
        let betas = self.betas.unwrap_or(default);
        for beta in betas {
            // Rounded, as the device has it: a beta just below 1 would divide by zero there.
            let allowed = "two numbers of at least 0 and less than 1";
            require((0.0..1.0).contains(&(beta as f32)), "--betas", beta, allowed)?;
        }
        Ok(betas)
    }

    fn eps(&self, default: f64) -> Result<f64> {
        let eps = self.eps.unwrap_or(default);
        let normal = eps as f32 >= f32::MIN_POSITIVE;
        require(normal && (eps as f32).is_finite(), "--eps", eps, "above 1.2e-38 and finite")?;
        Ok(eps)
    }

    /// Each setting that only some optimizers have.
    pub(super) fn dependents(&mut self, chosen: OptimizerName) -> Vec<Dependent<'_>> {
        use OptimizerName::*;
        let is = |names: &[OptimizerName]| names.contains(&chosen);
        let of_sgd = "--optimizer sgd";
        let of_muon = "--optimizer muon";
        let dependents: [(_, &mut dyn Setting, _, _); 12] = [
            ("--momentum", &mut self.momentum, is(&[Sgd, RmsProp, Muon]), "--optimizer sgd, rmsprop or muon"),
            ("--dampening", &mut self.dampening, is(&[Sgd]), of_sgd),
            ("--nesterov", &mut self.nesterov, is(&[Sgd, Muon]), "--optimizer sgd or muon"),
            (
                "--betas",
                &mut self.betas,
                is(&[Adam, AdamW, Lion, Lamb, Muon]),
                "--optimizer adam, adamw, lion, lamb or muon",
            ),
            (
                "--eps",
                &mut self.eps,
                is(&[Adam, AdamW, RmsProp, Adagrad, Lamb, Muon]),
                "--optimizer adam, adamw, rmsprop, adagrad, lamb or muon",
            ),
            ("--alpha", &mut self.alpha, is(&[RmsProp]), "--optimizer rmsprop"),
            ("--centered", &mut self.centered, is(&[RmsProp]), "--optimizer rmsprop"),
            ("--lr-decay", &mut self.lr_decay, is(&[Adagrad]), "--optimizer adagrad"),
            (
                "--initial-accumulator-value",
                &mut self.initial_accumulator_value,
                is(&[Adagrad]),
                "--optimizer adagrad",
            ),
            ("--ns-steps", &mut self.ns_steps, is(&[Muon]), of_muon),
            ("--adjust-lr", &mut self.adjust_lr, is(&[Muon]), of_muon),
            ("--muon-first-and-last", &mut self.muon_first_and_last, is(&[Muon]), of_muon),
        ];
        with_choice(dependents, chosen.name())
    }
}
