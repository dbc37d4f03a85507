//! handshake.md section 7.

use super::{
    compare, every, moved, sent,
    support::{Node, SECOND, secret, server_config},
    told,
};
use crate::{
    AttemptId, Config, MAX_COOKIES, attempt,
    message::{self, CONFIRMED, refusal},
    noise::Answering,
    parameters::Hello,
};
use std::fmt::Write;

every!(State {
    None,
    Waiting,
    WaitingVersion2,
    WaitingCookie,
    WaitingNoMoreCookies,
    WaitingRetried,
    Confirming,
    ConfirmingAuthentic
});

every!(Happening {
    Connect,
    ConnectOtherAddress,
    Resend,
    Deadline,
    Cookie,
    CookieAgain,
    CookieElsewhere,
    CookieForged,
    CookieVersion2,
    Response,
    ResponseElsewhere,
    ResponseForged,
    ResponseNoise,
    ResponseOwnInstance,
    ResponseOtherApplication,
    ResponseTwoSuites,
    RefusedVersionNoneCommon,
    RefusedVersionOtherCommon,
    RefusedApplication,
    RefusedClosing,
    RefusedUnnamed,
    RefusedElsewhere,
    RefusedForged,
    Confirmed,
    ConfirmedForged,
    ConfirmedOtherId,
    Authentic,
    AuthenticOtherId,
    Cancel,
    SecretRemoved,
});

/// A client in a state, and what it takes to say something to it.
struct Scene {
    client: Node,
    server: Node,
    attempt: Option<AttemptId>,
    /// Attempt's name on the wire and the newest Initiation, also of one that is over.
    name: [u8; 8],
    initiation: Vec<u8>,
    confirm: Vec<u8>,
}

fn state_of(scene: &Scene) -> State {
    let Some(attempt) = scene.attempt.and_then(|id| scene.client.handshake.attempt_state(id)) else {
        return State::None;
    };
    match attempt {
        attempt::State::Waiting(waiting) if waiting.retried => State::WaitingRetried,
        attempt::State::Waiting(waiting) if waiting.cookies >= MAX_COOKIES => State::WaitingNoMoreCookies,
        attempt::State::Waiting(waiting) if waiting.cookies > 0 => State::WaitingCookie,
        attempt::State::Waiting(waiting) if waiting.version != message::VERSION => State::WaitingVersion2,
        attempt::State::Waiting(_) => State::Waiting,
        attempt::State::Confirming(confirming) if confirming.authentic => State::ConfirmingAuthentic,
        attempt::State::Confirming(_) => State::Confirming,
    }
}

fn cookie(scene: &Scene, n: u8) -> [u8; 56] {
    message::cookie(&secret(1), &scene.name, &[n; 24])
}

fn enter(state: State) -> Scene {
    let secrets = [secret(1)];
    let first_version = if matches!(state, State::WaitingRetried | State::WaitingVersion2) { 2 } else { 1 };
    let mut client = Node::new(Config { first_version, ..Config::default() }, &secrets, "192.0.2.1:50000", 1);
    let server = Node::server(&secrets, 2);
    let attempt = Some(client.connect(0, server.address, &secrets));
    let initiation = client.drain().remove(0).bytes().to_vec();
    let name = initiation[16..24].try_into().unwrap();
    let mut scene = Scene { client, server, attempt, name, initiation, confirm: Vec::new() };
    let remote = scene.server.address;
    let cookies = match state {
        State::WaitingCookie => 1,
        State::WaitingNoMoreCookies => MAX_COOKIES,
        _ => 0,
    };
    for n in 1..=cookies {
        let cookie = cookie(&scene, n);
        scene.initiation = scene.client.exchange(0, remote, &cookie).remove(0).bytes().to_vec();
    }
    match state {
        State::WaitingRetried => {
            let refusal = message::refusal(&secret(1), &scene.name, refusal::VERSION);
            scene.initiation = scene.client.exchange(0, remote, &refusal).remove(0).bytes().to_vec();
            scene.name = scene.initiation[16..24].try_into().unwrap();
        }
        State::Confirming | State::ConfirmingAuthentic | State::None => {
            let response = answer(&mut scene.server, &scene.initiation);
            scene.confirm = scene.client.exchange(0, remote, &response).remove(0).bytes().to_vec();
            if state == State::ConfirmingAuthentic {
                let id = scene.client.usable()[0].credential_id;
                scene.client.handshake.on_authentic(0, &id);
            }
            if state == State::None {
                scene.client.handshake.cancel(scene.attempt.unwrap());
            }
        }
        State::Waiting | State::WaitingVersion2 | State::WaitingCookie | State::WaitingNoMoreCookies => {}
    }
    assert_eq!(state_of(&scene), state);
    scene.client.events.clear();
    scene
}

/// The server's Response, whatever its cookies and gaps would say.
fn answer(server: &mut Node, initiation: &[u8]) -> Vec<u8> {
    let plain = message::Initiation(initiation.try_into().unwrap()).with_cookie(&secret(1), &[0; 24]);
    server.exchange(0, "192.0.2.1:50000".parse().unwrap(), &plain.0).remove(0).bytes().to_vec()
}

/// The Response of somebody who holds the secret and may say of himself what he likes.
fn answer_of(scene: &Scene, change: impl FnOnce(&mut Hello)) -> Vec<u8> {
    let initiation = message::Initiation(scene.initiation.as_slice().try_into().unwrap());
    let ephemeral = zeroize::Zeroizing::new([3; 32]);
    let (answering, _) =
        Answering::new(ephemeral, secret(1).psk(), &initiation.header(), &initiation.noise()).unwrap();
    let mut hello = Hello { suites: 1, ..server_config().hello([5; 16]) };
    change(&mut hello);
    let (noise, _) = answering.answer(&hello.encode()).unwrap();
    message::response(&secret(1), &scene.name, &noise).to_vec()
}

