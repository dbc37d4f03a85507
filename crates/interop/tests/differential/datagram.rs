//! Datagrams with single-use keys.

use crate::{
    frames,
    keys::{Keys, their_varint},
    tally::{Tally, Way},
    tamper,
};
use paceline_interop::Rng;
use paceline_wire::{
    packet::datagram::{self, Header, Packet},
    varint,
};
use s2n_codec::{DecoderBufferMut, EncoderBuffer};
use s2n_quic_core::packet::KeyPhase;
use s2n_quic_dc::{
    crypto::open::Application as _,
    packet::datagram::{decoder, encoder},
};

const TAG_LEN: usize = 16;
const PACKETS: u64 = 2;

struct Fields {
    header: Header,
    payload: Vec<u8>,
    /// Upstream only, as is what follows.
    next_expected_control: Option<u64>,
    control_data: Vec<u8>,
    application_header: Vec<u8>,
}

impl Fields {
    fn new(keys: &Keys, rng: &mut Rng, all: bool) -> Self {
        let limit = if rng.one_in(4) { 1_400 } else { 100 };
        let len = rng.below(limit);
        let number = rng.sometimes(2, |rng| rng.varint(varint::MAX));
        let next_expected_control =
            if all && number.is_some() { rng.sometimes(2, |rng| rng.varint(varint::MAX)) } else { None };
        let application_header_len = if all { rng.below(40) } else { 0 };
        Self {
            header: Header {
                credentials: keys.credentials(),
                source_control_port: u16::try_from(rng.below(1 << 16)).unwrap(),
                number,
            },
            payload: rng.bytes(usize::try_from(len).unwrap()),
            next_expected_control,
            control_data: if next_expected_control.is_some() {
                frames::control_data(rng)
            } else {
                Vec::new()
            },
            application_header: rng.bytes(usize::try_from(application_header_len).unwrap()),
        }
    }

    fn encode_theirs(&self, keys: &Keys) -> Vec<u8> {
        let mut out =
            vec![0; 160 + self.payload.len() + self.control_data.len() + self.application_header.len()];
        let len = encoder::encode(
            EncoderBuffer::new(&mut out),
            self.header.source_control_port,
            self.header.number.map(their_varint),
            self.next_expected_control.map(their_varint),
            their_varint(self.application_header.len() as u64),
            &mut self.application_header.as_slice(),
            &self.control_data.as_slice(),
            their_varint(self.payload.len() as u64),
            &mut self.payload.as_slice(),
            &keys.theirs.application_sealer(their_varint(keys.key_id)),
            &keys.their_credentials(),
        );
        out.truncate(len);
        out
    }
}

fn open_ours(keys: &Keys, packet: &[u8]) -> Option<Vec<u8>> {
    let packet = Packet::decode(packet).ok()?;
    let mut out = vec![0xaa; packet.payload_len()];
    packet.open(&keys.ours.datagram_open_key(keys.key_id), &mut out).ok()?;
    Some(out)
}

fn open_theirs(keys: &Keys, packet: &[u8]) -> Option<Vec<u8>> {
    let mut copy = packet.to_vec();
    let (packet, rest) = decoder::Packet::decode(DecoderBufferMut::new(&mut copy), (), TAG_LEN).ok()?;
    let key = keys.theirs.application_opener(their_varint(keys.key_id));
    let mut payload = packet.payload().to_vec();
    key.decrypt_in_place(
        KeyPhase::Zero,
        packet.crypto_nonce(),
        packet.header(),
        &mut payload,
        packet.auth_tag(),
    )
    .ok()?;
    rest.is_empty().then_some(payload)
}

fn expect(fields: &Fields, packet: &[u8]) {
    let ours = Packet::decode(packet).unwrap();
    assert_eq!(*ours.header(), fields.header);
    assert_eq!(ours.next_expected_control(), fields.next_expected_control);
    assert_eq!(ours.control_data(), fields.control_data);
    assert_eq!(ours.application_header(), fields.application_header);
    assert_eq!(ours.payload_len(), fields.payload.len());
    assert!(!ours.key_phase());

    let mut copy = packet.to_vec();
    let (theirs, rest) = decoder::Packet::decode(DecoderBufferMut::new(&mut copy), (), TAG_LEN).unwrap();
    assert!(rest.is_empty());
    assert_eq!(theirs.credentials().id[..], fields.header.credentials.id.0);
    assert_eq!(theirs.credentials().key_id.as_u64(), fields.header.credentials.key_id);
    assert_eq!(theirs.source_control_port(), fields.header.source_control_port);
    assert_eq!(theirs.packet_number().as_u64(), fields.header.number.unwrap_or(0));
    assert_eq!(theirs.tag().is_connected(), fields.header.number.is_some());
    assert_eq!(theirs.next_expected_control_packet().map(|n| n.as_u64()), fields.next_expected_control);
    assert_eq!(theirs.control_data(), fields.control_data);
    assert_eq!(theirs.application_header(), fields.application_header);
    assert_eq!(theirs.payload().len(), fields.payload.len());
}

pub(crate) fn both_ways(keys: &Keys, rng: &mut Rng, tally: &mut Tally) {
    for _ in 0..PACKETS {
        let fields = Fields::new(keys, rng, true);
        let packet = fields.encode_theirs(keys);
        expect(&fields, &packet);
        assert_eq!(open_ours(keys, &packet).as_ref(), Some(&fields.payload));
        tamper::refused(rng, &packet, |packet| open_ours(keys, packet).is_some(), tally);
        tally.packet("datagram", Way::FromThem, &keys.name);

        let fields = Fields::new(keys, rng, false);
        let mut packet = vec![0; fields.header.packet_len(fields.payload.len())];
        let key = keys.ours.datagram_seal_key(keys.key_id);
        assert_eq!(datagram::seal(&fields.header, key, &fields.payload, &mut packet).unwrap(), packet.len());
        expect(&fields, &packet);
        assert_eq!(open_theirs(keys, &packet).as_ref(), Some(&fields.payload));
        tamper::refused(rng, &packet, |packet| open_theirs(keys, packet).is_some(), tally);
        tally.packet("datagram", Way::ToThem, &keys.name);
    }
}
