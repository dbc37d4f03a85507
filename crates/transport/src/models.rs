//! Completions, inbox and outbox: every order of events between two threads (loom, three preemptions at most).

use crate::{
    Completion, Ecn, Kind, Outcome, Owner, StreamKey, Transmission,
    app::{Command, Outbox, Shared, StreamUpdate},
    completion::{Queue, Ready},
    pool::{self, Pool, Purpose, Segments},
};
use loom::{model::Builder, thread};
use std::{net::Ipv4Addr, sync::Arc};

/// Preemptions looked at: beyond two, tokio's experience is, hardly any fault is left to find.
const PREEMPTIONS: usize = 3;
const STREAM: StreamKey = StreamKey { slot: 1, generation: 1 };

fn every_order(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS);
    builder.max_branches = 10_000;
    builder.check(model);
}

fn pool() -> Arc<Pool> {
    Pool::new(pool::Config { capacity_bytes: 64 << 10, reserve_bytes: 0 }).unwrap()
}

fn transmission(pool: &Arc<Pool>, queue: &Arc<Queue>) -> Transmission {
    Transmission {
        kind: Kind::Data,
        remote: (Ipv4Addr::LOCALHOST, 1).into(),
        local: None,
        ecn: Ecn::NotEct,
        priority: 1,
        segments: Segments::new(pool.take(1, Purpose::Data).unwrap().fill(1), 1),
        infos: Vec::new(),
        scheduled_ns: 0,
        path: None,
        stream: 1,
        key: Some(STREAM),
        owner: Owner::Stream(Arc::downgrade(queue)),
        recorded: false,
    }
}

/// What the socket worker does with a verdict: the owner's queue if it lives, else the descriptor goes home.
fn complete(transmission: Transmission) {
    let completion = Completion { transmission, outcome: Outcome::Sent { at_ns: 1 } };
    let Owner::Stream(owner) = &completion.transmission.owner else { return };
    if let Some(queue) = owner.upgrade() {
        queue.push(completion);
    }
}

/// What a stream does in a step: everybody in `Ready`, and all that is in their queues.
fn take(ready: &Ready, queue: &Queue) -> usize {
    let (mut keys, mut batch) = (Vec::new(), Vec::new());
    ready.take(&mut keys);
    for key in keys {
        assert_eq!(key, STREAM);
        queue.take(&mut batch);
    }
    batch.len()
}

/// Two threads complete, a third takes: each completion is taken once, and none waits in a queue that nobody announced.
#[test]
fn r9_completions_are_announced_in_every_order() {
    every_order(|| {
        let (pool, ready) = (pool(), Arc::<Ready>::default());
        let queue = Queue::new(STREAM, Arc::clone(&ready));
        let senders = [1, 2].map(|bursts| {
            let transmissions: Vec<_> = (0..bursts).map(|_| transmission(&pool, &queue)).collect();
            thread::spawn(move || transmissions.into_iter().for_each(complete))
        });
        let mut taken = take(&ready, &queue);
        for sender in senders {
            sender.join().unwrap();
        }
        taken += take(&ready, &queue);
        assert_eq!(taken, 3);
        assert_eq!(pool.stats().lent, 0);
    });
}

/// The stream is destroyed while its transmissions complete: whichever way it goes, every descriptor comes home.
#[test]
fn r9_a_stream_destroyed_while_its_transmissions_complete() {
    every_order(|| {
        let (pool, ready) = (pool(), Arc::<Ready>::default());
        let queue = Queue::new(STREAM, Arc::clone(&ready));
        let transmissions = [(); 2].map(|()| transmission(&pool, &queue));
        let sender = thread::spawn(move || transmissions.into_iter().for_each(complete));
        let taken = take(&ready, &queue);
        drop(queue);
        sender.join().unwrap();
        assert!(taken <= 2);
        assert_eq!(pool.stats().lent, 0);
    });
}

/// Two threads give commands, the worker swaps: none is lost, none doubled, each thread's stay in order.
#[test]
fn r9_commands_are_swapped_in_every_order() {
    every_order(|| {
        let shared = Arc::<Shared>::default();
        let given =
            |streams: &[u32]| streams.iter().map(|stream| Command::Finish(*stream)).collect::<Vec<_>>();
        let other = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                shared.submit(&mut given(&[1]));
                shared.submit(&mut given(&[2, 3]));
            })
        };
        let mut all = Vec::new();
        for _ in 0..2 {
            let waiting = shared.has_commands();
            let mut commands = Vec::new();
            shared.take_commands(&mut commands);
            assert!(!waiting || !commands.is_empty(), "nobody else takes");
            all.append(&mut commands);
        }
        other.join().unwrap();
        let mut rest = Vec::new();
        shared.take_commands(&mut rest);
        all.append(&mut rest);
        let order: Vec<u32> = all
            .iter()
            .map(|command| match command {
                Command::Finish(stream) => *stream,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(order, [1, 2, 3]);
        assert!(!shared.has_commands());
    });
}

/// A stream's update is merged into the one that waits, or begins anew after a swap: totals are told, nothing twice.
#[test]
fn r9_updates_are_merged_or_begin_anew() {
    every_order(|| {
        let shared = Arc::<Shared>::default();
        let worker = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let mut place: Option<(u64, usize)> = None;
                for sealed in 1..=3 {
                    let mut outbox = shared.outbox();
                    // As `write_update` does.
                    let index = match place {
                        Some((epoch, index)) if epoch == outbox.epoch => index,
                        _ => {
                            outbox.streams.push(StreamUpdate { stream: 1, ..StreamUpdate::default() });
                            outbox.streams.len() - 1
                        }
                    };
                    place = Some((outbox.epoch, index));
                    outbox.streams[index].sealed = sealed;
                    outbox.streams[index].skipped += 1;
                }
            })
        };
        let (mut newest, mut skipped) = (0, 0);
        let mut look = |shared: &Shared| {
            let mut news = Outbox::default();
            shared.take_news(&mut news);
            assert!(news.streams.len() <= 1, "at most once per stream");
            for update in news.streams {
                assert!(update.sealed > newest);
                newest = update.sealed;
                skipped += update.skipped;
            }
        };
        look(&shared);
        look(&shared);
        worker.join().unwrap();
        look(&shared);
        assert_eq!((newest, skipped), (3, 3));
    });
}
