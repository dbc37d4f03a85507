//! The budget, and the buffers that are at home.

use crate::{
    account::Account,
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
    /// Copies of lost packets, which are kept as long as data is: leave what the two below need.
    Retransmission,
    /// What lets memory come back and is not kept: acknowledgements, probes, handshakes. Leaves what receiving needs.
    Control,
    /// Whatever arrives: nobody else may take the last descriptor of [`MAX_LEN`](crate::MAX_LEN).
    Receive,
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
    /// What was taken for [`Purpose::Receive`].
    receiving: Arc<Account>,
    /// What was taken for anything else.
    unnamed: Arc<Account>,
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
        let config = config.check()?;
        Ok(Arc::new_cyclic(|pool| {
            let account = || Arc::new(Account::new(pool.clone()));
            Self { config, receiving: account(), unnamed: account(), state: Mutex::default() }
        }))
    }

    /// Lends a buffer of the smallest class that holds `len` bytes.
    ///
    /// # Errors
    ///
    /// [`Exhausted`] when the bound, or the reserve, leaves no room, and when `len` is more than
    /// [`MAX_LEN`](crate::MAX_LEN).
    pub fn take(self: &Arc<Self>, len: usize, purpose: Purpose) -> Result<Unfilled, Exhausted> {
        let account = if purpose == Purpose::Receive { &self.receiving } else { &self.unnamed };
        self.take_on(account, len, purpose)
    }

    /// An account for whoever needs to know, or to bound, what he has out.
    pub fn account(self: &Arc<Self>) -> Arc<Account> {
        Arc::new(Account::new(Arc::downgrade(self)))
    }

    /// The same on somebody's account, one of this pool's; not for [`Purpose::Receive`].
    ///
    /// # Errors
    ///
    /// As for [`take`](Self::take).
    pub fn take_on(
        self: &Arc<Self>,
        account: &Arc<Account>,
        len: usize,
        purpose: Purpose,
    ) -> Result<Unfilled, Exhausted> {
        let ceiling = self.config.ceiling(purpose);
        let mut state = self.lock();
        let lent_bytes = if purpose == Purpose::Receive {
            state.lent_bytes
        } else {
            // What arrives stands where nobody else may: it takes nothing from an answer to it.
            let own = self.config.receive_bytes();
            state.lent_bytes - self.receiving.lent_bytes().min(own)
        };
        let granted = Class::fitting(len)
            // What is lent for another purpose may stand above this one's ceiling.
            .filter(|class| class.bytes() <= ceiling.saturating_sub(lent_bytes))
            .and_then(|class| Some((class, state.lend(class, self.config.capacity_bytes)?)));
        let Some((class, slot)) = granted else {
            state.exhausted += 1;
            return Err(Exhausted);
        };
        account.lend(class.bytes());
        drop(state);
        let account = Arc::clone(account);
        // A new buffer is paid for already, so it can be allocated without holding up the others.
        let slot = match slot {
            Some(slot) => Slot::lend(slot, account),
            None => Slot::new(class.bytes(), account),
        };
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
        slot.account().come_home(class.bytes());
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
        let reserved: Vec<_> = std::iter::from_fn(|| pool.take(1_500, Purpose::Receive).ok()).collect();
        assert_eq!(reserved.len(), 32);
        let stats = pool.stats();
        assert_eq!((stats.lent, stats.lent_bytes, stats.allocated_bytes), (34, 192 * KIB, 192 * KIB));
        assert_eq!(stats.exhausted, 3);
        drop((data, reserved));
        let stats = pool.stats();
        assert_eq!((stats.lent, stats.lent_bytes, stats.peak_bytes), (0, 0, 192 * KIB), "the peak stays");
    }

    #[test]
    fn what_is_lent_from_the_reserve_counts_against_data() {
        let pool = pool(256 * KIB, 192 * KIB);
        let _copies = [pool.take(64 * KIB, Purpose::Retransmission), pool.take(1, Purpose::Control)];
        assert_eq!(pool.take(1, Purpose::Data).err(), Some(Exhausted));
    }

    #[test]
    fn what_arrived_takes_nothing_from_the_answer_and_nobody_takes_its_room() {
        let pool = pool(256 * KIB, 128 * KIB);
        let burst = pool.take(64 * KIB, Purpose::Receive).unwrap();
        let answers: Vec<_> = std::iter::from_fn(|| pool.take(1, Purpose::Control).ok()).collect();
        assert_eq!((answers.len(), pool.stats().lent_bytes), (96, 256 * KIB));
        drop(burst);
        assert_eq!(pool.take(1, Purpose::Control).err(), Some(Exhausted));
        let burst = pool.take(64 * KIB, Purpose::Receive).unwrap();
        assert_eq!(pool.take(1, Purpose::Receive).err(), Some(Exhausted));
        drop((burst, answers));
    }

    #[test]
    fn a_second_burst_counts_against_data() {
        let pool = pool(256 * KIB, 128 * KIB);
        let bursts = [(); 3].map(|()| pool.take(64 * KIB, Purpose::Receive).unwrap());
        assert_eq!(pool.take(1, Purpose::Data).err(), Some(Exhausted));
        drop(bursts);
        assert_eq!(pool.take(1, Purpose::Data).map(|_| ()), Ok(()));
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
    fn an_account_holds_each_buffer_until_it_is_home() {
        let pool = pool(1 << 20, 0);
        let (ours, theirs) = (pool.account(), pool.account());
        let filled = pool.take_on(&ours, 64, Purpose::Data).unwrap().fill(64);
        let other = pool.take_on(&theirs, 3 * KIB, Purpose::Retransmission).unwrap();
        let lent = || (ours.lent_bytes() / KIB, theirs.lent_bytes() / KIB);
        assert_eq!(lent(), (2, 16));
        let copy = filled.clone();
        drop(filled);
        assert_eq!(lent(), (2, 16), "once a buffer, however many hold it");
        drop(other);
        let again = pool.take_on(&ours, 16 * KIB, Purpose::Data).unwrap();
        assert_eq!(
            (lent(), pool.stats().allocated_bytes),
            ((18, 0), 18 * KIB),
            "the same buffer, another borrower"
        );
        drop((again, copy));
        assert_eq!(lent(), (0, 0));
        drop(pool.take_on(&ours, 64 * KIB, Purpose::Data));
        assert_eq!(lent(), (0, 0));
    }

    #[test]
    fn longer_than_any_buffer() {
        let pool = pool(1 << 20, 0);
        assert_eq!(pool.take(64 * KIB + 1, Purpose::Receive).err(), Some(Exhausted));
        assert_eq!(pool.take(usize::MAX, Purpose::Receive).err(), Some(Exhausted));
        assert_eq!(pool.stats(), Stats { capacity_bytes: 1 << 20, exhausted: 2, ..Stats::default() });
    }
}
