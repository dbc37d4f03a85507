//! Packet memory that runs short: what lets it come home goes on, and a peer that is dead is backpressure on itself only.

use paceline_sim::{FaultKind, Link, NodeId, Rng, World};
use paceline_transport::{
    Config, MS, SECOND,
    app::{Command, Outbox},
    pool::MAX_LEN,
};
use std::sync::Arc;

/// One that writes, and those who read, each over a path of its own.
struct Town {
    world: World,
    sender: NodeId,
    readers: Vec<NodeId>,
    /// Bytes that each has read.
    read: Vec<u64>,
    /// Most that the sender's pool had lent after a step, bytes.
    most_lent: usize,
}

impl Town {
    fn new(seed: u64, readers: usize, link: &Link, config: &Config) -> Self {
        let mut world = World::new(seed, false);
        let secrets = Rng::new(seed).secrets();
        let config = Config { secrets: Arc::clone(&secrets), ..config.clone() };
        let sender = world.add_node(config.clone());
        let readers: Vec<NodeId> =
            (0..readers).map(|_| world.add_node(Config { pool_bytes: 32 << 20, ..config.clone() })).collect();
        for (index, reader) in readers.iter().enumerate() {
            world.link(sender, *reader, link);
            let connect = Command::Connect {
                peer: 2 * index as u32 + 1,
                remote: world.address(*reader),
                secrets: Arc::clone(&secrets),
                handshake_timeout_ns: 10 * SECOND,
                max_rate: None,
            };
            world.command(sender, connect);
        }
        let read = vec![0; readers.len()];
        Self { world, sender, readers, read, most_lent: 0 }
    }

    fn open(&mut self, reader: usize, stream: u32) {
        let open = Command::Open { stream, peer: 2 * reader as u32 + 1, priority: 3 };
        self.world.command(self.sender, open);
    }

    fn write(&mut self, stream: u32, bytes: usize) {
        self.world.command(self.sender, Command::Write { stream, data: vec![7; bytes].into() });
    }

    /// Everybody reads everything; no stream may fail.
    fn run(&mut self, ns: u64) {
        let end = self.world.now_ns() + ns;
        while self.world.advance(end) {
            let pool = self.world.pool(self.sender);
            self.most_lent = self.most_lent.max(pool.lent_bytes);
            let nodes = self.readers.iter().enumerate().map(|(index, node)| (Some(index), *node));
            for (index, node) in nodes.chain([(None, self.sender)]).collect::<Vec<_>>() {
                let mut news = Outbox::default();
                self.world.take_news(node, &mut news);
                for update in &news.streams {
                    assert_eq!(update.failure, None, "stream {} of {node:?}", update.stream);
                    let bytes: u64 = update.readable.iter().map(|piece| piece.len() as u64).sum();
                    if let Some(index) = index
                        && bytes > 0
                    {
                        self.read[index] += bytes;
                        self.world.command(node, Command::Consume { stream: update.stream, bytes });
                    }
                }
            }
        }
    }

    /// Nobody hears the sender any more, nor does it hear them, or they do again.
    fn link(&mut self, reader: usize, link: &Link) {
        self.world.link(self.sender, self.readers[reader], link);
    }
}

/// Retransmissions took the reserve to its last 2 KiB: a lost burst of 64 KiB costs 88 KiB in copies before it comes home. Then
/// nothing was left to receive with, no ACK was heard, and every stream ended by its idle timeout.
#[test]
fn a_full_pool_of_lost_bursts_leaves_the_endpoint_its_ears() {
    const PATHS: usize = 4;
    const STREAMS: u32 = 8;
    const BYTES: usize = 4 << 20;
    let config = Config { pool_bytes: 4 << 20, initial_window: 4 << 20, ..Config::default() };
    let link = Link { delay_ns: 5 * MS, rate: Some(125_000_000), queue_bytes: 2 << 20, ..Link::default() };
    let mut town = Town::new(1, PATHS, &link, &config);
    for index in 0..PATHS as u32 * STREAMS {
        town.open(index as usize % PATHS, 2 * index + 1);
        town.write(2 * index + 1, BYTES);
    }
    town.run(150 * MS);
    let full = config.pool_bytes - config.pool_reserve_bytes;
    assert!(town.most_lent > full - MAX_LEN, "{} of {full} bytes lent", town.most_lent);
    let hole = Link { up: false, ..link.clone() };
    (0..PATHS).for_each(|reader| town.link(reader, &hole));
    town.run(SECOND);
    (0..PATHS).for_each(|reader| town.link(reader, &link));
    town.run(40 * SECOND);
    assert!(town.world.faults().get(FaultKind::Blackhole) > 300, "{:?}", town.world.faults());
    let everything = u64::from(STREAMS) * BYTES as u64;
    assert_eq!(town.read, [everything; PATHS]);
    let room = config.pool_bytes - town.most_lent;
    assert!(room >= MAX_LEN, "{room} bytes were left to receive with");
}

/// A message of 64 bytes keeps a descriptor of 2 KiB until it is acknowledged. Counted by its packets, the share of a dead peer's
/// path was the whole pool, and everybody else waited for memory.
#[test]
fn a_dead_peer_with_small_messages_takes_its_share_of_the_pool_and_no_more() {
    const DEAD: u32 = 3;
    let config = Config { pool_bytes: 4 << 20, initial_window: 4 << 20, ..Config::default() };
    let link = Link { delay_ns: MS, rate: Some(62_500_000), queue_bytes: 1 << 20, ..Link::default() };
    let mut town = Town::new(2, 2, &link, &config);
    // Bulk to one, and to the other first as much as it takes to open its window.
    town.open(0, 1);
    town.open(1, DEAD);
    town.write(1, 100 << 20);
    town.write(DEAD, 8 << 20);
    town.run(SECOND / 2);
    assert_eq!(town.read[1], 8 << 20);
    let bulk = |town: &mut Town, messages: u32| {
        let before = town.read[0];
        for _ in 0..messages {
            town.write(DEAD, 64);
            town.run(MS / 20);
        }
        town.run(u64::from(6_000 - messages) * MS / 20);
        town.read[0] - before
    };
    let alone = bulk(&mut town, 0);
    town.link(1, &Link { up: false, ..link });
    let first = bulk(&mut town, 6_000);
    let then = bulk(&mut town, 0);
    let lost = town.world.faults().get(FaultKind::Blackhole);
    println!("{alone} bytes alone, {first} and {then} beside {lost} lost messages");
    let audit = town.world.audit(town.sender);
    let share = config.pool_bytes / 4;
    // Beside it, copies: a few probes.
    assert!(
        audit.paths.iter().all(|path| path.held_bytes as usize <= share + (64 << 10)),
        "{:?}",
        audit.paths
    );
    assert!(lost > 400, "{lost}");
    assert!(first.min(then) * 10 > alone * 9, "{alone} bytes alone, {first} and {then} beside a dead peer");
}
