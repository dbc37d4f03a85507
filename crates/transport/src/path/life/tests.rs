use super::*;

fn life(initiator: bool, luck: u64) -> Life {
    Life::new([1; 16], initiator, 30 * SECOND, &Handshakes::default(), 0, luck)
}

const HOUR: u64 = 3_600 * SECOND;

#[test]
fn the_initiator_makes_a_new_path_within_a_tenth_before_its_time() {
    let deadlines: Vec<u64> = (0..100).map(|luck| life(true, luck << 57).deadline().unwrap()).collect();
    assert!(deadlines.iter().all(|at| (24 * HOUR * 9 / 10..=24 * HOUR).contains(at)));
    let (first, last) = (deadlines.iter().min().unwrap(), deadlines.iter().max().unwrap());
    assert!(last - first > 2 * HOUR, "spread over most of 2.4 h: {}", (last - first) / SECOND);
    assert_eq!(life(false, 0).deadline(), Some(48 * HOUR), "a responder only ages");
}

#[test]
fn failed_attempts_come_ever_more_slowly_and_the_path_ages() {
    let mut life = life(true, 0);
    let mut now_ns = 0;
    let mut gaps = Vec::new();
    while now_ns < 48 * HOUR {
        let at = life.deadline().unwrap();
        if life.advance(at) == Some(Due::Refresh) {
            gaps.push((at - now_ns) / SECOND);
            life.refreshing(at);
        }
        now_ns = at;
    }
    assert_eq!(gaps[..9], [86_400, 10, 20, 40, 80, 160, 320, 640, 1280]);
    assert!(gaps[9..].iter().all(|gap| *gap <= 1280));
    assert_eq!(life.phase, Phase::Aged);
    assert!(!life.phase.opens() && life.phase.accepts());
}

#[test]
fn a_retired_path_lingers() {
    let mut old = life(true, 0);
    old.phase = old.phase.on(Event::Superseded);
    assert_eq!(old.deadline(), Some(50 * SECOND));
    old.idle_since_ns = None;
    assert_eq!(old.deadline(), None, "it ends with its last stream");
    assert_eq!(old.advance(100 * HOUR), None);
    old.idle_since_ns = Some(100 * HOUR);
    assert_eq!(old.advance(100 * HOUR + 50 * SECOND - 1), None);
    assert_eq!(old.advance(100 * HOUR + 50 * SECOND), Some(Due::Drop));

    // At the responder, until the initiator cannot open streams on it any more, whatever it made the new one for.
    let mut theirs = life(false, 0);
    theirs.phase = theirs.phase.on(Event::Superseded);
    assert_eq!(theirs.deadline(), Some(48 * HOUR + 50 * SECOND));
}
