//! One peer address: RTT, congestion controller, pacer, MTU; shared by all streams to that peer.

mod echo;
pub(crate) mod ecn;
pub(crate) mod life;
mod persistence;
pub(crate) mod recovery;
pub(crate) mod schedule;
pub(crate) mod silence;
pub(crate) mod tally;
mod thresholds;
pub(crate) mod validation;

use crate::{
    app::PeerId,
    buffer::replay::ReplayWindow,
    config::{Config, MS},
    endpoint::Alarm,
    stats::PathStats,
    transmission::{StreamKey, Transmission},
};
use echo::Echo;
use ecn::EcnValidation;
use life::Life;
use paceline_handshake::Established;
use paceline_pacer::{Controller, Pacer};
use paceline_pool::{Account, buffer_bytes};
use paceline_wire::{CredentialId, PathSecret};
use recovery::Recovery;
use schedule::Schedule;
use silence::BASE_MTU;
use std::{
    collections::{BTreeMap, VecDeque},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};
use tally::Tally;
use validation::Address;

/// A path may hold this share of the pool in descriptors of unacknowledged packets, so that a dead peer is backpressure on itself only.
const POOL_SHARE: usize = 4;
/// … but always this much, bytes.
const MIN_HELD: usize = 64 << 10;
/// Key ids between the oldest stream without an authentic answer and the next one; the peer's window is 896.
const MAX_UNANSWERED: u64 = 768;
/// The same where both sides keep 65,536 ids (feature bit 0 of the handshake).
const MAX_UNANSWERED_WIDE: u64 = 60_000;
/// Key ids stop for good here (handshake.md section 8).
const MAX_KEY_ID: u64 = (1 << 62) - 2;
/// An acceptor allows a quarter more streams than it announced: it may hear of an end later than the opener.
const INCOMING_SLACK: u32 = 4;
/// Streams that are over and that the application has not been told of, for each that may be open.
const UNTOLD_PER_INCOMING: u32 = 16;
/// Their bytes: as much as one stream's window is by default.
const MAX_UNTOLD_BYTES: u64 = 16 << 20;

/// UDP payloads worth trying when a larger one does not fit: Ethernet over IPv4 and IPv6, common tunnels, IPv6's minimum link,
/// and what every path takes.
const MTU_STEPS: [u16; 5] = [1472, 1452, 1400, 1280, BASE_MTU];

/// What a key id of the peer stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accepted {
    Live(StreamKey),
    /// Over; its queue id finds it in the time-wait table.
    TimeWait(u64),
}

/// Streams of the peer that are over, whose last news the application has not taken.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Untold {
    pub(crate) streams: u32,
    /// Of them, received and not taken.
    pub(crate) bytes: u64,
}

/// A peer's address, and ours.
pub(crate) type Destination = (SocketAddr, Option<IpAddr>);

/// Where late packets of a path's streams are answered to. Shared by all of them.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) credential_id: CredentialId,
    pub(crate) secret: Arc<PathSecret>,
    pub(crate) remote: SocketAddr,
    pub(crate) local: Option<IpAddr>,
}

#[derive(Debug)]
pub(crate) struct Path {
    pub(crate) peer: PeerId,
    pub(crate) remote: SocketAddr,
    pub(crate) local: Option<IpAddr>,
    /// The same, for streams in time-wait, which outlive the path.
    pub(crate) route: Arc<Route>,
    /// Where the Response went: whoever has the keys received it there.
    pub(crate) proven: SocketAddr,
    pub(crate) life: Life,
    pub(crate) secret: Arc<PathSecret>,
    pub(crate) credential_id: CredentialId,
    pub(crate) reset_token: Option<[u8; 16]>,
    /// Whether `remote` has proved that it receives.
    pub(crate) address: Address,
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
    pub(crate) untold: Untold,
    pub(crate) replay: ReplayWindow,
    pub(crate) accepted: BTreeMap<u64, Accepted>,
    pub(crate) controller: Controller,
    pub(crate) pacer: Pacer,
    pub(crate) schedule: Schedule,
    /// Due, but held back by a rate cap or after a late wake; in order.
    pub(crate) line: VecDeque<Transmission>,
    /// When the first of the line may leave, ns.
    pub(crate) line_until_ns: u64,
    /// It waits for the endpoint's rate cap, and nobody may take what it waits for.
    pub(crate) line_capped: bool,
    /// What could be scheduled ahead when something last was, bytes; for audits.
    pub(crate) schedule_granted: u64,
    /// On the worker's list of paths that may fill.
    pub(crate) active: bool,
    /// Bytes of stream data in the wheel or at the socket.
    pub(crate) scheduled_bytes: u64,
    /// Every descriptor of stream data, from sealing until it is home: a message of 64 bytes keeps 2 KiB.
    pub(crate) account: Arc<Account>,
    pub(crate) recovery: Recovery,
    pub(crate) loss_timer: Alarm,
    pub(crate) pto_timer: Alarm,
    pub(crate) fill_timer: Alarm,
    pub(crate) tally: Tally,
    pub(crate) ecn: EcnValidation,
    /// The round trip as a receiver sees it.
    pub(crate) echo: Echo,
    /// All streams of this path, for its end.
    pub(crate) streams: u32,
}

