//! Item 13: in its stride a worker allocates nothing per burst. Counted by the allocator, over whole steps of both sides.

mod support;

use bytes::{Bytes, BytesMut};
use paceline_transport::{Config, MS, SECOND, app::Command};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};
use support::{A, B, World};

thread_local! {
    static COUNTING: Cell<bool> = const { Cell::new(false) };
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

fn count() {
    if COUNTING.get() {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        let left = TRACE.get();
        if left > 0 {
            // The capture allocates, too.
            COUNTING.set(false);
            eprintln!("{}", std::backtrace::Backtrace::force_capture());
            COUNTING.set(true);
            TRACE.set(left - 1);
        }
    }
}

thread_local! {
    /// How many are still shown with their backtrace.
    static TRACE: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: everything is passed on to the system allocator as it came; the counters are thread-local cells without
// destructor or initialiser, which neither allocate nor unwind.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise about `layout` is the one asked for here.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are the ones asked for here.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `System` with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of steps, by node, since the last call.
fn allocations() -> u64 {
    ALLOCATIONS.replace(0)
}

/// An application that keeps the send buffer filled from recycled memory, as `node` does.
struct Application {
    chunk: Bytes,
    written: u64,
}

impl Application {
    fn new() -> Self {
        Self { chunk: Bytes::new(), written: 0 }
    }

    /// Keeps `level` bytes in the send buffer.
    fn fill(&mut self, world: &mut World, stream: u32, level: u64) {
        let sealed = world.nodes[A].streams.get(&stream).map_or(0, |heard| heard.sealed);
        while self.written < sealed + level {
            let mut memory: BytesMut = world.nodes[A].shared.written.take();
            memory.extend((self.written..self.written + (64 << 10)).map(support::byte_at));
            self.chunk = memory.freeze();
            self.written += self.chunk.len() as u64;
            world.command(A, Command::Write { stream, data: std::mem::take(&mut self.chunk) });
        }
        world.command(A, Command::WantRoom { stream, level: level / 2 });
    }
}

/// Runs a bulk transfer and returns bursts and allocations of a window of it, per node.
fn bulk(rate: u64, delay_ns: u64, record: bool, warm_bursts: u64, bursts: u64, trace: u64) -> [f64; 2] {
    let config = Config { max_records: 1 << 14, ..Config::default() };
    let mut world = World::connected(delay_ns, &config, Some(rate));
    world.open(1, 3);
    if record {
        world.command(A, Command::Record(1));
    }
    let mut application = Application::new();
    let mut run = |world: &mut World, until: u64| {
        while world.stats(A).transmissions < until {
            application.fill(world, 1, 2 << 20);
            let end = world.now_ns + MS;
            world.run_until(end, |_| false);
            assert!(world.now_ns < 1_000 * SECOND, "stalled");
            world.nodes[A].records.clear();
        }
    };
    run(&mut world, warm_bursts);
    let mut per_node = [0.0; 2];
    for (index, around) in [(A, count_a as fn(bool)), (B, count_b)] {
        world.around = around;
        TRACE.set(if index == A { trace } else { 0 });
        allocations();
        let before = world.stats(A).transmissions;
        run(&mut world, before + bursts);
        let sent = world.stats(A).transmissions - before;
        world.around = |_| {};
        per_node[index] = allocations() as f64 / sent as f64;
    }
    assert_eq!(world.stats(A).packets_retransmitted, 0);
    assert!(world.nodes[B].streams.values().any(|heard| heard.read > bursts * 2_000), "bytes arrived");
    per_node
}

fn count_a(begins: bool) {
    COUNTING.set(begins && support::STEPPING.get() == A);
}

fn count_b(begins: bool) {
    COUNTING.set(begins && support::STEPPING.get() == B);
}

#[test]
fn item_13_no_allocation_per_burst_in_steady_state() {
    let trace = std::env::var("PACELINE_TRACE_ALLOCATIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    for (name, rate, delay_ns, warm, bursts) in [
        ("80 Mbit/s, 10 ms", 10_000_000, 5 * MS, 2_000, 3_000),
        ("1 Gbit/s, 1 ms", 125_000_000, MS / 2, 2_000, 3_000),
        ("8 Gbit/s, 200 µs", 1_000_000_000, MS / 10, 4_000, 6_000),
    ] {
        let [sender, receiver] = bulk(rate, delay_ns, false, warm, bursts, trace);
        println!("{name}: {sender:.4} allocations a burst at the sender, {receiver:.4} at the receiver");
        assert!(sender < 0.001, "{name}: {sender} allocations a burst");
    }
}
