//! The seed's work items as they are decided in ARCHITECTURE.md, each by its number. Items 3, 7 and 8 are invariants of every
//! simulated world; item 9 is in `sim`'s own tests, item 13 in `allocations.rs`, too, item 14 on real sockets in `udp`.

mod support;

use paceline_transport::{
    Algorithm, Backpressure, Config, Failure, Info, Kind, MS, SECOND, SendError, app::Command, pool::Purpose,
};
use paceline_wire::{
    frame::{Frame, Frames},
    packet::control,
};
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};
use support::{A, B, Call, OTHER_PEER, World};

const STREAM: u32 = 1;
const MBIT: u64 = 125_000;

/// Runs until node B has read this much of its one stream, or panics after a minute.
fn run_until_read(world: &mut World, bytes: u64) {
    let end = world.now_ns + 60 * SECOND;
    let done = world.run_until(end, |world| {
        world.nodes[B].streams.values().map(|heard| heard.read).sum::<u64>() >= bytes
    });
    assert!(done, "stalled: {:?} {:?}", world.stats(A), world.path(A));
}

/// A pool that is made first and dropped last: see `World::go_home`, which every test here ends with. This one ends in the
/// middle of a transfer, with bursts in the wheel, at the environment and on the wire.
#[test]
fn item_1_the_pool_is_made_first_and_dropped_last() {
    let config = Config { max_schedule_ahead_ns: 50 * MS, ..Config::default() };
    let mut world = World::connected(20 * MS, &config, Some(100 * MBIT));
    world.hub.borrow_mut().verdict_delay_ns = [3 * MS, 0];
    world.open(STREAM, 3);
    world.write(STREAM, 0, 4 << 20);
    let end = world.now_ns + 300 * MS;
    world.run_until(end, |_| false);
    assert!(world.scheduled(A) > 5, "{} in the wheel", world.scheduled(A));
    let World { nodes, hub, .. } = world;
    let [a, b] = nodes.map(|node| {
        let support::Node { worker, pool, .. } = node;
        let lent = pool.stats().lent;
        drop(worker);
        (pool, lent)
    });
    assert!(a.1 > 5, "{} lent in the middle of it", a.1);
    // Bursts on the wire are the last to hold one.
    drop(hub);
    for (pool, _) in [a, b] {
        assert_eq!((std::sync::Arc::strong_count(&pool), pool.stats().lent), (1, 0));
    }
}

/// What a stream leaves behind when it is reset with bursts in the wheel or in line, and how long another one's 400 KB take then.
/// Two paths, with such a stream each, plan more than an endpoint's bucket gives.
fn reset_beside_another(config: Config, path_rate: Option<u64>, paths: u32) -> (u64, u64) {
    const OTHER: u32 = 3;
    const BYTES: u64 = 400_000;
    let mut world = World::connected(50 * MS, &config, path_rate);
    world.open(STREAM, 3);
    world.open(OTHER, 3);
    world.write(STREAM, 0, 4 << 20);
    let mut doomed = vec![STREAM];
    if paths == 2 {
        const AWAY: u32 = 5;
        world.connect(OTHER_PEER, 50 * MS, path_rate);
        world.command(A, Command::Open { stream: AWAY, peer: OTHER_PEER, priority: 3 });
        world.write(AWAY, 0, 4 << 20);
        doomed.push(AWAY);
    }
    assert_eq!(world.stats(A).paths, u64::from(paths));
    let warm = world.now_ns + 2 * SECOND;
    world.run_until(warm, |_| false);
    let in_wheel = world.scheduled(A);
    let before = world.stats(A);
    world.watch();
    for stream in &doomed {
        world.command(A, Command::Reset { stream: *stream, code: 300 });
    }
    world.write(OTHER, 0, BYTES);
    let reset_ns = world.now_ns;
    // B's second stream is A's second.
    let read = |world: &World| world.nodes[B].streams.get(&4).map_or(0, |heard| heard.read);
    let end = world.now_ns + 10 * SECOND;
    assert!(world.run_until(end, |world| read(world) >= BYTES), "{:?}", world.stats(A));
    let took_ns = world.now_ns - reset_ns - 50 * MS;
    let after = world.stats(A);
    assert_eq!(after.cancelled - before.cancelled, in_wheel, "exactly what was in the wheel");
    let left = world
        .seen()
        .into_iter()
        .filter(|seen| doomed.contains(&seen.stream) && seen.kind == Kind::Data)
        .count();
    assert_eq!(left, 0, "sent after its end");
    // Nobody asks for it again: not one completion more.
    let end = world.now_ns + SECOND;
    world.run_until(end, |_| false);
    assert_eq!(world.stats(A).cancelled, after.cancelled);
    for stream in &doomed {
        assert_eq!(world.nodes[A].streams[stream].failure, Some(Failure::LocalReset(300)));
    }
    world.go_home();
    (in_wheel, took_ns)
}