impl Path {
    pub(crate) fn new(
        peer: PeerId,
        established: &Established,
        proven: SocketAddr,
        life: Life,
        config: &Config,
        seed: u64,
        account: Arc<Account>,
    ) -> Self {
        let remote = established.remote;
        let own = if remote.is_ipv4() { config.max_datagram_v4 } else { config.max_datagram_v6 };
        let mtu = own.min(established.peer.max_datagram);
        let mut controller = Controller::new(config.congestion_control, mtu, seed);
        controller.set_start_rate(config.initial_rate);
        let pacer = Pacer::new();
        #[cfg(feature = "planted")]
        let pacer = pacer.planted(planted!(config, ScheduledIsNotInTheWindow));
        Self {
            peer,
            remote,
            local: established.local,
            route: Arc::new(Route {
                credential_id: established.credential_id,
                secret: established.secret.clone(),
                remote,
                local: established.local,
            }),
            proven,
            life,
            secret: established.secret.clone(),
            credential_id: established.credential_id,
            reset_token: None,
            address: Address::new(established.address_validated),
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
            untold: Untold::default(),
            replay: ReplayWindow::new(),
            accepted: BTreeMap::new(),
            controller,
            pacer,
            schedule: Schedule::default(),
            line: VecDeque::new(),
            line_until_ns: 0,
            line_capped: false,
            schedule_granted: 0,
            active: false,
            scheduled_bytes: 0,
            account,
            recovery: Recovery::default(),
            loss_timer: Alarm::default(),
            pto_timer: Alarm::default(),
            fill_timer: Alarm::default(),
            tally: Tally::default(),
            ecn: EcnValidation::default(),
            echo: Echo::default(),
            streams: 0,
        }
    }

