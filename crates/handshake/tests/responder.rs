//! What a responder does with Initiations and Confirms: order of checks, cookies, budgets, queue, replays.

mod support;

use paceline_handshake::{
    Acceptance, COOKIE_LIFETIME_NS, COOKIELESS_RATE, Config, Counters, Event, FailReason, HANDSHAKE_QUEUE,
    HANDSHAKES_PER_STEP, MESSAGE_QUEUE, Message, PENDING_LIFETIME_NS, REPLY_GAP_NS, refusal,
};
use std::net::SocketAddr;
use support::{MS, Node, SECOND, complete, only, secret, server_config};

/// Initiations of `n` attempts that know nothing of each other. Nobody answers them, so the addresses do not matter.
fn initiations(client: &mut Node, n: usize) -> Vec<Message> {
    let port = |i: usize| SocketAddr::from(([203, 0, 113, 9], 1 + i as u16));
    let secrets = [secret(1)];
    let connect = |i| {
        client.connect(0, port(i), &secrets);
        only(client.drain())
    };
    (0..n).map(connect).collect()
}

fn with_config(config: Config) -> Node {
    Node::new(config, &[secret(1)], "192.0.2.2:4433", 2)
}

fn kinds(messages: &[Message]) -> Vec<u8> {
    messages.iter().map(|message| message.bytes()[0]).collect()
}

#[test]
fn without_accepting_there_is_silence() {
    let secrets = [secret(1)];
    let mut client = Node::client(&secrets, 1);
    let mut server = with_config(Config { accept: false, ..Config::default() });
    client.connect(0, server.address, &secrets);
    let initiation = only(client.drain());
    assert!(server.exchange(0, client.address, initiation.bytes()).is_empty());
    assert_eq!(server.counters(), Counters { dropped_not_accepting: 1, ..Counters::default() });
    server.handshake.set_accept(true);
    assert_eq!(kinds(&server.exchange(0, client.address, initiation.bytes())), [0x81]);
}

#[test]
fn refusals_say_why() {
    let secrets = [secret(1)];
    let label = |label: &str| Config { application: Some(label.into()), ..server_config() };
    // (initiator, responder, what becomes of Initiations, reason)
    let cases = [
        (label("a"), label("b"), Acceptance::Accept, refusal::APPLICATION),
        (label("a"), server_config(), Acceptance::Accept, refusal::APPLICATION),
        (server_config(), label("b"), Acceptance::Accept, refusal::APPLICATION),
        (server_config(), server_config(), Acceptance::Closing, refusal::CLOSING),
        (server_config(), server_config(), Acceptance::Full, refusal::FULL),
    ];
    for (ours, theirs, acceptance, reason) in cases {
        let mut client = Node::new(ours, &secrets, "192.0.2.1:1", 1);
        let mut server = with_config(theirs);
        server.handshake.set_acceptance(acceptance);
        client.connect(0, server.address, &secrets);
        let reply = only(client.drain());
        let reply = only(server.exchange(0, client.address, reply.bytes()));
        assert_eq!((reply.bytes()[0], reply.bytes()[2]), (0x83, reason));
        assert_eq!(server.tables(), [0; 3]);
        assert_eq!(server.counters().refusals_sent, 1);
        assert!(client.exchange(0, server.address, reply.bytes()).is_empty());
        assert_eq!(
            client.failed().iter().map(|(_, id, error)| (*id, *error)).collect::<Vec<_>>(),
            [(None, FailReason::Refused(reason))]
        );
        assert_eq!(client.tables(), [0; 3]);
        assert_eq!((client.counters().failed, client.handshake.next_timeout()), (1, None));
    }
}