/// Item 2: a stream is destroyed with transmissions in the wheel.
#[test]
fn item_2_a_destroyed_stream_is_cancelled_refunded_and_comes_home() {
    const RATE: u64 = 8 * MBIT;
    let config = Config {
        max_schedule_ahead_ns: 100 * MS,
        max_in_flight_transmissions: 256,
        congestion_control: Algorithm::Cubic,
        ..Config::default()
    };
    // The 400 KB with 5 % of headers at the rate.
    let ideal_ns = 400_000 * SECOND * 105 / 100 / RATE;
    // The endpoint's bucket is the bottleneck: the dead in its line take no token.
    let capped = Config { max_rate: Some(RATE), ..config.clone() };
    let (in_line, took_ns) = reset_beside_another(capped, None, 2);
    println!("bucket: {in_line} cancelled, {} ms for what takes {} ms", took_ns / MS, ideal_ns / MS);
    assert!(in_line >= 5, "{in_line} in line");
    assert!(took_ns < ideal_ns + 40 * MS);
    // The path's rate is: others come after what is scheduled, and not a moment later.
    let config_ahead_ns = config.max_schedule_ahead_ns;
    let (in_wheel, took_ns) = reset_beside_another(config, Some(RATE), 1);
    println!("pacer: {in_wheel} cancelled, {} ms for what takes {} ms", took_ns / MS, ideal_ns / MS);
    assert!(in_wheel >= 20, "{in_wheel} in the wheel");
    assert!(took_ns < ideal_ns + config_ahead_ns + 5 * MS);
}

/// Item 2: … and with bursts that are due and wait for the socket.
#[test]
fn item_2_what_waits_for_the_socket_is_cancelled_too() {
    let config = Config { max_in_flight_transmissions: 256, ..Config::default() };
    let mut world = World::connected(MS, &config, Some(100 * MBIT));
    world.open(STREAM, 3);
    world.write(STREAM, 0, 4 << 20);
    let warm = world.now_ns + SECOND / 10;
    world.run_until(warm, |_| false);
    let full = Rc::new(Cell::new(true));
    let shut = Rc::clone(&full);
    world.hub.borrow_mut().blocks[A] =
        Some(Box::new(
            move |now_ns| {
                if shut.get() { Backpressure::Until(now_ns + MS) } else { Backpressure::None }
            },
        ));
    let end = world.now_ns + 20 * MS;
    world.run_until(end, |_| false);
    let waiting = world.nodes[A].worker.audit().due_len;
    assert!(waiting >= 1, "nothing was due");
    let before = world.stats(A);
    world.watch();
    world.command(A, Command::Reset { stream: STREAM, code: 300 });
    full.set(false);
    let end = world.now_ns + SECOND;
    world.run_until(end, |_| false);
    let left =
        world.seen().into_iter().filter(|seen| seen.stream == STREAM && seen.kind == Kind::Data).count();
    println!("{waiting} waited for the socket, {left} left after the reset");
    assert_eq!(left, 0, "sent after its end");
    assert!(world.stats(A).cancelled - before.cancelled >= waiting as u64);
    assert!(world.hub.borrow().blocked > 0);
    world.go_home();
}

/// Item 5: 1,000 streams have all they can schedule; then one of a higher priority has a first packet.
#[test]
fn item_5_a_high_priority_packet_waits_a_schedule_ahead_and_a_burst() {
    for rate in [8 * MBIT, 100 * MBIT, 1_000 * MBIT] {
        let config = Config { max_incoming_streams: 4096, ..Config::default() };
        let mut world = World::connected(5 * MS, &config, Some(rate));
        for stream in 0..1_000 {
            world.open(2 * stream + 1, 4);
            world.write(2 * stream + 1, 0, 64 << 10);
        }
        let first = 3_001;
        world.open(first, 1);
        let warm = world.now_ns + SECOND / 2;
        world.run_until(warm, |_| false);
        let busy = (0..1_000)
            .filter(|stream| {
                world.nodes[A].streams.get(&(2 * stream + 1)).is_none_or(|heard| heard.sealed < 64 << 10)
            })
            .count();
        assert!(busy > 300, "{busy} busy streams");
        let mut most = 0.0_f64;
        for round in 0..20 {
            world.watch();
            let asked_ns = world.now_ns;
            world.write(first, round * 1_000, 1_000);
            let end = world.now_ns + 30 * MS;
            let left = |world: &World| {
                let hub = world.hub.borrow();
                hub.seen
                    .iter()
                    .flatten()
                    .find(|seen| seen.stream == first && seen.kind == Kind::Data)
                    .map(|seen| seen.at_ns)
            };
            assert!(world.run_until(end, |world| left(world).is_some()), "{:?}", world.path(A));
            let waited_ns = left(&world).unwrap() - asked_ns;
            // What a burst is: a millisecond of the rate, at least two packets, at most 64 KiB.
            let rate = world.path(A).pacing_rate;
            let burst_ns = (rate / 1_000).clamp(2 * 1_472, 64 << 10) * SECOND / rate;
            let bound_ns = config.max_schedule_ahead_ns + burst_ns;
            most = most.max(waited_ns as f64 / bound_ns as f64);
            assert!(waited_ns <= bound_ns, "{rate} B/s: {waited_ns} ns of {bound_ns} ns");
            let end = world.now_ns + 7 * MS;
            world.run_until(end, |_| false);
        }
        println!("{rate} B/s: at most {:.0} % of the bound", most * 100.0);
        assert!(most > 0.2, "nothing stood before it");
    }
}

