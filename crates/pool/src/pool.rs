//! The budget, and the buffers that are at home.

use crate::{
    class::Class,
    config::{Config, ConfigError},
    descriptor::Unfilled,
    slot::{Handle, Slot},
    sync::{self, Mutex, MutexGuard},
};
use std::{
    error::Error,
    fmt,
    sync::{Arc, PoisonError},
};

/// What a buffer is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Stream data: may not touch the reserve.
    Data,
    /// Retransmissions, acknowledgements, receiving: what lets memory come back.
    Reserved,
}

/// The pool has nothing to lend for this purpose now, or nothing this long ever ([`MAX_LEN`](crate::MAX_LEN)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted;

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the packet pool is exhausted")
    }
}

impl Error for Exhausted {}

/// A pool's state at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Buffers that are out.
    pub lent: usize,
    /// Their bytes, by class size.
    pub lent_bytes: usize,
    /// The most that was out at once, in bytes by class size.
    pub peak_bytes: usize,
    /// Bytes of all buffers, out or at home. Never more than `capacity_bytes`.
    pub allocated_bytes: usize,
    /// The bound.
    pub capacity_bytes: usize,
    /// Requests refused since the pool was made.
    pub exhausted: u64,
}

/// Lends buffers. See the crate's documentation for classes, memory and the reserve.
#[derive(Debug)]
pub struct Pool {
    config: Config,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Buffers at home, by class. Each is held by nobody else.
    home: [Vec<sync::Arc<Slot>>; Class::ALL.len()],
    /// Buffers in existence, by class.
    existing: [usize; Class::ALL.len()],
    allocated_bytes: usize,
    lent: usize,
    lent_bytes: usize,
    peak_bytes: usize,
    exhausted: u64,
    #[cfg(feature = "planted")]
    planted: bool,
}

impl Pool {
    /// A pool that has allocated nothing yet.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when the bounds could never lend the largest buffer for data.
    pub fn new(config: Config) -> Result<Arc<Self>, ConfigError> {
        Ok(Arc::new(Self { config: config.check()?, state: Mutex::default() }))
    }

    /// Lends a buffer of the smallest class that holds `len` bytes.
    ///
    /// # Errors
    ///
    /// [`Exhausted`] when the bound, or the reserve, leaves no room, and when `len` is more than
    /// [`MAX_LEN`](crate::MAX_LEN).
    pub fn take(self: &Arc<Self>, len: usize, purpose: Purpose) -> Result<Unfilled, Exhausted> {
        let Config { capacity_bytes, reserve_bytes } = self.config;
        let ceiling = match purpose {
            Purpose::Data => capacity_bytes - reserve_bytes,
            Purpose::Reserved => capacity_bytes,
        };
        let mut state = self.lock();
        let granted = Class::fitting(len)
            // What is lent for `Reserved` may stand above the ceiling for data.
            .filter(|class| class.bytes() <= ceiling.saturating_sub(state.lent_bytes))
            .and_then(|class| Some((class, state.lend(class, capacity_bytes)?)));
        let Some((class, slot)) = granted else {
            state.exhausted += 1;
            return Err(Exhausted);
        };
        drop(state);
        // A new buffer is paid for already, so it can be allocated without holding up the others.
        let slot = slot.unwrap_or_else(|| Slot::new(class.bytes(), Arc::downgrade(self)));
        Ok(Unfilled::new(Handle::new(slot)))
    }

    /// How things stand.
    pub fn stats(&self) -> Stats {
        let state = self.lock();
        Stats {
            lent: state.lent,
            lent_bytes: state.lent_bytes,
            peak_bytes: state.peak_bytes,
            allocated_bytes: state.allocated_bytes,
            capacity_bytes: self.config.capacity_bytes,
            exhausted: state.exhausted,
        }
    }

    /// Takes a buffer back from its last holder.
    pub(crate) fn come_home(&self, slot: sync::Arc<Slot>) {
        let class = Class::of(slot.buffer());
        let mut state = self.lock();
        state.lent -= 1;
        state.lent_bytes -= class.bytes();
        state.home[class as usize].push(slot);
    }

