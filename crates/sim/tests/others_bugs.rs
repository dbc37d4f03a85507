//! Bugs that others had in this very design (reliability.md section 3), and those that `tests/worlds.rs` found here: each as
//! a scenario that shows that its fault really happened.
//!
//! Next expiry wrong on wrap-around, and FIFO lost when cascading, are in `crates/wheel/tests/directed.rs`
//! (`next_expiry_where_slot_indices_wrap`, `a_full_turn_is_not_now`, `fifo_through_every_level`); a last acknowledgement that
//! is lost is in `tests/last_words.rs`; a rate cap that nothing bypasses in `tests/smoke.rs` (`a_rate_cap_is_kept_by_the_endpoint`).

mod support;

use paceline_sim::{
    FaultKind, FaultPlan, HalfPlan, Link, Mode, NodePlan, PairPlan, Scenario, SendFault, SendFaults,
    StreamPlan, Target, run_scenario,
};
use paceline_transport::{Config, Failure, Kind, MS, SECOND, app::Command};
use support::Pair;

fn link() -> Link {
    Link { delay_ns: 5 * MS, rate: Some(12_500_000), ..Link::default() }
}

fn down(link: &Link) -> Link {
    Link { up: false, ..link.clone() }
}

fn clean(pair: &Pair, stream: u32) {
    let ours = pair.stream(0, stream);
    assert!(ours.closed && ours.fin_acknowledged && ours.failure.is_none(), "{ours:?}");
}

#[test]
fn packets_keep_their_order_when_many_are_late_at_once() {
    let config = Config { max_schedule_ahead_ns: 20 * MS, ..Config::default() };
    let mut pair = Pair::new(1, &link(), config);
    pair.world.observe(true);
    pair.send(2 << 20);
    for _ in 0..20 {
        pair.run(17 * MS);
        pair.world.stall_clock(pair.a, 13 * MS);
    }
    pair.run(20 * SECOND);
    clean(&pair, 1);
    assert!(pair.world.faults().get(FaultKind::ClockStall) >= 10);
    let mut sent = Vec::new();
    pair.world.take_sent(&mut sent);
    let numbers = sent.iter().filter(|packet| packet.node == pair.a && packet.kind == Kind::Data);
    assert!(numbers.filter_map(|packet| packet.info).is_sorted_by(|a, b| a.number < b.number));
    pair.go_home();
}

#[test]
fn a_departure_is_stamped_when_it_left_so_no_round_trip_is_shorter_than_the_path() {
    let mut pair = Pair::new(2, &link(), Config::default());
    pair.world
        .fail_sends(pair.a, Some(SendFaults { every: 7, error: SendFault::NoBuffers, until_ns: u64::MAX }));
    pair.send(1 << 20);
    pair.run(20 * SECOND);
    clean(&pair, 1);
    assert!(pair.world.faults().get(FaultKind::SendError) > 10);
    let path = pair.world.stats(pair.a).paths[0];
    assert!(path.min_rtt_ns >= 10 * MS && path.min_rtt_ns < 12 * MS, "{} ns", path.min_rtt_ns);
}

#[test]
fn a_socket_that_was_full_leaves_no_backlog_of_ticks() {
    let mut pair = Pair::new(3, &link(), Config::default());
    pair.send(1 << 20);
    pair.run(50 * MS);
    let until_ns = pair.world.now_ns() + 500 * MS;
    pair.world.fail_sends(pair.a, Some(SendFaults { every: 1, error: SendFault::WouldBlock, until_ns }));
    pair.run(600 * MS);
    assert!(pair.world.faults().get(FaultKind::SendError) > 100);
    let before = pair.world.steps();
    pair.run(20 * SECOND);
    clean(&pair, 1);
    let steps = pair.world.steps() - before;
    // About 750 packets and their acknowledgements.
    assert!(steps < 4_000, "{steps} steps");
    pair.go_home();
}

