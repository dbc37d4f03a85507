//! Paths of an endpoint: made, used, made anew, taken the place of, let go (handshake.md sections 6 and 8).

use super::{Endpoint, Random, timers::Timer};
use crate::{
    app::PeerId,
    error::Failure,
    path::{
        Path,
        life::{Due, Event, Life},
    },
    transmission::PathKey,
};
use paceline_handshake::{Acceptance, Established};
use paceline_wire::Role;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

/// What the endpoint keeps about its paths besides the paths. All of it is bounded by their number.
#[derive(Debug, Default)]
pub(super) struct Upkeep {
    by_instance: BTreeMap<[u8; 16], Vec<PathKey>>,
    /// Paths without streams, longest unused first.
    idle: BTreeSet<(u64, PathKey)>,
    /// Paths that want a successor, and peers that want a path: begun where there is randomness.
    refresh: Vec<PathKey>,
    reconnect: Vec<PeerId>,
    /// As the handshake was told.
    acceptance: Option<Acceptance>,
    /// Where the packet came from that confirms a half-open path, and to which of our addresses, while it does.
    pub(super) source: Option<(SocketAddr, Option<IpAddr>)>,
}

impl Endpoint {
    /// A path, if there is room for it or some other can go.
    pub(super) fn make_path(
        &mut self,
        peer: PeerId,
        established: &Established,
        proven: SocketAddr,
        now_ns: u64,
        random: Random<'_>,
    ) -> Option<PathKey> {
        let instance = established.instance;
        if !self.make_room(instance, now_ns) {
            return None;
        }
        let (mut seed, mut luck) = ([0; 8], [0; 8]);
        random(&mut seed);
        random(&mut luck);
        let config = &self.config;
        let life = Life::new(
            instance,
            established.role == Role::Client,
            u64::from(established.peer.idle_timeout_ms).saturating_mul(crate::config::MS),
            &config.handshakes,
            now_ns,
            u64::from_le_bytes(luck),
        );
        let seed = u64::from_le_bytes(seed);
        let account = self.pool.account();
        let make = |_| Path::new(peer, established, proven, life, config, seed, account);
        let key = self.paths.insert_with(make)?;
        self.by_credential.insert(established.credential_id, key);
        self.upkeep.by_instance.entry(instance).or_default().push(key);
        self.upkeep.idle.insert((now_ns, key));
        if !established.address_validated {
            self.unproven_paths = self.unproven_paths.saturating_add(1);
        }
        self.stats.paths = self.paths.len() as u64;
        self.note_full(instance);
        self.arm_life(key, now_ns);
        self.touch_path(key);
        Some(key)
    }

    /// Lets the longest unused path without streams go where the new one would be one too many.
    fn make_room(&mut self, instance: [u8; 16], now_ns: u64) -> bool {
        let limit = self.config.handshakes.max_paths_per_peer as usize;
        let siblings = self.upkeep.by_instance.get(&instance).map_or(&[][..], Vec::as_slice);
        if siblings.len() >= limit {
            let unused = siblings.iter().filter_map(|key| Some((self.unused_since(*key)?, *key))).min();
            let Some((_, key)) = unused else { return false };
            self.leave_path(key, None, now_ns);
        }
        if self.paths.is_full() {
            let unused = self.upkeep.idle.iter().map(|(_, key)| *key);
            let Some(key) = unused.clone().find(|key| self.unused_since(*key).is_some()) else {
                return false;
            };
            self.leave_path(key, None, now_ns);
        }
        !self.paths.is_full()
    }

    /// Since when nobody uses the path or waits for it.
    fn unused_since(&self, key: PathKey) -> Option<u64> {
        let path = self.paths.get(key)?;
        path.life.idle_since_ns.filter(|_| path.waiting.is_empty())
    }

    /// Tells the handshake who gets Refusal 5: everybody, or this instance.
    fn note_full(&mut self, instance: [u8; 16]) {
        let limit = self.config.handshakes.max_paths_per_peer as usize;
        let siblings = self.upkeep.by_instance.get(&instance).map_or(&[][..], Vec::as_slice);
        let full = siblings.len() >= limit
            && siblings.iter().all(|key| self.paths.get(*key).is_some_and(|path| path.streams > 0));
        self.handshake.set_peer_full(instance, full);
        self.note_acceptance();
    }

    /// Tells the handshake what becomes of Initiations in general.
    pub(super) fn note_acceptance(&mut self) {
        let no_room = self.paths.is_full() || self.peers.len() >= super::peers::MAX_PEERS;
        let acceptance = if self.shutting_down {
            Acceptance::Closing
        } else if self.config.secrets.is_empty() {
            Acceptance::Ignore
        } else if no_room && self.upkeep.idle.is_empty() {
            Acceptance::Full
        } else {
            Acceptance::Accept
        };
        if self.upkeep.acceptance.replace(acceptance) != Some(acceptance) {
            self.handshake.set_acceptance(acceptance);
        }
    }

