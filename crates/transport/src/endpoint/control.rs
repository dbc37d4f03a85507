//! Control packets: the newest state of a receiving half, at priority 0, at most two out per stream.
//!
//! An acknowledgement owed is a flag, so what is encoded is always the newest state, and a peer that floods us makes us owe
//! one packet, not many.

use super::{Endpoint, timers::Timer};
use crate::{
    stream::{Phase, recv::MAX_CONTROL_OUT},
    transmission::{Ecn, Kind, Owner, StreamKey, Transmission},
};
use paceline_pool::{Purpose, Segments};
use paceline_wire::packet::control;
use std::sync::Arc;

/// Upstream sizes control packets to this.
const MAX_CONTROL_PACKET: usize = 1200;
/// Header and tag of a control packet, at most.
const OVERHEAD: usize = 80;

impl Endpoint {
    /// The stream owes its peer a control packet.
    pub(super) fn owe_control(&mut self, key: StreamKey) {
        if let Some(stream) = self.streams.get_mut(key)
            && !stream.control_listed
            && stream.recv.control_out < MAX_CONTROL_OUT
        {
            stream.control_listed = true;
            self.control_due.push_back(key);
        }
    }

    pub(super) fn fill_control(&mut self, now_ns: u64) {
        while let Some(key) = self.control_due.pop_front() {
            let Some(stream) = self.streams.get_mut(key) else { continue };
            stream.control_listed = false;
            if self.ack_waits(key, now_ns) {
                continue;
            }
            let Some(stream) = self.streams.get_mut(key) else { continue };
            if stream.recv.ack_due
                && stream.recv.control_out < MAX_CONTROL_OUT
                && !self.send_control(key, now_ns)
            {
                // The reserve is used up: the flag stays, and the next packet or completion brings the stream back.
                self.busy = true;
                return;
            }
            self.finish_if_over(key, now_ns);
        }
    }

    /// Whether the acknowledgement of the stream has time; then there is a timer.
    fn ack_waits(&mut self, key: StreamKey, now_ns: u64) -> bool {
        let Some(stream) = self.streams.get_mut(key) else { return false };
        let rtt_ns = stream.path.and_then(|path| self.paths.get(path)).and_then(|path| path.echo.rtt());
        let Some(at_ns) = stream.recv.eagerness.waits_until(now_ns, rtt_ns) else { return false };
        if stream.phase != Phase::Active || !stream.recv.ack_due {
            return false;
        }
        // A full wheel: it has no time.
        let armed = stream.recv.eagerness.armed || self.timers.insert(at_ns, Timer::Ack(key));
        stream.recv.eagerness.armed = armed;
        armed
    }

    /// It had time until now, or until something later came to be known.
    pub(super) fn on_ack_timer(&mut self, key: StreamKey) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        stream.recv.eagerness.armed = false;
        if stream.recv.ack_due {
            self.owe_control(key);
        }
    }

    fn send_control(&mut self, key: StreamKey, now_ns: u64) -> bool {
        let Some(stream) = self.streams.get_mut(key) else { return true };
        let path = stream.path.and_then(|path| Some((path, self.paths.get(path)?)));
        let keys = stream.keys.as_ref().zip(stream.credentials);
        let (Some((path_key, path)), Some((keys, credentials))) = (path, keys) else {
            // Nobody to tell: the debt is void, or the stream could never end.
            stream.recv.ack_due = false;
            return true;
        };
        let room = usize::try_from(path.address.room()).unwrap_or(usize::MAX).min(MAX_CONTROL_PACKET);
        if !path.address.has_room() {
            // The flag stays; what arrives from the unproven address brings the stream back. Who waits for nothing any more owes
            // nothing, or the stream could never end.
            stream.recv.ack_due &= stream.phase == Phase::Active;
            return true;
        }
        let Ok(mut unfilled) = self.pool.take(MAX_CONTROL_PACKET, Purpose::Control) else {
            return false;
        };
        let header = control::Header {
            credentials,
            queue_id: Some(stream.peer_queue_id),
            source_queue_id: stream.announce_queue.then_some(stream.queue_id),
            number: stream.recv.next_control,
        };
        let mut frames = [0u8; MAX_CONTROL_PACKET];
        let space = frames.get_mut(..room.saturating_sub(OVERHEAD)).unwrap_or_default();
        let len = stream.recv.encode_control(None, space, now_ns);
        let frames = frames.get(..len).unwrap_or(&[]);
        let Ok(len) = control::encode(&header, frames, &keys.control_seal, unfilled.buffer()) else {
            return true;
        };
        let filled = unfilled.fill(len);
        stream.recv.control_out = stream.recv.control_out.saturating_add(1);
        self.stats.control_transmissions = self.stats.control_transmissions.saturating_add(1);
        let (remote, local) = path.destination(stream.answer_to);
        let transmission = Transmission {
            kind: Kind::Control,
            remote,
            local,
            // dcQUIC counts the marks of stream packets only: on control they would tell nobody anything.
            ecn: Ecn::NotEct,
            priority: 0,
            segments: Segments::new(filled, len),
            infos: Vec::new(),
            scheduled_ns: now_ns,
            path: Some(path_key),
            stream: stream.id,
            key: Some(key),
            owner: Owner::Stream(Arc::downgrade(&stream.completions)),
            recorded: false,
        };
        self.schedule(transmission, now_ns);
        true
    }
}
