//! What a world is made of, as plain data: nodes, links, streams with their scripts, and a timeline of faults.
//!
//! A scenario comes from a seed ([`Scenario::generate`]) and is all that a run needs; [`shrink`](crate::shrink) makes
//! smaller ones. Times are ns since the world began, sizes bytes, chances parts per million.

mod generate;
mod print;

use crate::{FaultKind, Link};
use paceline_transport::{Algorithm, Config, handshake::Secret};
use std::sync::Arc;

/// What is asked of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Faults never stop. Everything may fail, but only with a typed error, and every invariant holds.
    Safety,
    /// Faults stop. Afterwards every stream comes to its end in time.
    Liveness,
}

impl Mode {
    /// As the command line says it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Safety => "safety",
            Self::Liveness => "liveness",
        }
    }
}

/// Configuration of one node; what is not here is as in [`Config::default`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodePlan {
    /// Packet memory, and of it the reserve.
    pub pool_bytes: usize,
    /// See `pool_bytes`.
    pub pool_reserve_bytes: usize,
    /// Unsealed bytes of a stream; the application keeps to it.
    pub send_buffer_bytes: u64,
    /// Receive window at first.
    pub initial_window: u64,
    /// Receive window at most.
    pub max_window: u64,
    /// `maxInFlightTransmissions`.
    pub max_in_flight_transmissions: u32,
    /// `maxScheduleAhead`, ns.
    pub max_schedule_ahead_ns: u64,
    /// Rate cap of the endpoint, bytes per second.
    pub max_rate: Option<u64>,
    /// CUBIC instead of BBR.
    pub cubic: bool,
    /// AES-256-GCM preferred.
    pub aes_256: bool,
    /// Packets between two key updates of a stream.
    pub packets_per_key_phase: u64,
    /// Idle timeout, ns.
    pub idle_timeout_ns: u64,
    /// Probes while nothing else leaves.
    pub keep_alive: bool,
}

impl NodePlan {
    /// As a worker takes it.
    pub fn config(&self, secrets: &Arc<[Secret]>) -> Config {
        Config {
            pool_bytes: self.pool_bytes,
            pool_reserve_bytes: self.pool_reserve_bytes,
            send_buffer_bytes: self.send_buffer_bytes,
            initial_window: self.initial_window,
            max_window: self.max_window,
            max_in_flight_transmissions: self.max_in_flight_transmissions,
            max_schedule_ahead_ns: self.max_schedule_ahead_ns,
            max_rate: self.max_rate,
            congestion_control: if self.cubic { Algorithm::Cubic } else { Algorithm::Bbr },
            aes_256: self.aes_256,
            packets_per_key_phase: self.packets_per_key_phase,
            idle_timeout_ns: self.idle_timeout_ns,
            keep_alive: self.keep_alive,
            secrets: Arc::clone(secrets),
            ..Config::default()
        }
    }
}

impl Default for NodePlan {
    fn default() -> Self {
        let config = Config::default();
        Self {
            pool_bytes: config.pool_bytes,
            pool_reserve_bytes: config.pool_reserve_bytes,
            send_buffer_bytes: config.send_buffer_bytes,
            initial_window: config.initial_window,
            max_window: config.max_window,
            max_in_flight_transmissions: config.max_in_flight_transmissions,
            max_schedule_ahead_ns: config.max_schedule_ahead_ns,
            max_rate: config.max_rate,
            cubic: false,
            aes_256: config.aes_256,
            packets_per_key_phase: config.packets_per_key_phase,
            idle_timeout_ns: config.idle_timeout_ns,
            keep_alive: config.keep_alive,
        }
    }
}

/// A client and the server: client `n` of the list is node `n + 1`, the server is node 0.
#[derive(Clone, Debug)]
pub struct PairPlan {
    /// Client to server.
    pub there: Link,
    /// Server to client.
    pub back: Link,
    /// The server connects to the client, too.
    pub both_roles: bool,
}

/// Where a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The link of a pair: towards the server, towards the client, or both.
    Pair {
        /// Index into [`Scenario::pairs`].
        pair: usize,
        /// Client to server.
        there: bool,
        /// Server to client.
        back: bool,
    },
    /// A node.
    Node(usize),
}

/// One fault in the timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultPlan {
    /// Which of the 18.
    pub kind: FaultKind,
    /// When it begins.
    pub at_ns: u64,
    /// How long it lasts; in safety mode faults of links last for ever.
    pub for_ns: u64,
    /// It begins again this long after it began; safety mode only.
    pub every_ns: Option<u64>,
    /// Where.
    pub target: Target,
    /// Its size: ppm, bytes or ns, as the kind needs it ([`crate::run`] reads it).
    pub amount: u64,
    /// Its second size: a length, a time, an error number.
    pub extra: u64,
}