/// Item 5: what a path has scheduled and not yet sent, after every step of both nodes, at rates from 1 Mbit/s to 5 Gbit/s.
#[test]
fn item_5_scheduled_bytes_are_bounded() {
    for (rate, ahead_ns) in
        [(MBIT, 2 * MS), (50 * MBIT, 2 * MS), (50 * MBIT, 20 * MS), (5_000 * MBIT, 2 * MS)]
    {
        let config =
            Config { max_schedule_ahead_ns: ahead_ns, max_in_flight_transmissions: 256, ..Config::default() };
        let mut world = World::connected(MS, &config, Some(rate));
        for stream in 0..8 {
            world.open(2 * stream + 1, 3);
            world.write(2 * stream + 1, 0, 1 << 20);
        }
        // A stalled socket, too: nothing more is scheduled meanwhile.
        let stalled = Rc::new(Cell::new(0));
        let counter = Rc::clone(&stalled);
        let start = world.now_ns;
        world.hub.borrow_mut().blocks[A] = Some(Box::new(move |now_ns| {
            if (now_ns - start) % (10 * MS) > 8 * MS {
                counter.set(counter.get() + 1);
                return Backpressure::Until(now_ns + MS / 2);
            }
            Backpressure::None
        }));
        let mut most = 0.0_f64;
        let mut looked = 0_u64;
        // Enough bursts of the slowest, too.
        let end = world.now_ns + if rate == MBIT { 2 * SECOND } else { SECOND / 2 };
        world.run_until(end, |world| {
            let path = world.path(A);
            let burst = (path.pacing_rate / 1_000).clamp(2 * 1_472, 64 << 10);
            let bound = burst.max(path.pacing_rate * ahead_ns / SECOND);
            if path.scheduled_bytes > 0 {
                looked += 1;
                most = most.max(path.scheduled_bytes as f64 / bound as f64);
            }
            false
        });
        println!(
            "{rate} B/s, {} ms ahead: at most {:.0} % of the bound, {looked} looks",
            ahead_ns / MS,
            most * 100.0
        );
        assert!(looked > 50 && stalled.get() > 5);
        assert!(most <= 1.0, "{most} of the bound");
        assert!(most > 0.4, "never near it: {most}");
    }
}

/// Item 5: every credit that was taken comes back exactly once, whichever way the transmission ended.
#[test]
fn item_5_credits_come_back_on_sent_failed_and_cancelled() {
    let config =
        Config { max_in_flight_transmissions: 2, max_schedule_ahead_ns: 20 * MS, ..Config::default() };
    let mut world = World::connected(3 * MS, &config, Some(80 * MBIT));
    world.hub.borrow_mut().fails[A] = Some(Box::new(|number, transmission| {
        (transmission.kind == Kind::Data && number.is_multiple_of(7)).then_some(SendError::Os(105))
    }));
    world.hub.borrow_mut().verdict_delay_ns = [MS, 0];
    for stream in 0..20 {
        world.open(2 * stream + 1, 1 + (stream % 7) as u8);
        world.write(2 * stream + 1, 0, 300_000);
        world.command(A, Command::WantAcknowledged { stream: 2 * stream + 1, offset: 300_000 });
        if stream % 2 == 0 {
            world.command(A, Command::Finish(2 * stream + 1));
        }
    }
    let end = world.now_ns + 150 * MS;
    world.run_until(end, |_| false);
    for stream in (0..20).filter(|stream| stream % 4 == 1) {
        world.command(A, Command::Reset { stream: 2 * stream + 1, code: 300 });
    }
    let end = world.now_ns + 60 * SECOND;
    let all = |world: &World| {
        (0..20).filter(|stream| stream % 4 != 1).all(|stream| {
            world.nodes[A].streams.get(&(2 * stream + 1)).is_some_and(|heard| heard.acknowledged == 300_000)
        })
    };
    assert!(world.run_until(end, all), "a credit was lost: {:?}", world.stats(A));
    let [stats, _] = world.go_home();
    assert!(stats.sent > 100 && stats.failed > 20 && stats.cancelled > 1, "{stats:?}");
}

/// What the environments were asked since they were last looked at.
fn take_calls(world: &World) -> Vec<(usize, Call)> {
    world.hub.borrow_mut().calls.as_mut().map(std::mem::take).expect("asked for")
}

/// Item 6: what a step asks of its environment, in its order.
#[test]
fn item_6_the_order_of_a_step() {
    let mut world = World::connected(MS, &Config::default(), None);
    world.open(STREAM, 3);
    let end = world.now_ns + 50 * MS;
    world.run_until(end, |_| false);
    world.hub.borrow_mut().calls = Some(Vec::new());
    world.watch();
    // Inbox before fill before submit before events: a write is on the wire, and settled, in the step that sees it.
    world.write(STREAM, 0, 1_000);
    let before = world.stats(A);
    let step = world.step(A);
    let calls: Vec<Call> = take_calls(&world).into_iter().map(|(_, call)| call).collect();
    use Call::{BurstLimits, NothingToReceive, PollResults, Received, Submit};
    assert_eq!(calls, [NothingToReceive, PollResults, BurstLimits, Submit, PollResults]);
    let after = world.stats(A);
    assert_eq!((after.transmissions - before.transmissions, after.sent - before.sent), (1, 1));
    assert!(!step.busy);
    // Receive before control before submit: the packet's ACK leaves in the step that reads it, and the application is told.
    world.now_ns += MS;
    let step = world.step(B);
    let calls: Vec<Call> = take_calls(&world).into_iter().map(|(_, call)| call).collect();
    assert_eq!(calls, [Received, NothingToReceive, PollResults, Submit, PollResults]);
    assert!(step.news);
    let kinds: Vec<Kind> = world.seen().iter().map(|seen| seen.kind).collect();
    assert_eq!(kinds, [Kind::Data, Kind::Control]);
    // ACKs before fill: window that an ACK opens is used in the step that reads it. Here: the rest of a write beyond the window.
    world.write(STREAM, 1_000, 16 << 20);
    let end = world.now_ns + 3 * SECOND;
    world.hub.borrow_mut().calls = Some(Vec::new());
    let mut used_at_once = 0;
    world.run_until(end, |world| {
        let calls = take_calls(world);
        let of_a: Vec<Call> =
            calls.into_iter().filter(|(node, _)| *node == A).map(|(_, call)| call).collect();
        let position = |wanted: Call| of_a.iter().position(|call| *call == wanted);
        if let (Some(received), Some(limits), Some(submit)) =
            (position(Received), position(BurstLimits), position(Submit))
        {
            assert!(received < limits && limits < submit, "{of_a:?}");
            used_at_once += 1;
        }
        false
    });
    assert!(used_at_once > 5, "{used_at_once} steps in which an ACK led to a burst");
    world.go_home();
}

