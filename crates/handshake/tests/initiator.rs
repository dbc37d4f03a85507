//! What an initiator does: timers, cookies, wrong sources, limits, and the confirm timeout.

mod support;

use paceline_handshake::{
    Config, FailReason, Handshake, LimitError, MAX_ATTEMPTS, MAX_COOKIES, MESSAGE_QUEUE, REPLY_GAP_NS,
};
use std::{net::SocketAddr, sync::Arc};
use support::{MS, Node, Rng, SECOND, complete, list, local, only, secret, server_config};

/// Runs the timers of `node` until nothing is left; when what left, in order.
fn run_timers(node: &mut Node) -> Vec<(u64, Vec<u8>)> {
    let mut sent = Vec::new();
    while let Some(at_ns) = node.handshake.next_timeout() {
        node.advance(at_ns);
        sent.extend(node.drain().into_iter().map(|message| (at_ns, message.bytes().to_vec())));
    }
    sent
}

#[test]
fn another_secret_is_silence_and_a_timeout() {
    let (mut client, mut server) = (Node::client(&[secret(1)], 1), Node::server(&[secret(2)], 2));
    let attempt = client.connect(0, server.address, &[secret(1)]);
    let first = only(client.drain());
    let mut sent = vec![(0, first.bytes().to_vec())];
    sent.extend(run_timers(&mut client));
    for (at_ns, bytes) in &sent {
        assert_eq!(bytes, first.bytes(), "the same bytes again");
        assert!(server.exchange(*at_ns, client.address, bytes).is_empty());
    }
    assert_eq!(server.counters().dropped_unknown_secret, sent.len() as u64);
    assert!(server.events.is_empty());
    assert_eq!(server.tables(), [0; 3]);

    // 100 ms doubling to 2 s, each ± 20 %.
    let waits: Vec<u64> = sent.windows(2).map(|pair| (pair[1].0 - pair[0].0) / MS).collect();
    for (wait, nominal) in waits.iter().zip([100, 200, 400, 800, 1600, 2000, 2000, 2000]) {
        assert!((nominal * 8 / 10..=nominal * 12 / 10).contains(wait), "{waits:?}");
    }
    assert!((7..=10).contains(&waits.len()), "{waits:?}");
    assert_eq!(client.failed(), [(attempt, None, FailReason::Timeout)]);
    assert_eq!(client.counters().timeouts, 1);
    assert_eq!(client.counters().retransmissions, waits.len() as u64);
}

#[test]
fn the_timeout_is_to_the_nanosecond_and_jitter_differs() {
    let mut waits = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let mut client = Node::client(&[], seed);
        client.connect(0, "192.0.2.9:9".parse().unwrap(), &[secret(1)]);
        waits.insert(client.handshake.next_timeout().unwrap() / MS);
        let sent = run_timers(&mut client);
        assert!(sent.iter().all(|(at_ns, _)| *at_ns < 10 * SECOND));
        client.advance(10 * SECOND);
        assert_eq!(client.failed().len(), 1);
    }
    assert_eq!((waits.first(), waits.last(), waits.len()), (Some(&80), Some(&120), 41));
    let mut client = Node::client(&[], 1);
    client.connect(5, "192.0.2.9:9".parse().unwrap(), &[secret(1)]);
    client.advance(10 * SECOND + 4);
    assert!(client.drain().len() > 1 && client.failed().is_empty());
    client.advance(10 * SECOND + 5);
    client.drain();
    assert_eq!(client.failed().len(), 1);
}

#[test]
fn answers_must_come_from_the_address_that_was_asked() {
    let secrets = [secret(1)];
    let config = Config { cookie_always: true, ..server_config() };
    let (mut client, mut server) =
        (Node::client(&secrets, 1), Node::new(config, &secrets, "192.0.2.2:4433", 2));
    let (asked, strangers) = (server.address, ["192.0.2.2:4434", "192.0.2.3:4433", "[2001:db8::1]:4433"]);
    client.connect(0, asked, &secrets);
    let mut message = only(client.drain());
    for kind in [0x82, 0x81] {
        let answer = only(server.exchange(0, client.address, message.bytes()));
        assert_eq!(answer.bytes()[0], kind);
        for stranger in strangers {
            assert!(client.exchange(0, stranger.parse().unwrap(), answer.bytes()).is_empty());
        }
        // The same address as a dual-stack socket shows it.
        message = only(client.exchange(0, "[::ffff:192.0.2.2]:4433".parse().unwrap(), answer.bytes()));
        assert_eq!(message.remote, asked);
    }
    assert_eq!(client.counters().dropped_unexpected, 6);
    assert_eq!(client.usable()[0].remote, asked);
}

