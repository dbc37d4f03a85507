//! What is counted is what the environment saw.

mod support;

use paceline_transport::{
    Config, MS, SECOND,
    app::Command,
    stats::{EcnState, Lateness, Segments},
};
use support::{A, B, Seen, World};

const STREAM: u32 = 1;
const BYTES: u64 = 4 << 20;

/// A transfer of which every 50th packet is lost, and what left A for it.
fn lossy() -> (World, Vec<Seen>) {
    let mut world = World::connected(10 * MS, &Config::default(), None);
    world.watch();
    let mut packets = 0u64;
    world.hub.borrow_mut().loses[A] = Some(Box::new(move |transmission, _| {
        packets += u64::from(transmission.kind.is_stream_data());
        transmission.kind.is_stream_data() && packets.is_multiple_of(50)
    }));
    world.open(STREAM, 4);
    world.write(STREAM, 0, BYTES);
    world.command(A, Command::Finish(STREAM));
    let end = world.now_ns + 60 * SECOND;
    let done = |world: &World| world.nodes[A].streams.get(&STREAM).is_some_and(|stream| stream.closed);
    assert!(world.run_until(end, done), "the stream ends");
    let seen = world.seen().into_iter().filter(|seen| seen.node == A && seen.kind.is_stream_data());
    let seen: Vec<Seen> = seen.collect();
    assert!(world.hub.borrow().lost > 10, "the fault happened");
    (world, seen)
}

#[test]
fn departures_are_counted_once_each_for_path_and_endpoint() {
    let (world, seen) = lossy();
    let (stats, path) = (world.stats(A), world.path(A));
    let (mut lateness, mut segments) = (Lateness::default(), Segments::default());
    for seen in &seen {
        lateness.record(seen.at_ns - seen.scheduled_ns);
        segments.record(seen.packets.len() as u64);
    }
    for (counted_lateness, counted_segments) in
        [(stats.departure_error_ns, stats.segments), (path.departure_error_ns, path.segments)]
    {
        assert_eq!(counted_lateness.counts(), lateness.counts());
        assert_eq!(counted_lateness.sum(), lateness.sum());
        assert_eq!(counted_segments.counts(), segments.counts());
    }
    let packets: u64 = seen.iter().map(|seen| seen.packets.len() as u64).sum();
    let bytes: u64 = seen.iter().map(|seen| seen.bytes as u64).sum();
    assert_eq!((path.sent, stats.sent), (seen.len() as u64, seen.len() as u64));
    assert_eq!((path.packets_sent, path.bytes_sent), (packets, bytes));
    assert_eq!(segments.sum(), packets);
    // Every packet is in one train, the newest of which is not over.
    assert!(path.trains.sum() < packets && path.trains.sum() + 128 > packets, "{:?}", path.trains);
    assert_eq!(stats.trains.counts(), path.trains.counts());
}

#[test]
fn losses_and_retransmissions_are_counted_in_packets_and_bytes() {
    let (world, seen) = lossy();
    let (stats, path) = (world.stats(A), world.path(A));
    let lost = world.hub.borrow().lost;
    assert!(path.packets_lost + 10 > lost && path.packets_lost <= lost + 10, "{} {lost}", path.packets_lost);
    assert!(path.bytes_lost > path.packets_lost * 40 && path.bytes_lost <= path.packets_lost * 1_472);
    assert_eq!((stats.packets_lost, stats.bytes_lost), (path.packets_lost, path.bytes_lost));
    let again: Vec<&Seen> =
        seen.iter().filter(|seen| seen.kind == paceline_transport::Kind::Retransmission).collect();
    assert!(again.len() > 10);
    assert!(path.packets_retransmitted >= again.len() as u64);
    assert!(path.bytes_retransmitted >= again.iter().map(|seen| seen.bytes as u64).sum());
    assert_eq!(stats.bytes_retransmitted, path.bytes_retransmitted);
    // All that left was acknowledged, or is lost for good.
    assert!(path.bytes_acknowledged >= BYTES && path.bytes_acknowledged <= path.bytes_sent);
    assert_eq!(stats.bytes_acknowledged, path.bytes_acknowledged);
    assert_eq!(path.ecn, EcnState::Capable);
}

#[test]
fn what_one_side_sent_the_other_received() {
    let (world, _) = lossy();
    let (ours, theirs) = (world.path(A), world.path(B));
    let lost = world.hub.borrow().lost;
    let counted = world.stats(B);
    assert_eq!(counted.packets_dropped, counted.dropped.total());
    let received = theirs.packets_received + counted.dropped.duplicate;
    assert_eq!(received, ours.packets_sent - lost, "every packet that was not lost");
    assert!(theirs.bytes_received > BYTES);
    assert!(ours.packets_received > 10, "acknowledgements");
}

#[test]
fn what_is_silent_costs_probe_timeouts() {
    let mut world = World::connected(10 * MS, &Config::default(), None);
    world.hub.borrow_mut().loses[A] = Some(Box::new(|_, _| true));
    world.open(STREAM, 4);
    world.write(STREAM, 0, 1_000);
    let end = world.now_ns + 3 * SECOND;
    world.run_until(end, |_| false);
    let (stats, path) = (world.stats(A), world.path(A));
    assert!(world.hub.borrow().lost > 3, "the fault happened");
    assert!(path.probe_timeouts >= 3, "{}", path.probe_timeouts);
    assert_eq!(stats.probe_timeouts, path.probe_timeouts);
}

#[test]
fn memory_is_told_with_its_peak() {
    let (world, _) = lossy();
    let stats = world.stats(A);
    assert!(stats.pool_peak_bytes >= 64 << 10 && stats.pool_peak_bytes <= stats.pool_capacity_bytes);
    assert!(stats.pool_lent_bytes <= stats.pool_peak_bytes);
}
