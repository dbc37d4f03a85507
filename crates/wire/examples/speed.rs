//! Nanoseconds per sealed and opened 1408-byte payload and per derived stream, best of 5 rounds.
//!
//! `cargo run --release -p paceline-wire --example speed`
#![allow(clippy::disallowed_methods, reason = "a measurement reads the clock")]

use paceline_wire::packet::{control, stream};
use paceline_wire::{Credentials, Opener, PathSecret, Role, Suite};
use std::hint::black_box;
use std::time::Instant;

fn measure(name: &str, turns: u32, mut turn: impl FnMut(u64)) {
    let mut number = 0;
    let mut round = || {
        let start = Instant::now();
        for _ in 0..turns {
            turn(number);
            number += 1;
        }
        start.elapsed().as_nanos() as f64 / f64::from(turns)
    };
    let best = (0..5).map(|_| round()).fold(f64::INFINITY, f64::min);
    println!("  {name:<32} {best:8.1} ns");
}

fn main() {
    println!(
        "memory per stream: {} bytes, and two expanded AEAD keys",
        size_of::<paceline_wire::StreamKeys>()
    );
    println!("control key: {} bytes", size_of::<paceline_wire::ControlKey>());
    for suite in [Suite::Aes128GcmSha256, Suite::Aes256GcmSha384] {
        println!("{suite:?}");
        let client = PathSecret::new([7; 32], suite, Role::Client);
        let server = PathSecret::new([7; 32], suite, Role::Server);
        let mut keys = client.stream_keys(0, Opener::Local);
        let peer = server.stream_keys(0, Opener::Remote);
        let header = stream::Header {
            credentials: Credentials { id: *client.id(), key_id: 0 },
            queue_id: 1,
            source_queue_id: None,
            number: 0,
            next_expected_control: 0,
            offset: 0,
            final_offset: None,
            key_phase: false,
        };
        let layout = stream::Layout::for_burst(&header, 1 << 29, 0);
        let payload = vec![1; 1408];
        let mut packet = vec![0; layout.packet_len(payload.len())];
        measure("seal", 500_000, |number| {
            let header = stream::Header { number, offset: number * 1408, ..header };
            stream::seal(&header, &layout, &mut keys.seal, black_box(&payload), &mut packet).unwrap();
        });
        let mut out = vec![0; 1408];
        measure("decode and open", 500_000, |_| {
            let packet = stream::Packet::decode(black_box(&packet)).unwrap();
            packet.open(&peer.open, &peer.control_open, &mut out).unwrap();
        });
        measure("decode", 1_000_000, |_| {
            black_box(stream::Packet::decode(black_box(&packet)).unwrap());
        });
        let first = stream::Packet::decode(&packet).unwrap().original_number();
        measure("retransmit (two masks)", 200_000, |number| {
            stream::retransmit(&mut packet, first + 1 + number, &keys.control_seal).unwrap();
        });
        measure("decode and open retransmission", 200_000, |_| {
            let packet = stream::Packet::decode(black_box(&packet)).unwrap();
            packet.open(&peer.open, &peer.control_open, &mut out).unwrap();
        });
        let control = control::Header {
            credentials: header.credentials,
            queue_id: Some(1),
            source_queue_id: None,
            number: 0,
        };
        measure("control packet, 30 bytes", 200_000, |_| {
            control::encode(&control, black_box(&[0; 30]), &keys.control_seal, &mut packet).unwrap();
        });
        measure("stream keys", 50_000, |key_id| {
            black_box(client.stream_keys(key_id, Opener::Local));
        });
        measure("stream control keys", 50_000, |key_id| {
            black_box(client.stream_control_keys(key_id, Opener::Local));
        });
    }
}
