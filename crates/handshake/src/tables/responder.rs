//! handshake.md section 6.

use super::{
    compare, every, moved, sent,
    support::{Node, SECOND, secret, server_config},
    told,
};
use crate::{
    Acceptance, Config,
    message::{self, CONFIRM, Initiation},
    pending,
};
use paceline_wire::CredentialId;
use std::{fmt::Write, net::SocketAddr};

every!(State { None, Queued, HalfOpen, ConfirmedByPacket, Confirmed });
every!(Manner { Accept, Ignore, Closing, Full });

every!(Happening {
    Initiation,
    InitiationElsewhere,
    InitiationOther,
    InitiationCookie,
    InitiationStaleCookie,
    InitiationForged,
    InitiationUnknownSecret,
    InitiationVersion2,
    InitiationNoise,
    InitiationOwnInstance,
    InitiationOtherApplication,
    InitiationOtherSuite,
    InitiationFullInstance,
    Confirm,
    ConfirmForged,
    ConfirmOtherId,
    Authentic,
    AuthenticOtherId,
    TableFull,
    RateSpent,
    Lifetime,
    SecretRemoved,
    OtherSecretRemoved,
});

struct Scene {
    server: Node,
    client: Node,
    initiation: Vec<u8>,
    confirm: Vec<u8>,
}

const HERE: &str = "192.0.2.1:50000";

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn credential_id(scene: &Scene) -> CredentialId {
    scene.confirm.get(8..24).map_or(CredentialId([9; 16]), |id| CredentialId(id.try_into().unwrap()))
}

fn state_of(scene: &Scene) -> State {
    let key = Initiation(scene.initiation.as_slice().try_into().unwrap()).public_key();
    let queued = scene.server.handshake.is_queued(&key);
    match scene.server.handshake.pending_state(&key) {
        Some(pending::State::HalfOpen(_)) => State::HalfOpen,
        Some(pending::State::Confirmed(tombstone)) if tombstone.token_known => State::Confirmed,
        Some(pending::State::Confirmed(_)) => State::ConfirmedByPacket,
        None if queued => State::Queued,
        None => State::None,
    }
}

/// What limits the responder is part of its configuration: no cookieless budget, no room.
fn enter(state: State, happening: Happening) -> Scene {
    let secrets = [secret(1)];
    let rate = if happening == Happening::TableFull { 0 } else { 2 };
    let limited = matches!(happening, Happening::TableFull | Happening::RateSpent);
    let config = Config {
        handshakes_per_second: if limited { rate } else { server_config().handshakes_per_second },
        cookie_always: happening == Happening::InitiationStaleCookie,
        aes_128: happening != Happening::InitiationOtherSuite || state != State::None,
        ..server_config()
    };
    let mut scene = Scene {
        server: Node::new(config, &[secret(1), secret(3)], "192.0.2.2:4433", 2),
        client: Node::client(&secrets, 1),
        initiation: Vec::new(),
        confirm: Vec::new(),
    };
    let server = scene.server.address;
    scene.client.connect(0, server, &secrets);
    scene.initiation = scene.client.drain().remove(0).bytes().to_vec();
    if state != State::None {
        scene.server.receive(0, address(HERE), &scene.initiation.clone());
        if scene.server.handshake.queued() == 0 {
            // The budgets of this event leave no other state than none.
            return scene;
        }
    }
    if matches!(state, State::HalfOpen | State::ConfirmedByPacket | State::Confirmed) {
        scene.server.advance(0);
        let response = scene.server.drain().remove(0);
        scene.confirm = scene.client.exchange(0, server, response.bytes()).remove(0).bytes().to_vec();
        let id = credential_id(&scene);
        match state {
            State::ConfirmedByPacket => scene.server.handshake.on_authentic(0, &id),
            State::Confirmed => scene.server.receive(0, address(HERE), &scene.confirm.clone()),
            State::None | State::Queued | State::HalfOpen => {}
        }
    }
    scene.server.drain();
    scene.server.events.clear();
    scene
}

/// An Initiation of another attempt, made by a client that is changed first.
fn other(seed: u64, change: impl FnOnce(&mut Node)) -> Vec<u8> {
    let mut client = Node::client(&[secret(1)], seed);
    change(&mut client);
    client.connect(0, address("192.0.2.2:4433"), &[secret(1)]);
    client.drain().remove(0).bytes().to_vec()
}

/// With another cookie or other bytes, and a right MAC.
fn signed(initiation: &[u8], cookie: [u8; 24]) -> Vec<u8> {
    Initiation(initiation.try_into().unwrap()).with_cookie(&secret(1), &cookie).0.to_vec()
}

