//! Each trap of reference/congestion.md: that s2n-quic-core really falls into it, and that the facade does not.

use super::{BOTH, MTU, acknowledge, lose, transfer};
use crate::{
    AckEvent, Algorithm, Controller, Lost,
    engine::MAX_MTU,
    time::{MS, SECOND, timestamp},
};
use core::time::Duration;
use num_rational::Ratio;
use s2n_quic_core::{
    event::builder::{BbrState, SlowStartExitCause},
    packet::number::PacketNumberSpace,
    random,
    recovery::{
        CongestionController, CubicCongestionController, RttEstimator,
        bandwidth::{Bandwidth, RateSample},
        bbr::BbrCongestionController,
        congestion_controller::Publisher,
    },
};
use std::panic::{AssertUnwindSafe, catch_unwind};

struct Deaf;

impl Publisher for Deaf {
    fn on_slow_start_exited(&mut self, _: SlowStartExitCause, _: u32) {}
    fn on_delivery_rate_sampled(&mut self, _: RateSample) {}
    fn on_pacing_rate_updated(&mut self, _: Bandwidth, _: u32, _: Ratio<u64>) {}
    fn on_bbr_state_changed(&mut self, _: BbrState) {}
}

struct Zeros;

impl random::Generator for Zeros {
    fn public_random_fill(&mut self, dest: &mut [u8]) {
        dest.fill(0);
    }
    fn private_random_fill(&mut self, dest: &mut [u8]) {
        dest.fill(0);
    }
}

fn panics(raw: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(raw)).is_err()
}

#[test]
fn trap_1_time_goes_backwards() {
    let (rtt, mut zeros) = (RttEstimator::new(Duration::from_millis(33)), Zeros);
    assert!(panics(|| {
        let mut bbr = BbrCongestionController::new(MTU, Default::default());
        let info = bbr.on_packet_sent(timestamp(SECOND), 1472, Some(false), &rtt, &mut Deaf);
        bbr.on_ack(timestamp(SECOND), 1472, info, &rtt, &mut zeros, timestamp(SECOND / 2), &mut Deaf);
    }));
    for algorithm in BOTH {
        let mut controller = Controller::new(algorithm, MTU, 1);
        let first = controller.on_sent(SECOND, 1472, false);
        let second = controller.on_sent(SECOND / 4, 1472, false);
        controller.on_ack_event(&acknowledge(SECOND / 2, 1472, first, SECOND));
        controller.on_ack_event(&acknowledge(SECOND / 3, 1472, second, SECOND / 4));
        let third = controller.on_sent(0, 1472, false);
        controller
            .on_ack_event(&lose(0, &[Lost { bytes: 1472, info: third, sent_ns: 0, first_of_run: true }]));
        assert_eq!(controller.bytes_in_flight(), 0, "{algorithm:?}");
        transfer(&mut controller, 2 * SECOND, 3 * SECOND, 20 * MS, 8);
        assert!(controller.rate() > 100_000, "{algorithm:?} still works: {}", controller.rate());
    }
}

#[test]
fn trap_2_a_packet_is_reported_twice() {
    let (rtt, mut zeros) = (RttEstimator::new(Duration::from_millis(33)), Zeros);
    let twice = panics(|| {
        let mut bbr = BbrCongestionController::new(MTU, Default::default());
        let info = bbr.on_packet_sent(timestamp(SECOND), 1472, Some(false), &rtt, &mut Deaf);
        for _ in 0..2 {
            bbr.on_packet_lost(1472, info, false, true, &mut zeros, timestamp(2 * SECOND), &mut Deaf);
        }
    });
    assert_eq!(twice, cfg!(debug_assertions));
    for algorithm in BOTH {
        let mut controller = Controller::new(algorithm, MTU, 1);
        let info = controller.on_sent(MS, 1472, false);
        let lost = [Lost { bytes: 1472, info, sent_ns: MS, first_of_run: true }; 2];
        controller.on_ack_event(&lose(30 * MS, &lost));
        controller.on_ack_event(&acknowledge(31 * MS, 1472, info, MS));
        controller.on_ack_event(&acknowledge(31 * MS, 2 * 1472, info, MS));
        controller.on_discarded(1472);
        assert_eq!(controller.bytes_in_flight(), 0, "{algorithm:?}");
        controller.on_sent(40 * MS, 1472, false);
        assert_eq!(controller.bytes_in_flight(), 1472, "{algorithm:?}");
    }
}

#[test]
fn trap_3_the_mtu_is_16384_or_more() {
    assert!(
        panics(|| {
            BbrCongestionController::new(16_384, Default::default());
        }) || !cfg!(debug_assertions)
    );
    for algorithm in BOTH {
        for mtu in [0, 1, 16_383, 16_384, u16::MAX] {
            let mut controller = Controller::new(algorithm, mtu, 1);
            transfer(&mut controller, 0, SECOND, 10 * MS, 4);
            controller.on_mtu(u16::MAX);
            transfer(&mut controller, SECOND, 2 * SECOND, 10 * MS, 4);
            assert!(controller.congestion_window() >= 2 * u64::from(MAX_MTU), "{algorithm:?} {mtu}");
            controller.on_mtu(0);
            controller.on_mtu(MTU);
            transfer(&mut controller, 2 * SECOND, 3 * SECOND, 10 * MS, 4);
            assert!(controller.congestion_window() >= 2 * u64::from(MTU), "{algorithm:?} {mtu}");
        }
    }
}

