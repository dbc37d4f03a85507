//! Doorbell and teardown: every order of events between worker and JavaScript (loom, three preemptions at most).
//!
//! The flag is the real one; outbox, callback queue and event loop are modelled. News that is slept over leaves JavaScript
//! waiting for good, which loom reports as a deadlock.

use crate::doorbell::Held;
use loom::{
    model::Builder,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

/// Preemptions looked at: beyond two, tokio's experience is, hardly any fault is left to find.
const PREEMPTIONS: usize = 3;

fn every_order(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS);
    builder.check(model);
}

/// What worker and JavaScript share.
#[derive(Default)]
struct Bridge {
    held: Held,
    outbox: Mutex<u32>,
    failed: AtomicBool,
    /// Calls of the callback that are queued.
    calls: Mutex<u32>,
    called: Condvar,
}

impl Bridge {
    fn publish(&self) {
        *self.outbox.lock().unwrap() += 1;
        self.ring();
    }

    fn ring(&self) {
        if self.held.ring() {
            *self.calls.lock().unwrap() += 1;
            self.called.notify_one();
        }
    }

    /// The event loop has nothing to do but this driver's callback.
    fn wait_for_call(&self) {
        let mut calls = self.calls.lock().unwrap();
        while *calls == 0 {
            calls = self.called.wait(calls).unwrap();
        }
        *calls -= 1;
    }

    /// One turn: as `Open::drain`, until it finds nothing.
    fn drain(&self) -> u32 {
        let mut taken = 0;
        let mut take = || {
            let news = std::mem::take(&mut *self.outbox.lock().unwrap());
            taken += news;
            news > 0
        };
        while self.held.take_or_release(&mut take) {}
        taken
    }
}

#[test]
fn r9_no_news_is_slept_over() {
    every_order(|| {
        let bridge = Arc::new(Bridge::default());
        let worker = {
            let bridge = Arc::clone(&bridge);
            thread::spawn(move || (0..3).for_each(|_| bridge.publish()))
        };
        let mut taken = 0;
        while taken < 3 {
            bridge.wait_for_call();
            taken += bridge.drain();
        }
        worker.join().unwrap();
        // What is still queued finds nothing: two calls at most, as `doorbell::Callback` says.
        assert!(*bridge.calls.lock().unwrap() <= 2);
        assert_eq!(taken, 3);
    });
}

/// A worker that fails rings like one with news; JavaScript looks at the flag only when there is no news.
#[test]
fn r9_a_failure_is_told() {
    every_order(|| {
        let bridge = Arc::new(Bridge::default());
        let worker = {
            let bridge = Arc::clone(&bridge);
            thread::spawn(move || {
                bridge.publish();
                // As `Runtime::start_with`: first the flag, then the bell.
                bridge.failed.store(true, Ordering::SeqCst);
                bridge.ring();
            })
        };
        let mut taken = 0;
        loop {
            bridge.wait_for_call();
            taken += bridge.drain();
            if bridge.failed.load(Ordering::SeqCst) {
                break;
            }
        }
        worker.join().unwrap();
        assert_eq!(taken, 1, "what was published before is told before");
    });
}

/// Teardown: the endpoint is closed while the worker rings. The thread is joined before the bell goes, so no call is made after.
#[test]
fn r9_no_call_after_the_end() {
    every_order(|| {
        let bridge = Arc::new(Bridge::default());
        let stop = Arc::new(AtomicBool::new(false));
        let worker = {
            let (bridge, stop) = (Arc::clone(&bridge), Arc::clone(&stop));
            thread::spawn(move || {
                for _ in 0..3 {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    bridge.publish();
                }
            })
        };
        let mut taken = bridge.drain();
        stop.store(true, Ordering::SeqCst);
        worker.join().unwrap();
        let calls = *bridge.calls.lock().unwrap();
        taken += bridge.drain();
        assert!(taken <= 3 && calls <= 2, "{calls} calls for {taken}");
        assert_eq!(*bridge.calls.lock().unwrap(), calls);
    });
}
