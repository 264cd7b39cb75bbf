use super::super::epilogue::Epilogue;
use super::grid::{Grid, WindowAxis};
use crate::graph::{Configuration, Cooperative, DispatchBuilder, Lower, Scalar, Slot, TuningKey};
use crate::tensor::DType;

/// Elements that a scratch buffer may have: kernels count them in 32 bits, and drivers their bytes.
const LARGEST: usize = 1 << 30;

/// What the taps of a window are to a product: looped over, looped over within their phase, or blocks of columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taps {
    Forth = 0,
    Back = 1,
    Across = 2,
}

/// A factor of a product.
#[derive(Clone, Copy, Debug)]
pub(super) struct Factor {
    pub(super) slot: Slot,
    /// Whether the elements of a row lie together, else those of a column.
    pub(super) rows: bool,
    /// Elements from one row (or column) to the next.
    pub(super) stride: usize,
    /// How what lies in memory, as rows of `stride` elements, is laid out before it is used.
    pub(super) gather: Option<Grid>,
}

/// `C[m, n] = sum over taps and k of left[m + tap, k] right[tap, k, n]`
#[derive(Clone, Copy, Debug)]
pub(super) struct Job {
    pub(super) device: Cooperative,
    pub(super) m: usize,
    pub(super) n: usize,
    pub(super) depth: usize,
    pub(super) left: Factor,
    pub(super) right: Factor,
    pub(super) taps: Taps,
    pub(super) window: [WindowAxis; 2],
    /// Elements of the right factor from one tap to the next; columns of a tap if taps lie across.
    pub(super) channels: usize,
    /// What the rows of C are.
    pub(super) output: Grid,
    pub(super) bias: Option<Slot>,
    pub(super) epilogue: Option<Epilogue>,
}

/// How a product is divided.
#[derive(Clone, Copy, Debug)]
struct Division {
    /// Subgroups of a workgroup, down and across, and tiles of a subgroup across (it has four down).
    shape: [usize; 3],
    /// Workgroups down and across.
    groups: [usize; 2],
    /// Rows and columns that these make.
    whole: [usize; 2],
    slabs: usize,
    slab_len: usize,
    /// Whether sums leave through workgroup memory.
    staged: bool,
}

/// Whether a product that can be made cooperatively is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Cooperative,
    Portable,
}

impl Configuration for Way {
    fn name(&self) -> String {
        format!("{self:?}").to_lowercase()
    }

    fn exact(&self) -> bool {
        *self == Way::Portable
    }
}

impl Job {
    /// Adds the dispatches that make `Output(0)`; false, and none added, if sizes do not fit the tiles or the device.
    pub(super) fn lower(mut self, lower: &mut Lower<'_>) -> bool {
        let tile = self.device.size as usize;
        let sizes = [self.n, self.channels, self.left.stride, self.right.stride];
        if sizes.iter().any(|size| !size.is_multiple_of(tile)) {
            return false;
        }
        self.m = self.m.next_multiple_of(tile);
        self.depth = self.depth.next_multiple_of(tile);
        let division = self.divide(tile);
        if !self.fits(lower, &division)
            || lower.choose(self.key(), &[Way::Cooperative, Way::Portable]) == Way::Portable
        {
            return false;
        }
        let left = self.gathered(lower, self.left);
        let right = self.gathered(lower, self.right);
        let bias = self.bias.unwrap_or(self.right.slot);
        let dtype = lower.outputs[0].dtype;
        let (output, sums) =
            (Slot::Output(0), (!division.staged).then(|| lower.scratch(self.sums(&division))));
        let product =
            lower.dispatch("cooperative", "product").read("left_matrix", left).read("right_matrix", right);
        let product = match sums {
            None => product.read("bias", bias).write("output", output),
            Some(sums) => product.write("accumulated", sums),
        };
        let product = self.window_uniforms(self.uniforms(product, &division), &division);
        let [x, y] = division.groups;
        let blocks = self.output.phases() * division.slabs;
        self.variant(product, &division, dtype).workgroups([x as u32, y as u32, blocks as u32]);
        if let Some(sums) = sums {
            let finish = lower.dispatch("cooperative", "finish").read("partials", sums).read("bias", bias);
            let finish = self.uniforms(finish.write("output", output), &division);
            portable(finish, dtype, self.epilogue).over(self.output.phases() * self.m * self.n / 4);
        }
        true
    }

