//! Nodes, the network between them, and virtual time.

mod inject;

use crate::{
    addresses::{address_of, index_of},
    clock::Clock,
    environment::{SimEnvironment, Wires},
    faults::{FaultCounts, FaultKind},
    link::Link,
    log::Log,
    network::{Captured, MAX_NODES, Network},
    observe::{Observed, ObservedMail},
    rng::Rng,
    squeeze::Squeeze,
};
use paceline_transport::{
    Audit, Config, Step, Worker,
    app::{Command, Outbox, Shared},
    pool::{self, Pool},
    stats::Stats,
};
use std::{cell::RefCell, net::SocketAddr, rc::Rc, sync::Arc};

/// Names a node of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub(crate) usize);

impl NodeId {
    /// Nodes are numbered in the order they were added, from 0.
    pub const fn index(self) -> usize {
        self.0
    }
}

#[derive(Debug)]
struct Node {
    // What was taken from the pool, and the worker, are dropped before the pool.
    squeeze: Option<Squeeze>,
    worker: Worker<SimEnvironment>,
    shared: Arc<Shared>,
    pool: Arc<Pool>,
    pool_config: pool::Config,
    clock: Clock,
    /// What the clock read at the last step, and when that was.
    last_reading_ns: u64,
    last_step_ns: u64,
    /// When the worker wants to be stepped, on the node's clock.
    next_wake_ns: Option<u64>,
    coalesce_until_ns: Option<u64>,
    /// Since when there are commands.
    prompted_ns: Option<u64>,
    /// Not stepped before that.
    stalled_until_ns: u64,
    /// The stall that ended then was not noticed yet.
    stalled: bool,
    commands: Vec<Command>,
    incarnation: u32,
    done: bool,
}

/// A deterministic world: the same seed and the same calls give the same log, byte for byte.
#[derive(Debug)]
pub struct World {
    now_ns: u64,
    nodes: Vec<Node>,
    wires: Rc<RefCell<Wires>>,
    rng: Rng,
    steps: u64,
}

/// Worlds start here rather than at 0, so that "before the start" exists.
const START_NS: u64 = 1_000_000_000;
/// Steps of one node at one instant before it counts as spinning.
const MAX_STEPS_AT_ONCE: u32 = 100_000;

fn new_pool(config: &Config) -> (Arc<Pool>, pool::Config) {
    let config = pool::Config { capacity_bytes: config.pool_bytes, reserve_bytes: config.pool_reserve_bytes };
    (Pool::new(config).unwrap_or_else(|error| panic!("pool: {error}")), config)
}

impl World {
    /// An empty world. `trace` keeps the log as text.
    pub fn new(seed: u64, trace: bool) -> Self {
        let mut rng = Rng::new(seed);
        let network = Network::new(rng.fork());
        let wires = Wires { network, log: Log::new(trace), observer: None, transmissions: 0 };
        let wires = Rc::new(RefCell::new(wires));
        Self { now_ns: START_NS, nodes: Vec::new(), wires, rng, steps: 0 }
    }

    /// Adds an endpoint. Its address is 10.0.0.n:4433, with n counted from 1.
    ///
    /// # Panics
    /// If the configured pool is impossible, and after 65,536 nodes.
    pub fn add_node(&mut self, config: Config) -> NodeId {
        assert!(self.nodes.len() < MAX_NODES, "too many nodes");
        let id = NodeId(self.nodes.len());
        let (pool, pool_config) = new_pool(&config);
        let shared = Arc::new(Shared::default());
        let worker = self.new_worker(id, 0, config, &pool, &shared, self.now_ns);
        self.wires.borrow_mut().network.attach();
        self.nodes.push(Node {
            squeeze: None,
            worker,
            shared,
            pool,
            pool_config,
            clock: Clock::default(),
            last_reading_ns: 0,
            last_step_ns: 0,
            next_wake_ns: Some(self.now_ns),
            coalesce_until_ns: None,
            prompted_ns: None,
            stalled_until_ns: 0,
            stalled: false,
            commands: Vec::new(),
            incarnation: 0,
            done: false,
        });
        id
    }

