//! The sending half of a stream: what is still to seal, what is out, what was lost.

use super::recovery::{Retained, Sent, SentMap, State};
use crate::{
    buffer::{ranges::AckedOffsets, send::SendBuffer},
    path::{recovery::AckBatch, silence::BASE_MTU},
    transmission::{Info, Space},
};
use bytes::Bytes;
use paceline_pacer::{Controller, Lost};
use paceline_pool::Filled;
use std::collections::VecDeque;

/// Where the end of the stream stands (RFC 9000 §3.1, without the reset states, which are the stream's).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fin {
    /// The application may write more.
    Open,
    /// No more writes; the final offset is known but no packet has carried it.
    Requested,
    /// A packet that carries it was sealed.
    Sealed,
    /// Such a packet was acknowledged.
    Acknowledged,
}

/// A packet that has to be sent again.
#[derive(Debug)]
pub(crate) struct LostPacket {
    pub(crate) retained: Retained,
    pub(crate) original: u64,
    pub(crate) offset: u64,
    pub(crate) payload: u16,
    pub(crate) fin: bool,
}

/// Probes of a stream in flight at once; an older one is given up, or they would fill the window and the pool of a path that is
/// dead for long.
const MAX_PROBES_IN_FLIGHT: usize = 4;
/// Probes given up whose acknowledgement would still be understood.
const MAX_PROBES_REMEMBERED: usize = 64;

/// With more packets than this in the recovery space (128 KiB), no old loss of it is waited for.
const MAX_AGAIN_REMEMBERED: usize = 1_024;

/// An acknowledgement named a packet that was never sent (RFC 9000 §13.1: PROTOCOL_VIOLATION).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UnsentAcknowledged;

#[derive(Debug)]
pub(crate) struct Send {
    pub(crate) buffer: SendBuffer,
    /// Chunks that are sealed, for [`Recycler`](crate::app::Recycler); emptied after every burst.
    pub(crate) spent: Vec<Bytes>,
    /// Next stream offset to seal.
    pub(crate) next_offset: u64,
    /// Offset the peer allows.
    pub(crate) max_data: u64,
    pub(crate) fin: Fin,
    pub(crate) acknowledged: AckedOffsets,
    pub(crate) next_number: u64,
    pub(crate) next_recovery: u64,
    /// The next burst from this number on leaves one out.
    pub(crate) skip_at: Option<u64>,
    pub(crate) stream_space: SentMap,
    pub(crate) recovery_space: SentMap,
    pub(crate) lost: VecDeque<LostPacket>,
    /// Newest number declared lost, per space: what follows it belongs to the same run.
    last_lost: [Option<u64>; 2],
    /// Packets declared lost so far.
    pub(crate) packets_lost: u64,
    /// Packets in flight, in both spaces.
    pub(crate) in_flight: u32,
    /// Bytes of packets that are retained (scheduled, in flight or lost).
    pub(crate) held_bytes: u64,
    /// ECN-CE count of the newest ACK.
    pub(crate) ecn_ce: u64,
    /// Packets with ECN marks that the peer has counted.
    pub(crate) ecn_marked: u64,
    /// Packets of the stream space that were acknowledged.
    pub(crate) acknowledged_packets: u64,
    /// Recovery numbers of the newest probes.
    probes: VecDeque<u64>,
    /// Nothing leaves before this time: the last send failed.
    pub(crate) retry_at_ns: u64,
    #[cfg(feature = "planted")]
    pub(crate) planted: Option<crate::planted::Bug>,
}

impl Send {
    pub(crate) fn new(max_data: u64) -> Self {
        Self {
            buffer: SendBuffer::new(),
            spent: Vec::new(),
            next_offset: 0,
            max_data,
            fin: Fin::Open,
            acknowledged: AckedOffsets::new(),
            next_number: 0,
            next_recovery: 0,
            skip_at: None,
            stream_space: SentMap::default(),
            recovery_space: SentMap::default(),
            lost: VecDeque::new(),
            last_lost: [None; 2],
            packets_lost: 0,
            in_flight: 0,
            held_bytes: 0,
            ecn_ce: 0,
            ecn_marked: 0,
            acknowledged_packets: 0,
            probes: VecDeque::new(),
            retry_at_ns: 0,
            #[cfg(feature = "planted")]
            planted: None,
        }
    }

    pub(crate) fn push(&mut self, data: Bytes) {
        // After `finish` the final offset may already be on the wire.
        if self.fin == Fin::Open {
            self.buffer.push(data);
        }
    }

    pub(crate) fn finish(&mut self) {
        if self.fin == Fin::Open {
            self.fin = Fin::Requested;
        }
    }

