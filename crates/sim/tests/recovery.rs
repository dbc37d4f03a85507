//! Loss recovery: what is late, what is lost, what a path does while nothing comes through, and afterwards.

mod lab;

use lab::{Conditions, Departure, Lab, connect};
use paceline_transport::{Algorithm, Config, Ecn, Failure, Kind, MS, SECOND, SendError, app::Command};
use std::{cell::Cell, rc::Rc};

/// A path without random faults: `mbit` Mbit/s, a round trip of `rtt_ms`, one bandwidth-delay product of queue.
fn path(mbit: u64, rtt_ms: u64) -> Conditions {
    let rate = mbit * 1_000_000 / 8;
    Conditions {
        delay_ns: rtt_ms * MS / 2,
        rate: Some(rate),
        queue_bytes: (rate * rtt_ms / 1_000).max(128 << 10),
        ..Conditions::default()
    }
}

fn cubic() -> Config {
    Config { congestion_control: Algorithm::Cubic, ..Config::default() }
}

/// A lab whose sender writes without end on stream 1.
fn bulk(seed: u64, conditions: &Conditions, config: &Config) -> Lab {
    let mut lab = Lab::pair(seed, conditions, config);
    connect(&mut lab);
    lab.open(1, 1, 3, None);
    lab
}

fn both(lab: &mut Lab, change: impl Fn(&mut Conditions)) {
    lab.wire(0, &change);
    lab.wire(1, &change);
}

fn is_probe(departure: &Departure) -> bool {
    departure.node == 1 && matches!(departure.kind, Kind::Probe | Kind::Retransmission)
}

/// Departures that belong together: no more than a millisecond between neighbours.
fn clusters(departures: &[Departure]) -> Vec<Vec<Departure>> {
    let mut clusters: Vec<Vec<Departure>> = Vec::new();
    for departure in departures {
        match clusters.last_mut() {
            Some(cluster) if departure.at_ns - cluster[cluster.len() - 1].at_ns <= MS => {
                cluster.push(departure.clone());
            }
            _ => clusters.push(vec![departure.clone()]),
        }
    }
    clusters
}

#[test]
fn late_packets_are_not_taken_for_lost_again_and_again() {
    let mut conditions = path(100, 20);
    conditions.queue_bytes = 4 << 20;
    let mut lab = bulk(1, &conditions, &Config::default());
    lab.run(SECOND);
    lab.wire(0, |wire| (wire.reorder_ppm, wire.reorder_ns) = (20_000, 15 * MS));
    lab.run(2 * SECOND);
    let (first, first_held) = (lab.path(1), lab.counts(0).held_back);
    lab.run(3 * SECOND);
    let (second, second_held) = (lab.path(1), lab.counts(0).held_back - first_held);
    assert!(first_held > 100 && second_held > 100, "{first_held}, {second_held}");
    assert_eq!(lab.counts(0).overflowed + lab.counts(0).lost, 0, "everything declared lost was only late");
    assert!(first.packets_lost > 0, "{first:?}");
    // Every packet declared lost came: sooner or later each is recognised (the last ones may be on their way).
    assert!(second.packets_spuriously_lost + 20 >= second.packets_lost, "{second:?}");
    let (late, again) = (second.packets_lost - first.packets_lost, second_held);
    assert!(late * 10 < again, "{late} of {again} late packets were still declared lost: {second:?}");
}

