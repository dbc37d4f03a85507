//! Why something ended, and whose fault it was. The numbers are stable: TypeScript maps them to `ERR_PACELINE_*` codes.

use std::fmt;

/// Why a stream or a peer failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// Nobody answered: not listening, filtered, or another secret.
    HandshakeTimeout,
    /// The peer said no, with the reason's number on the wire (version 1, application 2, suite 3, closing 4, full 5).
    HandshakeRefused(u8),
    /// Too many attempts at once.
    HandshakeLimit,
    /// The peer lost this path's keys (restart).
    PeerRestarted,
    /// Nothing authentic came for `idleTimeout`.
    IdleTimeout,
    /// The peer ended the stream with an application code.
    PeerReset(u64),
    /// We ended the stream with an application code.
    LocalReset(u64),
    /// The peer takes no more streams.
    StreamRefused,
    /// The peer broke the protocol: a QUIC transport error code (RFC 9000 §20.1).
    Protocol(u64),
    /// The peer violated the flow-control window or the final size.
    PeerViolation(u64),
    /// The same errno for 3 s with nothing sent.
    Send(i32),
    /// The key id was rejected as replayed or stale: nothing of this stream counts as delivered.
    KeyRejected,
    /// The endpoint or the peer was closed here.
    Closed,
    /// A local limit, by name in the code: streams, peers.
    StreamLimit,
    /// The stream's key has sealed as many packets as it may (no key update yet).
    KeyLimit,
    /// An injected path secret, and nothing authentic came: the peer does not have it, or has the same role.
    PathUnconfirmed,
}

impl Failure {
    /// Stable number for the boundary.
    pub const fn number(self) -> u16 {
        match self {
            Self::HandshakeTimeout => 1,
            Self::HandshakeRefused(_) => 2,
            Self::HandshakeLimit => 3,
            Self::PeerRestarted => 4,
            Self::IdleTimeout => 5,
            Self::PeerReset(_) => 6,
            Self::LocalReset(_) => 7,
            Self::StreamRefused => 8,
            Self::Protocol(_) => 9,
            Self::PeerViolation(_) => 10,
            Self::Send(_) => 11,
            Self::KeyRejected => 12,
            Self::Closed => 13,
            Self::StreamLimit => 14,
            Self::KeyLimit => 15,
            Self::PathUnconfirmed => 16,
        }
    }

    /// The number that goes with it: application code, transport code, reason or errno; 0 without one.
    pub const fn detail(self) -> u64 {
        match self {
            Self::HandshakeRefused(reason) => reason as u64,
            Self::PeerReset(code)
            | Self::LocalReset(code)
            | Self::Protocol(code)
            | Self::PeerViolation(code) => code,
            Self::Send(errno) => errno.unsigned_abs() as u64,
            _ => 0,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HandshakeTimeout => f.write_str("no answer: not listening, filtered, or another secret"),
            Self::HandshakeRefused(reason) => write!(f, "the peer refused the handshake (reason {reason})"),
            Self::HandshakeLimit => f.write_str("too many handshakes at once"),
            Self::PeerRestarted => f.write_str("the peer restarted and lost its keys"),
            Self::IdleTimeout => f.write_str("nothing was heard from the peer within the idle timeout"),
            Self::PeerReset(code) => write!(f, "the peer reset the stream with code {code}"),
            Self::LocalReset(code) => write!(f, "the stream was reset with code {code}"),
            Self::StreamRefused => f.write_str("the peer takes no more streams"),
            Self::Protocol(code) => write!(f, "the peer reported transport error {code}"),
            Self::PeerViolation(code) => write!(f, "the peer violated the protocol (transport error {code})"),
            Self::Send(errno) => write!(f, "sending failed with errno {errno}"),
            Self::KeyRejected => f.write_str("the peer rejected the stream's key id"),
            Self::Closed => f.write_str("closed"),
            Self::StreamLimit => f.write_str("too many streams"),
            Self::KeyLimit => f.write_str("the stream's key has sealed as many packets as it may"),
            Self::PathUnconfirmed => f.write_str("nothing authentic came for an injected path secret"),
        }
    }
}

impl std::error::Error for Failure {}