#[test]
fn suites_are_the_responders_choice() {
    use paceline_wire::Suite::{Aes128GcmSha256, Aes256GcmSha384};
    let secrets = [secret(1)];
    for (ours, theirs, suite) in [
        (false, false, Aes128GcmSha256),
        (false, true, Aes256GcmSha384),
        (true, false, Aes256GcmSha384),
        (true, true, Aes256GcmSha384),
    ] {
        let config = |aes_256| Config { aes_256, ..server_config() };
        let mut client = Node::new(config(ours), &secrets, "192.0.2.1:1", 1);
        let mut server = with_config(config(theirs));
        complete(&mut client, &mut server, 0, &secrets);
        assert_eq!((client.usable()[0].suite, server.half_open()[0].suite), (suite, suite));
        assert_eq!(client.usable()[0].secret.suite(), suite);
        assert!(client.usable()[0].peer.wide_replay_window && server.half_open()[0].peer.wide_replay_window);
    }
}

#[test]
fn two_diffie_hellmans_a_step() {
    let mut client = Node::client(&[], 1);
    let mut server = with_config(server_config());
    let all = initiations(&mut client, 9);
    for (i, initiation) in all.iter().enumerate() {
        server.receive(7 * MS, SocketAddr::from(([192, 0, 2, 1], i as u16 + 1)), initiation.bytes());
    }
    assert!(server.handshake.is_quiet());
    assert_eq!(server.tables(), [0, 0, 9]);
    for done in [2, 4, 6, 8, 9] {
        assert_eq!(server.handshake.next_timeout(), Some(7 * MS));
        server.advance(7 * MS);
        assert_eq!(server.tables(), [0, done, 9 - done]);
        let replies = server.drain();
        assert!(replies.len() <= HANDSHAKES_PER_STEP && kinds(&replies).iter().all(|kind| *kind == 0x81));
    }
    // First come, first served; and each to its own address.
    let ports: Vec<u16> = server.half_open().iter().map(|path| path.remote.port()).collect();
    assert_eq!(ports, (1..=9).collect::<Vec<u16>>());
    assert_eq!(server.handshake.next_timeout(), Some(7 * MS + PENDING_LIFETIME_NS));
}

#[test]
fn a_spent_budget_asks_for_cookies_and_the_queue_is_bounded() {
    let mut client = Node::client(&[], 1);
    let mut server = with_config(server_config());
    let from = client.address;
    let all = initiations(&mut client, 400);
    let free = COOKIELESS_RATE as usize;
    let mut cookies = Vec::new();
    for (i, initiation) in all.iter().enumerate() {
        server.receive(0, from, initiation.bytes());
        cookies.extend(server.drain());
        assert_eq!(server.handshake.queued(), (i + 1).min(free));
    }
    assert_eq!(kinds(&cookies), vec![0x82; 400 - free]);
    assert_eq!(server.counters().cookieless_spent as usize, 400 - free);

    // The same again: waiting in the queue, or answered a moment ago.
    server.receive(0, from, all[0].bytes());
    server.receive(0, from, all[399].bytes());
    assert!(server.handshake.is_quiet());
    assert_eq!((server.counters().duplicates_dropped, server.counters().reply_gaps), (1, 1));

    let asked: Vec<SocketAddr> =
        (0..400).map(|i| SocketAddr::from(([203, 0, 113, 9], 1 + i as u16))).collect();
    for (cookie, asked) in cookies.iter().zip(&asked[free..]) {
        let again = only(client.exchange(0, *asked, cookie.bytes()));
        server.receive(0, from, again.bytes());
    }
    assert_eq!(server.handshake.queued(), HANDSHAKE_QUEUE);
    assert_eq!(server.counters().dropped_queue_full as usize, 400 - HANDSHAKE_QUEUE);
    for _ in 0..HANDSHAKE_QUEUE / HANDSHAKES_PER_STEP {
        server.advance(0);
        server.drain();
    }
    assert_eq!(server.tables(), [0, HANDSHAKE_QUEUE, 0]);
    assert_eq!(server.handshake.counters().received(), 402 + 400 - free as u64);

    // The budget refills: 64 a second.
    let later = initiations(&mut Node::client(&[], 5), 100);
    let cookies: usize =
        later.iter().map(|m| server.exchange(SECOND, from, m.bytes())).filter(|m| kinds(m) == [0x82]).count();
    assert_eq!(cookies, 100 - free);
}

