//! Pulls bytes out of streams into the wheel, path by path.
//!
//! A path gives out turns (priority, then deficit round robin) while it may schedule ahead and its window has room. A turn
//! makes one transmission: a probe that is owed, one lost packet again, or a burst of new data sealed straight from the
//! send buffer into one contiguous descriptor.

use super::{Endpoint, receive::ECN};
use crate::{
    environment::{BurstLimits, Environment},
    error::Failure,
    path::{
        Path,
        schedule::{Blocked, TurnKind},
    },
    stream::{
        Phase, Stream,
        recovery::{Retained, Sent, State},
        send::Fin,
    },
    transmission::{Info, Kind, Owner, PathKey, Space, StreamKey, Transmission},
};
use paceline_pool::{Filled, Pool, Purpose, Segments};
use paceline_wire::{TAG_LEN, frame, packet::stream};
use std::sync::Arc;

/// Turns of one path in one step, so that paths share a step.
const MAX_TURNS: usize = 64;
/// Payloads are multiples of the AES block: 11 % less AEAD time a packet (measured, limits.md).
const PAYLOAD_ALIGN: usize = 16;
/// A probe's header, a close and the tag.
const PROBE_BYTES: usize = 256;
/// RFC 9002 §B.2: a probe may leave although the window is full.
const NO_ROOM_NEEDED: u64 = 0;

/// What a turn came to.
enum Turn {
    /// A transmission of this many bytes was made.
    Made(Made),
    /// The stream has nothing to send now.
    Nothing,
    /// The window is full: an ACK brings the path back.
    Window,
    /// The pool is empty for this purpose, or the path holds its share.
    Pool,
    /// The stream cannot go on.
    Failed(Failure),
}

struct Made {
    kind: Kind,
    segments: Segments,
    infos: Vec<Info>,
}

impl Endpoint {
    pub(super) fn fill_paths<E: Environment>(&mut self, environment: &mut E, now_ns: u64) {
        // Paths that found the pool empty try again after something may have come home.
        for key in std::mem::take(&mut self.starved) {
            self.activate(key);
        }
        for _ in 0..self.active.len() {
            let Some(key) = self.active.pop_front() else { return };
            let Some(path) = self.paths.get_mut(key) else { continue };
            path.active = false;
            let limits = environment.burst_limits(&path.remote);
            self.fill_path(key, limits, now_ns);
        }
    }

    fn fill_path(&mut self, key: PathKey, limits: BurstLimits, now_ns: u64) {
        let mut blocked = Blocked::default();
        for _ in 0..MAX_TURNS {
            let Some(path) = self.paths.get_mut(key) else { return };
            let burst_packets =
                path.pacer.burst_packets(&path.controller, path.mtu, limits.max_segments, limits.max_bytes).max(1);
            let burst_bytes = (burst_packets as u64).saturating_mul(u64::from(path.mtu));
            let limit = path.schedule_limit(self.config.max_schedule_ahead_ns, burst_bytes);
            if path.scheduled_bytes > 0 && path.scheduled_bytes.saturating_add(burst_bytes) > limit {
                // A completion brings the path back.
                return;
            }
            let Some((turn, stream_key)) = path.schedule.pop(blocked) else { return };
            let Some(stream) = self.streams.get_mut(stream_key) else { continue };
            let wanted = match turn {
                TurnKind::Probe => stream.wants_probe(now_ns),
                TurnKind::Recovery => stream.wants_recovery(now_ns),
                TurnKind::Data => stream.wants_data(now_ns, self.config.max_in_flight_transmissions),
            };
            if !wanted {
                Self::unlist(stream, turn);
                self.after_turns(stream_key, now_ns);
                continue;
            }
            let mut infos = self.spare_infos.pop().unwrap_or_default();
            infos.clear();
            let pool = &self.pool;
            let result = match turn {
                TurnKind::Probe => Self::make_probe(stream, path, pool, infos),
                TurnKind::Recovery => Self::retransmit_if_room(stream, path, pool, infos),
                TurnKind::Data => {
                    let pool_bytes = self.config.pool_bytes;
                    Self::make_burst(stream, path, pool, pool_bytes, burst_packets, burst_bytes, infos)
                }
            };
            match result {
                Turn::Made(made) => {
                    Self::end_turn(stream, path, turn, made.segments.total_len() as u64, burst_bytes);
                    self.enqueue(stream_key, key, made, now_ns);
                }
                Turn::Nothing => {
                    Self::unlist(stream, turn);
                    self.after_turns(stream_key, now_ns);
                }
                Turn::Window => {
                    // An ACK brings the path back.
                    Self::push_front(stream, path, turn);
                    blocked.data = true;
                    blocked.recovery |= turn == TurnKind::Recovery;
                }
                Turn::Pool => {
                    Self::push_front(stream, path, turn);
                    self.stats.pool_exhausted = self.stats.pool_exhausted.saturating_add(1);
                    self.starved.push(key);
                    if turn != TurnKind::Data {
                        return;
                    }
                    blocked.data = true;
                }
                Turn::Failed(failure) => {
                    Self::unlist(stream, turn);
                    self.fail_stream(stream_key, failure, now_ns);
                }
            }
        }
        self.activate(key);
    }

