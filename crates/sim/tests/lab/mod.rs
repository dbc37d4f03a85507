//! A small world of its own for tests of recovery and congestion: some workers, a wire each way, and hooks where a test
//! breaks things (send errors, late wakes, stalls, clocks that step back). Everything random comes from the seed.
//!
//! Always checked: nothing leaves early, packet numbers of a space only rise, delivered bytes are the written ones.
#![allow(dead_code, reason = "each test binary uses a part of it")]

mod wire;

pub(crate) use wire::{Conditions, Counts, Wire};

use bytes::Bytes;
use paceline_sim::Rng;
use paceline_transport::{
    Backpressure, BurstLimits, Completion, Config, Ecn, Environment, Kind, Outcome, Received, SECOND,
    SendError, Space, Transmission, Worker,
    app::{Command, Outbox, Shared, StreamUpdate},
    pool::{self, Pool, Purpose, Segments},
    stats::{EndpointStats, PathStats},
};
use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
};
use wire::Datagram;

pub(crate) const START_NS: u64 = SECOND;
/// The peer as every sender names it.
pub(crate) const PEER: u32 = 1;
/// A send buffer under backpressure.
const BUFFER: u64 = 4 << 20;
const CHUNK: u64 = 64 << 10;
const PERIOD: u64 = 251;

/// A transmission that reached the environment.
#[derive(Clone, Debug)]
pub(crate) struct Departure {
    pub(crate) node: usize,
    pub(crate) kind: Kind,
    pub(crate) stream: u32,
    pub(crate) scheduled_ns: u64,
    pub(crate) at_ns: u64,
    pub(crate) bytes: u64,
    pub(crate) packets: u64,
    pub(crate) largest: usize,
    pub(crate) ecn: Ecn,
    pub(crate) failed: bool,
}

type Refuse = Box<dyn FnMut(u64, &Transmission) -> Option<SendError>>;

/// What the nodes share.
struct Net {
    /// Towards node 0, and away from it.
    wires: [Wire; 2],
    inboxes: Vec<VecDeque<Datagram>>,
    departures: Option<Vec<Departure>>,
    /// Per node: called with every transmission, says whether the socket refuses it.
    refuse: Vec<Option<Refuse>>,
    /// Largest number per node, stream and space.
    numbers: BTreeMap<(usize, u32, bool), u64>,
}

pub(crate) struct LabEnvironment {
    me: usize,
    pool: Arc<Pool>,
    net: Rc<RefCell<Net>>,
    rng: Rng,
    results: Vec<Completion>,
}

pub(crate) fn address(node: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, node as u8 + 1], 4433))
}

impl Environment for LabEnvironment {
    fn submit(&mut self, now_ns: u64, due: &mut VecDeque<Transmission>) -> Backpressure {
        let mut net = self.net.borrow_mut();
        let net = &mut *net;
        for transmission in due.drain(..) {
            assert!(transmission.kind == Kind::Control || transmission.scheduled_ns <= now_ns, "left early");
            for info in &transmission.infos {
                let space = (self.me, transmission.stream, info.space == Space::Recovery);
                let last = net.numbers.insert(space, info.number);
                assert!(
                    last.is_none_or(|last| last < info.number),
                    "number {} after {last:?} in {space:?}",
                    info.number
                );
            }
            let to = if self.me == 0 {
                (1..net.inboxes.len()).find(|node| address(*node) == transmission.remote)
            } else {
                Some(0)
            };
            let wire = &mut net.wires[usize::from(self.me == 0)];
            let largest = transmission.segments.iter().map(<[u8]>::len).max().unwrap_or(0);
            let mut error = (largest > wire.conditions.refused_mtu).then_some(SendError::TooLarge);
            if let Some(refuse) = &mut net.refuse[self.me] {
                error = error.or(refuse(now_ns, &transmission));
            }
            if let Some(departures) = &mut net.departures {
                departures.push(Departure {
                    node: self.me,
                    kind: transmission.kind,
                    stream: transmission.stream,
                    scheduled_ns: transmission.scheduled_ns,
                    at_ns: now_ns,
                    bytes: transmission.segments.total_len() as u64,
                    packets: transmission.segments.iter().count() as u64,
                    largest,
                    ecn: transmission.ecn,
                    failed: error.is_some(),
                });
            }
            let outcome = match error {
                Some(error) => Outcome::Failed { error, at_ns: now_ns },
                None => {
                    if let Some(to) = to {
                        for segment in transmission.segments.iter() {
                            wire.send(now_ns, self.me, to, transmission.ecn, segment);
                        }
                    }
                    Outcome::Sent { at_ns: now_ns }
                }
            };
            self.results.push(Completion { transmission, outcome });
        }
        Backpressure::None
    }

