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

    /// Of the stream that `pop` would give; 8 when empty.
    fn best(&self) -> u32 {
        self.occupied.trailing_zeros()
    }
}

/// What kind of turn a stream gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TurnKind {
    Probe,
    Recovery,
    Data,
}

/// What stops a path from giving out turns of a kind in this fill.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Blocked {
    pub(crate) recovery: bool,
    pub(crate) data: bool,
}

/// Who is next on a path. Three lists, because each is stopped by something else: probes by nothing, lost packets by the
/// window, new data by the window and the pool. Nobody waits behind a stream that waits for something he does not need.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    /// At most two a PTO, one a keep-alive, one a close.
    pub(crate) probes: VecDeque<StreamKey>,
    pub(crate) recovery: ReadyList,
    pub(crate) data: ReadyList,
}

impl Schedule {
    pub(crate) fn is_empty(&self) -> bool {
        self.probes.is_empty() && self.recovery.is_empty() && self.data.is_empty()
    }

    /// The next turn: probes first, then by priority, lost packets ahead of new data of the same priority.
    pub(crate) fn pop(&mut self, blocked: Blocked) -> Option<(TurnKind, StreamKey)> {
        if let Some(key) = self.probes.pop_front() {
            return Some((TurnKind::Probe, key));
        }
        let recovery = !blocked.recovery && !self.recovery.is_empty();
        let data = !blocked.data && !self.data.is_empty();
        if recovery && (!data || self.recovery.best() <= self.data.best()) {
            return self.recovery.pop().map(|key| (TurnKind::Recovery, key));
        }
        if data { self.data.pop().map(|key| (TurnKind::Data, key)) } else { None }
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

    #[test]
    fn nobody_waits_for_what_he_does_not_need() {
        let key = |slot| StreamKey { slot, generation: 1 };
        let mut schedule = Schedule::default();
        schedule.data.push_back(1, key(1));
        schedule.recovery.push_back(2, key(2));
        schedule.recovery.push_back(1, key(3));
        schedule.probes.push_back(key(4));
        let none = Blocked::default();
        assert_eq!(schedule.pop(none), Some((TurnKind::Probe, key(4))));
        assert_eq!(schedule.pop(none), Some((TurnKind::Recovery, key(3))));
        assert_eq!(schedule.pop(Blocked { recovery: false, data: true }), Some((TurnKind::Recovery, key(2))));
        assert_eq!(schedule.pop(Blocked { recovery: false, data: true }), None);
        assert_eq!(schedule.pop(none), Some((TurnKind::Data, key(1))));
        assert!(schedule.is_empty());
    }
}
