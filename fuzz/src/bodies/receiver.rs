//! The receiving side of every packet there is: decodes, reads every field, authenticates.

use super::Reach;
use paceline_transport::fuzzing::wire::{
    Credentials, DatagramOpenKey, Opener, PathSecret, Role, StreamKeys, Suite,
    frame::Frames,
    packet::{Kind, classify, control, datagram, peek_credential_id, secret_control, stream},
};

/// The key id of everything that is authentic.
pub const KEY_ID: u64 = 300;
/// Of the peer, as the handshake would have told it.
pub const TOKEN: [u8; 16] = [0x77; 16];

/// How far a packet came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Undecodable,
    Forged,
    Accepted,
}

impl From<Outcome> for Reach {
    fn from(outcome: Outcome) -> Self {
        Self {
            past: outcome != Outcome::Undecodable,
            datagrams: 1,
            authentic: u64::from(outcome == Outcome::Accepted),
        }
    }
}

pub struct Receiver {
    /// The sender's.
    pub client: PathSecret,
    pub server: PathSecret,
    keys: StreamKeys,
    datagram: DatagramOpenKey,
}

thread_local! {
    static RECEIVERS: [Receiver; 2] =
        [Receiver::new(Suite::Aes128GcmSha256), Receiver::new(Suite::Aes256GcmSha384)];
}

/// Lends the receiver of one of the two suites.
pub fn with_receiver<T>(suite: u8, body: impl FnOnce(&Receiver) -> T) -> T {
    RECEIVERS.with(|receivers| body(&receivers[usize::from(suite & 1)]))
}

impl Receiver {
    fn new(suite: Suite) -> Self {
        let secret = |role| PathSecret::new([7; 32], suite, role);
        let server = secret(Role::Server);
        let keys = server.stream_keys(KEY_ID, Opener::Remote);
        let datagram = server.datagram_open_key(KEY_ID);
        Self { client: secret(Role::Client), server, keys, datagram }
    }

    /// What authentic packets name.
    pub fn credentials(&self) -> Credentials {
        Credentials { id: *self.server.id(), key_id: KEY_ID }
    }

    /// Every decoder must cope with every packet, and refuse those of another kind.
    pub fn receive(&self, bytes: &[u8]) -> Outcome {
        let kind = bytes.first().map_or(Kind::Invalid, |first| classify(*first));
        let peeked = peek_credential_id(bytes);
        let stream = stream::Packet::decode(bytes);
        let datagram = datagram::Packet::decode(bytes);
        let control = control::Packet::decode(bytes);
        let secret_control = secret_control::Packet::decode(bytes);
        for (own, ok) in [
            (Kind::Stream, stream.is_ok()),
            (Kind::Datagram, datagram.is_ok()),
            (Kind::Control, control.is_ok()),
            (Kind::SecretControl, secret_control.is_ok()),
        ] {
            assert!(!ok || own == kind, "{bytes:x?}");
        }
        let authentic = if let Ok(packet) = stream {
            self.stream(bytes, &packet) && Some(packet.credentials().id) == peeked
        } else if let Ok(packet) = datagram {
            self.datagram(&packet) && Some(packet.credentials().id) == peeked
        } else if let Ok(packet) = control {
            read_frames(packet.control_data());
            packet.verify(&self.keys.control_open).is_ok() && packet.credentials() == self.credentials()
        } else if let Ok(packet) = secret_control {
            let key = self.server.control_opener();
            let (by_key, by_token) = (packet.verify(&key).is_ok(), packet.verify_token(&TOKEN).is_ok());
            assert!(!(by_key && by_token));
            (by_key || by_token) && packet.id() == self.server.id()
        } else {
            return Outcome::Undecodable;
        };
        if authentic { Outcome::Accepted } else { Outcome::Forged }
    }

    fn stream(&self, bytes: &[u8], packet: &stream::Packet<'_>) -> bool {
        assert!(packet.end_offset() >= packet.offset() && packet.number() >= packet.original_number());
        assert_eq!(packet.end_offset() - packet.offset(), packet.payload_len() as u64);
        assert!(!packet.is_probe() || packet.payload_len() == 0);
        read_frames(packet.control_data());
        let mut payload = vec![1; packet.payload_len()];
        let open = packet.open(&self.keys.open, &self.keys.control_open, &mut payload).is_ok();
        assert!(open || packet.is_probe() || payload.iter().all(|byte| *byte == 0), "nothing forged is left");
        // Whatever decodes can be patched, or is refused unchanged; what was authentic stays so.
        let mut copy = bytes.to_vec();
        let number = packet.number().saturating_add(5);
        if stream::retransmit(&mut copy, number, &self.keys.control_open).is_ok() {
            let patched = stream::Packet::decode(&copy).expect("still a packet");
            assert_eq!((patched.number(), patched.original_number()), (number, packet.original_number()));
            let mut again = vec![1; patched.payload_len()];
            let reopened = patched.open(&self.keys.open, &self.keys.control_open, &mut again).is_ok();
            assert_eq!((reopened, &again), (open, &payload));
        } else {
            assert_eq!(copy, bytes);
        }
        open && packet.credentials() == self.credentials()
    }

    fn datagram(&self, packet: &datagram::Packet<'_>) -> bool {
        read_frames(packet.control_data());
        let mut payload = vec![1; packet.payload_len()];
        let open = packet.open(&self.datagram, &mut payload).is_ok();
        assert!(open || payload.iter().all(|byte| *byte == 0), "nothing forged is left");
        open && packet.credentials() == self.credentials()
    }
}

/// Reads all frames up to the first error, after which there is none; returns how many were good.
pub fn read_frames(control_data: &[u8]) -> usize {
    let mut frames = Frames::new(control_data);
    let mut good = 0;
    while let Some(frame) = frames.next() {
        match frame {
            Ok(frame) => {
                super::frames::check(&frame);
                good += 1;
            }
            Err(_) => assert!(frames.next().is_none()),
        }
        assert!(good <= control_data.len(), "every frame takes a byte");
    }
    good
}
