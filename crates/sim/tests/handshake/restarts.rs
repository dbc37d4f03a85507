//! Processes that are started again in the middle of a handshake.

use super::{
    report,
    town::{PEER, Town, config},
};
use paceline_sim::Link;
use paceline_transport::{Config, Failure, MS, SECOND};

/// Restarts `victim` after so many datagrams of a handshake and its first packets. Whatever happens: both sides know how it
/// ended, within their timeouts, and the next attempt succeeds. Returns how the first one ended.
fn restart_after(datagrams: u64, victim: usize) -> Option<Failure> {
    let config = Config { idle_timeout_ns: 3 * SECOND, ..config(1) };
    let link = Link { delay_ns: 10 * MS, ..Link::default() };
    let mut town = Town::new(1, 2, &link, &config);
    town.connect(0, PEER, 1);
    town.open(0, 1, PEER, &[1; 20_000]);
    assert!(town.run_until(SECOND, |town| town.world.datagrams().0 >= datagrams), "{datagrams}");
    town.restart(victim, config.clone());
    let (ended, again) = if victim == 0 {
        // The application starts again, too.
        (None, (PEER, 1))
    } else {
        town.write(0, 1, b" after");
        let known = |town: &Town| {
            let closed = town.peer(0, PEER).1;
            closed.is_some() || town.failure(0, 1).is_some() || !town.heard(1).bytes.is_empty()
        };
        assert!(town.run_until(15 * SECOND, known), "after {datagrams} datagrams nobody knows");
        (town.failure(0, 1), (3, 3))
    };
    town.connect(0, again.0, 1);
    town.open(0, again.1, again.0, b"again");
    let greeted = |town: &Town| town.heard(1).bytes.values().any(|bytes| bytes == b"again");
    assert!(town.run_until(5 * SECOND, greeted), "after {datagrams} datagrams, victim {victim}");
    assert_eq!(town.failure(0, again.1), None);
    town.go_home();
    ended
}

#[test]
fn a_restart_at_every_step_of_a_handshake() {
    let mut ends = Vec::new();
    for datagrams in 1..=12 {
        restart_after(datagrams, 0);
        let end = restart_after(datagrams, 1);
        assert!(
            matches!(
                end,
                None | Some(Failure::HandshakeTimeout | Failure::PeerRestarted | Failure::IdleTimeout)
            ),
            "{end:?}"
        );
        ends.push(end);
    }
    report("restarts of the responder", format_args!("{ends:?}"));
    assert_eq!(ends[0], None, "an Initiation on its way is answered by the new process");
    assert!(ends.iter().any(Option::is_some), "later the keys are lost: {ends:?}");
}
