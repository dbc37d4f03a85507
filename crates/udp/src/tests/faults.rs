//! Every errno at every call: each transmission completes once, nothing is lost or doubled but by verdict.

use super::*;
use crate::{link::MAX_SEGMENTS, send::DEVICE_FULL_NS, verdicts::VERDICT_NS};
use libc::{
    EACCES, EAGAIN, EBADF, ECONNREFUSED, EHOSTUNREACH, EINTR, EINVAL, EIO, EMSGSIZE, ENETUNREACH, ENOBUFS,
    EPERM,
};
use paceline_transport::{Outcome, SendError};
use std::collections::BTreeSet;

over_every_link!(
    one_fault_at_every_call,
    two_faults_in_a_row,
    a_second_fault_in_the_middle_of_a_split_burst,
    a_half_sent_burst_goes_on_without_submit,
    offload_is_off_for_that_destination_for_a_minute,
    a_fault_that_single_datagrams_share_is_no_verdict,
    interruptions_without_end_are_backpressure,
);

/// Errors after which everything still leaves.
const PASSING: [i32; 6] = [EAGAIN, EINTR, ENOBUFS, ECONNREFUSED, EHOSTUNREACH, ENETUNREACH];
/// Errors after which everything still leaves, if they hit a burst of several segments.
const OFFLOAD: [i32; 2] = [EIO, EINVAL];
/// Errors that are an answer.
const FINAL: [i32; 4] = [EPERM, EACCES, EBADF, EMSGSIZE];

/// Two receivers at two addresses, and a sender.
struct Scene<L> {
    from: End<L>,
    to: [End<LinuxLink>; 2],
    maker: Maker,
    /// Datagrams that have arrived.
    arrived: BTreeMap<u32, usize>,
    results: Vec<Completion>,
}

impl<L: Bind> Scene<L> {
    fn new(bind: &str, disable_gso: bool) -> Self {
        let second = if bind == V4 { "127.0.0.2:0" } else { bind };
        let from = End::new(&LinkOptions { disable_gso, ..options(bind) });
        let maker = Maker::new(&from.pool);
        Self {
            from,
            to: [End::new(&options(bind)), End::new(&options(second))],
            maker,
            arrived: BTreeMap::new(),
            results: Vec::new(),
        }
    }

    /// A mixture that joins here and there.
    fn due(&mut self) -> VecDeque<Transmission> {
        let [a, b] = [self.to[0].address, self.to[1].address];
        let mut due = VecDeque::new();
        for _ in 0..8 {
            for (remote, segment_len, total_len) in [
                (a, 1200, 12_000),
                (a, 1200, 6_700),
                (a, 1200, 1200),
                (a, 1200, 1200),
                (a, 1200, 100),
                (b, 1000, 3000),
                (a, 900, 900),
                (b, 1000, 1000),
                (b, 1000, 2000),
            ] {
                due.push_back(self.maker.burst(remote, segment_len, total_len));
            }
        }
        due
    }

    fn collect(&mut self) {
        for to in &mut self.to {
            for (id, count) in tallied(&to.arrived()) {
                *self.arrived.entry(id).or_default() += count;
            }
        }
    }

