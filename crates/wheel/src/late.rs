//! Values whose tick is behind the wheel's.

use crate::{due::Due, slab::spare_capacity, tick};
use std::{cmp::Ordering, collections::BinaryHeap};

struct Entry<T> {
    sequence: u64,
    due: Due<T>,
}

impl<T> Entry<T> {
    fn key(&self) -> (u64, u64) {
        (tick::of(self.due.at_ns), self.sequence)
    }
}

impl<T> Ord for Entry<T> {
    // The heap keeps its greatest entry on top; ours is the earliest.
    fn cmp(&self, other: &Self) -> Ordering {
        other.key().cmp(&self.key())
    }
}
impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}
impl<T> Eq for Entry<T> {}

/// A heap by (tick, insertion).
///
/// The wheel cannot hold these, since it never turns back. They are few unless the clock stepped back, and then they
/// are as many as would otherwise be in the wheel, at O(log n) each, until it is empty once or the clock has caught
/// up.
pub(crate) struct Late<T> {
    heap: BinaryHeap<Entry<T>>,
    sequence: u64,
}

impl<T> Late<T> {
    pub(crate) const fn new() -> Self {
        Self { heap: BinaryHeap::new(), sequence: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    pub(crate) fn next_expiry(&self) -> Option<u64> {
        self.heap.peek().map(|entry| entry.due.at_ns)
    }

    /// In no particular order.
    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.heap.iter().map(|entry| &entry.due.value)
    }

    pub(crate) fn push(&mut self, due: Due<T>) {
        let sequence = self.sequence;
        self.sequence += 1;
        self.heap.push(Entry { sequence, due });
    }

    pub(crate) fn pop(&mut self) -> Option<Due<T>> {
        let entry = self.heap.pop()?;
        if let Some(capacity) = spare_capacity::<Entry<T>>(self.heap.len(), self.heap.capacity()) {
            self.heap.shrink_to(capacity);
        }
        Some(entry.due)
    }
}
