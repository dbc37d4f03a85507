//! Every input that a fuzzer once found worth keeping, through the body it was found with (`fuzz/`).

#[path = "../../../fuzz/src/bodies/mod.rs"]
mod bodies;

use bodies::{Reach, TARGETS};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Bytes of a target's corpus at most: it is read by everybody who clones.
const MAX_CORPUS: u64 = 300 << 10;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus")
}

/// Runs every input of the named targets; (inputs, inputs past the decoder).
fn replay(names: &[&str]) -> (u64, u64) {
    let (mut inputs, mut past) = (0, 0);
    for (name, body) in TARGETS.iter().filter(|(name, _)| names.contains(name)) {
        let directory = corpus().join(name);
        let entries =
            fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        let (mut count, mut deep, mut bytes) = (0u64, 0u64, 0);
        for path in &paths {
            let input = fs::read(path).unwrap();
            bytes += input.len() as u64;
            // Shown only when the body panics: the test harness keeps it back otherwise.
            println!("{}", path.display());
            let Reach { past, .. } = body(&input);
            count += 1;
            deep += u64::from(past);
        }
        assert!(count >= 10, "{name}: {count} inputs are no corpus");
        assert!(deep * 5 >= count, "{name}: {deep} of {count} inputs get past the decoder");
        assert!(bytes <= MAX_CORPUS, "{name}: {bytes} bytes");
        (inputs, past) = (inputs + count, past + deep);
    }
    assert!(inputs >= 10 * names.len() as u64);
    (inputs, past)
}

#[test]
fn packets_and_frames() {
    replay(&[
        "stream_packet",
        "control_packet",
        "datagram_packet",
        "secret_control_packet",
        "frames",
        "secret",
    ]);
}

#[test]
fn handshakes() {
    replay(&["handshake_initiator", "handshake_responder"]);
}

#[test]
fn structures() {
    replay(&["wheel", "ranges", "reassembly", "replay_window", "sent_map"]);
}

#[test]
fn two_endpoints() {
    replay(&["endpoint_pair"]);
}

#[test]
fn an_endpoint_and_a_hostile_peer() {
    replay(&["endpoint_peer"]);
}

#[test]
fn every_corpus_has_a_target_and_every_target_a_corpus() {
    let mut corpora: Vec<String> = fs::read_dir(corpus())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let mut targets: Vec<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let directory = corpus().join("../targets");
    let mut programs: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    for list in [&mut corpora, &mut targets, &mut programs] {
        list.sort();
    }
    assert_eq!(corpora, targets);
    assert_eq!(programs, targets);
}
