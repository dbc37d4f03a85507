//! Wakes the JavaScript thread, and not more often than it can follow.
//!
//! ```text
//!  worker                            JavaScript thread
//!  publish news                      drain: events > 0, called again in the next turn
//!  if !held.swap(true): call         drain: nothing left → held = false → look once more
//! ```
//!
//! Held means: JavaScript was called, or is draining. A flag cleared *before* draining would be rung again by every step of
//! a fast worker, and the event loop would do nothing else (reference/napi.md, "Events to JavaScript").

use napi::{
    Status,
    bindgen_prelude::{Env, Function},
    sys,
    threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode},
};
use std::sync::atomic::Ordering;

#[cfg(loom)]
use loom::sync::atomic::AtomicBool;
#[cfg(not(loom))]
use std::sync::atomic::AtomicBool;

/// No argument, no result, no error argument, weak, unbounded: at most one call is queued, or two when one was late.
type Callback = ThreadsafeFunction<(), (), (), Status, false, true, 0>;

/// The flag of a doorbell, apart from the bell.
#[derive(Debug, Default)]
pub(crate) struct Held(AtomicBool);

impl Held {
    /// Worker: whether to ring now. News is published before.
    pub(crate) fn ring(&self) -> bool {
        !self.0.swap(true, Ordering::SeqCst)
    }

    /// JavaScript: takes news, or lets go of the flag. Returns whether there was any; if not, the next news rings.
    pub(crate) fn take_or_release(&self, mut take: impl FnMut() -> bool) -> bool {
        if take() {
            return true;
        }
        // A swap, not a store: it sees everything that came before a ring that found the flag up, be it behind no lock.
        self.0.swap(false, Ordering::SeqCst);
        // News that came between the first look and the release did not ring.
        let late = take();
        if late {
            self.0.store(true, Ordering::SeqCst);
        }
        late
    }
}

/// A driver's callback and its flag. It holds neither the environment nor the endpoint.
pub(crate) struct Doorbell {
    pub(crate) held: Held,
    callback: Callback,
}

impl Doorbell {
    /// Does not keep the process alive before [`refer`](Self::refer).
    pub(crate) fn new(on_wake: &Function<'_, (), ()>) -> napi::Result<Self> {
        let callback = on_wake.build_threadsafe_function::<()>().weak::<true>().build()?;
        Ok(Self { held: Held::default(), callback })
    }

    /// Worker's thread: there is news.
    pub(crate) fn ring(&self) {
        if self.held.ring() {
            // Fails only when the environment ends, and then nobody waits.
            self.callback.call((), ThreadsafeFunctionCallMode::NonBlocking);
        }
    }

    /// JavaScript thread: the process stays alive for this driver, or does not. The caller keeps count: these do not nest.
    pub(crate) fn refer(&self, env: Env, refer: bool) {
        self.callback.handle.with_read_aborted(|aborted| {
            if aborted {
                return;
            }
            let raw = self.callback.handle.get_raw();
            // SAFETY: we are on the thread of `env`, which made the threadsafe function; it is not finalized, since
            // finalizing marks it aborted under the lock that is read-held here.
            unsafe {
                if refer {
                    sys::napi_ref_threadsafe_function(env.raw(), raw);
                } else {
                    sys::napi_unref_threadsafe_function(env.raw(), raw);
                }
            }
        });
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::{
        sync::{Arc, mpsc},
        thread,
        time::Duration,
    };

    const NOTHING: fn() -> bool = || false;

    #[test]
    fn rings_once_until_a_look_finds_nothing() {
        let held = Held::default();
        assert!(held.ring());
        assert!(!held.ring());
        assert!(held.take_or_release(|| true));
        assert!(!held.ring(), "whoever found something comes back by itself");
        assert!(!held.take_or_release(NOTHING));
        assert!(held.ring());
    }

    /// The two moments at which a worker can come in between.
    #[test]
    fn news_during_a_look_is_found_or_rings() {
        for (publish_after, rings) in [(1, false), (2, true)] {
            let held = Held::default();
            held.ring();
            let (mut looks, mut news) = (0, false);
            let found = held.take_or_release(|| {
                looks += 1;
                let found = std::mem::take(&mut news);
                if looks == publish_after {
                    news = true;
                    assert_eq!(held.ring(), rings, "after look {looks}");
                }
                found
            });
            assert_eq!(found, !rings, "found, or rung for");
            assert!(!held.ring(), "either way somebody is on the way");
        }
    }

    /// As fast as two threads can: a worker that publishes the next news as soon as the last one is taken.
    #[test]
    fn no_news_is_slept_over() {
        const NEWS: u32 = 100_000;
        let held = Arc::new(Held::default());
        let outbox = Arc::new(AtomicBool::new(false));
        let (bell, rung) = mpsc::channel();
        let worker = thread::Builder::new().spawn({
            let (held, outbox) = (held.clone(), outbox.clone());
            move || {
                for _ in 0..NEWS {
                    outbox.store(true, Ordering::SeqCst);
                    if held.ring() && bell.send(()).is_err() {
                        return;
                    }
                    while outbox.load(Ordering::SeqCst) && Arc::strong_count(&outbox) > 1 {
                        thread::yield_now();
                    }
                }
            }
        });
        let mut taken = 0;
        while taken < NEWS {
            rung.recv_timeout(Duration::from_secs(10)).expect("news was slept over");
            while held.take_or_release(|| outbox.swap(false, Ordering::SeqCst)) {
                taken += 1;
            }
        }
        drop(outbox);
        worker.expect("a thread").join().expect("no panic");
    }
}
