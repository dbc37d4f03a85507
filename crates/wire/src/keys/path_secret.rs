//! The root of all keys of a path.

use super::{ControlKey, DatagramOpenKey, DatagramSealKey, OpenKey, SealKey, schedule};
use crate::crypto::{Prk, PrkKey};
use crate::{CredentialId, Opener, Role, Suite};
use core::fmt;
use zeroize::Zeroizing;

/// What a handshake leaves behind: every key of the path is derived from it. Wiped on drop.
///
/// It must be new for every process start and peer, because key ids start at 0 again.
pub struct PathSecret {
    prk: PrkKey,
    id: CredentialId,
    suite: Suite,
    role: Role,
}

/// The keys of one stream, both directions, from this side's point of view.
#[derive(Debug)]
pub struct StreamKeys {
    /// Seals what this side sends.
    pub seal: SealKey,
    /// Opens what the peer sends.
    pub open: OpenKey,
    /// Authenticates control packets, probes and retransmissions of this side.
    pub control_seal: ControlKey,
    /// Verifies those of the peer.
    pub control_open: ControlKey,
}

impl PathSecret {
    /// From the 32 bytes that the handshake exported; `local` is this side's role in it.
    #[must_use]
    pub fn new(export: [u8; 32], suite: Suite, local: Role) -> Self {
        let prk = PrkKey::new(suite.hash(), Zeroizing::new(export).as_slice());
        let id = schedule::credential_id(&prk);
        Self { prk, id, suite, role: local }
    }

    /// Its name on the wire.
    #[must_use]
    pub const fn id(&self) -> &CredentialId {
        &self.id
    }

    /// The suite of all its keys.
    #[must_use]
    pub const fn suite(&self) -> Suite {
        self.suite
    }

    /// This side's role in the handshake.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// The keys of a stream. Deriving them twice and sealing with both would repeat nonces: derive the keys of a
    /// stream once, and give every stream a key id of its own.
    #[must_use]
    pub fn stream_keys(&self, key_id: u64, opener: Opener) -> StreamKeys {
        let (local, remote) =
            self.split(schedule::application(&self.prk, self.suite, self.opener(opener), key_id));
        let (control_seal, control_open) = self.stream_control_keys(key_id, opener);
        StreamKeys {
            seal: SealKey::new(self.suite, &local),
            open: OpenKey::new(self.suite, &remote),
            control_seal,
            control_open,
        }
    }

    /// Only the control keys of a stream: (of this side, of the peer). For streams that ended and keep nothing
    /// else.
    #[must_use]
    pub fn stream_control_keys(&self, key_id: u64, opener: Opener) -> (ControlKey, ControlKey) {
        let (local, remote) =
            self.split(schedule::control(&self.prk, self.suite, self.opener(opener), key_id));
        (ControlKey::new(self.suite, &local), ControlKey::new(self.suite, &remote))
    }

    /// Authenticates the secret-control packets of this side.
    #[must_use]
    pub fn control_sealer(&self) -> ControlKey {
        ControlKey::new(self.suite, &schedule::secret_control(&self.prk, self.suite, self.role))
    }

    /// Verifies the secret-control packets of the peer.
    #[must_use]
    pub fn control_opener(&self) -> ControlKey {
        ControlKey::new(self.suite, &schedule::secret_control(&self.prk, self.suite, self.role.peer()))
    }

    /// Seals the one datagram of this side with that key id, which comes from the same counter as those of streams.
    #[must_use]
    pub fn datagram_seal_key(&self, key_id: u64) -> DatagramSealKey {
        let direction = schedule::datagram(&self.prk, self.suite, self.role, key_id);
        DatagramSealKey::new(self.suite, &direction)
    }

    /// Opens the one datagram of the peer with that key id.
    #[must_use]
    pub fn datagram_open_key(&self, key_id: u64) -> DatagramOpenKey {
        let direction = schedule::datagram(&self.prk, self.suite, self.role.peer(), key_id);
        DatagramOpenKey::new(self.suite, &direction)
    }

    const fn opener(&self, opener: Opener) -> Role {
        match opener {
            Opener::Local => self.role,
            Opener::Remote => self.role.peer(),
        }
    }

    /// From (client, server) to (local, remote).
    fn split<T>(&self, [client, server]: [T; 2]) -> (T, T) {
        match self.role {
            Role::Client => (client, server),
            Role::Server => (server, client),
        }
    }
}

impl fmt::Debug for PathSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PathSecret")
            .field("id", &self.id)
            .field("suite", &self.suite)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}