    /// The stream's length, once the application has said so.
    pub(crate) fn final_offset(&self) -> Option<u64> {
        (self.fin != Fin::Open).then(|| self.next_offset.saturating_add(self.buffer.len()))
    }

    /// Bytes that may be sealed now.
    pub(crate) fn sealable(&self) -> u64 {
        self.buffer.len().min(self.max_data.saturating_sub(self.next_offset))
    }

    /// Whether the peer's window, and nothing else, holds data back.
    pub(crate) fn is_blocked(&self) -> bool {
        !self.buffer.is_empty() && self.max_data <= self.next_offset
    }

    /// Whether a FIN has to go out in a packet of its own or with the last data.
    pub(crate) fn fin_due(&self) -> bool {
        self.fin == Fin::Requested && self.buffer.len() <= self.sealable()
    }

    /// Whether everything written, and the FIN, is acknowledged.
    pub(crate) fn is_finished(&self) -> bool {
        self.fin == Fin::Acknowledged
            && self.buffer.is_empty()
            && self.acknowledged.prefix() >= self.next_offset
    }

    /// Whether the peer has every byte that was sealed, and the FIN if one was.
    pub(crate) fn is_all_acknowledged(&self) -> bool {
        self.acknowledged.prefix() >= self.next_offset && self.fin != Fin::Sealed
    }

    /// The key of everything sealed so far is gone at the peer, who has it all: copies of it would not open any more.
    pub(crate) fn end_key_phase(&mut self) {
        self.lost.clear();
        self.stream_space.let_go();
        self.recovery_space.let_go();
        self.held_bytes = 0;
    }

    pub(crate) fn space_mut(&mut self, space: Space) -> &mut SentMap {
        match space {
            Space::Stream => &mut self.stream_space,
            Space::Recovery => &mut self.recovery_space,
        }
    }

    /// First transmissions that lie one after the other in `filled`: each keeps it until it is acknowledged or lost.
    pub(crate) fn retain(&mut self, filled: &Filled, infos: &[Info]) {
        let mut start = 0u32;
        for info in infos {
            self.insert(
                Space::Stream,
                Sent {
                    number: info.number,
                    original: info.number,
                    offset: info.stream_offset,
                    payload: info.payload_len,
                    packet_len: info.packet_len,
                    fin: info.included_fin,
                    state: State::Scheduled,
                    sent_ns: 0,
                    info: None,
                    retained: Some(Retained { filled: filled.clone(), start, len: info.packet_len }),
                },
            );
            start = start.saturating_add(u32::from(info.packet_len));
        }
    }

    pub(crate) fn insert(&mut self, space: Space, sent: Sent) {
        if sent.retained.is_some() {
            self.held_bytes = self.held_bytes.saturating_add(u64::from(sent.packet_len));
        }
        self.space_mut(space).insert(sent);
    }

    /// A scheduled packet left the host.
    pub(crate) fn on_sent(
        &mut self,
        space: Space,
        number: u64,
        at_ns: u64,
        app_limited: bool,
        controller: &mut Controller,
    ) {
        let map = self.space_mut(space);
        map.note_in_flight(number);
        let Some(sent) = map.get_mut(number) else { return };
        // An ACK can overtake the completion: then the packet already has its verdict.
        if sent.state == State::Scheduled {
            sent.info = Some(controller.on_sent(at_ns, u32::from(sent.packet_len), app_limited));
            sent.sent_ns = at_ns;
            sent.state = State::InFlight;
            self.in_flight = self.in_flight.saturating_add(1);
        }
    }

    /// A scheduled packet will not leave in this transmission: it is to be sent again.
    pub(crate) fn on_unsent(&mut self, space: Space, number: u64) {
        let mut again = None;
        let mut released = 0;
        if let Some(sent) = self.space_mut(space).get_mut(number)
            && sent.state == State::Scheduled
        {
            sent.state = State::Lost;
            again = Self::to_lost(sent);
            if again.is_none() && sent.retained.take().is_some() {
                released = u64::from(sent.packet_len);
            }
        }
        self.held_bytes = self.held_bytes.saturating_sub(released);
        if let Some(lost) = again {
            self.lost.push_back(lost);
        }
    }

    fn to_lost(sent: &mut Sent) -> Option<LostPacket> {
        let retained = sent.retained.take()?;
        Some(LostPacket {
            retained,
            original: sent.original,
            offset: sent.offset,
            payload: sent.payload,
            fin: sent.fin,
        })
    }