#[test]
fn probes_leave_nothing_in_flight() {
    let mut pair = Pair::new(4, &link(), Config::default());
    pair.audited = true;
    pair.open(1, 200_000);
    pair.run(5 * MS + 10 * MS);
    pair.world.link(pair.a, pair.b, &down(&link()));
    pair.run(5 * SECOND);
    assert!(pair.world.faults().get(FaultKind::Blackhole) > 5);
    pair.world.link(pair.a, pair.b, &link());
    pair.run(5 * SECOND);
    assert_eq!(pair.received(), 200_000);
    assert_eq!(pair.world.stats(pair.a).paths[0].bytes_in_flight, 0);
    assert!(pair.audits > 100);
    pair.go_home();
}

#[test]
fn numbers_that_probes_skip_are_no_losses() {
    let mut pair = Pair::new(5, &link(), Config::default());
    pair.open(1, 100_000);
    pair.run(SECOND);
    // Only acknowledgements are lost: what is probed meanwhile has arrived.
    let before = pair.stats()[0].packets_retransmitted;
    pair.world.link_one_way(pair.b, pair.a, &down(&link()));
    pair.world.command(pair.a, Command::Write { stream: 1, data: vec![support::byte_at(100_000)].into() });
    pair.run(2 * SECOND);
    pair.world.link_one_way(pair.b, pair.a, &link());
    pair.run(2 * SECOND);
    assert!(pair.world.faults().get(FaultKind::OneWayPartition) > 2);
    assert!(pair.stats()[0].packets_retransmitted > before + 2, "probes went out");
    let lost = pair.stats()[0].packets_lost;
    pair.send_on(3, 1 << 20);
    pair.run(5 * SECOND);
    assert_eq!(pair.stats()[0].packets_lost, lost, "after the probes, nothing is lost");
    assert!(pair.stream(0, 3).fin_acknowledged);
}

#[test]
fn an_idle_stream_is_silent() {
    let mut pair = Pair::new(6, &link(), Config::default());
    pair.open(1, 100_000);
    pair.run(2 * SECOND);
    assert_eq!(pair.received(), 100_000);
    let before = pair.world.datagrams().0;
    pair.run(5 * SECOND);
    assert_eq!(pair.world.datagrams().0, before, "acknowledgements are not acknowledged");
    pair.run(10 * SECOND);
    let probes = pair.world.datagrams().0 - before;
    assert!((2..10).contains(&probes), "keep-alive goes on: {probes}");
    assert_eq!(pair.stream(0, 1).failure, None);
}

#[test]
fn the_idle_clock_starts_with_the_first_packet() {
    // 1 Mbit/s for one stream that goes first: the other waits here for three idle timeouts.
    let narrow = Link { rate: Some(250_000), ..link() };
    for keep_alive in [false, true] {
        let config = Config { idle_timeout_ns: 2 * SECOND, keep_alive, ..Config::default() };
        let mut pair = Pair::new(7, &narrow, config);
        pair.world.command(pair.a, Command::Open { stream: 1, peer: 1, priority: 1 });
        pair.world.command(pair.a, Command::Open { stream: 3, peer: 1, priority: 7 });
        for stream in [1, 3] {
            let bytes = if stream == 1 { 1_500_000u64 } else { 0 };
            let data: Vec<u8> = (0..bytes).map(support::byte_at).collect();
            pair.world.command(pair.a, Command::Write { stream, data: data.into() });
            pair.world.command(pair.a, Command::Finish(stream));
        }
        pair.run(3 * SECOND);
        assert!(!pair.stream(0, 1).fin_acknowledged, "the first still sends");
        pair.run(20 * SECOND);
        clean(&pair, 1);
        clean(&pair, 3);
    }
}

