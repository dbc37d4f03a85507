//! The golden vectors of handshake.md section 11, through the public interface: two endpoints whose random source gives
//! the vectors' keys produce the vectors' bytes.

mod support;

use paceline_handshake::{Config, Event, FailReason, Handshake, Secret, refusal};
use paceline_wire::{PathSecret, Role, Suite, crypto::hmac_sha256};
use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::Arc,
};
use support::{MS, SECOND};

fn vectors() -> BTreeMap<&'static str, Vec<u8>> {
    let hex = |text: &str| {
        (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
    };
    include_str!("handshake-golden.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split_once(' ').unwrap())
        .map(|(name, value)| (name, hex(value)))
        .collect()
}

/// A random source that gives these, then zeros.
fn script(values: &[&[u8]]) -> impl FnMut(&mut [u8]) + use<> {
    let mut values: VecDeque<Vec<u8>> = values.iter().map(|value| value.to_vec()).collect();
    move |out| match values.pop_front() {
        Some(value) => out.copy_from_slice(&value),
        None => out.fill(0),
    }
}

struct Golden {
    v: BTreeMap<&'static str, Vec<u8>>,
    secrets: Arc<[Secret]>,
    initiator: SocketAddr,
    responder: SocketAddr,
}

const NOW_NS: u64 = 3 * SECOND + 999_999;

impl Golden {
    fn new() -> Self {
        let v = vectors();
        let secrets = Arc::from([Secret::new(&v["secret"]).unwrap()]);
        Self {
            v,
            secrets,
            initiator: "192.0.2.1:50000".parse().unwrap(),
            responder: "192.0.2.2:4433".parse().unwrap(),
        }
    }

    fn client(&self) -> Handshake {
        let config = Config {
            application: Some("media".into()),
            initial_max_data: 32 << 20,
            max_streams: 256,
            idle_timeout_ms: 30_000,
            max_datagram: 1_472,
            wide_replay_window: false,
            ..Config::default()
        };
        let instance = &self.v["initiator_params"][..16];
        Handshake::new(config, self.secrets.clone(), 0, &mut script(&[instance, &[0; 32], &[0; 8]]))
    }

    fn server(&self, label: Option<&str>, cookie_always: bool) -> Handshake {
        let config = Config {
            accept: true,
            application: label.map(Into::into),
            initial_max_data: 16 << 20,
            max_streams: 100,
            idle_timeout_ms: 20_000,
            max_datagram: 8_940,
            cookie_always,
            ..Config::default()
        };
        // The cookie's clock shows 1,234,567 at NOW_NS.
        let offset = (1_234_567u64 - NOW_NS / MS).to_be_bytes();
        let instance = &self.v["responder_params"][..16];
        Handshake::new(
            config,
            self.secrets.clone(),
            0,
            &mut script(&[instance, &self.v["cookie_key"], &offset]),
        )
    }

    fn connect(&self, client: &mut Handshake) {
        let mut random =
            script(&[&self.v["initiator_private"], &[0xe0, 0xe1, 0xe2, 0xe3, 0xe4, 0xe5, 0xe6, 0xe7]]);
        client.connect(NOW_NS, self.responder, &self.secrets, 10 * SECOND, &mut random).unwrap();
    }
}

#[track_caller]
fn expect(handshake: &mut Handshake, expected: &[u8], remote: SocketAddr) {
    let message = handshake.poll_message().expect("a message");
    assert_eq!(message.bytes(), expected);
    assert_eq!(message.remote, remote);
    assert!(handshake.poll_message().is_none());
}

#[test]
fn a_whole_handshake_with_cookie() {
    let g = Golden::new();
    assert_eq!(g.secrets[0].id().0, *g.v["secret_id"]);
    let (mut client, mut server) = (g.client(), g.server(Some("media"), true));
    g.connect(&mut client);
    expect(&mut client, &g.v["initiation"], g.responder);

    server.receive(NOW_NS, g.initiator, None, &g.v["initiation"], &mut script(&[]));
    expect(&mut server, &g.v["cookie"], g.initiator);
    client.receive(NOW_NS, g.responder, None, &g.v["cookie"], &mut script(&[]));
    expect(&mut client, &g.v["initiation_with_cookie"], g.responder);

    server.receive(NOW_NS, g.initiator, None, &g.v["initiation_with_cookie"], &mut script(&[]));
    server.advance(NOW_NS, &mut script(&[&g.v["responder_private"]]));
    expect(&mut server, &g.v["response"], g.initiator);
    client.receive(NOW_NS, g.responder, None, &g.v["response"], &mut script(&[]));
    expect(&mut client, &g.v["confirm"], g.responder);
    server.receive(NOW_NS, g.initiator, None, &g.v["confirm"], &mut script(&[]));
    expect(&mut server, &g.v["confirmed"], g.initiator);
    client.receive(NOW_NS, g.responder, None, &g.v["confirmed"], &mut script(&[]));
    assert!(client.poll_message().is_none());

    let Some(Event::Usable { path: ours, .. }) = client.poll_event() else { panic!("usable") };
    let Some(Event::HalfOpen { path: theirs }) = server.poll_event() else { panic!("half-open") };
    assert_eq!(ours.credential_id.0, *g.v["credential_id"]);
    assert_eq!(theirs.credential_id.0, *g.v["credential_id"]);
    assert_eq!((ours.role, theirs.role), (Role::Client, Role::Server));
    assert_eq!((ours.suite, theirs.suite), (Suite::Aes128GcmSha256, Suite::Aes128GcmSha256));
    let export: [u8; 32] = g.v["export_secret"].clone().try_into().unwrap();
    assert_eq!(PathSecret::new(export, ours.suite, ours.role).id().0, *g.v["credential_id"]);
    assert_eq!(ours.instance, g.v["responder_params"][..16]);
    assert_eq!(theirs.instance, g.v["initiator_params"][..16]);
    assert_eq!((ours.peer.initial_max_data, theirs.peer.initial_max_data), (16 << 20, 32 << 20));
    assert_eq!((ours.peer.max_streams, theirs.peer.max_streams), (100, 256));
    for peer in [&ours.peer, &theirs.peer] {
        assert_eq!(
            (peer.idle_timeout_ms, peer.max_datagram, peer.wide_replay_window),
            (20_000, 1_472, false)
        );
    }

    let token: [u8; 16] = g.v["reset_token"].clone().try_into().unwrap();
    for endpoint in [&mut client, &mut server] {
        let Some(Event::Confirmed { credential_id, reset_token, .. }) = endpoint.poll_event() else {
            panic!("confirmed")
        };
        assert_eq!((credential_id, reset_token), (ours.credential_id, Some(token)));
        assert_eq!(endpoint.reset_token(&ours.credential_id), token);
        assert!(endpoint.poll_event().is_none());
    }
}

#[test]
fn a_refused_application() {
    let g = Golden::new();
    let (mut client, mut server) = (g.client(), g.server(None, false));
    g.connect(&mut client);
    expect(&mut client, &g.v["initiation"], g.responder);
    server.receive(NOW_NS, g.initiator, None, &g.v["initiation"], &mut script(&[]));
    server.advance(NOW_NS, &mut script(&[&g.v["responder_private"]]));
    expect(&mut server, &g.v["refusal_application"], g.initiator);
    client.receive(NOW_NS, g.responder, None, &g.v["refusal_application"], &mut script(&[]));
    let Some(Event::Failed { error, credential_id: None, .. }) = client.poll_event() else {
        panic!("failed")
    };
    assert_eq!(error, FailReason::Refused(refusal::APPLICATION));
    assert_eq!((client.attempts(), server.pending()), (0, 0));
}

/// Version 2 does not exist; whatever it will look like, version 1 refuses it authentically (section 3, Invariants).
#[test]
fn an_unknown_version_is_refused() {
    let g = Golden::new();
    let mac = |bytes: &[u8]| hmac_sha256(&g.v["mac_key"], &[bytes])[..16].to_vec();
    for len in [48, 176, 1200] {
        let mut server = g.server(Some("media"), true);
        let mut datagram = g.v["initiation"].clone();
        datagram.resize(len - 16, 0x55);
        datagram[1] = 2;
        datagram.extend(mac(&datagram));
        assert_eq!(datagram.len(), len);
        server.receive(NOW_NS, g.initiator, None, &datagram, &mut script(&[]));
        let mut expected = vec![0x83, 1, 1, 1, 1, 0, 0, 0, 0xe0, 0xe1, 0xe2, 0xe3, 0xe4, 0xe5, 0xe6, 0xe7];
        expected.extend(mac(&expected));
        expect(&mut server, &expected, g.initiator);
        assert_eq!(server.counters().refusals_sent, 1);
        // The initiator accepts it, and in any version of the Refusal itself.
        for version in [1, 2] {
            let mut client = g.client();
            g.connect(&mut client);
            let mut refusal = expected[..16].to_vec();
            refusal[1] = version;
            refusal.extend(mac(&refusal));
            client.receive(NOW_NS, g.responder, None, &refusal, &mut script(&[]));
            let Some(Event::Failed { error, .. }) = client.poll_event() else { panic!("failed") };
            assert_eq!(error, FailReason::Refused(refusal::VERSION));
        }
    }
    for len in [47, 1201] {
        let mut server = g.server(Some("media"), true);
        let mut datagram = g.v["initiation"].clone();
        datagram.resize(len - 16, 0x55);
        datagram[1] = 2;
        datagram.extend(mac(&datagram));
        server.receive(NOW_NS, g.initiator, None, &datagram, &mut script(&[]));
        assert!(server.is_quiet());
        assert_eq!(server.counters().dropped_length, 1);
    }
}
