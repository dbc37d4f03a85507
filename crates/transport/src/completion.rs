//! The queue a stream's completions come home to.

use crate::{
    sync::{Mutex, MutexGuard},
    transmission::{Completion, StreamKey},
};
use std::sync::{Arc, PoisonError};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere must not turn into a second one here: the data is a Vec, valid at every step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Streams whose queue is not empty. Shared by all queues of a worker, so that finding them costs O(completions).
#[derive(Debug, Default)]
pub struct Ready(Mutex<Vec<StreamKey>>);

impl Ready {
    /// Swaps the list with `into`, which must be empty.
    pub fn take(&self, into: &mut Vec<StreamKey>) {
        debug_assert!(into.is_empty());
        std::mem::swap(&mut *lock(&self.0), into);
    }
}

/// A stream's completions: pushed by the socket worker, swapped whole by the stream.
///
/// The stream owns it; each transmission holds a `Weak`, so a stream that is gone cancels what it left in the wheel.
#[derive(Debug)]
pub struct Queue {
    key: StreamKey,
    ready: Arc<Ready>,
    items: Mutex<Vec<Completion>>,
}

impl Queue {
    /// A queue for the stream `key`, announced through `ready` when it gets its first completion.
    pub fn new(key: StreamKey, ready: Arc<Ready>) -> Arc<Self> {
        Arc::new(Self { key, ready, items: Mutex::new(Vec::new()) })
    }

    /// Adds a completion. At most `maxInFlightTransmissions` and the stream's retransmissions can be out, which bounds it.
    pub fn push(&self, completion: Completion) {
        let first = {
            let mut items = lock(&self.items);
            if items.capacity() == 0 {
                // `push` would take room for four: 0.9 KiB for a stream that says something once in ten seconds.
                items.reserve_exact(1);
            }
            items.push(completion);
            items.len() == 1
        };
        if first {
            lock(&self.ready.0).push(self.key);
        }
    }

    /// For a stream that has become idle.
    pub(crate) fn shrink(&self) {
        lock(&self.items).shrink_to_fit();
    }

    /// Swaps the completions with `into`, which must be empty.
    pub fn take(&self, into: &mut Vec<Completion>) {
        debug_assert!(into.is_empty());
        std::mem::swap(&mut *lock(&self.items), into);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::{
        buffer::testing::Random,
        transmission::{Ecn, Kind, Outcome, Owner, Transmission},
    };
    use paceline_pool::{Config, Pool, Purpose, Segments};
    use std::{collections::VecDeque, net::Ipv4Addr};

    /// Many queues, one list of those that have something: what comes out of each is what went in, in order, once.
    #[test]
    fn equals_a_deque_per_stream() {
        const STREAMS: usize = 50;
        let pool = Pool::new(Config { capacity_bytes: 1 << 20, reserve_bytes: 0 }).unwrap();
        let filled = pool.take(1, Purpose::Data).unwrap().fill(1);
        let completion = |owner: &Arc<Queue>, mark: u64| Completion {
            transmission: Transmission {
                kind: Kind::Data,
                remote: (Ipv4Addr::LOCALHOST, 1).into(),
                local: None,
                ecn: Ecn::NotEct,
                priority: 1,
                segments: Segments::new(filled.clone(), 1),
                infos: Vec::new(),
                scheduled_ns: mark,
                path: None,
                stream: 1,
                key: Some(owner.key),
                owner: Owner::Stream(Arc::downgrade(owner)),
                recorded: false,
            },
            outcome: Outcome::Sent { at_ns: mark },
        };
        let ready = Arc::<Ready>::default();
        let key = |slot: usize, generation| StreamKey { slot: slot as u32, generation };
        let mut queues: Vec<Arc<Queue>> =
            (0..STREAMS).map(|slot| Queue::new(key(slot, 1), ready.clone())).collect();
        let mut model: Vec<VecDeque<u64>> = vec![VecDeque::new(); STREAMS];
        let (mut keys, mut batch) = (Vec::new(), Vec::new());
        let mut random = Random::new(1);
        let (mut operations, mut taken, mut orphaned) = (0_u64, 0_u64, 0_u64);
        while operations < 1_000_000 {
            operations += 1;
            let slot = random.below(STREAMS as u64) as usize;
            match random.below(64) {
                0 => {
                    // Everybody in the list, as a step does; a stream that is gone is passed over.
                    ready.take(&mut keys);
                    for key in keys.drain(..) {
                        let slot = key.slot as usize;
                        if queues[slot].key != key {
                            continue;
                        }
                        queues[slot].take(&mut batch);
                        for completion in batch.drain(..) {
                            assert_eq!(model[slot].pop_front(), Some(completion.transmission.scheduled_ns));
                            taken += 1;
                        }
                    }
                    assert!(model.iter().all(VecDeque::is_empty), "nobody waits unannounced");
                }
                1 if random.one_in(8) => {
                    // The stream is over and its slot has a new one; what was not taken goes with it.
                    let generation = queues[slot].key.generation + 1;
                    let weak = Arc::downgrade(&queues[slot]);
                    queues[slot] = Queue::new(key(slot, generation), ready.clone());
                    assert!(weak.upgrade().is_none());
                    orphaned += model[slot].len() as u64;
                    model[slot].clear();
                }
                _ => {
                    queues[slot].push(completion(&queues[slot], operations));
                    model[slot].push_back(operations);
                }
            }
        }
        assert!(taken > 900_000 && orphaned > 100, "{taken} taken, {orphaned} orphaned");
        drop((queues, batch));
        drop(filled);
        assert_eq!(pool.stats().lent, 0);
    }
}
