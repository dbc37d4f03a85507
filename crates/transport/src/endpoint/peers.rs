//! Peers: handshakes begun, answered and failed.

use super::{Endpoint, Random};
use crate::{
    app::{PeerId, PeerUpdate},
    config::Config,
    error::Failure,
    path::life::Event as Turn,
    stream::Phase,
    transmission::{Ecn, Kind, Owner, PathKey, StreamKey, Transmission},
};
use paceline_handshake::{AttemptId, Established, Event, FailReason, HANDSHAKE_TIMEOUT_NS, Secret};
use paceline_pool::{Purpose, Segments};
use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

/// Peers of an endpoint, connecting ones included.
pub(super) const MAX_PEERS: usize = 16_384;

/// Somebody streams can be opened to, or come from.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) remote: SocketAddr,
    /// For the first path, or for one that takes the place of another.
    attempt: Option<AttemptId>,
    /// Opens the streams.
    pub(super) path: Option<PathKey>,
    /// Retired, oldest first. At most `max_paths_per_peer` of one instance.
    pub(super) older: Vec<PathKey>,
    /// What a connecting peer connects with; an accepted one has the endpoint's.
    pub(super) secrets: Option<Arc<[Secret]>>,
    timeout_ns: u64,
    pub(super) max_rate: Option<u64>,
    /// Streams opened before there was a path. Bounded by the endpoint's stream limit.
    pub(super) waiting: VecDeque<StreamKey>,
    pub(super) closing: bool,
}

impl Peer {
    fn new(remote: SocketAddr, secrets: Option<Arc<[Secret]>>, timeout_ns: u64) -> Self {
        Self {
            remote,
            attempt: None,
            path: None,
            older: Vec::new(),
            secrets,
            timeout_ns,
            max_rate: None,
            waiting: VecDeque::new(),
            closing: false,
        }
    }
}

pub(super) fn handshake_config(config: &Config) -> paceline_handshake::Config {
    paceline_handshake::Config {
        accept: !config.secrets.is_empty(),
        application: config.application.clone(),
        initial_max_data: config.initial_window,
        max_streams: config.max_incoming_streams,
        idle_timeout_ms: u32::try_from(config.idle_timeout_ns / crate::config::MS).unwrap_or(u32::MAX),
        max_datagram: config.max_datagram_v4.max(config.max_datagram_v6),
        aes_256: config.aes_256,
        reset_key: config.reset_key.as_ref().map(|key| key.0),
        cookie_always: config.handshakes.always_cookie,
        handshakes_per_second: config.handshakes.per_second,
        first_version: config.handshakes.first_version,
        #[cfg(feature = "planted")]
        planted: planted!(config, MessagesAreSentOnce),
        ..paceline_handshake::Config::default()
    }
}

impl Endpoint {
    #[allow(clippy::too_many_arguments, reason = "the fields of one command")]
    pub(super) fn connect(
        &mut self,
        peer: PeerId,
        remote: SocketAddr,
        secrets: &Arc<[Secret]>,
        timeout_ns: u64,
        max_rate: Option<u64>,
        now_ns: u64,
        random: Random<'_>,
    ) {
        if self.peers.contains_key(&peer) {
            return;
        }
        let full = self.peers.len() >= MAX_PEERS || self.shutting_down;
        let attempt = if full {
            None
        } else {
            self.handshake.connect(now_ns, remote, secrets, timeout_ns, random).ok()
        };
        let Some(attempt) = attempt else {
            self.tell_peer(peer, remote, false, None, Some(Err(Failure::HandshakeLimit)));
            return;
        };
        // A second connect to the same address joins the attempt under way, and then the path it makes.
        self.attempts.entry(attempt).or_default().push(peer);
        let secrets = Some(Arc::clone(secrets));
        let attempt = Some(attempt);
        self.peers.insert(peer, Peer { attempt, max_rate, ..Peer::new(remote, secrets, timeout_ns) });
    }

    /// A peer that needs no attempt: its path is there.
    pub(super) fn add_peer(&mut self, peer: PeerId, remote: SocketAddr, max_rate: Option<u64>) {
        self.peers.insert(peer, Peer { max_rate, ..Peer::new(remote, None, HANDSHAKE_TIMEOUT_NS) });
    }

