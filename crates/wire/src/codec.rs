//! Bounded reading and writing of byte slices.

use crate::error::{DecodeError, EncodeError};
use crate::varint;

/// Reads fields from the front of a slice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn varint(&mut self) -> Result<u64, DecodeError> {
        let (value, width) = varint::decode(self.rest).ok_or(DecodeError::Truncated)?;
        self.rest = self.rest.get(width..).ok_or(DecodeError::Truncated)?;
        Ok(value)
    }

    /// As many bytes as a varint read before says.
    pub(crate) fn slice(&mut self, len: u64) -> Result<&'a [u8], DecodeError> {
        let len = usize::try_from(len).map_err(|_| DecodeError::Truncated)?;
        let (head, rest) = self.rest.split_at_checked(len).ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    /// The tag that ends every packet, and nothing may follow.
    pub(crate) fn final_tag(&mut self) -> Result<&'a [u8; 16], DecodeError> {
        let (tag, rest) = self.rest.split_first_chunk().ok_or(DecodeError::Truncated)?;
        if !rest.is_empty() {
            return Err(DecodeError::TrailingBytes);
        }
        self.rest = rest;
        Ok(tag)
    }

    pub(crate) fn version(&mut self) -> Result<(), DecodeError> {
        if self.u8()? == crate::VERSION { Ok(()) } else { Err(DecodeError::Version) }
    }
}

/// Writes fields to the front of a slice; refuses what does not fit and then has written nothing of it.
#[derive(Debug)]
pub struct Writer<'a> {
    buffer: &'a mut [u8],
    len: usize,
}

impl<'a> Writer<'a> {
    /// Writes to `buffer`, from its start.
    #[must_use]
    pub const fn new(buffer: &'a mut [u8]) -> Self {
        Self { buffer, len: 0 }
    }

    /// Bytes written.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was written.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes left.
    #[must_use]
    pub const fn remaining(&self) -> usize {
        self.buffer.len().saturating_sub(self.len)
    }

    /// What was written.
    #[must_use]
    pub fn written(&self) -> &[u8] {
        self.buffer.get(..self.len).unwrap_or_default()
    }

    fn free(&mut self) -> &mut [u8] {
        self.buffer.get_mut(self.len..).unwrap_or_default()
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// [`EncodeError::Space`].
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.free().get_mut(..bytes.len()).ok_or(EncodeError::Space)?.copy_from_slice(bytes);
        self.len = self.len.saturating_add(bytes.len());
        Ok(())
    }

    pub(crate) fn array<const N: usize>(&mut self, bytes: [u8; N]) -> Result<(), EncodeError> {
        *self.free().first_chunk_mut().ok_or(EncodeError::Space)? = bytes;
        self.len = self.len.saturating_add(N);
        Ok(())
    }

    pub(crate) fn u8(&mut self, byte: u8) -> Result<(), EncodeError> {
        self.array([byte])
    }

    /// Appends a varint in as few bytes as possible.
    ///
    /// # Errors
    /// [`EncodeError::Value`] above 2^62 − 1, [`EncodeError::Space`].
    pub fn varint(&mut self, value: u64) -> Result<(), EncodeError> {
        self.varint_with(value, varint::size(value))
    }

    /// Appends a varint of `width` bytes: 1, 2, 4 or 8.
    pub(crate) fn varint_with(&mut self, value: u64, width: usize) -> Result<(), EncodeError> {
        if value > varint::MAX || varint::size(value) > width {
            return Err(EncodeError::Value);
        }
        varint::encode_with(value, width, self.free()).ok_or(EncodeError::Space)?;
        self.len = self.len.saturating_add(width);
        Ok(())
    }

    /// Appends the MAC of everything written so far, and returns the packet's length.
    pub(crate) fn finish_with_mac(mut self, key: &crate::ControlKey) -> Result<usize, EncodeError> {
        let tag = key.tag16(&[self.written()]);
        self.array(tag)?;
        Ok(self.len)
    }
}
