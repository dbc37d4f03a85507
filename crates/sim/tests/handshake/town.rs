//! Endpoints, what their applications heard, and a post office that may open, lose and readdress every datagram.

use paceline_sim::{Captured, Link, NodeId, Rng, World};
use paceline_transport::{
    Config, Failure, MS, SECOND,
    app::{Command, Outbox, PeerUpdate, StreamUpdate},
    handshake::{Counters, Secret},
};
use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::Arc,
};

/// Handshake messages, by their first byte.
pub(crate) const INITIATION: u8 = 0x80;
pub(crate) const RESPONSE: u8 = 0x81;
pub(crate) const COOKIE: u8 = 0x82;
pub(crate) const REFUSAL: u8 = 0x83;
pub(crate) const CONFIRM: u8 = 0x84;

/// The peer that a node connects to first.
pub(crate) const PEER: u32 = 1;

#[derive(Default)]
pub(crate) struct Heard {
    pub(crate) peers: Vec<PeerUpdate>,
    pub(crate) streams: BTreeMap<u32, StreamUpdate>,
    pub(crate) bytes: BTreeMap<u32, Vec<u8>>,
}

pub(crate) struct Town {
    pub(crate) world: World,
    pub(crate) seed: u64,
    nodes: Vec<NodeId>,
    heard: Vec<Heard>,
    news: Outbox,
}

pub(crate) fn secrets(seed: u64) -> Arc<[Secret]> {
    Rng::new(seed).secrets()
}

/// A listener's configuration with little memory, as there are many of them.
pub(crate) fn config(seed: u64) -> Config {
    Config { pool_bytes: 4 << 20, pool_reserve_bytes: 1 << 20, secrets: secrets(seed), ..Config::default() }
}

impl Town {
    /// Nodes with one configuration and links between all of them.
    pub(crate) fn new(seed: u64, nodes: usize, link: &Link, config: &Config) -> Self {
        let mut town = Self::empty(seed);
        for _ in 0..nodes {
            let node = town.add(config.clone());
            for other in 0..node {
                town.world.link(town.nodes[other], town.nodes[node], link);
            }
        }
        town
    }

    pub(crate) fn empty(seed: u64) -> Self {
        let world = World::new(seed, false);
        Self { world, seed, nodes: Vec::new(), heard: Vec::new(), news: Outbox::default() }
    }

    pub(crate) fn add(&mut self, config: Config) -> usize {
        self.nodes.push(self.world.add_node(config));
        self.heard.push(Heard::default());
        self.nodes.len() - 1
    }

    pub(crate) fn id(&self, node: usize) -> NodeId {
        self.nodes[node]
    }

    pub(crate) fn address(&self, node: usize) -> SocketAddr {
        self.world.address(self.nodes[node])
    }

    pub(crate) fn command(&mut self, node: usize, command: Command) {
        self.world.command(self.nodes[node], command);
    }

    pub(crate) fn connect(&mut self, from: usize, peer: u32, to: usize) {
        let remote = self.address(to);
        self.connect_to(from, peer, remote);
    }

    pub(crate) fn connect_to(&mut self, from: usize, peer: u32, remote: SocketAddr) {
        let secrets = secrets(self.seed);
        let connect =
            Command::Connect { peer, remote, secrets, handshake_timeout_ns: 10 * SECOND, max_rate: None };
        self.command(from, connect);
    }

    pub(crate) fn open(&mut self, node: usize, stream: u32, peer: u32, data: &[u8]) {
        self.command(node, Command::Open { stream, peer, priority: 3 });
        self.write(node, stream, data);
    }

    pub(crate) fn write(&mut self, node: usize, stream: u32, data: &[u8]) {
        self.command(node, Command::Write { stream, data: bytes::Bytes::copy_from_slice(data) });
    }

    /// Everything readable is taken at once.
    pub(crate) fn listen(&mut self) {
        for (node, heard) in self.heard.iter_mut().enumerate() {
            let id = self.nodes[node];
            if !self.world.take_news(id, &mut self.news) {
                continue;
            }
            heard.peers.append(&mut self.news.peers);
            self.news.records.clear();
            self.news.drained = false;
            for mut update in self.news.streams.drain(..) {
                let stream = update.stream;
                for bytes in std::mem::take(&mut update.readable) {
                    self.world.command(id, Command::Consume { stream, bytes: bytes.len() as u64 });
                    heard.bytes.entry(stream).or_default().extend_from_slice(&bytes);
                }
                let old = heard.streams.entry(stream).or_default();
                update.end |= old.end;
                update.closed |= old.closed;
                update.accepted_from = update.accepted_from.or(old.accepted_from);
                *old = update;
            }
        }
    }

