//! The flags two threads meet at: std's, or loom's, which try every order of events (`models.rs`).

#[cfg(loom)]
pub(crate) use loom::sync::atomic::AtomicBool;
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::AtomicBool;
