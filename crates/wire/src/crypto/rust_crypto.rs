//! The primitives of RustCrypto: no C compiler, builds for wasm. Its `zeroize` features wipe keys on drop.

use super::{Aead, Hash, Mac, NONCE_LEN, Prk, Signer};
use crate::error::AuthError;
use crate::{Suite, TAG_LEN};
use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::{AeadInOut, Aes128Gcm, Aes256Gcm, KeyInit};
use hmac::Mac as _;
use sha2::{Digest, Sha256, Sha384};
use zeroize::Zeroize;

/// AES-GCM.
pub struct AeadKey(Cipher);

// Boxed like the key of the other library: expanded keys are 0.3 to 1 KiB, and streams are moved.
enum Cipher {
    Aes128(Box<Aes128Gcm>),
    Aes256(Box<Aes256Gcm>),
}

impl core::fmt::Debug for AeadKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("AeadKey(..)")
    }
}

impl Aead for AeadKey {
    fn new(suite: Suite, key: &[u8; 32]) -> Self {
        match suite {
            Suite::Aes128GcmSha256 => {
                let mut short = zeroize::Zeroizing::new([0; 16]);
                for (short, byte) in short.iter_mut().zip(key) {
                    *short = *byte;
                }
                Self(Cipher::Aes128(Box::new(Aes128Gcm::new((&*short).into()))))
            }
            Suite::Aes256GcmSha384 => Self(Cipher::Aes256(Box::new(Aes256Gcm::new(key.into())))),
        }
    }

    fn seal(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        plaintext: &[u8],
        ciphertext: &mut [u8],
        tag: &mut [u8; TAG_LEN],
    ) -> Result<(), AuthError> {
        let buffer = InOutBuf::new(plaintext, ciphertext).map_err(|_| AuthError)?;
        let made = match &self.0 {
            Cipher::Aes128(key) => key.encrypt_inout_detached(nonce.into(), aad, buffer),
            Cipher::Aes256(key) => key.encrypt_inout_detached(nonce.into(), aad, buffer),
        };
        *tag = made.map_err(|_| AuthError)?.into();
        Ok(())
    }

    fn open(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        ciphertext: &[u8],
        tag: &[u8; TAG_LEN],
        plaintext: &mut [u8],
    ) -> Result<(), AuthError> {
        let opened = match InOutBuf::new(ciphertext, plaintext) {
            Ok(buffer) => match &self.0 {
                Cipher::Aes128(key) => key.decrypt_inout_detached(nonce.into(), aad, buffer, tag.into()),
                Cipher::Aes256(key) => key.decrypt_inout_detached(nonce.into(), aad, buffer, tag.into()),
            },
            Err(_) => Err(aes_gcm::Error),
        };
        opened.map_err(|_| {
            plaintext.fill(0);
            AuthError
        })
    }
}

/// HMAC.
#[derive(Clone)]
pub struct MacKey(State);

#[derive(Clone)]
enum State {
    Sha256(hmac::Hmac<Sha256>),
    Sha384(hmac::Hmac<Sha384>),
}

impl core::fmt::Debug for MacKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("MacKey(..)")
    }
}

impl Mac for MacKey {
    type Signer = Self;

    #[allow(clippy::expect_used, reason = "HMAC takes keys of every length (RFC 2104)")]
    fn new(hash: Hash, key: &[u8]) -> Self {
        Self(match hash {
            Hash::Sha256 => State::Sha256(hmac::Hmac::new_from_slice(key).expect("any length")),
            Hash::Sha384 => State::Sha384(hmac::Hmac::new_from_slice(key).expect("any length")),
        })
    }

    fn start(&self) -> Self {
        self.clone()
    }
}

impl Signer for MacKey {
    fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Sha256(state) => state.update(bytes),
            State::Sha384(state) => state.update(bytes),
        }
    }

    fn finish(self) -> [u8; 48] {
        let mut out = [0; 48];
        match self.0 {
            State::Sha256(state) => {
                for (out, byte) in out.iter_mut().zip(state.finalize().into_bytes()) {
                    *out = byte;
                }
            }
            State::Sha384(state) => out = state.finalize().into_bytes().into(),
        }
        out
    }
}

/// HMAC with a key of at most one block.
#[must_use]
pub fn mac(hash: Hash, key: &[u8], parts: &[&[u8]]) -> [u8; 48] {
    super::sign(&MacKey::new(hash, key), parts)
}

/// HKDF-Expand.
#[derive(Debug)]
pub struct PrkKey {
    key: MacKey,
    hash: Hash,
}

impl Prk for PrkKey {
    fn new(hash: Hash, key: &[u8]) -> Self {
        Self { key: MacKey::new(hash, key), hash }
    }

    fn expand(&self, info: &[&[u8]], out: &mut [u8]) {
        let block_len = self.hash.output_len();
        // Our own constants, never a peer's: a silent tail of zeros would be worse than a panic.
        assert!(out.len() <= 255_usize.saturating_mul(block_len), "HKDF makes at most 255 blocks");
        let mut previous = [0; 48];
        for (counter, chunk) in (1_u8..=255).zip(out.chunks_mut(block_len)) {
            let mut signer = self.key.start();
            if counter > 1 {
                signer.update(previous.get(..block_len).unwrap_or_default());
            }
            for part in info {
                signer.update(part);
            }
            signer.update(&[counter]);
            previous = signer.finish();
            chunk.iter_mut().zip(&previous).for_each(|(out, byte)| *out = *byte);
        }
        previous.as_mut_slice().zeroize();
    }
}

/// SHA-256 of the concatenated parts.
#[must_use]
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut state = Sha256::new();
    for part in parts {
        state.update(part);
    }
    state.finalize().into()
}

/// Whether both are equal, in constant time.
#[must_use]
pub fn ct_eq(a: &[u8], b: &[u8]) -> bool {
    // The barrier keeps the compiler from leaving the loop at the first difference.
    a.len() == b.len() && a.iter().zip(b).fold(0, |sum, (a, b)| core::hint::black_box(sum | (a ^ b))) == 0
}
