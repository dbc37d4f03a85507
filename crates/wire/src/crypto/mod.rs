//! Primitives: AES-GCM, HMAC, HKDF and SHA-256 from the library that the build selected.
//!
//! With the feature `aws-lc` they come from aws-lc-rs, else from RustCrypto (for wasm). Both modules implement
//! [`Aead`], [`Mac`] and [`Prk`] and can be compiled together; a test then compares them.

#[cfg(feature = "aws-lc")]
pub mod aws_lc;
#[cfg(feature = "rust-crypto")]
pub mod rust_crypto;

#[cfg(feature = "aws-lc")]
use aws_lc as backend;
#[cfg(all(feature = "rust-crypto", not(feature = "aws-lc")))]
use rust_crypto as backend;

use crate::error::AuthError;
use crate::{CredentialId, Suite, TAG_LEN};

pub(crate) use backend::{AeadKey, MacKey, PrkKey, mac};

/// Bytes of an AES-GCM nonce.
pub const NONCE_LEN: usize = 12;

/// Hash function of a suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
}

impl Hash {
    /// Bytes of a digest.
    #[must_use]
    pub const fn output_len(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
        }
    }

    /// Bytes of an input block: the length of the HMAC keys of dcQUIC.
    #[must_use]
    pub const fn block_len(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha384 => 128,
        }
    }
}

/// AES-GCM with one key. Never copies: input and output are different slices.
pub trait Aead: Sized {
    /// A key of `suite`: its first [`Suite::key_len`] bytes count.
    fn new(suite: Suite, key: &[u8; 32]) -> Self;

    /// Encrypts `plaintext` into `ciphertext`, which has the same length.
    ///
    /// # Errors
    /// Lengths that differ or that AES-GCM does not take.
    fn seal(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        plaintext: &[u8],
        ciphertext: &mut [u8],
        tag: &mut [u8; TAG_LEN],
    ) -> Result<(), AuthError>;

    /// Decrypts `ciphertext` into `plaintext`, which has the same length. After an error `plaintext` is zero.
    ///
    /// # Errors
    /// Not authentic, or lengths that differ.
    fn open(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        ciphertext: &[u8],
        tag: &[u8; TAG_LEN],
        plaintext: &mut [u8],
    ) -> Result<(), AuthError>;
}

/// HMAC with one key, whose two key blocks are hashed in advance.
pub trait Mac: Sized {
    /// A message that is being authenticated.
    type Signer: Signer;

    /// Any number of key bytes; those beyond a block are hashed first (RFC 2104).
    fn new(hash: Hash, key: &[u8]) -> Self;

    /// Begins a message.
    fn start(&self) -> Self::Signer;
}

/// See [`Mac::Signer`].
pub trait Signer {
    /// More of the message.
    fn update(&mut self, bytes: &[u8]);

    /// The MAC; with SHA-256 the first 32 bytes of it.
    fn finish(self) -> [u8; 48];
}

/// A key for HKDF-Expand. Wiped on drop.
pub trait Prk: Sized {
    /// At most 64 key bytes.
    fn new(hash: Hash, key: &[u8]) -> Self;

    /// HKDF-Expand (RFC 5869 §2.3) of the concatenated info.
    ///
    /// # Panics
    /// If `out` is longer than 255 blocks of the hash.
    fn expand(&self, info: &[&[u8]], out: &mut [u8]);
}

/// HMAC-SHA-256 with a key whose blocks are hashed in advance.
pub struct HmacSha256Key(MacKey);

impl HmacSha256Key {
    /// Any number of key bytes.
    #[must_use]
    pub fn new(key: &[u8]) -> Self {
        Self(MacKey::new(Hash::Sha256, key))
    }

    /// The MAC of the concatenated parts.
    #[must_use]
    pub fn sign(&self, parts: &[&[u8]]) -> [u8; 32] {
        first(&sign(&self.0, parts))
    }

    /// The first 16 bytes of the MAC.
    #[must_use]
    pub fn tag16(&self, parts: &[&[u8]]) -> [u8; 16] {
        first(&sign(&self.0, parts))
    }

    /// Compares in constant time.
    ///
    /// # Errors
    /// Another tag than that of the parts.
    pub fn verify16(&self, parts: &[&[u8]], tag: &[u8; 16]) -> Result<(), AuthError> {
        if ct_eq(&self.tag16(parts), tag) { Ok(()) } else { Err(AuthError) }
    }
}

