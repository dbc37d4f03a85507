//! The wheel does what an ordered map does, for any order of insertions, releases and clock movements.

use paceline_wheel::{Due, Full, TICK_NS, Wheel};
use std::collections::BTreeMap;

/// SplitMix64: a seed replays a run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Every order of magnitude up to 2^`bits` is equally likely.
    fn magnitude(&mut self, bits: u64) -> u64 {
        let bits = self.below(bits + 1);
        if bits == 0 { 0 } else { self.next() >> (64 - bits) }
    }
}

#[derive(Default)]
struct Oracle {
    values: BTreeMap<(u64, u64), Due<u64>>,
    sequence: u64,
}

impl Oracle {
    fn insert(&mut self, at_ns: u64) -> u64 {
        let value = self.sequence;
        self.sequence += 1;
        // The last two ticks of the 64 bits are one; see tick.rs.
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

/// What a run met, so that a run that met nothing cannot pass.
#[derive(Debug, Default)]
struct Met {
    operations: u64,
    released: u64,
    held_back: u64,
    refused: u64,
    past: u64,
    backward: u64,
    jumps: u64,
    ties: u64,
    drains: u64,
    /// By level that the distance alone would choose.
    distance: [u64; 9],
}

fn run(seed: u64, operations: u64, max_entries: usize, met: &mut Met) {
    let mut random = Random(seed);
    // Unaligned, and for some seeds near the end of time.
    let mut now = if seed % 5 == 4 { u64::MAX - random.magnitude(44) } else { random.magnitude(50) };
    let mut wheel = Wheel::new(now, max_entries);
    let mut oracle = Oracle::default();
    let mut last_at = now;
    let mut last_tick = None;
    let end = met.operations + operations;
    while met.operations < end {
        met.operations += 1;
        match random.below(16) {
            0..=6 => {
                let at_ns = match random.below(10) {
                    0 => last_at,
                    1 => now,
                    2 => now.saturating_sub(random.magnitude(44)),
                    3 => now.saturating_add(random.below(3 * TICK_NS)),
                    4 => u64::MAX - random.magnitude(12),
                    // On a boundary between slots of some level, or just beside it.
                    5 => {
                        let grain = TICK_NS << (6 * random.below(5));
                        (now / grain + 1 + random.below(65)).saturating_mul(grain) - random.below(2)
                    }
                    6 => now.saturating_add(random.magnitude(64)),
                    _ => now.saturating_add(random.magnitude(34)),
                };
                for _ in 0..if random.below(16) == 0 { 1 + random.below(64) } else { 1 } {
                    if oracle.values.len() == max_entries {
                        assert_eq!(wheel.insert(at_ns, u64::MAX), Err(Full(u64::MAX)), "seed {seed}");
                        met.refused += 1;
                    } else {
                        let value = oracle.insert(at_ns);
                        assert_eq!(wheel.insert(at_ns, value), Ok(()), "seed {seed}");
                        met.past += u64::from(at_ns < now);
                        let ticks = at_ns.saturating_sub(now) / TICK_NS;
                        met.distance[ticks.checked_ilog2().unwrap_or(0) as usize / 6] += 1;
                    }
                }
                last_at = at_ns;
            }
            7..=12 => {
                for _ in 0..1 + random.below(4) {
                    let due = wheel.pop(now);
                    assert_eq!(due, oracle.pop(now), "seed {seed}, operation {}", met.operations);
                    let Some(due) = due else {
                        met.held_back += 1;
                        break;
                    };
                    assert!(due.at_ns <= now, "early");
                    let tick = due.at_ns.div_ceil(TICK_NS);
                    met.ties += u64::from(last_tick == Some(tick));
                    last_tick = Some(tick);
                    met.released += 1;
                }
            }
            13 => {
                // Seconds at most, mostly; now and then hours.
                let bits = if random.below(64) == 0 { 45 } else { 30 };
                let step = random.magnitude(bits);
                met.jumps += u64::from(step > 3_600_000_000_000);
                now = now.saturating_add(step);
            }
            14 => match wheel.next_expiry() {
                // Exactly to the next one: it is due, and was not a nanosecond before.
                Some(at_ns) if at_ns > now && at_ns - now < 1 << 40 => {
                    assert_eq!(wheel.pop(at_ns - 1), None, "seed {seed}");
                    now = at_ns;
                    let due = wheel.pop(now);
                    assert!(due.is_some(), "seed {seed}");
                    assert_eq!(due, oracle.pop(now), "seed {seed}");
                    met.released += 1;
                }
                _ => {}
            },
            _ => match random.below(64) {
                0 => {
                    now -= now.min(random.magnitude(44));
                    met.backward += 1;
                }
                1 => {
                    now -= now.min(random.magnitude(20));
                    met.backward += 1;
                }
                2 if random.below(64) == 0 => {
                    let expected: Vec<_> = std::mem::take(&mut oracle.values).into_values().collect();
                    assert_eq!(wheel.drain().collect::<Vec<_>>(), expected, "seed {seed}");
                    met.drains += 1;
                }
                _ => {}
            },
        }
        assert_eq!(wheel.next_expiry(), oracle.next_expiry(), "seed {seed}, operation {}", met.operations);
        assert_eq!(wheel.len(), oracle.values.len());
    }
    let expected: Vec<_> = oracle.values.into_values().collect();
    assert_eq!(wheel.drain().collect::<Vec<_>>(), expected, "seed {seed}");
    assert!(wheel.is_empty());
}

#[test]
fn r8_equals_an_ordered_map() {
    let mut met = Met::default();
    for seed in 0..40 {
        let max_entries = [3, 100, 20_000, 20_000][seed as usize % 4];
        run(seed, 50_000, max_entries, &mut met);
    }
    println!("{met:?}");
    assert!(met.operations >= 1_000_000);
    for count in [met.released, met.held_back, met.refused, met.past, met.ties] {
        assert!(count > 10_000, "{met:?}");
    }
    assert!(met.backward > 500 && met.jumps > 50 && met.drains > 5, "{met:?}");
    assert!(met.distance.iter().all(|count| *count > 1_000), "{met:?}");
}
