//! What only a holder of the secret can do: messages with a valid MAC that say something wrong.

use super::*;
use crate::{Event, FailReason, HANDSHAKE_TIMEOUT_NS, refusal};

struct Pair {
    client: Handshake,
    server: Handshake,
    secret: Secret,
}

const CLIENT: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)), 1);
const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2)), 2);

fn random(seed: u8) -> impl FnMut(&mut [u8]) {
    let mut state = u32::from(seed) * 2 + 1;
    move |out| {
        out.fill_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        });
    }
}

impl Pair {
    fn new() -> Self {
        let secret = Secret::new(&(0..32).collect::<Vec<u8>>()).unwrap();
        let secrets: Arc<[Secret]> = Arc::new([secret.clone()]);
        let config = || Config { accept: true, ..Config::default() };
        let client = Handshake::new(config(), secrets.clone(), 0, &mut random(1));
        Self { client, server: Handshake::new(config(), secrets, 0, &mut random(2)), secret }
    }

    fn initiation(&mut self) -> Message {
        let secrets = self.client.list.clone();
        self.client.connect(0, SERVER, &secrets, HANDSHAKE_TIMEOUT_NS, &mut random(3)).unwrap();
        self.client.poll_message().unwrap()
    }

    fn serve(&mut self, datagram: &[u8]) -> Option<Message> {
        self.server.receive(0, CLIENT, None, datagram, &mut random(4));
        self.server.advance(0, &mut random(5));
        self.server.poll_message()
    }

    fn client_receives(&mut self, datagram: &[u8]) -> Option<Event> {
        self.client.receive(0, SERVER, None, datagram, &mut random(6));
        self.client.poll_event()
    }

    /// With `at` changed and the MAC made anew.
    fn forge(&self, datagram: &[u8], at: usize) -> Vec<u8> {
        let mut forged = datagram.to_vec();
        forged[at] ^= 1;
        let body = forged.len() - 16;
        let mac = self.secret.mac().tag16(&[&forged[..body]]);
        forged[body..].copy_from_slice(&mac);
        forged
    }
}

#[test]
fn no_common_suite_is_refused() {
    for offered in [0, crate::parameters::SUITE_AES_128, 4] {
        let mut pair = Pair::new();
        pair.client.common.hello.suites = offered;
        pair.server.common.config.aes_128 = false;
        let initiation = pair.initiation();
        let reply = pair.serve(initiation.bytes()).unwrap();
        assert_eq!((reply.bytes()[0], reply.bytes()[2]), (REFUSAL, refusal::SUITE));
        assert_eq!(pair.server.pending(), 0);
        let event = pair.client_receives(reply.bytes());
        assert!(
            matches!(event, Some(Event::Failed { error: FailReason::Refused(refusal::SUITE), .. })),
            "{event:?}"
        );
    }
}

#[test]
fn an_unnamed_refusal_is_one_too() {
    let mut pair = Pair::new();
    let initiation = pair.initiation();
    let attempt = crate::bytes::take::<16, 8, 176>(initiation.bytes().try_into().unwrap());
    let refusal = crate::message::refusal(&pair.secret, &attempt, 200);
    let event = pair.client_receives(&refusal);
    assert!(matches!(event, Some(Event::Failed { error: FailReason::Refused(200), .. })), "{event:?}");
}

#[test]
fn an_initiation_whose_noise_does_not_open_is_dropped() {
    let mut pair = Pair::new();
    let initiation = pair.initiation();
    for at in [2, 16, 48, 79, 80, 159] {
        let forged = pair.forge(initiation.bytes(), at);
        let before = pair.server.counters().dropped_noise;
        assert!(pair.serve(&forged).is_none(), "byte {at}");
        assert_eq!(pair.server.counters().dropped_noise, before + 1, "byte {at}");
    }
    assert_eq!((pair.server.pending(), pair.server.poll_event().is_none()), (0, true));
    // The cookie is not bound (an Initiation is sent again with one without being made anew), so it only asks for one.
    let forged = pair.forge(initiation.bytes(), 24);
    assert_eq!(pair.serve(&forged).unwrap().bytes()[0], COOKIE);
}

