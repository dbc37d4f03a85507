//! The network of `paceline/testing`: many endpoints on the thread that calls, and a clock that goes on only in `advance()`.
//!
//! An endpoint is a number here; `packages/paceline/src/network-driver.ts` makes a `Driver` of it. What crosses the border is
//! the same as with a real socket, in the same files ([`crate::commands`], [`crate::news`]).

#![allow(unreachable_pub, reason = "napi exports methods that are `pub`, whatever the type is")]

use crate::{
    clock::Line,
    commands, config,
    driver::{lent, or_undefined, reaches, socket_addr},
    errors::{self, Code, Result, error},
    injected::DriverInjectOptions,
    live,
    news::{Drain, News},
    options::{DriverConnectOptions, DriverOptions, LocalAddress, RemoteAddress},
    ring::Ring,
    sim::{caught, seed_of},
    stats::{DriverPathStats, DriverStats},
};
use napi::{
    Env,
    bindgen_prelude::{BigInt, Either, Float64ArraySlice, Uint8ArraySlice},
};
use napi_derive::napi;
use paceline_sim::{FaultKind, Link, NodeId, Refused, Testbed, Traffic};
use paceline_transport::{
    app::Command,
    handshake,
    stats::EndpointStats,
    wire::{CredentialId, Role},
};
use paceline_udp::{Counters, InjectError, StartError};
use std::collections::BTreeSet;

const PPM: f64 = 1e6;
/// As the system numbers it that this is built for.
const EADDRINUSE: i32 = if cfg!(windows) {
    10_048
} else if cfg!(any(target_os = "linux", target_os = "android")) {
    98
} else {
    48
};
/// Segments of a burst, as with GSO.
const MAX_SEGMENTS: usize = 64;

/// What a link does in one direction. Checked by the package: here out-of-range numbers only must not wrap.
#[napi(object, object_to_js = false)]
pub(crate) struct TestLink {
    /// Milliseconds, one way.
    pub delay: f64,
    /// Milliseconds more, at most.
    pub jitter: f64,
    /// Chance, 0 to 1.
    pub loss: f64,
    /// Chance that a burst of losses begins.
    pub burst_loss: f64,
    /// Datagrams that it takes.
    pub burst_length: f64,
    /// Chance.
    pub duplicate: f64,
    /// Chance.
    pub reorder: f64,
    /// Milliseconds that an overtaken datagram is held back, at most.
    pub reorder_delay: f64,
    /// Chance.
    pub corrupt: f64,
    /// Chance.
    pub mark: f64,
    /// Bytes of UDP payload, 0 for any.
    pub mtu: f64,
    /// Whether a sender is told that a datagram is too large.
    pub mtu_signal: bool,
    /// Bits per second, 0 for any.
    pub rate: f64,
    /// Bytes that wait for it.
    pub queue: f64,
}

impl TestLink {
    fn link(&self) -> Link {
        let ppm = |chance: f64| (chance * PPM).round() as u32;
        Link {
            delay_ns: config::ns(self.delay),
            jitter_ns: config::ns(self.jitter),
            loss_ppm: ppm(self.loss),
            burst_loss_ppm: ppm(self.burst_loss),
            burst_loss_len: self.burst_length as u32,
            duplicate_ppm: ppm(self.duplicate),
            reorder_ppm: ppm(self.reorder),
            reorder_ns: config::ns(self.reorder_delay),
            corrupt_ppm: ppm(self.corrupt),
            ce_ppm: ppm(self.mark),
            max_datagram: (self.mtu > 0.0).then_some(self.mtu as usize),
            mtu_signal: self.mtu_signal,
            rate: commands::max_rate(self.rate as u64),
            queue_bytes: self.queue as u64,
            ..Link::default()
        }
    }
}

