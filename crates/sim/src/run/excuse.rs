//! Whether a world's faults justify that a stream fails: without an excuse, the only end in liveness mode is all data.

use super::faults::send_fault;
use crate::{FaultKind, FaultPlan, Scenario, SendFault, Target};
use paceline_transport::SECOND;

/// Of all datagrams of a direction, lost or damaged, from which a silence as long as the idle timeout may be chance: five
/// round trips in a row fail with a probability of 0.2 % at 15 % each way.
const HEAVY_LOSS_PPM: u64 = 100_000;
/// Sends that keep failing end a stream after 3 s; what is retried hits every k-th send again.
const SEND_TROUBLE_NS: u64 = 5 * SECOND / 2;
/// See `SEND_TROUBLE_NS`.
const FREQUENT: u64 = 8;

/// Datagrams of a burst that take a silent stream's probes away for half its idle timeout.
const LONG_BURST: u64 = 6;

/// The parts of a million datagrams that a fault takes away.
fn loss_ppm(fault: &FaultPlan) -> u64 {
    match fault.kind {
        FaultKind::Loss | FaultKind::Corruption | FaultKind::Truncation => fault.amount,
        FaultKind::BurstLoss => fault.amount * fault.extra,
        _ => 0,
    }
}

fn is_silence(fault: &FaultPlan) -> bool {
    match fault.kind {
        FaultKind::Blackhole
        | FaultKind::OneWayPartition
        | FaultKind::MtuDrop
        | FaultKind::ClockStall
        | FaultKind::PoolExhaustion => true,
        FaultKind::SendError => fault.amount <= FREQUENT,
        // Bursts are counted in datagrams: all probes of an idle timeout fit into one.
        FaultKind::BurstLoss => fault.extra >= LONG_BURST,
        FaultKind::RecvError => fault.amount > 800_000,
        _ => false,
    }
}

fn strikes(fault: &FaultPlan, index: usize) -> bool {
    match fault.target {
        Target::Pair { pair, .. } => pair == index,
        Target::Node(node) => node == 0 || node == index + 1,
    }
}

/// The rate cap that a node's departures follow to the byte. A socket that is full keeps what was admitted and lets it go at
/// once; a clock that was set back catches up at once.
pub(super) fn rate_cap(scenario: &Scenario, node: usize) -> Option<u64> {
    let disturbs = |fault: &FaultPlan| {
        matches!(fault.kind, FaultKind::SendError | FaultKind::ClockBackward)
            && fault.target == Target::Node(node)
    };
    scenario.nodes[node].max_rate.filter(|_| !scenario.faults.iter().any(disturbs))
}

/// Why streams of a pair may fail, if they may.
pub(super) fn of(scenario: &Scenario, pair: usize) -> Option<String> {
    // A handshake has its own timeout.
    let half_idle = scenario.idle_timeout_ns(pair).min(super::HANDSHAKE_TIMEOUT_NS) / 2;
    if !scenario.nodes[0].keep_alive || !scenario.nodes[pair + 1].keep_alive {
        return Some("no keep-alive".to_owned());
    }
    let faults: Vec<&FaultPlan> = scenario.faults.iter().filter(|fault| strikes(fault, pair)).collect();
    if faults.iter().any(|fault| fault.kind == FaultKind::PeerRestart) {
        return Some("a restart".to_owned());
    }
    let send_error = |fault: &&&FaultPlan| {
        let kind = fault.kind == FaultKind::SendError && matches!(send_fault(fault.extra), SendFault::Os(_));
        let too_large = fault.kind == FaultKind::MtuDrop && fault.extra == 1;
        (kind && fault.amount <= FREQUENT || too_large) && fault.for_ns >= SEND_TROUBLE_NS
    };
    if let Some(fault) = faults.iter().find(send_error) {
        return Some(format!("{} for {} ms", fault.kind.name(), fault.for_ns / 1_000_000));
    }
    // Silences that follow each other count as one: in between there may not have been time for an answer.
    let mut silent_ns = 0u64;
    let mut lossy_ppm = 0u64;
    let mut lossy_ns = 0u64;
    for fault in &faults {
        if is_silence(fault) {
            silent_ns = silent_ns.saturating_add(fault.for_ns);
        }
        silent_ns = silent_ns.saturating_add(scenario.stops_ns(fault));
        if loss_ppm(fault) > 0 {
            lossy_ppm += loss_ppm(fault);
            lossy_ns = lossy_ns.max(fault.for_ns);
        }
    }
    if silent_ns > half_idle {
        return Some(format!("silent for {} ms", silent_ns / 1_000_000));
    }
    let noisy_ns = silent_ns.saturating_add(lossy_ns);
    (lossy_ppm >= HEAVY_LOSS_PPM && noisy_ns > half_idle)
        .then(|| format!("{} % lost for {} ms", lossy_ppm / 10_000, noisy_ns / 1_000_000))
}
