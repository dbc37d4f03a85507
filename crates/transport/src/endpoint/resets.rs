//! Secret control: what is said about credentials and key ids that are not accepted, and what is made of it.
//!
//! Three packets (dcquic §1.6, §2.4). UnknownPathSecret answers a packet whose credentials nobody here knows: this process
//! was started again, or has forgotten the peer. StaleKey and ReplayDetected answer an authentic first packet of a key id that
//! was used before. None of them is ever answered, and each is smaller than what caused it, so that two endpoints that have
//! forgotten each other fall silent at once.

use super::{Endpoint, Random, receive::Dropped};
use crate::{
    buffer::replay::Verdict,
    config::SECOND,
    environment::Received,
    error::Failure,
    stats::count,
    transmission::{Kind, PathKey},
};
use paceline_wire::{
    ControlKey, CredentialId, Opener,
    packet::{
        secret_control::{self, Body, Packet},
        stream,
    },
};

/// Credential ids are told apart by this many slots; two that share one share its reply a second, too. 32 KiB, and 4 times
/// what the budget below lets through.
const SLOTS: usize = 4_096;
/// Per slot.
const GAP_NS: u64 = SECOND;
/// In all: never more than 1,000 in any second.
const BURST: u64 = 100;
const RATE: u64 = 900;
const INTERVAL_NS: u64 = SECOND / RATE;
/// How far one StaleKey may move the counter of key ids. The peer keeps as many; one that is ahead of us by more is not one
/// that we ever sent to.
const MAX_KEY_ID_STEP: u64 = crate::buffer::replay::REPLAY_WINDOW;

/// When which credential id may be answered again.
#[derive(Debug)]
pub(super) struct ReplyLimits {
    /// By slot: not before, ns.
    slots: Vec<u64>,
    /// Not known to outsiders, so that nobody can choose credential ids that share a slot with a certain one.
    seed: u64,
    /// When the budget is whole again, ns.
    whole_at_ns: u64,
}

impl ReplyLimits {
    pub(super) fn new(random: Random<'_>) -> Self {
        let mut seed = [0; 8];
        random(&mut seed);
        Self { slots: vec![0; SLOTS], seed: u64::from_le_bytes(seed), whole_at_ns: 0 }
    }

    fn slot(&self, id: &CredentialId) -> usize {
        let mut hash = self.seed;
        for half in id.0.as_chunks::<8>().0 {
            // The finisher of SplitMix64: every bit of the id and of the seed reaches every bit of the slot.
            hash ^= u64::from_le_bytes(*half);
            hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            hash ^= hash >> 31;
        }
        usize::try_from(hash).unwrap_or(0) % SLOTS
    }

    /// Whether a reply about this id may leave now.
    fn allows(&self, now_ns: u64, id: &CredentialId) -> bool {
        let spent_ns = self.whole_at_ns.saturating_sub(now_ns);
        spent_ns <= BURST.saturating_sub(1).saturating_mul(INTERVAL_NS)
            && self.slots.get(self.slot(id)).is_some_and(|at| *at <= now_ns)
    }

    fn take(&mut self, now_ns: u64, id: &CredentialId) {
        self.whole_at_ns = self.whole_at_ns.max(now_ns).saturating_add(INTERVAL_NS);
        let slot = self.slot(id);
        if let Some(at) = self.slots.get_mut(slot) {
            *at = now_ns.saturating_add(GAP_NS);
        }
    }
}

impl Endpoint {
    /// A packet whose credentials nobody here knows: its sender is told, provably, if it was a peer of this process'
    /// predecessor. Anybody else can do nothing with the token.
    pub(super) fn on_unknown_credentials(
        &mut self,
        id: &CredentialId,
        queue_id: Option<u64>,
        trigger_len: usize,
        received: &Received,
    ) -> Dropped {
        if !self.shutting_down && self.reply_limits.allows(received.at_ns, id) {
            let mut reply = [0; secret_control::MAX_LEN];
            let token = self.handshake.reset_token(id);
            let len = secret_control::unknown_path_secret(id, queue_id, &token, &mut reply);
            if let Some(reply) = smaller(&reply, len.ok(), trigger_len) {
                self.reply_limits.take(received.at_ns, id);
                count(&mut self.stats.secret_control_sent);
                count(&mut self.stats.secret_control.unknown_path_secret_sent);
                self.send_datagram(reply, received.remote, received.local, Kind::Control, received.at_ns);
            }
        }
        Dropped::UnknownPath
    }

