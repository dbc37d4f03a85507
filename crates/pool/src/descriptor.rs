//! A buffer in a caller's hands: first to fill, then to share.

use crate::slot::Handle;
use std::fmt;

/// A buffer that one owner may write to. Dropped, it goes home unused.
pub struct Unfilled {
    handle: Handle,
}

impl Unfilled {
    pub(crate) const fn new(handle: Handle) -> Self {
        Self { handle }
    }

    /// Bytes of the whole buffer: at least what was asked for.
    pub fn capacity(&self) -> usize {
        self.handle.buffer().len()
    }

    /// The whole buffer, with whatever its last user left in it.
    pub fn buffer(&mut self) -> &mut [u8] {
        self.handle.buffer_mut()
    }

    /// Ends writing; the first `len` bytes (at most `capacity`) are what will be seen from now on.
    pub fn fill(self, len: usize) -> Filled {
        let len = len.min(self.capacity());
        Filled { handle: self.handle, len }
    }

    #[cfg(all(test, not(loom)))]
    pub(crate) fn into_handle(self) -> Handle {
        self.handle
    }
}

impl fmt::Debug for Unfilled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unfilled").field("capacity", &self.capacity()).finish_non_exhaustive()
    }
}

/// Bytes that will not change any more. Clones share them; the last one, on any thread, brings the buffer home.
#[derive(Clone)]
pub struct Filled {
    handle: Handle,
    len: usize,
}

impl Filled {
    /// What was filled in.
    pub fn bytes(&self) -> &[u8] {
        // `len` is at most the buffer's length; `fill` saw to it.
        self.handle.buffer().get(..self.len).unwrap_or_default()
    }

    /// Bytes filled in.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was filled in.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether dropping this brings nothing home, because somebody else holds the same buffer.
    pub fn is_shared(&self) -> bool {
        self.handle.is_shared()
    }

    /// Bytes that the pool has lent for this: those of the whole buffer.
    pub fn capacity_bytes(&self) -> usize {
        self.handle.buffer().len()
    }
}

impl AsRef<[u8]> for Filled {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}

impl fmt::Debug for Filled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filled")
            .field("len", &self.len)
            .field("capacity_bytes", &self.capacity_bytes())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use crate::{Config, Filled, Pool, Purpose};

    #[test]
    fn filled_once_and_shared() {
        const fn shared<T: Clone + Send + Sync>() {}
        shared::<Filled>();

        let pool = Pool::new(Config { capacity_bytes: 1 << 20, reserve_bytes: 0 }).unwrap();
        let mut unfilled = pool.take(3_000, Purpose::Data).unwrap();
        assert_eq!((unfilled.capacity(), unfilled.buffer().len()), (16_384, 16_384));
        unfilled.buffer()[..4].copy_from_slice(b"sent");
        let filled = unfilled.fill(4);
        let copy = filled.clone();
        assert!(filled.is_shared() && copy.is_shared());
        drop(filled);
        assert!(!copy.is_shared());
        assert_eq!((copy.bytes(), copy.len(), copy.capacity_bytes()), (&b"sent"[..], 4, 16_384));
        drop(copy);
        assert_eq!(pool.stats().lent, 0);

        let filled = pool.take(1, Purpose::Data).unwrap().fill(usize::MAX);
        assert_eq!((filled.len(), filled.bytes().len()), (2_048, 2_048), "no more than there is");
        assert!(pool.take(1, Purpose::Data).unwrap().fill(0).is_empty());
        drop(pool.take(1, Purpose::Data));
        assert_eq!((pool.stats().lent, pool.stats().lent_bytes), (1, 2_048));
    }
}