    /// A handshake in the background, for a path that gets old or one that was let go. One at a time for a peer.
    pub(super) fn begin_attempt(&mut self, mut peers: Vec<PeerId>, now_ns: u64, random: Random<'_>) {
        peers.retain(|id| self.peers.get(id).is_some_and(|peer| !peer.closing && peer.attempt.is_none()));
        let Some(peer) = peers.first().and_then(|id| self.peers.get(id)) else { return };
        let remote = peer.path.and_then(|key| self.paths.get(key)).map_or(peer.remote, |path| path.remote);
        let secrets = Arc::clone(peer.secrets.as_ref().unwrap_or(&self.config.secrets));
        let timeout_ns = peer.timeout_ns.min(HANDSHAKE_TIMEOUT_NS);
        match self.handshake.connect(now_ns, remote, &secrets, timeout_ns, random) {
            Ok(attempt) => {
                for id in &peers {
                    if let Some(peer) = self.peers.get_mut(id) {
                        peer.attempt = Some(attempt);
                    }
                }
                self.attempts.entry(attempt).or_default().append(&mut peers);
            }
            Err(_) => self.attempt_failed(&peers, Failure::HandshakeLimit, now_ns),
        }
    }

    /// No new path. Who has one goes on with it, but what waits for a younger one than it is ends.
    fn attempt_failed(&mut self, peers: &[PeerId], failure: Failure, now_ns: u64) {
        for id in peers {
            let Some(peer) = self.peers.get_mut(id) else { continue };
            peer.attempt = None;
            let Some(path) = peer.path.and_then(|key| self.paths.get_mut(key)) else {
                self.end_peer(*id, Some(failure), now_ns);
                continue;
            };
            if !path.life.phase.opens() {
                for stream in std::mem::take(&mut path.waiting) {
                    self.lose_stream(stream, failure, now_ns);
                }
            }
        }
    }

    /// Timers, queued Initiations, and what the handshake has to say.
    pub(super) fn run_handshake(&mut self, now_ns: u64, random: Random<'_>) {
        self.begin_attempts(now_ns, random);
        if self.handshake.next_timeout().is_some_and(|at| at <= now_ns) {
            self.handshake.advance(now_ns, random);
        }
        self.collect_handshake(now_ns, random);
    }

    /// Events first: `Usable` makes a path, whose streams leave together with the Confirm.
    pub(super) fn collect_handshake(&mut self, now_ns: u64, random: Random<'_>) {
        while let Some(event) = self.handshake.poll_event() {
            match event {
                Event::Usable { attempt, path } => self.on_usable(attempt, &path, now_ns, random),
                Event::HalfOpen { path } => {
                    self.half_open.insert(path.credential_id, path);
                }
                Event::Confirmed { credential_id, remote, reset_token } => {
                    self.on_confirmed(&credential_id, remote, reset_token, now_ns, random);
                }
                Event::Expired { credential_id } => {
                    self.half_open.remove(&credential_id);
                }
                Event::Failed { attempt, credential_id, error } => {
                    let failure = match error {
                        FailReason::Timeout => Failure::HandshakeTimeout,
                        FailReason::Refused(reason) => Failure::HandshakeRefused(reason),
                        FailReason::SecretRemoved => Failure::Closed,
                    };
                    let peers = self.attempts.remove(&attempt).unwrap_or_default();
                    self.attempt_failed(&peers, failure, now_ns);
                    if let Some(path) = credential_id.and_then(|id| self.by_credential.get(&id).copied()) {
                        self.leave_path(path, Some(failure), now_ns);
                    }
                }
            }
        }
        while let Some(message) = self.handshake.poll_message() {
            self.send_datagram(message.bytes(), message.remote, message.local, Kind::Handshake, now_ns);
        }
    }

