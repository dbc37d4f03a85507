//! Sizes of buffers.

/// The longest buffer there is, in bytes: one full GSO burst.
pub const MAX_LEN: usize = 64 << 10;

/// Bytes of the buffers there are, smallest first.
pub const CLASS_BYTES: [usize; Class::ALL.len()] =
    [Class::Small.bytes(), Class::Medium.bytes(), Class::Half.bytes(), Class::Large.bytes()];

/// Bytes of the buffer that a request for `len` gets; of the largest, if there is none so long.
pub fn buffer_bytes(len: usize) -> usize {
    Class::fitting(len).unwrap_or(Class::Large).bytes()
}

/// A size of buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// A datagram.
    Small,
    /// A short burst.
    Medium,
    /// Half a burst: 25 KB, a millisecond at 200 Mbit/s, would waste most of a large one, and a path pays for whole buffers.
    Half,
    /// A full burst.
    Large,
}

impl Class {
    pub(crate) const ALL: [Self; 4] = [Self::Small, Self::Medium, Self::Half, Self::Large];

    pub(crate) const fn bytes(self) -> usize {
        match self {
            Self::Small => 2 << 10,
            Self::Medium => 16 << 10,
            Self::Half => 32 << 10,
            Self::Large => MAX_LEN,
        }
    }

    /// The smallest class that holds `len` bytes.
    pub(crate) fn fitting(len: usize) -> Option<Self> {
        Self::ALL.into_iter().find(|class| len <= class.bytes())
    }

    /// The class that a buffer belongs to; buffers are never cut.
    pub(crate) fn of(buffer: &[u8]) -> Self {
        Self::fitting(buffer.len()).unwrap_or(Self::Large)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_that_fits() {
        for (len, bytes) in [
            (0, 2048),
            (2048, 2048),
            (2049, 16384),
            (16384, 16384),
            (16385, 32768),
            (32768, 32768),
            (32769, 65536),
            (65536, 65536),
        ] {
            assert_eq!(Class::fitting(len).map(Class::bytes), Some(bytes), "{len}");
            assert_eq!(buffer_bytes(len), bytes);
        }
        assert_eq!(Class::fitting(65_537), None);
        assert_eq!(Class::fitting(usize::MAX), None);
        for class in Class::ALL {
            assert_eq!(Class::of(&vec![0; class.bytes()]), class);
        }
    }
}
