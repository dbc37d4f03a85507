//! How things end when they do not end well: no peer, another secret, resets, refusals, a peer that vanishes, attackers.

use paceline_sim::{Link, NodeId, Rng, World};
use paceline_transport::{
    Config, Failure, MS, Outcome, SECOND,
    app::{Command, Outbox, PeerUpdate, StreamUpdate},
    handshake::Secret,
};
use std::{collections::BTreeMap, sync::Arc};

const PEER: u32 = 1;
const STREAM: u32 = 1;

fn secrets(seed: u64) -> Arc<[Secret]> {
    Rng::new(seed).secrets()
}

/// Two nodes and what their applications heard.
struct Pair {
    world: World,
    a: NodeId,
    b: NodeId,
    heard: [Heard; 2],
}

#[derive(Default)]
struct Heard {
    peers: Vec<PeerUpdate>,
    streams: BTreeMap<u32, StreamUpdate>,
    bytes: BTreeMap<u32, Vec<u8>>,
    outcomes: Vec<Outcome>,
}

impl Pair {
    fn new(seed: u64, link: &Link, config: Config) -> Self {
        Self::with_secrets(seed, link, config, secrets(seed), secrets(seed))
    }

    fn with_secrets(
        seed: u64,
        link: &Link,
        config: Config,
        ours: Arc<[Secret]>,
        theirs: Arc<[Secret]>,
    ) -> Self {
        let mut world = World::new(seed, false);
        let a = world.add_node(config.clone());
        let b = world.add_node(Config { secrets: theirs, ..config });
        world.link(a, b, link);
        let remote = world.address(b);
        let connect = Command::Connect {
            peer: PEER,
            remote,
            secrets: ours,
            handshake_timeout_ns: SECOND,
            max_rate: None,
        };
        world.command(a, connect);
        Self { world, a, b, heard: Default::default() }
    }

    fn open(&mut self, stream: u32, data: &[u8]) {
        self.world.command(self.a, Command::Open { stream, peer: PEER, priority: 3 });
        self.world.command(self.a, Command::Record(stream));
        let data = bytes::Bytes::copy_from_slice(data);
        self.world.command(self.a, Command::Write { stream, data });
    }

    /// Runs for a while and listens to both applications; everything readable is taken.
    fn run(&mut self, ns: u64) {
        let end = self.world.now_ns() + ns;
        loop {
            let more = self.world.advance(end);
            for (index, node) in [self.a, self.b].into_iter().enumerate() {
                let mut news = Outbox::default();
                self.world.take_news(node, &mut news);
                let heard = &mut self.heard[index];
                heard.peers.append(&mut news.peers);
                heard.outcomes.extend(news.records.drain(..).map(|record| record.outcome));
                for mut update in news.streams.drain(..) {
                    let stream = update.stream;
                    for bytes in std::mem::take(&mut update.readable) {
                        self.world.command(node, Command::Consume { stream, bytes: bytes.len() as u64 });
                        heard.bytes.entry(stream).or_default().extend_from_slice(&bytes);
                    }
                    let old = heard.streams.entry(stream).or_default();
                    update.end |= old.end;
                    update.closed |= old.closed;
                    *old = update;
                }
            }
            if !more {
                return;
            }
        }
    }

    /// The newest that was heard of a stream; nothing heard is the default.
    fn stream(&self, node: usize, stream: u32) -> StreamUpdate {
        let newest = self.heard[node].streams.get(&stream);
        newest.map_or_else(StreamUpdate::default, |update| StreamUpdate {
            readable: Vec::new(),
            ..update.clone()
        })
    }

