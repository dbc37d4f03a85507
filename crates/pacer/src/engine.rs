//! One of s2n-quic-core's controllers behind one set of calls that cannot panic.

use crate::{
    algorithm::Algorithm,
    remedy::{Nudge, Remedies},
    time::timestamp,
};
use num_rational::Ratio;
use s2n_quic_core::{
    event::builder::{BbrState, SlowStartExitCause},
    random,
    recovery::{
        CongestionController as _, CubicCongestionController, RttEstimator,
        bandwidth::{Bandwidth, PacketInfo, RateSample},
        bbr::BbrCongestionController,
        congestion_controller::Publisher,
    },
    time::Timestamp,
};

/// Largest packet the controllers are told of: BBR multiplies it by 4 in a `u16`.
pub(crate) const MAX_MTU: u16 = 16_383;
/// Smallest: BBR divides by it.
pub(crate) const MIN_MTU: u16 = 256;
/// Bytes in flight that are counted: below it, none of BBR's `u32` products overflow (50 × 2 % of it is the largest).
/// A path holds a quarter of the pool at most, so nothing comes near.
const MAX_IN_FLIGHT: u32 = 1 << 31;
/// CE marks counted in one event. The peer says the number, BBR adds it up unchecked, and no event acknowledges more.
const MAX_CE: u64 = 1 << 16;

/// What the controller remembers of a sent packet; 48 bytes, kept by the caller until the packet's verdict.
#[derive(Clone, Copy, Debug)]
pub struct SentInfo {
    delivered_bytes: u64,
    delivered_time: Timestamp,
    lost_bytes: u64,
    ecn_ce_count: u64,
    first_sent_time: Timestamp,
    bytes_in_flight: u32,
    epoch: u16,
    is_app_limited: bool,
}

impl SentInfo {
    fn new(info: PacketInfo, epoch: u16) -> Self {
        Self {
            delivered_bytes: info.delivered_bytes,
            delivered_time: info.delivered_time,
            lost_bytes: info.lost_bytes,
            ecn_ce_count: info.ecn_ce_count,
            first_sent_time: info.first_sent_time,
            bytes_in_flight: info.bytes_in_flight,
            epoch,
            is_app_limited: info.is_app_limited,
        }
    }

    /// How often the controller had been restarted when the packet was sent.
    pub(crate) fn epoch(&self) -> u16 {
        self.epoch
    }
}

#[derive(Clone, Debug)]
enum Kind {
    // Boxed: nearly all paths run it, but it is twice as large as the other.
    Bbr(Box<BbrCongestionController>),
    Cubic(CubicCongestionController),
}

/// A controller, what it is fed from, and what it was told so far.
#[derive(Clone, Debug)]
pub(crate) struct Engine {
    kind: Kind,
    observer: Observer,
    random: Random,
    nudge: Nudge,
    remedies: Remedies,
    mtu: u16,
    sent_any: bool,
    delivered_bytes: u64,
    lost_bytes: u64,
    ecn_ce_count: u64,
    /// What BBR's clock is ahead of the caller's.
    ahead_ns: u64,
}

impl Engine {
    pub(crate) fn new(algorithm: Algorithm, mtu: u16, seed: u64, remedies: Remedies) -> Self {
        let mtu = mtu.clamp(MIN_MTU, MAX_MTU);
        let kind = match algorithm {
            Algorithm::Bbr => Kind::Bbr(Box::new(BbrCongestionController::new(mtu, Default::default()))),
            Algorithm::Cubic => Kind::Cubic(CubicCongestionController::new(mtu, Default::default())),
        };
        Self {
            kind,
            observer: Observer { slow_start: true, cruise: false },
            random: Random(seed),
            nudge: Nudge::default(),
            remedies,
            mtu,
            sent_any: false,
            delivered_bytes: 0,
            lost_bytes: 0,
            ecn_ce_count: 0,
            ahead_ns: 0,
        }
    }

    fn at(&self, ns: u64) -> Timestamp {
        timestamp(ns.saturating_add(self.ahead_ns))
    }

    /// Remedy F: BBR's clock leaps, and its minimum RTT, which cannot be told otherwise, is over. To be followed by an
    /// acknowledgement. Rates of what is in flight come out too low for a round trip; the largest that was measured counts, and BBR
    /// spends it in ProbeRTT, whose end resets all lower bounds.
    pub(crate) fn leap(&mut self, by_ns: u64) {
        if let Kind::Bbr(_) = self.kind {
            self.ahead_ns = self.ahead_ns.saturating_add(by_ns);
        }
    }

    /// Whether the model is one of a path that was filled once.
    pub(crate) fn has_model(&self) -> bool {
        matches!(self.kind, Kind::Bbr(_)) && !self.observer.slow_start
    }

    /// Bytes acknowledged so far.
    pub(crate) fn delivered(&self) -> u64 {
        self.delivered_bytes
    }