    /// Takes the next key id for a stream opened here; `None` while it has to wait.
    pub(crate) fn take_key_id(&mut self, answered: impl Fn(StreamKey) -> bool) -> Option<u64> {
        if self.opened >= self.peer_max_streams || !self.life.phase.opens() || self.next_key_id > MAX_KEY_ID {
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

    /// Key ids before this one were used elsewhere.
    pub(crate) fn start_key_ids(&mut self, first: u64) {
        self.next_key_id = self.next_key_id.max(first);
    }

    /// Where a stream is answered whose first packet came from there, if that is not where the path leads: s2n-quic-dc opens
    /// streams from ports of their own. Only its address' own ports, so that a packet sent on by somebody else turns no answer
    /// against a third.
    pub(crate) fn answer_to(&self, remote: SocketAddr, local: Option<IpAddr>) -> Option<Destination> {
        let other_port = remote.port() != self.remote.port() && remote.ip() == self.remote.ip();
        (self.life.is_injected() && other_port).then_some((remote, local))
    }

    /// Where it goes: to the path's address, if not to one of its own.
    pub(crate) fn destination(&self, answer_to: Option<Destination>) -> Destination {
        answer_to.unwrap_or((self.remote, self.local))
    }

    /// The way of a stream that is answered somewhere else than at the path's address.
    pub(crate) fn route_to(&self, answer_to: Option<Destination>) -> Arc<Route> {
        if answer_to.is_none() {
            return Arc::clone(&self.route);
        }
        let (remote, local) = self.destination(answer_to);
        Arc::new(Route { secret: self.secret.clone(), credential_id: self.credential_id, remote, local })
    }

    /// The peer takes no key id below `min`: the next one is at least that, but at most `step` further than it would be.
    pub(crate) fn skip_key_ids(&mut self, min: u64, step: u64) {
        self.next_key_id = self.next_key_id.max(min.min(self.next_key_id.saturating_add(step)));
    }

    /// Packets go there from now on.
    pub(crate) fn move_to(&mut self, remote: SocketAddr, local: Option<IpAddr>) {
        self.remote = remote;
        self.local = local;
        self.route =
            Arc::new(Route { secret: self.secret.clone(), credential_id: self.credential_id, remote, local });
    }

    /// Key ids given out so far.
    pub(crate) const fn key_ids(&self) -> u64 {
        self.next_key_id
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

    /// The application stands still while streams come and go: no more of them until it has looked.
    pub(crate) fn is_untold(&self, limit: u32) -> bool {
        self.untold.streams >= limit.saturating_mul(UNTOLD_PER_INCOMING)
            || self.untold.bytes >= MAX_UNTOLD_BYTES
    }

    /// Largest UDP payload that may leave now: the MTU, or what an unproven address leaves of it.
    pub(crate) fn datagram_limit(&self) -> u16 {
        self.mtu.min(u16::try_from(self.address.room()).unwrap_or(u16::MAX))
    }

    /// The time threshold of loss detection, as wide as this path needs it, ns.
    pub(crate) fn loss_delay(&self) -> u64 {
        self.recovery.thresholds.delay(self.controller.loss_delay())
    }

    /// A packet of `len` bytes is too large: the path takes the next smaller size. Returns whether that changes anything.
    pub(crate) fn lower_mtu(&mut self, len: u16) -> bool {
        let Some(next) = MTU_STEPS.into_iter().find(|step| *step < len) else { return false };
        if next >= self.mtu {
            return false;
        }
        self.mtu = next;
        self.controller.on_mtu(next);
        true
    }

    /// Nothing says what is too large, only that nothing large arrives.
    pub(crate) fn lower_mtu_to_base(&mut self) {
        self.lower_mtu(BASE_MTU.saturating_add(1));
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

    /// How long a stream may be silent, ns: three PTOs at least (RFC 9000 §10.1), or a queue that fills ends streams (sim seed 5842).
    pub(crate) fn idle_timeout(&self) -> u64 {
        self.idle_timeout_ns.max(self.controller.pto().saturating_mul(3))
    }

    /// Whether nothing is out that an ACK or a completion could follow: then one packet may always leave.
    pub(crate) fn is_quiet(&self) -> bool {
        self.controller.bytes_in_flight() == 0 && self.scheduled_bytes == 0
    }

    /// Whether a descriptor for another `len` bytes may be held.
    pub(crate) fn may_hold(&self, len: usize, pool_bytes: usize) -> bool {
        let share = (pool_bytes / POOL_SHARE).max(MIN_HELD);
        self.account.lent_bytes().saturating_add(buffer_bytes(len)) <= share
    }

    /// `generation` tells it from others in its slot.
    pub(crate) fn stats(&self, generation: u32) -> PathStats {
        let Self { controller, tally, .. } = self;
        let measured = |ns| if controller.has_rtt() { ns } else { 0 };
        PathStats {
            generation,
            smoothed_rtt_ns: measured(controller.smoothed_rtt()),
            min_rtt_ns: measured(controller.min_rtt()),
            latest_rtt_ns: measured(controller.latest_rtt()),
            rtt_variation_ns: measured(controller.rtt_variance()),
            congestion_window: controller.congestion_window(),
            bytes_in_flight: controller.bytes_in_flight(),
            pacing_rate: controller.rate(),
            mtu: self.mtu,
            cipher_bits: self.secret.suite().key_bits(),
            scheduled_bytes: self.scheduled_bytes,
            streams: u64::from(self.streams),
            sent: tally.sent,
            packets_sent: tally.packets_sent,
            bytes_sent: tally.bytes_sent,
            packets_received: tally.packets_received,
            bytes_received: tally.bytes_received,
            bytes_acknowledged: tally.bytes_acknowledged,
            packets_lost: tally.packets_lost,
            bytes_lost: tally.bytes_lost,
            packets_spuriously_lost: tally.packets_spuriously_lost,
            packets_retransmitted: tally.packets_retransmitted,
            bytes_retransmitted: tally.bytes_retransmitted,
            persistent_congestions: tally.persistent_congestions,
            probe_timeouts: tally.probe_timeouts,
            ecn_ce_reported: tally.ecn_ce_reported,
            ecn_capable: self.ecn.is_capable(),
            ecn: self.ecn.state(),
            departure_error_ns: tally.departure_error_ns,
            trains: tally.trains,
            segments: tally.segments,
        }
    }
}
