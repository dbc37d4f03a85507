//! Paths that get old: two days of virtual time.

use super::{
    report,
    town::{INITIATION, PEER, Town, config, credentials},
};
use paceline_sim::Link;
use paceline_transport::{Config, Handshakes, MS, SECOND, app::Command};
use std::collections::BTreeMap;

const HOUR: u64 = 3_600 * SECOND;

fn patient(seed: u64) -> Config {
    Config { idle_timeout_ns: 600 * SECOND, ..config(seed) }
}

/// A visit: a stream each way that is opened, greeted on and ended.
fn visit(town: &mut Town, stream: u32) {
    town.open(0, stream, PEER, b"visit");
    // The accepted peer.
    town.open(1, stream, 2, b"return");
    for node in 0..2 {
        town.command(node, Command::Finish(stream));
    }
    town.run(60 * SECOND);
    for node in 0..2 {
        assert_eq!(town.failure(node, stream), None, "stream {stream} of {node}");
        let accepted: Vec<u32> = town.heard(node).streams.keys().copied().filter(|id| id % 2 == 0).collect();
        let newest = *accepted.last().unwrap();
        assert_eq!(town.bytes(node, newest), if node == 0 { &b"return"[..] } else { b"visit" });
        town.command(node, Command::Finish(newest));
    }
}

#[test]
fn two_days_with_a_stream_that_never_ends() {
    for seed in 0..3 {
        let link = Link { loss_ppm: 50_000, delay_ns: 10 * MS, ..Link::default() };
        let mut town = Town::new(seed, 2, &link, &patient(seed));
        town.world.capture();
        town.connect(0, PEER, 1);
        town.open(0, 1, PEER, b"forever");
        town.run(SECOND);
        let (mut attempts, mut first_ids) = (Vec::new(), BTreeMap::new());
        let mut paths = [0, 0];
        for n in 0..25u32 {
            visit(&mut town, 3 + 2 * n);
            town.run(2 * HOUR);
            for datagram in town.world.captured() {
                if datagram.bytes[0] == INITIATION && datagram.from == town.address(0) {
                    attempts.push(datagram.at_ns);
                }
                assert!(
                    datagram.bytes[0] != INITIATION || datagram.from == town.address(0),
                    "the initiator's task"
                );
                if let Some((id, key_id)) = credentials(&datagram.bytes) {
                    let ids = first_ids.entry(id).or_insert((datagram.at_ns, key_id, key_id));
                    ids.2 = key_id.max(ids.2);
                }
            }
            for (node, most) in paths.iter_mut().enumerate() {
                *most = town.paths(node).max(*most);
            }
        }
        assert!(town.world.elapsed_ns() > 50 * HOUR);
        // One handshake at the start, one after 21.6 to 24 h, one as long after that; repeats are of lost messages.
        let mut ids: Vec<_> = first_ids.values().copied().collect();
        ids.sort_unstable();
        assert_eq!(ids.len(), 3, "seed {seed}: {ids:?}");
        for (pair, born) in ids.windows(2).zip([0, 1]) {
            let apart = pair[1].0 - pair[0].0;
            assert!(
                apart > 21 * HOUR && apart < 27 * HOUR,
                "seed {seed}: path {born} took over after {apart}"
            );
        }
        assert!(ids.iter().all(|(_, first, _)| *first == 0), "key ids begin anew: {ids:?}");
        assert_eq!(
            ids.iter().map(|(.., last)| last + 1).sum::<u64>(),
            26,
            "1 + 25 streams opened by each side"
        );
        assert_eq!(town.counters(0).usable, 3);
        assert_eq!(town.counters(1).half_open, 3);
        // At the initiator the old paths have gone, but the one with the stream that never ends.
        assert_eq!((town.paths(0), paths[0]), (2, 2), "seed {seed}");
        assert!(paths[1] <= 3);
        // To the applications nothing has happened.
        let told: Vec<u32> = town.heard(1).peers.iter().map(|peer| peer.peer).collect();
        assert!(told.iter().all(|peer| *peer == 2), "one peer, however many paths: {told:?}");
        town.write(0, 1, b" and ever");
        town.write(1, 2, b"yes");
        town.run(SECOND);
        assert_eq!((town.bytes(1, 2), town.bytes(0, 1)), (&b"forever and ever"[..], &b"yes"[..]));
        for node in 0..2 {
            assert_eq!(town.failure(node, 1 + node as u32), None);
            town.command(node, Command::Finish(1 + node as u32));
        }
        town.run(HOUR);
        assert_eq!(town.paths(0), 1, "the first path went with its stream");
        report("renewal", format_args!("seed {seed}: {} Initiations in {} h", attempts.len(), 50));
        town.go_home();
    }
}

