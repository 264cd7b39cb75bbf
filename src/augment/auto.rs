//! Policies that draw operations: their tables of magnitudes are torchvision's.

use rand::RngExt;

use super::affine::Matrix;
use super::colour::{Colour, ColourOp};
use crate::tensor::CounterRng;

/// Magnitudes of each operation.
const BINS: usize = 31;

/// A policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auto {
    /// `TrivialAugmentWide`: one operation, of any magnitude.
    TrivialAugmentWide,
    /// `RandAugment(num_ops, magnitude)`.
    RandAugment {
        /// Operations per sample.
        num_ops: u32,
        /// Magnitude of each, from 0 to 30.
        magnitude: u32,
    },
}

/// The operations of both policies.
const OPERATIONS: [Operation; 14] = [
    Operation::Identity,
    Operation::ShearX,
    Operation::ShearY,
    Operation::TranslateX,
    Operation::TranslateY,
    Operation::Rotate,
    Operation::Blend(ColourOp::Brightness),
    Operation::Blend(ColourOp::Saturation),
    Operation::Blend(ColourOp::Contrast),
    Operation::Blend(ColourOp::Sharpness),
    Operation::Posterize,
    Operation::Solarize,
    Operation::Plain(ColourOp::AutoContrast),
    Operation::Plain(ColourOp::Equalize),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Identity,
    ShearX,
    ShearY,
    TranslateX,
    TranslateY,
    Rotate,
    Blend(ColourOp),
    Posterize,
    Solarize,
    Plain(ColourOp),
}

/// What a policy drew.
pub(super) enum Drawn {
    Nothing,
    /// Where pixels are taken from.
    Geometry(Matrix),
    Colour(Colour),
}

impl Auto {
    /// Operations that a sample has.
    pub(super) fn count(self) -> u32 {
        match self {
            Auto::TrivialAugmentWide => 1,
            Auto::RandAugment { num_ops, .. } => num_ops,
        }
    }

    /// Draws one operation for images of `[height, width]`.
    pub(super) fn draw(self, rng: &mut CounterRng, [height, width]: [usize; 2]) -> Drawn {
        let operation = OPERATIONS[rng.random_range(0..OPERATIONS.len())];
        let bin = match self {
            Auto::TrivialAugmentWide => rng.random_range(0..BINS),
            Auto::RandAugment { magnitude, .. } => (magnitude as usize).min(BINS - 1),
        };
        let share = bin as f64 / (BINS - 1) as f64;
        let sign = if rng.random::<bool>() { 1.0 } else { -1.0 };
        let [shear, translate_x, translate_y, rotate, blend, bits] = match self {
            Auto::TrivialAugmentWide => [0.99, 32.0, 32.0, 135.0, 0.99, 6.0],
            Auto::RandAugment { .. } => {
                [0.3, 150.0 / 331.0 * width as f64, 150.0 / 331.0 * height as f64, 30.0, 0.9, 4.0]
            }
        };
        let signed = |most: f64| sign * share * most;
        // torchvision shears about the upper left corner.
        let corner = [-0.5 * width as f64, -0.5 * height as f64];
        let atan = |slope: f64| libm::atan(slope) * 180.0 / std::f64::consts::PI;
        let sheared = |shear| Matrix::inverse_affine(corner, 0.0, [0.0; 2], 1.0, shear);
        let shifted = |by| Matrix::inverse_affine([0.0; 2], 0.0, by, 1.0, [0.0; 2]);
        match operation {
            Operation::Identity => Drawn::Nothing,
            Operation::ShearX => Drawn::Geometry(sheared([atan(signed(shear)), 0.0])),
            Operation::ShearY => Drawn::Geometry(sheared([0.0, atan(signed(shear))])),
            Operation::TranslateX => Drawn::Geometry(shifted([signed(translate_x).trunc(), 0.0])),
            Operation::TranslateY => Drawn::Geometry(shifted([0.0, signed(translate_y).trunc()])),
            Operation::Rotate => {
                Drawn::Geometry(Matrix::inverse_affine([0.0; 2], -signed(rotate), [0.0; 2], 1.0, [0.0; 2]))
            }
            Operation::Blend(op) => Drawn::Colour(Colour::blend(op, 1.0 + signed(blend))),
            Operation::Posterize => Drawn::Colour(Colour::posterize(8 - libm::rint(share * bits) as u32)),
            Operation::Solarize => Drawn::Colour(Colour::solarize(255.0 * (1.0 - share))),
            Operation::Plain(op) => Drawn::Colour(Colour { op, value: 0 }),
        }
    }
}
