//! The primitives of aws-lc-rs. It wipes AEAD and HMAC keys itself when they are dropped.

use super::{Aead, Hash, Mac, NONCE_LEN, Prk, Signer};
use crate::error::AuthError;
use crate::{Suite, TAG_LEN};
use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::{constant_time, digest, hkdf, hmac};
use zeroize::Zeroize;

/// AES-GCM.
#[derive(Debug)]
pub struct AeadKey(LessSafeKey);

impl Aead for AeadKey {
    #[allow(
        clippy::expect_used,
        reason = "fails only for a key of another length, and both lengths are constants"
    )]
    fn new(suite: Suite, key: &[u8; 32]) -> Self {
        let algorithm = match suite {
            Suite::Aes128GcmSha256 => &AES_128_GCM,
            Suite::Aes256GcmSha384 => &AES_256_GCM,
        };
        let key = key.get(..suite.key_len()).unwrap_or_default();
        Self(LessSafeKey::new(UnboundKey::new(algorithm, key).expect("key of the suite's length")))
    }

    fn seal(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        plaintext: &[u8],
        ciphertext: &mut [u8],
        tag: &mut [u8; TAG_LEN],
    ) -> Result<(), AuthError> {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        self.0
            .seal_out_of_place_scatter(nonce, Aad::from(aad), plaintext, ciphertext, &[], tag)
            .map_err(|_| AuthError)
    }

    fn open(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        ciphertext: &[u8],
        tag: &[u8; TAG_LEN],
        plaintext: &mut [u8],
    ) -> Result<(), AuthError> {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        self.0.open_separate_gather(nonce, Aad::from(aad), ciphertext, tag, plaintext).map_err(|_| {
            plaintext.fill(0);
            AuthError
        })
    }
}

/// HMAC.
#[derive(Debug)]
pub struct MacKey(hmac::Key);

impl Mac for MacKey {
    type Signer = MacSigner;

    fn new(hash: Hash, key: &[u8]) -> Self {
        let algorithm = match hash {
            Hash::Sha256 => hmac::HMAC_SHA256,
            Hash::Sha384 => hmac::HMAC_SHA384,
        };
        Self(hmac::Key::new(algorithm, key))
    }

    fn start(&self) -> MacSigner {
        MacSigner(hmac::Context::with_key(&self.0))
    }
}

/// An HMAC under way.
#[derive(Debug)]
pub struct MacSigner(hmac::Context);

impl Signer for MacSigner {
    fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(self) -> [u8; 48] {
        let mut out = [0; 48];
        for (out, byte) in out.iter_mut().zip(self.0.sign().as_ref()) {
            *out = *byte;
        }
        out
    }
}

/// Key block and message that [`mac`] takes on the stack: dcQUIC's MACs are over 16 to a few hundred bytes.
const SHORT: usize = 512;

/// HMAC with a key of at most one block.
///
/// The library's own key holds 1.2 KiB of hash states, too much for a key per stream and direction. Hashing the two
/// key blocks again for each short message costs as much as copying those states with SHA-256 (212 against 231 ns
/// for a control packet), and half as much again with SHA-384 (0.94 against 0.62 µs; examples/speed.rs).
#[must_use]
pub fn mac(hash: Hash, key: &[u8], parts: &[&[u8]]) -> [u8; 48] {
    let algorithm = match hash {
        Hash::Sha256 => &digest::SHA256,
        Hash::Sha384 => &digest::SHA384,
    };
    let block_len = hash.block_len();
    let message_len = parts.iter().fold(0_usize, |sum, part| sum.saturating_add(part.len()));
    let mut buffer = [0; SHORT];
    let total = block_len.saturating_add(message_len);
    let (Some(inner), true) = (buffer.get_mut(..total), key.len() <= block_len) else {
        return super::sign(&MacKey::new(hash, key), parts);
    };
    // RFC 2104: H(key ^ opad, H(key ^ ipad, message)).
    let (pad, mut rest) = inner.split_at_mut(block_len);
    pad.fill(0x36);
    pad.iter_mut().zip(key).for_each(|(pad, key)| *pad ^= key);
    for part in parts {
        let (slot, behind) = rest.split_at_mut(part.len());
        slot.copy_from_slice(part);
        rest = behind;
    }
    let inner = digest::digest(algorithm, inner);
    let (pad, rest) = buffer.split_at_mut(block_len);
    pad.iter_mut().for_each(|pad| *pad ^= 0x36 ^ 0x5c);
    rest.iter_mut().zip(inner.as_ref()).for_each(|(slot, byte)| *slot = *byte);
    let outer_len = block_len.saturating_add(hash.output_len());
    let outer = digest::digest(algorithm, buffer.get(..outer_len).unwrap_or_default());
    buffer.as_mut_slice().zeroize();
    let mut out = [0; 48];
    out.iter_mut().zip(outer.as_ref()).for_each(|(out, byte)| *out = *byte);
    out
}

/// HKDF-Expand. The library keeps the bare key and hashes its blocks once per expansion.
#[derive(Debug)]
pub struct PrkKey(hkdf::Prk);

struct Len(usize);

impl hkdf::KeyType for Len {
    fn len(&self) -> usize {
        self.0
    }
}

impl Prk for PrkKey {
    fn new(hash: Hash, key: &[u8]) -> Self {
        let algorithm = match hash {
            Hash::Sha256 => hkdf::HKDF_SHA256,
            Hash::Sha384 => hkdf::HKDF_SHA384,
        };
        Self(hkdf::Prk::new_less_safe(algorithm, key))
    }

    #[allow(
        clippy::expect_used,
        reason = "fails only for lengths that are our own constants, never a peer's"
    )]
    fn expand(&self, info: &[&[u8]], out: &mut [u8]) {
        let expansion = self.0.expand(info, Len(out.len())).expect("HKDF makes at most 255 blocks");
        expansion.fill(out).expect("the length asked for");
    }
}

/// SHA-256 of the concatenated parts.
#[must_use]
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut out = [0; 32];
    for (out, byte) in out.iter_mut().zip(context.finish().as_ref()) {
        *out = *byte;
    }
    out
}

/// Whether both are equal, in constant time.
#[must_use]
pub fn ct_eq(a: &[u8], b: &[u8]) -> bool {
    constant_time::verify_slices_are_equal(a, b).is_ok()
}
