//! A stream's life: opened or accepted, ended by both FINs, by a reset, or by its peer's end.

use super::{
    Endpoint,
    peers::{Route, can_tell, next_even},
    time_wait,
};
use crate::{
    config::MS,
    error::Failure,
    path::Accepted,
    stream::{
        Phase, RESEAL_RESERVE, Stream,
        recv::{Close, Recv},
        send::Send,
    },
    transmission::{PathKey, StreamKey},
};
use paceline_wire::{Credentials, Opener, StreamKeys};

/// Queue ids are below 2^28 before they wrap, so that they fit a 4-byte varint with the two flag bits.
const QUEUE_ID_BITS: u32 = 28;
/// Below this a stream would send a key change with almost every packet.
const MIN_PACKETS_PER_KEY_PHASE: u64 = 3;
/// What a stream that never said so ends with.
const CODE_GENERIC: u64 = 1;

impl Endpoint {
    fn slot_bits(&self) -> u32 {
        (u32::BITS.saturating_sub(self.config.max_streams.saturating_sub(1).leading_zeros())).max(1)
    }

    fn queue_id(&self, key: StreamKey) -> u64 {
        let slot_bits = self.slot_bits();
        let generations = 1u64.wrapping_shl(QUEUE_ID_BITS.saturating_sub(slot_bits).max(1));
        // Generation 0 is skipped after a wrap, too: slot 0 must never be queue 0.
        let generation = u64::from(key.generation).checked_rem(generations.saturating_sub(1)).unwrap_or(0);
        generation.saturating_add(1).wrapping_shl(slot_bits) | u64::from(key.slot)
    }

    /// The stream a queue id of ours names, if it still lives.
    pub(super) fn by_queue(&self, queue_id: u64) -> Option<StreamKey> {
        let mask = 1u64.wrapping_shl(self.slot_bits()).saturating_sub(1);
        let stream = self.streams.at_slot(u32::try_from(queue_id & mask).ok()?)?;
        (stream.queue_id == queue_id).then_some(stream.key)
    }

    pub(super) fn open_stream(&mut self, id: u32, peer_id: u32, priority: u8, now_ns: u64) {
        if self.by_id.contains_key(&id) {
            return;
        }
        let window = self.config.initial_window;
        let max_window = self.config.max_window;
        let ready = self.completions_ready.clone();
        let slot_for = self.streams.is_full();
        let key = if slot_for || self.shutting_down {
            None
        } else {
            self.streams.insert_with(|key| {
                let recv = Recv::new(window, max_window, now_ns);
                Stream::new(id, key, 0, peer_id, Opener::Local, priority, Send::new(0), recv, ready, now_ns)
            })
        };
        let Some(key) = key else {
            self.refuse_locally(id, Failure::StreamLimit);
            return;
        };
        let queue_id = self.queue_id(key);
        if let Some(stream) = self.streams.get_mut(key) {
            stream.queue_id = queue_id;
            stream.announce = true;
            #[cfg(feature = "planted")]
            stream.plant(self.config.planted);
        }
        self.by_id.insert(id, key);
        self.stats.streams = self.streams.len() as u64;
        match self.route(peer_id) {
            Some(Route::Waiting(waiting)) => {
                waiting.push_back(key);
                self.reconnect(peer_id);
            }
            Some(Route::Path(path_key)) => {
                if let Some(path) = self.paths.get_mut(path_key) {
                    path.waiting.push_back(key);
                }
                self.start_waiting(path_key, now_ns);
                self.renew_if_waited_for(path_key);
            }
            None => self.lose_stream(key, Failure::Closed, now_ns),
        }
    }

    /// A stream that never came to be, reported as one that ended.
    fn refuse_locally(&mut self, id: u32, failure: Failure) {
        self.outbox.streams.push(crate::app::StreamUpdate {
            stream: id,
            failure: Some(failure),
            closed: true,
            ..Default::default()
        });
    }

