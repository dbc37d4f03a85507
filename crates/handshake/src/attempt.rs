//! One attempt to open a path: what it sends again, and what it waits for.

use crate::{
    common::{Common, Random, draw, draw_key},
    config::FIRST_RETRANSMIT_NS,
    message::{self, Initiation, Message},
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
    /// As it stands in the Initiation.
    pub(crate) version: u8,
    /// A Refusal has named another version already.
    pub(crate) retried: bool,
}

impl Waiting {
    /// A new Initiation of a version, and the attempt's name on the wire. `None` only if a primitive failed.
    pub(crate) fn new(
        common: &Common,
        secret: &Secret,
        version: u8,
        random: Random<'_>,
    ) -> Option<([u8; 8], Self)> {
        let ephemeral = draw_key(random);
        let name = draw(random);
        let header = message::initiation_header(version, secret.id(), &name);
        let (noise, first) = Opening::new(ephemeral, secret.psk(), &header, &common.hello.encode())?;
        let initiation = Initiation::new(&header, &first).with_cookie(secret, &[0; 24]);
        let last_cookie = [0; 24];
        Some((name, Self { initiation, noise, cookies: 0, last_cookie, version, retried: false }))
    }
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
    /// Something new was sent: the waits begin with the shortest again.
    pub(crate) fn restart_timer(&mut self, now_ns: u64, random: Random<'_>) {
        self.interval_ns = FIRST_RETRANSMIT_NS;
        self.resend_ns = after(now_ns, FIRST_RETRANSMIT_NS, random);
    }

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

/// `interval_ns` from now, ± 20 % at random, so that many who lost at once do not come back at once.
pub(crate) fn after(now_ns: u64, interval_ns: u64, random: Random<'_>) -> u64 {
    let percent = 80u64.saturating_add(u64::from(u16::from_be_bytes(draw(random)) % 41));
    now_ns.saturating_add(interval_ns.saturating_mul(percent) / 100)
}
