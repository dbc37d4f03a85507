//! Datagrams that arrived: to whom they belong, whether they are genuine, what they say.
//!
//! Nothing changes before a packet has opened: credentials, window, final size and duplicates are looked at first, then the
//! packet is opened, then filter, flags and offsets change. Nothing is answered that did not authenticate.

use super::{Endpoint, Random};
use crate::{
    buffer::{
        reassembly::{Placement, Violation},
        replay::Verdict,
    },
    environment::Received,
    error::Failure,
    path::{Accepted, validation::Address},
    stats::{EndpointStats, count},
    stream::Phase,
    transmission::{Ecn, PathKey, Space, StreamKey},
};
use paceline_wire::{
    AuthError, CredentialId, Opener, StreamKeys,
    frame::{Frame, Frames},
    packet::{self, control, stream},
};

/// RFC 9000 §20.1.
mod transport_error {
    pub(super) const FLOW_CONTROL: u64 = 0x03;
    pub(super) const FINAL_SIZE: u64 = 0x06;
    pub(super) const FRAME_ENCODING: u64 = 0x07;
    pub(super) const PROTOCOL_VIOLATION: u64 = 0x0a;
}
/// What dcQUIC peers close a stream with that they have no place for.
pub(super) const CODE_REFUSED: u64 = 2;

/// Why a datagram was dropped: [`stats::Dropped`](crate::stats::Dropped) says more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dropped {
    Malformed,
    UnknownPath,
    UnknownStream,
    NotAuthentic,
    Duplicate,
    UsedKeyId,
    Window,
    NoRoom,
}

impl Dropped {
    fn count(self, stats: &mut EndpointStats) {
        let dropped = &mut stats.dropped;
        count(&mut stats.packets_dropped);
        count(match self {
            Self::Malformed => &mut dropped.malformed,
            Self::UnknownPath => &mut dropped.unknown_path,
            Self::UnknownStream => &mut dropped.unknown_stream,
            Self::NotAuthentic => &mut dropped.not_authentic,
            Self::Duplicate => &mut dropped.duplicate,
            Self::UsedKeyId => &mut dropped.used_key_id,
            Self::Window => &mut dropped.window,
            Self::NoRoom => &mut dropped.no_room,
        });
    }
}

impl Endpoint {
    pub(super) fn on_received(&mut self, received: &Received, random: Random<'_>) {
        for datagram in received.segments.iter() {
            self.stats.packets_received = self.stats.packets_received.saturating_add(1);
            self.stats.bytes_received = self.stats.bytes_received.saturating_add(datagram.len() as u64);
            if received.ecn == Ecn::Ce {
                count(&mut self.stats.ecn_ce_received);
            }
            let Some(first) = datagram.first() else { continue };
            let verdict = match packet::classify(*first) {
                packet::Kind::Stream => self.on_stream_datagram(datagram, received, random),
                packet::Kind::Control => self.on_control_datagram(datagram, received),
                packet::Kind::SecretControl => self.on_secret_control(datagram, received),
                packet::Kind::Handshake => {
                    self.handshake.receive(received.at_ns, received.remote, received.local, datagram, random);
                    self.collect_handshake(received.at_ns, random);
                    Ok(())
                }
                packet::Kind::Datagram | packet::Kind::Invalid => Err(Dropped::Malformed),
            };
            match verdict {
                Ok(()) => self.note_received(datagram, received),
                Err(dropped) => dropped.count(&mut self.stats),
            }
        }
    }

    /// An authentic datagram from an address that has not proved itself: three times as much may be answered.
    fn note_received(&mut self, datagram: &[u8], received: &Received) {
        if self.unproven_paths == 0 {
            return;
        }
        // The credential id follows the first byte in all packets of streams.
        let Some(id) = datagram.get(1..).and_then(<[u8]>::first_chunk) else { return };
        let Some(key) = self.by_credential.get(&CredentialId(*id)).copied() else { return };
        let Some(path) = self.paths.get_mut(key) else { return };
        if path.remote == received.remote {
            path.address.on_received(datagram.len() as u64);
            self.activate(key);
        } else if path.proven == received.remote && !path.address.is_validated() {
            // Somebody sent a copy of the first packet on from elsewhere, and it was here first.
            path.move_to(received.remote, received.local);
            self.prove_address(key);
            for id in self.peers_of(key) {
                if let Some(peer) = self.peers.get_mut(&id) {
                    peer.remote = received.remote;
                    self.tell_peer(id, received.remote, true, Some(key), None);
                }
            }
        }
    }