    fn unlist(stream: &mut Stream, turn: TurnKind) {
        match turn {
            TurnKind::Probe => stream.listed.probe = false,
            TurnKind::Recovery => stream.listed.recovery = false,
            TurnKind::Data => stream.listed.data = false,
        }
    }

    /// The stream keeps its place.
    fn push_front(stream: &Stream, path: &mut Path, turn: TurnKind) {
        match turn {
            TurnKind::Probe => path.schedule.probes.push_front(stream.key),
            TurnKind::Recovery => path.schedule.recovery.push_front(stream.priority, stream.key),
            TurnKind::Data => path.schedule.data.push_front(stream.priority, stream.key),
        }
    }

    /// Deficit round robin: a turn is worth a burst; what is left of it lets the stream go on.
    fn end_turn(stream: &mut Stream, path: &mut Path, turn: TurnKind, bytes: u64, burst_bytes: u64) {
        match turn {
            TurnKind::Probe => stream.listed.probe = false,
            TurnKind::Recovery => path.schedule.recovery.push_back(stream.priority, stream.key),
            TurnKind::Data => {
                if stream.deficit == 0 {
                    stream.deficit = burst_bytes;
                }
                stream.deficit = stream.deficit.saturating_sub(bytes);
                if stream.deficit >= u64::from(path.mtu) {
                    path.schedule.data.push_front(stream.priority, stream.key);
                } else {
                    stream.deficit = 0;
                    path.schedule.data.push_back(stream.priority, stream.key);
                }
            }
        }
    }