#[test]
fn a_fin_that_was_lost_is_sent_again() {
    let mut pair = Pair::new(9, &link(), Config::default());
    pair.open(1, 50_000);
    pair.run(SECOND);
    pair.world.link_one_way(pair.a, pair.b, &down(&link()));
    pair.finish(1);
    pair.run(100 * MS);
    assert!(pair.world.faults().get(FaultKind::OneWayPartition) > 0);
    pair.world.link_one_way(pair.a, pair.b, &link());
    pair.run(2 * SECOND);
    clean(&pair, 1);
    pair.go_home();
}

#[test]
fn a_peer_that_missed_every_close_is_told_when_it_asks() {
    let config = Config { idle_timeout_ns: 6 * SECOND, ..Config::default() };
    let mut pair = Pair::new(10, &link(), config);
    pair.open(1, 50_000);
    pair.run(SECOND);
    pair.world.link_one_way(pair.a, pair.b, &down(&link()));
    pair.reset(1);
    pair.run(SECOND);
    assert!(pair.world.faults().get(FaultKind::OneWayPartition) >= 3, "three closes are lost");
    assert!(pair.stream(0, 1).closed);
    pair.world.link_one_way(pair.a, pair.b, &link());
    // b asks a third of its idle timeout after it last heard something.
    pair.run(2 * SECOND);
    assert_eq!(pair.stream(1, 2).failure, Some(Failure::PeerReset(7)));
    pair.go_home();
}

#[test]
fn a_receiver_that_is_done_still_answers_the_last_retransmission() {
    let config = Config { idle_timeout_ns: 10 * SECOND, ..Config::default() };
    let mut pair = Pair::new(11, &link(), config);
    pair.open(1, 100_000);
    pair.run(8 * MS + 10 * MS);
    // b gets everything and is done; all that it says is lost until long after.
    pair.world.link_one_way(pair.b, pair.a, &Link { loss_ppm: 1_000_000, ..link() });
    pair.finish(1);
    pair.run(3 * SECOND);
    assert!(pair.world.faults().get(FaultKind::Loss) > 3);
    assert!(!pair.stream(0, 1).fin_acknowledged);
    pair.world.link_one_way(pair.b, pair.a, &link());
    pair.run(5 * SECOND);
    clean(&pair, 1);
    assert_eq!(pair.received(), 100_000);
    pair.go_home();
}

#[test]
fn cancelling_gives_all_credit_back() {
    let config = Config { max_schedule_ahead_ns: 50 * MS, max_rate: Some(1_000_000), ..Config::default() };
    let mut pair = Pair::new(12, &link(), config);
    pair.audited = true;
    for round in 0..50 {
        let stream = 1 + 2 * round;
        pair.open(stream, 1 << 20);
        pair.run(25 * MS);
        pair.reset(stream);
    }
    pair.run(5 * SECOND);
    let stats = &pair.stats()[0];
    assert!(stats.cancelled > 50, "{} cancelled", stats.cancelled);
    assert_eq!(stats.sent + stats.failed + stats.cancelled, stats.transmissions);
    let path = pair.world.audit(pair.a).paths[0].clone();
    assert_eq!((path.scheduled_bytes, path.bytes_in_flight, path.held_bytes), (0, 0, 0));
    pair.go_home();
}

#[test]
fn a_window_smaller_than_a_packet_is_no_deadlock() {
    let config = Config { initial_window: 1_000, max_window: 1_000, ..Config::default() };
    let mut pair = Pair::new(13, &Link { loss_ppm: 50_000, ..link() }, config);
    pair.send(50_000);
    pair.run(60 * SECOND);
    assert!(pair.world.faults().get(FaultKind::Loss) > 0);
    assert_eq!(pair.received(), 50_000);
    clean(&pair, 1);
}

#[test]
fn nothing_is_dropped_when_the_rate_runs_out() {
    let config = Config { max_rate: Some(100_000), max_schedule_ahead_ns: 100 * MS, ..Config::default() };
    let mut pair = Pair::new(14, &link(), config);
    pair.audited = true;
    pair.send(300_000);
    pair.run(SECOND);
    assert!(pair.received() < 250_000, "the cap holds it back: {}", pair.received());
    pair.run(10 * SECOND);
    clean(&pair, 1);
    let stats = &pair.stats()[0];
    assert_eq!((stats.cancelled, stats.failed, stats.packets_lost), (0, 0, 0));
}

