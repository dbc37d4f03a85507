//! The MAC of control packets, probes and retransmissions.

use super::schedule::Block;
use crate::crypto::{Hash, ct_eq, first, mac};
use crate::{AuthError, Suite};
use core::fmt;
use zeroize::Zeroize;

/// HMAC key of one direction of a stream, or of a path's secret-control packets. Wiped on drop.
///
/// It is the bare key, one hash block: a stream has two of them, prepared hash states are 1.2 KiB each, and in the
/// default suite no faster for messages of this size.
pub struct ControlKey(Key);

enum Key {
    Sha256([u8; 64]),
    /// Boxed so that streams of the default suite do not pay for it.
    Sha384(Box<[u8; 128]>),
}

impl ControlKey {
    pub(super) fn new(suite: Suite, block: &Block) -> Self {
        match suite.hash() {
            Hash::Sha256 => {
                let mut key = [0; 64];
                key.iter_mut().zip(&block.0).for_each(|(key, byte)| *key = *byte);
                Self(Key::Sha256(key))
            }
            Hash::Sha384 => Self(Key::Sha384(Box::new(block.0))),
        }
    }

    /// HMAC of the concatenated parts, truncated to 16 bytes.
    #[must_use]
    pub fn tag16(&self, parts: &[&[u8]]) -> [u8; 16] {
        match &self.0 {
            Key::Sha256(key) => first(&mac(Hash::Sha256, key, parts)),
            Key::Sha384(key) => first(&mac(Hash::Sha384, key.as_slice(), parts)),
        }
    }

    /// Compares a tag in constant time.
    ///
    /// # Errors
    /// Another tag than that of the parts.
    pub fn verify16(&self, parts: &[&[u8]], tag: &[u8; 16]) -> Result<(), AuthError> {
        if ct_eq(&self.tag16(parts), tag) { Ok(()) } else { Err(AuthError) }
    }
}

impl Drop for ControlKey {
    fn drop(&mut self) {
        match &mut self.0 {
            Key::Sha256(key) => key.as_mut_slice().zeroize(),
            Key::Sha384(key) => key.as_mut_slice().zeroize(),
        }
    }
}

impl fmt::Debug for ControlKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ControlKey(..)")
    }
}
