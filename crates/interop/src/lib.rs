//! Speaks dcQUIC with the crate it comes from: the oracle of the codec, the peer of the streams.
//!
//! Nothing here is part of paceline. `tests/differential` holds every packet and every key against those of `s2n-quic-dc`; the
//! program `paceline-interop` lets [`ours`] and [`upstream`] open streams to each other, through a [`proxy`] where the network
//! is to be bad, and says of every [`case`] how it went.

// Peers on real sockets need a clock and threads.
#![allow(clippy::disallowed_methods)]

pub mod case;
pub mod flaws;
pub mod matrix;
pub mod nonces;
pub mod ours;
pub mod proxy;
pub mod replay;
pub mod report;
pub mod rng;
mod scene;
pub mod secret_control;
pub mod throughput;
pub mod upstream;

pub use rng::Rng;