    /// As `collect`, until so many are there.
    fn collect_all(&mut self, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        self.collect();
        while self.arrived.len() < count && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
            self.collect();
        }
    }

    /// All that are said to have left.
    fn collect_sent(&mut self) {
        let sent = self.results.iter().filter(|result| matches!(result.outcome, Outcome::Sent { .. }));
        let mut missing: BTreeSet<u32> = sent.flat_map(|result| ids(&result.transmission)).collect();
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.collect();
            missing.retain(|id| !self.arrived.contains_key(id));
            if missing.is_empty() || Instant::now() >= deadline {
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Runs to the end and checks what must hold whatever failed. `now_ns` moves as backpressure asks.
    fn run(&mut self, mut now_ns: u64) -> u64 {
        let mut due = self.due();
        let order: Vec<u32> = due.iter().map(|transmission| transmission.stream).collect();
        for _ in 0..10_000 {
            let pressure = self.from.socket.submit(now_ns, &mut due);
            let (interest, deadline_ns) = self.from.socket.wants(None);
            assert_eq!(interest.writable, pressure == Backpressure::UntilWritable);
            self.from.socket.poll_results(&mut self.results);
            self.collect();
            for left in due.iter().flat_map(ids) {
                assert!(!self.arrived.contains_key(&left), "datagram {left} is due and has left");
            }
            match pressure {
                Backpressure::None => break,
                Backpressure::UntilWritable => {}
                Backpressure::Until(time_ns) => {
                    assert_eq!(time_ns, now_ns + DEVICE_FULL_NS);
                    assert_eq!(deadline_ns, Some(time_ns));
                    now_ns = time_ns;
                }
            }
        }
        assert!(due.is_empty() && !self.from.socket.has_started());
        self.collect_sent();

        // Each once, in the order taken: here all of them, since the head of the line waits for nobody.
        let completed: Vec<u32> = self.results.iter().map(|result| result.transmission.stream).collect();
        assert_eq!(completed, order);
        for result in &self.results {
            for id in ids(&result.transmission) {
                let count = self.arrived.get(&id).copied().unwrap_or(0);
                match result.outcome {
                    Outcome::Sent { .. } => assert_eq!(count, 1, "datagram {id} was sent"),
                    Outcome::Failed { .. } => assert!(count <= 1, "datagram {id} came {count} times"),
                    Outcome::Cancelled => panic!("nobody cancels here"),
                }
            }
        }
        assert_eq!(self.from.pool.stats().lent, self.results.len());
        now_ns
    }

    fn failures(&self) -> Vec<(SendError, &Transmission)> {
        self.results
            .iter()
            .filter_map(|result| match result.outcome {
                Outcome::Failed { error, .. } => Some((error, &result.transmission)),
                _ => None,
            })
            .collect()
    }

    fn inject(&mut self, fault: impl FnMut(usize, &Outgoing<'_>) -> Option<i32> + Send + 'static) {
        self.from.socket.link_mut().send_fault = Box::new(fault);
    }
}

/// Calls that a scene makes when nothing fails.
fn calls<L: Bind>(bind: &str, disable_gso: bool) -> usize {
    let mut scene = Scene::<L>::new(bind, disable_gso);
    scene.run(1);
    assert!(scene.failures().is_empty());
    scene.from.socket.link().sends
}

fn one_fault_at_every_call<L: Bind>() {
    for bind in [V4, V6] {
        for disable_gso in [false, true] {
            let calls = calls::<L>(bind, disable_gso);
            assert!(calls >= 20, "{calls}");
            for errno in PASSING.into_iter().chain(OFFLOAD).chain(FINAL) {
                for k in 1..=calls.min(50) {
                    let mut scene = Scene::<L>::new(bind, disable_gso);
                    let (tell, told) = std::sync::mpsc::channel();
                    scene.inject(move |n, outgoing| {
                        (n == k).then(|| {
                            tell.send(outgoing.segment_len.is_some()).unwrap();
                            errno
                        })
                    });
                    scene.run(1);
                    assert_eq!(scene.from.socket.link().injected, 1);
                    let offloaded = told.recv().unwrap();
                    let passes = PASSING.contains(&errno) || OFFLOAD.contains(&errno) && offloaded;
                    let failures = scene.failures();
                    assert_eq!(failures.is_empty(), passes, "errno {errno} at call {k}: {failures:?}");
                    let verdict = if errno == EMSGSIZE { SendError::TooLarge } else { SendError::Os(errno) };
                    assert!(failures.iter().all(|(error, _)| *error == verdict));
                    let counters = scene.from.counters();
                    assert_eq!(counters.gso_fallbacks, u64::from(passes && OFFLOAD.contains(&errno)));
                    assert_eq!(counters.would_block, u64::from(errno == EAGAIN));
                    assert_eq!(counters.device_full, u64::from(errno == ENOBUFS));
                }
            }
        }
    }
}

fn two_faults_in_a_row<L: Bind>() {
    for errno in PASSING.into_iter().chain(OFFLOAD).chain(FINAL) {
        for k in 1..=20 {
            let mut scene = Scene::<L>::new(V4, false);
            scene.inject(move |n, _| (n == k || n == k + 1).then_some(errno));
            scene.run(1);
            assert_eq!(scene.from.socket.link().injected, 2);
            // A repeat that fails alike was no leftover of an earlier datagram; a burst that fails whole and singly has failed.
            let passes = [EAGAIN, EINTR, ENOBUFS].contains(&errno);
            assert_eq!(scene.failures().is_empty(), passes, "errno {errno} at calls {k} and {}", k + 1);
        }
    }
}

fn a_second_fault_in_the_middle_of_a_split_burst<L: Bind>() {
    let (mut halves, mut failures) = (0, BTreeSet::new());
    for first in OFFLOAD {
        for second in [EAGAIN, EINTR, ENOBUFS, ECONNREFUSED, EPERM, EMSGSIZE, EIO] {
            for k in 1..=6 {
                for gap in 1..=18 {
                    let mut scene = Scene::<L>::new(V4, false);
                    scene.inject(move |n, _| match n {
                        _ if n == k => Some(first),
                        _ if n == k + gap => Some(second),
                        _ => None,
                    });
                    let mut due = scene.due();
                    // As `run`, but looking in the middle.
                    let _ = scene.from.socket.submit(1, &mut due);
                    halves += usize::from(scene.from.socket.has_started());
                    let rest = scene.from.send_all_at(2 * DEVICE_FULL_NS, due);
                    scene.results.extend(rest);
                    scene.collect_sent();
                    let count: usize =
                        scene.results.iter().map(|result| ids(&result.transmission).len()).sum();
                    assert_eq!(count as u32, scene.maker.next_id, "every transmission completes once");
                    assert!(scene.results.is_sorted_by_key(|result| result.transmission.stream));
                    for result in &scene.results {
                        for id in ids(&result.transmission) {
                            let count = scene.arrived.get(&id).copied().unwrap_or(0);
                            if let Outcome::Failed { error, .. } = result.outcome {
                                failures.insert(format!("{error:?}"));
                                assert!(count <= 1);
                            } else {
                                assert_eq!(count, 1, "datagram {id}: {first} at {k}, {second} {gap} later");
                            }
                        }
                    }
                }
            }
        }
    }
    // It really happened.
    assert!(halves > 100, "{halves} half-sent bursts");
    assert_eq!(failures.len(), 4, "{failures:?}");
}

fn a_half_sent_burst_goes_on_without_submit<L: Bind>() {
    for (errno, writable) in [(EAGAIN, true), (ENOBUFS, false)] {
        let mut scene = Scene::<L>::new(V4, false);
        // The burst fails, its first four datagrams leave, then the way is blocked, twice.
        scene.inject(move |n, _| match n {
            1 => Some(EIO),
            6 | 7 => Some(errno),
            _ => None,
        });
        let burst = scene.maker.burst(scene.to[0].address, 1000, 10_000);
        let mut due = VecDeque::from([burst]);
        let mut results = Vec::new();
        assert_ne!(scene.from.socket.submit(1, &mut due), Backpressure::None);
        let before_ns = crate::now_ns();
        assert!(due.is_empty() && scene.from.socket.has_started());
        scene.collect_all(4);
        assert_eq!(scene.arrived.len(), 4);
        // From now on the worker only polls, at the times that the environment asks for.
        let mut now_ns = 1;
        for _ in 0..10 {
            assert!(scene.from.socket.receive(now_ns).is_none());
            scene.from.socket.poll_results(&mut results);
            let (interest, deadline_ns) = scene.from.socket.wants(None);
            if results.is_empty() {
                assert_eq!((interest.writable, deadline_ns.is_some()), (writable, !writable));
            }
            now_ns = deadline_ns.unwrap_or(now_ns);
        }
        assert_eq!(scene.from.socket.link().injected, 3);
        let [Completion { outcome: Outcome::Sent { at_ns }, .. }] = results[..] else {
            panic!("{results:?}")
        };
        // The time of the first datagram: the peer's answer to it may have come long before the last one left.
        assert!(at_ns < before_ns);
        scene.collect_all(10);
        assert_eq!(scene.arrived, (0..10).map(|id| (id, 1)).collect());
        // Nothing more to wait for.
        assert_eq!(
            scene.from.socket.wants(None),
            (crate::wait::Interest { readable: true, writable: false }, None)
        );
    }
}

fn offload_is_off_for_that_destination_for_a_minute<L: Bind>() {
    for errno in OFFLOAD {
        let mut scene = Scene::<L>::new(V4, false);
        let [a, b] = [scene.to[0].address, scene.to[1].address];
        // A route that takes no offload.
        scene.inject(move |_, outgoing| {
            (outgoing.remote.ip() == a.ip() && outgoing.segment_len.is_some()).then_some(errno)
        });
        let now_ns = scene.run(1);
        assert!(scene.failures().is_empty());
        assert_eq!((scene.from.counters().gso_fallbacks, scene.from.socket.link().injected), (1, 1));
        assert_eq!(scene.from.socket.burst_limits(&a).max_segments, 1);
        assert_eq!(scene.from.socket.burst_limits(&b).max_segments, MAX_SEGMENTS);

        let until_ns = now_ns + VERDICT_NS;
        let mut again = |now_ns, fallbacks| {
            let mut due = VecDeque::from([scene.maker.burst(a, 1000, 5000)]);
            assert_eq!(scene.from.socket.submit(now_ns, &mut due), Backpressure::None);
            assert_eq!(scene.from.counters().gso_fallbacks, fallbacks);
        };
        again(until_ns - 1, 1);
        // Tried once more, refused once more.
        again(until_ns, 2);
        again(until_ns + VERDICT_NS - 1, 2);
        scene.inject(|_, _| None);
        let due = scene.maker.burst(a, 1000, 5000);
        assert_eq!(
            scene.from.socket.submit(until_ns + VERDICT_NS, &mut VecDeque::from([due])),
            Backpressure::None
        );
        assert_eq!(scene.from.counters().gso_fallbacks, 2);
        assert_eq!(scene.from.socket.burst_limits(&a).max_segments, MAX_SEGMENTS);
    }
}

/// EINVAL is also what a blackhole route or a source address that is gone gives, and on some kernels a path too narrow.
fn a_fault_that_single_datagrams_share_is_no_verdict<L: Bind>() {
    for (single, verdict) in [(EINVAL, SendError::Os(EINVAL)), (EMSGSIZE, SendError::TooLarge)] {
        let mut scene = Scene::<L>::new(V4, false);
        let a = scene.to[0].address;
        scene.inject(move |_, outgoing| Some(if outgoing.segment_len.is_some() { EINVAL } else { single }));
        let due = [5000, 5000, 5000, 5000, 1000].map(|total_len| scene.maker.burst(a, 1000, total_len));
        let results = scene.from.send_all(due.into());
        assert_eq!(results.len(), 5);
        for result in &results {
            assert!(matches!(result.outcome, Outcome::Failed { error, .. } if error == verdict));
        }
        assert_eq!(scene.from.socket.burst_limits(&a).max_segments, MAX_SEGMENTS);
    }
}

fn interruptions_without_end_are_backpressure<L: Bind>() {
    let mut scene = Scene::<L>::new(V4, false);
    scene.inject(|_, _| Some(EINTR));
    let mut due = scene.due();
    let count = due.len();
    assert_eq!(scene.from.socket.submit(5, &mut due), Backpressure::Until(5 + DEVICE_FULL_NS));
    assert_eq!(due.len(), count);
    assert!(scene.from.socket.link().injected > 10);
}

#[test]
fn what_is_shorter_may_fit_where_the_others_do_not() {
    let mut scene = Scene::<LinuxLink>::new(V4, false);
    let a = scene.to[0].address;
    // A path of 1,000 bytes.
    scene.inject(|_, outgoing| {
        let len: usize = outgoing.parts.iter().map(|part| part.len()).sum();
        (outgoing.segment_len.map_or(len, usize::from) > 1000).then_some(EMSGSIZE)
    });
    let due = [(1200, 4800), (1200, 1200), (1200, 900), (1200, 2100)];
    let due = due.map(|(segment_len, total_len)| scene.maker.burst(a, segment_len, total_len));
    let results = scene.from.send_all(due.into());
    let failed: Vec<bool> =
        results.iter().map(|result| matches!(result.outcome, Outcome::Failed { .. })).collect();
    assert_eq!(failed, [true, true, false, true]);
    scene.collect_all(1);
    assert_eq!(scene.arrived, [(5, 1)].into());
}

#[test]
fn a_stale_error_is_not_the_next_datagrams() {
    let mut scene = Scene::<LinuxLink>::new(V4, false);
    scene.inject(|n, _| (n % 2 == 1).then_some(ECONNREFUSED));
    scene.run(1);
    assert!(scene.failures().is_empty());
    let injected = scene.from.socket.link().injected;
    assert!(injected >= 20);
    assert_eq!(scene.from.counters().stale_errors, injected as u64);
}

/// Backpressure holds until its time, however often the worker steps.
#[test]
fn a_full_device_is_left_alone_for_a_quantum() {
    let mut scene = Scene::<LinuxLink>::new(V4, false);
    scene.inject(|n, _| (n == 1).then_some(ENOBUFS));
    let mut due = scene.due();
    for now_ns in [1, 2, 500_000, DEVICE_FULL_NS] {
        assert_eq!(scene.from.socket.submit(now_ns, &mut due), Backpressure::Until(1 + DEVICE_FULL_NS));
    }
    assert_eq!(scene.from.socket.link().sends, 1);
    assert_eq!(scene.from.socket.submit(1 + DEVICE_FULL_NS, &mut due), Backpressure::None);
    assert!(due.is_empty());
}

/// The worker's next wake is in the past as long as something due could not leave.
#[test]
fn what_cannot_leave_does_not_spin() {
    for errno in [EAGAIN, ENOBUFS] {
        let mut scene = Scene::<LinuxLink>::new(V4, false);
        scene.inject(move |_, _| Some(errno));
        assert_eq!(scene.from.socket.wants(Some(5)).1, Some(5));
        let mut due = scene.due();
        assert_ne!(scene.from.socket.submit(10, &mut due), Backpressure::None);
        assert_eq!(scene.from.socket.wants(Some(5)).1, Some(10 + DEVICE_FULL_NS));
        assert_eq!(scene.from.socket.wants(Some(11)).1, Some(11));
        scene.inject(|_, _| None);
        assert_eq!(scene.from.socket.submit(10 + DEVICE_FULL_NS, &mut due), Backpressure::None);
        assert_eq!(scene.from.socket.wants(Some(5)).1, Some(5));
    }
}

/// A real one: no route to a documentation address from a socket bound to loopback.
#[test]
fn a_real_refusal_has_its_errno() {
    let mut from = End::<LinuxLink>::new(&options(V4));
    let mut maker = Maker::new(&from.pool);
    let results = from.send_all(vec![
        maker.burst("192.0.2.1:9".parse().unwrap(), 1000, 5000),
        maker.burst("[::1]:9".parse().unwrap(), 1000, 1000),
    ]);
    let errnos: Vec<_> = results
        .iter()
        .map(|result| match result.outcome {
            Outcome::Failed { error: SendError::Os(errno), .. } => errno,
            other => panic!("{other:?}"),
        })
        .collect();
    assert!([EINVAL, ENETUNREACH, EHOSTUNREACH].contains(&errnos[0]), "{errnos:?}");
    assert_eq!(errnos[1], libc::EAFNOSUPPORT);
}
