//! Stream packets and probes, their retransmissions, and what is left of them after tampering.

use crate::{
    frames,
    keys::{Keys, their_varint},
    tally::{Tally, Way},
    tamper,
};
use core::convert::Infallible;
use paceline_interop::Rng;
use paceline_wire::{
    packet::stream::{self, Header, Layout, Packet, Space},
    varint,
};
use s2n_codec::{DecoderBufferMut, EncoderBuffer};
use s2n_quic_core::{
    buffer::{
        Reader,
        reader::storage::{Chunk, Storage},
        writer,
    },
    varint::VarInt,
};
use s2n_quic_dc::{
    crypto::UninitSlice,
    packet::stream::{self as their, PacketSpace, decoder, encoder},
};

const TAG_LEN: usize = 16;
const RECOVERY_BIT: u8 = 0x10;
/// First transmissions a session makes in each key phase, each way.
const PACKETS: u64 = 3;
const MAX_PHASE: u32 = 3;

/// A piece of a stream, for upstream's encoder.
struct Piece<'a> {
    bytes: &'a [u8],
    offset: u64,
    final_offset: Option<u64>,
}

impl Storage for Piece<'_> {
    type Error = Infallible;

    fn buffered_len(&self) -> usize {
        self.bytes.len()
    }

    fn read_chunk(&mut self, watermark: usize) -> Result<Chunk<'_>, Infallible> {
        self.bytes.read_chunk(watermark)
    }

    fn partial_copy_into<D: writer::Storage + ?Sized>(
        &mut self,
        dest: &mut D,
    ) -> Result<Chunk<'_>, Infallible> {
        self.bytes.partial_copy_into(dest)
    }
}

impl Reader for Piece<'_> {
    fn current_offset(&self) -> VarInt {
        their_varint(self.offset)
    }

    fn final_offset(&self) -> Option<VarInt> {
        self.final_offset.map(their_varint)
    }
}

/// A stream packet as generated: more than paceline ever writes.
#[derive(Clone, Debug)]
struct Fields {
    header: Header,
    reliable: bool,
    bidirectional: bool,
    control_data: Vec<u8>,
    application_header: Vec<u8>,
    payload: Vec<u8>,
}

impl Fields {
    /// What paceline may write.
    fn ours(keys: &Keys, rng: &mut Rng, number: u64) -> Self {
        let len = match rng.below(8) {
            0 => 0,
            1..=5 => rng.below(200),
            6 => 1_400 + rng.below(20),
            _ => rng.below(9_000),
        };
        Self::with_payload(keys, rng, number, len)
    }

    fn with_payload(keys: &Keys, rng: &mut Rng, number: u64, len: u64) -> Self {
        let offset = rng.varint(varint::MAX - len);
        let end = offset + len;
        let header = Header {
            credentials: keys.credentials(),
            queue_id: rng.varint(varint::MAX >> 2),
            source_queue_id: rng.sometimes(2, |rng| rng.varint(varint::MAX)),
            number,
            next_expected_control: rng.varint(varint::MAX),
            offset,
            final_offset: rng.sometimes(3, |rng| if rng.one_in(2) { end } else { rng.varint(varint::MAX) }),
            key_phase: keys.stream.seal.phase(),
        };
        Self {
            header,
            reliable: true,
            bidirectional: true,
            control_data: Vec::new(),
            application_header: Vec::new(),
            payload: rng.bytes(usize::try_from(len).unwrap()),
        }
    }

    /// What the format allows.
    fn theirs(keys: &Keys, rng: &mut Rng, number: u64) -> Self {
        let len = rng.below(600);
        Self {
            reliable: !rng.one_in(8),
            bidirectional: !rng.one_in(8),
            control_data: rng.sometimes(3, frames::control_data).unwrap_or_default(),
            application_header: rng
                .sometimes(4, |rng| {
                    let len = if rng.one_in(8) { 700 } else { rng.below(90) };
                    rng.bytes(usize::try_from(len).unwrap())
                })
                .unwrap_or_default(),
            ..Self::with_payload(keys, rng, number, len)
        }
    }

    fn probe(keys: &Keys, rng: &mut Rng, number: u64) -> Self {
        let mut probe = Self::with_payload(keys, rng, number, 0);
        probe.header.key_phase = false;
        probe.control_data = rng.sometimes(2, frames::control_data).unwrap_or_default();
        probe
    }

