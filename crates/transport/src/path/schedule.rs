//! Which stream of a path sends next: strictly by priority, deficit round robin within one.

use crate::transmission::StreamKey;
use std::collections::VecDeque;

/// Priorities: 0 is control and never in here.
pub(crate) const PRIORITIES: usize = 8;

/// Streams with something to send. Each stands in it at most once (the stream keeps the flag), which bounds it.
#[derive(Debug, Default)]
pub(crate) struct ReadyList {
    queues: [VecDeque<StreamKey>; PRIORITIES],
    occupied: u8,
}

impl ReadyList {
    pub(crate) fn push_back(&mut self, priority: u8, key: StreamKey) {
        let index = usize::from(priority).min(PRIORITIES.saturating_sub(1));
        if let Some(queue) = self.queues.get_mut(index) {
            queue.push_back(key);
            self.occupied |= 1u8.wrapping_shl(index as u32);
        }
    }

    /// For a stream whose turn is not over.
    pub(crate) fn push_front(&mut self, priority: u8, key: StreamKey) {
        let index = usize::from(priority).min(PRIORITIES.saturating_sub(1));
        if let Some(queue) = self.queues.get_mut(index) {
            queue.push_front(key);
            self.occupied |= 1u8.wrapping_shl(index as u32);
        }
    }

    pub(crate) fn pop(&mut self) -> Option<StreamKey> {
        let index = self.occupied.trailing_zeros() as usize;
        let queue = self.queues.get_mut(index)?;
        let key = queue.pop_front();
        if queue.is_empty() {
            self.occupied &= !1u8.wrapping_shl(index as u32);
        }
        key
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.occupied == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priority_first_then_in_turn() {
        let key = |slot| StreamKey { slot, generation: 1 };
        let mut list = ReadyList::default();
        list.push_back(3, key(1));
        list.push_back(3, key(2));
        list.push_back(1, key(3));
        list.push_front(3, key(4));
        let order: Vec<u32> = std::iter::from_fn(|| list.pop()).map(|key| key.slot).collect();
        assert_eq!(order, [3, 4, 1, 2]);
        assert!(list.is_empty());
    }
}
