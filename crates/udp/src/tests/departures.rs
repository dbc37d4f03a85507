//! What leaves, in how many calls, and how it arrives.

use super::*;
use crate::link::{MAX_BYTES, MAX_SEGMENTS};
use paceline_transport::{Outcome, SendError};

over_every_link!(
    a_burst_arrives_as_its_segments,
    joining_keeps_each_completion,
    only_what_the_kernel_would_cut_alike_joins,
    the_largest_call_is_taken,
    a_burst_beyond_the_limits_leaves_singly,
    too_large_for_udp_is_too_large,
    without_offload_every_datagram_has_its_call,
);

fn sent_at(completion: &Completion) -> u64 {
    match completion.outcome {
        Outcome::Sent { at_ns } => at_ns,
        other => panic!("{other:?}"),
    }
}

fn a_burst_arrives_as_its_segments<L: Bind>() {
    for bind in [V4, V6] {
        for disable_gro in [false, true] {
            let mut from = End::<L>::new(&options(bind));
            // Receiving is Linux's own here: quinn-udp cannot switch offload off.
            let mut to = End::<LinuxLink>::new(&LinkOptions { disable_gro, ..options(bind) });
            let burst = Maker::new(&from.pool).burst(to.address, 1350, 45 * 1350 + 600);
            let before_ns = crate::now_ns();
            let results = from.send_all(vec![burst]);
            let after_ns = crate::now_ns();
            assert!((before_ns..=after_ns).contains(&sent_at(&results[0])));
            assert_eq!(from.counters().sends, 1);

            let mut bursts = Vec::new();
            while bursts.iter().map(Segments::count).sum::<usize>() < 46 {
                let burst = to.arrival(1);
                assert_eq!((burst.remote, burst.ecn, burst.local), (from.address, Ecn::Ect0, None));
                assert!((after_ns..=crate::now_ns()).contains(&burst.at_ns));
                bursts.push(burst.segments);
            }
            let datagrams: Vec<_> = bursts.iter().flatten().map(<[u8]>::to_vec).collect();
            let whole: Vec<_> = (0..46).map(|id| datagram(id, if id < 45 { 1350 } else { 600 })).collect();
            assert_eq!(datagrams, whole);
            // The fault of a receive offload test would be to receive nothing offloaded.
            assert_eq!(bursts.len() == 46, disable_gro, "{} bursts", bursts.len());
            drop(bursts);
            assert!(to.arrived().is_empty());
            assert_eq!(to.pool.stats().lent, 0);
        }
    }
}

fn joining_keeps_each_completion<L: Bind>() {
    for bind in [V4, V6] {
        let mut from = End::<L>::new(&options(bind));
        let mut to = End::<LinuxLink>::new(&options(bind));
        let mut maker = Maker::new(&from.pool);
        // 64 streams of one packet each, the last one shorter; then five bursts of ten.
        let mut due: Vec<_> = (0..63).map(|_| maker.burst(to.address, 1000, 1000)).collect();
        due.push(maker.burst(to.address, 400, 400));
        due.extend((0..5).map(|_| maker.burst(to.address, 1200, 12_000)));
        let results = from.send_all(due);
        let ids: Vec<u32> = results.iter().flat_map(|result| ids(&result.transmission)).collect();
        assert_eq!(ids, (0..64 + 50).collect::<Vec<_>>());
        assert!(results.iter().is_sorted_by_key(sent_at));
        assert_eq!(results.len(), 64 + 5);
        if from.socket.link().gathers() {
            let counters = from.counters();
            assert_eq!((counters.sends, counters.joined), (2, 64 + 5));
        } else {
            assert_eq!((from.counters().sends, from.counters().joined), (64 + 5, 0));
        }
        assert_eq!(tallied(&to.arrivals(64 + 50)), (0..64 + 50).map(|id| (id, 1)).collect());
    }
}

fn only_what_the_kernel_would_cut_alike_joins<L: Bind>() {
    let mut from = End::<L>::new(&options(V4));
    let mut to = End::<LinuxLink>::new(&options("127.0.0.1:0"));
    let mut other = End::<LinuxLink>::new(&options("127.0.0.2:0"));
    let mut maker = Maker::new(&from.pool);
    let (a, b) = (to.address, other.address);
    let with_ecn = |mut burst: Transmission| {
        burst.ecn = Ecn::Ect1;
        burst
    };
    let due = vec![
        maker.burst(a, 1000, 1000),
        // A longer datagram cannot follow.
        maker.burst(a, 1001, 1001),
        // Nor a burst of shorter ones,
        maker.burst(a, 900, 1800),
        // nor anything behind a short end,
        maker.burst(a, 900, 1000),
        maker.burst(a, 900, 900),
        // nor another address,
        maker.burst(b, 900, 900),
        // nor another codepoint.
        with_ecn(maker.burst(b, 900, 900)),
    ];
    assert_eq!(from.send_all(due).len(), 7);
    let joined = if from.socket.link().gathers() { 1 } else { 0 };
    // The fourth burst joins the third: equal segments, and the third ends full.
    assert_eq!(from.counters().sends, 7 - joined);
    assert_eq!(from.counters().joined, 2 * joined);
    assert_eq!(tallied(&to.arrivals(7)), (0..7).map(|id| (id, 1)).collect());
    assert_eq!(tallied(&other.arrivals(2)), (7..9).map(|id| (id, 1)).collect());
}