/// What the network did so far. All but bytes are datagrams.
#[napi(object, object_from_js = false)]
pub(crate) struct TestTraffic {
    /// By endpoints.
    pub sent: f64,
    /// Their bytes.
    pub sent_bytes: f64,
    /// To sockets, with copies.
    pub delivered: f64,
    /// Their bytes.
    pub delivered_bytes: f64,
    /// Dropped by chance, in bursts too.
    pub lost: f64,
    /// Of them, in bursts.
    pub burst_lost: f64,
    /// Second copies.
    pub duplicated: f64,
    /// Overtaken by a younger one.
    pub reordered: f64,
    /// One bit flipped.
    pub corrupted: f64,
    /// Marked "congestion experienced".
    pub marked: f64,
    /// Dropped, or refused to the sender, because the path takes no datagram of that size.
    pub too_large: f64,
    /// Dropped because the queue of a link or of a socket was full.
    pub overflowed: f64,
    /// Dropped because the two were cut off from each other.
    pub cut_off: f64,
    /// Dropped because nobody was at the address.
    pub unreachable: f64,
    /// On their way.
    pub in_flight: f64,
}

impl From<Traffic> for TestTraffic {
    fn from(traffic: Traffic) -> Self {
        let of = |kinds: &[FaultKind]| kinds.iter().map(|kind| traffic.faults.get(*kind)).sum::<u64>() as f64;
        Self {
            sent: traffic.sent.0 as f64,
            sent_bytes: traffic.sent.1 as f64,
            delivered: traffic.delivered.0 as f64,
            delivered_bytes: traffic.delivered.1 as f64,
            lost: of(&[FaultKind::Loss, FaultKind::BurstLoss]),
            burst_lost: of(&[FaultKind::BurstLoss]),
            duplicated: traffic.copied as f64,
            reordered: of(&[FaultKind::Reorder]),
            corrupted: of(&[FaultKind::Corruption]),
            marked: traffic.marked as f64,
            too_large: of(&[FaultKind::MtuDrop]),
            overflowed: traffic.overflowed as f64,
            cut_off: of(&[FaultKind::Blackhole, FaultKind::OneWayPartition]),
            unreachable: traffic.unreachable as f64,
            in_flight: traffic.in_flight as f64,
        }
    }
}

/// An endpoint that came.
#[napi(object, object_from_js = false)]
pub(crate) struct Attached {
    /// Its number.
    pub node: u32,
    /// Where it is.
    pub local: LocalAddress,
}

/// What JavaScript's side of an endpoint needs.
struct Side {
    node: NodeId,
    news: News,
    _token: live::Token,
}

/// A network, its endpoints and their clock.
#[napi]
pub(crate) struct NativeNetwork {
    // Dropped before what is told of them.
    testbed: Option<Testbed>,
    /// By the node's number.
    sides: Vec<Option<Side>>,
    /// Last counters of those that went.
    last: Vec<Option<Box<Counted>>>,
    /// Path secrets of this network and who has them: each is for one life of one endpoint.
    injected: BTreeSet<(CredentialId, bool)>,
    /// Empty between calls.
    commands: Vec<Command>,
    nodes: Vec<NodeId>,
    lost_descriptors: usize,
}

/// What an endpoint counted.
#[derive(Default)]
struct Counted {
    endpoint: EndpointStats,
    handshake: handshake::Counters,
}

impl From<&Counted> for DriverStats {
    fn from(counted: &Counted) -> Self {
        // No socket, no counters of one.
        Self::new(&counted.endpoint, &counted.handshake, &Counters::default())
    }
}

/// Virtual time begins with 0 ms.
fn line() -> Line {
    Line::new(Testbed::START_NS, 0.0, Testbed::START_NS)
}

fn gone() -> napi::Error<Code> {
    error(Code::Internal, "the network is closed")
}

#[napi]
impl NativeNetwork {
    /// `link` is between all endpoints; `trace` keeps a log as text.
    #[napi(constructor)]
    pub fn new(seed: BigInt, link: TestLink, trace: bool) -> Result<Self> {
        Ok(Self {
            testbed: Some(Testbed::new(seed_of(&seed)?, link.link(), trace)),
            sides: Vec::new(),
            last: Vec::new(),
            injected: BTreeSet::new(),
            commands: Vec::new(),
            nodes: Vec::new(),
            lost_descriptors: 0,
        })
    }

