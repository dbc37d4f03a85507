//! What `doctor` asks of this machine, against sockets whose answers are known.

use crate::{
    probe::{Fate, datagram, family, timing},
    runtime::{Options, Runtime},
};
use paceline_transport::Config;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

/// For what comes at once, be the machine busy.
const PATIENCE_NS: u64 = 10_000_000_000;

fn somewhere() -> SocketAddr {
    SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0)
}

#[test]
fn a_family_is_tried_with_a_real_burst() {
    let found = family(Ipv4Addr::LOCALHOST.into()).unwrap();
    assert_eq!((found.segments_sent, found.send_errno), (found.max_segments.min(16), 0));
    assert!(found.segments_received >= 1 && found.ecn, "{found:?}");
    if !cfg!(feature = "portable") {
        assert_eq!(found.dont_fragment, Some(true));
        assert_eq!(found.segments_received, found.segments_sent);
    }
    assert!(found.granted.0 > 0 && found.granted.1 > 0);
}

#[test]
fn waits_end_late_and_never_early() {
    let found = timing().unwrap();
    assert!(found.late_ns.is_sorted() && found.late_ns.len() == 100);
    // Early ones would show as 0 all over: the difference saturates.
    assert!(found.late_ns[50] > 0 && found.clock_step_ns < 1_000_000, "{found:?}");
}

#[test]
fn an_endpoint_answers_to_any_size_and_a_closed_port_refuses() {
    let runtime = Runtime::start(Options::new(somewhere(), Config::default()), || ()).unwrap();
    for (nth, bytes) in [100, 1_200, 1_472, 9_000].into_iter().enumerate() {
        let probe = datagram(runtime.local_addr(), bytes, [nth as u8 + 1; 16], true, PATIENCE_NS).unwrap();
        assert_eq!(probe.fate, Fate::Answered, "{bytes} bytes: {probe:?}");
        assert!(probe.round_trip_ns.is_some() && probe.local.is_some());
        if !cfg!(feature = "portable") {
            assert!(probe.route_mtu >= Some(9_028) && probe.offload_errno == Some(0), "{probe:?}");
        }
    }
    let silent = UdpSocket::bind(somewhere()).unwrap();
    let probe = datagram(silent.local_addr().unwrap(), 1_200, [9; 16], false, 20_000_000).unwrap();
    assert_eq!((probe.fate, probe.round_trip_ns), (Fate::Silent, None));
    assert_eq!(silent.recv(&mut [0; 2_000]).unwrap(), 1_200, "it is as long as it was asked to be");

    let closed = silent.local_addr().unwrap();
    drop(silent);
    assert_eq!(datagram(closed, 1_200, [9; 16], false, PATIENCE_NS).unwrap().fate, Fate::Refused);
}

#[test]
// quinn-udp keeps EMSGSIZE to itself.
#[cfg(not(feature = "portable"))]
fn what_is_larger_than_the_interface_is_too_large() {
    let silent = UdpSocket::bind(somewhere()).unwrap();
    let probe = datagram(silent.local_addr().unwrap(), 65_530, [9; 16], false, PATIENCE_NS).unwrap();
    assert_eq!(probe.fate, Fate::TooLarge);
}
