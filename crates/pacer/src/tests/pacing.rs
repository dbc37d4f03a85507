//! Departure times, and catch-up after a stall.

use super::{Noise, RATES};
use crate::{
    AckEvent, Acked, Algorithm, Controller, Pacer,
    time::{MS, SECOND},
};
use std::collections::{BTreeMap, VecDeque};

fn controller_with_rtt(rtt_ns: u64) -> Controller {
    let mut controller = Controller::new(Algorithm::Bbr, 1472, 1);
    controller.seed_rtt(0, rtt_ns);
    controller
}

/// Filled round trip after round trip until it takes `least_window` bytes in flight.
fn grown_controller(rtt_ns: u64, least_window: u64) -> Controller {
    let mut controller = controller_with_rtt(rtt_ns);
    let mut now_ns = rtt_ns;
    while controller.congestion_window() < least_window {
        let sent_ns = now_ns;
        let mut newest = controller.on_sent(sent_ns, 1472, false);
        let mut bytes = 1472;
        while bytes + 1472 <= controller.congestion_window() {
            newest = controller.on_sent(sent_ns, 1472, false);
            bytes += 1472;
        }
        now_ns += rtt_ns;
        controller.on_ack_event(&AckEvent {
            now_ns,
            rtt_sample: Some((sent_ns, 0)),
            lost: &[],
            acked: Some(Acked { bytes, newest, newest_sent_ns: sent_ns }),
            persistent_congestion: false,
            ecn_ce: 0,
        });
    }
    controller
}

#[test]
fn long_run_rate_is_exact() {
    for rate in RATES {
        let (mut pacer, mut noise) = (Pacer::new(), Noise::new(rate));
        let (mut bytes, mut last) = (0u128, 0);
        for _ in 0..20_000 {
            // At 12.5 GB/s, a burst of this size takes longer than the 1 µs floor.
            let burst = 20_000 + noise.below(45_000);
            last = pacer.schedule(0, burst, rate);
            bytes += u128::from(burst);
        }
        let end = pacer.next_departure();
        let exact = bytes * u128::from(SECOND) / u128::from(rate);
        assert!(u128::from(end).abs_diff(exact) <= 1, "{end} instead of {exact} ns at {rate} B/s");
        assert!(last < end);
    }
}

#[test]
fn no_interval_is_under_a_microsecond() {
    let mut pacer = Pacer::new();
    let departures: Vec<u64> = (0..4).map(|_| pacer.schedule(0, 1, 12_500_000_000)).collect();
    assert_eq!(departures, [0, 1_000, 2_000, 3_000]);
}

#[test]
fn departures_never_decrease_and_never_lie_in_the_past() {
    for seed in 1..=50 {
        let (mut pacer, mut noise) = (Pacer::new(), Noise::new(seed));
        let (mut now, mut last) = (0u64, 0);
        for _ in 0..2_000 {
            // The clock stands still, runs, idles and steps back.
            now = match noise.below(10) {
                0 => now.saturating_sub(noise.below(SECOND)),
                1 => now + noise.below(SECOND),
                _ => now + noise.below(MS),
            };
            let rate = RATES[noise.below(6) as usize];
            let bytes = 1 + noise.below(65_536);
            let departure = pacer.schedule(now, bytes, rate);
            assert!(departure >= last && departure >= now, "{departure} after {last} at {now}");
            last = departure;
            if noise.below(4) == 0 {
                pacer.refund(bytes, rate);
            }
        }
    }
}

#[test]
fn absurd_input_saturates() {
    let mut pacer = Pacer::new();
    pacer.schedule(u64::MAX, u64::MAX, 0);
    assert_eq!(pacer.schedule(0, u64::MAX, 0), u64::MAX);
    assert_eq!(pacer.next_departure(), u64::MAX);
    pacer.refund(u64::MAX, 0);
    pacer.refund(u64::MAX, 1);
    assert_eq!(pacer.admit(u64::MAX, u64::MAX, 0, u64::MAX, u64::MAX), Ok(()));
    pacer.refund_admission(u64::MAX, 0);
}

