//! A wheel in its stride allocates nothing, and an idle one keeps little.

use paceline_wheel::{RETAINED_BYTES, Wheel};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static LIVE_BYTES: Cell<i64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: everything is passed on to the system allocator as it came; the counters are thread-local cells without
// destructor or initialiser, which neither allocate nor unwind.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        LIVE_BYTES.set(LIVE_BYTES.get() + layout.size() as i64);
        // SAFETY: the caller's promise about `layout` is the one asked for here.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE_BYTES.set(LIVE_BYTES.get() - layout.size() as i64);
        // SAFETY: `pointer` came from `System.alloc` with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

type Burst = [u64; 24];

fn fill(wheel: &mut Wheel<Burst>, now: u64, count: u64) {
    for i in 0..count {
        // From the same tick to half a minute ahead, so that every level that a minute reaches takes part.
        let at_ns = now + (i * 7_919) % 2_000_000 + if i % 16 == 0 { 30_000_000_000 } else { 0 };
        wheel.insert(at_ns, [i; 24]).unwrap();
    }
}

#[test]
fn nothing_is_allocated_in_steady_state() {
    let mut wheel = Wheel::new(0, 10_000);
    let mut now = 0;
    fill(&mut wheel, now, 800);
    let mut cycle = |now: &mut u64| {
        *now += 40_000;
        while wheel.pop(*now).is_some() {
            let at_ns = *now + 1_000 + *now % 3_000_000;
            wheel.insert(at_ns, [0; 24]).unwrap();
        }
        // One in the past, too: the heap beside the wheel.
        wheel.insert(0, [1; 24]).unwrap();
        assert_eq!(wheel.pop(*now).map(|due| due.at_ns), Some(0));
        wheel.len()
    };
    cycle(&mut now);
    let before = ALLOCATIONS.get();
    assert!(before > 0, "the counter counts");
    for _ in 0..100_000 {
        assert_eq!(cycle(&mut now), 800);
    }
    assert_eq!(ALLOCATIONS.get(), before);
}

#[test]
fn an_idle_wheel_keeps_little_and_a_busy_one_its_bound() {
    const ENTRIES: u64 = 100_000;
    let before = LIVE_BYTES.get();
    let mut wheel = Wheel::new(0, ENTRIES as usize);
    let live = || LIVE_BYTES.get() - before;
    assert!(live() < 8 << 10, "an unused wheel: {}", live());

    fill(&mut wheel, 0, ENTRIES);
    let node = size_of::<Burst>() as i64 + 24;
    assert!(live() > ENTRIES as i64 * node / 2, "the peak is real: {}", live());
    assert!(live() <= ENTRIES as i64 * node + (8 << 10), "never more than the bound: {}", live());

    // All but the half-minute timers leave, then all but ten, in order throughout.
    let mut released = 0;
    let mut last = 0;
    while wheel.len() > 10 {
        let due = wheel.pop(u64::MAX).unwrap();
        let tick = due.at_ns.div_ceil(paceline_wheel::TICK_NS);
        assert!(tick >= last);
        last = tick;
        released += 1;
    }
    assert_eq!(released, ENTRIES - 10);
    assert!(live() <= RETAINED_BYTES as i64 + (8 << 10), "with ten timers left: {}", live());
    assert_eq!(wheel.drain().count(), 10);
    assert!(live() <= RETAINED_BYTES as i64 + (8 << 10), "empty: {}", live());

    // The heap beside the wheel gives back what it took, too.
    let mut wheel = Wheel::new(0, ENTRIES as usize);
    wheel.insert(1 << 40, [0; 24]).unwrap();
    wheel.insert(1 << 39, [0; 24]).unwrap();
    assert!(wheel.pop(1 << 39).is_some());
    fill(&mut wheel, 0, ENTRIES - 1);
    assert_eq!(wheel.drain().count(), ENTRIES as usize);
    assert!(live() <= 3 * (RETAINED_BYTES as i64 + (8 << 10)), "{}", live());
}