    /// One datagram outside of any stream's accounts. Dropped when the pool's reserve is used up: its sender repeats it.
    pub(super) fn send_datagram(
        &mut self,
        bytes: &[u8],
        remote: SocketAddr,
        local: Option<IpAddr>,
        kind: Kind,
        now_ns: u64,
    ) {
        let Ok(mut unfilled) = self.pool.take(bytes.len(), Purpose::Control) else { return };
        let Some(out) = unfilled.buffer().get_mut(..bytes.len()) else { return };
        out.copy_from_slice(bytes);
        let segments = Segments::new(unfilled.fill(bytes.len()), bytes.len());
        self.stats.control_transmissions = self.stats.control_transmissions.saturating_add(1);
        self.schedule(
            Transmission {
                kind,
                remote,
                local,
                ecn: Ecn::NotEct,
                priority: 0,
                segments,
                infos: Vec::new(),
                scheduled_ns: now_ns,
                path: None,
                stream: 0,
                key: None,
                owner: Owner::Endpoint,
                recorded: false,
            },
            now_ns,
        );
    }

    fn on_usable(&mut self, attempt: AttemptId, established: &Established, now_ns: u64, random: Random<'_>) {
        let peers = self.attempts.remove(&attempt).unwrap_or_default();
        let Some(first) = peers.first().copied() else { return };
        let Some(key) = self.make_path(first, established, established.remote, now_ns, random) else {
            self.handshake.cancel(attempt);
            return self.attempt_failed(&peers, Failure::HandshakeLimit, now_ns);
        };
        if let Some(path) = self.paths.get_mut(key) {
            path.life.attempt = Some(attempt);
        }
        for peer_id in peers {
            let Some(peer) = self.peers.get_mut(&peer_id) else { continue };
            peer.attempt = None;
            let remote = peer.remote;
            self.adopt_path(peer_id, key, now_ns);
            self.tell_peer(peer_id, remote, true, Some(key), None);
        }
        self.start_waiting(key, now_ns);
    }

    /// A responder's entry became a path, or an initiator's path got its token.
    fn on_confirmed(
        &mut self,
        credential_id: &paceline_wire::CredentialId,
        remote: SocketAddr,
        reset_token: Option<[u8; 16]>,
        now_ns: u64,
        random: Random<'_>,
    ) {
        if let Some(key) = self.by_credential.get(credential_id).copied() {
            return self.on_proved(key, reset_token);
        }
        let Some(mut established) = self.half_open.remove(credential_id) else { return };
        if self.shutting_down {
            return;
        }
        // The path's address is the source of what confirms it; the Response, which proves an address, went to the other.
        let proven = established.remote;
        let (remote, local) = self.upkeep.source.unwrap_or((remote, None));
        established.local = local.or(established.local);
        established.address_validated &= proven == remote;
        established.remote = remote;
        let renewed = self.renewed_peer(&established.instance, now_ns);
        let peer_id = renewed.unwrap_or(self.next_peer);
        let Some(key) = self.make_path(peer_id, &established, proven, now_ns, random) else { return };
        if renewed.is_none() {
            if self.peers.len() >= MAX_PEERS {
                return self.drop_path(key);
            }
            self.next_peer = next_even(peer_id, |id| self.peers.contains_key(&id));
            self.peers.insert(peer_id, Peer::new(remote, None, HANDSHAKE_TIMEOUT_NS));
        }
        self.on_proved(key, reset_token);
        self.adopt_path(peer_id, key, now_ns);
        self.tell_peer(peer_id, remote, true, Some(key), None);
        self.start_waiting(key, now_ns);
    }

    pub(super) fn tell_peer(
        &mut self,
        peer: PeerId,
        remote: SocketAddr,
        open: bool,
        path: Option<PathKey>,
        closed: Option<Result<(), Failure>>,
    ) {
        let accepted = peer.is_multiple_of(2);
        self.outbox.peers.push(PeerUpdate {
            peer,
            accepted,
            remote,
            open,
            closed,
            path: path.map(|key| key.slot),
        });
    }

    /// What a path's pacer must not exceed: also the cap of the whole endpoint. Only the token bucket keeps that one, but a path
    /// that did not know it would plan bursts for a rate that it never gets, and in turns of equal length leave the others little.
    pub(super) fn max_rate(&self, of_peer: Option<u64>) -> Option<u64> {
        [of_peer, self.config.max_rate].into_iter().flatten().min()
    }

    pub(super) fn set_max_rate(&mut self, peer: PeerId, of_peer: Option<u64>) {
        let max_rate = self.max_rate(of_peer);
        let Some(peer) = self.peers.get_mut(&peer) else { return };
        peer.max_rate = of_peer;
        // An older path keeps its streams, and may be gone back to.
        for key in peer.older.iter().copied().chain(peer.path) {
            if let Some(path) = self.paths.get_mut(key) {
                path.controller.set_max_rate(max_rate);
            }
        }
    }