    fn new_worker(
        &mut self,
        node: NodeId,
        incarnation: u32,
        config: Config,
        pool: &Arc<Pool>,
        shared: &Arc<Shared>,
        reading_ns: u64,
    ) -> Worker<SimEnvironment> {
        let rng = self.rng.fork();
        let wires = Rc::clone(&self.wires);
        let environment = SimEnvironment::new(node, incarnation, Arc::clone(pool), wires, rng);
        Worker::new(config, environment, Arc::clone(pool), Arc::clone(shared), reading_ns)
    }

    /// How often a node was restarted.
    pub fn incarnation(&self, node: NodeId) -> u32 {
        self.nodes[node.0].incarnation
    }

    /// Sets the link in both directions, for what is sent from now on.
    pub fn link(&mut self, a: NodeId, b: NodeId, link: &Link) {
        self.link_one_way(a, b, link);
        self.link_one_way(b, a, link);
    }

    /// Sets the link in one direction, for what is sent from now on.
    pub fn link_one_way(&mut self, from: NodeId, to: NodeId, link: &Link) {
        self.wires.borrow_mut().network.set_link(from.0, to.0, link.clone());
    }

    /// Everything a worker keeps account of, beside what it should be. O(streams + paths + wheel), without side effects.
    pub fn audit(&self, node: NodeId) -> Audit {
        self.nodes[node.0].worker.audit()
    }

    /// Datagrams of stream data that a worker has handed to its environment.
    pub fn handed(&self, node: NodeId) -> u64 {
        self.nodes[node.0].worker.environment().handed
    }

    /// Where a node listens.
    pub fn address(&self, node: NodeId) -> SocketAddr {
        address_of(node.0)
    }

    /// Who listens there.
    pub fn node_at(&self, address: SocketAddr) -> Option<NodeId> {
        index_of(address).filter(|index| *index < self.nodes.len()).map(NodeId)
    }