    /// What upstream writes of them; `probe`: as one.
    fn encode_theirs(&self, keys: &Keys, probe: bool) -> Vec<u8> {
        let mut id = their::Id::unreliable_unidirectional(their_varint(self.header.queue_id)).unwrap();
        (id.is_reliable, id.is_bidirectional) = (self.reliable, self.bidirectional);
        let mut out =
            vec![0; 160 + self.payload.len() + self.control_data.len() + self.application_header.len()];
        let mut payload = Piece {
            bytes: &self.payload,
            offset: self.header.offset,
            final_offset: self.header.final_offset,
        };
        let credentials = keys.their_credentials();
        let source = self.header.source_queue_id.map(their_varint);
        let number = their_varint(self.header.number);
        let next = their_varint(self.header.next_expected_control);
        let application_header_len = their_varint(self.application_header.len() as u64);
        let control_data_len = their_varint(self.control_data.len() as u64);
        let mut application_header = self.application_header.as_slice();
        let encoder = EncoderBuffer::new(&mut out);
        let len = if probe {
            encoder::probe(
                encoder,
                source,
                id,
                number,
                next,
                application_header_len,
                &mut application_header,
                control_data_len,
                &self.control_data.as_slice(),
                &mut payload,
                &keys.their_stream.control_seal,
                &credentials,
            )
        } else {
            encoder::encode(
                encoder,
                source,
                id,
                number,
                next,
                application_header_len,
                &mut application_header,
                control_data_len,
                &self.control_data.as_slice(),
                &mut payload,
                &keys.their_stream.seal,
                &credentials,
            )
        };
        out.truncate(len);
        out
    }

    /// As our decoder sees it.
    fn expect(&self, packet: &Packet<'_>, space: Space, number: u64) {
        let header = &self.header;
        assert_eq!(packet.credentials(), header.credentials);
        assert_eq!(packet.queue_id(), header.queue_id);
        assert_eq!((packet.is_reliable(), packet.is_bidirectional()), (self.reliable, self.bidirectional));
        assert_eq!(packet.source_queue_id(), header.source_queue_id);
        assert_eq!(packet.original_number(), header.number);
        assert_eq!((packet.space(), packet.number()), (space, number));
        assert_eq!(packet.is_probe(), space == Space::Recovery && number == header.number);
        assert_eq!(packet.next_expected_control(), header.next_expected_control);
        assert_eq!(packet.offset(), header.offset);
        assert_eq!(packet.end_offset(), header.offset + self.payload.len() as u64);
        assert_eq!(packet.final_offset(), header.final_offset);
        assert_eq!(packet.key_phase(), header.key_phase);
        assert_eq!(packet.control_data(), self.control_data);
        assert_eq!(packet.application_header(), self.application_header);
        assert_eq!(packet.payload_len(), self.payload.len());
    }

    /// As upstream's decoder sees it.
    fn expect_theirs(&self, packet: &decoder::Owned, space: Space, number: u64) {
        let header = &self.header;
        assert_eq!(packet.credentials.id[..], header.credentials.id.0);
        assert_eq!(packet.credentials.key_id.as_u64(), header.credentials.key_id);
        assert_eq!(packet.stream_id.queue_id().as_u64(), header.queue_id);
        assert_eq!(packet.source_queue_id.map(VarInt::as_u64), header.source_queue_id);
        assert_eq!(packet.original_packet_number.as_u64(), header.number);
        assert_eq!((their_space(packet), packet.packet_number.as_u64()), (space, number));
        assert_eq!(packet.next_expected_control_packet.as_u64(), header.next_expected_control);
        assert_eq!(packet.stream_offset.as_u64(), header.offset);
        assert_eq!(packet.final_offset.map(VarInt::as_u64), header.final_offset);
        assert_eq!(packet.control_data, self.control_data);
        assert_eq!(packet.application_header, self.application_header);
        assert_eq!(packet.payload.len(), self.payload.len());
    }
}

fn their_space(packet: &decoder::Owned) -> Space {
    match packet.tag.packet_space() {
        PacketSpace::Stream => Space::Stream,
        PacketSpace::Recovery => Space::Recovery,
    }
}

/// Decoded by upstream, if it takes the datagram as one stream packet.
fn decode_theirs(packet: &[u8]) -> Option<decoder::Owned> {
    let mut copy = packet.to_vec();
    let (decoded, rest) = decoder::Packet::decode(DecoderBufferMut::new(&mut copy), (), TAG_LEN).ok()?;
    rest.is_empty().then(|| decoded.into())
}

/// Opened by upstream: into a buffer, and in place.
fn open_theirs(keys: &Keys, packet: &[u8]) -> Option<Vec<u8>> {
    let theirs = &keys.their_stream;
    let mut copy = packet.to_vec();
    let (mut decoded, rest) = decoder::Packet::decode(DecoderBufferMut::new(&mut copy), (), TAG_LEN).ok()?;
    if !rest.is_empty() {
        return None;
    }
    let mut out = vec![0; decoded.payload().len()];
    let opened = decoded.decrypt(&theirs.open, &theirs.control_open, UninitSlice::new(&mut out)).ok();
    let mut copy = packet.to_vec();
    let (mut decoded, _) = decoder::Packet::decode(DecoderBufferMut::new(&mut copy), (), TAG_LEN).ok()?;
    let in_place = decoded.decrypt_in_place(&theirs.open, &theirs.control_open).ok();
    assert_eq!(opened.is_some(), in_place.is_some());
    opened?;
    assert_eq!(decoded.payload(), out);
    Some(out)
}

