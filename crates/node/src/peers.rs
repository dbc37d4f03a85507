//! Where the peers are that JavaScript knows.

use paceline_transport::app::{PeerId, PeerUpdate};
use std::{collections::HashMap, net::SocketAddr};

/// What is known of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    /// Its address now.
    pub(crate) remote: SocketAddr,
    /// Slot of its path in `Stats::paths`.
    pub(crate) path: Option<u32>,
    /// JavaScript was told that streams can be opened.
    told: bool,
}

/// From `connect()` or the first update to the end of the peer. As bounded as the worker's own table.
#[derive(Debug, Default)]
pub(crate) struct Peers(HashMap<PeerId, Known>);

impl Peers {
    pub(crate) fn get(&self, peer: PeerId) -> Option<&Known> {
        self.0.get(&peer)
    }

    /// JavaScript asked for this peer.
    pub(crate) fn connecting(&mut self, peer: PeerId, remote: SocketAddr) {
        self.0.entry(peer).or_insert(Known { remote, path: None, told: false });
    }

    /// What is known after `update`. Returns whether JavaScript is to be told that the peer is open: once.
    pub(crate) fn merge(known: &mut Option<Known>, update: &PeerUpdate) -> bool {
        let known = known.get_or_insert(Known { remote: update.remote, path: None, told: false });
        known.remote = update.remote;
        known.path = update.path.or(known.path);
        update.open && !std::mem::replace(&mut known.told, true)
    }

    pub(crate) fn closed(&mut self, peer: PeerId) {
        self.0.remove(&peer);
    }

    pub(crate) fn clear(&mut self) {
        self.0 = HashMap::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_is_told_once_and_the_address_follows() {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let update = |open, port, path| PeerUpdate {
            peer: 1,
            accepted: false,
            remote: at(port),
            open,
            closed: None,
            path,
        };
        let mut peers = Peers::default();
        peers.connecting(1, at(1));
        assert_eq!(peers.get(1).map(|known| known.remote), Some(at(1)));
        assert!(!peers.update(&update(false, 1, None)));
        assert!(peers.update(&update(true, 1, Some(7))));
        assert!(!peers.update(&update(true, 2, None)), "a new address is no news for JavaScript");
        assert_eq!(peers.get(1), Some(&Known { remote: at(2), path: Some(7), told: true }));
        peers.closed(1);
        assert_eq!(peers.get(1), None);
    }
}
