//! A peer: connecting, open, renewing, without a path, closing; and what the handshake and the application do to it.

use super::{
    bench::{Bench, PEER, address, secrets},
    compare, every, peer_news,
};
use crate::{app::Command, config::SECOND, endpoint::timers::Timer, error::Failure, path::life};
use std::fmt::Write;

every!(
    /// Ours, but `Accepted`, which came to us.
    State { Connecting, Open, OpenWithStream, Renewing, Renewed, Dormant, Aged, Closing, Accepted, Gone }
);

every!(
    /// What happens to it.
    Happening {
        ConnectAgain,
        ConnectOtherPeer,
        OpenStream,
        SetMaxRate,
        AcceptStreams,
        ClosePeer,
        Shutdown,
        HandshakeAnswered,
        HandshakeTimeout,
        Refused,
        RefreshDue,
        LifetimeOver,
        LastStreamEnds,
        PathUnused,
        PathEvicted,
        PathRestarted,
        PathUnconfirmed,
    }
);

/// A new purpose of a timer does not compile.
fn knows(timer: &Timer) -> bool {
    match timer {
        Timer::Life(_) => true,
        // Rows of the stream's table.
        Timer::Loss(_) | Timer::Pto(_) | Timer::Fill(_) | Timer::Ack(_) | Timer::Stream(_) => false,
    }
}

fn id_of(state: State) -> u32 {
    if state == State::Accepted { 2 } else { PEER }
}

fn describe(bench: &Bench, id: u32) -> String {
    let endpoint = &bench.ours.endpoint;
    let Some(peer) = endpoint.peers.get(&id) else { return "gone".to_owned() };
    let paths: Vec<String> = peer
        .older
        .iter()
        .chain(peer.path.as_ref())
        .map(|key| endpoint.paths.get(*key).map_or("?".to_owned(), |path| format!("{:?}", path.life.phase)))
        .collect();
    let paths = if paths.is_empty() { "no path".to_owned() } else { paths.join("+") };
    let attempt = if endpoint.attempts.values().any(|peers| peers.contains(&id)) { ", attempt" } else { "" };
    let waiting = if peer.waiting.is_empty() { "" } else { ", stream waits" };
    let closing = if peer.closing { "closing, " } else { "" };
    format!("{closing}{paths}{attempt}{waiting}")
}

fn open(bench: &mut Bench, peer: u32) {
    bench.ours.command(Command::Open { stream: 1, peer, priority: 3 });
    bench.ours.command(Command::Write { stream: 1, data: bytes::Bytes::from_static(b"hello") });
}

fn refresh(bench: &mut Bench) {
    let path = bench.ours.path();
    bench.ours.endpoint.want_refresh(path, bench.now_ns);
    bench.ours.step(bench.now_ns);
}

fn enter(state: State) -> Bench {
    let mut bench = Bench::new();
    if state == State::Accepted {
        bench.theirs.command(Command::Connect {
            peer: PEER,
            remote: address(1),
            secrets: secrets(),
            handshake_timeout_ns: 10 * SECOND,
            max_rate: None,
        });
        bench.settle();
        return bench;
    }
    bench.connect();
    if state == State::Connecting {
        bench.ours.step(bench.now_ns);
        bench.hush();
        return bench;
    }
    bench.settle();
    match state {
        State::OpenWithStream => {
            open(&mut bench, PEER);
            bench.settle();
        }
        State::Renewing => refresh(&mut bench),
        State::Renewed => {
            refresh(&mut bench);
            bench.settle();
        }
        State::Dormant => {
            let path = bench.ours.path();
            bench.ours.endpoint.leave_path(path, None, bench.now_ns);
        }
        State::Aged => {
            let path = bench.ours.path();
            let path = bench.ours.endpoint.paths.get_mut(path).unwrap();
            path.life.phase = path.life.phase.on(life::Event::LifetimeOver);
        }
        State::Closing => {
            open(&mut bench, PEER);
            bench.settle();
            bench.ours.command(Command::ClosePeer(PEER));
            bench.ours.step(bench.now_ns);
        }
        State::Gone => {
            bench.ours.command(Command::ClosePeer(PEER));
            bench.ours.step(bench.now_ns);
        }
        State::Open | State::Connecting | State::Accepted => {}
    }
    bench.hush();
    bench
}

