//! Turns bytes, packets and time into transmissions and events: endpoint, path, stream, recovery, flow, completion queue,
//! socket worker.
//!
//! Everything is driven by one function, [`Worker::step`], in a world given as an [`Environment`]. A worker owns all state
//! and runs on one thread; [`app::Shared`] is the only thing another thread touches.
//!
//! Ground rules: time is an argument in ns; nothing here reads a clock, owns a socket or draws randomness of its own; no
//! packet can make it panic, allocate without limit or answer more than it got.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

/// Whether this is the bug that was planted; `false`, and nothing else, without the feature.
#[cfg(feature = "planted")]
macro_rules! planted {
    ($at:expr, $bug:ident $(, $when:expr)?) => {
        $at.planted == Some($crate::planted::Bug::$bug) $(&& $when)?
    };
}
#[cfg(not(feature = "planted"))]
macro_rules! planted {
    ($at:expr, $bug:ident $(, $when:expr)?) => {
        false
    };
}

pub mod app;
mod buffer;
pub mod completion;
mod config;
mod endpoint;
mod environment;
mod error;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod handshakes;
pub mod inspect;
#[cfg(all(test, loom))]
mod models;
mod path;
/// Whether bugs can be planted (feature `planted`). Who builds what is shipped refuses to.
#[doc(hidden)]
pub const PLANTED: bool = cfg!(feature = "planted");
pub mod stats;
mod stream;
mod sync;
mod table;
mod transmission;
mod worker;

pub use config::{Config, MS, Preset, ResetKey, SECOND};
pub use endpoint::audit::{Audit, PathAudit, StreamAudit};
#[cfg(feature = "planted")]
pub use endpoint::planted;
pub use environment::{Backpressure, BurstLimits, Environment, Received};
pub use error::Failure;
pub use handshakes::Handshakes;
pub use transmission::{
    Completion, Ecn, Info, Kind, Outcome, Owner, PathKey, SendError, Space, StreamKey, Transmission,
};
pub use worker::{Step, Worker};

pub use paceline_handshake as handshake;
pub use paceline_pacer::Algorithm;
pub use paceline_pool as pool;
pub use paceline_wire as wire;
