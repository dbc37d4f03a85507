//! The four packets of dcQUIC: raw bytes, packets written by hand, and our own ones damaged on their way.

use super::{
    Reach,
    build::{Builder, damage},
    input::Input,
    receiver::{KEY_ID, Outcome, Receiver, TOKEN, with_receiver},
};
use paceline_transport::fuzzing::wire::{
    Credentials, Opener, Role,
    packet::{control, datagram, secret_control, stream},
    varint,
};

/// Queue ids of paceline are below this.
const QUEUE_IDS: u64 = 1 << 60;

/// The credentials that the receiver has keys for, or seldom others.
fn credentials(receiver: &Receiver, input: &mut Input<'_>) -> Credentials {
    let mut credentials = receiver.credentials();
    if input.u8() == 255 {
        credentials.key_id = input.varint();
    }
    credentials
}

/// Our own packet after its way through the network: accepted only if it is what was sent.
fn after_damage(receiver: &Receiver, mut packet: Vec<u8>, mut input: Input<'_>, genuine: bool) -> Reach {
    assert_eq!(receiver.receive(&packet) == Outcome::Accepted, genuine, "{packet:x?}");
    let damaged = damage(&mut packet, &mut input);
    let outcome = receiver.receive(&packet);
    assert!(!damaged || outcome != Outcome::Accepted, "damaged and accepted: {packet:x?}");
    outcome.into()
}

/// Stream packets.
pub fn stream(data: &[u8]) -> Reach {
    let mut input = Input::new(data);
    let mode = input.u8();
    with_receiver(mode >> 2, |receiver| match mode & 3 {
        0 => receiver.receive(input.rest()).into(),
        1 => stream_by_hand(receiver, &mut input).into(),
        _ => sealed_stream(receiver, input, mode & 1 != 0),
    })
}

fn stream_by_hand(receiver: &Receiver, input: &mut Input<'_>) -> Outcome {
    let keys = receiver.client.stream_keys(KEY_ID, Opener::Local);
    let (first, wider) = (input.u8() & 0x3f, input.u8());
    let wide = |bit: u8| wider >> bit & 1 != 0;
    let has = |bit: u8| first & bit != 0;
    let credentials = credentials(receiver, input);
    let mut packet = Builder::new(first);
    packet.raw(&credentials.id.0);
    packet.varint(credentials.key_id, wide(0));
    packet.version(input);
    packet.raw(&input.array::<2>());
    let stream_id = input.varint();
    packet.varint(stream_id, wide(1));
    let source_queue_id = has(0x20).then(|| input.varint());
    source_queue_id.into_iter().for_each(|id| packet.varint(id, wide(2)));
    let number = input.varint();
    packet.varint(number, wide(3));
    let reliable = stream_id & 2 != 0;
    // Most packets are no retransmission; without it, one with the recovery bit is a probe.
    let jump = if input.u8() < 192 { [0; 4] } else { input.array() };
    if reliable {
        packet.raw(&jump);
    }
    let [next_control, offset] = [input.varint(), input.varint()];
    packet.varint(next_control, wide(4));
    packet.varint(offset, wide(5));
    let final_offset = has(0x04).then(|| input.varint());
    final_offset.into_iter().for_each(|offset| packet.varint(offset, wide(6)));
    let control_len = if has(0x08) { input.below(64) } else { 0 };
    let payload_len = if has(0x10) && jump == [0; 4] { 0 } else { input.below(64) };
    let application_len = if has(0x02) { input.below(16) } else { 0 };
    if has(0x08) {
        packet.length(control_len, input);
    }
    packet.length(payload_len, input);
    if has(0x02) {
        packet.length(application_len, input);
    }
    let faithful = packet.faithful;
    let mut body = vec![0; control_len + payload_len + application_len];
    let bytes = input.bytes(body.len());
    body[..bytes.len()].copy_from_slice(bytes);
    packet.raw(&body);
    let (packet, genuine) = packet.finish(&keys.control_seal, input);

    let retransmission = if reliable { u32::from_be_bytes(jump) } else { 0 };
    let sound = number + u64::from(retransmission) <= varint::MAX
        && offset + payload_len as u64 <= varint::MAX
        && (retransmission == 0 || has(0x10))
        && (retransmission > 0 || !has(0x10) || payload_len == 0);
    if faithful {
        let decoded = stream::Packet::decode(&packet);
        assert_eq!(decoded.is_ok(), sound, "{decoded:?} {packet:x?}");
        if let Ok(decoded) = decoded {
            assert_eq!(decoded.credentials(), credentials);
            assert_eq!((decoded.queue_id(), decoded.is_reliable()), (stream_id >> 2, reliable));
            assert_eq!(decoded.source_queue_id(), source_queue_id);
            assert_eq!(decoded.original_number(), number);
            assert_eq!(decoded.number(), number + u64::from(retransmission));
            assert_eq!((decoded.next_expected_control(), decoded.offset()), (next_control, offset));
            assert_eq!(decoded.final_offset(), final_offset);
            assert_eq!(decoded.payload_len(), payload_len);
            assert_eq!(decoded.application_header(), &body[..application_len]);
            assert_eq!(decoded.control_data(), &body[application_len..][..control_len]);
        }
    }
    let outcome = receiver.receive(&packet);
    let probe = has(0x10) && retransmission == 0;
    let accepted = genuine && sound && probe && credentials.key_id == KEY_ID;
    // Lies can cancel each other out, so without them it is a packet for certain, and with them it may be one.
    assert!(outcome != Outcome::Accepted || genuine, "{packet:x?}");
    assert!(!faithful || (outcome == Outcome::Accepted) == accepted, "{packet:x?}");
    outcome
}

