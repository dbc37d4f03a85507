//! Each trap of reference/congestion.md: that s2n-quic-core really falls into it, and that the facade does not.

use super::Noise;
use crate::{
    AckEvent, Acked, Algorithm, Controller, Lost, SentInfo,
    engine::MAX_MTU,
    remedy::{LossJudge, Nudge, below_estimate, queue_stands},
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
        bandwidth::{Bandwidth, PacketInfo, RateSample},
        bbr::BbrCongestionController,
        congestion_controller::Publisher,
    },
};
use std::panic::{AssertUnwindSafe, catch_unwind};

const BOTH: [Algorithm; 2] = [Algorithm::Bbr, Algorithm::Cubic];
const MTU: u16 = 1472;

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

fn acknowledge(now_ns: u64, bytes: u64, newest: SentInfo, newest_sent_ns: u64) -> AckEvent<'static> {
    AckEvent {
        now_ns,
        rtt_sample: Some((newest_sent_ns, 0)),
        lost: &[],
        acked: Some(Acked { bytes, newest, newest_sent_ns }),
        persistent_congestion: false,
        ecn_ce: 0,
    }
}

fn lose(now_ns: u64, lost: &[Lost]) -> AckEvent<'_> {
    AckEvent { now_ns, rtt_sample: None, lost, acked: None, persistent_congestion: false, ecn_ce: 0 }
}

