//! Plays a scenario: scripts as applications would, faults on time, and checks after every step.

mod afterwards;
mod application;
mod content;
mod ends;
mod excuse;
mod faults;
mod finish;

use crate::{
    Mode, NodeId, Observed, ObservedMail, Scenario, Verdict, World, checker::Checker, rng::Rng,
    verdict::Problem,
};
use afterwards::{Arrivals, Opening};
use application::{Peer, Side, StreamRun};
use paceline_transport::{
    Config, MS, SECOND,
    app::{Command, Outbox},
    handshake::Secret,
};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

/// How a seed is run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Instead of the mode that the seed would have.
    pub mode: Option<Mode>,
    /// Keep the log as text.
    pub trace: bool,
}

/// Runs the world of a seed.
pub fn run_seed(seed: u64, options: Options) -> Verdict {
    run_scenario(&Scenario::generate(seed, options.mode), options.trace)
}

/// Runs a world. A panic in it is a failure like any other.
pub fn run_scenario(scenario: &Scenario, trace: bool) -> Verdict {
    play(scenario, trace, &|config| config)
}

fn play(scenario: &Scenario, trace: bool, adjust: &Adjust) -> Verdict {
    // What panics while a world is made or taken down has no log; what panics while it runs keeps its own.
    guarded(|| Ok(Run::new(scenario, trace, adjust).play())).unwrap_or_else(|what| {
        let mut verdict = Verdict::of(scenario);
        verdict.failure = Some(Problem { what, at_ns: 0 });
        verdict
    })
}

/// Runs a world in which every node has this bug.
#[cfg(feature = "planted")]
pub fn run_planted(scenario: &Scenario, bug: Option<paceline_transport::planted::Bug>) -> Verdict {
    play(scenario, false, &move |config| Config { planted: bug, ..config })
}

/// A panic as a failure. Nothing of a world outlives it, so nobody relies on what a panic left half done.
fn guarded<T>(play: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(play)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(format!("panic: {}", text.unwrap_or_default()))
    })
}

/// `connect()` gives up after this long without an answer, ns.
const HANDSHAKE_TIMEOUT_NS: u64 = 10 * SECOND;
/// Large worlds are audited every few steps only: one step more for so many times 32 KiB × streams.
const AUDIT_BUDGET: u64 = 400;
/// Where an attacker sends from.
const ATTACKER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 9, 9, 9)), 666);

/// Something that happens at a time.
#[derive(Clone, Debug)]
enum Event {
    Connect {
        pair: usize,
        reversed: bool,
    },
    Open(usize),
    ClosePeer(usize),
    FaultBegins(usize),
    FaultEnds(usize),
    /// A script goes on: stream and side.
    Wake(usize, usize),
    /// A node's readers go on.
    ReadersGoOn(usize),
    Inject {
        to: SocketAddr,
        bytes: std::rc::Rc<[u8]>,
    },
}

/// What the driver of a world knows of a node.
#[derive(Debug)]
struct Node {
    id: NodeId,
    address: SocketAddr,
    /// Streams of this incarnation, by the application's name.
    streams: BTreeMap<u32, (usize, usize)>,
    /// Streams it accepted whose opener is not known yet.
    nameless: BTreeMap<u32, Vec<paceline_transport::app::StreamUpdate>>,
    next_stream: u32,
    next_peer: u32,
    /// By pair and connection: as this node names the peer.
    peers: BTreeMap<(usize, bool), Peer>,
    readers_paused_until_ns: u64,
    restarted_at_ns: Option<u64>,
}

type Credentials = ([u8; 16], u64);
/// What a node's configuration has besides its plan.
type Adjust = dyn Fn(Config) -> Config;

