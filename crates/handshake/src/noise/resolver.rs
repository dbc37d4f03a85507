//! The primitives that `snow` works with: ours, so that the build has one AES and one SHA-256, keys are wiped, and the
//! ephemeral key comes from the endpoint's random source.

use super::KeyPair;
use paceline_wire::crypto::{aes256gcm_open, aes256gcm_seal, hmac_sha256, sha256};
use snow::{
    Error,
    params::{CipherChoice, DHChoice, HashChoice},
    resolvers::CryptoResolver,
    types::{Cipher, Dh, Hash, Random},
};
use zeroize::{Zeroize, Zeroizing};

/// Makes one Noise state. The ephemeral private key is all the randomness it needs.
pub(crate) struct Resolver {
    pub(crate) ephemeral: Zeroizing<[u8; 32]>,
}

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Once(Some(self.ephemeral.clone()))))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        matches!(choice, DHChoice::Curve25519).then(|| Box::new(X25519(None)) as Box<dyn Dh>)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        matches!(choice, HashChoice::SHA256).then(|| Box::new(Sha256::default()) as Box<dyn Hash>)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        matches!(choice, CipherChoice::AESGCM).then(|| Box::new(Aes256Gcm::default()) as Box<dyn Cipher>)
    }
}

/// Gives the injected key once and nothing after it: a second draw would be a reused key.
struct Once(Option<Zeroizing<[u8; 32]>>);

impl Random for Once {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), Error> {
        let key = self.0.take().filter(|key| key.len() == dest.len()).ok_or(Error::Rng)?;
        dest.copy_from_slice(&*key);
        Ok(())
    }
}

/// Without a key until `snow` asks for one, so that a message that does not open costs no scalar multiplication.
struct X25519(Option<KeyPair>);

impl Dh for X25519 {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        32
    }

    fn priv_len(&self) -> usize {
        32
    }

    fn set(&mut self, privkey: &[u8]) {
        self.0 = privkey.try_into().ok().and_then(KeyPair::new);
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), Error> {
        let mut private = Zeroizing::new([0; 32]);
        rng.try_fill_bytes(&mut *private)?;
        self.0 = Some(KeyPair::new(&private).ok_or(Error::Dh)?);
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |pair| pair.public())
    }

    fn privkey(&self) -> &[u8] {
        // Asked for only by snow's generator of static keys, which NN has none of.
        &[]
    }

    fn dh(&self, pubkey: &[u8], out: &mut [u8]) -> Result<(), Error> {
        let pair = self.0.as_ref().ok_or(Error::Dh)?;
        let peer = pubkey.first_chunk().ok_or(Error::Dh)?;
        let shared = pair.agree(peer).ok_or(Error::Dh)?;
        // RFC 7748 §6.1: a key of small order. OR of all bytes, so that the time does not depend on them.
        if shared.iter().fold(0, |sum, byte| sum | byte) == 0 {
            return Err(Error::Dh);
        }
        out.first_chunk_mut().ok_or(Error::Dh).map(|out| *out = *shared)
    }
}

#[derive(Default)]
struct Aes256Gcm(Zeroizing<[u8; 32]>);

/// Noise §12.3: 32 zero bits, then the counter big endian.
fn nonce(counter: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    crate::bytes::put::<4, 8, _>(&mut nonce, &counter.to_be_bytes());
    nonce
}

impl Cipher for Aes256Gcm {
    fn name(&self) -> &'static str {
        "AESGCM"
    }

    fn set(&mut self, key: &[u8; 32]) {
        *self.0 = *key;
    }

    fn encrypt(&self, counter: u64, authtext: &[u8], plaintext: &[u8], out: &mut [u8]) -> usize {
        // The interface has no error; an empty message does not open at the other side, and snow checked the room.
        aes256gcm_seal(&self.0, &nonce(counter), authtext, plaintext, out).unwrap_or(0)
    }

    fn decrypt(
        &self,
        counter: u64,
        authtext: &[u8],
        ciphertext: &[u8],
        out: &mut [u8],
    ) -> Result<usize, Error> {
        aes256gcm_open(&self.0, &nonce(counter), authtext, ciphertext, out).map_err(|_| Error::Decrypt)
    }
}

/// Gathers its input, of which these messages give at most a hash and 80 bytes. Some of it is derived from the secret.
struct Sha256(Vec<u8>);

impl Default for Sha256 {
    fn default() -> Self {
        Self(Vec::with_capacity(112))
    }
}

impl Drop for Sha256 {
    fn drop(&mut self) {
        self.0.as_mut_slice().zeroize();
    }
}

impl Hash for Sha256 {
    fn name(&self) -> &'static str {
        "SHA256"
    }

    fn block_len(&self) -> usize {
        64
    }

    fn hash_len(&self) -> usize {
        32
    }

    fn reset(&mut self) {
        self.0.clear();
    }

    fn input(&mut self, data: &[u8]) {
        self.0.extend_from_slice(data);
    }

    fn result(&mut self, out: &mut [u8]) {
        write(out, &sha256(&[&self.0]));
    }

    fn hmac(&mut self, key: &[u8], data: &[u8], out: &mut [u8]) {
        // snow passes 64-byte buffers of which the first 32 are the key, or all are: HMAC pads keys with zeros.
        write(out, &hmac_sha256(key, &[data]));
    }
}

/// `snow`'s buffers have room for the longest hash it knows.
fn write(out: &mut [u8], digest: &[u8; 32]) {
    for (out, byte) in out.iter_mut().zip(digest) {
        *out = *byte;
    }
}