#[test]
fn a_cookie_is_good_for_its_address_its_key_and_ten_seconds() {
    let config = Config { cookie_always: true, ..server_config() };
    let cases: [(&str, u64, bool); 4] = [
        ("192.0.2.1:50000", 0, true),
        ("192.0.2.1:50000", COOKIE_LIFETIME_NS, false),
        ("192.0.2.1:50001", 0, false),
        ("192.0.2.7:50000", 0, false),
    ];
    for (from, age_ns, good) in cases {
        let secrets = [secret(1)];
        let (mut client, mut server) = (Node::client(&secrets, 1), with_config(config.clone()));
        client.connect(0, server.address, &secrets);
        let initiation = only(client.drain());
        let cookie = only(server.exchange(0, client.address, initiation.bytes()));
        assert_eq!((kinds(std::slice::from_ref(&cookie)), server.tables()), (vec![0x82], [0; 3]));
        let again = only(client.exchange(0, server.address, cookie.bytes()));
        assert_eq!(again.bytes()[48..160], initiation.bytes()[48..160], "not made anew");
        let now_ns = age_ns.max(REPLY_GAP_NS);
        let reply = only(server.exchange(now_ns, from.parse().unwrap(), again.bytes()));
        assert_eq!(kinds(std::slice::from_ref(&reply)), [if good { 0x81 } else { 0x82 }], "{from} {age_ns}");
        assert_eq!(server.handshake.pending(), usize::from(good));
        if !good {
            assert_ne!(reply.bytes()[16..40], cookie.bytes()[16..40], "a new one");
        }
    }
    // Of another key, at the same address and time.
    let mut server = with_config(config);
    let mut client = Node::client(&[], 1);
    let all = initiations(&mut client, 2);
    let cookie = only(server.exchange(0, client.address, all[0].bytes()));
    let from = client.address;
    let mut forger = Node::client(&[], 1);
    let forged = initiations(&mut forger, 1);
    assert_eq!(forged[0].bytes(), all[0].bytes(), "the same seed makes the same attempt");
    let first = only(forger.exchange(0, SocketAddr::from(([203, 0, 113, 9], 1)), cookie.bytes()));
    assert_eq!(kinds(&server.exchange(0, from, first.bytes())), [0x81]);
    assert_eq!(kinds(&server.exchange(0, from, all[1].bytes())), [0x82]);
}

#[test]
fn handshakes_per_second_bounds_rate_and_table() {
    let mut server = with_config(Config { handshakes_per_second: 2, ..server_config() });
    let mut client = Node::client(&[], 1);
    let from = client.address;
    let all = initiations(&mut client, 300);
    let mut most = 0;
    for (i, initiation) in all.iter().enumerate() {
        let now_ns = i as u64 * 100 * MS;
        server.exchange(now_ns, from, initiation.bytes());
        most = most.max(server.handshake.pending());
    }
    // Burst, and two a second.
    assert_eq!(server.counters().half_open, 2 + 59);
    assert_eq!(server.counters().dropped_handshake_rate + server.counters().dropped_pending_full, 300 - 61);
    assert!((20..=22).contains(&most), "{most}");
    assert!(server.counters().expired >= 40);
}

#[test]
fn a_duplicate_gets_the_stored_response_after_the_gap() {
    let secrets = [secret(1)];
    let (mut client, mut server) = (Node::client(&secrets, 1), with_config(server_config()));
    client.connect(0, server.address, &secrets);
    let initiation = only(client.drain());
    let response = only(server.exchange(0, client.address, initiation.bytes()));
    // The first Response is no repetition; the first repetition opens the gap.
    let again = only(server.exchange(1, client.address, initiation.bytes()));
    assert_eq!(again.bytes(), response.bytes());
    assert!(server.exchange(REPLY_GAP_NS, client.address, initiation.bytes()).is_empty());
    let elsewhere: SocketAddr = "192.0.2.77:7".parse().unwrap();
    let moved = only(server.exchange(REPLY_GAP_NS + 1, elsewhere, initiation.bytes()));
    assert_eq!((moved.bytes(), moved.remote), (response.bytes(), elsewhere));
    let counters = server.counters();
    assert_eq!((counters.half_open, counters.duplicates_answered, counters.reply_gaps), (1, 2, 1));
    assert_eq!((server.half_open().len(), server.tables()), (1, [0, 1, 0]));
    // A Confirm from elsewhere: the path's address is its source, which the first Response did not go to.
    let confirm = only(client.exchange(0, server.address, response.bytes()));
    let confirmed = only(server.exchange(2 * REPLY_GAP_NS, elsewhere, confirm.bytes()));
    assert_eq!(confirmed.remote, elsewhere);
    assert_eq!(server.confirmed()[0].1, elsewhere);
    assert_eq!(server.half_open()[0].remote, client.address);
}

