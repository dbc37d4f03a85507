//! Two nodes, a stream or a few from one to the other, and what their applications heard.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part")]

use paceline_sim::{Link, NodeId, Rng, World};
use paceline_transport::{
    Audit, Config, Outcome, SECOND,
    app::{Command, Outbox, StreamUpdate},
    handshake::Secret,
    stats::EndpointStats,
};
use std::{collections::BTreeMap, sync::Arc};

const PEER: u32 = 1;

pub struct Pair {
    pub world: World,
    pub a: NodeId,
    pub b: NodeId,
    pub heard: [Heard; 2],
    /// Audit both nodes after every event.
    pub audited: bool,
    /// How often that was done.
    pub audits: u64,
    config: Config,
    secrets: Arc<[Secret]>,
}

#[derive(Default)]
pub struct Heard {
    pub streams: BTreeMap<u32, StreamUpdate>,
    /// Bytes by stream.
    pub received: BTreeMap<u32, u64>,
    pub outcomes: Vec<Outcome>,
}

/// Byte of a stream at an offset.
pub fn byte_at(offset: u64) -> u8 {
    (offset.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

impl Pair {
    pub fn new(seed: u64, link: &Link, config: Config) -> Self {
        Self::with(World::new(seed, false), seed, link, config)
    }

    pub fn traced(seed: u64, link: &Link, config: Config) -> Self {
        Self::with(World::new(seed, true), seed, link, config)
    }

    fn with(mut world: World, seed: u64, link: &Link, config: Config) -> Self {
        let secrets = Rng::new(seed).secrets();
        let config = Config { secrets: Arc::clone(&secrets), ..config };
        let a = world.add_node(config.clone());
        let b = world.add_node(config.clone());
        world.link(a, b, link);
        let mut pair =
            Self { world, a, b, heard: Default::default(), audited: false, audits: 0, config, secrets };
        pair.connect();
        pair
    }

    pub fn connect(&mut self) {
        let remote = self.world.address(self.b);
        let secrets = Arc::clone(&self.secrets);
        let handshake_timeout_ns = 10 * SECOND;
        let connect = Command::Connect { peer: PEER, remote, secrets, handshake_timeout_ns, max_rate: None };
        self.world.command(self.a, connect);
    }

    pub fn restart(&mut self, node: NodeId) {
        let config = self.config.clone();
        self.world.restart(node, config);
    }

    pub fn send(&mut self, bytes: u64) {
        self.send_on(1, bytes);
    }

    pub fn send_on(&mut self, stream: u32, bytes: u64) {
        self.open(stream, bytes);
        self.world.command(self.a, Command::Finish(stream));
    }

    /// Without a FIN.
    pub fn open(&mut self, stream: u32, bytes: u64) {
        self.world.command(self.a, Command::Open { stream, peer: PEER, priority: 3 });
        self.world.command(self.a, Command::Record(stream));
        let data: Vec<u8> = (0..bytes).map(byte_at).collect();
        self.world.command(self.a, Command::Write { stream, data: data.into() });
    }

    pub fn finish(&mut self, stream: u32) {
        self.world.command(self.a, Command::Finish(stream));
    }

    pub fn reset(&mut self, stream: u32) {
        self.world.command(self.a, Command::Reset { stream, code: 7 });
    }

    /// Runs for a while and listens to both applications; everything readable is taken, every end answered.
    pub fn run(&mut self, ns: u64) {
        let end = self.world.now_ns() + ns;
        while self.world.advance(end) {
            self.listen();
            if self.audited {
                self.audit();
            }
        }
        self.listen();
    }

    fn listen(&mut self) {
        for (index, node) in [self.a, self.b].into_iter().enumerate() {
            let mut news = Outbox::default();
            self.world.take_news(node, &mut news);
            let heard = &mut self.heard[index];
            heard.outcomes.extend(news.records.drain(..).map(|record| record.outcome));
            for mut update in news.streams.drain(..) {
                let stream = update.stream;
                let received = heard.received.entry(stream).or_default();
                let before = *received;
                for bytes in std::mem::take(&mut update.readable) {
                    for byte in &bytes {
                        assert_eq!(*byte, byte_at(*received), "stream {stream} at {received}");
                        *received += 1;
                    }
                }
                let bytes = *received - before;
                if bytes > 0 {
                    self.world.command(node, Command::Consume { stream, bytes });
                }
                if update.end && node == self.b {
                    self.world.command(node, Command::Finish(stream));
                }
                let old = heard.streams.entry(stream).or_default();
                update.end |= old.end;
                update.closed |= old.closed;
                update.failure = update.failure.or(old.failure);
                *old = update;
            }
        }
    }

    pub fn audit(&mut self) {
        for node in [self.a, self.b] {
            check(&self.world.audit(node), self.world.now_ns());
            self.audits += 1;
        }
    }

    /// The newest that was heard of a stream.
    pub fn stream(&self, node: usize, stream: u32) -> StreamUpdate {
        self.heard[node].streams.get(&stream).cloned().unwrap_or_default()
    }

    /// Bytes that b was given, of all streams.
    pub fn received(&self) -> u64 {
        self.heard[1].received.values().sum()
    }

    /// Bytes that b was given of the stream that a calls `stream`, streams having been accepted in the order they were opened.
    pub fn received_on(&self, stream: u32) -> u64 {
        let index = (stream / 2) as usize;
        self.heard[1].received.values().nth(index).copied().unwrap_or(0)
    }

    pub fn stats(&self) -> [EndpointStats; 2] {
        [self.world.stats(self.a).endpoint, self.world.stats(self.b).endpoint]
    }

    /// Both shut down; everything comes home.
    pub fn go_home(&mut self) {
        for node in [self.a, self.b] {
            self.world.command(node, Command::Shutdown);
        }
        self.run(60 * SECOND);
        for node in [self.a, self.b] {
            assert!(self.world.is_done(node));
            assert_eq!(self.world.pool(node).lent, 0);
            let stats = self.world.stats(node).endpoint;
            assert_eq!(stats.sent + stats.failed + stats.cancelled, stats.transmissions);
        }
    }
}

/// Every sum equals its addends.
pub fn check(audit: &Audit, now_ns: u64) {
    for path in &audit.paths {
        let at = format!("at {now_ns}: {path:#?} {:#?}", audit.streams);
        assert_eq!(path.bytes_in_flight, path.in_flight_recomputed, "in flight {at}");
        assert_eq!(path.scheduled_bytes, path.scheduled_recomputed, "scheduled {at}");
        assert_eq!(path.held_bytes, path.held_recomputed, "held {at}");
        assert_eq!(path.opened, path.opened_recomputed, "opened {at}");
        assert_eq!(path.incoming, path.incoming_recomputed, "incoming {at}");
        assert!(!path.unsettled, "unsettled {at}");
    }
    for stream in &audit.streams {
        let at = format!("at {now_ns}: {stream:#?}");
        assert_eq!(stream.pending, stream.pending_recomputed, "pending {at}");
        assert_eq!(stream.pending_recovery, stream.pending_recovery_recomputed, "pending recovery {at}");
        assert_eq!(u32::from(stream.control_out), stream.control_out_recomputed, "control out {at}");
        assert_eq!(stream.packets_in_flight, stream.packets_in_flight_recomputed, "packets in flight {at}");
        assert_eq!(stream.retained, stream.retained_recomputed, "retained {at}");
    }
    assert!(audit.timers <= audit.timers_bound(), "timers at {now_ns}: {audit:#?}");
    assert_eq!(audit.timers_refused, 0);
    assert_eq!(audit.streams_len, audit.streams.len());
    assert_eq!(audit.streams_counted, audit.streams.len() as u64);
    assert_eq!(audit.streams_named, audit.streams.len());
    assert_eq!(audit.window_budget_left, audit.window_budget_recomputed);
}
