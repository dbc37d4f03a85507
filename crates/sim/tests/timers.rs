//! Entries of the timer wheel: it has no removal, so what is armed again must not leave one behind each time.

mod support;

use paceline_sim::Link;
use paceline_transport::{Config, MS, SECOND};
use support::Pair;

/// A stream that waits for its peer's window is looked at after two PTOs, and otherwise after ten seconds. Each look left another
/// entry ten seconds ahead.
#[test]
fn a_stream_that_waits_for_its_window_again_and_again_has_two_entries() {
    let window = 16 << 10;
    let config = Config { initial_window: window, max_window: window, ..Config::default() };
    let link = Link { delay_ns: MS / 10, ..Link::default() };
    let mut pair = Pair::new(1, &link, config);
    pair.open(1, 128 << 20);
    pair.run(MS);
    let mut most = 0;
    for _ in 0..50 {
        pair.run(SECOND / 25);
        let audit = pair.world.audit(pair.a);
        most = most.max(audit.timers);
    }
    println!("{} bytes, {most} timers at most", pair.received());
    // Two of the stream and its acknowledgement's, the path's.
    assert!(most <= 3 + 8, "{most}");
    assert!(pair.received() > 64 << 20, "{}", pair.received());
    assert_eq!(pair.stream(0, 1).failure, None);
}
