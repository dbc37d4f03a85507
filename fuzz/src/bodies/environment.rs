//! The environment of one endpoint under the fuzzer: its network is two lists, its socket fails when it is told to.

use super::handshake::Rng;
use paceline_transport::{
    Backpressure, BurstLimits, Completion, Config, Ecn, Environment, Outcome, Received, SendError, Step,
    Transmission, Worker,
    app::{Command, Outbox, Shared},
    pool::{self, Pool, Purpose, Segments},
};
use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, OnceLock},
};

/// Whether to show what happens, for the replay of a finding: `FUZZ_TRACE=1`.
pub fn trace() -> bool {
    static TRACE: OnceLock<bool> = OnceLock::new();
    *TRACE.get_or_init(|| std::env::var_os("FUZZ_TRACE").is_some())
}

/// Bytes for a byte that an address gets before it has proved that it receives (RFC 9000 §8.1).
pub const AMPLIFICATION: u64 = 3;
/// Recomputing every account takes as long as a dozen steps.
const AUDIT_EVERY: u32 = 16;
/// Steps at one instant before it counts as spinning.
const MAX_STEPS_AT_ONCE: u32 = 20_000;

/// A datagram between two addresses.
#[derive(Clone, Debug)]
pub struct Datagram {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub ecn: Ecn,
    pub bytes: Vec<u8>,
}

pub struct FuzzEnvironment {
    address: SocketAddr,
    pool: Arc<Pool>,
    rng: Rng,
    results: Vec<Completion>,
    pub sent: Vec<Datagram>,
    pub inbox: VecDeque<Datagram>,
    /// The next sends come to this.
    pub verdicts: VecDeque<Verdict>,
    /// Verdicts come one step late.
    pub lazy: bool,
    held: Vec<Completion>,
    submitted: u64,
    max_segments: usize,
}

/// What becomes of a send, if not success.
#[derive(Clone, Copy, Debug)]
pub enum Verdict {
    Failed(SendError),
    Later(u64),
}

impl Environment for FuzzEnvironment {
    fn submit(&mut self, now_ns: u64, due: &mut VecDeque<Transmission>) -> Backpressure {
        while let Some(transmission) = due.pop_front() {
            let outcome = match self.verdicts.pop_front() {
                Some(Verdict::Later(ns)) => {
                    due.push_front(transmission);
                    return Backpressure::Until(now_ns.saturating_add(1 + ns));
                }
                Some(Verdict::Failed(error)) => Outcome::Failed { error, at_ns: now_ns },
                None => {
                    for segment in &transmission.segments {
                        assert!(!segment.is_empty() && segment.len() <= 1_472);
                        self.sent.push(Datagram {
                            from: self.address,
                            to: transmission.remote,
                            ecn: transmission.ecn,
                            bytes: segment.to_vec(),
                        });
                    }
                    Outcome::Sent { at_ns: now_ns }
                }
            };
            if trace() {
                eprintln!(
                    "{now_ns} {} {:?} {outcome:?} {:?}",
                    self.address.ip(),
                    transmission.kind,
                    transmission.infos
                );
            }
            assert!(transmission.scheduled_ns <= now_ns, "early");
            assert!(
                transmission.infos.is_empty() || transmission.infos.len() == transmission.segments.count()
            );
            self.submitted += u64::from(transmission.kind.is_stream_data());
            self.results.push(Completion { transmission, outcome });
        }
        Backpressure::None
    }

    fn poll_results(&mut self, results: &mut Vec<Completion>) {
        results.append(&mut self.held);
        if self.lazy {
            self.held.append(&mut self.results);
        } else {
            results.append(&mut self.results);
        }
    }

    fn receive(&mut self, now_ns: u64) -> Option<Received> {
        let first = self.inbox.pop_front()?;
        // As GRO does it: what follows from the same source with the same length is one burst.
        let mut bytes = first.bytes.clone();
        while let Some(next) = self.inbox.front()
            && next.from == first.from
            && next.bytes.len() == first.bytes.len()
            && bytes.len() + next.bytes.len() <= 16 << 10
        {
            bytes.extend_from_slice(&next.bytes);
            self.inbox.pop_front();
        }
        let mut unfilled = self.pool.take(bytes.len(), Purpose::Receive).ok()?;
        unfilled.buffer()[..bytes.len()].copy_from_slice(&bytes);
        let segments = Segments::new(unfilled.fill(bytes.len()), first.bytes.len());
        Some(Received { remote: first.from, local: None, ecn: first.ecn, segments, at_ns: now_ns })
    }

