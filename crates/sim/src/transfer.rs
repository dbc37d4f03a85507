//! A whole transfer as a scenario: streams from one node to another, every byte and every completion checked.

use crate::{
    faults::FaultCounts,
    link::Link,
    rng::Rng,
    world::{NodeId, World},
};
use paceline_transport::{
    Config, Failure, Outcome, SECOND,
    app::{Command, Outbox, StreamUpdate},
};
use std::{collections::BTreeMap, sync::Arc};

/// Streams of equal size from node a to node b; b answers each with its own FIN.
#[derive(Clone, Debug)]
pub struct Transfer {
    /// Decides everything random.
    pub seed: u64,
    /// Both directions.
    pub link: Link,
    /// From b to a, if that is another.
    pub back: Option<Link>,
    /// Both links from a time on, ns since the beginning; in order.
    pub changes: Vec<(u64, Link)>,
    /// Streams at once.
    pub streams: u32,
    /// Bytes of each stream.
    pub bytes: u64,
    /// Both endpoints; secrets are filled in from the seed.
    pub config: Config,
    /// Virtual time after which it counts as stalled, ns.
    pub deadline_ns: u64,
    /// Bytes per second that the receiver reads at most; `None`: as they come.
    pub read_rate: Option<u64>,
    /// Keep the log as text.
    pub trace: bool,
}

impl Default for Transfer {
    fn default() -> Self {
        Self {
            seed: 0,
            link: Link::default(),
            back: None,
            changes: Vec::new(),
            streams: 1,
            bytes: 1 << 20,
            config: Config::default(),
            deadline_ns: 120 * SECOND,
            read_rate: None,
            trace: false,
        }
    }
}

/// What a transfer came to.
#[derive(Clone, Debug)]
pub struct Report {
    /// From the connect call to the last stream's end, ns.
    pub virtual_ns: u64,
    /// Really happened.
    pub faults: FaultCounts,
    /// Datagrams lost because a queue was full.
    pub overflowed: u64,
    /// The sender's data, retransmission and probe transmissions.
    pub transmissions: u64,
    /// Their packets.
    pub packets: u64,
    /// Packets sent again.
    pub retransmitted: u64,
    /// Packets declared lost.
    pub declared_lost: u64,
    /// Smoothed RTT at the end, ns.
    pub smoothed_rtt_ns: u64,
    /// Hash of the log.
    pub log_hash: u64,
    /// The log, if it was kept.
    pub log: Option<String>,
    /// Worker steps.
    pub steps: u64,
    /// Bytes that b's application has taken.
    pub delivered: u64,
    /// UDP payload bytes that a sent.
    pub bytes_sent: u64,
}

/// An invariant that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The seed that shows it.
    pub seed: u64,
    /// What did not hold.
    pub what: String,
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "seed {}: {}", self.seed, self.what)
    }
}
impl std::error::Error for Broken {}

/// The byte at an offset of a stream: differs between streams and between neighbours.
fn byte_at(stream: u32, offset: u64) -> u8 {
    let x = (offset ^ (u64::from(stream) << 40)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (x >> 56) as u8
}

#[derive(Debug, Default)]
struct Writer {
    written: u64,
    sealed: u64,
    finished: bool,
    closed: bool,
    fin_acknowledged: bool,
    acknowledged: u64,
    transmissions: u64,
    unrecorded: u64,
    records: u64,
    skipped: u64,
    cancelled: u64,
}

#[derive(Debug, Default)]
struct Reader {
    name: u32,
    read: u64,
    owed: u64,
    ended: bool,
    closed: bool,
}

const CHUNK: u64 = 64 << 10;
const PEER: u32 = 1;

struct Run<'a> {
    transfer: &'a Transfer,
    world: World,
    a: NodeId,
    b: NodeId,
    writers: BTreeMap<u32, Writer>,
    readers: BTreeMap<u32, Reader>,
    next_read_ns: u64,
    news: Outbox,
}

