//! Opens handshakes and sees them through (handshake.md section 7).

use crate::{
    attempt::{Attempt, Confirming, State, Waiting, after},
    bytes::take,
    common::{Common, Random, ResetKey},
    config::{MAX_ATTEMPTS, MAX_COOKIES, MAX_RETRANSMIT_NS},
    counters::count,
    event::{AttemptId, Established, Event, FailReason, LimitError},
    message::{self, CONFIRM, VERSION, highest_common_version, refusal},
    parameters::Hello,
    responder::{Source, confirmation, suite_of},
    secret::{Secret, SecretId},
};
use paceline_wire::{CredentialId, Role};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
};
use zeroize::Zeroizing;

/// Attempts by all that they are looked up by. At most `MAX_ATTEMPTS`.
#[derive(Default)]
pub(crate) struct Initiator {
    attempts: BTreeMap<AttemptId, Attempt>,
    by_name: BTreeMap<[u8; 8], AttemptId>,
    /// Only those that wait: one that has its path is nothing to join any more.
    by_remote: BTreeMap<(SocketAddr, SecretId), AttemptId>,
    by_credential: BTreeMap<CredentialId, AttemptId>,
    timers: BTreeSet<(u64, AttemptId)>,
    next: u64,
}

impl Initiator {
    pub(crate) fn len(&self) -> usize {
        self.attempts.len()
    }

    #[cfg(test)]
    pub(crate) fn state(&self, id: AttemptId) -> Option<&State> {
        self.attempts.get(&id).map(|attempt| &attempt.state)
    }

    pub(crate) fn next_timer(&self) -> Option<u64> {
        self.timers.first().map(|(at_ns, _)| *at_ns)
    }

    pub(crate) fn connect(
        &mut self,
        common: &mut Common,
        now_ns: u64,
        remote: SocketAddr,
        secret: &Secret,
        timeout_ns: u64,
        random: Random<'_>,
    ) -> Result<AttemptId, LimitError> {
        let deadline_ns = now_ns.saturating_add(timeout_ns);
        if let Some(id) = self.by_remote.get(&(remote, secret.id())).copied() {
            if let Some(attempt) = self.attempts.get_mut(&id) {
                attempt.deadline_ns = attempt.deadline_ns.max(deadline_ns);
                attempt.timeout_ns = attempt.timeout_ns.max(timeout_ns);
            }
            self.arm(id);
            return Ok(id);
        }
        if self.attempts.len() >= MAX_ATTEMPTS {
            return Err(LimitError::Attempts);
        }
        if let ResetKey::Random(_) = common.reset_key {
            common.reset_key = ResetKey::FromSecret(Zeroizing::new(*secret.reset_key()));
        }
        let (name, waiting) = Waiting::new(common, secret, common.config.first_version, random)
            .filter(|(name, _)| !self.by_name.contains_key(name))
            .ok_or(LimitError::Crypto)?;

        let id = AttemptId(self.next);
        self.next = self.next.saturating_add(1);
        let mut attempt = Attempt {
            remote,
            secret: secret.clone(),
            name,
            state: State::Waiting(Box::new(waiting)),
            timeout_ns,
            deadline_ns,
            interval_ns: 0,
            resend_ns: 0,
            timer_ns: u64::MAX,
        };
        attempt.restart_timer(now_ns, random);
        common.send(attempt.message());
        count(&mut common.counters.attempts);
        self.by_name.insert(name, id);
        self.by_remote.insert((remote, secret.id()), id);
        self.attempts.insert(id, attempt);
        self.arm(id);
        Ok(id)
    }

    /// Forgets an attempt, in whatever state.
    pub(crate) fn remove(&mut self, id: AttemptId) {
        let Some(attempt) = self.attempts.remove(&id) else { return };
        self.timers.remove(&(attempt.timer_ns, id));
        self.by_name.remove(&attempt.name);
        match attempt.credential_id() {
            None => self.by_remote.remove(&(attempt.remote, attempt.secret.id())),
            Some(credential_id) => self.by_credential.remove(&credential_id),
        };
    }

