//! Secret-control packets: what a side says about a path secret or a key id that it does not accept.

use crate::codec::{Reader, Writer};
use crate::crypto::ct_eq;
use crate::{AuthError, ControlKey, CredentialId, DecodeError, EncodeError, TAG_LEN, VERSION};

/// First byte of a secret-control packet.
mod tag {
    pub(super) const UNKNOWN_PATH_SECRET: u8 = 0x60;
    pub(super) const STALE_KEY: u8 = 0x61;
    pub(super) const REPLAY_DETECTED: u8 = 0x62;
    pub(super) const QUEUE_ID: u8 = 0x04;
}

/// The longest secret-control packet, in bytes: tag, id, version, two varints, tag.
pub const MAX_LEN: usize = 1 + 16 + 1 + 8 + 8 + TAG_LEN;

/// What it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// The sender has no such path secret. Proven by its stateless reset token for the credential id.
    UnknownPathSecret,
    /// The key id is too old to tell whether it is a replay; ids from this one on are accepted.
    StaleKey {
        /// The smallest acceptable key id.
        min_key_id: u64,
    },
    /// This key id was used before.
    ReplayDetected {
        /// The key id.
        rejected_key_id: u64,
    },
}

/// Writes an UnknownPathSecret packet to the front of `out` and returns its length. `queue_id` is the source queue
/// id of the offending packet; `token` the one that this side gave, or would have given, for that id.
///
/// # Errors
/// [`EncodeError::Value`] and [`EncodeError::Space`].
pub fn unknown_path_secret(
    id: &CredentialId,
    queue_id: Option<u64>,
    token: &[u8; 16],
    out: &mut [u8],
) -> Result<usize, EncodeError> {
    let mut writer = start(tag::UNKNOWN_PATH_SECRET, id, queue_id, out)?;
    writer.array(*token)?;
    Ok(writer.len())
}

/// Writes a StaleKey packet to the front of `out` and returns its length; `key` is
/// [`PathSecret::control_sealer`](crate::PathSecret::control_sealer).
///
/// # Errors
/// [`EncodeError::Value`] and [`EncodeError::Space`].
pub fn stale_key(
    id: &CredentialId,
    queue_id: Option<u64>,
    min_key_id: u64,
    key: &ControlKey,
    out: &mut [u8],
) -> Result<usize, EncodeError> {
    let mut writer = start(tag::STALE_KEY, id, queue_id, out)?;
    writer.varint(min_key_id)?;
    writer.finish_with_mac(key)
}

/// Writes a ReplayDetected packet to the front of `out` and returns its length; `key` is
/// [`PathSecret::control_sealer`](crate::PathSecret::control_sealer).
///
/// # Errors
/// [`EncodeError::Value`] and [`EncodeError::Space`].
pub fn replay_detected(
    id: &CredentialId,
    queue_id: Option<u64>,
    rejected_key_id: u64,
    key: &ControlKey,
    out: &mut [u8],
) -> Result<usize, EncodeError> {
    let mut writer = start(tag::REPLAY_DETECTED, id, queue_id, out)?;
    writer.varint(rejected_key_id)?;
    writer.finish_with_mac(key)
}

fn start<'a>(
    kind: u8,
    id: &CredentialId,
    queue_id: Option<u64>,
    out: &'a mut [u8],
) -> Result<Writer<'a>, EncodeError> {
    let mut writer = Writer::new(out);
    writer.u8(if queue_id.is_some() { kind | tag::QUEUE_ID } else { kind })?;
    writer.array(id.0)?;
    writer.u8(VERSION)?;
    if let Some(queue_id) = queue_id {
        writer.varint(queue_id)?;
    }
    Ok(writer)
}

/// A decoded secret-control packet. Nothing in it is authentic before [`verify`](Self::verify).
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    authenticated: &'a [u8],
    auth_tag: &'a [u8; 16],
    id: CredentialId,
    queue_id: Option<u64>,
    body: Body,
}

impl<'a> Packet<'a> {
    /// Decodes a datagram that holds exactly one secret-control packet.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let first = reader.u8()?;
        let kind = first & !tag::QUEUE_ID;
        if !matches!(kind, tag::UNKNOWN_PATH_SECRET | tag::STALE_KEY | tag::REPLAY_DETECTED) {
            return Err(DecodeError::Kind);
        }
        let id = CredentialId(reader.array()?);
        reader.version()?;
        let queue_id = (first != kind).then(|| reader.varint()).transpose()?;
        let body = match kind {
            tag::STALE_KEY => Body::StaleKey { min_key_id: reader.varint()? },
            tag::REPLAY_DETECTED => Body::ReplayDetected { rejected_key_id: reader.varint()? },
            _ => Body::UnknownPathSecret,
        };
        let auth_tag = reader.final_tag()?;
        let authenticated = bytes.split_last_chunk::<TAG_LEN>().ok_or(DecodeError::Truncated)?.0;
        Ok(Self { authenticated, auth_tag, id, queue_id, body })
    }

    /// Which path secret.
    #[must_use]
    pub const fn id(&self) -> &CredentialId {
        &self.id
    }

    /// The receiver's mailbox: the source queue id of the packet that this one answers.
    #[must_use]
    pub const fn queue_id(&self) -> Option<u64> {
        self.queue_id
    }

    /// What it says.
    #[must_use]
    pub const fn body(&self) -> Body {
        self.body
    }

    /// Authenticates StaleKey and ReplayDetected with
    /// [`PathSecret::control_opener`](crate::PathSecret::control_opener).
    ///
    /// # Errors
    /// Not authentic, or an UnknownPathSecret packet, which no key authenticates.
    pub fn verify(&self, key: &ControlKey) -> Result<(), AuthError> {
        if self.body == Body::UnknownPathSecret {
            return Err(AuthError);
        }
        key.verify16(&[self.authenticated], self.auth_tag)
    }

    /// Authenticates UnknownPathSecret with the stateless reset token that the peer gave in the handshake.
    ///
    /// # Errors
    /// Another token, or a packet of another kind.
    pub fn verify_token(&self, token: &[u8; 16]) -> Result<(), AuthError> {
        if self.body == Body::UnknownPathSecret && ct_eq(self.auth_tag, token) {
            Ok(())
        } else {
            Err(AuthError)
        }
    }
}
