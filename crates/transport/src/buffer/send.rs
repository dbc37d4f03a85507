//! Bytes of a stream that wait for a packet.

use bytes::{Buf, Bytes, BytesMut};
use std::collections::VecDeque;

/// Chunks below this many bytes are copied together: a queue entry and the allocation behind it cost about 100 bytes,
/// which is 5 % of this.
const SMALL_CHUNK: usize = 2 << 10;

/// Where small chunks are copied to holds at most this many bytes; it grows by doubling from [`FIRST_TAIL`].
const MAX_TAIL: usize = 16 << 10;

/// First capacity of the tail, in bytes.
const FIRST_TAIL: usize = 256;

/// What an empty buffer may keep allocated of its queue, in entries of 32 bytes.
const KEEP_CHUNKS: usize = 8;

/// What an empty buffer may keep allocated of its scratch, in bytes: one packet's payload fits.
const KEEP_SCRATCH: usize = 2 << 10;

/// Most bytes one [`SendBuffer::peek`] shows: the largest burst.
pub(crate) const MAX_PEEK: usize = 64 << 10;

/// The unsealed bytes of a stream, in order.
///
/// Not bounded here: the application's side waits when [`len`](Self::len) reaches `Config::send_buffer_bytes`.
#[derive(Debug, Default)]
pub(crate) struct SendBuffer {
    chunks: VecDeque<Bytes>,
    /// Comes after all `chunks`.
    tail: BytesMut,
    len: u64,
    scratch: Vec<u8>,
}

