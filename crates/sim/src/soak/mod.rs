//! A long life for two endpoints: streams open, transfer and close for hours of virtual time, in weather that changes.
//!
//! What it shows is what short worlds cannot: that nothing grows. The caller moves time and watches its process; every byte,
//! completion and end is checked on the way.

mod content;
mod weather;

use crate::{
    link::Link,
    rng::Rng,
    transfer::Broken,
    world::{NodeId, World},
};
use content::{HEAD_BYTES, Reading, byte_at, head};
use paceline_transport::{
    Config, MS, Outcome, SECOND,
    app::{Command, Outbox, PeerId, StreamId, StreamUpdate},
    handshake::Secret,
};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

/// A batch of streams opens this often on average: some 200,000 streams and 8 GB in 24 h.
const BATCH_EVERY_NS: u64 = SECOND;
/// Streams of a batch at most.
const BATCH_STREAMS: u64 = 4;
/// A batch is left out while so many streams are open: a slow link must not pile them up.
const MAX_OPEN: usize = 64;
/// Streams have 2^4 to 2^18 bytes, each power as likely as another: many small, few large.
const SIZE_BITS: (u64, u64) = (4, 18);
/// It begins with a storm: so many large streams from each side at once, over a long and lossy link. Pools and tables keep the
/// size of their busiest moment; it comes first, so that what grows later is a leak.
const STORM_STREAMS: usize = 24;
/// Bytes of each.
const STORM_BYTES: u64 = 2 << 20;
/// One-way delay of the storm's link.
const STORM_DELAY_NS: u64 = 50 * MS;
/// Its loss, parts per million.
const STORM_LOSS_PPM: u32 = 20_000;
/// Two streams live as long as the world and say something this often.
const TRICKLE_EVERY_NS: u64 = 10 * SECOND;
const TRICKLE_BYTES: u64 = 1024;
/// The link changes after up to this.
const WEATHER_NS: u64 = 300 * SECOND;
/// The longest silence of the network: well below the idle timeout (30 s), so that nothing has a reason to fail.
const BLACKHOLE_NS: u64 = 8 * SECOND;
/// After the last write everything must end within this. Loss is at most 5 %, and a PTO backs off to 16 × (RFC 9002 §6.2.1).
const DRAIN_NS: u64 = 120 * SECOND;
/// Changes of the weather that a failure tells.
const WEATHER_TOLD: usize = 6;
/// Totals since the world began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SoakReport {
    /// Virtual time, ns.
    pub elapsed_ns: u64,
    /// Streams that ended whole, on both sides.
    pub streams: u64,
    /// Streams open now.
    pub open: u64,
    /// Bytes that applications took.
    pub bytes: u64,
    /// Datagrams sent.
    pub datagrams: u64,
    /// Faults that really happened.
    pub faults: u64,
    /// Worker steps.
    pub steps: u64,
    /// Descriptors out, both pools.
    pub pool_lent: u64,
    /// What both pools have allocated so far, in bytes: they keep it.
    pub pool_allocated_bytes: u64,
}

/// The half of a stream that writes.
#[derive(Debug)]
struct Writing {
    name: u32,
    written: u64,
    records: u64,
    skipped: u64,
}

#[derive(Debug, Default)]
struct Side {
    /// What this side calls the other.
    peer: Option<PeerId>,
    next_stream: StreamId,
    trickle: Option<StreamId>,
    writing: BTreeMap<StreamId, Writing>,
    reading: BTreeMap<StreamId, Reading>,
}

/// Two endpoints and their day.
#[derive(Debug)]
pub struct Soak {
    seed: u64,
    world: World,
    nodes: [NodeId; 2],
    sides: [Side; 2],
    rng: Rng,
    next_name: u32,
    next_batch_ns: u64,
    next_trickle_ns: u64,
    next_weather_ns: u64,
    storm_left: [usize; 2],
    /// The last changes, as a failure tells them.
    weather: VecDeque<String>,
    streams: u64,
    bytes: u64,
    news: Outbox,
}

