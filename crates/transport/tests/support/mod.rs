//! A third environment beside `udp` and `sim`, made of two queues: what a world needs is the `Environment` trait and nothing
//! of transport's inside. Datagrams are handed over without a copy, so that it allocates nothing in its stride.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

use bytes::Bytes;
use paceline_transport::{
    Backpressure, BurstLimits, Completion, Config, Ecn, Environment, Failure, Kind, Outcome, Received,
    SECOND, SendError, Step, Transmission, Worker,
    app::{Command, Outbox, Record, Shared, StreamUpdate},
    handshake::Secret,
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

std::thread_local! {
    /// The node whose step runs.
    pub static STEPPING: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

pub const START_NS: u64 = SECOND;
pub const PEER: u32 = 1;
/// The same node over a path of its own, once `World::connect` was asked for it.
pub const OTHER_PEER: u32 = 3;
/// Sender and receiver.
pub const A: usize = 0;
pub const B: usize = 1;

/// What a worker asked of its environment, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Received,
    NothingToReceive,
    PollResults,
    BurstLimits,
    Submit,
}

/// A transmission as the environment saw it leave, or refused it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub node: usize,
    pub at_ns: u64,
    pub kind: Kind,
    pub stream: u32,
    pub priority: u8,
    pub bytes: usize,
    pub scheduled_ns: u64,
    pub packets: Vec<(u64, u64, u16)>,
    /// Bytes of control packets.
    pub control: Vec<u8>,
    pub error: Option<SendError>,
}

type Loses = Box<dyn FnMut(&Transmission, usize) -> bool>;
type Fails = Box<dyn FnMut(u64, &Transmission) -> Option<SendError>>;
type Blocks = Box<dyn FnMut(u64) -> Backpressure>;

/// What both nodes share: time, the two queues, the script of faults, the log.
pub struct Hub {
    pub now_ns: u64,
    pub delay_ns: u64,
    /// Asked per packet of node, transmission, index.
    pub loses: [Option<Loses>; 2],
    /// Asked per transmission, with the count of those before.
    pub fails: [Option<Fails>; 2],
    /// Asked per `submit`, with the time.
    pub blocks: [Option<Blocks>; 2],
    /// How long the environment keeps its verdicts to itself.
    pub verdict_delay_ns: [u64; 2],
    pub lost: u64,
    pub failed: u64,
    pub blocked: u64,
    pub submitted: [u64; 2],
    queues: [VecDeque<(u64, Received)>; 2],
    /// Kept while `Some`.
    pub seen: Option<Vec<Seen>>,
    pub calls: Option<Vec<(usize, Call)>>,
}

impl Hub {
    fn note(&mut self, node: usize, call: Call) {
        if let Some(calls) = &mut self.calls {
            calls.push((node, call));
        }
    }
}

/// One node's view of the hub.
pub struct Wire {
    node: usize,
    hub: Rc<RefCell<Hub>>,
    pool: Arc<Pool>,
    random: u64,
    verdicts: VecDeque<(u64, Completion)>,
}

fn secret(peer: u32) -> Secret {
    Secret::new(&std::array::from_fn::<u8, 32, _>(|at| byte_at(at as u64 + u64::from(peer)))).unwrap()
}

pub fn address(node: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, node as u8 + 1], 4433))
}

impl Environment for Wire {
    fn submit(&mut self, now_ns: u64, due: &mut VecDeque<Transmission>) -> Backpressure {
        let mut hub = self.hub.borrow_mut();
        let hub = &mut *hub;
        hub.note(self.node, Call::Submit);
        if let Some(blocks) = &mut hub.blocks[self.node] {
            let verdict = blocks(now_ns);
            if verdict != Backpressure::None {
                hub.blocked += 1;
                return verdict;
            }
        }
        for transmission in due.drain(..) {
            let number = hub.submitted[self.node];
            hub.submitted[self.node] += 1;
            let error = hub.fails[self.node].as_mut().and_then(|fails| fails(number, &transmission));
            if let Some(seen) = &mut hub.seen {
                let control = matches!(transmission.kind, Kind::Control);
                seen.push(Seen {
                    node: self.node,
                    at_ns: now_ns,
                    kind: transmission.kind,
                    stream: transmission.stream,
                    priority: transmission.priority,
                    bytes: transmission.segments.total_len(),
                    scheduled_ns: transmission.scheduled_ns,
                    packets: transmission
                        .infos
                        .iter()
                        .map(|info| (info.number, info.stream_offset, info.payload_len))
                        .collect(),
                    control: if control { transmission.segments.bytes().to_vec() } else { Vec::new() },
                    error,
                });
            }
            let outcome = match error {
                Some(error) => {
                    hub.failed += 1;
                    Outcome::Failed { error, at_ns: now_ns }
                }
                None => {
                    self.carry(hub, now_ns, &transmission);
                    Outcome::Sent { at_ns: now_ns }
                }
            };
            let known_ns = now_ns + hub.verdict_delay_ns[self.node];
            self.verdicts.push_back((known_ns, Completion { transmission, outcome }));
        }
        Backpressure::None
    }

