//! Every state with every event, as committed text: streams with both their halves, paths, peers.
//!
//! `PACELINE_SNAPSHOTS=write cargo test -p paceline-transport tables` writes the text anew; its diff is the review.

mod bench;
mod peers;
mod streams;

use crate::{
    app::{PeerUpdate, StreamUpdate},
    path::life,
};
use std::{fmt::Write, fs, path::Path};

/// An enum that knows all its variants.
macro_rules! every {
    ($(#[$meta:meta])* $name:ident { $($variant:ident),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        enum $name { $($variant),+ }
        impl $name {
            const ALL: &[Self] = &[$(Self::$variant),+];
        }
    };
}
pub(crate) use every;

/// Compares with the committed table, or writes it.
fn compare(name: &str, table: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots").join(name);
    if std::env::var_os("PACELINE_SNAPSHOTS").is_some_and(|mode| mode == "write") {
        fs::write(&path, table).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    for (number, (now, then)) in table.lines().zip(committed.lines()).enumerate() {
        assert_eq!(now, then, "{name}, line {}", number + 1);
    }
    assert_eq!(table.lines().count(), committed.lines().count(), "{name}: rows");
}

/// What the application hears of a stream.
fn stream_news(updates: &[StreamUpdate], before_sealed: u64) -> String {
    let mut words = Vec::new();
    for update in updates {
        let readable: usize = update.readable.iter().map(bytes::Bytes::len).sum();
        if update.accepted_from.is_some() {
            words.push("accepted".to_owned());
        }
        if readable > 0 {
            words.push(format!("{readable} B"));
        }
        if update.end {
            words.push("end".to_owned());
        }
        if update.sealed > before_sealed {
            words.push("sealed".to_owned());
        }
        if let Some(failure) = update.failure {
            words.push(format!("{failure:?}"));
        }
        if update.closed {
            words.push("closed".to_owned());
        }
    }
    // An update says the newest state; how many there are is a matter of steps.
    words.dedup();
    if words.is_empty() { "–".to_owned() } else { words.join(" ") }
}

/// What the application hears of peers.
fn peer_news(updates: &[PeerUpdate]) -> String {
    let words: Vec<String> = updates
        .iter()
        .map(|update| {
            let what = match update.closed {
                None if update.open => "open".to_owned(),
                None => "–".to_owned(),
                Some(Ok(())) => "closed".to_owned(),
                Some(Err(failure)) => format!("{failure:?}"),
            };
            format!("{} {what}", update.peer)
        })
        .collect();
    if words.is_empty() { "–".to_owned() } else { words.join(", ") }
}

every!(PathEvent { Proved, LifetimeOver, Superseded, Reinstated, Ended });
every!(PathPhase { Usable, Confirmed, Aged, Retired, Closing });

#[test]
fn r7_every_phase_of_a_path_with_every_event() {
    // A new phase or event has no row and does not compile.
    let phase = |phase| match phase {
        PathPhase::Usable => life::Phase::Usable,
        PathPhase::Confirmed => life::Phase::Confirmed,
        PathPhase::Aged => life::Phase::Aged,
        PathPhase::Retired => life::Phase::Retired,
        PathPhase::Closing => life::Phase::Closing,
    };
    let name = |phase| match phase {
        life::Phase::Usable => "Usable",
        life::Phase::Confirmed => "Confirmed",
        life::Phase::Aged => "Aged",
        life::Phase::Retired => "Retired",
        life::Phase::Closing => "Closing",
    };
    let event = |event| match event {
        PathEvent::Proved => life::Event::Proved,
        PathEvent::LifetimeOver => life::Event::LifetimeOver,
        PathEvent::Superseded => life::Event::Superseded,
        PathEvent::Reinstated => life::Event::Reinstated,
        PathEvent::Ended => life::Event::Ended,
    };
    let known = |event| match event {
        life::Event::Proved
        | life::Event::LifetimeOver
        | life::Event::Superseded
        | life::Event::Reinstated
        | life::Event::Ended => PathEvent::ALL.len() == 5,
    };
    let mut table = String::new();
    for from in PathPhase::ALL {
        let from = phase(*from);
        let (opens, accepts) = (from.opens(), from.accepts());
        writeln!(table, "{} (opens: {opens}, accepts: {accepts})", name(from)).unwrap();
        for happening in PathEvent::ALL {
            let happening = event(*happening);
            assert!(known(happening));
            writeln!(table, "  {:<14}→ {}", format!("{happening:?}"), name(from.on(happening))).unwrap();
        }
    }
    compare("path.txt", &table);
}
