//! Remedies E and F: which minimum RTT BBR holds, and what becomes of it.

use super::{
    MTU, acknowledge,
    link::{Path, Sender, run},
    transfer,
};
use crate::{
    Algorithm, Controller,
    remedy::Remedies,
    route::{Route, Sample},
    rtt::Rtt,
    time::{MS, SECOND},
};

const MINIMUM: u64 = 20 * MS;
const BBR: Sender = Sender { algorithm: Algorithm::Bbr, remedies: Remedies::ALL };
const WAN: Path = Path::new(200_000_000, 20 * MS);

fn sample(now_ns: u64, sent_ns: u64, in_flight: u64) -> Sample {
    let rtt_ns = now_ns - sent_ns;
    // 25 MB/s arrive.
    let delivered = now_ns / 40;
    Sample {
        now_ns,
        sent_ns,
        rtt_ns,
        smoothed_ns: rtt_ns,
        minimum_ns: MINIMUM,
        in_flight,
        delivered,
        mtu: MTU,
    }
}

/// A route that is asked: after three round trips of 80 ms, and let down by then. Returns the time.
fn asked() -> (Route, u64) {
    let mut route = Route::default();
    let mut now = SECOND;
    while route.window() == u64::MAX {
        assert!(now <= SECOND + 3 * 80 * MS, "not asked");
        assert_eq!(route.on_sample(&sample(now, now - 80 * MS, 1_000_000)), None);
        now += 4 * MS;
    }
    now -= 4 * MS;
    assert_eq!(now, SECOND + 3 * 80 * MS, "asked too early");
    assert_eq!(route.window(), 250_000, "half of what arrives in 20 ms");
    assert_eq!(route.on_sample(&sample(now, now - 80 * MS, 250_000)), None);
    (route, now)
}

#[test]
fn remedy_f_believes_what_is_slow_with_little_in_flight() {
    let (mut route, asked_ns) = asked();
    // Sent before: says nothing.
    assert_eq!(route.on_sample(&sample(asked_ns + 40 * MS, asked_ns - 40 * MS, 250_000)), None);
    let mut found = None;
    for index in 0..4 {
        let (sent, rtt) = (asked_ns + index * MS, 80 * MS - index * 1_000);
        assert_eq!(found, None);
        assert_eq!(route.window(), 250_000);
        found = route.on_sample(&sample(sent + rtt, sent, 250_000));
    }
    assert_eq!(found, Some(80 * MS - 3_000), "the shortest");
    assert_eq!(route.window(), u64::MAX);
}

#[test]
fn remedy_f_lets_a_queue_be_a_queue_and_rests() {
    let (mut route, asked_ns) = asked();
    let now = asked_ns + 22 * MS;
    assert_eq!(route.on_sample(&sample(now, asked_ns, 250_000)), None);
    assert_eq!(route.window(), u64::MAX);
    for later in 1..100 {
        let now = now + later * 50 * MS;
        assert_eq!(route.on_sample(&sample(now, now - 80 * MS, 1_000_000)), None);
        assert_eq!(route.window(), u64::MAX, "asked again after {} ms", later * 50);
    }
}

#[test]
fn remedy_f_needs_every_sample_long_and_has_no_endless_patience() {
    let mut route = Route::default();
    for step in 0..1_000 {
        let now = SECOND + step * 4 * MS;
        // One in twenty is short.
        let rtt = if step % 20 == 0 { 25 * MS } else { 80 * MS };
        assert_eq!(route.on_sample(&sample(now, now - rtt, 1_000_000)), None);
        assert_eq!(route.window(), u64::MAX);
    }
    let (mut route, asked_ns) = asked();
    // Nothing that was sent since is acknowledged.
    let old = |now_ns| Sample { sent_ns: asked_ns - 1, ..sample(now_ns, now_ns - 80 * MS, 250_000) };
    assert_eq!(route.on_sample(&old(asked_ns + 320 * MS)), None);
    assert_ne!(route.window(), u64::MAX);
    assert_eq!(route.on_sample(&old(asked_ns + 320 * MS + 1)), None);
    assert_eq!(route.window(), u64::MAX);
}

