//! A path secret that no handshake of ours made: given to both sides by other means, for interoperation and tests.

use crate::{
    config::HANDSHAKE_TIMEOUT_NS,
    event::Established,
    parameters::{Hello, Parameters},
    secret::SecretId,
};
use paceline_wire::{CredentialId, PathSecret, Role, Suite};
use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

/// A path to be, without a handshake.
///
/// # Danger
///
/// Key ids restart at [`first_key_id`](Self::first_key_id), so a secret that two processes use one after the other makes both
/// seal with the same keys and numbers: whoever recorded them reads both and can forge. **One process lifetime, one secret**,
/// on each side. `paceline_udp` refuses the same secret and role twice in a process; across processes nothing can. That is
/// why handshakes exist; use one wherever the peer is paceline.
///
/// Nobody agreed on anything, so all that follows must be what the other side was given about us.
pub struct InjectedPath {
    secret: Arc<PathSecret>,
    /// The peer: where streams opened here go, and the only IP address that opens some to us. Its port is free: s2n-quic-dc
    /// opens streams from other ports than the one it accepts them on, and is answered there.
    pub remote: SocketAddr,
    /// Our address that the peer talks to, where the socket knows it.
    pub local: Option<IpAddr>,
    /// What the peer proves with that it has lost the secret.
    pub peer_reset_token: Option<[u8; 16]>,
    /// Key id of the first stream opened here; at most 2^62 − 2.
    pub first_key_id: u64,
    /// What the peer allows us, clamped as a handshake's is. Defaults: 256 KiB, 1,024 streams, 30 s, 1472 bytes.
    pub peer: Parameters,
    /// No authentic packet for so long after the first stream was opened here ends the path, ns.
    pub confirm_timeout_ns: u64,
}

impl InjectedPath {
    /// From the 32 bytes that both sides have; `role` is ours in the handshake that there might have been, and the peer has
    /// the other one.
    #[must_use]
    pub fn new(export_secret: [u8; 32], suite: Suite, role: Role, remote: SocketAddr) -> Self {
        Self {
            secret: Arc::new(PathSecret::new(export_secret, suite, role)),
            remote,
            local: None,
            peer_reset_token: None,
            first_key_id: 0,
            peer: Parameters {
                initial_max_data: 256 << 10,
                max_streams: 1_024,
                idle_timeout_ms: 30_000,
                max_datagram: 1_472,
                wide_replay_window: false,
            },
            confirm_timeout_ns: HANDSHAKE_TIMEOUT_NS,
        }
    }

    /// Its name on the wire: derived from the secret, the same for both roles.
    #[must_use]
    pub fn credential_id(&self) -> CredentialId {
        *self.secret.id()
    }

    /// Our role.
    #[must_use]
    pub fn role(&self) -> Role {
        self.secret.role()
    }

    /// What a handshake would have left behind; `own` is what we would have said of ourselves.
    #[must_use]
    pub fn establish(&self, own: &crate::Config) -> Established {
        let id = self.credential_id();
        let said = Hello {
            instance: id.0,
            application: [0; 16],
            initial_max_data: self.peer.initial_max_data,
            max_streams: self.peer.max_streams,
            idle_timeout_ms: self.peer.idle_timeout_ms,
            max_datagram: self.peer.max_datagram,
            suites: 0,
            features: 0,
        };
        let [a, b, c, d, e, f, g, h, ..] = id.0;
        Established {
            secret: Arc::clone(&self.secret),
            credential_id: id,
            suite: self.secret.suite(),
            role: self.role(),
            remote: self.remote,
            local: self.local,
            // The application named it, as it names whom it connects to.
            address_validated: true,
            // Nothing is known of the peer's starts: every secret is a peer of its own.
            instance: id.0,
            secret_id: SecretId([a, b, c, d, e, f, g, h]),
            peer: said.agree(&own.hello(id.0)),
        }
    }
}

impl fmt::Debug for InjectedPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InjectedPath")
            .field("secret", &self.secret)
            .field("remote", &self.remote)
            .field("first_key_id", &self.first_key_id)
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    #[test]
    fn both_roles_have_one_name_and_nothing_is_taken_on_trust() {
        let remote = "192.0.2.1:4433".parse().unwrap();
        let make = |role| InjectedPath::new([7; 32], Suite::Aes256GcmSha384, role, remote);
        let mut client = make(Role::Client);
        assert_eq!(client.credential_id(), make(Role::Server).credential_id());
        client.peer = Parameters {
            initial_max_data: u64::MAX,
            max_streams: 3,
            idle_timeout_ms: 0,
            max_datagram: 9,
            wide_replay_window: true,
        };
        let established = client.establish(&Config::default());
        assert_eq!(
            established.peer,
            Parameters {
                initial_max_data: (1 << 62) - 1,
                max_streams: 3,
                idle_timeout_ms: 1_000,
                max_datagram: 1_200,
                wide_replay_window: false,
            }
        );
        assert_eq!((established.role, established.suite), (Role::Client, Suite::Aes256GcmSha384));
        assert_eq!(established.credential_id, client.credential_id());
        assert!(!format!("{client:?}").contains("07070707"));
    }
}