fn happen(scene: &mut Scene, happening: Happening) {
    use Happening as H;
    let (secrets, remote) = ([secret(1)], scene.server.address);
    let elsewhere = "192.0.2.3:4433".parse().unwrap();
    let refuse = |scene: &Scene, reason| message::refusal(&secret(1), &scene.name, reason).to_vec();
    let damaged = |mut bytes: Vec<u8>| {
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        bytes
    };
    let other_id = paceline_wire::CredentialId([9; 16]);
    let id =
        scene.confirm.get(8..24).map_or(other_id, |id| paceline_wire::CredentialId(id.try_into().unwrap()));
    let (from, datagram) = match happening {
        H::Connect => {
            let _ = scene.client.connect(SECOND, remote, &secrets);
            return;
        }
        H::ConnectOtherAddress => {
            let _ = scene.client.connect(SECOND, elsewhere, &secrets);
            return;
        }
        H::Resend => return scene.client.advance(130_000_000),
        H::Deadline => return scene.client.advance(10 * SECOND),
        H::Authentic => return scene.client.handshake.on_authentic(0, &id),
        H::AuthenticOtherId => return scene.client.handshake.on_authentic(0, &other_id),
        H::Cancel => return scene.client.handshake.cancel(scene.attempt.unwrap()),
        H::SecretRemoved => return scene.client.handshake.set_secrets([secret(2)].into()),
        H::Cookie => (remote, cookie(scene, 99).to_vec()),
        H::CookieAgain => (remote, cookie(scene, scene.initiation[24]).to_vec()),
        H::CookieElsewhere => (elsewhere, cookie(scene, 99).to_vec()),
        H::CookieForged => (remote, damaged(cookie(scene, 99).to_vec())),
        H::CookieVersion2 => {
            let mut bytes = cookie(scene, 99).to_vec();
            bytes[1] = 2;
            (remote, bytes)
        }
        H::Response => (remote, answer_of(scene, |_| ())),
        H::ResponseElsewhere => (elsewhere, answer_of(scene, |_| ())),
        H::ResponseForged => (remote, damaged(answer_of(scene, |_| ()))),
        H::ResponseNoise => (remote, message::response(&secret(1), &scene.name, &[7; 112]).to_vec()),
        H::ResponseOwnInstance => {
            let instance = scene.client.handshake.instance();
            (remote, answer_of(scene, |hello| hello.instance = instance))
        }
        H::ResponseOtherApplication => (remote, answer_of(scene, |hello| hello.application = [1; 16])),
        H::ResponseTwoSuites => (remote, answer_of(scene, |hello| hello.suites = 3)),
        H::RefusedVersionNoneCommon => {
            let mut bytes = refuse(scene, refusal::VERSION);
            bytes[3..5].copy_from_slice(&[2, 9]);
            (remote, sign(bytes))
        }
        H::RefusedVersionOtherCommon => (remote, refuse(scene, refusal::VERSION)),
        H::RefusedApplication => (remote, refuse(scene, refusal::APPLICATION)),
        H::RefusedClosing => (remote, refuse(scene, refusal::CLOSING)),
        H::RefusedUnnamed => (remote, refuse(scene, 77)),
        H::RefusedElsewhere => (elsewhere, refuse(scene, refusal::APPLICATION)),
        H::RefusedForged => (remote, damaged(refuse(scene, refusal::APPLICATION))),
        H::Confirmed | H::ConfirmedForged => {
            let confirm = if scene.confirm.is_empty() { vec![0; 56] } else { scene.confirm.clone() };
            let from_client = "192.0.2.1:50000".parse().unwrap();
            let mut bytes = scene.server.exchange(0, from_client, &confirm).pop().map_or_else(
                || message::confirmation(&message::confirmation_header(CONFIRMED, &id.0), &[0; 32]).to_vec(),
                |confirmed| confirmed.bytes().to_vec(),
            );
            if happening == H::ConfirmedForged {
                bytes = damaged(bytes);
            }
            (remote, bytes)
        }
        H::ConfirmedOtherId => {
            let header = message::confirmation_header(CONFIRMED, &other_id.0);
            (remote, message::confirmation(&header, &[0; 32]).to_vec())
        }
    };
    scene.client.receive(0, from, &datagram);
}

/// The MAC of a Refusal whose bounds were changed.
fn sign(mut bytes: Vec<u8>) -> Vec<u8> {
    let mac = secret(1).mac().tag16(&[&bytes[..16]]);
    bytes[16..].copy_from_slice(&mac);
    bytes
}

#[test]
fn r7_every_state_of_an_initiator_with_every_event() {
    let mut table = String::new();
    for state in State::ALL {
        writeln!(table, "{state:?}").unwrap();
        for happening in Happening::ALL {
            let mut scene = enter(*state);
            let before = scene.client.counters();
            happen(&mut scene, *happening);
            let messages = scene.client.drain();
            let next = state_of(&scene);
            let after = scene.client.counters();
            writeln!(
                table,
                "  {:<26}→ {:<21}| {:<11}| {:<36}|{}",
                format!("{happening:?}"),
                format!("{next:?}"),
                sent(&messages),
                told(&scene.client.events),
                moved(&before, &after),
            )
            .unwrap();
        }
    }
    compare("initiator.txt", &table);
}
