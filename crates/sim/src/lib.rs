//! Is the environment made of a seed: virtual time, a faulty network, invariant checkers.
//!
//! A [`World`] holds endpoints and the links between them, and steps the same [`Worker`](paceline_transport::Worker) that
//! production runs. Everything random comes from the seed, so a failure is repeated by repeating the seed.

#![forbid(unsafe_code)]

mod environment;
mod log;
mod network;
mod rng;
mod transfer;
mod world;

pub use environment::SimEnvironment;
pub use log::Log;
pub use network::{Captured, Faults, Link};
pub use rng::Rng;
pub use transfer::{Broken, Report, Transfer};
pub use world::{NodeId, World};