#[test]
fn a_new_rate_holds_from_the_next_burst_on() {
    let mut pacer = Pacer::new();
    assert_eq!(pacer.schedule(0, 10_000, 10_000_000), 0);
    assert_eq!(pacer.schedule(0, 10_000, 1_000_000), MS);
    assert_eq!(pacer.schedule(0, 10_000, 10_000_000), 11 * MS);
    assert_eq!(pacer.next_departure(), 12 * MS);
}

#[test]
fn idling_earns_no_credit() {
    let mut pacer = Pacer::new();
    for _ in 0..10 {
        pacer.schedule(0, 10_000, 10_000_000);
    }
    let departures: Vec<u64> = (0..3).map(|_| pacer.schedule(5 * SECOND, 10_000, 10_000_000)).collect();
    assert_eq!(departures, [5 * SECOND, 5 * SECOND + MS, 5 * SECOND + 2 * MS]);
}

#[test]
fn a_refund_gives_back_exactly_what_was_taken() {
    for seed in 1..=20 {
        let (mut pacer, mut noise) = (Pacer::new(), Noise::new(seed));
        let rate = 1_250_000_000 + noise.below(1_000_000);
        let (mut live, mut cancelled) = (0u128, Vec::new());
        for _ in 0..5_000 {
            let bytes = 2_000 + noise.below(60_000);
            pacer.schedule(0, bytes, rate);
            if noise.below(3) == 0 {
                cancelled.push(bytes);
            } else {
                live += u128::from(bytes);
            }
            if noise.below(8) == 0 {
                cancelled.drain(..).for_each(|bytes| pacer.refund(bytes, rate));
            }
        }
        cancelled.drain(..).for_each(|bytes| pacer.refund(bytes, rate));
        pacer.schedule(0, 1_000_000, rate);
        let exact = (live + 1_000_000) * u128::from(SECOND) / u128::from(rate);
        let end = u128::from(pacer.next_departure());
        assert!(end.abs_diff(exact) <= 1, "{end} instead of {exact}");
    }
}

#[test]
fn bursts_are_a_millisecond_within_their_limits() {
    let pacer = Pacer::new();
    let blind = Controller::new(Algorithm::Bbr, 1472, 1);
    assert!(!blind.has_rtt());
    assert_eq!(pacer.burst_packets(&blind, 1472, 64, 65_507), 8, "12.5 MB/s before the first RTT");
    assert_eq!(pacer.burst_packets(&blind, 100, 64, 65_507), 10, "at most ten until there is one");
    let fast = grown_controller(MS / 10, 3 * 65_507);
    assert!(fast.rate() > 65_507 * 1000, "{}", fast.rate());
    assert_eq!(pacer.burst_packets(&fast, 1472, 64, 65_507), 44, "bytes bound it");
    assert_eq!(pacer.burst_packets(&fast, 500, 64, 65_507), 64, "segments bound it");
    assert_eq!(pacer.burst_packets(&fast, 1472, 1, 65_507), 1, "no segmentation offload");
    assert_eq!(pacer.burst_packets(&fast, 1472, 64, 100), 1, "never none");
    assert_eq!(pacer.burst_packets(&fast, 0, 64, 65_507), 64);
    let slow = controller_with_rtt(200 * MS);
    assert_eq!(pacer.burst_packets(&slow, 1472, 64, 65_507), 2, "{} B/s", slow.rate());
    let middle = controller_with_rtt(4 * MS);
    let expected = (middle.rate() / 1000 / 1472) as usize;
    assert!(expected > 2 && expected < 44);
    let middle = grown_controller(4 * MS, 3 * 1472 * expected as u64);
    let expected = (middle.rate() / 1000 / 1472) as usize;
    assert_eq!(pacer.burst_packets(&middle, 1472, 64, 65_507), expected.min(44));
}

