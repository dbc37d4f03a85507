//! A stream: its phase, its FIN and its receiving half, with every command, packet, timer and end.

use super::{
    bench::{Bench, PEER, Socket, ack, close, max_data},
    compare, every, stream_news,
};
use crate::{
    app::Command,
    config::SECOND,
    error::Failure,
    stream::{Phase, Stream, send::Fin},
    transmission::{Kind, Outcome, Space},
};
use std::fmt::Write;

every!(
    /// Where a stream of ours stands before the event.
    State {
        Waiting,
        WaitingFinished,
        Open,
        InFlight,
        FinSealed,
        FinAcknowledged,
        PeerGap,
        PeerFinished,
        Stopped,
        Accepted,
        Closing,
        Draining,
        TimeWait,
    }
);

every!(
    /// What happens to it.
    Happening {
        OpenAgain,
        Write,
        Finish,
        Reset,
        StopReading,
        Consume,
        WantRoom,
        WantAcknowledged,
        Record,
        SetPriority,
        ClosePeer,
        Shutdown,
        Data,
        DataAgain,
        DataFin,
        DataBehindGap,
        DataBeyondWindow,
        DataBeyondEnd,
        DataForged,
        Probe,
        ProbeClose,
        ControlMaxData,
        ControlAckAll,
        ControlAckUnsent,
        ControlBadFrame,
        ControlClose,
        ControlRefused,
        ControlKeyRejected,
        ControlForged,
        Sent,
        Failed,
        SendsFailForLong,
        Pto,
        ThirdOfIdle,
        Idle,
        Restarted,
    }
);

const ID: u32 = 1;

/// A new phase does not compile, and a new command, timer or kind of frame does not either.
fn phase(stream: &Stream) -> &'static str {
    match stream.phase {
        Phase::Waiting => "Waiting",
        Phase::Active => "Active",
        Phase::Closing { .. } => "Closing",
        Phase::Draining => "Draining",
    }
}

fn rows_of(command: &Command) -> &'static [Happening] {
    use Happening as H;
    match command {
        Command::Connect { .. }
        | Command::Inject { .. }
        | Command::SetMaxRate { .. }
        | Command::AcceptStreams(_) => &[],
        Command::Open { .. } => &[H::OpenAgain],
        Command::Write { .. } => &[H::Write],
        Command::Finish(_) => &[H::Finish],
        Command::Reset { .. } => &[H::Reset],
        Command::StopReading(_) => &[H::StopReading],
        Command::Consume { .. } => &[H::Consume],
        Command::WantRoom { .. } => &[H::WantRoom],
        Command::WantAcknowledged { .. } => &[H::WantAcknowledged],
        Command::Record(_) => &[H::Record],
        Command::SetPriority { .. } => &[H::SetPriority],
        Command::ClosePeer(_) => &[H::ClosePeer],
        Command::Shutdown => &[H::Shutdown],
    }
}

fn command_of(happening: Happening, id: u32) -> Option<Command> {
    use Happening as H;
    Some(match happening {
        H::OpenAgain => Command::Open { stream: id, peer: PEER, priority: 3 },
        H::Write => Command::Write { stream: id, data: bytes::Bytes::from_static(b"more") },
        H::Finish => Command::Finish(id),
        H::Reset => Command::Reset { stream: id, code: 300 },
        H::StopReading => Command::StopReading(id),
        H::Consume => Command::Consume { stream: id, bytes: 5_000 },
        H::WantRoom => Command::WantRoom { stream: id, level: 0 },
        H::WantAcknowledged => Command::WantAcknowledged { stream: id, offset: 0 },
        H::Record => Command::Record(id),
        H::SetPriority => Command::SetPriority { stream: id, priority: 7 },
        H::ClosePeer => Command::ClosePeer(if id == ID { PEER } else { 2 }),
        H::Shutdown => Command::Shutdown,
        _ => return None,
    })
}

fn describe(stream: Option<&Stream>) -> String {
    let Some(stream) = stream else { return "gone".to_owned() };
    let fin = match stream.send.fin {
        Fin::Open => "Open",
        Fin::Requested => "Requested",
        Fin::Sealed => "Sealed",
        Fin::Acknowledged => "Acknowledged",
    };
    let recv = match (stream.recv.stopped, stream.recv.finished, stream.recv.buffer.final_offset()) {
        (_, true, _) => "Finished",
        (true, false, _) => "Stopped",
        (false, false, Some(_)) => "SizeKnown",
        (false, false, None) => "Receiving",
    };
    format!("{:<9}{fin:<13}{recv}", phase(stream))
}

/// The stream's name, ours being odd.
fn id_of(state: State) -> u32 {
    if state == State::Accepted { 2 } else { ID }
}