    fn poll_results(&mut self, results: &mut Vec<Completion>) {
        results.append(&mut self.results);
    }

    fn receive(&mut self, now_ns: u64) -> Option<Received> {
        let datagram = self.net.borrow_mut().inboxes[self.me].pop_front()?;
        let mut unfilled = self.pool.take(datagram.bytes.len(), Purpose::Receive).ok()?;
        unfilled.buffer()[..datagram.bytes.len()].copy_from_slice(&datagram.bytes);
        let segments = Segments::new(unfilled.fill(datagram.bytes.len()), datagram.bytes.len());
        Some(Received {
            remote: address(datagram.from),
            local: None,
            ecn: datagram.ecn,
            segments,
            at_ns: now_ns,
        })
    }

    fn random(&mut self, out: &mut [u8]) {
        self.rng.fill(out);
    }

    fn burst_limits(&self, _remote: &SocketAddr) -> BurstLimits {
        BurstLimits { max_segments: 64, max_bytes: 65_507 }
    }
}

/// What an application writes: a number of bytes, or without end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Source {
    pub(crate) total: Option<u64>,
    pub(crate) written: u64,
    pub(crate) finished: bool,
    /// No FIN yet, although all is written.
    pub(crate) held_open: bool,
    pub(crate) newest: StreamUpdate,
}

/// What an application has read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sink {
    pub(crate) read: u64,
    pub(crate) unread: u64,
    pub(crate) ended: bool,
    pub(crate) newest: StreamUpdate,
}

pub(crate) struct Node {
    // Dropped before the pool.
    worker: Worker<LabEnvironment>,
    shared: Arc<Shared>,
    pool: Arc<Pool>,
    commands: Vec<Command>,
    next_wake_ns: Option<u64>,
    wake_at_ns: Option<u64>,
    done: bool,
    /// Wakes are late by up to this, ns.
    pub(crate) late_ns: u64,
    /// The node's thread does not run before this time.
    pub(crate) stalled_until_ns: u64,
    /// The node's clock is behind by this much, ns.
    pub(crate) behind_ns: u64,
    /// The application does not read.
    pub(crate) paused: bool,
    pub(crate) sources: BTreeMap<u32, Source>,
    pub(crate) sinks: BTreeMap<u32, Sink>,
    pub(crate) outcomes: BTreeMap<u32, Vec<Outcome>>,
}

pub(crate) struct Lab {
    pub(crate) now_ns: u64,
    pub(crate) nodes: Vec<Node>,
    net: Rc<RefCell<Net>>,
    rng: Rng,
    pattern: Bytes,
}

impl Lab {
    /// Node 0 listens; one node per configuration of `senders` connects to it.
    pub(crate) fn new(seed: u64, conditions: &Conditions, listener: Config, senders: &[Config]) -> Self {
        let mut rng = Rng::new(seed);
        let mut wires = [Wire::new(rng.fork()), Wire::new(rng.fork())];
        for wire in &mut wires {
            wire.conditions = conditions.clone();
        }
        let nodes = senders.len() + 1;
        let net = Rc::new(RefCell::new(Net {
            wires,
            inboxes: (0..nodes).map(|_| VecDeque::new()).collect(),
            departures: None,
            refuse: (0..nodes).map(|_| None).collect(),
            numbers: BTreeMap::new(),
        }));
        let secrets = rng.secrets();
        let pattern: Vec<u8> = (0..CHUNK + PERIOD).map(|at| (at % PERIOD) as u8).collect();
        let mut lab = Self { now_ns: START_NS, nodes: Vec::new(), net, rng, pattern: Bytes::from(pattern) };
        lab.add(Config { secrets: Arc::clone(&secrets), ..listener });
        for sender in senders {
            let node = lab.add(sender.clone());
            let connect = Command::Connect {
                peer: PEER,
                remote: address(0),
                secrets: Arc::clone(&secrets),
                handshake_timeout_ns: 30 * SECOND,
                max_rate: None,
            };
            lab.command(node, connect);
        }
        lab
    }

