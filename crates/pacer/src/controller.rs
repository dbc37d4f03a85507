//! How much may be in flight on a path, and how fast it may leave.

use crate::{
    algorithm::Algorithm,
    engine::{Engine, SentInfo},
    remedy::{LossJudge, Remedies, below_estimate, queue_stands},
    route::{Route, Sample},
    rtt::{self, Rtt},
    time::{MS, Monotone, SECOND},
};

/// Pacing rate before the first RTT sample, bytes per second: the initial window of ten packets in about a millisecond.
/// BBR would say 39 MB/s and CUBIC, with an assumed RTT of 333 ms, 86 kB/s.
pub const START_RATE: u64 = 12_500_000;

/// Highest pacing rate: 100 Gbit/s. A rate sample over microseconds can say anything; raw GSO without a cipher does
/// 24 Gbit/s here (reference/limits.md).
const MAX_RATE: u64 = 12_500_000_000;

/// Packets a smoothed RTT that are always allowed: half of BBR's minimum window, which bounds what is in flight. Below
/// it, pacing would only add delay.
const FLOOR_PACKETS: u64 = 2;
/// The RTT that floor counts with at least, so that it stays under 200 packets a second.
const FLOOR_RTT_NS: u64 = 10 * MS;

/// A packet that was declared lost.
#[derive(Clone, Copy, Debug)]
pub struct Lost {
    /// Bytes it was reported with in [`Controller::on_sent`].
    pub bytes: u32,
    /// What `on_sent` returned.
    pub info: SentInfo,
    /// When it was sent, ns.
    pub sent_ns: u64,
    /// First of a contiguous run of lost packet numbers.
    pub first_of_run: bool,
}

/// What one event newly acknowledged.
#[derive(Clone, Copy, Debug)]
pub struct Acked {
    /// Sum over all newly acknowledged packets.
    pub bytes: u64,
    /// What [`Controller::on_sent`] returned for the most recently sent of them.
    pub newest: SentInfo,
    /// When that one was sent, ns.
    pub newest_sent_ns: u64,
}

/// Everything one batch of acknowledgements of a path says, over all its streams.
///
/// One event a batch: BBR takes each for a sample of its own. An acknowledgement of a packet that was declared lost
/// before has no place in it (its bytes left flight then).
#[derive(Clone, Copy, Debug)]
pub struct AckEvent<'a> {
    /// When it arrived, ns.
    pub now_ns: u64,
    /// `Some` when the largest so far was newly acknowledged: when that one was sent, and the peer's delay, ns.
    pub rtt_sample: Option<(u64, u64)>,
    /// Packets declared lost, ascending by send order; reported before the acknowledgement.
    pub lost: &'a [Lost],
    /// What was newly acknowledged.
    pub acked: Option<Acked>,
    /// RFC 9002 §7.6 holds for the lost packets.
    pub persistent_congestion: bool,
    /// Packets newly marked CE.
    pub ecn_ce: u64,
}

/// Congestion control and RTT estimation of one path.
#[derive(Clone, Debug)]
pub struct Controller {
    engine: Engine,
    remedies: Remedies,
    rtt: Rtt,
    judge: LossJudge,
    route: Route,
    clock: Monotone,
    max_rate: u64,
    start_rate: u64,
    epoch: u16,
}

impl Controller {
    /// A controller of a new path. `mtu` is the largest UDP payload, bytes; `seed` draws BBR's wait between probes.
    pub fn new(algorithm: Algorithm, mtu: u16, seed: u64) -> Self {
        Self::with_remedies(algorithm, mtu, seed, Remedies::ALL)
    }

    pub(crate) fn with_remedies(algorithm: Algorithm, mtu: u16, seed: u64, remedies: Remedies) -> Self {
        Self {
            engine: Engine::new(algorithm, mtu, seed, remedies),
            remedies,
            rtt: Rtt::new(),
            judge: LossJudge::default(),
            route: Route::default(),
            clock: Monotone::default(),
            max_rate: MAX_RATE,
            start_rate: START_RATE,
            epoch: 0,
        }
    }

