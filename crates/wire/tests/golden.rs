//! Every packet of the golden vectors, written and read. The keys behind them: src/keys/schedule/tests.rs.

use paceline_wire::frame::{self, EcnCounts, Frame, Frames};
use paceline_wire::packet::{control, datagram, secret_control, stream};
use paceline_wire::{CredentialId, Credentials, Opener, PathSecret, Role, Suite, Writer};
use std::collections::BTreeMap;

const KEY_ID: u64 = 7;

struct World {
    number: usize,
    golden: BTreeMap<String, Vec<u8>>,
    client: PathSecret,
    server: PathSecret,
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn worlds() -> impl Iterator<Item = World> {
    [Suite::Aes128GcmSha256, Suite::Aes256GcmSha384].into_iter().enumerate().map(|(number, suite)| World {
        number,
        golden: include_str!("golden.txt")
            .lines()
            .map(|line| line.rsplit_once(' ').map(|(name, hex)| (name.into(), unhex(hex))).unwrap())
            .collect(),
        client: PathSecret::new([0x2a; 32], suite, Role::Client),
        server: PathSecret::new([0x2a; 32], suite, Role::Server),
    })
}

impl World {
    fn get(&self, name: &str) -> &[u8] {
        &self.golden[&format!("{} {name}", self.number)]
    }

    fn id(&self) -> CredentialId {
        CredentialId(self.get("id").try_into().unwrap())
    }

