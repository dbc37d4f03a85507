use super::*;
use crate::{EncodeError, Writer};
use core::ops::RangeInclusive;

fn varints(values: &[u64]) -> Vec<u8> {
    let mut out = vec![0; values.len() * 8];
    let mut writer = Writer::new(&mut out);
    values.iter().for_each(|value| writer.varint(*value).unwrap());
    let len = writer.len();
    out.truncate(len);
    out
}

fn one(bytes: &[u8]) -> Result<Frame<'_>, DecodeError> {
    let mut frames = Frames::new(bytes);
    let frame = frames.next().unwrap();
    assert!(frames.next().is_none());
    frame
}

#[test]
fn every_quic_frame_is_skipped_to_its_last_byte() {
    let long = varint::MAX;
    let mut frames = vec![];
    for (values, data) in [
        (vec![0x04, 1, long, 70_000], 0),
        (vec![0x05, 1, 2], 0),
        (vec![0x06, 100, 300], 300),
        (vec![0x07, 5], 5),
        (vec![0x0a, 1, 3], 3),
        (vec![0x0b, 1, 3], 3),
        (vec![0x0e, 1, 1 << 40, 3], 3),
        (vec![0x0f, 1, long - 3, 3], 3),
        (vec![0x11, 1, long], 0),
        (vec![0x12, 1], 0),
        (vec![0x13, 1], 0),
        (vec![0x14, 1], 0),
        (vec![0x15, 1, 2], 0),
        (vec![0x16, 1], 0),
        (vec![0x17, 1], 0),
        (vec![0x18, 9, 9, 20], 36),
        (vec![0x18, 9, 0, 1], 17),
        (vec![0x19, 1], 0),
        (vec![0x1a], 8),
        (vec![0x1b], 8),
        (vec![0x1e], 0),
        (vec![0x31, 70], 70),
        (vec![0xdc_0000, 2], 32),
        (vec![0xdc_0002], 2),
    ] {
        let mut frame = varints(&values);
        frame.extend(vec![7; data]);
        frames.push(frame);
    }
    for frame in &frames {
        for len in 1..frame.len() {
            assert_eq!(one(&frame[..len]).unwrap_err(), DecodeError::Truncated, "{frame:x?} at {len}");
        }
        let bytes = [&frame[..], &[0x01]].concat();
        let decoded: Vec<_> = Frames::new(&bytes).map(Result::unwrap).collect();
        assert!(matches!(decoded[..], [Frame::Other, Frame::Ping]), "{frame:x?}");
    }
    let all = frames.concat();
    assert_eq!(Frames::new(&all).filter(|frame| matches!(frame, Ok(Frame::Other))).count(), frames.len());
    // These have no length and take the rest.
    for values in [&[0x08, 1][..], &[0x09, 1], &[0x0c, 1, 50], &[0x0d, 1, long - 1], &[0x30]] {
        let bytes = [&varints(values)[..], &[0x01]].concat();
        assert!(matches!(one(&bytes), Ok(Frame::Other)), "{bytes:x?}");
    }
}

#[test]
fn forbidden_values() {
    for (values, data, error) in [
        (vec![0x07, 0], 0, DecodeError::FrameField),
        (vec![0x18, 9, 10, 4], 20, DecodeError::FrameField),
        (vec![0x18, 9, 9, 0], 16, DecodeError::FrameField),
        (vec![0x18, 9, 9, 21], 37, DecodeError::FrameField),
        (vec![0x06, varint::MAX, 1], 1, DecodeError::Overflow),
        (vec![0x0d, 1, varint::MAX], 1, DecodeError::Overflow),
        (vec![0xdc_0000, 0], 0, DecodeError::FrameField),
        (vec![0xdc_0000, 4093], 0, DecodeError::FrameField),
        (vec![0x1f], 0, DecodeError::FrameType),
        (vec![0x32], 0, DecodeError::FrameType),
        (vec![varint::MAX], 0, DecodeError::FrameType),
    ] {
        let mut frame = varints(&values);
        frame.extend(vec![7; data]);
        assert_eq!(one(&frame).unwrap_err(), error, "{values:x?}");
    }
    assert_eq!(one(&[0x40, 0x01]).unwrap_err(), DecodeError::FrameType, "PING in two bytes");
}

#[test]
fn simple_frames_there_and_back() {
    let mut out = [0; 64];
    let mut writer = Writer::new(&mut out);
    max_data(&mut writer, 1 << 40).unwrap();
    connection_close(&mut writer, true, 7).unwrap();
    connection_close(&mut writer, false, 256).unwrap();
    writer.bytes(&[0, 0, 0, 1]).unwrap();
    let frames: Vec<_> = Frames::new(writer.written()).map(Result::unwrap).collect();
    let [
        Frame::MaxData(limit),
        Frame::ConnectionClose { transport: true, code: 7 },
        Frame::ConnectionClose { transport: false, code: 256 },
        Frame::Padding(3),
        Frame::Ping,
    ] = frames[..]
    else {
        panic!("{frames:?}")
    };
    assert_eq!(limit, 1 << 40);

    // With a reason, which is skipped.
    let close = [&varints(&[0x1c, 3, 0x10, 2])[..], b"no", &[1]].concat();
    let frames: Vec<_> = Frames::new(&close).map(Result::unwrap).collect();
    assert!(matches!(frames[..], [Frame::ConnectionClose { transport: true, code: 3 }, Frame::Ping]));

    // Nothing of a frame that does not fit.
    let mut small = [0xff; 4];
    let mut writer = Writer::new(&mut small);
    writer.bytes(&[1]).unwrap();
    assert_eq!(max_data(&mut writer, 1 << 20), Err(EncodeError::Space));
    assert_eq!(connection_close(&mut writer, true, 1), Err(EncodeError::Space));
    assert_eq!(max_data(&mut writer, varint::MAX + 1), Err(EncodeError::Value));
    assert_eq!(writer.written(), [1]);
    assert_eq!(small, [1, 0xff, 0xff, 0xff]);
}

