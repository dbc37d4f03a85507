//! One line for each row.

use crate::case::{Case, Opener, Role, Suite};
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
    /// Datagrams seen, lost, reordered, duplicated.
    pub faults: Option<[u64; 4]>,
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

impl Report {
    /// One JSON object.
    #[must_use]
    pub fn json(&self) -> String {
        let case = &self.case;
        let opener = if case.opener == Opener::Ours { "ours" } else { "theirs" };
        let role = if case.role == Role::Client { "client" } else { "server" };
        let suite = if case.suite == Suite::Aes128 { "aes-128" } else { "aes-256" };
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
        if let Some([seen, lost, reordered, duplicated]) = self.faults {
            let _ = write!(
                out,
                ",\"datagrams\":{{\"seen\":{seen},\"lost\":{lost},\"reordered\":{reordered},\"duplicated\":{duplicated}}}"
            );
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