#[test]
fn replays_make_nothing() {
    let secrets = [secret(1)];
    let (mut client, mut server) = (Node::client(&secrets, 1), with_config(server_config()));
    let steps = complete(&mut client, &mut server, 0, &secrets);
    let replayer: SocketAddr = "198.51.100.1:9".parse().unwrap();
    let all = [&steps.initiation, &steps.response, &steps.confirm, &steps.confirmed];
    let events = (client.events.len(), server.events.len());
    for now_ns in [1, SECOND, PENDING_LIFETIME_NS - 1] {
        for message in all {
            let bytes = message.bytes();
            for reply in server.exchange(now_ns, replayer, bytes) {
                // Only a valid Confirm is answered, with the same bytes, to where it came from.
                assert_eq!((bytes[0], reply.bytes()), (0x84, steps.confirmed.bytes()));
                assert_eq!(reply.remote, replayer);
            }
            assert!(client.exchange(now_ns, server.address, bytes).is_empty());
        }
    }
    assert_eq!((client.events.len(), server.events.len()), events);
    assert_eq!(server.counters().confirms_repeated, 3);
    assert_eq!(server.tables(), [0, 1, 0]);

    // When the tombstone is gone, a replay gets a half-open path of its own, which nobody can confirm.
    let now_ns = PENDING_LIFETIME_NS;
    server.advance(now_ns);
    assert_eq!(server.tables(), [0; 3]);
    assert!(server.expired().is_empty(), "the path stays");
    let response = only(server.exchange(now_ns, replayer, steps.initiation.bytes()));
    assert_eq!(response.bytes()[0], 0x81);
    assert_ne!(response.bytes()[16..48], steps.response.bytes()[16..48]);
    assert!(server.exchange(now_ns, replayer, steps.confirm.bytes()).is_empty());
    server.advance(now_ns + PENDING_LIFETIME_NS);
    server.drain();
    assert_eq!(server.confirmed().len(), 1);
    assert_eq!(server.expired(), [server.half_open()[1].credential_id]);
    assert_ne!(server.expired()[0], server.confirmed()[0].0);

    // With cookies always, a replay never gets that far.
    let mut server = with_config(Config { cookie_always: true, ..server_config() });
    for now_ns in 0..100 {
        let replies = server.exchange(now_ns * SECOND, replayer, steps.initiation.bytes());
        assert_eq!(kinds(&replies), [0x82]);
    }
    assert_eq!((server.counters().half_open, server.tables()), (0, [0; 3]));
}

#[test]
fn replies_are_never_larger_than_what_they_answer() {
    let secrets = [secret(1)];
    for config in [server_config(), Config { cookie_always: true, ..server_config() }] {
        let (mut client, mut server) = (Node::client(&secrets, 1), with_config(config));
        let address = server.address;
        client.connect(0, address, &secrets);
        let mut seen = client.drain();
        let mut now_ns = 0;
        let (mut bytes_in, mut bytes_out, mut replies) = (0, 0, 0);
        // Everything the client ever says, again and again, in every state of the server.
        while now_ns < 12 * SECOND {
            for message in seen.clone() {
                now_ns += 37 * MS;
                let answers = server.exchange(now_ns, client.address, message.bytes());
                assert!(answers.len() <= 1);
                bytes_in += message.bytes().len();
                for answer in answers {
                    replies += 1;
                    bytes_out += answer.bytes().len();
                    assert!(answer.bytes().len() <= message.bytes().len());
                    seen.extend(client.exchange(now_ns, address, answer.bytes()));
                }
            }
        }
        assert!(replies > 50 && bytes_out < bytes_in, "{replies}");
        assert!(seen.iter().any(|message| message.bytes()[0] == 0x84), "it came that far");
    }
}