    fn header(&self) -> stream::Header {
        stream::Header {
            credentials: Credentials { id: self.id(), key_id: KEY_ID },
            queue_id: 0,
            source_queue_id: Some(5),
            number: 0,
            next_expected_control: 0,
            offset: 0,
            final_offset: Some(5),
            key_phase: false,
        }
    }
}

#[test]
fn stream_retransmission_and_probe() {
    for world in worlds() {
        assert_eq!(*world.client.id(), world.id());
        let mut sender = world.client.stream_keys(KEY_ID, Opener::Local);
        let receiver = world.server.stream_keys(KEY_ID, Opener::Remote);
        let header = world.header();
        let layout = stream::Layout::minimal(&header);
        let mut packet = vec![0; layout.packet_len(5)];
        stream::seal(&header, &layout, &mut sender.seal, b"hello", &mut packet).unwrap();
        assert_eq!(packet, world.get("pkt.stream"));
        stream::retransmit(&mut packet, 1, &sender.control_seal).unwrap();
        assert_eq!(packet, world.get("pkt.retransmit"));

        let probe = stream::Header { number: 2, offset: 5, ..header };
        let mut packet = [0; 100];
        let len = stream::probe(&probe, &[], &sender.control_seal, &mut packet).unwrap();
        assert_eq!(&packet[..len], world.get("pkt.probe"));

        let cases = [("pkt.stream", 0, 5), ("pkt.retransmit", 1, 5), ("pkt.probe", 2, 0)];
        for (name, number, payload_len) in cases {
            let packet = stream::Packet::decode(world.get(name)).unwrap();
            assert_eq!(packet.credentials(), header.credentials);
            assert_eq!((packet.queue_id(), packet.source_queue_id()), (0, Some(5)));
            assert!(packet.is_reliable() && packet.is_bidirectional() && !packet.key_phase());
            assert_eq!((packet.number(), packet.payload_len()), (number, payload_len));
            assert_eq!((packet.next_expected_control(), packet.final_offset()), (0, Some(5)));
            assert_eq!(packet.end_offset(), 5);
            assert_eq!(packet.is_probe(), name == "pkt.probe");
            assert_eq!(packet.space() == stream::Space::Stream, name == "pkt.stream");
            let mut out = vec![1; payload_len];
            packet.open(&receiver.open, &receiver.control_open, &mut out).unwrap();
            assert_eq!(out, b"hello"[..payload_len]);
            assert!(packet.open(&sender.open, &sender.control_open, &mut out).is_err(), "other direction");
        }
    }
}

#[test]
fn control() {
    for world in worlds() {
        let server = world.server.stream_keys(KEY_ID, Opener::Remote);
        let client = world.client.stream_keys(KEY_ID, Opener::Local);
        let mut data = [0; 64];
        let mut writer = Writer::new(&mut data);
        frame::max_data(&mut writer, 1 << 25).unwrap();
        let ecn = EcnCounts { ect0: 1, ect1: 0, ce: 0 };
        assert_eq!(frame::ack(&mut writer, [0..=0].into_iter(), Some(ecn), 0), Ok(1));
        assert_eq!(frame::ack(&mut writer, [1..=1].into_iter(), None, 0), Ok(1));
        assert_eq!(writer.written(), world.get("pkt.control.data"));

        let header = control::Header {
            credentials: world.header().credentials,
            queue_id: Some(5),
            source_queue_id: Some(9),
            number: 0,
        };
        let mut out = [0; 100];
        let len = control::encode(&header, writer.written(), &server.control_seal, &mut out).unwrap();
        assert_eq!(&out[..len], world.get("pkt.control"));
        assert_eq!(len, header.packet_len(writer.len()));

        let packet = control::Packet::decode(world.get("pkt.control")).unwrap();
        packet.verify(&client.control_open).unwrap();
        assert!(packet.verify(&client.control_seal).is_err());
        assert_eq!(*packet.header(), header);
        let frames: Vec<_> = Frames::new(packet.control_data()).map(Result::unwrap).collect();
        let [Frame::MaxData(max), Frame::Ack(stream), Frame::Ack(recovery)] = frames[..] else { panic!() };
        assert_eq!((max, stream.ecn, recovery.ecn.is_none()), (1 << 25, Some(ecn), true));
        assert!(stream.ranges().eq([0..=0]) && recovery.ranges().eq([1..=1]));
        assert_eq!((stream.largest(), stream.delay_us, recovery.largest()), (0, 0, 1));
    }
}

#[test]
fn secret_control() {
    use secret_control::Body;
    for world in worlds() {
        let (id, queue, mut out) = (world.id(), Some(5), [0; secret_control::MAX_LEN]);
        let token: [u8; 16] = world.get("token").try_into().unwrap();
        let key = world.server.control_sealer();

        let len = secret_control::unknown_path_secret(&id, queue, &token, &mut out).unwrap();
        assert_eq!(&out[..len], world.get("pkt.ups"));
        let len = secret_control::stale_key(&id, queue, 9, &key, &mut out).unwrap();
        assert_eq!(&out[..len], world.get("pkt.stale"));
        let len = secret_control::replay_detected(&id, queue, 7, &key, &mut out).unwrap();
        assert_eq!(&out[..len], world.get("pkt.replay"));

        let bodies = [
            ("pkt.ups", Body::UnknownPathSecret),
            ("pkt.stale", Body::StaleKey { min_key_id: 9 }),
            ("pkt.replay", Body::ReplayDetected { rejected_key_id: 7 }),
        ];
        for (name, body) in bodies {
            let packet = secret_control::Packet::decode(world.get(name)).unwrap();
            assert_eq!((*packet.id(), packet.queue_id(), packet.body()), (id, queue, body));
            let unknown = body == Body::UnknownPathSecret;
            assert_eq!(packet.verify(&world.client.control_opener()).is_err(), unknown);
            assert!(packet.verify(&world.client.control_sealer()).is_err(), "other direction");
            assert_eq!(packet.verify_token(&token).is_err(), !unknown);
            assert!(packet.verify_token(&[0; 16]).is_err());
        }
    }
}

#[test]
fn datagram() {
    for world in worlds() {
        let header = datagram::Header {
            credentials: world.header().credentials,
            source_control_port: 0,
            number: Some(3),
        };
        let mut out = vec![0; header.packet_len(5)];
        datagram::seal(&header, world.client.datagram_seal_key(KEY_ID), b"hello", &mut out).unwrap();
        assert_eq!(out, world.get("pkt.datagram"));
        let packet = datagram::Packet::decode(world.get("pkt.datagram")).unwrap();
        assert_eq!(*packet.header(), header);
        let mut payload = [0; 5];
        packet.open(&world.server.datagram_open_key(KEY_ID), &mut payload).unwrap();
        assert_eq!(&payload, b"hello");
        assert!(packet.open(&world.client.datagram_open_key(KEY_ID), &mut payload).is_err());
        assert_eq!(payload, [0; 5]);
    }
}
