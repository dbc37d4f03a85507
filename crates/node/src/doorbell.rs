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
use std::sync::atomic::{AtomicBool, Ordering};

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

    /// JavaScript found nothing. News published from now on rings; look once more for what came before.
    pub(crate) fn release(&self) {
        self.0.store(false, Ordering::SeqCst);
    }

    /// JavaScript looked once more and found something: it will come back by itself.
    pub(crate) fn hold(&self) {
        self.0.store(true, Ordering::SeqCst);
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        sync::{Arc, Mutex, mpsc},
        thread,
    };

    #[test]
    fn rings_once_until_released() {
        let held = Held::default();
        assert!(held.ring());
        assert!(!held.ring());
        held.release();
        assert!(held.ring());
        held.release();
        held.hold();
        assert!(!held.ring());
    }

    /// The worker publishes and rings; the other side drains as `NativeDriver::drain` does, and sleeps only when released.
    #[test]
    fn no_news_is_slept_over() {
        const NEWS: u32 = 200_000;
        let held = Arc::new(Held::default());
        let outbox = Arc::new(Mutex::new(0u32));
        let (bell, rung) = mpsc::channel();
        let worker = thread::Builder::new().spawn({
            let (held, outbox) = (held.clone(), outbox.clone());
            move || {
                let mut rings = 0u32;
                for _ in 0..NEWS {
                    *outbox.lock().expect("outbox") += 1;
                    if held.ring() {
                        rings += 1;
                        bell.send(()).expect("somebody listens");
                    }
                }
                rings
            }
        });
        let take = || std::mem::take(&mut *outbox.lock().expect("outbox"));
        let mut taken = 0;
        // The bell is gone when the worker has ended; whatever it rang for was rung before.
        while rung.recv().is_ok() {
            loop {
                let mut batch = take();
                if batch == 0 {
                    held.release();
                    batch = take();
                    if batch == 0 {
                        break;
                    }
                    held.hold();
                }
                taken += batch;
            }
        }
        let rings = worker.expect("a thread").join().expect("no panic");
        assert_eq!(taken, NEWS);
        assert!(rings <= NEWS);
    }
}
