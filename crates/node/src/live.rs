//! What is alive in this process, over all environments: for tests that look for leaks.

use paceline_transport::pool::Pool;
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, Weak,
    atomic::{AtomicUsize, Ordering},
};

static DRIVERS: AtomicUsize = AtomicUsize::new(0);
static THREADS: AtomicUsize = AtomicUsize::new(0);
/// Pools that may be alive; a dead one's entry goes when the next pool comes.
static POOLS: Mutex<Vec<Weak<Pool>>> = Mutex::new(Vec::new());

/// Counts one for as long as it lives.
#[derive(Debug)]
pub(crate) struct Token(&'static AtomicUsize);

impl Token {
    fn new(counter: &'static AtomicUsize) -> Self {
        counter.fetch_add(1, Ordering::SeqCst);
        Self(counter)
    }

    /// Held by a driver until it is closed.
    pub(crate) fn driver() -> Self {
        Self::new(&DRIVERS)
    }

    /// Held by what the thread owns and drops last.
    pub(crate) fn thread() -> Self {
        Self::new(&THREADS)
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A moment's counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Live {
    pub(crate) drivers: usize,
    pub(crate) threads: usize,
    pub(crate) pools: usize,
    pub(crate) lent_descriptors: usize,
    pub(crate) pool_bytes: usize,
}

fn pools() -> MutexGuard<'static, Vec<Weak<Pool>>> {
    POOLS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts this pool from now on.
pub(crate) fn watch(pool: &Arc<Pool>) {
    let mut pools = pools();
    pools.retain(|pool| pool.strong_count() > 0);
    pools.push(Arc::downgrade(pool));
}

pub(crate) fn now() -> Live {
    let mut live = Live {
        drivers: DRIVERS.load(Ordering::SeqCst),
        threads: THREADS.load(Ordering::SeqCst),
        ..Live::default()
    };
    for pool in pools().iter().filter_map(Weak::upgrade) {
        let stats = pool.stats();
        live.pools += 1;
        live.lent_descriptors += stats.lent;
        live.pool_bytes += stats.allocated_bytes;
    }
    live
}

#[cfg(test)]
mod tests {
    use super::*;
    use paceline_transport::pool::{Config, Purpose};

    #[test]
    fn counts_what_is_alive() {
        let before = now();
        let pool = Pool::new(Config { capacity_bytes: 1 << 20, reserve_bytes: 0 }).expect("a pool");
        watch(&pool);
        let (driver, thread) = (Token::driver(), Token::thread());
        let descriptor = pool.take(1000, Purpose::Data).expect("a descriptor");
        let live = now();
        assert_eq!(live.drivers, before.drivers + 1);
        assert_eq!(live.threads, before.threads + 1);
        assert_eq!(live.pools, before.pools + 1);
        assert_eq!(live.lent_descriptors, before.lent_descriptors + 1);
        assert!(live.pool_bytes >= 1000);
        drop((driver, thread, descriptor, pool));
        assert_eq!(now(), before);
    }
}
