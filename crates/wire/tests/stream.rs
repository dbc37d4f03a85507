//! Stream packets over a stream's life: layouts, order of numbers, retransmissions, key updates.

use paceline_wire::packet::stream::{self, Header, Layout, Packet, Space};
use paceline_wire::{
    CredentialId, Credentials, EncodeError, Opener, PathSecret, RetransmitError, Role, SEAL_LIMIT, SealError,
    StreamKeys, Suite, varint,
};

const SUITES: [Suite; 2] = [Suite::Aes128GcmSha256, Suite::Aes256GcmSha384];

/// Workers, socket threads and tables of an endpoint pass these on.
const fn shared_between_threads<T: Send + Sync>() {}
const _: () = shared_between_threads::<PathSecret>();
const _: () = shared_between_threads::<StreamKeys>();

fn keys(suite: Suite) -> (StreamKeys, StreamKeys) {
    let client = PathSecret::new([3; 32], suite, Role::Client);
    let server = PathSecret::new([3; 32], suite, Role::Server);
    (server.stream_keys(1, Opener::Local), client.stream_keys(1, Opener::Remote))
}

fn header() -> Header {
    Header {
        credentials: Credentials { id: CredentialId([4; 16]), key_id: 1 },
        queue_id: 77,
        source_queue_id: None,
        number: 0,
        next_expected_control: 0,
        offset: 0,
        final_offset: None,
        key_phase: false,
    }
}

fn sealed(header: &Header, layout: &Layout, keys: &mut StreamKeys, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0xee; layout.packet_len(payload.len()) + 3];
    let len = stream::seal(header, layout, &mut keys.seal, payload, &mut out).unwrap();
    assert_eq!(len, layout.packet_len(payload.len()));
    assert_eq!(out.split_off(len), [0xee; 3], "nothing is written behind the packet");
    out
}

fn opened(packet: &[u8], keys: &StreamKeys) -> Result<Vec<u8>, paceline_wire::AuthError> {
    let packet = Packet::decode(packet).unwrap();
    let mut out = vec![9; packet.payload_len()];
    packet.open(&keys.open, &keys.control_open, &mut out).map(|()| out)
}

#[test]
fn a_burst_has_equal_packets_and_a_header_of_48_bytes() {
    for suite in SUITES {
        let (mut sender, receiver) = keys(suite);
        let first = Header { number: 60, offset: 16_000, next_expected_control: 16_383, ..header() };
        let layout = Layout::for_burst(&first, 70, 30_000);
        assert_eq!(layout.header_len(0), 48);
        assert_eq!(layout.header_len(10), 48 + 2 + 10);
        assert_eq!(layout.packet_len(1408), 1472);
        for n in 0..10 {
            let header = Header { number: 60 + n, offset: 16_000 + 1408 * n, ..first };
            let payload = vec![n as u8; 1408];
            let packet = sealed(&header, &layout, &mut sender, &payload);
            assert_eq!(packet.len(), 1472);
            let decoded = Packet::decode(&packet).unwrap();
            assert_eq!((decoded.number(), decoded.offset()), (header.number, header.offset));
            assert_eq!((decoded.queue_id(), decoded.next_expected_control()), (77, 16_383));
            assert_eq!((decoded.space(), decoded.credentials()), (Space::Stream, header.credentials));
            assert_eq!(opened(&packet, &receiver).unwrap(), payload);
        }
    }
}

