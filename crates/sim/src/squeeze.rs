//! An environment that takes descriptors away from its own worker, so that the pool really runs dry.

use paceline_transport::pool::{CLASS_BYTES, Config, Pool, Purpose, Unfilled};
use std::sync::Arc;

/// Descriptors taken from a pool.
#[derive(Debug)]
pub(crate) struct Squeeze {
    /// When they go back, virtual time.
    pub(crate) until_ns: u64,
    /// Bytes lent from which on nothing more is taken.
    ceiling: usize,
    purpose: Purpose,
    taken: Vec<Unfilled>,
    /// Refusals before it began.
    refused_before: u64,
}

impl Squeeze {
    /// Leaves `keep_bytes` for data, or, with `reserve`, for all purposes but receiving.
    pub(crate) fn new(
        pool: &Arc<Pool>,
        config: &Config,
        keep_bytes: usize,
        reserve: bool,
        until_ns: u64,
    ) -> Self {
        let purpose = if reserve { Purpose::Control } else { Purpose::Data };
        Self {
            until_ns,
            ceiling: config.ceiling(purpose).saturating_sub(keep_bytes),
            purpose,
            taken: Vec::new(),
            refused_before: pool.stats().exhausted,
        }
    }

    /// Takes what is there, and no more than there is, so that every refusal is the worker's.
    pub(crate) fn press(&mut self, pool: &Arc<Pool>) {
        let mut room = self.ceiling.saturating_sub(pool.stats().lent_bytes);
        for size in CLASS_BYTES.into_iter().rev() {
            while room >= size {
                let Ok(unfilled) = pool.take(size, self.purpose) else { return };
                self.taken.push(unfilled);
                room -= size;
            }
        }
    }

    /// Requests refused since it began.
    pub(crate) fn refused(&self, pool: &Arc<Pool>) -> u64 {
        pool.stats().exhausted - self.refused_before
    }

    /// Descriptors taken.
    pub(crate) fn taken(&self) -> usize {
        self.taken.len()
    }
}
