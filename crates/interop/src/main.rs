//! Plays the matrix: `paceline-interop [--json] [--seed N] [WORD…]`; with words, only rows whose names have all of them.
//! `--throughput` measures instead; words then choose pairings (`ours to theirs`), `--rounds N` and `--megabytes N` (a run) how much.

// The program's clock is the real one.
#![allow(clippy::disallowed_methods)]

use paceline_interop::{
    case, flaws, matrix, replay,
    report::Row,
    secret_control,
    throughput::{self, Pairing, Plan},
    upstream::Upstream,
};
use std::{process::ExitCode, sync::Arc};

struct Arguments {
    json: bool,
    seed: u64,
    throughput: bool,
    plan: Plan,
    words: Vec<String>,
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut parsed = Arguments {
        json: false,
        seed: fresh_seed(),
        throughput: false,
        plan: Plan::default(),
        words: Vec::new(),
    };
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--json" => parsed.json = true,
            "--throughput" => parsed.throughput = true,
            "--seed" => parsed.seed = number(&argument, arguments.next())?,
            "--rounds" => parsed.plan.rounds = number(&argument, arguments.next())?,
            "--megabytes" => parsed.plan.bytes = number::<u64>(&argument, arguments.next())? << 20,
            option if option.starts_with('-') => return Err(format!("no such option: {option}")),
            word => parsed.words.push(word.to_lowercase()),
        }
    }
    Ok(parsed)
}

fn number<T: std::str::FromStr>(option: &str, value: Option<String>) -> Result<T, String> {
    let value = value.unwrap_or_default();
    value.parse().map_err(|_| format!("{option}: expected a number, got {value}"))
}

fn fresh_seed() -> u64 {
    use std::hash::{BuildHasher as _, Hasher as _};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

async fn measure(upstream: Arc<Upstream>, arguments: &Arguments) -> ExitCode {
    let words = arguments.words.join(" ");
    let pairings: Vec<Pairing> =
        Pairing::ALL.into_iter().filter(|pairing| pairing.name().contains(&words)).collect();
    match throughput::run(upstream, arguments.plan, &pairings, arguments.json).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("paceline-interop: {error}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let arguments = match parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("paceline-interop: {error}");
            return ExitCode::from(2);
        }
    };
    let upstream = match Upstream::start(b"upstream's reset key") {
        Ok(upstream) => Arc::new(upstream),
        Err(error) => {
            eprintln!("paceline-interop: upstream does not start: {error}");
            return ExitCode::from(2);
        }
    };
    if arguments.throughput {
        return measure(upstream, &arguments).await;
    }
    let (mut played, mut failed) = (0, 0);
    for (index, case) in case::all().into_iter().enumerate() {
        let name = case.to_string().to_lowercase();
        if !arguments.words.iter().all(|word| name.contains(word.as_str())) {
            continue;
        }
        let report = matrix::play(&upstream, case, arguments.seed.wrapping_add(index as u64)).await;
        println!("{}", if arguments.json { report.json() } else { report.line() });
        played += 1;
        failed += u32::from(!report.ok);
    }
    let wanted = |name: &str| {
        let name = name.to_lowercase();
        arguments.words.iter().all(|word| name.contains(word.as_str()))
    };
    let mut tell = |row: Row| {
        println!("{}", if arguments.json { row.json() } else { row.line() });
        played += 1;
        failed += u32::from(row.result.is_err());
    };
    secret_control::play(&upstream, wanted, &mut tell).await;
    replay::play(&upstream, wanted, &mut tell).await;
    flaws::play(&upstream, wanted, &mut tell).await;
    if !arguments.json {
        println!("{} of {played} rows passed, seed {}", played - failed, arguments.seed);
    }
    if failed > 0 || played == 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