/// False where it cannot happen.
fn happen(bench: &mut Bench, state: State, happening: Happening) -> bool {
    use Happening as H;
    let id = id_of(state);
    let newest = bench.ours.endpoint.peers.get(&id).and_then(|peer| peer.path);
    let attempt = bench.ours.endpoint.attempts.keys().next().copied();
    let connect = |peer| Command::Connect {
        peer,
        remote: address(2),
        secrets: secrets(),
        handshake_timeout_ns: 10 * SECOND,
        max_rate: None,
    };
    match happening {
        H::ConnectAgain => bench.ours.command(connect(id)),
        H::ConnectOtherPeer => bench.ours.command(connect(9)),
        H::OpenStream => bench.ours.command(Command::Open { stream: 5, peer: id, priority: 3 }),
        H::SetMaxRate => bench.ours.command(Command::SetMaxRate { peer: id, max_rate: Some(1_000_000) }),
        H::AcceptStreams => bench.ours.command(Command::AcceptStreams(0)),
        H::ClosePeer => bench.ours.command(Command::ClosePeer(id)),
        H::Shutdown => bench.ours.command(Command::Shutdown),
        H::HandshakeAnswered | H::HandshakeTimeout | H::Refused if attempt.is_none() => return false,
        H::HandshakeAnswered => {
            // What was sent was forgotten; it is sent again.
            bench.now_ns += SECOND / 5;
            settle_and_keep(bench);
        }
        H::HandshakeTimeout => {
            for _ in 0..105 {
                bench.now_ns += SECOND / 10;
                bench.ours.step(bench.now_ns);
            }
        }
        H::Refused => {
            bench.theirs.command(Command::Shutdown);
            bench.theirs.step(bench.now_ns);
            bench.now_ns += SECOND / 5;
            settle_and_keep(bench);
        }
        H::RefreshDue | H::LifetimeOver | H::PathUnused | H::PathEvicted | H::PathRestarted
            if newest.is_none() =>
        {
            return false;
        }
        H::RefreshDue => bench.ours.endpoint.want_refresh(newest.unwrap(), bench.now_ns),
        H::LifetimeOver => {
            let path = bench.ours.endpoint.paths.get_mut(newest.unwrap()).unwrap();
            path.life.phase = path.life.phase.on(life::Event::LifetimeOver);
            assert!(knows(&Timer::Life(newest.unwrap())));
        }
        H::LastStreamEnds => {
            if bench.ours.stream(1).is_none() {
                return false;
            }
            let key = bench.ours.key(1);
            bench.ours.endpoint.drain_stream(key, bench.now_ns);
        }
        H::PathUnused => {
            // The oldest one, for as long as a retired path lingers.
            for _ in 0..100 {
                bench.now_ns += SECOND;
                bench.ours.step(bench.now_ns);
            }
        }
        H::PathEvicted => bench.ours.endpoint.leave_path(newest.unwrap(), None, bench.now_ns),
        H::PathRestarted => {
            let failure = Some(Failure::PeerRestarted);
            bench.ours.endpoint.leave_path(newest.unwrap(), failure, bench.now_ns);
        }
        H::PathUnconfirmed => {
            // The Response comes, no Confirm arrives and nothing authentic follows.
            if attempt.is_none() {
                return false;
            }
            bench.now_ns += SECOND / 5;
            bench.ours.step(bench.now_ns);
            bench.settle_once();
            for _ in 0..105 {
                bench.now_ns += SECOND / 10;
                bench.ours.step(bench.now_ns);
            }
        }
    }
    true
}

/// Lets both talk, and keeps what our application heard.
fn settle_and_keep(bench: &mut Bench) {
    let mut heard = Vec::new();
    for _ in 0..8 {
        bench.ours.step(bench.now_ns);
        heard.append(&mut bench.ours.news.peers);
        bench.settle_once();
        heard.append(&mut bench.ours.news.peers);
    }
    bench.ours.news.peers = heard;
}

#[test]
fn r7_every_state_of_a_peer_with_every_event() {
    let mut table = String::new();
    for state in State::ALL {
        let id = id_of(*state);
        writeln!(table, "{:<19}  {}", format!("{state:?}"), describe(&enter(*state), id)).unwrap();
        for happening in Happening::ALL {
            let mut bench = enter(*state);
            if !happen(&mut bench, *state, *happening) {
                writeln!(table, "  {:<19}cannot be", format!("{happening:?}")).unwrap();
                continue;
            }
            bench.ours.step(bench.now_ns);
            writeln!(
                table,
                "  {:<19}→ {:<42}| {}",
                format!("{happening:?}"),
                describe(&bench, id),
                peer_news(&bench.ours.news.peers),
            )
            .unwrap();
        }
    }
    compare("peer.txt", &table);
}
