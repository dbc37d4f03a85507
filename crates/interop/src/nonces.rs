//! Whether a sender ever used a number of a key for two different packets.

use paceline_wire::{
    ControlKey, Credentials, Opener, PathSecret,
    packet::{Kind, classify, control, stream},
};
use std::collections::HashMap;

/// What a number of a stream's key is used for. The AEAD has one space; probes and control packets are only MACed, in spaces of
/// their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Use {
    Sealed,
    Probe,
    Control,
}

/// All packets that the holder of a path secret sent, or those that were seen.
pub struct Nonces {
    sender: PathSecret,
    opener: Opener,
    seen: HashMap<(Credentials, Use, u64), Vec<u8>>,
    control: HashMap<Credentials, ControlKey>,
    /// Secret-control packets: no numbers.
    pub secret_control: usize,
    /// All packets.
    pub packets: usize,
}

impl Nonces {
    /// Of packets that the owner of `sender` sends; `opener`: who opened their streams, as the owner sees it.
    #[must_use]
    pub fn new(sender: PathSecret, opener: Opener) -> Self {
        let (seen, control) = Default::default();
        Self { sender, opener, seen, control, secret_control: 0, packets: 0 }
    }

    /// Numbers used.
    #[must_use]
    pub fn distinct(&self) -> usize {
        self.seen.len()
    }

    /// Takes what was sent.
    ///
    /// # Errors
    /// A number of a key has two packets with different bytes, or it is no packet.
    pub fn add(&mut self, datagram: &[u8]) -> Result<(), String> {
        self.packets += 1;
        let no_packet = |error: &dyn std::fmt::Display| format!("no packet of dcQUIC: {error}");
        let (credentials, used, number, bytes) = match datagram.first().map(|first| classify(*first)) {
            Some(Kind::Stream) => {
                let packet = stream::Packet::decode(datagram).map_err(|error| no_packet(&error))?;
                if packet.is_probe() {
                    (packet.credentials(), Use::Probe, packet.number(), datagram.to_vec())
                } else {
                    // The same patch on a first transmission and on all its retransmissions makes them equal.
                    let mut bytes = datagram.to_vec();
                    let credentials = packet.credentials();
                    let number = packet.original_number();
                    stream::retransmit(&mut bytes, number + 1, self.control_key(credentials))
                        .map_err(|error| no_packet(&error))?;
                    (credentials, Use::Sealed, number, bytes)
                }
            }
            Some(Kind::Control) => {
                let packet = control::Packet::decode(datagram).map_err(|error| no_packet(&error))?;
                (packet.credentials(), Use::Control, packet.number(), datagram.to_vec())
            }
            Some(Kind::SecretControl) => {
                self.secret_control += 1;
                return Ok(());
            }
            kind => return Err(no_packet(&format_args!("{kind:?}"))),
        };
        let former = self.seen.entry((credentials, used, number)).or_insert_with(|| bytes.clone());
        if *former == bytes {
            return Ok(());
        }
        Err(format!(
            "key id {}, {used:?} number {number} has two packets, of {} and {} bytes",
            credentials.key_id,
            former.len(),
            bytes.len()
        ))
    }

    fn control_key(&mut self, credentials: Credentials) -> &ControlKey {
        let (sender, opener) = (&self.sender, self.opener);
        self.control
            .entry(credentials)
            .or_insert_with(|| sender.stream_keys(credentials.key_id, opener).control_seal)
    }
}