impl Soak {
    /// Two endpoints that have just begun to know each other.
    ///
    /// # Errors
    /// If no secret can be made of the seed.
    pub fn new(seed: u64) -> Result<Self, Broken> {
        let mut rng = Rng::new(seed ^ 0x736f_616b);
        let mut secret = [0u8; 32];
        rng.fill(&mut secret);
        let secret =
            Secret::new(&secret).map_err(|error| Broken { seed, what: format!("secret: {error}") })?;
        let secrets: Arc<[Secret]> = Arc::from([secret]);
        let mut world = World::new(seed, false);
        let a = world.add_node(Config::default());
        let b = world.add_node(Config { secrets: Arc::clone(&secrets), ..Config::default() });
        let storm = Link {
            delay_ns: STORM_DELAY_NS,
            loss_ppm: STORM_LOSS_PPM,
            reorder_ppm: 10_000,
            reorder_ns: MS,
            ..Link::default()
        };
        world.link(a, b, &storm);
        let (remote, now_ns) = (world.address(b), world.now_ns());
        let handshake_timeout_ns = 30 * SECOND;
        world.command(a, Command::Connect { peer: 1, remote, secrets, handshake_timeout_ns, max_rate: None });
        let side = || Side { next_stream: 1, ..Side::default() };
        Ok(Self {
            seed,
            world,
            nodes: [a, b],
            sides: [Side { peer: Some(1), ..side() }, side()],
            rng,
            next_name: 1,
            next_batch_ns: now_ns,
            next_trickle_ns: now_ns,
            next_weather_ns: now_ns + WEATHER_NS,
            storm_left: [STORM_STREAMS; 2],
            weather: VecDeque::new(),
            streams: 0,
            bytes: 0,
            news: Outbox::default(),
        })
    }

    /// Lives on until so much virtual time has passed since the beginning.
    ///
    /// # Errors
    /// The first thing that was not as it must be; the world is over then.
    pub fn run_until(&mut self, elapsed_ns: u64) -> Result<SoakReport, Broken> {
        let end_ns = self.world.now_ns() - self.world.elapsed_ns() + elapsed_ns;
        while self.world.now_ns() < end_ns {
            self.act();
            let wake_ns = self.next_batch_ns.min(self.next_trickle_ns).min(self.next_weather_ns);
            self.world.advance(end_ns.min(wake_ns.max(self.world.now_ns())));
            self.take_news()?;
        }
        Ok(self.report())
    }

    /// Everything ends: streams whole, descriptors home, and then silence.
    ///
    /// # Errors
    /// What did not end as it must.
    pub fn finish(&mut self) -> Result<SoakReport, Broken> {
        self.world.link(self.nodes[0], self.nodes[1], &Link::default());
        for (node, side) in self.nodes.into_iter().zip(&mut self.sides) {
            if let Some(stream) = side.trickle.take() {
                self.world.command(node, Command::Finish(stream));
            }
        }
        let end_ns = self.world.now_ns() + DRAIN_NS;
        while self.open() > 0 {
            if !self.world.advance(end_ns) {
                return Err(self.broken(format!("streams that do not end: {:?}", self.sides)));
            }
            self.take_news()?;
        }
        for node in self.nodes {
            self.world.command(node, Command::Shutdown);
        }
        let end_ns = self.world.now_ns() + DRAIN_NS;
        while self.world.advance(end_ns) {}
        for node in self.nodes {
            let stats = self.world.stats(node).endpoint;
            if !self.world.is_done(node) || self.world.pool(node).lent != 0 {
                return Err(self.broken(format!("a node did not drain: {stats:?}")));
            }
            if stats.sent + stats.failed + stats.cancelled != stats.transmissions {
                return Err(self.broken(format!("transmissions without an outcome: {stats:?}")));
            }
        }
        Ok(self.report())
    }

