//! Handshakes on bad networks.

use super::town::{CONFIRM, INITIATION, PEER, Post, Town, config};
use crate::{report, seeds};
use paceline_sim::{FaultKind, Link};
use paceline_transport::{Config, Failure, MS, SECOND};

/// Both connect and greet each other; how many of the two greetings arrived, and datagrams lost.
fn greet(seed: u64, loss_ppm: u32, apart_ns: u64) -> (u64, u64) {
    let link = Link {
        delay_ns: MS * (1 + seed % 40),
        jitter_ns: MS * (seed % 17),
        duplicate_ppm: 50_000,
        reorder_ppm: 50_000,
        reorder_ns: 20 * MS,
        loss_ppm,
        ..Link::default()
    };
    let mut town = Town::new(seed, 2, &link, &config(seed));
    for (node, other) in [(0, 1), (1, 0)] {
        town.connect(node, PEER, other);
        town.open(node, 1, PEER, b"hello");
        town.run(apart_ns);
    }
    let arrived = |town: &Town| (0..2).filter(|node| town.bytes(*node, 2) == b"hello").count() as u64;
    town.run_until(25 * SECOND, |town| arrived(town) == 2);
    let lost = town.world.faults().get(FaultKind::Loss);
    let arrived = arrived(&town);
    if seed.is_multiple_of(50) {
        town.go_home();
    }
    (arrived, lost)
}

fn greetings(seeds: u64, loss_ppm: u32) -> (u64, u64) {
    (0..seeds)
        .map(|seed| greet(seed, loss_ppm, seed % 3 * 30 * MS))
        .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
}

#[test]
fn every_handshake_succeeds_at_ten_percent_loss() {
    let seeds = seeds(1_000);
    let (arrived, lost) = greetings(seeds, 100_000);
    report("10 % loss", format_args!("{arrived} of {} ({lost} datagrams lost)", 2 * seeds));
    assert!(lost > seeds / 2);
    assert_eq!(arrived, 2 * seeds);
}

#[test]
fn almost_every_handshake_succeeds_at_thirty_percent_loss() {
    let seeds = seeds(1_000);
    let (arrived, lost) = greetings(seeds, 300_000);
    report("30 % loss", format_args!("{arrived} of {} ({lost} datagrams lost)", 2 * seeds));
    assert!(lost > 3 * seeds);
    assert!(arrived * 1000 >= 2 * seeds * 995, "{arrived} of {}", 2 * seeds);
}

/// Both connect in the same instant, without loss: two paths, and each side's streams reach the other.
#[test]
fn both_sides_open_at_once() {
    let mut town = Town::new(1, 2, &Link::default(), &config(1));
    for (node, other) in [(0, 1), (1, 0)] {
        town.connect(node, PEER, other);
        town.open(node, 1, PEER, b"mine");
    }
    town.run(100 * MS);
    for node in 0..2 {
        assert_eq!(town.bytes(node, 2), b"mine");
        assert_eq!(town.paths(node), 2);
        let counters = town.counters(node);
        assert_eq!((counters.completed, counters.half_open), (1, 1));
    }
    // Each goes on when the other's path is idle for longer than anything lingers.
    town.run(120 * SECOND);
    for node in 0..2 {
        town.write(node, 1, b" still");
        town.open(node, 3, PEER, b"new");
    }
    town.run(SECOND);
    for node in 0..2 {
        assert_eq!((town.bytes(node, 2), town.bytes(node, 4)), (&b"mine still"[..], &b"new"[..]));
    }
    town.go_home();
}

