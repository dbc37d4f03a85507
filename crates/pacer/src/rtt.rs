//! Round-trip times of a path: RFC 9002's estimate, and the minimum of the last ten seconds.

use crate::time::{MS, SECOND, timestamp};
use core::time::Duration;
use s2n_quic_core::{packet::number::PacketNumberSpace, recovery::RttEstimator};

/// No sample is shorter. An RTT of the same microsecond would make BBR start at 41 GB/s; a UDP round trip wakes two
/// threads, which alone takes 18 to 37 µs each (reference/limits.md, "Between threads"), so this cuts no real one.
pub(crate) const FLOOR_NS: u64 = 10_000;

/// No sample is longer: beyond it every stream has idled out.
const CEILING_NS: u64 = 60 * SECOND;

/// Assumed before the first sample: a first PTO of 100 ms.
///
/// Only paths with an injected secret are ever without one: the handshake seeds the others. RFC 9002 §6.2.2 takes
/// 333 ms, so that a lost first packet costs a second, which is absurd in a rack; s2n-quic-dc takes 2 ms, so that a path
/// over an ocean sees six needless probes. A tenth of the RFC's costs a 200 ms path one probe packet and a 600 ms path
/// three (at 100, 300 and 700 ms), and a LAN a tenth of a second.
const INITIAL_NS: u64 = 33_333_333;

/// RFC 9002 §6.1.2, kGranularity.
const GRANULARITY_NS: u64 = MS;

/// No probe timeout is shorter. With both cores busy, a thread wakes 2.15 ms late at p99 (reference/limits.md, "Waiting
/// and pacing"); a shorter timeout probes because somebody slept. s2n-quic-dc has the same floor.
const PTO_FLOOR_NS: u64 = 2 * MS;

/// Length of one of the two buckets of the windowed minimum.
const BUCKET_NS: u64 = 5 * SECOND;

/// RTT state of one path.
#[derive(Clone, Debug)]
pub(crate) struct Rtt {
    estimator: RttEstimator,
    /// The same samples as BBR hears them: remedy E.
    heard: RttEstimator,
    sampled: bool,
    window: WindowedMin,
    still: Still,
}

impl Rtt {
    pub(crate) fn new() -> Self {
        Self {
            estimator: RttEstimator::new(Duration::from_nanos(INITIAL_NS)),
            heard: RttEstimator::new(Duration::from_nanos(INITIAL_NS)),
            sampled: false,
            window: WindowedMin::default(),
            still: Still::default(),
        }
    }

    /// Adds a sample. The peer's acknowledgement delay is given and not subtracted: RFC 9002 §5.3 caps it by
    /// max_ack_delay, which is 0 here, as in [`pto`](Self::pto): peers acknowledge every batch, and a delay that is left
    /// in the estimate is also in the timeout.
    pub(crate) fn sample(&mut self, now_ns: u64, sample_ns: u64, ack_delay_ns: u64) {
        let sample_ns = sample_ns.clamp(FLOOR_NS, CEILING_NS);
        let delay = Duration::from_nanos(ack_delay_ns.min(CEILING_NS));
        let heard_ns = self.still.hear(now_ns, sample_ns);
        for (estimator, sample_ns) in [(&mut self.estimator, sample_ns), (&mut self.heard, heard_ns)] {
            let sample = Duration::from_nanos(sample_ns);
            let space = PacketNumberSpace::ApplicationData;
            estimator.update_rtt(delay, sample, timestamp(now_ns), true, space);
        }
        self.sampled = true;
        self.window.add(now_ns, sample_ns);
    }

    /// The route is longer: what was the minimum until now is none any more.
    pub(crate) fn set_minimum(&mut self, now_ns: u64, minimum_ns: u64) {
        self.window = WindowedMin::default();
        self.window.add(now_ns, minimum_ns);
        self.still = Still::default();
        let heard_ns = self.still.hear(now_ns, minimum_ns);
        let (sample, now) = (Duration::from_nanos(heard_ns), timestamp(now_ns));
        self.heard.update_rtt(Duration::ZERO, sample, now, true, PacketNumberSpace::ApplicationData);
    }

    /// What BBR is given with an acknowledgement, of which it takes the latest sample.
    pub(crate) fn heard(&self) -> &RttEstimator {
        &self.heard
    }