fn sealed_stream(receiver: &Receiver, mut input: Input<'_>, retransmitted: bool) -> Reach {
    let mut keys = receiver.client.stream_keys(KEY_ID, Opener::Local);
    let flags = input.u8();
    let header = stream::Header {
        credentials: receiver.credentials(),
        queue_id: input.varint() % QUEUE_IDS,
        source_queue_id: (flags & 1 != 0).then(|| input.varint()),
        number: input.varint(),
        next_expected_control: input.varint(),
        offset: input.varint(),
        final_offset: (flags & 2 != 0).then(|| input.varint()),
        key_phase: flags & 4 != 0,
    };
    if header.key_phase {
        keys.seal.update();
    }
    let probe = flags & 0x30 == 0x30;
    let len = usize::from(input.u8()) << (flags >> 6);
    let mut payload = vec![0; len];
    let bytes = input.bytes(len.min(32));
    payload[..bytes.len()].copy_from_slice(bytes);
    let mut packet = vec![0; len + 256];
    let written = if probe {
        stream::probe(&header, bytes, &keys.control_seal, &mut packet).ok()
    } else {
        let layout = if flags & 8 != 0 {
            stream::Layout::for_burst(&header, header.number, header.offset)
        } else {
            stream::Layout::minimal(&header)
        };
        stream::seal(&header, &layout, &mut keys.seal, &payload, &mut packet).ok()
    };
    let Some(written) = written else {
        assert!(header.offset + len as u64 > varint::MAX, "{header:?} {len}");
        return Reach::default();
    };
    packet.truncate(written);
    let decoded = stream::Packet::decode(&packet).expect("what we write is a packet");
    assert_eq!((decoded.number(), decoded.offset()), (header.number, header.offset));
    assert_eq!((decoded.queue_id(), decoded.final_offset()), (header.queue_id, header.final_offset));
    if retransmitted {
        for _ in 0..=input.below(3) {
            let number = header.number.saturating_add(input.varint());
            let sound = number > header.number && number <= varint::MAX && number - header.number < 1 << 32;
            let done = stream::retransmit(&mut packet, number, &keys.control_seal).is_ok();
            assert_eq!(done, sound && !probe);
        }
    }
    after_damage(receiver, packet, input, true)
}