    /// The path's number of streams has changed.
    pub(super) fn note_use(&mut self, key: PathKey, now_ns: u64) {
        let Some(path) = self.paths.get_mut(key) else { return };
        let idle = path.streams == 0;
        if idle == path.life.idle_since_ns.is_some() {
            return;
        }
        match path.life.idle_since_ns.take() {
            Some(since_ns) => {
                self.upkeep.idle.remove(&(since_ns, key));
            }
            None => {
                path.life.idle_since_ns = Some(now_ns);
                self.upkeep.idle.insert((now_ns, key));
            }
        }
        let instance = path.life.instance;
        self.note_full(instance);
        self.arm_life(key, now_ns);
    }

    /// The initiator's half of a confirmation, or the responder's late token.
    pub(super) fn on_proved(&mut self, key: PathKey, reset_token: Option<[u8; 16]>) {
        let Some(path) = self.paths.get_mut(key) else { return };
        path.life.phase = path.life.phase.on(Event::Proved);
        path.life.attempt = None;
        path.reset_token = reset_token.or(path.reset_token);
    }

    /// The path opens the peer's streams from now on; the one that did is retired.
    pub(super) fn adopt_path(&mut self, peer_id: PeerId, key: PathKey, now_ns: u64) {
        let Some(peer) = self.peers.get_mut(&peer_id) else { return };
        let mut waiting = std::mem::take(&mut peer.waiting);
        let old = peer.path.replace(key).filter(|old| *old != key);
        peer.older.extend(old);
        let of_peer = peer.max_rate;
        let max_rate = self.max_rate(of_peer);
        if let Some(old) = old {
            if let Some(path) = self.paths.get_mut(old) {
                path.life.phase = path.life.phase.on(Event::Superseded);
                waiting.append(&mut path.waiting);
            }
            self.arm_life(old, now_ns);
        }
        if let Some(path) = self.paths.get_mut(key) {
            path.controller.set_max_rate(max_rate);
            path.waiting.append(&mut waiting);
        }
    }

    /// The accepted peer whose path an Initiation of the same instance renews: one that is old enough, or has used up as
    /// many key ids. Younger ones belong to another `connect()` of that endpoint, which goes on using them.
    pub(super) fn renewed_peer(&self, instance: &[u8; 16], now_ns: u64) -> Option<PeerId> {
        let limits = &self.config.handshakes;
        let renewable = |path: &Path| {
            let ids = path.accepted.last_key_value().map_or(0, |(id, _)| *id);
            now_ns.saturating_sub(path.life.born_ns) >= limits.rehandshake_after_ns / 2
                || ids >= limits.rehandshake_key_ids / 2
        };
        let siblings = self.upkeep.by_instance.get(instance)?;
        siblings.iter().rev().find_map(|key| {
            let path = self.paths.get(*key)?;
            let peer = self.peers.get(&path.peer)?;
            let current = peer.path == Some(*key) && !peer.closing && path.peer.is_multiple_of(2);
            (current && renewable(path)).then_some(path.peer)
        })
    }

    /// The path is over: its streams end with `failure`, its peers go back to an older path, wait for a new one, or end too.
    pub(super) fn leave_path(&mut self, key: PathKey, failure: Option<Failure>, now_ns: u64) {
        let Some(path) = self.paths.get_mut(key) else { return };
        path.life.phase = path.life.phase.on(Event::Ended);
        let mut waiting = std::mem::take(&mut path.waiting);
        for peer_id in self.peers_of(key) {
            let Some(peer) = self.peers.get_mut(&peer_id) else { continue };
            peer.older.retain(|older| *older != key);
            if peer.path != Some(key) || peer.closing {
                continue;
            }
            let remote = peer.remote;
            if let Some(older) = peer.older.pop() {
                peer.path = Some(older);
                if let Some(path) = self.paths.get_mut(older) {
                    path.life.phase = path.life.phase.on(Event::Reinstated);
                }
                self.arm_life(older, now_ns);
                self.tell_peer(peer_id, remote, true, Some(older), None);
            } else if failure.is_none() && peer.secrets.is_some() {
                // Unused for long: the next stream makes a new handshake.
                peer.path = None;
            } else {
                self.end_peer(peer_id, failure, now_ns);
            }
        }
        if let Some(failure) = failure {
            // Rare, as the end of a peer is.
            for stream_key in self.streams.keys() {
                if self.streams.get(stream_key).is_some_and(|stream| stream.path == Some(key)) {
                    self.lose_stream(stream_key, failure, now_ns);
                }
            }
        }
        let mut routed = Vec::new();
        for stream_key in waiting.drain(..) {
            let Some(peer) = self.streams.get(stream_key).map(|stream| stream.peer) else { continue };
            match self.peers.get_mut(&peer).filter(|peer| !peer.closing) {
                Some(peer) => match peer.path {
                    Some(path_key) => routed.push((path_key, stream_key)),
                    None => peer.waiting.push_back(stream_key),
                },
                None => self.lose_stream(stream_key, failure.unwrap_or(Failure::Closed), now_ns),
            }
        }
        for (path_key, stream_key) in routed {
            if let Some(path) = self.paths.get_mut(path_key) {
                path.waiting.push_back(stream_key);
            }
            self.start_waiting(path_key, now_ns);
        }
        self.drop_path_if_over(key);
    }