#[test]
fn trap_4_cubic_hears_of_an_rtt_before_a_send() {
    assert!(panics(|| {
        let rtt = RttEstimator::new(Duration::from_millis(33));
        let mut cubic = CubicCongestionController::new(MTU, Default::default());
        cubic.on_rtt_update(timestamp(0), timestamp(MS), &rtt, &mut Deaf);
    }));
    for algorithm in BOTH {
        let mut controller = Controller::new(algorithm, MTU, 1);
        controller.seed_rtt(MS, 20 * MS);
        assert!(controller.has_rtt());
        assert_eq!(controller.smoothed_rtt(), 20 * MS);
        controller.on_ack_event(&AckEvent { rtt_sample: Some((0, 0)), ..lose(MS, &[]) });
        assert_eq!(controller.latest_rtt(), MS);
        // A packet of no bytes is no send for CUBIC.
        controller.on_sent(2 * MS, 0, false);
        controller.on_ack_event(&AckEvent { rtt_sample: Some((2 * MS, 0)), ..lose(4 * MS, &[]) });
        assert_eq!(controller.latest_rtt(), 2 * MS);
    }
}

#[test]
fn trap_5_an_rtt_of_the_same_microsecond() {
    let mut rtt = RttEstimator::new(Duration::from_millis(33));
    let mut bbr = BbrCongestionController::new(MTU, Default::default());
    let now = timestamp(SECOND);
    rtt.update_rtt(Duration::ZERO, Duration::ZERO, now, true, PacketNumberSpace::ApplicationData);
    bbr.on_rtt_update(now, now, &rtt, &mut Deaf);
    assert!(bbr.pacing_rate().as_bytes_per_second() > 40_000_000_000);
    for algorithm in BOTH {
        let mut controller = Controller::new(algorithm, MTU, 1);
        for now in 1..2_000 {
            let info = controller.on_sent(now, 1472, false);
            controller.on_ack_event(&acknowledge(now, 1472, info, now));
        }
        assert_eq!(controller.min_rtt(), 10_000, "{algorithm:?}");
        assert!(controller.rate() <= 12_500_000_000, "{algorithm:?} {}", controller.rate());
        // Two megabytes at once, acknowledged a microsecond later: not an infinite bandwidth, and so not an endless window.
        let mut controller = Controller::new(algorithm, MTU, 1);
        for now in (0..2_000).map(|round| round * 20_000) {
            let info = controller.on_sent(now, 2_000_000, false);
            controller.on_ack_event(&acknowledge(now + 1_000, 2_000_000, info, now));
        }
        assert!(controller.congestion_window() <= 10_000_000, "{}", controller.congestion_window());
        controller.set_max_rate(Some(1_000_000));
        assert_eq!(controller.rate(), 1_000_000);
        controller.set_max_rate(Some(0));
        assert_eq!(controller.rate(), 1);
    }
}

#[test]
fn trap_7_the_rate_before_the_first_rtt_is_ours() {
    for algorithm in BOTH {
        let mut controller = Controller::new(algorithm, MTU, 1);
        assert_eq!(controller.rate(), 12_500_000, "{algorithm:?}");
        controller.set_max_rate(Some(5_000_000));
        assert_eq!(controller.rate(), 5_000_000, "{algorithm:?}");
        controller.set_max_rate(None);
        controller.seed_rtt(0, 20 * MS);
        // The window of ten packets in 20 ms, times 2.77 (BBR) or 2 (CUBIC).
        let a_window = controller.congestion_window() * 50;
        assert!(
            (2 * a_window..3 * a_window).contains(&controller.rate()),
            "{algorithm:?} {}",
            controller.rate()
        );
        // The handshake's sample does not replace real ones.
        controller.seed_rtt(0, SECOND);
        assert_eq!(controller.smoothed_rtt(), 20 * MS);
    }
}

