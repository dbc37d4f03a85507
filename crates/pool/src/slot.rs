//! A buffer's way home.
//!
//! The reference count of `Arc` is the only count there is; a second one, of handles, would have an instant in which
//! it says "home" while a slower dropper still holds on. The last handle sees that it is the last and brings the
//! whole `Arc` home. When the last two are dropped at once, neither may see that; then the slot's own destructor
//! runs, which is always the last one, and brings home the buffer in a new `Arc`.

use crate::{
    account::Account,
    sync::{Arc, into_inner},
};

/// A buffer that knows where it belongs.
#[derive(Debug)]
pub(crate) struct Slot {
    /// Of a class's size; empty once it has been taken out for good.
    buffer: Box<[u8]>,
    /// Of whoever has it, or had it last.
    account: std::sync::Arc<Account>,
}

impl Slot {
    pub(crate) fn new(bytes: usize, account: std::sync::Arc<Account>) -> Arc<Self> {
        Arc::new(Self { buffer: vec![0; bytes].into_boxed_slice(), account })
    }

    /// A slot from home, for somebody else.
    pub(crate) fn lend(mut slot: Arc<Self>, account: std::sync::Arc<Account>) -> Arc<Self> {
        match Arc::get_mut(&mut slot) {
            Some(own) => own.account = account,
            None => debug_assert!(false, "at home it is held by nobody else"),
        }
        slot
    }

    pub(crate) fn account(&self) -> &Account {
        &self.account
    }

    pub(crate) fn buffer(&self) -> &[u8] {
        &self.buffer
    }

    /// Frees a slot that nobody else holds, without sending it home.
    pub(crate) fn release(slot: Arc<Self>) {
        if let Some(mut slot) = into_inner(slot) {
            slot.buffer = Box::default();
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        if let Some(pool) = self.account.pool().upgrade() {
            let buffer = std::mem::take(&mut self.buffer);
            pool.come_home(Arc::new(Self { buffer, account: self.account.clone() }));
        }
    }
}

/// Holds a slot, and brings it home when it was the last to.
#[derive(Clone, Debug)]
pub(crate) struct Handle(Option<Arc<Slot>>);

impl Handle {
    pub(crate) const fn new(slot: Arc<Slot>) -> Self {
        Self(Some(slot))
    }

    /// The whole buffer. (`None` only within `drop`.)
    pub(crate) fn buffer(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |slot| &slot.buffer)
    }

    pub(crate) fn is_shared(&self) -> bool {
        self.0.as_ref().is_some_and(|slot| Arc::strong_count(slot) > 1)
    }

    /// The whole buffer, of a handle that was never cloned.
    pub(crate) fn buffer_mut(&mut self) -> &mut [u8] {
        self.0.as_mut().and_then(Arc::get_mut).map_or(&mut [], |slot| &mut slot.buffer)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let Some(mut slot) = self.0.take() else { return };
        let Some(last) = Arc::get_mut(&mut slot) else { return };
        if let Some(pool) = last.account.pool().upgrade() {
            pool.come_home(slot);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::{Config, Pool, Purpose};

    #[test]
    fn two_handles_dropped_in_the_same_instant() {
        // Both have asked whether they are the last, and heard no, before either lets go.
        let pool = Pool::new(Config { capacity_bytes: 1 << 20, reserve_bytes: 0 }).unwrap();
        let address = pool.take(1, Purpose::Data).unwrap().buffer().as_ptr();
        for _ in 0..3 {
            let mut handle = pool.take(1, Purpose::Data).unwrap().into_handle();
            let mut other = handle.clone();
            let mut first = handle.0.take().unwrap();
            let mut second = other.0.take().unwrap();
            assert!(Arc::get_mut(&mut first).is_none() && Arc::get_mut(&mut second).is_none());
            drop(first);
            assert_eq!(pool.stats().lent, 1);
            drop(second);
            assert_eq!((pool.stats().lent, pool.stats().allocated_bytes), (0, 2048));
            assert_eq!(pool.take(1, Purpose::Data).unwrap().buffer().as_ptr(), address, "the same buffer");
        }
    }

    #[test]
    fn a_slot_outlives_its_pool() {
        let pool = Pool::new(Config { capacity_bytes: 1 << 20, reserve_bytes: 0 }).unwrap();
        let filled = pool.take(3, Purpose::Data).unwrap().fill(3);
        let weak = Arc::downgrade(&pool);
        drop(pool.take(1, Purpose::Data));
        drop(pool);
        assert!(weak.upgrade().is_none(), "a descriptor does not keep its pool");
        let copy = filled.clone();
        drop(filled);
        assert_eq!(copy.bytes(), [0; 3]);
    }
}
