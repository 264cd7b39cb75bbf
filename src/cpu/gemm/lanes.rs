//! Vectors of numbers, one type for each instruction set.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use crate::graph::Real;

/// Numbers that are added and multiplied together.
///
/// # Safety
/// All functions need the instructions of the type, and pointers to as many elements as they read or write; pointers
/// need not be aligned.
pub(super) trait Lanes {
    type Element;
    type Vector: Copy;
    type Mask: Copy;
    const WIDTH: usize;

    unsafe fn zero() -> Self::Vector;
    unsafe fn splat(from: *const Self::Element) -> Self::Vector;
    unsafe fn load(from: *const Self::Element) -> Self::Vector;
    unsafe fn store(to: *mut Self::Element, vector: Self::Vector);
    unsafe fn add(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a b + c`
    unsafe fn multiply_add(a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// For the first `count` elements of a vector, all if there are more.
    unsafe fn mask(count: usize) -> Self::Mask;
    unsafe fn load_part(from: *const Self::Element, mask: Self::Mask) -> Self::Vector;
    unsafe fn store_part(to: *mut Self::Element, mask: Self::Mask, vector: Self::Vector);
}

/// A place without alignment: through it a load is one instruction, while `read_unaligned` is checked where debug
/// assertions are on (108 instead of 261 GFLOP/s).
#[repr(C, packed)]
struct Unaligned<V>(V);

/// `$lanes`: vectors of `$element` through the functions that end in `$suffix`.
#[cfg(target_arch = "x86_64")]
macro_rules! lanes {
    (
        $lanes:ident, $element:ty, $vector:ty, $mask:ty, $width:literal,
        $zero:ident, $scalar:ident, $broadcast:ident, $add:ident, $fma:ident, $load:ident, $store:ident,
        mask $count:ident $make:expr
    ) => {
        pub(in crate::cpu::gemm) struct $lanes;

        impl Lanes for $lanes {
            type Element = $element;
            type Vector = $vector;
            type Mask = $mask;
            const WIDTH: usize = $width;

            #[inline(always)]
            unsafe fn zero() -> $vector {
                unsafe { $zero() }
            }
            #[inline(always)]
            unsafe fn splat(from: *const $element) -> $vector {
                unsafe { $broadcast($scalar(from)) }
            }
            #[inline(always)]
            unsafe fn load(from: *const $element) -> $vector {
                unsafe { (*from.cast::<Unaligned<$vector>>()).0 }
            }
            #[inline(always)]
            unsafe fn store(to: *mut $element, vector: $vector) {
                unsafe { (*to.cast::<Unaligned<$vector>>()).0 = vector }
            }
            #[inline(always)]
            unsafe fn add(a: $vector, b: $vector) -> $vector {
                unsafe { $add(a, b) }
            }
            #[inline(always)]
            unsafe fn multiply_add(a: $vector, b: $vector, c: $vector) -> $vector {
                unsafe { $fma(a, b, c) }
            }
            #[inline(always)]
            unsafe fn mask($count: usize) -> $mask {
                $make
            }
            #[inline(always)]
            unsafe fn load_part(from: *const $element, mask: $mask) -> $vector {
                unsafe { $load(from, mask) }
            }
            #[inline(always)]
            unsafe fn store_part(to: *mut $element, mask: $mask, vector: $vector) {
                unsafe { $store(to, mask, vector) }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::*;

    lanes!(
        F32x16, f32, __m512, __mmask16, 16,
        _mm512_setzero_ps, _mm_load_ss, _mm512_broadcastss_ps, _mm512_add_ps, _mm512_fmadd_ps, load_f32x16, store_f32x16,
        mask count if count < 16 { (1 << count) - 1 } else { !0 }
    );
    lanes!(
        F64x8, f64, __m512d, __mmask8, 8,
        _mm512_setzero_pd, _mm_load_sd, _mm512_broadcastsd_pd, _mm512_add_pd, _mm512_fmadd_pd, load_f64x8, store_f64x8,
        mask count if count < 8 { (1 << count) - 1 } else { !0 }
    );
    lanes!(
        F32x8, f32, __m256, __m256i, 8,
        _mm256_setzero_ps, _mm_load_ss, _mm256_broadcastss_ps, _mm256_add_ps, _mm256_fmadd_ps, _mm256_maskload_ps,
        _mm256_maskstore_ps,
        mask count unsafe {
            let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            _mm256_cmpgt_epi32(_mm256_set1_epi32(count.min(8) as i32), lanes)
        }
    );
    lanes!(
        F64x4, f64, __m256d, __m256i, 4,
        _mm256_setzero_pd, _mm_load_sd, _mm256_broadcastsd_pd, _mm256_add_pd, _mm256_fmadd_pd, _mm256_maskload_pd,
        _mm256_maskstore_pd,
        mask count unsafe {
            _mm256_cmpgt_epi64(_mm256_set1_epi64x(count.min(4) as i64), _mm256_setr_epi64x(0, 1, 2, 3))
        }
    );

    #[inline(always)]
    unsafe fn load_f32x16(from: *const f32, mask: __mmask16) -> __m512 {
        unsafe { _mm512_maskz_loadu_ps(mask, from) }
    }
    #[inline(always)]
    unsafe fn store_f32x16(to: *mut f32, mask: __mmask16, vector: __m512) {
        unsafe { _mm512_mask_storeu_ps(to, mask, vector) }
    }
    #[inline(always)]
    unsafe fn load_f64x8(from: *const f64, mask: __mmask8) -> __m512d {
        unsafe { _mm512_maskz_loadu_pd(mask, from) }
    }
    #[inline(always)]
    unsafe fn store_f64x8(to: *mut f64, mask: __mmask8, vector: __m512d) {
        unsafe { _mm512_mask_storeu_pd(to, mask, vector) }
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{F32x8, F32x16, F64x4, F64x8};

/// Four numbers in an array.
pub(super) struct Four<T>(std::marker::PhantomData<T>);

impl<T: Real> Lanes for Four<T> {
    type Element = T;
    type Vector = [T; 4];
    type Mask = usize;
    const WIDTH: usize = 4;

    #[inline(always)]
    unsafe fn zero() -> [T; 4] {
        [T::zero(); 4]
    }
    #[inline(always)]
    unsafe fn splat(from: *const T) -> [T; 4] {
        unsafe { [*from; 4] }
    }
    #[inline(always)]
    unsafe fn load(from: *const T) -> [T; 4] {
        unsafe { (*from.cast::<Unaligned<[T; 4]>>()).0 }
    }
    #[inline(always)]
    unsafe fn store(to: *mut T, vector: [T; 4]) {
        unsafe { (*to.cast::<Unaligned<[T; 4]>>()).0 = vector }
    }
    #[inline(always)]
    unsafe fn add(a: [T; 4], b: [T; 4]) -> [T; 4] {
        std::array::from_fn(|i| a[i] + b[i])
    }
    #[inline(always)]
    unsafe fn multiply_add(a: [T; 4], b: [T; 4], c: [T; 4]) -> [T; 4] {
        // Without the instruction, a fused product is a slow call.
        let fused = cfg!(any(target_arch = "aarch64", target_feature = "fma"));
        std::array::from_fn(|i| if fused { a[i].mul_add(b[i], c[i]) } else { a[i] * b[i] + c[i] })
    }
    #[inline(always)]
    unsafe fn mask(count: usize) -> usize {
        count
    }
    #[inline(always)]
    unsafe fn load_part(from: *const T, mask: usize) -> [T; 4] {
        std::array::from_fn(|i| if i < mask { unsafe { *from.wrapping_add(i) } } else { T::zero() })
    }
    #[inline(always)]
    unsafe fn store_part(to: *mut T, mask: usize, vector: [T; 4]) {
        for (i, value) in vector.into_iter().enumerate().take(mask) {
            unsafe { *to.wrapping_add(i) = value }
        }
    }
}
