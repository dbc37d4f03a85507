//! The rate cap of a whole endpoint.

use crate::time::SECOND;

/// Tokens of one byte each, filled at a rate up to a burst.
///
/// Counted in bytes × 10⁻⁹, which is what a rate in bytes per second fills in a nanosecond: nothing is ever rounded.
/// `i128` holds 64 bits of bytes, 30 of fraction, and a sign.
#[derive(Clone, Debug)]
pub struct TokenBucket {
    rate: u64,
    burst: i128,
    level: i128,
    filled_ns: u64,
}

const BYTE: i128 = SECOND as i128;
/// Far beyond any network, and 64 bits of ns times 62 of rate fit into `i128`.
const MAX_RATE: u64 = 1 << 62;

impl TokenBucket {
    /// A full bucket. `rate` in bytes per second, `burst` in bytes; 0 counts as 1 in both.
    pub fn new(rate: u64, burst: u64, now_ns: u64) -> Self {
        let burst = i128::from(burst.max(1)) * BYTE;
        Self { rate: rate.clamp(1, MAX_RATE), burst, level: burst, filled_ns: now_ns }
    }

    /// Takes `bytes`. What is larger than the whole burst leaves when the bucket is full, and puts it into debt.
    ///
    /// # Errors
    /// When to ask again, ns. Nothing was taken.
    pub fn take(&mut self, now_ns: u64, bytes: u64) -> Result<(), u64> {
        self.fill(now_ns);
        let wanted = i128::from(bytes) * BYTE;
        let missing = wanted.min(self.burst) - self.level;
        if missing > 0 {
            let rate = i128::from(self.rate);
            let wait_ns = u64::try_from((missing + rate - 1) / rate).unwrap_or(u64::MAX);
            // From the last filling: the bucket's clock does not step back with the caller's.
            return Err(self.filled_ns.saturating_add(wait_ns));
        }
        self.level -= wanted;
        Ok(())
    }

    /// Gives back `bytes` that were taken and did not leave.
    pub fn refund(&mut self, bytes: u64) {
        self.level = (self.level + i128::from(bytes) * BYTE).min(self.burst);
    }

    /// Changes the rate, bytes per second; what was filled until `now_ns` stays.
    pub fn set_rate(&mut self, now_ns: u64, rate: u64) {
        self.fill(now_ns);
        self.rate = rate.clamp(1, MAX_RATE);
    }

    fn fill(&mut self, now_ns: u64) {
        let elapsed = now_ns.saturating_sub(self.filled_ns);
        self.filled_ns += elapsed;
        self.level = (self.level + i128::from(elapsed) * i128::from(self.rate)).min(self.burst);
    }
}
