use super::*;
use paceline_transport::app::PeerUpdate;
use std::net::SocketAddr;

const LINE_ORIGIN_NS: u64 = 1_000_000_000;

/// Drains with the given room until nothing is left; returns each event as text, and the bytes of each stream.
struct Reader {
    ring: Vec<f64>,
    slab: Vec<u8>,
    drains: usize,
    events: Vec<String>,
    bytes: Vec<(u32, Vec<u8>)>,
}

impl Reader {
    fn new(ring: usize, slab: usize) -> Self {
        Self { ring: vec![0.0; ring], slab: vec![0; slab], drains: 0, events: Vec::new(), bytes: Vec::new() }
    }

    fn read(&mut self, news: &mut News) {
        while !news.is_told() {
            let mut drain = Drain {
                ring: Ring::new(&mut self.ring),
                slab: &mut self.slab,
                slab_at: 0,
                line: Line::new(LINE_ORIGIN_NS, 0.0, LINE_ORIGIN_NS),
            };
            news.tell(&mut drain).expect("room");
            let written = drain.ring.written();
            self.drains += 1;
            let mut rest = &self.ring[..written];
            while let [event, length, ..] = *rest {
                let (record, next) = rest.split_at(length as usize);
                let values = &record[2..];
                rest = next;
                if event == 4.0 {
                    let [stream, at, len] = *values else { panic!("{values:?}") };
                    let bytes = self.slab[at as usize..][..len as usize].to_vec();
                    match self.bytes.last_mut() {
                        Some((last, all)) if *last == stream as u32 => all.extend(bytes),
                        _ => self.bytes.push((stream as u32, bytes)),
                    }
                    self.events.push(format!("data {stream} +{len}"));
                } else {
                    self.events.push(format!("{event} {values:?}"));
                }
            }
            assert!(rest.is_empty(), "lengths add up");
        }
    }
}

fn take(news: &mut News, batch: Outbox) -> bool {
    news.take(|into| {
        *into = batch;
        !into.is_empty()
    })
}

fn peer(peer: u32, open: bool, closed: Option<Result<(), Failure>>) -> PeerUpdate {
    let remote = SocketAddr::from(([127, 0, 0, 1], 4433));
    PeerUpdate { peer, accepted: peer.is_multiple_of(2), remote, open, closed, path: open.then_some(0) }
}

fn pattern(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|at| (at as u8).wrapping_mul(7).wrapping_add(seed)).collect()
}

fn record(stream: u32, packets: u64) -> Record {
    let info = |number| Info {
        number,
        space: Space::Stream,
        packet_len: 1472,
        stream_offset: number * 1408,
        payload_len: 1408,
        included_fin: number + 1 == packets,
        retransmission: false,
    };
    Record {
        stream,
        outcome: Outcome::Sent { at_ns: LINE_ORIGIN_NS + 2_500_000 },
        scheduled_ns: LINE_ORIGIN_NS + 2_000_000,
        packets: (0..packets).map(info).collect(),
    }
}

fn busy_batch() -> Outbox {
    Outbox {
        peers: vec![peer(2, true, None), peer(2, false, Some(Err(Failure::PeerRestarted)))],
        streams: vec![
            StreamUpdate {
                stream: 2,
                accepted_from: Some(2),
                readable: vec![pattern(300, 1).into(), pattern(0, 0).into(), pattern(500, 2).into()],
                end: true,
                ..StreamUpdate::default()
            },
            StreamUpdate {
                stream: 1,
                readable: vec![pattern(50, 3).into()],
                sealed: 3000,
                acknowledged: 2000,
                failure: Some(Failure::PeerReset(300)),
                closed: true,
                transmissions: 7,
                packets: 9,
                packets_retransmitted: 2,
                bytes_retransmitted: 2944,
                packets_lost: 1,
                unrecorded: 4,
                skipped: 2,
                ..StreamUpdate::default()
            },
        ],
        records: vec![record(1, 2)],
        drained: true,
        ..Outbox::default()
    }
}