    /// A Cookie, Response or Refusal: the attempt that waits for it, if it came from where it was asked and is authentic. What
    /// is not is counted.
    fn waiting<const LEN: usize>(
        &mut self,
        common: &mut Common,
        source: Source,
        message: Option<&[u8; LEN]>,
    ) -> Option<(AttemptId, &mut Attempt)> {
        let Some(bytes) = message else {
            count(&mut common.counters.dropped_length);
            return None;
        };
        let (name, _) = bytes.get(8..).and_then(<[u8]>::split_first_chunk::<8>)?;
        let found = self.by_name.get(name).and_then(|id| Some((*id, self.attempts.get_mut(id)?)));
        let asked = |attempt: &Attempt| {
            attempt.remote.ip() == source.remote.ip() && attempt.remote.port() == source.remote.port()
        };
        let Some((id, attempt)) =
            found.filter(|(_, attempt)| asked(attempt) && matches!(attempt.state, State::Waiting(_)))
        else {
            count(&mut common.counters.dropped_unexpected);
            return None;
        };
        if !message::authentic(&attempt.secret, bytes) {
            count(&mut common.counters.dropped_mac);
            return None;
        }
        Some((id, attempt))
    }

    pub(crate) fn on_cookie(
        &mut self,
        common: &mut Common,
        now_ns: u64,
        source: Source,
        datagram: &[u8],
        random: Random<'_>,
    ) {
        let message = of_this_version::<56>(datagram);
        let Some((id, attempt)) = self.waiting(common, source, message) else { return };
        let (Some(bytes), State::Waiting(waiting)) = (message, &mut attempt.state) else { return };
        let cookie = take::<16, 24, _>(bytes);
        if cookie == waiting.last_cookie || waiting.cookies >= MAX_COOKIES {
            return count(&mut common.counters.cookies_dropped);
        }
        waiting.cookies = waiting.cookies.saturating_add(1);
        waiting.last_cookie = cookie;
        waiting.initiation = waiting.initiation.with_cookie(&attempt.secret, &cookie);
        attempt.restart_timer(now_ns, random);
        common.send(attempt.message());
        count(&mut common.counters.cookies_received);
        self.arm(id);
    }

    pub(crate) fn on_response(
        &mut self,
        common: &mut Common,
        now_ns: u64,
        source: Source,
        datagram: &[u8],
        random: Random<'_>,
    ) {
        let message = of_this_version::<144>(datagram);
        let Some((id, attempt)) = self.waiting(common, source, message) else { return };
        let (Some(bytes), State::Waiting(waiting)) = (message, &mut attempt.state) else { return };
        if common.events_full() || common.messages_full() {
            return count(&mut common.counters.dropped_busy);
        }
        let Some((hello, keys)) = waiting.noise.finish(&take::<16, 112, _>(bytes)) else {
            return count(&mut common.counters.dropped_noise);
        };
        let theirs = Hello::decode(&hello);
        if let Some(reason) = unacceptable(&common.hello, &theirs) {
            count(&mut common.counters.failed);
            return self.fail(common, id, FailReason::Refused(reason));
        }
        let suite = suite_of(theirs.suites);
        let secret = keys.path_secret(suite, Role::Client);
        let credential_id = *secret.id();
        let Some(sealed) = keys.confirm_i.seal_confirm(&credential_id, &common.reset_token(&credential_id))
        else {
            return count(&mut common.counters.dropped_noise);
        };
        let confirm =
            message::confirmation(&message::confirmation_header(CONFIRM, &credential_id.0), &sealed);
        attempt.state = State::Confirming(Box::new(Confirming {
            confirm,
            confirm_r: keys.confirm_r.clone(),
            credential_id,
            local: source.local,
            authentic: false,
        }));
        attempt.deadline_ns = now_ns.saturating_add(attempt.timeout_ns);
        attempt.restart_timer(now_ns, random);
        let (remote, secret_id, message) = (attempt.remote, attempt.secret.id(), attempt.message());
        self.by_remote.remove(&(remote, secret_id));
        self.by_credential.insert(credential_id, id);
        self.arm(id);
        count(&mut common.counters.usable);
        common.send(message);
        common.tell(Event::Usable {
            attempt: id,
            path: Box::new(Established {
                secret: Arc::new(secret),
                credential_id,
                suite,
                role: Role::Client,
                remote,
                local: source.local,
                address_validated: true,
                instance: theirs.instance,
                secret_id,
                peer: theirs.agree(&common.hello),
            }),
        });
    }

