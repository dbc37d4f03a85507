//! Answers Initiations and Confirms (handshake.md section 6).

use crate::{
    budget::Budget,
    bytes::take,
    common::{Common, Random, draw_key},
    config::{COOKIELESS_RATE, HANDSHAKE_QUEUE, HANDSHAKES_PER_STEP},
    cookie::CookieJar,
    counters::count,
    event::{Established, Event},
    message::{self, CONFIRMED, Initiation, Message, VERSION, refusal},
    noise::Answering,
    parameters::{Hello, SUITE_AES_256},
    pending::{HalfOpen, Pending, State, Tombstone},
    replies::Replies,
    secret::{Secret, SecretId},
};
use paceline_wire::{CredentialId, Role, Suite};
use std::{
    collections::{BTreeSet, VecDeque},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

/// What becomes of Initiations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acceptance {
    /// They are answered.
    Accept,
    /// They are dropped in silence.
    Ignore,
    /// They are refused: the endpoint is closing.
    Closing,
    /// New ones are refused: the endpoint has as many paths as it may have and none to let go.
    Full,
}

/// An Initiation that has passed all checks but those that need its keys.
#[derive(Debug)]
struct Checked {
    initiation: Initiation,
    secret: Secret,
    remote: SocketAddr,
    local: Option<IpAddr>,
}

/// Where a datagram came from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source {
    pub(crate) remote: SocketAddr,
    pub(crate) local: Option<IpAddr>,
}

#[derive(Debug)]
pub(crate) struct Responder {
    acceptance: Acceptance,
    cookies: CookieJar,
    cookieless: Budget,
    handshakes: Budget,
    replies: Replies,
    queue: VecDeque<Checked>,
    pending: Pending,
    /// Instances that may not have another path. As bounded as the endpoint's paths.
    full: BTreeSet<[u8; 16]>,
}

impl Responder {
    pub(crate) fn new(common: &Common, cookies: CookieJar, now_ns: u64) -> Self {
        let config = &common.config;
        let cookieless = if config.cookie_always { 0 } else { COOKIELESS_RATE };
        Self {
            acceptance: if config.accept { Acceptance::Accept } else { Acceptance::Ignore },
            cookies,
            cookieless: Budget::new(cookieless, cookieless, now_ns),
            handshakes: Budget::new(config.handshakes_per_second, config.handshakes_per_second, now_ns),
            replies: Replies::new(now_ns),
            queue: VecDeque::new(),
            pending: Pending::default(),
            full: BTreeSet::new(),
        }
    }

    pub(crate) fn pending(&self) -> usize {
        self.pending.len()
    }

    pub(crate) fn queued(&self) -> usize {
        self.queue.len()
    }

    #[cfg(test)]
    pub(crate) fn state(&self, public_key: &[u8; 32]) -> Option<&State> {
        self.pending.by_key(public_key)
    }

    #[cfg(test)]
    pub(crate) fn is_queued(&self, public_key: &[u8; 32]) -> bool {
        self.queue.iter().any(|waiting| waiting.initiation.public_key() == *public_key)
    }

    #[cfg(test)]
    pub(crate) fn bake(&self, now_ns: u64, remote: SocketAddr, public_key: &[u8; 32]) -> [u8; 24] {
        self.cookies.bake(now_ns, remote, public_key)
    }

    pub(crate) fn next_expiry(&self) -> Option<u64> {
        self.pending.next_expiry()
    }

    /// Steps 1 to 7. Nothing up to step 5 allocates.
    pub(crate) fn on_initiation(
        &mut self,
        common: &mut Common,
        now_ns: u64,
        source: Source,
        datagram: &[u8],
    ) {
        // 1
        if self.acceptance == Acceptance::Ignore {
            return count(&mut common.counters.dropped_not_accepting);
        }
        let Some((version, secret_id, attempt)) = message::initiation_invariants(datagram) else {
            return count(&mut common.counters.dropped_length);
        };
        // 2
        let Some(secret) = common.secrets.get(secret_id) else {
            return count(&mut common.counters.dropped_unknown_secret);
        };
        // 3; the clone counts a reference, so that `common` can be changed below
        if !message::authentic(secret, datagram) {
            return count(&mut common.counters.dropped_mac);
        }
        let secret = secret.clone();
        if self.acceptance == Acceptance::Closing {
            return self.replies.refuse(common, now_ns, source, &secret, &attempt, refusal::CLOSING);
        }
        // 4
        let initiation = match datagram.try_into() {
            Ok(bytes) if version == VERSION => Initiation(bytes),
            _ => return self.replies.refuse(common, now_ns, source, &secret, &attempt, refusal::VERSION),
        };
        // 5
        let public_key = initiation.public_key();
        match self.pending.by_key(&public_key) {
            Some(State::HalfOpen(entry)) => {
                let response = Message::new(source.remote, source.local, &entry.response);
                return self
                    .replies
                    .once_per_gap(common, now_ns, &public_key, &response, |c| &mut c.duplicates_answered);
            }
            Some(State::Confirmed(_)) => return count(&mut common.counters.duplicates_dropped),
            None => {}
        }
        if self.queue.iter().any(|waiting| waiting.initiation.public_key() == public_key) {
            return count(&mut common.counters.duplicates_dropped);
        }
        if self.acceptance == Acceptance::Full {
            return self.replies.refuse(common, now_ns, source, &secret, &attempt, refusal::FULL);
        }
        // 6
        if !self.cookie_fits(common, now_ns, source.remote, &initiation) {
            let cookie = self.cookies.bake(now_ns, source.remote, &public_key);
            let cookie =
                Message::new(source.remote, source.local, &message::cookie(&secret, &attempt, &cookie));
            return self.replies.once_per_gap(common, now_ns, &public_key, &cookie, |c| &mut c.cookies_sent);
        }
        // 7; what waits in the queue will be in the table
        if self.pending.len().saturating_add(self.queue.len()) >= common.config.max_pending() {
            return count(&mut common.counters.dropped_pending_full);
        }
        if self.queue.len() >= HANDSHAKE_QUEUE {
            return count(&mut common.counters.dropped_queue_full);
        }
        if !self.handshakes.take(now_ns) {
            return count(&mut common.counters.dropped_handshake_rate);
        }
        self.queue.push_back(Checked { initiation, secret, remote: source.remote, local: source.local });
    }

