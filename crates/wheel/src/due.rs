//! What comes out of a wheel, and what does not go in.

use std::{error::Error, fmt};

/// A value whose time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due<T> {
    /// The time it was inserted for, in ns.
    pub at_ns: u64,
    /// The value.
    pub value: T,
}

/// The wheel holds `max_entries` values; the refused one comes back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Full<T>(pub T);

// Not derived: a refusal must be reportable whatever the value is.
impl<T> fmt::Debug for Full<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Full(..)")
    }
}

impl<T> fmt::Display for Full<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the wheel is full")
    }
}

impl<T> Error for Full<T> {}
