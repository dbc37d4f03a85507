//! Packets written by hand: every optional field, every width, wrong lengths. What `wire` writes is a small part of what
//! it has to read, and an encoder of our own finds a decoder that agrees only with itself.

use super::input::Input;
use paceline_transport::fuzzing::wire::{ControlKey, TAG_LEN, varint};

/// A packet in the making.
#[derive(Debug, Default)]
pub struct Builder {
    pub bytes: Vec<u8>,
    /// Every number was written as it was meant, every length fits.
    pub faithful: bool,
}

impl Builder {
    pub fn new(first: u8) -> Self {
        Self { bytes: vec![first], faithful: true }
    }

    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// As short as possible, or one width more: both are allowed (RFC 9000 §16).
    pub fn varint(&mut self, value: u64, wider: bool) {
        let width = (varint::size(value) << usize::from(wider)).min(8);
        let mut out = [0; 8];
        let len = varint::encode_with(value, width, &mut out).expect("value and width fit");
        self.raw(&out[..len]);
    }

    /// The length of something that is `len` bytes long; seldom a lie.
    pub fn length(&mut self, len: usize, input: &mut Input<'_>) {
        let lie = match input.u8() {
            254 => input.varint(),
            255 => (len as u64).wrapping_add(1),
            _ => len as u64,
        };
        self.faithful &= lie == len as u64;
        self.varint(lie.min(varint::MAX), false);
    }

    /// 0, or seldom another one.
    pub fn version(&mut self, input: &mut Input<'_>) {
        let version = if input.u8() == 255 { input.u8() } else { 0 };
        self.faithful &= version == 0;
        self.raw(&[version]);
    }

    /// Ends the packet with the MAC of all of it, or seldom with something else; whether it is that MAC.
    pub fn finish(mut self, key: &ControlKey, input: &mut Input<'_>) -> (Vec<u8>, bool) {
        let mac = key.tag16(&[&self.bytes]);
        let tag = if input.u8() < 240 { mac } else { input.array() };
        self.raw(&tag);
        (self.bytes, tag == mac)
    }
}

/// What an attacker on the path does to a packet; `None`: nothing. Whether it is another packet now.
pub fn damage(packet: &mut Vec<u8>, input: &mut Input<'_>) -> bool {
    let before = packet.clone();
    match input.u8() % 8 {
        0..=3 => {}
        4 if !packet.is_empty() => {
            let at = usize::from(input.u16()) % packet.len();
            packet[at] ^= 1 << input.below(8);
        }
        5 => packet.truncate(usize::from(input.u16()) % (packet.len() + 1)),
        6 => packet.extend_from_slice(input.bytes(TAG_LEN)),
        _ => {
            // Somewhere near the front, where the fields are.
            let at = input.below(packet.len().min(64));
            let with = input.bytes(8);
            let end = (at + with.len()).min(packet.len());
            packet[at..end].copy_from_slice(&with[..end - at]);
        }
    }
    *packet != before
}
