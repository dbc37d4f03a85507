//! Tables that are full, versions nobody knows, endpoints that close.

use super::town::{COOKIE, INITIATION, PEER, REFUSAL, RESPONSE, Town, config, secrets};
use paceline_sim::Link;
use paceline_transport::{
    Config, Failure, Handshakes, MS, SECOND,
    app::Command,
    handshake::{HANDSHAKE_QUEUE, HANDSHAKES_PER_STEP, refusal},
};
use std::{collections::BTreeMap, net::SocketAddr};

#[test]
fn an_unknown_version_is_tried_again_with_the_common_one() {
    let future = Handshakes { first_version: 2, ..Handshakes::default() };
    let mut town = Town::empty(1);
    let (a, b) = (town.add(Config { handshakes: future, ..config(1) }), town.add(config(1)));
    town.world.link(town.id(a), town.id(b), &Link::default());
    town.world.capture();
    town.connect(a, PEER, b);
    town.open(a, 1, PEER, b"hello");
    // Somebody without the secret says no, too: nobody listens.
    town.run(MS / 2);
    let attempt = town.world.captured()[0].bytes[16..24].to_vec();
    let mut forged = [0; 32];
    forged[..5].copy_from_slice(&[REFUSAL, 1, refusal::VERSION, 7, 9]);
    forged[8..16].copy_from_slice(&attempt);
    let (from, to) = (town.address(b), town.address(a));
    town.world.inject(from, to, &forged);
    town.run(50 * MS);
    let kinds: Vec<(u8, u8)> = town
        .world
        .captured()
        .iter()
        .filter(|one| matches!(one.bytes[0], INITIATION | REFUSAL | RESPONSE))
        .map(|one| (one.bytes[0], one.bytes[1]))
        .collect();
    assert_eq!(kinds, [(REFUSAL, 1), (INITIATION, 1), (RESPONSE, 1)]);
    let counters = (town.counters(a), town.counters(b));
    assert_eq!((counters.0.dropped_mac, counters.0.versions_retried, counters.1.refusals_sent), (1, 1, 1));
    assert_eq!(town.bytes(b, 2), b"hello");
    town.go_home();
}

/// Many initiators in one node: each Initiation it sends to a made-up address arrives from another made-up address, and what
/// comes back is sent on in the same way.
struct Crowd {
    town: Town,
    a: usize,
    b: usize,
    /// Initiations with their cookies, by where they come from.
    ready: BTreeMap<SocketAddr, Vec<u8>>,
}

fn asked(n: u32) -> SocketAddr {
    SocketAddr::from(([10, 7, (n >> 8) as u8, n as u8], 7))
}

fn appears(asked: SocketAddr) -> SocketAddr {
    SocketAddr::new(asked.ip(), 8)
}

impl Crowd {
    fn new(seed: u64, initiators: u32) -> Self {
        let mut town = Town::empty(seed);
        // In truth they are all one instance.
        let one = Handshakes { max_paths_per_peer: initiators, ..Handshakes::default() };
        let always = Handshakes { always_cookie: true, ..one };
        let a = town.add(Config { handshakes: one, ..config(seed) });
        let b = town.add(Config { handshakes: always, ..config(seed) });
        town.world.capture();
        for n in 0..initiators {
            town.connect_to(a, 1 + 2 * n, asked(n));
        }
        Self { town, a, b, ready: BTreeMap::new() }
    }

    /// Carries what was sent. Initiations with a cookie wait in `ready` if `hold`.
    fn carry(&mut self, hold: bool) {
        let (a, b) = (self.town.address(self.a), self.town.address(self.b));
        for datagram in self.town.world.captured() {
            if datagram.from == a {
                let source = appears(datagram.to);
                if hold && datagram.bytes[0] == INITIATION && datagram.bytes[24..48] != [0; 24] {
                    self.ready.insert(source, datagram.bytes);
                } else {
                    self.town.world.inject(source, b, &datagram.bytes);
                }
            } else {
                self.town.world.inject(SocketAddr::new(datagram.to.ip(), 7), a, &datagram.bytes);
            }
        }
    }

