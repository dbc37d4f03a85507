//! What arrives while bulk comes in is served in one go; nothing waits longer for it than `Step::coalesce_until_ns` says.

mod support;

use paceline_sim::{Link, ObservedMail};
use paceline_transport::{Config, MS, SECOND};
use std::collections::BTreeSet;
use support::Pair;

const GATHERED_NS: u64 = 50_000;

/// What arrived at the receiver, and in how many steps it was read.
struct Seen {
    mail: Vec<ObservedMail>,
    steps: usize,
}

impl Seen {
    fn of(pair: &mut Pair) -> Self {
        let mut mail = Vec::new();
        pair.world.take_received(&mut mail);
        mail.retain(|mail| mail.node == pair.b);
        let steps = mail.iter().map(|mail| mail.at_ns).collect::<BTreeSet<_>>().len();
        Self { mail, steps }
    }

    fn longest_wait_ns(&self) -> u64 {
        self.mail.iter().map(|mail| mail.at_ns - mail.arrived_ns).max().unwrap_or(0)
    }
}

/// A stream that arrives at `rate` bytes per second, begun half a second ago.
fn bulk(rate: u64) -> Pair {
    let link = Link { rate: Some(rate), ..Link::default() };
    let mut pair = Pair::new(3, &link, Config { initial_window: 16 << 20, ..Config::default() });
    pair.open(1, 2 * rate);
    pair.run(SECOND / 2);
    pair.world.observe(true);
    pair
}

#[test]
fn bulk_is_read_in_one_go_and_messages_at_once() {
    let mut pair = bulk(200_000_000);
    pair.run(SECOND / 2);
    let seen = Seen::of(&mut pair);
    assert!(seen.mail.len() > 60_000, "{} datagrams", seen.mail.len());
    // Of the worker's own timers, too: without coalescing, a step for each datagram.
    assert!(seen.steps * 4 <= seen.mail.len(), "{} steps for {} datagrams", seen.steps, seen.mail.len());
    assert!(seen.longest_wait_ns() <= GATHERED_NS, "{} ns", seen.longest_wait_ns());

    pair.run(2 * SECOND);
    assert_eq!(pair.received(), 400_000_000);
    let _ = Seen::of(&mut pair);
    for message in 0..100 {
        pair.send_on(3 + 2 * message, 10_000);
        pair.run(5 * MS);
    }
    let seen = Seen::of(&mut pair);
    assert!(seen.mail.len() >= 700, "{} datagrams", seen.mail.len());
    assert_eq!(seen.longest_wait_ns(), 0);
}

#[test]
fn less_than_bulk_does_not_wait() {
    let mut pair = bulk(50_000_000);
    pair.run(SECOND / 2);
    let seen = Seen::of(&mut pair);
    assert!(seen.mail.len() > 15_000, "{} datagrams", seen.mail.len());
    assert_eq!(seen.longest_wait_ns(), 0);
}
