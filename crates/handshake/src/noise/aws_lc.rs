//! X25519 of aws-lc-rs.

use aws_lc_rs::agreement::{self, PrivateKey, UnparsedPublicKey, X25519};
use zeroize::Zeroizing;

/// A key pair. aws-lc wipes the private key when it frees it.
pub(crate) struct KeyPair {
    private: PrivateKey,
    public: [u8; 32],
}

impl KeyPair {
    pub(crate) fn new(private: &[u8; 32]) -> Option<Self> {
        // Of the constructors, this one takes the 32 raw bytes of RFC 7748; clamping happens inside.
        let private = PrivateKey::from_private_key(&X25519, private).ok()?;
        let public = private.compute_public_key().ok()?.as_ref().try_into().ok()?;
        Some(Self { private, public })
    }

    pub(crate) const fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// The shared secret. It may be all zero; the caller refuses that.
    pub(crate) fn agree(&self, peer: &[u8; 32]) -> Option<Zeroizing<[u8; 32]>> {
        agreement::agree(&self.private, UnparsedPublicKey::new(&X25519, peer), None, |shared| {
            Ok(shared.try_into().ok().map(Zeroizing::new))
        })
        .unwrap_or_else(|none| none)
    }
}