/// Sends `packets` every `rtt_ns` and has all of them acknowledged, until `until_ns`.
fn transfer(controller: &mut Controller, from_ns: u64, until_ns: u64, rtt_ns: u64, packets: u32) {
    let mut now = from_ns;
    while now < until_ns {
        let mut newest = None;
        for _ in 0..packets {
            newest = Some(controller.on_sent(now, u32::from(MTU), false));
        }
        let bytes = u64::from(packets) * u64::from(MTU);
        controller.on_ack_event(&acknowledge(now + rtt_ns, bytes, newest.expect("packets were sent"), now));
        now += rtt_ns;
    }
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
        panics(|| drop(BbrCongestionController::new(16_384, Default::default()))) || !cfg!(debug_assertions)
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
        // Two megabytes at once, acknowledged at once: not an infinite bandwidth, and so not an endless window.
        let mut controller = Controller::new(algorithm, MTU, 1);
        for now in (0..2_000).map(|round| round * 20_000) {
            let info = controller.on_sent(now, 2_000_000, false);
            controller.on_ack_event(&acknowledge(now, 2_000_000, info, now));
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

#[test]
fn what_another_controller_said_of_a_packet_does_no_harm() {
    for algorithm in BOTH {
        let mut old = Controller::new(algorithm, MTU, 1);
        transfer(&mut old, 0, 5 * SECOND, 10 * MS, 30);
        let info = old.on_sent(5 * SECOND, 1472, false);
        old.on_ack_event(&lose(
            5 * SECOND,
            &[Lost { bytes: 1472, info, sent_ns: 5 * SECOND, first_of_run: true }],
        ));
        old.on_ack_event(&AckEvent { ecn_ce: 9, ..lose(5 * SECOND, &[]) });
        let foreign = old.on_sent(5 * SECOND, 1472, false);
        let mut controller = Controller::new(algorithm, MTU, 2);
        controller.on_sent(MS, 1472, false);
        controller.on_sent(MS, 1472, false);
        let lost = [Lost { bytes: 1472, info: foreign, sent_ns: 5 * SECOND, first_of_run: true }];
        controller.on_ack_event(&acknowledge(2 * MS, 1472, foreign, 5 * SECOND));
        controller.on_ack_event(&lose(3 * MS, &lost));
        assert_eq!(controller.bytes_in_flight(), 0);
        transfer(&mut controller, SECOND, 2 * SECOND, 10 * MS, 8);
    }
}

#[test]
fn after_a_restart_old_packets_are_nobodys() {
    for algorithm in BOTH {
        let mut controller = Controller::new(algorithm, MTU, 1);
        let start = controller.congestion_window();
        transfer(&mut controller, 0, SECOND, 10 * MS, 30);
        let old = controller.on_sent(SECOND, 1472, false);
        controller.restart(1200);
        assert!(!controller.has_rtt());
        assert_eq!(controller.bytes_in_flight(), 0);
        assert!(controller.congestion_window() <= start);
        let new = controller.on_sent(SECOND + MS, 1200, false);
        controller.on_ack_event(&acknowledge(SECOND + 10 * MS, 1472, old, SECOND));
        let lost = [Lost { bytes: 1472, info: old, sent_ns: SECOND, first_of_run: true }];
        controller.on_ack_event(&lose(SECOND + 10 * MS, &lost));
        assert_eq!(controller.bytes_in_flight(), 1200, "{algorithm:?}: the old one was not in flight");
        controller.on_ack_event(&acknowledge(SECOND + 20 * MS, 1200, new, SECOND + MS));
        assert_eq!(controller.bytes_in_flight(), 0);
    }
}

/// The window, the rate and the timers of an honest run with random times, losses and marks, against an account of our own.
#[test]
fn bytes_in_flight_are_those_without_a_verdict() {
    for algorithm in BOTH {
        for seed in 1..=6 {
            let (mut noise, mut controller) = (Noise::new(seed), Controller::new(algorithm, MTU, seed));
            let (mut now, mut out) = (0, Vec::new());
            for _ in 0..20_000 {
                now += noise.below(2 * MS);
                for _ in 0..noise.below(12) {
                    if controller.bytes_in_flight() < controller.congestion_window() {
                        let bytes = 1 + noise.below(1472) as u32;
                        out.push((controller.on_sent(now, bytes, noise.happens(100_000)), bytes, now));
                    }
                }
                let split = noise.below(out.len() as u64 + 1) as usize;
                let reported: Vec<_> = out.drain(..split).collect();
                let (lost, acked): (Vec<_>, Vec<_>) =
                    reported.into_iter().partition(|_| noise.happens(50_000));
                let lost: Vec<Lost> = lost
                    .into_iter()
                    .map(|(info, bytes, sent_ns)| Lost { bytes, info, sent_ns, first_of_run: true })
                    .collect();
                let bytes = acked.iter().map(|packet| u64::from(packet.1)).sum();
                let acked = acked.last().map(|(newest, _, sent_ns)| Acked {
                    bytes,
                    newest: *newest,
                    newest_sent_ns: *sent_ns,
                });
                controller.on_ack_event(&AckEvent {
                    now_ns: now + noise.below(30 * MS),
                    rtt_sample: acked.map(|acked| (acked.newest_sent_ns, noise.below(MS))),
                    lost: &lost,
                    acked,
                    persistent_congestion: noise.happens(1_000),
                    ecn_ce: u64::from(noise.happens(10_000)),
                });
                if let Some((_, bytes, _)) = out.pop_if(|_| noise.happens(20_000)) {
                    controller.on_discarded(bytes);
                }
                let ours: u64 = out.iter().map(|packet| u64::from(packet.1)).sum();
                assert_eq!(controller.bytes_in_flight(), ours, "{algorithm:?} seed {seed}");
                assert!(controller.congestion_window() >= 2 * u64::from(MTU));
                assert!((1..=12_500_000_000).contains(&controller.rate()));
                assert!(controller.pto() >= 2 * MS && controller.loss_delay() >= MS);
            }
        }
    }
}

/// Anything at all, in any order: the facade's promise is that nothing panics, with s2n-quic-core's assertions on.
#[test]
fn nothing_panics() {
    assert!(cfg!(debug_assertions), "the test is worth little without assertions");
    for algorithm in BOTH {
        for seed in 1..=30 {
            let (mut noise, mut controller) = (Noise::new(seed), Controller::new(algorithm, MTU, seed));
            let mut other = Controller::new(algorithm, MTU, seed + 1);
            let mut infos = vec![other.on_sent(u64::MAX, u32::MAX, false)];
            let wild = |noise: &mut Noise| match noise.below(6) {
                0 => 0,
                1 => u64::MAX - noise.below(3),
                2 => noise.next(),
                3 => noise.below(1 << 20),
                4 => noise.below(1 << 33),
                _ => 1472,
            };
            for _ in 0..3_000 {
                // Mostly an ordinary clock, so that BBR gets past its start.
                let time = |noise: &mut Noise, i: u64| {
                    if noise.happens(10_000) { wild(noise) >> 20 } else { i * MS + noise.below(40 * MS) }
                };
                let step = infos.len() as u64;
                for _ in 0..noise.below(20) {
                    let bytes = if noise.happens(20_000) { wild(&mut noise) as u32 } else { 1472 };
                    infos.push(controller.on_sent(time(&mut noise, step), bytes, noise.happens(300_000)));
                }
                let any = |noise: &mut Noise| {
                    let back = noise.below(200.min(step)) + 1;
                    infos[(infos.len() as u64 - back.min(step)) as usize]
                };
                let lost: Vec<Lost> = (0..noise.below(4))
                    .map(|_| Lost {
                        bytes: wild(&mut noise) as u32,
                        info: any(&mut noise),
                        sent_ns: wild(&mut noise),
                        first_of_run: noise.happens(500_000),
                    })
                    .collect();
                let acked = noise.happens(900_000).then(|| Acked {
                    bytes: if noise.happens(20_000) { wild(&mut noise) } else { 1472 * noise.below(30) },
                    newest: any(&mut noise),
                    newest_sent_ns: time(&mut noise, step),
                });
                let event = AckEvent {
                    now_ns: time(&mut noise, step),
                    rtt_sample: noise.happens(800_000).then(|| (time(&mut noise, step), wild(&mut noise))),
                    lost: &lost,
                    acked,
                    persistent_congestion: noise.happens(2_000),
                    ecn_ce: if noise.happens(20_000) { wild(&mut noise) } else { 0 },
                };
                controller.on_ack_event(&event);
                match noise.below(400) {
                    0 => controller.on_mtu(wild(&mut noise) as u16),
                    1 => controller.on_discarded(wild(&mut noise) as u32),
                    2 => controller.set_max_rate(Some(wild(&mut noise))),
                    3 => controller.seed_rtt(wild(&mut noise), wild(&mut noise)),
                    4 => controller.restart(wild(&mut noise) as u16),
                    _ => {}
                }
                assert!(controller.rate() >= 1);
                assert!(controller.pto() >= controller.smoothed_rtt());
            }
        }
    }
}

#[test]
fn a_full_scale_window_does_not_overflow() {
    // App-limited, BBR never leaves its start, and its window grows with every byte while the path looks large enough.
    let mut controller = Controller::new(Algorithm::Bbr, MTU, 1);
    let mut now = 0;
    let mut largest = 0;
    for _ in 0..20 {
        let newest = (0..64).map(|_| controller.on_sent(now, 1 << 25, true)).last().expect("64");
        assert_eq!(controller.bytes_in_flight(), 1 << 31);
        controller.on_ack_event(&acknowledge(now + SECOND, 1 << 31, newest, now));
        assert_eq!(controller.bytes_in_flight(), 0);
        largest = largest.max(controller.congestion_window());
        now += SECOND;
    }
    assert!(largest > 1 << 31, "{largest}");
}

fn packet_info(delivered_bytes: u64) -> PacketInfo {
    PacketInfo {
        delivered_bytes,
        delivered_time: timestamp(0),
        lost_bytes: 0,
        ecn_ce_count: 0,
        first_sent_time: timestamp(0),
        bytes_in_flight: 0,
        is_app_limited: false,
    }
}

#[test]
fn remedy_a_takes_the_later_sent_of_two_with_equal_counts() {
    let mut nudge = Nudge::default();
    let (at_1, at_2, at_3) = (timestamp(MS), timestamp(2 * MS), timestamp(3 * MS));
    assert_eq!(nudge.apply(packet_info(5000), at_2), (packet_info(5000), at_2));
    assert_eq!(nudge.apply(packet_info(5000), at_3), (packet_info(5001), at_3));
    let older = PacketInfo { bytes_in_flight: 7, ..packet_info(4000) };
    assert_eq!(nudge.apply(older, at_1), (packet_info(5002), at_3), "the earlier sent does not move it back");
    assert_eq!(nudge.apply(packet_info(9000), at_3), (packet_info(9000), at_3));
}

#[test]
fn remedy_b_judges_by_share_queue_and_number() {
    let judge = |lost: u64, delivered: u64, smoothed: u64, minimum: u64| {
        let mut judge = LossJudge::default();
        judge.lost(lost * 1472);
        judge.delivered(delivered * 1472);
        judge.is_burst(smoothed, minimum, MTU)
    };
    let (free, queued) = ((20 * MS, 20 * MS), (27 * MS, 20 * MS));
    assert!(!judge(5, 95, free.0, free.1), "random loss");
    assert!(judge(11, 89, free.0, free.1), "more than random");
    assert!(!judge(3, 5, free.0, free.1), "three packets are not a share");
    assert!(judge(3, 97, queued.0, queued.1));
    assert!(!judge(2, 98, queued.0, queued.1));
    assert!(!judge(5, 95, 26 * MS, 20 * MS), "the threshold of a queue is 1.25 and a millisecond");
    // Two windows back is forgotten.
    let mut judge = LossJudge::default();
    judge.advance(100 * MS, 20 * MS);
    judge.lost(100 * 1472);
    judge.advance(125 * MS, 20 * MS);
    judge.delivered(100 * 1472);
    assert!(judge.is_burst(20 * MS, 20 * MS, MTU));
    judge.advance(150 * MS, 20 * MS);
    judge.delivered(100 * 1472);
    assert!(!judge.is_burst(20 * MS, 20 * MS, MTU));
    judge.lost(100 * 1472);
    assert!(judge.is_burst(20 * MS, 20 * MS, MTU));
    judge.advance(SECOND, 20 * MS);
    assert!(!judge.is_burst(20 * MS, 20 * MS, MTU), "a pause forgets both");
}

#[test]
fn remedies_c_and_d_move_the_rate_of_cruise() {
    assert!(!queue_stands(23 * MS, 20 * MS));
    assert!(queue_stands(23 * MS + 1, 20 * MS));
    assert_eq!(below_estimate(1_000_000), 900_000);
    let repaid = |lost: u64, delivered: u64| {
        let mut judge = LossJudge::default();
        judge.lost(lost);
        judge.delivered(delivered);
        judge.repay(1_000_000)
    };
    assert_eq!(repaid(0, 0), 1_000_000);
    assert_eq!(repaid(0, 1_000_000), 1_000_000);
    assert_eq!(repaid(50_000, 950_000), 1_025_000, "half of 5 %");
    assert_eq!(repaid(200_000, 800_000), 1_000_000, "that much is not random");
}

#[test]
fn the_memory_of_a_packet_is_small() {
    assert!(size_of::<SentInfo>() <= 48, "{}", size_of::<SentInfo>());
}