    pub(crate) fn on_refusal(
        &mut self,
        common: &mut Common,
        now_ns: u64,
        source: Source,
        datagram: &[u8],
        random: Random<'_>,
    ) {
        let message = <&[u8; 32]>::try_from(datagram).ok();
        let Some((id, attempt)) = self.waiting(common, source, message) else { return };
        let (Some(bytes), State::Waiting(waiting)) = (message, &attempt.state) else { return };
        if common.events_full() {
            return count(&mut common.counters.dropped_busy);
        }
        let [reason, lowest, highest] = take::<2, 3, _>(bytes);
        let version = highest_common_version(lowest, highest);
        if reason == refusal::VERSION
            && !waiting.retried
            && let Some(version) = version.filter(|version| *version != waiting.version)
        {
            return self.retry(common, now_ns, id, version, random);
        }
        count(&mut common.counters.failed);
        self.fail(common, id, FailReason::Refused(reason));
    }

    /// Begins anew with a version that both sides know, once: the same attempt, another key and name.
    fn retry(&mut self, common: &mut Common, now_ns: u64, id: AttemptId, version: u8, random: Random<'_>) {
        let Some(attempt) = self.attempts.get_mut(&id) else { return };
        let Some((name, waiting)) = Waiting::new(common, &attempt.secret, version, random)
            .filter(|(name, _)| !self.by_name.contains_key(name))
        else {
            count(&mut common.counters.failed);
            return self.fail(common, id, FailReason::Refused(refusal::VERSION));
        };
        self.by_name.remove(&attempt.name);
        self.by_name.insert(name, id);
        attempt.name = name;
        attempt.state = State::Waiting(Box::new(Waiting { retried: true, ..waiting }));
        attempt.restart_timer(now_ns, random);
        common.send(attempt.message());
        count(&mut common.counters.versions_retried);
        self.arm(id);
    }

    pub(crate) fn on_confirmed(&mut self, common: &mut Common, datagram: &[u8]) {
        let Some((header, sealed)) = confirmation(datagram) else {
            return count(&mut common.counters.dropped_length);
        };
        let credential_id = CredentialId(take::<8, 16, _>(&header));
        let Some((id, remote, confirming)) = self.confirming(&credential_id) else {
            return count(&mut common.counters.dropped_unknown_credential);
        };
        let Some(token) = confirming.confirm_r.open(&header, &sealed) else {
            return count(&mut common.counters.dropped_confirm);
        };
        if common.events_full() {
            return count(&mut common.counters.dropped_busy);
        }
        self.remove(id);
        count(&mut common.counters.completed);
        common.tell(Event::Confirmed { credential_id, remote, reset_token: Some(token) });
    }

    /// An authentic dcQUIC packet came: the path will outlive its Confirm, whatever becomes of that.
    pub(crate) fn on_authentic(&mut self, credential_id: &CredentialId) {
        if let Some((_, _, confirming)) = self.confirming(credential_id) {
            confirming.authentic = true;
        }
    }

    fn confirming(
        &mut self,
        credential_id: &CredentialId,
    ) -> Option<(AttemptId, SocketAddr, &mut Confirming)> {
        let id = *self.by_credential.get(credential_id)?;
        let attempt = self.attempts.get_mut(&id)?;
        match &mut attempt.state {
            State::Confirming(confirming) => Some((id, attempt.remote, confirming)),
            State::Waiting(_) => None,
        }
    }