#[test]
fn a_late_ack_takes_back_the_retransmission_that_waits() {
    let mut conditions = path(50, 20);
    conditions.queue_bytes = 4 << 20;
    for config in [Config::default(), cubic()] {
        let mut lab = bulk(1, &conditions, &config);
        lab.run(SECOND);
        let before = lab.path(1);
        // Some packets are lost; three milliseconds' worth of others take another way, 40 ms longer, and are overtaken. Then the path
        // sends next to nothing, so that what is to be sent again waits.
        lab.wire(0, |wire| wire.down = true);
        lab.run(2 * MS);
        lab.wire(0, |wire| wire.down = false);
        lab.wire(0, |wire| (wire.reorder_ppm, wire.reorder_ns) = (1_000_000, 40 * MS));
        lab.run(3 * MS);
        lab.wire(0, |wire| wire.reorder_ppm = 0);
        lab.run(10 * MS);
        lab.command(1, Command::SetMaxRate { peer: lab::PEER, max_rate: Some(20_000) });
        lab.run(SECOND);
        lab.command(1, Command::SetMaxRate { peer: lab::PEER, max_rate: None });
        lab.run(SECOND);
        let path = lab.path(1);
        let dropped = lab.counts(0).swallowed;
        let lost = path.packets_lost - before.packets_lost;
        let late = path.packets_spuriously_lost - before.packets_spuriously_lost;
        let again = path.packets_retransmitted - before.packets_retransmitted;
        assert!(dropped >= 4 && late >= 6 && late + dropped == lost, "{dropped}, {before:?} {path:?}");
        assert!(again < dropped + late / 2, "{again} sent again, {dropped} of {lost} did not arrive");
        let read = lab.read();
        lab.run(SECOND);
        assert!(lab.read() > read + 1_000_000);
    }
}

#[test]
fn an_outage_is_persistent_congestion_and_once() {
    for config in [Config::default(), cubic()] {
        let mut lab = bulk(2, &path(50, 20), &config);
        lab.run(2 * SECOND);
        lab.wire(0, |wire| wire.down = true);
        lab.run(3 * SECOND);
        lab.wire(0, |wire| wire.down = false);
        let before = lab.read();
        let mtu = u64::from(lab.path(1).mtu);
        let mut least = u64::MAX;
        lab.run_until(2 * SECOND, "the first bytes", |lab| {
            least = least.min(lab.path(1).congestion_window);
            lab.read() > before + 100_000
        });
        let path = lab.path(1);
        assert!(lab.counts(0).swallowed > 10);
        assert_eq!(path.persistent_congestions, 1, "{path:?}");
        if config.congestion_control == Algorithm::Cubic {
            // RFC 9002 §7.6.2: the minimum window, which is two packets.
            // … and grows again with what the same ACK acknowledges.
            assert!(least <= 4 * mtu, "{least}");
        }
    }
}

#[test]
fn losses_with_answers_in_between_are_not_persistent_congestion() {
    let mut lab = bulk(3, &path(50, 20), &cubic());
    lab.run(2 * SECOND);
    for _ in 0..30 {
        lab.wire(0, |wire| wire.down = true);
        lab.run(40 * MS);
        lab.wire(0, |wire| wire.down = false);
        lab.run(80 * MS);
    }
    let path = lab.path(1);
    assert!(path.packets_lost > 100, "{path:?}");
    assert_eq!(path.persistent_congestions, 0, "{path:?}");
}

#[test]
fn an_outage_before_the_first_rtt_sample_is_not_persistent_congestion() {
    let conditions = path(50, 20);
    let mut lab = Lab::pair(4, &conditions, &cubic());
    connect(&mut lab);
    lab.wire(0, |wire| wire.down = true);
    lab.open(1, 1, 3, Some(500_000));
    lab.run(3 * SECOND);
    lab.wire(0, |wire| wire.down = false);
    lab.run_until(5 * SECOND, "the end", |lab| lab.source(1, 1).newest.closed);
    assert!(lab.counts(0).swallowed > 5);
    assert_eq!(lab.path(1).persistent_congestions, 0);
    lab.go_home();
}