fn happen(scene: &mut Scene, happening: Happening) {
    use Happening as H;
    let mut from = address(HERE);
    let damaged = |mut bytes: Vec<u8>| {
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        bytes
    };
    let confirm = |scene: &Scene| {
        let header = message::confirmation_header(CONFIRM, &credential_id(scene).0);
        if scene.confirm.is_empty() {
            message::confirmation(&header, &[0; 32]).to_vec()
        } else {
            scene.confirm.clone()
        }
    };
    let datagram = match happening {
        H::Initiation => scene.initiation.clone(),
        H::InitiationElsewhere => {
            from = address("192.0.2.9:9");
            scene.initiation.clone()
        }
        H::InitiationOther => other(7, |_| ()),
        H::InitiationCookie => {
            let fresh = other(8, |_| ());
            let key = Initiation(fresh.as_slice().try_into().unwrap()).public_key();
            let cookie = scene.server.handshake.bake(0, from, &key);
            signed(&fresh, cookie)
        }
        H::InitiationStaleCookie => signed(&other(9, |_| ()), [1; 24]),
        H::InitiationForged => damaged(scene.initiation.clone()),
        H::InitiationUnknownSecret => {
            let mut client = Node::client(&[secret(2)], 4);
            client.connect(0, scene.server.address, &[secret(2)]);
            client.drain().remove(0).bytes().to_vec()
        }
        H::InitiationVersion2 => {
            let mut bytes = scene.initiation.clone();
            bytes[1] = 2;
            signed(&bytes, [0; 24])
        }
        H::InitiationNoise => {
            let mut bytes = other(10, |_| ());
            bytes[100] ^= 1;
            signed(&bytes, [0; 24])
        }
        H::InitiationOwnInstance => {
            let instance = scene.server.handshake.instance();
            other(11, |client| client.handshake.pretend(|hello| hello.instance = instance))
        }
        H::InitiationOtherApplication => {
            other(12, |client| client.handshake.pretend(|hello| hello.application = [1; 16]))
        }
        H::InitiationOtherSuite => other(13, |client| client.handshake.pretend(|hello| hello.suites = 4)),
        H::InitiationFullInstance => other(14, |client| {
            scene.server.handshake.set_peer_full(client.handshake.instance(), true);
        }),
        H::Confirm => confirm(scene),
        H::ConfirmForged => damaged(confirm(scene)),
        H::ConfirmOtherId => {
            message::confirmation(&message::confirmation_header(CONFIRM, &[8; 16]), &[0; 32]).to_vec()
        }
        H::Authentic => {
            let id = credential_id(scene);
            return scene.server.handshake.on_authentic(0, &id);
        }
        H::AuthenticOtherId => return scene.server.handshake.on_authentic(0, &CredentialId([8; 16])),
        H::TableFull => other(15, |_| ()),
        H::RateSpent => {
            // The bucket holds two.
            for seed in 20..22 {
                let filler = other(seed, |_| ());
                scene.server.receive(0, from, &filler);
            }
            other(16, |_| ())
        }
        H::Lifetime => return scene.server.advance(10 * SECOND),
        H::SecretRemoved => return scene.server.handshake.set_secrets([secret(3)].into()),
        H::OtherSecretRemoved => return scene.server.handshake.set_secrets([secret(1)].into()),
    };
    scene.server.receive(0, from, &datagram);
}

fn row(table: &mut String, scene: &mut Scene, name: &str, act: impl FnOnce(&mut Scene)) {
    let before = scene.server.counters();
    act(scene);
    // What is done at once, and what when the queue is served.
    let at_once = scene.server.drain();
    let next = state_of(scene);
    let queued = scene.server.handshake.queued();
    scene.server.advance(0);
    let later = scene.server.drain();
    let after = scene.server.counters();
    writeln!(
        table,
        "  {name:<39}→ {:<18}| {:<10}| queue {queued}: {:<20}| {:<20}|{}",
        format!("{next:?}"),
        sent(&at_once),
        sent(&later),
        told(&scene.server.events),
        moved(&before, &after),
    )
    .unwrap();
}

#[test]
fn r7_every_state_of_a_responders_entry_with_every_event() {
    let mut table = String::new();
    for state in State::ALL {
        writeln!(table, "{state:?}").unwrap();
        for happening in Happening::ALL {
            let mut scene = enter(*state, *happening);
            let reached = state_of(&scene);
            if reached != *state {
                // Limits that let nothing in leave nothing to be in.
                assert!(matches!(happening, Happening::TableFull | Happening::InitiationStaleCookie));
                writeln!(table, "  {:<39}cannot be", format!("{happening:?}")).unwrap();
                continue;
            }
            row(&mut table, &mut scene, &format!("{happening:?}"), |scene| happen(scene, *happening));
        }
    }
    compare("responder.txt", &table);
}

#[test]
fn r7_every_state_of_a_responders_entry_in_every_acceptance() {
    let mut table = String::new();
    for manner in Manner::ALL {
        // A new acceptance has no row and does not compile.
        let acceptance = match manner {
            Manner::Accept => Acceptance::Accept,
            Manner::Ignore => Acceptance::Ignore,
            Manner::Closing => Acceptance::Closing,
            Manner::Full => Acceptance::Full,
        };
        let _: Manner = match acceptance {
            Acceptance::Accept => Manner::Accept,
            Acceptance::Ignore => Manner::Ignore,
            Acceptance::Closing => Manner::Closing,
            Acceptance::Full => Manner::Full,
        };
        writeln!(table, "{manner:?}").unwrap();
        for state in State::ALL {
            let mut scene = enter(*state, Happening::Initiation);
            row(&mut table, &mut scene, &format!("{state:?}, set"), |scene| {
                scene.server.handshake.set_acceptance(acceptance);
            });
            for happening in [
                Happening::Initiation,
                Happening::InitiationOther,
                Happening::InitiationForged,
                Happening::InitiationVersion2,
                Happening::Confirm,
                Happening::Authentic,
            ] {
                let mut scene = enter(*state, happening);
                scene.server.handshake.set_acceptance(acceptance);
                scene.server.drain();
                row(&mut table, &mut scene, &format!("{state:?}, {happening:?}"), |scene| {
                    happen(scene, happening)
                });
            }
        }
    }
    compare("acceptance.txt", &table);
}