    /// An endpoint comes. What it throws is what binding a socket throws.
    #[napi]
    pub fn attach(&mut self, env: Env, options: DriverOptions<'_>) -> Result<Attached> {
        let bind = socket_addr(&options.address, options.port, 0)?;
        let segments = if options.disable_gso { 1 } else { MAX_SEGMENTS };
        let config = options.config()?;
        let testbed = self.testbed.as_mut().ok_or_else(gone)?;
        let (attached, panicked) = caught(|| testbed.attach(bind, config, segments));
        let node = match attached {
            Some(Ok(node)) => node,
            Some(Err(Refused::InUse(address))) => {
                let refused = StartError::System { syscall: "bind", errno: EADDRINUSE, address };
                return Err(errors::start_error(env, &refused));
            }
            Some(Err(refused)) => return Err(error(Code::Option, refused)),
            None => return Err(error(Code::Internal, panicked.unwrap_or_default())),
        };
        let local = testbed.address(node);
        if let Some(pool) = testbed.pool(node) {
            live::watch(pool);
        }
        let index = node.index();
        if self.sides.len() <= index {
            self.sides.resize_with(index + 1, || None);
            self.last.resize_with(index + 1, || None);
        }
        self.sides[index] = Some(Side { node, news: News::default(), _token: live::Token::driver() });
        self.last[index] = None;
        // As with a real socket: until somebody takes them, there may be no streams.
        self.commands.push(Command::AcceptStreams(0));
        testbed.submit(node, &mut self.commands);
        let address = LocalAddress {
            address: config::address_text(local),
            port: u32::from(local.port()),
            family: config::family(local.ip()).to_owned(),
        };
        Ok(Attached { node: index as u32, local: address })
    }

    /// Starts a handshake.
    #[napi]
    pub fn connect(
        &mut self,
        node: u32,
        peer: u32,
        address: String,
        port: u32,
        options: DriverConnectOptions<'_>,
    ) -> Result<()> {
        commands::opened(peer).map_err(|_| error(Code::Internal, format_args!("peer {peer} is not odd")))?;
        let remote = socket_addr(&address, port, 1)?;
        let command = options.command(peer, remote)?;
        let Some((testbed, side)) = self.side(node)? else { return Ok(()) };
        reaches(testbed.address(side.node), remote)?;
        side.news.peers_mut().connecting(peer, remote);
        testbed.submit(side.node, &mut vec![command]);
        Ok(())
    }

    /// Makes a peer of a path secret that no handshake made, and uses the secret up for this network.
    #[napi]
    pub fn inject(
        &mut self,
        node: u32,
        peer: u32,
        address: String,
        port: u32,
        options: DriverInjectOptions<'_>,
    ) -> Result<()> {
        commands::opened(peer).map_err(|_| error(Code::Internal, format_args!("peer {peer} is not odd")))?;
        let remote = socket_addr(&address, port, 1)?;
        let path = options.path(remote)?;
        let used = (path.credential_id(), path.role() == Role::Client);
        let is_new = !self.injected.contains(&used);
        let Some((testbed, side)) = self.side(node)? else { return Ok(()) };
        reaches(testbed.address(side.node), remote)?;
        if !is_new {
            return Err(errors::inject_error(InjectError::Used));
        }
        side.news.peers_mut().connecting(peer, remote);
        let max_rate = commands::max_rate(options.max_bitrate as u64);
        testbed.submit(side.node, &mut vec![Command::Inject { peer, path: Box::new(path), max_rate }]);
        self.injected.insert(used);
        Ok(())
    }

    /// Encoded commands of one tick. All are carried out or, if one is malformed, none.
    #[napi]
    pub fn submit(&mut self, node: u32, commands: &[u8]) -> Result<()> {
        self.with_commands(node, |into, shared| {
            commands::decode(commands, &shared.written, into)
                .map_err(|malformed| error(Code::Internal, malformed))
        })
    }

    /// Appends to a stream's send buffer.
    #[napi]
    pub fn write(&mut self, node: u32, stream: u32, chunk: &[u8]) -> Result<()> {
        self.with_commands(node, |into, shared| {
            commands::write(stream, chunk, &shared.written, into);
            Ok(())
        })
    }

