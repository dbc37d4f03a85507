//! Each of the 18 kinds of faults really happens and is counted, and worlds with all of them on repeat themselves.

mod support;

use paceline_sim::{FaultKind, Link, SendFault, SendFaults};
use paceline_transport::{Config, MS, Outcome, SECOND, SendError};
use support::Pair;

/// Of each transfer: half a second over [`base`].
const BYTES: u64 = 1 << 20;

/// A transfer over a link, with `also` done when it is under way.
fn transfer(link: &Link, also: impl FnOnce(&mut Pair)) -> Pair {
    let mut pair = Pair::new(1, link, Config::default());
    pair.send(BYTES);
    pair.run(30 * MS);
    also(&mut pair);
    pair.run(20 * SECOND);
    assert_eq!(pair.received(), BYTES, "faults {:?}", pair.world.faults());
    pair.go_home();
    pair
}

fn base() -> Link {
    Link { delay_ns: 5 * MS, rate: Some(2_000_000), ..Link::default() }
}

/// Exactly these kinds happened.
fn only(pair: &Pair, kinds: &[FaultKind]) {
    for (kind, n) in pair.world.faults().iter() {
        assert_eq!(n > 0, kinds.contains(&kind), "{kind} happened {n} times");
    }
}

#[test]
fn a_clean_world_has_none() {
    only(&transfer(&base(), |_| {}), &[]);
}

#[test]
fn names_and_order() {
    let names: Vec<_> = FaultKind::ALL.iter().map(|kind| kind.name()).collect();
    assert_eq!(
        names.join(" "),
        "loss burstLoss duplication reorder delay corruption truncation replay mtuDrop blackhole oneWayPartition sendError \
         recvError clockStall clockBackward peerRestart readerPause poolExhaustion"
    );
    for (index, kind) in FaultKind::ALL.into_iter().enumerate() {
        assert_eq!(kind as usize, index);
    }
}

#[test]
fn what_a_link_does_is_counted() {
    let cases = [
        (FaultKind::Loss, Link { loss_ppm: 50_000, ..base() }),
        (FaultKind::BurstLoss, Link { burst_loss_ppm: 10_000, burst_loss_len: 4, ..base() }),
        (FaultKind::Duplication, Link { duplicate_ppm: 50_000, ..base() }),
        (FaultKind::Reorder, Link { reorder_ppm: 50_000, reorder_ns: 5 * MS, ..base() }),
        (FaultKind::Delay, Link { delay_ppm: 20_000, delay_spike_ns: 20 * MS, ..base() }),
        (FaultKind::Corruption, Link { corrupt_ppm: 50_000, ..base() }),
        (FaultKind::Truncation, Link { truncate_ppm: 50_000, ..base() }),
        (FaultKind::Replay, Link { replay_ppm: 50_000, replay_after_ns: 300 * MS, ..base() }),
    ];
    for (kind, link) in cases {
        let pair = transfer(&link, |_| {});
        only(&pair, &[kind]);
        let n = pair.world.faults().get(kind);
        assert!((5..400).contains(&n), "{kind}: {n} of {:?}", pair.world.datagrams());
        // The endpoints notice: damaged, doubled and old packets are dropped, lost ones sent again.
        let stats = pair.stats();
        match kind {
            FaultKind::Loss | FaultKind::BurstLoss => {
                assert!(stats[0].packets_retransmitted > 0, "{kind}: {stats:?}");
            }
            FaultKind::Duplication | FaultKind::Corruption | FaultKind::Truncation => {
                assert!(stats[0].packets_dropped + stats[1].packets_dropped > 0, "{kind}: {stats:?}");
            }
            _ => {}
        }
    }
}

#[test]
fn losses_come_in_a_row() {
    let link = Link { burst_loss_ppm: 5_000, burst_loss_len: 8, ..base() };
    let mut pair = Pair::new(3, &link, Config::default());
    pair.world.observe(true);
    pair.send(BYTES);
    pair.run(20 * SECOND);
    let (mut sent, mut received) = (Vec::new(), Vec::new());
    pair.world.take_sent(&mut sent);
    pair.world.take_received(&mut received);
    // Packets of a to b differ in their numbers, so what is missing at b is what the link lost.
    let mut run = 0;
    let mut longest = 0;
    for packet in sent.iter().filter(|packet| packet.node == pair.a) {
        let arrived = received.iter().any(|mail| mail.node == pair.b && mail.bytes == packet.bytes);
        run = if arrived { 0 } else { run + 1 };
        longest = longest.max(run);
    }
    assert!(longest >= 8 && longest % 8 == 0, "{longest} in a row");
}

