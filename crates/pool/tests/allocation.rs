//! A pool in its stride allocates nothing, and all of its memory is within the documented sum.

use paceline_pool::{Config, Pool, Purpose, Segments};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static LIVE_BYTES: Cell<i64> = const { Cell::new(0) };
    static PEAK_BYTES: Cell<i64> = const { Cell::new(0) };
}

fn count(bytes: i64) {
    LIVE_BYTES.set(LIVE_BYTES.get() + bytes);
    PEAK_BYTES.set(PEAK_BYTES.get().max(LIVE_BYTES.get()));
}

struct Counting;

// SAFETY: everything is passed on to the system allocator as it came; the counters are thread-local cells without
// destructor or initialiser, which neither allocate nor unwind.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        count(layout.size() as i64);
        // SAFETY: the caller's promise about `layout` is the one asked for here.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        // SAFETY: `pointer` came from `System.alloc` with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn nothing_is_allocated_in_steady_state() {
    let pool = Pool::new(Config { capacity_bytes: 1 << 20, reserve_bytes: 0 }).unwrap();
    let mut held = Vec::with_capacity(64);
    let mut cycle = |i: usize| {
        let mut unfilled = pool.take([500, 9_000, 60_000][i % 3], Purpose::Data).unwrap();
        unfilled.buffer()[0] = i as u8;
        let segments = Segments::new(unfilled.fill(400), 100);
        let retained = segments.filled().clone();
        drop(segments);
        if held.len() == 20 {
            held.swap_remove(i * 7 % 20);
        }
        held.push(retained.clone());
    };
    (0..100).for_each(&mut cycle);
    let before = ALLOCATIONS.get();
    assert!(before > 0, "the counter counts");
    (0..10_000).for_each(&mut cycle);
    assert_eq!(ALLOCATIONS.get(), before);
    // Coming home all at once needs no room that is not there yet.
    held.clear();
    assert_eq!(ALLOCATIONS.get(), before);
}

#[test]
fn all_memory_is_within_the_documented_sum() {
    const CAPACITY: usize = 8 << 20;
    let before = LIVE_BYTES.get();
    // Handles are the test's own memory, made before the count.
    let mut held = Vec::with_capacity(CAPACITY / 2_048);
    let own = LIVE_BYTES.get();
    PEAK_BYTES.set(own);
    let pool = Pool::new(Config { capacity_bytes: CAPACITY, reserve_bytes: 0 }).unwrap();
    // The worst mix first (all small, most headers), then every change from one class to another.
    for len in [1, 9_000, 60_000, 1, 60_000, 9_000, 1] {
        while let Ok(unfilled) = pool.take(len, Purpose::Data) {
            held.push(unfilled.fill(1));
        }
        assert!(LIVE_BYTES.get() - own >= CAPACITY as i64, "the pool is full");
        held.clear();
    }
    let peak = PEAK_BYTES.get() - own;
    assert!(peak <= (CAPACITY + CAPACITY / 32) as i64, "{peak} bytes");
    drop((pool, held));
    assert_eq!(LIVE_BYTES.get(), before, "everything is given back");
}
