//! Endpoints under attack: the workers of production in a world of the test's own, where every datagram can be seen, held,
//! repeated and forged, where a node can be started again at its address, and where a puppet with real keys is the peer.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

pub mod checker;
pub mod puppet;

use bytes::Bytes;
use checker::KeyChecker;
use paceline_sim::Rng;
use paceline_transport::{
    Audit, Backpressure, BurstLimits, Completion, Config, Ecn, Environment, MS, Outcome, Received, SECOND,
    Step, Transmission, Worker,
    app::{Command, Outbox, PeerUpdate, Shared, StreamUpdate},
    handshake::{InjectedPath, Secret},
    pool::{self, Pool, Purpose, Segments},
    stats::EndpointStats,
};
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
};

/// Scales the counts of floods and replays: `PACELINE_ATTACK_SCALE=10` is the full figure of most of them.
pub fn scale() -> u64 {
    std::env::var("PACELINE_ATTACK_SCALE").ok().and_then(|n| n.parse().ok()).unwrap_or(1)
}

pub fn secrets(seed: u64) -> Arc<[Secret]> {
    Rng::new(seed ^ 0x6b65_7973).secrets()
}

#[derive(Clone, Debug)]
pub struct Datagram {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub bytes: Vec<u8>,
    pub at_ns: u64,
}

/// What nodes and the network hand to each other.
#[derive(Default)]
struct Desk {
    out: Vec<Datagram>,
    inboxes: BTreeMap<SocketAddr, VecDeque<Datagram>>,
}

pub struct ArenaEnvironment {
    address: SocketAddr,
    pool: Arc<Pool>,
    desk: Rc<RefCell<Desk>>,
    rng: Rng,
    results: Vec<Completion>,
}

impl Environment for ArenaEnvironment {
    fn submit(&mut self, now_ns: u64, due: &mut VecDeque<Transmission>) -> Backpressure {
        let mut desk = self.desk.borrow_mut();
        for transmission in due.drain(..) {
            for segment in transmission.segments.iter() {
                let bytes = segment.to_vec();
                desk.out.push(Datagram { from: self.address, to: transmission.remote, bytes, at_ns: now_ns });
            }
            self.results.push(Completion { transmission, outcome: Outcome::Sent { at_ns: now_ns } });
        }
        Backpressure::None
    }

    fn poll_results(&mut self, results: &mut Vec<Completion>) {
        results.append(&mut self.results);
    }

    fn receive(&mut self, _now_ns: u64) -> Option<Received> {
        let datagram = self.desk.borrow_mut().inboxes.get_mut(&self.address)?.pop_front()?;
        let mut unfilled = self.pool.take(datagram.bytes.len(), Purpose::Receive).ok()?;
        unfilled.buffer()[..datagram.bytes.len()].copy_from_slice(&datagram.bytes);
        let segments = Segments::new(unfilled.fill(datagram.bytes.len()), datagram.bytes.len());
        Some(Received { remote: datagram.from, local: None, ecn: Ecn::Ect0, segments, at_ns: datagram.at_ns })
    }

    fn random(&mut self, out: &mut [u8]) {
        self.rng.fill(out);
    }

    fn burst_limits(&self, _remote: &SocketAddr) -> BurstLimits {
        BurstLimits { max_segments: 64, max_bytes: 65_507 }
    }
}

/// An endpoint and the application on it, which takes everything it can read.
pub struct Node {
    pub address: SocketAddr,
    pub config: Config,
    worker: Worker<ArenaEnvironment>,
    shared: Arc<Shared>,
    pool: Arc<Pool>,
    next_wake_ns: Option<u64>,
    done: bool,
    pub peers: Vec<PeerUpdate>,
    pub streams: BTreeMap<u32, Seen>,
    pub sent: u64,
    /// Keep what is read; otherwise only its length.
    pub keep: bool,
    /// The application looks at nothing.
    pub paused: bool,
}

/// What an application has heard of a stream.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub update: StreamUpdate,
    pub bytes: Vec<u8>,
    pub read: u64,
    pub end: bool,
    pub closed: bool,
}

