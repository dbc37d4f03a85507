//! Commands as JavaScript encodes them: `Op` in `packages/paceline/src/driver.ts`.

use bytes::Bytes;
use paceline_transport::app::{Command, Recycler};
use std::{error::Error, fmt};

/// op, id, length of the body, argument: 4 bytes each.
const HEADER_BYTES: usize = 16;
/// Records begin at multiples of this.
const ALIGNMENT: usize = 8;
/// A longer chunk becomes several allocations, so that memory comes back as the chunk is sealed, not when all of it is.
const MAX_CHUNK_BYTES: usize = Recycler::CHUNK;
/// A shorter chunk gets memory of its own size: one byte written must not hold 64 KiB.
const MIN_RECYCLED_BYTES: usize = MAX_CHUNK_BYTES / 2;

/// A slab that this file does not understand. It can only come from a package of another version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed {
    /// Where the record begins, in bytes.
    pub(crate) at: usize,
    /// What is wrong with it.
    pub(crate) why: Fault,
}

/// See [`Malformed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The record ends behind the slab.
    Truncated,
    /// No such operation.
    UnknownOp(u32),
    /// The body is not as long as the operation's.
    BodyLength(u32),
    /// A number is not one the operation takes.
    Value(u64),
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "command at byte {}: ", self.at)?;
        match self.why {
            Fault::Truncated => f.write_str("truncated"),
            Fault::UnknownOp(op) => write!(f, "unknown operation {op}"),
            Fault::BodyLength(len) => write!(f, "a body of {len} bytes"),
            Fault::Value(value) => write!(f, "unexpected value {value}"),
        }
    }
}

impl Error for Malformed {}

/// Appends the commands of `slab` to `into`; all of them or, if one is malformed, none.
pub(crate) fn decode(slab: &[u8], memory: &Recycler, into: &mut Vec<Command>) -> Result<(), Malformed> {
    let before = into.len();
    let mut rest = slab;
    while !rest.is_empty() {
        let fail = |why| Malformed { at: slab.len() - rest.len(), why };
        let done = Record::split(rest).and_then(|(record, rest)| record.decode(memory, into).map(|()| rest));
        match done {
            Ok(next) => rest = next,
            Err(why) => {
                into.truncate(before);
                return Err(fail(why));
            }
        }
    }
    Ok(())
}

/// Appends what `Op.Write` appends, for a chunk that came by itself.
pub(crate) fn write(stream: u32, chunk: &[u8], memory: &Recycler, into: &mut Vec<Command>) {
    into.extend(
        chunk.chunks(MAX_CHUNK_BYTES).map(|chunk| Command::Write { stream, data: copy(chunk, memory) }),
    );
}

fn copy(chunk: &[u8], memory: &Recycler) -> Bytes {
    if chunk.len() < MIN_RECYCLED_BYTES {
        return Bytes::copy_from_slice(chunk);
    }
    let mut data = memory.take();
    data.extend_from_slice(chunk);
    data.freeze()
}

/// Bits per second as JavaScript gives them, 0 for no cap, in bytes per second.
pub(crate) fn max_rate(bits_per_second: u64) -> Option<u64> {
    (bits_per_second > 0).then_some((bits_per_second / 8).max(1))
}

struct Record<'a> {
    op: u32,
    id: u32,
    arg: u32,
    body: &'a [u8],
}

impl<'a> Record<'a> {
    fn split(slab: &'a [u8]) -> Result<(Self, &'a [u8]), Fault> {
        let (header, rest) = slab.split_first_chunk::<HEADER_BYTES>().ok_or(Fault::Truncated)?;
        let word =
            |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let len = word(8) as usize;
        let padded = len.checked_next_multiple_of(ALIGNMENT).ok_or(Fault::Truncated)?;
        let (padded, rest) = rest.split_at_checked(padded).ok_or(Fault::Truncated)?;
        Ok((Self { op: word(0), id: word(4), arg: word(12), body: &padded[..len] }, rest))
    }

