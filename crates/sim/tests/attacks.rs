//! Attacks, each named by its number in the list of reliability goals (ARCHITECTURE.md). Memory is in memory.rs.

mod arena;

use arena::{
    A, Arena, B, Datagram, Faults, PEER, address, content,
    puppet::{self, Puppet, PuppetStream, ack, close, max_data, puppet_address, take_strays},
    scale, secrets,
};
use paceline_sim::Rng;
use paceline_transport::{
    Config, Failure, MS, SECOND,
    app::Command,
    handshake,
    wire::{
        Opener,
        packet::{self, Kind, secret_control, stream},
    },
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    net::SocketAddr,
};

fn attacker() -> SocketAddr {
    "10.9.9.9:666".parse().unwrap()
}

/// A lone listener.
fn listener(seed: u64, config: Config) -> Arena {
    let mut arena = Arena::new(seed);
    arena.add(Config { secrets: secrets(seed), ..config });
    arena
}

/// Every truncation and every flipped bit.
fn damaged(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    let truncated = (0..bytes.len()).map(|len| bytes[..len].to_vec());
    let flipped = (0..bytes.len() * 8).map(|bit| {
        let mut copy = bytes.to_vec();
        copy[bit / 8] ^= 1 << (bit % 8);
        copy
    });
    truncated.chain(flipped)
}

/// What kind of packet it is, for a sample of each.
fn sort(bytes: &[u8]) -> String {
    match packet::classify(bytes[0]) {
        Kind::Stream => {
            let packet = stream::Packet::decode(bytes).unwrap();
            let shape = match (packet.is_probe(), packet.space(), packet.payload_len()) {
                (true, ..) => "probe",
                (_, stream::Space::Recovery, _) => "retransmission",
                (.., 0) => "empty",
                (.., 1..=1_300) => "data",
                _ => "bulk",
            };
            let first = if packet.queue_id() == 0 { ", first" } else { "" };
            let fin = if packet.final_offset().is_some() { ", final" } else { "" };
            format!("{shape}{first}{fin}")
        }
        kind => format!("{kind:?} {:#x}", bytes[0]),
    }
}

/// A session with every kind of packet. `damage`: in front of the first of each kind arrive all its damaged copies.
fn session(damage: bool) -> (Arena, BTreeMap<String, u64>) {
    let mut arena = Arena::pair(1, &Config::default());
    arena.tap = Some(Vec::new());
    let mut samples: BTreeMap<String, u64> = BTreeMap::new();
    let mut play = |arena: &mut Arena, ns: u64| {
        let end_ns = arena.now_ns + ns;
        loop {
            let more = arena.advance(end_ns);
            for datagram in arena.tap.replace(Vec::new()).unwrap() {
                // Answers to damaged credential ids: a kind of their own, below.
                if packet::classify(datagram.bytes[0]) == Kind::SecretControl {
                    continue;
                }
                let count = samples.entry(sort(&datagram.bytes)).or_default();
                if *count == 0 && damage {
                    for bytes in damaged(&datagram.bytes) {
                        arena.inject(datagram.from, datagram.to, &bytes);
                        *count += 1;
                    }
                }
            }
            if !more {
                return;
            }
        }
    };
    arena.open(A, 1, b"");
    play(&mut arena, 50 * MS);
    arena.write(A, 1, b"hello");
    play(&mut arena, 50 * MS);
    arena.open(A, 3, &content(3, 60_000));
    arena.finish(A, 3);
    play(&mut arena, 50 * MS);
    arena.write(B, 2, &content(2, 60_000));
    arena.finish(B, 4);
    play(&mut arena, 50 * MS);
    // One lost packet comes again.
    arena.faults.loss = 1_000_000;
    arena.write(A, 1, &content(1, 3_000));
    play(&mut arena, MS / 2);
    arena.faults.loss = 0;
    play(&mut arena, SECOND);
    // Keep-alive probes, then ends.
    play(&mut arena, 25 * SECOND);
    arena.finish(B, 2);
    arena.command(A, Command::Open { stream: 5, peer: PEER, priority: 3 });
    arena.write(A, 5, b"to be reset");
    play(&mut arena, SECOND);
    arena.command(A, Command::Reset { stream: 5, code: 300 });
    arena.finish(A, 1);
    play(&mut arena, SECOND);
    (arena, samples)
}

/// What the applications heard of each stream; bytes as their hash.
fn outcome(arena: &Arena) -> Vec<(u32, u64, u64, bool, bool, Option<Failure>)> {
    let streams = arena.nodes.iter().flat_map(|node| &node.streams);
    let hash = |bytes: &[u8]| {
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        hasher.finish()
    };
    streams.map(|(id, s)| (*id, s.read, hash(&s.bytes), s.end, s.closed, s.update.failure)).collect()
}

#[test]
fn r06_no_damaged_packet_is_accepted_answered_or_kept() {
    let (calm, kinds) = session(false);
    let (attacked, samples) = session(true);
    let cases: u64 = samples.values().sum();
    println!("{cases} damaged packets of {} kinds: {:?}", samples.len(), samples.keys());
    assert_eq!(kinds.keys().collect::<Vec<_>>(), samples.keys().collect::<Vec<_>>());
    for kind in ["bulk", "data", "empty, first", "probe", "retransmission", "Control 0x54", "Handshake 0x80"]
    {
        assert!(samples.keys().any(|name| name.starts_with(kind)), "no {kind} in {samples:?}");
    }
    assert!(cases > 50_000, "{cases}");
    assert_eq!(outcome(&attacked), outcome(&calm));
    for node in [A, B] {
        let (ours, theirs) = (attacked.stats(node), calm.stats(node));
        // A flipped credential id is one that nobody knows: the one thing that is answered, within its budget.
        assert!(ours.secret_control_sent <= 100 * samples.len() as u64, "{}", ours.secret_control_sent);
        let sent = attacked.nodes[node].sent - ours.secret_control_sent;
        assert_eq!(sent, calm.nodes[node].sent, "nothing else is answered");
        assert_eq!(ours.stream_bytes_received, theirs.stream_bytes_received);
        assert_eq!(
            (ours.paths, ours.streams, ours.pool_lent),
            (theirs.paths, theirs.streams, theirs.pool_lent)
        );
        assert_eq!(attacked.nodes[node].peers.len(), calm.nodes[node].peers.len());
    }
    attacked.go_home();
}