    /// The next controller of the same path: another seed, from the same generator.
    pub(crate) fn anew(&mut self, mtu: u16) -> Self {
        let algorithm = match self.kind {
            Kind::Bbr(_) => Algorithm::Bbr,
            Kind::Cubic(_) => Algorithm::Cubic,
        };
        Self::new(algorithm, mtu, self.random.next(), self.remedies)
    }

    pub(crate) fn mtu(&self) -> u16 {
        self.mtu
    }

    pub(crate) fn window(&self) -> u32 {
        match &self.kind {
            Kind::Bbr(bbr) => bbr.congestion_window(),
            Kind::Cubic(cubic) => cubic.congestion_window(),
        }
    }

    pub(crate) fn in_flight(&self) -> u32 {
        match &self.kind {
            Kind::Bbr(bbr) => bbr.bytes_in_flight(),
            Kind::Cubic(cubic) => cubic.bytes_in_flight(),
        }
    }

    pub(crate) fn requires_fast_retransmission(&self) -> bool {
        match &self.kind {
            Kind::Bbr(bbr) => bbr.requires_fast_retransmission(),
            Kind::Cubic(cubic) => cubic.requires_fast_retransmission(),
        }
    }

    /// BBR is in the cruise phase of ProbeBW.
    pub(crate) fn cruises(&self) -> bool {
        self.observer.cruise
    }

    /// Unclamped pacing rate. CUBIC has none: its window a smoothed RTT, twice in slow start (so that the window can
    /// double in a round trip) and 5/4 otherwise (RFC 9002 §7.7).
    pub(crate) fn rate(&self, smoothed_ns: u64) -> u64 {
        match &self.kind {
            Kind::Bbr(bbr) => bbr.pacing_rate().as_bytes_per_second(),
            Kind::Cubic(cubic) => {
                // 2^32 × 10^9 × 2 is below 2^63.
                let window = u64::from(cubic.congestion_window()) * crate::time::SECOND;
                let window = if self.observer.slow_start { 2 * window } else { window / 4 * 5 };
                window / smoothed_ns.max(1)
            }
        }
    }

    pub(crate) fn on_sent(
        &mut self,
        sent_ns: u64,
        bytes: u32,
        app_limited: bool,
        rtt: &RttEstimator,
        epoch: u16,
    ) -> SentInfo {
        let bytes = bytes.min(MAX_IN_FLIGHT.saturating_sub(self.in_flight()));
        let sent = self.at(sent_ns);
        self.sent_any |= bytes > 0;
        let info = match &mut self.kind {
            Kind::Bbr(bbr) => {
                bbr.on_packet_sent(sent, bytes as usize, Some(app_limited), rtt, &mut self.observer)
            }
            Kind::Cubic(cubic) => {
                cubic.on_packet_sent(sent, bytes as usize, Some(app_limited), rtt, &mut self.observer);
                // CUBIC remembers nothing; this is what a packet that knows only its own send time would say.
                PacketInfo {
                    delivered_bytes: self.delivered_bytes,
                    delivered_time: sent,
                    lost_bytes: self.lost_bytes,
                    ecn_ce_count: self.ecn_ce_count,
                    first_sent_time: sent,
                    bytes_in_flight: cubic.bytes_in_flight(),
                    is_app_limited: app_limited,
                }
            }
        };
        SentInfo::new(info, epoch)
    }

    pub(crate) fn on_rtt(&mut self, sent_ns: u64, now_ns: u64, rtt: &RttEstimator) {
        let (sent, now) = (self.at(sent_ns), self.at(now_ns));
        match &mut self.kind {
            Kind::Bbr(bbr) => bbr.on_rtt_update(sent, now, rtt, &mut self.observer),
            // It panics before any send.
            Kind::Cubic(cubic) if self.sent_any => cubic.on_rtt_update(sent, now, rtt, &mut self.observer),
            Kind::Cubic(_) => {}
        }
    }

    pub(crate) fn on_ce(&mut self, count: u64, now_ns: u64) {
        let count = count.min(MAX_CE);
        if count == 0 {
            return;
        }
        self.ecn_ce_count = self.ecn_ce_count.saturating_add(count);
        let now = self.at(now_ns);
        match &mut self.kind {
            Kind::Bbr(bbr) => bbr.on_explicit_congestion(count, now, &mut self.observer),
            Kind::Cubic(cubic) => cubic.on_explicit_congestion(count, now, &mut self.observer),
        }
    }

    /// One lost packet. What is no longer in flight was reported before and is ignored.
    pub(crate) fn on_lost(
        &mut self,
        bytes: u32,
        info: &SentInfo,
        persistent: bool,
        burst: bool,
        now_ns: u64,
    ) {
        let bytes = bytes.min(self.in_flight());
        if bytes == 0 {
            return;
        }
        let now = self.at(now_ns);
        let info = self.plausible(info, now, now);
        self.lost_bytes += u64::from(bytes);
        let (observer, random) = (&mut self.observer, &mut self.random);
        match &mut self.kind {
            Kind::Bbr(bbr) => bbr.on_packet_lost(bytes, info, persistent, burst, random, now, observer),
            Kind::Cubic(cubic) => {
                cubic.on_packet_lost(bytes, (), persistent, burst, random, now, observer);
                // It goes back to slow start without saying so.
                observer.slow_start |= persistent;
            }
        }
    }