    fn decode(&self, memory: &Recycler, into: &mut Vec<Command>) -> Result<(), Fault> {
        let id = self.id;
        into.push(match self.op {
            1 => Command::Open { stream: opened(id)?, peer: self.id_in_body()?, priority: self.priority()? },
            2 => {
                write(id, self.body, memory, into);
                return Ok(());
            }
            3 => self.bare(Command::Finish(id))?,
            4 => Command::Reset { stream: id, code: self.number()? },
            5 => self.bare(Command::StopReading(id))?,
            6 => Command::Consume { stream: id, bytes: self.number()? },
            7 => Command::WantRoom { stream: id, level: self.number()? },
            8 => Command::WantAcknowledged { stream: id, offset: self.number()? },
            9 => self.bare(Command::Record(id))?,
            10 => self.bare(Command::SetPriority { stream: id, priority: self.priority()? })?,
            11 => Command::SetMaxRate { peer: id, max_rate: max_rate(self.number()?) },
            12 => self.bare(Command::AcceptStreams(self.arg))?,
            13 => self.bare(Command::ClosePeer(id))?,
            14 => self.bare(Command::Shutdown)?,
            op => return Err(Fault::UnknownOp(op)),
        });
        Ok(())
    }

    fn bare(&self, command: Command) -> Result<Command, Fault> {
        if self.body.is_empty() { Ok(command) } else { Err(Fault::BodyLength(self.body.len() as u32)) }
    }

    fn number(&self) -> Result<u64, Fault> {
        let body = self.body.try_into().map_err(|_| Fault::BodyLength(self.body.len() as u32))?;
        Ok(u64::from_le_bytes(body))
    }

    fn id_in_body(&self) -> Result<u32, Fault> {
        let number = self.number()?;
        u32::try_from(number).map_err(|_| Fault::Value(number))
    }

    fn priority(&self) -> Result<u8, Fault> {
        match u8::try_from(self.arg) {
            Ok(priority @ 1..=7) => Ok(priority),
            _ => Err(Fault::Value(u64::from(self.arg))),
        }
    }
}