/// A stream that A opened to a puppet, as the puppet sees it: A's queue id and the keys.
fn opened_by_a(arena: &mut Arena, puppet: &Puppet, stream: u32) -> (u64, u64) {
    arena.command(A, Command::Open { stream, peer: 2, priority: 3 });
    arena.write(A, stream, b"hello");
    arena.run(5 * MS);
    let received = puppet.received(arena);
    let packet = received.iter().rev().find_map(|datagram| stream::Packet::decode(&datagram.bytes).ok());
    let packet = packet.expect("a first packet");
    (packet.source_queue_id().unwrap(), packet.credentials().key_id)
}

#[test]
fn r06_damaged_secret_control_ends_nothing() {
    let mut arena = listener(2, Config::default());
    let puppet = Puppet::connect(&mut arena, A, 2, 1);
    let (queue_id, key_id) = opened_by_a(&mut arena, &puppet, 1);
    let unknown = |token: [u8; 16]| {
        let mut out = [0; 64];
        let len = secret_control::unknown_path_secret(puppet.secret.id(), None, &token, &mut out).unwrap();
        out[..len].to_vec()
    };
    let token = puppet.handshake.reset_token(puppet.secret.id());
    let packets =
        [puppet.stale_key(queue_id, key_id + 1), puppet.replay_detected(queue_id, key_id), unknown(token)];
    for packet in &packets {
        damaged(packet).for_each(|bytes| puppet.send(&mut arena, &bytes));
        arena.run(MS);
    }
    // Genuine ones about other streams, and a reset from elsewhere.
    for packet in [
        puppet.stale_key(queue_id, key_id),
        puppet.replay_detected(queue_id, key_id + 1),
        puppet.replay_detected(queue_id + 1, key_id),
    ] {
        puppet.send(&mut arena, &packet);
    }
    let target = puppet.target;
    arena.inject(attacker(), target, &packets[2]);
    arena.run(5 * MS);
    assert_eq!(arena.nodes[A].stream(1).update.failure, None);
    assert_eq!(arena.nodes[A].peer(2).unwrap().closed, None);
    // Intact, they do what they say.
    puppet.send(&mut arena, &packets[1]);
    arena.run(5 * MS);
    assert_eq!(arena.nodes[A].stream(1).update.failure, Some(Failure::KeyRejected));
    let (queue_id, key_id) = opened_by_a(&mut arena, &puppet, 3);
    let stale = puppet.stale_key(queue_id, key_id + 100);
    puppet.send(&mut arena, &stale);
    arena.run(5 * MS);
    assert_eq!(arena.nodes[A].stream(3).update.failure, Some(Failure::KeyRejected));
    let (_, next) = opened_by_a(&mut arena, &puppet, 5);
    assert_eq!(next, key_id + 100, "the counter of key ids went forward");
    puppet.send(&mut arena, &packets[2]);
    arena.run(5 * MS);
    assert_eq!(arena.nodes[A].peer(2).unwrap().closed, Some(Err(Failure::PeerRestarted)));
    assert_eq!(arena.nodes[A].stream(5).update.failure, Some(Failure::PeerRestarted));
    arena.go_home();
}

/// A StaleKey moves the counter by a bounded step, and an answered stream takes no harm from one that is played back.
#[test]
fn a_stale_key_neither_spends_all_key_ids_nor_ends_an_answered_stream() {
    let mut arena = listener(3, Config::default());
    let puppet = Puppet::connect(&mut arena, A, 3, 1);
    let (queue_id, key_id) = opened_by_a(&mut arena, &puppet, 1);
    let keys = puppet.secret.stream_keys(key_id, Opener::Remote);
    let mut theirs = PuppetStream { keys, own_queue: 77, peer_queue: queue_id, ..puppet.stream_with(key_id) };
    let packet = theirs.control(&ack(&[0..=0]));
    puppet.send(&mut arena, &packet);
    arena.run(5 * MS);
    let stale = puppet.stale_key(queue_id, (1 << 62) - 1);
    puppet.send(&mut arena, &stale);
    arena.run(5 * MS);
    assert_eq!(arena.nodes[A].stream(1).update.failure, None);
    let (_, next) = opened_by_a(&mut arena, &puppet, 3);
    assert_eq!(next, key_id + 1 + 65_536);
    arena.go_home();
}