#[test]
fn an_authentic_packet_confirms_and_a_later_confirm_brings_the_token() {
    let secrets = [secret(1)];
    let (mut client, mut server) = (Node::client(&secrets, 1), with_config(server_config()));
    client.connect(0, server.address, &secrets);
    let initiation = only(client.drain());
    let response = only(server.exchange(0, client.address, initiation.bytes()));
    let confirm = only(client.exchange(0, server.address, response.bytes()));
    let id = server.half_open()[0].credential_id;
    for _ in 0..3 {
        server.handshake.on_authentic(5, &id);
    }
    assert!(server.drain().is_empty(), "nobody asked");
    assert_eq!(server.confirmed(), [(id, client.address, None)]);
    assert!(server.exchange(5, client.address, initiation.bytes()).is_empty());
    for _ in 0..3 {
        let confirmed = only(server.exchange(6, client.address, confirm.bytes()));
        client.exchange(6, server.address, confirmed.bytes());
    }
    let token = Some(client.handshake.reset_token(&id));
    assert_eq!(server.confirmed(), [(id, client.address, None), (id, client.address, token)]);
    assert_eq!(client.confirmed(), [(id, server.address, Some(server.handshake.reset_token(&id)))]);
    let counters = server.counters();
    assert_eq!((counters.confirmed_by_packet, counters.confirmed, counters.confirms_repeated), (1, 0, 3));
    server.advance(PENDING_LIFETIME_NS);
    server.drain();
    assert!(server.expired().is_empty());
}

#[test]
fn half_open_paths_expire_on_time() {
    let secrets = [secret(1)];
    let (mut client, mut server) = (Node::client(&secrets, 1), with_config(server_config()));
    client.connect(0, server.address, &secrets);
    let initiation = only(client.drain());
    let response = only(server.exchange(3, client.address, initiation.bytes()));
    let confirm = only(client.exchange(3, server.address, response.bytes()));
    assert_eq!(server.handshake.next_timeout(), Some(3 + PENDING_LIFETIME_NS));
    server.advance(2 + PENDING_LIFETIME_NS);
    server.drain();
    assert!(server.expired().is_empty());
    server.advance(3 + PENDING_LIFETIME_NS);
    server.drain();
    assert_eq!(server.expired(), [server.half_open()[0].credential_id]);
    assert!(server.exchange(3 + PENDING_LIFETIME_NS, client.address, confirm.bytes()).is_empty());
    assert_eq!(server.counters().dropped_unknown_credential, 1);
    assert_eq!((server.tables(), server.handshake.next_timeout()), ([0; 3], None));
}

#[test]
fn an_endpoint_that_is_not_polled_stays_bounded() {
    let mut server = with_config(Config { cookie_always: true, ..server_config() });
    let mut client = Node::client(&[], 1);
    let from = client.address;
    for initiation in initiations(&mut client, 1_000) {
        server.receive(0, from, initiation.bytes());
    }
    let counters = server.counters();
    assert_eq!(counters.cookies_sent as usize, MESSAGE_QUEUE);
    assert_eq!(counters.messages_full as usize, 1_000 - MESSAGE_QUEUE);
    assert_eq!(server.drain().len(), MESSAGE_QUEUE);
    assert_eq!(server.handshake.counters().received(), 1_000);

    // Responses, too: what finds no room waits in the queue, and nothing is lost.
    let mut server = with_config(Config { handshakes_per_second: 2_000, ..server_config() });
    let mut confirmed = 0;
    for initiation in initiations(&mut Node::client(&[], 9), 64) {
        server.receive(0, from, initiation.bytes());
        server.advance(0);
        confirmed += 1;
    }
    assert_eq!((confirmed, server.handshake.queued(), server.drain().len()), (64, 0, 64));
    assert!(matches!(server.events[63], Event::HalfOpen { .. }));
}
