//! How much may be sent to an address that has not proved that it receives (handshake.md §6, RFC 9000 §8.1).

/// Bytes sent for a byte received, at most.
const AMPLIFICATION: u64 = 3;

/// A probe, a close, an acknowledgement or a small packet: an unproven address that leaves less than this gets nothing. Three
/// times the smallest first packet, less its acknowledgement, is more: something that asks for an answer must fit, or both sides
/// wait.
const LEAST_ROOM: u64 = 128;

/// Whether the path's address has proved that it receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// By the handshake, or by an acknowledgement.
    Validated,
    /// The confirming packet came from an address to which nothing had been sent.
    Unproven {
        /// UDP payload bytes that came from it, authentic ones.
        received: u64,
        /// UDP payload bytes scheduled to it.
        sent: u64,
    },
}

impl Address {
    pub(crate) fn new(validated: bool) -> Self {
        if validated { Self::Validated } else { Self::Unproven { received: 0, sent: 0 } }
    }

    pub(crate) fn is_validated(self) -> bool {
        self == Self::Validated
    }

    /// Bytes that may leave now.
    pub(crate) fn room(self) -> u64 {
        match self {
            Self::Validated => u64::MAX,
            Self::Unproven { received, sent } => received.saturating_mul(AMPLIFICATION).saturating_sub(sent),
        }
    }

    /// Whether anything may leave now.
    pub(crate) fn has_room(self) -> bool {
        self.room() >= LEAST_ROOM
    }

    pub(crate) fn on_received(&mut self, bytes: u64) {
        if let Self::Unproven { received, .. } = self {
            *received = received.saturating_add(bytes);
        }
    }

    pub(crate) fn on_scheduled(&mut self, bytes: u64) {
        if let Self::Unproven { sent, .. } = self {
            *sent = sent.saturating_add(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_times_what_came_until_it_is_validated() {
        let mut address = Address::new(false);
        assert_eq!(address.room(), 0);
        address.on_received(100);
        address.on_scheduled(250);
        assert_eq!(address.room(), 50);
        address.on_scheduled(51);
        assert_eq!(address.room(), 0);
        assert_eq!(Address::new(true).room(), u64::MAX);
    }
}