#[test]
fn r15_a_restarted_peer_is_noticed_within_three_round_trips() {
    for seed in 0..50 * scale() {
        let mut arena = Arena::pair(seed, &Config::default());
        arena.open(A, 1, &content(1, 100_000));
        arena.run((3 + seed % 20) * MS);
        // The token travels in Confirm and Confirmed.
        arena.run(10 * MS);
        arena.restart(B);
        let rtt_ns = 2 * arena.delay_ns;
        arena.write(A, 1, b"still there?");
        let restarted_ns = arena.now_ns;
        let noticed = arena.run_while(SECOND, |arena| arena.nodes[A].stream(1).update.failure.is_none());
        assert!(noticed);
        assert_eq!(arena.nodes[A].stream(1).update.failure, Some(Failure::PeerRestarted));
        assert_eq!(arena.nodes[A].peer(PEER).unwrap().closed, Some(Err(Failure::PeerRestarted)));
        assert!(arena.now_ns - restarted_ns <= 3 * rtt_ns, "{} ns", arena.now_ns - restarted_ns);
        // At once again.
        arena.connect(seed, 3);
        arena.command(A, Command::Open { stream: 3, peer: 3, priority: 3 });
        arena.write(A, 3, b"hello again");
        arena.run(SECOND);
        assert_eq!(arena.nodes[B].stream(2).bytes, b"hello again");
        arena.go_home();
    }
}

/// The other way round: the connecting side comes back, and its predecessor's streams end at the listener.
#[test]
fn r15_a_restarted_client_is_noticed_too() {
    let mut arena = Arena::pair(4, &Config::default());
    arena.open(A, 1, b"hello");
    arena.run(50 * MS);
    arena.restart(A);
    arena.connect(4, PEER);
    arena.run(50 * MS);
    let rtt_ns = 2 * arena.delay_ns;
    arena.write(B, 2, b"are you there?");
    arena.run(3 * rtt_ns);
    assert_eq!(arena.nodes[B].stream(2).update.failure, Some(Failure::PeerRestarted));
    arena.open(A, 1, b"of the new process");
    arena.run(50 * MS);
    assert_eq!(arena.nodes[B].stream(4).bytes, b"of the new process");
    arena.go_home();
}

/// Other secrets, other tokens: with a key of its own an endpoint is believed only by those it told.
#[test]
fn a_reset_key_of_ones_own_survives_a_restart() {
    use paceline_transport::ResetKey;
    for (after, believed) in [([7; 32], true), ([8; 32], false)] {
        let mut arena = Arena::new(5);
        arena.add(Config::default());
        let key =
            |bytes| Config { reset_key: Some(ResetKey(bytes)), secrets: secrets(5), ..Config::default() };
        arena.add(key([7; 32]));
        arena.connect(5, PEER);
        arena.open(A, 1, b"hello");
        arena.run(50 * MS);
        arena.nodes[B].config = key(after);
        arena.restart(B);
        arena.write(A, 1, b"x");
        arena.run(100 * MS);
        assert_eq!(arena.nodes[A].stream(1).update.failure == Some(Failure::PeerRestarted), believed);
        arena.go_home();
    }
}

#[test]
fn two_resetting_endpoints_fall_silent_at_once() {
    let mut arena = Arena::new(6);
    arena.add(Config { secrets: secrets(6), ..Config::default() });
    arena.add(Config { secrets: secrets(6), ..Config::default() });
    let mut other = listener(6, Config::default());
    let mut puppet = Puppet::connect(&mut other, A, 6, 1);
    let mut stream = puppet.stream();
    arena.tap = Some(Vec::new());
    // A stream packet and a control packet of keys that neither knows, in both directions.
    for _ in 0..20 {
        for packet in [stream.data(0, &[0; 40], None), stream.control(&max_data(1 << 40))] {
            let (a, b) = (address(A), address(B));
            arena.inject(a, b, &packet);
            arena.inject(b, a, &packet);
            arena.run(SECOND);
        }
    }
    let sent = arena.tap.take().unwrap();
    // One reply by each of the two for each packet, none to a reply, each smaller than what it answers.
    assert_eq!(sent.len(), 80);
    assert!(sent.iter().all(|datagram| packet::classify(datagram.bytes[0]) == Kind::SecretControl));
    assert!(sent.iter().all(|datagram| datagram.bytes.len() < 47));
    arena.go_home();
}

#[test]
fn r26_a_million_replays_open_nothing_and_are_hardly_answered() {
    let idle_timeout_ns = 2 * SECOND;
    let mut arena = Arena::pair(7, &Config { idle_timeout_ns, ..Config::default() });
    arena.tap = Some(Vec::new());
    for stream in (0..200).map(|n| 2 * n + 1) {
        arena.open(A, stream, &content(stream.into(), 500));
        arena.finish(A, stream);
    }
    arena.run(100 * MS);
    let theirs: Vec<u32> = arena.nodes[B].streams.keys().copied().collect();
    assert_eq!(theirs.len(), 200);
    theirs.iter().for_each(|stream| arena.finish(B, *stream));
    arena.run(100 * MS);
    assert!(arena.nodes[A].streams.values().chain(arena.nodes[B].streams.values()).all(|s| s.closed));
    // Past time-wait, in which the last words of a stream are repeated.
    arena.run(3 * SECOND);
    let recorded: Vec<Datagram> = arena
        .tap
        .take()
        .unwrap()
        .into_iter()
        .filter(|d| d.to == address(B) && packet::classify(d.bytes[0]) != Kind::Handshake)
        .collect();
    let before = arena.stats(B);
    let sent_before = arena.nodes[B].sent;
    let start_ns = arena.now_ns;
    let mut rng = Rng::new(7);
    let total = 1_000_000 * scale();
    for _ in 0..total / 1_000 {
        for _ in 0..1_000 {
            let datagram = &recorded[rng.below(recorded.len() as u64) as usize];
            let from = if rng.chance_ppm(500_000) { datagram.from } else { attacker() };
            arena.inject(from, datagram.to, &datagram.bytes);
        }
        arena.run(10 * MS);
    }
    let after = arena.stats(B);
    let seconds = (arena.now_ns - start_ns).div_ceil(SECOND);
    let replies = arena.nodes[B].sent - sent_before;
    println!(
        "{} replayed over {seconds} s, {replies} replies",
        after.packets_received - before.packets_received
    );
    assert_eq!(after.packets_received - before.packets_received, total);
    assert_eq!(after.packets_dropped - before.packets_dropped, total, "0 accepted");
    assert!(after.dropped.used_key_id - before.dropped.used_key_id > total / 4, "{:?}", after.dropped);
    assert_eq!((after.streams, after.stream_bytes_received), (0, before.stream_bytes_received));
    assert!(replies > 0 && replies <= seconds, "{replies} replies in {seconds} s");
    assert_eq!(arena.nodes[B].streams.len(), 200, "no stream came of it");
    // Old keys: the process that knew them is gone.
    arena.restart(B);
    let start_ns = arena.now_ns;
    for _ in 0..100 * scale() {
        for _ in 0..1_000 {
            let datagram = &recorded[rng.below(recorded.len() as u64) as usize];
            arena.inject(attacker(), datagram.to, &datagram.bytes);
        }
        arena.run(10 * MS);
    }
    let seconds = (arena.now_ns - start_ns).div_ceil(SECOND);
    let replies = arena.strays.len() as u64;
    assert_eq!(replies, arena.nodes[B].sent);
    assert!(replies > 0 && replies <= seconds, "{replies} replies in {seconds} s");
    arena.go_home();
}