/// Item 6: `step()` costs O(due + received). Shown by time, as a ratio: a linear scan over the streams would make it 100.
#[test]
#[allow(clippy::disallowed_methods, reason = "measures")]
fn item_6_a_step_does_not_cost_more_with_idle_streams() {
    const FEW: u32 = 1_000;
    const MANY: u32 = 100_000;
    let cost = |idle: u32| {
        let config = Config {
            max_streams: 1 << 17,
            max_incoming_streams: 1 << 17,
            initial_window: 64 << 10,
            keep_alive: false,
            idle_timeout_ns: 600 * SECOND,
            ..Config::default()
        };
        let mut world = World::connected(MS, &config, Some(10_000 * MBIT));
        let mut opened = 0;
        while opened < idle {
            for _ in 0..500 {
                world.open(2 * opened + 1, 3);
                opened += 1;
            }
            let end = world.now_ns + 20 * MS;
            world.run_until(end, |_| false);
        }
        let end = world.now_ns + SECOND;
        world.run_until(end, |_| false);
        assert_eq!((world.stats(A).streams, world.stats(B).streams), (u64::from(idle), u64::from(idle)));
        // One of them sends a message a millisecond: each step has one burst or one ACK.
        let mut best_ns = u128::MAX;
        let mut written = 0;
        // The best of many: others use the machine, too.
        for _ in 0..20 {
            let steps = world.steps;
            let begin = std::time::Instant::now();
            for _ in 0..400 {
                world.write(STREAM, written, 100);
                written += 100;
                let end = world.now_ns + MS;
                world.run_until(end, |_| false);
            }
            let steps = u128::from(world.steps - steps);
            assert!(steps >= 800, "{steps}");
            best_ns = best_ns.min(begin.elapsed().as_nanos() / steps);
        }
        (best_ns, world.nodes[B].streams.values().map(|heard| heard.read).sum::<u64>())
    };
    let (few, read) = cost(FEW);
    assert!(read >= 100 * 7_990);
    let (many, _) = cost(MANY);
    let ratio = many as f64 / few as f64;
    println!("{few} ns a step with {FEW} idle streams, {many} ns with {MANY}: {ratio:.2}");
    assert!(ratio < 8.0, "{few} ns a step with {FEW} idle streams, {many} ns with {MANY}");
}

/// Item 6: shutdown drains. Whatever is in the wheel, at the environment or unacknowledged, `done` comes after it.
#[test]
fn item_6_shutdown_drains() {
    for verdict_delay_ns in [0, 10 * MS] {
        let config = Config { max_schedule_ahead_ns: 50 * MS, ..Config::default() };
        let mut world = World::connected(10 * MS, &config, Some(50 * MBIT));
        world.hub.borrow_mut().verdict_delay_ns = [verdict_delay_ns; 2];
        for stream in 0..10 {
            world.open(2 * stream + 1, 3);
            world.write(2 * stream + 1, 0, 1 << 20);
        }
        let end = world.now_ns + 200 * MS;
        world.run_until(end, |_| false);
        let in_wheel = world.scheduled(A);
        assert!(in_wheel > 3, "{in_wheel}");
        world.command(A, Command::Shutdown);
        let end = world.now_ns + 10 * SECOND;
        assert!(world.run_until(end, |world| world.nodes[A].done));
        assert_eq!((world.scheduled(A), world.stats(A).streams), (0, 0));
        assert!(
            (0..10).all(|stream| world.nodes[A].streams[&(2 * stream + 1)].closed),
            "each stream's end was told"
        );
        let [stats, _] = world.go_home();
        assert!(stats.cancelled >= if verdict_delay_ns == 0 { in_wheel } else { 3 }, "{}", stats.cancelled);
    }
}