/// After `MAX_LIFETIME` a path opens nothing; what waits gets a new one as soon as there can be one.
#[test]
fn an_aged_path_opens_no_streams_until_there_is_a_new_one() {
    let handshakes = Handshakes {
        rehandshake_after_ns: 60 * SECOND,
        max_lifetime_ns: 120 * SECOND,
        ..Handshakes::default()
    };
    let config = Config { handshakes, ..patient(5) };
    let mut town = Town::new(5, 2, &Link::default(), &config);
    town.connect(0, PEER, 1);
    town.open(0, 1, PEER, b"old");
    town.run(SECOND);
    // The other side is not there while the path gets old.
    let dead = Link { loss_ppm: 1_000_000, ..Link::default() };
    town.world.link(town.id(0), town.id(1), &dead);
    town.run(125 * SECOND);
    assert!(town.counters(0).timeouts >= 2, "{}", town.counters(0).timeouts);
    assert_eq!(town.peer(0, PEER), (true, None), "failed attempts in the background end nothing");
    town.open(0, 3, PEER, b"young");
    town.run(MS);
    assert_eq!(town.world.stats(town.id(0)).endpoint.streams, 2);
    town.world.capture();
    town.world.link(town.id(0), town.id(1), &Link::default());
    town.run(90 * SECOND);
    assert_eq!((town.bytes(1, 2), town.bytes(1, 4)), (&b"old"[..], &b"young"[..]));
    let mut ids: Vec<[u8; 16]> =
        town.world.captured().iter().filter_map(|one| credentials(&one.bytes)).map(|(id, _)| id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 2, "the old stream stays where it is, the young one has a path of its own");
    assert_eq!((town.failure(0, 1), town.failure(0, 3)), (None, None));
    town.go_home();
}

#[test]
fn used_up_key_ids_make_a_new_path() {
    let handshakes = Handshakes { rehandshake_key_ids: 100, ..Handshakes::default() };
    let config = Config { handshakes, ..patient(6) };
    let mut town = Town::new(6, 2, &Link::default(), &config);
    town.world.capture();
    town.connect(0, PEER, 1);
    for n in 0..300 {
        town.open(0, 1 + 2 * n, PEER, b"x");
        town.command(0, Command::Finish(1 + 2 * n));
        town.run(200 * MS);
        town.command(1, Command::Finish(2 + 2 * n));
    }
    let mut last_ids = BTreeMap::new();
    for datagram in town.world.captured() {
        if let Some((id, key_id)) = credentials(&datagram.bytes) {
            let last = last_ids.entry(id).or_insert(key_id);
            *last = key_id.max(*last);
        }
    }
    assert!((2..=4).contains(&last_ids.len()), "{last_ids:?}");
    assert_eq!(last_ids.values().map(|last| last + 1).sum::<u64>(), 300);
    assert!(
        last_ids.values().all(|last| *last <= 160),
        "a new one in the background, at most 10 s later: {last_ids:?}"
    );
    let peers = town.heard(1).peers.iter().map(|peer| peer.peer).max();
    assert_eq!(peers, Some(2), "the same peer");
    assert!((0..300).all(|n| town.bytes(1, 2 + 2 * n) == b"x"));
}
