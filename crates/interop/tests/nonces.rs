//! The checker of key and number pairs goes red for what it is for, and for nothing else.

use paceline_interop::nonces::Nonces;
use paceline_wire::{
    Credentials, Opener, PathSecret, Role, StreamKeys, Suite,
    packet::{
        control, secret_control,
        stream::{self, Header, Layout},
    },
};

struct Sender {
    secret: PathSecret,
    keys: StreamKeys,
    key_id: u64,
}

impl Sender {
    fn new(key_id: u64) -> Self {
        let secret = PathSecret::new([0x2a; 32], Suite::Aes128GcmSha256, Role::Server);
        let keys = secret.stream_keys(key_id, Opener::Remote);
        Self { secret, keys, key_id }
    }

    fn nonces(&self) -> Nonces {
        let secret = PathSecret::new([0x2a; 32], Suite::Aes128GcmSha256, Role::Server);
        Nonces::new(secret, Opener::Remote)
    }

    fn credentials(&self) -> Credentials {
        Credentials { id: *self.secret.id(), key_id: self.key_id }
    }

    fn header(&self, number: u64) -> Header {
        Header {
            credentials: self.credentials(),
            queue_id: 5,
            source_queue_id: None,
            number,
            next_expected_control: 0,
            offset: 0,
            final_offset: None,
            key_phase: false,
        }
    }

    fn sealed(&self, number: u64, payload: &[u8]) -> Vec<u8> {
        let header = self.header(number);
        let layout = Layout::minimal(&header);
        let mut out = vec![0; layout.packet_len(payload.len())];
        // A key of its own each time, as a sender that forgot would have.
        let mut seal = self.secret.stream_keys(self.key_id, Opener::Remote).seal;
        stream::seal(&header, &layout, &mut seal, payload, &mut out).unwrap();
        out
    }

    fn again(&self, packet: &[u8], number: u64) -> Vec<u8> {
        let mut packet = packet.to_vec();
        stream::retransmit(&mut packet, number, &self.keys.control_seal).unwrap();
        packet
    }

    fn probe(&self, number: u64, data: &[u8]) -> Vec<u8> {
        let mut out = vec![0; 200];
        let len = stream::probe(&self.header(number), data, &self.keys.control_seal, &mut out).unwrap();
        out.truncate(len);
        out
    }

    fn control(&self, number: u64, data: &[u8]) -> Vec<u8> {
        let header = control::Header {
            credentials: self.credentials(),
            queue_id: Some(5),
            source_queue_id: None,
            number,
        };
        let mut out = vec![0; 200];
        let len = control::encode(&header, data, &self.keys.control_seal, &mut out).unwrap();
        out.truncate(len);
        out
    }
}

#[test]
fn a_nonce_with_two_plaintexts_is_found() {
    let sender = Sender::new(7);
    let mut nonces = sender.nonces();
    nonces.add(&sender.sealed(0, b"hello")).unwrap();
    let error = nonces.add(&sender.sealed(0, b"world")).unwrap_err();
    assert!(error.contains("key id 7, Sealed number 0 has two packets"), "{error}");
    // The same bytes under another header are another packet of the same nonce, too.
    let mut nonces = sender.nonces();
    let mut header = sender.header(3);
    let layout = Layout::minimal(&header);
    let mut out = vec![0; layout.packet_len(5)];
    stream::seal(&header, &layout, &mut Sender::new(7).keys.seal, b"hello", &mut out).unwrap();
    nonces.add(&out).unwrap();
    header.offset = 9;
    stream::seal(&header, &layout, &mut Sender::new(7).keys.seal, b"hello", &mut out).unwrap();
    nonces.add(&out).unwrap_err();
}

#[test]
fn a_retransmission_is_no_second_packet_but_hides_none_either() {
    let sender = Sender::new(7);
    let mut nonces = sender.nonces();
    let first = sender.sealed(4, b"hello");
    nonces.add(&first).unwrap();
    for number in [9, 5, 70_000] {
        nonces.add(&sender.again(&first, number)).unwrap();
    }
    nonces.add(&first).unwrap();
    assert_eq!((nonces.packets, nonces.distinct()), (5, 1));
    nonces.add(&sender.again(&sender.sealed(4, b"world"), 12)).unwrap_err();
}

#[test]
fn probes_and_control_packets_count_in_spaces_of_their_own() {
    let sender = Sender::new(0);
    let mut nonces = sender.nonces();
    nonces.add(&sender.sealed(1, b"hello")).unwrap();
    nonces.add(&sender.probe(1, b"")).unwrap();
    nonces.add(&sender.control(1, &[1])).unwrap();
    nonces.add(&sender.control(1, &[1])).unwrap();
    assert_eq!(nonces.distinct(), 3);
    nonces.add(&sender.probe(1, &[1])).unwrap_err();
    nonces.add(&sender.control(1, &[0])).unwrap_err();
}

#[test]
fn another_key_id_is_another_key() {
    let sender = Sender::new(0);
    let mut nonces = sender.nonces();
    nonces.add(&sender.sealed(0, b"hello")).unwrap();
    nonces.add(&Sender::new(1).sealed(0, b"world")).unwrap();
    assert_eq!(nonces.distinct(), 2);
}

#[test]
fn secret_control_is_counted_and_anything_else_is_refused() {
    let sender = Sender::new(0);
    let mut nonces = sender.nonces();
    let mut out = [0; secret_control::MAX_LEN];
    let key = sender.secret.control_sealer();
    let len = secret_control::stale_key(sender.secret.id(), None, 5, &key, &mut out).unwrap();
    nonces.add(&out[..len]).unwrap();
    assert_eq!((nonces.secret_control, nonces.distinct()), (1, 0));
    for wrong in [&[] as &[u8], &[0x80; 60], &[0; 60]] {
        nonces.add(wrong).unwrap_err();
    }
}