    /// Plants a bug: free buffers of one class make no room for another.
    #[cfg(feature = "planted")]
    pub fn plant(&self) {
        self.lock().planted = true;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held, and if something did, every statement leaves numbers that bound memory.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Books a buffer of this class as lent: one from home, or room for a new one (`Some(None)`).
    ///
    /// The caller has checked `lent_bytes`, so there is room if everything at home is released.
    fn lend(&mut self, class: Class, capacity_bytes: usize) -> Option<Option<sync::Arc<Slot>>> {
        let slot = self.home[class as usize].pop();
        if slot.is_none() {
            while class.bytes() > capacity_bytes - self.allocated_bytes {
                #[cfg(feature = "planted")]
                if self.planted {
                    return None;
                }
                self.release_one()?;
            }
            self.allocated_bytes += class.bytes();
            let existing = &mut self.existing[class as usize];
            *existing += 1;
            // Room in the list is made now, where memory is allocated anyway, so that coming home never has to.
            let existing = *existing;
            self.home[class as usize].reserve(existing);
        }
        self.lent += 1;
        self.lent_bytes += class.bytes();
        self.peak_bytes = self.peak_bytes.max(self.lent_bytes);
        Some(slot)
    }

    /// Frees a buffer at home; a large one first, since that makes the most room with the fewest.
    fn release_one(&mut self) -> Option<()> {
        for class in Class::ALL.into_iter().rev() {
            if let Some(slot) = self.home[class as usize].pop() {
                Slot::release(slot);
                self.existing[class as usize] -= 1;
                self.allocated_bytes -= class.bytes();
                return Some(());
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1 << 10;

    fn pool(capacity_bytes: usize, reserve_bytes: usize) -> Arc<Pool> {
        Pool::new(Config { capacity_bytes, reserve_bytes }).unwrap()
    }

    #[test]
    fn data_leaves_the_reserve() {
        let pool = pool(192 * KIB, 64 * KIB);
        let data: Vec<_> = std::iter::from_fn(|| pool.take(64 * KIB, Purpose::Data).ok()).collect();
        assert_eq!(data.len(), 2);
        assert_eq!(pool.take(1, Purpose::Data).err(), Some(Exhausted), "not even the smallest");
        let reserved: Vec<_> = std::iter::from_fn(|| pool.take(1_500, Purpose::Reserved).ok()).collect();
        assert_eq!(reserved.len(), 32);
        let stats = pool.stats();
        assert_eq!((stats.lent, stats.lent_bytes, stats.allocated_bytes), (34, 192 * KIB, 192 * KIB));
        assert_eq!(stats.exhausted, 3);
        drop((data, reserved));
        let stats = pool.stats();
        assert_eq!((stats.lent, stats.lent_bytes, stats.peak_bytes), (0, 0, 192 * KIB), "the peak stays");
    }

    #[test]
    fn what_is_lent_for_reserved_counts_against_data() {
        let pool = pool(128 * KIB, 64 * KIB);
        let _receiving =
            (pool.take(64 * KIB, Purpose::Reserved).unwrap(), pool.take(1, Purpose::Reserved).unwrap());
        assert_eq!(pool.take(1, Purpose::Data).err(), Some(Exhausted));
    }

    #[test]
    fn free_buffers_of_another_class_make_room() {
        let pool = pool(128 * KIB, 0);
        let small: Vec<_> = std::iter::from_fn(|| pool.take(1, Purpose::Data).ok()).collect();
        assert_eq!(small.len(), 64);
        drop(small);
        assert_eq!(pool.stats().allocated_bytes, 128 * KIB);
        let large = pool.take(64 * KIB, Purpose::Data).unwrap();
        assert_eq!(large.capacity(), 64 * KIB);
        assert_eq!(pool.stats().allocated_bytes, 128 * KIB, "no more released than needed");
        let medium: Vec<_> = std::iter::from_fn(|| pool.take(3 * KIB, Purpose::Data).ok()).collect();
        assert_eq!((medium.len(), pool.stats().allocated_bytes), (4, 128 * KIB));
    }

    #[test]
    fn longer_than_any_buffer() {
        let pool = pool(1 << 20, 0);
        assert_eq!(pool.take(64 * KIB + 1, Purpose::Reserved).err(), Some(Exhausted));
        assert_eq!(pool.take(usize::MAX, Purpose::Reserved).err(), Some(Exhausted));
        assert_eq!(pool.stats(), Stats { capacity_bytes: 1 << 20, exhausted: 2, ..Stats::default() });
    }
}
