//! One line for each row.

use crate::{
    case::{Case, Opener},
    proxy::Counts,
};
use paceline_wire::{Role, Suite};
use std::fmt::Write as _;

/// How a row went.
#[derive(Debug)]
pub struct Report {
    /// The row.
    pub case: Case,
    /// As it should.
    pub ok: bool,
    /// What went wrong; of rows that must fail, with what they did.
    pub error: Option<String>,
    /// All of it.
    pub seconds: f64,
    /// Of what went up and down the first stream, as received.
    pub sha256: Option<(String, String)>,
    /// What the network did on the way to the peer that was opened to, and on the way back from it.
    pub faults: Option<[Counts; 2]>,
}

/// As a JSON string.
#[must_use]
pub fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if u32::from(c) < 0x20 => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn counts(Counts { seen, lost, reordered, duplicated }: Counts) -> String {
    format!("{{\"seen\":{seen},\"lost\":{lost},\"reordered\":{reordered},\"duplicated\":{duplicated}}}")
}

impl Report {
    /// One JSON object.
    #[must_use]
    pub fn json(&self) -> String {
        let case = &self.case;
        let opener = if case.opener == Opener::Ours { "ours" } else { "theirs" };
        let role = if case.role == Role::Client { "client" } else { "server" };
        let suite = if case.suite == Suite::Aes128GcmSha256 { "aes-128" } else { "aes-256" };
        let mut out = format!(
            "{{\"case\":{},\"opener\":\"{opener}\",\"role\":\"{role}\",\"suite\":\"{suite}\",\"bytes\":{},\"streams\":{},\"mtu\":{},\"ok\":{},\"seconds\":{:.3}",
            quoted(&case.to_string()),
            case.bytes,
            case.streams,
            case.mtu,
            self.ok,
            self.seconds
        );
        if let Some((up, down)) = &self.sha256 {
            let _ = write!(out, ",\"sha256\":{{\"up\":\"{up}\",\"down\":\"{down}\"}}");
        }
        if let Some([there, back]) = self.faults {
            let _ = write!(out, ",\"datagrams\":{{\"there\":{},\"back\":{}}}", counts(there), counts(back));
        }
        if let Some(error) = &self.error {
            let _ = write!(out, ",\"error\":{}", quoted(error));
        }
        out.push('}');
        out
    }

    /// One line for people.
    #[must_use]
    pub fn line(&self) -> String {
        let verdict = if self.ok { "ok    " } else { "FAILED" };
        let error = self.error.as_ref().map_or(String::new(), |error| format!(": {error}"));
        format!("{verdict} {:7.2} s  {}{error}", self.seconds, self.case)
    }
}

/// A row that is not one of the matrix: its name, and what was seen.
#[derive(Debug)]
pub struct Row {
    /// The row.
    pub name: String,
    /// All of it.
    pub seconds: f64,
    /// What was seen, or what went wrong.
    pub result: Result<String, String>,
}

impl Row {
    /// One JSON object.
    #[must_use]
    pub fn json(&self) -> String {
        let (key, seen) = match &self.result {
            Ok(seen) => ("seen", seen),
            Err(error) => ("error", error),
        };
        let (name, seen, ok) = (quoted(&self.name), quoted(seen), self.result.is_ok());
        format!("{{\"case\":{name},\"ok\":{ok},\"seconds\":{:.3},\"{key}\":{seen}}}", self.seconds)
    }

    /// One line for people.
    #[must_use]
    pub fn line(&self) -> String {
        let (result, seen) = match &self.result {
            Ok(seen) => ("ok    ", seen),
            Err(error) => ("FAILED", error),
        };
        format!("{result} {:7.2} s  {}: {seen}", self.seconds, self.name)
    }
}

/// Plays a row if it is wanted, within its time, and tells of it.
macro_rules! row {
    ($wanted:expr, $tell:expr, $name:expr, $played:expr) => {
        if $wanted($name) {
            let begin = std::time::Instant::now();
            let played = tokio::time::timeout($crate::report::ROW_LIMIT, $played).await;
            let result = played.unwrap_or_else(|_| Err("not done".into()));
            $tell($crate::report::Row { name: $name.into(), seconds: begin.elapsed().as_secs_f64(), result });
        }
    };
}
pub(crate) use row;

/// A row that takes longer has failed.
pub(crate) const ROW_LIMIT: std::time::Duration = std::time::Duration::from_secs(30);