    fn cookie_fits(
        &mut self,
        common: &mut Common,
        now_ns: u64,
        remote: SocketAddr,
        initiation: &Initiation,
    ) -> bool {
        let cookie = initiation.cookie();
        if cookie != [0; 24] {
            return self.cookies.valid(now_ns, remote, &initiation.public_key(), &cookie);
        }
        let taken = self.cookieless.take(now_ns);
        if !taken {
            count(&mut common.counters.cookieless_spent);
        }
        taken
    }

    /// Steps 8 and 9 for the oldest queued Initiations: at most `HANDSHAKES_PER_STEP`.
    pub(crate) fn advance(&mut self, common: &mut Common, now_ns: u64, random: Random<'_>) {
        for _ in 0..HANDSHAKES_PER_STEP {
            if common.events_full() || common.messages_full() {
                return;
            }
            let Some(checked) = self.queue.pop_front() else { return };
            self.answer(common, now_ns, &checked, random);
        }
    }

    fn answer(&mut self, common: &mut Common, now_ns: u64, checked: &Checked, random: Random<'_>) {
        let Checked { initiation, secret, remote, local } = checked;
        let (attempt, source) = (initiation.attempt(), Source { remote: *remote, local: *local });
        // 8
        let ephemeral = draw_key(random);
        let Some((answering, hello)) =
            Answering::new(ephemeral, secret.psk(), &initiation.header(), &initiation.noise())
        else {
            return count(&mut common.counters.dropped_noise);
        };
        let theirs = Hello::decode(&hello);
        if theirs.instance == common.hello.instance {
            return count(&mut common.counters.dropped_own_instance);
        }
        // 9
        if theirs.application != common.hello.application {
            return self.replies.refuse(common, now_ns, source, secret, &attempt, refusal::APPLICATION);
        }
        let Some(suite_bit) = common.config.choose_suite(theirs.suites) else {
            return self.replies.refuse(common, now_ns, source, secret, &attempt, refusal::SUITE);
        };
        if self.full.contains(&theirs.instance) {
            return self.replies.refuse(common, now_ns, source, secret, &attempt, refusal::FULL);
        }

        let ours =
            Hello { suites: suite_bit, features: common.hello.features & theirs.features, ..common.hello };
        let Some((noise, keys)) = answering.answer(&ours.encode()) else {
            return count(&mut common.counters.dropped_noise);
        };
        let suite = suite_of(suite_bit);
        let path_secret = keys.path_secret(suite, Role::Server);
        let credential_id = *path_secret.id();
        let response = message::response(secret, &attempt, &noise);
        let entry = HalfOpen {
            response,
            confirm_i: keys.confirm_i.clone(),
            confirm_r: keys.confirm_r.clone(),
            remote: *remote,
            secret_id: secret.id(),
        };
        if !self.pending.insert(now_ns, initiation.public_key(), credential_id, entry) {
            // Two public keys that give one credential id: the random source repeats itself.
            return count(&mut common.counters.dropped_noise);
        }
        count(&mut common.counters.half_open);
        common.send(Message::new(*remote, *local, &response));
        common.tell(Event::HalfOpen {
            path: Box::new(Established {
                secret: Arc::new(path_secret),
                credential_id,
                suite,
                role: Role::Server,
                remote: *remote,
                local: *local,
                address_validated: true,
                instance: theirs.instance,
                secret_id: secret.id(),
                peer: theirs.agree(&ours),
            }),
        });
    }