    /// The stream has no more turn now: if it is the peer's window that stops it, a probe will ask for it.
    fn after_turns(&mut self, key: StreamKey, now_ns: u64) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        if stream.phase != Phase::Active || !stream.send.is_blocked() || !self.config.keep_alive {
            return;
        }
        let Some(path) = stream.path.and_then(|path| self.paths.get(path)) else { return };
        if stream.blocked_probes == 0 {
            let at = now_ns.saturating_add(path.controller.pto().saturating_mul(2));
            stream.next_probe_ns = stream.next_probe_ns.min(at);
            let at = stream.next_probe_ns;
            self.arm_stream_at(key, at);
        }
    }

    fn retransmit_if_room(stream: &mut Stream, path: &Path, pool: &Arc<Pool>, infos: Vec<Info>) -> Turn {
        let Some(lost) = stream.send.next_lost() else { return Turn::Nothing };
        let room = path.window_room();
        let idle = path.controller.bytes_in_flight() == 0 && path.scheduled_bytes == 0;
        if room < u64::from(lost.retained.len) && !idle && !path.controller.requires_fast_retransmission() {
            return Turn::Window;
        }
        Self::make_retransmission(stream, pool, Kind::Retransmission, infos)
    }

    /// Space for one packet, from the reserve: retransmissions and probes stay possible when data has taken everything else.
    fn packet_space(pool: &Arc<Pool>, len: usize) -> Option<paceline_pool::Unfilled> {
        pool.take(len, Purpose::Reserved).ok()
    }

    fn make_probe(stream: &mut Stream, path: &mut Path, pool: &Arc<Pool>, infos: Vec<Info>) -> Turn {
        let closing = matches!(stream.phase, Phase::Closing { .. });
        if !closing {
            if stream.send.next_lost().is_some() {
                stream.probes_owed = 0;
                return Self::make_retransmission(stream, pool, Kind::Retransmission, infos);
            }
            if Self::copy_oldest(stream) {
                stream.probes_owed = 0;
                return Self::make_retransmission(stream, pool, Kind::Probe, infos);
            }
            if stream.has_new_data() && path.window_room() > NO_ROOM_NEEDED {
                // New data asks for an acknowledgement just as well.
                stream.probes_owed = 0;
                let mtu = u64::from(path.mtu);
                return Self::make_burst(stream, path, pool, usize::MAX, 1, mtu, infos);
            }
        }
        Self::make_empty_probe(stream, pool, infos)
    }

    /// Puts a copy of the oldest packet in flight in front of the retransmissions, if it has data.
    fn copy_oldest(stream: &mut Stream) -> bool {
        let oldest = [&stream.send.stream_space, &stream.send.recovery_space]
            .into_iter()
            .filter_map(|map| map.oldest_in_flight())
            .filter(|sent| sent.retained.is_some())
            .min_by_key(|sent| sent.sent_ns);
        let Some(sent) = oldest else { return false };
        let Some(retained) = sent.retained.clone() else { return false };
        let copy = crate::stream::send::LostPacket {
            original: sent.original,
            offset: sent.offset,
            payload: sent.payload,
            fin: sent.fin,
            retained,
        };
        stream.send.held_bytes = stream.send.held_bytes.saturating_add(u64::from(copy.retained.len));
        stream.send.lost.push_front(copy);
        // What next_lost would drop as acknowledged cannot be in flight.
        true
    }

    fn header(stream: &Stream, number: u64, offset: u64, final_offset: Option<u64>) -> Option<stream::Header> {
        Some(stream::Header {
            credentials: stream.credentials?,
            queue_id: stream.peer_queue_id,
            source_queue_id: stream.announce_queue.then_some(stream.queue_id),
            number,
            next_expected_control: stream.next_expected_control,
            offset,
            final_offset,
            key_phase: stream.keys.as_ref()?.seal.phase(),
        })
    }

    fn make_empty_probe(stream: &mut Stream, pool: &Arc<Pool>, mut infos: Vec<Info>) -> Turn {
        let number = stream.send.next_recovery;
        let sealed_all = stream.send.buffer.len() == 0;
        let final_offset = stream.send.final_offset().filter(|_| sealed_all);
        let offset = stream.send.next_offset;
        let Some(header) = Self::header(stream, number, offset, final_offset) else { return Turn::Nothing };
        let Some(keys) = stream.keys.as_deref() else { return Turn::Nothing };
        let mut frames = [0u8; 32];
        let mut writer = paceline_wire::Writer::new(&mut frames);
        if let Phase::Closing { close, number: named, attempts } = &mut stream.phase {
            if frame::connection_close(&mut writer, close.transport, close.code).is_err() {
                return Turn::Nothing;
            }
            *named = Some(number);
            *attempts = attempts.saturating_add(1);
        }
        let frames_len = writer.len();
        let Some(mut unfilled) = Self::packet_space(pool, PROBE_BYTES) else { return Turn::Pool };
        let frames = frames.get(..frames_len).unwrap_or(&[]);
        let Ok(len) = stream::probe(&header, frames, &keys.control_seal, unfilled.buffer()) else {
            return Turn::Nothing;
        };
        stream.probes_owed = stream.probes_owed.saturating_sub(1);
        stream.send.next_recovery = number.saturating_add(1);
        let packet_len = u16::try_from(len).unwrap_or(u16::MAX);
        stream.send.insert(
            Space::Recovery,
            Sent {
                number,
                original: number,
                offset,
                payload: 0,
                packet_len,
                fin: final_offset.is_some(),
                state: State::Scheduled,
                sent_ns: 0,
                info: None,
                retained: None,
            },
        );
        infos.push(Info {
            number,
            space: Space::Recovery,
            packet_len,
            stream_offset: offset,
            payload_len: 0,
            included_fin: final_offset.is_some(),
            retransmission: false,
        });
        Turn::Made(Made { kind: Kind::Probe, segments: Segments::new(unfilled.fill(len), len), infos })
    }

    /// Copies the oldest lost packet into a descriptor of its own and patches it; its old descriptor is let go.
    fn make_retransmission(stream: &mut Stream, pool: &Arc<Pool>, kind: Kind, mut infos: Vec<Info>) -> Turn {
        let Some(keys) = stream.keys.as_deref() else { return Turn::Nothing };
        let next_recovery = stream.send.next_recovery;
        let Some(lost) = stream.send.lost.front() else { return Turn::Nothing };
        let len = usize::from(lost.retained.len);
        let Some(mut unfilled) = Self::packet_space(pool, len) else { return Turn::Pool };
        let Some(out) = unfilled.buffer().get_mut(..len) else { return Turn::Pool };
        let source = lost.retained.bytes();
        if source.len() != len {
            return Turn::Nothing;
        }
        out.copy_from_slice(source);
        // The offset on the wire is new − original and must be at least 1.
        let number = next_recovery.max(lost.original.saturating_add(1));
        if stream::retransmit(out, number, &keys.control_seal).is_err() {
            // A u32 offset is used up only after 2^32 packets between the two: the key is at its limit long before.
            return Turn::Failed(Failure::KeyLimit);
        }
        let filled = unfilled.fill(len);
        let packet_len = lost.retained.len;
        let sent = Sent {
            number,
            original: lost.original,
            offset: lost.offset,
            payload: lost.payload,
            packet_len,
            fin: lost.fin,
            state: State::Scheduled,
            sent_ns: 0,
            info: None,
            retained: Some(Retained { filled: filled.clone(), start: 0, len: packet_len }),
        };
        infos.push(Info {
            number,
            space: Space::Recovery,
            packet_len,
            stream_offset: sent.offset,
            payload_len: sent.payload,
            included_fin: sent.fin,
            retransmission: true,
        });
        stream.send.next_recovery = number.saturating_add(1);
        stream.send.pop_lost();
        stream.send.insert(Space::Recovery, sent);
        Turn::Made(Made { kind, segments: Segments::new(filled, len), infos })
    }

    #[allow(clippy::too_many_arguments, reason = "split borrows of the endpoint")]
    fn make_burst(
        stream: &mut Stream,
        path: &mut Path,
        pool: &Arc<Pool>,
        pool_bytes: usize,
        burst_packets: usize,
        burst_bytes: u64,
        infos: Vec<Info>,
    ) -> Turn {
        if !stream.has_new_data() {
            return Turn::Nothing;
        }
        let Some(packets) = Self::packets_allowed(stream, path, burst_packets, burst_bytes) else {
            return Turn::Window;
        };
        let Some(keys) = stream.keys.as_ref() else { return Turn::Nothing };
        let packets = packets.min(usize::try_from(keys.seal.remaining()).unwrap_or(usize::MAX));
        if packets == 0 {
            return Turn::Failed(Failure::KeyLimit);
        }
        let Some(plan) = Plan::new(stream, path, packets) else { return Turn::Nothing };
        if !path.may_hold(plan.bytes as u64, pool_bytes) {
            return Turn::Pool;
        }
        let Ok(unfilled) = pool.take(plan.bytes, Purpose::Data) else { return Turn::Pool };
        plan.seal(stream, unfilled, infos)
    }

    /// How many packets the window leaves for a burst; `None`: wait.
    ///
    /// When there is room for less than a burst and more than half of the window is in flight, an ACK is near: a whole burst
    /// then is cheaper than two halves now.
    fn packets_allowed(stream: &Stream, path: &Path, burst_packets: usize, burst_bytes: u64) -> Option<usize> {
        let wanted = stream.send.sealable().saturating_add(u64::from(path.mtu)).min(burst_bytes);
        let room = path.pacer.window_room(&path.controller, path.scheduled_bytes, wanted);
        let packets = usize::try_from(room / u64::from(path.mtu)).unwrap_or(0).min(burst_packets);
        if packets > 0 {
            return Some(packets);
        }
        let idle = path.controller.bytes_in_flight() == 0 && path.scheduled_bytes == 0;
        idle.then_some(1)
    }

    /// Gives a transmission its time and puts it into the wheel.
    fn enqueue(&mut self, key: StreamKey, path_key: PathKey, made: Made, now_ns: u64) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        let Some(path) = self.paths.get_mut(path_key) else { return };
        let Made { kind, segments, infos } = made;
        let bytes = segments.total_len() as u64;
        let scheduled_ns = path.pacer.schedule(now_ns, bytes, path.controller.rate());
        path.scheduled_bytes = path.scheduled_bytes.saturating_add(bytes);
        Self::charge_held(path, stream);
        stream.pending = stream.pending.saturating_add(1);
        let packets = infos.len() as u64;
        if kind != Kind::Data {
            stream.pending_recovery = stream.pending_recovery.saturating_add(1);
        }
        if infos.first().is_some_and(|info| info.retransmission) {
            path.packets_retransmitted = path.packets_retransmitted.saturating_add(packets);
            self.stats.packets_retransmitted = self.stats.packets_retransmitted.saturating_add(packets);
        }
        stream.transmissions = stream.transmissions.saturating_add(1);
        if !stream.recording {
            stream.unrecorded = stream.unrecorded.saturating_add(1);
        }
        self.stats.transmissions = self.stats.transmissions.saturating_add(1);
        self.stats.packets = self.stats.packets.saturating_add(packets);
        let transmission = Transmission {
            kind,
            remote: path.remote,
            local: path.local,
            ecn: ECN,
            priority: stream.priority,
            segments,
            infos,
            scheduled_ns,
            path: Some(path_key),
            stream: stream.id,
            key: Some(key),
            owner: Owner::Stream(Arc::downgrade(&stream.completions)),
            recorded: stream.recording,
        };
        if stream.news.progress || stream.wants_room.is_some() {
            stream.news.progress |= stream.has_awaited_progress();
            self.announce_progress(key);
        }
        self.schedule(transmission, scheduled_ns);
    }
}