    /// A listener and one sender with the same configuration.
    pub(crate) fn pair(seed: u64, conditions: &Conditions, config: &Config) -> Self {
        Self::new(seed, conditions, config.clone(), std::slice::from_ref(config))
    }

    fn add(&mut self, config: Config) -> usize {
        let me = self.nodes.len();
        let pool = Pool::new(pool::Config {
            capacity_bytes: config.pool_bytes,
            reserve_bytes: config.pool_reserve_bytes,
        })
        .expect("pool");
        let shared = Arc::new(Shared::default());
        let environment = LabEnvironment {
            me,
            pool: Arc::clone(&pool),
            net: Rc::clone(&self.net),
            rng: self.rng.fork(),
            results: Vec::new(),
        };
        let worker = Worker::new(config, environment, Arc::clone(&pool), Arc::clone(&shared), self.now_ns);
        self.nodes.push(Node {
            worker,
            shared,
            pool,
            commands: Vec::new(),
            next_wake_ns: None,
            wake_at_ns: Some(self.now_ns),
            done: false,
            late_ns: 0,
            stalled_until_ns: 0,
            behind_ns: 0,
            paused: false,
            sources: BTreeMap::new(),
            sinks: BTreeMap::new(),
            outcomes: BTreeMap::new(),
        });
        me
    }

    pub(crate) fn command(&mut self, node: usize, command: Command) {
        let node = &mut self.nodes[node];
        node.commands.push(command);
        node.wake_at_ns = Some(self.now_ns);
    }

    /// Opens a stream and writes `total` bytes and a FIN, or without end.
    pub(crate) fn open(&mut self, node: usize, stream: u32, priority: u8, total: Option<u64>) {
        self.command(node, Command::Open { stream, peer: PEER, priority });
        self.write(node, stream, total);
    }

    /// Lets an application write on a stream that exists.
    pub(crate) fn write(&mut self, node: usize, stream: u32, total: Option<u64>) {
        let source = self.nodes[node].sources.entry(stream).or_default();
        source.total = total;
        self.feed(node, stream);
    }

    /// As `write`, without a FIN: more may be written later.
    pub(crate) fn write_some(&mut self, node: usize, stream: u32, total: u64) {
        self.nodes[node].sources.entry(stream).or_default().held_open = true;
        self.write(node, stream, Some(total));
        self.command(node, Command::WantAcknowledged { stream, offset: total });
    }

    /// The FIN after `write_some`.
    pub(crate) fn finish(&mut self, node: usize, stream: u32) {
        let source = self.nodes[node].sources.get_mut(&stream).expect("a source");
        source.held_open = false;
        self.feed(node, stream);
    }

    fn feed(&mut self, node: usize, stream: u32) {
        let pattern = self.pattern.clone();
        let Some(source) = self.nodes[node].sources.get_mut(&stream) else { return };
        if source.newest.failure.is_some() || source.newest.closed {
            return;
        }
        let mut commands = Vec::new();
        let total = source.total.unwrap_or(u64::MAX);
        while source.written < total {
            let len = CHUNK.min(total - source.written);
            if source.written - source.newest.sealed + len > BUFFER {
                commands.push(Command::WantRoom { stream, level: BUFFER * 3 / 4 });
                break;
            }
            let from = (source.written % PERIOD) as usize;
            commands.push(Command::Write { stream, data: pattern.slice(from..from + len as usize) });
            source.written += len;
        }
        if source.written == total && !source.finished && !source.held_open {
            source.finished = true;
            commands.push(Command::Finish(stream));
        }
        for command in commands {
            self.command(node, command);
        }
    }