/// Item 10: one packet of a burst is lost five times, four bytes of patch at a time; what opens is the original.
#[test]
fn item_10_a_packet_retransmitted_five_times_opens() {
    for (unlucky_index, bytes) in [(0, 1_000), (3, 300_000)] {
        let mut world = World::connected(5 * MS, &Config::default(), None);
        let losses = Rc::new(Cell::new(0));
        let unlucky = Rc::new(Cell::new(None));
        let (counter, chosen) = (Rc::clone(&losses), Rc::clone(&unlucky));
        world.hub.borrow_mut().loses[A] = Some(Box::new(move |transmission, index| {
            let Some(info) = transmission.infos.get(index).filter(|info| info.payload_len > 0) else {
                return false;
            };
            if chosen.get().is_none() && index == unlucky_index {
                chosen.set(Some(info.stream_offset));
            }
            let hit = counter.get() < 5 && chosen.get() == Some(info.stream_offset);
            counter.set(counter.get() + u32::from(hit));
            hit
        }));
        world.watch();
        world.open(STREAM, 3);
        world.write(STREAM, 0, bytes);
        world.command(A, Command::Finish(STREAM));
        run_until_read(&mut world, bytes);
        assert_eq!(losses.get(), 5);
        let unlucky_offset = unlucky.get().expect("one was chosen");
        let copies: Vec<_> = world
            .seen()
            .into_iter()
            .filter(|seen| {
                seen.node == A
                    && seen.packets.iter().any(|(_, offset, len)| *offset == unlucky_offset && *len > 0)
            })
            .collect();
        assert_eq!(copies.len(), 6, "once as new data and five times again");
        assert!(copies[1..].iter().all(|copy| copy.packets.len() == 1), "one packet, never the burst");
        let numbers: Vec<u64> = copies[1..].iter().map(|copy| copy.packets[0].0).collect();
        assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?}");
        let [_, stats] = world.go_home();
        // A copy may come after the original did; nothing else is dropped.
        assert!(stats.packets_dropped <= 1, "every copy authenticated: {}", stats.packets_dropped);
    }
}

/// Item 10: data has taken its share of both pools; lost packets and ACKs leave nevertheless, and both sides get on.
#[test]
fn item_10_an_exhausted_data_share_stops_neither_retransmissions_nor_acks() {
    const RESERVE: usize = 64 << 10;
    let config = Config { pool_bytes: 128 << 10, pool_reserve_bytes: RESERVE, ..Config::default() };
    let mut world = World::connected(20 * MS, &config, None);
    let mut random = 1_u64;
    let data_share = config.pool_bytes - RESERVE;
    let meanwhile = [(); 2].map(|()| Rc::new(Cell::new(0_u64)));
    let [sent_again, acknowledged] = meanwhile.clone();
    let pool = std::sync::Arc::downgrade(&world.nodes[A].pool);
    // Not even the smallest buffer of a burst, 16 KiB, is left for data.
    let exhausted =
        move || pool.upgrade().is_some_and(|pool| pool.stats().lent_bytes + (16 << 10) > data_share);
    let also_exhausted = exhausted.clone();
    world.hub.borrow_mut().loses[A] = Some(Box::new(move |transmission, _| {
        sent_again
            .set(sent_again.get() + u64::from(transmission.kind == Kind::Retransmission && exhausted()));
        random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        transmission.kind.is_stream_data() && random >> 61 == 0
    }));
    world.hub.borrow_mut().loses[B] = Some(Box::new(move |transmission, _| {
        acknowledged
            .set(acknowledged.get() + u64::from(transmission.kind == Kind::Control && also_exhausted()));
        false
    }));
    for stream in 0..8 {
        world.open(2 * stream + 1, 3);
        world.write(2 * stream + 1, 0, 200_000);
        world.command(A, Command::Finish(2 * stream + 1));
    }
    let end = world.now_ns + 120 * SECOND;
    let done = world.run_until(end, |world| {
        world.nodes[A].streams.len() == 8
            && world.nodes[A].streams.values().all(|heard| heard.fin_acknowledged)
    });
    assert!(done, "{:?} {:?}", world.stats(A), world.path(A));
    let [sent_again, acknowledged] = meanwhile.map(|count| count.get());
    let (stats, lost) = (world.stats(A), world.hub.borrow().lost);
    println!(
        "{} times refused, {sent_again} sent again and {acknowledged} ACKs meanwhile, {lost} lost",
        stats.pool_exhausted
    );
    assert!(stats.pool_exhausted > 20 && lost > 30, "{stats:?}");
    assert!(sent_again >= 5 && acknowledged > 100, "{sent_again} sent again, {acknowledged} ACKs");
    world.go_home();
}

/// Item 10, to the last buffer: somebody holds all that data may have, on both sides, while a packet is lost.
#[test]
fn item_10_with_nothing_left_for_data_a_lost_packet_leaves_again_and_is_acknowledged() {
    const BYTES: u64 = 40_000;
    let mut world = World::connected(10 * MS, &Config::default(), None);
    let lost = Rc::new(Cell::new(0));
    let counter = Rc::clone(&lost);
    world.hub.borrow_mut().loses[A] = Some(Box::new(move |transmission, index| {
        // One of the last burst's, so that its loss is found when nothing is left.
        let late = transmission.infos.get(index).is_some_and(|info| info.stream_offset > BYTES - 10_000);
        let hit = transmission.kind == Kind::Data && late && counter.get() == 0;
        counter.set(counter.get() + u32::from(hit));
        hit
    }));
    world.open(STREAM, 3);
    world.write(STREAM, 0, BYTES);
    world.command(A, Command::Finish(STREAM));
    // Everything is sealed and on its way; the first ACK is not back yet, or just is.
    let end = world.now_ns + SECOND;
    assert!(world.run_until(end, |world| world.scheduled(A) == 0 && world.stats(A).packets * 1_408 > BYTES));
    let hold = |world: &World, node: usize| -> Vec<_> {
        let pool = &world.nodes[node].pool;
        [64 << 10, 16 << 10, 1]
            .into_iter()
            .flat_map(|len| std::iter::from_fn(move || pool.take(len, Purpose::Data).ok()))
            .collect()
    };
    let held = [A, B].map(|node| hold(&world, node));
    assert!(held.iter().all(|held| held.len() > 400), "{:?}", held.each_ref().map(Vec::len));
    let refused = |world: &World| world.nodes[A].pool.take(1, Purpose::Data).is_err();
    assert!(refused(&world));
    let again = world.stats(A).packets_retransmitted;
    let end = world.now_ns + 5 * SECOND;
    let done =
        |world: &World| world.nodes[A].streams.get(&STREAM).is_some_and(|heard| heard.fin_acknowledged);
    assert!(world.run_until(end, done), "{:?}", world.stats(A));
    assert!(lost.get() == 1 && world.stats(A).packets_retransmitted > again);
    assert_eq!(world.nodes[B].streams.values().map(|heard| heard.read).sum::<u64>(), BYTES);
    drop(held);
    world.go_home();
}

