//! The unit of order.

const TICK_BITS: u32 = 10;

/// Values whose times round up to the same multiple of this leave in the order of their insertion, in ns.
pub const TICK_NS: u64 = 1 << TICK_BITS;

/// The last tick that nine levels of 6 bits can name. Times that round up beyond it, the last 1023 ns of the 64 bits,
/// share it: that merges two ticks' order and makes nothing early, because a value's own time says when it is due.
const LAST: u64 = u64::MAX >> TICK_BITS;

/// The tick a time belongs to.
pub(crate) const fn of(at_ns: u64) -> u64 {
    let tick = at_ns.div_ceil(TICK_NS);
    if tick > LAST { LAST } else { tick }
}

/// The tick that is running at a time: no value that is inserted for this time or later belongs to an earlier one.
pub(crate) const fn running(now_ns: u64) -> u64 {
    now_ns >> TICK_BITS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_up_and_stays_within_the_levels() {
        assert_eq!([of(0), of(1), of(TICK_NS), of(TICK_NS + 1)], [0, 1, 1, 2]);
        assert_eq!(of(u64::MAX), LAST);
        assert_eq!(of(LAST * TICK_NS), LAST);
        assert_eq!(of(LAST * TICK_NS - TICK_NS), LAST - 1);
    }
}
