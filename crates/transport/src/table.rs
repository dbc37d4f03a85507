//! Slots with generations: a key names one occupant and never its successor.

use crate::transmission::{PathKey, StreamKey};
use std::{collections::VecDeque, marker::PhantomData};

/// What names an occupant.
pub(crate) trait Key: Copy {
    fn new(slot: u32, generation: u32) -> Self;
    fn slot(self) -> u32;
    fn generation(self) -> u32;
}

macro_rules! key {
    ($name:ident) => {
        impl Key for $name {
            fn new(slot: u32, generation: u32) -> Self {
                Self { slot, generation }
            }
            fn slot(self) -> u32 {
                self.slot
            }
            fn generation(self) -> u32 {
                self.generation
            }
        }
    };
}
key!(StreamKey);
key!(PathKey);

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    /// Boxed: a table that has grown, or that was full once, costs 16 bytes a slot and not a stream's 1.2 KiB.
    value: Option<Box<T>>,
}

/// At most `max` values. Freed slots are used again oldest first, so that a generation lasts as long as it can.
#[derive(Debug)]
pub(crate) struct Table<K, T> {
    slots: Vec<Slot<T>>,
    free: VecDeque<u32>,
    max: u32,
    key: PhantomData<K>,
}

impl<K: Key, T> Table<K, T> {
    pub(crate) fn new(max: u32) -> Self {
        Self { slots: Vec::new(), free: VecDeque::new(), max, key: PhantomData }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len().saturating_sub(self.free.len())
    }

    pub(crate) fn is_full(&self) -> bool {
        self.free.is_empty() && self.slots.len() >= self.max as usize
    }

    /// Makes a value that knows its key; `None` when the table is full.
    pub(crate) fn insert_with(&mut self, make: impl FnOnce(K) -> T) -> Option<K> {
        if self.is_full() {
            return None;
        }
        let slot = match self.free.pop_front() {
            Some(slot) => slot,
            None => {
                self.slots.push(Slot { generation: 0, value: None });
                u32::try_from(self.slots.len()).ok()?.saturating_sub(1)
            }
        };
        let entry = self.slots.get_mut(slot as usize)?;
        // Generation 0 is never used, so that slot 0 never yields queue id 0.
        entry.generation = entry.generation.wrapping_add(1).max(1);
        let key = K::new(slot, entry.generation);
        entry.value = Some(Box::new(make(key)));
        Some(key)
    }

    pub(crate) fn get(&self, key: K) -> Option<&T> {
        let slot = self.slots.get(key.slot() as usize)?;
        if slot.generation == key.generation() { slot.value.as_deref() } else { None }
    }

    pub(crate) fn get_mut(&mut self, key: K) -> Option<&mut T> {
        let slot = self.slots.get_mut(key.slot() as usize)?;
        if slot.generation == key.generation() { slot.value.as_deref_mut() } else { None }
    }

    /// The occupant of a slot, whoever it is.
    pub(crate) fn at_slot(&self, slot: u32) -> Option<&T> {
        self.slots.get(slot as usize)?.value.as_deref()
    }

    pub(crate) fn remove(&mut self, key: K) -> Option<T> {
        let slot = self.slots.get_mut(key.slot() as usize)?;
        if slot.generation != key.generation() {
            return None;
        }
        let value = slot.value.take()?;
        self.free.push_back(key.slot());
        Some(*value)
    }

    /// All keys, in slot order. For shutdown only: it is O(slots).
    pub(crate) fn keys(&self) -> Vec<K> {
        self.slots
            .iter()
            .enumerate()
            .filter(|(_, slot)| slot.value.is_some())
            .map(|(index, slot)| K::new(index as u32, slot.generation))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_outlives_its_occupant_but_names_nobody_else() {
        let mut table: Table<StreamKey, u32> = Table::new(2);
        let a = table.insert_with(|_| 1).unwrap();
        let b = table.insert_with(|_| 2).unwrap();
        assert!(table.insert_with(|_| 3).is_none());
        assert_eq!(table.remove(a), Some(1));
        let c = table.insert_with(|_| 4).unwrap();
        assert_eq!(c.slot, a.slot);
        assert_eq!((table.get(a), table.get(b), table.get(c)), (None, Some(&2), Some(&4)));
        assert_eq!(table.remove(a), None);
        assert_eq!(table.len(), 2);
    }
}
