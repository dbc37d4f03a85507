//! Nodes, the network between them, and virtual time.

use crate::{
    environment::{SimEnvironment, Wires},
    log::Log,
    network::{Captured, Faults, Link, Network},
    rng::Rng,
};
use paceline_transport::{
    BurstLimits, Config, Step, Worker,
    app::{Command, Outbox, Shared},
    pool::{self, Pool},
    stats::Stats,
};
use std::{
    cell::RefCell,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    rc::Rc,
    sync::Arc,
};

/// Names a node of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeId(usize);

#[derive(Debug)]
struct Node {
    address: SocketAddr,
    // Dropped before the pool it borrows from.
    worker: Worker<SimEnvironment>,
    shared: Arc<Shared>,
    pool: Arc<Pool>,
    next_wake_ns: Option<u64>,
    commands: Vec<Command>,
    done: bool,
}

/// A deterministic world: the same seed and the same calls give the same log, byte for byte.
#[derive(Debug)]
pub struct World {
    now_ns: u64,
    nodes: Vec<Node>,
    wires: Rc<RefCell<Wires>>,
    rng: Rng,
    arrived: Vec<SocketAddr>,
    steps: u64,
}

/// Worlds start here rather than at 0, so that "before the start" exists.
const START_NS: u64 = 1_000_000_000;
/// Steps of one node at one instant before it counts as spinning.
const MAX_STEPS_AT_ONCE: u32 = 100_000;

impl World {
    /// An empty world. `trace` keeps the log as text.
    pub fn new(seed: u64, trace: bool) -> Self {
        let mut rng = Rng::new(seed);
        let network = Network::new(rng.fork());
        let wires = Rc::new(RefCell::new(Wires { network, log: Log::new(trace) }));
        Self { now_ns: START_NS, nodes: Vec::new(), wires, rng, arrived: Vec::new(), steps: 0 }
    }

