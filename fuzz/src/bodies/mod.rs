//! What the fuzz targets do with their input: one body per target, no fuzzer in sight.
//!
//! Compiled twice: into `fuzz/`, where libFuzzer makes the inputs, and into `crates/sim/tests/corpora.rs`, where the
//! committed ones are replayed. A body panics when something does not hold; the panic is the finding.
#![allow(
    unreachable_pub,
    dead_code,
    reason = "in a test crate nothing is reachable, and not everything is used"
)]

mod build;
mod environment;
mod frames;
mod handshake;
mod input;
mod packets;
mod pair;
mod peer;
mod receiver;
mod secret;
mod wheel;

pub use paceline_transport::fuzzing::Reach;
use paceline_transport::fuzzing::{ranges, reassembly, replay_window, sent_map};

/// A target: its name, and its body.
pub type Target = (&'static str, fn(&[u8]) -> Reach);

/// Every target there is; each has a directory of this name in `fuzz/corpus`.
pub const TARGETS: &[Target] = &[
    ("stream_packet", packets::stream),
    ("control_packet", packets::control),
    ("datagram_packet", packets::datagram),
    ("secret_control_packet", packets::secret_control),
    ("frames", frames::frames),
    ("handshake_initiator", handshake::initiator),
    ("handshake_responder", handshake::responder),
    ("secret", secret::secret),
    ("wheel", wheel::wheel),
    ("ranges", ranges),
    ("reassembly", reassembly),
    ("replay_window", replay_window),
    ("sent_map", sent_map),
    ("endpoint_pair", pair::pair),
    ("endpoint_peer", peer::peer),
];
