//! Sends due transmissions, and decides what an error means for each of them (design item 14).
//!
//! ```text
//!  due: [A A][A A A][a]  [B B B]            three transmissions to A, one to B
//!       └── one call ─┘  └ a call ┘         each keeps its own completion
//! ```
//!
//! Consecutive transmissions to one address join into one call where the kernel will cut the bytes at the right places: equal
//! segment length, and every segment full but the very last. One call costs about 5 µs; without joining, small streams would
//! pay it each.
//!
//! Three places can hold a transmission: `due` (nothing of it was sent), `started` (some datagrams of it were sent, singly),
//! the results (it is over). It moves only forward.

use crate::{
    clock,
    counters::Tally,
    errno::{Errno, Meaning},
    link::{Link, MAX_BYTES, MAX_SEGMENTS, Outgoing},
    verdicts::Verdicts,
};
use paceline_transport::{Backpressure, BurstLimits, Completion, Outcome, SendError, Transmission};
use std::{
    collections::VecDeque,
    io::IoSlice,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

/// Wait after ENOBUFS, in ns: one pacing quantum, about 44 packets at 500 Mbit/s.
pub(crate) const DEVICE_FULL_NS: u64 = 1_000_000;
/// Interrupted calls in a row before the socket is left alone for a quantum. Nonblocking sends are not interrupted in practice.
const MAX_INTERRUPTIONS: u32 = 16;

/// The send half.
#[derive(Debug)]
pub(crate) struct Sender<L> {
    link: L,
    tally: Arc<Tally>,
    verdicts: Verdicts,
    /// A verdict that no single datagram has confirmed yet.
    on_trial: Option<IpAddr>,
    started: Option<Started>,
}

/// A transmission whose datagrams leave one by one, with some gone and some not.
#[derive(Debug)]
struct Started {
    transmission: Transmission,
    /// Datagrams gone.
    gone: usize,
    /// When the first left: an acknowledgement of it must never seem to come sooner than it did.
    at_ns: u64,
}

/// What one call can carry from the front of `due`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Group {
    transmissions: usize,
    segments: usize,
    bytes: usize,
    segment_len: usize,
}

/// Where sending one by one ended.
enum Singly {
    /// With a verdict on the transmission.
    Over(Outcome),
    /// With this many datagrams gone, the first at this time.
    Blocked(Backpressure, usize, u64),
}

impl<L: Link> Sender<L> {
    pub(crate) fn new(link: L, tally: Arc<Tally>) -> Self {
        Self { link, tally, verdicts: Verdicts::default(), on_trial: None, started: None }
    }

    pub(crate) fn link(&self) -> &L {
        &self.link
    }

    pub(crate) fn link_mut(&mut self) -> &mut L {
        &mut self.link
    }

    /// Whether a transmission is half sent, so that there is something to do once the socket takes more.
    pub(crate) fn has_started(&self) -> bool {
        self.started.is_some()
    }

    pub(crate) fn burst_limits(&self, remote: &SocketAddr, now_ns: u64) -> BurstLimits {
        let max_segments = if self.verdicts.allows(&remote.ip(), now_ns) {
            self.link.max_segments().min(MAX_SEGMENTS)
        } else {
            1
        };
        BurstLimits { max_segments, max_bytes: MAX_BYTES }
    }