#[test]
fn a_window_has_room_for_three_bursts() {
    let pacer = Pacer::new();
    let small = controller_with_rtt(MS / 10);
    assert!(small.rate() > 65_507 * 1000 && small.congestion_window() < 3 * 10 * 1472);
    assert_eq!(pacer.burst_packets(&small, 1472, 64, 65_507), 10, "as before the first RTT");
    let medium = grown_controller(MS / 10, 3 * 12 * 1472);
    let third = medium.congestion_window() / 3 / 1472;
    assert!((12..44).contains(&third), "{third}");
    assert_eq!(pacer.burst_packets(&medium, 1472, 64, 65_507) as u64, third);
}

#[test]
fn a_window_that_is_half_used_waits_for_a_whole_burst() {
    let pacer = Pacer::new();
    let mut controller = controller_with_rtt(20 * MS);
    let window = controller.congestion_window();
    assert_eq!(pacer.window_room(&controller, 0, 4_000), window);
    assert_eq!(pacer.window_room(&controller, window - 4_000, 4_000), 4_000);
    assert_eq!(pacer.window_room(&controller, window - 3_999, 4_000), 0, "wait");
    assert_eq!(
        pacer.window_room(&controller, window / 2, 2 * window),
        window - window / 2,
        "half is not more than half"
    );
    assert_eq!(pacer.window_room(&controller, window / 2 + 1, 2 * window), 0);
    assert_eq!(pacer.window_room(&controller, u64::MAX, 1), 0);
    controller.on_sent(0, (window - 2_000) as u32, false);
    assert_eq!(pacer.window_room(&controller, 0, 2_000), 2_000, "in flight counts as well");
    assert_eq!(pacer.window_room(&controller, 1, 2_000), 0);
}

/// A worker with a wheel that schedules two milliseconds ahead, releases what is due through the path's line, and sleeps
/// now and then.
struct Worker {
    pacer: Pacer,
    noise: Noise,
    /// By departure and number: bytes.
    wheel: BTreeMap<(u64, u64), u64>,
    /// Due and told to wait, or behind what was: number and bytes.
    line: VecDeque<(u64, u64)>,
    /// When to ask again for the first of the line.
    line_ns: u64,
    number: u64,
    scheduled: u64,
    rate: u64,
    rtt_ns: u64,
    burst: u64,
    /// When, how much and in which order it left.
    sent: Vec<(u64, u64, u64)>,
    held: u64,
    cancelled: u64,
    /// Wakes that came late.
    slept: u64,
}

impl Worker {
    fn new(rate: u64, rtt_ns: u64, seed: u64) -> Self {
        Self {
            pacer: Pacer::new(),
            noise: Noise::new(seed),
            wheel: BTreeMap::new(),
            line: VecDeque::new(),
            line_ns: 0,
            number: 0,
            scheduled: 0,
            rate,
            rtt_ns,
            burst: (rate / 1000).clamp(2 * 1472, 44 * 1472),
            sent: Vec::new(),
            held: 0,
            cancelled: 0,
            slept: 0,
        }
    }

    fn bound(&self) -> u64 {
        (2 * self.burst).max(self.rate * self.rtt_ns.min(4 * MS) / SECOND)
    }

    fn fill(&mut self, now: u64) {
        let ahead = self.burst.max(self.rate / 500);
        while self.scheduled == 0 || self.scheduled + self.burst <= ahead {
            // Mostly whole bursts, sometimes a single packet, as a retransmission is.
            let bytes = if self.noise.below(4) == 0 { 1472 } else { self.burst };
            let at = self.pacer.schedule(now, bytes, self.rate);
            self.number += 1;
            self.wheel.insert((at, self.number), bytes);
            self.scheduled += bytes;
        }
    }

