//! The packets of dcQUIC version 0. The first byte tells them apart.

/// What decoded packets have alike: `name => where it is kept`.
macro_rules! accessors {
    ($($name:ident => $($field:ident).+),+ $(,)?) => { $(accessors!(@$name $($field).+);)+ };
    (@credentials $($field:ident).+) => {
        /// Which keys.
        #[must_use]
        pub const fn credentials(&self) -> crate::Credentials {
            self.$($field).+
        }
    };
    (@source_queue_id $($field:ident).+) => {
        /// The sender's mailbox.
        #[must_use]
        pub const fn source_queue_id(&self) -> Option<u64> {
            self.$($field).+
        }
    };
    (@control_data $($field:ident).+) => {
        /// Frames for the receiver, in the clear: see [`Frames`](crate::frame::Frames).
        #[must_use]
        pub const fn control_data(&self) -> &'a [u8] {
            self.$($field).+
        }
    };
    (@application_header $($field:ident).+) => {
        /// The application header, in the clear. paceline's streams do not use it.
        #[must_use]
        pub const fn application_header(&self) -> &'a [u8] {
            self.$($field).+
        }
    };
    (@payload_len $($field:ident).+) => {
        /// Bytes of the payload.
        #[must_use]
        pub const fn payload_len(&self) -> usize {
            self.$($field).+.len()
        }
    };
}

pub mod control;
pub mod datagram;
pub mod secret_control;
pub mod stream;

use crate::{CredentialId, codec::Reader};

/// What the first byte of a datagram announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 0x00–0x3f: [`stream`].
    Stream,
    /// 0x40–0x4f: [`datagram`].
    Datagram,
    /// 0x50–0x5f: [`control`].
    Control,
    /// 0x60–0x62, 0x64–0x66: [`secret_control`].
    SecretControl,
    /// 0x80–0x85: a message of paceline's own handshake.
    Handshake,
    /// Anything else: to be dropped.
    Invalid,
}

/// What kind of packet begins with that byte.
#[must_use]
pub const fn classify(first_byte: u8) -> Kind {
    match first_byte {
        0x00..=0x3f => Kind::Stream,
        0x40..=0x4f => Kind::Datagram,
        0x50..=0x5f => Kind::Control,
        0x60..=0x62 | 0x64..=0x66 => Kind::SecretControl,
        0x80..=0x85 => Kind::Handshake,
        _ => Kind::Invalid,
    }
}

/// The credential id of a datagram whose kind has one, without decoding the rest.
#[must_use]
pub fn peek_credential_id(bytes: &[u8]) -> Option<CredentialId> {
    let (first, rest) = bytes.split_first()?;
    match classify(*first) {
        Kind::Stream | Kind::Datagram | Kind::Control | Kind::SecretControl => {
            Some(CredentialId(Reader::new(rest).array().ok()?))
        }
        Kind::Handshake | Kind::Invalid => None,
    }
}

/// Writes a packet's stream id: queue ids with the bits that say reliable and bidirectional.
const fn stream_id(queue_id: u64) -> Result<u64, crate::EncodeError> {
    if queue_id > crate::varint::MAX >> 2 {
        return Err(crate::EncodeError::Value);
    }
    Ok(queue_id << 2 | RELIABLE | BIDIRECTIONAL)
}

/// Bit of a stream id: lost packets are retransmitted.
const RELIABLE: u64 = 2;
/// Bit of a stream id: both sides send.
const BIDIRECTIONAL: u64 = 1;