fn enter(state: State) -> Bench {
    let mut bench = Bench::new();
    if matches!(state, State::Waiting | State::WaitingFinished) {
        bench.connect();
        bench.ours.command(Command::Open { stream: ID, peer: PEER, priority: 3 });
        if state == State::WaitingFinished {
            bench.ours.command(Command::Finish(ID));
        }
        bench.ours.step(bench.now_ns);
        bench.hush();
        return bench;
    }
    bench.connect();
    bench.settle();
    if state == State::Accepted {
        // The peer that came to them is their number 2, and its stream our number 2.
        bench.theirs.command(Command::Open { stream: ID, peer: 2, priority: 3 });
        bench.settle();
        return bench;
    }
    bench.ours.command(Command::Open { stream: ID, peer: PEER, priority: 3 });
    bench.settle();
    let send = |bench: &mut Bench, command| {
        bench.ours.command(command);
        bench.ours.step(bench.now_ns);
        bench.hush();
    };
    let write = Command::Write { stream: ID, data: bytes::Bytes::from_static(b"hello") };
    match state {
        State::InFlight => send(&mut bench, write),
        State::FinSealed => send(&mut bench, Command::Finish(ID)),
        State::FinAcknowledged => {
            bench.ours.command(Command::Finish(ID));
            bench.settle();
        }
        State::PeerGap => {
            let packet = bench.data(ID, 40, 200..300, None);
            bench.inject(packet);
            bench.ours.step(bench.now_ns);
            bench.hush();
        }
        State::PeerFinished => {
            bench.theirs.command(Command::Finish(2));
            bench.settle();
        }
        State::Stopped => {
            // With our FIN acknowledged, the peer's reading is left alone.
            bench.ours.command(Command::Finish(ID));
            bench.settle();
            let packet = bench.data(ID, 40, 200..300, Some(300));
            bench.inject(packet);
            bench.ours.step(bench.now_ns);
            bench.ours.command(Command::StopReading(ID));
            bench.ours.step(bench.now_ns);
            bench.hush();
        }
        State::Closing => send(&mut bench, Command::Reset { stream: ID, code: 300 }),
        State::Draining => {
            bench.ours.wire.socket = Socket::Keeps;
            send(&mut bench, write);
            let key = bench.ours.key(ID);
            bench.ours.endpoint.lose_stream(key, Failure::PeerReset(300), bench.now_ns);
            bench.ours.step(bench.now_ns);
            bench.hush();
        }
        State::TimeWait => {
            bench.remember(ID);
            bench.ours.command(Command::Finish(ID));
            bench.theirs.command(Command::Finish(2));
            bench.settle();
            bench.settle();
        }
        State::Open | State::Waiting | State::WaitingFinished | State::Accepted => {}
    }
    bench
}

/// False where there is nobody to say it: no keys yet, or no stream any more.
fn happen(bench: &mut Bench, state: State, happening: Happening) -> bool {
    use Happening as H;
    let id = id_of(state);
    if let Some(command) = command_of(happening, id) {
        assert!(rows_of(&command).contains(&happening));
        bench.ours.command(command);
        return true;
    }
    let has_keys = bench.has_keys(id);
    let needs_keys = !matches!(
        happening,
        H::Sent | H::Failed | H::SendsFailForLong | H::Pto | H::ThirdOfIdle | H::Idle | H::Restarted
    );
    if needs_keys && !has_keys {
        return false;
    }
    let end = |bench: &Bench| {
        bench.ours.stream(id).and_then(|stream| stream.recv.buffer.final_offset()).unwrap_or(100)
    };
    let damaged = |mut bytes: Vec<u8>| {
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        bytes
    };
    let packet = match happening {
        H::Data => bench.data(id, 50, 0..100, None),
        H::DataAgain => {
            let first = bench.data(id, 50, 0..100, None);
            bench.inject(first.clone());
            first
        }
        H::DataFin => bench.data(id, 50, 0..end(bench), Some(end(bench))),
        H::DataBehindGap => bench.data(id, 50, 500..600, None),
        H::DataBeyondWindow => bench.data(id, 50, 9_950..10_050, None),
        H::DataBeyondEnd => {
            let first = bench.data(id, 50, 0..100, Some(100));
            bench.inject(first);
            bench.data(id, 51, 100..200, None)
        }
        H::DataForged => damaged(bench.data(id, 50, 0..100, None)),
        H::Probe => bench.probe(id, 50, &[]),
        H::ProbeClose => bench.probe(id, 50, &close(false, 300)),
        H::ControlMaxData => bench.control(id, 50, &max_data(20_000)),
        H::ControlAckAll => {
            let send = bench.ours.stream(id).map(|stream| &stream.send);
            let (stream, recovery) = send.map_or((1, 0), |send| (send.next_number, send.next_recovery));
            let mut frames = if stream > 0 { ack(true, 0..=stream - 1) } else { Vec::new() };
            if recovery > 0 {
                frames.extend(ack(false, 0..=recovery - 1));
            }
            bench.control(id, 50, &frames)
        }
        H::ControlAckUnsent => bench.control(id, 50, &ack(true, 90..=99)),
        H::ControlBadFrame => bench.control(id, 50, &[0x02]),
        H::ControlClose => bench.control(id, 50, &close(false, 300)),
        H::ControlRefused => bench.control(id, 50, &close(false, 2)),
        H::ControlKeyRejected => bench.control(id, 50, &close(true, 0)),
        H::ControlForged => damaged(bench.control(id, 50, &close(false, 300))),
        H::Sent => {
            bench.ours.wire.socket = Socket::Sends;
            bench.ours.release_kept(Outcome::Sent { at_ns: bench.now_ns });
            return true;
        }
        H::Failed => {
            bench.ours.wire.socket = Socket::Fails;
            let error = crate::transmission::SendError::Os(1);
            bench.ours.release_kept(Outcome::Failed { error, at_ns: bench.now_ns });
            return true;
        }
        H::SendsFailForLong => {
            bench.ours.wire.socket = Socket::Fails;
            for _ in 0..400 {
                bench.ours.step(bench.now_ns);
                bench.now_ns += SECOND / 100;
            }
            return true;
        }
        H::Pto | H::ThirdOfIdle | H::Idle => {
            let by_ns = match happening {
                H::Pto => SECOND,
                H::ThirdOfIdle => 10 * SECOND,
                _ => 31 * SECOND,
            };
            // In steps, as timers come.
            for _ in 0..100 {
                bench.now_ns += by_ns / 100;
                bench.ours.step(bench.now_ns);
            }
            return true;
        }
        H::Restarted => {
            let Some(path) = bench.ours.endpoint.by_credential.values().next().copied() else { return false };
            bench.ours.endpoint.leave_path(path, Some(Failure::PeerRestarted), bench.now_ns);
            return true;
        }
        _ => unreachable!("a command"),
    };
    bench.inject(packet);
    true
}

