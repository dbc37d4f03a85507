//! One test for each thing that has gone wrong in a wheel of this kind, and for the edges of the clock.

use paceline_wheel::{Due, TICK_NS, Wheel};

const HOUR: u64 = 3_600_000_000_000;
/// Ticks of one slot, by level.
const SPANS: [u64; 9] = [1, 1 << 6, 1 << 12, 1 << 18, 1 << 24, 1 << 30, 1 << 36, 1 << 42, 1 << 48];

/// Asserts that the next value is due at `at_ns` and not a nanosecond sooner, and takes it.
fn expect<T: PartialEq + std::fmt::Debug>(wheel: &mut Wheel<T>, at_ns: u64, value: T) {
    assert_eq!(wheel.next_expiry(), Some(at_ns));
    if at_ns > 0 {
        assert_eq!(wheel.pop(at_ns - 1), None);
    }
    assert_eq!(wheel.pop(at_ns), Some(Due { at_ns, value }));
}

/// A wheel that stands at `tick`, because a value of that tick just left it, and holds an hour-long timer that keeps
/// it from starting anew.
fn standing_at(tick: u64) -> Wheel<u64> {
    let mut wheel = Wheel::new(0, 1_000);
    wheel.insert(u64::MAX, u64::MAX).unwrap();
    wheel.insert(tick * TICK_NS, 0).unwrap();
    expect(&mut wheel, tick * TICK_NS, 0);
    wheel
}

#[test]
fn next_expiry_where_slot_indices_wrap() {
    // The wheel stands in the last slot of every level; whatever comes next has a lower index.
    for span in &SPANS[..8] {
        let base = span * 64 - 1;
        let mut wheel = standing_at(base);
        for ahead in [65, 64, 63, 2, 1] {
            wheel.insert((base + ahead) * TICK_NS, ahead).unwrap();
        }
        for ahead in [1, 2, 63, 64, 65] {
            expect(&mut wheel, (base + ahead) * TICK_NS, ahead);
        }
    }
}

#[test]
fn a_full_turn_is_not_now() {
    // One whole turn of a level ahead: the same slot index as the wheel's own.
    for base in [0, 5, 63, 64, 4_095, 123_456_789] {
        for span in &SPANS[..8] {
            let turn = span * 64;
            let mut wheel = standing_at(base);
            for ticks in [turn + 1, turn, turn - 1] {
                wheel.insert((base + ticks) * TICK_NS, ticks).unwrap();
            }
            assert_eq!(wheel.pop(base * TICK_NS), None);
            for ticks in [turn - 1, turn, turn + 1] {
                expect(&mut wheel, (base + ticks) * TICK_NS, ticks);
            }
        }
    }
}

#[test]
fn a_base_in_the_middle_of_every_level() {
    // Digits that are neither first nor last, and a start within a tick.
    let base: u64 = SPANS[..7].iter().map(|span| span * 37).sum();
    let now = base * TICK_NS + 513;
    let mut wheel = Wheel::new(now, 1_000);
    let mut expected = Vec::new();
    for span in &SPANS[..7] {
        let boundary = (base / span + 1) * span;
        for tick in [boundary - 1, boundary, boundary + 1] {
            for ns in [0, 1, TICK_NS - 1] {
                let at_ns = tick * TICK_NS + ns;
                if at_ns > now {
                    wheel.insert(at_ns, at_ns).unwrap();
                    expected.push(at_ns);
                }
            }
        }
    }
    expected.sort_by_key(|at_ns| at_ns.div_ceil(TICK_NS));
    assert!(expected.len() > 40);
    for at_ns in expected {
        expect(&mut wheel, at_ns, at_ns);
    }
    assert!(wheel.is_empty());
}

#[test]
fn fifo_through_every_level() {
    // The same tick, seen from eight distances: each value is linked at another level, the last one directly in the
    // finest. All have been dealt out by the time they leave, the first of them eight times.
    let target: u64 = SPANS[..8].iter().map(|span| span * 63).sum();
    let mut wheel = Wheel::new(0, 1_000);
    let mut standing = 0;
    let mut order = 0;
    for span in SPANS[..8].iter().rev() {
        // Two from here, with times that go down within the tick, so that sorting by time would betray itself.
        for _ in 0..2 {
            wheel.insert(target * TICK_NS - order, order).unwrap();
            order += 1;
        }
        standing += span * 63;
        if standing < target {
            wheel.insert(standing * TICK_NS, u64::MAX).unwrap();
            expect(&mut wheel, standing * TICK_NS, u64::MAX);
        }
    }
    assert_eq!((standing, order), (target, 16));
    let released: Vec<_> = std::iter::from_fn(|| wheel.pop(target * TICK_NS)).map(|due| due.value).collect();
    assert_eq!(released, (0..16).collect::<Vec<_>>());
}