/// What the receiver of one direction of a stream does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReaderPlan {
    /// Bytes per second it takes at most.
    pub rate: Option<u64>,
    /// Takes nothing for so long once it has read so much: (offset, ns).
    pub pause: Option<(u64, u64)>,
    /// Reads no more from this offset on.
    pub stop_at: Option<u64>,
}

/// One direction of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HalfPlan {
    /// Bytes in all.
    pub bytes: u64,
    /// Bytes of a write.
    pub chunk: u64,
    /// Between two writes, ns.
    pub pause_ns: u64,
    /// Only as much is written as was read before.
    pub echo: bool,
    /// Instead of finishing: reset at this offset, with this code.
    pub reset_at: Option<(u64, u64)>,
    /// From this offset on: another priority.
    pub priority_at: Option<(u64, u8)>,
    /// The other side.
    pub reader: ReaderPlan,
}

impl HalfPlan {
    /// So many bytes, as fast as they go.
    pub const fn bulk(bytes: u64) -> Self {
        Self {
            bytes,
            chunk: 64 << 10,
            pause_ns: 0,
            echo: false,
            reset_at: None,
            priority_at: None,
            reader: ReaderPlan { rate: None, pause: None, stop_at: None },
        }
    }
}

/// A stream: who opens it, when, and what both sides do with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamPlan {
    /// Index into [`Scenario::pairs`].
    pub pair: usize,
    /// On the connection that the server made (`both_roles`).
    pub reversed: bool,
    /// Opened by the side that accepted the connection.
    pub by_acceptor: bool,
    /// When.
    pub at_ns: u64,
    /// 1 to 7.
    pub priority: u8,
    /// Opener to acceptor.
    pub there: HalfPlan,
    /// Acceptor to opener.
    pub back: HalfPlan,
}

impl StreamPlan {
    /// The node that opens it.
    pub const fn opener(&self) -> usize {
        if self.reversed == self.by_acceptor { self.pair + 1 } else { 0 }
    }

    /// The node it is opened to.
    pub const fn acceptor(&self) -> usize {
        if self.reversed == self.by_acceptor { 0 } else { self.pair + 1 }
    }

    /// Whether a script ends it before all data is through.
    pub const fn is_cut_short(&self) -> bool {
        self.there.reset_at.is_some()
            || self.back.reset_at.is_some()
            || self.there.reader.stop_at.is_some()
            || self.back.reader.stop_at.is_some()
    }
}

/// A node forgets a peer in the middle of everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClosePlan {
    /// Index into [`Scenario::pairs`].
    pub pair: usize,
    /// The connection that the server made.
    pub reversed: bool,
    /// By the side that accepted the connection.
    pub by_acceptor: bool,
    /// When.
    pub at_ns: u64,
}

/// A world before it is run.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Where it came from, and what decides everything random while it runs.
    pub seed: u64,
    /// What is asked of it.
    pub mode: Mode,
    /// Node 0 is the server.
    pub nodes: Vec<NodePlan>,
    /// One per client.
    pub pairs: Vec<PairPlan>,
    /// In the order of `at_ns`.
    pub streams: Vec<StreamPlan>,
    /// Peers that are closed.
    pub closes: Vec<ClosePlan>,
    /// In the order of `at_ns`.
    pub faults: Vec<FaultPlan>,
    /// Copies of old datagrams come from an address that never took part: one in so many (0: none).
    pub attacker_one_in: u64,
}

impl Scenario {
    /// When the last fault has ended; `None` while one never ends.
    pub fn calm_from_ns(&self) -> Option<u64> {
        let mut calm = 0;
        for fault in &self.faults {
            if fault.every_ns.is_some() {
                return None;
            }
            let ends_ns = fault.at_ns.checked_add(fault.for_ns)?;
            calm = calm.max(ends_ns.saturating_add(self.stops_ns(fault)));
        }
        Some(calm)
    }

    /// How long a link that stops now and then (`delay`) stands still in all, about, ns: the stops add up, and what came
    /// meanwhile arrives after the last.
    pub fn stops_ns(&self, fault: &FaultPlan) -> u64 {
        if fault.kind != FaultKind::Delay {
            return 0;
        }
        // As many acknowledgements as packets, and some of both again.
        let datagrams = self.bytes() / 500 + 200;
        let stops = u128::from(datagrams) * u128::from(fault.amount) / 1_000_000;
        u64::try_from(stops.max(1) * u128::from(fault.extra)).unwrap_or(u64::MAX)
    }

    /// Bytes the streams carry in all.
    pub fn bytes(&self) -> u64 {
        self.streams.iter().map(|stream| stream.there.bytes + stream.back.bytes).sum()
    }

    /// The idle timeout that a pair agrees on, ns.
    pub fn idle_timeout_ns(&self, pair: usize) -> u64 {
        self.nodes[0].idle_timeout_ns.min(self.nodes[pair + 1].idle_timeout_ns)
    }
}