    /// One acknowledgement of `bytes` in all. What is no longer in flight was reported before and is ignored.
    pub(crate) fn on_ack(
        &mut self,
        bytes: u64,
        newest: &SentInfo,
        newest_sent_ns: u64,
        last_sent_ns: u64,
        now_ns: u64,
        rtt: &RttEstimator,
    ) {
        let in_flight = self.in_flight();
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(in_flight);
        if bytes == 0 {
            return;
        }
        if self.window().checked_add(bytes).is_none() {
            // BBR would overflow. At 4 GiB, the window says nothing any more, and there is nothing to learn.
            return self.on_discarded(bytes);
        }
        let (now, last_sent) = (self.at(now_ns), self.at(last_sent_ns));
        let info = self.plausible(newest, now, last_sent);
        let sent = self.at(newest_sent_ns).min(last_sent).max(info.first_sent_time);
        self.delivered_bytes += u64::from(bytes);
        let (observer, random) = (&mut self.observer, &mut self.random);
        match &mut self.kind {
            Kind::Bbr(bbr) => {
                let (info, sent) =
                    if self.remedies.nudge { self.nudge.apply(info, sent) } else { (info, sent) };
                bbr.on_ack(sent, bytes as usize, info, rtt, random, now, observer);
            }
            Kind::Cubic(cubic) => {
                // It grows by one step a call, not by bytes: one call a packet (94.5 → 99.4 % at 1 Gbit/s, 40 ms).
                let mut left = bytes as usize;
                while left > 0 {
                    let part = left.min(usize::from(self.mtu));
                    cubic.on_ack(sent, part, (), rtt, random, now, observer);
                    left -= part;
                }
            }
        }
    }

    pub(crate) fn on_discarded(&mut self, bytes: u32) {
        let bytes = bytes.min(self.in_flight()) as usize;
        match &mut self.kind {
            Kind::Bbr(bbr) => bbr.on_packet_discarded(bytes, &mut self.observer),
            Kind::Cubic(cubic) => cubic.on_packet_discarded(bytes, &mut self.observer),
        }
    }

    pub(crate) fn on_mtu(&mut self, mtu: u16) {
        let mtu = mtu.clamp(MIN_MTU, MAX_MTU);
        if mtu == self.mtu {
            return;
        }
        self.mtu = mtu;
        match &mut self.kind {
            Kind::Bbr(bbr) => bbr.on_mtu_update(mtu, &mut self.observer),
            Kind::Cubic(cubic) => cubic.on_mtu_update(mtu, &mut self.observer),
        }
    }

    /// What this controller could have said of a packet. Another controller's `SentInfo` may name more than was ever
    /// delivered or lost here, and BBR subtracts.
    fn plausible(&self, info: &SentInfo, now: Timestamp, last_sent: Timestamp) -> PacketInfo {
        PacketInfo {
            delivered_bytes: info.delivered_bytes.min(self.delivered_bytes),
            delivered_time: info.delivered_time.min(now),
            lost_bytes: info.lost_bytes.min(self.lost_bytes),
            ecn_ce_count: info.ecn_ce_count.min(self.ecn_ce_count),
            first_sent_time: info.first_sent_time.min(last_sent),
            bytes_in_flight: info.bytes_in_flight.min(MAX_IN_FLIGHT),
            is_app_limited: info.is_app_limited,
        }
    }
}

/// What the controllers say only by event.
#[derive(Clone, Debug)]
struct Observer {
    slow_start: bool,
    cruise: bool,
}

impl Publisher for Observer {
    fn on_slow_start_exited(&mut self, _cause: SlowStartExitCause, _congestion_window: u32) {
        self.slow_start = false;
    }

    fn on_delivery_rate_sampled(&mut self, _rate_sample: RateSample) {}

    fn on_pacing_rate_updated(&mut self, _rate: Bandwidth, _burst_size: u32, _gain: Ratio<u64>) {}

    fn on_bbr_state_changed(&mut self, state: BbrState) {
        self.cruise = matches!(state, BbrState::ProbeBwCruise);
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014). BBR draws its wait between probes from it, so that flows do not probe in step:
/// the same seed must give the same run, and nobody gains from guessing it.
#[derive(Clone, Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl random::Generator for Random {
    fn public_random_fill(&mut self, dest: &mut [u8]) {
        for chunk in dest.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
    }

    fn private_random_fill(&mut self, dest: &mut [u8]) {
        self.public_random_fill(dest);
    }
}
