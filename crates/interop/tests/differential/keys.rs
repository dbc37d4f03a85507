//! The same path secret on both sides of the comparison.

use paceline_interop::Rng;
use paceline_wire::{
    CredentialId, Credentials, OpenKey, Opener, PathSecret, Role, StreamKeys, Suite, varint,
};
use s2n_quic_core::{dc, endpoint, packet::KeyPhase, varint::VarInt};
use s2n_quic_dc::{
    credentials,
    crypto::{
        UninitSlice,
        awslc::{open as their_open, seal as their_seal},
        open, seal,
    },
    path::secret::schedule::{self, Ciphersuite, Initiator, OpenUpdate, SealUpdate},
};

/// Upstream's application keys in any phase: its own wrappers cannot be made from outside.
pub(crate) struct Phased<T> {
    key: T,
    phase: bool,
}

const fn key_phase(phase: bool) -> KeyPhase {
    if phase { KeyPhase::One } else { KeyPhase::Zero }
}

impl seal::Application for Phased<their_seal::Application> {
    fn key_phase(&self) -> KeyPhase {
        key_phase(self.phase)
    }

    fn tag_len(&self) -> usize {
        self.key.tag_len()
    }

    fn encrypt(&self, number: u64, header: &[u8], extra: Option<&[u8]>, out: &mut [u8]) {
        self.key.encrypt(number, header, extra, out);
    }
}

impl open::Application for Phased<their_open::Application> {
    fn tag_len(&self) -> usize {
        self.key.tag_len()
    }

    fn decrypt(
        &self,
        phase: KeyPhase,
        number: u64,
        header: &[u8],
        payload: &[u8],
        tag: &[u8],
        out: &mut UninitSlice,
    ) -> open::Result {
        if phase != key_phase(self.phase) {
            return Err(open::Error::InvalidTag);
        }
        self.key.decrypt(KeyPhase::Zero, number, header, payload, tag, out)
    }

    fn decrypt_in_place(
        &self,
        phase: KeyPhase,
        number: u64,
        header: &[u8],
        payload: &mut [u8],
        tag: &[u8],
    ) -> open::Result {
        if phase != key_phase(self.phase) {
            return Err(open::Error::InvalidTag);
        }
        self.key.decrypt_in_place(KeyPhase::Zero, number, header, payload, tag)
    }
}

/// Upstream's keys of one stream.
pub(crate) struct Theirs {
    pub(crate) seal: Phased<their_seal::Application>,
    pub(crate) open: Phased<their_open::Application>,
    seal_update: SealUpdate,
    open_update: OpenUpdate,
    pub(crate) control_seal: their_seal::control::Stream,
    pub(crate) control_open: their_open::control::Stream,
}

/// One path secret, one key id, both sides.
pub(crate) struct Keys {
    pub(crate) ours: PathSecret,
    pub(crate) theirs: schedule::Secret,
    pub(crate) key_id: u64,
    pub(crate) stream: StreamKeys,
    pub(crate) their_stream: Theirs,
    /// Both directions' key phase.
    pub(crate) phases: u32,
    /// Suite, our role, opener.
    pub(crate) name: String,
}

impl Keys {
    /// `session` chooses suite, role and opener; the rest is chance.
    pub(crate) fn new(rng: &mut Rng, session: u64) -> Self {
        let mut export = [0; 32];
        rng.fill(&mut export);
        let key_id = rng.varint(varint::MAX);
        let (suite, ciphersuite) = if session & 1 == 0 {
            (Suite::Aes128GcmSha256, Ciphersuite::AES_GCM_128_SHA256)
        } else {
            (Suite::Aes256GcmSha384, Ciphersuite::AES_GCM_256_SHA384)
        };
        let (role, their_role) = if session & 2 == 0 {
            (Role::Client, endpoint::Type::Server)
        } else {
            (Role::Server, endpoint::Type::Client)
        };
        let (opener, initiator) = if session & 4 == 0 {
            (Opener::Local, Initiator::Remote)
        } else {
            (Opener::Remote, Initiator::Local)
        };
        let ours = PathSecret::new(export, suite, role);
        let theirs = schedule::Secret::new(ciphersuite, dc::SUPPORTED_VERSIONS[0], their_role, &export);
        assert_eq!(ours.id().0, **theirs.id());
        let (seal, seal_update, open, open_update) = theirs.application_pair(their_varint(key_id), initiator);
        let (control_seal, control_open) = theirs.control_pair(their_varint(key_id), initiator);
        Self {
            stream: ours.stream_keys(key_id, opener),
            their_stream: Theirs {
                seal: Phased { key: seal, phase: false },
                open: Phased { key: open, phase: false },
                seal_update,
                open_update,
                control_seal,
                control_open,
            },
            name: format!("{suite:?}, we are handshake {role:?}, opener {opener:?}"),
            ours,
            theirs,
            key_id,
            phases: 0,
        }
    }

    /// The next key phase, in both directions and on both sides. Our opening key stays a phase behind if `lazy`.
    pub(crate) fn update(&mut self, lazy: bool) {
        self.settle();
        self.phases += 1;
        let phase = self.phases % 2 == 1;
        self.stream.seal.update();
        assert_eq!(self.stream.seal.phase(), phase);
        let theirs = &mut self.their_stream;
        let (key, update) = theirs.seal_update.next();
        (theirs.seal, theirs.seal_update) = (Phased { key, phase }, update);
        let (key, update) = theirs.open_update.next();
        (theirs.open, theirs.open_update) = (Phased { key, phase }, update);
        if !lazy {
            self.settle();
        }
    }

    /// Our opening key is that of the present phase.
    fn settle(&mut self) {
        self.stream.open.opened(self.phases % 2 == 1);
    }

    /// Whether our opening key has to derive the next phase's.
    pub(crate) fn is_behind(&self) -> bool {
        self.stream.open.phase() != (self.phases % 2 == 1)
    }

    pub(crate) fn open_key(&self) -> &OpenKey {
        &self.stream.open
    }

    pub(crate) fn credentials(&self) -> Credentials {
        Credentials { id: *self.ours.id(), key_id: self.key_id }
    }

    pub(crate) fn their_credentials(&self) -> credentials::Credentials {
        credentials::Credentials { id: self.their_id(), key_id: their_varint(self.key_id) }
    }

    pub(crate) fn id(&self) -> CredentialId {
        *self.ours.id()
    }

    pub(crate) fn their_id(&self) -> credentials::Id {
        *self.theirs.id()
    }
}

pub(crate) fn their_varint(value: u64) -> VarInt {
    VarInt::new(value).unwrap()
}