    fn poll_results(&mut self, results: &mut Vec<Completion>) {
        self.hub.borrow_mut().note(self.node, Call::PollResults);
        let now_ns = self.hub.borrow().now_ns;
        while self.verdicts.front().is_some_and(|(known_ns, _)| *known_ns <= now_ns) {
            results.extend(self.verdicts.pop_front().map(|(_, completion)| completion));
        }
    }

    fn receive(&mut self, now_ns: u64) -> Option<Received> {
        let mut hub = self.hub.borrow_mut();
        let due = hub.queues[self.node].front().is_some_and(|(at_ns, _)| *at_ns <= now_ns);
        let received = due.then(|| hub.queues[self.node].pop_front()).flatten();
        hub.note(self.node, if received.is_some() { Call::Received } else { Call::NothingToReceive });
        received.map(|(_, received)| received)
    }

    fn random(&mut self, out: &mut [u8]) {
        for byte in out {
            self.random = self.random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            *byte = (self.random >> 56) as u8;
        }
    }

    fn burst_limits(&self, _: &SocketAddr) -> BurstLimits {
        self.hub.borrow_mut().note(self.node, Call::BurstLimits);
        BurstLimits { max_segments: 64, max_bytes: 65_507 }
    }
}

impl Wire {
    fn carry(&self, hub: &mut Hub, now_ns: u64, transmission: &Transmission) {
        let to = 1 - self.node;
        let at_ns = now_ns + hub.delay_ns;
        let received =
            |segments| Received { remote: address(self.node), local: None, ecn: Ecn::Ect0, segments, at_ns };
        let Some(loses) = &mut hub.loses[self.node] else {
            hub.queues[to].push_back((at_ns, received(transmission.segments.clone())));
            return;
        };
        for (index, packet) in transmission.segments.iter().enumerate() {
            if loses(transmission, index) {
                hub.lost += 1;
                continue;
            }
            let Ok(mut unfilled) = self.pool.take(packet.len(), Purpose::Receive) else { continue };
            unfilled.buffer()[..packet.len()].copy_from_slice(packet);
            let segments = Segments::new(unfilled.fill(packet.len()), packet.len());
            hub.queues[to].push_back((at_ns, received(segments)));
        }
    }
}