    fn on_stream_datagram(
        &mut self,
        datagram: &[u8],
        received: &Received,
        random: Random<'_>,
    ) -> Result<(), Dropped> {
        let packet = stream::Packet::decode(datagram).map_err(|_| Dropped::Malformed)?;
        if !packet.is_reliable() || !packet.is_bidirectional() {
            return Err(Dropped::Malformed);
        }
        let queue_id = packet.queue_id();
        if queue_id != 0 {
            return match self.by_queue(queue_id) {
                Some(key) => self.on_stream_packet(key, &packet, received),
                None => self.on_late(queue_id, &packet, datagram.len(), received),
            };
        }
        let credentials = packet.credentials();
        let Some(path_key) = self.by_credential.get(&credentials.id).copied() else {
            if !self.half_open.contains_key(&credentials.id) {
                let source = packet.source_queue_id();
                return Err(self.on_unknown_credentials(&credentials.id, source, datagram.len(), received));
            }
            return self.on_half_open_packet(&packet, received, random);
        };
        let path = self.paths.get(path_key).ok_or(Dropped::UnknownPath)?;
        match path.accepted.get(&credentials.key_id).copied() {
            Some(Accepted::Live(key)) => self.on_stream_packet(key, &packet, received),
            Some(Accepted::TimeWait(queue_id)) => self.answer_late(queue_id, &packet, received.at_ns),
            None => self.on_first_packet(path_key, &packet, datagram.len(), received),
        }
    }

    pub(super) fn knows_credentials(&self, id: &CredentialId) -> bool {
        self.by_credential.contains_key(id) || self.half_open.contains_key(id)
    }

    /// An authentic packet confirms a half-open path, as its Confirm would.
    fn on_half_open_packet(
        &mut self,
        packet: &stream::Packet<'_>,
        received: &Received,
        random: Random<'_>,
    ) -> Result<(), Dropped> {
        let credentials = packet.credentials();
        let established = self.half_open.get(&credentials.id).ok_or(Dropped::UnknownPath)?;
        let keys = established.secret.stream_keys(credentials.key_id, Opener::Remote);
        let out = self.scratch.get_mut(..packet.payload_len()).ok_or(Dropped::Malformed)?;
        open(packet, &keys, out).map_err(|_| Dropped::NotAuthentic)?;
        self.upkeep.source = Some((received.remote, received.local));
        self.handshake.on_authentic(received.at_ns, &credentials.id);
        self.collect_handshake(received.at_ns, random);
        self.upkeep.source = None;
        let path_key = self.by_credential.get(&credentials.id).copied().ok_or(Dropped::UnknownPath)?;
        // A reply about a used key id is for paths that were confirmed before.
        self.on_first_packet(path_key, packet, 0, received)
    }

    /// The first packet of a key id: nothing is sealed or kept before it has passed authentication and the replay check.
    fn on_first_packet(
        &mut self,
        path_key: PathKey,
        packet: &stream::Packet<'_>,
        packet_len: usize,
        received: &Received,
    ) -> Result<(), Dropped> {
        let credentials = packet.credentials();
        let path = self.paths.get_mut(path_key).ok_or(Dropped::UnknownPath)?;
        let verdict = path.replay.check(credentials.key_id);
        if verdict != Verdict::New && !planted!(self.config, ReplayIsAccepted) {
            return Err(self.on_used_key_id(path_key, packet, verdict, packet_len, received));
        }
        if packet.end_offset() > self.config.initial_window {
            return Err(Dropped::Window);
        }
        let keys = path.secret.stream_keys(credentials.key_id, Opener::Remote);
        let out = self.scratch.get_mut(..packet.payload_len()).ok_or(Dropped::Malformed)?;
        open(packet, &keys, out).map_err(|_| Dropped::NotAuthentic)?;
        path.replay.accept(credentials.key_id);
        path.life.on_authentic();
        let answer_to = path.answer_to(received.remote, received.local);
        let peer_queue_id = packet.source_queue_id().unwrap_or(0);
        let limit = self.config.max_incoming_streams;
        if path.is_untold(limit) {
            self.recheck_untold();
        }
        let path = self.paths.get(path_key).ok_or(Dropped::UnknownPath)?;
        let admitted = path.admits_incoming(limit)
            && !path.is_untold(limit)
            && path.life.phase.accepts()
            && !self.shutting_down;
        if !admitted || self.streams.is_full() {
            return self.refuse(path_key, packet, &keys, answer_to, received.at_ns);
        }
        let key = self
            .accept_stream(path_key, credentials, keys, peer_queue_id, received.at_ns)
            .ok_or(Dropped::NoRoom)?;
        if let Some(stream) = self.streams.get_mut(key) {
            stream.answer_to = answer_to;
        }
        // The window is empty, so this is all that it could object to.
        if packet.final_offset().is_some_and(|size| size < packet.end_offset()) {
            let failure = Failure::PeerViolation(transport_error::FINAL_SIZE);
            self.fail_stream(key, failure, received.at_ns);
        } else {
            self.deliver_scratch(key, packet, received);
        }
        Ok(())
    }

