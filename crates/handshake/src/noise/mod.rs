//! `Noise_NNpsk0_25519_AESGCM_SHA256` and the keys that come out of it (handshake.md sections 3 and 4).

#[cfg(feature = "aws-lc")]
mod aws_lc;
mod resolver;
#[cfg(feature = "rust-crypto")]
#[cfg_attr(feature = "aws-lc", allow(dead_code, reason = "with both libraries a test compares them"))]
mod rust_crypto;

#[cfg(feature = "aws-lc")]
use aws_lc::KeyPair;
#[cfg(all(feature = "rust-crypto", not(feature = "aws-lc")))]
use rust_crypto::KeyPair;

use crate::{
    bytes::put,
    message::{CONFIRM, CONFIRMED, confirmation_header},
};
use paceline_wire::{
    CredentialId, PathSecret, Role, Suite,
    crypto::{aes256gcm_open, aes256gcm_seal, hkdf_expand_sha256, hkdf_extract_sha256},
};
use resolver::Resolver;
use snow::{Builder, HandshakeState};
use std::fmt;
use zeroize::{Zeroize, Zeroizing};

const PATTERN: &str = "Noise_NNpsk0_25519_AESGCM_SHA256";

fn state(
    initiator: bool,
    ephemeral: Zeroizing<[u8; 32]>,
    psk: &[u8; 32],
    header: &[u8; 24],
) -> Option<Box<HandshakeState>> {
    let mut prologue = [0; 45];
    put::<0, 21, _>(&mut prologue, b"paceline handshake v1");
    put::<21, 24, _>(&mut prologue, header);
    let builder = Builder::with_resolver(PATTERN.parse().ok()?, Box::new(Resolver { ephemeral }))
        .prologue(&prologue)
        .ok()?
        .psk(0, psk)
        .ok()?;
    let state = if initiator { builder.build_initiator() } else { builder.build_responder() };
    state.ok().map(Box::new)
}

/// The initiator's side, waiting for message 2.
pub(crate) struct Opening(Box<HandshakeState>);

impl Opening {
    /// Message 1. `header` is the beginning of the Initiation. `None` only if a primitive failed.
    pub(crate) fn new(
        ephemeral: Zeroizing<[u8; 32]>,
        psk: &[u8; 32],
        header: &[u8; 24],
        hello: &[u8; 64],
    ) -> Option<(Self, [u8; 112])> {
        let mut state = state(true, ephemeral, psk, header)?;
        let mut message = [0; 112];
        (state.write_message(hello, &mut message) == Ok(112)).then_some((Self(state), message))
    }

    /// Message 2. After one that does not open, another one may.
    pub(crate) fn finish(&mut self, message: &[u8; 112]) -> Option<([u8; 64], Keys)> {
        let mut hello = [0; 64];
        (self.0.read_message(message, &mut hello) == Ok(64)).then(|| (hello, Keys::derive(&mut self.0)))
    }
}

impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Opening(..)")
    }
}

/// The responder's side, with message 1 opened. No scalar multiplication yet.
pub(crate) struct Answering(Box<HandshakeState>);

impl Answering {
    /// Message 1, and what it says.
    pub(crate) fn new(
        ephemeral: Zeroizing<[u8; 32]>,
        psk: &[u8; 32],
        header: &[u8; 24],
        message: &[u8; 112],
    ) -> Option<(Self, [u8; 64])> {
        let mut state = state(false, ephemeral, psk, header)?;
        let mut hello = [0; 64];
        (state.read_message(message, &mut hello) == Ok(64)).then_some((Self(state), hello))
    }

    /// Message 2: two scalar multiplications. `None` for a public key of small order.
    pub(crate) fn answer(mut self, hello: &[u8; 64]) -> Option<([u8; 112], Keys)> {
        let mut message = [0; 112];
        (self.0.write_message(hello, &mut message) == Ok(112)).then(|| (message, Keys::derive(&mut self.0)))
    }
}

/// What both sides have after message 2.
#[derive(Clone)]
pub(crate) struct Keys {
    export: Zeroizing<[u8; 32]>,
    /// Seals the initiator's Confirm.
    pub(crate) confirm_i: ConfirmKey,
    /// Seals the responder's Confirmed.
    pub(crate) confirm_r: ConfirmKey,
}

impl Keys {
    fn derive(state: &mut HandshakeState) -> Self {
        let (mut k1, mut k2) = state.dangerously_get_raw_split();
        let prk = Zeroizing::new(hkdf_extract_sha256(state.get_handshake_hash(), &[&k1, &k2]));
        k1.zeroize();
        k2.zeroize();
        let derive = |label: &[u8]| {
            let mut key = Zeroizing::new([0; 32]);
            hkdf_expand_sha256(&prk, &[label], &mut *key);
            key
        };
        Self {
            export: derive(b"paceline dcquic export secret"),
            confirm_i: ConfirmKey(derive(b"paceline confirm initiator")),
            confirm_r: ConfirmKey(derive(b"paceline confirm responder")),
        }
    }

    pub(crate) fn path_secret(&self, suite: Suite, role: Role) -> PathSecret {
        PathSecret::new(*self.export, suite, role)
    }
}

/// Key of one Confirm or Confirmed. It seals one text, ever.
#[derive(Clone)]
pub(crate) struct ConfirmKey(Zeroizing<[u8; 32]>);

/// The nonce may be constant because every key seals one text.
const CONFIRM_NONCE: [u8; 12] = [0; 12];

impl ConfirmKey {
    /// The token of a Confirm, with this as `confirm_i`.
    pub(crate) fn seal_confirm(&self, id: &CredentialId, token: &[u8; 16]) -> Option<[u8; 32]> {
        self.seal(CONFIRM, id, token)
    }

    /// The token of a Confirmed, with this as `confirm_r`.
    pub(crate) fn seal_confirmed(&self, id: &CredentialId, token: &[u8; 16]) -> Option<[u8; 32]> {
        self.seal(CONFIRMED, id, token)
    }

    fn seal(&self, kind: u8, id: &CredentialId, token: &[u8; 16]) -> Option<[u8; 32]> {
        let mut sealed = [0; 32];
        aes256gcm_seal(&self.0, &CONFIRM_NONCE, &confirmation_header(kind, &id.0), token, &mut sealed)
            .ok()?;
        Some(sealed)
    }

    /// The token of a Confirm or Confirmed that is authentic.
    pub(crate) fn open(&self, header: &[u8; 24], sealed: &[u8; 32]) -> Option<[u8; 16]> {
        let mut token = [0; 16];
        aes256gcm_open(&self.0, &CONFIRM_NONCE, header, sealed, &mut token).ok()?;
        Some(token)
    }
}

#[cfg(test)]
mod tests;