#[test]
fn r19_a_path_comes_back_after_a_black_hole_as_fast_as_it_was() {
    const RTT: u64 = 20 * MS;
    for (seed, outage_ns) in [(1, 100 * MS), (2, 700 * MS), (3, 5 * SECOND), (4, 25 * SECOND)] {
        let mut lab = bulk(seed, &path(100, 20), &Config::default());
        lab.run(3 * SECOND);
        let before = lab.read();
        lab.run(SECOND);
        let rate = lab.read() - before;
        both(&mut lab, |wire| wire.down = true);
        lab.departures();
        lab.run(outage_ns);
        let departures = lab.departures();
        // What was still in the window leaves first; from then on there are only probes.
        let probes: Vec<Departure> = departures.into_iter().filter(is_probe).collect();
        let clusters = clusters(&probes);
        assert!(!clusters.is_empty(), "nobody asked during {outage_ns} ns");
        let most = clusters.iter().map(|cluster| cluster.iter().map(|d| d.packets).sum::<u64>()).max();
        assert!(most <= Some(2), "{most:?} probes a PTO");
        let gaps: Vec<u64> = clusters.windows(2).map(|pair| pair[1][0].at_ns - pair[0][0].at_ns).collect();
        both(&mut lab, |wire| wire.down = false);
        let (read, end) = (lab.read(), lab.now_ns);
        let took = lab.run_until(10 * SECOND, "an answer", |lab| lab.read() > read);
        let asked = lab.departures().iter().find(|d| d.node == 1).map(|d| d.at_ns - end);
        let pto = gaps.last().copied().map_or(200 * MS, |gap| if gaps.len() < 5 { gap * 2 } else { gap });
        assert!(
            asked.is_some_and(|after| after <= pto),
            "asked after {asked:?} ns, the last PTOs were {gaps:?}"
        );
        assert!(took <= pto + RTT + RTT / 4, "answered after {took} ns, the last PTOs were {gaps:?}");
        // Within five round trips it is as fast as before.
        lab.run(5 * RTT);
        let resumed = lab.read();
        lab.run(SECOND);
        let again = lab.read() - resumed;
        println!(
            "outage of {} ms: {} PTOs, answer after {} ms, {:.1} % of {rate} B/s",
            outage_ns / MS,
            clusters.len(),
            took / MS,
            again as f64 / rate as f64 * 100.0
        );
        assert!(again as f64 >= 0.9 * rate as f64, "{again} of {rate} B/s after {outage_ns} ns");
    }
}

#[test]
fn the_idle_timeout_counts_from_the_first_send_after_a_silence() {
    let config = Config { idle_timeout_ns: 5 * SECOND, keep_alive: false, ..Config::default() };
    let mut lab = Lab::pair(5, &path(50, 20), &config);
    connect(&mut lab);
    lab.command(1, Command::Open { stream: 1, peer: lab::PEER, priority: 3 });
    lab.write_some(1, 1, 1_000);
    lab.run(4_800 * MS);
    assert_eq!(lab.source(1, 1).newest.acknowledged, 1_000);
    // Silent for 4.8 s; what is sent now is answered only after the five seconds are over.
    both(&mut lab, |wire| wire.down = true);
    lab.write_some(1, 1, 2_000);
    lab.run(2 * SECOND);
    assert!(lab.counts(0).swallowed > 0);
    assert_eq!(lab.source(1, 1).newest.failure, None);
    // The listener heard nothing for longer than the timeout and has sent nothing: it may be gone, we are not.
    lab.run(2 * SECOND);
    assert_eq!(lab.source(1, 1).newest.failure, None);
    lab.run(2 * SECOND);
    assert_eq!(lab.source(1, 1).newest.failure, Some(Failure::IdleTimeout));
    lab.go_home();
}

