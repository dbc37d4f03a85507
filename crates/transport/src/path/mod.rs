//! One peer address: RTT, congestion controller, pacer, MTU; shared by all streams to that peer.

pub(crate) mod recovery;
pub(crate) mod schedule;

use crate::{
    app::PeerId,
    buffer::replay::ReplayWindow,
    config::{Config, MS},
    stats::PathStats,
    transmission::{StreamKey, Transmission},
};
use paceline_handshake::Established;
use paceline_pacer::{Controller, Pacer};
use paceline_wire::{CredentialId, PathSecret};
use recovery::Recovery;
use schedule::Schedule;
use std::{
    collections::{BTreeMap, VecDeque},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

/// A path may hold this share of the pool in unacknowledged packets, so that a dead peer is backpressure on itself only.
const POOL_SHARE: usize = 4;
/// … but always this much, bytes.
const MIN_HELD: u64 = 64 << 10;
/// Key ids between the oldest stream without an authentic answer and the next one; the peer's window is 896.
const MAX_UNANSWERED: u64 = 768;
/// The same where both sides keep 65,536 ids (feature bit 0 of the handshake).
const MAX_UNANSWERED_WIDE: u64 = 60_000;
/// An acceptor allows a quarter more streams than it announced: it may hear of an end later than the opener.
const INCOMING_SLACK: u32 = 4;

/// What a key id of the peer stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accepted {
    Live(StreamKey),
    /// Over; its queue id finds it in the time-wait table.
    TimeWait(u64),
}

#[derive(Debug)]
pub(crate) struct Path {
    pub(crate) peer: PeerId,
    pub(crate) remote: SocketAddr,
    pub(crate) local: Option<IpAddr>,
    pub(crate) secret: Arc<PathSecret>,
    pub(crate) credential_id: CredentialId,
    pub(crate) reset_token: Option<[u8; 16]>,
    pub(crate) mtu: u16,
    pub(crate) peer_max_data: u64,
    pub(crate) peer_max_streams: u32,
    pub(crate) idle_timeout_ns: u64,
    wide_replay_window: bool,
    next_key_id: u64,
    /// Streams opened here, oldest first, some without an answer yet.
    unanswered: VecDeque<(u64, StreamKey)>,
    /// Streams that wait for a key id or for the peer's stream limit.
    pub(crate) waiting: VecDeque<StreamKey>,
    pub(crate) opened: u32,
    pub(crate) incoming: u32,
    pub(crate) replay: ReplayWindow,
    pub(crate) accepted: BTreeMap<u64, Accepted>,
    pub(crate) controller: Controller,
    pub(crate) pacer: Pacer,
    pub(crate) schedule: Schedule,
    /// Due, but held back by a rate cap or after a late wake; in order.
    pub(crate) line: VecDeque<Transmission>,
    /// When the first of the line may leave, ns.
    pub(crate) line_until_ns: u64,
    /// On the worker's list of paths that may fill.
    pub(crate) active: bool,
    /// Bytes of stream data in the wheel or at the socket.
    pub(crate) scheduled_bytes: u64,
    /// Bytes of packets retained until acknowledged.
    pub(crate) held_bytes: u64,
    pub(crate) recovery: Recovery,
    pub(crate) loss_timer_ns: Option<u64>,
    pub(crate) pto_timer_ns: Option<u64>,
    pub(crate) packets_lost: u64,
    pub(crate) packets_retransmitted: u64,
    /// All streams of this path, for its end.
    pub(crate) streams: u32,
}