    /// Sends from the front of `due` until it is empty or something is full, after what was half sent.
    pub(crate) fn submit(
        &mut self,
        now_ns: u64,
        due: &mut VecDeque<Transmission>,
        results: &mut Vec<Completion>,
    ) -> Backpressure {
        let pressure = self.finish_started(now_ns, results);
        if pressure != Backpressure::None {
            return pressure;
        }
        while let Some(front) = due.front() {
            let destination = front.remote.ip();
            let count = front.segments.count();
            if count == 0 {
                complete(due, 1, Outcome::Sent { at_ns: now_ns }, results);
                continue;
            }
            let offload = count <= self.link.max_segments().min(MAX_SEGMENTS)
                && front.segments.total_len() <= MAX_BYTES
                && self.verdicts.allows(&destination, now_ns);
            if count > 1 && !offload {
                match self.send_singly(front, 0, 0, now_ns) {
                    Singly::Over(outcome) => complete(due, 1, outcome, results),
                    Singly::Blocked(pressure, 0, _) => return pressure,
                    Singly::Blocked(pressure, gone, at_ns) => {
                        self.started =
                            due.pop_front().map(|transmission| Started { transmission, gone, at_ns });
                        return pressure;
                    }
                }
                continue;
            }
            let group = self.group(due, offload);
            let (at_ns, sent) = self.send_group(due, group);
            let errno = match sent {
                Ok(()) => {
                    if group.transmissions > 1 {
                        self.tally.joined.add(group.transmissions as u64);
                    }
                    if group.segments > 1 {
                        // Offload works again, so whatever was said of this destination is out of date.
                        self.verdicts.withdraw(&destination);
                    } else {
                        self.on_trial = None;
                    }
                    complete(due, group.transmissions, Outcome::Sent { at_ns }, results);
                    continue;
                }
                Err(errno) => errno,
            };
            match errno.meaning() {
                Meaning::SocketFull | Meaning::DeviceFull | Meaning::Interrupted => {
                    return self.pressure(errno, now_ns);
                }
                Meaning::Refused if group.segments > 1 => {
                    // Whatever the cause, every datagram now goes alone, beginning with the next turn of this loop.
                    self.tally.gso_fallbacks.add(1);
                    self.verdicts.refuse(destination, now_ns);
                    self.on_trial = Some(destination);
                }
                meaning => {
                    if group.segments == 1 {
                        self.acquit(&destination);
                    }
                    let mut failed = group.transmissions;
                    if meaning == Meaning::TooLarge && failed > 1 {
                        // A shorter datagram at the end may fit where the others do not.
                        failed -= usize::from(
                            group.bytes < group.segments * group.segment_len && last_is_single(due, failed),
                        );
                    }
                    complete(due, failed, Outcome::Failed { error: send_error(errno), at_ns }, results);
                }
            }
        }
        Backpressure::None
    }

    /// Goes on with a half-sent transmission, if there is one.
    pub(crate) fn finish_started(&mut self, now_ns: u64, results: &mut Vec<Completion>) -> Backpressure {
        let Some(mut started) = self.started.take() else { return Backpressure::None };
        match self.send_singly(&started.transmission, started.gone, started.at_ns, now_ns) {
            Singly::Over(outcome) => {
                results.push(Completion { transmission: started.transmission, outcome });
                Backpressure::None
            }
            Singly::Blocked(pressure, gone, at_ns) => {
                started.gone = gone;
                started.at_ns = at_ns;
                self.started = Some(started);
                pressure
            }
        }
    }

    /// How much of the front of `due` one call can carry.
    fn group(&self, due: &VecDeque<Transmission>, offload: bool) -> Group {
        let mut transmissions = due.iter();
        let Some(first) = transmissions.next() else {
            return Group { transmissions: 0, segments: 0, bytes: 0, segment_len: 0 };
        };
        let mut group = Group {
            transmissions: 1,
            segments: first.segments.count(),
            bytes: first.segments.total_len(),
            segment_len: segment_len(first),
        };
        if !offload || !self.link.gathers() {
            return group;
        }
        let max_segments = self.link.max_segments().min(MAX_SEGMENTS);
        for next in transmissions {
            let (segments, bytes) = (next.segments.count(), next.segments.total_len());
            let full_so_far = group.bytes == group.segments * group.segment_len;
            let fits_in =
                segment_len(next) == group.segment_len || (segments == 1 && bytes < group.segment_len);
            if segments == 0
                || !full_so_far
                || !fits_in
                || (next.remote, next.local, next.ecn) != (first.remote, first.local, first.ecn)
                || group.segments + segments > max_segments
                || group.bytes + bytes > MAX_BYTES
            {
                break;
            }
            group.transmissions += 1;
            group.segments += segments;
            group.bytes += bytes;
        }
        group
    }