    /// Takes news of an endpoint, as `NativeDriver.drain()` does; the number is negative when there is no more.
    #[napi]
    pub fn drain(
        &mut self,
        node: u32,
        mut events: Float64ArraySlice<'_>,
        mut slab: Uint8ArraySlice<'_>,
        slab_offset: u32,
    ) -> Result<i32> {
        let (events, slab) = lent(&mut events, &mut slab)?;
        let Some((testbed, side)) = self.side(node)? else { return Ok(0) };
        let Some(shared) = testbed.shared(side.node) else { return Ok(0) };
        let mut drain = Drain { ring: Ring::new(events), slab, slab_at: slab_offset as usize, line: line() };
        let mut told = false;
        while !told && drain.ring.written() == 0 {
            if side.news.is_told() && !side.news.take(|into| shared.take_news(into)) {
                return Ok(0);
            }
            side.news.tell(&mut drain).map_err(|no_room| error(Code::Internal, no_room))?;
            shared.received.give(side.news.spent());
            // Nothing comes between two calls of `advance()`.
            told = side.news.is_told();
        }
        let written = drain.ring.written() as i32;
        Ok(if told { -written } else { written })
    }

    /// Counters of an endpoint; the last ones after the end.
    #[napi]
    pub fn stats(&self, node: u32) -> DriverStats {
        let present = self.testbed.as_ref().and_then(|testbed| {
            let side = self.sides.get(node as usize)?.as_ref()?;
            Some(now(testbed, side.node))
        });
        match (present, self.last.get(node as usize)) {
            (Some(stats), _) => DriverStats::from(&stats),
            (None, Some(Some(last))) => DriverStats::from(&**last),
            (None, _) => DriverStats::from(&Counted::default()),
        }
    }

    /// Newest measurements of a peer's path, once it has one.
    #[napi]
    pub fn peer_stats(&self, node: u32, peer: u32) -> Either<DriverPathStats, ()> {
        let stats = || {
            let side = self.sides.get(node as usize)?.as_ref()?;
            let slot = side.news.peers().get(peer)?.path?;
            let stats = self.testbed.as_ref()?.shared(side.node)?.path_stats(slot)?;
            // A slot without a cipher is not in use.
            (stats.cipher_bits != 0).then(|| DriverPathStats::new(slot, &stats))
        };
        or_undefined(stats())
    }

    /// A peer's address now; nothing for one that is unknown or closed.
    #[napi]
    pub fn peer_address(&self, node: u32, peer: u32) -> Either<RemoteAddress, ()> {
        let side = self.sides.get(node as usize).and_then(Option::as_ref);
        let remote = side.and_then(|side| side.news.peers().get(peer)).map(|known| known.remote);
        or_undefined(remote.map(|remote| RemoteAddress {
            address: config::address_text(remote),
            port: u32::from(remote.port()),
        }))
    }

    /// Ends an endpoint at once and frees what it has. Does nothing the second time.
    #[napi]
    pub fn detach(&mut self, node: u32) -> Result<()> {
        let index = node as usize;
        let Some(testbed) = self.testbed.as_mut() else { return Ok(()) };
        let Some(side) = self.sides.get_mut(index).and_then(Option::take) else { return Ok(()) };
        let mut stats = now(testbed, side.node);
        let (lost, panicked) = caught(|| testbed.detach(side.node));
        let Some(lost) = lost else { return Err(error(Code::Internal, panicked.unwrap_or_default())) };
        self.lost_descriptors += lost;
        // Gauges: nothing is there any more.
        stats.endpoint.streams = 0;
        stats.endpoint.paths = 0;
        stats.endpoint.pool_lent = lost as u64;
        self.last[index] = Some(Box::new(stats));
        Ok(())
    }

    /// Lets time pass until `until`, or until endpoints have news. `[now, endpoint, …]` goes into `out`, which must have room for
    /// all; returns how many elements that is. Times in ms.
    #[napi]
    pub fn advance(&mut self, until: f64, mut out: Float64ArraySlice<'_>) -> Result<u32> {
        let Self { testbed, nodes, .. } = self;
        let testbed = testbed.as_mut().ok_or_else(gone)?;
        nodes.clear();
        let until_ns = Testbed::START_NS.saturating_add(config::ns(until));
        let (done, panicked) = caught(|| testbed.advance(until_ns, nodes));
        if done.is_none() {
            // What a panic left half done is looked at no more.
            self.close();
            return Err(error(Code::Internal, panicked.unwrap_or_default()));
        }
        if out.len() <= nodes.len() {
            return Err(error(Code::Internal, "no room for the endpoints that have news"));
        }
        // SAFETY: JavaScript owns the memory and stands still while this call runs; nothing else refers to it.
        let out = unsafe { out.as_mut() };
        out[0] = line().ms(testbed.now_ns());
        for (place, node) in out[1..].iter_mut().zip(&*nodes) {
            *place = node.index() as f64;
        }
        Ok(1 + nodes.len() as u32)
    }