    /// Starts anew, as after a change of the peer's address: window, rate and RTT are those of a new path, nothing is in
    /// flight. What was sent before may still be reported and is ignored.
    pub fn restart(&mut self, mtu: u16) {
        self.engine = self.engine.anew(mtu);
        self.rtt = Rtt::new();
        self.judge = LossJudge::default();
        self.route = Route::default();
        self.epoch = self.epoch.wrapping_add(1);
    }

    /// A packet left. Once a packet, over all streams of the path. `app_limited`: there is not enough to send to fill
    /// the window. Saying `false` always costs 0.7 s when a trickle turns to bulk.
    pub fn on_sent(&mut self, sent_ns: u64, bytes: u32, app_limited: bool) -> SentInfo {
        let sent_ns = self.clock.sent(sent_ns);
        self.engine.on_sent(sent_ns, bytes, app_limited, self.rtt.estimator(), self.epoch)
    }

    /// A batch of acknowledgements, or a loss timer (then without `rtt_sample` and `acked`).
    pub fn on_ack_event(&mut self, event: &AckEvent<'_>) {
        let epoch = self.epoch;
        let acked = event.acked.filter(|acked| acked.bytes > 0 && acked.newest.epoch() == epoch);
        let lost = || event.lost.iter().filter(|lost| lost.info.epoch() == epoch);
        // An acknowledgement in the very microsecond of the send would be a sample of infinite bandwidth.
        let earliest = acked.map_or(0, |acked| {
            acked.newest_sent_ns.min(self.clock.last_sent()).saturating_add(rtt::FLOOR_NS)
        });
        let now_ns = self.clock.now(event.now_ns.max(earliest));

        if let Some((sent_ns, ack_delay_ns)) = event.rtt_sample {
            // From the times as given: the clamped ones may be later than the packet really left.
            self.rtt.sample(now_ns, event.now_ns.saturating_sub(sent_ns), ack_delay_ns);
            self.engine.on_rtt(sent_ns.min(now_ns), now_ns, self.rtt.estimator());
        }
        self.engine.on_ce(event.ecn_ce, now_ns);

        self.judge.advance(now_ns, self.rtt.smoothed());
        for lost in lost() {
            self.judge.lost(u64::from(lost.bytes));
        }
        if let Some(acked) = acked {
            self.judge.delivered(acked.bytes.min(self.bytes_in_flight()));
        }
        let news = !self.remedies.judge
            || self.judge.is_burst(self.rtt.smoothed(), self.rtt.windowed_min(), self.engine.mtu());
        for lost in lost() {
            let burst = lost.first_of_run && news;
            self.engine.on_lost(lost.bytes, &lost.info, event.persistent_congestion, burst, now_ns);
        }
        if event.persistent_congestion {
            self.rtt.on_persistent_congestion();
        }

        if let Some(acked) = acked {
            let (newest, sent_ns) = (&acked.newest, acked.newest_sent_ns);
            let last_sent_ns = self.clock.last_sent();
            if let Some((sample_sent_ns, _)) = event.rtt_sample {
                self.watch_route(event.now_ns, sample_sent_ns, now_ns);
            }
            self.engine.on_ack(acked.bytes, newest, sent_ns, last_sent_ns, now_ns, self.rtt.heard());
        }
    }

    /// Remedy F. An acknowledgement at `now_ns` follows.
    fn watch_route(&mut self, arrived_ns: u64, sent_ns: u64, now_ns: u64) {
        if !self.remedies.reroute || !self.engine.has_model() {
            return;
        }
        let minimum = self.route.on_sample(&Sample {
            now_ns,
            sent_ns,
            rtt_ns: arrived_ns.saturating_sub(sent_ns),
            smoothed_ns: self.rtt.smoothed(),
            minimum_ns: self.rtt.still(),
            in_flight: self.bytes_in_flight(),
            delivered: self.engine.delivered(),
            mtu: self.engine.mtu(),
        });
        if let Some(minimum_ns) = minimum {
            self.rtt.set_minimum(now_ns, minimum_ns);
            self.engine.leap(rtt::MINIMUM_LASTS_NS);
        }
    }