/// Credential ids made up by an attacker: 1,000 replies in any second for all of them.
#[test]
fn r26_made_up_credentials_share_one_budget() {
    let mut arena = listener(8, Config::default());
    let mut other = listener(9, Config::default());
    let mut puppet = Puppet::connect(&mut other, A, 9, 1);
    let template = puppet.stream().data(0, &[7; 100], None);
    let mut rng = Rng::new(8);
    let total = 100_000 * scale();
    for _ in 0..total / 1_000 {
        for _ in 0..1_000 {
            let mut bytes = template.clone();
            rng.fill(&mut bytes[1..17]);
            arena.inject(attacker(), address(A), &bytes);
        }
        arena.run(20 * MS);
    }
    let mut times: Vec<u64> = arena.strays.iter().map(|datagram| datagram.at_ns).collect();
    times.sort_unstable();
    let worst = times
        .iter()
        .map(|at| times.partition_point(|t| *t < at + SECOND) - times.partition_point(|t| t < at))
        .max()
        .unwrap();
    println!("{} replies, at most {worst} in a second", times.len());
    assert!(worst <= 1_000 && times.len() as u64 > 700 * (total / 50_000), "{worst}, {}", times.len());
    assert!(arena.strays.iter().all(|datagram| datagram.bytes.len() < template.len()));
    arena.go_home();
}

/// A replayed first packet during the life of a path: the peer is told once a second, at its own address.
#[test]
fn a_used_key_id_is_reported_to_the_paths_address() {
    let config = Config { idle_timeout_ns: 2 * SECOND, ..Config::default() };
    let mut arena = listener(10, config);
    let puppet = Puppet::connect(&mut arena, A, 10, 1);
    let mut packets = Vec::new();
    for n in 0..3 {
        let mut stream = puppet.stream_with(n * 70_000);
        let first = stream.data(0, &[n as u8; 60], None);
        puppet.send(&mut arena, &first);
        arena.run(5 * MS);
        puppet.received(&mut arena).iter().for_each(|datagram| _ = stream.learn(datagram));
        let reset = close(false, 1);
        let over = stream.control(&reset);
        puppet.send(&mut arena, &over);
        packets.push((first, stream));
    }
    arena.run(5 * SECOND);
    puppet.received(&mut arena);
    for (index, body) in [
        (0, secret_control::Body::StaleKey { min_key_id: 140_001 }),
        (2, secret_control::Body::ReplayDetected { rejected_key_id: 140_000 }),
    ] {
        let (first, stream) = &packets[index];
        for _ in 0..50 {
            arena.inject(attacker(), address(A), first);
            arena.run(MS);
        }
        assert!(take_strays(&mut arena, attacker()).is_empty(), "never to whoever played it back");
        let told = puppet.received(&mut arena);
        assert_eq!(told.len(), 1, "once a second");
        let told = secret_control::Packet::decode(&told[0].bytes).unwrap();
        assert_eq!((told.body(), told.queue_id()), (body, Some(stream.own_queue)));
        told.verify(&puppet.secret.control_opener()).unwrap();
        arena.run(SECOND);
    }
    assert_eq!(arena.stats(A).streams, 0);
    arena.go_home();
}

/// The Confirm comes from an address that was sent nothing: three times what came from there, until it acknowledges.
#[test]
fn r23_an_unproven_address_gets_three_times_what_it_sent() {
    for (seed, request) in [(0u64, 40usize), (1, 300), (2, 1_300)] {
        let mut arena = listener(seed, Config::default());
        let elsewhere: SocketAddr = "10.77.0.1:53".parse().unwrap();
        let config = handshake::Config::default();
        let mut puppet = Puppet::connect_as(&mut arena, A, seed, puppet_address(1), elsewhere, config);
        assert!(take_strays(&mut arena, elsewhere).iter().map(|d| d.bytes.len()).sum::<usize>() <= 56);
        let mut theirs = puppet.stream();
        let (mut from_there, mut to_there) = (0, 0);
        let first = theirs.data(0, &content(1, request), None);
        for packet in
            [first, theirs.probe(&[], request as u64, None), theirs.probe(&[], request as u64, None)]
        {
            from_there += packet.len();
            puppet.send(&mut arena, &packet);
            arena.run(3 * MS);
            arena.command(A, Command::Write { stream: 2, data: content(2, 1 << 20).into() });
            arena.run(SECOND);
            let received = puppet.received(&mut arena);
            to_there += received.iter().map(|datagram| datagram.bytes.len()).sum::<usize>();
            received.iter().for_each(|datagram| _ = theirs.learn(datagram));
            assert!(to_there <= 3 * from_there, "{to_there} for {from_there}");
        }
        assert!(to_there * 10 > from_there * 15, "it is used: {to_there} for {from_there}");
        // Its acknowledgement proves the address: now everything flows.
        let packet = theirs.control(&ack(&[0..=0]));
        puppet.send(&mut arena, &packet);
        arena.run(SECOND);
        let flows: usize = puppet.received(&mut arena).iter().map(|datagram| datagram.bytes.len()).sum();
        assert!(flows > 5 * from_there, "{flows} for {from_there}");
        arena.run(60 * SECOND);
        arena.go_home();
    }
}

