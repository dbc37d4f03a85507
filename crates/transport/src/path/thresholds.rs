//! How far a packet may be overtaken before it counts as lost: more on paths that reorder.
//!
//! Starts at RFC 9002 §6.1 (3 packets, 9/8 RTT). A packet that was declared lost and then acknowledged shows that this was too
//! little (RFC 9002 §6.1.1 and §6.1.2 leave adapting to the sender; the steps and the way back are those of RACK, RFC 8985 §6.2
//! step 4): the packet threshold becomes what was seen, the time threshold grows once a round trip up to two RTTs, and both go
//! half of the way back after 16 rounds of losses that were none.

/// RFC 9002 §6.1.1, kPacketThreshold.
const PACKETS: u64 = 3;
/// Beyond it, only time decides: 12 ms at 1 Gbit/s.
const MAX_PACKETS: u64 = 1024;
/// RFC 9002 §6.1.2, kTimeThreshold: eighths of an RTT on top of one.
const EIGHTHS: u64 = 1;
/// RFC 8985 §6.2: the reordering window is at most one RTT.
const MAX_EIGHTHS: u64 = 8;
/// … and grows by a quarter of an RTT.
const STEP_EIGHTHS: u64 = 2;
/// RFC 8985 §6.2: reo_wnd_persist.
const CALM_ROUNDS: u32 = 16;

#[derive(Clone, Debug)]
pub(crate) struct Thresholds {
    packets: u64,
    eighths: u64,
    /// When the time threshold last grew.
    widened_ns: u64,
    /// Rounds of losses since the last late packet; when the newest round was counted.
    calm: u32,
    round_ns: u64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { packets: PACKETS, eighths: EIGHTHS, widened_ns: 0, calm: 0, round_ns: 0 }
    }
}

impl Thresholds {
    /// A packet that many packets older than the newest acknowledged one is lost.
    pub(crate) fn packets(&self) -> usize {
        usize::try_from(self.packets).unwrap_or(usize::MAX)
    }

    /// … or one sent this long before it; `loss_delay_ns` is the delay of RFC 9002 §6.1.2, nine eighths of an RTT.
    pub(crate) fn delay(&self, loss_delay_ns: u64) -> u64 {
        (loss_delay_ns / (8 + EIGHTHS)).saturating_mul(self.eighths.saturating_add(8)).max(loss_delay_ns)
    }

    /// Packets were acknowledged after they had been declared lost: the most overtaken by `distance` packets, the oldest and the
    /// newest of them sent at these times.
    pub(crate) fn on_late(
        &mut self,
        distance: u64,
        (oldest, newest): (u64, u64),
        now_ns: u64,
        loss_delay_ns: u64,
    ) {
        self.calm = 0;
        self.packets = self.packets.max(distance.saturating_add(1)).min(MAX_PACKETS);
        // With packets left aside, would time have waited for it?
        let waited = now_ns.saturating_sub(oldest) < self.delay(loss_delay_ns);
        if !waited && newest >= self.widened_ns {
            self.eighths = self.eighths.saturating_add(STEP_EIGHTHS).min(MAX_EIGHTHS);
            self.widened_ns = now_ns;
        }
    }

    /// Packets were declared lost, the newest of them sent at `newest_ns`.
    pub(crate) fn on_losses(&mut self, newest_ns: u64, now_ns: u64) {
        if newest_ns < self.round_ns {
            return;
        }
        self.round_ns = now_ns;
        self.calm = self.calm.saturating_add(1);
        if self.calm > CALM_ROUNDS {
            self.calm = 0;
            self.packets = (self.packets / 2).max(PACKETS);
            self.eighths = (self.eighths / 2).max(EIGHTHS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MS;

    const DELAY: u64 = 9 * MS;

    #[test]
    fn starts_where_the_rfc_says() {
        let thresholds = Thresholds::default();
        assert_eq!((thresholds.packets(), thresholds.delay(DELAY)), (3, DELAY));
    }

    #[test]
    fn grows_with_what_was_late_and_not_beyond_its_bounds() {
        let mut thresholds = Thresholds::default();
        // Within the time threshold: only the packet threshold was too small.
        thresholds.on_late(40, (100 * MS, 100 * MS), 108 * MS, DELAY);
        assert_eq!((thresholds.packets(), thresholds.delay(DELAY)), (41, DELAY));
        // Later than that: 11/8 RTT, once for all packets that were sent before it was known.
        thresholds.on_late(0, (120 * MS, 120 * MS), 130 * MS, DELAY);
        thresholds.on_late(0, (125 * MS, 129 * MS), 140 * MS, DELAY);
        assert_eq!(thresholds.delay(DELAY), 11 * MS);
        for now in 2..100 {
            let sent = now * SECOND;
            thresholds.on_late(u64::MAX, (sent, sent), sent + SECOND, DELAY);
        }
        assert_eq!((thresholds.packets(), thresholds.delay(DELAY)), (1024, 16 * MS));
    }

    #[test]
    fn goes_back_when_losses_are_real() {
        let mut thresholds = Thresholds::default();
        thresholds.on_late(99, (0, SECOND), 2 * SECOND, DELAY);
        assert_eq!(thresholds.delay(DELAY), 11 * MS);
        // One round, however many events.
        for now in 0..100 {
            thresholds.on_losses(SECOND, 2 * SECOND + now);
        }
        assert_eq!(thresholds.packets(), 100);
        for round in 3..300 {
            thresholds.on_losses(round * SECOND, round * SECOND + 1);
        }
        assert_eq!((thresholds.packets(), thresholds.delay(DELAY)), (3, DELAY));
    }

    const SECOND: u64 = 1_000 * MS;
}
