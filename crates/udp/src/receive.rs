//! Receives bursts into pool memory.

use crate::{clock, counters::Tally, errno::Meaning, link::Link};
use paceline_transport::{
    Received,
    pool::{Pool, Purpose, Segments},
};
use std::sync::Arc;

/// A whole receive offload burst: 65,535 bytes less headers at most.
pub(crate) const BURST_BYTES: usize = 64 << 10;
/// Calls without a burst (empty datagrams, errors of other datagrams) before the worker gets its turn again.
const MAX_FRUITLESS: u32 = 32;

/// The receive half.
#[derive(Debug)]
pub(crate) struct Receiver {
    pool: Arc<Pool>,
    tally: Arc<Tally>,
}

/// What an attempt to receive brought.
#[derive(Debug)]
pub(crate) enum Attempt {
    /// A burst.
    Burst(Received),
    /// Nothing is there; the socket will become readable.
    Empty,
    /// Something may be there and cannot be taken: no memory, or the socket is broken. Waiting for readability would spin.
    Stuck,
}

impl Receiver {
    pub(crate) fn new(pool: Arc<Pool>, tally: Arc<Tally>) -> Self {
        Self { pool, tally }
    }

    /// One burst. The descriptor is taken for the call and given back if nothing came, so an idle socket holds none.
    pub(crate) fn receive(&self, link: &mut impl Link) -> Attempt {
        let Ok(mut descriptor) = self.pool.take(BURST_BYTES, Purpose::Receive) else {
            self.tally.starved.add(1);
            return Attempt::Stuck;
        };
        for _ in 0..MAX_FRUITLESS {
            let arrival = match link.receive(descriptor.buffer()) {
                Ok(arrival) => arrival,
                Err(errno) => match errno.meaning() {
                    Meaning::SocketFull => return Attempt::Empty,
                    // ICMP answers to something sent earlier; recovery and the idle timeout judge a peer, not these.
                    Meaning::Interrupted | Meaning::PerhapsStale | Meaning::TooLarge => continue,
                    _ => {
                        self.tally.receive_errors.add(1);
                        return Attempt::Stuck;
                    }
                },
            };
            let at_ns = clock::now_ns();
            self.tally.receives.add(1);
            let mut len = arrival.len;
            if arrival.truncated {
                self.tally.truncated.add(1);
                len -= cut(len, arrival.segment_len);
            }
            if len == 0 {
                continue;
            }
            return Attempt::Burst(Received {
                remote: arrival.remote,
                local: arrival.local,
                ecn: arrival.ecn,
                segments: Segments::new(descriptor.fill(len), arrival.segment_len),
                at_ns,
            });
        }
        Attempt::Empty
    }
}

/// Length of the last datagram of a burst that was cut: never whole, even if it looks it.
fn cut(len: usize, segment_len: usize) -> usize {
    match len.checked_rem(segment_len) {
        None => len,
        Some(0) => segment_len,
        Some(rest) => rest,
    }
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn only_whole_datagrams_remain_of_a_cut_burst() {
        assert_eq!(3000 - cut(3000, 3000), 0);
        assert_eq!(3000 - cut(3000, 1000), 2000);
        assert_eq!(3001 - cut(3001, 1000), 3000);
        assert_eq!(cut(0, 0), 0);
    }
}