#[test]
fn two_endpoints_of_the_same_timing_spread() {
    let dead = Link { loss_ppm: 1_000_000, ..Link::default() };
    let (mut first, mut apart) = (Vec::new(), 0);
    for seed in 0..100 {
        let mut town = Town::new(seed, 3, &dead, &config(seed));
        town.world.capture();
        town.connect(0, PEER, 2);
        town.connect(1, PEER, 2);
        town.run(10 * SECOND);
        let captured = town.world.captured();
        let times = |node| -> Vec<u64> {
            let from = town.address(node);
            captured.iter().filter(|one| one.from == from).map(|one| one.at_ns / 1_000).collect()
        };
        let (a, b) = (times(0), times(1));
        assert!((8..=11).contains(&a.len()) && a[0] == b[0], "seed {seed}: they start in the same instant");
        for waits in [&a, &b] {
            for (pair, nominal) in waits.windows(2).zip([100, 200, 400, 800, 1600, 2000, 2000, 2000]) {
                let wait = pair[1] - pair[0];
                assert!((nominal * 800..=nominal * 1200).contains(&wait), "seed {seed}: {wait} µs");
            }
        }
        apart += u64::from(a.iter().zip(&b).skip(3).all(|(a, b)| a.abs_diff(*b) > 1_000));
        first.push(a[1] - a[0]);
    }
    first.sort_unstable();
    assert!(first[5] < 86_000 && first[94] > 114_000, "uniform over ± 20 %: {first:?}");
    assert!(apart >= 85, "only {apart} of 100 pairs are 1 ms apart at every retransmission after the second");
}

/// Every Confirm is lost. (Do stream packets pass? What becomes of the path.)
#[test]
fn a_confirm_that_never_arrives() {
    for packets_pass in [false, true] {
        let mut town = Town::empty(3);
        let idle = Config { idle_timeout_ns: 60 * SECOND, ..config(3) };
        let (a, b) = (town.add(idle.clone()), town.add(idle));
        town.world.capture();
        town.connect(a, PEER, b);
        town.open(a, 1, PEER, b"hello");
        let (mut confirms, mut post) = (0, Post::new());
        town.run_sorted(9 * SECOND, &mut post, &mut |datagram| match datagram.bytes[0] {
            CONFIRM => {
                confirms += 1;
                Vec::new()
            }
            0..0x80 if !packets_pass => Vec::new(),
            _ => vec![(datagram.from, datagram.to)],
        });
        assert!(confirms >= 7, "{confirms} were lost");
        assert_eq!(town.peer(a, PEER), (true, None), "usable since the Response");
        town.run_sorted(2 * SECOND, &mut post, &mut |_| Vec::new());
        if packets_pass {
            assert_eq!(town.bytes(b, 2), b"hello", "a stream packet confirms as well");
            assert_eq!(town.peer(a, PEER).1, None);
            let counters = (town.counters(a), town.counters(b));
            assert_eq!((counters.0.completed_without_token, counters.1.confirmed_by_packet), (1, 1));
        } else {
            assert_eq!(town.peer(a, PEER).1, Some(Err(Failure::HandshakeTimeout)));
            assert_eq!(town.failure(a, 1), Some(Failure::HandshakeTimeout));
            assert!(town.heard(b).peers.is_empty() && town.heard(b).streams.is_empty());
            assert_eq!((town.paths(a), town.counters(b).expired), (0, 1));
        }
        town.go_home();
    }
}

/// Responses are lost until Initiations were sent again: they get the stored Response, and one path is made.
#[test]
fn a_repeated_initiation_makes_one_path() {
    let mut town = Town::empty(4);
    let (a, b) = (town.add(config(4)), town.add(config(4)));
    town.world.capture();
    town.connect(a, PEER, b);
    town.open(a, 1, PEER, b"hello");
    let (mut initiations, mut post) = (0, Post::new());
    town.run_sorted(3 * SECOND, &mut post, &mut |datagram| {
        initiations += u64::from(datagram.bytes[0] == INITIATION);
        let lost = datagram.bytes[0] == super::town::RESPONSE && initiations < 4;
        if lost { Vec::new() } else { vec![(datagram.from, datagram.to)] }
    });
    let counters = town.counters(b);
    assert_eq!((initiations, counters.half_open, counters.duplicates_answered), (4, 1, 3));
    assert_eq!((town.bytes(b, 2), town.paths(b)), (&b"hello"[..], 1));
}
