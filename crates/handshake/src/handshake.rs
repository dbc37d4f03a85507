//! Both roles of an endpoint, put together.

use crate::{
    common::{Common, ResetKey, draw, draw_key},
    config::Config,
    cookie::CookieJar,
    counters::{Counters, count},
    event::{AttemptId, Event, LimitError},
    initiator::Initiator,
    message::{CONFIRM, CONFIRMED, COOKIE, INITIATION, Message, REFUSAL, RESPONSE},
    responder::{Acceptance, Responder, Source},
    secret::{Accepted, Secret},
};
use paceline_wire::CredentialId;
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};
use zeroize::Zeroizing;

/// All handshakes of an endpoint.
///
/// Times are ns of one monotonic clock. `random` fills a buffer from the operating system's source (or a simulation's).
/// After every call that changes something, [`poll_message`](Self::poll_message) and
/// [`poll_event`](Self::poll_event) are to be drained.
#[derive(Debug)]
pub struct Handshake {
    common: Common,
    responder: Responder,
    initiator: Initiator,
    list: Arc<[Secret]>,
    /// The latest time seen.
    now_ns: u64,
}

impl Handshake {
    /// An endpoint that accepts with all of `secrets` (if it accepts at all).
    pub fn new(
        mut config: Config,
        secrets: Arc<[Secret]>,
        now_ns: u64,
        random: &mut dyn FnMut(&mut [u8]),
    ) -> Self {
        let instance = draw(random);
        let cookies = CookieJar::new(&draw_key(random), u64::from_be_bytes(draw(random)));
        let reset_key = match (config.reset_key.take(), secrets.first()) {
            (Some(key), _) => ResetKey::Configured(Zeroizing::new(key)),
            (None, Some(first)) => ResetKey::FromSecret(Zeroizing::new(*first.reset_key())),
            (None, None) => ResetKey::Random(draw_key(random)),
        };
        let common = Common::new(config, instance, Accepted::new(&secrets), reset_key);
        let responder = Responder::new(&common, cookies, now_ns);
        Self { common, responder, initiator: Initiator::default(), list: secrets, now_ns }
    }

    /// Replaces the accepted secrets. Pending handshakes of removed ones end: half-open paths with
    /// [`Event::Expired`], waiting attempts with [`Event::Failed`]. Usable paths are the endpoint's affair.
    pub fn set_secrets(&mut self, secrets: Arc<[Secret]>) {
        self.common.secrets = Accepted::new(&secrets);
        if let (Some(first), ResetKey::FromSecret(_) | ResetKey::Random(_)) =
            (secrets.first(), &self.common.reset_key)
        {
            self.common.reset_key = ResetKey::FromSecret(Zeroizing::new(*first.reset_key()));
        }
        let (old, new) = (Accepted::new(&self.list), Accepted::new(&secrets));
        self.responder.retain_secrets(&mut self.common, |id| new.get(id).is_some());
        // An attempt's secret need not be in the list; one that was and is no more has been removed.
        self.initiator.remove_secrets(&mut self.common, |id| old.get(id).is_some() && new.get(id).is_none());
        self.list = secrets;
    }

    /// Accepts Initiations, or drops them in silence.
    pub fn set_accept(&mut self, accept: bool) {
        self.set_acceptance(if accept { Acceptance::Accept } else { Acceptance::Ignore });
    }

    /// What becomes of Initiations, with the refusals that only the endpoint can know of.
    pub fn set_acceptance(&mut self, acceptance: Acceptance) {
        self.responder.set_acceptance(&mut self.common, acceptance);
    }

    /// Whether the peer that calls itself `instance` has as many paths as it may have and none to let go: its next
    /// Initiations are refused (5). The endpoint keeps such peers few: they are as many as have all their paths in use.
    pub fn set_peer_full(&mut self, instance: [u8; 16], full: bool) {
        self.responder.set_peer_full(instance, full);
    }

    /// Opens a handshake with the first of `secrets`, or joins the one that waits for the same address with the same
    /// secret (the later deadline counts). The Initiation is queued. `timeout_ns` is for the answer, and again for the
    /// confirmation.
    ///
    /// # Errors
    /// Too many attempts at once, or no secret.
    pub fn connect(
        &mut self,
        now_ns: u64,
        remote: SocketAddr,
        secrets: &Arc<[Secret]>,
        timeout_ns: u64,
        random: &mut dyn FnMut(&mut [u8]),
    ) -> Result<AttemptId, LimitError> {
        self.tick(now_ns);
        let secret = secrets.first().ok_or(LimitError::NoSecret)?;
        self.initiator.connect(&mut self.common, now_ns, canonical(remote), secret, timeout_ns, random)
    }

    /// Forgets an attempt, without an event. If its path is usable already, it stays so and is not watched any more.
    pub fn cancel(&mut self, attempt: AttemptId) {
        self.initiator.remove(attempt);
    }

