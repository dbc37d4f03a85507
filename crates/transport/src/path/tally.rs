//! What a path counts, where it happens.

use crate::{
    config::SECOND,
    stats::{Lateness, Segments, Trains},
    transmission::Transmission,
};

/// Counters of a path since it was made. [`PathStats`](crate::stats::PathStats) says what each is.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) sent: u64,
    pub(crate) packets_sent: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) packets_received: u64,
    pub(crate) bytes_received: u64,
    pub(crate) bytes_acknowledged: u64,
    pub(crate) packets_lost: u64,
    pub(crate) bytes_lost: u64,
    pub(crate) packets_spuriously_lost: u64,
    pub(crate) packets_retransmitted: u64,
    pub(crate) bytes_retransmitted: u64,
    pub(crate) persistent_congestions: u64,
    pub(crate) probe_timeouts: u64,
    pub(crate) ecn_ce_reported: u64,
    pub(crate) departure_error_ns: Lateness,
    pub(crate) trains: Trains,
    pub(crate) segments: Segments,
    train: Train,
}

/// The newest packets that left back to back.
#[derive(Debug, Default)]
struct Train {
    packets: u64,
    /// What leaves before this time belongs to it, ns.
    until_ns: u64,
}

impl Train {
    /// A burst has left. Returns the length of the train that ended before it, in packets.
    fn on_sent(&mut self, at_ns: u64, packets: u64, bytes: u64, rate: u64) -> Option<u64> {
        let ended = (at_ns >= self.until_ns && self.packets > 0).then_some(self.packets);
        self.packets = if ended.is_some() { packets } else { self.packets.saturating_add(packets) };
        // Half of its time: paced bursts follow each other in the whole of it, late ones in none.
        let paced_ns = bytes.saturating_mul(SECOND / 2).checked_div(rate).unwrap_or(0);
        self.until_ns = at_ns.saturating_add(paced_ns);
        ended
    }
}

impl Tally {
    /// A transmission of stream data has left. Returns the length of the train that ended before it, in packets.
    pub(crate) fn on_sent(&mut self, transmission: &Transmission, at_ns: u64, rate: u64) -> Option<u64> {
        let packets = transmission.infos.len() as u64;
        let bytes = transmission.segments.total_len() as u64;
        self.sent = self.sent.saturating_add(1);
        self.packets_sent = self.packets_sent.saturating_add(packets);
        self.bytes_sent = self.bytes_sent.saturating_add(bytes);
        self.departure_error_ns.record(at_ns.saturating_sub(transmission.scheduled_ns));
        self.segments.record(packets);
        let ended = self.train.on_sent(at_ns, packets, bytes, rate);
        if let Some(packets) = ended {
            self.trains.record(packets);
        }
        ended
    }

    pub(crate) fn on_received(&mut self, bytes: u64) {
        self.packets_received = self.packets_received.saturating_add(1);
        self.bytes_received = self.bytes_received.saturating_add(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1 GB/s: a burst of 1,000 bytes takes 1,000 ns.
    #[test]
    fn a_train_ends_where_the_pacer_left_a_gap() {
        let mut train = Train::default();
        let mut sent = |at_ns, packets| train.on_sent(at_ns, packets, 1_000, SECOND);
        assert_eq!(sent(10_000, 1), None);
        assert_eq!(sent(11_000, 2), Some(1), "paced");
        assert_eq!(sent(11_499, 3), None, "late: half of its time has not passed");
        assert_eq!(sent(11_499, 4), None, "in one call");
        assert_eq!(sent(11_999, 5), Some(2 + 3 + 4));
        assert_eq!(sent(50_000, 6), Some(5));
    }
}
