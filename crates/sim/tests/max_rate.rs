//! Rate caps, in virtual time: of an endpoint over all its peers, and of a peer.

use paceline_sim::{Link, NodeId, Observed, Rng, World};
use paceline_transport::{
    Config, Handshakes, MS, SECOND,
    app::{Command, Outbox},
};
use std::{collections::BTreeMap, sync::Arc};

/// Bytes per second.
const CAP: u64 = 2_000_000;
const PEERS: [u32; 2] = [1, 3];
/// What a link takes.
const FAST: u64 = 60 * CAP;
/// Slow enough for 64 MiB to last.
const LASTING: u64 = 6 * CAP;

/// A sender with more to say than it may, and two receivers on links that would take more.
struct Town {
    world: World,
    sender: NodeId,
    receivers: [NodeId; 2],
    /// Slot of each peer's path.
    slots: BTreeMap<u32, usize>,
}

impl Town {
    fn new(config: &Config, caps: [Option<u64>; 2], link_rate: u64) -> Self {
        let mut world = World::new(5, false);
        let secrets = Rng::new(5).secrets();
        let with_secret = |config: Config| Config { secrets: Arc::clone(&secrets), ..config };
        let sender = world.add_node(with_secret(config.clone()));
        let receivers = [0, 1].map(|_| world.add_node(with_secret(Config::default())));
        let link = Link { rate: Some(link_rate), ..Link::default() };
        for ((receiver, peer), max_rate) in receivers.into_iter().zip(PEERS).zip(caps) {
            world.link(sender, receiver, &link);
            let (remote, secrets) = (world.address(receiver), Arc::clone(&secrets));
            let handshake_timeout_ns = 10 * SECOND;
            world.command(sender, Command::Connect { peer, remote, secrets, handshake_timeout_ns, max_rate });
            let stream = peer;
            world.command(sender, Command::Open { stream, peer, priority: 4 });
            world.command(sender, Command::Write { stream, data: vec![7; 64 << 20].into() });
        }
        let mut town = Self { world, sender, receivers, slots: BTreeMap::new() };
        town.run(SECOND);
        assert_eq!(town.slots.len(), 2, "both are connected");
        town
    }

    /// Everybody reads everything.
    fn run(&mut self, ns: u64) {
        let end = self.world.now_ns() + ns;
        while self.world.advance(end) {
            for node in [self.sender, self.receivers[0], self.receivers[1]] {
                let mut news = Outbox::default();
                self.world.take_news(node, &mut news);
                for update in &news.peers {
                    if node == self.sender
                        && let Some(slot) = update.path
                    {
                        self.slots.insert(update.peer, slot as usize);
                    }
                }
                for update in &news.streams {
                    let bytes = update.readable.iter().map(|piece| piece.len() as u64).sum();
                    if bytes > 0 {
                        self.world.command(node, Command::Consume { stream: update.stream, bytes });
                    }
                }
            }
        }
    }

    /// Bytes per second of stream data towards each peer, and of all datagrams, over four seconds.
    fn rates(&mut self) -> ([f64; 2], f64) {
        let sent = |town: &Self| {
            let stats = town.world.stats(town.sender);
            (PEERS.map(|peer| stats.paths[town.slots[&peer]].bytes_sent), stats.endpoint.bytes_sent)
        };
        let before = sent(self);
        self.run(4 * SECOND);
        let after = sent(self);
        ([0, 1].map(|at| (after.0[at] - before.0[at]) as f64 / 4.0), (after.1 - before.1) as f64 / 4.0)
    }
}

fn near(rate: f64, expected: u64) -> bool {
    (rate / expected as f64 - 1.0).abs() < 0.02
}

#[test]
fn an_endpoints_cap_is_kept_over_all_peers_and_shared() {
    let mut town = Town::new(&Config { max_rate: Some(CAP), ..Config::default() }, [None, None], FAST);
    let (peers, all) = town.rates();
    assert!(near(all, CAP), "{all} B/s");
    assert!(peers.iter().all(|rate| *rate > CAP as f64 / 4.0), "{peers:?}");
}

