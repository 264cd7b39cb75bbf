//! Colouring of lifetimes: values that do not live at once share memory.

/// Shaders read and write four f32 at a time: buffers, and what is bound of them, are multiples of 16 bytes.
pub const BINDING_UNIT: u64 = 16;

/// When a value needs memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lifetime {
    /// Its size.
    pub(super) bytes: u64,
    /// The node that writes it.
    pub(super) first: usize,
    /// The last node that reads it; `usize::MAX` if it is read after the run.
    pub(super) last: usize,
}

impl Lifetime {
    fn overlaps(&self, other: &Lifetime) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// A buffer for each lifetime, and the buffers' sizes, largest first.
///
/// A buffer holds one value at a time, so no dispatch reads and writes one. The largest value chooses first, and each
/// takes the smallest buffer that is free while it lives: all there are, were made for larger values. Sharing one buffer
/// by offsets could save a few percent more (docs/rejected.md) and would cost barriers, which are per buffer.
pub(super) fn colour(lifetimes: &[Lifetime]) -> (Vec<usize>, Vec<u64>) {
    let mut order: Vec<usize> = (0..lifetimes.len()).collect();
    order.sort_by_key(|&index| (std::cmp::Reverse(lifetimes[index].bytes), lifetimes[index].first));
    let mut buffers: Vec<Vec<Lifetime>> = vec![];
    let mut sizes: Vec<u64> = vec![];
    let mut chosen = vec![0; lifetimes.len()];
    for index in order {
        let lifetime = lifetimes[index];
        let free = |held: &Vec<Lifetime>| !held.iter().any(|other| other.overlaps(&lifetime));
        let buffer = buffers.iter().rposition(free).unwrap_or_else(|| {
            buffers.push(vec![]);
            sizes.push(lifetime.bytes.next_multiple_of(BINDING_UNIT));
            buffers.len() - 1
        });
        buffers[buffer].push(lifetime);
        chosen[index] = buffer;
    }
    (chosen, sizes)
}

/// Hands out reusable buffers; each holds one value at a time, so that no dispatch ever reads and writes one buffer.
#[derive(Debug, Default)]
pub(crate) struct Colours {
    /// Bytes of each buffer: the largest value it ever held.
    pub(crate) sizes: Vec<u64>,
    free: Vec<usize>,
}

impl Colours {
    /// The smallest free buffer that is large enough; else the largest free one, grown; else a new one.
    pub(crate) fn take(&mut self, bytes: u64) -> usize {
        let bytes = bytes.next_multiple_of(BINDING_UNIT);
        let fits =
            self.free.iter().copied().filter(|&c| self.sizes[c] >= bytes).min_by_key(|&c| self.sizes[c]);
        let grown = || self.free.iter().copied().max_by_key(|&c| self.sizes[c]);
        let Some(colour) = fits.or_else(grown) else {
            self.sizes.push(bytes);
            return self.sizes.len() - 1;
        };
        self.free.retain(|&c| c != colour);
        self.sizes[colour] = self.sizes[colour].max(bytes);
        colour
    }

    /// Gives a buffer back once its value is dead.
    pub(crate) fn release(&mut self, colour: usize) {
        debug_assert!(!self.free.contains(&colour), "buffer {colour} was released twice");
        self.free.push(colour);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_do_not_live_at_once_share_a_buffer() {
        let lifetimes = [(100, 0, 1), (400, 1, 2), (80, 2, 3), (500, 3, 4), (16, 4, usize::MAX)]
            .map(|(bytes, first, last)| Lifetime { bytes, first, last });
        let (chosen, sizes) = colour(&lifetimes);
        assert_eq!(
            sizes,
            [512, 112],
            "the largest value, and the largest that lives beside one of its buffer"
        );
        assert_eq!(chosen, [1, 0, 1, 0, 1], "the smallest buffer that is free");
    }

    #[test]
    fn dead_buffers_are_reused_and_grown() {
        let mut colours = Colours::default();
        let (a, b) = (colours.take(100), colours.take(400));
        assert_ne!(a, b);
        colours.release(a);
        colours.release(b);
        assert_eq!(colours.take(80), a, "the smallest that fits");
        assert_eq!(colours.take(500), b, "the largest, grown");
        assert_eq!(colours.sizes, [112, 512]);
    }
}
