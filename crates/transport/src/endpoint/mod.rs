//! Everything of one endpoint but its world: peers, paths, streams, the wheel, and the order in which they are served.
//!
//! One file per station of a byte's way (ARCHITECTURE.md, "One byte's way"): `commands` and `receive` bring work in,
//! `completions` and `acks` settle it, `timers` wake it, `fill` and `control` make transmissions, `release` hands them to
//! the environment, `news` tells the application.

mod acks;
pub(crate) mod audit;
mod commands;
mod completions;
mod control;
mod doorbell;
mod fill;
mod injected;
mod late;
mod news;
mod paths;
mod peers;
#[cfg(feature = "planted")]
pub mod planted;
mod receive;
mod release;
mod resets;
mod streams;
#[cfg(test)]
mod tables;
mod time_wait;
mod timers;
mod untold;

use crate::{
    app::{Command, Outbox, PeerId, Shared, StreamId},
    completion::Ready,
    config::Config,
    environment::{Backpressure, Environment},
    path::{Path, schedule::PRIORITIES},
    stats::EndpointStats,
    stream::{Stream, burst::Entropy, flow::WindowBudget},
    table::Table,
    transmission::{Completion, Info, PathKey, StreamKey, Transmission},
    worker::Step,
};
use doorbell::Doorbell;
use paceline_handshake::{AttemptId, Established, Handshake};
use paceline_pacer::TokenBucket;
use paceline_pool::Pool;
use paceline_wheel::Prioritized;
use paceline_wire::CredentialId;
use paths::Upkeep;
use peers::Peer;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};
use time_wait::TimeWait;
pub(crate) use timers::Alarm;
use timers::Timers;

/// Source of randomness lent by the environment for one call.
pub(crate) type Random<'a> = &'a mut dyn FnMut(&mut [u8]);

/// Bursts received in one step, so that acknowledgements and departures wait for at most this many.
const RECEIVE_BATCH: usize = 8;
/// Recycled per-packet vectors.
const MAX_SPARE_INFOS: usize = 256;
/// How near a departure must be for what arrives to wait for it. Below the lateness of a timer under load (p50 130–230 µs on 2
/// busy cores); ACKs read that much later do not disturb the controllers, whose thresholds begin at 500 µs.
const NAP_NS: u64 = 100_000;
/// How long bulk that comes in may gather. Each wake costs a receiver 10 µs and makes an ACK that wakes the sender, so one for
/// each 14 KB of a sender without long bursts took 7.1 CPU s/GB; with 50 µs it is 4.7, and with 200 µs the senders stall.
const COALESCE_NS: u64 = 50_000;
/// A UDP payload at most.
const MAX_DATAGRAM: usize = 65_535;

#[derive(Debug)]
pub(crate) struct Endpoint {
    config: Config,
    pool: Arc<Pool>,
    shared: Arc<Shared>,
    completions_ready: Arc<Ready>,
    wheel: Prioritized<Transmission, PRIORITIES>,
    /// Taken out of the wheel; the environment would not have them yet.
    due: VecDeque<Transmission>,
    backpressure: Backpressure,
    timers: Timers,
    bucket: Option<TokenBucket>,
    /// Paths with somebody in their line.
    held: Vec<PathKey>,
    handshake: Handshake,
    peers: BTreeMap<PeerId, Peer>,
    attempts: BTreeMap<AttemptId, Vec<PeerId>>,
    half_open: BTreeMap<CredentialId, Box<Established>>,
    by_credential: BTreeMap<CredentialId, PathKey>,
    paths: Table<PathKey, Path>,
    upkeep: Upkeep,
    streams: Table<StreamKey, Stream>,
    by_id: BTreeMap<StreamId, StreamKey>,
    time_wait: TimeWait,
    budget: WindowBudget,
    next_peer: PeerId,
    next_stream: StreamId,
    /// Paths that may have something to fill.
    active: VecDeque<PathKey>,
    /// Paths with ACK news of this step.
    settle: Vec<PathKey>,
    /// Streams that owe a control packet.
    control_due: VecDeque<StreamKey>,
    /// Streams with news for the application.
    news: Vec<StreamKey>,
    outbox: Outbox,
    untold: untold::Untold,
    /// Paths that found the pool empty.
    starved: Vec<PathKey>,
    scratch: Vec<u8>,
    spare_infos: Vec<Vec<Info>>,
    commands: Vec<Command>,
    results: Vec<Completion>,
    completed: Vec<StreamKey>,
    stats: EndpointStats,
    touched_paths: Vec<PathKey>,
    /// By slot: when its entries in the timer wheel fire.
    stream_timers: Vec<Alarm>,
    shutting_down: bool,
    drained: bool,
    doorbell: Doorbell,
    entropy: Entropy,
    reply_limits: resets::ReplyLimits,
    /// Paths whose address has not proved that it receives.
    unproven_paths: u32,
    /// Work is left that is due now.
    busy: bool,
}

