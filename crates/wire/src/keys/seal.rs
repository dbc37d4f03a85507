//! The sending half of a stream's application keys: counts, orders, updates.

use super::{nonce, schedule};
use crate::crypto::{Aead, AeadKey};
use crate::{AuthError, SealError, Suite, varint};
use core::fmt;
use zeroize::Zeroizing;

/// Packets that one key seals: 2^23, the confidentiality limit of AES-GCM (RFC 9001 §6.6, B.1.1).
pub const SEAL_LIMIT: u64 = 1 << 23;

/// Seals the packets of one direction of a stream. Wiped on drop.
///
/// A pair of key and packet number never repeats: numbers must ascend, also across key updates, and after
/// [`SEAL_LIMIT`] packets the key refuses until [`update`](Self::update).
pub struct SealKey {
    aead: AeadKey,
    ku: Zeroizing<[u8; 32]>,
    next_number: u64,
    remaining: u64,
    limit: u64,
    iv: [u8; 12],
    suite: Suite,
    phase: bool,
}

impl SealKey {
    pub(super) fn new(suite: Suite, direction: &schedule::Direction) -> Self {
        Self {
            aead: AeadKey::new(suite, &direction.key),
            ku: Zeroizing::new(direction.ku),
            next_number: 0,
            remaining: SEAL_LIMIT,
            limit: SEAL_LIMIT,
            iv: direction.iv,
            suite,
            phase: false,
        }
    }

    /// The key phase bit that packets sealed now must carry.
    #[must_use]
    pub const fn phase(&self) -> bool {
        self.phase
    }

    /// The smallest packet number it still takes.
    #[must_use]
    pub const fn next_number(&self) -> u64 {
        self.next_number
    }

    /// How many packets it still seals before it must be updated.
    #[must_use]
    pub const fn remaining(&self) -> u64 {
        self.remaining
    }

    /// Lowers the number of packets per key, for tests of the update. Never raises it above [`SEAL_LIMIT`].
    pub fn lower_limit(&mut self, packets: u64) {
        self.limit = self.limit.min(packets);
        self.remaining = self.remaining.min(packets);
    }

    /// Derives the key of the next phase, and forgets the present one.
    ///
    /// The peer drops the old key with the first packet of the new phase: seal that one only when everything of
    /// the old phase is acknowledged.
    pub fn update(&mut self) {
        let next = schedule::next_phase(self.suite, &self.ku);
        self.aead = AeadKey::new(self.suite, &next.key);
        *self.ku = next.ku;
        self.iv = next.iv;
        self.remaining = self.limit;
        self.phase = !self.phase;
    }

    pub(crate) fn seal(
        &mut self,
        number: u64,
        aad: &[u8],
        plaintext: &[u8],
        ciphertext: &mut [u8],
        tag: &mut [u8; 16],
    ) -> Result<(), SealError> {
        self.check(number)?;
        // Used up before the cipher runs: whatever happens in there, the nonce is gone.
        self.next_number = number.saturating_add(1);
        self.remaining = self.remaining.saturating_sub(1);
        self.aead
            .seal(&nonce(&self.iv, number), aad, plaintext, ciphertext, tag)
            .map_err(|_| SealError::Cipher)
    }

    /// Opens what this key sealed in its present phase.
    pub(crate) fn reopen(
        &self,
        number: u64,
        aad: &[u8],
        ciphertext: &[u8],
        tag: &[u8; 16],
        plaintext: &mut [u8],
    ) -> Result<(), AuthError> {
        self.aead.open(&nonce(&self.iv, number), aad, ciphertext, tag, plaintext)
    }

    /// Whether `number` can be sealed, before anything is written.
    pub(crate) const fn check(&self, number: u64) -> Result<(), SealError> {
        if number < self.next_number {
            return Err(SealError::NumberReused { next: self.next_number });
        }
        if number > varint::MAX {
            return Err(SealError::Encode(crate::EncodeError::Value));
        }
        if self.remaining == 0 {
            return Err(SealError::Exhausted);
        }
        Ok(())
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealKey")
            .field("phase", &self.phase)
            .field("next_number", &self.next_number)
            .field("remaining", &self.remaining)
            .finish_non_exhaustive()
    }
}
