//! Control messages as the kernel lays them out, built and read as bytes.
//!
//! A message is a length (`size_t`, header included), a level, a type (`int` each), then data; each part is padded to the
//! size of a `size_t`. The layout is the kernel's interface, so it does not depend on the C library.

const WORD: usize = size_of::<usize>();
const HEADER: usize = WORD + 8;

/// Room for more than this crate ever sends or asks to receive: segment size, ECN, packet info (96 bytes on 64 bits).
pub(crate) const CAPACITY: usize = 128;

const fn padded(len: usize) -> usize {
    len.next_multiple_of(WORD)
}

/// Control messages to send.
#[derive(Debug)]
pub(crate) struct Control {
    space: [u8; CAPACITY],
    len: usize,
}

impl Default for Control {
    fn default() -> Self {
        Self { space: [0; CAPACITY], len: 0 }
    }
}

impl Control {
    /// Appends one message.
    pub(crate) fn push(&mut self, level: i32, kind: i32, data: &[u8]) {
        let room = &mut self.space[self.len..];
        room[..WORD].copy_from_slice(&(HEADER + data.len()).to_ne_bytes());
        room[WORD..WORD + 4].copy_from_slice(&level.to_ne_bytes());
        room[WORD + 4..HEADER].copy_from_slice(&kind.to_ne_bytes());
        room[HEADER..HEADER + data.len()].copy_from_slice(data);
        self.len += padded(HEADER) + padded(data.len());
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.space[..self.len]
    }
}

/// Level, type and data of each message received. Ends at the first that does not fit.
pub(crate) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = (i32, i32, &[u8])> {
    std::iter::from_fn(move || {
        let len = usize::from_ne_bytes(*bytes.first_chunk()?);
        let level = i32::from_ne_bytes(*bytes.get(WORD..)?.first_chunk()?);
        let kind = i32::from_ne_bytes(*bytes.get(WORD + 4..)?.first_chunk()?);
        let data = bytes.get(HEADER..len)?;
        bytes = bytes.get(padded(len)..).unwrap_or(&[]);
        Some((level, kind, data))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_libcs() {
        assert_eq!(HEADER, size_of::<libc::cmsghdr>());
        for (len, space) in [(0, 0), (1, 1), (4, 1), (8, 1), (12, 2), (20, 3)] {
            let mut control = Control::default();
            control.push(1, 2, &vec![3; len]);
            if WORD == 8 {
                assert_eq!(control.bytes().len(), 16 + 8 * space, "{len} bytes of data");
            }
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let mut control = Control::default();
        control.push(1, 2, b"ab");
        control.push(-3, 4, b"");
        control.push(5, 6, b"twelve bytes");
        let read: Vec<_> = messages(control.bytes()).collect();
        assert_eq!(read, [(1, 2, &b"ab"[..]), (-3, 4, b""), (5, 6, b"twelve bytes")]);
    }

    #[test]
    fn cut_or_lying_messages_end_the_list() {
        let mut control = Control::default();
        control.push(1, 2, b"abcd");
        for cut in 0..HEADER + 4 {
            assert_eq!(messages(&control.bytes()[..cut]).count(), 0, "{cut} bytes");
        }
        for lie in [0, 1, HEADER - 1, CAPACITY + 1, usize::MAX, usize::MAX - 3] {
            let mut bytes = control.bytes().to_vec();
            bytes[..WORD].copy_from_slice(&lie.to_ne_bytes());
            assert_eq!(messages(&bytes).count(), 0, "length {lie}");
        }
    }
}