    /// Sends again and gives up, as time demands.
    pub(crate) fn advance(&mut self, common: &mut Common, now_ns: u64, random: Random<'_>) {
        while let Some((at_ns, id)) = self.timers.first().copied() {
            // What finds no room now stays due.
            if at_ns > now_ns || common.events_full() || common.messages_full() {
                return;
            }
            let Some(attempt) = self.attempts.get_mut(&id) else {
                self.timers.pop_first();
                continue;
            };
            if attempt.deadline_ns <= now_ns {
                self.time_out(common, id);
                continue;
            }
            attempt.interval_ns = attempt.interval_ns.saturating_mul(2).min(MAX_RETRANSMIT_NS);
            attempt.resend_ns = after(now_ns, attempt.interval_ns, random);
            #[cfg(feature = "planted")]
            if common.config.planted {
                attempt.resend_ns = u64::MAX;
                self.arm(id);
                continue;
            }
            common.send(attempt.message());
            count(&mut common.counters.retransmissions);
            self.arm(id);
        }
    }

    fn time_out(&mut self, common: &mut Common, id: AttemptId) {
        let Some(attempt) = self.attempts.get(&id) else { return };
        match &attempt.state {
            State::Confirming(confirming) if confirming.authentic => {
                let (credential_id, remote) = (confirming.credential_id, attempt.remote);
                self.remove(id);
                count(&mut common.counters.completed_without_token);
                common.tell(Event::Confirmed { credential_id, remote, reset_token: None });
            }
            _ => {
                count(&mut common.counters.timeouts);
                self.fail(common, id, FailReason::Timeout);
            }
        }
    }

    /// Ends what waits with a secret that is gone. Paths that are usable are the endpoint's affair.
    pub(crate) fn remove_secrets(&mut self, common: &mut Common, gone: impl Fn(SecretId) -> bool) {
        let ended: Vec<AttemptId> = self
            .attempts
            .iter()
            .filter(|(_, attempt)| matches!(attempt.state, State::Waiting(_)) && gone(attempt.secret.id()))
            .map(|(id, _)| *id)
            .collect();
        for id in ended {
            count(&mut common.counters.secret_removed);
            self.fail(common, id, FailReason::SecretRemoved);
        }
    }

    fn fail(&mut self, common: &mut Common, id: AttemptId, error: FailReason) {
        let credential_id = self.attempts.get(&id).and_then(Attempt::credential_id);
        self.remove(id);
        common.tell(Event::Failed { attempt: id, credential_id, error });
    }

    /// Puts the attempt's next time into the set of timers.
    fn arm(&mut self, id: AttemptId) {
        let Some(attempt) = self.attempts.get_mut(&id) else { return };
        self.timers.remove(&(attempt.timer_ns, id));
        attempt.timer_ns = attempt.resend_ns.min(attempt.deadline_ns);
        self.timers.insert((attempt.timer_ns, id));
    }
}

impl std::fmt::Debug for Initiator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Initiator").field("attempts", &self.attempts.len()).finish_non_exhaustive()
    }
}

/// Why the responder's parameters cannot be accepted, as a reason of a Refusal.
fn unacceptable(ours: &Hello, theirs: &Hello) -> Option<u8> {
    if theirs.instance == ours.instance {
        Some(refusal::UNNAMED)
    } else if theirs.application != ours.application {
        Some(refusal::APPLICATION)
    } else if theirs.suites.count_ones() != 1 || theirs.suites & ours.suites == 0 {
        Some(refusal::SUITE)
    } else {
        None
    }
}

/// A datagram of exactly this length. (A Refusal is the same in all versions.)
fn of_this_version<const LEN: usize>(datagram: &[u8]) -> Option<&[u8; LEN]> {
    let bytes: &[u8; LEN] = datagram.try_into().ok()?;
    let [version] = take::<1, 1, _>(bytes);
    (version == VERSION).then_some(bytes)
}
