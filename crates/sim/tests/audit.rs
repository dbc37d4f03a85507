//! What is seen of a world is what happened in it, and what a worker keeps account of equals what an audit adds up.

mod support;

use paceline_sim::{FaultKind, Link, SendFault, SendFaults};
use paceline_transport::{Config, MS, SECOND};
use support::Pair;

fn base() -> Link {
    Link { delay_ns: 5 * MS, rate: Some(2_000_000), ..Link::default() }
}

#[test]
fn watching_changes_nothing() {
    let link = Link { loss_ppm: 20_000, reorder_ppm: 10_000, reorder_ns: MS, ..base() };
    let run = |watch: bool| {
        let mut pair = Pair::new(5, &link, Config::default());
        pair.world.observe(watch);
        pair.audited = watch;
        pair.send(256 << 10);
        pair.run(10 * SECOND);
        pair.world.log_hash()
    };
    assert_eq!(run(false), run(true));
}

#[test]
fn an_observer_sees_every_packet_with_its_key_and_number() {
    use paceline_transport::{Kind, Space, inspect::Inspected};
    let mut pair = Pair::new(5, &Link { loss_ppm: 50_000, ..base() }, Config::default());
    pair.world.observe(true);
    pair.send(256 << 10);
    pair.run(10 * SECOND);
    let (mut sent, mut received) = (Vec::new(), Vec::new());
    pair.world.take_sent(&mut sent);
    pair.world.take_received(&mut received);
    assert_eq!(sent.len() as u64, pair.world.datagrams().0);
    let lost = pair.world.faults().get(FaultKind::Loss);
    assert_eq!(received.len() as u64, sent.len() as u64 - lost);
    let mut next = 0;
    let mut again = 0;
    for packet in sent.iter().filter(|packet| packet.node == pair.a && packet.stream == 1) {
        let (info, Inspected::Stream { key_id, space, number, original, offset, payload_len, .. }) =
            (packet.info, packet.inspect())
        else {
            continue;
        };
        let info = info.expect("stream packets have one");
        assert_eq!(key_id, 0);
        assert_eq!((info.number, info.space, info.stream_offset), (number, space, offset));
        assert_eq!(usize::from(info.payload_len), payload_len);
        if packet.kind == Kind::Data {
            // Numbers rise; now and then one is left out (RFC 9000 §21.4).
            assert_eq!((space, number), (Space::Stream, original));
            assert!((next..next + 2).contains(&number), "{number} after {next}");
            next = number + 1;
        } else if info.retransmission {
            assert!(original < next && space == Space::Recovery);
            again += 1;
        }
    }
    assert!(next > 150 && again > 3, "{next} new, {again} again");
    pair.world.take_sent(&mut sent);
    assert!(sent.iter().all(|packet| packet.left && packet.at_ns >= packet.scheduled_ns));
}

#[test]
fn what_is_kept_account_of_equals_what_an_audit_adds_up() {
    for seed in 0..6 {
        let link = Link {
            loss_ppm: 30_000,
            reorder_ppm: 20_000,
            reorder_ns: 3 * MS,
            duplicate_ppm: 10_000,
            corrupt_ppm: 5_000,
            ..base()
        };
        let config = Config { pool_bytes: 2 << 20, pool_reserve_bytes: 256 << 10, ..Config::default() };
        let mut pair = Pair::new(seed, &link, config);
        pair.audited = true;
        for stream in [1, 3, 5, 7] {
            pair.send_on(stream, 400 << 10);
        }
        pair.run(200 * MS);
        let until_ns = pair.world.now_ns() + 100 * MS;
        pair.world.fail_sends(pair.a, Some(SendFaults { every: 3, error: SendFault::Os(1), until_ns }));
        pair.run(200 * MS);
        pair.world.squeeze_pool(pair.a, 8 << 10, pair.world.now_ns() + 100 * MS);
        pair.run(200 * MS);
        pair.world.stall_clock(pair.a, 100 * MS);
        pair.run(200 * MS);
        pair.reset(7);
        pair.run(30 * SECOND);
        assert!(pair.audits > 1_000, "{}", pair.audits);
        for stream in [1, 3, 5] {
            assert_eq!(pair.received_on(stream), 400 << 10, "seed {seed}");
        }
        for kind in [FaultKind::Loss, FaultKind::SendError, FaultKind::ClockStall] {
            assert!(pair.world.faults().get(kind) > 0, "{kind}");
        }
        pair.go_home();
    }
}
