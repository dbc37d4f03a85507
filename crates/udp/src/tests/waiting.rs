//! Waking and waiting.

use super::*;
use crate::{
    clock::now_ns,
    wait::{Interest, Waker},
};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

const READABLE: Interest = Interest { readable: true, writable: false };
const DEAF: Interest = Interest { readable: false, writable: false };

fn quiet_socket() -> UdpSocket {
    let socket = UdpSocket::bind(V4).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

/// Writers submit and wake, and wait to be seen where `waits` says so; the worker waits without a deadline, so one lost wake is
/// for ever. Returns how many wakes rang the bell.
fn race(writers: u64, wakes: u64, waits: fn(u64) -> bool) -> u64 {
    let waker = Waker::new().unwrap();
    let (submitted, seen, rings) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let slowest_ns = AtomicU64::new(0);
    let (stop, ended) = (AtomicBool::new(false), AtomicBool::new(false));
    let write = |writer: u64| {
        for n in 0..wakes {
            let mine = submitted.fetch_add(1, SeqCst) + 1;
            let from = Instant::now();
            rings.fetch_add(u64::from(waker.wake()), SeqCst);
            if !waits(n * 7 + writer) {
                continue;
            }
            let mut spins = 0u32;
            while seen.load(SeqCst) < mine {
                if from.elapsed() > PATIENCE {
                    return false;
                }
                // Mostly without yielding: the next wake is then to come while the worker is about to park.
                spins += 1;
                if spins.is_multiple_of(1_000) {
                    thread::yield_now();
                }
            }
            slowest_ns.fetch_max(from.elapsed().as_nanos() as u64, SeqCst);
        }
        true
    };
    let all_seen = thread::scope(|scope| {
        scope.spawn(|| {
            let (socket, mut steps) = (quiet_socket(), 0);
            while !stop.load(SeqCst) {
                seen.store(submitted.load(SeqCst), SeqCst);
                // The rest of a step, which a worker does between its look at the inbox and parking: now longer, now shorter
                // than a writer needs. Every other time there is no rest, so that it parks.
                steps = (steps + 37) % 128;
                for _ in 0..if steps % 2 == 0 { 0 } else { steps } {
                    std::hint::spin_loop();
                }
                // Now and then a writer has its turn here, and again below between announcing and looking: with one core to
                // run on, it would otherwise only ever meet a worker that is parked.
                if steps == 1 {
                    thread::yield_now();
                }
                waker.park(&socket, READABLE, None, || {
                    if steps == 3 {
                        thread::yield_now();
                    }
                    stop.load(SeqCst) || submitted.load(SeqCst) != seen.load(SeqCst)
                });
            }
            ended.store(true, SeqCst);
        });
        let write = &write;
        let writers: Vec<_> = (0..writers).map(|writer| scope.spawn(move || write(writer))).collect();
        let all_seen = writers.into_iter().all(|writer| writer.join().unwrap());
        stop.store(true, SeqCst);
        // Again and again only so that a failing test ends.
        while !ended.load(SeqCst) {
            waker.wake();
            thread::yield_now();
        }
        all_seen
    });
    let rings = rings.into_inner();
    println!("{rings} rings for {} wakes, slowest {} µs", writers * wakes, slowest_ns.into_inner() / 1000);
    assert!(all_seen, "a wake was lost");
    rings
}

/// The race proves something only if the worker was rung where it parked, and met on its way there. On a busy machine a run may
/// be all of one kind, so it has a few attempts.
fn race_proves(writers: u64, wakes: u64, waits: fn(u64) -> bool) {
    let both = 100..writers * wakes - 100;
    assert!((0..5).any(|_| both.contains(&race(writers, wakes, waits))));
}

#[test]
fn no_wake_is_lost_by_a_worker_about_to_park() {
    race_proves(1, 50_000, |_| true);
}

#[test]
fn no_wake_is_lost_in_a_flood() {
    race_proves(2, 50_000, |n| n % 4 < 2);
}

#[test]
fn never_before_the_deadline() {
    let (waker, socket) = (Waker::new().unwrap(), quiet_socket());
    thread::scope(|scope| {
        // On a thread of its own, since timer slack belongs to the thread.
        scope.spawn(|| {
            crate::sys::sharpen_thread(-10);
            let mut late_ns: Vec<u64> = (0..300)
                .map(|n| {
                    let deadline_ns = now_ns() + 150_000 + n * 7_919;
                    waker.park(&socket, READABLE, Some(deadline_ns), || false);
                    let now_ns = now_ns();
                    assert!(now_ns >= deadline_ns, "early by {} ns", deadline_ns - now_ns);
                    now_ns - deadline_ns
                })
                .collect();
            late_ns.sort_unstable();
            let (p50, p99) = (late_ns[150], late_ns[297]);
            println!("late by {} µs (p50), {} µs (p99)", p50 / 1000, p99 / 1000);
            assert!(p50 < 5_000_000, "{p50} ns");
        });
    });
    // A deadline that has passed is no wait at all.
    let before = Instant::now();
    waker.park(&socket, READABLE, Some(1), || false);
    assert!(before.elapsed() < Duration::from_secs(1));
}

#[test]
fn the_socket_ends_the_wait_if_wanted() {
    let (waker, socket) = (Waker::new().unwrap(), quiet_socket());
    let far_ns = now_ns() + 10_000_000_000;
    waker.park(&socket, Interest { readable: false, writable: true }, Some(far_ns), || false);
    socket.send_to(b"x", socket.local_addr().unwrap()).unwrap();
    waker.park(&socket, READABLE, Some(far_ns), || false);
    assert!(now_ns() < far_ns);
    let near_ns = now_ns() + 5_000_000;
    waker.park(&socket, DEAF, Some(near_ns), || false);
    assert!(now_ns() >= near_ns);
}

#[test]
fn a_ring_is_heard_once() {
    let (waker, socket) = (Waker::new().unwrap(), quiet_socket());
    assert!(!waker.wake(), "nobody waits");
    let far_ns = now_ns() + 10_000_000_000;
    let mut rung = false;
    waker.park(&socket, DEAF, Some(far_ns), || {
        rung = waker.wake();
        assert!(!waker.wake(), "one ring is enough");
        false
    });
    assert!(rung && now_ns() < far_ns);
    let near_ns = now_ns() + 5_000_000;
    waker.park(&socket, DEAF, Some(near_ns), || false);
    assert!(now_ns() >= near_ns);
}

#[test]
fn the_clock_is_the_one_node_shows() {
    // CLOCK_MONOTONIC is also std's Instant on Linux.
    let (before_ns, instant, after_ns) = (now_ns(), Instant::now(), now_ns());
    thread::sleep(Duration::from_millis(20));
    let (early_ns, elapsed, late_ns) = (now_ns(), instant.elapsed(), now_ns());
    // Between two readings on either side, however long those take.
    let between = u128::from(early_ns - after_ns)..=u128::from(late_ns - before_ns);
    assert!(between.contains(&elapsed.as_nanos()), "{elapsed:?}, not {between:?}");
    assert!((0..10_000).map(|_| now_ns()).is_sorted());
}
