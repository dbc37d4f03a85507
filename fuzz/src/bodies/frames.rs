//! Frames, the ACK ranges in them, and the varints everything is made of.

use super::{Reach, input::Input, receiver::read_frames};
use paceline_transport::fuzzing::wire::{
    Writer,
    frame::{self, EcnCounts, Frame, Frames},
    varint,
};
use std::ops::RangeInclusive;

/// What holds for every frame that decoded.
pub fn check(frame: &Frame<'_>) {
    if let Frame::Ack(ack) = frame {
        let mut below: Option<u64> = None;
        for range in ack.ranges() {
            assert!(range.start() <= range.end());
            match below {
                None => assert_eq!(*range.end(), ack.largest()),
                // Ranges descend and do not touch.
                Some(below) => assert!(range.end() + 1 < below, "{ack:?}"),
            }
            below = Some(*range.start());
        }
        assert!(below.is_some(), "never empty");
    }
}

/// Raw control data, frames of our own, and single varints.
pub fn frames(data: &[u8]) -> Reach {
    let mut input = Input::new(data);
    let good = match input.u8() % 4 {
        0 => raw(input.rest()),
        1 => numbers(input.rest()),
        _ => written(&mut input),
    };
    Reach { past: good > 0, datagrams: 0, authentic: 0 }
}

fn raw(bytes: &[u8]) -> usize {
    let good = read_frames(bytes);
    for frame in Frames::new(bytes) {
        if let Ok(Frame::Ack(ack)) = frame {
            // What was read is what would be written.
            let mut out = vec![0; bytes.len() + 64];
            let mut writer = Writer::new(&mut out);
            let ranges: Vec<_> = ack.ranges().collect();
            let count = frame::ack(&mut writer, ranges.iter().cloned(), ack.ecn, ack.delay_us);
            assert_eq!(count, Ok(ranges.len()));
            let Some(Ok(Frame::Ack(again))) = Frames::new(writer.written()).next() else { panic!("{ack:?}") };
            assert!(again.ranges().eq(ranges));
            assert_eq!((again.ecn, again.delay_us), (ack.ecn, ack.delay_us));
        }
    }
    good
}

fn numbers(bytes: &[u8]) -> usize {
    let (mut rest, mut count) = (bytes, 0);
    while let Some((value, width)) = varint::decode(rest) {
        assert!(value <= varint::MAX && varint::size(value) <= width && width <= rest.len());
        let mut out = [0; 8];
        assert_eq!(varint::encode_with(value, width, &mut out), Some(width));
        assert_eq!(out[..width], rest[..width]);
        assert_eq!(varint::decode(&rest[..width - 1]), None, "truncated");
        rest = &rest[width..];
        count += 1;
    }
    count
}

fn written(input: &mut Input<'_>) -> usize {
    let room = usize::from(input.u8()) * 2;
    let mut out = vec![0; room];
    let mut writer = Writer::new(&mut out);
    let mut expected = Vec::new();
    while !input.is_empty() {
        let before = writer.len();
        let kind = input.u8() % 4;
        let value = input.varint();
        let done = match kind {
            0 => frame::max_data(&mut writer, value).is_ok(),
            1 | 2 => frame::connection_close(&mut writer, kind == 1, value).is_ok(),
            _ => {
                let ranges = ranges(value, input);
                let ecn = (input.u8() & 1 != 0).then(|| EcnCounts {
                    ect0: input.varint(),
                    ect1: input.varint(),
                    ce: input.varint(),
                });
                match frame::ack(&mut writer, ranges.iter().cloned(), ecn, 0) {
                    Ok(count) => {
                        assert!(count > 0);
                        expected.push(Written::Ack(ranges[..count].to_vec(), ecn));
                        true
                    }
                    Err(_) => false,
                }
            }
        };
        match (kind, done) {
            (_, false) => assert_eq!(writer.len(), before, "a frame that does not fit leaves nothing"),
            (0, true) => expected.push(Written::MaxData(value)),
            (1 | 2, true) => expected.push(Written::Close(kind == 1, value)),
            _ => {}
        }
    }
    let mut read = Vec::new();
    for frame in Frames::new(writer.written()) {
        let frame = frame.expect("what we write is a frame");
        check(&frame);
        read.push(match frame {
            Frame::Ack(ack) => Written::Ack(ack.ranges().collect(), ack.ecn),
            Frame::MaxData(limit) => Written::MaxData(limit),
            Frame::ConnectionClose { transport, code } => Written::Close(transport, code),
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(read, expected);
    read.len()
}

#[derive(Debug, PartialEq, Eq)]
enum Written {
    Ack(Vec<RangeInclusive<u64>>, Option<EcnCounts>),
    MaxData(u64),
    Close(bool, u64),
}

/// Descending ranges from `largest` on, never empty.
fn ranges(largest: u64, input: &mut Input<'_>) -> Vec<RangeInclusive<u64>> {
    let mut next = Some(largest);
    let mut ranges = Vec::new();
    for _ in 0..=input.u8() {
        let Some(end) = next else { break };
        let start = end.saturating_sub(input.varint());
        ranges.push(start..=end);
        next = start.checked_sub(2 + input.varint());
    }
    ranges
}