    fn run(&mut self, ns: u64, hold: bool) {
        let end = self.town.world.now_ns() + ns;
        while self.town.world.advance(end) {
            self.carry(hold);
            self.town.listen();
        }
    }
}

#[test]
fn the_queue_holds_256_and_a_step_makes_two_handshakes() {
    const INITIATORS: u32 = 1_000;
    let mut crowd = Crowd::new(2, INITIATORS);
    // A node queues 256 messages at once; the rest of its Initiations leave with the first retransmissions.
    crowd.run(900 * MS, true);
    assert_eq!(crowd.ready.len(), INITIATORS as usize, "everybody has a cookie");
    assert_eq!(crowd.town.counters(crowd.b).half_open, 0);
    let b = crowd.town.address(crowd.b);
    for (source, initiation) in std::mem::take(&mut crowd.ready) {
        crowd.town.world.inject(source, b, &initiation);
    }
    let steps = crowd.town.world.steps();
    let now_ns = crowd.town.world.now_ns();
    while crowd.town.world.advance(now_ns) {}
    let counters = crowd.town.counters(crowd.b);
    let steps = crowd.town.world.steps() - steps;
    assert!(counters.half_open <= steps * HANDSHAKES_PER_STEP as u64, "{} in {steps}", counters.half_open);
    assert!(counters.dropped_queue_full > 0, "the queue was full");
    assert_eq!(counters.half_open + counters.dropped_queue_full, INITIATORS.into());
    // 8 datagrams are received in a step, 2 of them handled: the queue is full after 43 steps, and then takes 2 a step.
    let taken = HANDSHAKE_QUEUE as u64 + 2 * INITIATORS as u64 / 8;
    assert!(counters.half_open.abs_diff(taken) < 16, "{} of about {taken}", counters.half_open);
    // Who was dropped asks again, and all get their path.
    crowd.run(5 * SECOND, false);
    assert_eq!(crowd.town.counters(crowd.a).completed, INITIATORS.into());
    assert_eq!(crowd.town.paths(crowd.b), INITIATORS.into());
}

#[test]
fn the_longest_unused_path_makes_room_and_without_one_it_is_refusal_5() {
    let mut town = Town::empty(3);
    let full = town.add(Config { max_paths: 4, ..config(3) });
    for n in 1..=6 {
        let node = town.add(config(3));
        town.world.link(town.id(node), town.id(full), &Link::default());
        if n <= 4 {
            town.connect(node, PEER, full);
            if n != 2 && n != 3 {
                town.open(node, 1, PEER, b"in use");
            }
            town.run(SECOND);
        }
    }
    // Two and three are unused, two for longer.
    town.connect(5, PEER, full);
    town.open(5, 1, PEER, b"five");
    town.run(100 * MS);
    assert_eq!(town.paths(full), 4);
    assert_eq!(town.peer(full, 4), (true, Some(Ok(()))), "the second one's peer went");
    assert_eq!(town.peer(full, 6).1, None);
    assert_eq!(town.peer(5, PEER), (true, None));
    // Now the third one's is used, too, and nobody can go.
    town.open(3, 1, PEER, b"three");
    town.run(100 * MS);
    town.connect(6, PEER, full);
    town.run(100 * MS);
    assert_eq!(town.peer(6, PEER).1, Some(Err(Failure::HandshakeRefused(refusal::FULL))));
    assert_eq!(town.counters(full).refusals_sent, 1);
    // The second one's peer learns it from its next stream, and may come back when somebody has left.
    town.open(2, 1, PEER, b"two");
    town.run(100 * MS);
    assert_eq!(town.failure(2, 1), Some(Failure::PeerRestarted));
    town.command(3, Command::Reset { stream: 1, code: 256 });
    town.run(SECOND);
    town.connect(2, 3, full);
    town.open(2, 3, 3, b"two again");
    town.run(100 * MS);
    assert_eq!((town.failure(2, 3), town.paths(full)), (None, 4));
    assert!(town.heard(full).bytes.values().any(|bytes| bytes == b"two again"));
    for node in [1, 4, 5] {
        assert_eq!(town.failure(node, 1), None, "who is in use stays");
    }
}