/// What JavaScript opens has odd numbers; an even one would be taken for something the peer opened.
pub(crate) fn opened(id: u32) -> Result<u32, Fault> {
    if id % 2 == 1 { Ok(id) } else { Err(Fault::Value(u64::from(id))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(op: u32, id: u32, arg: u32, body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [op, id, body.len() as u32, arg] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(body);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    fn decoded(slab: &[u8]) -> Vec<String> {
        let mut commands = Vec::new();
        decode(slab, &Recycler::default(), &mut commands).expect("well-formed");
        commands.iter().map(|command| format!("{command:?}")).collect()
    }

    fn fault(slab: &[u8]) -> Malformed {
        let mut commands = vec![Command::Shutdown];
        let malformed = decode(slab, &Recycler::default(), &mut commands).expect_err("malformed");
        assert!(matches!(commands[..], [Command::Shutdown]), "what was there before stays, nothing is added");
        malformed
    }

    #[test]
    fn every_operation_in_order() {
        let number = |value: u64| value.to_le_bytes();
        let slab = [
            record(1, 3, 4, &number(1)),
            record(2, 3, 0, b"hello"),
            record(3, 3, 0, b""),
            record(4, 3, 0, &number(256)),
            record(5, 3, 0, b""),
            record(6, 3, 0, &number(1 << 40)),
            record(7, 3, 0, &number(65_536)),
            record(8, 3, 0, &number(u64::MAX)),
            record(9, 3, 0, b""),
            record(10, 3, 7, b""),
            record(11, 1, 0, &number(8_000_000)),
            record(11, 1, 0, &number(0)),
            record(12, 0, 1024, b""),
            record(13, 1, 0, b""),
            record(14, 0, 0, b""),
        ]
        .concat();
        assert_eq!(
            decoded(&slab),
            [
                "Open { stream: 3, peer: 1, priority: 4 }",
                "Write { stream: 3, data: b\"hello\" }",
                "Finish(3)",
                "Reset { stream: 3, code: 256 }",
                "StopReading(3)",
                "Consume { stream: 3, bytes: 1099511627776 }",
                "WantRoom { stream: 3, level: 65536 }",
                "WantAcknowledged { stream: 3, offset: 18446744073709551615 }",
                "Record(3)",
                "SetPriority { stream: 3, priority: 7 }",
                "SetMaxRate { peer: 1, max_rate: Some(1000000) }",
                "SetMaxRate { peer: 1, max_rate: None }",
                "AcceptStreams(1024)",
                "ClosePeer(1)",
                "Shutdown",
            ]
        );
    }

    #[test]
    fn a_long_chunk_is_several_allocations_and_an_empty_one_none() {
        let chunk: Vec<u8> = (0..MAX_CHUNK_BYTES * 2 + 3).map(|at| at as u8).collect();
        let mut commands = Vec::new();
        write(5, &chunk, &Recycler::default(), &mut commands);
        let parts: Vec<&Bytes> = commands
            .iter()
            .map(|command| match command {
                Command::Write { stream: 5, data } => data,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(
            parts.iter().map(|part| part.len()).collect::<Vec<_>>(),
            [MAX_CHUNK_BYTES, MAX_CHUNK_BYTES, 3]
        );
        assert_eq!(parts.iter().flat_map(|part| part.iter().copied()).collect::<Vec<_>>(), chunk);
        assert!(parts.iter().all(|part| part.is_unique()), "no part keeps another one's memory");

        commands.clear();
        decode(&record(2, 5, 0, b""), &Recycler::default(), &mut commands).expect("well-formed");
        assert!(commands.is_empty());
    }

    #[test]
    fn long_chunks_are_written_into_memory_that_came_back() {
        let memory = Recycler::default();
        let written = |len: usize| {
            let mut commands = Vec::new();
            write(5, &vec![7; len], &memory, &mut commands);
            match commands.pop() {
                Some(Command::Write { data, .. }) => data,
                other => panic!("{other:?}"),
            }
        };
        let first = written(MAX_CHUNK_BYTES);
        let at = first.as_ptr();
        memory.give(&mut vec![first]);
        let short = written(MIN_RECYCLED_BYTES - 1);
        assert_ne!(short.as_ptr(), at, "what is short does not hold what is long");
        let second = written(MIN_RECYCLED_BYTES);
        assert_eq!(second.as_ptr(), at);
        assert_eq!(second, vec![7; MIN_RECYCLED_BYTES]);
    }

    #[test]
    fn malformed_slabs_change_nothing() {
        let good = record(3, 1, 0, b"");
        let after_good = |bad: &[u8]| [good.as_slice(), bad].concat();

        assert_eq!(
            fault(&after_good(&record(15, 1, 0, b""))),
            Malformed { at: 16, why: Fault::UnknownOp(15) }
        );
        assert_eq!(fault(&record(0, 1, 0, b"")).why, Fault::UnknownOp(0));
        assert_eq!(fault(&record(4, 1, 0, b"1234")).why, Fault::BodyLength(4));
        assert_eq!(fault(&record(3, 1, 0, b"12345678")).why, Fault::BodyLength(8));
        assert_eq!(
            fault(&record(1, 1, 0, &1u64.to_le_bytes())).why,
            Fault::Value(0),
            "priority 0 is control's"
        );
        assert_eq!(fault(&record(1, 1, 8, &1u64.to_le_bytes())).why, Fault::Value(8));
        assert_eq!(
            fault(&record(1, 2, 4, &1u64.to_le_bytes())).why,
            Fault::Value(2),
            "even numbers are the worker's"
        );
        assert_eq!(fault(&record(1, 1, 4, &(1u64 << 32).to_le_bytes())).why, Fault::Value(1 << 32));
    }

    #[test]
    fn every_cut_of_a_record_is_noticed() {
        let slab = record(2, 1, 0, b"123456789");
        assert_eq!(slab.len(), 32);
        for len in 1..slab.len() {
            assert_eq!(fault(&slab[..len]), Malformed { at: 0, why: Fault::Truncated }, "{len} bytes");
        }
        let mut endless = slab;
        endless[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(fault(&endless).why, Fault::Truncated);
    }

    #[test]
    fn a_rate_below_a_byte_per_second_is_still_a_cap() {
        assert_eq!(max_rate(7), Some(1));
    }
}
