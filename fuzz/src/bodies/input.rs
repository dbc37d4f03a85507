//! Decisions out of bytes.

pub use paceline_transport::fuzzing::Input;
