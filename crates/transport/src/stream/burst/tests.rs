//! Item 4: a burst is one contiguous descriptor of equal segments, wherever numbers and offsets stand.

use super::*;
use crate::{
    completion::Ready,
    config::Config,
    path::life::Life,
    stream::{Phase, recv::Recv, send::Send},
    transmission::StreamKey,
};
use bytes::Bytes;
use paceline_handshake::{Established, Parameters, SecretId};
use paceline_pool::Config as PoolConfig;
use paceline_wire::{Credentials, Opener, PathSecret, Role, Suite};

const KEY: StreamKey = StreamKey { slot: 3, generation: 1 };
const KEY_ID: u64 = 5;

fn secret(role: Role) -> Arc<PathSecret> {
    Arc::new(PathSecret::new(std::array::from_fn(|at| at as u8), Suite::Aes128GcmSha256, role))
}

fn path(pool: &Arc<Pool>) -> Path {
    let secret = secret(Role::Client);
    let established = Established {
        credential_id: *secret.id(),
        secret,
        suite: Suite::Aes128GcmSha256,
        role: Role::Client,
        remote: ([10, 0, 0, 2], 4433).into(),
        local: None,
        address_validated: true,
        instance: [1; 16],
        secret_id: SecretId([2; 8]),
        peer: Parameters {
            initial_max_data: u64::MAX >> 2,
            max_streams: 10,
            idle_timeout_ms: 30_000,
            max_datagram: 1472,
            wide_replay_window: true,
        },
    };
    let config = Config::default();
    let life = Life::new([1; 16], true, config.idle_timeout_ns, &config.handshakes, 0, 0);
    Path::new(1, &established, established.remote, life, &config, 7, pool.account())
}

/// A stream whose next packet has this number and offset, with everything before sealed long ago.
fn stream(path: &Path, number: u64, offset: u64, data: &Bytes, finish: bool) -> Stream {
    let mut send = Send::new((1 << 62) - 1);
    (send.next_number, send.next_offset) = (number, offset);
    send.push(data.clone());
    if finish {
        send.finish();
    }
    let recv = Recv::new(1 << 16, 1 << 16, 0);
    let ready = Arc::<Ready>::default();
    let mut stream = Stream::new(1, KEY, 99, 1, Opener::Local, 3, send, recv, ready, 0);
    stream.keys = Some(Box::new(path.secret.stream_keys(KEY_ID, Opener::Local)));
    stream.credentials = Some(Credentials { id: path.credential_id, key_id: KEY_ID });
    stream.phase = Phase::Active;
    stream
}

/// Seals 64 packets of new data from there and opens each as the peer does.
fn check(number: u64, offset: u64, announce: bool, finish: bool) {
    let pool = Pool::new(PoolConfig { capacity_bytes: 1 << 20, reserve_bytes: 0 }).unwrap();
    let path = path(&pool);
    let data: Bytes =
        (0..if finish { 50_000_u64 } else { 200_000 }).map(|at| (at % 251) as u8).collect::<Vec<_>>().into();
    let mut stream = stream(&path, number, offset, &data, finish);
    stream.announce_queue = announce;
    let packets = 44;
    let plan = Plan::new(&stream, &path, packets).expect("there is data");
    let unfilled = pool.take(plan.bytes, Purpose::Data).expect("one descriptor for all");
    let planned = plan.bytes;
    let Turn::Made(made) = plan.seal(&mut stream, unfilled, Vec::new()) else { panic!("not made") };
    assert_eq!(made.segments.total_len(), planned, "as long as was planned");
    assert_eq!(pool.stats().lent, 1, "one descriptor, shared by the transmission and what is retained");
    let lens: Vec<usize> = made.segments.iter().map(<[u8]>::len).collect();
    let (last, equal) = lens.split_last().unwrap();
    assert!(equal.iter().all(|len| *len == made.segments.segment_len()), "{lens:?}");
    assert!(*last <= made.segments.segment_len() && made.segments.segment_len() <= usize::from(path.mtu));
    assert_eq!(made.infos.len(), lens.len());
    let keys = secret(Role::Server).stream_keys(KEY_ID, Opener::Remote);
    let mut at = 0;
    for (index, (packet, info)) in made.segments.iter().zip(&made.infos).enumerate() {
        let decoded = stream::Packet::decode(packet).unwrap();
        assert_eq!((decoded.number(), info.number), (number + index as u64, number + index as u64));
        assert_eq!((decoded.offset(), info.stream_offset), (offset + at as u64, offset + at as u64));
        assert_eq!(
            (packet.len(), decoded.payload_len()),
            (usize::from(info.packet_len), usize::from(info.payload_len))
        );
        assert_eq!(decoded.source_queue_id().is_some(), announce);
        let mut out = vec![0; decoded.payload_len()];
        decoded.open(&keys.open, &keys.control_open, &mut out).expect("authentic");
        assert_eq!(out, data[at..at + out.len()]);
        at += out.len();
        assert_eq!(info.included_fin, finish && index + 1 == lens.len());
        assert_eq!(decoded.final_offset(), finish.then_some(offset + data.len() as u64));
    }
    assert_eq!(stream.send.next_offset, offset + at as u64);
    assert!(!finish || at == data.len());
    let held = stream.send.held_bytes;
    assert_eq!(held, planned as u64, "memory in flight is what the sent map says");
    drop((made, stream));
    assert_eq!(pool.stats().lent, 0);
}

#[test]
fn item_4_equal_segments_wherever_numbers_and_offsets_grow() {
    let mut checked = 0;
    // A varint grows at 2^6, 2^14 and 2^30: starts before, on and after, so that some bursts lie across.
    for bits in [6, 14, 30, 40] {
        for before in [0_u64, 1, 20, 63, 64] {
            let number = (1_u64 << bits) - before.min(1 << bits);
            for offset in
                [0, (1 << 14) - 700, (1 << 14) - 10_000, (1 << 30) - 30_000, (1 << 30) - 1, 1 << 30, 1 << 60]
            {
                for (announce, finish) in [(true, false), (false, false), (false, true), (true, true)] {
                    check(number, offset, announce, finish);
                    checked += 1;
                }
            }
        }
    }
    assert_eq!(checked, 4 * 5 * 7 * 4);
}
