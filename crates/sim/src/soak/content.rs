//! What streams of a soak carry: a head that names them, then bytes that differ between streams and between neighbours.

/// The head of each stream: its number and its length, 0 for one without an end in sight.
pub(super) const HEAD_BYTES: usize = 12;

/// The byte at an offset of a stream: differs between streams and between neighbours.
pub(super) fn byte_at(name: u32, offset: u64) -> u8 {
    let x = (offset ^ (u64::from(name) << 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (x >> 56) as u8
}

/// The head of a stream.
pub(super) fn head(name: u32, total: u64) -> Vec<u8> {
    let mut head = name.to_le_bytes().to_vec();
    head.extend(total.to_le_bytes());
    head
}

/// The half of a stream that reads: `name` and `total` once the head is there.
#[derive(Debug, Default)]
pub(super) struct Reading {
    head: Vec<u8>,
    name: u32,
    total: u64,
    read: u64,
    pub(super) ended: bool,
}

impl Reading {
    /// Of an opener: the answer is a FIN without a head.
    pub(super) fn answer() -> Self {
        Self { head: vec![0; HEAD_BYTES], ..Self::default() }
    }

    /// Whether these bytes are those that were written.
    pub(super) fn take(&mut self, mut bytes: &[u8]) -> bool {
        if self.head.len() < HEAD_BYTES {
            let (head, rest) = bytes.split_at(bytes.len().min(HEAD_BYTES - self.head.len()));
            self.head.extend(head);
            bytes = rest;
            if let Some((name, total)) = self.head.split_first_chunk::<4>()
                && let Ok(total) = <[u8; 8]>::try_from(total)
            {
                self.name = u32::from_le_bytes(*name);
                self.total = u64::from_le_bytes(total);
            }
        }
        let from = self.read;
        self.read += bytes.len() as u64;
        bytes.iter().zip(from..).all(|(byte, at)| *byte == byte_at(self.name, at))
    }

    /// Whether it ended once, where it should.
    pub(super) fn end(&mut self) -> bool {
        let whole =
            !self.ended && self.head.len() == HEAD_BYTES && (self.total == 0 || self.read == self.total);
        self.ended = true;
        whole
    }
}