#[test]
fn r24_an_optimistic_receiver_gains_less_than_a_window() {
    let (mut worst, mut closes) = (0.0f64, 0);
    for seed in 0..40 * scale() {
        let mut arena = listener(seed, Config { initial_window: 16 << 20, ..Config::default() });
        arena.delay_ns = 5 * MS;
        let config = handshake::Config { initial_max_data: 64 << 20, ..handshake::Config::default() };
        let address = puppet_address(1);
        let mut puppet = Puppet::connect_as(&mut arena, A, seed, address, address, config);
        let mut theirs = puppet.stream();
        let hello = theirs.data(0, b"hello", None);
        puppet.send(&mut arena, &hello);
        arena.run(2 * MS);
        arena.command(A, Command::Write { stream: 2, data: content(1, 16 << 20).into() });
        let mut on_the_way = VecDeque::new();
        let mut received = BTreeSet::new();
        let (mut newest, mut closed, mut optimistic_from) = (0, None, None);
        // Honest for a while over 20 ms, then acknowledging half of what must be under way.
        for round in 0..4_000 {
            arena.run(MS);
            on_the_way.extend(puppet.received(&mut arena));
            while let Some(datagram) = on_the_way.pop_front_if(|d| d.at_ns + 20 * MS <= arena.now_ns) {
                closed = closed.or(theirs.close_in(&datagram));
                if let Some((stream::Space::Stream, number)) = theirs.learn(&datagram) {
                    received.insert(number);
                }
            }
            if closed.is_some() {
                break;
            }
            let Some(last) = received.last().copied() else { continue };
            let frames = if round < 100 {
                let mut ranges: Vec<(u64, u64)> = Vec::new();
                for number in &received {
                    match ranges.last_mut() {
                        Some((_, end)) if *end + 1 == *number => *end = *number,
                        _ => ranges.push((*number, *number)),
                    }
                }
                let first = ranges.len().saturating_sub(60);
                ack(&ranges[first..].iter().map(|(a, b)| *a..=*b).collect::<Vec<_>>())
            } else {
                let stats = arena.path_stats(A);
                let window = stats.congestion_window / u64::from(stats.mtu);
                optimistic_from.get_or_insert((last, window));
                // The newest number that is out, as an attacker who counts well would know it.
                let out = on_the_way.iter().filter_map(|d| stream::Packet::decode(&d.bytes).ok());
                let out = out.filter(|packet| packet.space() == stream::Space::Stream);
                newest = out.map(|packet| packet.number()).max().unwrap_or(last).max(last);
                if newest == last {
                    continue;
                }
                ack(&[last + 1..=last + 1 + (newest - last) / 2])
            };
            let packet = theirs.control(&frames);
            puppet.send(&mut arena, &packet);
        }
        assert_eq!(closed, Some((true, 0x0a)), "seed {seed}");
        closes += 1;
        let (last, window) = optimistic_from.expect("it came to that");
        let gained = newest.saturating_sub(last) as f64 / window as f64;
        worst = worst.max(gained);
        arena.go_home();
    }
    println!("{closes} closes, worst gain {worst:.2} windows");
    // Of it, what was under way anyway is one window.
    assert!(worst <= 2.0, "{worst} windows");
}

/// Sealed is not sent: what still waits in the wheel cannot have been received.
#[test]
fn r24_an_ack_of_what_is_still_in_the_wheel_closes() {
    let mut closes = 0;
    for seed in 0..40 {
        let config =
            Config { max_schedule_ahead_ns: 50 * MS, max_rate: Some(1_000_000), ..Config::default() };
        let mut arena = listener(seed, config);
        let (puppet, mut theirs) = Puppet::with_hello(&mut arena, A, seed);
        arena.run(2 * MS);
        arena.command(A, Command::Write { stream: 2, data: content(1, 200_000).into() });
        let mut newest = None;
        for _ in 0..40 {
            arena.run(2 * MS);
            let received = puppet.received(&mut arena);
            for datagram in &received {
                if let Some((stream::Space::Stream, number)) = theirs.learn(datagram) {
                    newest = newest.max(Some(number));
                }
            }
            let Some(last) = newest else { continue };
            if arena.audit(A).packets_waiting > 2 {
                let lie = theirs.control(&ack(&[last + 1..=last + 1]));
                puppet.send(&mut arena, &lie);
                arena.run(20 * MS);
                let closed =
                    puppet.received(&mut arena).iter().find_map(|datagram| theirs.close_in(datagram));
                assert_eq!(closed, Some((true, 0x0a)), "seed {seed}");
                closes += 1;
                break;
            }
            let honest = theirs.control(&ack(&[last..=last]));
            puppet.send(&mut arena, &honest);
        }
        arena.go_home();
    }
    assert_eq!(closes, 40);
}