/// What left.
fn left(bench: &Bench) -> String {
    let mut words = Vec::new();
    for kind in [Kind::Data, Kind::Retransmission, Kind::Probe, Kind::Control, Kind::Handshake] {
        match bench.ours.wire.sent.iter().filter(|(sent, _)| *sent == kind).count() {
            0 => {}
            1 => words.push(format!("{kind:?}")),
            // How often is a matter of timers, which have tests of their own.
            _ => words.push(format!("{kind:?}+")),
        }
    }
    if words.is_empty() { "–".to_owned() } else { words.join(" ") }
}

#[test]
fn r7_every_state_of_a_stream_with_every_event() {
    let mut table = String::new();
    for state in State::ALL {
        let id = id_of(*state);
        writeln!(table, "{:<22}  {}", format!("{state:?}"), describe(enter(*state).ours.stream(id))).unwrap();
        for happening in Happening::ALL {
            let mut bench = enter(*state);
            let sealed = bench.ours.stream(id).map_or(u64::MAX, |stream| stream.send.next_offset);
            if !happen(&mut bench, *state, *happening) {
                writeln!(table, "  {:<20}cannot be", format!("{happening:?}")).unwrap();
                continue;
            }
            bench.ours.step(bench.now_ns);
            let news: Vec<_> =
                bench.ours.news.streams.drain(..).filter(|update| update.stream == id).collect();
            writeln!(
                table,
                "  {:<20}→ {:<32}| {:<34}| {}",
                format!("{happening:?}"),
                describe(bench.ours.stream(id)),
                stream_news(&news, sealed),
                left(&bench),
            )
            .unwrap();
        }
    }
    compare("stream.txt", &table);
}

/// A space or a frame that the table does not know would not compile here.
#[test]
fn r7_every_kind_of_frame_and_space_has_a_row() {
    use paceline_wire::frame::{Frame, Frames};
    let row = |frame: &Frame<'_>| match frame {
        Frame::Ack(_) => Happening::ControlAckAll,
        Frame::MaxData(_) => Happening::ControlMaxData,
        Frame::ConnectionClose { .. } => Happening::ControlClose,
        // Skipped by the decoder and by the endpoint.
        Frame::Padding(_) | Frame::Ping | Frame::Other => Happening::Probe,
    };
    let spaces = |space| match space {
        Space::Stream => true,
        Space::Recovery => false,
    };
    for (bytes, expected) in [
        (ack(spaces(Space::Stream), 0..=3), Happening::ControlAckAll),
        (ack(spaces(Space::Recovery), 0..=3), Happening::ControlAckAll),
        (max_data(5), Happening::ControlMaxData),
        (close(true, 3), Happening::ControlClose),
    ] {
        let frame = Frames::new(&bytes).next().unwrap().unwrap();
        assert_eq!(row(&frame), expected);
    }
}
