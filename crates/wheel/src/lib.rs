//! Releases values at or after a time, first in first out within a tick; never early.
//!
//! ```
//! use paceline_wheel::Wheel;
//!
//! let mut wheel = Wheel::new(0, 1_000);
//! wheel.insert(5_000_000, "burst").unwrap();
//! wheel.insert(2_000_000, "acknowledgement").unwrap();
//!
//! assert_eq!(wheel.next_expiry(), Some(2_000_000));
//! assert!(wheel.pop(1_999_999).is_none());
//! assert_eq!(wheel.pop(2_000_000).unwrap().value, "acknowledgement");
//!
//! // The clock may jump: the cost is that of what is due, not of the ticks in between.
//! let due = wheel.pop(3_600_000_000_000).unwrap();
//! assert_eq!((due.at_ns, due.value), (5_000_000, "burst"));
//! assert!(wheel.is_empty());
//! ```
//!
//! # Ground rules
//!
//! A wheel belongs to one thread, has no clock and starts no thread: time is an argument, in ns.
//!
//! **Order.** Values leave by (tick, insertion). A value's tick is its time divided by [`TICK_NS`], rounded up. Nothing
//! else decides: not when the clock was read, not which level a value came through, not whether its time had passed
//! when it was inserted.
//!
//! **Time.** The next value in that order is due when the clock has reached *its own* time, so it is never early, and
//! a value inserted for "now" is due now. Only behind an older value of the same tick can it wait, for less than one
//! tick.
//!
//! **Clock.** [`Wheel::pop`] compares with the time it is given and with no other. A clock that steps back holds back
//! what is not due yet; a clock that jumps forward by hours costs O(values released + levels).
//!
//! # How it is built
//!
//! A tick is 1024 ns: a fifth of the 5 µs that one `sendmsg` costs, so a finer one would order nothing that can be
//! told apart on the network, and 2^10 so that nine levels of 64 slots (6 bits each) use up the 64 bits of a time
//! exactly. Hence there is no horizon: each level divides one slot of the level above, slot indices are plain digits
//! of the tick, and no arithmetic wraps. The sums that go wrong in wheels that do wrap (a full turn that looks like
//! zero, a level whose base is not aligned, an expiry behind the turning point) do not occur.
//!
//! The wheel stands at the tick it last released. When the next value lies in a coarse slot, the wheel steps straight
//! to that value and deals out the slot, in order, to finer levels, which are all empty at that moment: that is why
//! cascading cannot put an older value behind a younger one. A value is dealt out at most eight times in its life, so
//! `pop` is O(1) amortised. A value whose tick is behind the wheel (its time had passed, or the clock stepped back)
//! goes into a heap beside the wheel: O(log n), and ahead of everything in the wheel, as its tick is.
//!
//! # Memory
//!
//! Values live in one slab and are linked, never moved, when they are dealt out. A wheel holds at most `max_entries`
//! values and refuses more with [`Full`]. The slab grows with use and then stays: once it has reached the size that a
//! load needs, nothing is allocated. When seven eighths of a slab above [`RETAINED_BYTES`] are unused, it shrinks to
//! twice what is in it (or to `RETAINED_BYTES`), so an idle wheel keeps at most that, 7 KiB of slots, and as much
//! again for the heap if it was ever used. (A load that fills more than that and empties it again and again does
//! allocate: at most once per doubling, so O(1) per value.)
#![forbid(unsafe_code)]

mod due;
mod late;
mod levels;
mod prioritized;
mod slab;
mod tick;
mod wheel;

pub use due::{Due, Full};
pub use prioritized::Prioritized;
pub use slab::RETAINED_BYTES;
pub use tick::TICK_NS;
pub use wheel::Wheel;