impl Path {
    pub(crate) fn new(peer: PeerId, established: &Established, config: &Config, seed: u64) -> Self {
        let remote = established.remote;
        let own = if remote.is_ipv4() { config.max_datagram_v4 } else { config.max_datagram_v6 };
        let mtu = own.min(established.peer.max_datagram);
        let mut controller = Controller::new(config.congestion_control, mtu, seed);
        controller.set_start_rate(config.initial_rate);
        Self {
            peer,
            remote,
            local: established.local,
            secret: established.secret.clone(),
            credential_id: established.credential_id,
            reset_token: None,
            mtu,
            peer_max_data: established.peer.initial_max_data,
            peer_max_streams: established.peer.max_streams,
            idle_timeout_ns: u64::from(established.peer.idle_timeout_ms).saturating_mul(MS),
            wide_replay_window: established.peer.wide_replay_window,
            next_key_id: 0,
            unanswered: VecDeque::new(),
            waiting: VecDeque::new(),
            opened: 0,
            incoming: 0,
            replay: ReplayWindow::new(),
            accepted: BTreeMap::new(),
            controller,
            pacer: Pacer::new(),
            schedule: Schedule::default(),
            line: VecDeque::new(),
            line_until_ns: 0,
            active: false,
            scheduled_bytes: 0,
            held_bytes: 0,
            recovery: Recovery::default(),
            loss_timer_ns: None,
            pto_timer_ns: None,
            packets_lost: 0,
            packets_retransmitted: 0,
            streams: 0,
        }
    }

    /// Takes the next key id for a stream opened here; `None` while it has to wait.
    pub(crate) fn take_key_id(&mut self, answered: impl Fn(StreamKey) -> bool) -> Option<u64> {
        if self.opened >= self.peer_max_streams {
            return None;
        }
        while let Some((_, stream)) = self.unanswered.front()
            && answered(*stream)
        {
            self.unanswered.pop_front();
        }
        let distance = if self.wide_replay_window { MAX_UNANSWERED_WIDE } else { MAX_UNANSWERED };
        if let Some((oldest, _)) = self.unanswered.front()
            && self.next_key_id.saturating_sub(*oldest) >= distance
        {
            return None;
        }
        let key_id = self.next_key_id;
        self.next_key_id = key_id.saturating_add(1);
        Some(key_id)
    }

    /// The stream that took `key_id` is on its way.
    pub(crate) fn note_opened(&mut self, key_id: u64, stream: StreamKey) {
        self.unanswered.push_back((key_id, stream));
        self.opened = self.opened.saturating_add(1);
        self.streams = self.streams.saturating_add(1);
    }

    /// Streams the peer may have open, with the slack that a lost goodbye needs.
    pub(crate) fn admits_incoming(&self, limit: u32) -> bool {
        limit > 0 && self.incoming < limit.saturating_add(limit / INCOMING_SLACK)
    }

    /// Bytes that may be scheduled and unsent at once.
    pub(crate) fn schedule_limit(&self, max_ahead_ns: u64, burst_bytes: u64) -> u64 {
        let ahead =
            u128::from(self.controller.rate()).saturating_mul(u128::from(max_ahead_ns)) / 1_000_000_000;
        u64::try_from(ahead).unwrap_or(u64::MAX).max(burst_bytes)
    }

    /// Bytes that the congestion window leaves, what is scheduled counted as sent.
    pub(crate) fn window_room(&self) -> u64 {
        self.controller
            .congestion_window()
            .saturating_sub(self.controller.bytes_in_flight())
            .saturating_sub(self.scheduled_bytes)
    }

    /// Whether nothing is out that an ACK or a completion could follow: then one packet may always leave.
    pub(crate) fn is_quiet(&self) -> bool {
        self.controller.bytes_in_flight() == 0 && self.scheduled_bytes == 0
    }

    /// Whether another `bytes` may be retained.
    pub(crate) fn may_hold(&self, bytes: u64, pool_bytes: usize) -> bool {
        let share = (pool_bytes / POOL_SHARE) as u64;
        self.held_bytes.saturating_add(bytes) <= share.max(MIN_HELD)
    }

    pub(crate) fn stats(&self) -> PathStats {
        PathStats {
            smoothed_rtt_ns: if self.controller.has_rtt() { self.controller.smoothed_rtt() } else { 0 },
            min_rtt_ns: if self.controller.has_rtt() { self.controller.min_rtt() } else { 0 },
            congestion_window: self.controller.congestion_window(),
            bytes_in_flight: self.controller.bytes_in_flight(),
            pacing_rate: self.controller.rate(),
            mtu: self.mtu,
            cipher_bits: self.secret.suite().key_bits(),
            scheduled_bytes: self.scheduled_bytes,
            packets_lost: self.packets_lost,
            packets_retransmitted: self.packets_retransmitted,
        }
    }
}
