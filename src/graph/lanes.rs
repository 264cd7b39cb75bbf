pub use pulp::Simd;

/// Numbers side by side, for loops of CPU kernels of which the compiler makes no vectors by itself: those that choose
/// between numbers, and those that keep many sums in registers.
///
/// Nothing is fused: each lane has the bits that the same operations give for single numbers.
pub trait Lanes: Copy {
    /// As many numbers as the machine handles together.
    type Vector<S: Simd>: Copy;
    /// A choice for each of them.
    type Mask<S: Simd>: Copy;

    /// Numbers in a vector.
    fn width<S: Simd>() -> usize;
    /// A vector of equal numbers.
    fn splat<S: Simd>(simd: S, value: Self) -> Self::Vector<S>;
    /// The first elements; behind the last one zeros.
    fn load<S: Simd>(simd: S, from: &[Self]) -> Self::Vector<S>;
    /// Writes a vector, or as many of its elements as there is room for.
    fn store<S: Simd>(simd: S, to: &mut [Self], vector: Self::Vector<S>);
    /// a + b
    fn plus<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    /// a - b
    fn minus<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    /// a b
    fn times<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    /// a / b
    fn over<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    /// Where a > b, or a is NaN.
    fn wins<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Mask<S>;
    /// Where a = b.
    fn equals<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Mask<S>;
    /// `a` where the mask is set, elsewhere `b`.
    fn select<S: Simd>(
        simd: S,
        mask: Self::Mask<S>,
        a: Self::Vector<S>,
        b: Self::Vector<S>,
    ) -> Self::Vector<S>;
}

/// `$element` by the functions of `pulp` with these names.
macro_rules! lanes {
    (
        $element:ty, $vector:ident, $mask:ident, $width:ident, $splat:ident, $load:ident, $store:ident, $add:ident, $sub:ident,
        $mul:ident, $div:ident, $greater:ident, $equal:ident, $not:ident, $or:ident, $select:ident
    ) => {
        impl Lanes for $element {
            type Vector<S: Simd> = S::$vector;
            type Mask<S: Simd> = S::$mask;

            #[inline(always)]
            fn width<S: Simd>() -> usize {
                S::$width
            }
            #[inline(always)]
            fn splat<S: Simd>(simd: S, value: $element) -> S::$vector {
                simd.$splat(value)
            }
            #[inline(always)]
            fn load<S: Simd>(simd: S, from: &[$element]) -> S::$vector {
                match from.get(..S::$width) {
                    Some(all) => bytemuck::pod_read_unaligned(bytemuck::cast_slice(all)),
                    None => simd.$load(from),
                }
            }
            #[inline(always)]
            fn store<S: Simd>(simd: S, to: &mut [$element], vector: S::$vector) {
                match to.get_mut(..S::$width) {
                    Some(all) => all.copy_from_slice(bytemuck::cast_slice(std::slice::from_ref(&vector))),
                    None => simd.$store(to, vector),
                }
            }
            #[inline(always)]
            fn plus<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$add(a, b)
            }
            #[inline(always)]
            fn minus<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$sub(a, b)
            }
            #[inline(always)]
            fn times<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$mul(a, b)
            }
            #[inline(always)]
            fn over<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$div(a, b)
            }
            #[inline(always)]
            fn wins<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$mask {
                simd.$or(simd.$greater(a, b), simd.$not(simd.$equal(a, a)))
            }
            #[inline(always)]
            fn equals<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$mask {
                simd.$equal(a, b)
            }
            #[inline(always)]
            fn select<S: Simd>(simd: S, mask: S::$mask, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$select(mask, a, b)
            }
        }
    };
}

lanes!(
    f32,
    f32s,
    m32s,
    F32_LANES,
    splat_f32s,
    partial_load_f32s,
    partial_store_f32s,
    add_f32s,
    sub_f32s,
    mul_f32s,
    div_f32s,
    greater_than_f32s,
    equal_f32s,
    not_m32s,
    or_m32s,
    select_f32s
);
lanes!(
    f64,
    f64s,
    m64s,
    F64_LANES,
    splat_f64s,
    partial_load_f64s,
    partial_store_f64s,
    add_f64s,
    sub_f64s,
    mul_f64s,
    div_f64s,
    greater_than_f64s,
    equal_f64s,
    not_m64s,
    or_m64s,
    select_f64s
);
