/// Runs `work` as it is compiled for this machine's vectors. It must be small enough to be inlined, with all that it
/// calls. Nothing is fused or reordered, so its results are those of the same loops without vectors.
#[inline(always)]
pub(crate) fn vectorised<R>(work: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(work)
}