/// Every packet of a session is played back at every later step of it: nothing changes for anybody.
#[test]
fn r26_every_packet_replayed_at_every_later_step() {
    let play = |replay: bool| {
        let mut arena = Arena::pair(11, &Config::default());
        arena.tap = Some(Vec::new());
        let mut recorded: Vec<Datagram> = Vec::new();
        let mut injected = 0u64;
        arena.open(A, 1, b"one");
        arena.open(A, 3, &content(3, 20_000));
        let script: [(u64, usize, Command); 7] = [
            (30 * MS, A, Command::Finish(3)),
            (35 * MS, B, Command::Write { stream: 2, data: "answer".into() }),
            (60 * MS, B, Command::Finish(4)),
            (90 * MS, A, Command::Reset { stream: 1, code: 400 }),
            (120 * MS, A, Command::Open { stream: 5, peer: PEER, priority: 3 }),
            (130 * MS, B, Command::Reset { stream: 6, code: 500 }),
            (160 * MS, A, Command::ClosePeer(PEER)),
        ];
        let mut script = script.into_iter().peekable();
        for step in 1..=200 {
            arena.run(2 * MS);
            let new = arena.tap.replace(Vec::new()).unwrap();
            if replay {
                for datagram in &recorded {
                    arena.inject(datagram.from, datagram.to, &datagram.bytes);
                    injected += 1;
                }
            }
            // What is provoked by replays is not played back again, or it would never end.
            let room = 400usize.saturating_sub(recorded.len());
            recorded.extend(new.into_iter().take(room));
            while let Some((_, node, command)) = script.next_if(|(at_ns, ..)| *at_ns <= step * 2 * MS) {
                arena.command(node, command);
            }
        }
        let heard = outcome(&arena);
        let peers: Vec<_> =
            arena.nodes.iter().map(|node| node.peers.iter().map(|p| p.peer).collect::<Vec<_>>()).collect();
        arena.run(40 * SECOND);
        arena.go_home();
        (heard, peers, injected)
    };
    let (calm, peers, _) = play(false);
    let (attacked, same_peers, injected) = play(true);
    println!("{injected} replays");
    assert!(injected > 20_000, "{injected}");
    assert_eq!(attacked, calm);
    assert_eq!(same_peers, peers);
}

/// The peer has died; somebody recorded what it said, and says it again, a packet a second.
#[test]
fn r26_replays_do_not_keep_a_stream_of_a_dead_peer() {
    let idle_timeout_ns = 6 * SECOND;
    for kind in [Kind::Stream, Kind::Control] {
        let mut arena = Arena::pair(17, &Config { idle_timeout_ns, ..Config::default() });
        arena.tap = Some(Vec::new());
        arena.open(A, 1, &content(1, 300_000));
        arena.run(100 * MS);
        arena.write(B, 2, &content(2, 300_000));
        arena.run(300 * MS);
        // In both directions again, so that all before it is known to have arrived.
        arena.write(A, 1, b"and?");
        arena.run(50 * MS);
        arena.write(B, 2, b"nothing");
        arena.run(50 * MS);
        assert_eq!((arena.nodes[A].stream(1).read, arena.nodes[B].stream(2).read), (300_007, 300_004));
        let tap = arena.tap.take().unwrap();
        let recorded = tap.into_iter().filter(|d| d.to == address(A) && packet::classify(d.bytes[0]) == kind);
        let recorded: Vec<Datagram> = recorded.collect();
        assert!(recorded.len() > 10, "{}", recorded.len());
        arena.faults.loss = 1_000_000;
        let before = arena.stats(A);
        for n in 0..20 {
            arena.run(SECOND);
            let datagram = &recorded[n * 37 % recorded.len()];
            arena.inject(datagram.from, datagram.to, &datagram.bytes);
        }
        let after = arena.stats(A);
        assert_eq!(arena.nodes[A].stream(1).update.failure, Some(Failure::IdleTimeout), "{kind:?}");
        assert_eq!(after.control_transmissions, before.control_transmissions, "{kind:?} is answered");
        arena.go_home();
    }
}

/// Late is not played back: what was overtaken by more than a round trip still brings its bytes.
#[test]
fn a_packet_older_than_all_that_is_remembered_still_brings_its_bytes() {
    let mut arena = listener(18, Config::default());
    let mut puppet = Puppet::connect(&mut arena, A, 18, 1);
    let mut theirs = puppet.stream();
    let mut late = None;
    for n in 0..10 {
        let packet = theirs.data(n * 100, &content(n, 100), None);
        if n == 3 {
            late = Some(packet);
            continue;
        }
        puppet.send(&mut arena, &packet);
        arena.run(5 * MS);
        puppet.received(&mut arena).iter().for_each(|datagram| _ = theirs.learn(datagram));
        theirs.expected_control += 1;
    }
    assert_eq!(arena.nodes[A].stream(2).read, 300);
    let late = late.unwrap();
    for _ in 0..2 {
        puppet.send(&mut arena, &late);
        arena.run(5 * MS);
    }
    assert_eq!(arena.nodes[A].stream(2).read, 1_000);
    let acknowledged = puppet.received(&mut arena).len();
    assert_eq!((acknowledged, arena.stats(A).dropped.duplicate), (1, 1));
    arena.go_home();
}