#[test]
fn at_most_four_cookies_each_once() {
    let secrets = [secret(1)];
    let config = Config { cookie_always: true, ..server_config() };
    let (mut client, mut server) =
        (Node::client(&secrets, 1), Node::new(config, &secrets, "192.0.2.2:4433", 2));
    client.connect(0, server.address, &secrets);
    let initiation = only(client.drain());
    let mut answered = 0;
    for i in 0..10 {
        let cookie = only(server.exchange(i * REPLY_GAP_NS, client.address, initiation.bytes()));
        let first = client.exchange(0, server.address, cookie.bytes()).len();
        assert_eq!(first, usize::from(i < u64::from(MAX_COOKIES)));
        assert!(client.exchange(0, server.address, cookie.bytes()).is_empty(), "the same again");
        answered += first;
    }
    let counters = client.counters();
    assert_eq!((answered, counters.cookies_received, counters.cookies_dropped), (4, MAX_COOKIES.into(), 16));
}

#[test]
fn local_addresses_stay() {
    let secrets = [secret(1)];
    let (mut client, mut server) = (Node::client(&secrets, 1), Node::server(&secrets, 2));
    client.connect(0, server.address, &secrets);
    let initiation = only(client.drain());
    assert_eq!(initiation.local, None);
    let mut rng = Rng(3);
    let mut random = |out: &mut [u8]| rng.fill(out);
    server.handshake.receive(0, client.address, local("192.0.2.2"), initiation.bytes(), &mut random);
    server.handshake.advance(0, &mut random);
    let response = only(server.drain());
    assert_eq!(response.local, local("192.0.2.2"));
    assert_eq!(server.half_open()[0].local, local("192.0.2.2"));
    client.handshake.receive(0, server.address, local("192.0.2.1"), response.bytes(), &mut random);
    assert_eq!(only(client.drain()).local, local("192.0.2.1"));
    assert_eq!(client.usable()[0].local, local("192.0.2.1"));
}

/// Who has a path and asks for another gets another: joining is for those that wait.
#[test]
fn a_usable_path_is_not_joined() {
    let secrets = [secret(1)];
    let (mut client, mut server) = (Node::client(&secrets, 1), Node::server(&secrets, 2));
    let first = client.connect(0, server.address, &secrets);
    let initiation = only(client.drain());
    let response = only(server.exchange(0, client.address, initiation.bytes()));
    only(client.exchange(0, server.address, response.bytes()));
    let second = client.connect(0, server.address, &secrets);
    assert_ne!(first, second);
    assert_eq!((only(client.drain()).bytes()[0], client.handshake.attempts()), (0x80, 2));
}

/// Every Confirm is lost: (authentic packets come?, what becomes of the path).
#[test]
fn a_confirm_that_is_never_answered() {
    for authentic in [false, true] {
        let secrets = [secret(1)];
        let (mut client, mut server) = (Node::client(&secrets, 1), Node::server(&secrets, 2));
        let attempt = client.connect(0, server.address, &secrets);
        let initiation = only(client.drain());
        let response = only(server.exchange(0, client.address, initiation.bytes()));
        let confirm = only(client.exchange(3 * SECOND, server.address, response.bytes()));
        let id = client.usable()[0].credential_id;
        if authentic {
            client.handshake.on_authentic(3 * SECOND, &id);
        }
        let repeated = run_timers(&mut client);
        assert!(repeated.len() >= 7 && repeated.iter().all(|(_, bytes)| bytes == confirm.bytes()));
        assert!(repeated.last().unwrap().0 > 10 * SECOND, "the timeout is Confirm's own");
        client.advance(13 * SECOND);
        client.drain();
        if authentic {
            assert_eq!(client.confirmed(), [(id, server.address, None)]);
            assert!(client.failed().is_empty());
            assert_eq!(client.counters().completed_without_token, 1);
        } else {
            assert_eq!(client.failed(), [(attempt, Some(id), FailReason::Timeout)]);
            assert!(client.confirmed().is_empty());
        }
        assert_eq!((client.tables(), client.handshake.next_timeout()), ([0; 3], None));
    }
}

#[test]
fn an_own_initiation_is_dropped() {
    let secrets = [secret(1)];
    let mut node = Node::server(&secrets, 1);
    let own = node.address;
    let attempt = node.connect(0, own, &secrets);
    let initiation = only(node.drain());
    assert!(node.exchange(0, own, initiation.bytes()).is_empty());
    let counters = node.counters();
    assert_eq!((counters.dropped_own_instance, counters.half_open), (1, 0));
    let sent = run_timers(&mut node);
    assert!(sent.len() >= 7);
    assert_eq!(node.failed(), [(attempt, None, FailReason::Timeout)]);
    assert!(node.half_open().is_empty());
}