#[test]
fn widths_grow_with_the_values() {
    let (mut sender, receiver) = keys(SUITES[0]);
    let large = Header {
        credentials: Credentials { id: CredentialId([4; 16]), key_id: 1 << 30 },
        queue_id: 1 << 28,
        source_queue_id: Some(1 << 30),
        number: (1 << 30) - 1,
        next_expected_control: 16_384,
        offset: varint::MAX - 10,
        final_offset: Some(varint::MAX),
        key_phase: false,
    };
    assert_eq!(Layout::for_burst(&header(), 1 << 30, 0).header_len(0), 48 + 4);
    assert_eq!(Layout::for_burst(&large, large.number, large.offset).header_len(0), 48 + 4 + 4 + 2 + 8 + 8);
    let source = Header { source_queue_id: Some(1), final_offset: Some(1), ..header() };
    assert_eq!(Layout::for_burst(&source, 0, 0).header_len(0), 48 + 4 + 8);
    let wide = Layout::for_burst(&header(), 0, 0);
    assert_eq!(wide.packet_len(16_383), 48 + 16_383 + 16);
    assert_eq!(wide.packet_len(16_384), 50 + 16_384 + 16);

    let layout = Layout::for_burst(&large, large.number, large.offset);
    let packet = sealed(&large, &layout, &mut sender, b"0123456789");
    let decoded = Packet::decode(&packet).unwrap();
    assert_eq!(decoded.credentials(), large.credentials);
    assert_eq!((decoded.queue_id(), decoded.source_queue_id()), (1 << 28, Some(1 << 30)));
    assert_eq!((decoded.next_expected_control(), decoded.number()), (16_384, (1 << 30) - 1));
    assert_eq!((decoded.end_offset(), decoded.final_offset()), (varint::MAX, Some(varint::MAX)));
    assert_eq!(opened(&packet, &receiver).unwrap(), b"0123456789");

    for layout in [wide, layout, Layout::minimal(&header())] {
        assert_eq!(layout.max_payload_len(layout.packet_len(0) - 1), None);
        for len in layout.packet_len(0)..40_000 {
            let payload = layout.max_payload_len(len).unwrap();
            assert!(layout.packet_len(payload) <= len && layout.packet_len(payload + 1) > len);
        }
    }
}

#[test]
fn what_cannot_be_sealed() {
    let (mut sender, _) = keys(SUITES[0]);
    let mut out = [0; 200];
    let layout = Layout::for_burst(&header(), 0, 0);
    let mut seal = |header: Header, out: &mut [u8]| {
        let result = stream::seal(&header, &layout, &mut sender.seal, b"hello", out);
        assert_eq!(sender.seal.remaining(), SEAL_LIMIT, "no number used up");
        result.unwrap_err()
    };
    let value = SealError::Encode(EncodeError::Value);
    assert_eq!(seal(Header { source_queue_id: Some(1), ..header() }, &mut out), SealError::Layout);
    assert_eq!(seal(Header { final_offset: Some(1), ..header() }, &mut out), SealError::Layout);
    assert_eq!(seal(Header { key_phase: true, ..header() }, &mut out), SealError::KeyPhase);
    assert_eq!(seal(Header { number: 1 << 30, ..header() }, &mut out), value);
    assert_eq!(seal(Header { number: varint::MAX + 1, ..header() }, &mut out), value);
    assert_eq!(seal(Header { queue_id: 1 << 60, ..header() }, &mut out), value);
    assert_eq!(seal(Header { offset: varint::MAX - 4, ..header() }, &mut out), value);
    let space = SealError::Encode(EncodeError::Space);
    for len in 0..layout.packet_len(5) {
        assert_eq!(seal(header(), &mut out[..len]), space);
    }
}