    /// A path that is over goes with its last stream.
    pub(super) fn drop_path_if_over(&mut self, key: PathKey) {
        if self.paths.get(key).is_some_and(|path| !path.life.phase.accepts() && path.streams == 0) {
            self.drop_path(key);
        }
    }

    pub(super) fn drop_path(&mut self, key: PathKey) {
        let Some(path) = self.paths.remove(key) else { return };
        self.by_credential.remove(&path.credential_id);
        if !path.address.is_validated() {
            self.unproven_paths = self.unproven_paths.saturating_sub(1);
        }
        if let Some(attempt) = path.life.attempt {
            self.handshake.cancel(attempt);
        }
        if let Some(since_ns) = path.life.idle_since_ns {
            self.upkeep.idle.remove(&(since_ns, key));
        }
        let instance = path.life.instance;
        if let Some(siblings) = self.upkeep.by_instance.get_mut(&instance) {
            siblings.retain(|sibling| *sibling != key);
            if siblings.is_empty() {
                self.upkeep.by_instance.remove(&instance);
            }
        }
        for peer in self.peers_of(key) {
            if let Some(peer) = self.peers.get_mut(&peer) {
                peer.older.retain(|older| *older != key);
                peer.path = peer.path.filter(|path| *path != key);
            }
        }
        self.stats.paths = self.paths.len() as u64;
        self.note_full(instance);
        self.touch_path(key);
    }

    /// Peers that have a path: more than one only where connects joined one attempt. O(peers), for rare events.
    pub(super) fn peers_of(&self, path: PathKey) -> Vec<PeerId> {
        let has = |peer: &super::Peer| peer.path == Some(path) || peer.older.contains(&path);
        self.peers.iter().filter(|(_, peer)| has(peer)).map(|(id, _)| *id).collect()
    }

    /// Brings the path's timer of age up to date.
    pub(super) fn arm_life(&mut self, key: PathKey, now_ns: u64) {
        let Some(path) = self.paths.get_mut(key) else { return };
        if let Some(at_ns) = path.life.deadline() {
            path.life.timer.arm(&mut self.timers, at_ns.max(now_ns), Timer::Life(key));
        }
    }

    pub(super) fn on_life_timer(&mut self, key: PathKey, at_ns: u64, now_ns: u64) {
        let Some(path) = self.paths.get_mut(key) else { return };
        if !path.life.timer.fires(at_ns) {
            return;
        }
        match path.life.advance(now_ns) {
            Some(Due::Drop) => self.leave_path(key, None, now_ns),
            Some(Due::Unconfirmed) => self.leave_path(key, Some(Failure::PathUnconfirmed), now_ns),
            Some(Due::Refresh) => {
                path.life.refreshing(now_ns);
                self.upkeep.refresh.push(key);
            }
            None => self.renew_if_waited_for(key),
        }
        self.arm_life(key, now_ns);
    }

    /// The path's key ids, or its age while somebody waits, ask for a new one.
    pub(super) fn want_refresh(&mut self, key: PathKey, now_ns: u64) {
        if let Some(path) = self.paths.get_mut(key) {
            path.life.want_refresh(now_ns);
            self.arm_life(key, now_ns);
        }
    }

    /// Streams wait for a path that opens none any more, and its peer, whose task it was, has not made it anew: we do. Should
    /// that fail, they end.
    pub(super) fn renew_if_waited_for(&mut self, key: PathKey) {
        let Some(path) = self.paths.get(key) else { return };
        if path.life.phase.opens() || path.waiting.is_empty() {
            return;
        }
        for id in self.peers_of(key) {
            if self.peers.get(&id).is_some_and(|peer| peer.path == Some(key)) {
                self.reconnect(id);
            }
        }
    }

    /// The peer has streams but no path.
    pub(super) fn reconnect(&mut self, peer: PeerId) {
        if !self.upkeep.reconnect.contains(&peer) {
            self.upkeep.reconnect.push(peer);
        }
    }

    /// Begins the handshakes that paths and peers without one want.
    pub(super) fn begin_attempts(&mut self, now_ns: u64, random: Random<'_>) {
        if self.upkeep.refresh.is_empty() && self.upkeep.reconnect.is_empty() {
            return;
        }
        let mut wanted: Vec<Vec<PeerId>> =
            std::mem::take(&mut self.upkeep.reconnect).into_iter().map(|peer| vec![peer]).collect();
        for key in std::mem::take(&mut self.upkeep.refresh) {
            let mut peers = self.peers_of(key);
            peers.retain(|id| self.peers.get(id).is_some_and(|peer| peer.path == Some(key)));
            wanted.push(peers);
        }
        for peers in wanted {
            self.begin_attempt(peers, now_ns, random);
        }
    }
}
