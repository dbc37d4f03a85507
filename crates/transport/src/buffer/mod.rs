//! Where bytes and numbers wait: the leaf data structures of a stream and of a path.
//!
//! They know nothing of packets, keys or time, and each has a bound of its own. All of them run once per packet, so
//! the usual case (in order, nothing missing) is a comparison and an addition.

pub(crate) mod ranges;
pub(crate) mod reassembly;
pub(crate) mod replay;
pub(crate) mod send;

/// The largest value of a varint (RFC 9000 §16), and so of every offset, packet number and key id.
pub(crate) const VARINT_MAX: u64 = (1 << 62) - 1;

#[cfg(test)]
pub(crate) mod testing {
    /// xorshift64*: the same operations for the same seed, on every machine.
    pub(crate) struct Random(u64);

    impl Random {
        pub(crate) fn new(seed: u64) -> Self {
            Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
        }

        pub(crate) fn next(&mut self) -> u64 {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
        }

        /// 0 ≤ result < `bound`.
        pub(crate) fn below(&mut self, bound: u64) -> u64 {
            ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
        }

        pub(crate) fn one_in(&mut self, n: u64) -> bool {
            self.below(n) == 0
        }
    }

    /// The byte every test stream has at `offset`; never 0, so that an erased byte shows.
    pub(crate) fn byte_at(offset: u64) -> u8 {
        (offset.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8 | 1
    }
}
