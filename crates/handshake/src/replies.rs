//! What a responder sends: never more than the budget, never twice in a moment to one public key.

use crate::{
    budget::{Budget, ReplyGap},
    common::Common,
    config::{REPLY_BURST, REPLY_RATE},
    counters::{Counters, count},
    message::{self, Message},
    responder::Source,
    secret::Secret,
};

/// The limits of all replies but first Responses, which `handshakes_per_second` limits.
#[derive(Debug)]
pub(crate) struct Replies {
    budget: Budget,
    gap: ReplyGap,
}

impl Replies {
    pub(crate) fn new(now_ns: u64) -> Self {
        Self { budget: Budget::new(REPLY_RATE, REPLY_BURST, now_ns), gap: ReplyGap::new() }
    }

    /// Answers if the budget lets it.
    pub(crate) fn send(&mut self, common: &mut Common, now_ns: u64, reply: Message) {
        if take(&mut self.budget, common, now_ns) {
            common.send(reply);
        }
    }

    /// Says no.
    pub(crate) fn refuse(
        &mut self,
        common: &mut Common,
        now_ns: u64,
        source: Source,
        secret: &Secret,
        attempt: &[u8; 8],
        reason: u8,
    ) {
        if !take(&mut self.budget, common, now_ns) {
            return count(&mut common.counters.dropped_reply_limit);
        }
        count(&mut common.counters.refusals_sent);
        common.send(Message::new(source.remote, source.local, &message::refusal(secret, attempt, reason)));
    }

    /// Answers a public key, unless it was answered a moment ago.
    pub(crate) fn once_per_gap(
        &mut self,
        common: &mut Common,
        now_ns: u64,
        public_key: &[u8; 32],
        reply: &Message,
        counter: fn(&mut Counters) -> &mut u64,
    ) {
        let Some(slot) = self.gap.slot(now_ns, public_key) else {
            count(&mut common.counters.reply_gaps);
            return count(&mut common.counters.dropped_reply_limit);
        };
        if !take(&mut self.budget, common, now_ns) {
            return count(&mut common.counters.dropped_reply_limit);
        }
        slot.answered(now_ns);
        count(counter(&mut common.counters));
        common.send(reply.clone());
    }
}

/// Takes a token of all replies together; false also when there is no room for the reply.
fn take(budget: &mut Budget, common: &mut Common, now_ns: u64) -> bool {
    if common.messages_full() {
        count(&mut common.counters.messages_full);
        return false;
    }
    let taken = budget.take(now_ns);
    if !taken {
        count(&mut common.counters.replies_spent);
    }
    taken
}
