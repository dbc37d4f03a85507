//! What both roles of an endpoint share.

use crate::{
    config::{Config, EVENT_QUEUE, MESSAGE_QUEUE},
    counters::{Counters, count},
    event::Event,
    message::Message,
    parameters::Hello,
    secret::Accepted,
};
use paceline_wire::{CredentialId, crypto::reset_token};
use std::collections::VecDeque;
use zeroize::Zeroizing;

/// The environment's random source.
pub(crate) type Random<'a> = &'a mut dyn FnMut(&mut [u8]);

/// `N` random bytes.
pub(crate) fn draw<const N: usize>(random: Random<'_>) -> [u8; N] {
    let mut bytes = [0; N];
    random(&mut bytes);
    bytes
}

/// A random private key.
pub(crate) fn draw_key(random: Random<'_>) -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0; 32]);
    random(&mut *key);
    key
}

/// Key of our reset tokens, and whether a later secret may replace it.
#[derive(Clone)]
pub(crate) enum ResetKey {
    Configured(Zeroizing<[u8; 32]>),
    /// Of the first secret there was. An endpoint that only opens has none of its own, but meets the same after a restart.
    FromSecret(Zeroizing<[u8; 32]>),
    /// Nothing to derive it from yet: tokens that nobody can make.
    Random(Zeroizing<[u8; 32]>),
}

#[derive(Debug)]
pub(crate) struct Common {
    pub(crate) config: Config,
    pub(crate) hello: Hello,
    pub(crate) secrets: Accepted,
    pub(crate) reset_key: ResetKey,
    pub(crate) counters: Counters,
    messages: VecDeque<Message>,
    events: VecDeque<Event>,
}

impl Common {
    pub(crate) fn new(config: Config, instance: [u8; 16], secrets: Accepted, reset_key: ResetKey) -> Self {
        Self {
            hello: config.hello(instance),
            config,
            secrets,
            reset_key,
            counters: Counters::default(),
            messages: VecDeque::with_capacity(MESSAGE_QUEUE),
            events: VecDeque::new(),
        }
    }

    pub(crate) fn reset_token(&self, id: &CredentialId) -> [u8; 16] {
        let (ResetKey::Configured(key) | ResetKey::FromSecret(key) | ResetKey::Random(key)) = &self.reset_key;
        reset_token(key, id)
    }

    pub(crate) fn messages_full(&self) -> bool {
        self.messages.len() >= MESSAGE_QUEUE
    }

    /// Whether something that makes events has to wait until the endpoint has polled some.
    pub(crate) fn events_full(&self) -> bool {
        self.events.len() >= EVENT_QUEUE
    }

    /// Queues a message. When the queue is full it is lost, as the network might have lost it.
    pub(crate) fn send(&mut self, message: Message) {
        if self.messages_full() {
            count(&mut self.counters.messages_full);
        } else {
            self.messages.push_back(message);
        }
    }

    pub(crate) fn tell(&mut self, event: Event) {
        self.events.push_back(event);
    }

    pub(crate) fn poll_message(&mut self) -> Option<Message> {
        self.messages.pop_front()
    }

    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.messages.is_empty() && self.events.is_empty()
    }
}

impl std::fmt::Debug for ResetKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ResetKey(..)")
    }
}
