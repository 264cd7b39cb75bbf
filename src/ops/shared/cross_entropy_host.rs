//! CPU kernels of `cross_entropy`. Letters as there.

use super::unary::CHUNK;
use crate::graph::{Host, Real, View};
use crate::ops::cross_entropy::{COLUMNS, CrossEntropy};
use crate::tensor::DType;

/// The targets of a CPU kernel: what share of a row's loss each class has.
pub(crate) struct Targets<'a, T> {
    op: CrossEntropy,
    classes: usize,
    targets: View<'a, T>,
    weight: Option<&'a [T]>,
    smoothing: T,
}

/// What a row's target is.
pub(crate) enum Target<'a, T> {
    Ignored,
    Invalid,
    Class(usize),
    Probabilities(&'a [T]),
}

impl<'a, T: Real> Targets<'a, T> {
    pub(crate) fn new(
        op: CrossEntropy,
        classes: usize,
        targets: View<'a, T>,
        weight: Option<&View<'a, T>>,
    ) -> Self {
        let smoothing = T::of(f64::from(op.label_smoothing));
        Targets { op, classes, targets, weight: weight.map(|weight| weight.real), smoothing }
    }

    fn row(&self, row: usize) -> Target<'a, T> {
        if self.targets.desc.dtype == DType::F32 {
            return Target::Probabilities(&self.targets.real[row * self.classes..][..self.classes]);
        }
        match self.targets.int[row] {
            class if class == self.op.ignore_index => Target::Ignored,
            class => match usize::try_from(class) {
                Ok(class) if class < self.classes => Target::Class(class),
                _ => Target::Invalid,
            },
        }
    }

    fn class_weight(&self, class: usize) -> T {
        self.weight.map_or(T::one(), |weight| weight[class])
    }

    /// The smoothed target of a class times its weight.
    fn share(&self, target: &Target<'_, T>, class: usize) -> T {
        let probability = match target {
            Target::Probabilities(probabilities) => probabilities[class],
            Target::Class(wanted) if *wanted == class => T::one(),
            _ => T::zero(),
        };
        let even = self.smoothing / T::of(self.classes as f64);
        self.class_weight(class) * (probability * (T::one() - self.smoothing) + even)
    }

    /// Fills a row's normalizers, its loss and its weight.
    pub(crate) fn forward(&self, logits: &[T], row: usize, normalizers: &mut [T], losses: &mut [T]) {
        let mut largest = logits[0];
        for x in &logits[1..] {
            largest = if *x > largest { *x } else { largest };
        }
        let log_sum = logits.iter().map(|x| (*x - largest).exp()).sum::<T>().ln();
        let log_p = |class: usize| (logits[class] - largest) - log_sum;
        let target = self.row(row);
        let shares = |class: usize| self.share(&target, class);
        let all = || (0..self.classes).map(|class| (shares(class) * log_p(class), shares(class)));
        let sums = || all().fold((T::zero(), T::zero()), |(a, b), (x, y)| (a + x, b + y));
        let (log_likelihood, mass, weight) = match target {
            Target::Ignored => (T::zero(), T::zero(), T::zero()),
            Target::Invalid => (T::nan(), T::nan(), T::nan()),
            Target::Class(class) => {
                // Without smoothing, an infinite logit of another class must not make the loss NaN.
                let (sum, mass) = match self.smoothing == T::zero() {
                    true => (shares(class) * log_p(class), shares(class)),
                    false => sums(),
                };
                (sum, mass, self.class_weight(class))
            }
            Target::Probabilities(_) => (sums().0, sums().1, T::one()),
        };
        normalizers.copy_from_slice(&[largest, log_sum, mass]);
        losses.copy_from_slice(&[-log_likelihood, weight]);
    }

    /// scale (p mass - share) for every logit.
    pub(crate) fn backward(
        &self,
        host: &dyn Host<T>,
        logits: &[T],
        normalizers: &[T],
        scale: T,
        output: &mut [T],
    ) {
        let classes = self.classes;
        let some = rows_per_chunk(classes);
        host.for_each_chunk(output, some * classes, &|chunk, output| {
            for (row, output) in (chunk * some..).zip(output.chunks_exact_mut(classes)) {
                let target = self.row(row);
                let [largest, log_sum, mass] = [0, 1, 2].map(|i| normalizers[row * COLUMNS + i]);
                // An ignored row has no gradient, even if no row counts and the scale is infinite.
                let scale = if matches!(target, Target::Ignored) { T::zero() } else { scale };
                for (class, (dx, x)) in output.iter_mut().zip(&logits[row * classes..]).enumerate() {
                    let p = ((*x - largest) - log_sum).exp();
                    *dx = scale * (p * mass - self.share(&target, class));
                }
            }
        });
    }
}

/// Rows of a parallel piece of work.
pub(crate) fn rows_per_chunk(classes: usize) -> usize {
    (CHUNK / 8).div_ceil(classes)
}