    fn on_stream_packet(
        &mut self,
        key: StreamKey,
        packet: &stream::Packet<'_>,
        received: &Received,
    ) -> Result<(), Dropped> {
        let stream = self.streams.get_mut(key).ok_or(Dropped::UnknownStream)?;
        if stream.credentials != Some(packet.credentials()) {
            return Err(Dropped::UnknownStream);
        }
        if stream.recv.is_duplicate(space_of(packet), packet.number()) {
            return Err(Dropped::Duplicate);
        }
        let keys = stream.keys.as_deref().ok_or(Dropped::UnknownStream)?;
        let offset = packet.offset();
        let len = packet.payload_len();
        let placement = stream.recv.buffer.check(offset, len, packet.final_offset());
        let violation = match placement {
            Ok(Placement::Direct) if stream.phase == Phase::Active && len > 0 => {
                let out = stream.recv.buffer.direct(offset, len).ok_or(Dropped::Window)?;
                open(packet, keys, out).map_err(|_| Dropped::NotAuthentic)?;
                stream.recv.buffer.commit(offset, len, packet.final_offset());
                self.stats.stream_bytes_received =
                    self.stats.stream_bytes_received.saturating_add(len as u64);
                self.after_stream_packet(key, packet, received);
                return Ok(());
            }
            // Played back, or overtaken by a round trip and everything it carried: no sign of life.
            Ok(Placement::Duplicate) if stream.recv.is_forgotten(space_of(packet), packet.number()) => {
                return Err(Dropped::Duplicate);
            }
            Ok(_) => None,
            // Not kept and so not acknowledged: the peer will send it again when some gaps are closed.
            Err(Violation::TooManyGaps) => return Err(Dropped::Window),
            Err(Violation::FlowControl) => Some(transport_error::FLOW_CONTROL),
            Err(Violation::FinalSize) => Some(transport_error::FINAL_SIZE),
        };
        let out = self.scratch.get_mut(..len).ok_or(Dropped::Malformed)?;
        open(packet, keys, out).map_err(|_| Dropped::NotAuthentic)?;
        match violation {
            Some(code) => self.fail_stream(key, Failure::PeerViolation(code), received.at_ns),
            None => self.deliver_scratch(key, packet, received),
        }
        Ok(())
    }

