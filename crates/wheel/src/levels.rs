//! Nine levels of 64 slots: who comes next.

use crate::{
    slab::{NONE, Slab},
    tick,
};

const DIGIT_BITS: u32 = 6;
const SLOTS: usize = 1 << DIGIT_BITS;
/// 9 × 6 bits of tick and 10 bits within it: all 64 of a time.
const LEVELS: usize = 9;

/// A list of nodes, oldest first.
#[derive(Clone, Copy)]
struct Slot {
    head: u32,
    tail: u32,
    /// The one to be released first: the oldest of the least tick. Kept here because finding it later would mean a
    /// walk, and the next expiry is asked for far more often than a slot is dealt out.
    first: u32,
}

impl Slot {
    const EMPTY: Self = Self { head: NONE, tail: NONE, first: NONE };
}

#[derive(Clone)]
struct Level {
    /// Bit `i`: slot `i` is not empty.
    occupied: u64,
    slots: [Slot; SLOTS],
}

/// Nodes by tick, relative to the tick `base`.
///
/// Invariant: every node's tick is at least `base`; it is linked at the level of the highest digit (base 64) in which
/// the two differ, in the slot that digit names. So within a level slots are in order of time, from `base`'s own
/// digit upwards, and all of a level comes before all of the next one.
pub(crate) struct Levels {
    base: u64,
    /// Bit `i`: level `i` is not empty.
    occupied: u16,
    levels: Box<[Level]>,
    #[cfg(feature = "planted")]
    pub(crate) planted: bool,
}

impl Levels {
    pub(crate) fn new(base: u64) -> Self {
        let levels = vec![Level { occupied: 0, slots: [Slot::EMPTY; SLOTS] }; LEVELS].into_boxed_slice();
        Self {
            base,
            occupied: 0,
            levels,
            #[cfg(feature = "planted")]
            planted: false,
        }
    }

    pub(crate) const fn base(&self) -> u64 {
        self.base
    }

    /// Moves an empty wheel.
    pub(crate) fn rebase(&mut self, base: u64) {
        debug_assert_eq!(self.occupied, 0);
        self.base = base;
    }

    /// Links a node behind the others of its slot. Its tick is at least `base`.
    pub(crate) fn push<T>(&mut self, slab: &mut Slab<T>, id: u32) {
        let tick = tick::of(slab.at_ns(id));
        debug_assert!(tick >= self.base);
        let level = (tick ^ self.base).checked_ilog2().unwrap_or(0) / DIGIT_BITS;
        let index = (tick >> (level * DIGIT_BITS)) as usize % SLOTS;
        self.occupied |= 1 << level;
        let level = &mut self.levels[level as usize];
        level.occupied |= 1 << index;
        let slot = &mut level.slots[index];
        slab.set_next(id, NONE);
        if slot.tail == NONE {
            *slot = Slot { head: id, tail: id, first: id };
            return;
        }
        slab.set_next(slot.tail, id);
        slot.tail = id;
        if tick < tick::of(slab.at_ns(slot.first)) {
            slot.first = id;
        }
    }

    /// Level and slot of the first node.
    fn position(&self) -> Option<(usize, usize)> {
        let level = (self.occupied != 0).then(|| self.occupied.trailing_zeros() as usize)?;
        Some((level, self.levels[level].occupied.trailing_zeros() as usize))
    }

    /// The node that comes first.
    pub(crate) fn first(&self) -> Option<u32> {
        let (level, index) = self.position()?;
        #[cfg(feature = "planted")]
        if self.planted {
            return Some(self.levels[level].slots[index].head);
        }
        Some(self.levels[level].slots[index].first)
    }

    /// Unlinks the node that comes first, and moves `base` to its tick.
    pub(crate) fn pop<T>(&mut self, slab: &mut Slab<T>) -> Option<u32> {
        let (level, index) = self.position()?;
        let index = if level == 0 { index } else { self.deal_out(slab, level, index) };
        let finest = &mut self.levels[0];
        let slot = &mut finest.slots[index];
        let id = slot.head;
        let next = slab.next(id);
        self.base = tick::of(slab.at_ns(id));
        if next == NONE {
            *slot = Slot::EMPTY;
            finest.occupied &= !(1 << index);
            self.occupied &= !u16::from(finest.occupied == 0);
        } else {
            slot.head = next;
            slot.first = next;
        }
        Some(id)
    }

    /// Moves `base` to the first tick of a coarse slot, the first of all, and its nodes to finer levels. Returns the
    /// finest slot of that tick.
    ///
    /// All finer levels are empty, so linking the nodes in their order keeps the order; and both `base`s are the same
    /// above this level, so nothing else has to move.
    fn deal_out<T>(&mut self, slab: &mut Slab<T>, level: usize, index: usize) -> usize {
        let coarse = &mut self.levels[level];
        let slot = std::mem::replace(&mut coarse.slots[index], Slot::EMPTY);
        coarse.occupied &= !(1 << index);
        if coarse.occupied == 0 {
            self.occupied &= !(1 << level);
        }
        self.base = tick::of(slab.at_ns(slot.first));
        let mut id = slot.head;
        while id != NONE {
            let next = slab.next(id);
            self.push(slab, id);
            id = next;
        }
        self.base as usize % SLOTS
    }

    /// Moves all nodes to another slab.
    pub(crate) fn relocate<T>(&mut self, from: &mut Slab<T>, into: &mut Slab<T>) {
        for level in &mut self.levels {
            let mut occupied = level.occupied;
            while occupied != 0 {
                let slot = &mut level.slots[occupied.trailing_zeros() as usize];
                occupied &= occupied - 1;
                let old = std::mem::replace(slot, Slot::EMPTY);
                let mut id = old.head;
                while id != NONE {
                    let next = from.next(id);
                    let Some((at_ns, value)) = from.remove(id) else { break };
                    let moved = into.insert(at_ns, value);
                    if slot.tail == NONE {
                        slot.head = moved;
                    } else {
                        into.set_next(slot.tail, moved);
                    }
                    slot.tail = moved;
                    if id == old.first {
                        slot.first = moved;
                    }
                    id = next;
                }
            }
        }
    }
}