    /// Bytes left flight without a verdict: the send failed after it was reported, the stream was given up, an MTU
    /// probe was lost.
    pub fn on_discarded(&mut self, bytes: u32) {
        self.engine.on_discarded(bytes);
    }

    /// The largest UDP payload changed. The window changes in proportion (RFC 8899 §3, "packets").
    pub fn on_mtu(&mut self, mtu: u16) {
        self.engine.on_mtu(mtu);
    }

    /// An RTT known before any packet was sent under this controller: the handshake's. Ignored once there is a sample.
    pub fn seed_rtt(&mut self, now_ns: u64, sample_ns: u64) {
        if !self.rtt.sampled() {
            let now_ns = self.clock.now(now_ns);
            self.rtt.sample(now_ns, sample_ns, 0);
            self.engine.on_rtt(now_ns, now_ns, self.rtt.estimator());
        }
    }

    /// Bytes that may be in flight. The caller subtracts what it has scheduled and not yet sent.
    pub fn congestion_window(&self) -> u64 {
        u64::from(self.engine.window()).min(self.route.window())
    }

    /// Bytes reported sent and without a verdict.
    pub fn bytes_in_flight(&self) -> u64 {
        u64::from(self.engine.in_flight())
    }

    /// One packet may leave although the window is full: the first retransmission of a recovery (RFC 9002 §7.3.2).
    pub fn requires_fast_retransmission(&self) -> bool {
        self.engine.requires_fast_retransmission()
    }

    /// Pacing rate, bytes per second; at least 1.
    pub fn rate(&self) -> u64 {
        if !self.rtt.sampled() {
            return self.start_rate.min(self.max_rate);
        }
        let smoothed_ns = self.rtt.smoothed();
        // A rate sample may be infinite.
        let mut rate = self.engine.rate(smoothed_ns).min(MAX_RATE);
        if self.engine.cruises() {
            if !queue_stands(smoothed_ns, self.rtt.windowed_min()) {
                rate = if self.remedies.repay { self.judge.repay(rate) } else { rate };
            } else if self.remedies.drain {
                rate = below_estimate(rate);
            }
        }
        let floor = FLOOR_PACKETS * u64::from(self.engine.mtu()) * SECOND / smoothed_ns.max(FLOOR_RTT_NS);
        rate.max(floor).min(self.max_rate)
    }

    /// Caps [`rate`](Self::rate), bytes per second; `None` leaves 100 Gbit/s.
    pub fn set_max_rate(&mut self, rate: Option<u64>) {
        self.max_rate = rate.map_or(MAX_RATE, |rate| rate.clamp(1, MAX_RATE));
    }

    /// The [`rate`](Self::rate) until there is an RTT sample, bytes per second; [`START_RATE`] unless set.
    pub fn set_start_rate(&mut self, rate: u64) {
        self.start_rate = rate.clamp(1, MAX_RATE);
    }

    /// There was an RTT sample.
    pub fn has_rtt(&self) -> bool {
        self.rtt.sampled()
    }

    /// Smoothed RTT, ns (RFC 9002 §5.3); 33 ms before the first sample.
    pub fn smoothed_rtt(&self) -> u64 {
        self.rtt.smoothed()
    }

    /// Latest RTT sample, ns.
    pub fn latest_rtt(&self) -> u64 {
        self.rtt.latest()
    }

    /// Smallest RTT of the last five to ten seconds with samples, ns.
    pub fn min_rtt(&self) -> u64 {
        self.rtt.windowed_min()
    }

    /// RTT variation, ns (RFC 9002 §5.3).
    pub fn rtt_variance(&self) -> u64 {
        self.rtt.variance()
    }

    /// Probe timeout, ns: RFC 9002 §6.2.1 without backoff; at least 2 ms.
    pub fn pto(&self) -> u64 {
        self.rtt.pto()
    }

    /// Time threshold of loss detection, ns: 9/8 of an RTT, at least 1 ms (RFC 9002 §6.1.2).
    pub fn loss_delay(&self) -> u64 {
        self.rtt.loss_delay()
    }
}
