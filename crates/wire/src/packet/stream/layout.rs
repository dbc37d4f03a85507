//! How wide a header's numbers are written.

use super::Header;
use crate::{TAG_LEN, varint};

/// Widths of the numbers of a stream header. Constant within a burst, so that packets with equal payloads are
/// equally long and one GSO send can carry them; and with bulk widths the header is 48 bytes, a multiple of the
/// AES block (11 % less AEAD time a packet).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    pub(super) key_id: u8,
    pub(super) stream_id: u8,
    /// 0: no such field.
    pub(super) source_queue_id: u8,
    pub(super) number: u8,
    pub(super) next_expected_control: u8,
    pub(super) offset: u8,
    /// 0: no such field.
    pub(super) final_offset: u8,
    /// The least width of the two lengths.
    pub(super) length: u8,
}

const fn at_least(least: u8, value: u64) -> u8 {
    let size = varint::size(value) as u8;
    if size > least { size } else { least }
}

impl Layout {
    /// For packets that share everything with `first` but number and offset, up to these.
    ///
    /// Without source queue id and final offset, and with ids and numbers below 2^30 and fewer than 2^14 control
    /// packets, the header is 48 bytes.
    #[must_use]
    pub const fn for_burst(first: &Header, last_number: u64, last_offset: u64) -> Self {
        let last_number = if last_number > first.number { last_number } else { first.number };
        let mut layout = Self::minimal(first);
        layout.key_id = at_least(4, first.credentials.key_id);
        layout.stream_id = at_least(4, first.queue_id.saturating_mul(4));
        layout.number = at_least(4, last_number);
        layout.next_expected_control = at_least(2, first.next_expected_control);
        layout.offset = at_least(8, last_offset);
        if let Some(id) = first.source_queue_id {
            layout.source_queue_id = at_least(4, id);
        }
        if first.final_offset.is_some() {
            layout.final_offset = 8;
        }
        layout.length = 2;
        layout
    }

    /// For this packet alone, every number as short as it can be.
    #[must_use]
    pub const fn minimal(header: &Header) -> Self {
        Self {
            key_id: at_least(1, header.credentials.key_id),
            stream_id: at_least(1, header.queue_id.saturating_mul(4)),
            source_queue_id: match header.source_queue_id {
                Some(id) => at_least(1, id),
                None => 0,
            },
            number: at_least(1, header.number),
            next_expected_control: at_least(1, header.next_expected_control),
            offset: at_least(1, header.offset),
            final_offset: match header.final_offset {
                Some(offset) => at_least(1, offset),
                None => 0,
            },
            length: 1,
        }
    }

    /// Bytes before the payload, with that much control data (0: the field is absent) and a payload below 16,384
    /// bytes; from there on, 2 more.
    #[must_use]
    pub const fn header_len(&self, control_data_len: usize) -> usize {
        self.header_len_for(control_data_len, 0)
    }

    /// Bytes before a payload of that length.
    #[must_use]
    pub const fn header_len_for(&self, control_data_len: usize, payload_len: usize) -> usize {
        // Tag, credential id, version, unused u16, retransmission offset.
        let fixed: usize = 1 + 16 + 1 + 2 + 4;
        let mut len = fixed
            .saturating_add(self.key_id as usize)
            .saturating_add(self.stream_id as usize)
            .saturating_add(self.source_queue_id as usize)
            .saturating_add(self.number as usize)
            .saturating_add(self.next_expected_control as usize)
            .saturating_add(self.offset as usize)
            .saturating_add(self.final_offset as usize)
            .saturating_add(self.length_width(payload_len));
        if control_data_len > 0 {
            len = len.saturating_add(self.length_width(control_data_len)).saturating_add(control_data_len);
        }
        len
    }

    /// Bytes of a whole packet with that payload and no control data.
    #[must_use]
    pub const fn packet_len(&self, payload_len: usize) -> usize {
        self.header_len_for(0, payload_len).saturating_add(payload_len).saturating_add(TAG_LEN)
    }

    /// The largest payload of a packet that is at most `packet_len` bytes; `None` if not even an empty one fits.
    #[must_use]
    pub const fn max_payload_len(&self, packet_len: usize) -> Option<usize> {
        let Some(mut payload_len) = packet_len.checked_sub(self.packet_len(0)) else { return None };
        // A longer payload may need a wider length, by 6 bytes at most.
        while self.packet_len(payload_len) > packet_len {
            payload_len = payload_len.saturating_sub(1);
        }
        Some(payload_len)
    }

    pub(super) const fn length_width(&self, len: usize) -> usize {
        at_least(self.length, len as u64) as usize
    }
}
