//! Frames, as control data carries them.

use crate::tally::Tally;
use paceline_interop::Rng;
use paceline_wire::{
    Writer,
    frame::{self, EcnCounts, Frame, Frames},
    varint,
};
use s2n_codec::{DecoderBufferMut, EncoderValue};
use s2n_quic_core::{
    ack,
    frame::{self as their, FrameMut},
    packet::number::{PacketNumberRange, PacketNumberSpace},
};

use crate::keys::their_varint;

/// One frame, whoever wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Generated {
    Padding,
    Ping,
    MaxData(u64),
    Close {
        transport: bool,
        code: u64,
    },
    /// Ranges from the largest down: (smallest, largest).
    Ack {
        ranges: Vec<(u64, u64)>,
        ecn: Option<[u64; 3]>,
        delay_us: u64,
    },
}

impl Generated {
    fn new(rng: &mut Rng) -> Self {
        match rng.below(7) {
            0 => Self::Padding,
            1 => Self::Ping,
            2 => Self::MaxData(rng.varint(varint::MAX)),
            3 => Self::Close { transport: rng.one_in(2), code: rng.varint(varint::MAX) },
            _ => {
                let mut ranges = Vec::new();
                let mut top = Some(rng.varint(varint::MAX));
                for _ in 0..=rng.below(12) {
                    let Some(largest) = top else { break };
                    let smallest = largest - rng.varint(largest);
                    ranges.push((smallest, largest));
                    top = smallest.checked_sub(2).map(|below| below - rng.varint(below));
                }
                Self::Ack {
                    ranges,
                    ecn: rng.sometimes(2, |rng| [0; 3].map(|_: u64| rng.varint(varint::MAX))),
                    delay_us: rng.varint(varint::MAX),
                }
            }
        }
    }

    fn encode_ours(&self, writer: &mut Writer<'_>) {
        match self {
            Self::Padding => writer.bytes(&[0]).unwrap(),
            Self::Ping => writer.bytes(&[1]).unwrap(),
            Self::MaxData(limit) => frame::max_data(writer, *limit).unwrap(),
            Self::Close { transport, code } => frame::connection_close(writer, *transport, *code).unwrap(),
            Self::Ack { ranges, ecn, delay_us } => {
                let ecn = ecn.map(|[ect0, ect1, ce]| EcnCounts { ect0, ect1, ce });
                let all = ranges.iter().map(|(smallest, largest)| *smallest..=*largest);
                assert_eq!(frame::ack(writer, all, ecn, *delay_us).unwrap(), ranges.len());
            }
        }
    }

    fn encode_theirs(&self) -> Vec<u8> {
        match self {
            Self::Padding => vec![0],
            Self::Ping => their::Ping.encode_to_vec(),
            Self::MaxData(limit) => their::MaxData { maximum_data: their_varint(*limit) }.encode_to_vec(),
            Self::Close { transport, code } => their::ConnectionClose {
                error_code: their_varint(*code),
                frame_type: transport.then(|| their_varint(0)),
                reason: None,
            }
            .encode_to_vec(),
            Self::Ack { ranges, ecn, delay_us } => {
                let space = PacketNumberSpace::ApplicationData;
                let mut set = ack::Ranges::new(ranges.len());
                for (smallest, largest) in ranges {
                    let number = |value: &u64| space.new_packet_number(their_varint(*value));
                    set.insert_packet_number_range(PacketNumberRange::new(number(smallest), number(largest)))
                        .unwrap();
                }
                their::Ack {
                    ack_delay: their_varint(*delay_us),
                    ack_ranges: &set,
                    ecn_counts: ecn.map(|[ect0, ect1, ce]| their::ack::EcnCounts {
                        ect_0_count: their_varint(ect0),
                        ect_1_count: their_varint(ect1),
                        ce_count: their_varint(ce),
                    }),
                }
                .encode_to_vec()
            }
        }
    }
}

