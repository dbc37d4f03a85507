//! How fast the core is without JavaScript: one stream over loopback, two workers, the application on a third thread.
//!
//! `cargo run --release -p paceline-udp --example bulk -- [MEGABYTES]`

use paceline_transport::{
    Config, SECOND,
    app::{Command, Outbox},
    handshake::Secret,
};
use paceline_udp::{Options, Runtime};
use std::{
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

const CHUNK: usize = 64 << 10;
const LIMIT: u64 = 4 << 20;

fn main() {
    let megabytes: u64 = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(2_000);
    let total = megabytes << 20;
    let key: Vec<u8> = (0..32u8).map(|n| n.wrapping_mul(37) ^ std::process::id() as u8).collect();
    let secrets: Arc<[Secret]> = Arc::from([Secret::new(&key).expect("32 different bytes")]);
    let (bell, news) = mpsc::channel();
    let start = |config: Config, name: u8| {
        let bell = bell.clone();
        let bind = "127.0.0.1:0".parse().expect("an address");
        let options = Options::new(bind, config);
        Runtime::start(options, move || {
            let _ = bell.send(name);
        })
        .expect("a socket")
    };
    let receiver = start(Config { secrets: Arc::clone(&secrets), ..Config::default() }, b'r');
    let sender = start(Config::default(), b's');
    let remote = receiver.local_addr();
    let submit = |runtime: &Runtime, mut commands: Vec<Command>| {
        runtime.shared().submit(&mut commands);
        runtime.wake();
    };
    submit(
        &sender,
        vec![
            Command::Connect { peer: 1, remote, secrets, handshake_timeout_ns: 5 * SECOND, max_rate: None },
            Command::Open { stream: 1, peer: 1, priority: 3 },
        ],
    );
    let chunk = bytes::Bytes::from(vec![7u8; CHUNK]);
    let (mut written, mut sealed, mut read) = (0u64, 0u64, 0u64);
    #[allow(clippy::disallowed_methods, reason = "an example may look at the clock")]
    let started = Instant::now();
    let mut outbox = Outbox::default();
    let mut done = false;
    while !done {
        let mut commands = Vec::new();
        while written < total && written - sealed + CHUNK as u64 <= LIMIT {
            // A copy, as a JavaScript buffer would need.
            let mut data = sender.shared().written.take();
            data.extend_from_slice(&chunk);
            commands.push(Command::Write { stream: 1, data: data.freeze() });
            written += CHUNK as u64;
            if written >= total {
                commands.push(Command::Finish(1));
            }
        }
        if written < total {
            commands.push(Command::WantRoom { stream: 1, level: LIMIT / 2 });
        }
        if !commands.is_empty() {
            submit(&sender, commands);
        }
        if news.recv_timeout(Duration::from_secs(5)).is_err() {
            println!("stalled at {read} of {total}: {:?}", sender.shared().stats());
            return;
        }
        while sender.shared().take_news(&mut outbox) {
            for update in outbox.streams.drain(..) {
                sealed = update.sealed;
                assert!(update.failure.is_none(), "{update:?}");
            }
            outbox.peers.clear();
        }
        while receiver.shared().take_news(&mut outbox) {
            let mut commands = Vec::new();
            for mut update in outbox.streams.drain(..) {
                let bytes: u64 = update.readable.iter().map(|bytes| bytes.len() as u64).sum();
                read += bytes;
                receiver.shared().received.give(&mut update.readable);
                if bytes > 0 {
                    commands.push(Command::Consume { stream: update.stream, bytes });
                }
                done |= update.end;
            }
            outbox.peers.clear();
            if !commands.is_empty() {
                submit(&receiver, commands);
            }
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    let stats = sender.shared().stats();
    let path = stats.paths.first().copied().unwrap_or_default();
    println!(
        "{:.2} Gbit/s, {} packets, {:.1} a transmission, {} retransmitted, srtt {} µs, cwnd {} KiB, rate {:.2} Gbit/s, departure error p50 {} µs p99 {} µs",
        total as f64 * 8.0 / seconds / 1e9,
        stats.endpoint.packets,
        stats.endpoint.packets as f64 / stats.endpoint.transmissions as f64,
        stats.endpoint.packets_retransmitted,
        path.smoothed_rtt_ns / 1_000,
        path.congestion_window >> 10,
        path.pacing_rate as f64 * 8.0 / 1e9,
        stats.endpoint.departure_error_ns.quantile(0.5) / 1_000,
        stats.endpoint.departure_error_ns.quantile(0.99) / 1_000,
    );
}