impl core::fmt::Debug for HmacSha256Key {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("HmacSha256Key(..)")
    }
}

/// HMAC-SHA-256 of the concatenated parts.
#[must_use]
pub fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    HmacSha256Key::new(key).sign(parts)
}

/// SHA-256 of the concatenated parts.
#[must_use]
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    backend::sha256(parts)
}

/// HKDF-Extract (RFC 5869 §2.2) with SHA-256, of the concatenated input.
#[must_use]
pub fn hkdf_extract_sha256(salt: &[u8], ikm: &[&[u8]]) -> [u8; 32] {
    hmac_sha256(salt, ikm)
}

/// HKDF-Expand (RFC 5869 §2.3) with SHA-256, of the concatenated info.
///
/// # Panics
/// If `out` is longer than the 255 blocks (8160 bytes) that HKDF can make.
pub fn hkdf_expand_sha256(prk: &[u8; 32], info: &[&[u8]], out: &mut [u8]) {
    PrkKey::new(Hash::Sha256, prk).expand(info, out);
}

/// Whether both are equal, in a time that depends on the lengths only.
#[must_use]
pub fn ct_eq(a: &[u8], b: &[u8]) -> bool {
    backend::ct_eq(a, b)
}

/// Seals with AES-256-GCM under a key that is used once: ciphertext, then the tag, to the front of `out`; returns
/// how many bytes that is.
///
/// # Errors
/// `out` is shorter than the plaintext and 16 bytes.
pub fn aes256gcm_seal(
    key: &[u8; 32],
    nonce: &[u8; NONCE_LEN],
    aad: &[u8],
    plaintext: &[u8],
    out: &mut [u8],
) -> Result<usize, AuthError> {
    let (ciphertext, rest) = out.split_at_mut_checked(plaintext.len()).ok_or(AuthError)?;
    let tag = rest.first_chunk_mut().ok_or(AuthError)?;
    AeadKey::new(Suite::Aes256GcmSha384, key).seal(nonce, aad, plaintext, ciphertext, tag)?;
    Ok(plaintext.len().saturating_add(TAG_LEN))
}

/// Opens what [`aes256gcm_seal`] made, into the front of `out`; returns the length of the plaintext.
///
/// # Errors
/// Not authentic, shorter than a tag, or `out` is too short.
pub fn aes256gcm_open(
    key: &[u8; 32],
    nonce: &[u8; NONCE_LEN],
    aad: &[u8],
    sealed: &[u8],
    out: &mut [u8],
) -> Result<usize, AuthError> {
    let (ciphertext, tag) = sealed.split_last_chunk().ok_or(AuthError)?;
    let plaintext = out.get_mut(..ciphertext.len()).ok_or(AuthError)?;
    AeadKey::new(Suite::Aes256GcmSha384, key).open(nonce, aad, ciphertext, tag, plaintext)?;
    Ok(ciphertext.len())
}

/// The stateless reset token that a holder of `reset_key` gives for a credential id: HMAC-SHA-256, 16 bytes.
#[must_use]
pub fn reset_token(reset_key: &[u8; 32], id: &CredentialId) -> [u8; 16] {
    HmacSha256Key::new(reset_key).tag16(&[&id.0])
}

/// The same as s2n-quic-dc computes it: HMAC-SHA-384 over any signer secret. Tokens are learnt from the peer, so
/// both interoperate; this one is for checking against theirs.
#[must_use]
pub fn reset_token_sha384(signer: &[u8], id: &CredentialId) -> [u8; 16] {
    first(&sign(&MacKey::new(Hash::Sha384, signer), &[&id.0]))
}

pub(crate) fn sign<M: Mac>(key: &M, parts: &[&[u8]]) -> [u8; 48] {
    let mut signer = key.start();
    for part in parts {
        signer.update(part);
    }
    signer.finish()
}

/// The first `N` bytes of a longer array.
pub(crate) fn first<const N: usize>(bytes: &[u8; 48]) -> [u8; N] {
    const { assert!(N <= 48) };
    let mut out = [0; N];
    for (out, byte) in out.iter_mut().zip(bytes) {
        *out = *byte;
    }
    out
}

#[cfg(test)]
mod tests;