    /// Gives keys to streams that wait for this path, as far as key ids and the peer's limit allow.
    pub(super) fn start_waiting(&mut self, path_key: PathKey, now_ns: u64) {
        loop {
            let Some(path) = self.paths.get_mut(path_key) else { return };
            let Some(key) = path.waiting.front().copied() else { return };
            if !matches!(self.streams.get(key), Some(Stream { phase: Phase::Waiting, .. })) {
                path.waiting.pop_front();
                continue;
            }
            let streams = &self.streams;
            let Some(key_id) = path.take_key_id(|key| streams.get(key).is_none_or(|stream| stream.answered))
            else {
                return;
            };
            path.waiting.pop_front();
            path.note_opened(key_id, key);
            let to_prove = path.life.on_opened(now_ns);
            let new_ids = path.key_ids() >= self.config.handshakes.rehandshake_key_ids;
            let keys = path.secret.stream_keys(key_id, Opener::Local);
            let credentials = Credentials { id: path.credential_id, key_id };
            let max_data = path.peer_max_data;
            self.note_use(path_key, now_ns);
            if to_prove {
                self.arm_life(path_key, now_ns);
            }
            if new_ids {
                self.want_refresh(path_key, now_ns);
            }
            self.activate_stream(key, path_key, credentials, keys, max_data, now_ns);
        }
    }

    fn activate_stream(
        &mut self,
        key: StreamKey,
        path_key: PathKey,
        credentials: Credentials,
        mut keys: StreamKeys,
        max_data: u64,
        now_ns: u64,
    ) {
        #[cfg(feature = "planted")]
        if planted!(self.config, KeyPhaseStays) {
            keys.open.plant();
        }
        let packets = self.config.packets_per_key_phase.max(MIN_PACKETS_PER_KEY_PHASE);
        keys.seal.lower_limit(packets.saturating_add(RESEAL_RESERVE));
        let Some(path) = self.paths.get(path_key) else { return };
        let idle = path.idle_timeout_ns;
        let Some(stream) = self.streams.get_mut(key) else { return };
        stream.path = Some(path_key);
        stream.credentials = Some(credentials);
        stream.keys = Some(Box::new(keys));
        stream.send.max_data = stream.send.max_data.max(max_data);
        stream.phase = Phase::Active;
        stream.last_heard_ns = now_ns;
        stream.next_probe_ns =
            if self.config.keep_alive { now_ns.saturating_add(idle / 3) } else { u64::MAX };
        self.arm_stream(key);
        self.make_ready(key, now_ns);
    }

    /// A stream of the peer whose first packet was authentic and new.
    pub(super) fn accept_stream(
        &mut self,
        path_key: PathKey,
        credentials: Credentials,
        keys: StreamKeys,
        peer_queue_id: u64,
        now_ns: u64,
    ) -> Option<StreamKey> {
        let id = self.next_stream;
        let path = self.paths.get_mut(path_key)?;
        let peer = path.peer;
        let max_data = path.peer_max_data;
        let window = self.config.initial_window;
        let max_window = self.config.max_window;
        let ready = self.completions_ready.clone();
        let key = self.streams.insert_with(|key| {
            let recv = Recv::new(window, max_window, now_ns);
            Stream::new(id, key, 0, peer, Opener::Remote, 3, Send::new(0), recv, ready, now_ns)
        })?;
        path.accepted.insert(credentials.key_id, Accepted::Live(key));
        path.incoming = path.incoming.saturating_add(1);
        path.streams = path.streams.saturating_add(1);
        self.note_use(path_key, now_ns);
        self.next_stream = next_even(id, |id| self.by_id.contains_key(&id));
        self.by_id.insert(id, key);
        let queue_id = self.queue_id(key);
        if let Some(stream) = self.streams.get_mut(key) {
            stream.queue_id = queue_id;
            stream.peer_queue_id = peer_queue_id;
            stream.answered = true;
            stream.news.accepted = true;
            #[cfg(feature = "planted")]
            stream.plant(self.config.planted);
        }
        self.stats.streams = self.streams.len() as u64;
        self.activate_stream(key, path_key, credentials, keys, max_data, now_ns);
        self.announce(key);
        Some(key)
    }

