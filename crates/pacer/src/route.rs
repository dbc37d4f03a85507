//! Remedy F: a route that became longer is found out, and BBR told.
//!
//! BBR holds its minimum RTT for ten seconds and bounds its window by it. When 20 ms become 80, twice the bandwidth-delay product of
//! 20 ms is half of what 80 need: half of the rate, which BBR takes for the rate, so that each probing cycle halves it again. After
//! ten seconds at a tenth of the rate it learns the new minimum and begins to climb by a quarter every two to three seconds.
//!
//! Long RTTs may also be a queue. So, when all samples have been half as long again as the minimum for three round trips, the path is
//! asked: what is in flight is let down to half of what was delivered in a minimum RTT, and packets sent then are looked at. If they
//! are as slow, no queue of ours is to blame, and the shortest of them is the new minimum: BBR would come to the same later, with
//! its ProbeRTT and the end of its ten seconds. If they are not, there was a queue, and now it is gone.

use crate::time::{MS, SECOND};

/// Round trips with nothing but long samples before the path is asked.
const SUSPICIOUS_ROUNDS: u64 = 3;
/// Round trips to let down what is in flight and to get an answer; then it is given up.
const PATIENCE_ROUNDS: u64 = 4;
/// Samples of an answer.
const SAMPLES: u32 = 4;
/// The path is asked once in this time: as often as BBR's own ProbeRTT.
const REST_NS: u64 = 5 * SECOND;
/// BBRMinPipeCwnd: packets that are always allowed.
const LEAST_PACKETS: u64 = 4;

#[derive(Clone, Copy, Debug, Default)]
enum Phase {
    #[default]
    Calm,
    /// Nothing but long samples since then; what was delivered before.
    Suspicious { since_ns: u64, delivered: u64 },
    /// No more than so many bytes may be in flight.
    LettingDown { since_ns: u64, window: u64 },
    /// Packets sent from then on count.
    Asking { since_ns: u64, window: u64, samples: u32, shortest_ns: u64 },
}

/// An RTT sample, and the path at that time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) now_ns: u64,
    pub(crate) sent_ns: u64,
    pub(crate) rtt_ns: u64,
    pub(crate) smoothed_ns: u64,
    /// The minimum that BBR holds, ns.
    pub(crate) minimum_ns: u64,
    pub(crate) in_flight: u64,
    /// Bytes acknowledged so far.
    pub(crate) delivered: u64,
    pub(crate) mtu: u16,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Route {
    phase: Phase,
    rest_until_ns: u64,
}

impl Route {
    /// What may be in flight meanwhile, bytes.
    pub(crate) fn window(&self) -> u64 {
        match self.phase {
            Phase::Calm | Phase::Suspicious { .. } => u64::MAX,
            Phase::LettingDown { window, .. } | Phase::Asking { window, .. } => window,
        }
    }

    /// Returns the new minimum, ns, when it is known that the route is longer.
    pub(crate) fn on_sample(&mut self, sample: &Sample) -> Option<u64> {
        let Sample { now_ns, rtt_ns, smoothed_ns, .. } = *sample;
        let is_long = |rtt_ns: u64| rtt_ns > sample.minimum_ns + sample.minimum_ns / 2 + 2 * MS;
        match self.phase {
            Phase::Calm if is_long(rtt_ns) && now_ns >= self.rest_until_ns => {
                self.phase = Phase::Suspicious { since_ns: now_ns, delivered: sample.delivered };
            }
            Phase::Calm => {}
            Phase::Suspicious { .. } if !is_long(rtt_ns) => self.phase = Phase::Calm,
            Phase::Suspicious { since_ns, delivered } => {
                let elapsed_ns = now_ns - since_ns;
                if elapsed_ns >= SUSPICIOUS_ROUNDS * smoothed_ns.max(rtt_ns) {
                    let bytes = u128::from(sample.delivered - delivered);
                    let window = bytes * u128::from(sample.minimum_ns / 2) / u128::from(elapsed_ns.max(1));
                    let window = u64::try_from(window).unwrap_or(u64::MAX);
                    let window = window.max(LEAST_PACKETS * u64::from(sample.mtu));
                    self.phase = Phase::LettingDown { since_ns: now_ns, window };
                }
            }
            Phase::LettingDown { window, .. } if sample.in_flight <= window => {
                self.phase = Phase::Asking { since_ns: now_ns, window, samples: 0, shortest_ns: u64::MAX };
            }
            Phase::Asking { since_ns, window, samples, shortest_ns } if sample.sent_ns >= since_ns => {
                let (samples, shortest_ns) = (samples + 1, shortest_ns.min(rtt_ns));
                if !is_long(shortest_ns) {
                    self.rest(now_ns);
                } else if samples >= SAMPLES {
                    self.rest(now_ns);
                    return Some(shortest_ns);
                } else {
                    self.phase = Phase::Asking { since_ns, window, samples, shortest_ns };
                }
            }
            Phase::LettingDown { since_ns, .. } | Phase::Asking { since_ns, .. } => {
                if now_ns - since_ns > PATIENCE_ROUNDS * smoothed_ns.max(rtt_ns) {
                    self.rest(now_ns);
                }
            }
        }
        None
    }

    fn rest(&mut self, now_ns: u64) {
        self.phase = Phase::Calm;
        self.rest_until_ns = now_ns + REST_NS;
    }
}
