//! From open settings to definite ones: defaults, and the range of each. Errors name the flag; a recipe file's setting
//! is the flag without the dashes.

use std::fmt::Display;

use super::{Algorithm, DeviceChoice, Length, OptimizerName, Recipe, ResolvedRecipe, ScheduleName};
use crate::data::DataSource;
use crate::error::{Error, Result};
use crate::optim::{Adam, Curve, Schedule, Sgd};

impl Recipe {
    /// Settles what is open by defaults (PyTorch's where it has some), and checks every value.
    pub fn resolve(self) -> Result<ResolvedRecipe> {
        self.check_fit()?;
        let data = self.data.clone().unwrap_or(DataSource::Digits);
        let resolved = ResolvedRecipe {
            model: self.model(&data)?,
            data,
            length: self.length()?,
            batch_size: count("--batch-size", self.batch_size.unwrap_or(64))? as usize,
            micro_batch_size: self
                .micro_batch_size
                .map(|size| count("--micro-batch-size", size))
                .transpose()?
                .map(|size| size as usize),
            memory_limit: self.memory_limit,
            recompute: self.recompute.unwrap_or_default(),
            shuffle: self.shuffle.unwrap_or(true),
            normalize: self.normalize.unwrap_or(true),
            algorithm: self.algorithm()?,
            weight_decay: self.weight_decay()?,
            label_smoothing: within_one("--label-smoothing", self.label_smoothing.unwrap_or(0.0))?,
            clip_norm: self.clip_norm.map(|norm| positive("--clip-norm", norm)).transpose()?,
            schedule: self.schedule()?,
            precision: self.precision.unwrap_or_default(),
            seed: self.seed()?,
            checkpoint_every: self.checkpoint_every.map(|n| count("--checkpoint-every", n)).transpose()?,
            log_every: count("--log-every", self.log_every.unwrap_or(10))?,
            quiet: self.quiet.unwrap_or(false),
            device: self.device.unwrap_or(DeviceChoice::Auto),
            cooperative: self.cooperative.unwrap_or(false),
            init: self.init,
            out: self.out,
        };
        match resolved.length {
            Length::Steps(steps) => resolved.check_warmup(steps.into())?,
            Length::Epochs(_) => {}
        }
        Ok(resolved)
    }

    fn model(&self, data: &DataSource) -> Result<String> {
        match self.model.as_deref() {
            Some("") => fail("--model is empty; give the name of a built-in model or a TOML file"),
            Some(model) => Ok(model.to_string()),
            None if *data == DataSource::Digits => Ok("digits-cnn".to_string()),
            None => Ok("small-cnn".to_string()),
        }
    }

    fn length(&self) -> Result<Length> {
        match (self.epochs, self.max_steps) {
            (Some(_), Some(_)) => fail("--epochs and --max-steps exclude each other; give one of them"),
            (None, Some(steps)) => count("--max-steps", steps).map(Length::Steps),
            (epochs, None) => count("--epochs", epochs.unwrap_or(10)).map(Length::Epochs),
        }
    }

    fn seed(&self) -> Result<u64> {
        let (seed, most) = (self.seed.unwrap_or(0), i64::MAX as u64);
        require(seed <= most, "--seed", seed, format!("at most {most}, the largest number in TOML"))?;
        Ok(seed)
    }

    fn weight_decay(&self) -> Result<f64> {
        let default = if self.optimizer == Some(OptimizerName::AdamW) { 0.01 } else { 0.0 };
        not_negative("--weight-decay", self.weight_decay.unwrap_or(default))
    }

