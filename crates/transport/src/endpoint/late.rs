//! Packets of streams that are over, or for which there was no room: acknowledged, or told of the close.

use super::{
    Endpoint,
    receive::{CODE_REFUSED, Dropped, open, space_of},
    time_wait::{self, Entry},
};
use crate::{
    environment::Received,
    path::{Accepted, Destination},
    stream::recv::{Close, Recv},
    transmission::{Kind, PathKey},
};
use paceline_wire::{
    CredentialId, Opener, StreamKeys, Writer,
    packet::{control, stream},
};

/// Frames of an answer, and the packet around them: header and tag take less than 80 bytes.
const MAX_FRAMES: usize = time_wait::MAX_ACKS + 64;
const MAX_PACKET: usize = MAX_FRAMES + 96;

impl Endpoint {
    /// A packet for a queue id that is nobody's now: of a stream that is over, or of another life of this endpoint.
    pub(super) fn on_late(
        &mut self,
        queue_id: u64,
        packet: &stream::Packet<'_>,
        packet_len: usize,
        received: &Received,
    ) -> Result<(), Dropped> {
        let Err(dropped) = self.answer_late(queue_id, packet, received.at_ns) else { return Ok(()) };
        let id = packet.credentials().id;
        if self.knows(&id, queue_id) {
            return Err(dropped);
        }
        Err(self.on_unknown_credentials(&id, packet.source_queue_id(), packet_len, received))
    }

    /// Whether the credentials, or at least the queue id, mean something here.
    pub(super) fn knows(&self, id: &CredentialId, queue_id: u64) -> bool {
        self.knows_credentials(id) || self.time_wait.contains(queue_id)
    }

    /// A packet of a stream that is over: answered if it is authentic and new.
    pub(super) fn answer_late(
        &mut self,
        queue_id: u64,
        packet: &stream::Packet<'_>,
        now_ns: u64,
    ) -> Result<(), Dropped> {
        let credentials = packet.credentials();
        let entry = self.time_wait.find(queue_id, &credentials).ok_or(Dropped::UnknownStream)?;
        if !entry.expects(space_of(packet), packet.number()) {
            return Err(Dropped::Duplicate);
        }
        let mut keys = entry.route.secret.stream_keys(credentials.key_id, entry.opener);
        if let Some(phase) = &entry.phase {
            keys.open = keys.open.resume(phase);
        }
        let out = self.scratch.get_mut(..packet.payload_len()).ok_or(Dropped::Malformed)?;
        open(packet, &keys, out).map_err(|_| Dropped::NotAuthentic)?;
        self.answer(queue_id, packet, &keys, now_ns)
    }

    /// The first packet of a stream for which there is no room, an authentic one: it is told so, and so are those after it.
    pub(super) fn refuse(
        &mut self,
        path_key: PathKey,
        packet: &stream::Packet<'_>,
        keys: &StreamKeys,
        answer_to: Option<Destination>,
        now_ns: u64,
    ) -> Result<(), Dropped> {
        let path = self.paths.get_mut(path_key).ok_or(Dropped::UnknownPath)?;
        let key_id = packet.credentials().key_id;
        let entry = Entry {
            route: path.route_to(answer_to),
            key_id,
            opener: Opener::Remote,
            peer_queue_id: packet.source_queue_id().unwrap_or(0),
            frames: Entry::farewell(Close { transport: false, code: CODE_REFUSED }),
            closed: true,
            phase: None,
            next_control: 0,
            expected: [0; 2],
            answers: 0,
        };
        let queue_id = self.time_wait.next_nameless();
        path.accepted.insert(key_id, Accepted::TimeWait(queue_id));
        let expires_ns = now_ns.saturating_add(path.idle_timeout() / 3);
        if let Some(evicted) = self.time_wait.insert(queue_id, entry, expires_ns) {
            self.forget_time_wait(&evicted);
        }
        self.answer(queue_id, packet, keys, now_ns)
    }

    /// Answers an authentic packet of a stream in time-wait.
    fn answer(
        &mut self,
        queue_id: u64,
        packet: &stream::Packet<'_>,
        keys: &StreamKeys,
        now_ns: u64,
    ) -> Result<(), Dropped> {
        let credentials = packet.credentials();
        let (space, number) = (space_of(packet), packet.number());
        let entry = self.time_wait.find(queue_id, &credentials).ok_or(Dropped::UnknownStream)?;
        let mut frames = [0u8; MAX_FRAMES];
        let said = entry.frames.len();
        let (words, rest) = frames.split_at_mut_checked(said).ok_or(Dropped::NoRoom)?;
        words.copy_from_slice(&entry.frames);
        let mut writer = Writer::new(rest);
        if !entry.closed && !Recv::encode_late_ack(space, number, &mut writer) {
            return Err(Dropped::NoRoom);
        }
        let len = said.saturating_add(writer.len());
        let header = control::Header {
            credentials,
            queue_id: Some(entry.peer_queue_id),
            source_queue_id: None,
            number: entry.note_answer(space, number),
        };
        let (remote, local) = (entry.route.remote, entry.route.local);
        let mut answer = [0u8; MAX_PACKET];
        let frames = frames.get(..len).unwrap_or(&[]);
        let len =
            control::encode(&header, frames, &keys.control_seal, &mut answer).map_err(|_| Dropped::NoRoom)?;
        self.send_datagram(answer.get(..len).ok_or(Dropped::NoRoom)?, remote, local, Kind::Control, now_ns);
        Ok(())
    }
}
