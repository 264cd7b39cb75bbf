//! Counter-based random numbers: what is drawn depends on a key and a counter, never on what was drawn before, so that
//! micro-batches, fusion, layouts, threads and resume do not change it. `shaders/shared/random.wgsl` is the same
//! function on the device.

use std::convert::Infallible;

use rand::rand_core::TryRng;

/// What a random number is for; part of its key, so that purposes never share numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Purpose {
    /// Initial values of parameters.
    Init = 1,
    /// The order of samples in an epoch.
    Shuffle = 2,
    /// Which samples go to the test split.
    Split = 3,
    /// Dropout masks.
    Dropout = 4,
    /// Test data.
    Sample = 5,
    /// Augmentation of samples.
    Augment = 6,
    /// Mixing of samples.
    Mix = 7,
}

/// The hash `pcg4d` of Jarzynski and Olano, "Hash Functions for GPU Rendering" (JCGT 2020).
pub fn pcg4d(v: [u32; 4]) -> [u32; 4] {
    let [mut x, mut y, mut z, mut w] = v.map(|e| e.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
    let mut mix = || {
        x = x.wrapping_add(y.wrapping_mul(w));
        y = y.wrapping_add(z.wrapping_mul(x));
        z = z.wrapping_add(x.wrapping_mul(y));
        w = w.wrapping_add(y.wrapping_mul(z));
    };
    mix();
    for e in [&mut x, &mut y, &mut z, &mut w] {
        *e ^= *e >> 16;
    }
    let mut mix = || {
        x = x.wrapping_add(y.wrapping_mul(w));
        y = y.wrapping_add(z.wrapping_mul(x));
        z = z.wrapping_add(x.wrapping_mul(y));
        w = w.wrapping_add(y.wrapping_mul(z));
    };
    mix();
    [x, y, z, w]
}

/// A uniform number in [0, 1) from the upper 24 bits; exact in f32.
pub fn unit_f32(bits: u32) -> f32 {
    (bits >> 8) as f32 * (1.0 / 16_777_216.0)
}

/// A stream of random numbers for `rand`'s traits: the key names seed, purpose, a name and an index (epoch, step, ...);
/// the counter runs.
#[derive(Clone, Debug)]
pub struct CounterRng {
    key: [u32; 3],
    counter: u32,
    block: [u32; 4],
}

impl CounterRng {
    /// The stream for `(seed, purpose, name, index)`.
    pub fn new(seed: u64, purpose: Purpose, name: &str, index: u32) -> CounterRng {
        let [a, b, c, _] = pcg4d([seed as u32, (seed >> 32) as u32, Self::key_of(purpose, name), index]);
        CounterRng { key: [a, b, c], counter: 0, block: [0; 4] }
    }

    /// The stream for `(seed, purpose, pair)`, such as an epoch and a sample.
    pub fn of_pair(seed: u64, purpose: Purpose, [first, second]: [u32; 2]) -> CounterRng {
        let CounterRng { key: [a, b, c], .. } = CounterRng::new(seed, purpose, "", first);
        let [a, b, c, _] = pcg4d([second, a, b, c]);
        CounterRng { key: [a, b, c], counter: 0, block: [0; 4] }
    }

    /// One word that stands for a purpose and a node's name: FNV-1a over the name, started from the purpose.
    pub fn key_of(purpose: Purpose, name: &str) -> u32 {
        let start = 0x811c_9dc5_u32 ^ (purpose as u32).wrapping_mul(0x9e37_79b9);
        name.bytes().fold(start, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
    }
}

impl TryRng for CounterRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let lane = (self.counter % 4) as usize;
        if lane == 0 {
            let [a, b, c] = self.key;
            self.block = pcg4d([self.counter / 4, a, b, c]);
        }
        self.counter = self.counter.wrapping_add(1);
        Ok(self.block[lane])
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let low = u64::from(self.try_next_u32()?);
        Ok(low | u64::from(self.try_next_u32()?) << 32)
    }

    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Infallible> {
        for chunk in dst.chunks_mut(4) {
            let word = self.try_next_u32()?.to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
        Ok(())
    }
}
