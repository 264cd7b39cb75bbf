use std::collections::BTreeMap;
use std::fmt;

use crate::tensor::DType;

/// One way to run a kernel family.
pub trait Configuration: Copy {
    /// Its name, such as `64x64x16`: what tables of tuned kernels hold.
    fn name(&self) -> String;

    /// Whether it gives the bits of all other exact ones. What is not exact is used only after the user has asked for it.
    fn exact(&self) -> bool {
        true
    }
}

/// What a choice of a configuration depends on: products of one family, of about equal sizes and alignment, have the same
/// best configuration on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TuningKey {
    /// The kernel, such as `conv2d.forward`.
    pub family: &'static str,
    /// Element type of its inputs.
    pub dtype: DType,
    /// Rows, columns and depth of the product.
    pub sizes: [usize; 3],
    /// What else tells kernels apart, such as taps and strides of a convolution.
    pub details: [usize; 2],
}

impl fmt::Display for TuningKey {
    /// Sizes by their power of two (rounded up); columns and depth also by whether 8, 4, 2 divides them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bucket = |size: usize| size.max(1).next_power_of_two().trailing_zeros();
        let divisor = |size: usize| 1 << size.trailing_zeros().min(3);
        let [m, n, k] = self.sizes;
        let dtype = format!("{:?}", self.dtype).to_lowercase();
        let [first, second] = self.details;
        let (bm, bn, bk) = (bucket(m), bucket(n), bucket(k));
        let (dn, dk) = (divisor(n), divisor(k));
        write!(f, "{} {dtype} m{bm} n{bn}/{dn} k{bk}/{dk} {first}.{second}", self.family)
    }
}

/// Configurations that were found to be faster than the default ones on a device, by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tuning {
    /// Names of configurations by [`TuningKey`], as text.
    pub choices: BTreeMap<String, String>,
    /// A hash of those that are not exact, for the record of a run; empty if all are.
    pub inexact: String,
}

impl Tuning {
    /// A table of one choice.
    pub fn of(key: &str, configuration: &str) -> Tuning {
        Tuning {
            choices: BTreeMap::from([(key.to_string(), configuration.to_string())]),
            inexact: String::new(),
        }
    }
}

/// A choice that lowering has made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The [`TuningKey`] as text.
    pub key: String,
    /// The configurations, the default one first, each with whether it is exact.
    pub candidates: Vec<(String, bool)>,
    /// Which was taken.
    pub chosen: usize,
}
