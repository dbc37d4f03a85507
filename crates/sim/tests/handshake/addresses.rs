//! Where a path's packets go: the three-times limit of an address that has proved nothing.

use super::town::{CONFIRM, PEER, Post, Town, config};
use paceline_transport::{MS, SECOND, app::Command};
use std::net::SocketAddr;

/// A client, a server with a megabyte for whoever opens a stream, and what went to and came from a third address.
struct Street {
    town: Town,
    a: usize,
    b: usize,
    elsewhere: SocketAddr,
    from_elsewhere: u64,
    to_elsewhere: u64,
    greatest: f64,
}

const GIFT: usize = 1 << 20;

impl Street {
    fn new(seed: u64) -> Self {
        let mut town = Town::empty(seed);
        let (a, b) = (town.add(config(seed)), town.add(config(seed)));
        town.world.capture();
        town.connect(a, PEER, b);
        town.open(a, 1, PEER, b"give");
        let elsewhere = SocketAddr::from(([10, 6, 6, 6], 6));
        Self { town, a, b, elsewhere, from_elsewhere: 0, to_elsewhere: 0, greatest: 0.0 }
    }

    /// `sort` says from where a datagram of the client arrives (more than once, if it is copied).
    fn run(&mut self, ns: u64, answers: bool, sort: &mut dyn FnMut(u8) -> Vec<bool>) {
        let (a, b) = (self.town.address(self.a), self.town.address(self.b));
        let elsewhere = self.elsewhere;
        let (mut came, mut went, mut greatest) = (self.from_elsewhere, self.to_elsewhere, self.greatest);
        let mut post = Post::new();
        let end = self.town.world.now_ns() + ns;
        while self.town.world.now_ns() < end {
            self.town.run_sorted(MS, &mut post, &mut |datagram| {
                let len = datagram.bytes.len() as u64;
                if datagram.from == a {
                    let from = |moved: bool| if moved { elsewhere } else { a };
                    let arrivals: Vec<_> =
                        sort(datagram.bytes[0]).into_iter().map(|moved| (from(moved), b)).collect();
                    came += arrivals.iter().filter(|(from, _)| *from == elsewhere).count() as u64 * len;
                    return arrivals;
                }
                if datagram.to == elsewhere {
                    went += len;
                    greatest = greatest.max(went as f64 / came.max(1) as f64);
                }
                let arrives = datagram.to == a || answers;
                if arrives { vec![(b, a)] } else { Vec::new() }
            });
            if self.town.heard(self.b).streams.contains_key(&2) && self.town.heard(self.b).bytes.len() == 1 {
                self.give();
            }
        }
        (self.from_elsewhere, self.to_elsewhere, self.greatest) = (came, went, greatest);
    }

    fn give(&mut self) {
        if self.town.heard(self.b).streams[&2].sealed == 0 {
            self.town.write(self.b, 2, &vec![7; GIFT]);
            self.town.command(self.b, Command::Finish(2));
        }
    }
}

/// An observer sends the client's first packets on from a victim's address, and nothing of the client's own gets through.
#[test]
fn a_victim_gets_three_times_what_was_sent_in_its_name() {
    for first in [CONFIRM, 0] {
        let mut street = Street::new(1);
        let mut copied = 0;
        street.run(8 * SECOND, false, &mut |kind| match kind {
            // The handshake is the client's own; then a Confirm or a stream packet is the only thing that arrives.
            0x80 => vec![false],
            CONFIRM if first == CONFIRM && copied == 0 => {
                copied += 1;
                vec![true]
            }
            0..0x40 if copied < 2 => {
                copied += 1;
                vec![true]
            }
            _ => Vec::new(),
        });
        assert_eq!(copied, 2);
        assert_eq!(street.town.bytes(street.b, 2), b"give", "the packet was authentic");
        assert!(street.to_elsewhere > 0, "the attack works");
        // The Confirmed has the length of the Confirm and is the handshake's, within the same limit.
        assert!(street.greatest <= 3.0, "{} B for {} B", street.to_elsewhere, street.from_elsewhere);
    }
}

/// The client's address changes between Response and Confirm (a NAT that forgets): its packets prove the new one.
#[test]
fn a_new_address_proves_itself() {
    let mut street = Street::new(2);
    street.run(5 * SECOND, true, &mut |kind| vec![kind != 0x80]);
    assert_eq!(street.town.bytes(street.a, 1).len(), GIFT);
    assert!(street.greatest > 3.0, "once it has proved itself, nothing limits it");
    assert_eq!(street.town.failure(street.a, 1), None);
}

/// A copy of the first packets arrives before them: the path goes back to where the Response went.
#[test]
fn a_faster_copy_costs_the_client_nothing() {
    for copied_kinds in [&[CONFIRM][..], &[CONFIRM, 0, 1, 8, 9]] {
        let mut street = Street::new(3);
        let mut copies = 0;
        street.run(5 * SECOND, false, &mut |kind| {
            if copies < 2 && copied_kinds.contains(&(kind & 0xcf)) {
                copies += 1;
                vec![true, false]
            } else {
                vec![false]
            }
        });
        assert!(copies > 0);
        assert_eq!(street.town.bytes(street.a, 1).len(), GIFT);
        assert!(street.greatest <= 3.0, "{}", street.greatest);
    }
}