const BUSY_EVENTS: [&str; 12] = [
    "1 [2.0, 1.0]",
    "3 [2.0, 2.0]",
    "10 [1.0, 2.0]",
    "6 [1.0, 3000.0, 2000.0, 0.0, 7.0, 9.0, 2.0, 2944.0, 1.0]",
    // 1472 bytes a packet, above the flags: 1472 << 16 is 96,468,992.
    "9 [1.0, 0.0, 2.0, 2.5, 0.0, 0.0, 0.0, 1408.0, 96469000.0, 1.0, 1408.0, 1408.0, 96469001.0]",
    "data 2 +800",
    "5 [2.0]",
    "data 1 +50",
    "7 [1.0, 6.0, 300.0]",
    "8 [1.0, 7.0, 4.0, 2000.0]",
    "2 [2.0, 4.0, 0.0]",
    "11 []",
];

#[test]
fn a_batch_in_one_drain_is_in_the_promised_order() {
    let mut news = News::default();
    assert!(take(&mut news, busy_batch()));
    let mut reader = Reader::new(1024, 4096);
    reader.read(&mut news);
    assert_eq!(reader.events, BUSY_EVENTS);
    assert_eq!(reader.drains, 1);
    assert_eq!(reader.bytes, [(2, [pattern(300, 1), pattern(500, 2)].concat()), (1, pattern(50, 3))]);
    assert_eq!(news.peers().get(2), None, "a closed peer is forgotten");
}

#[test]
fn any_room_gives_the_same_news_in_more_drains() {
    let whole = |events: &[String]| -> Vec<String> {
        events.iter().filter(|event| !event.starts_with("data")).cloned().collect()
    };
    for ring in [15, 16, 19, 23, 40] {
        for slab in [1, 7, 299, 300, 301, 800, 4096] {
            let mut news = News::default();
            take(&mut news, busy_batch());
            let mut reader = Reader::new(ring, slab);
            reader.read(&mut news);
            assert!(reader.drains > 1, "the room was meant to be short");
            let expected: Vec<String> = BUSY_EVENTS.map(String::from).to_vec();
            assert_eq!(whole(&reader.events), whole(&expected), "ring {ring}, slab {slab}");
            assert_eq!(
                reader.bytes,
                [(2, [pattern(300, 1), pattern(500, 2)].concat()), (1, pattern(50, 3))],
                "ring {ring}, slab {slab}"
            );
            let position = |start: &str| reader.events.iter().rposition(|event| event.starts_with(start));
            assert!(position("data 2") < position("5 [2"), "the end comes behind all bytes");
            assert!(position("data 1") < position("7 [1"), "a failure comes behind all bytes");
        }
    }
}

#[test]
fn refused_offload_is_told_once_and_again_when_it_was_refused_again() {
    let (mut told, mut elements) = (0, [0.0; 6]);
    let mut tell = |fallbacks, room: usize| {
        let mut ring = Ring::new(&mut elements[..room]);
        tell_fallbacks(&mut told, fallbacks, &mut ring);
        let written = ring.written();
        elements[..written].to_vec()
    };
    assert_eq!(tell(0, 6), []);
    assert_eq!(tell(2, 2), [], "no room");
    assert_eq!(tell(2, 6), [12.0, 3.0, 2.0]);
    assert_eq!(tell(2, 6), []);
    assert_eq!(tell(5, 3), [12.0, 3.0, 5.0]);
}

#[test]
fn no_room_at_all_is_an_error_and_not_a_silence() {
    let mut news = News::default();
    take(&mut news, busy_batch());
    let line = Line::new(0, 0.0, 0);
    let mut elements = [0.0; 3];
    let mut drain = Drain { ring: Ring::new(&mut elements), slab: &mut [0; 8], slab_at: 0, line };
    assert_eq!(news.tell(&mut drain), Err(NoRoom::Ring));

    let mut elements = [0.0; 1024];
    let mut slab = [0; 8];
    let mut drain = Drain { ring: Ring::new(&mut elements), slab: &mut slab, slab_at: 8, line };
    assert_eq!(news.tell(&mut drain), Ok(()), "everything but bytes was told");
    assert_ne!(drain.ring.written(), 0);
    let mut elements = [0.0; 1024];
    for slab_at in [8, 9, usize::MAX] {
        let mut drain = Drain { ring: Ring::new(&mut elements), slab: &mut slab, slab_at, line };
        assert_eq!(news.tell(&mut drain), Err(NoRoom::Slab));
    }

    let mut reader = Reader::new(1024, 4096);
    reader.read(&mut news);
    assert_eq!(reader.bytes.len(), 2, "and nothing was lost");
}