#[test]
fn thousands_of_probes_leak_nothing() {
    // 100 % loss for nearly ten minutes (the longest idle timeout): a PTO every 16 × 2 to 4 ms.
    for config in [Config::default(), cubic()] {
        let config = Config { idle_timeout_ns: 600 * SECOND, ..config };
        let conditions = Conditions { queue_bytes: 16 << 10, ..path(50, 2) };
        let mut lab = bulk(6, &conditions, &config);
        lab.open(1, 3, 3, Some(100_000));
        lab.run(SECOND);
        both(&mut lab, |wire| wire.down = true);
        lab.departures();
        lab.run(2 * SECOND);
        let (window, in_flight, lent) =
            (lab.path(1).congestion_window, lab.path(1).bytes_in_flight, lab.pool(1).lent);
        lab.run(590 * SECOND);
        let probes: u64 = lab.departures().iter().filter(|d| is_probe(d)).map(|d| d.packets).sum();
        assert!(probes > 9_000, "{probes}");
        let path = lab.path(1);
        let most = in_flight.max(window) + 16 * u64::from(path.mtu);
        assert!(path.bytes_in_flight <= most, "{in_flight} grew to {}", path.bytes_in_flight);
        assert!(lab.pool(1).lent <= lent + 16, "{lent} grew to {}", lab.pool(1).lent);
        both(&mut lab, |wire| wire.down = false);
        let read = lab.read();
        lab.run_until(2 * SECOND, "an answer", |lab| lab.read() > read);
        lab.run(SECOND);
        // ACKs that were lost in the outage are no samples of it.
        let rtts = [lab.path(0).smoothed_rtt_ns, lab.path(1).smoothed_rtt_ns];
        assert!(rtts.iter().all(|rtt| *rtt < SECOND), "{rtts:?}, {:?}", lab.path(0));
        let read = lab.read();
        lab.run(SECOND);
        // The window is usable again …
        assert!(lab.read() - read > 50_000_000 / 8 / 2, "{} B/s", lab.read() - read);
        // … and empty when everything is acknowledged.
        let written = lab.source(1, 1).written;
        lab.write(1, 1, Some(written));
        lab.run_until(10 * SECOND, "the end", |lab| {
            [1, 3].iter().all(|stream| lab.source(1, *stream).newest.closed)
        });
        assert_eq!(lab.path(1).bytes_in_flight, 0);
        lab.go_home();
    }
}

#[test]
fn probes_go_round_two_a_timeout() {
    let mut lab = Lab::pair(7, &path(50, 20), &Config::default());
    connect(&mut lab);
    for index in 0..10 {
        lab.command(1, Command::Open { stream: index * 2 + 1, peer: lab::PEER, priority: 3 });
        lab.write_some(1, index * 2 + 1, 1_000);
    }
    lab.run(SECOND);
    both(&mut lab, |wire| wire.down = true);
    for index in 0..10 {
        lab.write_some(1, index * 2 + 1, 2_000);
    }
    lab.departures();
    lab.run(5 * SECOND);
    let probes: Vec<Departure> = lab.departures().into_iter().filter(is_probe).collect();
    let clusters = clusters(&probes);
    assert!(clusters.len() >= 6, "{} PTOs in five seconds", clusters.len());
    let mut probed = Vec::new();
    for cluster in &clusters {
        assert_eq!(cluster.len(), 2, "{cluster:?}");
        probed.extend(cluster.iter().map(|d| d.stream));
    }
    let mut first: Vec<u32> = probed[..10].to_vec();
    first.sort_unstable();
    first.dedup();
    assert_eq!(first.len(), 10, "five PTOs ask for ten streams: {probed:?}");
    both(&mut lab, |wire| wire.down = false);
    lab.run_until(2 * SECOND, "all acknowledged", |lab| {
        (0..10).all(|index| lab.source(1, index * 2 + 1).newest.acknowledged == 2_000)
    });
    lab.go_home();
}

#[test]
fn a_lost_max_data_heals() {
    for keep_alive in [true, false] {
        for both_sides in [false, true] {
            let config = Config { keep_alive, ..Config::default() };
            let mut lab = Lab::pair(8, &path(50, 20), &config);
            connect(&mut lab);
            lab.open(1, 1, 3, Some(2 << 20));
            lab.run(100 * MS);
            let accepted = *lab.nodes[0].sinks.keys().next().unwrap();
            lab.nodes[0].paused = true;
            lab.nodes[1].paused = both_sides;
            lab.write(0, accepted, Some(2 << 20));
            // Both windows fill up, and everything in flight is acknowledged.
            lab.run(5 * SECOND);
            let sent = lab.source(1, 1).newest.sealed;
            assert!(sent < 2 << 20, "the window did not block");
            assert_eq!(lab.path(1).bytes_in_flight, 0);
            // Whoever reads now tells of it in vain.
            both(&mut lab, |wire| wire.down = true);
            lab.resume_reading(0);
            lab.resume_reading(1);
            lab.run(5 * MS);
            let told = lab.counts(1).swallowed;
            assert!(told > 0, "no MAX_DATA was lost");
            both(&mut lab, |wire| wire.down = false);
            let took = lab.run_until(12 * SECOND, "both ends", |lab| {
                lab.nodes[0].sinks[&accepted].ended && lab.nodes[1].sinks[&1].ended
            });
            println!("keep-alive {keep_alive}, both sides {both_sides}: {} ms", took / MS);
            lab.go_home();
        }
    }
}