#[test]
fn old_packets_do_not_reach_the_next_stream_of_a_slot() {
    let replaying = Link { replay_ppm: 400_000, replay_after_ns: 60 * MS, ..link() };
    let config = Config { max_streams: 4, idle_timeout_ns: SECOND, ..Config::default() };
    let mut pair = Pair::new(15, &replaying, config);
    for round in 0..100 {
        pair.send_on(1 + 2 * round, 3_000);
        pair.run(50 * MS);
        clean(&pair, 1 + 2 * round);
    }
    assert!(pair.world.faults().get(FaultKind::Replay) > 100);
    assert_eq!(pair.received(), 300_000);
    assert_eq!(pair.heard[1].streams.len(), 100, "each is accepted once");
}

/// One stream of `bytes` from the server to its client.
fn scenario(nodes: [NodePlan; 2], link: Link, bytes: u64, faults: Vec<FaultPlan>) -> Scenario {
    Scenario {
        seed: 1,
        mode: Mode::Liveness,
        nodes: nodes.to_vec(),
        pairs: vec![PairPlan { there: link.clone(), back: link, both_roles: false }],
        streams: vec![StreamPlan {
            pair: 0,
            reversed: false,
            by_acceptor: true,
            at_ns: 0,
            priority: 6,
            there: HalfPlan::bulk(bytes),
            back: HalfPlan::bulk(0),
        }],
        closes: Vec::new(),
        faults,
        attacker_one_in: 0,
    }
}

#[test]
fn a_lost_max_data_is_asked_for_again_with_and_without_keep_alive() {
    for keep_alive in [false, true] {
        let node = NodePlan {
            initial_window: 16 << 10,
            max_window: 16 << 10,
            idle_timeout_ns: 3 * SECOND,
            keep_alive,
            ..NodePlan::default()
        };
        // The reader pauses until everything is acknowledged; then only its news of fresh credit is lost.
        let fault = FaultPlan {
            kind: FaultKind::OneWayPartition,
            at_ns: 250 * MS,
            for_ns: 200 * MS,
            every_ns: None,
            target: Target::Pair { pair: 0, there: true, back: false },
            amount: 0,
            extra: 0,
        };
        let mut scenario = scenario([node.clone(), node], link(), 100_000, vec![fault]);
        scenario.streams[0].there.reader.pause = Some((0, 300 * MS));
        let verdict = run_scenario(&scenario, false);
        assert!(verdict.is_ok(), "{}", verdict.explain().unwrap_or_default());
        assert!(verdict.faults.get(FaultKind::ReaderPause) > 0);
        assert!(verdict.faults.get(FaultKind::OneWayPartition) > 0);
        assert_eq!(verdict.bytes, 100_000, "keep-alive {keep_alive}");
    }
}

#[test]
fn probes_of_what_lies_behind_64_gaps_do_not_stall_a_stream() {
    // Seed 5461: full packets vanish for a while, the receiver has all the gaps it may have, and takes only what closes one.
    let server = NodePlan {
        pool_bytes: 8 << 20,
        pool_reserve_bytes: 512 << 10,
        send_buffer_bytes: 16 << 10,
        initial_window: 64 << 10,
        idle_timeout_ns: 10 * SECOND,
        max_schedule_ahead_ns: MS / 10,
        ..NodePlan::default()
    };
    let client = NodePlan { max_schedule_ahead_ns: 2 * MS, send_buffer_bytes: 4 << 20, ..server.clone() };
    let mut happened = 0;
    for variant in 0..24 {
        let fault = FaultPlan {
            kind: FaultKind::MtuDrop,
            at_ns: (385 + variant) * MS,
            for_ns: 125 * MS,
            every_ns: None,
            target: Target::Pair { pair: 0, there: true, back: true },
            amount: 1_239,
            extra: 0,
        };
        let link =
            Link { delay_ns: 18_720_000, jitter_ns: 2_218_000, queue_bytes: 32 << 10, ..Link::default() };
        let scenario = scenario([server.clone(), client.clone()], link, 4 << 20, vec![fault]);
        let verdict = run_scenario(&scenario, false);
        assert!(verdict.is_ok(), "{}", verdict.explain().unwrap_or_default());
        assert!(verdict.worst.stream_ns < 10 * SECOND, "{variant}: {} ms", verdict.worst.stream_ns / MS);
        assert_eq!(verdict.bytes, 4 << 20);
        happened += verdict.faults.get(FaultKind::MtuDrop);
    }
    assert!(happened > 1_000, "{happened} packets vanished");
}

