//! Whatever the facade is told, in whatever order: nothing panics, and an honest account stays exact.

use super::{BOTH, MTU, Noise, acknowledge, lose, transfer};
use crate::{
    AckEvent, Acked, Algorithm, Controller, Lost, SentInfo,
    time::{MS, SECOND},
};

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
fn a_peer_that_claims_absurd_marks_does_no_harm() {
    for algorithm in BOTH {
        let mut controller = Controller::new(algorithm, MTU, 1);
        for round in 0..5 {
            let sent_ns = round * 20 * MS;
            let info = controller.on_sent(sent_ns, 1472, false);
            for _ in 0..3 {
                controller.on_ack_event(&AckEvent { ecn_ce: u64::MAX, ..lose(sent_ns + MS, &[]) });
            }
            controller.on_ack_event(&acknowledge(sent_ns + 20 * MS, 1472, info, sent_ns));
        }
        assert_eq!(controller.bytes_in_flight(), 0);
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

#[test]
fn the_memory_of_a_packet_is_small() {
    assert!(size_of::<SentInfo>() <= 48, "{}", size_of::<SentInfo>());
}