/// Everything of reliability.md R16, by its number on Linux; EMSGSIZE is told apart by the environment.
const ERRNOS: &[(&str, i32)] = &[
    ("EIO", 5),
    ("EINVAL", 22),
    ("EMSGSIZE", 90),
    ("ENOBUFS", 105),
    ("EPERM", 1),
    ("EAGAIN", 11),
    ("EINTR", 4),
    ("ECONNREFUSED", 111),
    ("ENETUNREACH", 101),
    ("EHOSTUNREACH", 113),
    ("EACCES", 13),
    ("EBADF", 9),
];

fn error(errno: i32) -> SendError {
    if errno == 90 { SendError::TooLarge } else { SendError::Os(errno) }
}

/// Sends 300 KB over 20 ms; the k-th transmission of either node after the handshake fails. Returns the time it took, ns.
fn transfer_with_error(node: usize, errno: i32, k: u64) -> u64 {
    let mut lab = Lab::pair(k, &path(100, 20), &Config::default());
    connect(&mut lab);
    let failed = Rc::new(Cell::new(0));
    if k > 0 {
        let (mut seen, failed) = (0, Rc::clone(&failed));
        lab.refuse(node, move |_, _| {
            seen += 1;
            (seen == k).then(|| {
                failed.set(failed.get() + 1);
                error(errno)
            })
        });
    }
    lab.open(1, 1, 3, Some(300_000));
    let took = lab.run_until(5 * SECOND, "the end", |lab| lab.source(1, 1).newest.closed);
    assert_eq!(lab.source(1, 1).newest.failure, None);
    assert_eq!(lab.read(), 300_000);
    // Short transfers end before the k-th send.
    assert!(failed.get() == u64::from(k > 0) || k > 20, "the {k}-th send did not fail");
    lab.go_home();
    took
}

#[test]
fn an_error_at_any_send_costs_at_most_a_timeout() {
    // A PTO at 20 ms: 20 ms and four times the variation, 10 ms at first; and the round trip of the repetition.
    const PTO: u64 = 60 * MS;
    const RTT: u64 = 20 * MS;
    let clean = transfer_with_error(1, 0, 0);
    let mut worst = 0;
    for (name, errno) in ERRNOS {
        for k in 1..=50 {
            for node in [1, 0] {
                let took = transfer_with_error(node, *errno, k);
                worst = worst.max(took);
                assert!(
                    took <= clean + PTO + RTT,
                    "{name} at send {k} of node {node}: {took} instead of {clean} ns"
                );
            }
        }
    }
    println!("clean {} ms, worst {} ms", clean / MS, worst / MS);
}

#[test]
fn an_error_that_stays_ends_the_stream_with_its_number_after_three_seconds() {
    for (name, errno) in ERRNOS {
        let errno = *errno;
        let mut lab = bulk(9, &path(50, 20), &Config::default());
        lab.run(SECOND);
        let from = lab.now_ns;
        lab.departures();
        lab.refuse(1, move |now_ns, _| (now_ns >= from).then(|| error(errno)));
        lab.run(2_900 * MS);
        assert_eq!(lab.source(1, 1).newest.failure, None, "{name} ended it early");
        // Not retried in a loop.
        let tried = lab.departures().iter().filter(|d| d.node == 1 && d.kind != Kind::Control).count();
        assert!((5..200).contains(&tried), "{name}: {tried} attempts in 2.9 s");
        lab.run(800 * MS);
        assert_eq!(lab.source(1, 1).newest.failure, Some(Failure::Send(errno)), "{name}");
        lab.go_home();
    }
}

