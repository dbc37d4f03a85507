//! UnknownPathSecret, StaleKey, ReplayDetected, and the stateless reset tokens.

use crate::{
    keys::{Keys, their_varint},
    tally::{Tally, Way},
};
use paceline_interop::Rng;
use paceline_wire::{
    ControlKey, CredentialId,
    crypto::reset_token_sha384,
    packet::secret_control::{self as ours, Body, Packet},
    varint,
};
use s2n_codec::{DecoderBufferMut, EncoderBuffer};
use s2n_quic_dc::{
    packet::{
        WireVersion,
        secret_control::{self as theirs, ReplayDetected, StaleKey, UnknownPathSecret},
    },
    path::secret::stateless_reset::Signer,
};

struct Fields {
    id: CredentialId,
    queue_id: Option<u64>,
    body: Body,
    /// Of UnknownPathSecret.
    token: [u8; 16],
}

fn name(body: Body) -> &'static str {
    match body {
        Body::UnknownPathSecret => "UnknownPathSecret",
        Body::StaleKey { .. } => "StaleKey",
        Body::ReplayDetected { .. } => "ReplayDetected",
    }
}

impl Fields {
    fn encode_theirs(&self, keys: &Keys) -> Vec<u8> {
        let mut out = vec![0; theirs::MAX_PACKET_SIZE];
        let encoder = EncoderBuffer::new(&mut out);
        let (wire_version, credential_id) = (WireVersion::ZERO, keys.their_id());
        let queue_id = self.queue_id.map(their_varint);
        let key = keys.theirs.control_sealer();
        let len = match self.body {
            Body::UnknownPathSecret => {
                UnknownPathSecret { wire_version, credential_id, queue_id }.encode(encoder, &self.token)
            }
            Body::StaleKey { min_key_id } => {
                StaleKey { wire_version, credential_id, queue_id, min_key_id: their_varint(min_key_id) }
                    .encode(encoder, &key)
            }
            Body::ReplayDetected { rejected_key_id } => ReplayDetected {
                wire_version,
                credential_id,
                queue_id,
                rejected_key_id: their_varint(rejected_key_id),
            }
            .encode(encoder, &key),
        };
        out.truncate(len);
        out
    }

    fn encode_ours(&self, key: &ControlKey) -> Vec<u8> {
        let mut out = vec![0; ours::MAX_LEN];
        let len = match self.body {
            Body::UnknownPathSecret => {
                ours::unknown_path_secret(&self.id, self.queue_id, &self.token, &mut out)
            }
            Body::StaleKey { min_key_id } => {
                ours::stale_key(&self.id, self.queue_id, min_key_id, key, &mut out)
            }
            Body::ReplayDetected { rejected_key_id } => {
                ours::replay_detected(&self.id, self.queue_id, rejected_key_id, key, &mut out)
            }
        };
        out.truncate(len.unwrap());
        out
    }
}

fn read_ours(keys: &Keys, token: &[u8; 16], packet: &[u8]) -> Option<(CredentialId, Option<u64>, Body)> {
    let packet = Packet::decode(packet).ok()?;
    match packet.body() {
        Body::UnknownPathSecret => packet.verify_token(token).ok()?,
        _ => packet.verify(&keys.ours.control_opener()).ok()?,
    }
    Some((*packet.id(), packet.queue_id(), packet.body()))
}

fn read_theirs(keys: &Keys, token: &[u8; 16], packet: &[u8]) -> Option<(CredentialId, Option<u64>, Body)> {
    let mut copy = packet.to_vec();
    let (packet, rest) = theirs::Packet::decode(DecoderBufferMut::new(&mut copy)).ok()?;
    if !rest.is_empty() {
        return None;
    }
    let key = keys.theirs.control_opener();
    let body = match &packet {
        theirs::Packet::UnknownPathSecret(packet) => {
            packet.authenticate(token)?;
            Body::UnknownPathSecret
        }
        theirs::Packet::StaleKey(packet) => {
            Body::StaleKey { min_key_id: packet.authenticate(&key)?.min_key_id.as_u64() }
        }
        theirs::Packet::ReplayDetected(packet) => {
            Body::ReplayDetected { rejected_key_id: packet.authenticate(&key)?.rejected_key_id.as_u64() }
        }
    };
    let id = CredentialId(**packet.credential_id());
    Some((id, packet.queue_id().map(|id| id.as_u64()), body))
}

pub(crate) fn both_ways(keys: &Keys, rng: &mut Rng, tally: &mut Tally) {
    let signer = rng.bytes(32);
    let token = Signer::new(&signer).sign(&keys.their_id());
    assert_eq!(reset_token_sha384(&signer, &keys.id()), token);

    let key_id = rng.varint(varint::MAX);
    let bodies = [
        Body::UnknownPathSecret,
        Body::StaleKey { min_key_id: key_id },
        Body::ReplayDetected { rejected_key_id: key_id },
    ];
    for (body, way) in bodies.into_iter().flat_map(|body| [(body, Way::FromThem), (body, Way::ToThem)]) {
        let queue_id = rng.sometimes(2, |rng| rng.varint(varint::MAX));
        let fields = Fields { id: keys.id(), queue_id, body, token };
        let (packet, same) = match way {
            Way::FromThem => (fields.encode_theirs(keys), fields.encode_ours(&keys.ours.control_opener())),
            Way::ToThem => {
                let packet = fields.encode_ours(&keys.ours.control_sealer());
                (packet.clone(), packet)
            }
        };
        assert_eq!(packet, same);
        if way == Way::FromThem {
            tally.note("the same bytes from both");
        }
        let read = |packet: &[u8]| match way {
            Way::FromThem => read_ours(keys, &token, packet),
            Way::ToThem => read_theirs(keys, &token, packet),
        };
        assert_eq!(read(&packet), Some((fields.id, queue_id, body)));
        // Whoever wrote a MAC cannot have it read as the other side's.
        if body != Body::UnknownPathSecret {
            let reflected = match way {
                Way::FromThem => read_theirs(keys, &token, &packet),
                Way::ToThem => read_ours(keys, &token, &packet),
            };
            assert_eq!(reflected, None, "a reflected packet is authentic");
        }
        let mut bad = packet.clone();
        let at = rng.below(packet.len() as u64 * 8);
        bad[usize::try_from(at / 8).unwrap()] ^= 1 << (at % 8);
        // A reset token proves nothing about the fields of its packet, so only the token's own bits count.
        let in_token = usize::try_from(at / 8).unwrap() >= packet.len() - 16;
        if body != Body::UnknownPathSecret || in_token {
            assert_eq!(read(&bad), None);
            tally.note("tampered");
        }
        tally.packet(name(body), way, &keys.name);
    }
}
