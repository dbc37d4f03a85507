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

    /// Whether this is the update that JavaScript is to hear of.
    pub(crate) fn opens(&self, update: &PeerUpdate) -> bool {
        update.open && !self.0.get(&update.peer).is_some_and(|known| known.told)
    }

    /// Takes the newest state.
    pub(crate) fn update(&mut self, update: &PeerUpdate) {
        let new = Known { remote: update.remote, path: None, told: false };
        let known = self.0.entry(update.peer).or_insert(new);
        known.remote = update.remote;
        known.path = update.path.or(known.path);
        known.told |= update.open;
    }

    pub(crate) fn closed(&mut self, peer: PeerId) {
        self.0.remove(&peer);
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
        let mut told = |update| {
            let opens = peers.opens(&update);
            peers.update(&update);
            opens
        };
        assert!(!told(update(false, 1, None)));
        assert!(told(update(true, 1, Some(7))));
        assert!(!told(update(true, 2, None)), "a new address is no news for JavaScript");
        assert_eq!(peers.get(1), Some(&Known { remote: at(2), path: Some(7), told: true }));
        peers.closed(1);
        assert_eq!(peers.get(1), None);
    }
}
