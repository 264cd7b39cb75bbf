//! Colouring of lifetimes: buffers whose lifetimes do not overlap share memory.

/// Shaders read and write four f32 at a time: buffers, and what is bound of them, are multiples of 16 bytes.
pub const BINDING_UNIT: u64 = 16;

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