fn the_largest_call_is_taken<L: Bind>() {
    for bind in [V4, V6] {
        let mut from = End::<L>::new(&options(bind));
        let mut to = End::<LinuxLink>::new(&options(bind));
        let mut maker = Maker::new(&from.pool);
        let due = vec![
            maker.burst(to.address, 1200, 27 * 1200),
            maker.burst(to.address, 1200, 27 * 1200),
            maker.burst(to.address, MAX_BYTES - 54 * 1200, MAX_BYTES - 54 * 1200),
            // The next one would be a byte too many, or the 65th.
            maker.burst(to.address, 1200, MAX_BYTES),
            maker.burst(to.address, 100, 64 * 100),
            maker.burst(to.address, 100, 100),
        ];
        let results = from.send_all(due);
        assert!(results.iter().all(|result| matches!(result.outcome, Outcome::Sent { .. })));
        assert_eq!(from.counters().gso_fallbacks, 0);
        assert_eq!(from.counters().sends, if from.socket.link().gathers() { 4 } else { 6 });
        assert_eq!(
            tallied(&to.arrivals(maker.next_id as usize)),
            (0..maker.next_id).map(|id| (id, 1)).collect()
        );
    }
}

fn a_burst_beyond_the_limits_leaves_singly<L: Bind>() {
    let mut from = End::<L>::new(&options(V4));
    let mut to = End::<LinuxLink>::new(&options(V4));
    let mut maker = Maker::new(&from.pool);
    let due = vec![maker.burst(to.address, 100, 65 * 100), maker.burst(to.address, 1000, MAX_BYTES + 1)];
    assert_eq!(from.send_all(due).len(), 2);
    assert_eq!(from.counters().sends, 65 + 66);
    // Not offload's fault, so no verdict.
    assert_eq!(from.counters().gso_fallbacks, 0);
    assert_eq!(from.socket.burst_limits(&to.address).max_segments, MAX_SEGMENTS);
    assert_eq!(tallied(&to.arrivals(65 + 66)), (0..65 + 66).map(|id| (id, 1)).collect());
}

/// EMSGSIZE from the kernel itself.
fn too_large_for_udp_is_too_large<L: Bind>() {
    for (bind, headers) in [(V4, 28), (V6, 8)] {
        let mut from = End::<L>::new(&options(bind));
        let mut to = End::<LinuxLink>::new(&options(bind));
        let mut maker = Maker::new(&from.pool);
        let too_long = 65_536 - headers;
        let due = vec![maker.burst(to.address, too_long, too_long), maker.burst(to.address, 50, 50)];
        let results = from.send_all(due);
        assert!(
            matches!(results[0].outcome, Outcome::Failed { error: SendError::TooLarge, .. }),
            "{results:?}"
        );
        assert!(matches!(results[1].outcome, Outcome::Sent { .. }));
        assert_eq!(tallied(&to.arrivals(1)), [(1, 1)].into());
    }
}

fn without_offload_every_datagram_has_its_call<L: Bind>() {
    let mut from = End::<L>::new(&LinkOptions { disable_gso: true, ..options(V4) });
    let mut to = End::<LinuxLink>::new(&LinkOptions { disable_gro: true, ..options(V4) });
    assert_eq!(from.socket.burst_limits(&to.address).max_segments, 1);
    let mut maker = Maker::new(&from.pool);
    let due = vec![maker.burst(to.address, 1000, 9500), maker.burst(to.address, 1000, 1000)];
    let results = from.send_all(due);
    assert_eq!(results.len(), 2);
    let counters = from.counters();
    assert_eq!((counters.sends, counters.joined, counters.gso_fallbacks), (11, 0, 0));
    assert_eq!(tallied(&to.arrivals(11)), (0..11).map(|id| (id, 1)).collect());
    assert_eq!(to.counters().receives, 11);
}

#[test]
fn an_empty_transmission_is_over_at_once() {
    let mut from = End::<LinuxLink>::new(&options(V4));
    let mut maker = Maker::new(&from.pool);
    let due = (0..200).map(|_| maker.burst(from.address, 10, 0)).collect();
    assert_eq!(from.send_all(due).len(), 200);
    assert_eq!(from.counters().sends, 0);
}

#[test]
fn granted_buffers_are_comparable_to_those_asked_for() {
    let small = LinkOptions { send_buffer: 100_000, receive_buffer: 120_000, ..options(V4) };
    assert_eq!(LinuxLink::bind(&small).unwrap().granted_buffers(), (100_000, 120_000));
    // 1 TiB is refused by everybody; what is granted is then the system's limit, not zero.
    let large = LinkOptions { send_buffer: 1 << 40, receive_buffer: 1 << 40, ..options(V4) };
    let (send, receive) = LinuxLink::bind(&large).unwrap().granted_buffers();
    assert!(send > 100_000 && receive > 120_000, "{send} {receive}");
}