/// The largest number of bytes that left within `window_ns`.
fn train(sent: &[Observed], window_ns: u64) -> usize {
    let mut from = 0;
    let mut bytes = 0;
    let mut most = 0;
    for packet in sent {
        bytes += packet.bytes.len();
        while packet.at_ns - sent[from].at_ns > window_ns {
            bytes -= sent[from].bytes.len();
            from += 1;
        }
        most = most.max(bytes);
    }
    most
}

#[test]
fn an_endpoints_cap_is_paced() {
    for cap in [250_000, CAP] {
        let mut town = Town::new(&Config { max_rate: Some(cap), ..Config::default() }, [None, None], FAST);
        town.run(2 * SECOND);
        town.world.observe(true);
        town.run(2 * SECOND);
        let mut sent = Vec::new();
        town.world.take_sent(&mut sent);
        sent.retain(|packet| packet.node == town.sender);
        let most = train(&sent, 10 * MS);
        // Each peer's path sends its quantum of 1 ms, or two packets, beside the other's.
        let fair = cap as usize / 100 + 2 * (cap as usize / 1_000).max(2 * 1_472);
        assert!(most <= fair + 2 * 1_472, "{most} bytes in 10 ms at {cap} B/s, expected about {fair}");
    }
}

#[test]
fn a_peers_cap_is_reached_beside_a_busy_one_under_an_endpoints_cap() {
    let config = Config { max_rate: Some(CAP), ..Config::default() };
    let mut town = Town::new(&config, [Some(CAP / 4), None], FAST);
    let (peers, all) = town.rates();
    println!("{peers:?} {all}");
    assert!(near(all, CAP), "{all} B/s");
    assert!(peers[0] > 0.9 * (CAP / 4) as f64, "{peers:?}");
}

#[test]
fn a_peers_cap_concerns_that_peer_only() {
    let mut town = Town::new(&Config::default(), [Some(CAP), None], LASTING);
    let (peers, _) = town.rates();
    assert!(near(peers[0], CAP), "{peers:?}");
    assert!(peers[1] > 4.5 * CAP as f64, "{peers:?}");
}

#[test]
fn a_peers_cap_can_be_changed_and_lifted() {
    let mut town = Town::new(&Config::default(), [None, Some(CAP)], FAST);
    for cap in [CAP / 4, CAP * 2] {
        town.world.command(town.sender, Command::SetMaxRate { peer: PEERS[1], max_rate: Some(cap) });
        town.run(500 * MS);
        let (peers, _) = town.rates();
        assert!(near(peers[1], cap), "{peers:?} with {cap}");
    }
    town.world.command(town.sender, Command::SetMaxRate { peer: PEERS[1], max_rate: None });
    town.run(500 * MS);
    let stats = town.world.stats(town.sender);
    assert!(stats.paths[town.slots[&PEERS[1]]].pacing_rate > 3 * CAP, "{stats:?}");
}

#[test]
fn a_peers_cap_can_be_changed_for_what_an_older_path_still_carries() {
    let handshakes = Handshakes { rehandshake_after_ns: 2 * SECOND, ..Handshakes::default() };
    let mut town = Town::new(&Config { handshakes, ..Config::default() }, [Some(CAP), Some(CAP)], FAST);
    let older = town.slots.clone();
    town.run(3 * SECOND);
    assert!(PEERS.iter().all(|peer| town.slots[peer] != older[peer]), "{older:?} {:?}", town.slots);
    town.slots = older;
    for cap in [CAP / 4, CAP] {
        for peer in PEERS {
            town.world.command(town.sender, Command::SetMaxRate { peer, max_rate: Some(cap) });
        }
        town.run(100 * MS);
        let before = PEERS.map(|peer| town.world.stats(town.sender).paths[town.slots[&peer]].bytes_sent);
        town.run(SECOND / 2);
        let after = PEERS.map(|peer| town.world.stats(town.sender).paths[town.slots[&peer]].bytes_sent);
        for (before, after) in before.into_iter().zip(after) {
            assert!(near(2.0 * (after - before) as f64, cap), "{before} to {after} with {cap}");
        }
    }
}
