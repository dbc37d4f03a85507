//! What a handshake tells the endpoint.

use crate::{parameters::Parameters, secret::SecretId};
use paceline_wire::{CredentialId, PathSecret, Role, Suite};
use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

/// Names an attempt to open a path; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId(pub(crate) u64);

/// A path's keys and what was agreed with them.
#[derive(Clone)]
pub struct Established {
    /// The fresh path secret. Shared rather than copied: there is one of it, as its keys must not be used twice.
    pub secret: Arc<PathSecret>,
    /// Its name on the wire.
    pub credential_id: CredentialId,
    /// Cipher suite that the responder chose.
    pub suite: Suite,
    /// Initiators are dcQUIC's handshake client.
    pub role: Role,
    /// The address that was asked (initiator), or that the first Response went to (responder).
    pub remote: SocketAddr,
    /// The local address that the peer talks to, where the socket knows it.
    pub local: Option<IpAddr>,
    /// Whether `remote` has proved that it receives. Responders learn it with [`Event::Confirmed`]: the path's address
    /// is the source of the confirming packet, and is validated if that is `remote`.
    pub address_validated: bool,
    /// Random for every start of the peer: two paths lead to the same peer if these are equal.
    pub instance: [u8; 16],
    /// Which secret was used.
    pub secret_id: SecretId,
    /// What both sides agreed on.
    pub peer: Parameters,
}

impl fmt::Debug for Established {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Established")
            .field("credential_id", &self.credential_id)
            .field("suite", &self.suite)
            .field("role", &self.role)
            .field("remote", &self.remote)
            .field("local", &self.local)
            .field("address_validated", &self.address_validated)
            .field("secret_id", &self.secret_id)
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

/// Why an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailReason {
    /// No answer, or nothing authentic after it: not listening, filtered, or another secret (which is never answered).
    Timeout,
    /// The peer said no, or what it said of itself cannot be accepted: a number of [`refusal`](crate::refusal).
    Refused(u8),
    /// The endpoint's list of secrets no longer has this attempt's.
    SecretRemoved,
}

/// What a handshake tells the endpoint.
#[derive(Clone, Debug)]
pub enum Event {
    /// Initiator: the Response opened; streams may leave now, after the Confirm, which is queued already.
    Usable {
        /// Whose path it is.
        attempt: AttemptId,
        /// The path.
        path: Box<Established>,
    },
    /// Responder: packets with this credential id must be openable, but nothing may be sealed or announced yet.
    HalfOpen {
        /// The path to be.
        path: Box<Established>,
    },
    /// The peer has proved that it has the keys. Responder: a Confirm came, or `on_authentic` was called. Initiator: a
    /// Confirmed came, or the timeout passed with authentic packets. It comes again, with the token, if the Confirm of a
    /// path that was confirmed without one arrives later.
    Confirmed {
        /// Which path.
        credential_id: CredentialId,
        /// Source of the Confirm (responder); where `on_authentic` confirmed, the address the first Response went to,
        /// and the caller knows the packet's source. The asked address (initiator).
        remote: SocketAddr,
        /// The token with which the peer would tell that it restarted, if it has told.
        reset_token: Option<[u8; 16]>,
    },
    /// Responder: a half-open path was forgotten. It never was anything to the application.
    Expired {
        /// Which path.
        credential_id: CredentialId,
    },
    /// Initiator: no path.
    Failed {
        /// Which attempt.
        attempt: AttemptId,
        /// The path that was usable and must be removed.
        credential_id: Option<CredentialId>,
        /// Why.
        error: FailReason,
    },
}

/// Why `connect` made no attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitError {
    /// [`MAX_ATTEMPTS`](crate::MAX_ATTEMPTS) are under way.
    Attempts,
    /// The list of secrets is empty.
    NoSecret,
    /// The random source repeats itself or a primitive failed.
    Crypto,
}

impl fmt::Display for LimitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attempts => {
                write!(f, "at most {} handshakes may be under way", crate::config::MAX_ATTEMPTS)
            }
            Self::NoSecret => f.write_str("connecting needs a secret"),
            Self::Crypto => f.write_str("the random source or a cryptographic primitive failed"),
        }
    }
}

impl std::error::Error for LimitError {}