#[test]
fn fifo_of_a_stream_whose_first_packets_came_from_afar() {
    // Bursts scheduled 2 ms ahead, then one for the same tick when it is near.
    let at = 2_000_000;
    let mut wheel = Wheel::new(0, 1_000);
    for packet in 0..100 {
        wheel.insert(at, packet).unwrap();
    }
    wheel.insert(at - 3 * TICK_NS, u64::MAX).unwrap();
    expect(&mut wheel, at - 3 * TICK_NS, u64::MAX);
    for packet in 100..200 {
        wheel.insert(at, packet).unwrap();
    }
    let released: Vec<_> = std::iter::from_fn(|| wheel.pop(at)).map(|due| due.value).collect();
    assert_eq!(released, (0..200).collect::<Vec<_>>());
}

#[test]
fn now_is_due_now() {
    // Also in the middle of a tick: rounding up must not make an acknowledgement wait for the tick's end.
    let now = 7 * TICK_NS + 300;
    let mut wheel = Wheel::new(now, 10);
    wheel.insert(now, 'a').unwrap();
    expect(&mut wheel, now, 'a');
    wheel.insert(now - 200, 'b').unwrap();
    wheel.insert(0, 'c').unwrap();
    assert_eq!(wheel.pop(now).map(|due| due.value), Some('c'));
    assert_eq!(wheel.pop(now).map(|due| due.value), Some('b'));
    // Behind an older value of the same tick, for less than that tick.
    wheel.insert(now + 100, 'd').unwrap();
    wheel.insert(now, 'e').unwrap();
    assert_eq!(wheel.pop(now), None);
    expect(&mut wheel, now + 100, 'd');
    assert_eq!(wheel.pop(now + 100).map(|due| due.value), Some('e'));
}

#[test]
fn the_end_of_time() {
    for now in [0, HOUR, u64::MAX - 5_000, u64::MAX] {
        let mut wheel = Wheel::new(now, 10);
        wheel.insert(u64::MAX, 1).unwrap();
        wheel.insert(u64::MAX - 4_000, 0).unwrap();
        wheel.insert(u64::MAX - 1, 2).unwrap();
        expect(&mut wheel, u64::MAX - 4_000, 0);
        expect(&mut wheel, u64::MAX, 1);
        assert_eq!(wheel.pop(u64::MAX - 2), None);
        expect(&mut wheel, u64::MAX - 1, 2);
        assert_eq!((wheel.pop(u64::MAX), wheel.next_expiry()), (None, None));
    }
}

#[test]
fn hours_of_silence_cost_nothing() {
    // 100,000 hours, 3.5e9 ticks each: a wheel that turned through them would not come back.
    let mut wheel = Wheel::new(0, 10);
    wheel.insert(u64::MAX, u64::MAX).unwrap();
    for hour in 1..=100_000 {
        wheel.insert(hour * HOUR, hour).unwrap();
        assert_eq!(wheel.pop(hour * HOUR - HOUR / 2), None);
        expect(&mut wheel, hour * HOUR, hour);
    }
    assert_eq!(wheel.len(), 1);
}

#[test]
fn a_clock_that_steps_back_holds_back_and_loses_nothing() {
    let mut wheel = Wheel::new(10 * HOUR, 10);
    wheel.insert(11 * HOUR, "pending").unwrap();
    wheel.insert(10 * HOUR, "popped").unwrap();
    assert_eq!(wheel.pop(10 * HOUR).map(|due| due.value), Some("popped"));
    // Back by nine hours: what is inserted now lies behind the wheel, yet ahead of the clock.
    assert_eq!(wheel.pop(HOUR), None);
    wheel.insert(HOUR + 3_000, "second").unwrap();
    wheel.insert(HOUR + 5_000, "third").unwrap();
    wheel.insert(HOUR, "first").unwrap();
    wheel.insert(HOUR + 5_000, "fourth").unwrap();
    assert_eq!(wheel.pop(HOUR - 1), None);
    expect(&mut wheel, HOUR, "first");
    expect(&mut wheel, HOUR + 3_000, "second");
    expect(&mut wheel, HOUR + 5_000, "third");
    assert_eq!(wheel.pop(HOUR + 5_000).map(|due| due.value), Some("fourth"));
    expect(&mut wheel, 11 * HOUR, "pending");
}

#[test]
fn a_drain_that_is_dropped_early_keeps_the_rest() {
    let mut wheel = Wheel::new(0, 10);
    for at_ns in [30_000, 10_000, 20_000] {
        wheel.insert(at_ns, at_ns).unwrap();
    }
    assert_eq!(wheel.drain().next().map(|due| due.value), Some(10_000));
    expect(&mut wheel, 20_000, 20_000);
    assert_eq!(wheel.len(), 1);
}
