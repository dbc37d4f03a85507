//! Steps 1 to 5 of section 6 allocate nothing: what is dropped, refused or answered from the table costs no memory.

mod support;

use paceline_handshake::Acceptance;
use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};
use support::{MS, Node, complete, only, secret};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: everything is handed to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of `server` receiving `datagram` and giving up its reply.
fn allocations(server: &mut Node, now_ns: u64, from: &Node, datagram: &[u8]) -> u64 {
    let before = ALLOCATIONS.with(Cell::get);
    server.receive(now_ns, from.address, datagram);
    let _reply = server.handshake.poll_message();
    let after = ALLOCATIONS.with(Cell::get);
    after - before
}

#[test]
fn steps_one_to_five_allocate_nothing() {
    let secrets = [secret(1)];
    let (mut client, mut server) = (Node::client(&secrets, 1), Node::server(&secrets, 2));
    client.connect(0, server.address, &secrets);
    let initiation = only(client.drain());
    let genuine = initiation.bytes().to_vec();
    let changed = |at: usize| {
        let mut copy = genuine.clone();
        copy[at] ^= 1;
        copy
    };
    let before = server.counters();
    assert_eq!(allocations(&mut server, 0, &client, &genuine[..175]), 0, "length");
    assert_eq!(allocations(&mut server, 0, &client, &changed(8)), 0, "secret id");
    assert_eq!(allocations(&mut server, 0, &client, &changed(60)), 0, "MAC");
    server.handshake.set_acceptance(Acceptance::Closing);
    assert_eq!(allocations(&mut server, 0, &client, &genuine), 0, "refusal");
    server.handshake.set_acceptance(Acceptance::Accept);
    assert_eq!(allocations(&mut server, 0, &client, &changed(60)), 0, "MAC");
    let response = only(server.exchange(0, client.address, &genuine));
    assert_eq!(allocations(&mut server, 100 * MS, &client, &genuine), 0, "stored Response");
    assert_eq!(allocations(&mut server, 100 * MS, &client, &genuine), 0, "too soon");
    let confirm = only(client.exchange(0, server.address, response.bytes()));
    server.exchange(100 * MS, client.address, confirm.bytes());
    assert_eq!(allocations(&mut server, 200 * MS, &client, &genuine), 0, "confirmed");
    // Each of them took the way it was meant to take.
    let after = server.counters();
    assert_eq!((before.received(), after.received()), (0, 10));
    assert_eq!((after.dropped_length, after.dropped_unknown_secret, after.dropped_mac), (1, 1, 2));
    assert_eq!((after.refusals_sent, after.duplicates_answered, after.reply_gaps), (1, 1, 1));
    assert_eq!(after.duplicates_dropped, 1);
    // The counter counts: a handshake allocates.
    let before = ALLOCATIONS.with(Cell::get);
    complete(&mut Node::client(&secrets, 5), &mut server, 300 * MS, &secrets);
    assert!(ALLOCATIONS.with(Cell::get) > before + 10);
}