    pub(crate) fn run(&mut self, ns: u64) {
        let end = self.world.now_ns() + ns;
        while self.world.advance(end) {
            self.listen();
        }
    }

    /// Runs until it is true, for `ns` at most.
    pub(crate) fn run_until(&mut self, ns: u64, mut done: impl FnMut(&Self) -> bool) -> bool {
        let end = self.world.now_ns() + ns;
        while !done(self) {
            if !self.world.advance(end) {
                return false;
            }
            self.listen();
        }
        true
    }

    /// Without links: every datagram passes `sort`, which names the source and destination it arrives with.
    pub(crate) fn run_sorted(&mut self, ns: u64, post: &mut Post, sort: &mut Sorter<'_>) {
        let end = self.world.now_ns() + ns;
        loop {
            while let Some((at_ns, ..)) = post.bags.front()
                && *at_ns <= self.world.now_ns()
            {
                let Some((_, from, to, bytes)) = post.bags.pop_front() else { return };
                self.world.inject(from, to, &bytes);
            }
            let next = post.bags.front().map_or(end, |(at_ns, ..)| (*at_ns).min(end));
            let more = self.world.advance(next);
            self.listen();
            for datagram in self.world.captured() {
                for (from, to) in sort(&datagram) {
                    post.bags.push_back((datagram.at_ns + post.delay_ns, from, to, datagram.bytes.clone()));
                }
            }
            if !more && self.world.now_ns() >= end {
                return;
            }
        }
    }

    pub(crate) fn heard(&self, node: usize) -> &Heard {
        &self.heard[node]
    }

    /// The process is started again: its application has heard nothing.
    pub(crate) fn restart(&mut self, node: usize, config: Config) {
        self.world.restart(self.nodes[node], config);
        self.heard[node] = Heard::default();
    }

    pub(crate) fn bytes(&self, node: usize, stream: u32) -> &[u8] {
        self.heard[node].bytes.get(&stream).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn failure(&self, node: usize, stream: u32) -> Option<Failure> {
        self.heard[node].streams.get(&stream).and_then(|update| update.failure)
    }

    /// The newest of a peer: open, and how it ended.
    pub(crate) fn peer(&self, node: usize, peer: u32) -> (bool, Option<Result<(), Failure>>) {
        let mut updates = self.heard[node].peers.iter().filter(|update| update.peer == peer);
        let open = updates.clone().any(|update| update.open);
        (open, updates.find_map(|update| update.closed))
    }

    pub(crate) fn counters(&self, node: usize) -> Counters {
        self.world.stats(self.nodes[node]).handshake
    }

    pub(crate) fn paths(&self, node: usize) -> u64 {
        self.world.stats(self.nodes[node]).endpoint.paths
    }

    /// All shut down; everything comes home.
    pub(crate) fn go_home(mut self) {
        for node in 0..self.nodes.len() {
            self.command(node, Command::Shutdown);
        }
        self.run(90 * SECOND);
        for node in self.nodes {
            assert!(self.world.is_done(node), "seed {}", self.seed);
            assert_eq!(self.world.pool(node).lent, 0, "seed {}", self.seed);
            let stats = self.world.stats(node).endpoint;
            assert_eq!(
                stats.sent + stats.failed + stats.cancelled,
                stats.transmissions,
                "seed {}",
                self.seed
            );
            assert_eq!(stats.paths, 0, "seed {}: paths go with their peers", self.seed);
        }
    }
}

pub(crate) type Sorter<'a> = dyn FnMut(&Captured) -> Vec<(SocketAddr, SocketAddr)> + 'a;

/// Datagrams between their source and where `sort` sent them.
pub(crate) struct Post {
    delay_ns: u64,
    bags: VecDeque<(u64, SocketAddr, SocketAddr, Vec<u8>)>,
}

impl Post {
    pub(crate) fn new() -> Self {
        Self { delay_ns: MS, bags: VecDeque::new() }
    }
}

/// Credential id and key id of a stream packet (dcQUIC §1.2): after the first byte, 16 bytes and a varint.
pub(crate) fn credentials(datagram: &[u8]) -> Option<([u8; 16], u64)> {
    if *datagram.first()? >= 0x40 {
        return None;
    }
    let id = datagram.get(1..17)?.try_into().ok()?;
    let first = *datagram.get(17)?;
    let len = 1usize << (first >> 6);
    let rest = datagram.get(18..17 + len)?;
    Some((id, rest.iter().fold(u64::from(first & 0x3f), |sum, byte| sum << 8 | u64::from(*byte))))
}
