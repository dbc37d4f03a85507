//! One attempt to open a path: what it sends again, and what it waits for.

use crate::{
    message::{Initiation, Message},
    noise::{ConfirmKey, Opening},
    secret::Secret,
};
use paceline_wire::CredentialId;
use std::net::{IpAddr, SocketAddr};

#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) initiation: Initiation,
    pub(crate) noise: Opening,
    pub(crate) cookies: u8,
    pub(crate) last_cookie: [u8; 24],
}

pub(crate) struct Confirming {
    pub(crate) confirm: [u8; 56],
    pub(crate) confirm_r: ConfirmKey,
    pub(crate) credential_id: CredentialId,
    pub(crate) local: Option<IpAddr>,
    pub(crate) authentic: bool,
}

pub(crate) enum State {
    Waiting(Box<Waiting>),
    Confirming(Box<Confirming>),
}

pub(crate) struct Attempt {
    pub(crate) remote: SocketAddr,
    pub(crate) secret: Secret,
    /// On the wire.
    pub(crate) name: [u8; 8],
    pub(crate) state: State,
    pub(crate) timeout_ns: u64,
    pub(crate) deadline_ns: u64,
    /// Before jitter.
    pub(crate) interval_ns: u64,
    pub(crate) resend_ns: u64,
    /// As it stands in the set of timers.
    pub(crate) timer_ns: u64,
}

impl Attempt {
    pub(crate) fn message(&self) -> Message {
        match &self.state {
            State::Waiting(waiting) => Message::new(self.remote, None, &waiting.initiation.0),
            State::Confirming(confirming) => Message::new(self.remote, confirming.local, &confirming.confirm),
        }
    }

    pub(crate) fn credential_id(&self) -> Option<CredentialId> {
        match &self.state {
            State::Waiting(_) => None,
            State::Confirming(confirming) => Some(confirming.credential_id),
        }
    }
}