#[test]
fn reported_icmp_errors_end_nothing() {
    // ICMP turns up as the error of some later send; the next one works again.
    for errno in [111, 113, 101] {
        let mut lab = bulk(10, &path(50, 20), &Config::default());
        let failed = Rc::new(Cell::new(0u64));
        let (mut seen, counter) = (0, Rc::clone(&failed));
        lab.refuse(1, move |_, _| {
            seen += 1;
            (seen % 3 == 0).then(|| {
                counter.set(counter.get() + 1);
                SendError::Os(errno)
            })
        });
        lab.run(10 * SECOND);
        assert!(failed.get() > 100, "{}", failed.get());
        assert_eq!(lab.source(1, 1).newest.failure, None);
        let read = lab.read();
        lab.run(SECOND);
        assert!(lab.read() > read, "it goes on");
    }
}

#[test]
fn a_lowered_mtu_is_followed_and_packets_are_sealed_anew() {
    for (new, expected) in [(1460, 1452), (1405, 1400), (1390, 1280), (1250, 1200)] {
        for loss_ppm in [0, 50_000] {
            let mut conditions = path(50, 20);
            conditions.loss_ppm = loss_ppm;
            let mut lab = Lab::pair(11, &conditions, &Config::default());
            connect(&mut lab);
            lab.open(1, 1, 3, Some(3 << 20));
            lab.open(1, 3, 3, Some(1_000_001));
            lab.run(200 * MS);
            // The route changes: what is in flight is lost, what comes after is refused.
            lab.wire(0, |wire| wire.down = true);
            lab.run(15 * MS);
            lab.wire(0, |wire| (wire.down, wire.refused_mtu) = (false, new));
            lab.departures();
            lab.run_until(20 * SECOND, "both ends", |lab| {
                [1, 3].iter().all(|stream| lab.source(1, *stream).newest.closed)
            });
            let departures = lab.departures();
            assert!(departures.iter().any(|d| d.failed), "nothing was refused");
            assert!(lab.counts(0).swallowed > 0, "nothing was in flight");
            assert_eq!(lab.path(1).mtu, expected);
            // After the first refusals nothing larger is tried.
            let last_failed = departures.iter().rposition(|d| d.failed).unwrap();
            assert!(departures[last_failed + 1..].iter().all(|d| d.largest <= usize::from(expected)));
            assert_eq!(lab.read(), (3 << 20) + 1_000_001);
            assert!([1, 3].iter().all(|stream| lab.source(1, *stream).newest.failure.is_none()));
            assert_eq!(lab.path(1).bytes_in_flight, 0);
            lab.go_home();
        }
    }
}

#[test]
fn a_path_that_swallows_large_packets_is_found_out() {
    for loss_ppm in [0, 20_000] {
        let mut conditions = path(50, 20);
        conditions.loss_ppm = loss_ppm;
        let mut lab = Lab::pair(12, &conditions, &Config::default());
        connect(&mut lab);
        lab.open(1, 1, 3, Some(4 << 20));
        lab.run(300 * MS);
        assert_eq!(lab.path(1).mtu, 1472);
        lab.wire(0, |wire| wire.silent_mtu = 1_300);
        let took = lab.run_until(10 * SECOND, "the base MTU", |lab| lab.path(1).mtu == 1200);
        assert!(lab.counts(0).too_large > 0);
        println!("found out after {} ms", took / MS);
        assert!(took < 2 * SECOND, "{took}");
        lab.run_until(20 * SECOND, "the end", |lab| lab.source(1, 1).newest.closed);
        assert_eq!(lab.read(), 4 << 20);
        lab.go_home();
    }
}

#[test]
fn an_outage_is_not_mistaken_for_a_narrow_path() {
    for seed in 0..5 {
        let mut conditions = path(50, 20);
        conditions.loss_ppm = 20_000;
        let mut lab = bulk(seed, &conditions, &Config::default());
        lab.run(SECOND);
        for outage_ms in [100, 300, 1_000, 3_000] {
            both(&mut lab, |wire| wire.down = true);
            lab.run(outage_ms * MS);
            both(&mut lab, |wire| wire.down = false);
            lab.run(SECOND);
        }
        assert!(lab.counts(0).swallowed > 100);
        assert_eq!(lab.path(1).mtu, 1472);
    }
}

/// Bytes and departures of data in the time from `from` until `until`.
fn sent_between(departures: &[Departure], from: u64, until: u64) -> u64 {
    let within = departures.iter().filter(|d| d.node == 1 && d.kind != Kind::Control);
    within.filter(|d| (from..until).contains(&d.at_ns)).map(|d| d.bytes).sum()
}

