//! Reads and writes dcQUIC version 0 packets, derives their keys, seals and opens them.
//!
//! ```
//! use paceline_wire::{Opener, PathSecret, Role, Suite, Credentials};
//! use paceline_wire::packet::stream::{self, Header, Layout};
//!
//! let export = [7; 32]; // from the handshake, new for every process and peer
//! let client = PathSecret::new(export, Suite::Aes128GcmSha256, Role::Client);
//! let server = PathSecret::new(export, Suite::Aes128GcmSha256, Role::Server);
//! let mut sender = client.stream_keys(0, Opener::Local);
//! let receiver = server.stream_keys(0, Opener::Remote);
//!
//! let header = Header {
//!     credentials: Credentials { id: *client.id(), key_id: 0 },
//!     queue_id: 1, source_queue_id: None, number: 0, next_expected_control: 0,
//!     offset: 0, final_offset: None, key_phase: false,
//! };
//! let layout = Layout::for_burst(&header, 0, 0);
//! let mut packet = vec![0; layout.packet_len(5)];
//! stream::seal(&header, &layout, &mut sender.seal, b"hello", &mut packet)?;
//!
//! let packet = stream::Packet::decode(&packet)?;
//! let mut payload = [0; 5];
//! packet.open(&receiver.open, &receiver.control_open, &mut payload)?;
//! assert_eq!(&payload, b"hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Ground rules: no clock, socket, thread or randomness; nothing here keeps state about a peer except the
//! counters inside [`SealKey`]. Decoding borrows from the datagram and never panics. Authentication failures are
//! opaque ([`AuthError`]), everything else says what was wrong. Packets and frames are those of dcQUIC
//! version 0 (ARCHITECTURE.md, "Wire"); one packet fills one datagram.

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

#[cfg(not(any(feature = "aws-lc", feature = "rust-crypto")))]
compile_error!("paceline-wire needs one of the features `aws-lc` and `rust-crypto`");

mod codec;
mod credentials;
pub mod crypto;
mod error;
pub mod frame;
mod keys;
pub mod packet;
mod suite;
pub mod varint;

pub use codec::Writer;
pub use credentials::{CredentialId, Credentials};
pub use error::{AuthError, DecodeError, EncodeError, RetransmitError, SealError};
pub use keys::{
    ControlKey, DatagramOpenKey, DatagramSealKey, OpenKey, PathSecret, PhaseSecret, SEAL_LIMIT, SealKey,
    StreamKeys,
};
pub use suite::{Opener, Role, Suite};

/// Bytes of an AEAD tag and of a truncated MAC, in every packet.
pub const TAG_LEN: usize = 16;
/// The only wire version there is.
pub const VERSION: u8 = 0;