fn open_ours(keys: &Keys, packet: &[u8]) -> Option<Vec<u8>> {
    let packet = Packet::decode(packet).ok()?;
    let mut out = vec![0xaa; packet.payload_len()];
    let opened = packet.open(keys.open_key(), &keys.stream.control_open, &mut out);
    assert!(opened.is_ok() || out.iter().all(|byte| *byte == 0), "an unauthentic payload is left");
    opened.ok()?;
    Some(out)
}

/// Both sides see the same in it and open it, whoever wrote it.
fn expect(keys: &Keys, fields: &Fields, packet: &[u8], way: Way, space: Space, number: u64) {
    fields.expect(&Packet::decode(packet).unwrap(), space, number);
    fields.expect_theirs(&decode_theirs(packet).unwrap(), space, number);
    let opened = match way {
        Way::FromThem => open_ours(keys, packet),
        Way::ToThem => open_theirs(keys, packet),
    };
    assert_eq!(opened.as_deref(), Some(fields.payload.as_slice()));
}

/// Patches again and again, by both sides alike: each patch undoes the one before.
fn retransmit(
    keys: &Keys,
    rng: &mut Rng,
    fields: &Fields,
    first: &[u8],
    way: Way,
    tally: &mut Tally,
) -> Vec<u8> {
    let mut packet = first.to_vec();
    let times = rng.below(4);
    for time in 0..times {
        let room = (varint::MAX - fields.header.number).min(u32::MAX.into());
        if room == 0 {
            break;
        }
        let number = fields.header.number + 1 + rng.varint(room - 1);
        // The keys of whoever sends: the other side has them as its opening keys, which do not patch.
        let patched = |packet: &[u8]| {
            let mut packet = packet.to_vec();
            match way {
                Way::ToThem => stream::retransmit(&mut packet, number, &keys.stream.control_seal).unwrap(),
                Way::FromThem => retransmit_theirs(keys, &mut packet, number),
            }
            packet
        };
        let again = patched(&packet);
        assert_eq!(again, patched(first), "a patch leaves traces of the one before");
        // HMAC keys are the same both ways round; only who may hold which differs.
        let mut others = packet.clone();
        match way {
            Way::FromThem => stream::retransmit(&mut others, number, &keys.stream.control_open).unwrap(),
            Way::ToThem => {
                their_mask(keys, &mut others, fields.header.number, number);
            }
        }
        assert_eq!(others, again);
        packet = again;
        expect(keys, fields, &packet, way, Space::Recovery, number);
        tally.note(match way {
            Way::FromThem => "retransmission from them",
            Way::ToThem => "retransmission to them",
        });
        if time > 0 {
            tally.note("retransmission undone and patched again");
        }
    }
    packet
}

fn retransmit_theirs(keys: &Keys, packet: &mut [u8], number: u64) {
    decoder::Packet::retransmit(
        DecoderBufferMut::new(packet),
        PacketSpace::Recovery,
        their_varint(number),
        &keys.their_stream.control_seal,
    )
    .unwrap();
}

/// Upstream's rewriting with the key that it verifies our packets with.
fn their_mask(keys: &Keys, packet: &mut [u8], original: u64, number: u64) {
    struct Key<'a>(&'a s2n_quic_dc::crypto::awslc::open::control::Stream);
    impl s2n_quic_dc::crypto::seal::Control for Key<'_> {
        fn tag_len(&self) -> usize {
            TAG_LEN
        }
        fn sign(&self, _: &[u8], _: &mut [u8]) {
            unreachable!("a retransmission is patched, not signed")
        }
    }
    impl s2n_quic_dc::crypto::seal::control::Stream for Key<'_> {
        fn retransmission_tag(&self, original: u64, number: u64, tag: &mut [u8]) {
            s2n_quic_dc::crypto::open::control::Stream::retransmission_tag(self.0, original, number, tag)
                .unwrap();
        }
    }
    assert!(original < number);
    decoder::Packet::retransmit(
        DecoderBufferMut::new(packet),
        PacketSpace::Recovery,
        their_varint(number),
        &Key(&keys.their_stream.control_open),
    )
    .unwrap();
}

