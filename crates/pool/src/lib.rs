//! Lends bounded packet buffers and gets every one back.
//!
//! ```
//! use paceline_pool::{Config, Pool, Purpose, Segments};
//!
//! let pool = Pool::new(Config { capacity_bytes: 1 << 20, reserve_bytes: 128 << 10 })?;
//!
//! // Taken, filled once, then shared read-only.
//! let mut unfilled = pool.take(3_000, Purpose::Data)?;
//! unfilled.buffer()[..3_000].fill(7);
//! let segments = Segments::new(unfilled.fill(3_000), 1_200);
//! assert_eq!(segments.iter().map(<[u8]>::len).collect::<Vec<_>>(), [1_200, 1_200, 600]);
//!
//! // The last handle brings the buffer home, from whatever thread it is dropped on.
//! let retained = segments.filled().clone();
//! drop(segments);
//! assert_eq!(pool.stats().lent, 1);
//! drop(retained);
//! assert_eq!(pool.stats().lent, 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Ground rules
//!
//! An environment makes the pool first and drops it last; everybody else borrows. Any thread may take, share and
//! drop. The pool has one mutex, held for a few instructions (longer only when it trades buffers of one class for
//! another), and never waits for a buffer: an exhausted pool says so ([`Exhausted`]), and that is backpressure, for
//! the caller to pass on. No call panics, none allocates beyond the bound.
//!
//! A buffer comes as its last user left it: contents are unspecified, though initialised.
//!
//! # Classes
//!
//! Buffers have 2, 16, 32 or 64 KiB, and a request gets the smallest that fits: a datagram, a short burst, half a GSO burst, a
//! full one. A 1 KB stream must not pin 64 KiB until it is acknowledged.
//!
//! # Memory
//!
//! Buffers are allocated when first needed, kept in a list per class when they come home, and given back to the
//! allocator only to make room for another class, or when the pool is gone. At every moment, and whatever the mix of
//! classes:
//!
//! ```text
//! lent + free ≤ capacity_bytes            buffers, allocated_bytes in `Stats`
//! + 64 bytes per buffer                   its header (48) and its place in a list (8, and as much again for growth)
//! ≤ capacity_bytes × (1 + 1/32)           since no buffer is smaller than 2 KiB
//! ```
//!
//! What a request needs is decided by what is lent and by nothing else, because whatever is not lent can be had: free
//! buffers of other classes are released when the budget is used. So with `lent` the bytes of all buffers that are
//! out, and `lent'` those without a first 64 KiB for `Purpose::Receive`, a request for a buffer of `c` bytes is granted when
//!
//! ```text
//! lent + c ≤ capacity_bytes                        for Purpose::Receive
//! lent' + c ≤ capacity_bytes − r                   for Purpose::Control, with r = 64 KiB, or the reserve if that is less
//! lent' + c ≤ capacity_bytes − r − (reserve − r)/4 for Purpose::Retransmission
//! lent' + c ≤ capacity_bytes − reserve_bytes       for Purpose::Data
//! ```
//!
//! Data can therefore never take the last `reserve_bytes`, in any class: retransmissions, acknowledgements and
//! receiving stay possible when data has taken everything else. Retransmissions are kept as long as data is and their number
//! has no bound of its own, so they in turn leave room for acknowledgements; and who receives one burst after the other
//! always has a descriptor for it, or an endpoint could not hear what lets its memory come home.
//!
//! Once the buffers that a load needs exist, take, fill, clone and drop allocate nothing. One exception: when two
//! threads drop the last two handles of a buffer in the same instant, its header is made anew.
#![forbid(unsafe_code)]

mod account;
mod class;
mod config;
mod descriptor;
#[cfg(all(test, loom))]
mod models;
mod pool;
mod segments;
mod slot;
mod sync;

pub use account::Account;
pub use class::{CLASS_BYTES, MAX_LEN, buffer_bytes};
pub use config::{Config, ConfigError};
pub use descriptor::{Filled, Unfilled};
pub use pool::{Exhausted, Pool, Purpose, Stats};
pub use segments::Segments;