struct Run<'a> {
    scenario: &'a Scenario,
    adjust: &'a Adjust,
    world: World,
    secrets: Arc<[Secret]>,
    start_ns: u64,
    nodes: Vec<Node>,
    streams: Vec<StreamRun>,
    /// Streams by what their packets are named: path secret and key id, and whether node 0 opened it.
    names: BTreeMap<(Credentials, bool), usize>,
    /// The same by node, incarnation and the application's name.
    credentials: BTreeMap<(usize, u32), Credentials>,
    events: BTreeMap<(u64, u64), Event>,
    sequence: u64,
    active: Vec<bool>,
    checker: Checker,
    news: Outbox,
    sent: Vec<Observed>,
    received: Vec<ObservedMail>,
    /// First packets of streams, for an observer to play back when the streams are long over.
    openings: Vec<Opening>,
    arrivals: Arrivals,
    rng: Rng,
    packets: u64,
    delivered: u64,
    /// Per pair: when something last moved.
    progress_ns: Vec<u64>,
    /// Per pair: why its streams may fail.
    excuses: Vec<Option<String>>,
    recovered_ns: Vec<Option<u64>>,
    longest_stream_ns: u64,
    advances: u64,
    audit_every: u64,
}

impl<'a> Run<'a> {
    fn new(scenario: &'a Scenario, trace: bool, adjust: &'a Adjust) -> Self {
        let mut rng = Rng::new(scenario.seed ^ 0x7275_6e00_7365_6564);
        let secrets = rng.secrets();
        let mut world = World::new(scenario.seed, trace);
        world.observe(true);
        let nodes: Vec<Node> = scenario
            .nodes
            .iter()
            .map(|plan| {
                let id = world.add_node(adjust(plan.config(&secrets)));
                Node {
                    id,
                    address: world.address(id),
                    streams: BTreeMap::new(),
                    nameless: BTreeMap::new(),
                    next_stream: 1,
                    next_peer: 1,
                    peers: BTreeMap::new(),
                    readers_paused_until_ns: 0,
                    restarted_at_ns: None,
                }
            })
            .collect();
        let start_ns = world.now_ns();
        let streams: Vec<StreamRun> = scenario.streams.iter().map(StreamRun::new).collect();
        let pairs = scenario.pairs.len();
        let mut run = Self {
            scenario,
            adjust,
            world,
            secrets,
            start_ns,
            nodes,
            streams,
            names: BTreeMap::new(),
            credentials: BTreeMap::new(),
            events: BTreeMap::new(),
            sequence: 0,
            active: vec![false; scenario.faults.len()],
            checker: Checker::new(
                scenario.nodes.iter().map(|node| node.max_in_flight_transmissions).collect(),
                (0..scenario.nodes.len()).map(|node| excuse::rate_cap(scenario, node)).collect(),
            ),
            news: Outbox::default(),
            sent: Vec::new(),
            received: Vec::new(),
            openings: Vec::new(),
            arrivals: Arrivals::default(),
            rng,
            packets: 0,
            delivered: 0,
            progress_ns: vec![start_ns; pairs],
            excuses: (0..pairs).map(|pair| excuse::of(scenario, pair)).collect(),
            recovered_ns: vec![None; pairs],
            longest_stream_ns: 0,
            advances: 0,
            // Small worlds are audited after every step; large ones so that audits cost about as much as steps.
            audit_every: 1 + scenario.streams.len() as u64 * scenario.bytes() / (AUDIT_BUDGET << 15),
        };
        for pair in 0..pairs {
            run.set_links(pair);
            run.at(0, Event::Connect { pair, reversed: false });
            if scenario.pairs[pair].both_roles {
                run.at(0, Event::Connect { pair, reversed: true });
            }
        }
        for (index, stream) in scenario.streams.iter().enumerate() {
            run.at(stream.at_ns, Event::Open(index));
        }
        for (index, close) in scenario.closes.iter().enumerate() {
            run.at(close.at_ns, Event::ClosePeer(index));
        }
        for (index, fault) in scenario.faults.iter().enumerate() {
            run.at(fault.at_ns, Event::FaultBegins(index));
        }
        run
    }

    /// Puts an event at a time since the world began.
    fn at(&mut self, since_start_ns: u64, event: Event) {
        self.at_time(self.start_ns.saturating_add(since_start_ns), event);
    }

    fn at_time(&mut self, at_ns: u64, event: Event) {
        self.sequence += 1;
        self.events.insert((at_ns, self.sequence), event);
    }

