//! The key schedule of dcQUIC version 0: HKDF-Expand with the 32-byte export secret as its key.
//!
//! The label begins with the output length, two bytes of it everywhere but in the credential id.

use crate::crypto::{Prk, PrkKey};
use crate::{CredentialId, Role, Suite};
use zeroize::Zeroize;

/// AEAD key, IV and key-update secret of one direction. `Aes128` uses the first 16 bytes of the secrets.
#[derive(Default)]
pub(super) struct Direction {
    pub(super) ku: [u8; 32],
    pub(super) key: [u8; 32],
    pub(super) iv: [u8; 12],
}

/// A key for HMAC, one hash block long. SHA-256 uses the first 64 bytes.
pub(super) struct Block(pub(super) [u8; 128]);

impl Drop for Direction {
    fn drop(&mut self) {
        self.ku.as_mut_slice().zeroize();
        self.key.as_mut_slice().zeroize();
        self.iv.as_mut_slice().zeroize();
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.0.as_mut_slice().zeroize();
    }
}

/// Output of one expansion, taken apart from its front.
struct Output<const N: usize> {
    bytes: [u8; N],
    at: usize,
}

impl<const N: usize> Output<N> {
    fn new(prk: &PrkKey, len: usize, label: &[&[u8]]) -> Self {
        let mut output = Self { bytes: [0; N], at: 0 };
        let len_bytes = (len as u16).to_be_bytes();
        let mut info: [&[u8]; 5] = [&len_bytes, &[], &[], &[], &[]];
        for (slot, part) in info.iter_mut().skip(1).zip(label) {
            *slot = part;
        }
        prk.expand(&info, output.bytes.get_mut(..len).unwrap_or_default());
        output
    }

    /// The next `len` bytes, at the front of an array.
    fn take<const M: usize>(&mut self, len: usize) -> [u8; M] {
        let mut out = [0; M];
        for (out, byte) in out.iter_mut().take(len).zip(self.bytes.iter().skip(self.at)) {
            *out = *byte;
        }
        self.at = self.at.saturating_add(len);
        out
    }
}

impl<const N: usize> Drop for Output<N> {
    fn drop(&mut self) {
        self.bytes.as_mut_slice().zeroize();
    }
}

pub(super) fn credential_id(prk: &PrkKey) -> CredentialId {
    let mut id = [0; 16];
    prk.expand(&[&[16], b" pid"], &mut id);
    CredentialId(id)
}

/// What (the client, the server) of the handshake seals with, for a stream that `opener` opened.
#[allow(clippy::arithmetic_side_effects, reason = "constants: K is 16 or 32")]
pub(super) fn application(prk: &PrkKey, suite: Suite, opener: Role, key_id: u64) -> [Direction; 2] {
    let k = suite.key_len();
    let label: [&[u8]; 4] = [b" bidi", opener.label(), b" app", &key_id.to_be_bytes()];
    let mut output = Output::<152>::new(prk, 4 * k + 24, &label);
    let [mut client, mut server] = [Direction::default(), Direction::default()];
    client.ku = output.take(k);
    server.ku = output.take(k);
    client.key = output.take(k);
    server.key = output.take(k);
    client.iv = output.take(12);
    server.iv = output.take(12);
    [client, server]
}

/// What (the client, the server) of the handshake authenticates control packets, probes and retransmissions with.
#[allow(clippy::arithmetic_side_effects, reason = "constants: B is 64 or 128")]
pub(super) fn control(prk: &PrkKey, suite: Suite, opener: Role, key_id: u64) -> [Block; 2] {
    let b = suite.hash().block_len();
    let label: [&[u8]; 4] = [b" bidi", opener.label(), b" ctl", &key_id.to_be_bytes()];
    let mut output = Output::<256>::new(prk, 2 * b, &label);
    [Block(output.take(b)), Block(output.take(b))]
}

/// The single-use key with which `sender` seals one datagram. It has no key-update secret.
#[allow(clippy::arithmetic_side_effects, reason = "constants: K is 16 or 32")]
pub(super) fn datagram(prk: &PrkKey, suite: Suite, sender: Role, key_id: u64) -> Direction {
    let k = suite.key_len();
    let label: [&[u8]; 3] = [b" uni", sender.label(), &key_id.to_be_bytes()];
    let mut output = Output::<44>::new(prk, k + 12, &label);
    Direction { ku: [0; 32], key: output.take(k), iv: output.take(12) }
}

/// What `sender` authenticates secret-control packets with.
pub(super) fn secret_control(prk: &PrkKey, suite: Suite, sender: Role) -> Block {
    let b = suite.hash().block_len();
    Block(Output::<128>::new(prk, b, &[b" ctl", sender.label()]).take(b))
}

/// The same direction in the next key phase.
#[allow(clippy::arithmetic_side_effects, reason = "constants: K is 16 or 32")]
pub(super) fn next_phase(suite: Suite, ku: &[u8; 32]) -> Direction {
    let k = suite.key_len();
    let prk = PrkKey::new(suite.hash(), ku.get(..k).unwrap_or_default());
    let mut output = Output::<76>::new(&prk, 2 * k + 12, &[b" ku"]);
    Direction { ku: output.take(k), key: output.take(k), iv: output.take(12) }
}

#[cfg(test)]
mod tests;