    /// Releases everything due, in order.
    fn release(&mut self, now: u64) {
        let later = self.wheel.split_off(&(now + 1, 0));
        let due = std::mem::replace(&mut self.wheel, later);
        self.line.extend(due.into_iter().map(|((_, number), bytes)| (number, bytes)));
        while let Some(&(number, bytes)) = self.line.front() {
            if self.cancelled > 0 {
                self.cancelled -= 1;
                self.pacer.refund(bytes, self.rate);
            } else if let Err(at) = self.pacer.admit(now, bytes, self.rate, self.rtt_ns, self.burst) {
                assert!(at > now);
                self.held += 1;
                self.line_ns = at;
                return;
            } else {
                self.sent.push((now, bytes, number));
            }
            self.line.pop_front();
            self.scheduled -= bytes;
        }
    }

    /// Steps at every due time until `end`, and sleeps through `stalls` (from, until).
    fn run(&mut self, end: u64, stalls: &[(u64, u64)]) {
        self.fill(0);
        loop {
            let wheel = self.wheel.first_key_value().map(|((at, _), _)| *at);
            let line = (!self.line.is_empty()).then_some(self.line_ns);
            let at = wheel.into_iter().chain(line).min().expect("a path always has something scheduled");
            let asleep = stalls.iter().find(|(from, until)| (*from..*until).contains(&at));
            let now = asleep.map_or(at, |(_, until)| *until);
            self.slept += u64::from(now > at);
            if now > end {
                return;
            }
            self.release(now);
            self.fill(now);
        }
    }

    fn sent_between(&self, from: u64, until: u64) -> u64 {
        self.sent.iter().filter(|(at, ..)| (from..until).contains(at)).map(|(_, bytes, _)| bytes).sum()
    }

    /// In no interval did more leave than the bound and what the rate allows in its length (a leaky bucket's verdict).
    fn check_bound(&self) {
        let (bound, rate) = (i128::from(self.bound()), i128::from(self.rate));
        let (mut level, mut last) = (0i128, 0);
        for &(at, bytes, _) in &self.sent {
            level = (level - i128::from(at - last) * rate).max(0) + i128::from(bytes) * i128::from(SECOND);
            last = at;
            // A nanosecond of rate for rounding.
            assert!(
                level <= bound * i128::from(SECOND) + 2 * rate,
                "{} B at {at} ns exceed {bound} at {rate} B/s",
                level / i128::from(SECOND)
            );
        }
    }
}

#[test]
fn a_stall_ends_in_a_bounded_train_and_the_rate_recovers() {
    let (mut slept, mut caught_up, mut held) = (0, 0, 0);
    for rate in [1_250_000, 25_000_000, 125_000_000, 1_250_000_000] {
        for rtt_ns in [50_000, MS, 3 * MS, 20 * MS] {
            for stall_ns in [MS, 3 * MS, 10 * MS, 100 * MS, SECOND, 10 * SECOND] {
                let mut worker = Worker::new(rate, rtt_ns, rtt_ns + stall_ns);
                let from = 200 * MS + 12_345;
                let until = from + stall_ns;
                let end = until + 400 * MS;
                worker.run(end, &[(from, until)]);
                worker.check_bound();
                let train = worker.sent_between(until, until + 1);
                assert!(train <= worker.bound(), "{train} of {}", worker.bound());
                // A path of 1.25 MB/s has a burst every 2.4 ms: a short stall may lie between two.
                assert_eq!(worker.slept, u64::from(train > 0));
                slept += worker.slept;
                caught_up += u64::from(train > worker.burst);
                held += worker.held;
                // Order within the path.
                assert!(worker.sent.windows(2).all(|pair| pair[0].2 < pair[1].2), "overtaken");
                // The rate, before the stall and after it.
                let settled = until + 20 * MS;
                let windows = [(0, from), (settled, end)];
                for (from, until) in windows {
                    let exact = u128::from(rate) * u128::from(until - from) / u128::from(SECOND);
                    let sent = u128::from(worker.sent_between(from, until));
                    let slack = exact / 100 + u128::from(2 * worker.burst);
                    assert!(
                        sent.abs_diff(exact) <= slack,
                        "{sent} instead of {exact}, {rate} B/s, {rtt_ns} ns"
                    );
                }
            }
        }
    }
    assert!(slept > 90, "{slept} of 96 stalls delayed something");
    assert!(caught_up > 40, "a train longer than a burst left after {caught_up} of them");
    assert!(held > 100, "{held} bursts had to wait");
}

