//! X25519 of RustCrypto's neighbour `x25519-dalek`: no C compiler, builds for wasm.

use x25519_dalek::{X25519_BASEPOINT_BYTES, x25519};
use zeroize::Zeroizing;

/// A key pair.
pub(crate) struct KeyPair {
    private: Zeroizing<[u8; 32]>,
    public: [u8; 32],
}

impl KeyPair {
    #[allow(clippy::unnecessary_wraps, reason = "the other library can fail")]
    pub(crate) fn new(private: &[u8; 32]) -> Option<Self> {
        Some(Self { private: Zeroizing::new(*private), public: x25519(*private, X25519_BASEPOINT_BYTES) })
    }

    pub(crate) const fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// The shared secret. It may be all zero; the caller refuses that.
    #[allow(clippy::unnecessary_wraps, reason = "the other library can fail")]
    pub(crate) fn agree(&self, peer: &[u8; 32]) -> Option<Zeroizing<[u8; 32]>> {
        Some(Zeroizing::new(x25519(*self.private, *peer)))
    }
}