/// Whatever is changed, nobody opens it; what ours takes apart, theirs takes apart alike.
fn refused(keys: &Keys, rng: &mut Rng, packet: &[u8], way: Way, tally: &mut Tally) {
    let bad = tamper::changed(rng, packet, tally);
    if let Ok(ours) = Packet::decode(&bad) {
        let theirs = decode_theirs(&bad).expect("ours takes what theirs does not");
        assert_eq!(ours.number(), theirs.packet_number.as_u64());
        assert_eq!(ours.original_number(), theirs.original_packet_number.as_u64());
        assert_eq!(
            (ours.offset(), ours.payload_len()),
            (theirs.stream_offset.as_u64(), theirs.payload.len())
        );
        assert_eq!(ours.control_data(), theirs.control_data);
        assert_eq!(ours.space(), their_space(&theirs));
    } else if decode_theirs(&bad).is_none() {
        tally.note("refused by both");
    }
    match way {
        Way::FromThem => assert!(open_ours(keys, &bad).is_none(), "ours opens what was tampered with"),
        Way::ToThem => {
            if open_theirs(keys, &bad).is_some() {
                // Upstream takes a retransmission whose recovery bit somebody cleared; ours refuses it.
                assert_eq!(bad[0], packet[0] & !RECOVERY_BIT, "theirs opens what was tampered with");
                assert_eq!(bad[1..], packet[1..]);
                assert!(Packet::decode(&bad).is_err());
                tally.note("cleared recovery bit: only theirs opens it");
            }
        }
    }
}

fn from_them(keys: &Keys, rng: &mut Rng, number: u64, tally: &mut Tally) {
    let fields = Fields::theirs(keys, rng, number);
    let packet = fields.encode_theirs(keys, false);
    expect(keys, &fields, &packet, Way::FromThem, Space::Stream, number);
    let last =
        if fields.reliable { retransmit(keys, rng, &fields, &packet, Way::FromThem, tally) } else { packet };
    refused(keys, rng, &last, Way::FromThem, tally);
    tally.packet("stream", Way::FromThem, &keys.name);
    if keys.is_behind() {
        tally.note("opened one phase ahead");
    }
}

fn to_them(keys: &mut Keys, rng: &mut Rng, number: u64, tally: &mut Tally) {
    let fields = Fields::ours(keys, rng, number);
    let minimal = rng.one_in(2);
    let layout = if minimal {
        Layout::minimal(&fields.header)
    } else {
        Layout::for_burst(&fields.header, number, fields.header.offset)
    };
    let mut packet = vec![0; layout.packet_len(fields.payload.len())];
    let len =
        stream::seal(&fields.header, &layout, &mut keys.stream.seal, &fields.payload, &mut packet).unwrap();
    assert_eq!(len, packet.len());
    expect(keys, &fields, &packet, Way::ToThem, Space::Stream, number);
    let last = retransmit(keys, rng, &fields, &packet, Way::ToThem, tally);
    refused(keys, rng, &last, Way::ToThem, tally);
    tally.packet("stream", Way::ToThem, &keys.name);
}

/// Both write the same probe: probes carry no secret but the MAC's key, which both sides have.
fn probe(keys: &Keys, rng: &mut Rng, number: u64, way: Way, tally: &mut Tally) {
    let fields = Fields::probe(keys, rng, number);
    let packet = match way {
        Way::FromThem => fields.encode_theirs(keys, true),
        Way::ToThem => {
            let mut out = vec![0; 160 + fields.control_data.len()];
            let len =
                stream::probe(&fields.header, &fields.control_data, &keys.stream.control_seal, &mut out)
                    .unwrap();
            out.truncate(len);
            out
        }
    };
    if way == Way::FromThem {
        let mut out = vec![0; packet.len()];
        stream::probe(&fields.header, &fields.control_data, &keys.stream.control_open, &mut out).unwrap();
        assert_eq!(out, packet);
        tally.note("the same bytes from both");
    }
    expect(keys, &fields, &packet, way, Space::Recovery, number);
    refused(keys, rng, &packet, way, tally);
    tally.packet("probe", way, &keys.name);
}

pub(crate) fn both_ways(keys: &mut Keys, rng: &mut Rng, tally: &mut Tally) {
    // Ours counts numbers up, also over key updates; room is left for all of them.
    let mut number = rng.varint(varint::MAX - (1 << 40));
    for phase in 0..=MAX_PHASE {
        if phase > 0 {
            keys.update(rng.one_in(2));
            tally.note(["", "key phase 1", "key phase 2", "key phase 3"][phase as usize]);
        }
        for _ in 0..PACKETS {
            from_them(keys, rng, number, tally);
            to_them(keys, rng, number, tally);
            let number_of_probe = rng.varint(varint::MAX);
            probe(keys, rng, number_of_probe, Way::FromThem, tally);
            probe(keys, rng, number_of_probe, Way::ToThem, tally);
            number += 1 + rng.varint(1 << 32);
        }
        // Most streams end in their first phase.
        if rng.one_in(2) {
            break;
        }
    }
}
