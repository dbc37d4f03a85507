//! What the sides say of themselves: 64 bytes, sealed, the same layout both ways (handshake.md section 3, Parameters).

use crate::bytes::{put, take};
use paceline_wire::crypto::sha256;

/// AES-128-GCM with SHA-256.
pub(crate) const SUITE_AES_128: u8 = 1 << 0;
/// AES-256-GCM with SHA-384.
pub(crate) const SUITE_AES_256: u8 = 1 << 1;
/// Replay window of 65,536 key ids (design.md section 6).
pub(crate) const FEATURE_WIDE_REPLAY_WINDOW: u32 = 1 << 0;

/// dcQUIC's largest varint.
const MAX_DATA: u64 = (1 << 62) - 1;
const IDLE_TIMEOUT_MS: std::ops::RangeInclusive<u32> = 1_000..=600_000;
const DATAGRAM_BYTES: std::ops::RangeInclusive<u16> = 1_200..=32_768;

/// What both sides agreed on, as the side that holds it sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// Bytes that we may send on a stream before the peer grants more.
    pub initial_max_data: u64,
    /// Streams that we may have open at the peer; 0: none.
    pub max_streams: u32,
    /// The smaller of both sides', 1 s to 600 s, in ms.
    pub idle_timeout_ms: u32,
    /// The smaller of both sides' largest UDP payload, 1200 to 32768 bytes.
    pub max_datagram: u16,
    /// Both sides keep a replay window of 65,536 key ids.
    pub wide_replay_window: bool,
}

/// Parameters as they travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) instance: [u8; 16],
    pub(crate) application: [u8; 16],
    pub(crate) initial_max_data: u64,
    pub(crate) max_streams: u32,
    pub(crate) idle_timeout_ms: u32,
    pub(crate) max_datagram: u16,
    pub(crate) suites: u8,
    pub(crate) features: u32,
}

impl Hello {
    pub(crate) fn encode(&self) -> [u8; 64] {
        let mut bytes = [0; 64];
        put::<0, 16, _>(&mut bytes, &self.instance);
        put::<16, 16, _>(&mut bytes, &self.application);
        put::<32, 8, _>(&mut bytes, &self.initial_max_data.to_be_bytes());
        put::<40, 4, _>(&mut bytes, &self.max_streams.to_be_bytes());
        put::<44, 4, _>(&mut bytes, &self.idle_timeout_ms.to_be_bytes());
        put::<48, 2, _>(&mut bytes, &self.max_datagram.to_be_bytes());
        put::<50, 1, _>(&mut bytes, &[self.suites]);
        put::<52, 4, _>(&mut bytes, &self.features.to_be_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; 64]) -> Self {
        let [suites] = take::<50, 1, _>(bytes);
        Self {
            instance: take::<0, 16, _>(bytes),
            application: take::<16, 16, _>(bytes),
            initial_max_data: u64::from_be_bytes(take::<32, 8, _>(bytes)),
            max_streams: u32::from_be_bytes(take::<40, 4, _>(bytes)),
            idle_timeout_ms: u32::from_be_bytes(take::<44, 4, _>(bytes)),
            max_datagram: u16::from_be_bytes(take::<48, 2, _>(bytes)),
            suites,
            features: u32::from_be_bytes(take::<52, 4, _>(bytes)),
        }
    }

    /// What `own` may do with the peer that sent this. Every value is clamped, so that an insider's cannot do harm.
    pub(crate) fn agree(&self, own: &Self) -> Parameters {
        let idle = |ms: u32| ms.clamp(*IDLE_TIMEOUT_MS.start(), *IDLE_TIMEOUT_MS.end());
        let datagram = |bytes: u16| bytes.clamp(*DATAGRAM_BYTES.start(), *DATAGRAM_BYTES.end());
        Parameters {
            initial_max_data: self.initial_max_data.min(MAX_DATA),
            max_streams: self.max_streams,
            idle_timeout_ms: idle(self.idle_timeout_ms).min(idle(own.idle_timeout_ms)),
            max_datagram: datagram(self.max_datagram).min(datagram(own.max_datagram)),
            wide_replay_window: self.features & own.features & FEATURE_WIDE_REPLAY_WINDOW != 0,
        }
    }
}

/// What stands for an application's label; zero without one.
pub(crate) fn application_tag(label: Option<&str>) -> [u8; 16] {
    label.map_or([0; 16], |label| take::<0, 16, _>(&sha256(&[b"paceline application", label.as_bytes()])))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello() -> Hello {
        Hello {
            instance: [1; 16],
            application: [2; 16],
            initial_max_data: 3,
            max_streams: 4,
            idle_timeout_ms: 5_000,
            max_datagram: 1_500,
            suites: 7,
            features: 0x8000_0001,
        }
    }

    #[test]
    fn travels_unchanged() {
        assert_eq!(Hello::decode(&hello().encode()), hello());
        // Zero bytes are ignored on receipt.
        let mut bytes = hello().encode();
        (bytes[51], bytes[56], bytes[63]) = (1, 2, 3);
        assert_eq!(Hello::decode(&bytes), hello());
    }

    #[test]
    fn extremes_are_clamped() {
        let low = Hello { initial_max_data: u64::MAX, idle_timeout_ms: 0, max_datagram: 0, ..hello() };
        let agreed = low.agree(&hello());
        assert_eq!(
            (agreed.initial_max_data, agreed.idle_timeout_ms, agreed.max_datagram),
            (MAX_DATA, 1_000, 1_200)
        );
        let high = Hello { idle_timeout_ms: u32::MAX, max_datagram: u16::MAX, ..hello() };
        let agreed = high.agree(&high);
        assert_eq!((agreed.idle_timeout_ms, agreed.max_datagram), (600_000, 32_768));
        let agreed = high.agree(&hello());
        assert_eq!((agreed.idle_timeout_ms, agreed.max_datagram), (5_000, 1_500));
    }

    #[test]
    fn the_wide_window_needs_both() {
        let without = Hello { features: 0, ..hello() };
        assert!(hello().agree(&hello()).wide_replay_window);
        assert!(!hello().agree(&without).wide_replay_window);
        assert!(!without.agree(&hello()).wide_replay_window);
    }
}