#[test]
fn limits_joining_and_cancelling() {
    let mut client = Node::client(&[], 1);
    let mut rng = Rng(2);
    let mut random = |out: &mut [u8]| rng.fill(out);
    let at = |port: usize| SocketAddr::from(([203, 0, 113, 1], port as u16));
    let (one, two) = (list(&[secret(1)]), list(&[secret(2)]));
    let none: Arc<[_]> = Arc::new([]);
    let mut connect = |handshake: &mut Handshake, port, secrets: &Arc<[_]>| {
        handshake.connect(0, at(port), secrets, SECOND, &mut random)
    };
    assert_eq!(connect(&mut client.handshake, 1, &none), Err(LimitError::NoSecret));
    let ids: Vec<_> =
        (1..=MAX_ATTEMPTS).map(|port| connect(&mut client.handshake, port, &one).unwrap()).collect();
    assert_eq!(connect(&mut client.handshake, MAX_ATTEMPTS + 1, &one), Err(LimitError::Attempts));
    assert_eq!(
        connect(&mut client.handshake, 1, &two),
        Err(LimitError::Attempts),
        "another secret, another attempt"
    );
    assert_eq!(connect(&mut client.handshake, 7, &one), Ok(ids[6]), "joined");
    client.handshake.cancel(ids[6]);
    assert_eq!(client.handshake.attempts(), MAX_ATTEMPTS - 1);
    let again = connect(&mut client.handshake, 7, &one).unwrap();
    assert!(!ids.contains(&again), "ids are not used again");

    // The message queue is bounded; the timers send what found no room.
    assert_eq!(client.drain().len(), MESSAGE_QUEUE);
    let mut heard: std::collections::BTreeSet<SocketAddr> = (1..=MESSAGE_QUEUE).map(at).collect();
    for now_ns in (0..500).map(|i| i * MS) {
        client.advance(now_ns);
        heard.extend(client.drain().iter().map(|message| message.remote));
    }
    assert_eq!(heard.len(), MAX_ATTEMPTS);
    let mut rounds = 0;
    while client.handshake.attempts() > 0 {
        client.advance(SECOND);
        client.drain();
        rounds += 1;
        assert!(rounds < 100);
    }
    // The cancelled one ended without a word.
    assert_eq!(client.failed().len(), MAX_ATTEMPTS);
    assert!(client.failed().iter().all(|(id, ..)| *id != ids[6]));
}

#[test]
fn joining_keeps_the_later_deadline() {
    let mut client = Node::client(&[], 1);
    let mut rng = Rng(2);
    let remote = "192.0.2.9:9".parse().unwrap();
    let secrets = list(&[secret(1)]);
    let mut connect = |now_ns, timeout_ns| {
        client.handshake.connect(now_ns, remote, &secrets, timeout_ns, &mut |out| rng.fill(out)).unwrap()
    };
    let id = connect(0, SECOND);
    assert_eq!(connect(SECOND / 2, SECOND), id);
    assert_eq!(connect(SECOND / 2, 1), id);
    client.advance(SECOND * 3 / 2 - 1);
    client.drain();
    assert!(client.failed().is_empty());
    client.advance(SECOND * 3 / 2);
    client.drain();
    assert_eq!(client.failed(), [(id, None, FailReason::Timeout)]);
}

#[test]
fn the_reset_token_survives_a_restart() {
    let secrets = [secret(1), secret(2)];
    // Accepting or only opening, with the list or without: the first secret's key.
    let (mut client, mut server) = (Node::client(&[], 1), Node::server(&secrets, 2));
    complete(&mut client, &mut server, 0, &secrets);
    let id = client.usable()[0].credential_id;
    assert_eq!(client.confirmed()[0].2, Some(Node::server(&secrets, 99).handshake.reset_token(&id)));
    assert_eq!(server.confirmed()[0].2, Some(client.handshake.reset_token(&id)));
    let mut restarted = Node::client(&[], 77);
    assert_ne!(
        restarted.handshake.reset_token(&id),
        client.handshake.reset_token(&id),
        "it knows no secret yet"
    );
    restarted.connect(0, server.address, &secrets);
    assert_eq!(restarted.handshake.reset_token(&id), client.handshake.reset_token(&id));
    // A key of its own is not changed by secrets.
    let config = || Config { reset_key: Some([7; 32]), ..server_config() };
    let mut own = Node::new(config(), &secrets, "192.0.2.3:1", 1);
    let token = own.handshake.reset_token(&id);
    own.handshake.set_secrets(list(&[secret(9)]));
    assert_eq!(own.handshake.reset_token(&id), token);
    assert_ne!(token, server.handshake.reset_token(&id));
    assert!(!format!("{:?}", config()).contains("7, 7"), "{:?}", config());
}

#[test]
fn a_worker_may_move_between_threads() {
    fn assert_send<T: Send>() {}
    assert_send::<Handshake>();
}