    fn play(mut self) -> Verdict {
        let played = guarded(|| self.run());
        let ended_ns = self.world.now_ns();
        let played = played.and_then(|()| guarded(|| self.finish()));
        let mut verdict = Verdict::of(self.scenario);
        verdict.log_hash = self.world.log_hash();
        verdict.log = self.world.log_text();
        verdict.faults = self.world.faults();
        verdict.virtual_ns = self.world.now_ns() - self.start_ns;
        verdict.steps = self.world.steps();
        verdict.bytes = self.delivered;
        verdict.packets = self.packets;
        verdict.streams = self.streams.iter().filter(|stream| stream.opened_ns.is_some()).count() as u64;
        verdict.invariants_checked = self.checker.checked;
        verdict.worst.recovery_ns = self.recovered_ns.iter().flatten().copied().max().unwrap_or(0);
        verdict.worst.stream_ns = self.longest_stream_ns;
        verdict.worst.wheel = self.checker.longest_wheel;
        verdict.worst.run_ns = ended_ns - self.start_ns;
        verdict.failure =
            played.err().map(|what| Problem { what, at_ns: self.world.now_ns() - self.start_ns });
        verdict
    }

    /// Until every stream is over, or until its time is.
    fn run(&mut self) -> Result<(), String> {
        let deadline_ns = self.start_ns.saturating_add(self.patience_ns());
        loop {
            self.happen()?;
            self.listen()?;
            if self.is_over() {
                return Ok(());
            }
            let now_ns = self.world.now_ns();
            if now_ns >= deadline_ns {
                return match self.scenario.mode {
                    Mode::Safety => Ok(()),
                    Mode::Liveness => Err(self.hangs("the world takes too long")),
                };
            }
            self.check_progress(now_ns)?;
            let next = self.events.keys().next().map_or(deadline_ns, |(at, _)| *at);
            // A stalled world is noticed a second late at most.
            let until = next.min(deadline_ns).min(now_ns + SECOND).max(now_ns);
            self.world.advance(until);
            self.advances += 1;
            if self.advances.is_multiple_of(self.audit_every) {
                self.audit()?;
            }
        }
    }

    fn audit(&mut self) -> Result<(), String> {
        for index in 0..self.nodes.len() {
            self.checker.audit(&self.world, self.nodes[index].id)?;
        }
        Ok(())
    }

    /// How long a world may take, ns: what its streams need, several times over, after its faults.
    fn patience_ns(&self) -> u64 {
        let natural = self.scenario.natural_ns();
        let idle = self.scenario.nodes[0].idle_timeout_ns;
        let grace = natural * 10 + 3 * idle.max(HANDSHAKE_TIMEOUT_NS) + 5 * SECOND;
        match self.scenario.mode {
            Mode::Safety => grace,
            Mode::Liveness => self.scenario.calm_from_ns().unwrap_or(0) + grace + 60 * SECOND,
        }
    }

    fn is_over(&self) -> bool {
        self.streams.iter().all(StreamRun::is_over)
    }

    /// R4: after the last fault nothing stands still for longer than the idle timeout and two PTOs.
    fn check_progress(&mut self, now_ns: u64) -> Result<(), String> {
        let Some(calm) = self.scenario.calm_from_ns().filter(|_| self.scenario.mode == Mode::Liveness) else {
            return Ok(());
        };
        let calm_ns = self.start_ns + calm;
        if now_ns < calm_ns {
            return Ok(());
        }
        for pair in 0..self.progress_ns.len() {
            let progress_ns = self.progress_ns[pair];
            if progress_ns >= calm_ns && self.recovered_ns[pair].is_none() {
                self.recovered_ns[pair] = Some(progress_ns - calm_ns);
            }
            let patience =
                self.scenario.idle_timeout_ns(pair).max(HANDSHAKE_TIMEOUT_NS) + 2 * self.pto_ns(pair);
            let since = progress_ns.max(calm_ns);
            let open = self.streams.iter().any(|stream| stream.plan.pair == pair && !stream.is_over());
            self.checker.checked += 1;
            if open && now_ns - since > patience + SECOND {
                return Err(self.hangs("nothing moves any more"));
            }
        }
        Ok(())
    }

