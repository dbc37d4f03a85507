//! One wheel per priority.

use crate::{
    due::{Due, Full},
    wheel::Wheel,
};

/// `N` wheels: what is due leaves by (priority, tick, insertion), the lowest priority number first.
///
/// Strict: while something of priority 0 is due, nothing else leaves. Who inserts bounds what that can be.
#[derive(Debug)]
pub struct Prioritized<T, const N: usize> {
    wheels: [Wheel<T>; N],
}

impl<T, const N: usize> Prioritized<T, N> {
    /// Empty wheels for at most `max_entries` values **each**, so that one priority cannot shut out another.
    pub fn new(now_ns: u64, max_entries: usize) -> Self {
        Self { wheels: std::array::from_fn(|_| Wheel::new(now_ns, max_entries)) }
    }

    /// Keeps `value` until `at_ns`. A priority of `N` or more counts as the last one.
    ///
    /// # Errors
    ///
    /// [`Full`] gives the value back when that priority's wheel holds `max_entries`.
    pub fn insert(&mut self, priority: usize, at_ns: u64, value: T) -> Result<(), Full<T>> {
        match self.wheels.get_mut(priority.min(N.saturating_sub(1))) {
            Some(wheel) => wheel.insert(at_ns, value),
            None => Err(Full(value)),
        }
    }

    /// The next value that is due at `now_ns`, and its priority.
    pub fn pop(&mut self, now_ns: u64) -> Option<(usize, Due<T>)> {
        self.wheels.iter_mut().enumerate().find_map(|(priority, wheel)| Some((priority, wheel.pop(now_ns)?)))
    }

    /// The least `now_ns` at which [`Prioritized::pop`] returns a value; `None` when empty. O(`N`).
    pub fn next_expiry(&self) -> Option<u64> {
        self.wheels.iter().filter_map(Wheel::next_expiry).min()
    }

    /// Plants a bug into each of them: see [`Wheel::plant`].
    #[cfg(feature = "planted")]
    pub fn plant(&mut self) {
        self.wheels.iter_mut().for_each(Wheel::plant);
    }

    /// Values held, of all priorities.
    pub fn len(&self) -> usize {
        self.wheels.iter().map(Wheel::len).sum()
    }

    /// Whether no value is held.
    pub fn is_empty(&self) -> bool {
        self.wheels.iter().all(Wheel::is_empty)
    }

    /// All values, priority by priority, each in no particular order. O(slabs): for audits and tests.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.wheels.iter().flat_map(Wheel::values)
    }

    /// Takes the values out, priority by priority, each in order. Those that are not taken from the iterator stay.
    pub fn drain(&mut self) -> impl Iterator<Item = (usize, Due<T>)> {
        self.wheels
            .iter_mut()
            .enumerate()
            .flat_map(|(priority, wheel)| wheel.drain().map(move |due| (priority, due)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_number_leaves_first_once_it_is_due() {
        let mut wheels = Prioritized::<_, 3>::new(0, 2);
        wheels.insert(2, 1_000, "bulk").unwrap();
        wheels.insert(0, 5_000, "control").unwrap();
        wheels.insert(1, 5_000, "stream").unwrap();
        assert_eq!((wheels.len(), wheels.next_expiry()), (3, Some(1_000)));
        let mut all: Vec<_> = wheels.values().copied().collect();
        all.sort_unstable();
        assert_eq!(all, ["bulk", "control", "stream"]);
        assert_eq!(wheels.pop(1_000), Some((2, Due { at_ns: 1_000, value: "bulk" })));
        wheels.insert(2, 1_000, "bulk").unwrap();
        assert_eq!(wheels.pop(4_999).map(|(priority, _)| priority), Some(2));
        wheels.insert(2, 1_000, "bulk").unwrap();
        let order: Vec<_> = std::iter::from_fn(|| wheels.pop(5_000)).map(|(p, due)| (p, due.value)).collect();
        assert_eq!(order, [(0, "control"), (1, "stream"), (2, "bulk")]);
        assert!(wheels.is_empty());
        assert_eq!((wheels.pop(u64::MAX), wheels.next_expiry()), (None, None));
    }

    #[test]
    fn each_priority_has_its_own_bound() {
        let mut wheels = Prioritized::<_, 2>::new(0, 1);
        wheels.insert(1, 0, 'a').unwrap();
        assert_eq!(wheels.insert(1, 0, 'b'), Err(Full('b')));
        assert_eq!(wheels.insert(7, 0, 'c'), Err(Full('c')), "counts as priority 1");
        wheels.insert(0, 9, 'd').unwrap();
        let drained: Vec<_> = wheels.drain().map(|(p, due)| (p, due.value)).collect();
        assert_eq!(drained, [(0, 'd'), (1, 'a')]);
        assert_eq!(Prioritized::<_, 0>::new(0, 9).insert(0, 0, 'e'), Err(Full('e')));
    }
}
