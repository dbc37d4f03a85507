//! What threads meet at: std's primitives, or loom's, which try every order of events (`models.rs`).
//!
//! Not the pool's own `Arc` and its `Weak`s: no decision here depends on their counts.

#[cfg(loom)]
pub(crate) use loom::sync::{Arc, Mutex, MutexGuard};
#[cfg(not(loom))]
pub(crate) use std::sync::{Arc, Mutex, MutexGuard};

/// The value, if nobody else holds it. Of several who ask in the same instant, one gets it.
#[cfg(not(loom))]
pub(crate) fn into_inner<T>(shared: Arc<T>) -> Option<T> {
    Arc::into_inner(shared)
}

#[cfg(loom)]
pub(crate) fn into_inner<T>(shared: Arc<T>) -> Option<T> {
    Arc::try_unwrap(shared).ok()
}
