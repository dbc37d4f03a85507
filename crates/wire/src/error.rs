//! What can go wrong, and whose fault it is.

use core::fmt;

/// The bytes are not an authentic packet. Deliberately says nothing more.
#[derive(Clone, Copy, Debug)]
pub struct AuthError;

impl fmt::Display for AuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("authentication failed")
    }
}

impl core::error::Error for AuthError {}

/// The network's or the peer's fault: bytes that are no packet, or no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// A field goes beyond the end.
    Truncated,
    /// The first byte belongs to another kind of packet, or to none.
    Kind,
    /// A wire version other than 0.
    Version,
    /// Bytes after the packet. One datagram holds one packet.
    TrailingBytes,
    /// A number, or a sum of numbers, exceeds 2^62 − 1.
    Overflow,
    /// A recovery-space packet that is neither a probe nor a retransmission, or a retransmission without the
    /// recovery bit.
    Retransmission,
    /// A frame type that is unknown, or not encoded in as few bytes as possible (RFC 9000 §12.4).
    FrameType,
    /// An ACK frame whose ranges go below 0 (RFC 9000 §19.3.1).
    AckRange,
    /// A frame's field has a forbidden value (RFC 9000 §19).
    FrameField,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "a field goes beyond the end of the packet",
            Self::Kind => "not this kind of packet",
            Self::Version => "unknown wire version",
            Self::TrailingBytes => "bytes after the packet",
            Self::Overflow => "a number exceeds 2^62 - 1",
            Self::Retransmission => "neither a probe nor a retransmission",
            Self::FrameType => "unknown frame type",
            Self::AckRange => "acknowledged range below 0",
            Self::FrameField => "forbidden value in a frame",
        })
    }
}

impl core::error::Error for DecodeError {}

/// Our own fault: something that cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodeError {
    /// The output is too short.
    Space,
    /// A number exceeds 2^62 − 1, or the width it was to be written with.
    Value,
    /// Acknowledged ranges that are empty, not descending, or adjacent.
    Ranges,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Space => "the output is too short",
            Self::Value => "a number is too large for its field",
            Self::Ranges => "ranges must be descending, disjoint and not adjacent",
        })
    }
}

impl core::error::Error for EncodeError {}

/// Our own fault: a packet that must not, or cannot, be sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealError {
    /// Header or space, see [`EncodeError`].
    Encode(EncodeError),
    /// The header has a field that the layout lacks, or lacks one that it has.
    Layout,
    /// The header's key phase is not the key's.
    KeyPhase,
    /// The packet number is not greater than the last one sealed with this key. Sealing it could repeat a nonce.
    NumberReused {
        /// The smallest number this key still takes.
        next: u64,
    },
    /// The key sealed [`SEAL_LIMIT`](crate::SEAL_LIMIT) packets: update it first.
    Exhausted,
    /// The cipher refused; the library does not say why.
    Cipher,
}

impl From<EncodeError> for SealError {
    fn from(error: EncodeError) -> Self {
        Self::Encode(error)
    }
}

impl fmt::Display for SealError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Encode(error) => error.fmt(f),
            Self::Layout => f.write_str("header and layout differ"),
            Self::KeyPhase => f.write_str("header and key are in different key phases"),
            Self::NumberReused { next } => write!(f, "packet numbers below {next} were sealed before"),
            Self::Exhausted => f.write_str("the key is used up"),
            Self::Cipher => f.write_str("the cipher refused"),
        }
    }
}

impl core::error::Error for SealError {}

/// Our own fault: a stored packet that cannot be patched into a retransmission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetransmitError {
    /// Not a stream packet.
    Decode(DecodeError),
    /// A probe, or a packet of an unreliable stream: neither is ever retransmitted.
    NotRetransmittable,
    /// The new number is not greater than the original one, or more than 2^32 − 1 above it.
    Number,
}

impl From<DecodeError> for RetransmitError {
    fn from(error: DecodeError) -> Self {
        Self::Decode(error)
    }
}

impl fmt::Display for RetransmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Decode(error) => error.fmt(f),
            Self::NotRetransmittable => f.write_str("not a retransmittable packet"),
            Self::Number => f.write_str("the new number is out of range"),
        }
    }
}

impl core::error::Error for RetransmitError {}
