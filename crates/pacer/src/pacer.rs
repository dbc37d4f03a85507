//! When a path's next burst may leave.

use crate::{
    controller::Controller,
    time::{Fine, MS},
};

/// A burst is what the rate sends in this time: 2.0 s of CPU a GB at 1 Gbit/s; a quarter of it costs 3.2
/// (reference/congestion.md, "On real loopback").
const BURST_NS: u64 = MS;
/// Packets of a burst at least, so that pacing at low rates does not undo GSO.
const MIN_BURST_PACKETS: u64 = 2;
/// Packets of a burst at most before the first RTT: RFC 9002 §7.2's initial window.
const BLIND_BURST_PACKETS: u64 = 10;
/// Bursts that a window has room for: one leaves, one is on its way, one is acknowledged. A window of 110 KB, which BBR has between
/// two hosts with too much to do, let one of 64 KiB leave a round trip, and what then arrives is BBR's next estimate.
const BURSTS_OF_WINDOW: u64 = 3;
/// No interval is shorter: the wheel and s2n-quic-core count microseconds.
const MIN_INTERVAL: Fine = Fine::from_ns(1_000);
/// A late path catches up with this much of its rate at once, or a smoothed RTT if that is shorter.
const CATCH_UP_NS: u64 = 4 * MS;
/// … or with this many bursts, if they are more.
const CATCH_UP_BURSTS: u64 = 2;

/// Departure times of one path.
///
/// Cumulative: `t = max(now, next); next = t + bytes / rate`. (`now + interval` would pace nothing when several bursts are
/// scheduled at once.) Time that was not used is gone: idling earns no credit.
#[derive(Clone, Debug, Default)]
pub struct Pacer {
    /// When the next burst may leave.
    next: Fine,
    /// The latest departure given out; a refund must not let a later burst overtake it.
    last_ns: u64,
    /// When the path would be done with everything released, had it kept to its rate (GCRA's theoretical arrival time).
    released_until: Fine,
    /// Nothing of this path leaves before: what was told to wait keeps its place ahead of what comes after.
    held_until_ns: u64,
    #[cfg(feature = "planted")]
    planted: bool,
}

impl Pacer {
    /// A path that has sent nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Packets of `packet_len` bytes the next burst may have: what the rate sends in a millisecond, at least 2, at most a
    /// third of the window or 10, if that is more (until there is an RTT: 10), `max_segments` and `max_bytes`. At least 1.
    pub fn burst_packets(
        &self,
        controller: &Controller,
        packet_len: u16,
        max_segments: usize,
        max_bytes: usize,
    ) -> usize {
        let packet_len = u64::from(packet_len.max(1));
        // The rate is at most 12.5 GB/s, so this is far below 2^64.
        let packets = controller.rate() * BURST_NS / crate::time::SECOND / packet_len;
        let of_window = controller.congestion_window() / BURSTS_OF_WINDOW / packet_len;
        let most =
            if controller.has_rtt() { of_window.max(BLIND_BURST_PACKETS) } else { BLIND_BURST_PACKETS };
        let packets = packets.min(most).max(MIN_BURST_PACKETS);
        let packets = usize::try_from(packets).unwrap_or(usize::MAX);
        packets.min(max_segments).min(max_bytes / packet_len as usize).max(1)
    }

    /// Bytes the congestion window leaves for the next burst, when `scheduled` bytes are scheduled and not yet sent; 0 means
    /// wait for acknowledgements.
    ///
    /// When there is room for less than a burst of `burst_bytes` and more than half of the window is used, it waits for a
    /// whole one: 46 instead of 42.5 packets a send, 34.8 when the receiver is slow (reference/congestion.md).
    pub fn window_room(&self, controller: &Controller, scheduled: u64, burst_bytes: u64) -> u64 {
        let window = controller.congestion_window();
        #[cfg(feature = "planted")]
        let scheduled = if self.planted { 0 } else { scheduled };
        let used = controller.bytes_in_flight().saturating_add(scheduled);
        let room = window.saturating_sub(used);
        if room < burst_bytes && used > window / 2 { 0 } else { room }
    }

    /// Plants a bug: what is scheduled does not count against the window.
    #[cfg(feature = "planted")]
    #[must_use]
    pub fn planted(self, planted: bool) -> Self {
        Self { planted, ..self }
    }

    /// Gives a burst of `bytes` its departure time, ns, at `rate` bytes per second. Never decreases from call to call.
    pub fn schedule(&mut self, now_ns: u64, bytes: u64, rate: u64) -> u64 {
        let start = self.next.max(Fine::from_ns(now_ns));
        self.next = start.plus(interval(bytes, rate));
        self.last_ns = self.last_ns.max(start.ceil_ns());
        self.last_ns
    }

    /// When a burst that is scheduled now would leave at the earliest, ns.
    pub fn next_departure(&self) -> u64 {
        self.next.ceil_ns().max(self.last_ns)
    }

    /// Asked when a burst is released: may it leave now?
    ///
    /// After a late wake, several are due. A path sends at most `max(2 bursts, rate × min(4 ms, smoothed RTT))` back to back,
    /// so that the network sees no more than a queue it can take.
    ///
    /// # Errors
    /// The time, ns, to ask again. Until then, all of the path's bursts get the same answer, and what is not yet scheduled
    /// slips by as much. To keep its order, a path has what comes due meanwhile wait behind, in a line of its own: put
    /// back into the wheel, it could be overtaken by what was scheduled for before that time, when that wake is late, too.
    pub fn admit(
        &mut self,
        now_ns: u64,
        bytes: u64,
        rate: u64,
        smoothed_rtt_ns: u64,
        burst_bytes: u64,
    ) -> Result<(), u64> {
        if now_ns < self.held_until_ns {
            return Err(self.held_until_ns);
        }
        let now = Fine::from_ns(now_ns);
        let train = Fine::of(burst_bytes.saturating_mul(CATCH_UP_BURSTS).max(bytes), rate)
            .max(Fine::from_ns(smoothed_rtt_ns.min(CATCH_UP_NS)));
        let start = self.released_until.max(now);
        let end = start.plus(interval(bytes, rate));
        if end <= now.plus(train).max(now.plus(interval(bytes, rate))) {
            self.released_until = end;
            return Ok(());
        }
        // Room for a whole burst, or many small ones that wait would each wake the worker.
        let room = interval(bytes.max(burst_bytes), rate);
        let until_ns = start.plus(room).minus(train).ceil_ns().max(now_ns.saturating_add(1));
        self.held_until_ns = until_ns;
        self.next = self.next.max(now).plus(Fine::from_ns(until_ns - now_ns));
        Err(until_ns)
    }

    /// Gives back the time of a burst that was scheduled and will not leave. `rate` is the one it was scheduled with.
    pub fn refund(&mut self, bytes: u64, rate: u64) {
        self.next = self.next.minus(interval(bytes, rate));
    }

    /// Gives back the place of a burst that was admitted and did not leave; with [`refund`](Self::refund), if it never will.
    pub fn refund_admission(&mut self, bytes: u64, rate: u64) {
        self.released_until = self.released_until.minus(interval(bytes, rate));
    }
}

fn interval(bytes: u64, rate: u64) -> Fine {
    Fine::of(bytes, rate).max(MIN_INTERVAL)
}