/// Item 11: both sides send bulk, one of them in tiny packets: 32 streams that want an ACK for every message.
#[test]
fn item_11_data_does_not_starve_under_an_ack_flood() {
    let goodput = |flood: bool| {
        let mut world = World::connected(5 * MS, &Config::default(), Some(100 * MBIT));
        // A's control packets alone: each leaves and comes home like any other.
        world.watch();
        world.open(STREAM, 3);
        world.write(STREAM, 0, 16 << 20);
        let mut written = vec![0_u64; 32];
        // Streams of B's are A's to acknowledge.
        if flood {
            for stream in 0..32 {
                world.command(B, Command::Open { stream: 2 * stream + 1, peer: 2, priority: 3 });
            }
        }
        let (begin, mut acks) = (world.now_ns, 0);
        while world.now_ns < begin + SECOND {
            if flood {
                for (stream, written) in written.iter_mut().enumerate() {
                    let data: Vec<u8> = (*written..*written + 20).map(support::byte_at).collect();
                    *written += 20;
                    world.command(B, Command::Write { stream: 2 * stream as u32 + 1, data: data.into() });
                }
            }
            let end = world.now_ns + MS / 4;
            world.run_until(end, |_| false);
            acks += world.seen().iter().filter(|seen| seen.node == A && seen.kind == Kind::Control).count();
            world.watch();
        }
        let read: u64 = world.nodes[B].streams.values().map(|heard| heard.read).sum();
        (read, acks)
    };
    let ((alone, few), (beside, many)) = (goodput(false), goodput(true));
    println!("{alone} bytes alone ({few} ACKs), {beside} beside {many} ACKs");
    assert!(many > 10_000, "{many} ACKs are no flood");
    assert!(beside * 100 >= alone * 90, "{beside} of {alone} bytes");
}

/// Item 11: an ACK leaves in the step that read the packet, ahead of data that is due, however much waits.
#[test]
fn item_11_acks_do_not_wait_behind_data() {
    let config =
        Config { max_schedule_ahead_ns: 100 * MS, max_in_flight_transmissions: 256, ..Config::default() };
    let mut world = World::connected(10 * MS, &config, Some(20 * MBIT));
    world.open(STREAM, 1);
    world.write(STREAM, 0, 8 << 20);
    world.command(B, Command::Open { stream: STREAM, peer: 2, priority: 7 });
    let warm = world.now_ns + SECOND;
    world.run_until(warm, |_| false);
    let mut answered = 0;
    for message in 0..100_u64 {
        world.watch();
        let data: Vec<u8> = (message * 100..message * 100 + 100).map(support::byte_at).collect();
        world.command(B, Command::Write { stream: STREAM, data: data.into() });
        let written_ns = world.now_ns;
        let end = written_ns + 23 * MS;
        world.run_until(end, |_| false);
        let seen = world.seen();
        let sent = seen.iter().find(|seen| seen.node == B && seen.kind == Kind::Data).expect("a message");
        let ack = seen
            .iter()
            .find(|seen| seen.node == A && seen.kind == Kind::Control && seen.at_ns >= sent.at_ns)
            .expect("an ACK");
        assert_eq!(ack.at_ns, sent.at_ns + 10 * MS, "in the step that read the message");
        // Of what left in that step, it was the first.
        let first =
            seen.iter().find(|seen| seen.node == A && seen.at_ns == ack.at_ns).expect("itself at least");
        assert_eq!(first.kind, Kind::Control);
        answered += 1;
    }
    assert_eq!(answered, 100);
    assert!(world.scheduled(A) > 3, "data was waiting all the time");
}

