//! Nothing that is not a packet becomes one, and nothing panics.

use paceline_wire::frame::{Frame, Frames};
use paceline_wire::packet::{Kind, classify, control, datagram, peek_credential_id, secret_control, stream};
use paceline_wire::{Credentials, DatagramOpenKey, Opener, PathSecret, Role, StreamKeys, Suite};

const KEY_ID: u64 = 300;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

/// The receiving side of everything.
struct Receiver {
    secret: PathSecret,
    keys: StreamKeys,
    datagram: DatagramOpenKey,
    token: [u8; 16],
}

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Outcome {
    Undecodable,
    Forged,
    Accepted,
}

impl Receiver {
    /// Decodes, reads every field, authenticates.
    fn receive(&self, bytes: &[u8]) -> Outcome {
        let kind = bytes.first().map_or(Kind::Invalid, |first| classify(*first));
        let peeked = peek_credential_id(bytes);
        // Every decoder must cope with every packet, and refuse those of another kind.
        let stream = stream::Packet::decode(bytes);
        let datagram = datagram::Packet::decode(bytes);
        let control = control::Packet::decode(bytes);
        let secret_control = secret_control::Packet::decode(bytes);
        let decoded = [
            (Kind::Stream, stream.is_ok()),
            (Kind::Datagram, datagram.is_ok()),
            (Kind::Control, control.is_ok()),
            (Kind::SecretControl, secret_control.is_ok()),
        ];
        for (own, ok) in decoded {
            assert!(!ok || own == kind, "{bytes:x?}");
        }
        let authentic = if let Ok(packet) = stream {
            assert_eq!(peeked, Some(packet.credentials().id));
            assert!(packet.end_offset() >= packet.offset() && packet.number() >= packet.original_number());
            read_frames(packet.control_data());
            let mut out = vec![1; packet.payload_len()];
            let result = packet.open(&self.keys.open, &self.keys.control_open, &mut out);
            // Patching whatever decodes must not panic either.
            let mut copy = bytes.to_vec();
            let number = packet.original_number() + 5;
            if stream::retransmit(&mut copy, number, &self.keys.control_open).is_ok() {
                assert_eq!(stream::Packet::decode(&copy).unwrap().number(), number);
            }
            assert!(result.is_ok() || out.iter().all(|byte| *byte == 0) || packet.is_probe());
            result.is_ok() && packet.credentials() == self.credentials()
        } else if let Ok(packet) = datagram {
            assert_eq!(peeked, Some(packet.credentials().id));
            read_frames(packet.control_data());
            let mut out = vec![1; packet.payload_len()];
            packet.open(&self.datagram, &mut out).is_ok() && packet.credentials() == self.credentials()
        } else if let Ok(packet) = control {
            assert_eq!(peeked, Some(packet.credentials().id));
            read_frames(packet.control_data());
            packet.verify(&self.keys.control_open).is_ok() && packet.credentials() == self.credentials()
        } else if let Ok(packet) = secret_control {
            assert_eq!(peeked, Some(*packet.id()));
            let ok = packet.verify(&self.secret.control_opener()).is_ok()
                || packet.verify_token(&self.token).is_ok();
            ok && packet.id() == self.secret.id()
        } else {
            return Outcome::Undecodable;
        };
        if authentic { Outcome::Accepted } else { Outcome::Forged }
    }

    fn credentials(&self) -> Credentials {
        Credentials { id: *self.secret.id(), key_id: KEY_ID }
    }
}

fn read_frames(control_data: &[u8]) {
    let mut frames = Frames::new(control_data);
    while let Some(frame) = frames.next() {
        match frame {
            Ok(Frame::Ack(ack)) => {
                let mut above = ack.largest();
                for (n, range) in ack.ranges().enumerate() {
                    assert!(range.start() <= range.end() && *range.end() <= above);
                    assert!(n == 0 || *range.end() < above, "not adjacent");
                    above = range.start().saturating_sub(1);
                }
            }
            Ok(_) => {}
            Err(_) => assert!(frames.next().is_none()),
        }
    }
}

