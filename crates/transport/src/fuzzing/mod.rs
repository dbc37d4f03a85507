//! What the fuzz targets need and nobody else: the layers below under one name, and bodies for the structures that are
//! private here. Only with the feature `fuzzing`; `fuzz/` says how it is used.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a model that is wrong must stop the fuzzer"
)]

mod input;
mod ranges;
mod reassembly;
mod replay;
mod sent;

pub use input::Input;
pub use ranges::ranges;
pub use reassembly::reassembly;
pub use replay::replay_window;
pub use sent::sent_map;

pub use paceline_wheel as wheel;
pub use paceline_wire as wire;

/// How far an input came, so that a fuzzer that only ever meets the first length check is seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Something of it got past the decoder; of a structure: an operation had an effect.
    pub past: bool,
    /// Datagrams (or packets) made from it.
    pub datagrams: u64,
    /// Of them: authentic to whoever received them.
    pub authentic: u64,
}

impl Reach {
    /// Of an input that is a list of operations on a structure.
    pub const fn of_structure(past: bool) -> Self {
        Self { past, datagrams: 0, authentic: 0 }
    }
}