/// The byte at an offset of every stream.
pub fn byte_at(offset: u64) -> u8 {
    (offset.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

/// What an application heard of a stream.
#[derive(Debug, Default)]
pub struct Heard {
    pub read: u64,
    pub ended: bool,
    pub closed: bool,
    pub failure: Option<Failure>,
    pub sealed: u64,
    pub acknowledged: u64,
    pub fin_acknowledged: bool,
    pub transmissions: u64,
}

pub struct Node {
    pub worker: Worker<Wire>,
    pub shared: Arc<Shared>,
    pub pool: Arc<Pool>,
    pub next_wake_ns: Option<u64>,
    next_verdict_ns: Option<u64>,
    pub last_step: Step,
    pub done: bool,
    pub streams: BTreeMap<u32, Heard>,
    pub records: Vec<Record>,
    /// Leaves what it reads in the window.
    pub paused: bool,
    commands: Vec<Command>,
    news: Outbox,
    spent: Vec<Bytes>,
}

pub struct World {
    pub now_ns: u64,
    pub hub: Rc<RefCell<Hub>>,
    pub nodes: [Node; 2],
    pub steps: u64,
    /// Called around every step, for allocators and clocks.
    pub around: fn(bool),
}

impl World {
    /// Two nodes; the first asks the second for a path, which is there when this returns.
    pub fn connected(delay_ns: u64, config: &Config, max_rate: Option<u64>) -> Self {
        let secrets: Arc<[Secret]> = Arc::from([secret(PEER), secret(OTHER_PEER)]);
        let hub = Rc::new(RefCell::new(Hub {
            now_ns: START_NS,
            delay_ns,
            loses: [None, None],
            fails: [None, None],
            blocks: [None, None],
            verdict_delay_ns: [0; 2],
            lost: 0,
            failed: 0,
            blocked: 0,
            submitted: [0; 2],
            queues: Default::default(),
            seen: None,
            calls: None,
        }));
        let nodes = [A, B].map(|node| {
            // First the pool: everything else borrows from it.
            let pool = Pool::new(pool::Config {
                capacity_bytes: config.pool_bytes,
                reserve_bytes: config.pool_reserve_bytes,
            })
            .unwrap();
            let shared = Arc::<Shared>::default();
            let wire = Wire {
                node,
                hub: Rc::clone(&hub),
                pool: Arc::clone(&pool),
                random: node as u64,
                verdicts: VecDeque::new(),
            };
            let config = Config { secrets: Arc::clone(&secrets), ..config.clone() };
            Node {
                worker: Worker::new(config, wire, Arc::clone(&pool), Arc::clone(&shared), START_NS),
                shared,
                pool,
                next_wake_ns: Some(START_NS),
                next_verdict_ns: None,
                last_step: Step::default(),
                done: false,
                streams: BTreeMap::new(),
                records: Vec::new(),
                paused: false,
                commands: Vec::new(),
                news: Outbox::default(),
                spent: Vec::new(),
            }
        });
        let mut world = Self { now_ns: START_NS, hub, nodes, steps: 0, around: |_| {} };
        world.connect(PEER, delay_ns, max_rate);
        assert_eq!(world.stats(A).paths, 1, "connected");
        world
    }

    /// The first node asks the second for a path with that peer's secret, which is there when this returns.
    pub fn connect(&mut self, peer: u32, delay_ns: u64, max_rate: Option<u64>) {
        let secrets = Arc::from([secret(peer)]);
        let handshake_timeout_ns = 10 * SECOND;
        let connect = Command::Connect { peer, remote: address(B), secrets, handshake_timeout_ns, max_rate };
        self.command(A, connect);
        let end = self.now_ns + 2 * delay_ns + SECOND / 2;
        self.run_until(end, |_| false);
    }

    pub fn command(&mut self, node: usize, command: Command) {
        self.nodes[node].commands.push(command);
        self.nodes[node].next_wake_ns = Some(self.now_ns);
    }

    pub fn open(&mut self, stream: u32, priority: u8) {
        self.command(A, Command::Open { stream, peer: PEER, priority });
    }

    /// Writes `len` bytes from `from` on, in chunks as an application's.
    pub fn write(&mut self, stream: u32, from: u64, len: u64) {
        let mut at = from;
        while at < from + len {
            let end = (from + len).min(at + (64 << 10));
            let data: Vec<u8> = (at..end).map(byte_at).collect();
            self.command(A, Command::Write { stream, data: data.into() });
            at = end;
        }
    }

    pub fn stats(&self, node: usize) -> EndpointStats {
        self.nodes[node].shared.stats().endpoint
    }

    pub fn path(&self, node: usize) -> PathStats {
        self.nodes[node].shared.path_stats(0).unwrap_or_default()
    }

    /// Bursts that are neither sent nor cancelled: in the wheel, in line, or at the environment.
    pub fn scheduled(&self, node: usize) -> u64 {
        let stats = self.stats(node);
        stats.transmissions - stats.sent - stats.failed - stats.cancelled
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.hub.borrow_mut().seen.as_mut().map(std::mem::take).unwrap_or_default()
    }

    pub fn watch(&self) {
        self.hub.borrow_mut().seen = Some(Vec::new());
    }

    fn next_event(&self) -> Option<u64> {
        let hub = self.hub.borrow();
        let arrivals = hub.queues.iter().filter_map(|queue| queue.front().map(|(at_ns, _)| *at_ns));
        let wakes = self.nodes.iter().filter_map(|node| node.next_wake_ns);
        let verdicts = self.nodes.iter().filter_map(|node| node.next_verdict_ns);
        arrivals.chain(wakes).chain(verdicts).min()
    }

    /// One step of a node, whatever the time is.
    pub fn step(&mut self, node: usize) -> Step {
        let now_ns = self.now_ns;
        self.hub.borrow_mut().now_ns = now_ns;
        STEPPING.set(node);
        let node = &mut self.nodes[node];
        node.shared.submit(&mut node.commands);
        (self.around)(true);
        let step = node.worker.step(now_ns);
        (self.around)(false);
        self.steps += 1;
        node.next_wake_ns = if step.busy { Some(now_ns) } else { step.next_wake_ns };
        node.last_step = step;
        node.done |= step.done;
        node.next_verdict_ns = node.worker.environment_mut().verdicts.front().map(|(at_ns, _)| *at_ns);
        step
    }

    /// Steps whoever has something to do until `end_ns`, or until `stop` says so (then true).
    pub fn run_until(&mut self, end_ns: u64, mut stop: impl FnMut(&Self) -> bool) -> bool {
        let mut at_once = 0;
        while let Some(next_ns) = self.next_event().filter(|next| *next <= end_ns) {
            at_once = if next_ns > self.now_ns { 0 } else { at_once + 1 };
            assert!(at_once < 1_000_000, "spins at {} ns", self.now_ns);
            self.now_ns = self.now_ns.max(next_ns);
            for node in [A, B] {
                let now_ns = self.now_ns;
                let due = |at: Option<u64>| at.is_some_and(|at| at <= now_ns);
                let arrival = self.hub.borrow().queues[node].front().map(|(at_ns, _)| *at_ns);
                let waits = &self.nodes[node];
                if due(arrival) || due(waits.next_wake_ns) || due(waits.next_verdict_ns) {
                    self.step(node);
                    self.listen(node);
                }
            }
            if stop(self) {
                return true;
            }
        }
        self.now_ns = self.now_ns.max(end_ns);
        false
    }

    /// Takes the news as an application does: reads everything, gives memory back, checks every byte.
    fn listen(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        if !node.shared.take_news(&mut node.news) {
            return;
        }
        node.news.peers.clear();
        node.news.drained = false;
        node.records.append(&mut node.news.records);
        for update in &mut node.news.streams {
            let StreamUpdate { stream, readable, .. } = update;
            let heard = node.streams.entry(*stream).or_default();
            let before = heard.read;
            for bytes in readable.drain(..) {
                // A look at both ends and the middle: whole bursts are compared in `sim`.
                for at in [0, bytes.len() / 2, bytes.len() - 1] {
                    assert_eq!(bytes[at], byte_at(heard.read + at as u64), "stream {stream}");
                }
                heard.read += bytes.len() as u64;
                node.spent.push(bytes);
            }
            if heard.read > before && !node.paused {
                node.commands.push(Command::Consume { stream: *stream, bytes: heard.read - before });
                node.next_wake_ns = Some(self.now_ns);
            }
            heard.sealed = update.sealed;
            heard.acknowledged = update.acknowledged;
            heard.fin_acknowledged |= update.fin_acknowledged;
            heard.transmissions = update.transmissions;
            heard.failure = heard.failure.or(update.failure);
            heard.closed |= update.closed;
            if update.end {
                heard.ended = true;
                if index == B {
                    node.commands.push(Command::Finish(*stream));
                    node.next_wake_ns = Some(self.now_ns);
                }
            }
        }
        node.news.clear_streams();
        node.shared.received.give(&mut node.spent);
    }

    /// Everybody goes home: every transmission has its one outcome, every descriptor is back, and the pool is the last to go.
    pub fn go_home(mut self) -> [EndpointStats; 2] {
        for node in [A, B] {
            self.command(node, Command::Shutdown);
        }
        let end = self.now_ns + 120 * SECOND;
        self.run_until(end, |world| world.nodes.iter().all(|node| node.done));
        // What is still on the wire holds a descriptor of its sender.
        self.run_until(end + SECOND, |_| false);
        let stats = [A, B].map(|node| self.stats(node));
        for (node, stats) in self.nodes.iter().zip(&stats) {
            assert!(node.done, "drained: {stats:?}");
            assert_eq!(stats.sent + stats.failed + stats.cancelled, stats.transmissions);
            assert_eq!(node.pool.stats().lent, 0);
        }
        for Node { worker, pool, .. } in self.nodes {
            drop(worker);
            assert_eq!(
                (Arc::strong_count(&pool), pool.stats().lent),
                (1, 0),
                "nobody holds the pool any more"
            );
        }
        stats
    }
}