#[test]
fn one_instance_has_four_paths_at_most() {
    let mut town = Town::empty(4);
    let many = Handshakes { max_paths_per_peer: 64, ..Handshakes::default() };
    let (a, b) = (town.add(Config { handshakes: many, ..config(4) }), town.add(config(4)));
    town.world.link(town.id(a), town.id(b), &Link::default());
    for n in 0..6 {
        town.connect(a, 1 + 2 * n, b);
        town.run(100 * MS);
        assert_eq!(town.paths(b), u64::from(n + 1).min(4));
    }
    // The first two went; the last four carry streams now.
    let closed = |peer| town.peer(b, peer).1;
    assert_eq!([2, 4, 6, 8].map(closed), [Some(Ok(())), Some(Ok(())), None, None]);
    for n in 2..6 {
        town.open(a, 1 + 2 * n, 1 + 2 * n, b"in use");
    }
    town.run(100 * MS);
    town.connect(a, 99, b);
    town.run(100 * MS);
    assert_eq!(town.peer(a, 99).1, Some(Err(Failure::HandshakeRefused(refusal::FULL))));
    // It is this instance that is full, nobody else.
    let other = town.add(config(4));
    town.world.link(town.id(other), town.id(b), &Link::default());
    town.connect(other, PEER, b);
    town.run(100 * MS);
    assert_eq!((town.peer(other, PEER), town.paths(b)), ((true, None), 5));
    town.command(a, Command::Reset { stream: 5, code: 256 });
    town.run(SECOND);
    town.connect(a, 101, b);
    town.run(100 * MS);
    assert_eq!(town.peer(a, 101), (true, None));
    town.go_home();
}

/// A connecting peer whose unused path was let go makes a new one with its next stream.
#[test]
fn an_unused_peer_that_made_room_connects_again_by_itself() {
    let mut town = Town::empty(5);
    let small = town.add(Config { max_paths: 2, ..config(5) });
    for _ in 0..3 {
        let node = town.add(config(5));
        town.world.link(town.id(small), town.id(node), &Link::default());
    }
    for n in 1..=3 {
        town.connect(small, 2 * n - 1, n as usize);
        town.run(100 * MS);
    }
    assert_eq!((town.paths(small), town.peer(small, 1)), (2, (true, None)));
    town.open(small, 1, 1, b"after all");
    town.run(100 * MS);
    assert_eq!(town.bytes(1, 2), b"after all");
    assert_eq!((town.paths(small), town.counters(small).completed), (2, 4));
    town.go_home();
}

#[test]
fn a_closing_endpoint_refuses() {
    let mut town = Town::new(6, 3, &Link { delay_ns: 20 * MS, ..Link::default() }, &config(6));
    town.connect(0, PEER, 1);
    town.open(0, 1, PEER, &vec![1; 100_000]);
    town.run(100 * MS);
    town.command(1, Command::Shutdown);
    town.run(MS);
    assert!(!town.world.is_done(town.id(1)), "it still says goodbye");
    town.connect(2, PEER, 1);
    town.run(100 * MS);
    assert_eq!(town.peer(2, PEER), (false, Some(Err(Failure::HandshakeRefused(refusal::CLOSING)))));
    assert_eq!(town.counters(1).refusals_sent, 1);
    town.go_home();
}

/// Cookies are asked for where configured, and cost one round trip.
#[test]
fn a_cookie_costs_a_round_trip() {
    let always = Handshakes { always_cookie: true, ..Handshakes::default() };
    let base = Config { secrets: secrets(7), ..config(7) };
    let mut open_ms = Vec::new();
    for handshakes in [Handshakes::default(), always] {
        let config = Config { handshakes, ..base.clone() };
        let mut town = Town::new(7, 2, &Link { delay_ns: 10 * MS, ..Link::default() }, &config);
        town.world.capture();
        town.connect(0, PEER, 1);
        assert!(town.run_until(SECOND, |town| town.peer(0, PEER).0));
        open_ms.push(town.world.elapsed_ns() / MS);
        let cookies = town.world.captured().iter().filter(|one| one.bytes[0] == COOKIE).count();
        assert_eq!(cookies, usize::from(handshakes.always_cookie));
    }
    assert_eq!(open_ms, [20, 40]);
}