/// Item 11: while two are out, an ACK that is owed is a flag: at most two per stream, and what leaves next says the newest.
#[test]
fn item_11_the_newest_ack_replaces_the_waiting_ones() {
    let mut world = World::connected(MS, &Config::default(), Some(10 * MBIT));
    // Verdicts of B's control packets take long: 20 ms, in which many packets arrive.
    world.hub.borrow_mut().verdict_delay_ns = [0, 20 * MS];
    world.watch();
    world.open(STREAM, 3);
    world.write(STREAM, 0, 1 << 20);
    run_until_read(&mut world, 1 << 20);
    let seen = world.seen();
    let data: Vec<_> = seen.iter().filter(|seen| seen.node == A && seen.kind == Kind::Data).collect();
    let acks: Vec<_> = seen.iter().filter(|seen| seen.node == B && seen.kind == Kind::Control).collect();
    assert!(data.len() > 4 * acks.len() && acks.len() > 20, "{} bursts, {} ACKs", data.len(), acks.len());
    let mut newest_before = None;
    for (index, ack) in acks.iter().enumerate() {
        // Out are those whose verdict is not back.
        let out = acks[..index].iter().filter(|earlier| earlier.at_ns + 20 * MS > ack.at_ns).count();
        assert!(out < 2, "{out} out already");
        let packet = control::Packet::decode(&ack.control).unwrap();
        let largest = Frames::new(packet.control_data())
            .filter_map(|frame| match frame {
                Ok(Frame::Ack(ranges)) if ranges.ecn.is_some() => {
                    ranges.ranges().map(|range| *range.end()).max()
                }
                _ => None,
            })
            .max();
        // Everything that had arrived when it was encoded.
        let arrived = data
            .iter()
            .filter(|burst| burst.at_ns + MS <= ack.at_ns)
            .flat_map(|burst| burst.packets.iter().map(|(number, ..)| *number))
            .max();
        assert_eq!(largest, arrived, "the newest state");
        assert!(largest >= newest_before);
        newest_before = largest;
    }
    world.hub.borrow_mut().verdict_delay_ns = [0; 2];
    world.go_home();
}

/// Item 12: this file's environment is not known to any file of transport's, `udp` or `sim`; it carries a transfer both ways.
#[test]
fn item_12_a_third_environment_touches_no_transport_file() {
    let mut world = World::connected(2 * MS, &Config::default(), None);
    world.open(STREAM, 3);
    world.write(STREAM, 0, 3 << 20);
    world.command(A, Command::Finish(STREAM));
    let end = world.now_ns + 30 * SECOND;
    let closed =
        |world: &World| world.nodes.iter().all(|node| node.streams.values().any(|heard| heard.closed));
    assert!(world.run_until(end, closed));
    assert_eq!(world.nodes[A].streams[&STREAM].acknowledged, 3 << 20);
    assert!(
        world.nodes[B].streams.values().all(|heard| heard.ended && heard.closed && heard.read == 3 << 20)
    );
    world.go_home();
}

/// Item 13: of one burst, two packets are lost. They alone leave again, each by itself; the others are acknowledged meanwhile.
#[test]
fn item_13_each_packet_of_a_burst_has_its_own_fate() {
    const BYTES: u64 = 60_000;
    const DELAY: u64 = 5 * MS;
    const UNLUCKY: [usize; 2] = [1, 3];
    let mut world = World::connected(DELAY, &Config::default(), None);
    let burst = Rc::new(RefCell::new(Vec::new()));
    let chosen = Rc::clone(&burst);
    world.hub.borrow_mut().loses[A] = Some(Box::new(move |transmission, index| {
        let mut burst = chosen.borrow_mut();
        if burst.is_empty() && transmission.kind == Kind::Data && transmission.infos.len() >= 8 {
            *burst = transmission.infos.to_vec();
        }
        let first = burst.first().map(|info: &Info| info.number);
        let of_it =
            transmission.infos.first().map(|info| info.number) == first && transmission.kind == Kind::Data;
        of_it && UNLUCKY.contains(&index)
    }));
    world.watch();
    world.open(STREAM, 3);
    world.write(STREAM, 0, BYTES);
    world.command(A, Command::Finish(STREAM));
    let end = world.now_ns + SECOND;
    assert!(world.run_until(end, |world| world.stats(A).packets_retransmitted == 2));
    // The first news of the burst acknowledges all of its packets but these two.
    let infos = burst.borrow().clone();
    let others = infos.iter().enumerate().filter(|(index, _)| !UNLUCKY.contains(index));
    let others: u64 = others.map(|(_, info)| u64::from(info.packet_len)).sum();
    assert_eq!(world.stats(A).bytes_acknowledged, others);
    let fin_acknowledged =
        |world: &World| world.nodes[A].streams.get(&STREAM).is_some_and(|heard| heard.fin_acknowledged);
    assert!(world.run_until(end, fin_acknowledged), "{:?}", world.stats(A));
    let seen: Vec<_> =
        world.seen().into_iter().filter(|seen| seen.node == A && seen.stream == STREAM).collect();
    let again: Vec<_> =
        seen.iter().filter(|seen| matches!(seen.kind, Kind::Retransmission | Kind::Probe)).collect();
    let offsets: Vec<u64> =
        again.iter().flat_map(|seen| seen.packets.iter().map(|packet| packet.1)).collect();
    assert_eq!(offsets, UNLUCKY.map(|index| infos[index].stream_offset), "{again:?}");
    assert!(again.iter().all(|seen| seen.kind == Kind::Retransmission && seen.packets.len() == 1));
    let stats = world.stats(A);
    assert_eq!((stats.packets_lost, stats.packets_retransmitted), (2, 2));
    // Round trips and the end come from ACKs, not from the verdicts of bursts.
    let rtt = world.path(A).smoothed_rtt_ns;
    assert!((2 * DELAY..3 * DELAY).contains(&rtt), "{rtt}");
    let last = seen.iter().rfind(|seen| seen.kind == Kind::Data).map(|seen| seen.at_ns);
    assert!(last.is_some_and(|at_ns| world.now_ns >= at_ns + 2 * DELAY), "{last:?}");
    run_until_read(&mut world, BYTES);
    world.go_home();
}

