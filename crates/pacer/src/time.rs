//! From the caller's nanoseconds to s2n-quic-core's timestamps: never backwards, and fixed-point spans for pacing.

use core::time::Duration;
use s2n_quic_core::time::{Clock as _, NoopClock, Timestamp};

/// One millisecond in ns.
pub(crate) const MS: u64 = 1_000_000;
/// One second in ns.
pub(crate) const SECOND: u64 = 1_000 * MS;

/// The timestamp of a time on the caller's clock. s2n-quic-core counts microseconds from 1, and `NoopClock` is the
/// safe way to its epoch.
pub(crate) fn timestamp(ns: u64) -> Timestamp {
    NoopClock.get_time() + Duration::from_nanos(ns)
}

/// Two times that never decrease, because s2n-quic-core panics on a negative difference, in release builds too.
///
/// Send times may lie before acknowledgement times (a completion of another stream comes late), so they are kept
/// apart: nothing inside subtracts an acknowledgement's time from a send time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Monotone {
    sent_ns: u64,
    now_ns: u64,
}

impl Monotone {
    /// A send time, not before any earlier one.
    pub(crate) fn sent(&mut self, ns: u64) -> u64 {
        self.sent_ns = self.sent_ns.max(ns);
        self.sent_ns
    }

    /// The time of an event, not before any earlier one nor before any send.
    pub(crate) fn now(&mut self, ns: u64) -> u64 {
        self.now_ns = self.now_ns.max(ns).max(self.sent_ns);
        self.now_ns
    }

    /// The latest send time.
    pub(crate) fn last_sent(&self) -> u64 {
        self.sent_ns
    }
}

/// A time or span in units of 2^-32 ns, so that a sum of intervals is exact over days at any rate: whole nanoseconds
/// would lose up to 0.1 % at the 1 µs floor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fine(u128);

impl Fine {
    const SHIFT: u32 = 32;

    pub(crate) const fn from_ns(ns: u64) -> Self {
        Self((ns as u128) << Self::SHIFT)
    }

    /// How long `bytes` take at `rate`. Cannot overflow: 64 bits of bytes, 30 of ns a second and 32 of fraction are
    /// 126.
    pub(crate) const fn of(bytes: u64, rate: u64) -> Self {
        let rate = if rate == 0 { 1 } else { rate };
        Self(((bytes as u128 * SECOND as u128) << Self::SHIFT) / rate as u128)
    }

    /// Rounded up, so that a departure is never early; saturates at the end of the clock.
    pub(crate) fn ceil_ns(self) -> u64 {
        let whole = self.0 >> Self::SHIFT;
        let part = u128::from(self.0 & ((1 << Self::SHIFT) - 1) != 0);
        u64::try_from(whole + part).unwrap_or(u64::MAX)
    }

    pub(crate) fn plus(self, span: Self) -> Self {
        // The end of the caller's clock, 584 years on, is the end of ours.
        Self(self.0.saturating_add(span.0)).min(Self::from_ns(u64::MAX))
    }

    pub(crate) fn minus(self, span: Self) -> Self {
        Self(self.0.saturating_sub(span.0))
    }
}