    /// The minimum that BBR holds.
    pub(crate) fn still(&self) -> u64 {
        self.still.minimum_ns
    }

    /// RFC 9002 §5.2: the next sample sets smoothed and minimum anew. BBR itself ignores persistent congestion.
    pub(crate) fn on_persistent_congestion(&mut self) {
        self.estimator.on_persistent_congestion();
    }

    pub(crate) fn estimator(&self) -> &RttEstimator {
        &self.estimator
    }

    pub(crate) fn sampled(&self) -> bool {
        self.sampled
    }

    pub(crate) fn smoothed(&self) -> u64 {
        nanos(self.estimator.smoothed_rtt())
    }

    pub(crate) fn latest(&self) -> u64 {
        nanos(self.estimator.latest_rtt())
    }

    pub(crate) fn variance(&self) -> u64 {
        nanos(self.estimator.rttvar())
    }

    /// Minimum of the last five to ten seconds in which there were samples. s2n-quic-core's is for life, and a route that
    /// grew longer would look like a queue for ever.
    pub(crate) fn windowed_min(&self) -> u64 {
        self.window.value().unwrap_or_else(|| nanos(self.estimator.min_rtt()))
    }

    /// RFC 9002 §6.2.1 without backoff and with max_ack_delay 0.
    pub(crate) fn pto(&self) -> u64 {
        (self.smoothed() + (4 * self.variance()).max(GRANULARITY_NS)).max(PTO_FLOOR_NS)
    }

    /// RFC 9002 §6.1.2.
    pub(crate) fn loss_delay(&self) -> u64 {
        let rtt = self.smoothed().max(self.latest());
        (rtt + rtt / 8).max(GRANULARITY_NS)
    }
}

/// Durations here are at most `CEILING_NS`.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// BBR's minimum lasts this long (BBRMinRTTFilterLen of the draft, MIN_RTT_FILTER_LEN of s2n-quic-core).
pub(crate) const MINIMUM_LASTS_NS: u64 = 10 * SECOND;
/// A sample this share above the minimum, 1 / 32, is the minimum again.
const STILL_SHIFT: u32 = 5;

/// Remedy E: the minimum is not older because of a few microseconds.
///
/// BBR goes to half of its window for 200 ms and a round trip when no sample was as small as its minimum for five seconds. A path
/// without a queue, whose samples differ by microseconds, is measured all the time and drained nevertheless: in startup over
/// 600 ms it costs two round trips, and eight tenths of a second of every five later on. Only samples near the first minimum
/// count, not near one that was near it, so that a queue cannot creep in.
#[derive(Clone, Debug, Default)]
struct Still {
    minimum_ns: u64,
    refreshed_ns: u64,
}

impl Still {
    /// What BBR is told instead of `sample_ns`.
    fn hear(&mut self, now_ns: u64, sample_ns: u64) -> u64 {
        let is_first = self.minimum_ns == 0;
        let is_over = now_ns.saturating_sub(self.refreshed_ns) >= MINIMUM_LASTS_NS;
        if is_first || sample_ns <= self.minimum_ns {
            self.minimum_ns = sample_ns;
        } else if sample_ns - self.minimum_ns > self.minimum_ns >> STILL_SHIFT {
            if !is_over {
                return sample_ns;
            }
            self.minimum_ns = sample_ns;
        }
        self.refreshed_ns = now_ns;
        self.minimum_ns
    }
}

/// Minimum of the current and the previous bucket.
#[derive(Clone, Debug, Default)]
struct WindowedMin {
    started_ns: u64,
    current: Option<u64>,
    previous: Option<u64>,
}

impl WindowedMin {
    fn add(&mut self, now_ns: u64, sample_ns: u64) {
        let age = now_ns.saturating_sub(self.started_ns);
        if self.current.is_none() || age >= 2 * BUCKET_NS {
            *self = Self { started_ns: now_ns, current: Some(sample_ns), previous: None };
        } else if age >= BUCKET_NS {
            *self = Self {
                started_ns: self.started_ns + BUCKET_NS,
                current: Some(sample_ns),
                previous: self.current,
            };
        } else {
            self.current = self.current.map(|minimum| minimum.min(sample_ns));
        }
    }

    fn value(&self) -> Option<u64> {
        match (self.current, self.previous) {
            (Some(current), Some(previous)) => Some(current.min(previous)),
            (current, previous) => current.or(previous),
        }
    }
}