/// When each packet of a left, and all the times it arrived at b.
fn journeys(pair: &mut Pair) -> Vec<(u64, Vec<u64>)> {
    let (mut sent, mut received) = (Vec::new(), Vec::new());
    pair.world.take_sent(&mut sent);
    pair.world.take_received(&mut received);
    let from_a = sent.iter().filter(|packet| packet.node == pair.a);
    let arrivals = |bytes: &[u8]| {
        let same = received.iter().filter(|mail| mail.node == pair.b && *mail.bytes == *bytes);
        same.map(|mail| mail.at_ns).collect::<Vec<_>>()
    };
    from_a.map(|packet| (packet.at_ns, arrivals(&packet.bytes))).collect()
}

fn journeys_over(link: Link) -> Vec<(u64, Vec<u64>)> {
    let mut pair = Pair::new(4, &Link { rate: None, ..link }, Config::default());
    pair.world.observe(true);
    pair.send(BYTES);
    pair.run(20 * SECOND);
    assert_eq!(pair.received(), BYTES);
    journeys(&mut pair)
}

#[test]
fn what_is_late_is_as_late_as_it_was_told() {
    let spikes = journeys_over(Link { delay_ppm: 20_000, delay_spike_ns: 50 * MS, ..base() });
    let late = spikes.iter().filter(|(sent, at)| at[0] - sent >= 55 * MS).count();
    assert!(late > 10 && late < spikes.len(), "{late} of {}", spikes.len());
    // A spike holds up what follows: nobody overtakes.
    assert!(spikes.is_sorted_by_key(|(_, at)| at[0]));

    let replays = journeys_over(Link { replay_ppm: 20_000, replay_after_ns: 300 * MS, ..base() });
    let again: Vec<_> = replays.iter().filter(|(_, at)| at.len() == 2).collect();
    assert!(again.len() > 5 && again.iter().all(|(_, at)| at[1] - at[0] == 300 * MS), "{again:?}");

    let doubled = journeys_over(Link { duplicate_ppm: 20_000, ..base() });
    let again: Vec<_> = doubled.iter().filter(|(_, at)| at.len() == 2).collect();
    assert!(again.len() > 5 && again.iter().all(|(_, at)| at[1] - at[0] <= 100_000), "{again:?}");

    let overtaken = journeys_over(Link { reorder_ppm: 20_000, reorder_ns: 5 * MS, ..base() });
    assert!(!overtaken.is_sorted_by_key(|(_, at)| at[0]));
}

#[test]
fn held_back_and_not_overtaken_is_not_reordered() {
    // All of them, by the same 1 ns.
    let link = Link { reorder_ppm: 1_000_000, reorder_ns: 0, ..base() };
    only(&transfer(&link, |_| {}), &[]);
}

#[test]
fn large_datagrams_vanish_or_are_refused() {
    let silent = Link { max_datagram: Some(1_300), ..base() };
    let mut pair = Pair::new(1, &base(), Config::default());
    pair.send(64 << 10);
    pair.run(30 * MS);
    pair.world.link(pair.a, pair.b, &silent);
    // Not long enough for the sender to find out that the path has become narrow.
    pair.run(20 * MS);
    let dropped = pair.world.faults().get(FaultKind::MtuDrop);
    let before = pair.received();
    assert!(dropped > 0 && before < 64 << 10);
    pair.world.link(pair.a, pair.b, &base());
    pair.run(20 * SECOND);
    assert_eq!(pair.received(), 64 << 10);

    let signalled = Link { mtu_signal: true, ..silent };
    let mut pair = Pair::new(1, &base(), Config::default());
    pair.send(64 << 10);
    pair.run(15 * MS);
    pair.world.link(pair.a, pair.b, &signalled);
    pair.run(100 * MS);
    let refused = pair.world.faults().get(FaultKind::MtuDrop);
    let failed = |outcome: &&Outcome| matches!(outcome, Outcome::Failed { error: SendError::TooLarge, .. });
    assert!(refused > 0 && pair.heard[0].outcomes.iter().filter(failed).count() > 0);
    pair.world.link(pair.a, pair.b, &base());
    pair.run(20 * SECOND);
    assert_eq!(pair.received(), 64 << 10);
    pair.go_home();
}