    pub(super) fn close_peer(&mut self, peer: PeerId, now_ns: u64) {
        self.end_peer(peer, None, now_ns);
    }

    /// Ends a peer: with a failure all its streams fail at once, without one they are reset and their closes still leave.
    pub(super) fn end_peer(&mut self, peer_id: PeerId, failure: Option<Failure>, now_ns: u64) {
        let Some(peer) = self.peers.get_mut(&peer_id) else { return };
        if peer.closing {
            return;
        }
        peer.closing = true;
        let attempt = peer.attempt.take();
        let remote = peer.remote;
        let path = peer.path;
        if let Some(attempt) = attempt
            && let Some(peers) = self.attempts.get_mut(&attempt)
        {
            peers.retain(|peer| *peer != peer_id);
            if peers.is_empty() {
                self.attempts.remove(&attempt);
                self.handshake.cancel(attempt);
            }
        }
        // Ending a peer is rare: looking at every stream once is cheaper than a list on every path.
        for key in self.streams.keys() {
            if self.streams.get(key).is_some_and(|stream| stream.peer == peer_id) {
                match failure {
                    Some(failure) => self.lose_stream(key, failure, now_ns),
                    None => self.fail_stream(key, Failure::Closed, now_ns),
                }
            }
        }
        let closed = failure.map_or(Ok(()), Err);
        self.tell_peer(peer_id, remote, false, path, Some(closed));
        self.drop_peer_if_done(peer_id);
    }

    /// A closing peer goes when its last stream has gone.
    pub(super) fn drop_peer_if_done(&mut self, peer_id: PeerId) {
        let Some(peer) = self.peers.get(&peer_id) else { return };
        if !peer.closing {
            return;
        }
        let keys: Vec<PathKey> = peer.older.iter().copied().chain(peer.path).collect();
        let mut busy = false;
        for key in keys {
            let heir = self.peers_of(key).into_iter().find(|other| *other != peer_id);
            let Some(path) = self.paths.get_mut(key) else { continue };
            match heir {
                Some(heir) if path.peer == peer_id => path.peer = heir,
                Some(_) => {}
                None => {
                    path.life.phase = path.life.phase.on(Turn::Ended);
                    busy |= path.streams > 0;
                    self.drop_path_if_over(key);
                }
            }
        }
        if !busy {
            self.peers.remove(&peer_id);
        }
    }

    /// Where a stream to this peer has to wait, or its path.
    pub(super) fn route(&mut self, peer: PeerId) -> Option<Route<'_>> {
        let peer = self.peers.get_mut(&peer)?;
        if peer.closing {
            return None;
        }
        Some(match peer.path {
            Some(path) => Route::Path(path),
            None => Route::Waiting(&mut peer.waiting),
        })
    }

    pub(super) fn shut_down(&mut self, now_ns: u64) {
        if self.shutting_down {
            return;
        }
        self.shutting_down = true;
        self.note_acceptance();
        for peer in self.peers.keys().copied().collect::<Vec<_>>() {
            self.end_peer(peer, None, now_ns);
        }
    }

    /// After [`shut_down`](Self::shut_down): nothing is left that could still leave.
    pub(super) fn is_drained(&self) -> bool {
        self.shutting_down
            && self.streams.len() == 0
            && self.wheel.is_empty()
            && self.held.is_empty()
            && self.due.is_empty()
    }
}

/// What a stream's peer offers it.
pub(super) enum Route<'a> {
    Path(PathKey),
    Waiting(&'a mut VecDeque<StreamKey>),
}

/// The next even number after `id` that is not taken; 0 is never used.
pub(super) fn next_even(id: u32, taken: impl Fn(u32) -> bool) -> u32 {
    let mut next = id;
    loop {
        next = next.wrapping_add(2);
        if next != 0 && !taken(next) {
            return next;
        }
    }
}

/// Whether a stream's end still has something to tell the peer.
pub(super) fn can_tell(phase: Phase) -> bool {
    matches!(phase, Phase::Active)
}