    /// A probe timeout of a path at rest: the round trip with both queues full, and then some.
    fn pto_ns(&self, pair: usize) -> u64 {
        let plan = &self.scenario.pairs[pair];
        let way = |link: &crate::Link| {
            let queue = link.rate.map_or(0, |rate| link.queue_bytes * 1_000 / rate.max(1) * MS);
            link.delay_ns + link.jitter_ns + queue
        };
        (3 * (way(&plan.there) + way(&plan.back))).max(SECOND)
    }

    /// Everything whose time has come.
    fn happen(&mut self) -> Result<(), String> {
        let now_ns = self.world.now_ns();
        while let Some(entry) = self.events.first_entry()
            && entry.key().0 <= now_ns
        {
            let at_ns = entry.key().0;
            match entry.remove() {
                Event::Connect { pair, reversed } => self.connect(pair, reversed),
                Event::Open(stream) => self.open(stream),
                Event::ClosePeer(close) => self.close_peer(close),
                Event::FaultBegins(fault) => self.begin_fault(fault)?,
                Event::FaultEnds(fault) => self.end_fault(fault),
                // An earlier wake has taken the place of a stale one, which must not begin a chain of its own.
                Event::Wake(stream, side) if self.side(stream, side).wake_ns == Some(at_ns) => {
                    self.side(stream, side).wake_ns = None;
                    self.play_side(stream, side);
                }
                Event::Wake(..) => {}
                Event::ReadersGoOn(node) => self.readers_go_on(node),
                Event::Inject { to, bytes } => self.world.inject(ATTACKER, to, &bytes),
            }
        }
        Ok(())
    }

    /// What left and arrived, and what the workers have to say.
    fn listen(&mut self) -> Result<(), String> {
        let mut sent = std::mem::take(&mut self.sent);
        let mut received = std::mem::take(&mut self.received);
        self.world.take_sent(&mut sent);
        self.world.take_received(&mut received);
        for packet in &sent {
            self.learn_name(packet);
            self.note_opening(packet);
        }
        for index in 0..self.nodes.len() {
            self.take_news(index)?;
        }
        self.packets += sent.len() as u64;
        let checked = self.checker.packets(&received, &sent).and_then(|()| self.check_late(&received, &sent));
        if self.scenario.attacker_one_in > 0 {
            for packet in &sent {
                self.maybe_repeat(packet);
            }
        }
        sent.clear();
        received.clear();
        self.sent = sent;
        self.received = received;
        checked
    }

    /// An observer sends some old datagrams again, from an address of his own.
    fn maybe_repeat(&mut self, packet: &Observed) {
        if self.rng.below(self.scenario.attacker_one_in) == 0 {
            let wait_ns = 300 * MS + self.rng.below(SECOND);
            let event = Event::Inject { to: packet.to, bytes: packet.bytes.clone() };
            self.at_time(self.world.now_ns() + wait_ns, event);
        }
    }

    /// The stream a packet belongs to, by what only its two ends and the network see.
    fn learn_name(&mut self, packet: &Observed) {
        use paceline_transport::inspect::Inspected;
        let node = packet.node.index();
        if packet.stream == 0 || self.credentials.contains_key(&(node, packet.stream)) {
            return;
        }
        let (Inspected::Stream { credential_id, key_id, .. }
        | Inspected::Control { credential_id, key_id, .. }) = packet.inspect()
        else {
            return;
        };
        let credentials = (credential_id, key_id);
        self.credentials.insert((node, packet.stream), credentials);
        // Odd numbers were opened here.
        if !packet.stream.is_multiple_of(2)
            && let Some((stream, _)) = self.nodes[node].streams.get(&packet.stream)
        {
            self.names.insert((credentials, node == 0), *stream);
        }
    }

    fn command(&mut self, node: usize, command: Command) {
        self.world.command(self.nodes[node].id, command);
    }

    fn moved(&mut self, pair: usize) {
        self.progress_ns[pair] = self.world.now_ns();
    }

    fn side(&mut self, stream: usize, side: usize) -> &mut Side {
        &mut self.streams[stream].sides[side]
    }
}
