//! A scenario as text, small enough to read.

use super::{HalfPlan, Scenario, StreamPlan, Target};
use std::fmt;

/// No world's stream has as many.
const MANY_PACKETS: u64 = 1 << 20;

fn ms(ns: u64) -> String {
    if ns == u64::MAX { "for ever".to_owned() } else { format!("{:.3} ms", ns as f64 / 1e6) }
}

fn half(f: &mut fmt::Formatter<'_>, name: &str, plan: &HalfPlan) -> fmt::Result {
    write!(f, ", {name} {} B", plan.bytes)?;
    if plan.echo {
        write!(f, " echoed")?;
    }
    if plan.pause_ns > 0 {
        write!(f, " in {} B every {}", plan.chunk, ms(plan.pause_ns))?;
    }
    if let Some((at, code)) = plan.reset_at {
        write!(f, ", reset {code} at {at}")?;
    }
    if let Some((at, priority)) = plan.priority_at {
        write!(f, ", priority {priority} at {at}")?;
    }
    if let Some(rate) = plan.reader.rate {
        write!(f, ", read at {rate} B/s")?;
    }
    if let Some((at, ns)) = plan.reader.pause {
        write!(f, ", reader pauses {} at {at}", ms(ns))?;
    }
    if let Some(at) = plan.reader.stop_at {
        write!(f, ", reader stops at {at}")?;
    }
    Ok(())
}

impl fmt::Display for StreamPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "node {} → {} at {}, priority {}",
            self.opener(),
            self.acceptor(),
            ms(self.at_ns),
            self.priority
        )?;
        half(f, "there", &self.there)?;
        half(f, "back", &self.back)
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}, {}, {} B in all", self.seed, self.mode.name(), self.bytes())?;
        for (index, node) in self.nodes.iter().enumerate() {
            writeln!(
                f,
                "  node {index}: pool {} KiB ({} reserved), send buffer {} KiB, window {}–{} KiB, ≤ {} in flight, ahead {}, {}{}{}{}, idle {}{}",
                node.pool_bytes >> 10,
                node.pool_reserve_bytes >> 10,
                node.send_buffer_bytes >> 10,
                node.initial_window >> 10,
                node.max_window >> 10,
                node.max_in_flight_transmissions,
                ms(node.max_schedule_ahead_ns),
                if node.cubic { "CUBIC" } else { "BBR" },
                if node.aes_256 { ", AES-256" } else { "" },
                node.max_rate.map_or(String::new(), |rate| format!(", ≤ {rate} B/s")),
                if node.packets_per_key_phase > MANY_PACKETS {
                    String::new()
                } else {
                    format!(", {} packets a key", node.packets_per_key_phase)
                },
                ms(node.idle_timeout_ns),
                if node.keep_alive { "" } else { ", no keep-alive" },
            )?;
        }
        for (index, pair) in self.pairs.iter().enumerate() {
            let Link { delay_ns, jitter_ns, rate, queue_bytes, .. } = pair.there;
            writeln!(
                f,
                "  pair {index}: node {} ↔ 0, {} (+ {}) one way, {}, queue {} KiB{}",
                index + 1,
                ms(delay_ns),
                ms(jitter_ns),
                rate.map_or("any rate".to_owned(), |rate| format!("{rate} B/s")),
                queue_bytes >> 10,
                if pair.both_roles { ", connected both ways" } else { "" },
            )?;
        }
        for (index, stream) in self.streams.iter().enumerate() {
            writeln!(f, "  stream {index}: {stream}")?;
        }
        for close in &self.closes {
            writeln!(f, "  {close:?}")?;
        }
        for fault in &self.faults {
            let place = match fault.target {
                Target::Node(node) => format!("node {node}"),
                Target::Pair { pair, there, back } => format!(
                    "pair {pair}{}",
                    match (there, back) {
                        (true, false) => " to the server",
                        (false, true) => " to the client",
                        _ => "",
                    }
                ),
            };
            writeln!(
                f,
                "  {} at {} for {}{}, {place}, {} / {}",
                fault.kind.name(),
                ms(fault.at_ns),
                ms(fault.for_ns),
                fault.every_ns.map_or(String::new(), |every| format!(" every {}", ms(every))),
                fault.amount,
                fault.extra,
            )?;
        }
        if self.attacker_one_in > 0 {
            writeln!(f, "  an attacker repeats one datagram in {}", self.attacker_one_in)?;
        }
        Ok(())
    }
}

use crate::Link;
