//! When a receiver acknowledges: at once what the sender waits for, the rest up to 16 times a round trip.
//!
//! RFC 9000 §13.2.1 asks for an ACK at least every second packet and leaves more to the receiver; dcQUIC's receivers send one per
//! batch they read, which on a slow way back is one per packet. At once, therefore, whenever it is a sixteenth of a round trip since the
//! last one (a lone packet, a slow flow), and whatever says more than "goes on": reordering and the packets after a gap, until
//! the sender can count three of them (RFC 9002 §6.1.1), a CE mark (RFC 9000 §13.2.1), a probe or a retransmission, the end, new credit.
//! Otherwise when the sixteenth is over, or nothing has come for a millisecond: PTOs leave no less room (RFC 9002 §6.1.2,
//! kGranularity), and neither upstream's senders nor ours add a max_ack_delay.

use crate::{config::MS, transmission::Space};

/// Acknowledgements a round trip. With one per packet, 100 Mbit/s with 1 Mbit/s back come to 24 % of the rate; with 16 or 8 to 86 and
/// 85 % (one seed). BBR's startup sees later that the path is full: medians of 12 seeds of `sim`'s named paths with 16 are 0 to 1 %
/// longer where packets are lost and 4 % on "shallow". Eight was looked at with one seed: 8 % on "shallow" and "100m-40ms-loss1".
const PER_RTT: u64 = 16;
/// RFC 9000 §18.2, max_ack_delay by default: none is held back longer.
const MAX_DELAY_NS: u64 = 25 * MS;
/// Nothing new for this long, and it leaves.
const QUIET_NS: u64 = MS;
/// RFC 9002 §6.1.1, kPacketThreshold: so many packets after a gap show the sender what is lost.
const AFTER_GAP: u8 = 3;

#[derive(Debug, Default)]
pub(crate) struct Eagerness {
    /// One above the largest number of the stream space.
    expected: u64,
    /// So many packets more are acknowledged at once.
    left: u8,
    now: bool,
    newest_ns: u64,
    acknowledged_ns: u64,
    /// A timer stands for the deadline that was known then.
    pub(crate) armed: bool,
}

impl Eagerness {
    /// A packet to be acknowledged; `matters`: it says more than that the stream goes on.
    pub(crate) fn on_packet(&mut self, space: Space, number: u64, matters: bool, now_ns: u64) {
        self.newest_ns = now_ns;
        if space == Space::Recovery || matters {
            self.now = true;
            return;
        }
        if number != self.expected {
            self.left = AFTER_GAP;
        }
        self.expected = self.expected.max(number.saturating_add(1));
        self.now |= self.left > 0;
        self.left = self.left.saturating_sub(1);
    }

    /// The peer waits for what is to be told.
    pub(crate) fn hurry(&mut self) {
        self.now = true;
    }

    /// Until when it may wait, if it may; `rtt_ns` as far as it is known.
    pub(crate) fn waits_until(&self, now_ns: u64, rtt_ns: Option<u64>) -> Option<u64> {
        let delay_ns = (rtt_ns? / PER_RTT).min(MAX_DELAY_NS);
        let quiet_ns = self.newest_ns.saturating_add(QUIET_NS);
        let at_ns = self.acknowledged_ns.saturating_add(delay_ns).min(quiet_ns);
        (!self.now && at_ns > now_ns).then_some(at_ns)
    }

    /// Everything has been told.
    pub(crate) fn on_acknowledged(&mut self, now_ns: u64) {
        self.now = false;
        self.acknowledged_ns = now_ns;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Option<u64> = Some(80 * MS);

    /// In order up to number 9, and acknowledged at 100 ms.
    fn in_its_stride() -> Eagerness {
        let mut eagerness = Eagerness::default();
        for number in 0..10 {
            eagerness.on_packet(Space::Stream, number, false, 100 * MS);
        }
        eagerness.on_acknowledged(100 * MS);
        eagerness
    }

    fn after(number: u64, at_ns: u64) -> Eagerness {
        let mut eagerness = in_its_stride();
        eagerness.on_packet(Space::Stream, number, false, at_ns);
        eagerness
    }

    #[test]
    fn a_sixteenth_of_a_round_trip_or_a_quiet_millisecond() {
        assert_eq!(after(10, 101 * MS).waits_until(101 * MS, RTT), Some(102 * MS), "quiet");
        assert_eq!(after(10, 104 * MS + 1).waits_until(104 * MS + 1, RTT), Some(105 * MS), "a sixteenth");
        assert_eq!(
            after(10, 105 * MS).waits_until(105 * MS, RTT),
            None,
            "a slow flow has every packet acknowledged"
        );
        assert_eq!(after(10, 101 * MS).waits_until(101 * MS, None), None, "before there is a round trip");
        assert_eq!(after(10, 125 * MS).waits_until(125 * MS, Some(600 * MS)), None, "25 ms at most");
        assert_eq!(after(10, 124 * MS + 1).waits_until(124 * MS + 1, Some(600 * MS)), Some(125 * MS));
    }

    #[test]
    fn what_the_sender_waits_for_does_not_wait() {
        let at = 101 * MS;
        let mut eagerness = in_its_stride();
        eagerness.on_packet(Space::Recovery, 0, false, at);
        assert_eq!(eagerness.waits_until(at, RTT), None, "a retransmission or a probe");
        let mut eagerness = in_its_stride();
        eagerness.on_packet(Space::Stream, 10, true, at);
        assert_eq!(eagerness.waits_until(at, RTT), None, "FIN, CE");
        let mut eagerness = after(10, at);
        eagerness.hurry();
        assert_eq!(eagerness.waits_until(at, RTT), None, "credit");
        eagerness.on_acknowledged(at);
        eagerness.on_packet(Space::Stream, 11, false, at);
        assert!(eagerness.waits_until(at, RTT).is_some(), "all said");
    }

    #[test]
    fn three_packets_after_a_gap_and_each_that_was_overtaken() {
        let at = 101 * MS;
        let mut eagerness = in_its_stride();
        for (number, waits) in
            [(11, false), (12, false), (13, false), (14, true), (10, false), (15, false), (17, false)]
        {
            eagerness.on_packet(Space::Stream, number, false, at);
            assert_eq!(eagerness.waits_until(at, RTT).is_some(), waits, "{number}");
            eagerness.on_acknowledged(at);
        }
    }
}