/// One valid packet of each kind, and who receives them.
fn sample(suite: Suite) -> (Receiver, Vec<(&'static str, Vec<u8>)>) {
    let client = PathSecret::new([0x61; 32], suite, Role::Client);
    let server = PathSecret::new([0x61; 32], suite, Role::Server);
    let mut sender = client.stream_keys(KEY_ID, Opener::Local);
    let credentials = Credentials { id: *client.id(), key_id: KEY_ID };
    let header = stream::Header {
        credentials,
        queue_id: 3,
        source_queue_id: None,
        number: 0,
        next_expected_control: 0,
        offset: 70,
        final_offset: None,
        key_phase: false,
    };
    let full = stream::Header { source_queue_id: Some(5), number: 1, final_offset: Some(90), ..header };
    let mut samples: Vec<(&'static str, Vec<u8>)> = vec![];
    let mut out = [0; 1500];
    let layout = stream::Layout::for_burst(&header, 9, 9);
    let len = stream::seal(&header, &layout, &mut sender.seal, &[7; 64], &mut out).unwrap();
    samples.push(("stream", out[..len].to_vec()));
    let layout = stream::Layout::minimal(&full);
    let len = stream::seal(&full, &layout, &mut sender.seal, b"twenty bytes of data", &mut out).unwrap();
    samples.push(("stream, all fields", out[..len].to_vec()));
    stream::retransmit(&mut out[..len], 600, &sender.control_seal).unwrap();
    samples.push(("retransmission", out[..len].to_vec()));
    let empty = stream::Header { number: 2, ..full };
    let len = stream::seal(&empty, &layout, &mut sender.seal, &[], &mut out).unwrap();
    samples.push(("stream, empty", out[..len].to_vec()));
    // MAX_DATA, two ACKs, a close, padding.
    let frames =
        [0x10, 0x80, 0, 0x40, 0, 3, 9, 0, 1, 1, 0, 2, 1, 2, 3, 2, 5, 0, 0, 5, 0x1c, 0, 0, 0, 0, 0, 1];
    let len = stream::probe(&full, &frames, &sender.control_seal, &mut out).unwrap();
    samples.push(("probe", out[..len].to_vec()));
    let header = control::Header { credentials, queue_id: Some(5), source_queue_id: Some(900), number: 70 };
    let len = control::encode(&header, &frames, &sender.control_seal, &mut out).unwrap();
    samples.push(("control", out[..len].to_vec()));
    let header = datagram::Header { credentials, source_control_port: 9, number: Some(70) };
    let key = client.datagram_seal_key(KEY_ID);
    let len = datagram::seal(&header, key, b"a message", &mut out).unwrap();
    samples.push(("datagram", out[..len].to_vec()));
    let (key, token) = (client.control_sealer(), [0x77; 16]);
    let len = secret_control::stale_key(client.id(), Some(70), 901, &key, &mut out).unwrap();
    samples.push(("stale key", out[..len].to_vec()));
    let len = secret_control::replay_detected(client.id(), None, 901, &key, &mut out).unwrap();
    samples.push(("replay detected", out[..len].to_vec()));
    let len = secret_control::unknown_path_secret(client.id(), Some(70), &token, &mut out).unwrap();
    samples.push(("unknown path secret", out[..len].to_vec()));

    let keys = server.stream_keys(KEY_ID, Opener::Remote);
    let datagram = server.datagram_open_key(KEY_ID);
    (Receiver { secret: server, keys, datagram, token }, samples)
}

const SUITES: [Suite; 2] = [Suite::Aes128GcmSha256, Suite::Aes256GcmSha384];

#[test]
fn every_truncation_and_extension_is_refused() {
    for suite in SUITES {
        let (receiver, samples) = sample(suite);
        assert_eq!(samples.len(), 10);
        for (name, packet) in samples {
            assert_eq!(receiver.receive(&packet), Outcome::Accepted, "{name}");
            for len in 0..packet.len() {
                assert_eq!(receiver.receive(&packet[..len]), Outcome::Undecodable, "{name} at {len}");
            }
            for byte in [0, 1, 0xff] {
                let longer = [&packet[..], &[byte]].concat();
                assert_eq!(receiver.receive(&longer), Outcome::Undecodable, "{name}");
            }
        }
    }
}

#[test]
fn every_single_bit_flip_is_refused() {
    for suite in SUITES {
        let (receiver, samples) = sample(suite);
        let (mut flips, mut forged, mut undecodable) = (0, 0, 0);
        for (name, packet) in samples {
            for bit in 0..packet.len() * 8 {
                let mut copy = packet.clone();
                copy[bit / 8] ^= 1 << (bit % 8);
                flips += 1;
                match receiver.receive(&copy) {
                    Outcome::Undecodable => undecodable += 1,
                    Outcome::Forged => forged += 1,
                    // dcQUIC's token covers nothing of the packet that it proves: only the queue id can change.
                    Outcome::Accepted if name == "unknown path secret" => {
                        let changed = secret_control::Packet::decode(&copy).unwrap();
                        assert_ne!(changed.queue_id(), Some(70));
                        assert_eq!(changed.queue_id().map(|_| bit / 8 / 2), Some(9), "bytes 18 and 19");
                    }
                    Outcome::Accepted => panic!("{name}: bit {bit}"),
                }
            }
        }
        assert!(flips > 5000 && forged > flips / 2 && undecodable > 100, "{flips} {forged} {undecodable}");
    }
}

#[test]
fn a_million_random_strings() {
    let (receiver, _) = sample(SUITES[0]);
    let mut random = Random(1);
    let (mut decoded, mut undecodable) = (0, 0);
    for _ in 0..1_000_000 {
        let mut bytes = [0; 96];
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&random.next().to_be_bytes());
        }
        // Half of them get past the version, and have small numbers behind it. A packet ends where its datagram
        // does, which a random length seldom hits: an eighth of those is tried with all lengths.
        let len = random.below(bytes.len() + 1);
        let draw = random.below(16);
        if draw < 8 {
            bytes[0] &= 0x7f;
            let mask = if draw < 4 { 0x4f } else { 0x07 };
            bytes[18] = 0;
            bytes[17] &= 0x3f;
            bytes[19..].iter_mut().for_each(|byte| *byte &= mask);
        }
        let lengths = if draw == 0 { 0..=bytes.len() } else { len..=len };
        for len in lengths {
            match receiver.receive(&bytes[..len]) {
                Outcome::Undecodable => undecodable += 1,
                Outcome::Forged => decoded += 1,
                Outcome::Accepted => panic!("{:x?}", &bytes[..len]),
            }
        }
    }
    assert!(decoded > 10_000 && undecodable > 1_000_000, "{decoded} {undecodable}");
}

