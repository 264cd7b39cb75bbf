//! Loops compiled for the widest vectors of the machine they run on.

/// Runs `work` as it is compiled for this machine's vectors. It must be small enough to be inlined, with all that it
/// calls. Nothing is fused or reordered, so its results are those of the same loops without vectors.
#[inline(always)]
pub(crate) fn vectorised<R>(work: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(work)
}

/// The same for a function that is marked `#[inline(always)]`, as is what it calls: the compiler does not inline large
/// closures, and what is not inlined is compiled without vectors (a depthwise convolution took 15 times as long).
#[inline(always)]
pub(crate) fn vectorised_call<A, R>(work: impl FnOnce(A) -> R, arguments: A) -> R {
    pulp::Arch::new().dispatch(Call { work, arguments })
}

struct Call<F, A> {
    work: F,
    arguments: A,
}

impl<A, R, F: FnOnce(A) -> R> pulp::NullaryFnOnce for Call<F, A> {
    type Output = R;

    #[inline(always)]
    fn call(self) -> R {
        (self.work)(self.arguments)
    }
}