    pub(super) fn consume(&mut self, key: StreamKey, bytes: u64, now_ns: u64) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        let rtt = stream
            .path
            .and_then(|path| self.paths.get(path))
            .and_then(|path| {
                path.echo.rtt().or(path.controller.has_rtt().then(|| path.controller.smoothed_rtt()))
            })
            .unwrap_or(self.config.assumed_rtt_ns);
        // A wake of the application's thread is part of every round trip it takes part in.
        let rtt = rtt.max(10 * MS);
        let tell = stream.recv.window.consume(bytes, now_ns, rtt, &mut self.budget);
        if tell && !stream.recv.buffer.is_complete() {
            stream.recv.ack_due = true;
            stream.recv.eagerness.hurry();
            self.owe_control(key);
        }
    }

    /// The application reads no more: what was not read is credited, what comes is dropped, the peer may finish.
    pub(super) fn stop_reading(&mut self, key: StreamKey, now_ns: u64) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        if stream.recv.finished || stream.recv.stopped {
            return;
        }
        stream.recv.stopped = true;
        stream.recv.buffer.stop();
        if stream.recv.buffer.is_complete() {
            stream.recv.finished = true;
            self.finish_if_over(key, now_ns);
            return;
        }
        // dcQUIC has no STOP_SENDING: code 0 leaves the peer's reading half alone, which is right once our FIN arrived.
        let code = if stream.send.is_finished() { 0 } else { CODE_GENERIC };
        self.begin_close(key, Close { transport: false, code }, Failure::LocalReset(code), now_ns);
    }

    /// Both FINs are acknowledged and delivered: the stream goes, its last words stay in time-wait.
    pub(super) fn finish_if_over(&mut self, key: StreamKey, now_ns: u64) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        if stream.is_over() {
            stream.phase = Phase::Draining;
        }
        if stream.phase != Phase::Draining || stream.pending > 0 {
            return;
        }
        // The last acknowledgement leaves before the stream does; its completion asks again.
        if stream.recv.control_out > 0 {
            return;
        }
        if stream.recv.ack_due {
            self.owe_control(key);
            return;
        }
        self.remove_stream(key, now_ns);
    }

    /// Ends both halves here, telling the peer if it may know of the stream.
    pub(super) fn fail_stream(&mut self, key: StreamKey, failure: Failure, now_ns: u64) {
        let (transport, code) = match failure {
            Failure::LocalReset(code) => (false, code),
            Failure::PeerViolation(code) => (true, code),
            Failure::StreamRefused => (false, 2),
            Failure::Closed => (false, 0),
            _ => (false, CODE_GENERIC),
        };
        self.begin_close(key, Close { transport, code }, failure, now_ns);
    }

    fn begin_close(&mut self, key: StreamKey, close: Close, failure: Failure, now_ns: u64) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        if !matches!(stream.phase, Phase::Active | Phase::Waiting) {
            return;
        }
        let tell = can_tell(stream.phase) && stream.send.next_recovery.max(stream.send.next_number) > 0
            || stream.answered;
        self.give_up(key, failure);
        let Some(stream) = self.streams.get_mut(key) else { return };
        if tell {
            stream.phase = Phase::Closing { close, number: None, attempts: 0 };
            stream.closed_with = Some(close).filter(|_| !planted!(self.config, CloseIsSaidOnce));
            stream.probes_owed = 1;
            let pto =
                stream.path.and_then(|path| self.paths.get(path)).map_or(0, |path| path.controller.pto());
            stream.next_probe_ns = now_ns.saturating_add(pto);
            self.arm_stream(key);
            self.make_ready(key, now_ns);
        } else {
            self.drain_stream(key, now_ns);
        }
    }

    /// Ends both halves without a word: the peer ended them, or there is nobody to tell.
    pub(super) fn lose_stream(&mut self, key: StreamKey, failure: Failure, now_ns: u64) {
        let Some(stream) = self.streams.get(key) else { return };
        if !matches!(stream.phase, Phase::Active | Phase::Waiting) {
            return;
        }
        self.give_up(key, failure);
        self.drain_stream(key, now_ns);
    }

    /// Lets go of all data: what is in the wheel will be cancelled, descriptors come home, the window goes back.
    fn give_up(&mut self, key: StreamKey, failure: Failure) {
        let ready = self.completions_ready.clone();
        let Some(stream) = self.streams.get_mut(key) else { return };
        stream.failure = Some(failure);
        stream.news.progress = true;
        stream.completions = crate::completion::Queue::new(key, ready);
        if let Some(path) = stream.path.and_then(|path| self.paths.get_mut(path)) {
            stream.send.abandon(&mut path.controller);
        }
        stream.send.buffer.clear();
        stream.recv.buffer.stop();
        self.announce(key);
    }

    pub(super) fn drain_stream(&mut self, key: StreamKey, now_ns: u64) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        stream.phase = Phase::Draining;
        stream.probes_owed = 0;
        if stream.pending == 0 {
            self.finish_if_over(key, now_ns);
        }
    }

    fn remove_stream(&mut self, key: StreamKey, now_ns: u64) {
        // The application is told everything before the stream is forgotten.
        if let Some(stream) = self.streams.get_mut(key) {
            stream.news.closed = true;
            stream.news.progress = true;
        }
        self.write_update(key, now_ns);
        if self.streams.get(key).is_some_and(|stream| stream.opener == Opener::Remote) {
            self.charge_untold(key);
        }
        let Some(mut stream) = self.streams.remove(key) else { return };
        self.by_id.remove(&stream.id);
        self.budget.give_back(stream.recv.window.borrowed());
        self.stats.streams = self.streams.len() as u64;
        let Some(path_key) = stream.path else { return };
        let Some(path) = self.paths.get_mut(path_key) else { return };
        stream.send.abandon(&mut path.controller);
        path.streams = path.streams.saturating_sub(1);
        // The peer repeats its FIN until its idle timeout, and every answer may be lost: for as long it gets one.
        let linger_ns = if planted!(self.config, TimeWaitIsShort) { 500 * MS } else { path.idle_timeout() };
        let expires_ns = now_ns.saturating_add(linger_ns);
        let accepted = stream.opener == Opener::Remote;
        if accepted {
            path.incoming = path.incoming.saturating_sub(1);
            if let Some(credentials) = stream.credentials {
                path.accepted.insert(credentials.key_id, Accepted::TimeWait(stream.queue_id));
            }
        } else {
            path.opened = path.opened.saturating_sub(1);
        }
        let (peer, route) = (path.peer, path.route_to(stream.answer_to));
        if let Some(credentials) = stream.credentials {
            let entry = time_wait::Entry {
                route,
                key_id: credentials.key_id,
                opener: stream.opener,
                peer_queue_id: stream.peer_queue_id,
                frames: time_wait::Entry::last_words(stream.closed_with, &stream.recv),
                closed: stream.closed_with.is_some(),
                phase: stream.keys.as_ref().and_then(|keys| keys.open.phase_secret()).map(Box::new),
                next_control: stream.recv.next_control,
                expected: stream.recv.next_numbers,
                answers: 0,
            };
            if let Some(evicted) = self.time_wait.insert(stream.queue_id, entry, expires_ns) {
                self.forget_time_wait(&evicted);
            }
        }
        self.start_waiting(path_key, now_ns);
        self.activate(path_key);
        self.note_use(path_key, now_ns);
        self.drop_peer_if_done(peer);
        self.drop_path_if_over(path_key);
    }

    /// A time-wait entry is over: a late first packet of that stream is a replay from now on.
    pub(super) fn forget_time_wait(&mut self, entry: &time_wait::Entry) {
        if entry.opener == Opener::Remote
            && let Some(path) = self.by_credential.get(&entry.route.credential_id)
            && let Some(path) = self.paths.get_mut(*path)
            && matches!(path.accepted.get(&entry.key_id), Some(Accepted::TimeWait(_)))
        {
            path.accepted.remove(&entry.key_id);
        }
    }
}