#[test]
fn a_link_is_down_both_ways_or_one_way() {
    let down = Link { up: false, ..base() };
    let pair = transfer(&base(), |pair| {
        pair.world.link(pair.a, pair.b, &down);
        pair.run(500 * MS);
        pair.world.link(pair.a, pair.b, &base());
    });
    only(&pair, &[FaultKind::Blackhole]);
    let pair = transfer(&base(), |pair| {
        pair.world.link_one_way(pair.b, pair.a, &down);
        pair.run(500 * MS);
        pair.world.link_one_way(pair.b, pair.a, &base());
    });
    only(&pair, &[FaultKind::OneWayPartition]);
}

#[test]
fn submits_fail_in_three_ways() {
    const EPERM: i32 = 1;
    for (error, least_failed) in
        [(SendFault::NoBuffers, 0), (SendFault::WouldBlock, 0), (SendFault::Os(EPERM), 5)]
    {
        for every in [1, 3] {
            let pair = transfer(&base(), |pair| {
                let until_ns = pair.world.now_ns() + 200 * MS;
                pair.world.fail_sends(pair.a, Some(SendFaults { every, error, until_ns }));
                pair.world.observe(true);
                pair.run(199 * MS);
                let mut sent = Vec::new();
                pair.world.take_sent(&mut sent);
                let left = sent.iter().filter(|packet| packet.node == pair.a && packet.left).count();
                assert_eq!(left == 0, every == 1, "{error:?} {every}: {left} left");
            });
            only(&pair, &[FaultKind::SendError]);
            let failed = pair.stats()[0].failed;
            assert!(pair.world.faults().get(FaultKind::SendError) >= 5, "{error:?} {every}");
            assert!(
                failed >= least_failed && (least_failed > 0 || failed == 0),
                "{error:?} {every}: {failed}"
            );
        }
    }
}

/// One keep-alive probe in ten seconds finds a socket that refuses for a moment.
#[test]
fn probes_that_fail_now_and_then_end_nothing() {
    const EPERM: i32 = 1;
    let mut pair = Pair::new(1, &base(), Config::default());
    pair.open(1, 1_000);
    pair.run(SECOND);
    let failed = |pair: &Pair| pair.stats().map(|stats| stats.failed);
    for _ in 0..4 {
        let until_ns = pair.world.now_ns() + 60 * SECOND;
        let faults = SendFaults { every: 1, error: SendFault::Os(EPERM), until_ns };
        let nodes = [pair.a, pair.b];
        for node in nodes {
            pair.world.fail_sends(node, Some(faults));
        }
        let before = failed(&pair);
        for _ in 0..60_000 {
            pair.run(MS / 4);
            if failed(&pair) != before {
                break;
            }
        }
        for node in nodes {
            pair.world.fail_sends(node, None);
        }
        pair.run(2 * SECOND);
    }
    assert_eq!(failed(&pair).iter().sum::<u64>(), 4);
    let mut streams = pair.heard.iter().flat_map(|heard| heard.streams.values());
    assert!(streams.all(|stream| stream.failure.is_none()));
    pair.go_home();
}

#[test]
fn receives_fail_and_are_tried_again() {
    let pair = transfer(&base(), |pair| {
        let until_ns = pair.world.now_ns() + 300 * MS;
        pair.world.fail_receives(pair.a, 500_000, until_ns);
        pair.world.fail_receives(pair.b, 1_000_000, until_ns - 100 * MS);
        pair.world.observe(true);
        pair.run(199 * MS);
        let mut received = Vec::new();
        pair.world.take_received(&mut received);
        let at = |node| received.iter().filter(|mail| mail.node == node).count();
        assert!(at(pair.a) > 2 && at(pair.b) == 0, "{} {}", at(pair.a), at(pair.b));
    });
    only(&pair, &[FaultKind::RecvError]);
    assert!(pair.world.faults().get(FaultKind::RecvError) > 100);
}