impl Endpoint {
    pub(crate) fn new(
        config: Config,
        pool: Arc<Pool>,
        shared: Arc<Shared>,
        now_ns: u64,
        random: Random<'_>,
    ) -> Self {
        let handshake =
            Handshake::new(peers::handshake_config(&config), config.secrets.clone(), now_ns, random);
        // Three entries per stream and eight per path (`Audit::timers_bound`), and those of streams and paths that are gone.
        let timers = (config.max_streams as usize)
            .saturating_add(config.max_paths as usize)
            .saturating_mul(8)
            .saturating_add(1024);
        // No more transmissions than the pool has descriptors of the smallest class.
        let transmissions = (config.pool_bytes / 2048).saturating_add(1024);
        Self {
            completions_ready: Arc::default(),
            wheel: Prioritized::new(now_ns, transmissions),
            due: VecDeque::new(),
            backpressure: Backpressure::None,
            timers: Timers::new(now_ns, timers),
            bucket: config.max_rate.map(|rate| release::token_bucket(rate, now_ns)),
            held: Vec::new(),
            handshake,
            peers: BTreeMap::new(),
            attempts: BTreeMap::new(),
            half_open: BTreeMap::new(),
            by_credential: BTreeMap::new(),
            paths: Table::new(config.max_paths),
            upkeep: Upkeep::default(),
            streams: Table::new(config.max_streams),
            by_id: BTreeMap::new(),
            time_wait: TimeWait::default(),
            budget: WindowBudget::new(config.window_budget),
            next_peer: 2,
            next_stream: 2,
            active: VecDeque::new(),
            settle: Vec::new(),
            control_due: VecDeque::new(),
            news: Vec::new(),
            outbox: Outbox::default(),
            untold: untold::Untold::default(),
            starved: Vec::new(),
            scratch: vec![0; MAX_DATAGRAM],
            spare_infos: Vec::new(),
            commands: Vec::new(),
            results: Vec::new(),
            completed: Vec::new(),
            stats: EndpointStats::default(),
            touched_paths: Vec::new(),
            stream_timers: Vec::new(),
            shutting_down: false,
            drained: false,
            doorbell: Doorbell::default(),
            entropy: Entropy::default(),
            reply_limits: resets::ReplyLimits::new(random),
            unproven_paths: 0,
            busy: false,
            config,
            pool,
            shared,
        }
    }

