//! How often each thing happened.

/// Counters since the start, one per reason. Every datagram increments exactly one of the fields up to `failed` (an
/// Initiation that was queued, when its turn comes); the rest say more about some of them, or count what happened without a datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Dropped before the MAC: no message type of ours.
    pub dropped_type: u64,
    /// Dropped before the MAC: not the length of its type, or another version of a message without a Refusal.
    pub dropped_length: u64,
    /// Dropped before the MAC: Initiation to an endpoint that does not accept, or no more when its turn came.
    pub dropped_not_accepting: u64,
    /// Dropped before the MAC: Initiation with an unknown secret id, or with one removed before its turn came.
    pub dropped_unknown_secret: u64,
    /// Dropped before the MAC: no attempt waits for it, or it came from another address than was asked.
    pub dropped_unexpected: u64,
    /// Dropped: the MAC is wrong.
    pub dropped_mac: u64,
    /// Dropped after the MAC: Noise did not open, or the key is of small order. Only an insider can do that.
    pub dropped_noise: u64,
    /// Dropped after the MAC: our own Initiation, reflected.
    pub dropped_own_instance: u64,
    /// Dropped: Confirm or Confirmed with an unknown credential id.
    pub dropped_unknown_credential: u64,
    /// Dropped: Confirm or Confirmed that is not authentic.
    pub dropped_confirm: u64,
    /// Dropped after the MAC: the pending table is full.
    pub dropped_pending_full: u64,
    /// Dropped after the MAC: the queue of checked Initiations is full.
    pub dropped_queue_full: u64,
    /// Dropped after the MAC: `handshakes_per_second` is spent.
    pub dropped_handshake_rate: u64,
    /// Dropped: [`EVENT_QUEUE`](crate::EVENT_QUEUE) events or [`MESSAGE_QUEUE`](crate::MESSAGE_QUEUE) messages wait for the
    /// endpoint.
    pub dropped_busy: u64,
    /// Dropped after the MAC: a reply was due, but the budget of replies or the message queue was spent, or the last
    /// reply to the same key was too recent.
    pub dropped_reply_limit: u64,
    /// Dropped after the MAC: an Initiation that is waiting in the queue or whose path is confirmed.
    pub duplicates_dropped: u64,
    /// Initiations answered with the stored Response.
    pub duplicates_answered: u64,
    /// Cookies sent.
    pub cookies_sent: u64,
    /// Refusals sent.
    pub refusals_sent: u64,
    /// Half-open paths made; each is one Response and two scalar multiplications.
    pub half_open: u64,
    /// Paths confirmed as responder, by Confirm.
    pub confirmed: u64,
    /// Confirms of paths that were confirmed before.
    pub confirms_repeated: u64,
    /// Cookies put in, each with a new Initiation.
    pub cookies_received: u64,
    /// Cookies dropped: the same again, or more than [`MAX_COOKIES`](crate::MAX_COOKIES).
    pub cookies_dropped: u64,
    /// Responses that opened.
    pub usable: u64,
    /// Paths confirmed as initiator, by Confirmed.
    pub completed: u64,
    /// Refusals received that named a common version, which was tried then.
    pub versions_retried: u64,
    /// Refusals received, and Responses that could not be accepted.
    pub failed: u64,

    /// Paths confirmed as responder by an authentic dcQUIC packet.
    pub confirmed_by_packet: u64,
    /// Half-open paths forgotten.
    pub expired: u64,
    /// Initiations that found no token of [`COOKIELESS_RATE`](crate::COOKIELESS_RATE); a Cookie was due.
    pub cookieless_spent: u64,
    /// Replies not sent because [`REPLY_RATE`](crate::REPLY_RATE) was spent.
    pub replies_spent: u64,
    /// Replies not sent because the last one to the same key was too recent.
    pub reply_gaps: u64,
    /// Replies not sent because [`MESSAGE_QUEUE`](crate::MESSAGE_QUEUE) messages wait.
    pub messages_full: u64,
    /// Attempts made.
    pub attempts: u64,
    /// Messages sent again by a timer.
    pub retransmissions: u64,
    /// Attempts and Confirms that timed out.
    pub timeouts: u64,
    /// Attempts whose Confirmed never came, but authentic packets did.
    pub completed_without_token: u64,
    /// Attempts and half-open paths ended because their secret was removed.
    pub secret_removed: u64,
}

impl Counters {
    /// Datagrams taken; each is in exactly one of the first fields.
    pub fn received(&self) -> u64 {
        [
            self.dropped_type,
            self.dropped_length,
            self.dropped_not_accepting,
            self.dropped_unknown_secret,
            self.dropped_unexpected,
            self.dropped_mac,
            self.dropped_noise,
            self.dropped_own_instance,
            self.dropped_unknown_credential,
            self.dropped_confirm,
            self.dropped_pending_full,
            self.dropped_queue_full,
            self.dropped_handshake_rate,
            self.dropped_busy,
            self.dropped_reply_limit,
            self.duplicates_dropped,
            self.duplicates_answered,
            self.cookies_sent,
            self.refusals_sent,
            self.half_open,
            self.confirmed,
            self.confirms_repeated,
            self.cookies_received,
            self.cookies_dropped,
            self.usable,
            self.completed,
            self.versions_retried,
            self.failed,
        ]
        .into_iter()
        .fold(0, u64::saturating_add)
    }
}

/// Adds one.
pub(crate) fn count(counter: &mut u64) {
    *counter = counter.saturating_add(1);
}
