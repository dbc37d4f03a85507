//! What the crate promises, shown. Inside the crate, so that a test can turn a remedy off and see what it was for.

mod figures;
mod link;
mod pacing;
mod traps;

/// xorshift64* (Marsaglia, Vigna): repeatable noise for tests.
#[derive(Clone, Debug)]
pub(crate) struct Noise(u64);

impl Noise {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Uniform in `0..bound`, near enough.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 11) % bound.max(1)
    }

    /// True `ppm` times in a million.
    pub(crate) fn happens(&mut self, ppm: u64) -> bool {
        self.below(1_000_000) < ppm
    }
}