    /// The order of a step: inbox, receive, completions, ACKs, timers, fill, submit, events. Each stage sees what the ones
    /// before it found, so a completion is settled before the ACK that names it, and credit before the fill that spends it.
    pub(crate) fn step<E: Environment>(&mut self, environment: &mut E, now_ns: u64) -> Step {
        self.busy = false;
        self.take_commands(now_ns, &mut |out| environment.random(out));
        self.receive_batch(environment, now_ns);
        self.collect_results(environment);
        self.apply_completions(now_ns);
        self.settle_paths(now_ns);
        self.run_timers(now_ns);
        self.run_handshake(now_ns, &mut |out| environment.random(out));
        self.fill_control(now_ns);
        self.fill_paths(environment, now_ns);
        self.release(environment, now_ns);
        // An environment that answers at once has its verdicts settled in the same step: a burst's credit is free again
        // before the loop sleeps.
        self.collect_results(environment);
        self.apply_completions(now_ns);
        self.publish(now_ns);
        let departure = self.wheel.next_expiry().filter(|_| self.backpressure == Backpressure::None);
        Step {
            next_wake_ns: self.next_wake(now_ns),
            busy: self.busy || !self.active.is_empty(),
            news: self.doorbell.rings(now_ns),
            coalesce_until_ns: self.doorbell.take_bulk().then(|| now_ns.saturating_add(COALESCE_NS)),
            nap: departure.is_some_and(|at| at <= now_ns.saturating_add(NAP_NS)),
            done: self.drained,
        }
    }

    fn receive_batch<E: Environment>(&mut self, environment: &mut E, now_ns: u64) {
        for _ in 0..RECEIVE_BATCH {
            let Some(received) = environment.receive(now_ns) else { return };
            self.on_received(&received, &mut |out| environment.random(out));
        }
        self.busy = true;
    }

    fn next_wake(&self, now_ns: u64) -> Option<u64> {
        let mut next = self.timers.next_expiry();
        let mut at = |time: Option<u64>| {
            next = match (next, time) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            }
        };
        at(self.handshake.next_timeout());
        at(self.time_wait.next_expiry());
        at(self.doorbell.next_ring());
        match self.backpressure {
            // Control and data alike wait for the socket.
            Backpressure::UntilWritable => {}
            Backpressure::Until(time) => at(Some(time)),
            Backpressure::None => {
                at(self.wheel.next_expiry());
                at(self.next_held());
            }
        }
        if !self.starved.is_empty() {
            // Something comes home when an ACK or a completion arrives; this is for the case that neither will.
            at(Some(now_ns.saturating_add(crate::config::MS)));
        }
        next
    }

    /// Puts the path on the list of those that may fill.
    fn activate(&mut self, key: PathKey) {
        if let Some(path) = self.paths.get_mut(key)
            && !path.active
            && !path.schedule.is_empty()
        {
            path.active = true;
            self.active.push_back(key);
        }
    }

    /// Puts the stream on its path's lists for what it has to send.
    fn make_ready(&mut self, key: StreamKey, now_ns: u64) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        let Some(path_key) = stream.path else { return };
        let Some(path) = self.paths.get_mut(path_key) else { return };
        if !stream.listed.probe && stream.wants_probe(now_ns) {
            stream.listed.probe = true;
            path.schedule.probes.push_back(key);
        }
        if !stream.listed.recovery && stream.wants_recovery(now_ns) {
            stream.listed.recovery = true;
            path.schedule.recovery.push_back(stream.priority, key);
        }
        if !stream.listed.data && stream.wants_data(now_ns, self.config.max_in_flight_transmissions) {
            stream.listed.data = true;
            stream.deficit = 0;
            path.schedule.data.push_back(stream.priority, key);
        }
        if !stream.listed.data && stream.send.is_blocked() {
            // What was written behind a full window has no turn that would find out (sim seed 2062).
            self.after_turns(key, now_ns);
        }
        self.activate(path_key);
    }

    /// The stream has news for the application.
    fn announce(&mut self, key: StreamKey) {
        if let Some(stream) = self.streams.get_mut(key)
            && !stream.news.listed
        {
            stream.news.listed = true;
            self.news.push(key);
        }
    }

    fn touch_path(&mut self, key: PathKey) {
        if self.touched_paths.last() != Some(&key) {
            self.touched_paths.push(key);
        }
    }
}