    /// Both shut down; everything comes home.
    fn go_home(mut self) {
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

fn slow_link() -> Link {
    Link { delay_ns: 5 * MS, rate: Some(2_000_000), ..Link::default() }
}

#[test]
fn nobody_there_is_told_within_the_timeout() {
    let link = Link { loss_ppm: 1_000_000, ..Link::default() };
    let mut pair = Pair::new(1, &link, Config::default());
    pair.open(STREAM, b"hello");
    pair.run(1_100 * MS);
    assert_eq!(pair.heard[0].peers.last().unwrap().closed, Some(Err(Failure::HandshakeTimeout)));
    assert_eq!(pair.stream(0, STREAM).failure, Some(Failure::HandshakeTimeout));
    assert!(pair.stream(0, STREAM).closed);
    pair.go_home();
}

#[test]
fn another_secret_is_never_answered() {
    let mut pair = Pair::with_secrets(2, &Link::default(), Config::default(), secrets(2), secrets(3));
    pair.world.capture();
    pair.run(1_100 * MS);
    assert_eq!(pair.heard[0].peers.last().unwrap().closed, Some(Err(Failure::HandshakeTimeout)));
    let b = pair.world.address(pair.b);
    let captured = pair.world.captured();
    assert!(captured.len() > 2);
    assert!(captured.iter().all(|datagram| datagram.from != b));
    pair.go_home();
}

#[test]
fn a_reset_reaches_the_other_side_and_cancels_what_waits_in_the_wheel() {
    for seed in 0..50 {
        let link = Link { loss_ppm: 100_000, ..slow_link() };
        let mut pair = Pair::new(seed, &link, Config { initial_window: 4 << 20, ..Config::default() });
        pair.open(STREAM, &vec![7; 2 << 20]);
        pair.run(300 * MS);
        pair.world.command(pair.a, Command::Reset { stream: STREAM, code: 300 });
        pair.run(20 * SECOND);
        let ours = pair.stream(0, STREAM);
        assert_eq!(ours.failure, Some(Failure::LocalReset(300)));
        assert!(ours.closed, "seed {seed}");
        assert_eq!(ours.transmissions - ours.unrecorded, pair.heard[0].outcomes.len() as u64, "seed {seed}");
        // Three closes can all be lost; then the other side ends by its idle timeout.
        let theirs = pair.stream(1, 2).failure;
        assert!(
            matches!(theirs, Some(Failure::PeerReset(300))) || theirs.is_none(),
            "seed {seed}: {theirs:?}"
        );
        pair.go_home();
    }
}

#[test]
fn the_acceptor_may_reset_too() {
    let mut pair = Pair::new(4, &slow_link(), Config::default());
    pair.open(STREAM, &vec![7; 1 << 20]);
    pair.run(200 * MS);
    pair.world.command(pair.b, Command::Reset { stream: 2, code: 1000 });
    pair.run(SECOND);
    assert_eq!(pair.stream(0, STREAM).failure, Some(Failure::PeerReset(1000)));
    assert_eq!(pair.stream(1, 2).failure, Some(Failure::LocalReset(1000)));
    assert!(pair.stream(0, STREAM).closed && pair.stream(1, 2).closed);
    let stats = pair.world.stats(pair.a).paths[0];
    assert_eq!(stats.bytes_in_flight, 0, "a reset leaves nothing in flight");
    pair.go_home();
}

#[test]
fn a_listener_that_takes_no_streams_refuses_them() {
    let mut pair = Pair::new(5, &Link::default(), Config::default());
    pair.world.command(pair.b, Command::AcceptStreams(0));
    pair.open(STREAM, b"hello");
    pair.run(SECOND);
    assert_eq!(pair.stream(0, STREAM).failure, Some(Failure::StreamRefused));
    assert!(pair.heard[1].streams.is_empty());
    pair.go_home();
}

#[test]
fn a_peer_that_vanishes_is_noticed_by_the_idle_timeout() {
    let config = Config { idle_timeout_ns: 5 * SECOND, ..Config::default() };
    let mut pair = Pair::new(6, &slow_link(), config);
    pair.open(STREAM, &vec![7; 4 << 20]);
    pair.run(300 * MS);
    let dead = Link { loss_ppm: 1_000_000, ..slow_link() };
    pair.world.link(pair.a, pair.b, &dead);
    pair.run(4_500 * MS);
    assert_eq!(pair.stream(0, STREAM).failure, None);
    pair.run(1_000 * MS);
    assert_eq!(pair.stream(0, STREAM).failure, Some(Failure::IdleTimeout));
    assert_eq!(pair.stream(1, 2).failure, Some(Failure::IdleTimeout));
    pair.go_home();
}

#[test]
fn an_idle_stream_lives_as_long_as_both_sides_do() {
    let config = Config { idle_timeout_ns: 3 * SECOND, ..Config::default() };
    let mut pair = Pair::new(7, &Link { loss_ppm: 100_000, ..Link::default() }, config);
    pair.open(STREAM, b"hello");
    pair.run(60 * SECOND);
    assert_eq!((pair.stream(0, STREAM).failure, pair.stream(1, 2).failure), (None, None));
    assert_eq!(pair.heard[1].bytes[&2], b"hello");
    pair.go_home();
}

#[test]
fn shutdown_in_mid_transfer_brings_everything_home() {
    for seed in 0..50 {
        let link = Link { loss_ppm: 50_000, reorder_ppm: 50_000, reorder_ns: 10 * MS, ..slow_link() };
        let mut pair = Pair::new(seed, &link, Config::default());
        for stream in [1, 3, 5] {
            pair.open(stream, &vec![stream as u8; 300_000]);
        }
        pair.run((20 + 7 * seed) * MS);
        pair.go_home();
    }
}

#[test]
fn a_closed_peer_ends_its_streams_on_both_sides() {
    let mut pair = Pair::new(9, &slow_link(), Config::default());
    pair.open(STREAM, &vec![7; 1 << 20]);
    pair.run(100 * MS);
    pair.world.command(pair.a, Command::ClosePeer(PEER));
    pair.run(SECOND);
    assert_eq!(pair.heard[0].peers.last().unwrap().closed, Some(Ok(())));
    assert!(pair.stream(0, STREAM).closed);
    assert_eq!(pair.stream(1, 2).failure, Some(Failure::PeerReset(0)));
    pair.go_home();
}

/// An observer repeats, damages and forges: credentials are in the clear, so anybody can aim at a stream.
#[test]
fn forged_packets_change_nothing() {
    let mut pair =
        Pair::new(10, &Link { reorder_ppm: 200_000, reorder_ns: 5 * MS, ..slow_link() }, Config::default());
    let data: Vec<u8> = (0..400_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    pair.world.capture();
    pair.open(STREAM, &data);
    let mut rng = Rng::new(99);
    let (mut forged, mut repeated) = (0, 0);
    let attacker = "10.9.9.9:666".parse().unwrap();
    for _ in 0..400 {
        pair.run(MS);
        for datagram in pair.world.captured() {
            let mut bytes = datagram.bytes.clone();
            let source = if rng.chance_ppm(500_000) { datagram.from } else { attacker };
            if rng.chance_ppm(300_000) {
                pair.world.inject(source, datagram.to, &bytes);
                repeated += 1;
            }
            // A wrong tag, over the range of this packet: received, partly received or still empty at the receiver.
            let last = bytes.len() - 1;
            bytes[last] ^= 0x40;
            pair.world.inject(source, datagram.to, &bytes);
            // A flipped bit anywhere else.
            bytes[last] ^= 0x40;
            let bit = rng.below(bytes.len() as u64 * 8);
            bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
            pair.world.inject(source, datagram.to, &bytes);
            forged += 2;
        }
    }
    pair.world.command(pair.a, Command::Finish(STREAM));
    pair.world.command(pair.a, Command::WantAcknowledged { stream: STREAM, offset: u64::MAX });
    pair.run(5 * SECOND);
    assert!(forged > 500 && repeated > 100, "{forged} {repeated}");
    let dropped = pair.world.stats(pair.b).endpoint.packets_dropped;
    assert!(dropped > 200, "forgeries arrived and were dropped: {dropped}");
    assert_eq!(pair.heard[1].bytes[&2], data);
    assert!(pair.stream(1, 2).end);
    assert_eq!(pair.stream(0, STREAM).failure, None);
    assert!(pair.stream(0, STREAM).fin_acknowledged);
    let answered = pair.world.captured().iter().filter(|datagram| datagram.to == attacker).count();
    assert_eq!(answered, 0, "nothing goes to an address that proved nothing");
    pair.world.command(pair.b, Command::Finish(2));
    pair.run(SECOND);
    pair.go_home();
}

/// A recorded first packet, played back while the stream lives, after it ended, and after its time-wait.
#[test]
fn a_replayed_first_packet_opens_nothing() {
    let mut pair =
        Pair::new(11, &Link::default(), Config { idle_timeout_ns: 3 * SECOND, ..Config::default() });
    pair.world.capture();
    pair.open(STREAM, b"once");
    pair.world.command(pair.a, Command::Finish(STREAM));
    pair.run(100 * MS);
    let (a, b) = (pair.world.address(pair.a), pair.world.address(pair.b));
    let first = pair
        .world
        .captured()
        .into_iter()
        .find(|datagram| datagram.to == b && datagram.bytes[0] < 0x40)
        .expect("a stream packet");
    pair.world.inject(a, b, &first.bytes);
    pair.run(100 * MS);
    pair.world.command(pair.b, Command::Finish(2));
    for wait in [300 * MS, 700 * MS, 5 * SECOND] {
        pair.run(wait);
        pair.world.inject(a, b, &first.bytes);
        pair.run(10 * MS);
    }
    assert_eq!(pair.heard[1].streams.len(), 1, "one stream, whatever is replayed");
    assert_eq!(pair.heard[1].bytes[&2], b"once");
    pair.go_home();
}

#[test]
fn two_connects_to_one_address_share_an_attempt_and_its_path() {
    let mut pair = Pair::new(12, &Link::default(), Config::default());
    let remote = pair.world.address(pair.b);
    let again = Command::Connect {
        peer: 3,
        remote,
        secrets: secrets(12),
        handshake_timeout_ns: SECOND,
        max_rate: None,
    };
    pair.world.command(pair.a, again);
    pair.open(STREAM, b"one");
    pair.world.command(pair.a, Command::Open { stream: 5, peer: 3, priority: 3 });
    pair.world.command(pair.a, Command::Write { stream: 5, data: "two".into() });
    pair.run(100 * MS);
    let open: Vec<u32> = pair.heard[0].peers.iter().filter(|peer| peer.open).map(|peer| peer.peer).collect();
    assert_eq!(open, [PEER, 3]);
    assert_eq!(pair.world.stats(pair.a).endpoint.paths, 1);
    let mut heard: Vec<&[u8]> = pair.heard[1].bytes.values().map(Vec::as_slice).collect();
    heard.sort_unstable();
    assert_eq!(heard, [b"one", b"two"]);
    // One of them goes; the other's stream goes on.
    pair.world.command(pair.a, Command::ClosePeer(PEER));
    pair.run(100 * MS);
    pair.world.command(pair.a, Command::Write { stream: 5, data: " more".into() });
    pair.run(100 * MS);
    assert!(pair.heard[1].bytes.values().any(|bytes| bytes == b"two more"));
    assert_eq!(pair.stream(0, 5).failure, None);
    pair.go_home();
}
