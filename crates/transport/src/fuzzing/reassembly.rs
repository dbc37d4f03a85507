//! The reassembly window against a bool per byte.

use super::{Input, Reach};
use crate::buffer::reassembly::{CHUNK, MAX_GAPS, Placement, Reassembly, Violation};
use bytes::Bytes;

/// What the model covers, one border between whole chunks in it; the limit may be above, but nothing is sent there.
const SIZE: usize = 68 << 10;

fn byte_at(offset: usize) -> u8 {
    (offset.wrapping_mul(0x9e37_79b9) >> 16) as u8 | 1
}

struct Model {
    there: Vec<bool>,
    prefix: usize,
    highest: usize,
    read: usize,
    max_data: u64,
    size: Option<u64>,
    stopped: bool,
}

impl Model {
    fn gaps(&self) -> usize {
        let below = &self.there[..self.highest];
        usize::from(below.first() == Some(&false))
            + below.windows(2).filter(|pair| pair[0] && !pair[1]).count()
    }

    fn expected(&self, offset: usize, len: usize, named: Option<u64>) -> Result<(), Violation> {
        let end = (offset + len) as u64;
        if end > self.max_data {
            return Err(Violation::FlowControl);
        }
        let contradicts = match (self.size, named) {
            (Some(size), named) => named.is_some_and(|named| named != size) || end > size,
            (None, Some(named)) => named < end.max(self.highest as u64) || named > (1 << 62) - 1,
            (None, None) => false,
        };
        if contradicts {
            return Err(Violation::FinalSize);
        }
        Ok(())
    }
}

/// Packets in any order with any final size, reads, stops, and raised limits.
pub fn reassembly(data: &[u8]) -> Reach {
    let mut input = Input::new(data);
    let first_window = u64::from(input.u8()) << 10;
    let mut window = Reassembly::new(first_window);
    let mut model = Model {
        there: vec![false; SIZE],
        prefix: 0,
        highest: 0,
        read: 0,
        max_data: first_window,
        size: None,
        stopped: false,
    };
    let mut any = false;
    let mut out = Vec::new();
    while !input.is_empty() {
        match input.u8() {
            0..=15 => read(&mut window, &mut model, &mut out),
            16..=19 => {
                window.stop();
                model.stopped = true;
                model.read = model.prefix;
            }
            20..=31 => {
                let limit = model.max_data.saturating_add(input.varint());
                window.set_max_data(limit);
                // The window's own bound counts from what was read.
                let most = model.read as u64 + crate::buffer::reassembly::MAX_WINDOW;
                model.max_data = model.max_data.max(limit.min(most));
            }
            operation => {
                let offset = match operation % 4 {
                    0 => model.prefix,
                    1 => model.highest + usize::from(input.u8()),
                    2 => usize::from(input.u16()) + (usize::from(operation >> 7) << 12),
                    _ => model.prefix.saturating_sub(64) + usize::from(input.u8()),
                };
                let len = match input.u8() {
                    small @ 0..=199 => usize::from(small),
                    large => usize::from(large - 199) * 40,
                };
                let (offset, len) = (offset.min(SIZE), len.min(SIZE - offset.min(SIZE)));
                let named = match operation >> 2 & 31 {
                    0 => Some((offset + len) as u64),
                    1 => Some(input.varint()),
                    2 => Some(model.highest as u64),
                    _ => None,
                };
                any |= packet(&mut window, &mut model, offset, len, named, operation & 128 != 0);
            }
        }
        assert_eq!(window.contiguous_end(), model.prefix as u64);
        assert_eq!(window.read_offset(), model.read as u64);
        assert_eq!(window.is_complete(), model.size == Some(model.prefix as u64));
        assert_eq!(window.is_finished(), model.size == Some(model.read as u64));
        // At most what lies between the last read and the highest byte, rounded to whole chunks at both ends.
        let span = (model.highest - model.read.min(model.highest)) as u64;
        assert!(window.allocated_bytes() <= span + 2 * CHUNK, "{} for {span}", window.allocated_bytes());
    }
    assert!(model.gaps() <= MAX_GAPS);
    Reach::of_structure(any)
}

fn read(window: &mut Reassembly, model: &mut Model, out: &mut Vec<Bytes>) {
    out.clear();
    let n = window.read(out);
    let mut at = model.read;
    for bytes in out.iter() {
        assert!(!bytes.is_empty());
        assert!(
            bytes.iter().enumerate().all(|(i, byte)| *byte == byte_at(at + i)),
            "wrong bytes from {at} on"
        );
        at += bytes.len();
    }
    assert_eq!(n as usize, at - model.read);
    assert_eq!(at, if model.stopped { model.read } else { model.prefix });
    model.read = at;
}

fn packet(
    window: &mut Reassembly,
    model: &mut Model,
    offset: usize,
    len: usize,
    named: Option<u64>,
    forge: bool,
) -> bool {
    let end = offset + len;
    let verdict = window.check(offset as u64, len, named);
    if let Err(expected) = model.expected(offset, len, named) {
        assert_eq!(verdict, Err(expected));
        return false;
    }
    let new = model.there[offset..end].iter().filter(|there| !**there).count();
    let placement = match verdict {
        Ok(placement) => placement,
        Err(violation) => {
            assert_eq!(violation, Violation::TooManyGaps);
            assert!(model.gaps() >= MAX_GAPS && new > 0);
            return false;
        }
    };
    let payload: Vec<u8> = (offset..end).map(byte_at).collect();
    let written = match placement {
        Placement::Duplicate => {
            assert_eq!(new, 0);
            return false;
        }
        Placement::Direct => {
            assert_eq!(new, len);
            let place = window.direct(offset as u64, len).expect("check said so");
            if forge {
                // What a forged packet leaves behind counts for nothing.
                place.fill(0);
                return false;
            }
            place.copy_from_slice(&payload);
            window.commit(offset as u64, len, named)
        }
        Placement::Scratch => window.write(offset as u64, &payload, named, &|| None),
    };
    assert_eq!(written, new as u64);
    model.there[offset..end].fill(true);
    if len > 0 {
        model.highest = model.highest.max(end);
    }
    model.size = model.size.or(named);
    while model.there.get(model.prefix) == Some(&true) {
        model.prefix += 1;
    }
    model.highest = model.highest.max(model.prefix);
    if model.stopped {
        model.read = model.prefix;
    }
    true
}
