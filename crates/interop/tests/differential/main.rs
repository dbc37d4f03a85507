//! The codec and the key schedule, held against those of `s2n-quic-dc`: packets of every kind go through their encoder and our
//! decoder, and back. Where both encoders are given the same fields, their bytes are the same.
//!
//! `PACELINE_DIFFERENTIAL_CASES` (default 120,000), `PACELINE_DIFFERENTIAL_SEED` (default 1); a failure prints the session that
//! `PACELINE_DIFFERENTIAL_SESSION` repeats alone.

mod control;
mod datagram;
mod frames;
mod keys;
mod secret_control;
mod stream;
mod tally;
mod tamper;

use keys::Keys;
use paceline_interop::Rng;
use tally::Tally;

fn variable(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{name}: not a number: {text}")))
}

/// Says which session failed.
struct Named {
    seed: u64,
    session: u64,
}

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "repeat: PACELINE_DIFFERENTIAL_SEED={} PACELINE_DIFFERENTIAL_SESSION={}",
                self.seed, self.session
            );
        }
    }
}

/// All packets of one path secret and key id.
fn session(seed: u64, session: u64, tally: &mut Tally) {
    let _named = Named { seed, session };
    let mut rng = Rng::new(seed.wrapping_mul(0x1_0000_0001).wrapping_add(session));
    // Every combination comes up before chance does.
    let mut keys = Keys::new(&mut rng, session);
    stream::both_ways(&mut keys, &mut rng, tally);
    control::both_ways(&keys, &mut rng, tally);
    datagram::both_ways(&keys, &mut rng, tally);
    secret_control::both_ways(&keys, &mut rng, tally);
}

#[test]
fn differential() {
    let seed = variable("PACELINE_DIFFERENTIAL_SEED").unwrap_or(1);
    let mut tally = Tally::default();
    if let Some(only) = variable("PACELINE_DIFFERENTIAL_SESSION") {
        session(seed, only, &mut tally);
        return;
    }
    let cases = variable("PACELINE_DIFFERENTIAL_CASES").unwrap_or(120_000);
    let mut sessions = 0;
    while tally.cases() < cases {
        session(seed, sessions, &mut tally);
        sessions += 1;
    }
    tally.check();
    println!("{sessions} sessions\n{tally}");
}
