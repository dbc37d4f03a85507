//! Changing the secret without a pause: second everywhere, then first, then the old one goes (handshake.md section 2).

mod support;

use paceline_handshake::{FailReason, Secret};
use support::{Node, SECOND, complete, list, only, secret};

fn old() -> Secret {
    secret(1)
}

fn new() -> Secret {
    secret(2)
}

#[test]
fn every_step_of_a_rotation_connects() {
    // (opener, acceptor): all pairs that stand side by side while the change is rolled out, both ways.
    let stages = [vec![old()], vec![old(), new()], vec![new(), old()], vec![new()]];
    let mut pairs = 0;
    for pair in stages.windows(2) {
        for (ours, theirs) in
            [(&pair[0], &pair[0]), (&pair[0], &pair[1]), (&pair[1], &pair[0]), (&pair[1], &pair[1])]
        {
            let (mut client, mut server) = (Node::client(ours, 1), Node::server(theirs, 2));
            complete(&mut client, &mut server, 0, ours);
            assert_eq!(client.usable()[0].secret_id, ours[0].id(), "the first is used for opening");
            assert_eq!(server.half_open()[0].secret_id, ours[0].id());
            assert_eq!((client.confirmed().len(), server.confirmed().len()), (1, 1));
            pairs += 1;
        }
    }
    assert_eq!(pairs, 12);
}

#[test]
fn skipping_a_step_is_silence() {
    for (ours, theirs) in [
        (vec![new(), old()], vec![old()]),
        (vec![new()], vec![old()]),
        (vec![old()], vec![new()]),
        (vec![old(), new()], vec![new()]),
    ] {
        let (mut client, mut server) = (Node::client(&ours, 1), Node::server(&theirs, 2));
        client.connect(0, server.address, &ours);
        let initiation = only(client.drain());
        assert!(server.exchange(0, client.address, initiation.bytes()).is_empty());
        assert_eq!((server.counters().dropped_unknown_secret, server.tables()), (1, [0; 3]));
        client.advance(10 * SECOND);
        client.drain();
        assert_eq!(client.failed()[0].2, FailReason::Timeout);
    }
}

#[test]
fn a_removed_secret_ends_what_is_pending_and_nothing_else() {
    let both = [old(), new()];
    let mut server = Node::server(&both, 9);
    let mut clients: Vec<Node> =
        (0..6).map(|i| Node::new(Default::default(), &[], &format!("192.0.2.1:{}", 1 + i), i)).collect();
    let address = server.address;
    let with = |i: usize| if i.is_multiple_of(2) { [old()] } else { [new()] };
    for (i, client) in clients.iter_mut().enumerate() {
        client.connect(0, address, &with(i));
        let initiation = only(client.drain());
        match i {
            // Confirmed, half-open, waiting in the queue; one of each secret.
            0 | 1 => {
                let response = only(server.exchange(0, client.address, initiation.bytes()));
                let confirm = only(client.exchange(0, address, response.bytes()));
                only(server.exchange(0, client.address, confirm.bytes()));
            }
            2 | 3 => drop(only(server.exchange(0, client.address, initiation.bytes()))),
            _ => server.receive(0, client.address, initiation.bytes()),
        }
    }
    assert_eq!(server.tables(), [0, 4, 2]);
    server.handshake.set_secrets(list(&[new()]));
    server.drain();
    assert_eq!(server.tables(), [0, 3, 1]);
    let gone =
        server.half_open().iter().filter(|path| path.secret_id == old().id()).nth(1).unwrap().credential_id;
    assert_eq!(server.expired(), [gone]);
    // The queue goes on with the one that stayed, and the rest expires as ever.
    server.advance(0);
    let response = only(server.drain());
    assert_eq!(response.remote, clients[5].address);
    server.advance(10 * SECOND);
    server.drain();
    assert_eq!(server.tables(), [0; 3]);
    assert_eq!(server.expired().len(), 3);
    assert_eq!(server.confirmed().len(), 2);
}

#[test]
fn waiting_attempts_of_a_removed_secret_fail() {
    let mut node = Node::client(&[old(), new()], 1);
    let at = |port: u16| std::net::SocketAddr::from(([192, 0, 2, 9], port));
    let removed = node.connect(0, at(1), &[old()]);
    let kept = node.connect(0, at(2), &[new()]);
    // A secret of its own, never in the list: removing others is no affair of its.
    let apart = node.connect(0, at(3), &[secret(3)]);
    node.handshake.set_secrets(list(&[new()]));
    node.drain();
    assert_eq!(node.failed(), [(removed, None, FailReason::SecretRemoved)]);
    node.handshake.set_secrets(list(&[]));
    node.drain();
    assert_eq!(node.failed()[1..], [(kept, None, FailReason::SecretRemoved)]);
    node.advance(10 * SECOND);
    node.drain();
    assert_eq!(node.failed()[2..], [(apart, None, FailReason::Timeout)]);
}
