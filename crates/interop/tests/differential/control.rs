//! Control packets.

use crate::{
    frames,
    keys::{Keys, their_varint},
    tally::{Tally, Way},
    tamper,
};
use paceline_interop::Rng;
use paceline_wire::{
    packet::control::{self, Header, Packet},
    varint,
};
use s2n_codec::{DecoderBufferMut, EncoderBuffer};
use s2n_quic_dc::{
    crypto::open::Control as _,
    packet::{
        control::{decoder, encoder},
        stream,
    },
};

const TAG_LEN: usize = 16;
const PACKETS: u64 = 4;

struct Fields {
    header: Header,
    control_data: Vec<u8>,
    /// Upstream only.
    application_header: Vec<u8>,
}

impl Fields {
    fn new(keys: &Keys, rng: &mut Rng, application_header: bool) -> Self {
        let header = Header {
            credentials: keys.credentials(),
            queue_id: (!rng.one_in(8)).then(|| rng.varint(varint::MAX >> 2)),
            source_queue_id: rng.sometimes(2, |rng| rng.varint(varint::MAX)),
            number: rng.varint(varint::MAX),
        };
        let application_header = if application_header && rng.one_in(3) {
            let len = rng.below(90);
            rng.bytes(usize::try_from(len).unwrap())
        } else {
            Vec::new()
        };
        Self { header, control_data: frames::control_data(rng), application_header }
    }

    fn encode_theirs(&self, keys: &Keys) -> Vec<u8> {
        let mut out = vec![0; 160 + self.control_data.len() + self.application_header.len()];
        let len = encoder::encode(
            EncoderBuffer::new(&mut out),
            self.header.source_queue_id.map(their_varint),
            self.header.queue_id.map(|id| stream::Id::normal(their_varint(id)).unwrap()),
            their_varint(self.header.number),
            their_varint(self.application_header.len() as u64),
            &mut self.application_header.as_slice(),
            their_varint(self.control_data.len() as u64),
            &self.control_data.as_slice(),
            &keys.their_stream.control_seal,
            &keys.their_credentials(),
        );
        out.truncate(len);
        out
    }

    fn encode_ours(&self, key: &paceline_wire::ControlKey) -> Vec<u8> {
        let mut out = vec![0; self.header.packet_len(self.control_data.len())];
        let len = control::encode(&self.header, &self.control_data, key, &mut out).unwrap();
        assert_eq!(len, out.len());
        out
    }
}

fn authentic_ours(keys: &Keys, packet: &[u8]) -> bool {
    Packet::decode(packet).is_ok_and(|packet| packet.verify(&keys.stream.control_open).is_ok())
}

fn authentic_theirs(keys: &Keys, packet: &[u8]) -> bool {
    let mut copy = packet.to_vec();
    let Ok((packet, rest)) = decoder::Packet::decode(DecoderBufferMut::new(&mut copy), (), TAG_LEN) else {
        return false;
    };
    rest.is_empty() && keys.their_stream.control_open.verify(packet.header(), packet.auth_tag()).is_ok()
}

fn expect(fields: &Fields, packet: &[u8]) {
    let ours = Packet::decode(packet).unwrap();
    assert_eq!(*ours.header(), fields.header);
    assert_eq!(ours.control_data(), fields.control_data);
    assert_eq!(ours.application_header(), fields.application_header);

    let mut copy = packet.to_vec();
    let (theirs, rest) = decoder::Packet::decode(DecoderBufferMut::new(&mut copy), (), TAG_LEN).unwrap();
    assert!(rest.is_empty());
    assert_eq!(theirs.credentials().id[..], fields.header.credentials.id.0);
    assert_eq!(theirs.credentials().key_id.as_u64(), fields.header.credentials.key_id);
    assert_eq!(theirs.stream_id().map(|id| id.queue_id().as_u64()), fields.header.queue_id);
    assert_eq!(theirs.source_queue_id().map(|id| id.as_u64()), fields.header.source_queue_id);
    assert_eq!(theirs.packet_number().as_u64(), fields.header.number);
    assert_eq!(theirs.control_data(), fields.control_data);
    assert_eq!(theirs.application_header(), fields.application_header);
}

pub(crate) fn both_ways(keys: &Keys, rng: &mut Rng, tally: &mut Tally) {
    for _ in 0..PACKETS {
        let fields = Fields::new(keys, rng, true);
        let packet = fields.encode_theirs(keys);
        expect(&fields, &packet);
        frames::compare(&fields.control_data, tally);
        if fields.application_header.is_empty() {
            assert_eq!(fields.encode_ours(&keys.stream.control_open), packet);
            tally.note("the same bytes from both");
        }
        tamper::refused(rng, &packet, |packet| authentic_ours(keys, packet), tally);
        tally.packet("control", Way::FromThem, &keys.name);

        let fields = Fields::new(keys, rng, false);
        let packet = fields.encode_ours(&keys.stream.control_seal);
        expect(&fields, &packet);
        frames::compare(&fields.control_data, tally);
        tamper::refused(rng, &packet, |packet| authentic_theirs(keys, packet), tally);
        tally.packet("control", Way::ToThem, &keys.name);
    }
}
