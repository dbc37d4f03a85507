//! Is the environment made of a seed: virtual time, a faulty network, invariant checkers.
//!
//! A [`World`] holds endpoints and the links between them, and steps the same [`Worker`](paceline_transport::Worker) that
//! production runs. Everything random comes from the seed, so a failure is repeated by repeating the seed.

#![forbid(unsafe_code)]

mod addresses;
mod checker;
mod clock;
mod environment;
mod faults;
mod link;
mod log;
mod network;
mod observe;
pub mod paths;
mod rng;
pub mod run;
pub mod scenario;
pub mod shrink;
mod soak;
mod squeeze;
mod testbed;
mod transfer;
mod verdict;
mod world;

pub use environment::SimEnvironment;
pub use faults::{FaultCounts, FaultKind, SendFault, SendFaults};
pub use link::Link;
pub use log::Log;
pub use network::Captured;
pub use observe::{Observed, ObservedMail};
pub use rng::Rng;
#[cfg(feature = "planted")]
pub use run::run_planted;
pub use run::{Options, run_scenario, run_seed};
pub use scenario::{
    ClosePlan, FaultPlan, HalfPlan, Mode, NodePlan, PairPlan, ReaderPlan, Scenario, StreamPlan, Target,
};
pub use shrink::{Shrunk, shrink, shrink_while};
pub use soak::{Soak, SoakReport};
pub use testbed::{Refused, Testbed, Traffic};
pub use transfer::{Broken, Report, Transfer};
pub use verdict::{Campaign, Problem, Verdict, Worst};
pub use world::{NodeId, World};
