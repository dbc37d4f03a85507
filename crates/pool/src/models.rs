//! Pool return: every order in which threads can let go of buffers and take them (loom, three preemptions at most).

use crate::{Config, Filled, MAX_LEN, Pool, Purpose};
use loom::{model::Builder, thread};
use std::sync::Arc;

/// Preemptions looked at: beyond two, tokio's experience is, hardly any fault is left to find.
const PREEMPTIONS: usize = 3;

fn every_order(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS);
    builder.check(model);
}

fn pool() -> Arc<Pool> {
    // One large buffer, and no room for a second: one that got lost would be missed at once.
    Pool::new(Config { capacity_bytes: MAX_LEN, reserve_bytes: 0 }).unwrap()
}

fn filled(pool: &Arc<Pool>) -> Filled {
    let mut unfilled = pool.take(MAX_LEN, Purpose::Data).unwrap();
    unfilled.buffer()[0] = 7;
    unfilled.fill(1)
}

/// The two last handles, dropped by two threads: the buffer comes home once, whoever was the last.
#[test]
fn r9_the_last_two_handles_in_every_order() {
    every_order(|| {
        let pool = pool();
        let ours = filled(&pool);
        let theirs = ours.clone();
        let other = thread::spawn(move || assert_eq!(theirs.bytes(), [7]));
        assert_eq!(ours.bytes(), [7]);
        drop(ours);
        other.join().unwrap();
        let stats = pool.stats();
        assert_eq!((stats.lent, stats.lent_bytes, stats.allocated_bytes), (0, 0, MAX_LEN));
        assert_eq!(
            pool.take(MAX_LEN, Purpose::Data).unwrap().buffer().len(),
            MAX_LEN,
            "the buffer is usable"
        );
    });
}

/// Three handles, three threads.
#[test]
fn r9_the_last_three_handles_in_every_order() {
    every_order(|| {
        let pool = pool();
        let ours = filled(&pool);
        let others = [ours.clone(), ours.clone()].map(|theirs| thread::spawn(move || drop(theirs)));
        drop(ours);
        for other in others {
            other.join().unwrap();
        }
        assert_eq!((pool.stats().lent, pool.stats().allocated_bytes), (0, MAX_LEN));
    });
}

/// A buffer comes home while another class needs its room: the bound holds at every moment and nothing is counted twice.
#[test]
fn r9_coming_home_while_another_class_takes_its_room() {
    every_order(|| {
        let pool = pool();
        let large = filled(&pool);
        let other = thread::spawn(move || drop(large));
        let small = pool.take(1, Purpose::Data);
        let stats = pool.stats();
        assert!(stats.lent_bytes <= stats.allocated_bytes && stats.allocated_bytes <= MAX_LEN);
        let refused = small.is_err();
        other.join().unwrap();
        drop(small);
        let stats = pool.stats();
        assert_eq!((stats.lent, stats.lent_bytes, stats.exhausted), (0, 0, u64::from(refused)));
        assert!(pool.take(MAX_LEN, Purpose::Data).is_ok());
    });
}

/// The pool goes while a buffer is out: it is freed by whoever lets go of it last, on any thread.
#[test]
fn r9_a_buffer_may_outlive_its_pool() {
    every_order(|| {
        let pool = pool();
        let ours = filled(&pool);
        let theirs = ours.clone();
        let other = thread::spawn(move || drop(theirs));
        let weak = Arc::downgrade(&pool);
        drop(pool);
        drop(ours);
        other.join().unwrap();
        assert!(weak.upgrade().is_none());
    });
}