#[test]
fn remedy_e_keeps_a_minimum_alive_and_lets_no_queue_creep_in() {
    let mut rtt = Rtt::new();
    rtt.sample(SECOND, 600 * MS, 0);
    for step in 0..100 {
        rtt.sample(SECOND + step * 100 * MS, 600 * MS + 1 + step, 0);
        assert_eq!(rtt.heard().latest_rtt().as_nanos(), 600_000_000, "as small as before");
        assert_eq!(rtt.latest(), 600 * MS + 1 + step, "our own estimate has it as it was");
    }
    // A queue that grows by 3 % and then by 3 % again is heard of.
    rtt.sample(12 * SECOND, 618 * MS, 0);
    assert_eq!(rtt.heard().latest_rtt().as_nanos(), 600_000_000);
    rtt.sample(13 * SECOND, 636 * MS, 0);
    assert_eq!(rtt.heard().latest_rtt().as_nanos(), 636_000_000);
    // When the old one has been gone for ten seconds, as long as BBR's is valid, there is a new one.
    rtt.sample(22 * SECOND, 636 * MS, 0);
    rtt.sample(23 * SECOND, 640 * MS, 0);
    assert_eq!(rtt.heard().latest_rtt().as_nanos(), 636_000_000);
}

/// The controller of a path of 20 ms that was filled for five seconds, and its rate.
fn filled() -> (Controller, u64) {
    let mut controller = Controller::new(Algorithm::Bbr, MTU, 7);
    transfer(&mut controller, SECOND, 6 * SECOND, 20 * MS, 100);
    let rate = controller.rate();
    // 100 packets in 20 ms are 7.4 MB/s.
    assert!((6_000_000..11_000_000).contains(&rate), "{rate}");
    (controller, rate)
}

#[test]
fn remedy_f_changes_the_minimum_and_not_the_rate() {
    let (mut controller, rate) = filled();
    assert_eq!(controller.min_rtt(), 20 * MS);
    let window = controller.congestion_window();
    // The same rate over 80 ms, in four batches a round trip.
    let mut flights = std::collections::VecDeque::new();
    for tick in 0..100u64 {
        let now = 6 * SECOND + tick * 20 * MS;
        while let Some((sent, newest, bytes)) = flights.front().copied()
            && sent + 80 * MS <= now
        {
            flights.pop_front();
            controller.on_ack_event(&acknowledge(now, bytes, newest, sent));
        }
        let room = controller.congestion_window().saturating_sub(controller.bytes_in_flight());
        let packets = (room / u64::from(MTU)).min(100);
        let sent = (0..packets).map(|_| controller.on_sent(now, u32::from(MTU), false)).last();
        if let Some(newest) = sent {
            flights.push_back((now, newest, packets * u64::from(MTU)));
        }
    }
    assert_eq!(controller.min_rtt(), 80 * MS);
    assert!(
        2 * controller.congestion_window() > 5 * window,
        "{} of {window}",
        controller.congestion_window()
    );
    // Either may have been measured while probing at 5/4.
    assert!(controller.rate() * 4 > rate * 3, "{} of {rate}", controller.rate());
}

#[test]
fn remedy_f_is_what_keeps_a_longer_route_full() {
    let longer = |remedies, seed| {
        let step = Some((5 * SECOND, 200_000_000, 80 * MS));
        let path = Path { step, duration_ns: 15 * SECOND, ..WAN.loss(10_000) };
        run(path, &[Sender { remedies, ..BBR }], seed).share[0]
    };
    for seed in 1..=5 {
        let with = longer(Remedies::ALL, seed);
        let without = longer(Remedies { reroute: false, ..Remedies::ALL }, seed);
        println!("seed {seed}: {with:.3}, without {without:.3}");
        assert!(with >= 0.9, "seed {seed}: {with}");
        assert!(without < 0.75, "seed {seed}: {without}");
    }
}

#[test]
fn remedy_f_takes_no_queue_for_a_route() {
    // A quarter of the rate, and room for what was in flight: eight round trips of queue.
    for seed in 1..=5 {
        let step = Some((5 * SECOND, 50_000_000, 20 * MS));
        let path = Path { step, buffer_percent: 800, duration_ns: 12 * SECOND, ..WAN };
        let report = run(path, &[BBR], seed);
        println!("{report:?}");
        assert!(report.min_rtt_ns[0] < 25 * MS, "{report:?}");
        assert!(report.share[0] >= 0.9, "{report:?}");
    }
}
