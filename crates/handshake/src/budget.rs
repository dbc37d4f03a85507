//! How often something may be done: token buckets, and the gap between two replies to the same key.

use crate::config::{REPLY_GAP_NS, REPLY_SLOTS};
use std::fmt;

/// One token in the bucket's unit. A rate per second is the same number of billionths per ns, so that refilling is exact.
const TOKEN: u64 = 1_000_000_000;

/// Token bucket.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    per_second: u64,
    capacity: u64,
    credit: u64,
    at_ns: u64,
}

impl Budget {
    /// Full at first. `burst` tokens at most are kept.
    pub(crate) fn new(per_second: u32, burst: u32, now_ns: u64) -> Self {
        let capacity = u64::from(burst).saturating_mul(TOKEN);
        Self { per_second: per_second.into(), capacity, credit: capacity, at_ns: now_ns }
    }

    /// Takes a token if there is one.
    pub(crate) fn take(&mut self, now_ns: u64) -> bool {
        let earned = now_ns.saturating_sub(self.at_ns).saturating_mul(self.per_second);
        self.at_ns = self.at_ns.max(now_ns);
        self.credit = self.credit.saturating_add(earned).min(self.capacity);
        match self.credit.checked_sub(TOKEN) {
            Some(rest) => {
                self.credit = rest;
                true
            }
            None => false,
        }
    }
}

/// When a public key was answered last, in fixed memory. Two keys that share a slot cost at most a missed gap.
pub(crate) struct ReplyGap {
    /// First 8 bytes of the key, and the time + 1 ns (0: never). Zeroed, so that the pages cost nothing until used.
    slots: Box<[[u64; 2]]>,
}

impl ReplyGap {
    pub(crate) fn new() -> Self {
        Self { slots: vec![[0; 2]; REPLY_SLOTS].into_boxed_slice() }
    }

    /// The slot of a public key, if that key was not answered within the gap; `answered` marks it.
    pub(crate) fn slot(&mut self, now_ns: u64, public_key: &[u8; 32]) -> Option<ReplySlot<'_>> {
        let name = u64::from_le_bytes(crate::bytes::take::<0, 8, _>(public_key));
        let slots = u64::try_from(REPLY_SLOTS).unwrap_or(1);
        let index = usize::try_from(name.checked_rem(slots)?).ok()?;
        let slot = self.slots.get_mut(index)?;
        let [last, at_ns] = *slot;
        let too_soon =
            at_ns != 0 && last == name && now_ns.saturating_sub(at_ns.saturating_sub(1)) < REPLY_GAP_NS;
        (!too_soon).then_some(ReplySlot { slot, name })
    }
}

impl fmt::Debug for ReplyGap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplyGap").finish_non_exhaustive()
    }
}

/// Leave to answer.
pub(crate) struct ReplySlot<'a> {
    slot: &'a mut [u64; 2],
    name: u64,
}

impl ReplySlot<'_> {
    pub(crate) fn answered(self, now_ns: u64) {
        *self.slot = [self.name, now_ns.saturating_add(1)];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn burst_then_rate() {
        let mut budget = Budget::new(64, 64, 5);
        assert_eq!((0..1000).filter(|_| budget.take(5)).count(), 64);
        // One second in odd steps: exactly the rate, nothing lost to rounding.
        let taken = (1..=1_000_003u64).filter(|i| budget.take(5 + i * TOKEN / 1_000_003)).count();
        assert_eq!(taken, 64);
        // Never more than the burst, whatever the pause; never backwards.
        assert_eq!((0..1000).filter(|_| budget.take(u64::MAX)).count(), 64);
        assert!(!budget.take(0));
    }

    #[test]
    fn zero_budget_gives_nothing() {
        let mut budget = Budget::new(0, 0, 0);
        assert!((0..100).all(|i| !budget.take(i * TOKEN)));
    }

    #[test]
    fn the_same_key_waits() {
        let mut gap = ReplyGap::new();
        let (key, mut other) = ([0; 32], [0; 32]);
        other[0] = 1;
        gap.slot(0, &key).unwrap().answered(0);
        assert!(gap.slot(REPLY_GAP_NS - 1, &key).is_none());
        assert!(gap.slot(1, &other).is_some());
        assert!(gap.slot(REPLY_GAP_NS, &key).is_some());
    }
}