/// The most data that left within 100 µs.
fn longest_train(departures: &[Departure]) -> u64 {
    let data: Vec<&Departure> =
        departures.iter().filter(|d| d.node == 1 && d.kind != Kind::Control && !d.failed).collect();
    let (mut first, mut bytes, mut most) = (0, 0, 0);
    for departure in &data {
        bytes += departure.bytes;
        while data[first].at_ns + MS / 10 <= departure.at_ns {
            bytes -= data[first].bytes;
            first += 1;
        }
        most = most.max(bytes);
    }
    most
}

/// Two quanta as R18 has them: a burst, or half of what the rate sends in 4 ms or a round trip, if that is more.
fn train_limit(lab: &Lab) -> u64 {
    let path = lab.path(1);
    let burst = (path.pacing_rate / 1_000).max(2 * 1472);
    (2 * burst).max(path.pacing_rate * path.smoothed_rtt_ns.min(4 * MS) / SECOND)
}

#[test]
fn r18_a_stalled_clock_releases_at_most_two_quanta() {
    for stall_ns in [MS, 3 * MS, 10 * MS, 100 * MS, SECOND, 10 * SECOND] {
        for (back_ns, ahead_ns) in [(0, 2 * MS), (5 * MS, 2 * MS), (0, 100 * MS)] {
            // With 2 ms the wheel never holds more; with 100 ms the train after a late wake is what the pacer lets through.
            let config = Config { max_schedule_ahead_ns: ahead_ns, ..Config::default() };
            let mut lab = bulk(13, &path(200, 20), &config);
            lab.run(2 * SECOND);
            lab.departures();
            // The thread sleeps; afterwards its clock is behind for a while.
            lab.nodes[1].stalled_until_ns = lab.now_ns + stall_ns;
            lab.nodes[1].behind_ns = back_ns;
            let awake = lab.now_ns + stall_ns;
            lab.run(stall_ns + 500 * MS);
            lab.nodes[1].behind_ns = 0;
            let departures = lab.departures();
            let (train, limit) = (longest_train(&departures), train_limit(&lab));
            assert!(train <= limit, "{train} bytes at once after {stall_ns} ns, {limit} allowed");
            assert!(
                sent_between(&departures, awake, awake + 10 * MS) > 0,
                "nothing left after {stall_ns} ns"
            );
            assert!(departures.iter().all(|d| d.kind == Kind::Control || d.at_ns >= d.scheduled_ns), "early");
            lab.run(SECOND);
            let read = lab.read();
            lab.run(SECOND);
            assert!(lab.read() - read > 20_000_000, "{} B/s after {stall_ns} ns", lab.read() - read);
        }
    }
}