/// Control packets.
pub fn control(data: &[u8]) -> Reach {
    let mut input = Input::new(data);
    let mode = input.u8();
    with_receiver(mode >> 2, |receiver| {
        let key = receiver.client.stream_control_keys(KEY_ID, Opener::Local).0;
        match mode & 3 {
            0 => receiver.receive(input.rest()).into(),
            1 | 2 => {
                let (first, wider) = (0x50 | (input.u8() & 0x0f), input.u8());
                let wide = |bit: u8| wider >> bit & 1 != 0;
                let has = |bit: u8| first & bit != 0;
                let credentials = credentials(receiver, &mut input);
                let mut packet = Builder::new(first);
                packet.raw(&credentials.id.0);
                packet.varint(credentials.key_id, wide(0));
                packet.version(&mut input);
                let stream_id = has(0x04).then(|| input.varint());
                stream_id.into_iter().for_each(|id| packet.varint(id, wide(1)));
                let source_queue_id = has(0x08).then(|| input.varint());
                source_queue_id.into_iter().for_each(|id| packet.varint(id, wide(2)));
                let number = input.varint();
                packet.varint(number, wide(3));
                let application_len = if has(0x02) { input.below(16) } else { 0 };
                let control_len = input.below(128);
                packet.length(control_len, &mut input);
                if has(0x02) {
                    packet.length(application_len, &mut input);
                }
                let faithful = packet.faithful;
                let mut body = vec![0; application_len + control_len];
                let bytes = input.bytes(body.len());
                body[..bytes.len()].copy_from_slice(bytes);
                packet.raw(&body);
                let (packet, genuine) = packet.finish(&key, &mut input);
                if faithful {
                    let decoded = control::Packet::decode(&packet).expect("a packet");
                    assert_eq!((decoded.credentials(), decoded.number()), (credentials, number));
                    assert_eq!(decoded.queue_id(), stream_id.map(|id| id >> 2));
                    assert_eq!(decoded.source_queue_id(), source_queue_id);
                    assert_eq!(decoded.application_header(), &body[..application_len]);
                    assert_eq!(decoded.control_data(), &body[application_len..]);
                }
                let outcome = receiver.receive(&packet);
                let accepted = genuine && credentials.key_id == KEY_ID;
                assert!(outcome != Outcome::Accepted || accepted, "{packet:x?}");
                assert!(!faithful || (outcome == Outcome::Accepted) == accepted, "{packet:x?}");
                outcome.into()
            }
            _ => {
                let flags = input.u8();
                let header = control::Header {
                    credentials: receiver.credentials(),
                    queue_id: (flags & 1 != 0).then(|| input.varint() % QUEUE_IDS),
                    source_queue_id: (flags & 2 != 0).then(|| input.varint()),
                    number: input.varint(),
                };
                let len = input.below(128);
                let frames = input.bytes(len).to_vec();
                let mut packet = vec![0; 512];
                let len = control::encode(&header, &frames, &key, &mut packet).expect("room enough");
                assert_eq!(len, header.packet_len(frames.len()));
                packet.truncate(len);
                assert_eq!(control::Packet::decode(&packet).expect("a packet").header(), &header);
                after_damage(receiver, packet, input, true)
            }
        }
    })
}

/// Datagram packets.
pub fn datagram(data: &[u8]) -> Reach {
    let mut input = Input::new(data);
    let mode = input.u8();
    with_receiver(mode >> 2, |receiver| match mode & 3 {
        0 => receiver.receive(input.rest()).into(),
        1 => {
            // No key seals what paceline does not write, so by hand it is decoded and no more.
            let (first, wider) = (0x40 | (input.u8() & 0x0f), input.u8());
            let wide = |bit: u8| wider >> bit & 1 != 0;
            let has = |bit: u8| first & bit != 0;
            let credentials = credentials(receiver, &mut input);
            let mut packet = Builder::new(first);
            packet.raw(&credentials.id.0);
            packet.varint(credentials.key_id, wide(0));
            packet.version(&mut input);
            let port = input.u16();
            packet.raw(&port.to_be_bytes());
            let number = has(0x0c).then(|| input.varint());
            number.into_iter().for_each(|number| packet.varint(number, wide(1)));
            let [payload_len, control_len, application_len] = [64, 64, 16].map(|max| input.below(max));
            packet.length(payload_len, &mut input);
            let next_control = has(0x08).then(|| input.varint());
            next_control.into_iter().for_each(|number| packet.varint(number, wide(2)));
            let control_len = if has(0x08) { control_len } else { 0 };
            let application_len = if has(0x02) { application_len } else { 0 };
            if has(0x08) {
                packet.length(control_len, &mut input);
            }
            if has(0x02) {
                packet.length(application_len, &mut input);
            }
            let mut body = vec![0; application_len + control_len + payload_len + 16];
            let bytes = input.bytes(body.len());
            body[..bytes.len()].copy_from_slice(bytes);
            packet.raw(&body);
            if packet.faithful {
                let decoded = datagram::Packet::decode(&packet.bytes).expect("a packet");
                assert_eq!(decoded.credentials(), credentials);
                assert_eq!((decoded.header().source_control_port, decoded.header().number), (port, number));
                assert_eq!(decoded.next_expected_control(), next_control);
                assert_eq!(decoded.payload_len(), payload_len);
                assert_eq!(decoded.application_header(), &body[..application_len]);
                assert_eq!(decoded.control_data(), &body[application_len..][..control_len]);
            }
            let outcome = receiver.receive(&packet.bytes);
            assert_ne!(outcome, Outcome::Accepted);
            outcome.into()
        }
        _ => {
            let flags = input.u8();
            let header = datagram::Header {
                credentials: receiver.credentials(),
                source_control_port: input.u16(),
                number: (flags & 1 != 0).then(|| input.varint()),
            };
            let len = input.below(128);
            let payload = input.bytes(len).to_vec();
            let mut packet = vec![0; 512];
            let key = receiver.client.datagram_seal_key(KEY_ID);
            let len = datagram::seal(&header, key, &payload, &mut packet).expect("room enough");
            assert_eq!(len, header.packet_len(payload.len()));
            packet.truncate(len);
            after_damage(receiver, packet, input, true)
        }
    })
}