/// A session is over on both sides; all of it is played back at once, and again, while it is remembered and afterwards.
#[test]
fn r26_what_is_played_back_to_a_stream_that_is_over_gets_no_answer() {
    let config = Config { keep_alive: false, idle_timeout_ns: 3 * SECOND, ..Config::default() };
    let mut arena = Arena::pair(13, &config);
    arena.tap = Some(Vec::new());
    arena.open(A, 1, &content(1, 200_000));
    arena.command(A, Command::Finish(1));
    arena.run(300 * MS);
    arena.command(B, Command::Finish(2));
    arena.run(300 * MS);
    assert_eq!((arena.stats(A).streams, arena.stats(B).streams), (0, 0));
    let to_b = arena.nodes[B].address;
    let of_streams = |d: &Datagram| d.to == to_b && stream::Packet::decode(&d.bytes).is_ok();
    let recorded: Vec<Datagram> = arena.tap.take().unwrap().into_iter().filter(of_streams).collect();
    assert!(recorded.len() > 140, "{}", recorded.len());
    let mut answered = Vec::new();
    for wait_ns in [300 * MS, 400 * MS, 4_300 * MS] {
        arena.run(wait_ns);
        let before = arena.stats(B);
        for datagram in &recorded {
            arena.inject(datagram.from, datagram.to, &datagram.bytes);
        }
        arena.run(50 * MS);
        let after = arena.stats(B);
        let dropped = after.packets_dropped - before.packets_dropped;
        assert_eq!(dropped, recorded.len() as u64);
        answered.push(after.control_transmissions - before.control_transmissions);
        assert_eq!(after.streams, 0);
    }
    // Inside time-wait nothing; later one secret-control packet a second and path says that the key id was used.
    assert_eq!(answered[..2], [0, 0], "{answered:?}");
    assert!(answered[2] <= 1, "{answered:?}");
    arena.go_home();
}

/// Fewer than 768 key ids between the oldest stream without an answer and the next one, where the peer's window is narrow.
#[test]
fn the_768_id_rule_and_the_wide_window() {
    for wide in [false, true] {
        let mut arena = listener(12, Config::default());
        let config = handshake::Config {
            wide_replay_window: wide,
            max_streams: 100_000,
            ..handshake::Config::default()
        };
        let address = puppet_address(1);
        let puppet = Puppet::connect_as(&mut arena, A, 12, address, address, config);
        for n in 0..3_000 {
            arena.command(A, Command::Open { stream: 2 * n + 1, peer: 2, priority: 3 });
        }
        // All but the first are answered, so that nothing but the rule holds back the next.
        let mut queues: BTreeMap<u64, u64> = BTreeMap::new();
        let mut play = |arena: &mut Arena, answer_first: bool| {
            for _ in 0..400 {
                if answer_first {
                    let keys = puppet.secret.stream_keys(0, Opener::Remote);
                    let mut first = PuppetStream {
                        keys,
                        own_queue: 9_000,
                        peer_queue: queues[&0],
                        ..puppet.stream_with(0)
                    };
                    let packet = first.control(&max_data(1 << 20));
                    puppet.send(arena, &packet);
                }
                arena.run(5 * MS);
                let received = puppet.received(arena);
                for packet in received.iter().filter_map(|d| stream::Packet::decode(&d.bytes).ok()) {
                    let key_id = packet.credentials().key_id;
                    if let Some(queue_id) = packet.source_queue_id() {
                        queues.insert(key_id, queue_id);
                    }
                    if key_id == 0 && !answer_first {
                        continue;
                    }
                    let keys = puppet.secret.stream_keys(key_id, Opener::Remote);
                    let mut theirs = PuppetStream {
                        keys,
                        own_queue: 9_000 + key_id,
                        peer_queue: queues[&key_id],
                        ..puppet.stream_with(key_id)
                    };
                    let numbers = packet.number()..=packet.number();
                    let frames = match packet.space() {
                        stream::Space::Stream => ack(&[numbers]),
                        stream::Space::Recovery => puppet::ack_recovery(&[numbers]),
                    };
                    let packet = theirs.control(&frames);
                    puppet.send(arena, &packet);
                }
            }
            *queues.last_key_value().unwrap().0
        };
        assert_eq!(play(&mut arena, false), if wide { 2_999 } else { 767 });
        assert_eq!(play(&mut arena, true), 2_999);
    }
}

/// Slots are used again at once; a late packet of an earlier occupant is his, not his successor's.
#[test]
fn late_packets_of_reused_queue_ids_find_nobody() {
    let mut arena = Arena::pair(13, &Config { max_streams: 2, ..Config::default() });
    arena.tap = Some(Vec::new());
    let mut recorded: Vec<Datagram> = Vec::new();
    for round in 0..40u32 {
        let stream = 2 * round + 1;
        arena.open(A, stream, &content(stream.into(), 3_000));
        arena.run(10 * MS);
        // Everything of all earlier streams, in the middle of this one.
        for datagram in &recorded {
            arena.inject(datagram.from, datagram.to, &datagram.bytes);
        }
        arena.run(10 * MS);
        arena.finish(A, stream);
        arena.finish(B, 2 * round + 2);
        arena.run(50 * MS);
        assert!(arena.both_closed(stream, 2 * round + 2), "round {round}");
        assert_eq!(arena.nodes[B].stream(2 * round + 2).bytes, content(stream.into(), 3_000));
        let new = arena.tap.replace(Vec::new()).unwrap();
        recorded.extend(new.into_iter().filter(|d| packet::classify(d.bytes[0]) != Kind::Handshake));
        recorded.truncate(600);
    }
    assert_eq!(arena.nodes[B].streams.len(), 40);
    arena.go_home();
}

