//! Pulls bytes out of streams into the wheel, path by path.
//!
//! A path gives out turns while it may schedule ahead and its window has room. A turn makes one transmission: a probe that is
//! owed, one lost packet again, or a burst of new data.

use super::{Endpoint, receive::ECN};
use crate::{
    environment::{BurstLimits, Environment},
    path::{
        Path,
        schedule::{Blocked, TurnKind},
    },
    stats::add,
    stream::{
        Phase, Stream, burst,
        packets::{self, Made, Turn},
    },
    transmission::{Ecn, Kind, Owner, PathKey, StreamKey, Transmission},
};
use std::sync::Arc;

/// Turns of one path in one step, so that paths share a step.
const MAX_TURNS: usize = 64;

impl Endpoint {
    pub(super) fn fill_paths<E: Environment>(&mut self, environment: &mut E, now_ns: u64) {
        // Paths that found the pool empty try again after something may have come home.
        for key in std::mem::take(&mut self.starved) {
            self.activate(key);
        }
        if !self.active.is_empty() {
            self.entropy.refill(|out| environment.random(out));
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
            let burst_packets = path
                .pacer
                .burst_packets(&path.controller, path.mtu, limits.max_segments, limits.max_bytes)
                .max(1);
            let room = path.address.room();
            if !path.address.has_room() {
                // What arrives from there brings the path back.
                return;
            }
            let burst_packets = room
                .checked_div(u64::from(path.mtu))
                .and_then(|packets| usize::try_from(packets).ok())
                .map_or(burst_packets, |packets| burst_packets.min(packets.max(1)));
            let burst_bytes = (burst_packets as u64).saturating_mul(u64::from(path.mtu));
            let limit = path.schedule_limit(self.config.max_schedule_ahead_ns, burst_bytes);
            if path.scheduled_bytes > 0 && path.scheduled_bytes.saturating_add(burst_bytes) > limit {
                // A completion brings the path back.
                return;
            }
            if self.is_too_early(key, now_ns) {
                return;
            }
            let Some(path) = self.paths.get_mut(key) else { return };
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
                TurnKind::Probe => {
                    let max_in_flight = self.config.max_in_flight_transmissions;
                    packets::make_probe(stream, path, pool, max_in_flight, std::mem::take(&mut infos))
                }
                TurnKind::Recovery => packets::retransmit_if_room(stream, path, pool, &mut infos),
                TurnKind::Data => {
                    let pool_bytes = self.config.pool_bytes;
                    let entropy = &mut self.entropy;
                    burst::make_burst(
                        stream,
                        path,
                        pool,
                        pool_bytes,
                        burst_packets,
                        burst_bytes,
                        &mut infos,
                        entropy,
                    )
                }
            };
            // A turn that was blocked has not used it.
            if infos.capacity() > 0 {
                self.spare_infos.push(infos);
            }
            match result {
                Turn::Made(made) => {
                    path.schedule_granted = limit;
                    self.shared.written.give(&mut stream.send.spent);
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

    /// On a slow path a burst takes longer than may be scheduled ahead: what comes next is decided when its time is near, so that
    /// a higher priority waits for one burst and not for two.
    fn is_too_early(&mut self, key: PathKey, now_ns: u64) -> bool {
        let Some(path) = self.paths.get(key).filter(|path| !path.schedule.is_empty()) else { return false };
        let fill_ns = path.pacer.next_departure().saturating_sub(self.config.max_schedule_ahead_ns);
        // A full timer wheel would leave the path asleep: rather too early, then.
        fill_ns > now_ns && self.arm_fill(key, fill_ns)
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
    pub(super) fn after_turns(&mut self, key: StreamKey, now_ns: u64) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        // Without keep-alive, too: nothing else heals a lost MAX_DATA, and the peer's own probes may keep the stream for ever.
        if stream.phase != Phase::Active || !stream.send.is_blocked() {
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

    /// Gives a transmission its time and puts it into the wheel.
    fn enqueue(&mut self, key: StreamKey, path_key: PathKey, made: Made, now_ns: u64) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        let Some(path) = self.paths.get_mut(path_key) else { return };
        let Made { kind, segments, infos } = made;
        let bytes = segments.total_len() as u64;
        let scheduled_ns = path.pacer.schedule(now_ns, bytes, path.controller.rate());
        path.scheduled_bytes = path.scheduled_bytes.saturating_add(bytes);
        stream.pending = stream.pending.saturating_add(1);
        let packets = infos.len() as u64;
        if kind != Kind::Data {
            stream.pending_recovery = stream.pending_recovery.saturating_add(1);
        }
        if infos.first().is_some_and(|info| info.retransmission) {
            let (tally, stats) = (&mut path.tally, &mut self.stats);
            add(
                [
                    &mut tally.packets_retransmitted,
                    &mut stats.packets_retransmitted,
                    &mut stream.packets_retransmitted,
                ],
                packets,
            );
            add(
                [
                    &mut tally.bytes_retransmitted,
                    &mut stats.bytes_retransmitted,
                    &mut stream.bytes_retransmitted,
                ],
                bytes,
            );
        }
        add([&mut stream.transmissions, &mut self.stats.transmissions], 1);
        add([&mut stream.packets, &mut self.stats.packets], packets);
        if !stream.recording {
            stream.unrecorded = stream.unrecorded.saturating_add(1);
        }
        let (remote, local) = path.destination(stream.answer_to);
        let transmission = Transmission {
            kind,
            remote,
            local,
            ecn: if path.ecn.is_capable() { ECN } else { Ecn::NotEct },
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
        self.touch_path(path_key);
        self.schedule(transmission, scheduled_ns);
    }
}
