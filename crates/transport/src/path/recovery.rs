//! Loss detection over all streams of a path: the order of sends, one batch of ACK news a step, PTO.
//!
//! A stream of one to three packets never reaches a packet threshold, so the path keeps the order in which bursts left:
//! a packet is lost, too, when one sent 9/8 RTT later on the same path has been acknowledged (RFC 9002 §6.1.2 over
//! streams).

use super::{
    persistence::LostRun,
    silence::{BASE_MTU, Silence},
    thresholds::Thresholds,
};
use crate::transmission::{Space, StreamKey};
use paceline_pacer::{Acked, Lost, SentInfo};
use std::collections::VecDeque;

/// PTO backoff is capped at 2^4 = 16 (upstream's 1024 leaves a path dead for minutes).
pub(crate) const MAX_PTO_EXPONENT: u32 = 4;
/// RFC 9002 §6.2.4: at most two probes a PTO.
pub(crate) const PROBES_PER_PTO: usize = 2;

/// Packets of one stream that left together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SentBurst {
    pub(crate) stream: StreamKey,
    pub(crate) space: Space,
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) sent_ns: u64,
}

/// ACK news of one step, of all streams of the path, told to the controller as one event.
#[derive(Debug, Default)]
pub(crate) struct AckBatch {
    pub(crate) at_ns: u64,
    pub(crate) acknowledged_bytes: u64,
    newest: Option<(SentInfo, u64)>,
    pub(crate) lost: Vec<Lost>,
    pub(crate) ecn_ce: u64,
    /// Departures that something newly acknowledged had, late ones included.
    pub(crate) departures: Vec<u64>,
    pub(crate) late: Late,
    /// A packet larger than every path takes was acknowledged; a smaller one was.
    pub(crate) large_acknowledged: bool,
    pub(crate) small_acknowledged: bool,
}

/// Packets acknowledged after they were declared lost: how late they were.
#[derive(Debug, Default)]
pub(crate) struct Late {
    pub(crate) packets: u64,
    /// How many packets overtook the one that was overtaken most.
    pub(crate) distance: u64,
    /// Departure of the oldest, and of the newest.
    pub(crate) sent_ns: Option<(u64, u64)>,
}

impl AckBatch {
    pub(crate) fn acknowledge(&mut self, bytes: u64, info: SentInfo, sent_ns: u64) {
        self.acknowledged_bytes = self.acknowledged_bytes.saturating_add(bytes);
        if self.newest.is_none_or(|(_, newest)| sent_ns >= newest) {
            self.newest = Some((info, sent_ns));
        }
    }

    /// A packet that waited for its verdict, or had the wrong one, has arrived.
    pub(crate) fn note_arrival(&mut self, sent_ns: u64, packet_len: u16) {
        if self.departures.last() != Some(&sent_ns) {
            self.departures.push(sent_ns);
        }
        let large = packet_len > BASE_MTU;
        self.large_acknowledged |= large;
        self.small_acknowledged |= !large;
    }

    /// A packet that was declared lost was late, overtaken by `distance` packets of its space.
    pub(crate) fn note_late(&mut self, sent_ns: u64, distance: u64) {
        let late = &mut self.late;
        late.packets = late.packets.saturating_add(1);
        late.distance = late.distance.max(distance);
        let (oldest, newest) = late.sent_ns.unwrap_or((sent_ns, sent_ns));
        late.sent_ns = Some((oldest.min(sent_ns), newest.max(sent_ns)));
    }

    pub(crate) fn newest_sent_ns(&self) -> Option<u64> {
        self.newest.map(|(_, sent_ns)| sent_ns)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.newest.is_none() && self.lost.is_empty() && self.ecn_ce == 0 && self.departures.is_empty()
    }

    pub(crate) fn acked(&self) -> Option<Acked> {
        self.newest.map(|(newest, newest_sent_ns)| Acked {
            bytes: self.acknowledged_bytes,
            newest,
            newest_sent_ns,
        })
    }

    pub(crate) fn clear(&mut self) {
        self.acknowledged_bytes = 0;
        self.newest = None;
        self.lost.clear();
        self.ecn_ce = 0;
        self.departures.clear();
        self.late = Late::default();
        self.large_acknowledged = false;
        self.small_acknowledged = false;
    }
}

#[derive(Debug, Default)]
pub(crate) struct Recovery {
    /// In order of departure. At most one entry per transmission in flight.
    pub(crate) order: VecDeque<SentBurst>,
    /// Departure of the newest packet that was acknowledged.
    pub(crate) largest_acknowledged_sent_ns: Option<u64>,
    pub(crate) pto_exponent: u32,
    /// When something that wants an answer last left.
    pub(crate) last_sent_ns: u64,
    pub(crate) batch: AckBatch,
    /// The batch is on the worker's list of paths to settle.
    pub(crate) listed: bool,
    /// Stream that was probed last, so that probes go round.
    pub(crate) probed: Option<StreamKey>,
    pub(crate) thresholds: Thresholds,
    pub(crate) lost_run: LostRun,
    /// When the first RTT sample came.
    pub(crate) first_rtt_ns: Option<u64>,
    pub(crate) silence: Silence,
}

impl Recovery {
    /// A probe was given up: nobody asks for its burst any more.
    pub(crate) fn forget(&mut self, stream: StreamKey, number: u64, sent_ns: u64) {
        let from = self.order.partition_point(|burst| burst.sent_ns < sent_ns);
        let same = |burst: &SentBurst| {
            burst.stream == stream && burst.space == Space::Recovery && burst.last == number
        };
        let ours = self.order.range(from..).take_while(|burst| burst.sent_ns == sent_ns).position(same);
        if let Some(offset) = ours {
            self.order.remove(from.saturating_add(offset));
        }
    }

    /// When the oldest burst becomes lost by time, if something younger has been acknowledged.
    pub(crate) fn loss_deadline(&self, loss_delay_ns: u64) -> Option<u64> {
        let oldest = self.order.front()?;
        let newest = self.largest_acknowledged_sent_ns?;
        (oldest.sent_ns < newest).then(|| oldest.sent_ns.saturating_add(loss_delay_ns))
    }

    /// RFC 9002 §6.2.1.
    pub(crate) fn pto_deadline(&self, pto_ns: u64) -> Option<u64> {
        self.order.front()?;
        let wait = pto_ns.saturating_mul(1u64.wrapping_shl(self.pto_exponent.min(MAX_PTO_EXPONENT)));
        Some(self.last_sent_ns.saturating_add(wait))
    }
}
