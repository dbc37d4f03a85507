//! R12: what of this library's memory remains of streams that are over. Every byte of the process is counted, so this test
//! is alone in it.

#![allow(clippy::disallowed_methods, reason = "the threads that are measured run in real time")]

use bytes::Bytes;
use paceline_transport::{
    Config, SECOND,
    app::{Command, Outbox, StreamId},
    handshake::Secret,
};
use paceline_udp::{Options, Runtime};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

/// Bytes and pieces that are allocated now, by any thread.
static LIVE: AtomicI64 = AtomicI64::new(0);
static PIECES: AtomicI64 = AtomicI64::new(0);

struct Counting;

// SAFETY: everything is handed to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size() as i64, Relaxed);
        PIECES.fetch_add(1, Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as i64, Relaxed);
        PIECES.fetch_sub(1, Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const PATIENCE: Duration = Duration::from_secs(60);
/// What is over is remembered for this long, so that a wait for it is short.
const IDLE_TIMEOUT_NS: u64 = SECOND;
const MESSAGE_BYTES: usize = 1024;
/// Open at a time.
const AT: usize = 64;
/// Streams after which memory has its level: the tables of what is remembered have then grown for as many as come within the
/// idle timeout (two pieces and 0.5 MB more than after 1,000, and nothing more after 50,000; 2026-11-23).
const FIRST: u32 = 10_000;
const MORE: u32 = 10_000;
/// R12's figure.
const MOST_BYTES: i64 = 64 << 10;
/// Looks at a level that is too high: what is over may be forgotten late on a busy machine, and what leaks stays.
const TRIES: u32 = 3;
/// What the planted leak keeps of each stream.
const PLANTED_BYTES: usize = 100;

/// An endpoint and the application on it.
struct Side {
    runtime: Runtime,
    outbox: Outbox,
    commands: Vec<Command>,
    /// Bytes that came on streams which are not over.
    came: BTreeMap<StreamId, usize>,
    /// Streams that ended as they should.
    over: u32,
    planted: Vec<Vec<u8>>,
    plants: bool,
}

impl Side {
    fn start(config: Config, application: &thread::Thread) -> Self {
        let application = application.clone();
        let options = Options::new("127.0.0.1:0".parse().unwrap(), config);
        Self {
            runtime: Runtime::start(options, move || application.unpark()).unwrap(),
            outbox: Outbox::default(),
            commands: Vec::new(),
            came: BTreeMap::new(),
            over: 0,
            planted: Vec::new(),
            plants: false,
        }
    }

    fn open(&mut self, stream: StreamId) {
        self.commands.push(Command::Open { stream, peer: 1, priority: 3 });
        self.say(stream);
        self.came.insert(stream, 0);
    }

    /// Streams that are not over, and descriptors that are not at home.
    fn left(&self) -> (u64, usize) {
        (self.runtime.shared().endpoint_stats().0.streams, self.runtime.pool().stats().lent)
    }

    /// Everything there is to say on a stream.
    fn say(&mut self, stream: StreamId) {
        let mut data = self.runtime.shared().written.take();
        data.resize(MESSAGE_BYTES, b'x');
        self.commands.push(Command::Write { stream, data: Bytes::copy_from_slice(&data) });
        self.commands.push(Command::Finish(stream));
        let mut spent = vec![data.freeze()];
        self.runtime.shared().written.give(&mut spent);
    }

    /// Takes news; answers every stream that the peer ended.
    fn look(&mut self) {
        let shared = Arc::clone(self.runtime.shared());
        while shared.take_news(&mut self.outbox) {
            let mut updates = std::mem::take(&mut self.outbox.streams);
            for update in &mut updates {
                let stream = update.stream;
                assert_eq!(update.failure, None);
                let bytes: usize = update.readable.iter().map(Bytes::len).sum();
                shared.received.give(&mut update.readable);
                *self.came.entry(stream).or_default() += bytes;
                if bytes > 0 {
                    self.commands.push(Command::Consume { stream, bytes: bytes as u64 });
                }
                if update.end && stream.is_multiple_of(2) {
                    self.say(stream);
                }
                if update.closed {
                    assert_eq!(self.came.remove(&stream), Some(MESSAGE_BYTES));
                    self.over += 1;
                    if self.plants {
                        self.planted.push(vec![1; PLANTED_BYTES]);
                    }
                }
            }
            self.outbox.streams = updates;
            self.outbox.clear_streams();
            for update in self.outbox.peers.drain(..) {
                assert!(update.closed.is_none(), "{update:?}");
            }
        }
        if !self.commands.is_empty() {
            shared.submit(&mut self.commands);
            self.runtime.wake();
        }
    }
}

struct Pair {
    sender: Side,
    receiver: Side,
    opened: u32,
}

impl Pair {
    fn start() -> Self {
        let secrets: Arc<[Secret]> = Arc::from([Secret::new(&(0..32).collect::<Vec<u8>>()).unwrap()]);
        let config = Config { idle_timeout_ns: IDLE_TIMEOUT_NS, ..Config::default() };
        let application = thread::current();
        let receiver = Side::start(Config { secrets: Arc::clone(&secrets), ..config.clone() }, &application);
        let mut sender = Side::start(config, &application);
        let remote = receiver.runtime.local_addr();
        let handshake_timeout_ns = 10 * SECOND;
        sender.commands.push(Command::Connect {
            peer: 1,
            remote,
            secrets,
            handshake_timeout_ns,
            max_rate: None,
        });
        Self { sender, receiver, opened: 0 }
    }

    /// Opens so many more streams, and comes back when all are over.
    fn run(&mut self, streams: u32) {
        let end = self.sender.over + streams;
        let deadline = Instant::now() + PATIENCE;
        while self.sender.over < end || self.receiver.over < end {
            while self.opened < end && self.sender.came.len() < AT {
                self.sender.open(2 * self.opened + 1);
                self.opened += 1;
            }
            self.sender.look();
            self.receiver.look();
            if self.sender.over < end || self.receiver.over < end {
                thread::park_timeout(Duration::from_millis(10));
            }
            assert!(Instant::now() < deadline, "{} and {} of {end}", self.sender.over, self.receiver.over);
        }
    }

    /// Bytes and pieces that are allocated when nothing is to be done any more.
    fn level(&mut self) -> (i64, i64) {
        let end = Instant::now() + Duration::from_nanos(IDLE_TIMEOUT_NS + IDLE_TIMEOUT_NS / 2);
        while Instant::now() < end {
            thread::park_timeout(Duration::from_millis(50));
            self.sender.look();
            self.receiver.look();
        }
        // A worker that had no turn on a busy machine still has to do it.
        let deadline = Instant::now() + PATIENCE;
        while let Some(left) =
            [&self.sender, &self.receiver].map(Side::left).into_iter().find(|left| *left != (0, 0))
        {
            assert!(Instant::now() < deadline, "{left:?} streams and descriptors");
            thread::park_timeout(Duration::from_millis(50));
        }
        (LIVE.load(Relaxed), PIECES.load(Relaxed))
    }

    /// The same, when it is at most that; or else as it stays.
    fn level_of(&mut self, bytes: i64, pieces: i64) -> (i64, i64) {
        let mut level = self.level();
        for _ in 0..TRIES {
            if level.0 <= bytes && level.1 < pieces {
                break;
            }
            level = self.level();
        }
        level
    }
}

#[test]
fn r12_nothing_is_allocated_of_streams_that_are_over() {
    let before = LIVE.load(Relaxed);
    let mut pair = Pair::start();
    pair.run(FIRST);
    let (first, first_pieces) = pair.level();
    assert!(first > before, "a pair of endpoints has memory");
    pair.run(MORE);
    let few_pieces = i64::from(MORE) / 100;
    let (bytes, pieces) = pair.level_of(first + MOST_BYTES, first_pieces + few_pieces);
    println!(
        "{MORE} streams: {} bytes in {} pieces more than the {first} after {FIRST}",
        bytes - first,
        pieces - first_pieces
    );
    assert!(bytes - first <= MOST_BYTES, "{} bytes more", bytes - first);
    assert!(pieces - first_pieces < few_pieces, "{} pieces more", pieces - first_pieces);

    // The same figure shows a leak of 100 bytes of each stream.
    pair.sender.planted.reserve(MORE as usize);
    let (first, first_pieces) = pair.level();
    pair.sender.plants = true;
    pair.run(MORE);
    let (bytes, pieces) = pair.level();
    assert!(bytes - first > MOST_BYTES, "{} bytes more", bytes - first);
    assert!(pieces - first_pieces >= i64::from(MORE), "{} pieces more", pieces - first_pieces);

    drop(pair);
    assert!(LIVE.load(Relaxed) - before < MOST_BYTES, "{} bytes after the end", LIVE.load(Relaxed) - before);
}