    fn algorithm(&self) -> Result<Algorithm> {
        let name = self.optimizer.unwrap_or_default();
        if name == OptimizerName::Sgd {
            return self.sgd().map(Algorithm::Sgd);
        }
        let betas = self.betas.unwrap_or([0.9, 0.999]);
        for beta in betas {
            // Rounded, as the device has it: a beta just below 1 would divide by zero there.
            let rounded = beta as f32;
            require(
                (0.0..1.0).contains(&rounded),
                "--betas",
                beta,
                "two numbers of at least 0 and less than 1",
            )?;
        }
        let eps = self.eps.unwrap_or(1e-8);
        let normal = eps as f32 >= f32::MIN_POSITIVE;
        require(normal && (eps as f32).is_finite(), "--eps", eps, "above 1.2e-38 and finite")?;
        Ok(Algorithm::Adam(Adam { betas, eps, decoupled: name == OptimizerName::AdamW }))
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

    fn schedule(&self) -> Result<Schedule> {
        let lr = not_negative("--lr", self.lr.unwrap_or(1e-3))?;
        let warmup_steps = self.warmup_steps.unwrap_or(0).into();
        Ok(Schedule { lr, warmup_steps, curve: self.curve(lr)? })
    }

    fn curve(&self, lr: f64) -> Result<Curve> {
        let gamma = |default: Option<f64>| match self.gamma.or(default) {
            Some(gamma) => positive("--gamma", gamma),
            None => fail("--schedule exponential needs --gamma, the factor of each step, such as 0.999"),
        };
        Ok(match self.schedule.unwrap_or_default() {
            ScheduleName::Constant => Curve::Constant,
            ScheduleName::Step => {
                let Some(step_size) = self.step_size else {
                    return fail("--schedule step needs --step-size, the number of steps between two decays");
                };
                let step_size = count("--step-size", step_size)?.into();
                Curve::Step { step_size, gamma: gamma(Some(0.1))? }
            }
            ScheduleName::MultiStep => {
                Curve::MultiStep { milestones: self.milestones()?, gamma: gamma(Some(0.1))? }
            }
            ScheduleName::Exponential => Curve::Exponential { gamma: gamma(None)? },
            ScheduleName::Cosine => {
                let min_lr = self.min_lr.unwrap_or(0.0);
                require(
                    (0.0..=lr).contains(&min_lr),
                    "--min-lr",
                    min_lr,
                    format!("from 0 to --lr, which is {lr}"),
                )?;
                Curve::Cosine { min_lr }
            }
            ScheduleName::OneCycle => self.one_cycle()?,
        })
    }

    fn one_cycle(&self) -> Result<Curve> {
        let pct_start = within_one("--pct-start", self.pct_start.unwrap_or(0.3))?;
        let div_factor = positive("--div-factor", self.div_factor.unwrap_or(25.0))?;
        require(div_factor >= 1.0, "--div-factor", div_factor, "at least 1: --lr is the highest rate")?;
        let final_div_factor = positive("--final-div-factor", self.final_div_factor.unwrap_or(1e4))?;
        let falls = div_factor * final_div_factor >= 1.0;
        let allowed = "at least 1 / --div-factor: --lr is the highest rate";
        require(falls, "--final-div-factor", final_div_factor, allowed)?;
        Ok(Curve::OneCycle { pct_start, div_factor, final_div_factor })
    }

    fn milestones(&self) -> Result<Vec<u64>> {
        let milestones = self.milestones.as_deref().unwrap_or_default();
        if milestones.is_empty() {
            return fail(
                "--schedule multi-step needs --milestones, the steps of its decays, such as 1000,2000",
            );
        }
        let increasing = milestones[0] > 0 && milestones.is_sorted_by(|a, b| a < b);
        let written: Vec<String> = milestones.iter().map(u32::to_string).collect();
        require(increasing, "--milestones", written.join(","), "increasing numbers of steps, all above 0")?;
        Ok(milestones.iter().map(|&milestone| milestone.into()).collect())
    }
}

fn fail<T>(message: impl Into<String>) -> Result<T> {
    Err(Error::Recipe(message.into()))
}

fn require(holds: bool, flag: &str, value: impl Display, allowed: impl Display) -> Result<()> {
    if holds { Ok(()) } else { fail(format!("{flag} is {value}; it must be {allowed}")) }
}

fn count(flag: &str, value: u32) -> Result<u32> {
    require(value >= 1, flag, value, "at least 1")?;
    Ok(value)
}

/// Numbers are rounded to f32 on their way to the device, and must be finite there.
fn not_negative(flag: &str, value: f64) -> Result<f64> {
    require(value >= 0.0 && (value as f32).is_finite(), flag, value, "at least 0 and finite")?;
    Ok(value)
}

fn positive(flag: &str, value: f64) -> Result<f64> {
    require(value as f32 > 0.0 && (value as f32).is_finite(), flag, value, "above 0 and finite")?;
    Ok(value)
}

fn within_one(flag: &str, value: f64) -> Result<f64> {
    require((0.0..=1.0).contains(&value), flag, value, "from 0 to 1")?;
    Ok(value)
}