/// Opening and resetting as fast as the line takes it.
#[test]
fn r22_a_flood_of_opened_and_reset_streams_stays_within_its_limits() {
    let mut arena = listener(14, Config { idle_timeout_ns: 5 * SECOND, ..Config::default() });
    let mut puppet = Puppet::connect(&mut arena, A, 14, 1);
    arena.keep_strays = false;
    arena.nodes[A].keep = false;
    let total = 100_000 * scale();
    let mut most = 0;
    for batch in 0..total / 500 {
        for _ in 0..500 {
            let mut stream = puppet.stream();
            let first = stream.data(0, b"x", None);
            puppet.send(&mut arena, &first);
            // Half are reset at once, half stay until they are refused or idle.
            if batch % 2 == 0 {
                let packet = stream.probe(&close(false, 300), 1, None);
                puppet.send(&mut arena, &packet);
            }
        }
        arena.run(5 * MS);
        most = most.max(arena.stats(A).streams);
        arena.nodes[A].streams.clear();
    }
    println!("{total} opened, at most {most} at once, {} dropped", arena.stats(A).packets_dropped);
    assert!((1_000..=1_280).contains(&most), "{most}");
    assert!(arena.stray_bytes < total * 400, "{}", arena.stray_bytes);
    arena.run(20 * SECOND);
    assert_eq!(arena.stats(A).streams, 0);
    arena.go_home();
}

/// Every frame kind, over and over, while nothing is acknowledged: what is owed is a flag.
#[test]
fn r22_a_flood_of_control_frames_is_owed_one_answer() {
    let mut arena = listener(15, Config::default());
    let (puppet, mut theirs) = Puppet::with_hello(&mut arena, A, 15);
    arena.run(5 * MS);
    puppet.received(&mut arena).iter().for_each(|datagram| _ = theirs.learn(datagram));
    arena.keep_strays = false;
    let sent = arena.nodes[A].sent;
    let total = 100_000 * scale();
    // It has much to send, and gets no acknowledgement for any of it.
    arena.command(A, Command::Write { stream: 2, data: content(2, 1 << 20).into() });
    let frames: [Vec<u8>; 4] = [vec![1], vec![0; 40], max_data(1 << 30), vec![]];
    for batch in 0..total / 1_000 {
        for n in 0..1_000u64 {
            let frame = &frames[((batch + n) % 4) as usize];
            let packet = if n % 2 == 0 { theirs.control(frame) } else { theirs.probe(frame, 5, None) };
            puppet.send(&mut arena, &packet);
        }
        arena.run(5 * MS);
        assert!(arena.lent(A) < 64, "{}", arena.lent(A));
    }
    let replies = arena.nodes[A].sent - sent;
    println!("{total} frames, {replies} replies");
    assert_eq!(arena.nodes[A].stream(2).update.failure, None);
    assert!(replies * 2 <= total, "{replies}");
    arena.faults = Faults::default();
    arena.go_home();
}

/// All that the puppet received but what carries the first byte is acknowledged, many times over: what is remembered follows
/// the window, and an ACK costs what is new in it.
#[test]
fn r22_a_withheld_packet_keeps_nothing_behind_it() {
    const SIZE: usize = 64 << 20;
    let mut arena = listener(16, Config { max_rate: Some(50_000_000), ..Config::default() });
    let (puppet, mut theirs) = Puppet::with_hello(&mut arena, A, 16);
    arena.run(5 * MS);
    puppet.received(&mut arena).iter().for_each(|datagram| _ = theirs.learn(datagram));
    let credit = theirs.control(&max_data(1 << 40));
    puppet.send(&mut arena, &credit);
    arena.command(A, Command::Write { stream: 2, data: content(2, SIZE).into() });
    // Runs of received numbers; a number that A left out ends one.
    let mut runs: Vec<(u64, u64)> = Vec::new();
    let (mut packets, mut ranges, mut most, mut widest) = (0u64, 0u64, 0, 0);
    let (mut withheld, mut received_to) = (0, 0);
    while received_to < SIZE as u64 {
        arena.run(MS);
        for datagram in puppet.received(&mut arena) {
            let Some((space, number)) = theirs.learn(&datagram) else { continue };
            let packet = stream::Packet::decode(&datagram.bytes).unwrap();
            received_to = received_to.max(packet.offset() + packet.payload_len() as u64);
            packets += 1;
            if packet.offset() == 0 && packet.payload_len() > 0 {
                withheld += 1;
            } else if space == stream::Space::Stream {
                match runs.last_mut() {
                    Some((_, end)) if *end + 1 == number => *end = number,
                    _ => runs.push((number, number)),
                }
            }
        }
        let recent = &runs[runs.len().saturating_sub(30)..];
        let mut frames = ack(&recent.iter().map(|(a, b)| *a..=*b).collect::<Vec<_>>());
        ranges += recent.len() as u64;
        // Numbers left out long ago are not remembered: one range goes over them.
        if let (Some((start, _)), Some((_, end))) = (runs.first(), runs.iter().rev().nth(20)) {
            let all = ack(&[*start..=*end]);
            while frames.len() + all.len() <= 1_200 {
                frames.extend_from_slice(&all);
                ranges += 1;
            }
        }
        let packet = theirs.control(&frames);
        puppet.send(&mut arena, &packet);
        arena.run(0);
        let audit = arena.audit(A);
        most = most.max(audit.streams[0].sent_len);
        let path = &audit.paths[0];
        widest = widest.max(path.congestion_window / u64::from(path.mtu));
        assert_eq!(arena.nodes[A].stream(2).update.failure, None);
        assert!(most as u64 <= 4 * widest + 2_048, "{most} remembered with a window of {widest}");
        let visits = audit.streams[0].sent_visits;
        assert!(visits <= 6 * packets + ranges, "{visits} looked at for {packets} packets, {ranges} ranges");
    }
    let audit = arena.audit(A).streams.remove(0);
    println!(
        "{packets} packets, {withheld} withheld, window {widest}, {most} remembered, {ranges} ranges, {} looked at",
        audit.sent_visits
    );
    assert!(packets > 40_000 && withheld > 3 && ranges > 10_000, "it is an attack");
    assert_eq!(audit.acknowledged, 0);
    arena.go_home();
}
