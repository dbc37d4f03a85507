//! What keeps s2n-quic-core's BBR near the rate of a lossy or shaped path (reference/congestion.md, measured there).
//!
//! Raw, it takes 53 % of a 200 Mbit/s, 20 ms path at 2 % loss each way, and 12 % at 5 %; with A and B 95 and 93 %. D to F are ours,
//! from this crate's simulator and `sim`.

use crate::time::MS;
use s2n_quic_core::{recovery::bandwidth::PacketInfo, time::Timestamp};

/// Which remedies are on. All, except in tests that show what each is for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Remedies {
    /// A.
    pub(crate) nudge: bool,
    /// B.
    pub(crate) judge: bool,
    /// C.
    pub(crate) drain: bool,
    /// D.
    pub(crate) repay: bool,
    /// F.
    pub(crate) reroute: bool,
}

impl Remedies {
    pub(crate) const ALL: Self = Self { nudge: true, judge: true, drain: true, repay: true, reroute: true };
}

/// Remedy A: every acknowledgement renews the interval of the rate sample.
///
/// BBR's estimator takes a new interval only from a packet that was sent after more was delivered. Two bursts sent
/// between two acknowledgements carry the same count, so the second acknowledgement would add bytes but no time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Nudge {
    last: Option<(PacketInfo, Timestamp)>,
}

impl Nudge {
    /// The packet to report as newest acknowledged. `info.delivered_bytes` is at most what was delivered before this
    /// acknowledgement, and so is the last one's: one more is at most what is delivered after it, as it has a byte.
    pub(crate) fn apply(&mut self, info: PacketInfo, sent: Timestamp) -> (PacketInfo, Timestamp) {
        let newest = match self.last {
            Some((last, last_sent)) if info.delivered_bytes <= last.delivered_bytes => {
                let (later, later_sent) = if sent >= last_sent { (info, sent) } else { (last, last_sent) };
                (PacketInfo { delivered_bytes: last.delivered_bytes + 1, ..later }, later_sent)
            }
            _ => (info, sent),
        };
        self.last = Some(newest);
        newest
    }
}

/// Loss share above which a burst counts while a queue stands, in %: BBR's own threshold.
const QUEUED_PERCENT: u64 = 2;
/// Loss share above which it counts while no queue stands, in %: random loss below it is not congestion.
const FREE_PERCENT: u64 = 10;
/// Without a queue, this many packets must be lost as well: one of eight is not yet a share.
const FREE_PACKETS: u64 = 3;

/// Remedy B: which losses BBR hears of as a burst.
///
/// Outside probing, each round with a burst cuts BBR's lower bounds by 0.7, up to 63 rounds in a row. A burst that is
/// never reported is as wrong: several flows then lose 17 to 22 %, and CUBIC beside them starves.
#[derive(Clone, Debug, Default)]
pub(crate) struct LossJudge {
    started_ns: u64,
    current: Share,
    previous: Share,
}

#[derive(Clone, Copy, Debug, Default)]
struct Share {
    lost: u64,
    delivered: u64,
}

impl LossJudge {
    /// Moves on to `now_ns`; the share is over this and the last window of `window_ns`, a smoothed RTT.
    pub(crate) fn advance(&mut self, now_ns: u64, window_ns: u64) {
        let age = now_ns.saturating_sub(self.started_ns);
        if age >= window_ns {
            self.previous = if age >= 2 * window_ns { Share::default() } else { self.current };
            self.current = Share::default();
            self.started_ns = now_ns;
        }
    }

    pub(crate) fn delivered(&mut self, bytes: u64) {
        self.current.delivered = self.current.delivered.saturating_add(bytes);
    }

    pub(crate) fn lost(&mut self, bytes: u64) {
        self.current.lost = self.current.lost.saturating_add(bytes);
    }

    /// Whether the first packet of a contiguous run of losses is news for BBR.
    pub(crate) fn is_burst(&self, smoothed_ns: u64, windowed_min_ns: u64, mtu: u16) -> bool {
        let lost = self.current.lost.saturating_add(self.previous.lost);
        let delivered = self.current.delivered.saturating_add(self.previous.delivered);
        let queued = smoothed_ns > windowed_min_ns + windowed_min_ns / 4 + MS;
        let percent = if queued { QUEUED_PERCENT } else { FREE_PERCENT };
        lost.saturating_mul(100) > lost.saturating_add(delivered).saturating_mul(percent)
            && (queued || lost > FREE_PACKETS * u64::from(mtu))
    }

    /// Remedy D: `rate`, and half of the share that random loss takes away on top.
    ///
    /// BBR estimates what arrives, paces at that, and loses the same share again: at 5 % it offers the link 94.7 % of its
    /// rate, and 89.7 % of it arrive; with half of the loss repaid 92.1 (200 Mbit/s, 20 ms, this crate's simulator). Only
    /// half, because the loss may be our own, at a buffer too short to show a queue: then each round offers less than the
    /// one before, and it ends; repaid whole it would last. For the caller to use in cruise and while no queue stands.
    pub(crate) fn repay(&self, rate: u64) -> u64 {
        let lost = self.current.lost.saturating_add(self.previous.lost);
        let delivered = self.current.delivered.saturating_add(self.previous.delivered);
        let per_mille = lost.saturating_mul(1000) / lost.saturating_add(delivered).max(1);
        if per_mille > 10 * FREE_PERCENT { rate } else { rate + rate / 2000 * per_mille }
    }
}

/// Remedy C: whether a queue stands that cruising below the estimate should give back.
///
/// Real bursts and token buckets make BBR overestimate by 3 to 5 %, cruise paces at that, and the queue fills: 37 to
/// 44 ms instead of 22 to 24 on a real 200 Mbit/s bucket with 20 ms.
pub(crate) fn queue_stands(smoothed_ns: u64, windowed_min_ns: u64) -> bool {
    smoothed_ns > windowed_min_ns + windowed_min_ns / 8 + MS / 2
}

/// Remedy C's share of BBR's rate.
pub(crate) fn below_estimate(rate: u64) -> u64 {
    rate / 10 * 9
}