/// The packets of a burst, before they are sealed.
struct Plan {
    header: stream::Header,
    layout: stream::Layout,
    packets: usize,
    payload_max: usize,
    /// Stream bytes in all.
    payload: u64,
    fin: bool,
    /// Bytes of all packets.
    bytes: usize,
}

impl Plan {
    fn new(stream: &Stream, path: &Path, packets: usize) -> Option<Self> {
        let send = &stream.send;
        let first_number = send.next_number;
        let last_number = first_number.saturating_add(packets as u64);
        let with_final = |final_offset| -> Option<(stream::Header, stream::Layout, usize)> {
            let header = Endpoint::header(stream, first_number, send.next_offset, final_offset)?;
            let last_offset = send.next_offset.saturating_add(send.sealable());
            let layout = stream::Layout::for_burst(&header, last_number, last_offset);
            let space = usize::from(path.mtu).checked_sub(layout.header_len(0))?.checked_sub(TAG_LEN)?;
            Some((header, layout, space / PAYLOAD_ALIGN * PAYLOAD_ALIGN))
        };
        // The final offset is named by every packet of the burst that reaches it, so that all are equally long.
        let (mut header, mut layout, mut payload_max) = with_final(None)?;
        let mut fin = false;
        if send.fin_due() {
            let (final_header, final_layout, final_max) = with_final(send.final_offset())?;
            if send.buffer.len() <= (final_max as u64).saturating_mul(packets as u64) {
                (header, layout, payload_max) = (final_header, final_layout, final_max);
                fin = true;
            }
        }
        if payload_max == 0 {
            return None;
        }
        let payload = send.sealable().min((payload_max as u64).saturating_mul(packets as u64));
        let packets = usize::try_from(payload.div_ceil(payload_max as u64)).ok()?.max(1);
        let last = usize::try_from(payload.saturating_sub((payload_max as u64).saturating_mul(packets as u64 - 1))).ok()?;
        let bytes = layout
            .packet_len(payload_max)
            .saturating_mul(packets.saturating_sub(1))
            .saturating_add(layout.packet_len(last));
        Some(Self { header, layout, packets, payload_max, payload, fin, bytes })
    }