/// Descending, disjoint, not adjacent.
fn ranges(count: u64, step: u64) -> Vec<RangeInclusive<u64>> {
    (0..count).rev().map(|n| n * step..=n * step + n % (step - 1)).collect()
}

#[test]
fn acknowledgements_there_and_back() {
    let ecn = EcnCounts { ect0: 5, ect1: 70, ce: 1 << 40 };
    let mut encoded = 0;
    for count in [1, 2, 3, 63, 64, 65, 66, 300] {
        for step in [2, 3, 70, 1 << 50] {
            for ecn in [None, Some(ecn)] {
                let ranges = ranges(count, step);
                let mut out = [0; 10_000];
                let mut writer = Writer::new(&mut out);
                assert_eq!(ack(&mut writer, ranges.iter().cloned(), ecn, 9), Ok(ranges.len()));
                let Ok(Frame::Ack(decoded)) = one(writer.written()) else { panic!() };
                assert!(decoded.ranges().eq(ranges.iter().cloned()));
                assert_eq!((decoded.ecn, decoded.delay_us), (ecn, 9));
                assert_eq!(decoded.largest(), *ranges[0].end());
                encoded += 1;
                // Every truncation is refused.
                for len in 1..writer.len().min(200) {
                    assert!(one(&writer.written()[..len]).is_err());
                }
            }
        }
    }
    assert_eq!(encoded, 64);
}

#[test]
fn an_acknowledgement_stops_before_the_space_is_used_up() {
    let ranges = ranges(200, 100);
    let mut fitted = 0;
    for space in 0..800 {
        for ecn in [None, Some(EcnCounts::default())] {
            let mut out = vec![0xee; space + 8];
            let mut writer = Writer::new(&mut out[..space]);
            match ack(&mut writer, ranges.iter().cloned(), ecn, 0) {
                Ok(count) => {
                    let Ok(Frame::Ack(decoded)) = one(writer.written()) else { panic!("{space}") };
                    assert!(decoded.ranges().eq(ranges[..count].iter().cloned()), "the largest ones");
                    // One more range is at most 4 bytes here, and the count may grow by one.
                    assert!(count == ranges.len() || writer.remaining() < 5);
                    fitted += 1;
                }
                Err(error) => {
                    assert_eq!((error, writer.len()), (EncodeError::Space, 0));
                    assert!(space < 12, "one range and ECN counts take 12 bytes");
                }
            }
            assert_eq!(out[space..], [0xee; 8]);
        }
    }
    assert!(fitted > 1500);
}

#[test]
fn ranges_that_are_none() {
    let mut out = [0; 100];
    let mut writer = Writer::new(&mut out);
    let backwards = RangeInclusive::new(5, 4);
    for ranges in [
        vec![],
        vec![backwards.clone()],
        vec![10..=12, backwards],
        vec![1..=2, 5..=6],
        vec![5..=6, 5..=6],
        // Adjacent: should have been one.
        vec![5..=6, 3..=4],
        vec![0..=6, 0..=0],
    ] {
        assert_eq!(ack(&mut writer, ranges.into_iter(), None, 0), Err(EncodeError::Ranges));
    }
    let above = varint::MAX + 1;
    assert_eq!(ack(&mut writer, [1..=above].into_iter(), None, 0), Err(EncodeError::Value));
    assert_eq!(ack(&mut writer, [1..=1].into_iter(), None, above), Err(EncodeError::Value));
    assert!(writer.is_empty());
}

#[test]
fn hostile_acknowledgements() {
    for (values, error) in [
        // First range below 0.
        (vec![2, 5, 0, 0, 6], DecodeError::AckRange),
        // A gap below 0: 5 − 5 = 0, and there is nothing below.
        (vec![2, 5, 0, 1, 5, 0, 0], DecodeError::AckRange),
        (vec![2, 9, 0, 1, 0, varint::MAX, 0], DecodeError::AckRange),
        // The range after the gap below 0.
        (vec![2, 9, 0, 1, 0, 0, 8], DecodeError::AckRange),
        // More ranges than there are bytes.
        (vec![2, 9, 0, varint::MAX, 0], DecodeError::Truncated),
        (vec![3, 9, 0, 1 << 40, 0, 0, 0, 0, 0, 0, 0], DecodeError::Truncated),
        // ECN counts missing.
        (vec![3, 9, 0, 0, 0, 1, 1], DecodeError::Truncated),
    ] {
        assert_eq!(one(&varints(&values)).unwrap_err(), error, "{values:?}");
    }
    // The lowest there can be.
    let bytes = varints(&[2, 9, 0, 1, 0, 0, 7]);
    let Ok(Frame::Ack(lowest)) = one(&bytes) else { panic!() };
    assert!(lowest.ranges().eq([9..=9, 0..=7]));
    let bytes = varints(&[2, varint::MAX, 0, 0, varint::MAX]);
    let Ok(Frame::Ack(all)) = one(&bytes) else { panic!() };
    assert!(all.ranges().eq([0..=varint::MAX]));
}
