//! The round trip as a receiver sees it: from a control packet to the first packet that names it.
//!
//! Who only receives has no ACKs to measure by, but receive windows must grow with the round trip: assuming 100 ms held a transfer of
//! 32 MiB over 250 Mbit/s and 600 ms at its first window, 21 s instead of 9. A sample is too long when the peer had nothing to send,
//! never too short, so the shortest counts and is forgotten slowly. For windows only; loss detection goes by ACKs.

/// What a longer sample adds of the difference: 1 / 8, as for a smoothed RTT (RFC 9002 §5.3).
const GAIN: u64 = 8;

#[derive(Debug, Default)]
pub(crate) struct Echo {
    rtt_ns: Option<u64>,
}

impl Echo {
    pub(crate) fn add(&mut self, sample_ns: u64) {
        self.rtt_ns = Some(match self.rtt_ns {
            Some(rtt_ns) if sample_ns > rtt_ns => {
                rtt_ns.saturating_add(sample_ns.saturating_sub(rtt_ns) / GAIN)
            }
            _ => sample_ns,
        });
    }

    pub(crate) fn rtt(&self) -> Option<u64> {
        self.rtt_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_counts_and_a_longer_one_a_little() {
        let mut echo = Echo::default();
        assert_eq!(echo.rtt(), None);
        for (sample, rtt) in
            [(5_000, 5_000), (20, 20), (820, 120), (u64::MAX, 120 + (u64::MAX - 120) / 8), (30, 30)]
        {
            echo.add(sample);
            assert_eq!(echo.rtt(), Some(rtt));
        }
    }
}
