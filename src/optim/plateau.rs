//! `torch.optim.lr_scheduler.ReduceLROnPlateau`, for a metric that should fall.

use serde::{Deserialize, Serialize};

/// When and by how much the learning rate is reduced (`mode="min"`, `threshold_mode="rel"`, `eps=1e-8`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plateau {
    /// The factor of a reduction, in 0..1.
    pub factor: f64,
    /// Epochs without improvement that are borne before a reduction.
    pub patience: u64,
    /// The share by which a loss has to be below the best to count as better.
    pub threshold: f64,
    /// Epochs after a reduction in which none without improvement counts.
    pub cooldown: u64,
    /// The rate is not reduced below this.
    pub min_lr: f64,
}

/// Where a plateau schedule stands; part of a checkpoint. Numbers are bits of f64, so that they survive as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlateauState {
    lr: u64,
    best: u64,
    bad_epochs: u64,
    cooldown: u64,
}

impl PlateauState {
    /// Before the first epoch.
    pub fn new(lr: f64) -> PlateauState {
        PlateauState { lr: lr.to_bits(), best: f64::INFINITY.to_bits(), bad_epochs: 0, cooldown: 0 }
    }

    /// The learning rate.
    pub fn learning_rate(&self) -> f64 {
        f64::from_bits(self.lr)
    }
}

impl Plateau {
    /// Changes below this are not made.
    const EPS: f64 = 1e-8;

    /// The state after an epoch with this loss. NaN is no improvement.
    pub fn step(&self, state: PlateauState, loss: f64) -> PlateauState {
        let mut next = state;
        if loss < f64::from_bits(state.best) * (1.0 - self.threshold) {
            next.best = loss.to_bits();
            next.bad_epochs = 0;
        } else {
            next.bad_epochs += 1;
        }
        if next.cooldown > 0 {
            next.cooldown -= 1;
            next.bad_epochs = 0;
        }
        if next.bad_epochs > self.patience {
            let old = state.learning_rate();
            let reduced = old * self.factor;
            let new = if reduced < self.min_lr { self.min_lr } else { reduced };
            if old - new > Plateau::EPS {
                next.lr = new.to_bits();
            }
            next.cooldown = self.cooldown;
            next.bad_epochs = 0;
        }
        next
    }
}
