//! Every state with every event, as committed text: what is sent, told and counted, and which state comes next.
//!
//! `PACELINE_SNAPSHOTS=write cargo test -p paceline-handshake tables` writes the text anew; its diff is the review.

mod initiator;
mod responder;
#[path = "../../tests/support/mod.rs"]
mod support;

use crate::{Counters, Event, Message};
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

/// The counters that moved.
fn moved(before: &Counters, after: &Counters) -> String {
    let fields = |counters: &Counters| -> Vec<(String, u64)> {
        let text = format!("{counters:?}");
        let inner = text.trim_start_matches("Counters { ").trim_end_matches(" }").to_owned();
        let pair =
            |field: &str| field.split_once(": ").map(|(name, n)| (name.to_owned(), n.parse().unwrap()));
        inner.split(", ").filter_map(pair).collect()
    };
    let mut text = String::new();
    for ((name, then), (_, now)) in fields(before).into_iter().zip(fields(after)) {
        match now - then {
            0 => {}
            1 => write!(text, " {name}").unwrap(),
            n => write!(text, " {name}×{n}").unwrap(),
        }
    }
    if text.is_empty() { " –".to_owned() } else { text }
}

fn kind(message: &Message) -> &'static str {
    match message.bytes().first() {
        Some(0x80) => "Initiation",
        Some(0x81) => "Response",
        Some(0x82) => "Cookie",
        Some(0x83) => ["Refusal 0", "Refusal 1", "Refusal 2", "Refusal 3", "Refusal 4", "Refusal 5"]
            [usize::from(message.bytes()[2])],
        Some(0x84) => "Confirm",
        Some(0x85) => "Confirmed",
        _ => unreachable!("no such message"),
    }
}

fn sent(messages: &[Message]) -> String {
    let kinds: Vec<&str> = messages.iter().map(kind).collect();
    if kinds.is_empty() { "–".to_owned() } else { kinds.join(", ") }
}

/// A new variant has no name here and does not compile.
fn told(events: &[Event]) -> String {
    let names: Vec<String> = events
        .iter()
        .map(|event| match event {
            Event::Usable { .. } => "Usable".to_owned(),
            Event::HalfOpen { .. } => "HalfOpen".to_owned(),
            Event::Confirmed { reset_token: Some(_), .. } => "Confirmed (token)".to_owned(),
            Event::Confirmed { reset_token: None, .. } => "Confirmed".to_owned(),
            Event::Expired { .. } => "Expired".to_owned(),
            Event::Failed { credential_id, error, .. } => {
                let path = if credential_id.is_some() { ", path" } else { "" };
                format!("Failed ({error:?}{path})")
            }
        })
        .collect();
    if names.is_empty() { "–".to_owned() } else { names.join(", ") }
}