/// Chances in ppm.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    pub loss: u32,
    pub duplicate: u32,
    pub reorder: u32,
    /// How long an overtaken datagram is held back at most; 0: two one-way delays.
    pub hold_ns: u64,
}

pub struct Arena {
    pub now_ns: u64,
    pub nodes: Vec<Node>,
    pub delay_ns: u64,
    pub faults: Faults,
    pub lost: u64,
    pub duplicated: u64,
    pub reordered: u64,
    /// Everything sent, while somebody listens.
    pub tap: Option<Vec<Datagram>>,
    /// Sent to addresses where no node is.
    pub strays: Vec<Datagram>,
    /// Keep strays; a flood would fill the memory with them.
    pub keep_strays: bool,
    pub stray_count: u64,
    pub stray_bytes: u64,
    pub checker: KeyChecker,
    /// (node, address) pairs that may talk: the node heard from it, or was asked to connect to it.
    acquainted: BTreeSet<(SocketAddr, SocketAddr)>,
    desk: Rc<RefCell<Desk>>,
    flying: BTreeMap<(u64, u64), Datagram>,
    sequence: u64,
    rng: Rng,
}

pub const A: usize = 0;
pub const B: usize = 1;
/// The name of node B as node A's peer.
pub const PEER: u32 = 1;

pub fn address(index: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, index as u8 + 1], 4433))
}

impl Arena {
    pub fn new(seed: u64) -> Self {
        Self {
            now_ns: SECOND,
            nodes: Vec::new(),
            delay_ns: MS,
            faults: Faults::default(),
            lost: 0,
            duplicated: 0,
            reordered: 0,
            tap: None,
            strays: Vec::new(),
            keep_strays: true,
            stray_count: 0,
            stray_bytes: 0,
            checker: KeyChecker::default(),
            acquainted: BTreeSet::new(),
            desk: Rc::default(),
            flying: BTreeMap::new(),
            sequence: 0,
            rng: Rng::new(seed),
        }
    }

    /// Two nodes with one secret; A connects to B, which accepts.
    pub fn pair(seed: u64, config: &Config) -> Self {
        let mut arena = Self::new(seed);
        arena.add(config.clone());
        arena.add(Config { secrets: secrets(seed), ..config.clone() });
        arena.connect(seed, PEER);
        arena
    }

    pub fn connect(&mut self, seed: u64, peer: u32) {
        let remote = self.nodes[B].address;
        self.acquainted.insert((self.nodes[A].address, remote));
        let secrets = secrets(seed);
        let handshake_timeout_ns = 10 * SECOND;
        self.command(A, Command::Connect { peer, remote, secrets, handshake_timeout_ns, max_rate: None });
    }

    /// `PEER` of `node`, without a handshake.
    pub fn inject_path(&mut self, node: usize, path: InjectedPath) {
        self.acquainted.insert((self.nodes[node].address, path.remote));
        self.command(node, Command::Inject { peer: PEER, path: Box::new(path), max_rate: None });
    }