    /// Totals so far.
    pub fn report(&self) -> SoakReport {
        SoakReport {
            elapsed_ns: self.world.elapsed_ns(),
            streams: self.streams,
            open: self.open() as u64,
            bytes: self.bytes,
            datagrams: self.world.datagrams().0,
            faults: self.world.faults().iter().map(|(_, n)| n).sum(),
            steps: self.world.steps(),
            pool_lent: self.nodes.iter().map(|node| self.world.pool(*node).lent as u64).sum(),
            pool_allocated_bytes: self
                .nodes
                .iter()
                .map(|node| self.world.pool(*node).allocated_bytes as u64)
                .sum(),
        }
    }

    fn open(&self) -> usize {
        self.sides.iter().map(|side| side.writing.len() + side.reading.len()).sum()
    }

    fn broken(&self, what: impl Into<String>) -> Broken {
        let hours = self.world.elapsed_ns() as f64 / SECOND as f64 / 3600.0;
        let weather: Vec<&str> = self.weather.iter().map(String::as_str).collect();
        Broken {
            seed: self.seed,
            what: format!("after {hours:.4} h: {}; the weather: {}", what.into(), weather.join(", ")),
        }
    }

    /// What is due of the script.
    fn act(&mut self) {
        let now_ns = self.world.now_ns();
        if now_ns >= self.next_weather_ns {
            self.change_weather(now_ns);
        }
        for side in 0..2 {
            while self.storm_left[side] > 0
                && let Some(stream) = self.open_stream(side, STORM_BYTES)
            {
                self.storm_left[side] -= 1;
                self.write(side, stream, STORM_BYTES);
                self.world.command(self.nodes[side], Command::Finish(stream));
            }
        }
        if now_ns >= self.next_trickle_ns {
            self.next_trickle_ns = now_ns + TRICKLE_EVERY_NS;
            for side in 0..2 {
                self.trickle(side);
            }
        }
        if now_ns >= self.next_batch_ns {
            self.next_batch_ns = now_ns + 1 + self.rng.below(2 * BATCH_EVERY_NS);
            for _ in 0..=self.rng.below(BATCH_STREAMS) {
                let side = self.rng.below(2) as usize;
                let bits = SIZE_BITS.0 + self.rng.below(SIZE_BITS.1 - SIZE_BITS.0);
                let total = (1 << bits) + self.rng.below(1 << bits);
                if self.open() < MAX_OPEN
                    && let Some(stream) = self.open_stream(side, total)
                {
                    self.write(side, stream, total);
                    self.world.command(self.nodes[side], Command::Finish(stream));
                }
            }
        }
    }

    fn change_weather(&mut self, now_ns: u64) {
        let [a, b] = self.nodes;
        let mut lasts_ns = 1 + self.rng.below(WEATHER_NS);
        let mut names = Vec::new();
        for (from, to) in [(a, b), (b, a)] {
            let mut link = Link { delay_ns: MS * (1 + self.rng.below(40)), ..Link::default() };
            let name = weather::change(&mut link, &mut self.rng);
            if !link.up {
                lasts_ns = lasts_ns.min(1 + self.rng.below(BLACKHOLE_NS));
            }
            names.push(name);
            self.world.link_one_way(from, to, &link);
        }
        self.next_weather_ns = now_ns + lasts_ns;
        if self.weather.len() == WEATHER_TOLD {
            self.weather.pop_front();
        }
        let hours = self.world.elapsed_ns() as f64 / SECOND as f64 / 3600.0;
        self.weather.push_back(format!("{hours:.4} h {}", names.join(" / ")));
    }

    /// Writes its head; `None` while the peer is unknown.
    fn open_stream(&mut self, side: usize, total: u64) -> Option<StreamId> {
        let peer = self.sides[side].peer?;
        let stream = self.sides[side].next_stream;
        self.sides[side].next_stream += 2;
        let name = self.next_name;
        self.next_name += 1;
        let node = self.nodes[side];
        let priority = 1 + (name % 7) as u8;
        self.world.command(node, Command::Open { stream, peer, priority });
        self.world.command(node, Command::Record(stream));
        self.world.command(node, Command::Write { stream, data: head(name, total).into() });
        let writing = Writing { name, written: 0, records: 0, skipped: 0 };
        self.sides[side].writing.insert(stream, writing);
        self.sides[side].reading.insert(stream, Reading::answer());
        Some(stream)
    }