#[test]
fn a_path_that_stalls_again_and_again_stays_within_the_bound() {
    for seed in 1..=20 {
        let (rate, rtt_ns) = (1_250_000_000, 50_000 * seed);
        let mut worker = Worker::new(rate, rtt_ns, seed);
        let (mut noise, mut stalls, mut at) = (Noise::new(seed), Vec::new(), 0);
        while at < 400 * MS {
            let from = at + noise.below(2 * MS);
            at = from + noise.below(3 * MS);
            stalls.push((from, at));
        }
        worker.cancelled = noise.below(20);
        worker.run(500 * MS, &stalls);
        worker.check_bound();
        assert!(worker.held > 20, "{}", worker.held);
        assert!(worker.sent.windows(2).all(|pair| pair[0].2 < pair[1].2), "overtaken");
        // Awake for the last tenth: at the rate again.
        let sent = worker.sent_between(420 * MS, 500 * MS);
        assert!(sent.abs_diff(rate / 1000 * 80) <= rate / 1000 * 80 / 100 + 2 * worker.burst, "{sent}");
    }
}

#[test]
fn on_time_bursts_are_never_held() {
    for rate in RATES {
        let mut worker = Worker::new(rate, 20 * MS, rate);
        worker.run(SECOND / 2, &[]);
        assert_eq!(worker.held, 0, "{rate} B/s");
    }
}

#[test]
fn what_is_told_to_wait_makes_the_path_slip() {
    let (rate, burst) = (100_000_000, 50_000);
    let mut pacer = Pacer::new();
    for _ in 0..4 {
        pacer.schedule(0, burst, rate);
    }
    assert_eq!(pacer.next_departure(), 2 * MS);
    // All four at once: the bound is two bursts, as the RTT is short.
    assert_eq!(pacer.admit(10 * MS, burst, rate, 100_000, burst), Ok(()));
    assert_eq!(pacer.admit(10 * MS, burst, rate, 100_000, burst), Ok(()));
    let later = 10 * MS + MS / 2;
    let small_first = pacer.clone().admit(10 * MS, 1, rate, 100_000, burst);
    assert_eq!(
        small_first,
        Err(later),
        "small ones wait for the room of a burst, so that they do not wake one by one"
    );
    assert_eq!(pacer.admit(10 * MS, burst, rate, 100_000, burst), Err(later));
    assert_eq!(pacer.admit(10 * MS, 1, rate, 100_000, burst), Err(later), "a small one does not overtake");
    assert_eq!(pacer.next_departure(), later);
    assert_eq!(pacer.admit(later, burst, rate, 100_000, burst), Ok(()));
    // What was admitted and did not leave makes room again.
    assert_eq!(pacer.admit(later, burst, rate, 100_000, burst), Err(later + MS / 2));
    let mut refunded = pacer.clone();
    refunded.refund_admission(burst, rate);
    assert_eq!(refunded.admit(later + MS / 2, 2 * burst, rate, 100_000, burst), Ok(()));
    assert!(pacer.admit(later + MS / 2, 2 * burst, rate, 100_000, burst).is_err());
}

#[test]
fn a_train_is_four_milliseconds_at_most() {
    let admitted = |smoothed_ns: u64| {
        let mut pacer = Pacer::new();
        // 1 ms each.
        (0..20).take_while(|_| pacer.admit(SECOND, 50_000, 50_000_000, smoothed_ns, 50_000).is_ok()).count()
    };
    assert_eq!([admitted(0), admitted(2 * MS), admitted(3 * MS), admitted(20 * MS)], [2, 2, 3, 4]);
}
