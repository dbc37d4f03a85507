//! Bugs of the kind that others shipped (reference/reliability.md, section 3) and that were found here: each is planted, and the
//! worlds of `Scenario::generate` find it within 500 seeds, by an invariant that it breaks.
//!
//! `cargo nextest run -p paceline-sim --features planted --test planted --no-capture` prints the table. `PACELINE_SIM_SEED=n` runs that
//! seed only and prints the whole verdict beside the world.

use paceline_sim::{Scenario, Verdict, run_planted};
use paceline_transport::planted::Bug;

/// Issue 4.
const SEEDS: u64 = 500;

fn play(seed: u64, bug: Option<Bug>) -> Verdict {
    run_planted(&Scenario::generate(seed, None), bug)
}

/// The first seed that finds `bug` does so by one of `says`, and passes without it.
fn is_found(bug: Bug, says: &[&str]) {
    let one = std::env::var("PACELINE_SIM_SEED").ok().and_then(|seed| seed.parse().ok());
    if let Some(seed) = one {
        println!(
            "{bug:?}, {}\n{}",
            play(seed, Some(bug)).explain().unwrap_or_default(),
            Scenario::generate(seed, None)
        );
        return;
    }
    let found = (0..SEEDS).find_map(|seed| play(seed, Some(bug)).failure.map(|failure| (seed, failure)));
    let Some((seed, failure)) = found else { panic!("{bug:?}: {SEEDS} worlds are none the wiser") };
    let line: String = failure.what.lines().next().unwrap_or_default().chars().take(120).collect();
    println!("| {bug:?} | {seed} | {line} |");
    assert!(says.iter().any(|words| failure.what.contains(words)), "{bug:?}, seed {seed}: {line}");
    assert_eq!(play(seed, None).failure, None, "seed {seed} fails without {bug:?}, too");
}

/// Streams that stand still, each in its own way.
const STALLS: [&str; 3] = ["the world takes too long", "nothing moves any more", "within the idle timeout"];

macro_rules! bugs {
    ($($name:ident: $bug:ident, $says:expr;)*) => {
        $(#[test] fn $name() { is_found(Bug::$bug, $says); })*

        #[test]
        fn there_are_twenty_at_least_and_each_has_its_test() {
            assert_eq!(Bug::ALL, [$(Bug::$bug),*]);
            assert!(Bug::ALL.len() >= 20);
        }
    };
}

bugs! {
    expiry_of_a_coarse_slot: ExpiryOfACoarseSlot, &["next departure: "];
    pool_keeps_its_classes: PoolKeepsItsClasses, &["the pool lends it not in every size", "within the idle timeout", "no answer"];
    scheduled_is_not_in_the_window: ScheduledIsNotInTheWindow, &["bytes in flight: "];
    key_phase_stays: KeyPhaseStays, &STALLS;
    messages_are_sent_once: MessagesAreSentOnce, &["the peer failed: no answer"];
    held_is_not_charged: HeldIsNotCharged, &["rate cap: "];
    held_goes_back: HeldGoesBack, &["before what left earlier", "leaves after"];
    refused_is_dropped: RefusedIsDropped, &["transmissions without a verdict: "];
    cancelled_keeps_credit: CancelledKeepsCredit, &["scheduled bytes: "];
    cancelled_keeps_descriptor: CancelledKeepsDescriptor, &["descriptors are still out", "held bytes: "];
    failure_is_told_twice: FailureIsToldTwice, &["unrecorded of"];
    probe_stays_in_flight: ProbeStaysInFlight, &["bytes in flight: "];
    one_probe_timeout: OneProbeTimeout, &STALLS;
    ack_is_acknowledged: AckIsAcknowledged, &["control packets for"];
    ack_closes_gaps: AckClosesGaps, &["acknowledged, ", "violated the protocol (transport error 10)"];
    control_is_not_heard: ControlIsNotHeard, &STALLS;
    max_data_is_said_once: MaxDataIsSaidOnce, &["names no credit"];
    lost_fin_is_forgotten: LostFinIsForgotten, &STALLS;
    reseal_loses_the_tail: ResealLosesTheTail, &STALLS;
    close_is_said_once: CloseIsSaidOnce, &["is answered with [None], not Some"];
    time_wait_is_short: TimeWaitIsShort, &["is answered with [], not "];
    replay_is_accepted: ReplayIsAccepted, &["what was played back opens stream"];
}
