//! What an endpoint's handshakes are configured with, and the numbers that are not configurable (handshake.md section 9).

use crate::parameters::{FEATURE_WIDE_REPLAY_WINDOW, Hello, SUITE_AES_128, SUITE_AES_256, application_tag};
use std::sync::Arc;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;

/// Default of an attempt's and of Confirm's timeout, ns.
pub const HANDSHAKE_TIMEOUT_NS: u64 = 10 * SECOND;
/// First wait before a message is sent again, ns; doubling, ± 20 % at random.
pub const FIRST_RETRANSMIT_NS: u64 = 100 * MS;
/// Longest wait before a message is sent again, ns; ± 20 % at random.
pub const MAX_RETRANSMIT_NS: u64 = 2 * SECOND;
/// How long a cookie is good, ns. Not above `PENDING_LIFETIME_NS`, so that one cookie causes one Diffie-Hellman.
pub const COOKIE_LIFETIME_NS: u64 = 10 * SECOND;
/// How long an entry stays in the pending table, half-open or confirmed, ns.
pub const PENDING_LIFETIME_NS: u64 = 10 * SECOND;
/// Extra packets an attempt may be made to send.
pub const MAX_COOKIES: u8 = 4;
/// Initiations a second answered without a cookie; also the burst.
pub const COOKIELESS_RATE: u32 = 64;
/// Default of Initiations a second accepted; also the burst.
pub const HANDSHAKE_RATE: u32 = 1_000;
/// Cookies, Refusals, Confirmeds and repeated Responses a second.
pub const REPLY_RATE: u32 = 32_768;
/// Replies at once.
pub const REPLY_BURST: u32 = 4_096;
/// Shortest time between two replies for one public key, ns. The specification's 90 ms lie above the shortest first
/// retransmission (100 ms less 20 %), which would then stay unanswered; this lies below.
pub const REPLY_GAP_NS: u64 = 75 * MS;
/// Public keys for which the time of the last reply is kept; 128 KiB.
pub const REPLY_SLOTS: usize = 8_192;
/// Attempts at once.
pub const MAX_ATTEMPTS: usize = 1_024;
/// Queued Initiations handled in one `advance`, so that a due transmission waits for at most that many Diffie-Hellmans.
pub const HANDSHAKES_PER_STEP: usize = 2;
/// Checked Initiations that wait.
pub const HANDSHAKE_QUEUE: usize = 256;
/// Messages that wait to be polled; allocated at the start, so that replies allocate nothing.
pub const MESSAGE_QUEUE: usize = 256;
/// With as many events waiting to be polled, nothing is accepted that would make more.
pub const EVENT_QUEUE: usize = 1_024;

const _: () = assert!(COOKIE_LIFETIME_NS <= PENDING_LIFETIME_NS);
const _: () = assert!(REPLY_GAP_NS < FIRST_RETRANSMIT_NS / 10 * 8);