    /// Sets the link between all endpoints that have no link of their own.
    #[napi]
    pub fn link_all(&mut self, link: TestLink) {
        if let Some(testbed) = &mut self.testbed {
            testbed.link_all(link.link());
        }
    }

    /// Sets the link of one direction; without one, it is as all are.
    #[napi]
    pub fn link_one_way(&mut self, from: u32, to: u32, link: Option<TestLink>) -> Result<()> {
        let (from, to) = (self.node(from)?, self.node(to)?);
        if let Some(testbed) = &mut self.testbed {
            testbed.link_one_way(from, to, link.map(|link| link.link()));
        }
        Ok(())
    }

    /// Cuts one direction off, or mends it.
    #[napi]
    pub fn cut(&mut self, from: u32, to: u32, cut: bool) -> Result<()> {
        let (from, to) = (self.node(from)?, self.node(to)?);
        if let Some(testbed) = &mut self.testbed {
            testbed.cut(from, to, cut);
        }
        Ok(())
    }

    /// Mends whatever was cut off.
    #[napi]
    pub fn heal(&mut self) {
        if let Some(testbed) = &mut self.testbed {
            testbed.heal();
        }
    }

    /// What the network did so far.
    #[napi]
    pub fn traffic(&self) -> Result<TestTraffic> {
        Ok(self.testbed.as_ref().ok_or_else(gone)?.traffic().into())
    }

    /// Hash of all datagrams so far and their times, 16 hex digits.
    #[napi]
    pub fn hash(&self) -> Result<String> {
        Ok(format!("{:016x}", self.testbed.as_ref().ok_or_else(gone)?.log_hash()))
    }

    /// The log as text, if it is kept.
    #[napi]
    pub fn trace(&self) -> Result<Option<String>> {
        Ok(self.testbed.as_ref().ok_or_else(gone)?.log_text())
    }

    /// Ends everything. Returns how many descriptors did not come home, 0 unless there is a bug.
    #[napi]
    pub fn close(&mut self) -> u32 {
        for node in 0..self.sides.len() as u32 {
            if self.detach(node).is_err() {
                self.lost_descriptors += 1;
            }
        }
        // A worker that panicked may panic once more.
        let testbed = self.testbed.take();
        caught(|| drop(testbed));
        self.sides = Vec::new();
        self.lost_descriptors as u32
    }

    fn node(&self, node: u32) -> Result<NodeId> {
        let side = self.sides.get(node as usize).and_then(Option::as_ref);
        side.map(|side| side.node).ok_or_else(|| error(Code::Option, format_args!("no endpoint {node}")))
    }

    /// `None` when the endpoint is closed.
    fn side(&mut self, node: u32) -> Result<Option<(&mut Testbed, &mut Side)>> {
        let testbed = self.testbed.as_mut().ok_or_else(gone)?;
        Ok(self.sides.get_mut(node as usize).and_then(Option::as_mut).map(|side| (testbed, side)))
    }

    fn with_commands(
        &mut self,
        node: u32,
        add: impl FnOnce(&mut Vec<Command>, &paceline_transport::app::Shared) -> Result<()>,
    ) -> Result<()> {
        let mut commands = std::mem::take(&mut self.commands);
        let Some((testbed, side)) = self.side(node)? else { return Ok(()) };
        let node = side.node;
        let added = match testbed.shared(node) {
            Some(shared) => add(&mut commands, shared),
            None => Ok(()),
        };
        testbed.submit(node, &mut commands);
        self.commands = commands;
        added
    }
}

/// The newest counters, with what is known better here.
fn now(testbed: &Testbed, node: NodeId) -> Counted {
    let (Some(shared), Some(pool)) = (testbed.shared(node), testbed.pool(node)) else {
        return Counted::default();
    };
    let (mut endpoint, handshake) = shared.endpoint_stats();
    let pool = pool.stats();
    endpoint.pool_lent = pool.lent as u64;
    endpoint.pool_lent_bytes = pool.lent_bytes as u64;
    endpoint.pool_peak_bytes = pool.peak_bytes as u64;
    endpoint.pool_capacity_bytes = pool.capacity_bytes as u64;
    Counted { endpoint, handshake }
}