#[test]
fn a_stalled_node_wakes_late() {
    let pair = transfer(&base(), |pair| {
        pair.world.observe(true);
        let until_ns = pair.world.now_ns() + 250 * MS;
        pair.world.stall_clock(pair.a, 250 * MS);
        pair.run(400 * MS);
        let mut sent = Vec::new();
        pair.world.take_sent(&mut sent);
        let left = sent.iter().filter(|packet| packet.node == pair.a);
        let first = left.map(|packet| packet.at_ns).min().expect("it goes on");
        assert_eq!(first, until_ns, "the first thing it does is late");
        let mut mail = Vec::new();
        pair.world.take_received(&mut mail);
        mail.retain(|mail| mail.node == pair.a);
        let waited = mail.iter().filter(|mail| mail.at_ns == until_ns).count();
        assert!(waited > 1 && mail.iter().all(|mail| mail.at_ns >= until_ns), "{waited} waited");
    });
    only(&pair, &[FaultKind::ClockStall]);
    assert_eq!(pair.world.faults().get(FaultKind::ClockStall), 1);
}

#[test]
fn a_clock_steps_back_or_repeats() {
    let pair = transfer(&base(), |pair| {
        for by_ns in [1, 100_000, 10 * MS, 3 * SECOND] {
            pair.world.step_clock_back(pair.a, by_ns, 20 * MS);
            pair.world.step_clock_back(pair.b, by_ns, 30 * MS);
            pair.run(40 * MS);
        }
    });
    only(&pair, &[FaultKind::ClockBackward]);
    assert!(pair.world.faults().get(FaultKind::ClockBackward) >= 4, "{:?}", pair.world.faults());
}

#[test]
fn a_clock_that_goes_back_lets_nothing_leave_early() {
    let mut pair = Pair::new(9, &base(), Config::default());
    pair.world.observe(true);
    pair.send(256 << 10);
    let (mut sent, mut stood_still) = (Vec::new(), Vec::new());
    for by_ns in [MS, 5 * MS, 50 * MS, SECOND, MS, 5 * MS, 50 * MS, SECOND] {
        pair.run(10 * MS);
        pair.world.step_clock_back(pair.a, by_ns, 10 * MS);
        let start_ns = pair.world.now_ns();
        if by_ns == SECOND {
            stood_still.push((start_ns, start_ns + 5 * MS));
        }
        pair.run(5 * MS);
    }
    pair.run(10 * SECOND);
    pair.world.take_sent(&mut sent);
    assert!(pair.world.faults().get(FaultKind::ClockBackward) >= 4);
    assert!(sent.len() > 200);
    for packet in &sent {
        assert!(packet.at_ns >= packet.scheduled_ns, "{packet:?}");
    }
    // The worker saw it: its time stood still, so nothing that left meanwhile was planned for later than the step back; and it
    // was told of departures in the past.
    let from_a = || sent.iter().filter(|packet| packet.node == pair.a);
    let mut meanwhile = 0;
    for (start_ns, end_ns) in stood_still {
        for packet in from_a().filter(|packet| (start_ns..end_ns).contains(&packet.at_ns)) {
            assert!(packet.scheduled_ns <= start_ns, "{packet:?}");
            meanwhile += 1;
        }
    }
    assert!(meanwhile > 3, "{meanwhile}");
    let told = |outcome: &Outcome| matches!(outcome, Outcome::Sent { at_ns } if from_a().all(|packet| packet.at_ns != *at_ns));
    assert!(pair.heard[0].outcomes.iter().any(told));
    assert_eq!(pair.received(), 256 << 10);
}

#[test]
fn a_restarted_peer_has_forgotten_everything() {
    let config = Config { idle_timeout_ns: 3 * SECOND, ..Config::default() };
    let mut pair = Pair::new(1, &base(), config);
    pair.send(256 << 10);
    pair.run(50 * MS);
    assert!(pair.received() > 0 && pair.world.pool(pair.a).lent > 0);
    let before = pair.world.audit(pair.b);
    assert_eq!(before.streams.len(), 1);
    pair.restart(pair.b);
    assert_eq!((pair.world.audit(pair.b).streams.len(), pair.world.incarnation(pair.b)), (0, 1));
    pair.run(5 * SECOND);
    assert!(pair.stream(0, 1).failure.is_some(), "{:?}", pair.stream(0, 1));
    // The sender's own process goes, too, with descriptors out; then both meet again.
    pair.restart(pair.a);
    pair.heard = Default::default();
    pair.connect();
    pair.send(64 << 10);
    pair.run(SECOND);
    assert!(pair.received() > 0);
    pair.restart(pair.a);
    pair.run(10 * SECOND);
    only(&pair, &[FaultKind::PeerRestart]);
    assert_eq!(pair.world.faults().get(FaultKind::PeerRestart), 3);
}