/// Configuration of an endpoint's handshakes.
#[derive(Clone)]
pub struct Config {
    /// Answer Initiations.
    pub accept: bool,
    /// Label that both sides must have alike.
    pub application: Option<Arc<str>>,
    /// Bytes a peer may send on a stream at first; at most 2^62−1.
    pub initial_max_data: u64,
    /// Streams a peer may have open; 0: none.
    pub max_streams: u32,
    /// Clamped to 1 s … 600 s, in ms; the smaller of both sides' counts.
    pub idle_timeout_ms: u32,
    /// Largest UDP payload we take, clamped to 1200 … 32768 bytes; the smaller of both sides' counts.
    pub max_datagram: u16,
    /// As responder, choose AES-256-GCM where it is offered; as initiator, offer nothing else.
    pub aes_256: bool,
    /// Offer and accept AES-128-GCM. Without it, peers that cannot do AES-256-GCM are refused.
    pub aes_128: bool,
    /// Initiations accepted in a second, and at once.
    pub handshakes_per_second: u32,
    /// Ask every initiator for a cookie: one more round trip, and no Diffie-Hellman for a replayed Initiation.
    pub cookie_always: bool,
    /// Key of our stateless reset tokens; by default the first secret's.
    pub reset_key: Option<[u8; 32]>,
    /// Keep a replay window of 65,536 key ids if the peer does, too.
    pub wide_replay_window: bool,
    /// Version that an attempt begins with. There is only version 1: another number begins with what nobody knows, so that
    /// the way back to a common version is walked before the first peer needs it.
    pub first_version: u8,
    /// A bug: no message is sent again.
    #[cfg(feature = "planted")]
    pub planted: bool,
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("accept", &self.accept)
            .field("application", &self.application)
            .field("handshakes_per_second", &self.handshakes_per_second)
            .field("cookie_always", &self.cookie_always)
            .field("reset_key", &self.reset_key.map(|_| ".."))
            .field("hello", &self.hello([0; 16]))
            .finish()
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            accept: false,
            application: None,
            initial_max_data: 256 << 10,
            max_streams: 1_024,
            idle_timeout_ms: 30_000,
            max_datagram: 1_472,
            aes_256: false,
            aes_128: true,
            handshakes_per_second: HANDSHAKE_RATE,
            cookie_always: false,
            reset_key: None,
            wide_replay_window: true,
            first_version: crate::message::VERSION,
            #[cfg(feature = "planted")]
            planted: false,
        }
    }
}

impl Config {
    /// What we say of ourselves; `suites` and `features` as in an Initiation.
    pub(crate) fn hello(&self, instance: [u8; 16]) -> Hello {
        Hello {
            instance,
            application: application_tag(self.application.as_deref()),
            initial_max_data: self.initial_max_data,
            max_streams: self.max_streams,
            idle_timeout_ms: self.idle_timeout_ms,
            max_datagram: self.max_datagram,
            suites: if self.aes_256 || !self.aes_128 { SUITE_AES_256 } else { SUITE_AES_128 | SUITE_AES_256 },
            features: if self.wide_replay_window { FEATURE_WIDE_REPLAY_WINDOW } else { 0 },
        }
    }

    /// The one suite a responder chooses out of `offered`.
    pub(crate) fn choose_suite(&self, offered: u8) -> Option<u8> {
        let preferred =
            if self.aes_256 { [SUITE_AES_256, SUITE_AES_128] } else { [SUITE_AES_128, SUITE_AES_256] };
        preferred.into_iter().find(|suite| offered & suite != 0 && (self.aes_128 || *suite != SUITE_AES_128))
    }

    /// Bound of the pending table: all that the rate lets in before the first is forgotten.
    pub(crate) fn max_pending(&self) -> usize {
        let lifetime_seconds = usize::try_from(PENDING_LIFETIME_NS / SECOND).unwrap_or(usize::MAX);
        let rate = usize::try_from(self.handshakes_per_second).unwrap_or(usize::MAX);
        rate.saturating_add(rate.saturating_mul(lifetime_seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites() {
        let default = Config::default();
        let prefers = Config { aes_256: true, ..Config::default() };
        let strict = Config { aes_256: true, aes_128: false, ..Config::default() };
        let offers = |config: &Config| config.hello([0; 16]).suites;
        assert_eq!([offers(&default), offers(&prefers), offers(&strict)], [3, 2, 2]);
        let choices = |config: &Config| [0, 1, 2, 3, 4, 7].map(|offered| config.choose_suite(offered));
        assert_eq!(choices(&default), [None, Some(1), Some(2), Some(1), None, Some(1)]);
        assert_eq!(choices(&prefers), [None, Some(1), Some(2), Some(2), None, Some(2)]);
        assert_eq!(choices(&strict), [None, None, Some(2), Some(2), None, Some(2)]);
    }

    #[test]
    fn pending_bound_of_the_default() {
        assert_eq!(Config::default().max_pending(), 11_000);
    }
}
