//! A peer whose every packet the test decides: it has genuine keys, from a genuine handshake, and no manners.

use super::{Arena, Datagram, secrets};
use paceline_sim::Rng;
use paceline_transport::{
    MS, SECOND,
    handshake::{self, Event, Handshake},
    wire::{
        Credentials, Opener, PathSecret, Role, StreamKeys, Suite, Writer,
        frame::{self, EcnCounts},
        packet::{self, control, secret_control, stream},
    },
};
use std::{net::SocketAddr, ops::RangeInclusive, sync::Arc};

pub struct Puppet {
    pub address: SocketAddr,
    pub target: SocketAddr,
    pub secret: Arc<PathSecret>,
    pub handshake: Handshake,
    pub next_key_id: u64,
    rng: Rng,
}

pub fn puppet_address(n: u8) -> SocketAddr {
    SocketAddr::from(([10, 66, 0, n], 666))
}

impl Puppet {
    /// Goes through the handshake with `node` as its initiator.
    pub fn connect(arena: &mut Arena, node: usize, seed: u64, n: u8) -> Self {
        Self::connect_as(
            arena,
            node,
            seed,
            puppet_address(n),
            puppet_address(n),
            handshake::Config::default(),
        )
    }

    /// … with parameters of its own; the Confirm and all that follows come from `confirm_from`.
    pub fn connect_as(
        arena: &mut Arena,
        node: usize,
        seed: u64,
        address: SocketAddr,
        confirm_from: SocketAddr,
        config: handshake::Config,
    ) -> Self {
        let mut rng = Rng::new(
            seed ^ 0x7075_7070_6574
                ^ (u64::from(address.port()) << 8)
                ^ match address.ip() {
                    std::net::IpAddr::V4(ip) => u64::from(u32::from(ip)),
                    std::net::IpAddr::V6(_) => 0,
                },
        );
        let mut address = address;
        let target = arena.nodes[node].address;
        let mut handshake = Handshake::new(config, Arc::from([]), arena.now_ns, &mut |out| rng.fill(out));
        handshake
            .connect(arena.now_ns, target, &secrets(seed), 10 * SECOND, &mut |out| rng.fill(out))
            .unwrap();
        let mut secret = None;
        for _ in 0..4 {
            while let Some(message) = handshake.poll_message() {
                arena.inject(address, target, message.bytes());
            }
            arena.run(5 * MS);
            for datagram in take_strays(arena, address) {
                if packet::classify(datagram.bytes[0]) == packet::Kind::Handshake {
                    let now_ns = arena.now_ns;
                    handshake.receive(now_ns, target, None, &datagram.bytes, &mut |out| rng.fill(out));
                }
            }
            while let Some(event) = handshake.poll_event() {
                if let Event::Usable { path, .. } = event {
                    address = confirm_from;
                    secret = Some(path.secret);
                }
            }
        }
        let secret = secret.expect("the handshake succeeds");
        Self { address, target, secret, handshake, next_key_id: 0, rng }
    }

    /// Has the secret that `node` was given, in the other role.
    pub fn injected(arena: &Arena, node: usize, export: [u8; 32], role: Role, address: SocketAddr) -> Self {
        let mut rng = Rng::new(u64::from(address.port()));
        let now_ns = arena.now_ns;
        let handshake =
            Handshake::new(handshake::Config::default(), Arc::from([]), now_ns, &mut |out| rng.fill(out));
        let secret = Arc::new(PathSecret::new(export, Suite::Aes128GcmSha256, role));
        Self { address, target: arena.nodes[node].address, secret, handshake, next_key_id: 0, rng }
    }

    /// Connects, and sends the first packet of a stream.
    pub fn with_hello(arena: &mut Arena, node: usize, seed: u64) -> (Self, PuppetStream) {
        let mut puppet = Self::connect(arena, node, seed, 1);
        let mut theirs = puppet.stream();
        let hello = theirs.data(0, b"hello", None);
        puppet.send(arena, &hello);
        (puppet, theirs)
    }

    /// A stream of its own; nothing is sent yet.
    pub fn stream(&mut self) -> PuppetStream {
        let key_id = self.next_key_id;
        self.next_key_id += 1;
        self.stream_with(key_id)
    }

    pub fn stream_with(&self, key_id: u64) -> PuppetStream {
        PuppetStream {
            credentials: Credentials { id: *self.secret.id(), key_id },
            keys: self.secret.stream_keys(key_id, Opener::Local),
            own_queue: 1_000 + key_id,
            peer_queue: 0,
            number: 0,
            recovery: 0,
            control: 0,
            expected_control: 0,
            phase: false,
        }
    }

    pub fn send(&self, arena: &mut Arena, bytes: &[u8]) {
        arena.inject(self.address, self.target, bytes);
    }

    /// What came back since the last call.
    pub fn received(&self, arena: &mut Arena) -> Vec<Datagram> {
        take_strays(arena, self.address)
    }

    pub fn stale_key(&self, queue_id: u64, min_key_id: u64) -> Vec<u8> {
        let mut out = [0; 80];
        let key = self.secret.control_sealer();
        let len = secret_control::stale_key(self.secret.id(), Some(queue_id), min_key_id, &key, &mut out);
        out[..len.unwrap()].to_vec()
    }

    pub fn replay_detected(&self, queue_id: u64, rejected: u64) -> Vec<u8> {
        let mut out = [0; 80];
        let key = self.secret.control_sealer();
        let len = secret_control::replay_detected(self.secret.id(), Some(queue_id), rejected, &key, &mut out);
        out[..len.unwrap()].to_vec()
    }
}