    fn send_group(&mut self, due: &VecDeque<Transmission>, group: Group) -> (u64, Result<(), Errno>) {
        let mut parts = [IoSlice::new(&[]); MAX_SEGMENTS];
        for (part, transmission) in parts.iter_mut().zip(due.iter().take(group.transmissions)) {
            *part = IoSlice::new(transmission.segments.bytes());
        }
        let Some(first) = due.front() else { return (0, Ok(())) };
        self.call(&Outgoing {
            remote: first.remote,
            local: first.local,
            ecn: first.ecn,
            segment_len: (group.segments > 1).then_some(group.segment_len as u16),
            parts: &parts[..group.transmissions],
        })
    }

    /// Sends datagrams `gone..` of a transmission, a call each.
    fn send_singly(&mut self, transmission: &Transmission, gone: usize, at_ns: u64, now_ns: u64) -> Singly {
        let Transmission { remote, local, ecn, ref segments, .. } = *transmission;
        let mut first_at_ns = at_ns;
        for (index, segment) in segments.iter().enumerate().skip(gone) {
            let parts = [IoSlice::new(segment)];
            let (at_ns, sent) = self.call(&Outgoing { remote, local, ecn, segment_len: None, parts: &parts });
            if index == 0 {
                first_at_ns = at_ns;
            }
            let Err(errno) = sent else {
                self.on_trial = None;
                continue;
            };
            if let Meaning::SocketFull | Meaning::DeviceFull | Meaning::Interrupted = errno.meaning() {
                return Singly::Blocked(self.pressure(errno, now_ns), index, first_at_ns);
            }
            self.acquit(&remote.ip());
            return Singly::Over(Outcome::Failed { error: send_error(errno), at_ns: first_at_ns });
        }
        Singly::Over(Outcome::Sent { at_ns: first_at_ns })
    }

    /// One send, repeated where the error is no answer to it. The time is read just before the last repetition.
    fn call(&mut self, outgoing: &Outgoing<'_>) -> (u64, Result<(), Errno>) {
        let mut interruptions = 0;
        let mut stale = false;
        loop {
            let at_ns = clock::now_ns();
            let Err(errno) = self.link.send(outgoing) else {
                self.tally.sends.add(1);
                return (at_ns, Ok(()));
            };
            match errno.meaning() {
                Meaning::Interrupted if interruptions < MAX_INTERRUPTIONS => interruptions += 1,
                Meaning::PerhapsStale if !stale => {
                    stale = true;
                    self.tally.stale_errors.add(1);
                }
                _ => return (at_ns, Err(errno)),
            }
        }
    }

    /// The first single datagram after a verdict failed, too: too long for the path, no route, source address gone. So it was
    /// not offload.
    fn acquit(&mut self, destination: &IpAddr) {
        if self.on_trial.take().as_ref() == Some(destination) {
            self.verdicts.withdraw(destination);
        }
    }

    fn pressure(&self, errno: Errno, now_ns: u64) -> Backpressure {
        if errno.meaning() == Meaning::SocketFull {
            self.tally.would_block.add(1);
            return Backpressure::UntilWritable;
        }
        self.tally.device_full.add(1);
        Backpressure::Until(now_ns.saturating_add(DEVICE_FULL_NS))
    }
}

/// Length of every datagram but the last; of the only one, where there is one.
fn segment_len(transmission: &Transmission) -> usize {
    let segments = &transmission.segments;
    if segments.count() == 1 { segments.total_len() } else { segments.segment_len() }
}

fn last_is_single(due: &VecDeque<Transmission>, transmissions: usize) -> bool {
    due.get(transmissions - 1).is_some_and(|last| last.segments.count() == 1)
}

fn send_error(errno: Errno) -> SendError {
    if errno.meaning() == Meaning::TooLarge { SendError::TooLarge } else { SendError::Os(errno.0) }
}

fn complete(due: &mut VecDeque<Transmission>, count: usize, outcome: Outcome, results: &mut Vec<Completion>) {
    results.extend(due.drain(..count).map(|transmission| Completion { transmission, outcome }));
}