#[test]
fn a_million_mutated_packets() {
    let mut random = Random(2);
    for suite in SUITES {
        let (receiver, samples) = sample(suite);
        let originals: Vec<_> = samples.iter().map(|(_, packet)| packet.clone()).collect();
        let (mut forged, mut undecodable, mut harmless) = (0, 0, 0);
        for _ in 0..500_000 {
            let mut packet = originals[random.below(originals.len())].clone();
            for _ in 0..=random.below(4) {
                let at = random.below(packet.len());
                match random.below(5) {
                    0 => packet[at] = random.next() as u8,
                    1 => packet[at] ^= 1 << random.below(8),
                    2 => packet.insert(at, random.next() as u8),
                    3 if packet.len() > 1 => drop(packet.remove(at)),
                    _ => {
                        // The tail of another packet.
                        let other = &originals[random.below(originals.len())];
                        packet.truncate(at.min(other.len()));
                        packet.extend(&other[packet.len()..]);
                    }
                }
            }
            match receiver.receive(&packet) {
                Outcome::Undecodable => undecodable += 1,
                Outcome::Forged => forged += 1,
                Outcome::Accepted => {
                    let reset = packet[0] & 0xfb == 0x60;
                    assert!(originals.contains(&packet) || reset, "{packet:x?}");
                    harmless += 1;
                }
            }
        }
        assert!(forged > 100_000 && undecodable > 100_000, "{forged} {undecodable} {harmless}");
    }
}

#[test]
fn random_frames() {
    let mut random = Random(3);
    let (mut good, mut bad) = (0, 0);
    for _ in 0..300_000 {
        let len = random.below(40);
        let bytes: Vec<u8> = (0..len).map(|_| (random.next() & 0x1f) as u8).collect();
        read_frames(&bytes);
        if Frames::new(&bytes).all(|frame| frame.is_ok()) { good += 1 } else { bad += 1 }
    }
    assert!(good > 10_000 && bad > 10_000, "{good} {bad}");
}

#[test]
fn first_bytes() {
    for byte in 0..=255 {
        let kind = match byte {
            0..=0x3f => Kind::Stream,
            0x40..=0x4f => Kind::Datagram,
            0x50..=0x5f => Kind::Control,
            0x60 | 0x61 | 0x62 | 0x64 | 0x65 | 0x66 => Kind::SecretControl,
            0x80..=0x85 => Kind::Handshake,
            _ => Kind::Invalid,
        };
        assert_eq!(classify(byte), kind, "{byte:#x}");
        let bytes = [&[byte][..], &[1; 16]].concat();
        let has_id = !matches!(kind, Kind::Handshake | Kind::Invalid);
        assert_eq!(peek_credential_id(&bytes).is_some(), has_id);
        assert_eq!(peek_credential_id(&bytes[..16]), None);
    }
    assert_eq!(peek_credential_id(&[]), None);
}
