//! Matrix products in registers, and with them one of the two islands where unsafe code is allowed.
//!
//! A tile of `c`, some rows by some vectors of columns, stays in registers while all its terms are added up. `a` is read
//! one number at a time and `b` a vector at a time, both where they lie: so a convolution is a sum of products over
//! shifted views of the images ([`Gemm::runs`]), and nothing is copied for it. One generic function is compiled for each
//! instruction set and tile. An element of `c` is one chain of fused products, so AVX2 and AVX-512 give the same bits.
//!
//! On one core of an EPYC with AVX-512 a 3x3 convolution of 32 x 32 x 64 images runs at 245 to 260 GFLOP/s.
#![allow(unsafe_code)]

mod lanes;

use lanes::Lanes;

use crate::graph::{Gemm, PANEL, Real};

/// One tile of a product; pointers to its first row, term and column.
struct Tile<'r, T> {
    runs: &'r [[usize; 2]],
    k: usize,
    a: *const T,
    a_strides: [usize; 2],
    b: *const T,
    /// From one term to the next, and from the second vector of columns to the third.
    b_strides: [usize; 2],
    c: *mut T,
    c_row: usize,
    accumulate: bool,
    /// Columns, if they are less than a vector.
    part: usize,
}

type Kernel<T> = unsafe fn(&Tile<'_, T>);

/// The kernels of one instruction set for one type: by vectors of columns, then by rows less one.
pub struct Kernels<T: 'static> {
    width: usize,
    part: &'static [Kernel<T>],
    one: &'static [Kernel<T>],
    two: &'static [Kernel<T>],
    four: &'static [Kernel<T>],
}

/// A type that products are compiled for.
pub trait Multiply: Real {
    /// The kernels for this machine.
    fn kernels() -> &'static Kernels<Self>;
}

impl Multiply for f32 {
    fn kernels() -> &'static Kernels<f32> {
        #[cfg(target_arch = "x86_64")]
        {
            if has_avx512() {
                return &avx512::F32;
            }
            if has_avx2() {
                return &avx2::F32;
            }
        }
        &portable::F32
    }
}

impl Multiply for f64 {
    fn kernels() -> &'static Kernels<f64> {
        #[cfg(target_arch = "x86_64")]
        {
            if has_avx512() {
                return &avx512::F64;
            }
            if has_avx2() {
                return &avx2::F64;
            }
        }
        &portable::F64
    }
}

#[cfg(target_arch = "x86_64")]
fn has_avx512() -> bool {
    std::arch::is_x86_feature_detected!("avx512f")
}

#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma")
}

/// Runs one product on the calling thread.
///
/// # Panics
/// If a matrix reaches beyond its slice: a bug in an operator, not in its input.
pub(super) fn gemm<T: Multiply>(gemm: Gemm<'_, T>) {
    // SAFETY: these are the kernels for this machine.
    unsafe { gemm_by(T::kernels(), gemm) }
}