    pub fn add(&mut self, config: Config) -> usize {
        let address = address(self.nodes.len());
        let node = self.start(address, config);
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    fn start(&mut self, address: SocketAddr, config: Config) -> Node {
        let pool = Pool::new(pool::Config {
            capacity_bytes: config.pool_bytes,
            reserve_bytes: config.pool_reserve_bytes,
        })
        .unwrap();
        let environment = ArenaEnvironment {
            address,
            pool: Arc::clone(&pool),
            desk: Rc::clone(&self.desk),
            rng: self.rng.fork(),
            results: Vec::new(),
        };
        self.desk.borrow_mut().inboxes.insert(address, VecDeque::new());
        let shared = Arc::new(Shared::default());
        let worker =
            Worker::new(config.clone(), environment, Arc::clone(&pool), Arc::clone(&shared), self.now_ns);
        Node {
            address,
            config,
            worker,
            shared,
            pool,
            next_wake_ns: Some(self.now_ns),
            done: false,
            peers: Vec::new(),
            streams: BTreeMap::new(),
            sent: 0,
            keep: true,
            paused: false,
        }
    }

    /// kill -9, and the same program again at the same port.
    pub fn restart(&mut self, node: usize) {
        let (address, config) = (self.nodes[node].address, self.nodes[node].config.clone());
        self.nodes[node] = self.start(address, config);
    }

    pub fn command(&mut self, node: usize, command: Command) {
        let node = &mut self.nodes[node];
        node.shared.submit(&mut vec![command]);
        node.next_wake_ns = Some(self.now_ns);
    }

    pub fn open(&mut self, node: usize, stream: u32, data: &[u8]) {
        self.command(node, Command::Open { stream, peer: PEER, priority: 3 });
        self.write(node, stream, data);
    }

    pub fn write(&mut self, node: usize, stream: u32, data: &[u8]) {
        let data = Bytes::copy_from_slice(data);
        self.command(node, Command::Write { stream, data });
    }

    pub fn finish(&mut self, node: usize, stream: u32) {
        self.command(node, Command::Finish(stream));
    }

    pub fn stats(&self, node: usize) -> EndpointStats {
        let stats = self.nodes[node].shared.stats().endpoint;
        assert_eq!(stats.packets_dropped, stats.dropped.total(), "one reason each: {:?}", stats.dropped);
        stats
    }

    pub fn path_stats(&self, node: usize) -> paceline_transport::stats::PathStats {
        self.nodes[node].shared.stats().paths[0]
    }

    pub fn audit(&self, node: usize) -> Audit {
        self.nodes[node].worker.audit()
    }

    pub fn lent(&self, node: usize) -> usize {
        self.nodes[node].pool.stats().lent
    }

    /// What an attacker sends: it is there at the next step, whoever it claims to be from.
    pub fn inject(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        self.arrive(self.now_ns, Datagram { from, to, bytes: bytes.to_vec(), at_ns: self.now_ns });
    }

    /// Puts a datagram onto the way, without faults.
    pub fn arrive(&mut self, at_ns: u64, datagram: Datagram) {
        self.sequence += 1;
        self.flying.insert((at_ns, self.sequence), datagram);
    }

    fn send(&mut self, datagram: Datagram) {
        self.checker.see(&datagram);
        let (from, to) = (datagram.from, datagram.to);
        assert!(self.acquainted.contains(&(from, to)), "R23: {from} sends to {to}, which never sent to it");
        if let Some(tap) = &mut self.tap {
            tap.push(datagram.clone());
        }
        if !self.nodes.iter().any(|node| node.address == datagram.to) {
            self.stray_count += 1;
            self.stray_bytes += datagram.bytes.len() as u64;
            if self.keep_strays {
                self.strays.push(datagram);
            }
            return;
        }
        let Faults { loss, duplicate, reorder, hold_ns } = self.faults;
        let hold_ns = if hold_ns > 0 { hold_ns } else { 2 * self.delay_ns };
        if self.rng.chance_ppm(loss) {
            self.lost += 1;
            return;
        }
        let mut at_ns = self.now_ns + self.delay_ns;
        if self.rng.chance_ppm(reorder) {
            at_ns += self.rng.below(hold_ns);
            self.reordered += 1;
        }
        if self.rng.chance_ppm(duplicate) {
            self.duplicated += 1;
            let later = at_ns + self.rng.below(3 * self.delay_ns);
            self.arrive(later, datagram.clone());
        }
        self.arrive(at_ns, datagram);
    }

    /// The next event up to `until_ns`; false when there is none.
    pub fn advance(&mut self, until_ns: u64) -> bool {
        let wakes = self.nodes.iter().filter_map(|node| node.next_wake_ns);
        let arrival = self.flying.first_key_value().map(|((at, _), _)| *at);
        let next = wakes.chain(arrival).min().filter(|next| *next <= until_ns);
        let Some(next) = next else {
            self.now_ns = self.now_ns.max(until_ns);
            return false;
        };
        self.now_ns = self.now_ns.max(next);
        let now_ns = self.now_ns;
        while let Some(entry) = self.flying.first_entry().filter(|entry| entry.key().0 <= now_ns) {
            let mut datagram = entry.remove();
            datagram.at_ns = now_ns;
            self.acquainted.insert((datagram.to, datagram.from));
            if let Some(inbox) = self.desk.borrow_mut().inboxes.get_mut(&datagram.to) {
                inbox.push_back(datagram);
            }
        }
        for index in 0..self.nodes.len() {
            let mail = !self.desk.borrow().inboxes[&self.nodes[index].address].is_empty();
            if mail || self.nodes[index].next_wake_ns.is_some_and(|wake| wake <= now_ns) {
                self.step(index);
            }
        }
        true
    }

    fn step(&mut self, index: usize) {
        let now_ns = self.now_ns;
        for attempt in 0.. {
            let node = &mut self.nodes[index];
            let Step { next_wake_ns, busy, done, .. } = node.worker.step(now_ns);
            node.next_wake_ns = next_wake_ns;
            node.done |= done;
            let more = !self.desk.borrow().inboxes[&node.address].is_empty();
            if !busy && !more && next_wake_ns.is_none_or(|wake| wake > now_ns) {
                break;
            }
            assert!(attempt < 1_000_000, "{} spins at {now_ns} ns", node.address);
        }
        self.nodes[index].listen(now_ns);
        let out = std::mem::take(&mut self.desk.borrow_mut().out);
        for datagram in out {
            self.nodes[index].sent += 1;
            self.send(datagram);
        }
    }

    pub fn run(&mut self, ns: u64) {
        let end_ns = self.now_ns + ns;
        while self.advance(end_ns) {}
    }

    /// Until `done` says so, or `ns` have passed. Returns whether it did.
    pub fn run_while(&mut self, ns: u64, mut goes_on: impl FnMut(&Self) -> bool) -> bool {
        let end_ns = self.now_ns + ns;
        while goes_on(self) {
            if !self.advance(end_ns) {
                return !goes_on(self);
            }
        }
        true
    }

    /// Both streams of a pair are over: everything was delivered each way.
    pub fn both_closed(&self, a: u32, b: u32) -> bool {
        let closed = |node: usize, stream| self.nodes[node].streams.get(&stream).is_some_and(|s| s.closed);
        closed(A, a) && closed(B, b)
    }

    /// Everybody shuts down; every descriptor comes home, every transmission has its outcome.
    pub fn go_home(mut self) {
        self.faults = Faults::default();
        for index in 0..self.nodes.len() {
            self.command(index, Command::Shutdown);
        }
        self.run(120 * SECOND);
        for (index, node) in self.nodes.iter().enumerate() {
            assert!(node.done, "node {index} did not drain");
            assert_eq!(self.lent(index), 0);
            let stats = self.stats(index);
            assert_eq!(stats.sent + stats.failed + stats.cancelled, stats.transmissions);
        }
    }
}

impl Node {
    fn listen(&mut self, now_ns: u64) {
        let mut news = Outbox::default();
        if self.paused || !self.shared.take_news(&mut news) {
            return;
        }
        self.peers.append(&mut news.peers);
        let mut commands = Vec::new();
        for mut update in news.streams.drain(..) {
            let stream = update.stream;
            let seen = self.streams.entry(stream).or_default();
            for bytes in std::mem::take(&mut update.readable) {
                commands.push(Command::Consume { stream, bytes: bytes.len() as u64 });
                seen.read += bytes.len() as u64;
                if self.keep {
                    seen.bytes.extend_from_slice(&bytes);
                }
            }
            seen.end |= update.end;
            seen.closed |= update.closed;
            seen.update = update;
        }
        if !commands.is_empty() {
            self.shared.submit(&mut commands);
            self.next_wake_ns = Some(now_ns);
        }
    }

    pub fn stream(&self, stream: u32) -> Seen {
        self.streams.get(&stream).cloned().unwrap_or_default()
    }

    pub fn peer(&self, peer: u32) -> Option<&PeerUpdate> {
        self.peers.iter().rev().find(|update| update.peer == peer)
    }
}

/// Bytes that differ between streams, directions and neighbours.
pub fn content(name: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    Rng::new(name).fill(&mut bytes);
    bytes
}