    /// Changes what the network does: 0 towards node 0 (the data of senders), 1 away from it (their ACKs).
    pub(crate) fn wire(&mut self, direction: usize, change: impl FnOnce(&mut Conditions)) {
        change(&mut self.net.borrow_mut().wires[direction].conditions);
    }

    pub(crate) fn counts(&self, direction: usize) -> Counts {
        self.net.borrow().wires[direction].counts.clone()
    }

    /// Forgets the queue delays met so far.
    pub(crate) fn clear_queue(&self, direction: usize) {
        self.net.borrow_mut().wires[direction].counts.queue_ns.clear();
    }

    /// Median queueing delay of a direction, ns.
    pub(crate) fn queue_p50_ns(&self, direction: usize) -> u64 {
        let mut queue = self.net.borrow().wires[direction].counts.queue_ns.clone();
        queue.sort_unstable();
        queue.get(queue.len() / 2).map_or(0, |ns| u64::from(*ns))
    }

    /// From now on, `refuse` decides what a node's socket refuses.
    pub(crate) fn refuse(
        &mut self,
        node: usize,
        refuse: impl FnMut(u64, &Transmission) -> Option<SendError> + 'static,
    ) {
        self.net.borrow_mut().refuse[node] = Some(Box::new(refuse));
    }

    /// Starts to log departures, or takes those logged so far.
    pub(crate) fn departures(&mut self) -> Vec<Departure> {
        self.net.borrow_mut().departures.replace(Vec::new()).unwrap_or_default()
    }

    pub(crate) fn path(&self, node: usize) -> PathStats {
        self.nodes[node].shared.path_stats(0).unwrap_or_default()
    }

    pub(crate) fn stats(&self, node: usize) -> EndpointStats {
        self.nodes[node].shared.stats().endpoint
    }

    pub(crate) fn pool(&self, node: usize) -> pool::Stats {
        self.nodes[node].pool.stats()
    }

    pub(crate) fn source(&self, node: usize, stream: u32) -> &Source {
        &self.nodes[node].sources[&stream]
    }

    /// Bytes that node 0 has read, over all streams.
    pub(crate) fn read(&self) -> u64 {
        self.nodes[0].sinks.values().map(|sink| sink.read).sum()
    }

    fn next_event(&self) -> Option<u64> {
        let net = self.net.borrow();
        let mut next = net.wires.iter().filter_map(Wire::next_arrival).min();
        for (index, node) in self.nodes.iter().enumerate() {
            let mail = !net.inboxes[index].is_empty();
            let at = if mail { Some(self.now_ns) } else { node.wake_at_ns };
            let at = at.map(|at| at.max(node.stalled_until_ns));
            next = match (next, at) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
        }
        next
    }

    /// Moves to the next event before `until_ns`; whether there was one.
    pub(crate) fn advance(&mut self, until_ns: u64) -> bool {
        let Some(next) = self.next_event().filter(|next| *next <= until_ns) else {
            self.now_ns = self.now_ns.max(until_ns);
            return false;
        };
        self.now_ns = self.now_ns.max(next);
        let now_ns = self.now_ns;
        {
            let mut net = self.net.borrow_mut();
            let Net { wires, inboxes, .. } = &mut *net;
            for wire in wires {
                while let Some(datagram) = wire.pop_arrived(now_ns) {
                    inboxes[datagram.to].push_back(datagram);
                }
            }
        }
        for index in 0..self.nodes.len() {
            let mail = !self.net.borrow().inboxes[index].is_empty();
            let node = &mut self.nodes[index];
            if node.stalled_until_ns > now_ns || !mail && node.wake_at_ns.is_none_or(|at| at > now_ns) {
                continue;
            }
            node.shared.submit(&mut node.commands);
            for attempt in 0.. {
                let step = node.worker.step(now_ns - node.behind_ns);
                node.done |= step.done;
                let wake = step.next_wake_ns.map(|at| at.saturating_add(node.behind_ns));
                if wake != node.next_wake_ns || wake.is_some_and(|at| at <= now_ns) {
                    node.next_wake_ns = wake;
                    node.wake_at_ns = wake.map(|at| at + self.rng.below(node.late_ns + 1));
                }
                if !step.busy && wake.is_none_or(|at| at > now_ns) {
                    break;
                }
                assert!(attempt < 100_000, "node {index} spins at {now_ns}");
            }
            if node.wake_at_ns.is_some_and(|at| at <= now_ns) {
                node.wake_at_ns = node.next_wake_ns;
            }
            self.take_news(index);
        }
        true
    }

