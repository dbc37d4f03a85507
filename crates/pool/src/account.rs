//! Who has how much out.

use crate::pool::Pool;
use std::sync::{
    Weak,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

/// The bytes that a pool has lent to one borrower, by class size: each buffer counts from the moment it is taken until it is home.
#[derive(Debug)]
pub struct Account {
    /// Weak: a pool that is gone frees what was lent when it comes back.
    pool: Weak<Pool>,
    /// Changes only under the pool's mutex.
    lent_bytes: AtomicUsize,
}

impl Account {
    pub(crate) const fn new(pool: Weak<Pool>) -> Self {
        Self { pool, lent_bytes: AtomicUsize::new(0) }
    }

    /// Bytes that are out.
    pub fn lent_bytes(&self) -> usize {
        self.lent_bytes.load(Relaxed)
    }

    pub(crate) const fn pool(&self) -> &Weak<Pool> {
        &self.pool
    }

    pub(crate) fn lend(&self, bytes: usize) {
        self.lent_bytes.fetch_add(bytes, Relaxed);
    }

    pub(crate) fn come_home(&self, bytes: usize) {
        self.lent_bytes.fetch_sub(bytes, Relaxed);
    }
}