    /// Numbers `first..=last` of a space were acknowledged.
    pub(crate) fn on_acknowledged(
        &mut self,
        space: Space,
        first: u64,
        last: u64,
        now_ns: u64,
        controller: &mut Controller,
        batch: &mut AckBatch,
    ) -> Result<(), UnsentAcknowledged> {
        if self.space_mut(space).has_unsent_in(first, last) {
            return Err(UnsentAcknowledged);
        }
        let Self {
            stream_space,
            recovery_space,
            acknowledged,
            acknowledged_packets,
            held_bytes,
            in_flight,
            fin,
            ..
        } = self;
        let map = match space {
            Space::Stream => stream_space,
            Space::Recovery => recovery_space,
        };
        let newest = map.largest_acknowledged().map_or(last, |largest| largest.max(last));
        map.acknowledge(first, last, |sent| {
            match sent.state {
                // The map shows none of those.
                State::Acknowledged => {}
                State::Scheduled => {
                    // The ACK overtook the completion: the controller hears of both now.
                    let info = controller.on_sent(now_ns, u32::from(sent.packet_len), false);
                    batch.acknowledge(u64::from(sent.packet_len), info, now_ns);
                    batch.note_arrival(now_ns, sent.packet_len);
                }
                State::InFlight => {
                    *in_flight = in_flight.saturating_sub(1);
                    if let Some(info) = sent.info {
                        batch.acknowledge(u64::from(sent.packet_len), info, sent.sent_ns);
                    }
                    batch.note_arrival(sent.sent_ns, sent.packet_len);
                }
                // Spurious loss: the controller already has its verdict and must not get a second one.
                State::Lost => {
                    batch.note_arrival(sent.sent_ns, sent.packet_len);
                    if sent.info.is_some() {
                        // Numbers of the recovery space jump: they say nothing of how many packets overtook this one.
                        let counts = space == Space::Stream;
                        batch.note_late(
                            sent.sent_ns,
                            if counts { newest.saturating_sub(sent.number) } else { 0 },
                        );
                    }
                }
            }
            if space == Space::Stream {
                *acknowledged_packets = acknowledged_packets.saturating_add(1);
            }
            if sent.retained.take().is_some() {
                *held_bytes = held_bytes.saturating_sub(u64::from(sent.packet_len));
            }
            if sent.payload > 0 {
                acknowledged.insert(sent.offset..sent.offset.saturating_add(u64::from(sent.payload)));
            }
            if sent.fin {
                *fin = Fin::Acknowledged;
            }
        });
        Ok(())
    }

    /// Packet-threshold losses of a space, after all its ACK ranges were applied.
    pub(crate) fn detect_reordered(&mut self, space: Space, threshold: usize, batch: &mut AckBatch) {
        let (map, mut ledger) = self.ledger(space);
        map.detect_reordered(threshold, |sent| ledger.lose(sent, batch));
    }

    /// A packet was overtaken by 9/8 RTT; lost if it was in flight until now.
    pub(crate) fn on_overtaken(&mut self, space: Space, number: u64, batch: &mut AckBatch) {
        let (map, mut ledger) = self.ledger(space);
        if let Some(sent) = map.get_mut(number)
            && sent.state == State::InFlight
        {
            ledger.lose(sent, batch);
        }
    }

    /// The packets of a space, and beside them what the loss of one changes.
    fn ledger(&mut self, space: Space) -> (&mut SentMap, Ledger<'_>) {
        let fin = if planted!(self, LostFinIsForgotten) { Fin::Acknowledged } else { self.fin };
        let Self {
            stream_space,
            recovery_space,
            lost,
            last_lost,
            packets_lost,
            in_flight,
            held_bytes,
            acknowledged,
            ..
        } = self;
        let [last_in_stream, last_in_recovery] = last_lost;
        let (map, last_lost) = match space {
            Space::Stream => (stream_space, last_in_stream),
            Space::Recovery => (recovery_space, last_in_recovery),
        };
        (map, Ledger { lost, last_lost, packets_lost, in_flight, held_bytes, acknowledged, fin })
    }

    /// The next packet to send again; what has been acknowledged meanwhile is dropped.
    pub(crate) fn next_lost(&mut self) -> Option<&LostPacket> {
        while let Some(front) = self.lost.front() {
            if has_arrived(&self.acknowledged, self.fin, front.offset, front.payload, front.fin) {
                self.held_bytes = self.held_bytes.saturating_sub(u64::from(front.retained.len));
                self.lost.pop_front();
            } else {
                break;
            }
        }
        self.lost.front()
    }

    /// The packet given by `next_lost` is on its way; its old descriptor is let go.
    pub(crate) fn pop_lost(&mut self) {
        if let Some(front) = self.lost.pop_front() {
            self.held_bytes = self.held_bytes.saturating_sub(u64::from(front.retained.len));
        }
    }

