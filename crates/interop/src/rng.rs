//! Numbers from a seed.

/// splitmix64 (Steele, Lea, Flood 2014): enough for tests, and the same everywhere.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// From a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 bits.
    pub const fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `n`, which is not 0.
    pub const fn below(&mut self, n: u64) -> u64 {
        self.bits() % n
    }

    /// True once in `n`.
    pub const fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// Some value once in `n`.
    pub fn sometimes<T>(&mut self, n: u64, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.one_in(n).then(|| make(self))
    }

    /// Fills with random bytes.
    pub fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            chunk.copy_from_slice(&self.bits().to_le_bytes()[..chunk.len()]);
        }
    }

    /// Random bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.fill(&mut bytes);
        bytes
    }

    /// A varint of any width, at most `max`; every other one is at an edge of a width.
    pub fn varint(&mut self, max: u64) -> u64 {
        let top = [6, 14, 30, 62][self.below(4) as usize];
        let limit = ((1u64 << top) - 1).min(max);
        match self.below(4) {
            0 => limit,
            1 => limit.saturating_sub(1).max(1).min(max),
            _ => self.bits() & limit,
        }
        .min(max)
    }
}