#[test]
fn a_rate_cap_is_shared_by_turns() {
    // Seed 5981: small bursts of a lossy path took every token that another path's larger burst waited for.
    let server = NodePlan {
        pool_bytes: 2 << 20,
        pool_reserve_bytes: 256 << 10,
        max_rate: Some(536_391),
        max_in_flight_transmissions: 64,
        max_schedule_ahead_ns: MS / 10,
        idle_timeout_ns: 2 * SECOND,
        send_buffer_bytes: 64 << 10,
        ..NodePlan::default()
    };
    let client = NodePlan { idle_timeout_ns: 2 * SECOND, cubic: true, ..NodePlan::default() };
    let narrow = Link { delay_ns: 165_000, rate: Some(1_250_000), queue_bytes: 32 << 10, ..Link::default() };
    let wide = Link { delay_ns: 605_000, rate: Some(5_000_000), queue_bytes: 32 << 10, ..Link::default() };
    let loss = FaultPlan {
        kind: FaultKind::Loss,
        at_ns: 0,
        for_ns: 4 * SECOND,
        every_ns: None,
        target: Target::Pair { pair: 1, there: false, back: true },
        amount: 203_455,
        extra: 0,
    };
    let mut scenario = scenario([server, client.clone()], wide, 10_082, vec![loss]);
    scenario.nodes.push(client);
    scenario.pairs.push(PairPlan { there: narrow.clone(), back: narrow, both_roles: true });
    let small = scenario.streams[0].clone();
    for (priority, bytes) in [(1, 645_277), (5, 322_638)] {
        let there = HalfPlan::bulk(bytes);
        scenario.streams.push(StreamPlan { pair: 1, priority, there, ..small.clone() });
    }
    for (seed, at_ms) in (0..10).zip([0, 1, 2, 3, 5, 10, 20, 50, 100, 200]) {
        scenario.seed = seed;
        scenario.streams[0].at_ns = at_ms * MS;
        let verdict = run_scenario(&scenario, false);
        assert!(verdict.is_ok(), "{}", verdict.explain().unwrap_or_default());
        assert!(verdict.faults.get(FaultKind::Loss) > 10);
        assert_eq!(verdict.bytes, scenario.bytes());
    }
}

#[test]
fn a_checker_that_is_given_a_broken_world_says_so() {
    // The clock of R4: a world whose link stays down must be reported as one that hangs or fails, not as a good one.
    let fault = FaultPlan {
        kind: FaultKind::Blackhole,
        at_ns: 30 * MS,
        for_ns: 1_000,
        every_ns: None,
        target: Target::Pair { pair: 0, there: true, back: true },
        amount: 0,
        extra: 0,
    };
    let mut scenario = scenario([NodePlan::default(), NodePlan::default()], link(), 1 << 20, vec![fault]);
    assert!(run_scenario(&scenario, false).is_ok());
    scenario.pairs[0].there.up = false;
    let failure = run_scenario(&scenario, false).failure.expect("a dead link is not a success");
    assert!(failure.what.contains("the peer failed"), "{}", failure.what);
}