/// Secret-control packets.
pub fn secret_control(data: &[u8]) -> Reach {
    let mut input = Input::new(data);
    let mode = input.u8();
    with_receiver(mode >> 2, |receiver| match mode & 3 {
        0 => receiver.receive(input.rest()).into(),
        1 => secret_control_by_hand(receiver, &mut input).into(),
        _ => written_secret_control(receiver, &mut input).into(),
    })
}

fn secret_control_by_hand(receiver: &Receiver, input: &mut Input<'_>) -> Outcome {
    use secret_control::{Body, Packet};
    let (kind, wider) = (input.u8(), input.u8());
    let (saying, has_queue_id) = (kind % 3, kind & 4 != 0);
    let id = credentials(receiver, input).id;
    let mut packet = Builder::new(0x60 | saying | (kind & 4));
    packet.raw(&id.0);
    packet.version(input);
    let queue_id = has_queue_id.then(|| input.varint());
    queue_id.into_iter().for_each(|id| packet.varint(id, wider & 1 != 0));
    let value = input.varint();
    let body = match saying {
        0 => Body::UnknownPathSecret,
        1 => Body::StaleKey { min_key_id: value },
        _ => Body::ReplayDetected { rejected_key_id: value },
    };
    if saying != 0 {
        packet.varint(value, wider & 2 != 0);
    }
    let faithful = packet.faithful;
    let (packet, genuine) = packet.finish(&receiver.client.control_sealer(), input);
    if faithful {
        let decoded = Packet::decode(&packet).expect("a packet");
        assert_eq!((decoded.id(), decoded.queue_id(), decoded.body()), (&id, queue_id, body));
    }
    let outcome = receiver.receive(&packet);
    // What is proven by a token is not by the key, even if the key has signed it; the fuzzer knows the token.
    let accepted = genuine && saying != 0 && id == *receiver.server.id();
    assert!(!faithful || saying == 0 || (outcome == Outcome::Accepted) == accepted, "{packet:x?}");
    outcome
}

fn written_secret_control(receiver: &Receiver, input: &mut Input<'_>) -> Outcome {
    use secret_control::{Body, Packet};
    assert_eq!(receiver.client.role(), Role::Client);
    let (kind, key) = (input.u8(), receiver.client.control_sealer());
    let queue_id = (kind & 4 != 0).then(|| input.varint());
    let value = input.varint();
    let id = *receiver.client.id();
    let mut packet = vec![0; secret_control::MAX_LEN];
    let (len, body) = match kind & 3 {
        0 => {
            let body = Body::StaleKey { min_key_id: value };
            (secret_control::stale_key(&id, queue_id, value, &key, &mut packet), body)
        }
        1 => {
            let body = Body::ReplayDetected { rejected_key_id: value };
            (secret_control::replay_detected(&id, queue_id, value, &key, &mut packet), body)
        }
        _ => {
            let written = secret_control::unknown_path_secret(&id, queue_id, &TOKEN, &mut packet);
            (written, Body::UnknownPathSecret)
        }
    };
    packet.truncate(len.expect("the longest there is fits"));
    let decoded = Packet::decode(&packet).expect("a packet");
    assert_eq!((decoded.id(), decoded.queue_id(), decoded.body()), (&id, queue_id, body));
    assert_eq!(receiver.receive(&packet), Outcome::Accepted);
    let damaged = damage(&mut packet, input);
    let outcome = receiver.receive(&packet);
    if damaged && outcome == Outcome::Accepted {
        // dcQUIC's token covers nothing of the packet that it proves: the queue id can change, and its width.
        let changed = Packet::decode(&packet).expect("accepted");
        assert_eq!((changed.body(), changed.id()), (Body::UnknownPathSecret, &id));
    }
    outcome
}
