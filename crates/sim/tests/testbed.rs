//! The network of `paceline/testing`: addresses, time that stops at news, links and counters.

use paceline_sim::{FaultKind, Link, NodeId, Refused, Testbed, Traffic};
use paceline_transport::{
    Config, MS, SECOND,
    app::{Command, Outbox},
    handshake::Secret,
};
use std::{net::SocketAddr, sync::Arc};

const ANY: &str = "0.0.0.0:0";

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn config() -> Config {
    let secret = Secret::new(&[7, 1, 2, 3, 4, 5, 6, 0].repeat(4)).expect("a secret");
    Config { secrets: Arc::from([secret]), pool_bytes: 4 << 20, ..Config::default() }
}

fn attach(testbed: &mut Testbed, bind: &str) -> NodeId {
    testbed.attach(at(bind), config(), 64).expect("a free address")
}

fn connect(testbed: &mut Testbed, from: NodeId, to: NodeId) {
    let remote = testbed.address(to);
    let command = Command::Connect {
        peer: 1,
        remote,
        secrets: config().secrets,
        handshake_timeout_ns: 5 * SECOND,
        max_rate: None,
    };
    testbed.submit(from, &mut vec![command]);
}

/// Until the next news, at most so long; who has it, and whether a peer opened.
fn news(testbed: &mut Testbed, for_ns: u64) -> Vec<(NodeId, bool)> {
    let mut nodes = Vec::new();
    testbed.advance(testbed.now_ns() + for_ns, &mut nodes);
    let take = |node: NodeId| {
        let mut outbox = Outbox::default();
        testbed.shared(node).expect("present").take_news(&mut outbox);
        outbox.peers.iter().any(|peer| peer.open)
    };
    nodes.into_iter().map(|node| (node, take(node))).collect()
}

fn adds_up(traffic: &Traffic) -> bool {
    let lost: u64 = [
        FaultKind::Loss,
        FaultKind::BurstLoss,
        FaultKind::MtuDrop,
        FaultKind::Blackhole,
        FaultKind::OneWayPartition,
    ]
    .map(|kind| traffic.faults.get(kind))
    .iter()
    .sum();
    traffic.sent.0 + traffic.copied
        == traffic.delivered.0 + traffic.in_flight + lost + traffic.overflowed + traffic.unreachable
}

#[test]
fn a_wildcard_is_a_host_of_its_own_and_a_chosen_address_is_had_once() {
    let mut testbed = Testbed::new(1, Link::default(), false);
    let nodes =
        [ANY, "0.0.0.0:80", "[::]:80", "127.0.0.1:80", "127.0.0.1:0"].map(|bind| attach(&mut testbed, bind));
    let addresses = nodes.map(|node| testbed.address(node).to_string());
    assert_eq!(
        addresses,
        ["10.0.0.1:49152", "10.0.0.2:80", "[fd00::3]:80", "127.0.0.1:80", "127.0.0.1:49152"]
    );
    let taken = testbed.attach(at("127.0.0.1:80"), config(), 64);
    assert_eq!(taken.err(), Some(Refused::InUse(at("127.0.0.1:80"))));
    assert_eq!(testbed.detach(nodes[3]), 0);
    assert!(testbed.shared(nodes[3]).is_none());
    assert_eq!(attach(&mut testbed, "127.0.0.1:80"), nodes[3], "an address is one place, whoever is there");
    assert_eq!(
        testbed
            .attach(at(ANY), Config { pool_bytes: 0, ..config() }, 1)
            .err()
            .map(|refused| matches!(refused, Refused::Pool(_))),
        Some(true)
    );
}

#[test]
fn time_stops_at_news_and_nowhere_else() {
    let mut testbed = Testbed::new(1, Link { delay_ns: 30 * MS, ..Link::default() }, true);
    let [a, b] = ["0.0.0.0:1"; 2].map(|bind| attach(&mut testbed, bind));
    assert_eq!(news(&mut testbed, SECOND), []);
    let begin = testbed.now_ns();
    assert_eq!(begin, Testbed::START_NS + SECOND);
    connect(&mut testbed, a, b);
    // The opener hears after a round trip; nobody before.
    let told = news(&mut testbed, SECOND);
    assert_eq!(told, [(a, true)]);
    assert_eq!(testbed.now_ns() - begin, 60 * MS);
    let text = testbed.log_text().expect("kept");
    assert!(text.starts_with(" 1000000.000 µs 10.0.0.1:1 → 10.0.0.2:1 "), "{text}");
    assert!(adds_up(&testbed.traffic()) && testbed.traffic().sent.0 >= 2);
}

#[test]
fn what_is_cut_off_stays_so_whatever_the_link_becomes() {
    let mut testbed = Testbed::new(1, Link::default(), false);
    let [a, b] = ["0.0.0.0:1"; 2].map(|bind| attach(&mut testbed, bind));
    testbed.cut(b, a, true);
    testbed.link_all(Link { delay_ns: 2 * MS, ..Link::default() });
    connect(&mut testbed, a, b);
    assert_eq!(news(&mut testbed, SECOND), []);
    let traffic = testbed.traffic();
    assert!(
        traffic.faults.get(FaultKind::OneWayPartition) > 0 && traffic.delivered.0 > 0 && adds_up(&traffic)
    );
    testbed.heal();
    assert_eq!(news(&mut testbed, 3 * SECOND), [(a, true)]);
    assert_eq!(testbed.link_of(a, b).delay_ns, 2 * MS);
}

#[test]
fn the_seed_decides_and_descriptors_come_home_at_any_time() {
    let run = |seed| {
        let link = Link { loss_ppm: 300_000, duplicate_ppm: 300_000, jitter_ns: MS, ..Link::default() };
        let mut testbed = Testbed::new(seed, link, false);
        let nodes = ["0.0.0.0:1"; 4].map(|bind| attach(&mut testbed, bind));
        for node in &nodes[1..] {
            connect(&mut testbed, *node, nodes[0]);
        }
        while !news(&mut testbed, SECOND).is_empty() {
            assert!(adds_up(&testbed.traffic()));
        }
        connect(&mut testbed, nodes[0], nodes[1]);
        for node in nodes {
            assert_eq!(testbed.detach(node), 0);
        }
        news(&mut testbed, SECOND);
        let traffic = testbed.traffic();
        assert!(
            traffic.faults.get(FaultKind::Loss) > 0
                && traffic.copied > 0
                && traffic.in_flight == 0
                && adds_up(&traffic)
        );
        testbed.log_hash()
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
}