#[test]
fn r21_paced_within_a_percent_from_a_megabit_to_five_gigabits() {
    for (mbit, seconds) in [(1, 40), (10, 10), (100, 4), (1_000, 2), (5_000, 1)] {
        let rate = mbit * 1_000_000 / 8;
        // The link is faster; what limits is the cap on the controller's rate.
        let conditions = Conditions { delay_ns: MS, ..Conditions::default() };
        let config = Config { pool_bytes: 96 << 20, ..Config::default() };
        let mut lab = bulk(mbit, &conditions, &config);
        lab.command(1, Command::SetMaxRate { peer: lab::PEER, max_rate: Some(rate) });
        lab.run(SECOND);
        // R21: with punctual wakes, 99 % leave within 50 µs.
        let departures = lab.departures();
        let errors = departures.iter().filter(|d| d.node == 1).map(|d| d.at_ns.checked_sub(d.scheduled_ns));
        let late = errors.clone().filter(|error| error.is_none_or(|late_ns| late_ns > 50_000)).count();
        assert!(late * 100 <= errors.count(), "{late} of {} departures", departures.len());
        for node in 0..2 {
            lab.nodes[node].late_ns = 150_000;
        }
        lab.departures();
        let from = lab.now_ns;
        let until = from + seconds * SECOND;
        let (mut expected, mut last) = (0f64, from);
        let mut next_stall = from + 50 * MS;
        while lab.now_ns < until {
            if !lab.advance((lab.now_ns + MS).min(until)) && lab.now_ns >= until {
                break;
            }
            let now = lab.now_ns;
            expected += lab.path(1).pacing_rate as f64 * (now - last) as f64 / SECOND as f64;
            last = now;
            if now >= next_stall {
                // The thread sleeps for a millisecond, twenty times a second.
                lab.nodes[1].stalled_until_ns = now + MS;
                next_stall = now + 50 * MS;
            }
        }
        let departures = lab.departures();
        let sent = sent_between(&departures, from, until) as f64;
        let late = departures.iter().filter(|d| d.node == 1 && d.at_ns > d.scheduled_ns + 50_000).count();
        println!(
            "{mbit} Mbit/s: {:.2} % of the controller's rate, which was {:.1} % of the cap; {late} of {} late",
            sent / expected * 100.0,
            expected / (rate * seconds) as f64 * 100.0,
            departures.len(),
        );
        assert!(late > 10, "nothing was late");
        // Nor does a late wake release more at once than the limit of a train.
        let (train, limit) = (longest_train(&departures), train_limit(&lab));
        assert!(train <= limit, "{mbit} Mbit/s: {train} bytes at once, {limit} allowed");
        assert!((0.99..=1.01).contains(&(sent / expected)), "{mbit} Mbit/s: {sent} of {expected}");
    }
}

#[test]
fn congestion_marks_reach_the_controller() {
    // A deep queue and CUBIC, which would fill it: marks keep it short.
    let mut queue = Vec::new();
    for ce_above_ns in [None, Some(5 * MS)] {
        let mut conditions = path(50, 20);
        (conditions.queue_bytes, conditions.ce_above_ns) = (2 << 20, ce_above_ns);
        let mut lab = bulk(14, &conditions, &cubic());
        lab.run(3 * SECOND);
        lab.clear_queue(0);
        let read = lab.read();
        lab.run(5 * SECOND);
        let share = (lab.read() - read) as f64 / (5.0 * 50e6 / 8.0);
        queue.push(lab.queue_p50_ns(0));
        assert_eq!(lab.counts(0).marked > 5, ce_above_ns.is_some());
        assert!(lab.path(1).ecn_capable);
        assert!(share > 0.8, "{share}");
    }
    assert!(queue[1] * 3 < queue[0], "{queue:?}");
}

#[test]
fn marks_that_do_not_arrive_are_given_up() {
    // Bleached on the way: the first ACK says so, and nothing is lost by it.
    let mut conditions = path(50, 20);
    conditions.bleaches_ecn = true;
    let mut lab = bulk(15, &conditions, &Config::default());
    lab.run(SECOND);
    assert!(lab.counts(0).bleached > 0);
    assert!(!lab.path(1).ecn_capable);
    lab.departures();
    lab.run(SECOND);
    let data: Vec<Departure> = lab.departures().into_iter().filter(|d| d.node == 1).collect();
    assert!(data.len() > 100 && data.iter().all(|d| d.ecn == Ecn::NotEct));
    // Swallowed on the way: three timeouts, then unmarked.
    let mut conditions = path(50, 20);
    conditions.drops_ecn = true;
    let mut lab = Lab::pair(16, &conditions, &Config::default());
    connect(&mut lab);
    lab.open(1, 1, 3, Some(1 << 20));
    let took = lab.run_until(10 * SECOND, "the end", |lab| lab.source(1, 1).newest.closed);
    assert!(lab.counts(0).ecn_dropped > 3);
    assert!(!lab.path(1).ecn_capable);
    println!("1 MiB over a path that drops marks: {} ms", took / MS);
    assert!(took < 2 * SECOND, "{took}");
    lab.go_home();
    // Nothing wrong: it stays on.
    let mut conditions = path(50, 20);
    (conditions.loss_ppm, conditions.reorder_ppm, conditions.reorder_ns) = (20_000, 20_000, 5 * MS);
    let mut lab = bulk(17, &conditions, &Config::default());
    lab.run(5 * SECOND);
    assert!(lab.path(1).ecn_capable);
}