    fn key(&self) -> TuningKey {
        let family = match self.taps {
            Taps::Forth => "cooperative.forward",
            Taps::Back => "cooperative.grad_input",
            Taps::Across => "cooperative.grad_weight",
        };
        let [down, across] = self.window;
        let sizes = [self.m, self.n, self.depth];
        TuningKey { family, dtype: DType::F16, sizes, details: [down.taps * across.taps, down.stride] }
    }

    /// By shape only, so that plans are reproducible.
    fn divide(&self, tile: usize) -> Division {
        let shapes = [[4, 1, 4], [2, 2, 4], [1, 4, 4], [4, 1, 2], [2, 2, 2], [1, 4, 2]];
        let size = |[down, across, wide]: [usize; 3]| [down * 4 * tile, across * wide * tile];
        let count = |shape| {
            let [height, width] = size(shape);
            [self.m.div_ceil(height), self.n.div_ceil(width)]
        };
        let cost = |shape: &[usize; 3]| {
            let [x, y] = count(*shape);
            let [height, width] = size(*shape);
            // What a workgroup multiplies, and what its subgroups load for it: a load of an element costs about as much
            // as 16 multiplications.
            x * y * (height * width + 16 * 4 * tile * (4 + shape[2]))
        };
        let shape = shapes.into_iter().min_by_key(cost).expect("there are shapes");
        let groups = count(shape);
        let whole = [groups[0] * size(shape)[0], groups[1] * size(shape)[1]];
        let parallel = groups[0] * groups[1] * self.output.phases();
        let (slabs, slab_len) = slabs(self.depth, parallel, tile);
        Division { shape, groups, whole, slabs, slab_len, staged: self.device.staged && slabs == 1 }
    }

    /// Elements of the sums in memory.
    fn sums(&self, division: &Division) -> usize {
        self.output.phases() * division.slabs * division.whole[0] * division.whole[1]
    }

    fn fits(&self, lower: &Lower<'_>, division: &Division) -> bool {
        let (tile, capabilities) = (self.device.size as usize, lower.capabilities);
        let [x, y] = division.groups;
        let blocks = self.output.phases() * division.slabs;
        let workgroups =
            [x, y, blocks].into_iter().all(|count| count <= capabilities.max_workgroups as usize);
        let copies = [self.left, self.right].map(|factor| {
            factor.gather.map_or(0, |grid| grid.phases() * grid.stored(tile) * factor.stride / 2)
        });
        let sums = if division.staged { 0 } else { self.sums(division) };
        let limit = capabilities.max_storage_binding.min(capabilities.max_buffer) as usize / 4;
        workgroups && copies.into_iter().chain([sums]).all(|words| words <= limit.min(LARGEST / 2))
    }

    /// The factor as the product takes it: copied, unless it lies in memory like that.
    fn gathered(&self, lower: &mut Lower<'_>, factor: Factor) -> Slot {
        let tile = self.device.size as usize;
        let Some(grid) = factor.gather.filter(|grid| !grid.is_image(tile)) else { return factor.slot };
        let rows = grid.stored(tile);
        let elements = grid.phases() * rows * factor.stride;
        let slot = lower.scratch(elements / 2);
        let gather = lower
            .dispatch("cooperative", "gather")
            .read("input", factor.slot)
            .write("padded", slot)
            .uniforms(&[("rows", rows), ("channels", factor.stride)]);
        portable(with(gather, grid.uniforms()), DType::F16, None).over(elements / 4);
        slot
    }

    /// Sizes of the product and of what its rows are.
    fn uniforms<'l, 'a>(&self, dispatch: Builder<'l, 'a>, division: &Division) -> Builder<'l, 'a> {
        with(dispatch, self.output.uniforms()).uniforms(&[
            ("m", self.m),
            ("n", self.n),
            ("slabs", division.slabs),
            ("partial_m", division.whole[0]),
            ("partial_n", division.whole[1]),
            ("has_bias", usize::from(self.bias.is_some())),
        ])
    }