#[test]
fn the_largest_completion_fits_the_smallest_ring() {
    let mut news = News::default();
    take(&mut news, Outbox { records: vec![record(1, 64)], ..Outbox::default() });
    let mut reader = Reader::new(MIN_RING_ELEMENTS, 0);
    reader.read(&mut news);
    assert_eq!(reader.events.len(), 1);
}

#[test]
fn outcomes_and_flags() {
    let mut batch = vec![record(1, 1), record(1, 1), record(1, 1)];
    batch[0].outcome = Outcome::Failed { error: SendError::Os(1), at_ns: LINE_ORIGIN_NS };
    batch[1].outcome = Outcome::Failed { error: SendError::TooLarge, at_ns: LINE_ORIGIN_NS };
    batch[2].outcome = Outcome::Cancelled;
    batch[2].packets[0].retransmission = true;
    batch[2].packets[0].space = Space::Recovery;
    batch[2].packets[0].included_fin = false;
    let mut news = News::default();
    take(&mut news, Outbox { records: batch, ..Outbox::default() });
    let mut reader = Reader::new(1024, 0);
    reader.read(&mut news);
    let too_large = if cfg!(target_os = "linux") { "90.0" } else { "40.0" };
    assert_eq!(
        reader.events,
        [
            format!("9 [1.0, 1.0, 2.0, 0.0, 1.0, 0.0, 0.0, 1408.0, {}.0]", (1472 << 16) | 9),
            format!("9 [1.0, 1.0, 2.0, 0.0, {too_large}, 0.0, 0.0, 1408.0, {}.0]", (1472 << 16) | 9),
            format!("9 [1.0, 2.0, 2.0, NaN, 0.0, 0.0, 0.0, 1408.0, {}.0]", (1472 << 16) | 14),
        ]
    );
}

#[test]
fn a_failure_is_told_once_per_stream() {
    let failed = |closed| Outbox {
        streams: vec![StreamUpdate {
            stream: 3,
            failure: Some(Failure::LocalReset(256)),
            closed,
            ..StreamUpdate::default()
        }],
        ..Outbox::default()
    };
    let mut news = News::default();
    let mut reader = Reader::new(1024, 0);
    for closed in [false, false, true] {
        take(&mut news, failed(closed));
        reader.read(&mut news);
    }
    assert_eq!(reader.events, ["7 [3.0, 7.0, 256.0]", "8 [3.0, 0.0, 0.0, 0.0]"]);
    // The number may come again for another stream.
    reader.events.clear();
    take(&mut news, failed(true));
    reader.read(&mut news);
    assert_eq!(reader.events.len(), 2);
}

#[test]
fn an_update_with_nothing_to_say_says_nothing() {
    let mut news = News::default();
    let quiet = StreamUpdate { stream: 3, ..StreamUpdate::default() };
    assert!(take(&mut news, Outbox { streams: vec![quiet], ..Outbox::default() }));
    let mut reader = Reader::new(1024, 0);
    reader.read(&mut news);
    assert!(reader.events.is_empty());
    assert!(news.is_told());
}

#[test]
fn chunks_are_let_go_as_soon_as_they_are_copied() {
    let first = Bytes::from(pattern(100, 1));
    let second = Bytes::from(pattern(100, 2));
    let mut news = News::default();
    let update =
        StreamUpdate { stream: 1, readable: vec![first.clone(), second.clone()], ..StreamUpdate::default() };
    take(&mut news, Outbox { streams: vec![update], ..Outbox::default() });
    let (mut elements, mut slab) = ([0.0; 64], [0; 150]);
    let line = Line::new(0, 0.0, 0);
    let mut drain = Drain { ring: Ring::new(&mut elements), slab: &mut slab, slab_at: 0, line };
    assert!(!first.is_unique());
    news.tell(&mut drain).expect("room");
    assert!(!news.is_told());
    assert_eq!(news.spent().len(), 1, "for whoever fills it again");
    news.spent().clear();
    assert!(first.is_unique() && !second.is_unique());
}