    fn write(&mut self, side: usize, stream: StreamId, bytes: u64) {
        let Some(writing) = self.sides[side].writing.get_mut(&stream) else { return };
        let range = writing.written..writing.written + bytes;
        writing.written = range.end;
        let data: Vec<u8> = range.map(|at| byte_at(writing.name, at)).collect();
        self.world.command(self.nodes[side], Command::Write { stream, data: data.into() });
    }

    fn trickle(&mut self, side: usize) {
        if self.sides[side].trickle.is_none() {
            self.sides[side].trickle = self.open_stream(side, 0);
        }
        if let Some(stream) = self.sides[side].trickle {
            self.write(side, stream, TRICKLE_BYTES);
        }
    }

    fn take_news(&mut self) -> Result<(), Broken> {
        for side in 0..2 {
            let mut news = std::mem::take(&mut self.news);
            self.world.take_news(self.nodes[side], &mut news);
            for peer in news.peers.drain(..) {
                if peer.closed.is_some() {
                    return Err(self.broken(format!("a peer is gone: {peer:?}")));
                }
                if peer.open {
                    self.sides[side].peer = Some(peer.peer);
                }
            }
            for record in news.records.drain(..) {
                match record.outcome {
                    Outcome::Sent { at_ns } if at_ns >= record.scheduled_ns => {}
                    Outcome::Cancelled => {}
                    other => return Err(self.broken(format!("stream {}: {other:?}", record.stream))),
                }
                // Streams of the other side are not recorded.
                if let Some(writing) = self.sides[side].writing.get_mut(&record.stream) {
                    writing.records += 1;
                }
            }
            for update in news.streams.drain(..) {
                self.take_update(side, update)?;
            }
            self.news = news;
        }
        Ok(())
    }

    fn take_update(&mut self, side: usize, mut update: StreamUpdate) -> Result<(), Broken> {
        let stream = update.stream;
        if let Some(failure) = update.failure {
            return Err(self.broken(format!("stream {stream} failed: {failure}")));
        }
        if update.accepted_from.is_some() {
            self.sides[side].reading.insert(stream, Reading::default());
        }
        let mut taken = 0;
        for bytes in update.readable.drain(..) {
            taken += bytes.len() as u64;
            let reading = self.sides[side].reading.get_mut(&stream);
            let known = reading.is_some_and(|reading| reading.take(&bytes));
            if !known {
                return Err(self.broken(format!("stream {stream} brought other bytes than were written")));
            }
        }
        self.bytes += taken;
        if taken > 0 && !update.closed {
            self.world.command(self.nodes[side], Command::Consume { stream, bytes: taken });
        }
        if update.end {
            let reading = self.sides[side].reading.get_mut(&stream);
            let whole = reading.is_some_and(|reading| reading.end());
            if !whole {
                return Err(self.broken(format!("stream {stream} ended, but not whole")));
            }
            if !self.sides[side].writing.contains_key(&stream) {
                self.world.command(self.nodes[side], Command::Finish(stream));
            }
        }
        if let Some(writing) = self.sides[side].writing.get_mut(&stream) {
            writing.skipped += update.skipped;
        }
        if update.closed { self.close(side, &update) } else { Ok(()) }
    }

    /// A stream is forgotten: both halves must be whole, and every completion told.
    fn close(&mut self, side: usize, update: &StreamUpdate) -> Result<(), Broken> {
        let stream = update.stream;
        if !self.sides[side].reading.remove(&stream).is_some_and(|reading| reading.ended) {
            return Err(self.broken(format!("stream {stream} closed before its end")));
        }
        let Some(writing) = self.sides[side].writing.remove(&stream) else { return Ok(()) };
        let told = writing.records + writing.skipped + update.unrecorded;
        let sent = writing.written + HEAD_BYTES as u64;
        if told != update.transmissions || update.acknowledged != sent || !update.fin_acknowledged {
            return Err(self.broken(format!("stream {stream}: {told} completions, {writing:?}, {update:?}")));
        }
        self.streams += 1;
        Ok(())
    }
}