    /// The payload of an authentic packet lies in `scratch`.
    fn deliver_scratch(&mut self, key: StreamKey, packet: &stream::Packet<'_>, received: &Received) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        if stream.phase == Phase::Active {
            let payload = self.scratch.get(..packet.payload_len()).unwrap_or(&[]);
            let new = stream.recv.buffer.write(packet.offset(), payload, packet.final_offset(), &|| {
                self.shared.received.take_recycled()
            });
            self.stats.stream_bytes_received = self.stats.stream_bytes_received.saturating_add(new);
        }
        self.after_stream_packet(key, packet, received);
    }

    /// The packet was authentic and is stored: it is acknowledged, and what it says besides is heard.
    fn after_stream_packet(&mut self, key: StreamKey, packet: &stream::Packet<'_>, received: &Received) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        if let Some(keys) = &mut stream.keys
            && !packet.is_probe()
        {
            // The peer's key phase moves on with the first packet that opens in the next one.
            keys.open.opened(packet.key_phase());
        }
        // An empty packet asks for something: credit, or whether we are there.
        let matters = packet.is_probe() || packet.payload_len() == 0 || packet.final_offset().is_some();
        stream.recv.on_packet(space_of(packet), packet.number(), received.ecn, matters, received.at_ns);
        if let Some(sent_ns) = stream.recv.on_control_echo(packet.next_expected_control())
            && let Some(path) = stream.path.and_then(|path| self.paths.get_mut(path))
        {
            path.echo.add(received.at_ns.saturating_sub(sent_ns));
        }
        if stream.opener == Opener::Remote {
            if packet.next_expected_control() > 0 {
                stream.announce_queue = false;
            }
            if let Some(id) = packet.source_queue_id() {
                stream.peer_queue_id = id;
            }
        }
        let complete = stream.recv.buffer.is_complete();
        if stream.recv.stopped && complete {
            stream.recv.finished = true;
        }
        let readable = complete || stream.recv.buffer.contiguous_end() > stream.recv.buffer.read_offset();
        if self.unproven_paths > 0 && packet.next_expected_control() > 0 {
            self.validate_address(key, received);
        }
        self.heard(key, packet.source_queue_id(), packet.datagram_len(), received.at_ns);
        if readable {
            self.announce(key);
        }
        if !packet.control_data().is_empty() {
            for frame in Frames::new(packet.control_data()) {
                if let Ok(Frame::ConnectionClose { transport, code }) = frame {
                    self.on_close(key, transport, code, received.at_ns);
                    break;
                }
            }
        }
        self.owe_control(key);
    }

    /// Something authentic came for the stream.
    fn heard(&mut self, key: StreamKey, source_queue_id: Option<u64>, datagram_len: usize, now_ns: u64) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        stream.last_heard_ns = stream.last_heard_ns.max(now_ns);
        stream.asked_ns = None;
        let Some(path_key) = stream.path else { return };
        let first = !stream.answered;
        if stream.opener == Opener::Local {
            stream.answered = true;
            stream.announce_queue = false;
            if let Some(id) = source_queue_id {
                stream.peer_queue_id = id;
            }
        }
        let Some(path) = self.paths.get_mut(path_key) else { return };
        path.tally.on_received(datagram_len as u64);
        // A close goes on being repeated, whatever the peer says meanwhile.
        if self.config.keep_alive && stream.phase == Phase::Active && !stream.send.is_blocked() {
            stream.next_probe_ns = now_ns.saturating_add(path.idle_timeout_ns / 3);
        }
        if first {
            let id = path.credential_id;
            path.life.on_authentic();
            self.handshake.on_authentic(now_ns, &id);
            self.start_waiting(path_key, now_ns);
        }
    }

    fn on_control_datagram(&mut self, datagram: &[u8], received: &Received) -> Result<(), Dropped> {
        let packet = control::Packet::decode(datagram).map_err(|_| Dropped::Malformed)?;
        let queue_id = packet.queue_id().ok_or(Dropped::Malformed)?;
        let Some(key) = self.by_queue(queue_id) else {
            let id = packet.credentials().id;
            // Not of a stream in time-wait: acknowledging an acknowledgement would never end.
            if self.knows(&id, queue_id) {
                return Err(Dropped::UnknownStream);
            }
            return Err(self.on_unknown_credentials(&id, packet.source_queue_id(), datagram.len(), received));
        };
        let stream = self.streams.get_mut(key).ok_or(Dropped::UnknownStream)?;
        if stream.credentials != Some(packet.credentials()) {
            return Err(Dropped::UnknownStream);
        }
        let keys = stream.keys.as_deref().ok_or(Dropped::UnknownStream)?;
        packet.verify(&keys.control_open).map_err(|_| Dropped::NotAuthentic)?;
        let newest = packet.number() >= stream.next_expected_control;
        stream.next_expected_control = stream.next_expected_control.max(packet.number().saturating_add(1));
        if stream.opener == Opener::Remote {
            stream.announce_queue = false;
        }
        if self.unproven_paths > 0 {
            self.validate_address(key, received);
        }
        // One that was overtaken or played back may say something, but it is no sign of life.
        if newest && !planted!(self.config, ControlIsNotHeard) {
            self.heard(key, packet.source_queue_id(), packet.datagram_len(), received.at_ns);
        }
        if planted!(self.config, AckIsAcknowledged)
            && let Some(stream) = self.streams.get_mut(key)
        {
            stream.recv.ack_due |= stream.send.in_flight == 0;
            self.owe_control(key);
        }
        self.on_control_frames(key, packet.control_data(), received.at_ns);
        Ok(())
    }

    /// Only who received something of ours can send a control packet, as it acknowledges, or echo the number of one.
    fn validate_address(&mut self, key: StreamKey, received: &Received) {
        let path_key = self.streams.get(key).and_then(|stream| stream.path);
        if let Some(path_key) = path_key
            && let Some(path) = self.paths.get(path_key)
            && path.remote == received.remote
            && !path.address.is_validated()
        {
            self.prove_address(path_key);
        }
    }

    fn prove_address(&mut self, key: PathKey) {
        if let Some(path) = self.paths.get_mut(key) {
            path.address = Address::Validated;
            self.unproven_paths = self.unproven_paths.saturating_sub(1);
            self.activate(key);
        }
    }

    fn on_control_frames(&mut self, key: StreamKey, frames: &[u8], now_ns: u64) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        let Some(path_key) = stream.path else { return };
        let Some(path) = self.paths.get_mut(path_key) else { return };
        let mut violation = None;
        let mut close = None;
        let mut counts = None;
        let mut close_acknowledged = false;
        path.recovery.batch.at_ns = path.recovery.batch.at_ns.max(now_ns);
        for frame in Frames::new(frames) {
            match frame {
                Ok(Frame::Ack(ack)) => {
                    let space = if ack.ecn.is_some() { Space::Stream } else { Space::Recovery };
                    counts = counts.or(ack.ecn);
                    for range in ack.ranges() {
                        let (first, last) = range.into_inner();
                        if let Phase::Closing { number: Some(number), .. } = stream.phase {
                            close_acknowledged |=
                                space == Space::Recovery && first <= number && number <= last;
                        }
                        let controller = &mut path.controller;
                        let batch = &mut path.recovery.batch;
                        if stream.send.on_acknowledged(space, first, last, now_ns, controller, batch).is_err()
                        {
                            violation = Some(transport_error::PROTOCOL_VIOLATION);
                        }
                    }
                }
                Ok(Frame::MaxData(limit)) => {
                    if limit > stream.send.max_data {
                        stream.send.max_data = limit;
                        stream.blocked_probes = 0;
                    }
                }
                Ok(Frame::ConnectionClose { transport, code }) => close = Some((transport, code)),
                Ok(Frame::Padding(_) | Frame::Ping | Frame::Other) => {}
                Err(_) => violation = Some(transport_error::FRAME_ENCODING),
            }
        }
        if let Some(counts) = counts
            && counts.ce.saturating_add(counts.ect0) >= stream.send.ecn_marked
        {
            // An ACK that was overtaken says less than is known.
            stream.send.ecn_marked = counts.ce.saturating_add(counts.ect0);
            path.ecn.on_counts(counts, stream.send.acknowledged_packets);
            let new = counts.ce.saturating_sub(stream.send.ecn_ce);
            stream.send.ecn_ce = stream.send.ecn_ce.max(counts.ce);
            if path.ecn.is_capable() {
                path.recovery.batch.ecn_ce = path.recovery.batch.ecn_ce.saturating_add(new);
            }
        }
        let threshold = path.recovery.thresholds.packets();
        for space in [Space::Stream, Space::Recovery] {
            stream.send.detect_reordered(space, threshold, &mut path.recovery.batch);
        }
        stream.news.progress |= stream.has_awaited_progress();
        let progress = stream.news.progress;
        self.list_for_settling(path_key);
        self.trim_stream(key, now_ns);
        if progress {
            self.announce(key);
        }
        if let Some(code) = violation {
            self.fail_stream(key, Failure::PeerViolation(code), now_ns);
        } else if let Some((transport, code)) = close {
            self.on_close(key, transport, code, now_ns);
        } else if close_acknowledged {
            self.drain_stream(key, now_ns);
        } else {
            self.finish_if_over(key, now_ns);
        }
        self.make_ready(key, now_ns);
    }

    /// The peer ended the stream. A close never acknowledges anything, whatever its code.
    fn on_close(&mut self, key: StreamKey, transport: bool, code: u64, now_ns: u64) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        match stream.phase {
            Phase::Closing { .. } => {
                self.drain_stream(key, now_ns);
                return;
            }
            Phase::Draining | Phase::Waiting => return,
            Phase::Active => {}
        }
        let failure = match (transport, code) {
            (true, 0) => Failure::KeyRejected,
            (true, code) => Failure::Protocol(code),
            (false, CODE_REFUSED) => Failure::StreamRefused,
            (false, code) => Failure::PeerReset(code),
        };
        self.lose_stream(key, failure, now_ns);
    }
}

pub(super) fn space_of(packet: &stream::Packet<'_>) -> Space {
    match packet.space() {
        stream::Space::Stream => Space::Stream,
        stream::Space::Recovery => Space::Recovery,
    }
}

/// Opens a packet of either key phase: the peer may have moved on by one.
pub(super) fn open(packet: &stream::Packet<'_>, keys: &StreamKeys, out: &mut [u8]) -> Result<(), AuthError> {
    packet.open(&keys.open, &keys.control_open, out)
}

/// ECN of packets that carry stream data and its acknowledgements.
pub(super) const ECN: Ecn = Ecn::Ect0;