    fn random(&mut self, out: &mut [u8]) {
        self.rng.fill(out);
    }

    fn burst_limits(&self, _remote: &SocketAddr) -> BurstLimits {
        BurstLimits { max_segments: self.max_segments, max_bytes: 65_507 }
    }
}

/// An endpoint, its application's side, and what must hold of both.
pub struct Node {
    pub address: SocketAddr,
    // Dropped before the pool it borrows from.
    pub worker: Worker<FuzzEnvironment>,
    pub shared: Arc<Shared>,
    pool: Arc<Pool>,
    commands: Vec<Command>,
    pub next_wake_ns: Option<u64>,
    pub done: bool,
    pub news: Outbox,
    max_streams: u64,
    max_paths: u64,
    steps: u32,
    /// Completion records taken so far, by stream.
    pub recorded: BTreeMap<u32, u64>,
    /// Bytes in and out, by the other side's address.
    pub bytes: BTreeMap<SocketAddr, (u64, u64)>,
}

/// Small, so that inputs of some hundred bytes meet every bound.
pub fn config(setup: u8) -> Config {
    Config {
        pool_bytes: if setup & 1 != 0 { 256 << 10 } else { 1 << 20 },
        pool_reserve_bytes: 64 << 10,
        initial_window: if setup & 2 != 0 { 4 << 10 } else { 64 << 10 },
        max_window: 256 << 10,
        window_budget: 256 << 10,
        max_in_flight_transmissions: if setup & 4 != 0 { 1 } else { 16 },
        aes_256: setup & 8 != 0,
        idle_timeout_ns: 2_000_000_000,
        max_incoming_streams: 4,
        max_streams: 12,
        max_paths: 4,
        max_records: 16,
        max_rate: (setup & 16 != 0).then_some(1_000_000),
        keep_alive: setup & 32 == 0,
        packets_per_key_phase: if setup & 128 != 0 { 4 } else { 1 << 23 },
        secrets: super::handshake::secrets(&[1]),
        ..Config::default()
    }
}

impl Node {
    pub fn new(config: Config, address: SocketAddr, now_ns: u64, seed: u64, max_segments: usize) -> Self {
        let pool = Pool::new(pool::Config {
            capacity_bytes: config.pool_bytes,
            reserve_bytes: config.pool_reserve_bytes,
        })
        .expect("large enough");
        let shared = Arc::new(Shared::default());
        let (max_streams, max_paths) = (u64::from(config.max_streams), u64::from(config.max_paths));
        let environment = FuzzEnvironment {
            address,
            pool: Arc::clone(&pool),
            rng: Rng(seed),
            results: Vec::new(),
            sent: Vec::new(),
            inbox: VecDeque::new(),
            verdicts: VecDeque::new(),
            lazy: false,
            held: Vec::new(),
            submitted: 0,
            max_segments,
        };
        let worker = Worker::new(config, environment, Arc::clone(&pool), Arc::clone(&shared), now_ns);
        Self {
            address,
            worker,
            shared,
            pool,
            commands: Vec::new(),
            next_wake_ns: Some(now_ns),
            done: false,
            news: Outbox::default(),
            max_streams,
            max_paths,
            steps: 0,
            recorded: BTreeMap::new(),
            bytes: BTreeMap::new(),
        }
    }

    pub fn command(&mut self, command: Command) {
        if trace() {
            eprintln!("{} {command:?}", self.address.ip());
        }
        self.commands.push(command);
    }

    pub fn environment(&mut self) -> &mut FuzzEnvironment {
        self.worker.environment_mut()
    }

    pub fn deliver(&mut self, datagram: Datagram) {
        self.bytes.entry(datagram.from).or_default().0 += datagram.bytes.len() as u64;
        self.environment().inbox.push_back(datagram);
    }