#[test]
fn numbers_ascend_and_the_key_is_used_up() {
    for suite in SUITES {
        let (mut sender, mut receiver) = keys(suite);
        sender.seal.lower_limit(3);
        let layout = Layout::for_burst(&header(), 100, 0);
        let mut out = [0; 200];
        let mut seal = |number, keys: &mut StreamKeys| {
            let header = Header { number, key_phase: keys.seal.phase(), ..header() };
            let len = stream::seal(&header, &layout, &mut keys.seal, b"hello", &mut out)?;
            Ok(out[..len].to_vec())
        };
        let phase_0 = seal(5, &mut sender).unwrap();
        assert_eq!(seal(5, &mut sender), Err(SealError::NumberReused { next: 6 }));
        assert_eq!(seal(4, &mut sender), Err(SealError::NumberReused { next: 6 }));
        seal(6, &mut sender).unwrap();
        assert_eq!((sender.seal.remaining(), sender.seal.next_number()), (1, 7));
        seal(9, &mut sender).unwrap();
        assert_eq!(sender.seal.remaining(), 0);
        assert_eq!(seal(10, &mut sender), Err(SealError::Exhausted));

        sender.seal.update();
        assert!(sender.seal.phase());
        assert_eq!(sender.seal.remaining(), 3);
        assert_eq!(seal(9, &mut sender), Err(SealError::NumberReused { next: 10 }), "also in the next phase");
        let mut phase_1 = seal(10, &mut sender).unwrap();
        assert_eq!(opened(&phase_0, &receiver).unwrap(), b"hello");
        assert_eq!(opened(&phase_1, &receiver).unwrap(), b"hello", "derived on demand");
        receiver.open.opened(false);
        assert!(!receiver.open.phase());
        receiver.open.opened(Packet::decode(&phase_1).unwrap().key_phase());
        assert!(receiver.open.phase());
        assert_eq!(opened(&phase_1, &receiver).unwrap(), b"hello");
        opened(&phase_0, &receiver).expect_err("the old key is gone");

        stream::retransmit(&mut phase_1, 12, &sender.control_seal).unwrap();
        assert_eq!(opened(&phase_1, &receiver).unwrap(), b"hello", "keeps its phase");
        sender.seal.update();
        let phase_2 = seal(11, &mut sender).unwrap();
        assert_eq!(opened(&phase_2, &receiver).unwrap(), b"hello");
    }
}

#[test]
fn retransmitted_again_and_again() {
    for suite in SUITES {
        let (mut sender, receiver) = keys(suite);
        let header = Header { number: 40, offset: 5, source_queue_id: Some(300), ..header() };
        let layout = Layout::for_burst(&header, 40, 5);
        let original = sealed(&header, &layout, &mut sender, b"some payload");
        let mut packet = original.clone();
        let mut once = vec![];
        for number in [41, 1000, 42, 40 + u64::from(u32::MAX), 43, 41] {
            stream::retransmit(&mut packet, number, &sender.control_seal).unwrap();
            let decoded = Packet::decode(&packet).unwrap();
            assert_eq!((decoded.number(), decoded.original_number()), (number, 40));
            assert_eq!((decoded.space(), decoded.is_probe()), (Space::Recovery, false));
            assert_eq!(opened(&packet, &receiver).unwrap(), b"some payload");
            if once.is_empty() {
                once = packet.clone();
            } else {
                assert_eq!(packet == once, number == 41, "the former patch is undone");
            }
            // The same patch on a fresh copy: no trace of the former ones.
            let mut fresh = original.clone();
            stream::retransmit(&mut fresh, number, &sender.control_seal).unwrap();
            assert_eq!(fresh, packet);
        }
        for number in [0, 39, 40, 41 + u64::from(u32::MAX), varint::MAX, u64::MAX] {
            let before = packet.clone();
            let result = stream::retransmit(&mut packet, number, &sender.control_seal);
            assert_eq!((result, &packet), (Err(RetransmitError::Number), &before), "{number}");
        }
        // Whoever lacks the control key cannot choose the number.
        let (other, _) = keys(suite);
        stream::retransmit(&mut packet, 44, &other.control_open).unwrap();
        opened(&packet, &receiver).unwrap_err();
        stream::retransmit(&mut packet, 45, &sender.control_seal).unwrap();
        opened(&packet, &receiver).unwrap_err();
    }
}