/// Item 14: a refused burst is refused as a whole. One fault at the k-th send costs at most a PTO; what persists has a code.
#[test]
fn item_14_all_or_nothing() {
    const BYTES: u64 = 400_000;
    let transfer = |fault: Option<(u64, SendError)>| {
        let mut world = World::connected(5 * MS, &Config::default(), Some(50 * MBIT));
        let begin = world.hub.borrow().submitted[A];
        let hits = Rc::new(Cell::new(0_u64));
        let counter = Rc::clone(&hits);
        world.hub.borrow_mut().fails[A] = Some(Box::new(move |number, _| {
            let (at, error) = fault?;
            (number - begin == at).then(|| {
                counter.set(counter.get() + 1);
                error
            })
        }));
        let start_ns = world.now_ns;
        world.open(STREAM, 3);
        world.write(STREAM, 0, BYTES);
        world.command(A, Command::Finish(STREAM));
        run_until_read(&mut world, BYTES);
        let (took_ns, srtt_ns) = (world.now_ns - start_ns, world.path(A).smoothed_rtt_ns);
        let end = world.now_ns + 10 * SECOND;
        assert!(world.run_until(end, |world| {
            world.nodes[A].streams.get(&STREAM).is_some_and(|heard| heard.closed)
        }));
        let hits = hits.get();
        let [stats, _] = world.go_home();
        (took_ns, srtt_ns, hits, stats)
    };
    let (clean_ns, srtt_ns, ..) = transfer(None);
    // RFC 9002 §6.2.1 with a variance of at most half an RTT, and the retry's own wait.
    let pto_ns = 3 * srtt_ns;
    let (mut worst_ns, mut hit) = (0, 0);
    // EPERM, EACCES, ENETUNREACH, EHOSTUNREACH, ECONNREFUSED, EBADF, EIO, EINVAL, ENOBUFS: all the same to a stream.
    for errno in [1, 13, 101, 113, 111, 9, 5, 22, 105] {
        for at in 1..=50 {
            let (took_ns, _, hits, stats) = transfer(Some((at, SendError::Os(errno))));
            worst_ns = worst_ns.max(took_ns.saturating_sub(clean_ns));
            hit += hits;
            assert!(stats.failed <= hits);
            assert!(
                took_ns <= clean_ns + pto_ns,
                "errno {errno} at {at}: {} ms instead of {} ms",
                took_ns / MS,
                clean_ns / MS
            );
        }
    }
    println!("{hit} faults, at most {} µs later, PTO {} µs", worst_ns / 1_000, pto_ns / 1_000);
    assert!(hit > 300, "{hit} faults happened");
}

#[test]
fn item_14_what_persists_has_a_code() {
    for error in [SendError::Os(1), SendError::Os(9), SendError::TooLarge] {
        let mut world = World::connected(5 * MS, &Config::default(), None);
        world.open(STREAM, 3);
        world.hub.borrow_mut().fails[A] = Some(Box::new(move |_, _| Some(error)));
        world.write(STREAM, 0, 100_000);
        let begin = world.now_ns;
        let end = world.now_ns + 10 * SECOND;
        assert!(world.run_until(end, |world| {
            world.nodes[A].streams.get(&STREAM).is_some_and(|heard| heard.failure.is_some())
        }));
        let errno = if let SendError::Os(errno) = error { errno } else { 90 };
        assert_eq!(world.nodes[A].streams[&STREAM].failure, Some(Failure::Send(errno)));
        let took = world.now_ns - begin;
        assert!((3 * SECOND..4 * SECOND).contains(&took), "{} ms", took / MS);
        assert!(world.hub.borrow().failed < 200, "{} attempts: no core is burnt", world.hub.borrow().failed);
        world.hub.borrow_mut().fails = [None, None];
        world.go_home();
    }
}

/// Item 14: what the socket did not take stays at the head, whole and in order.
#[test]
fn item_14_backpressure_keeps_order_and_loses_nothing() {
    let mut world = World::connected(5 * MS, &Config::default(), Some(50 * MBIT));
    let mut turn = 0_u64;
    world.hub.borrow_mut().blocks[A] = Some(Box::new(move |now_ns| {
        turn += 1;
        if turn.is_multiple_of(3) { Backpressure::Until(now_ns + 300_000) } else { Backpressure::None }
    }));
    world.watch();
    world.open(STREAM, 3);
    world.write(STREAM, 0, 1 << 20);
    world.command(A, Command::Finish(STREAM));
    run_until_read(&mut world, 1 << 20);
    assert!(world.hub.borrow().blocked > 50);
    let (mut numbers, mut next_offset) = (0, 0);
    for seen in world.seen().iter().filter(|seen| seen.node == A && seen.kind == Kind::Data) {
        assert!(seen.at_ns >= seen.scheduled_ns, "early");
        for (number, offset, len) in &seen.packets {
            // Numbers rise (one is skipped now and then); of bytes, none is missing and none comes twice.
            assert!(*number >= numbers);
            assert_eq!(*offset, next_offset);
            (numbers, next_offset) = (number + 1, offset + u64::from(*len));
        }
    }
    assert_eq!(next_offset, 1 << 20);
    assert_eq!(world.stats(A).packets_retransmitted, 0);
    world.go_home();
}