    /// Adds an endpoint. Its address is 10.0.0.n:4433.
    ///
    /// # Panics
    /// If the configured pool is impossible.
    pub fn add_node(&mut self, config: Config) -> NodeId {
        let index = self.nodes.len();
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, index as u8 + 1)), 4433);
        let pool = Pool::new(pool::Config {
            capacity_bytes: config.pool_bytes,
            reserve_bytes: config.pool_reserve_bytes,
        });
        let pool = pool.unwrap_or_else(|error| panic!("pool: {error}"));
        let shared = Arc::new(Shared::default());
        let limits = BurstLimits { max_segments: 64, max_bytes: 65_507 };
        let environment =
            SimEnvironment::new(address, Arc::clone(&pool), Rc::clone(&self.wires), self.rng.fork(), limits);
        let worker = Worker::new(config, environment, Arc::clone(&pool), Arc::clone(&shared), self.now_ns);
        self.wires.borrow_mut().network.attach(address);
        self.nodes.push(Node {
            address,
            worker,
            shared,
            pool,
            next_wake_ns: Some(self.now_ns),
            commands: Vec::new(),
            done: false,
        });
        NodeId(index)
    }

    /// Sets the link in both directions.
    pub fn link(&mut self, a: NodeId, b: NodeId, link: &Link) {
        self.link_one_way(a, b, link);
        self.link_one_way(b, a, link);
    }

    /// Sets the link in one direction.
    pub fn link_one_way(&mut self, from: NodeId, to: NodeId, link: &Link) {
        let (from, to) = (self.address(from), self.address(to));
        self.wires.borrow_mut().network.set_link(from, to, link.clone());
    }

    /// Where a node listens.
    pub fn address(&self, node: NodeId) -> SocketAddr {
        self.nodes[node.0].address
    }

    /// Virtual time, ns.
    pub const fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// Since the world began, ns.
    pub const fn elapsed_ns(&self) -> u64 {
        self.now_ns - START_NS
    }

    /// Steps of all workers.
    pub const fn steps(&self) -> u64 {
        self.steps
    }

    /// Gives a command to a node's worker, which sees it at once.
    pub fn command(&mut self, node: NodeId, command: Command) {
        let node = &mut self.nodes[node.0];
        node.commands.push(command);
        node.next_wake_ns = Some(self.now_ns);
    }

    /// Takes a node's news. `into` must be empty.
    pub fn take_news(&mut self, node: NodeId, into: &mut Outbox) -> bool {
        self.nodes[node.0].shared.take_news(into)
    }

    /// A node's counters.
    pub fn stats(&self, node: NodeId) -> Stats {
        self.nodes[node.0].shared.stats()
    }

    /// A node's pool.
    pub fn pool(&self, node: NodeId) -> pool::Stats {
        self.nodes[node.0].pool.stats()
    }

    /// Whether a node has answered `Command::Shutdown`.
    pub fn is_done(&self, node: NodeId) -> bool {
        self.nodes[node.0].done
    }

    /// What the network did so far.
    pub fn faults(&self) -> Faults {
        self.wires.borrow().network.faults
    }

    /// Datagrams sent, and the largest of them in bytes.
    pub fn datagrams(&self) -> (u64, usize) {
        let wires = self.wires.borrow();
        (wires.network.datagrams, wires.network.largest)
    }

    /// Starts to keep a copy of every datagram sent.
    pub fn capture(&mut self) {
        self.wires.borrow_mut().network.captured = Some(Vec::new());
    }

    /// The copies kept since the last call.
    pub fn captured(&mut self) -> Vec<Captured> {
        self.wires.borrow_mut().network.captured.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// An attacker's datagram: arrives at once, from any address.
    pub fn inject(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        self.wires.borrow_mut().network.inject(self.now_ns, from, to, bytes);
    }

    /// Steps until `until_ns`.
    pub fn run_until(&mut self, until_ns: u64) {
        while self.advance(until_ns) {}
    }

    /// Datagrams on their way.
    pub fn in_flight(&self) -> usize {
        self.wires.borrow().network.in_flight()
    }

    /// Hash of the log.
    pub fn log_hash(&self) -> u64 {
        self.wires.borrow().log.hash()
    }

    /// The log as text, if it is kept.
    pub fn log_text(&self) -> Option<String> {
        self.wires.borrow().log.text().map(str::to_owned)
    }

    /// When something happens next.
    fn next_event(&self) -> Option<u64> {
        let wires = self.wires.borrow();
        let wakes = self.nodes.iter().filter_map(|node| {
            if wires.network.has_mail(node.address) { Some(self.now_ns) } else { node.next_wake_ns }
        });
        wakes.chain(wires.network.next_arrival()).min()
    }

    /// Moves time to the next event before `until_ns` and lets everybody concerned step. Returns whether there was one.
    ///
    /// # Panics
    /// If a worker asks to be stepped again and again at one instant.
    pub fn advance(&mut self, until_ns: u64) -> bool {
        let Some(next) = self.next_event().filter(|next| *next <= until_ns) else {
            self.now_ns = self.now_ns.max(until_ns);
            return false;
        };
        self.now_ns = self.now_ns.max(next);
        let now_ns = self.now_ns;
        self.wires.borrow_mut().network.deliver(now_ns, &mut self.arrived);
        self.arrived.clear();
        for node in &mut self.nodes {
            let mail = self.wires.borrow().network.has_mail(node.address);
            if !mail && node.next_wake_ns.is_none_or(|wake| wake > now_ns) {
                continue;
            }
            node.shared.submit(&mut node.commands);
            for attempt in 0.. {
                let Step { next_wake_ns, busy, done, .. } = node.worker.step(now_ns);
                self.steps += 1;
                node.next_wake_ns = next_wake_ns;
                node.done |= done;
                if !busy && next_wake_ns.is_none_or(|wake| wake > now_ns) {
                    break;
                }
                assert!(attempt < MAX_STEPS_AT_ONCE, "{} spins at {now_ns} ns", node.address);
            }
        }
        true
    }
}