    pub(crate) fn run(&mut self, ns: u64) {
        let end = self.now_ns + ns;
        while self.advance(end) {}
    }

    /// Runs until `until` holds; panics if it does not within `ns`. Returns how long it took, ns.
    pub(crate) fn run_until(&mut self, ns: u64, what: &str, mut until: impl FnMut(&Self) -> bool) -> u64 {
        let start = self.now_ns;
        while !until(self) {
            assert!(self.advance(start + ns), "not within {ns} ns: {what}; path {:?}", self.path(1));
        }
        self.now_ns - start
    }

    fn take_news(&mut self, index: usize) {
        let mut news = Outbox::default();
        if !self.nodes[index].shared.take_news(&mut news) {
            return;
        }
        for record in news.records {
            self.nodes[index].outcomes.entry(record.stream).or_default().push(record.outcome);
        }
        for mut update in news.streams {
            let stream = update.stream;
            let readable = std::mem::take(&mut update.readable);
            let mut commands = Vec::new();
            let node = &mut self.nodes[index];
            let sink = node.sinks.entry(stream).or_default();
            let mut taken = 0;
            for bytes in &readable {
                let from = (sink.read % PERIOD) as usize;
                for (at, part) in bytes.chunks(CHUNK as usize).enumerate() {
                    let from = (from + at * CHUNK as usize) % PERIOD as usize;
                    assert!(part == &self.pattern[from..from + part.len()], "stream {stream} differs");
                }
                sink.read += bytes.len() as u64;
                taken += bytes.len() as u64;
            }
            sink.unread += taken;
            if !node.paused && sink.unread > 0 {
                commands.push(Command::Consume { stream, bytes: std::mem::take(&mut sink.unread) });
            }
            if update.end {
                assert!(!sink.ended, "stream {stream} ended twice");
                sink.ended = true;
                if !node.sources.contains_key(&stream) {
                    commands.push(Command::Finish(stream));
                }
            }
            let closed = update.closed || sink.newest.closed;
            sink.newest = StreamUpdate { closed, ..update.clone() };
            if let Some(source) = node.sources.get_mut(&stream) {
                let closed = update.closed || source.newest.closed;
                source.newest = StreamUpdate { closed, ..update };
                self.feed(index, stream);
            }
            for command in commands {
                self.command(index, command);
            }
        }
    }

    /// The application of a node takes what it has been given, and reads on.
    pub(crate) fn resume_reading(&mut self, node: usize) {
        self.nodes[node].paused = false;
        let owed: Vec<(u32, u64)> = self.nodes[node]
            .sinks
            .iter_mut()
            .map(|(id, sink)| (*id, std::mem::take(&mut sink.unread)))
            .collect();
        for (stream, bytes) in owed.into_iter().filter(|(_, bytes)| *bytes > 0) {
            self.command(node, Command::Consume { stream, bytes });
        }
    }

    /// Everybody shuts down: every transmission completed once, every descriptor is home.
    pub(crate) fn go_home(mut self) {
        for node in 0..self.nodes.len() {
            self.nodes[node].sources.clear();
            self.command(node, Command::Shutdown);
        }
        self.run(120 * SECOND);
        for node in 0..self.nodes.len() {
            let sinks = &self.nodes[node].sinks;
            assert!(self.nodes[node].done, "node {node} did not drain: {:?}, {sinks:?}", self.path(node));
            let stats = self.stats(node);
            assert_eq!(self.pool(node).lent, 0, "descriptors of node {node}");
            assert_eq!(stats.sent + stats.failed + stats.cancelled, stats.transmissions);
        }
    }
}

/// Waits until the path is there.
pub(crate) fn connect(lab: &mut Lab) {
    lab.run_until(30 * SECOND, "a path", |lab| (1..lab.nodes.len()).all(|node| lab.path(node).mtu > 0));
}