/// The same with given kernels.
///
/// # Safety
/// The machine has the instructions of the kernels.
unsafe fn gemm_by<T: Real>(kernels: &Kernels<T>, gemm: Gemm<'_, T>) {
    let Gemm { m, n, k, runs, a, a_strides, b, b_strides, c, c_row, accumulate } = gemm;
    if m == 0 || n == 0 {
        return;
    }
    let column = |j: usize| j / PANEL * b_strides[1] + j % PANEL;
    if k > 0 {
        assert!(n <= PANEL || b_strides[1] >= PANEL, "gemm: panels of b overlap");
        let a_end = (m - 1) * a_strides[0] + (k - 1) * a_strides[1];
        let b_end = (k - 1) * b_strides[0] + column(n - 1);
        for [first_a, first_b] in runs {
            assert!(first_a + a_end < a.len(), "gemm: a reaches beyond its {} elements", a.len());
            assert!(first_b + b_end < b.len(), "gemm: b reaches beyond its {} elements", b.len());
        }
    }
    assert!(m == 1 || c_row >= n, "gemm: rows of c overlap");
    assert!((m - 1) * c_row + n <= c.len(), "gemm: c reaches beyond its {} elements", c.len());
    let width = kernels.width;
    // The third vector of four is in the next panel if two fill one.
    let third = if 2 * width == PANEL { b_strides[1] } else { 2 * width };
    let mut j = 0;
    while j < n {
        let (by_rows, columns) = match n - j {
            left if left >= 4 * width && m <= kernels.four.len() => (kernels.four, 4 * width),
            left if left >= 2 * width => (kernels.two, 2 * width),
            left if left >= width => (kernels.one, width),
            left => (kernels.part, left),
        };
        let tiles = m.div_ceil(by_rows.len());
        let mut i = 0;
        for tile in 0..tiles {
            let rows = m / tiles + usize::from(tile < m % tiles);
            let tile = Tile {
                runs,
                k,
                a: a.as_ptr().wrapping_add(i * a_strides[0]),
                a_strides,
                b: b.as_ptr().wrapping_add(column(j)),
                b_strides: [b_strides[0], third],
                c: c.as_mut_ptr().wrapping_add(i * c_row + j),
                c_row,
                accumulate,
                part: columns,
            };
            // SAFETY: the assertions above keep every element of the product within the slices, and a tile is rows
            // i..i + rows and columns j..j + columns of it; c is borrowed exclusively, so it does not overlap with a or
            // b; the machine has the instructions (the caller's).
            unsafe { by_rows[rows - 1](&tile) };
            i += rows;
        }
        j += columns;
    }
}

/// Adds up `M` rows and `N` vectors of columns; with `PART`, less than one vector of columns.
///
/// # Safety
/// The tile lies within its slices, and the machine has the instructions of `L`.
#[inline(always)]
unsafe fn multiply<L: Lanes, const M: usize, const N: usize, const PART: bool>(tile: &Tile<'_, L::Element>) {
    let [a_row, a_term] = tile.a_strides;
    let [b_term, third] = tile.b_strides;
    let vector = |n: usize| if n < 2 { n * L::WIDTH } else { third + (n - 2) * L::WIDTH };
    // SAFETY: as above. Addresses wrap because checks of the arithmetic, which debug assertions switch on, would cost
    // more than the arithmetic; no address outside of the tile is read.
    unsafe {
        let mask = L::mask(tile.part);
        let load = |at| if PART { L::load_part(at, mask) } else { L::load(at) };
        let mut sums = [[L::zero(); N]; M];
        for [first_a, first_b] in tile.runs {
            let (mut a, mut b) = (tile.a.wrapping_add(*first_a), tile.b.wrapping_add(*first_b));
            for _ in 0..tile.k {
                let row: [L::Vector; N] = std::array::from_fn(|n| load(b.wrapping_add(vector(n))));
                for (m, sums) in sums.iter_mut().enumerate() {
                    let factor = L::splat(a.wrapping_add(m.wrapping_mul(a_row)));
                    for (sum, b) in sums.iter_mut().zip(row) {
                        *sum = L::multiply_add(factor, b, *sum);
                    }
                }
                (a, b) = (a.wrapping_add(a_term), b.wrapping_add(b_term));
            }
        }
        for (m, sums) in sums.into_iter().enumerate() {
            for (n, sum) in sums.into_iter().enumerate() {
                let c = tile.c.wrapping_add(m.wrapping_mul(tile.c_row).wrapping_add(n * L::WIDTH));
                let sum = if tile.accumulate { L::add(load(c), sum) } else { sum };
                if PART { L::store_part(c, mask, sum) } else { L::store(c, sum) }
            }
        }
    }
}

/// The table of kernels `$name` for `$lanes`: tiles of these numbers of rows, in their order.
macro_rules! kernels {
    ($name:ident, $lanes:ty, $element:ty, two [$($two:literal)*], four [$($four:literal)*]) => {
        pub(super) static $name: Kernels<$element> = Kernels {
            width: <$lanes>::WIDTH,
            part: &[$(tile::<$lanes, $two, 1, true>),*],
            one: &[$(tile::<$lanes, $two, 1, false>),*],
            two: &[$(tile::<$lanes, $two, 2, false>),*],
            four: &[$(tile::<$lanes, $four, 4, false>),*],
        };
    };
}