    /// One datagram whose first byte is 0x80 to 0xBF. Never fails: what does not belong is counted and dropped.
    pub fn receive(
        &mut self,
        now_ns: u64,
        remote: SocketAddr,
        local: Option<IpAddr>,
        datagram: &[u8],
        random: &mut dyn FnMut(&mut [u8]),
    ) {
        self.tick(now_ns);
        let source = Source { remote: canonical(remote), local };
        let common = &mut self.common;
        match datagram.first().copied() {
            Some(INITIATION) => self.responder.on_initiation(common, now_ns, source, datagram),
            Some(RESPONSE) => self.initiator.on_response(common, now_ns, source, datagram, random),
            Some(COOKIE) => self.initiator.on_cookie(common, now_ns, source, datagram, random),
            Some(REFUSAL) => self.initiator.on_refusal(common, now_ns, source, datagram, random),
            Some(CONFIRM) => self.responder.on_confirm(common, now_ns, source, datagram),
            Some(CONFIRMED) => self.initiator.on_confirmed(common, datagram),
            _ => count(&mut common.counters.dropped_type),
        }
    }

    /// Does what is due: retransmissions, timeouts, expiry, and at most
    /// [`HANDSHAKES_PER_STEP`](crate::HANDSHAKES_PER_STEP) queued Initiations.
    pub fn advance(&mut self, now_ns: u64, random: &mut dyn FnMut(&mut [u8])) {
        self.tick(now_ns);
        self.responder.expire(&mut self.common, now_ns);
        self.initiator.advance(&mut self.common, now_ns, random);
        self.responder.advance(&mut self.common, now_ns, random);
    }

    /// When `advance` has something to do, ns: the time of the last call if Initiations wait. O(log n).
    pub fn next_timeout(&self) -> Option<u64> {
        if self.responder.queued() > 0 {
            return Some(self.now_ns);
        }
        [self.responder.next_expiry(), self.initiator.next_timer()].into_iter().flatten().min()
    }

    /// An authentic dcQUIC packet with this credential id came. Responder: confirms a half-open path. Initiator: keeps
    /// the path even if no Confirmed ever comes.
    pub fn on_authentic(&mut self, now_ns: u64, id: &CredentialId) {
        self.tick(now_ns);
        self.responder.on_authentic(&mut self.common, id);
        self.initiator.on_authentic(id);
    }

    /// The next message to send.
    pub fn poll_message(&mut self) -> Option<Message> {
        self.common.poll_message()
    }

    /// The next news.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.common.poll_event()
    }

    /// Our token for an UnknownPathSecret about this id: the same after a restart with the same secret or `reset_key`.
    pub fn reset_token(&self, id: &CredentialId) -> [u8; 16] {
        self.common.reset_token(id)
    }

    /// How often each thing happened.
    pub fn counters(&self) -> &Counters {
        &self.common.counters
    }

    /// Random for this start; the peer sees it as [`Established::instance`](crate::Established::instance).
    pub fn instance(&self) -> [u8; 16] {
        self.common.hello.instance
    }

    /// Attempts under way.
    pub fn attempts(&self) -> usize {
        self.initiator.len()
    }

    /// Entries of the pending table, half-open and confirmed.
    pub fn pending(&self) -> usize {
        self.responder.pending()
    }

    /// Checked Initiations that wait for `advance`.
    pub fn queued(&self) -> usize {
        self.responder.queued()
    }

    /// No message and no event waits to be polled.
    pub fn is_quiet(&self) -> bool {
        self.common.is_quiet()
    }

    #[cfg(test)]
    pub(crate) fn attempt_state(&self, attempt: AttemptId) -> Option<&crate::attempt::State> {
        self.initiator.state(attempt)
    }

    #[cfg(test)]
    pub(crate) fn pending_state(&self, public_key: &[u8; 32]) -> Option<&crate::pending::State> {
        self.responder.state(public_key)
    }

    #[cfg(test)]
    pub(crate) fn is_queued(&self, public_key: &[u8; 32]) -> bool {
        self.responder.is_queued(public_key)
    }

    #[cfg(test)]
    pub(crate) fn bake(&self, now_ns: u64, remote: SocketAddr, public_key: &[u8; 32]) -> [u8; 24] {
        self.responder.bake(now_ns, canonical(remote), public_key)
    }

    /// Says something else of itself, as only an insider can.
    #[cfg(test)]
    pub(crate) fn pretend(&mut self, change: impl FnOnce(&mut crate::parameters::Hello)) {
        change(&mut self.common.hello);
    }

    fn tick(&mut self, now_ns: u64) {
        self.now_ns = self.now_ns.max(now_ns);
    }
}

/// IPv4 in its own form, however the socket shows it.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::from((ip, address.port())),
        IpAddr::V6(_) => address,
    }
}

#[cfg(test)]
mod tests;