    /// All nodes.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..self.nodes.len()).map(NodeId)
    }

    /// Virtual time, ns.
    pub const fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// What a node's clock reads now, ns; never more than virtual time.
    pub fn reading_ns(&self, node: NodeId) -> u64 {
        self.nodes[node.0].clock.reading(self.now_ns)
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
        let now_ns = self.now_ns;
        let node = &mut self.nodes[node.0];
        node.commands.push(command);
        node.prompted_ns.get_or_insert(now_ns);
    }

    /// Takes a node's news. `into` must be empty.
    pub fn take_news(&mut self, node: NodeId, into: &mut Outbox) -> bool {
        self.nodes[node.0].shared.take_news(into)
    }

    /// A node's counters, since its last restart.
    pub fn stats(&self, node: NodeId) -> Stats {
        self.nodes[node.0].shared.stats()
    }

    /// A node's pool. What a squeeze has taken counts as lent.
    pub fn pool(&self, node: NodeId) -> pool::Stats {
        self.nodes[node.0].pool.stats()
    }

    /// Whether a node's pool, with everything at home, lends a descriptor of any size for data.
    pub fn lends_everything(&self, node: NodeId) -> bool {
        let pool = &self.nodes[node.0].pool;
        pool::CLASS_BYTES.iter().all(|len| pool.take(*len, pool::Purpose::Data).is_ok())
    }

    /// Descriptors that a squeeze has taken from a node's pool.
    pub fn squeezed(&self, node: NodeId) -> usize {
        self.nodes[node.0].squeeze.as_ref().map_or(0, Squeeze::taken)
    }

    /// Whether a node has answered `Command::Shutdown`.
    pub fn is_done(&self, node: NodeId) -> bool {
        self.nodes[node.0].done
    }

    /// How often each fault really happened so far.
    pub fn faults(&self) -> FaultCounts {
        let mut faults = self.wires.borrow().network.faults;
        for node in &self.nodes {
            if let Some(squeeze) = &node.squeeze {
                faults.add(FaultKind::PoolExhaustion, squeeze.refused(&node.pool));
            }
        }
        faults
    }

    /// Datagrams lost because the queue of a link or of a socket was full.
    pub fn overflowed(&self) -> u64 {
        self.wires.borrow().network.overflowed
    }

    /// Datagrams marked "congestion experienced".
    pub fn ce_marked(&self) -> u64 {
        self.wires.borrow().network.ce_marked
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

    /// Starts or stops to keep every packet that workers hand over and get.
    pub fn observe(&mut self, on: bool) {
        self.wires.borrow_mut().observer = on.then(Box::default);
    }

    /// Appends the packets handed over since the last call.
    pub fn take_sent(&mut self, into: &mut Vec<Observed>) {
        if let Some(observer) = &mut self.wires.borrow_mut().observer {
            into.append(&mut observer.sent);
        }
    }

    /// Appends the datagrams given to workers since the last call.
    pub fn take_received(&mut self, into: &mut Vec<ObservedMail>) {
        if let Some(observer) = &mut self.wires.borrow_mut().observer {
            into.append(&mut observer.received);
        }
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
        let network = &self.wires.borrow().network;
        let nodes = self.nodes.iter().enumerate();
        let wakes = nodes.filter_map(|(index, node)| {
            let due = node.due(self.now_ns, network.oldest_mail(index))?;
            Some(due.max(node.stalled_until_ns))
        });
        wakes.chain(network.next_arrival()).min().map(|at| at.max(self.now_ns))
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
        self.now_ns = next;
        {
            let Wires { network, log, .. } = &mut *self.wires.borrow_mut();
            network.deliver(log, next);
        }
        for index in 0..self.nodes.len() {
            if self.nodes[index].squeeze.as_ref().is_some_and(|squeeze| squeeze.until_ns <= next) {
                self.release_pool(NodeId(index));
            }
            let mail = self.wires.borrow().network.oldest_mail(index);
            let node = &self.nodes[index];
            if node.stalled_until_ns <= next && node.due(next, mail).is_some_and(|due| due <= next) {
                self.step_node(index, mail);
            }
        }
        true
    }

    fn step_node(&mut self, index: usize, mail: Option<u64>) {
        let now_ns = self.now_ns;
        let node = &mut self.nodes[index];
        let reading_ns = node.clock.reading(now_ns);
        self.note_clock(index, mail, reading_ns);
        let node = &mut self.nodes[index];
        if let Some(squeeze) = &mut node.squeeze {
            squeeze.press(&node.pool);
        }
        node.last_reading_ns = reading_ns;
        node.last_step_ns = now_ns;
        node.prompted_ns = None;
        node.worker.environment_mut().set_time(now_ns, reading_ns);
        node.shared.submit(&mut node.commands);
        for attempt in 0.. {
            let Step { next_wake_ns, coalesce_until_ns, busy, done, .. } = node.worker.step(reading_ns);
            self.steps += 1;
            node.next_wake_ns = next_wake_ns;
            node.coalesce_until_ns = coalesce_until_ns;
            node.done |= done;
            if !busy && next_wake_ns.is_none_or(|wake| wake > reading_ns) {
                break;
            }
            assert!(attempt < MAX_STEPS_AT_ONCE, "{} spins at {now_ns} ns", address_of(index));
        }
    }

    /// Counts a stall that made this step late, and a clock that went back since the last one.
    fn note_clock(&mut self, index: usize, mail: Option<u64>, reading_ns: u64) {
        let now_ns = self.now_ns;
        let node = &mut self.nodes[index];
        let mut wires = None;
        let mut note = |kind, detail| {
            let wires = wires.get_or_insert_with(|| self.wires.borrow_mut());
            wires.network.faults.add(kind, 1);
            wires.log.node(now_ns, kind, index, detail);
        };
        if node.stalled {
            node.stalled = false;
            let due = node.due(node.last_step_ns, mail).unwrap_or(now_ns);
            if due < node.stalled_until_ns {
                note(FaultKind::ClockStall, node.stalled_until_ns - due);
            }
        }
        if reading_ns <= node.last_reading_ns && now_ns > node.last_step_ns {
            note(FaultKind::ClockBackward, node.last_reading_ns - reading_ns);
        }
    }
}

impl Node {
    /// When it wants to be stepped, or should have been since `since_ns`; `mail` is when its oldest mail arrived.
    fn due(&self, since_ns: u64, mail: Option<u64>) -> Option<u64> {
        let environment = self.worker.environment();
        let wake = self.next_wake_ns.map(|reading| self.clock.when(since_ns, reading));
        let mail = mail.map(|at| at.max(environment.receive_retry_ns));
        // As in production: what arrives or is asked while bulk gathers waits for it.
        let gathered_ns = self.coalesce_until_ns.map_or(0, |reading| self.clock.when(since_ns, reading));
        let [mail, prompted] = [mail, self.prompted_ns].map(|at| at.map(|at| at.max(gathered_ns)));
        [wake, mail, prompted, environment.writable_ns].into_iter().flatten().min()
    }
}