    /// A first packet whose key id is not new. If it is authentic, the peer is told at the path's address, whoever sent it.
    pub(super) fn on_used_key_id(
        &mut self,
        path_key: PathKey,
        packet: &stream::Packet<'_>,
        verdict: Verdict,
        trigger_len: usize,
        received: &Received,
    ) -> Dropped {
        let now_ns = received.at_ns;
        let credentials = packet.credentials();
        // The limit first: who replays a million packets gets no million decryptions.
        if self.shutting_down || !self.reply_limits.allows(now_ns, &credentials.id) {
            return Dropped::UsedKeyId;
        }
        let Some(path) = self.paths.get(path_key) else { return Dropped::UnknownPath };
        let keys = path.secret.stream_keys(credentials.key_id, Opener::Remote);
        let Some(out) = self.scratch.get_mut(..packet.payload_len()) else { return Dropped::Malformed };
        if packet.open(&keys.open, &keys.control_open, out).is_err() {
            return Dropped::NotAuthentic;
        }
        let sealer = path.secret.control_sealer();
        let queue_id = packet.source_queue_id();
        let mut reply = [0; secret_control::MAX_LEN];
        let id = &credentials.id;
        let sent = &mut self.stats.secret_control;
        let (len, sent) = match verdict {
            Verdict::New => return Dropped::UsedKeyId,
            Verdict::Replayed => (
                secret_control::replay_detected(id, queue_id, credentials.key_id, &sealer, &mut reply),
                &mut sent.replay_detected_sent,
            ),
            Verdict::Unknown => (
                secret_control::stale_key(id, queue_id, path.replay.min_acceptable(), &sealer, &mut reply),
                &mut sent.stale_key_sent,
            ),
        };
        // s2n-quic-dc finds the stream only at the port it was opened from.
        let (remote, local) = path.destination(path.answer_to(received.remote, received.local));
        if let Some(reply) = smaller(&reply, len.ok(), trigger_len) {
            self.reply_limits.take(now_ns, id);
            count(sent);
            count(&mut self.stats.secret_control_sent);
            self.send_datagram(reply, remote, local, Kind::Control, now_ns);
        }
        Dropped::UsedKeyId
    }

    /// What the peer says about a path secret or a key id of ours.
    pub(super) fn on_secret_control(&mut self, datagram: &[u8], received: &Received) -> Result<(), Dropped> {
        let packet = Packet::decode(datagram).map_err(|_| Dropped::Malformed)?;
        let path_key = self.by_credential.get(packet.id()).copied().ok_or(Dropped::UnknownPath)?;
        match packet.body() {
            Body::UnknownPathSecret => self.on_unknown_path_secret(path_key, &packet, received),
            Body::StaleKey { min_key_id } => {
                self.verify_secret_control(path_key, &packet)?;
                count(&mut self.stats.secret_control.stale_key_received);
                let path = self.paths.get_mut(path_key).ok_or(Dropped::UnknownPath)?;
                path.skip_key_ids(min_key_id, MAX_KEY_ID_STEP);
                // An answered stream has passed the peer's replay check: for it, this is an old packet played back.
                self.reject_key_id(&packet, received.at_ns, |key_id, answered| {
                    !answered && key_id < min_key_id
                })
            }
            Body::ReplayDetected { rejected_key_id } => {
                self.verify_secret_control(path_key, &packet)?;
                count(&mut self.stats.secret_control.replay_detected_received);
                self.reject_key_id(&packet, received.at_ns, |key_id, _| key_id == rejected_key_id)
            }
        }
    }