#[test]
fn a_pool_runs_dry() {
    let small = Config { pool_bytes: 1 << 20, pool_reserve_bytes: 128 << 10, ..Config::default() };
    let mut whole = 0;
    for seed in 0..8 {
        let mut pair = Pair::new(seed, &base(), small.clone());
        pair.send(256 << 10);
        pair.run(30 * MS);
        let until_ns = pair.world.now_ns() + 300 * MS;
        pair.world.squeeze_pool(pair.a, 0, until_ns);
        let stats = pair.world.pool(pair.a);
        let free = stats.capacity_bytes - stats.lent_bytes;
        whole += u64::from(free < 66 << 10);
        assert!(free <= 130 << 10, "{free} bytes left");
        assert!(pair.world.squeezed(pair.a) > 0);
        pair.run(20 * SECOND);
        assert_eq!(pair.received(), 256 << 10, "seed {seed}");
        only(&pair, &[FaultKind::PoolExhaustion]);
        assert_eq!(pair.world.faults().get(FaultKind::PoolExhaustion), pair.world.pool(pair.a).exhausted);
        pair.go_home();
    }
    assert!((1..8).contains(&whole), "{whole} of 8 squeezes took the reserve");
}

#[test]
fn scripts_count_theirs() {
    let mut pair = transfer(&base(), |_| {});
    pair.world.note_fault(FaultKind::ReaderPause, 2);
    only(&pair, &[FaultKind::ReaderPause]);
    assert_eq!(pair.world.faults().get(FaultKind::ReaderPause), 2);
}

/// Everything at once.
fn chaos(seed: u64) -> Pair {
    let link = Link {
        jitter_ns: MS,
        loss_ppm: 10_000,
        burst_loss_ppm: 2_000,
        burst_loss_len: 3,
        duplicate_ppm: 10_000,
        reorder_ppm: 10_000,
        reorder_ns: 5 * MS,
        delay_ppm: 5_000,
        delay_spike_ns: 10 * MS,
        corrupt_ppm: 10_000,
        truncate_ppm: 10_000,
        replay_ppm: 10_000,
        replay_after_ns: 200 * MS,
        ce_ppm: 10_000,
        ..base()
    };
    let config = Config { pool_bytes: 2 << 20, pool_reserve_bytes: 128 << 10, ..Config::default() };
    let mut pair = Pair::traced(seed, &link, config);
    pair.send(4 << 20);
    pair.run(400 * MS);
    let (a, b) = (pair.a, pair.b);
    let soon = |pair: &Pair| pair.world.now_ns() + 50 * MS;
    pair.world.link(a, b, &Link { max_datagram: Some(1_000), ..link.clone() });
    pair.run(30 * MS);
    pair.world.link(a, b, &Link { up: false, ..link.clone() });
    pair.run(50 * MS);
    pair.world.link_one_way(a, b, &link);
    pair.run(300 * MS);
    pair.world.link(a, b, &link);
    pair.run(100 * MS);
    let until_ns = soon(&pair);
    pair.world.fail_sends(a, Some(SendFaults { every: 2, error: SendFault::WouldBlock, until_ns }));
    pair.world.fail_receives(b, 300_000, until_ns);
    pair.run(50 * MS);
    pair.world.stall_clock(b, 40 * MS);
    pair.world.step_clock_back(a, 3 * MS, 20 * MS);
    pair.run(60 * MS);
    let until_ns = soon(&pair);
    pair.world.squeeze_pool(a, 4 << 10, until_ns);
    pair.run(100 * MS);
    pair.world.note_fault(FaultKind::ReaderPause, 1);
    pair.run(SECOND);
    pair.restart(b);
    pair.run(SECOND);
    pair
}

#[test]
fn with_all_of_them_on_a_world_repeats_itself() {
    let mut counts = paceline_sim::FaultCounts::default();
    for seed in 0..8 {
        let (one, two) = (chaos(seed), chaos(seed));
        assert_eq!(one.world.faults(), two.world.faults());
        assert_eq!(one.world.log_hash(), two.world.log_hash());
        let (one_text, two_text) = (one.world.log_text().unwrap(), two.world.log_text().unwrap());
        assert!(one_text.len() > 40_000, "{} bytes", one_text.len());
        assert_eq!(one_text, two_text);
        assert_ne!(one.world.log_hash(), chaos(seed + 100).world.log_hash());
        counts.merge(&one.world.faults());
    }
    for (kind, n) in counts.iter() {
        assert!(n > 0, "{kind} did not happen");
    }
}