    /// A probe gets `number` of the recovery space. Returns the number and the departure of the one that is given up for it: it
    /// leaves flight without a verdict.
    pub(crate) fn note_probe(&mut self, number: u64, controller: &mut Controller) -> Option<(u64, u64)> {
        if self.in_flight == 0 {
            self.probes.clear();
        }
        self.probes.push_back(number);
        let index = self.probes.len().checked_sub(MAX_PROBES_IN_FLIGHT.saturating_add(1))?;
        let old = *self.probes.get(index)?;
        if self.probes.len() > MAX_PROBES_REMEMBERED
            && let Some(forgotten) = self.probes.pop_front()
        {
            self.recovery_space.remove_settled(forgotten);
        }
        let sent = self.recovery_space.get_mut(old).filter(|sent| sent.state == State::InFlight)?;
        sent.state = State::Lost;
        sent.info = None;
        if !planted!(self, ProbeStaysInFlight) {
            controller.on_discarded(u32::from(sent.packet_len));
        }
        self.in_flight = self.in_flight.saturating_sub(1);
        if sent.retained.take().is_some() {
            self.held_bytes = self.held_bytes.saturating_sub(u64::from(sent.packet_len));
        }
        Some((old, sent.sent_ns))
    }

    /// Whether what would be probed with is larger than every path takes.
    pub(crate) fn probe_is_large(&self) -> bool {
        [&self.stream_space, &self.recovery_space]
            .into_iter()
            .filter_map(|map| map.first_in_stream())
            .any(|sent| sent.packet_len > BASE_MTU)
    }

    /// The first packet of this burst that still waits for its verdict.
    pub(crate) fn first_unsettled(&self, space: Space, first: u64, last: u64) -> Option<u64> {
        match space {
            Space::Stream => self.stream_space.first_in_flight(first, last),
            Space::Recovery => self.recovery_space.first_in_flight(first, last),
        }
    }

    /// Everything is given up: what was in flight leaves the controller without a verdict, descriptors go home.
    pub(crate) fn abandon(&mut self, controller: &mut Controller) {
        for map in [&mut self.stream_space, &mut self.recovery_space] {
            for sent in map.drain() {
                if sent.state == State::InFlight {
                    controller.on_discarded(u32::from(sent.packet_len));
                }
            }
        }
        self.lost.clear();
        self.probes.clear();
        self.buffer.clear();
        self.in_flight = 0;
        self.held_bytes = 0;
    }

    pub(crate) fn trim(&mut self, forget_before_ns: u64) {
        let (prefix, fin_acknowledged) = (self.acknowledged.prefix(), self.fin == Fin::Acknowledged);
        let settled = |sent: &Sent| {
            let end = sent.offset.saturating_add(u64::from(sent.payload));
            end <= prefix && (!sent.fin || fin_acknowledged)
        };
        self.stream_space.trim(forget_before_ns, settled);
        // What the path holds bounds the packets that wait in the stream space; one of them may be sent again for ever.
        let too_many = self.recovery_space.len() > MAX_AGAIN_REMEMBERED;
        self.recovery_space.trim(forget_before_ns, |sent| too_many || settled(sent));
    }
}

/// What the loss of a packet changes besides the packet.
struct Ledger<'a> {
    lost: &'a mut VecDeque<LostPacket>,
    last_lost: &'a mut Option<u64>,
    packets_lost: &'a mut u64,
    in_flight: &'a mut u32,
    held_bytes: &'a mut u64,
    acknowledged: &'a AckedOffsets,
    fin: Fin,
}

/// Whether what a packet carries is acknowledged, by whatever packet.
fn has_arrived(acknowledged: &AckedOffsets, known: Fin, offset: u64, payload: u16, fin: bool) -> bool {
    let end = offset.saturating_add(u64::from(payload));
    (!fin || known == Fin::Acknowledged) && acknowledged.next_missing(offset..end).is_none()
}

impl Ledger<'_> {
    /// A packet in flight is lost: the controller will hear of it, and what it carried is sent again unless it arrived otherwise.
    fn lose(&mut self, sent: &mut Sent, batch: &mut AckBatch) {
        *self.in_flight = self.in_flight.saturating_sub(1);
        sent.state = State::Lost;
        if let Some(info) = sent.info {
            *self.packets_lost = self.packets_lost.saturating_add(1);
            let follows =
                self.last_lost.replace(sent.number).is_some_and(|last| last.saturating_add(1) == sent.number);
            batch.lost.push(Lost {
                bytes: u32::from(sent.packet_len),
                info,
                sent_ns: sent.sent_ns,
                first_of_run: !follows,
            });
        }
        if has_arrived(self.acknowledged, self.fin, sent.offset, sent.payload, sent.fin) {
            if sent.retained.take().is_some() {
                *self.held_bytes = self.held_bytes.saturating_sub(u64::from(sent.packet_len));
            }
        } else if let Some(packet) = Send::to_lost(sent) {
            self.lost.push_back(packet);
        }
    }
}