    /// The peer has lost this path's keys, if the token is the one it gave us: all its streams are over.
    fn on_unknown_path_secret(
        &mut self,
        path_key: PathKey,
        packet: &Packet<'_>,
        received: &Received,
    ) -> Result<(), Dropped> {
        let path = self.paths.get(path_key).ok_or(Dropped::UnknownPath)?;
        let token = path.reset_token.ok_or(Dropped::NotAuthentic)?;
        if received.remote != path.remote {
            return Err(Dropped::NotAuthentic);
        }
        packet.verify_token(&token).map_err(|_| Dropped::NotAuthentic)?;
        count(&mut self.stats.secret_control.unknown_path_secret_received);
        self.leave_path(path_key, Some(Failure::PeerRestarted), received.at_ns);
        Ok(())
    }

    fn verify_secret_control(&self, path_key: PathKey, packet: &Packet<'_>) -> Result<(), Dropped> {
        let path = self.paths.get(path_key).ok_or(Dropped::UnknownPath)?;
        let key: ControlKey = path.secret.control_opener();
        packet.verify(&key).map_err(|_| Dropped::NotAuthentic)
    }

    /// The stream that the packet names has a key id that the peer does not take: nothing of it was delivered for certain.
    fn reject_key_id(
        &mut self,
        packet: &Packet<'_>,
        now_ns: u64,
        concerns: impl FnOnce(u64, bool) -> bool,
    ) -> Result<(), Dropped> {
        let key =
            packet.queue_id().and_then(|queue_id| self.by_queue(queue_id)).ok_or(Dropped::UnknownStream)?;
        let stream = self.streams.get(key).ok_or(Dropped::UnknownStream)?;
        let credentials = stream.credentials.ok_or(Dropped::UnknownStream)?;
        if stream.opener != Opener::Local
            || credentials.id != *packet.id()
            || !concerns(credentials.key_id, stream.answered)
        {
            return Err(Dropped::UsedKeyId);
        }
        self.lose_stream(key, Failure::KeyRejected, now_ns);
        Ok(())
    }
}

/// A reply, if it is smaller than what caused it.
fn smaller(reply: &[u8], len: Option<usize>, trigger_len: usize) -> Option<&[u8]> {
    let reply = reply.get(..len?)?;
    (reply.len() < trigger_len).then_some(reply)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> ReplyLimits {
        ReplyLimits::new(&mut |out| out.fill(7))
    }

    fn id(n: u64) -> CredentialId {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
        CredentialId(id)
    }

    fn try_take(limits: &mut ReplyLimits, now_ns: u64, id: &CredentialId) -> bool {
        let allowed = limits.allows(now_ns, id);
        if allowed {
            limits.take(now_ns, id);
        }
        allowed
    }

    #[test]
    fn one_reply_a_second_for_an_id() {
        let mut limits = limits();
        let allowed: Vec<u64> =
            (0..5_000).filter(|ms| try_take(&mut limits, ms * 1_000_000, &id(1))).collect();
        assert_eq!(allowed, [0, 1_000, 2_000, 3_000, 4_000]);
    }

    #[test]
    fn a_thousand_in_any_second_for_all_ids() {
        let mut limits = limits();
        let mut times = Vec::new();
        for n in 0..300_000u64 {
            let now_ns = n * 10_000;
            if try_take(&mut limits, now_ns, &id(n)) {
                times.push(now_ns);
            }
        }
        assert!(times.len() > 2_500, "{}", times.len());
        let worst =
            times.iter().map(|at| times.iter().filter(|t| (*at..at + SECOND).contains(t)).count()).max();
        assert!(worst <= Some(1_000), "{worst:?}");
    }

    #[test]
    fn ids_spread_over_the_slots() {
        let limits = limits();
        let used: std::collections::BTreeSet<usize> = (0..4_096).map(|n| limits.slot(&id(n))).collect();
        // 1 − 1/e of them, ± a few.
        assert!((2_400..2_800).contains(&used.len()), "{}", used.len());
    }
}
