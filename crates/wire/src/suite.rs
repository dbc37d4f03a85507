//! What both sides agreed on: cipher suite and roles.

use crate::crypto::Hash;

/// Cipher suite of a path, agreed in its handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Suite {
    /// AES-128-GCM with HKDF and HMAC over SHA-256.
    Aes128GcmSha256,
    /// AES-256-GCM with HKDF and HMAC over SHA-384.
    Aes256GcmSha384,
}

impl Suite {
    /// Bits of an AEAD key: 128 or 256.
    #[must_use]
    pub const fn key_bits(self) -> u16 {
        match self {
            Self::Aes128GcmSha256 => 128,
            Self::Aes256GcmSha384 => 256,
        }
    }

    /// Bytes of an AEAD key and of a key-update secret: 16 or 32.
    #[must_use]
    pub const fn key_len(self) -> usize {
        match self {
            Self::Aes128GcmSha256 => 16,
            Self::Aes256GcmSha384 => 32,
        }
    }

    /// The suite's hash, for HKDF and HMAC.
    #[must_use]
    pub const fn hash(self) -> Hash {
        match self {
            Self::Aes128GcmSha256 => Hash::Sha256,
            Self::Aes256GcmSha384 => Hash::Sha384,
        }
    }
}

/// Role in the handshake that made a path secret; not who opened a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Sent the first handshake message.
    Client,
    /// Answered it.
    Server,
}

impl Role {
    /// The role of the other side.
    #[must_use]
    pub const fn peer(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }

    /// The label of the key schedule, with its leading space.
    pub(crate) const fn label(self) -> &'static [u8] {
        match self {
            Self::Client => b" client",
            Self::Server => b" server",
        }
    }
}

/// Who opened a stream. Both directions count their key ids from 0, so this is part of the key derivation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Opener {
    /// This side.
    Local,
    /// The peer.
    Remote,
}