#[test]
fn a_response_whose_noise_does_not_open_is_dropped_and_the_genuine_one_still_works() {
    let mut pair = Pair::new();
    let initiation = pair.initiation();
    let response = pair.serve(initiation.bytes()).unwrap();
    for at in [16, 47, 48, 127] {
        let forged = pair.forge(response.bytes(), at);
        assert!(pair.client_receives(&forged).is_none(), "byte {at}");
    }
    assert_eq!(pair.client.counters().dropped_noise, 4);
    assert!(matches!(pair.client_receives(response.bytes()), Some(Event::Usable { .. })));
}

/// (what the responder says of itself, the reason)
#[test]
fn a_response_that_cannot_be_accepted_fails_the_attempt() {
    type Change = fn(&mut crate::parameters::Hello, &crate::parameters::Hello);
    let cases: [(Change, u8); 5] = [
        (|said, ours| said.instance = ours.instance, refusal::UNNAMED),
        (|said, _| said.application = [1; 16], refusal::APPLICATION),
        (|said, _| said.suites = 0, refusal::SUITE),
        (|said, _| said.suites = 3, refusal::SUITE),
        (|said, _| said.suites = 4, refusal::SUITE),
    ];
    for (change, reason) in cases {
        let mut pair = Pair::new();
        let initiation: [u8; 176] = pair.initiation().bytes().try_into().unwrap();
        let initiation = crate::message::Initiation(initiation);
        let (answering, _) = crate::noise::Answering::new(
            Zeroizing::new([7; 32]),
            pair.secret.psk(),
            &initiation.header(),
            &initiation.noise(),
        )
        .unwrap();
        let mut said = pair.server.common.hello;
        said.suites = 1;
        change(&mut said, &pair.client.common.hello);
        let (noise, _) = answering.answer(&said.encode()).unwrap();
        let response = crate::message::response(&pair.secret, &initiation.attempt(), &noise);
        let event = pair.client_receives(&response);
        let Some(Event::Failed { error, credential_id: None, .. }) = event else { panic!("{event:?}") };
        assert_eq!(error, FailReason::Refused(reason));
        assert_eq!((pair.client.attempts(), pair.client.poll_message().is_none()), (0, true));
    }
}

#[test]
fn a_response_must_not_accept_features_that_were_not_offered() {
    let mut pair = Pair::new();
    pair.client.common.hello.features = 0;
    let initiation = pair.initiation();
    let response = pair.serve(initiation.bytes()).unwrap();
    let Some(Event::Usable { path, .. }) = pair.client_receives(response.bytes()) else { panic!() };
    let Some(Event::HalfOpen { path: theirs }) = pair.server.poll_event() else { panic!() };
    assert!(!path.peer.wide_replay_window && !theirs.peer.wide_replay_window);
}

#[test]
fn events_that_are_not_polled_hold_back_what_would_make_more() {
    let mut pair = Pair::new();
    let initiation = pair.initiation();
    let response = pair.serve(initiation.bytes()).unwrap();
    let Some(Event::HalfOpen { path }) = pair.server.poll_event() else { panic!() };
    let filler = Event::Expired { credential_id: path.credential_id };
    for endpoint in [&mut pair.client, &mut pair.server] {
        (0..crate::EVENT_QUEUE).for_each(|_| endpoint.common.tell(filler.clone()));
    }
    pair.client.receive(0, SERVER, None, response.bytes(), &mut random(6));
    pair.client.advance(HANDSHAKE_TIMEOUT_NS, &mut random(6));
    pair.server.on_authentic(0, &path.credential_id);
    pair.server.advance(crate::PENDING_LIFETIME_NS, &mut random(6));
    assert_eq!(
        (pair.client.counters().dropped_busy, pair.client.attempts(), pair.server.pending()),
        (1, 1, 1)
    );
    assert!(pair.client.poll_message().is_none());
    for endpoint in [&mut pair.client, &mut pair.server] {
        (0..crate::EVENT_QUEUE).for_each(|_| assert!(endpoint.poll_event().is_some()));
        assert!(endpoint.poll_event().is_none());
    }
    assert!(matches!(pair.client_receives(response.bytes()), Some(Event::Usable { .. })));
    pair.server.on_authentic(0, &path.credential_id);
    assert!(matches!(pair.server.poll_event(), Some(Event::Confirmed { .. })));
}