impl SendBuffer {
    /// A buffer that has allocated nothing.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Unsealed bytes.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends `data`. Large chunks are kept as they are; small ones behind others are copied together.
    pub(crate) fn push(&mut self, data: Bytes) {
        if data.is_empty() {
            return;
        }
        // A lone small chunk is the usual RPC: it leaves with the next packet, so copying it gains nothing.
        let alone = self.len == 0;
        self.len = self.len.saturating_add(data.len() as u64);
        if alone || data.len() >= SMALL_CHUNK {
            self.close_tail();
            self.chunks.push_back(data);
            return;
        }
        if self.tail.len().saturating_add(data.len()) > MAX_TAIL {
            self.close_tail();
        }
        if self.tail.is_empty() {
            self.tail = BytesMut::with_capacity(data.len().max(FIRST_TAIL));
        }
        self.tail.extend_from_slice(&data);
    }

    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            self.chunks.push_back(std::mem::take(&mut self.tail).freeze());
        }
    }

    /// The first min(`max`, `len()`, [`MAX_PEEK`]) bytes, contiguous.
    ///
    /// They are copied only when they lie in more than one chunk, so peeking packet by packet copies one packet per
    /// chunk, and peeking burst by burst may copy every byte.
    pub(crate) fn peek(&mut self, max: usize) -> &[u8] {
        let want = usize::try_from(self.len).unwrap_or(usize::MAX).min(max).min(MAX_PEEK);
        let front = self.chunks.front().map_or(&*self.tail, |chunk| &**chunk);
        if let Some(bytes) = front.get(..want) {
            return bytes;
        }
        self.scratch.clear();
        self.scratch.reserve_exact(want);
        for piece in self.chunks.iter().map(|chunk| &**chunk).chain([&*self.tail]) {
            let missing = want.saturating_sub(self.scratch.len());
            self.scratch.extend_from_slice(piece.get(..missing).unwrap_or(piece));
            if missing <= piece.len() {
                break;
            }
        }
        &self.scratch
    }

    /// Forgets the first `n` bytes, which were sealed; more than there are is all there are.
    ///
    /// Large chunks that are used up go to `spent`, so that their memory can be used again.
    pub(crate) fn advance(&mut self, n: usize, spent: &mut Vec<Bytes>) {
        debug_assert!(n as u64 <= self.len);
        self.len = self.len.saturating_sub(n as u64);
        if self.len == 0 {
            spent.extend(self.chunks.drain(..).filter(|chunk| chunk.len() >= SMALL_CHUNK));
            self.release();
            return;
        }
        let mut left = n;
        while let Some(front) = self.chunks.front_mut() {
            if left < front.len() {
                front.advance(left);
                return;
            }
            left = left.saturating_sub(front.len());
            spent.extend(self.chunks.pop_front());
        }
        self.tail.advance(left.min(self.tail.len()));
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.len = 0;
        self.release();
    }

    /// An idle stream keeps next to nothing: there may be 65,536 of them.
    fn release(&mut self) {
        self.chunks.clear();
        self.chunks.shrink_to(KEEP_CHUNKS);
        self.tail = BytesMut::new();
        if self.scratch.capacity() > KEEP_SCRATCH {
            self.scratch = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::testing::{Random, byte_at};

    fn owned_bytes(buffer: &SendBuffer) -> usize {
        let chunks: usize = buffer.chunks.iter().map(Bytes::len).sum();
        chunks + buffer.tail.capacity() + buffer.chunks.capacity() * 32 + buffer.scratch.capacity()
    }

    #[test]
    fn r8_equals_a_vec_over_random_operations() {
        let mut random = Random::new(1);
        let mut copied = 0u64;
        for _ in 0..20 {
            let mut buffer = SendBuffer::new();
            let (mut written, mut sealed) = (0u64, 0u64);
            for _ in 0..20_000 {
                match random.below(8) {
                    0..=2 => {
                        let len = match random.below(4) {
                            0 => random.below(4),
                            1 => random.below(200),
                            2 => SMALL_CHUNK as u64 - 2 + random.below(4),
                            _ => random.below(20_000),
                        };
                        let data: Vec<u8> = (written..written + len).map(byte_at).collect();
                        written += len;
                        buffer.push(Bytes::from(data));
                    }
                    3..=6 => {
                        let max = if random.one_in(4) { random.below(100_000) as usize } else { 1408 };
                        let unsealed = written - sealed;
                        let want = unsealed.min(max as u64).min(MAX_PEEK as u64);
                        let inside = buffer.scratch.as_ptr();
                        let seen = buffer.peek(max);
                        assert_eq!(seen.len() as u64, want);
                        assert!(seen.iter().zip(sealed..).all(|(&byte, at)| byte == byte_at(at)));
                        copied += u64::from(want > 0 && seen.as_ptr() == inside);
                        let take = if random.one_in(4) { random.below(want + 1) } else { want };
                        buffer.advance(take as usize, &mut Vec::new());
                        sealed += take;
                    }
                    _ if random.one_in(2_000) => {
                        buffer.clear();
                        sealed = written;
                    }
                    _ => {}
                }
                assert_eq!(buffer.len(), written - sealed);
                assert_eq!(buffer.is_empty(), written == sealed);
                assert!(buffer.scratch.capacity() <= MAX_PEEK);
                if buffer.is_empty() {
                    assert!(owned_bytes(&buffer) <= KEEP_SCRATCH + KEEP_CHUNKS * 32);
                }
            }
        }
        assert!(copied > 1_000, "peeks over a chunk's end happened: {copied}");
    }

    #[test]
    fn single_bytes_cost_little() {
        let mut buffer = SendBuffer::new();
        for at in 0..1_000_000 {
            buffer.push(Bytes::copy_from_slice(&[byte_at(at)]));
        }
        let owned = owned_bytes(&buffer);
        assert!(owned < 1_100_000, "{owned} bytes for 1,000,000");
        for packet in (0..1_000_000u64).step_by(1000) {
            let seen = buffer.peek(1000);
            assert!(seen.iter().zip(packet..).all(|(&byte, at)| byte == byte_at(at)));
            buffer.advance(1000, &mut Vec::new());
        }
        assert!(buffer.is_empty());
    }

    #[test]
    fn a_chunk_is_shown_in_place() {
        let chunk = Bytes::from(vec![7; 100_000]);
        let mut buffer = SendBuffer::new();
        buffer.push(chunk.clone());
        buffer.push(Bytes::new());
        assert_eq!(buffer.peek(1408).as_ptr(), chunk.as_ptr());
        buffer.advance(1408, &mut Vec::new());
        assert_eq!(buffer.peek(1408).as_ptr(), chunk[1408..].as_ptr());
        assert_eq!(buffer.peek(usize::MAX).len(), MAX_PEEK);
        // Also when the one before ended with a packet, and when a small one is alone.
        buffer.push(chunk.clone());
        buffer.advance(100_000 - 1408, &mut Vec::new());
        assert_eq!(buffer.peek(1408).as_ptr(), chunk.as_ptr());
        buffer.clear();
        buffer.push(chunk.slice(5..6));
        assert_eq!(buffer.peek(1408).as_ptr(), chunk[5..].as_ptr());
        assert_eq!(buffer.scratch.capacity(), 0);
    }
}
