//! The timing wheel against an ordered map.

use super::{Reach, input::Input};
use paceline_transport::fuzzing::wheel::{Due, Full, TICK_NS, Wheel};
use std::collections::BTreeMap;

#[derive(Default)]
struct Oracle {
    values: BTreeMap<(u64, u64), Due<u64>>,
    sequence: u64,
}

impl Oracle {
    fn insert(&mut self, at_ns: u64) -> u64 {
        let value = self.sequence;
        self.sequence += 1;
        // The last two ticks of the 64 bits are one.
        let tick = at_ns.div_ceil(TICK_NS).min(u64::MAX / TICK_NS);
        self.values.insert((tick, value), Due { at_ns, value });
        value
    }

    fn next_expiry(&self) -> Option<u64> {
        self.values.first_key_value().map(|(_, due)| due.at_ns)
    }

    fn pop(&mut self, now_ns: u64) -> Option<Due<u64>> {
        if self.next_expiry()? > now_ns {
            return None;
        }
        self.values.pop_first().map(|(_, due)| due)
    }
}

/// Inserts, pops, steps back and forth in time; never early, never out of order.
pub fn wheel(data: &[u8]) -> Reach {
    let mut input = Input::new(data);
    let start = input.u8();
    let mut now = if start >= 192 { u64::MAX - input.varint() } else { input.varint() };
    let max_entries = [3, 64, 4_096][usize::from(start % 3)];
    let mut wheel = Wheel::new(now, max_entries);
    let mut oracle = Oracle::default();
    let mut released = false;
    let mut last_at = now;
    while !input.is_empty() {
        let operation = input.u8();
        match operation >> 5 {
            0..=3 => {
                let at_ns = match operation & 7 {
                    0 => last_at,
                    1 => now,
                    2 => now.saturating_sub(input.varint()),
                    3 => now.saturating_add(input.varint()),
                    4 => u64::MAX - u64::from(input.u16()),
                    5 => {
                        // On a border between slots of some level, or just beside it.
                        let grain = TICK_NS << (6 * input.below(5));
                        (now / grain + u64::from(input.u8())).saturating_mul(grain).saturating_sub(1)
                    }
                    _ => now.saturating_add(input.duration_ns()),
                };
                for _ in 0..if operation & 24 == 24 { input.u8() } else { 1 } {
                    if oracle.values.len() == max_entries {
                        assert_eq!(wheel.insert(at_ns, u64::MAX), Err(Full(u64::MAX)));
                    } else {
                        let value = oracle.insert(at_ns);
                        assert_eq!(wheel.insert(at_ns, value), Ok(()));
                    }
                }
                last_at = at_ns;
            }
            4 | 5 => {
                for _ in 0..=operation & 15 {
                    let due = wheel.pop(now);
                    assert_eq!(due, oracle.pop(now));
                    let Some(due) = due else { break };
                    assert!(due.at_ns <= now, "early");
                    released = true;
                }
            }
            6 => match operation & 3 {
                0 => now = now.saturating_sub(input.duration_ns()),
                1 => now = now.saturating_add(input.varint()),
                2 => {
                    let expected: Vec<_> = std::mem::take(&mut oracle.values).into_values().collect();
                    assert_eq!(wheel.drain().collect::<Vec<_>>(), expected);
                }
                _ => now = now.saturating_add(input.duration_ns()),
            },
            _ => {
                // Exactly to the next one: it is due, and was not a nanosecond before.
                if let Some(at_ns) = wheel.next_expiry().filter(|at_ns| *at_ns > now) {
                    assert_eq!(wheel.pop(at_ns - 1), None);
                    now = at_ns;
                    let due = wheel.pop(now);
                    assert!(due.is_some());
                    assert_eq!(due, oracle.pop(now));
                    released = true;
                }
            }
        }
        assert_eq!(wheel.next_expiry(), oracle.next_expiry());
        assert_eq!(wheel.len(), oracle.values.len());
    }
    let expected: Vec<_> = oracle.values.into_values().collect();
    assert_eq!(wheel.drain().collect::<Vec<_>>(), expected);
    Reach::of_structure(released)
}
