//! Waking and waiting.

use super::*;
use crate::{
    clock::now_ns,
    wait::{Interest, Waker},
};
use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    thread,
    time::{Duration, Instant},
};

const READABLE: Interest = Interest { readable: true, writable: false };
const DEAF: Interest = Interest { readable: false, writable: false };

fn quiet_socket() -> UdpSocket {
    let socket = UdpSocket::bind(V4).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

/// Writers submit and wake, and half of the time wait to be seen; the worker waits without a deadline, so one lost wake is for
/// ever.
#[test]
fn no_wake_is_lost() {
    const WRITERS: u64 = 2;
    const WAKES: u64 = 50_000;
    let waker = Waker::new().unwrap();
    let (submitted, seen, rings) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let slowest_ns = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let socket = quiet_socket();
            while !stop.load(SeqCst) {
                seen.store(submitted.load(SeqCst), SeqCst);
                waker.park(&socket, READABLE, None, || {
                    stop.load(SeqCst) || submitted.load(SeqCst) != seen.load(SeqCst)
                });
            }
        });
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (waker, submitted, seen, rings, slowest_ns) =
                    (&waker, &submitted, &seen, &rings, &slowest_ns);
                scope.spawn(move || {
                    for n in 0..WAKES {
                        let mine = submitted.fetch_add(1, SeqCst) + 1;
                        let from = Instant::now();
                        rings.fetch_add(u64::from(waker.wake()), SeqCst);
                        if (n * 7 + writer) % 4 < 2 {
                            while seen.load(SeqCst) < mine {
                                assert!(from.elapsed() < Duration::from_secs(5), "wake {mine} was lost");
                                thread::yield_now();
                            }
                            slowest_ns.fetch_max(from.elapsed().as_nanos() as u64, SeqCst);
                        }
                    }
                })
            })
            .collect();
        let lost = writers.into_iter().any(|writer| writer.join().is_err());
        stop.store(true, SeqCst);
        while !waker.wake() && seen.load(SeqCst) < WRITERS * WAKES && !lost {
            thread::yield_now();
        }
        waker.wake();
        assert!(!lost);
    });
    let rings = rings.load(SeqCst);
    println!("{rings} rings for {} wakes, slowest {} µs", WRITERS * WAKES, slowest_ns.load(SeqCst) / 1000);
    // Parking really happened, and not every wake paid for a ring.
    assert!((1_000..WRITERS * WAKES).contains(&rings), "{rings} rings");
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
    let (instant, start_ns) = (Instant::now(), now_ns());
    thread::sleep(Duration::from_millis(20));
    let (elapsed, end_ns) = (instant.elapsed(), now_ns());
    let difference = elapsed.as_nanos().abs_diff(u128::from(end_ns - start_ns));
    assert!(difference < 10_000_000, "{difference} ns apart");
    assert!((0..10_000).map(|_| now_ns()).is_sorted());
}