    /// Steps until nothing more is due at `now_ns`; returns what left.
    pub fn step(&mut self, now_ns: u64) -> Vec<Datagram> {
        self.shared.submit(&mut self.commands);
        for attempt in 0.. {
            let Step { next_wake_ns, busy, done, .. } = self.worker.step(now_ns);
            self.next_wake_ns = next_wake_ns;
            self.done |= done;
            if !busy && next_wake_ns.is_none_or(|wake| wake > now_ns) {
                break;
            }
            assert!(attempt < MAX_STEPS_AT_ONCE, "spins at {now_ns} ns");
        }
        let pool = self.pool.stats();
        assert!(pool.lent_bytes <= pool.capacity_bytes && pool.allocated_bytes <= pool.capacity_bytes);
        let stats = self.shared.stats().endpoint;
        assert!(stats.streams <= self.max_streams && stats.paths <= self.max_paths);
        assert!(
            stats.sent + stats.failed + stats.cancelled <= stats.transmissions,
            "completed twice: {stats:?}"
        );
        self.steps += 1;
        let settled = self.environment().results.is_empty() && self.environment().held.is_empty();
        if self.steps.is_multiple_of(AUDIT_EVERY) && settled {
            self.audit();
        }
        let sent = std::mem::take(&mut self.environment().sent);
        for datagram in &sent {
            if trace() {
                eprintln!(
                    "{now_ns} {} → {} {:02x?}…, {} B",
                    self.address.ip(),
                    datagram.to,
                    &datagram.bytes[..1],
                    datagram.bytes.len()
                );
            }
            self.bytes.entry(datagram.to).or_default().1 += datagram.bytes.len() as u64;
        }
        sent
    }

    /// Every account is the sum of its addends; the audit does not see what the environment still has.
    fn audit(&self) {
        let audit = self.worker.audit();
        assert_eq!(audit.streams_len as u64, audit.streams_counted);
        assert_eq!(audit.streams_len, audit.streams_named);
        assert_eq!(audit.window_budget_left, audit.window_budget_recomputed);
        for path in &audit.paths {
            assert_eq!(path.bytes_in_flight, path.in_flight_recomputed, "{path:?}");
            assert_eq!(path.scheduled_bytes, path.scheduled_recomputed, "{path:?}");
            assert_eq!(
                (path.opened, path.incoming),
                (path.opened_recomputed, path.incoming_recomputed),
                "{path:?}"
            );
            assert_eq!(path.held_bytes, path.held_recomputed, "{path:?}");
            assert!(!path.unsettled);
        }
        for stream in &audit.streams {
            assert_eq!(stream.pending, stream.pending_recomputed, "{stream:?}");
            assert_eq!(stream.pending_recovery, stream.pending_recovery_recomputed, "{stream:?}");
            assert_eq!(stream.retained, stream.retained_recomputed, "{stream:?}");
            assert_eq!(stream.packets_in_flight, stream.packets_in_flight_recomputed, "{stream:?}");
        }
    }

    /// Datagrams received and not dropped.
    pub fn accepted(&self) -> u64 {
        let stats = self.shared.stats().endpoint;
        stats.packets_received - stats.packets_dropped
    }

    /// Swaps the news out; it must be given back to be used again.
    pub fn take_news(&mut self) -> Outbox {
        let mut news = std::mem::take(&mut self.news);
        news.streams.clear();
        news.peers.clear();
        news.records.clear();
        news.drained = false;
        self.shared.take_news(&mut news);
        if trace() && !news.is_empty() {
            eprintln!("{} {news:#?}", self.address.ip());
        }
        for record in &news.records {
            *self.recorded.entry(record.stream).or_default() += 1;
            assert!(!record.packets.is_empty());
        }
        news
    }

    /// After the end: everything completed once and everything is home.
    pub fn end(mut self) {
        assert!(self.done);
        let stats = self.shared.stats().endpoint;
        let submitted = self.environment().submitted;
        drop(self.worker);
        drop(self.news);
        let pool = self.pool.stats();
        assert_eq!((pool.lent, pool.lent_bytes), (0, 0), "descriptors that did not come home");
        assert_eq!(stats.sent + stats.failed + stats.cancelled, stats.transmissions, "{stats:?}");
        assert_eq!(stats.sent + stats.failed, submitted, "{stats:?}");
        assert_eq!(stats.streams, 0, "{stats:?}");
    }
}