pub fn take_strays(arena: &mut Arena, to: SocketAddr) -> Vec<Datagram> {
    let (ours, others) =
        std::mem::take(&mut arena.strays).into_iter().partition(|datagram: &Datagram| datagram.to == to);
    arena.strays = others;
    ours
}

pub struct PuppetStream {
    pub credentials: Credentials,
    pub keys: StreamKeys,
    pub own_queue: u64,
    pub peer_queue: u64,
    pub number: u64,
    pub recovery: u64,
    pub control: u64,
    /// The largest control packet number of the peer that it owns to, and 1.
    pub expected_control: u64,
    pub phase: bool,
}

impl PuppetStream {
    fn header(&self, number: u64, offset: u64, final_offset: Option<u64>) -> stream::Header {
        stream::Header {
            credentials: self.credentials,
            queue_id: self.peer_queue,
            source_queue_id: Some(self.own_queue),
            number,
            next_expected_control: self.expected_control,
            offset,
            final_offset,
            key_phase: self.phase,
        }
    }

    /// A first transmission.
    pub fn data(&mut self, offset: u64, payload: &[u8], final_offset: Option<u64>) -> Vec<u8> {
        let header = self.header(self.number, offset, final_offset);
        self.number += 1;
        let layout = stream::Layout::minimal(&header);
        let mut out = vec![0; layout.packet_len(payload.len())];
        let len = stream::seal(&header, &layout, &mut self.keys.seal, payload, &mut out).unwrap();
        out.truncate(len);
        out
    }

    /// The next key phase, from the next packet on.
    pub fn update_key(&mut self) {
        self.keys.seal.update();
        self.phase = !self.phase;
    }

    pub fn probe(&mut self, frames: &[u8], offset: u64, final_offset: Option<u64>) -> Vec<u8> {
        let header = self.header(self.recovery, offset, final_offset);
        self.recovery += 1;
        let mut out = [0; 1400];
        let len = stream::probe(&header, frames, &self.keys.control_seal, &mut out).unwrap();
        out[..len].to_vec()
    }

    pub fn control(&mut self, frames: &[u8]) -> Vec<u8> {
        let header = control::Header {
            credentials: self.credentials,
            queue_id: Some(self.peer_queue),
            source_queue_id: Some(self.own_queue),
            number: self.control,
        };
        self.control += 1;
        let mut out = [0; 1400];
        let len = control::encode(&header, frames, &self.keys.control_seal, &mut out).unwrap();
        out[..len].to_vec()
    }

    /// Learns the peer's queue id. Returns the packet's numbers in its space if it is a stream packet.
    pub fn learn(&mut self, datagram: &Datagram) -> Option<(stream::Space, u64)> {
        match packet::classify(datagram.bytes[0]) {
            packet::Kind::Stream => {
                let packet = stream::Packet::decode(&datagram.bytes).ok()?;
                if packet.credentials() != self.credentials {
                    return None;
                }
                let mut out = vec![0; packet.payload_len()];
                packet.open(&self.keys.open, &self.keys.control_open, &mut out).ok()?;
                if !packet.is_probe() {
                    self.keys.open.opened(packet.key_phase());
                }
                self.peer_queue = packet.source_queue_id().unwrap_or(self.peer_queue);
                Some((packet.space(), packet.number()))
            }
            packet::Kind::Control => {
                let packet = control::Packet::decode(&datagram.bytes).ok()?;
                if packet.credentials() == self.credentials && packet.verify(&self.keys.control_open).is_ok()
                {
                    self.peer_queue = packet.source_queue_id().unwrap_or(self.peer_queue);
                }
                None
            }
            _ => None,
        }
    }

    /// The close in a packet of the peer: (transport, code).
    pub fn close_in(&self, datagram: &Datagram) -> Option<(bool, u64)> {
        let control_data = match packet::classify(datagram.bytes[0]) {
            packet::Kind::Stream => {
                let packet = stream::Packet::decode(&datagram.bytes).ok()?;
                (packet.credentials() == self.credentials).then(|| packet.control_data())?
            }
            packet::Kind::Control => {
                let packet = control::Packet::decode(&datagram.bytes).ok()?;
                (packet.credentials() == self.credentials).then(|| packet.control_data())?
            }
            _ => return None,
        };
        frame::Frames::new(control_data).find_map(|frame| match frame {
            Ok(frame::Frame::ConnectionClose { transport, code }) => Some((transport, code)),
            _ => None,
        })
    }
}

/// An ACK frame of the stream space.
pub fn ack(ranges: &[RangeInclusive<u64>]) -> Vec<u8> {
    let mut out = [0; 1200];
    let mut writer = Writer::new(&mut out);
    frame::ack(&mut writer, ranges.iter().rev().cloned(), Some(EcnCounts::default()), 0).unwrap();
    let len = writer.len();
    out[..len].to_vec()
}

/// An ACK frame of the recovery space.
pub fn ack_recovery(ranges: &[RangeInclusive<u64>]) -> Vec<u8> {
    let mut out = [0; 1200];
    let mut writer = Writer::new(&mut out);
    frame::ack(&mut writer, ranges.iter().rev().cloned(), None, 0).unwrap();
    let len = writer.len();
    out[..len].to_vec()
}

pub fn max_data(limit: u64) -> Vec<u8> {
    let mut out = [0; 16];
    let mut writer = Writer::new(&mut out);
    frame::max_data(&mut writer, limit).unwrap();
    let len = writer.len();
    out[..len].to_vec()
}

pub fn close(transport: bool, code: u64) -> Vec<u8> {
    let mut out = [0; 32];
    let mut writer = Writer::new(&mut out);
    frame::connection_close(&mut writer, transport, code).unwrap();
    let len = writer.len();
    out[..len].to_vec()
}
