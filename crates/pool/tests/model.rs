//! The budget is what the documentation's two inequalities say, for any order of requests and returns.

use paceline_pool::{Config, Exhausted, Filled, Pool, Purpose, Stats, Unfilled};

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

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

enum Held {
    Unfilled(Unfilled),
    Filled(Filled, u8),
}

#[derive(Debug, Default)]
struct Met {
    granted: u64,
    refused_by_reserve: u64,
    refused_by_capacity: u64,
    traded: u64,
}

fn run(seed: u64, met: &mut Met) {
    let mut random = Random(seed);
    let capacity_bytes = 65_536 + random.below(600_000);
    let reserve_bytes = random.below(capacity_bytes - 65_536 + 1);
    let pool = Pool::new(Config { capacity_bytes, reserve_bytes }).unwrap();
    // The model: bytes of every buffer out, and how many handles each has.
    let mut held: Vec<(Held, usize)> = Vec::new();
    let mut copies: Vec<(usize, Filled, u8)> = Vec::new();
    let mut next_id = 0;
    let mut out = std::collections::BTreeMap::<usize, (usize, usize)>::new();
    let mut arrived = std::collections::BTreeSet::new();
    let mut exhausted = 0;
    let mut allocated_before = 0;
    let mut peak_bytes = 0;
    for step in 0..10_000 {
        // Phases of growing and of shrinking, so that both bounds are met and classes take turns.
        let growing = (step / 500) % 2 == 0;
        match random.below(if growing { 8 } else { 16 }) {
            0..=3 => {
                let len = match (step / 1_000) % 4 {
                    0 => random.below(70_000),
                    1 => random.below(2_049),
                    2 => random.below(16_385),
                    _ => 16_385 + random.below(49_152),
                };
                let receive = reserve_bytes.min(65_536);
                let (purpose, kept) = match random.below(12) {
                    0 => (Purpose::Receive, 0),
                    1 => (Purpose::Control, receive),
                    2..=3 => (Purpose::Retransmission, receive + (reserve_bytes - receive) / 4),
                    _ => (Purpose::Data, reserve_bytes),
                };
                let class = [2_048, 16_384, 32_768, 65_536].into_iter().find(|bytes| len <= *bytes);
                let lent: usize = out.values().map(|(bytes, _)| bytes).sum();
                let received: usize =
                    out.iter().filter(|(id, _)| arrived.contains(*id)).map(|(_, (bytes, _))| bytes).sum();
                let own = if purpose == Purpose::Receive { 0 } else { received.min(receive) };
                let fits = class.is_some_and(|bytes| lent - own + bytes + kept <= capacity_bytes);
                match pool.take(len, purpose) {
                    Ok(mut unfilled) => {
                        assert!(fits, "seed {seed}, step {step}");
                        assert_eq!(Some(unfilled.capacity()), class);
                        assert_eq!(Some(unfilled.buffer().len()), class);
                        out.insert(next_id, (unfilled.capacity(), 1));
                        if purpose == Purpose::Receive {
                            arrived.insert(next_id);
                        }
                        held.push((Held::Unfilled(unfilled), next_id));
                        next_id += 1;
                        met.granted += 1;
                    }
                    Err(Exhausted) => {
                        assert!(!fits, "seed {seed}, step {step}");
                        exhausted += 1;
                        match class {
                            Some(bytes) if lent + bytes <= capacity_bytes => met.refused_by_reserve += 1,
                            Some(_) => met.refused_by_capacity += 1,
                            None => {}
                        }
                    }
                }
            }
            4 if !held.is_empty() => {
                let (holder, id) = held.swap_remove(random.below(held.len()));
                let holder = match holder {
                    Held::Unfilled(mut unfilled) => {
                        let tag = random.next() as u8;
                        unfilled.buffer().fill(tag);
                        let len = random.below(unfilled.capacity() + 1);
                        Held::Filled(unfilled.fill(len), tag)
                    }
                    filled @ Held::Filled(..) => filled,
                };
                held.push((holder, id));
            }
            5 if !held.is_empty() => {
                if let (Held::Filled(filled, tag), id) = &held[random.below(held.len())] {
                    copies.push((*id, filled.clone(), *tag));
                    out.get_mut(id).unwrap().1 += 1;
                }
            }
            _ => {
                // One handle goes, original or copy.
                let id = if !copies.is_empty() && random.below(2) == 0 {
                    let (id, filled, tag) = copies.swap_remove(random.below(copies.len()));
                    assert!(filled.bytes().iter().all(|byte| *byte == tag), "changed while shared");
                    id
                } else if held.is_empty() {
                    continue;
                } else {
                    let (holder, id) = held.swap_remove(random.below(held.len()));
                    if let Held::Filled(filled, tag) = &holder {
                        assert!(filled.bytes().iter().all(|byte| byte == tag), "changed while shared");
                    }
                    id
                };
                let handles = &mut out.get_mut(&id).unwrap().1;
                *handles -= 1;
                if *handles == 0 {
                    out.remove(&id);
                }
            }
        }
        let stats = pool.stats();
        let lent_bytes: usize = out.values().map(|(bytes, _)| bytes).sum();
        let allocated_bytes = stats.allocated_bytes;
        peak_bytes = peak_bytes.max(lent_bytes);
        let lent = out.len();
        assert_eq!(stats, Stats { lent, lent_bytes, peak_bytes, allocated_bytes, capacity_bytes, exhausted });
        assert!(lent_bytes <= allocated_bytes && allocated_bytes <= capacity_bytes);
        met.traded += u64::from(allocated_bytes < allocated_before);
        allocated_before = allocated_bytes;
    }
    drop((held, copies));
    assert_eq!((pool.stats().lent, pool.stats().lent_bytes), (0, 0));
}

#[test]
fn equals_the_two_inequalities() {
    let mut met = Met::default();
    for seed in 0..40 {
        run(seed, &mut met);
    }
    println!("{met:?}");
    assert!(
        met.granted > 10_000 && met.refused_by_reserve > 1_000 && met.refused_by_capacity > 1_000,
        "{met:?}"
    );
    assert!(met.traded > 50, "classes never took turns: {met:?}");
}
