//! Which path secret, and which of its keys.

use crate::codec::{Reader, Writer};
use crate::error::{DecodeError, EncodeError};
use core::fmt;

/// Names a path secret on the wire. Derived from it, so both sides know it; it tells nothing about it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CredentialId(pub [u8; 16]);

impl fmt::Debug for CredentialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CredentialId(")?;
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        f.write_str(")")
    }
}

/// Names the keys of one stream: a path secret, and a number that its opener counts up from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Credentials {
    /// The path secret.
    pub id: CredentialId,
    /// The key id, a varint: at most [`varint::MAX`](crate::varint::MAX).
    pub key_id: u64,
}

impl Credentials {
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { id: CredentialId(reader.array()?), key_id: reader.varint()? })
    }

    pub(crate) fn encode(&self, writer: &mut Writer<'_>, key_id_width: usize) -> Result<(), EncodeError> {
        writer.bytes(&self.id.0)?;
        writer.varint_with(self.key_id, key_id_width)
    }
}
