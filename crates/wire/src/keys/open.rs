//! The receiving half of a stream's application keys.

use super::{nonce, schedule};
use crate::crypto::{Aead, AeadKey};
use crate::{AuthError, Suite};
use core::fmt;
use zeroize::Zeroizing;

/// Opens the packets of one direction of a stream. Wiped on drop.
///
/// It holds the key of the current phase; that of the next one is derived when a packet of it is opened, because
/// an expanded key is 0.6 KiB and a stream changes phase once in 2^23 packets. A forged phase bit thus costs a
/// derivation, about twice what opening a packet costs (0.57 and 0.28 µs, aws-lc, default suite).
pub struct OpenKey {
    aead: AeadKey,
    ku: Zeroizing<[u8; 32]>,
    /// Where the current phase came from; `None` in the first one.
    before: Option<PhaseSecret>,
    iv: [u8; 12],
    suite: Suite,
    phase: bool,
    #[cfg(feature = "planted")]
    planted: bool,
}

/// What the key of a phase is derived from: all that a stream which is over has to keep of it. Wiped on drop.
#[derive(Clone)]
pub struct PhaseSecret {
    ku: Zeroizing<[u8; 32]>,
    phase: bool,
}

impl fmt::Debug for PhaseSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PhaseSecret").field("phase", &self.phase).finish_non_exhaustive()
    }
}

impl OpenKey {
    pub(super) fn new(suite: Suite, direction: &schedule::Direction) -> Self {
        Self::in_phase(suite, direction, false)
    }

    fn in_phase(suite: Suite, direction: &schedule::Direction, phase: bool) -> Self {
        Self {
            aead: AeadKey::new(suite, &direction.key),
            ku: Zeroizing::new(direction.ku),
            before: None,
            iv: direction.iv,
            suite,
            phase,
            #[cfg(feature = "planted")]
            planted: false,
        }
    }

    /// What [`resume`](Self::resume) needs to come back to the current phase; `None` in the first one.
    #[must_use]
    pub fn phase_secret(&self) -> Option<PhaseSecret> {
        self.before.clone()
    }

    /// The key of a later phase, from any key of the same stream.
    #[must_use]
    pub fn resume(&self, secret: &PhaseSecret) -> Self {
        let direction = schedule::next_phase(self.suite, &secret.ku);
        Self { before: Some(secret.clone()), ..Self::in_phase(self.suite, &direction, secret.phase) }
    }

    /// The key phase bit of the packets it opens without deriving anything.
    #[must_use]
    pub const fn phase(&self) -> bool {
        self.phase
    }

    /// The key of the other phase, if `phase` is not the current one. Derives it each time.
    #[must_use]
    pub fn for_phase(&self, phase: bool) -> Option<Self> {
        (phase != self.phase).then(|| self.resume(&PhaseSecret { ku: self.ku.clone(), phase }))
    }

    /// Plants a bug: the key of the next phase opens its packets, but never takes the old one's place.
    #[cfg(feature = "planted")]
    pub fn plant(&mut self) {
        self.planted = true;
    }

    /// To be called with the phase of every packet that was opened: with the first one of the next phase the old
    /// key is dropped (dcQUIC receivers do so at once; the sender waited for its acknowledgements).
    pub fn opened(&mut self, phase: bool) {
        #[cfg(feature = "planted")]
        if self.planted {
            return;
        }
        if let Some(next) = self.for_phase(phase) {
            *self = next;
        }
    }

    pub(crate) fn open(
        &self,
        phase: bool,
        number: u64,
        aad: &[u8],
        ciphertext: &[u8],
        tag: &[u8; 16],
        plaintext: &mut [u8],
    ) -> Result<(), AuthError> {
        let other = self.for_phase(phase);
        let key = other.as_ref().unwrap_or(self);
        key.aead.open(&nonce(&key.iv, number), aad, ciphertext, tag, plaintext)
    }
}

impl fmt::Debug for OpenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenKey").field("phase", &self.phase).finish_non_exhaustive()
    }
}
