//! Colouring of lifetimes: values that do not live at once share memory.

/// Shaders read and write four f32 at a time: buffers, and what is bound of them, are multiples of 16 bytes.
pub const BINDING_UNIT: u64 = 16;

/// When a value needs memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lifetime {
    /// Its size.
    pub(crate) bytes: u64,
    /// The node that writes it.
    pub(crate) first: usize,
    /// The last node that reads it; `usize::MAX` if it is read after the run.
    pub(crate) last: usize,
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
pub(crate) fn colour(lifetimes: &[Lifetime]) -> (Vec<usize>, Vec<u64>) {
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
}
