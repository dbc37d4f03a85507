//! The queue a stream's completions come home to.

use crate::{
    sync::{Mutex, MutexGuard},
    transmission::{Completion, StreamKey},
};
use std::sync::{Arc, PoisonError};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere must not turn into a second one here: the data is a Vec, valid at every step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Streams whose queue is not empty. Shared by all queues of a worker, so that finding them costs O(completions).
#[derive(Debug, Default)]
pub struct Ready(Mutex<Vec<StreamKey>>);

impl Ready {
    /// Swaps the list with `into`, which must be empty.
    pub fn take(&self, into: &mut Vec<StreamKey>) {
        debug_assert!(into.is_empty());
        std::mem::swap(&mut *lock(&self.0), into);
    }
}

/// A stream's completions: pushed by the socket worker, swapped whole by the stream.
///
/// The stream owns it; each transmission holds a `Weak`, so a stream that is gone cancels what it left in the wheel.
#[derive(Debug)]
pub struct Queue {
    key: StreamKey,
    ready: Arc<Ready>,
    items: Mutex<Vec<Completion>>,
}

impl Queue {
    /// A queue for the stream `key`, announced through `ready` when it gets its first completion.
    pub fn new(key: StreamKey, ready: Arc<Ready>) -> Arc<Self> {
        Arc::new(Self { key, ready, items: Mutex::new(Vec::new()) })
    }

    /// Adds a completion. At most `maxInFlightTransmissions` and the stream's retransmissions can be out, which bounds it.
    pub fn push(&self, completion: Completion) {
        let first = {
            let mut items = lock(&self.items);
            items.push(completion);
            items.len() == 1
        };
        if first {
            lock(&self.ready.0).push(self.key);
        }
    }

    /// Swaps the completions with `into`, which must be empty.
    pub fn take(&self, into: &mut Vec<Completion>) {
        debug_assert!(into.is_empty());
        std::mem::swap(&mut *lock(&self.items), into);
    }
}