/// The function that a table's entries point to, compiled with some instructions.
macro_rules! compiled {
    ($(#[$feature:meta])*) => {
        /// # Safety
        /// See [`multiply`].
        $(#[$feature])*
        unsafe fn tile<L: Lanes, const M: usize, const N: usize, const PART: bool>(
            tile: &Tile<'_, L::Element>,
        ) {
            // SAFETY: the caller's.
            unsafe { multiply::<L, M, N, PART>(tile) }
        }
    };
}

/// 32 registers: 14 x 2 or 6 x 4 sums, and what is multiplied.
#[cfg(target_arch = "x86_64")]
mod avx512 {
    use super::lanes::{F32x16, F64x8, Lanes};
    use super::{Kernels, Tile, multiply};

    compiled!(#[target_feature(enable = "avx512f")]);
    kernels!(F32, F32x16, f32, two [1 2 3 4 5 6 7 8 9 10 11 12 13 14], four [1 2 3 4 5 6]);
    kernels!(F64, F64x8, f64, two [1 2 3 4 5 6 7 8 9 10 11 12 13 14], four []);
}

/// 16 registers: 6 x 2 sums.
#[cfg(target_arch = "x86_64")]
mod avx2 {
    use super::lanes::{F32x8, F64x4, Lanes};
    use super::{Kernels, Tile, multiply};

    compiled!(#[target_feature(enable = "avx2,fma")]);
    kernels!(F32, F32x8, f32, two [1 2 3 4 5 6], four []);
    kernels!(F64, F64x4, f64, two [1 2 3 4 5 6], four []);
}

/// Whatever the compiler makes of arrays of four.
mod portable {
    use super::lanes::{Four, Lanes};
    use super::{Kernels, Tile, multiply};

    compiled!();
    kernels!(F32, Four<f32>, f32, two [1 2 3 4 5 6], four []);
    kernels!(F64, Four<f64>, f64, two [1 2 3 4], four []);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every tile against a sum in f64; all numbers are small integers, so that every order of summation is exact.
    fn check<T: Real>(kernels: &Kernels<T>) {
        for (m, n) in (1..=29).flat_map(|m| [1_usize, 3, 8, 16, 31, 32, 48, 64, 67, 129].map(|n| (m, n))) {
            let (k, c_row, panel) = (5, n + 3, 11 * PANEL);
            let numbers = |count, period, middle| -> Vec<T> {
                (0..count).map(|i| T::of((i % period) as f64 - middle)).collect()
            };
            let a = numbers(m * 7 + 60, 13, 6.0);
            let b = numbers(n.div_ceil(PANEL) * panel, 17, 8.0);
            let runs = [[0, 0], [40, 5 * PANEL]];
            for accumulate in [false, true] {
                let mut c = vec![T::one(); m * c_row];
                let (a_strides, b_strides, runs) = ([7, 2], [PANEL, panel], &runs);
                let (a, b) = (&a[..], &b[..]);
                let product =
                    Gemm { m, n, k, runs, a, a_strides, b, b_strides, c: &mut c, c_row, accumulate };
                // SAFETY: the tests below ask for the instructions first.
                unsafe { gemm_by(kernels, product) };
                for (at, c) in c.iter().enumerate() {
                    let (i, j) = (at / c_row, at % c_row);
                    let column = j / PANEL * panel + j % PANEL;
                    let term = |[first_a, first_b]: [usize; 2], k: usize| {
                        a[first_a + i * 7 + k * 2].f64() * b[first_b + k * PANEL + column].f64()
                    };
                    let sum = || runs.iter().flat_map(|run| (0..k).map(|k| term(*run, k))).sum::<f64>();
                    let expected = if j < n { sum() + f64::from(u8::from(accumulate)) } else { 1.0 };
                    assert_eq!(c.f64(), expected, "{m} x {n}, row {i}, column {j}");
                }
            }
        }
    }

    #[test]
    fn all_tiles_multiply() {
        check(&portable::F32);
        check(&portable::F64);
        #[cfg(target_arch = "x86_64")]
        {
            if has_avx2() {
                check(&avx2::F32);
                check(&avx2::F64);
            }
            if has_avx512() {
                check(&avx512::F32);
                check(&avx512::F64);
            }
        }
    }
}