    fn seal(mut self, stream: &mut Stream, mut unfilled: paceline_pool::Unfilled, mut infos: Vec<Info>) -> Turn {
        let Some(keys) = stream.keys.as_mut() else { return Turn::Nothing };
        let send = &mut stream.send;
        let buffer = unfilled.buffer();
        let mut written = 0usize;
        let mut left = usize::try_from(self.payload).unwrap_or(usize::MAX);
        for index in 0..self.packets {
            let payload = send.buffer.peek(left.min(self.payload_max));
            let Some(out) = buffer.get_mut(written..) else { return Turn::Nothing };
            let Ok(len) = stream::seal(&self.header, &self.layout, &mut keys.seal, payload, out) else {
                return Turn::Failed(Failure::KeyLimit);
            };
            let payload_len = payload.len();
            let last = index.saturating_add(1) == self.packets;
            infos.push(Info {
                number: self.header.number,
                space: Space::Stream,
                packet_len: u16::try_from(len).unwrap_or(u16::MAX),
                stream_offset: self.header.offset,
                payload_len: u16::try_from(payload_len).unwrap_or(u16::MAX),
                included_fin: self.fin && last,
                retransmission: false,
            });
            send.buffer.advance(payload_len);
            send.next_offset = send.next_offset.saturating_add(payload_len as u64);
            self.header.number = self.header.number.saturating_add(1);
            self.header.offset = send.next_offset;
            written = written.saturating_add(len);
            left = left.saturating_sub(payload_len);
        }
        send.next_number = self.header.number;
        if self.fin {
            send.fin = Fin::Sealed;
        }
        stream.announce = false;
        let filled = unfilled.fill(written);
        Self::retain(stream, &filled, &infos);
        let segment_len = infos.first().map_or(written, |info| usize::from(info.packet_len));
        Turn::Made(Made { kind: Kind::Data, segments: Segments::new(filled, segment_len), infos })
    }

    /// Every packet keeps the descriptor alive until it is acknowledged or lost.
    fn retain(stream: &mut Stream, filled: &Filled, infos: &[Info]) {
        let mut start = 0u32;
        for info in infos {
            stream.send.insert(
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
}
