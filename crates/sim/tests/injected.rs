//! Paths whose secret both sides were given: no handshake, and from there on as any other.

mod arena;

use arena::{A, Arena, B, PEER, content, puppet::Puppet};
use paceline_sim::Rng;
use paceline_transport::{
    Config, Failure, MS, ResetKey, SECOND,
    app::Command,
    handshake::InjectedPath,
    wire::{Opener, Role, Suite, crypto::reset_token, packet, packet::Kind},
};
use std::net::SocketAddr;

const SUITES: [Suite; 2] = [Suite::Aes128GcmSha256, Suite::Aes256GcmSha384];

fn export(seed: u64) -> [u8; 32] {
    let mut bytes = [0; 32];
    Rng::new(seed).fill(&mut bytes);
    bytes
}

fn path(arena: &Arena, seed: u64, suite: Suite, role: Role, to: usize) -> InjectedPath {
    InjectedPath::new(export(seed), suite, role, arena.nodes[to].address)
}

/// Two nodes that accept no handshake.
fn two(seed: u64, config: &Config) -> Arena {
    let mut arena = Arena::new(seed);
    arena.add(config.clone());
    arena.add(config.clone());
    arena
}

fn kinds(arena: &mut Arena) -> Vec<Kind> {
    arena.tap.take().unwrap().iter().map(|datagram| packet::classify(datagram.bytes[0])).collect()
}

#[test]
fn streams_both_ways_in_both_roles_and_suites() {
    for (seed, suite, role) in
        SUITES.into_iter().flat_map(|suite| [(1, suite, Role::Client), (2, suite, Role::Server)])
    {
        let mut arena = two(seed, &Config::default());
        arena.tap = Some(Vec::new());
        let mut ours = path(&arena, seed, suite, role, B);
        ours.first_key_id = 70_000;
        arena.inject_path(A, ours);
        let theirs = path(&arena, seed, suite, role.peer(), A);
        arena.inject_path(B, theirs);
        let (up, down) = (content(1, 200_000), content(2, 100_000));
        arena.open(A, 1, &up);
        arena.open(B, 1, &down);
        for (node, stream) in [(A, 1), (B, 1), (A, 2), (B, 2)] {
            arena.finish(node, stream);
        }
        arena.run(100 * MS);
        for (node, stream) in [(A, 2), (B, 2)] {
            arena.finish(node, stream);
        }
        arena.run(100 * MS);
        assert_eq!(arena.nodes[B].stream(2).bytes, up);
        assert_eq!(arena.nodes[A].stream(2).bytes, down);
        assert!(arena.both_closed(1, 2) && arena.nodes[B].stream(1).closed);
        let first = arena.tap.as_ref().unwrap().iter().find(|datagram| datagram.to == arena.nodes[B].address);
        let first = packet::stream::Packet::decode(&first.unwrap().bytes).unwrap();
        assert_eq!(first.credentials().key_id, 70_000);
        let kinds = kinds(&mut arena);
        assert!(!kinds.contains(&Kind::Handshake) && kinds.contains(&Kind::Control));
        arena.go_home();
    }
}

/// What A is told when B has that role and that secret instead.
fn told(seed: u64, their_seed: u64, their_role: Role) -> (Option<Failure>, Option<Failure>, u64) {
    let mut arena = two(seed, &Config::default());
    let mut ours = path(&arena, seed, SUITES[0], Role::Client, B);
    ours.confirm_timeout_ns = 3 * SECOND;
    arena.inject_path(A, ours);
    let theirs = path(&arena, their_seed, SUITES[0], their_role, A);
    arena.inject_path(B, theirs);
    // Nobody has to prove anything before there is a stream.
    arena.run(10 * SECOND);
    assert_eq!(arena.nodes[A].peer(PEER).unwrap().closed, None);
    let opened_ns = arena.now_ns;
    arena.open(A, 1, b"hello");
    arena.run_while(20 * SECOND, |arena| !arena.nodes[A].stream(1).closed);
    let peer = arena.nodes[A].peer(PEER).unwrap().closed.and_then(Result::err);
    (arena.nodes[A].stream(1).update.failure, peer, arena.now_ns - opened_ns)
}

#[test]
fn a_wrong_role_or_secret_is_told_in_time() {
    let unconfirmed = Some(Failure::PathUnconfirmed);
    for (their_seed, their_role) in [(5, Role::Client), (6, Role::Server)] {
        let (stream, peer, after_ns) = told(5, their_seed, their_role);
        assert_eq!((stream, peer), (unconfirmed, unconfirmed));
        assert!((3 * SECOND..3 * SECOND + 100 * MS).contains(&after_ns), "{after_ns}");
    }
    // The right ones go on.
    let (stream, peer, after_ns) = told(5, 5, Role::Server);
    assert_eq!((stream, peer), (None, None));
    assert!(after_ns >= 20 * SECOND);
}