    /// A Confirm: 56 bytes, from anywhere.
    pub(crate) fn on_confirm(&mut self, common: &mut Common, now_ns: u64, source: Source, datagram: &[u8]) {
        let Some((header, sealed)) = confirmation(datagram) else {
            return count(&mut common.counters.dropped_length);
        };
        let credential_id = CredentialId(take::<8, 16, _>(&header));
        let Some(state) = self.pending.by_id(&credential_id) else {
            return count(&mut common.counters.dropped_unknown_credential);
        };
        let confirm_i = match state {
            State::HalfOpen(entry) => &entry.confirm_i,
            State::Confirmed(tombstone) => &tombstone.confirm_i,
        };
        let Some(token) = confirm_i.open(&header, &sealed) else {
            return count(&mut common.counters.dropped_confirm);
        };
        if common.events_full() {
            return count(&mut common.counters.dropped_busy);
        }
        let confirmed = match state {
            State::HalfOpen(entry) => {
                let Some(mut tombstone) = tombstone(common, &credential_id, entry) else {
                    return count(&mut common.counters.dropped_confirm);
                };
                tombstone.token_known = true;
                let confirmed = tombstone.confirmed;
                *state = State::Confirmed(tombstone);
                count(&mut common.counters.confirmed);
                common.tell(Event::Confirmed {
                    credential_id,
                    remote: source.remote,
                    reset_token: Some(token),
                });
                confirmed
            }
            State::Confirmed(tombstone) => {
                if !tombstone.token_known {
                    tombstone.token_known = true;
                    let remote = source.remote;
                    common.tell(Event::Confirmed { credential_id, remote, reset_token: Some(token) });
                }
                count(&mut common.counters.confirms_repeated);
                tombstone.confirmed
            }
        };
        let header = message::confirmation_header(CONFIRMED, &credential_id.0);
        let reply = Message::new(source.remote, source.local, &message::confirmation(&header, &confirmed));
        self.replies.send(common, now_ns, reply);
    }

    /// An authentic dcQUIC packet proves the initiator's keys as well as a Confirm does.
    pub(crate) fn on_authentic(&mut self, common: &mut Common, credential_id: &CredentialId) {
        let Some(state) = self.pending.by_id(credential_id) else { return };
        let State::HalfOpen(entry) = state else { return };
        if common.events_full() {
            return;
        }
        let remote = entry.remote;
        let Some(tombstone) = tombstone(common, credential_id, entry) else { return };
        *state = State::Confirmed(tombstone);
        count(&mut common.counters.confirmed_by_packet);
        common.tell(Event::Confirmed { credential_id: *credential_id, remote, reset_token: None });
    }

    /// Forgets what is old.
    pub(crate) fn expire(&mut self, common: &mut Common, now_ns: u64) {
        while !common.events_full() {
            let Some((credential_id, state)) = self.pending.expire(now_ns) else { return };
            if let State::HalfOpen(_) = state {
                count(&mut common.counters.expired);
                common.tell(Event::Expired { credential_id });
            }
        }
    }

    /// Ends what hangs on secrets that are gone.
    pub(crate) fn retain_secrets(&mut self, common: &mut Common, kept: impl Fn(SecretId) -> bool) {
        self.queue.retain(|checked| {
            let kept = kept(checked.secret.id());
            if !kept {
                count(&mut common.counters.dropped_unknown_secret);
            }
            kept
        });
        for credential_id in self.pending.retain(kept) {
            count(&mut common.counters.secret_removed);
            common.tell(Event::Expired { credential_id });
        }
    }

    pub(crate) fn set_peer_full(&mut self, instance: [u8; 16], full: bool) {
        if full {
            self.full.insert(instance);
        } else {
            self.full.remove(&instance);
        }
    }

    /// Initiations that were not looked at yet are dropped; their senders will ask again.
    pub(crate) fn set_acceptance(&mut self, common: &mut Common, acceptance: Acceptance) {
        self.acceptance = acceptance;
        if acceptance != Acceptance::Accept {
            self.queue.drain(..).for_each(|_| count(&mut common.counters.dropped_not_accepting));
        }
    }
}

/// `None` only if a primitive failed.
fn tombstone(common: &Common, id: &CredentialId, entry: &HalfOpen) -> Option<Tombstone> {
    // Sealed once and kept: the token may change with the secrets, but the key must not seal two texts.
    let confirmed = entry.confirm_r.seal_confirmed(id, &common.reset_token(id))?;
    Some(Tombstone { confirm_i: entry.confirm_i.clone(), confirmed, token_known: false })
}

/// Header and sealed token of a Confirm or Confirmed of this version.
pub(crate) fn confirmation(datagram: &[u8]) -> Option<([u8; 24], [u8; 32])> {
    let bytes: &[u8; 56] = datagram.try_into().ok()?;
    let [_, version] = take::<0, 2, _>(bytes);
    (version == VERSION).then(|| (take::<0, 24, _>(bytes), take::<24, 32, _>(bytes)))
}

/// The suite of a single bit.
pub(crate) fn suite_of(bit: u8) -> Suite {
    if bit == SUITE_AES_256 { Suite::Aes256GcmSha384 } else { Suite::Aes128GcmSha256 }
}
