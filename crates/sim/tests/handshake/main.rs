//! What handshake.md section 12 lists as untried, with the real transport: loss, floods, limits, addresses, renewal, restarts.

mod addresses;
mod floods;
mod limits;
mod loss;
mod renewal;
mod restarts;
mod town;

/// A figure for `--nocapture`.
fn report(what: &str, figure: impl std::fmt::Display) {
    println!("handshake: {what}: {figure}");
}

/// How many seeds: `PACELINE_HANDSHAKE_SEEDS` for more.
fn seeds(default: u64) -> u64 {
    std::env::var("PACELINE_HANDSHAKE_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}