#[test]
fn one_secret_is_one_path_of_an_endpoint() {
    let mut arena = two(7, &Config::default());
    let first = path(&arena, 7, SUITES[0], Role::Client, B);
    arena.inject_path(A, first);
    arena.run(MS);
    let again = path(&arena, 7, SUITES[0], Role::Server, B);
    arena.command(A, Command::Inject { peer: 3, path: Box::new(again), max_rate: None });
    arena.run(MS);
    assert_eq!(arena.nodes[A].peer(3).unwrap().closed, Some(Err(Failure::HandshakeLimit)));
    let peer = arena.nodes[A].peer(PEER).unwrap();
    assert!(peer.open && peer.closed.is_none());
}

/// Where node A sends to when a stream is opened to it from `from`, while its path leads to 10.66.0.1:666.
fn answered_at(from: &str) -> Vec<SocketAddr> {
    let mut arena = Arena::new(8);
    let node = arena.add(Config::default());
    let named: SocketAddr = "10.66.0.1:666".parse().unwrap();
    arena.inject_path(node, InjectedPath::new(export(8), SUITES[0], Role::Client, named));
    arena.run(MS);
    let mut puppet = Puppet::injected(&arena, node, export(8), Role::Server, from.parse().unwrap());
    let mut stream = puppet.stream();
    let first = stream.data(0, b"hello", None);
    puppet.send(&mut arena, &first);
    arena.run(5 * MS);
    assert_eq!(arena.nodes[node].stream(2).bytes, b"hello");
    arena.write(node, 2, b"answer");
    arena.run(5 * MS);
    let mut to: Vec<SocketAddr> = std::mem::take(&mut arena.strays).iter().map(|stray| stray.to).collect();
    assert!(to.len() >= 2, "an acknowledgement and an answer: {to:?}");
    to.dedup();
    to
}

#[test]
fn a_stream_is_answered_at_any_port_of_the_peer_but_nowhere_else() {
    let at = |address: &str| vec![address.parse::<SocketAddr>().unwrap()];
    assert_eq!(answered_at("10.66.0.1:666"), at("10.66.0.1:666"));
    assert_eq!(answered_at("10.66.0.1:50000"), at("10.66.0.1:50000"));
    assert_eq!(answered_at("10.66.0.2:666"), at("10.66.0.1:666"));
    assert_eq!(answered_at("10.66.0.2:50000"), at("10.66.0.1:666"));
}

/// What a stream of A's is told when B has lost the secret, and A was given that reset token for B.
fn after_a_restart(token_of: &[u8; 32]) -> Option<Failure> {
    let reset_key = [9; 32];
    let mut arena = two(9, &Config { reset_key: Some(ResetKey(reset_key)), ..Config::default() });
    let mut ours = path(&arena, 9, SUITES[1], Role::Server, B);
    ours.peer_reset_token = Some(reset_token(token_of, &ours.credential_id()));
    arena.inject_path(A, ours);
    let theirs = path(&arena, 9, SUITES[1], Role::Client, A);
    arena.inject_path(B, theirs);
    arena.open(A, 1, b"hello");
    arena.run(SECOND);
    assert_eq!(arena.nodes[B].stream(2).bytes, b"hello");
    arena.restart(B);
    arena.write(A, 1, b"more");
    arena.run(5 * SECOND);
    arena.nodes[A].stream(1).update.failure
}

#[test]
fn a_peer_that_lost_the_secret_proves_it() {
    assert_eq!(after_a_restart(&[9; 32]), Some(Failure::PeerRestarted));
    assert_eq!(after_a_restart(&[8; 32]), None);
}

#[test]
fn who_opens_is_told_apart_from_who_has_which_role() {
    // The same key id both ways: different keys, or packets of one would open as the other's.
    let mut arena = two(10, &Config::default());
    arena.tap = Some(Vec::new());
    let ours = path(&arena, 10, SUITES[0], Role::Client, B);
    arena.inject_path(A, ours);
    let theirs = path(&arena, 10, SUITES[0], Role::Server, A);
    arena.inject_path(B, theirs);
    arena.open(A, 1, b"same");
    arena.open(B, 1, b"same");
    arena.run(20 * MS);
    let client = paceline_transport::wire::PathSecret::new(export(10), SUITES[0], Role::Client);
    let firsts: Vec<Vec<u8>> = arena.tap.take().unwrap().into_iter().map(|datagram| datagram.bytes).collect();
    let opened = |opener| {
        let keys = client.stream_keys(0, opener);
        let opens = |bytes: &&Vec<u8>| {
            packet::stream::Packet::decode(bytes).is_ok_and(|packet| {
                let mut out = vec![0; packet.payload_len()];
                packet.open(&keys.open, &keys.control_open, &mut out).is_ok() && out == b"same"
            })
        };
        firsts.iter().filter(opens).count()
    };
    // B's one packet with the key of what B opened, none with the other.
    assert_eq!((opened(Opener::Remote), opened(Opener::Local)), (1, 0));
}