#[test]
fn probes_with_and_without_frames() {
    for suite in SUITES {
        let (sender, receiver) = keys(suite);
        for control_data in [&[][..], &[1, 1, 0x1d, 0x41, 0, 0], &[0; 900]] {
            let header = Header { number: 9, offset: 500, final_offset: Some(500), ..header() };
            let mut out = vec![0; 1200];
            let len = stream::probe(&header, control_data, &sender.control_seal, &mut out).unwrap();
            assert_eq!(len, Layout::minimal(&header).header_len(control_data.len()) + 16);
            for space in 0..len {
                let result = stream::probe(&header, control_data, &sender.control_seal, &mut vec![0; space]);
                assert_eq!(result, Err(EncodeError::Space));
            }
            let packet = Packet::decode(&out[..len]).unwrap();
            assert!(packet.is_probe() && packet.control_data() == control_data);
            assert_eq!((packet.number(), packet.original_number(), packet.space()), (9, 9, Space::Recovery));
            packet.open(&receiver.open, &receiver.control_open, &mut []).unwrap();
            packet.open(&receiver.open, &receiver.control_open, &mut [0]).unwrap_err();
            packet.open(&receiver.open, &receiver.control_seal, &mut []).unwrap_err();
            let result = stream::retransmit(&mut out[..len], 10, &sender.control_seal);
            assert_eq!(result, Err(RetransmitError::NotRetransmittable));
        }
    }
}

/// Headers that paceline never writes, from a peer that does: control data and an application header in front of
/// a payload, longer than the buffer in which headers of retransmissions are restored.
#[test]
fn foreign_headers() {
    #[cfg(feature = "aws-lc")]
    use paceline_wire::crypto::aws_lc as library;
    #[cfg(not(feature = "aws-lc"))]
    use paceline_wire::crypto::rust_crypto as library;
    use paceline_wire::crypto::{Aead, NONCE_LEN};

    // The client's key of golden.txt: stream opened by the handshake client, key id 7.
    let unhex = |text: &str| -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    };
    let mut key = [0; 32];
    key[..16].copy_from_slice(&unhex("f235ca0d72047c1a102aea9e1d2d126f"));
    let iv: [u8; NONCE_LEN] = unhex("6f102c9f94d31534d6634786").try_into().unwrap();
    let key = library::AeadKey::new(SUITES[0], &key);
    let client = PathSecret::new([0x2a; 32], SUITES[0], Role::Client);
    let sender = client.stream_keys(7, Opener::Local);
    let receiver = PathSecret::new([0x2a; 32], SUITES[0], Role::Server).stream_keys(7, Opener::Remote);

    for control_len in [0, 3, 400, 460, 470, 480, 2000] {
        let mut packet = vec![0x08 | 0x02];
        packet.extend(client.id().0);
        // Key id, version, unused, stream id, number, retransmission offset, next control, offset.
        packet.extend([7, 0, 0xab, 0xcd, 0x07, 0, 0, 0, 0, 0, 0, 0]);
        packet.extend((control_len as u16 | 0x4000).to_be_bytes());
        packet.extend([5, 4]);
        packet.extend(b"apph");
        packet.extend(vec![1; control_len]);
        let (mut ciphertext, mut tag) = ([0; 5], [0; 16]);
        key.seal(&iv, &packet, b"hello", &mut ciphertext, &mut tag).unwrap();
        packet.extend(ciphertext);
        packet.extend(tag);
        assert_eq!(opened(&packet, &receiver).unwrap(), b"hello");
        let decoded = Packet::decode(&packet).unwrap();
        assert_eq!(decoded.control_data(), vec![1; control_len]);
        assert_eq!(decoded.application_header(), b"apph");
        stream::retransmit(&mut packet, 500, &sender.control_seal).unwrap();
        assert_eq!(opened(&packet, &receiver).unwrap(), b"hello", "{control_len}");
        // The last byte that is authenticated and not encrypted.
        let at = packet.len() - 22;
        packet[at] ^= 1;
        opened(&packet, &receiver).unwrap_err();
    }
}