/// Decodes as we do; padding by the byte. `None` after an error. `skipped`: it passed over a frame it has no use for.
fn decode_ours(control_data: &[u8], skipped: &mut bool) -> Option<Vec<Generated>> {
    let mut frames = Vec::new();
    for frame in Frames::new(control_data) {
        match frame.ok()? {
            Frame::Padding(count) => frames.extend((0..count).map(|_| Generated::Padding)),
            Frame::Ping => frames.push(Generated::Ping),
            Frame::MaxData(limit) => frames.push(Generated::MaxData(limit)),
            Frame::ConnectionClose { transport, code } => frames.push(Generated::Close { transport, code }),
            Frame::Ack(ack) => frames.push(Generated::Ack {
                ranges: ack.ranges().map(|range| (*range.start(), *range.end())).collect(),
                ecn: ack.ecn.map(|ecn| [ecn.ect0, ecn.ect1, ecn.ce]),
                delay_us: ack.delay_us,
            }),
            Frame::Other => *skipped = true,
        }
    }
    Some(frames)
}

fn decode_theirs(control_data: &[u8]) -> Option<Vec<Generated>> {
    let mut copy = control_data.to_vec();
    let mut rest = DecoderBufferMut::new(&mut copy);
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let (frame, after) = rest.decode::<FrameMut<'_>>().ok()?;
        rest = after;
        match frame {
            FrameMut::Padding(padding) => {
                frames.extend((0..padding.length).map(|_| Generated::Padding));
            }
            FrameMut::Ping(_) => frames.push(Generated::Ping),
            FrameMut::MaxData(frame) => frames.push(Generated::MaxData(frame.maximum_data.as_u64())),
            FrameMut::ConnectionClose(frame) => frames.push(Generated::Close {
                transport: frame.frame_type.is_some(),
                code: frame.error_code.as_u64(),
            }),
            FrameMut::Ack(ack) => frames.push(Generated::Ack {
                ranges: ack
                    .ack_ranges()
                    .map(|range| (range.start().as_u64(), range.end().as_u64()))
                    .collect(),
                ecn: ack
                    .ecn_counts
                    .map(|ecn| [ecn.ect_0_count, ecn.ect_1_count, ecn.ce_count].map(|count| count.as_u64())),
                delay_us: ack.ack_delay.as_u64(),
            }),
            _ => {}
        }
    }
    Some(frames)
}

/// Control data: frames that both sides write and read alike, or chance.
pub(crate) fn control_data(rng: &mut Rng) -> Vec<u8> {
    if rng.one_in(4) {
        let len = rng.below(90);
        return rng.bytes(usize::try_from(len).unwrap());
    }
    let frames: Vec<Generated> = (0..rng.below(5)).map(|_| Generated::new(rng)).collect();
    frames.iter().flat_map(Generated::encode_theirs).collect()
}

/// What both sides see in the control data of a packet, whether it makes sense or not.
pub(crate) fn compare(control_data: &[u8], tally: &mut Tally) {
    let mut skipped = false;
    let (ours, theirs) = (decode_ours(control_data, &mut skipped), decode_theirs(control_data));
    if skipped && theirs.is_none() {
        // Upstream looks at fields of frames that neither side uses: MAX_STREAMS above 2^60, for one.
        tally.note("only theirs refuses a frame of no use");
        return;
    }
    assert_eq!(ours, theirs, "{control_data:02x?}");
    if let Some(frames) = ours {
        let mut again = vec![0; control_data.len()];
        let mut writer = Writer::new(&mut again);
        // Chance may make a frame longer than it has to be, or one that we do not write.
        if frames.iter().flat_map(Generated::encode_theirs).eq(control_data.iter().copied()) {
            frames.iter().for_each(|frame| frame.encode_ours(&mut writer));
            assert_eq!(writer.written(), control_data);
            tally.note("frames");
        }
    } else {
        tally.note("refused by both");
    }
}
