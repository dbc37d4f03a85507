//! Single-use keys: one key id seals one datagram.

use super::{nonce, schedule};
use crate::crypto::{Aead, AeadKey};
use crate::{AuthError, SealError, Suite};
use core::fmt;

/// Seals one datagram, and is gone. Wiped on drop.
pub struct DatagramSealKey(Once);

/// Opens the one datagram of a key id. Wiped on drop.
pub struct DatagramOpenKey(Once);

struct Once {
    aead: AeadKey,
    iv: [u8; 12],
}

impl Once {
    fn new(suite: Suite, direction: &schedule::Direction) -> Self {
        Self { aead: AeadKey::new(suite, &direction.key), iv: direction.iv }
    }
}

impl DatagramSealKey {
    pub(super) fn new(suite: Suite, direction: &schedule::Direction) -> Self {
        Self(Once::new(suite, direction))
    }

    pub(crate) fn seal(
        self,
        number: u64,
        aad: &[u8],
        plaintext: &[u8],
        ciphertext: &mut [u8],
        tag: &mut [u8; 16],
    ) -> Result<(), SealError> {
        self.0
            .aead
            .seal(&nonce(&self.0.iv, number), aad, plaintext, ciphertext, tag)
            .map_err(|_| SealError::Cipher)
    }
}

impl DatagramOpenKey {
    pub(super) fn new(suite: Suite, direction: &schedule::Direction) -> Self {
        Self(Once::new(suite, direction))
    }

    pub(crate) fn open(
        &self,
        number: u64,
        aad: &[u8],
        ciphertext: &[u8],
        tag: &[u8; 16],
        plaintext: &mut [u8],
    ) -> Result<(), AuthError> {
        self.0.aead.open(&nonce(&self.0.iv, number), aad, ciphertext, tag, plaintext)
    }
}

impl fmt::Debug for DatagramSealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DatagramSealKey(..)")
    }
}

impl fmt::Debug for DatagramOpenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DatagramOpenKey(..)")
    }
}
