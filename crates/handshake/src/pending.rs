//! The pending table: handshakes answered in the last `PENDING_LIFETIME` (handshake.md section 6).
//!
//! Half-open entries wait for the initiator's proof; confirmed ones are tombstones that swallow late duplicates. All
//! live equally long, so the order of creation is the order of expiry.

use crate::{config::PENDING_LIFETIME_NS, noise::ConfirmKey, secret::SecretId};
use paceline_wire::CredentialId;
use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
};

/// What a half-open entry needs to be confirmed.
pub(crate) struct HalfOpen {
    pub(crate) response: [u8; 144],
    pub(crate) confirm_i: ConfirmKey,
    pub(crate) confirm_r: ConfirmKey,
    /// Where the first Response went.
    pub(crate) remote: SocketAddr,
    pub(crate) secret_id: SecretId,
}

/// What is left to do for a confirmed path: answer repeated Confirms with the same bytes.
pub(crate) struct Tombstone {
    pub(crate) confirm_i: ConfirmKey,
    /// Sealed token of the Confirmed.
    pub(crate) confirmed: [u8; 32],
    pub(crate) token_known: bool,
}

pub(crate) enum State {
    HalfOpen(Box<HalfOpen>),
    Confirmed(Tombstone),
}

struct Entry {
    public_key: [u8; 32],
    state: State,
}

// Section 9: a confirmed entry has at most 128 bytes; the index by public key is apart.
const _: () = assert!(size_of::<Entry>() + size_of::<CredentialId>() <= 128);

#[derive(Default)]
pub(crate) struct Pending {
    by_key: BTreeMap<[u8; 32], CredentialId>,
    by_id: BTreeMap<CredentialId, Entry>,
    /// Expiry times, in ns, and what expires.
    order: VecDeque<(u64, CredentialId)>,
}

impl Pending {
    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Adds a half-open entry. False if it exists already.
    pub(crate) fn insert(
        &mut self,
        now_ns: u64,
        public_key: [u8; 32],
        id: CredentialId,
        entry: HalfOpen,
    ) -> bool {
        if self.by_key.contains_key(&public_key) || self.by_id.contains_key(&id) {
            return false;
        }
        self.by_key.insert(public_key, id);
        self.by_id.insert(id, Entry { public_key, state: State::HalfOpen(Box::new(entry)) });
        self.order.push_back((now_ns.saturating_add(PENDING_LIFETIME_NS), id));
        true
    }

    pub(crate) fn by_key(&self, public_key: &[u8; 32]) -> Option<&State> {
        let id = self.by_key.get(public_key)?;
        self.by_id.get(id).map(|entry| &entry.state)
    }

    pub(crate) fn by_id(&mut self, id: &CredentialId) -> Option<&mut State> {
        self.by_id.get_mut(id).map(|entry| &mut entry.state)
    }

    /// When the oldest entry expires, ns.
    pub(crate) fn next_expiry(&self) -> Option<u64> {
        self.order.front().map(|(at_ns, _)| *at_ns)
    }

    /// Forgets the oldest entry if its time has come.
    pub(crate) fn expire(&mut self, now_ns: u64) -> Option<(CredentialId, State)> {
        let id = self.order.pop_front_if(|(at_ns, _)| *at_ns <= now_ns)?.1;
        let state = self.forget(&id)?;
        Some((id, state))
    }

    /// Forgets the half-open entries of secrets that are gone, in the order of their creation.
    pub(crate) fn retain(&mut self, kept: impl Fn(SecretId) -> bool) -> Vec<CredentialId> {
        let gone = |state: &State| matches!(state, State::HalfOpen(entry) if !kept(entry.secret_id));
        let ended: Vec<CredentialId> = self
            .order
            .iter()
            .map(|(_, id)| *id)
            .filter(|id| self.by_id.get(id).is_some_and(|entry| gone(&entry.state)))
            .collect();
        for id in &ended {
            self.forget(id);
        }
        self.order.retain(|(_, id)| self.by_id.contains_key(id));
        ended
    }

    fn forget(&mut self, id: &CredentialId) -> Option<State> {
        let entry = self.by_id.remove(id)?;
        self.by_key.remove(&entry.public_key);
        Some(entry.state)
    }
}

impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pending").field("len", &self.len()).finish_non_exhaustive()
    }
}
