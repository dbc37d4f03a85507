//! The wheel itself: slab, levels and latecomers put together.

use crate::{
    due::{Due, Full},
    late::Late,
    levels::Levels,
    slab::{MAX_ENTRIES, Slab},
    tick,
};
use std::fmt;

/// Values by time. See the crate's documentation for order, time and memory.
pub struct Wheel<T> {
    levels: Levels,
    slab: Slab<T>,
    late: Late<T>,
    /// The clock as last told, in ns: where an empty wheel starts again.
    now_ns: u64,
    max_entries: usize,
}

impl<T> Wheel<T> {
    /// An empty wheel for at most `max_entries` values (and at most 2^32 − 2), on a clock that stands at `now_ns`.
    ///
    /// Allocates 7 KiB; memory for values comes with the values.
    pub fn new(now_ns: u64, max_entries: usize) -> Self {
        let max_entries = max_entries.min(MAX_ENTRIES);
        Self {
            levels: Levels::new(tick::running(now_ns)),
            slab: Slab::new(max_entries),
            late: Late::new(),
            now_ns,
            max_entries,
        }
    }

    /// Keeps `value` until `at_ns`. A time in the past is due at once.
    ///
    /// # Errors
    ///
    /// [`Full`] gives the value back when the wheel holds `max_entries`.
    pub fn insert(&mut self, at_ns: u64, value: T) -> Result<(), Full<T>> {
        if self.len() >= self.max_entries {
            return Err(Full(value));
        }
        let tick = tick::of(at_ns);
        if self.is_empty() {
            // The only time at which a wheel may turn back, or past a time in which nothing happened.
            self.levels.rebase(tick::running(self.now_ns));
        }
        if tick < self.levels.base() {
            self.late.push(Due { at_ns, value });
        } else {
            let id = self.slab.insert(at_ns, value);
            self.levels.push(&mut self.slab, id);
        }
        Ok(())
    }

    /// The next value, if it is due at `now_ns`. Never one whose time is after `now_ns`.
    pub fn pop(&mut self, now_ns: u64) -> Option<Due<T>> {
        self.now_ns = now_ns;
        if self.next_expiry()? > now_ns {
            return None;
        }
        self.pop_first()
    }

    /// The least `now_ns` at which [`Wheel::pop`] returns a value; `None` when empty. O(1).
    pub fn next_expiry(&self) -> Option<u64> {
        // A late value's tick is less than any in the levels.
        self.late.next_expiry().or_else(|| self.levels.first().map(|id| self.slab.at_ns(id)))
    }

    /// Plants a bug: the next expiry of a coarse slot is that of its first value, not of its earliest.
    #[cfg(feature = "planted")]
    pub fn plant(&mut self) {
        self.levels.planted = true;
    }

    /// Values held.
    pub fn len(&self) -> usize {
        self.slab.len() + self.late.len()
    }

    /// Whether no value is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All values, in no particular order. O(slab): for audits and tests.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.slab.values().chain(self.late.values())
    }

    /// Takes the values out in order, whatever their time. Those that are not taken from the iterator stay.
    pub fn drain(&mut self) -> impl Iterator<Item = Due<T>> {
        std::iter::from_fn(|| self.pop_first())
    }

    fn pop_first(&mut self) -> Option<Due<T>> {
        if let Some(due) = self.late.pop() {
            return Some(due);
        }
        let id = self.levels.pop(&mut self.slab)?;
        let (at_ns, value) = self.slab.remove(id)?;
        if let Some(mut smaller) = self.slab.smaller() {
            self.levels.relocate(&mut self.slab, &mut smaller);
            self.slab = smaller;
        }
        Some(Due { at_ns, value })
    }
}

impl<T> fmt::Debug for Wheel<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wheel")
            .field("len", &self.len())
            .field("next_expiry", &self.next_expiry())
            .finish_non_exhaustive()
    }
}