#[test]
fn trap_8_cubic_grows_by_bytes_not_by_events() {
    let grown = |a_batch: usize| {
        let mut controller = Controller::new(Algorithm::Cubic, MTU, 1);
        let mut now = 0;
        let mut round = |controller: &mut Controller| {
            let packets = controller.congestion_window() / 1472;
            let packets: Vec<_> = (0..packets).map(|_| controller.on_sent(now, 1472, false)).collect();
            for batch in packets.chunks(a_batch) {
                let newest = *batch.last().expect("chunks are not empty");
                controller.on_ack_event(&acknowledge(now + 40 * MS, batch.len() as u64 * 1472, newest, now));
            }
            now += 40 * MS;
        };
        // Slow start, until the window is so large that its cubic function, and not the one of Reno, is in charge.
        (0..8).for_each(|_| round(&mut controller));
        let info = controller.on_sent(320 * MS, 1472, false);
        let lost = [Lost { bytes: 1472, info, sent_ns: 320 * MS, first_of_run: true }];
        controller.on_ack_event(&lose(321 * MS, &lost));
        let before = controller.congestion_window();
        (0..100).for_each(|_| round(&mut controller));
        (before, controller.congestion_window())
    };
    let (before, one_by_one) = grown(1);
    let (same, at_once) = grown(usize::MAX);
    assert_eq!(before, same);
    assert!(one_by_one > before + before / 10, "{before} → {one_by_one}");
    assert!(at_once.abs_diff(one_by_one) <= one_by_one / 20, "{at_once} against {one_by_one}");
}

#[test]
fn trap_9_floors_acknowledgement_delays_and_a_minimum_that_ages() {
    let mut controller = Controller::new(Algorithm::Bbr, MTU, 1);
    assert!(!controller.has_rtt());
    assert!((90 * MS..=100 * MS).contains(&controller.pto()), "three times 33 ms: {}", controller.pto());
    let sample = |controller: &mut Controller, now: u64, rtt: u64, delay: u64| {
        controller.on_ack_event(&AckEvent { rtt_sample: Some((now - rtt, delay)), ..lose(now, &[]) });
    };
    for i in 0..50 {
        sample(&mut controller, SECOND + i * MS, MS / 10, 0);
    }
    assert_eq!(controller.smoothed_rtt(), MS / 10);
    assert_eq!(controller.loss_delay(), MS);
    assert_eq!(controller.pto(), 2 * MS);
    // A delay the peer claims is not believed.
    for i in 0..100 {
        sample(&mut controller, 2 * SECOND + i * MS, 16 * MS, 15 * MS);
    }
    assert!(controller.smoothed_rtt() > 15 * MS);
    assert_eq!(controller.latest_rtt(), 16 * MS);
    assert_eq!(controller.loss_delay(), 18 * MS);
    assert!(controller.pto() >= 16 * MS + MS - MS / 10, "{}", controller.pto());
    assert_eq!(controller.min_rtt(), MS / 10);
    for second in 3..14 {
        sample(&mut controller, second * SECOND, 16 * MS, 0);
    }
    assert_eq!(controller.min_rtt(), 16 * MS, "the old route is forgotten");
    sample(&mut controller, 40 * SECOND, 20 * MS, 0);
    assert_eq!(controller.min_rtt(), 20 * MS, "and so is everything before a long pause");
}

#[test]
fn trap_9_persistent_congestion_reaches_the_rtt_and_cubic() {
    for algorithm in BOTH {
        let mut controller = Controller::new(algorithm, MTU, 1);
        // A loss before, which ends slow start.
        let info = controller.on_sent(0, 1472, false);
        let lost = [Lost { bytes: 1472, info, sent_ns: 0, first_of_run: true }];
        controller.on_ack_event(&lose(MS, &lost));
        transfer(&mut controller, 2 * MS, SECOND, 20 * MS, 20);
        let window = controller.congestion_window();
        let info = controller.on_sent(SECOND, 1472, false);
        let lost = [Lost { bytes: 1472, info, sent_ns: SECOND, first_of_run: true }];
        let event = AckEvent { persistent_congestion: true, ..lose(3 * SECOND, &lost) };
        controller.on_ack_event(&event);
        assert!(controller.has_rtt());
        if algorithm == Algorithm::Cubic {
            assert_eq!(controller.congestion_window(), 2 * 1472);
            let a_window = controller.congestion_window() * 50;
            assert_eq!(controller.rate(), 2 * a_window, "slow start paces at twice the window");
        } else {
            assert_eq!(controller.congestion_window(), window, "BBR does not mind");
        }
        controller
            .on_ack_event(&AckEvent { rtt_sample: Some((4 * SECOND, 0)), ..lose(4 * SECOND + 90 * MS, &[]) });
        assert_eq!(controller.smoothed_rtt(), 90 * MS, "the next sample counts whole");
    }
}

#[test]
fn trap_10_a_trickle_that_says_so_turns_to_bulk_at_once() {
    // One packet a round trip says nothing about the path. Who calls it bulk teaches BBR that the pipe is full.
    let bulk_rate = |says_so: bool| {
        let mut controller = Controller::new(Algorithm::Bbr, MTU, 1);
        for round in 0..20 {
            let now = round * 20 * MS;
            let info = controller.on_sent(now, 1472, says_so);
            controller.on_ack_event(&acknowledge(now + 20 * MS, 1472, info, now));
        }
        transfer(&mut controller, SECOND, SECOND + 60 * MS, 20 * MS, 64);
        controller.rate()
    };
    let (honest, careless) = (bulk_rate(true), bulk_rate(false));
    assert!(honest > 2 * careless, "{honest} against {careless}");
}
