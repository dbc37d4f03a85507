//! Decisions out of bytes. Small and stable on purpose: a committed corpus means what it meant.

/// Reads decisions from the front of an input; at its end everything is 0.
#[derive(Clone, Debug)]
pub struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    /// The largest varint.
    const VARINT_MAX: u64 = (1 << 62) - 1;
    /// Where something changes: widths of varints, chunks, windows, bits of ids.
    const BORDERS: [u64; 16] = [
        63,
        64,
        (1 << 14) - 1,
        1 << 14,
        (1 << 16) - 1,
        1 << 16,
        (1 << 18) - 1,
        1 << 18,
        1 << 20,
        (1 << 30) - 1,
        1 << 30,
        (1 << 32) - 1,
        1 << 32,
        1 << 40,
        (1 << 60) - 1,
        1 << 61,
    ];

    /// From the start of `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Nothing is left to decide.
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// All that was not read.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// Up to `len` bytes.
    pub fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (head, rest) = self.rest.split_at(len.min(self.rest.len()));
        self.rest = rest;
        head
    }

    /// `N` bytes, filled up with zeros.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        let bytes = self.bytes(N);
        out[..bytes.len()].copy_from_slice(bytes);
        out
    }

    /// One byte.
    pub fn u8(&mut self) -> u8 {
        let [byte] = self.array();
        byte
    }

    /// Two bytes.
    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    /// Below `n`, which is at most 256.
    pub fn below(&mut self, n: usize) -> usize {
        usize::from(self.u8()) % n.max(1)
    }

    /// One time in `n`, when the fuzzer likes; never at the end.
    pub fn one_in(&mut self, n: u8) -> bool {
        self.u8() % n == n - 1
    }

    /// A varint: small ones are one byte, the borders of all widths and the largest are near.
    pub fn varint(&mut self) -> u64 {
        match self.u8() {
            small @ 0..=191 => u64::from(small),
            192..=207 => u64::from(self.u16()),
            208..=219 => u64::from(u32::from_le_bytes(self.array())),
            220..=227 => u64::from_le_bytes(self.array()) & Self::VARINT_MAX,
            border @ 228..=243 => Self::BORDERS[usize::from(border - 228)],
            top => Self::VARINT_MAX - u64::from(255 - top),
        }
    }

    /// A length of time in ns: from 0 to 15 s, every order of magnitude equally near.
    pub fn duration_ns(&mut self) -> u64 {
        let byte = self.u8();
        u64::from(byte & 7) << (byte >> 3)
    }
}
