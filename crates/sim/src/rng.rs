//! The one source of randomness of a world: SplitMix64 (Steele, Lea, Flood 2014).

use paceline_transport::handshake::Secret;
use std::sync::Arc;

/// Yields the same numbers for the same seed, on every machine.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// Any seed will do.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A generator of its own, so that drawing more in one place does not shift another.
    pub fn fork(&mut self) -> Self {
        Self(self.next_u64())
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform below `bound`; 0 for 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// True with a probability in parts per million.
    pub fn chance_ppm(&mut self, ppm: u32) -> bool {
        ppm > 0 && self.below(1_000_000) < u64::from(ppm)
    }

    /// A secret for two nodes, as their configurations want it.
    pub fn secrets(&mut self) -> Arc<[Secret]> {
        let mut bytes = [0; 32];
        self.fill(&mut bytes);
        Secret::new(&bytes).into_iter().collect()
    }

    /// Fills `out`.
    pub fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            let bytes = self.next_u64().to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }
}