    /// How the factors are walked.
    fn window_uniforms<'l, 'a>(&self, dispatch: Builder<'l, 'a>, division: &Division) -> Builder<'l, 'a> {
        let shifted = if self.taps == Taps::Across { self.right } else { self.left };
        let shifted = shifted.gather.unwrap_or(self.output);
        let phases = if self.taps == Taps::Back { self.output } else { shifted };
        let [down, across] = self.window;
        dispatch.uniforms(&[
            ("depth", self.depth),
            ("slab_len", division.slab_len),
            ("left_stride", self.left.stride),
            ("right_stride", self.right.stride),
            ("channels", self.channels),
            ("rows", shifted.stored(self.device.size as usize)),
            ("pitch", shifted.w.len),
            ("tap_phases_w", phases.w.phases),
            ("reach_h", shifted.h.reach),
            ("reach_w", shifted.w.reach),
            ("taps_h", down.taps),
            ("taps_w", across.taps),
            ("stride_h", down.stride),
            ("stride_w", across.stride),
            ("dilation_h", down.dilation),
            ("dilation_w", across.dilation),
        ])
    }

    /// What the product is compiled with.
    fn variant<'l, 'a>(
        &self,
        product: Builder<'l, 'a>,
        division: &Division,
        output: DType,
    ) -> Builder<'l, 'a> {
        let [down, across, wide] = division.shape;
        let product = match self.device.size {
            16 => product.snippet("coop_16x16").snippet("coop_tiles"),
            8 => product.snippet("coop_8x8").snippet("coop_tiles"),
            _ => product.snippet("coop_emulated"),
        };
        Epilogue::constants(self.epilogue, product)
            .constant("SUBGROUP", self.device.subgroup)
            .constant("SUBGROUPS_M", down)
            .constant("SUBGROUPS_N", across)
            .constant("FRAGMENTS_N", wide)
            .constant("LEFT_ROWS", self.left.rows)
            .constant("RIGHT_ROWS", self.right.rows)
            .constant("TAPS", self.taps as u32)
            .snippet(if division.staged { "coop_staged" } else { "coop_partial" })
            .stores(output, false)
    }
}

/// Slabs of the depth (split-K): how many, and of what length. By shape only, so that results are reproducible.
fn slabs(depth: usize, parallel: usize, tile: usize) -> (usize, usize) {
    // Enough for some hundred workgroups, none shorter than 256 terms, which cost as much as to store and add up sums.
    let wanted = (512 / parallel.max(1)).clamp(1, 64);
    let slab_len = depth.div_ceil(wanted).max(256).next_multiple_of(tile);
    (depth.div_ceil(slab_len), slab_len)
}

type Builder<'l, 'a> = DispatchBuilder<'l, 'a>;

/// Compiles a dispatch that multiplies nothing in the one variant that every device takes.
fn portable<'l, 'a>(dispatch: Builder<'l, 'a>, output: DType, epilogue: Option<Epilogue>) -> Builder<'l, 'a> {
    Epilogue::constants(epilogue, dispatch)
        .constant("SUBGROUP", 1u32)
        .constant("SUBGROUPS_M", 1u32)
        .constant("SUBGROUPS_N", 1u32)
        .constant("FRAGMENTS_N", 4u32)
        .constant("LEFT_ROWS", true)
        .constant("RIGHT_ROWS", true)
        .constant("TAPS", Taps::Forth as u32)
        .snippet("coop_emulated")
        .snippet("coop_partial")
        .stores(output, false)
}

fn with<'l, 'a>(
    dispatch: Builder<'l, 'a>,
    uniforms: impl IntoIterator<Item = (&'static str, Scalar)>,
) -> Builder<'l, 'a> {
    uniforms.into_iter().fold(dispatch, |dispatch, (name, value)| dispatch.uniform(name, value))
}
