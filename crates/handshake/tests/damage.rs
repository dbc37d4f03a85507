//! Every bit flip, every truncation and one byte more, of every kind of message, in the state in which the genuine one
//! has an effect: no reply, no event, no state; then the genuine one still works.

mod support;

use paceline_handshake::{Config, Counters};
use support::{Node, only, secret, server_config};

/// Counters that silence may change.
fn silent_drops(counters: &Counters) -> u64 {
    counters.dropped_type
        + counters.dropped_length
        + counters.dropped_not_accepting
        + counters.dropped_unknown_secret
        + counters.dropped_unexpected
        + counters.dropped_mac
        + counters.dropped_unknown_credential
        + counters.dropped_confirm
}

fn without_drops(mut counters: Counters) -> Counters {
    counters.dropped_type = 0;
    counters.dropped_length = 0;
    counters.dropped_not_accepting = 0;
    counters.dropped_unknown_secret = 0;
    counters.dropped_unexpected = 0;
    counters.dropped_mac = 0;
    counters.dropped_unknown_credential = 0;
    counters.dropped_confirm = 0;
    counters
}

fn damaged(genuine: &[u8]) -> Vec<Vec<u8>> {
    let flips = (0..genuine.len() * 8).map(|bit| {
        let mut copy = genuine.to_vec();
        copy[bit / 8] ^= 1 << (bit % 8);
        copy
    });
    let cuts = (0..genuine.len()).map(|len| genuine[..len].to_vec());
    flips.chain(cuts).chain([[genuine, &[0]].concat()]).collect()
}

/// Gives `node` every damaged copy of `genuine` from `from`; returns how many.
fn batter(node: &mut Node, from: std::net::SocketAddr, genuine: &[u8]) -> usize {
    let (before, tables, timeout) = (node.counters(), node.tables(), node.handshake.next_timeout());
    let events = node.events.len();
    let all = damaged(genuine);
    for (i, datagram) in all.iter().enumerate() {
        let replies = node.exchange(0, from, datagram);
        assert!(replies.is_empty(), "{i}: {replies:?}");
        assert_eq!(node.events.len(), events, "{i}");
        assert_eq!(node.tables(), tables, "{i}");
        assert_eq!(node.handshake.next_timeout(), timeout, "{i}");
        let after = node.counters();
        assert_eq!(silent_drops(&after), silent_drops(&before) + i as u64 + 1, "{i}: {after:?}");
        assert_eq!(without_drops(after), without_drops(before), "{i}");
    }
    all.len()
}

#[test]
fn damaged_messages_have_no_effect() {
    let secrets = [secret(1)];
    let mut tried = 0;
    for cookie_always in [false, true] {
        let mut client = Node::client(&secrets, 1);
        let config = Config { cookie_always, ..server_config() };
        let mut server = Node::new(config, &secrets, "192.0.2.2:4433", 2);
        let (c, s) = (client.address, server.address);
        client.connect(0, s, &secrets);
        let mut initiation = only(client.drain());
        tried += batter(&mut server, c, initiation.bytes());
        if cookie_always {
            let cookie = only(server.exchange(0, c, initiation.bytes()));
            assert_eq!(cookie.bytes()[0], 0x82);
            tried += batter(&mut client, s, cookie.bytes());
            initiation = only(client.exchange(0, s, cookie.bytes()));
            tried += batter(&mut server, c, initiation.bytes());
        }
        let response = only(server.exchange(0, c, initiation.bytes()));
        tried += batter(&mut client, s, response.bytes());
        let confirm = only(client.exchange(0, s, response.bytes()));
        tried += batter(&mut server, c, confirm.bytes());
        let confirmed = only(server.exchange(0, c, confirm.bytes()));
        tried += batter(&mut client, s, confirmed.bytes());
        // Confirmed already: the tombstone does not mind either.
        tried += batter(&mut server, c, confirm.bytes());
        assert!(client.exchange(0, s, confirmed.bytes()).is_empty());
        assert_eq!((client.confirmed().len(), server.confirmed().len()), (1, 1));
    }
    assert_eq!(tried, 2 * ((176 + 144 + 3 * 56) * 9 + 5) + (56 + 176) * 9 + 2);
}

#[test]
fn damaged_refusals_have_no_effect() {
    let secrets = [secret(1)];
    let mut client = Node::client(&secrets, 1);
    let config = Config { application: Some("other".into()), ..server_config() };
    let mut server = Node::new(config, &secrets, "192.0.2.2:4433", 2);
    client.connect(0, server.address, &secrets);
    let initiation = only(client.drain());
    let refusal = only(server.exchange(0, client.address, initiation.bytes()));
    assert_eq!(refusal.bytes()[0], 0x83);
    assert_eq!(batter(&mut client, server.address, refusal.bytes()), 32 * 9 + 1);
    client.exchange(0, server.address, refusal.bytes());
    assert_eq!(client.failed().len(), 1);
}

/// First bytes of ours that are no message, and garbage of every length.
#[test]
fn other_types_and_garbage() {
    let secrets = [secret(1)];
    let mut server = Node::server(&secrets, 2);
    let from = "192.0.2.1:1".parse().unwrap();
    let mut count = 0;
    for first in 0x80..=0xBF {
        for len in (0..1300).step_by(13).chain([32, 56, 144, 176]) {
            let mut datagram = vec![0; len];
            server.rng.fill(&mut datagram);
            datagram.first_mut().into_iter().for_each(|byte| *byte = first);
            assert!(server.exchange(0, from, &datagram).is_empty());
            count += 1;
        }
    }
    assert_eq!(silent_drops(&server.counters()), count);
    assert_eq!(server.counters().received(), count);
    assert_eq!(server.tables(), [0; 3]);
    assert!(server.events.is_empty());
}
