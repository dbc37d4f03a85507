//! Paths whose secret the application has: the door of `on_usable`, without the handshake in front of it.

use super::{Endpoint, Random, peers};
use crate::{app::PeerId, error::Failure, path::life::Injected};
use paceline_handshake::InjectedPath;

impl Endpoint {
    /// A peer with a path at once. Refused as a handshake is that finds no room; the same secret twice is refused here, too.
    pub(super) fn inject(
        &mut self,
        peer: PeerId,
        injected: &InjectedPath,
        max_rate: Option<u64>,
        now_ns: u64,
        random: Random<'_>,
    ) {
        if self.peers.contains_key(&peer) {
            return;
        }
        let remote = injected.remote;
        let known = self.knows_credentials(&injected.credential_id());
        let full = self.peers.len() >= peers::MAX_PEERS || self.shutting_down;
        let established = injected.establish(&peers::handshake_config(&self.config));
        let key =
            if known || full { None } else { self.make_path(peer, &established, remote, now_ns, random) };
        let Some(key) = key else {
            self.tell_peer(peer, remote, false, None, Some(Err(Failure::HandshakeLimit)));
            return;
        };
        if let Some(path) = self.paths.get_mut(key) {
            path.life.inject(Injected::new(injected.confirm_timeout_ns));
            path.reset_token = injected.peer_reset_token;
            path.start_key_ids(injected.first_key_id);
        }
        self.add_peer(peer, remote, max_rate);
        self.adopt_path(peer, key, now_ns);
        self.tell_peer(peer, remote, true, Some(key), None);
    }
}
