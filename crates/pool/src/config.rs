//! How much a pool may hold.

use crate::{class::MAX_LEN, pool::Purpose};
use std::{error::Error, fmt};

/// Of the reserve, beside what receiving needs, this part is not for retransmissions: 240 KiB of 1 MiB, 120 acknowledgements.
const CONTROL_SHARE: usize = 4;

/// Bounds of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Bytes of all buffers together, lent or free. At least [`MAX_LEN`] more than `reserve_bytes`.
    pub capacity_bytes: usize,
    /// Of it, what [`Purpose::Data`] may not touch. Below [`MAX_LEN`] receiving has no descriptor that is its own.
    pub reserve_bytes: usize,
}

/// A pool that could never lend a buffer of the largest class for data: whoever waits for one would wait for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// `capacity_bytes` is less than one buffer of [`MAX_LEN`].
    CapacityTooSmall {
        /// What was asked for.
        capacity_bytes: usize,
    },
    /// `reserve_bytes` leaves less than one buffer of [`MAX_LEN`] for data.
    ReserveTooLarge {
        /// What was asked for.
        reserve_bytes: usize,
        /// What this capacity allows.
        maximum: usize,
    },
}

impl Config {
    /// Bytes that are for receiving alone.
    pub(crate) fn receive_bytes(self) -> usize {
        self.reserve_bytes.min(MAX_LEN)
    }

    /// Bytes that may be lent in all, one descriptor for receiving not counted, once `purpose` has been served.
    pub fn ceiling(self, purpose: Purpose) -> usize {
        let Self { capacity_bytes, reserve_bytes } = self;
        let receive = self.receive_bytes();
        let control = (reserve_bytes - receive) / CONTROL_SHARE;
        capacity_bytes
            - match purpose {
                Purpose::Data => reserve_bytes,
                Purpose::Retransmission => receive + control,
                Purpose::Control => receive,
                Purpose::Receive => 0,
            }
    }

    pub(crate) const fn check(self) -> Result<Self, ConfigError> {
        let Self { capacity_bytes, reserve_bytes } = self;
        let Some(maximum) = capacity_bytes.checked_sub(MAX_LEN) else {
            return Err(ConfigError::CapacityTooSmall { capacity_bytes });
        };
        if reserve_bytes > maximum {
            return Err(ConfigError::ReserveTooLarge { reserve_bytes, maximum });
        }
        Ok(self)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CapacityTooSmall { capacity_bytes } => {
                write!(f, "a pool of {capacity_bytes} bytes cannot hold one buffer of {MAX_LEN} bytes")
            }
            Self::ReserveTooLarge { reserve_bytes, maximum } => {
                write!(
                    f,
                    "a reserve of {reserve_bytes} bytes is more than the {maximum} that this pool allows"
                )
            }
        }
    }
}

impl Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_purpose_leaves_what_the_next_needs() {
        let ceilings = |capacity_bytes, reserve_bytes| {
            let config = Config { capacity_bytes, reserve_bytes };
            [Purpose::Data, Purpose::Retransmission, Purpose::Control, Purpose::Receive]
                .map(|purpose| (capacity_bytes - config.ceiling(purpose)) >> 10)
        };
        assert_eq!(ceilings(32 << 20, 1 << 20), [1024, 304, 64, 0]);
        assert_eq!(ceilings(320 << 10, 128 << 10), [128, 80, 64, 0]);
        assert_eq!(ceilings(320 << 10, 64 << 10), [64, 64, 64, 0]);
        assert_eq!(ceilings(320 << 10, 2 << 10), [2, 2, 2, 0]);
        assert_eq!(ceilings(64 << 10, 0), [0; 4]);
    }

    #[test]
    fn refuses_what_could_never_lend() {
        let check = |capacity_bytes, reserve_bytes| Config { capacity_bytes, reserve_bytes }.check().err();
        assert_eq!(check(MAX_LEN, 0), None);
        assert_eq!(check(MAX_LEN + 5, 5), None);
        assert_eq!(check(usize::MAX, usize::MAX - MAX_LEN), None);
        assert_eq!(
            check(MAX_LEN - 1, 0),
            Some(ConfigError::CapacityTooSmall { capacity_bytes: MAX_LEN - 1 })
        );
        let too_large = ConfigError::ReserveTooLarge { reserve_bytes: 6, maximum: 5 };
        assert_eq!(check(MAX_LEN + 5, 6), Some(too_large));
        assert!(too_large.to_string().contains("reserve of 6 bytes"));
    }
}
