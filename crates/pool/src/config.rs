//! How much a pool may hold.

use crate::class::MAX_LEN;
use std::{error::Error, fmt};

/// Bounds of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Bytes of all buffers together, lent or free. At least [`MAX_LEN`] more than `reserve_bytes`.
    pub capacity_bytes: usize,
    /// Of it, what [`Purpose::Data`](crate::Purpose::Data) may not touch.
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