impl Transfer {
    /// Runs it to its end and checks every invariant on the way.
    ///
    /// # Errors
    /// The first invariant that did not hold, with the seed.
    pub fn run(&self) -> Result<Report, Broken> {
        let mut rng = Rng::new(self.seed ^ 0x7061_6365_6c69_6e65);
        let secrets = rng.secrets();
        let mut world = World::new(self.seed, self.trace);
        let a = world.add_node(self.config.clone());
        let b = world.add_node(Config { secrets: Arc::clone(&secrets), ..self.config.clone() });
        world.link(a, b, &self.link);
        if let Some(back) = &self.back {
            world.link_one_way(b, a, back);
        }
        let remote = world.address(b);
        let handshake_timeout_ns = 30 * SECOND;
        world.command(
            a,
            Command::Connect { peer: PEER, remote, secrets, handshake_timeout_ns, max_rate: None },
        );
        let mut run = Run {
            transfer: self,
            world,
            a,
            b,
            writers: BTreeMap::new(),
            readers: BTreeMap::new(),
            next_read_ns: 0,
            news: Outbox::default(),
        };
        run.run()
    }

    fn broken(&self, what: impl Into<String>) -> Broken {
        Broken { seed: self.seed, what: what.into() }
    }
}

impl Run<'_> {
    fn run(&mut self) -> Result<Report, Broken> {
        for index in 0..self.transfer.streams {
            let stream = index * 2 + 1;
            self.writers.insert(stream, Writer::default());
            self.world.command(self.a, Command::Open { stream, peer: PEER, priority: 3 });
            self.world.command(self.a, Command::Record(stream));
            self.write(stream);
        }
        let start_ns = self.world.now_ns();
        let end_ns = start_ns + self.transfer.deadline_ns;
        let mut finished_ns = start_ns;
        let mut changes = self.transfer.changes.iter().peekable();
        while !self.is_over() {
            while let Some((_, link)) = changes.next_if(|(at, _)| start_ns + at <= self.world.now_ns()) {
                self.world.link(self.a, self.b, link);
            }
            let wake =
                if self.transfer.read_rate.is_some() { self.next_read_ns.max(start_ns) } else { end_ns };
            let wake = changes.peek().map_or(wake, |(at, _)| wake.min(start_ns + at));
            if !self.world.advance(end_ns.min(wake.max(self.world.now_ns() + 1)))
                && self.world.now_ns() >= end_ns
            {
                return Err(self.broken(format!(
                    "stalled: {} in flight, writers {:?}, readers {:?}, a {:?}",
                    self.world.in_flight(),
                    self.writers,
                    self.readers,
                    self.world.stats(self.a).paths,
                )));
            }
            self.take_sender_news()?;
            self.take_receiver_news()?;
            self.read_slowly();
            finished_ns = self.world.now_ns();
        }
        self.finish(finished_ns - start_ns)
    }

    fn is_over(&self) -> bool {
        self.writers.values().all(|writer| writer.closed)
            && self.readers.len() == self.writers.len()
            && self.readers.values().all(|reader| reader.closed)
    }

    fn broken(&self, what: impl Into<String>) -> Broken {
        self.transfer.broken(what)
    }

    /// Fills the send buffer as an application under backpressure would.
    fn write(&mut self, stream: u32) {
        let (total, limit) = (self.transfer.bytes, self.transfer.config.send_buffer_bytes);
        let Some(writer) = self.writers.get_mut(&stream) else { return };
        let mut commands = Vec::new();
        while writer.written < total {
            let room = limit.saturating_sub(writer.written - writer.sealed);
            let len = CHUNK.min(total - writer.written);
            if room < len {
                commands.push(Command::WantRoom { stream, level: limit / 2 });
                break;
            }
            let data: Vec<u8> =
                (writer.written..writer.written + len).map(|at| byte_at(stream, at)).collect();
            writer.written += len;
            commands.push(Command::Write { stream, data: data.into() });
        }
        if writer.written == total && !writer.finished {
            writer.finished = true;
            commands.push(Command::Finish(stream));
        }
        for command in commands {
            self.world.command(self.a, command);
        }
    }

    fn take_sender_news(&mut self) -> Result<(), Broken> {
        let mut news = std::mem::take(&mut self.news);
        self.world.take_news(self.a, &mut news);
        for peer in news.peers.drain(..) {
            if let Some(closed) = peer.closed {
                return Err(self.broken(format!("peer closed: {closed:?}")));
            }
        }
        for record in news.records.drain(..) {
            let Some(writer) = self.writers.get_mut(&record.stream) else {
                return Err(self.broken("a record of an unknown stream"));
            };
            writer.records += 1;
            match record.outcome {
                Outcome::Sent { at_ns } if at_ns < record.scheduled_ns => {
                    return Err(self.broken(format!("left {} ns early", record.scheduled_ns - at_ns)));
                }
                Outcome::Sent { .. } => {}
                Outcome::Cancelled => writer.cancelled += 1,
                Outcome::Failed { error, .. } => return Err(self.broken(format!("send failed: {error:?}"))),
            }
        }
        for update in news.streams.drain(..) {
            self.check_failure(&update)?;
            let Some(writer) = self.writers.get_mut(&update.stream) else {
                return Err(self.broken(format!("news of unknown stream {}", update.stream)));
            };
            if writer.closed {
                return Err(self.broken("news after closed"));
            }
            writer.sealed = update.sealed;
            writer.acknowledged = update.acknowledged;
            writer.fin_acknowledged |= update.fin_acknowledged;
            writer.closed = update.closed;
            writer.transmissions = update.transmissions;
            writer.unrecorded = update.unrecorded;
            writer.skipped += update.skipped;
            self.write(update.stream);
        }
        self.news = news;
        Ok(())
    }

    fn check_failure(&self, update: &StreamUpdate) -> Result<(), Broken> {
        let failure: Option<Failure> = update.failure;
        match failure {
            Some(failure) => Err(self.broken(format!("stream {} failed: {failure}", update.stream))),
            None => Ok(()),
        }
    }

    fn take_receiver_news(&mut self) -> Result<(), Broken> {
        let mut news = std::mem::take(&mut self.news);
        self.world.take_news(self.b, &mut news);
        news.peers.clear();
        for mut update in news.streams.drain(..) {
            self.check_failure(&update)?;
            let stream = update.stream;
            if update.accepted_from.is_some() {
                // Streams are accepted in the order their first packets arrive: the first byte tells which it is.
                let fresh = Reader { name: u32::MAX, ..Reader::default() };
                if self.readers.insert(stream, fresh).is_some() {
                    return Err(self.broken(format!("stream {stream} accepted twice")));
                }
            }
            let mut taken = 0;
            for bytes in update.readable.drain(..) {
                taken += bytes.len() as u64;
                self.check_bytes(stream, &bytes)?;
            }
            let total = self.transfer.bytes;
            let Some(reader) = self.readers.get_mut(&stream) else {
                return Err(self.broken(format!("news of unknown stream {stream}")));
            };
            reader.closed |= update.closed;
            if update.end {
                if reader.read != total || reader.ended {
                    let what = format!(
                        "stream {stream} ended at {} of {total}, before: {}",
                        reader.read, reader.ended
                    );
                    return Err(self.broken(what));
                }
                reader.ended = true;
                self.world.command(self.b, Command::Finish(stream));
            }
            if self.transfer.read_rate.is_none() {
                if taken > 0 {
                    self.world.command(self.b, Command::Consume { stream, bytes: taken });
                }
            } else if let Some(reader) = self.readers.get_mut(&stream) {
                reader.owed += taken;
            }
        }
        self.news = news;
        Ok(())
    }

    fn check_bytes(&mut self, stream: u32, bytes: &[u8]) -> Result<(), Broken> {
        let names: Vec<u32> = self.writers.keys().copied().collect();
        let transfer = self.transfer;
        let Some(reader) = self.readers.get_mut(&stream) else {
            return Err(transfer.broken(format!("bytes of unknown stream {stream}")));
        };
        if reader.name == u32::MAX {
            let matches = |name: u32| {
                bytes.iter().take(64).enumerate().all(|(index, byte)| *byte == byte_at(name, index as u64))
            };
            reader.name = names.into_iter().find(|name| matches(*name)).unwrap_or(0);
        }
        for byte in bytes {
            if *byte != byte_at(reader.name, reader.read) {
                return Err(transfer.broken(format!("stream {stream} differs at {}", reader.read)));
            }
            reader.read += 1;
        }
        Ok(())
    }

    /// A slow application: takes `read_rate` bytes a second, a millisecond's worth at a time.
    fn read_slowly(&mut self) {
        let Some(rate) = self.transfer.read_rate else { return };
        let now_ns = self.world.now_ns();
        if now_ns < self.next_read_ns {
            return;
        }
        self.next_read_ns = now_ns + 1_000_000;
        let mut left = rate / 1_000;
        let mut commands = Vec::new();
        for (stream, reader) in &mut self.readers {
            let bytes = reader.owed.min(left);
            if bytes > 0 {
                reader.owed -= bytes;
                left -= bytes;
                commands.push(Command::Consume { stream: *stream, bytes });
            }
        }
        for command in commands {
            self.world.command(self.b, command);
        }
    }

    /// Everybody goes home: every transmission completed once, every descriptor returned, and then silence.
    fn finish(&mut self, virtual_ns: u64) -> Result<Report, Broken> {
        for (stream, writer) in &self.writers {
            if writer.acknowledged != self.transfer.bytes || !writer.fin_acknowledged {
                return Err(self.broken(format!("stream {stream}: closed with {writer:?}")));
            }
            if writer.records + writer.skipped + writer.unrecorded != writer.transmissions {
                return Err(self.broken(format!("stream {stream}: completions do not add up: {writer:?}")));
            }
        }
        let stats = self.world.stats(self.a);
        let smoothed_rtt_ns = stats.paths.first().map_or(0, |path| path.smoothed_rtt_ns);
        for node in [self.a, self.b] {
            self.world.command(node, Command::Shutdown);
        }
        let end_ns = self.world.now_ns() + 60 * SECOND;
        while self.world.advance(end_ns) {}
        for node in [self.a, self.b] {
            let stats = self.world.stats(node).endpoint;
            let pool = self.world.pool(node);
            if !self.world.is_done(node) {
                return Err(self.broken(format!("a node did not drain: {stats:?}")));
            }
            if pool.lent != 0 {
                return Err(self.broken(format!("{} descriptors are still out", pool.lent)));
            }
            if stats.sent + stats.failed + stats.cancelled != stats.transmissions {
                return Err(self.broken(format!("transmissions without an outcome: {stats:?}")));
            }
        }
        let datagrams = self.world.datagrams();
        self.world.advance(end_ns + 60 * SECOND);
        if self.world.datagrams() != datagrams || self.world.in_flight() > 0 {
            return Err(self.broken("the world did not fall silent"));
        }
        Ok(Report {
            virtual_ns,
            faults: self.world.faults(),
            overflowed: self.world.overflowed(),
            transmissions: stats.endpoint.transmissions,
            packets: stats.endpoint.packets,
            retransmitted: stats.endpoint.packets_retransmitted,
            declared_lost: stats.endpoint.packets_lost,
            smoothed_rtt_ns,
            log_hash: self.world.log_hash(),
            log: self.world.log_text(),
            steps: self.world.steps(),
            delivered: self.readers.values().map(|reader| reader.read).sum(),
            bytes_sent: stats.endpoint.bytes_sent,
        })
    }
}
