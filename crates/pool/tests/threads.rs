//! Every buffer comes home from whatever thread lets go of it, unchanged until then.

use paceline_pool::{Config, Filled, Pool, Purpose};
use std::{
    sync::{
        Barrier,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
};

const THREADS: usize = 8;
const OPERATIONS: u64 = 100_000;

/// SplitMix64: a seed replays one thread's choices (not their interleaving).
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The tag stands at both ends of the bytes.
fn check(filled: &Filled, tag: u64) {
    let tag = tag.to_le_bytes();
    assert!(filled.bytes().starts_with(&tag) && filled.bytes().ends_with(&tag), "changed while shared");
}

#[test]
fn eight_threads_and_every_buffer_comes_home() {
    const CAPACITY: usize = 4 << 20;
    let pool = Pool::new(Config { capacity_bytes: CAPACITY, reserve_bytes: 256 << 10 }).unwrap();
    let (senders, receivers): (Vec<_>, Vec<_>) =
        (0..THREADS).map(|_| mpsc::sync_channel::<(Filled, u64)>(32)).unzip();
    let passed_on = AtomicU64::new(0);
    let refused = AtomicU64::new(0);
    let start = Barrier::new(THREADS);
    thread::scope(|scope| {
        for (index, receiver) in receivers.into_iter().enumerate() {
            let (pool, senders, start, passed_on, refused) =
                (pool.clone(), senders.clone(), &start, &passed_on, &refused);
            scope.spawn(move || {
                start.wait();
                let mut random = index as u64;
                let mut mine: Vec<(Filled, u64)> = Vec::new();
                for _ in 0..OPERATIONS {
                    let choice = next(&mut random);
                    match choice % 8 {
                        0..=1 => {
                            let len = [100, 1_500, 9_000, 60_000][(choice >> 8) as usize % 4];
                            let purpose = if choice & 64 == 0 { Purpose::Receive } else { Purpose::Data };
                            match pool.take(len, purpose) {
                                Ok(mut unfilled) => {
                                    let tag = next(&mut random);
                                    unfilled.buffer()[..8].copy_from_slice(&tag.to_le_bytes());
                                    unfilled.buffer()[len - 8..len].copy_from_slice(&tag.to_le_bytes());
                                    mine.push((unfilled.fill(len), tag));
                                }
                                Err(_) => {
                                    refused.fetch_add(1, Ordering::Relaxed);
                                    mine.pop();
                                }
                            }
                        }
                        2..=3 if !mine.is_empty() => {
                            // A copy to another thread; often both are then dropped at about the same time.
                            let (filled, tag) = &mine[(choice >> 8) as usize % mine.len()];
                            // To one of the other seven.
                            let to = (index + 1 + (choice >> 32) as usize % (THREADS - 1)) % THREADS;
                            if senders[to].try_send((filled.clone(), *tag)).is_ok() {
                                passed_on.fetch_add(1, Ordering::Relaxed);
                            } else {
                                // Its reader is not running: more threads than cores.
                                thread::yield_now();
                            }
                        }
                        4..=5 => {
                            mine.extend(receiver.try_iter().take(4));
                            mine.truncate(40);
                        }
                        _ if !mine.is_empty() => {
                            let (filled, tag) = mine.swap_remove((choice >> 8) as usize % mine.len());
                            check(&filled, tag);
                        }
                        _ => {}
                    }
                    let stats = pool.stats();
                    assert!(stats.lent_bytes <= stats.allocated_bytes && stats.allocated_bytes <= CAPACITY);
                }
            });
        }
    });
    drop(senders);
    let stats = pool.stats();
    println!("{stats:?}, {passed_on:?} passed on, {refused:?} refused");
    assert_eq!((stats.lent, stats.lent_bytes), (0, 0));
    assert_eq!(stats.exhausted, refused.into_inner());
    assert!(stats.exhausted > 0, "the bound was never met");
    assert!(passed_on.into_inner() > 1_000);

    // And what came home can all be lent again.
    let mut all: Vec<_> = std::iter::from_fn(|| pool.take(65_536, Purpose::Receive).ok()).collect();
    assert_eq!(all.len(), CAPACITY / 65_536);
    assert!(all.iter_mut().all(|unfilled| unfilled.buffer().len() == 65_536));
}

#[test]
fn the_last_two_handles_dropped_together() {
    // One buffer and no room for a second: if one got lost, the next take would be refused.
    let pool = Pool::new(Config { capacity_bytes: 65_536, reserve_bytes: 0 }).unwrap();
    let barrier = Barrier::new(2);
    let start = &barrier;
    let (sender, receiver) = mpsc::channel::<Filled>();
    thread::scope(|scope| {
        scope.spawn(move || {
            while let Ok(filled) = receiver.recv() {
                start.wait();
                drop(filled);
                start.wait();
            }
        });
        for _ in 0..20_000 {
            let filled = pool.take(65_536, Purpose::Data).unwrap().fill(10);
            sender.send(filled.clone()).unwrap();
            start.wait();
            drop(filled);
            start.wait();
            assert_eq!(pool.stats().lent, 0);
        }
        drop(sender);
    });
    assert_eq!(pool.stats().allocated_bytes, 65_536);
}
