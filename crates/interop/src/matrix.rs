//! Plays a case: both peers in this process, on real sockets, each with its own threads.

use crate::{
    Rng,
    case::{Case, Opener, Wrong},
    ours::{self, Ours},
    proxy::{Counts, Proxy, Way},
    report::Report,
    upstream::{Entry, Stream, Upstream},
};
use bytes::Bytes;
use paceline_transport::wire::crypto::{reset_token, sha256};
use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    runtime::Handle,
    task::JoinSet,
};

/// A stream's window at first, both ways on both sides: upstream enforces the smaller of what it was told and what it told.
const WINDOW: u64 = 1 << 20;
const OUR_RESET_KEY: [u8; 32] = [0x0f; 32];
/// For what is left after the last byte: FINs and their acknowledgements.
const END: Duration = Duration::from_secs(20);

/// Content of one direction of one stream.
struct Content {
    up: Bytes,
    down: Bytes,
}

impl Content {
    fn new(seed: u64, bytes: usize) -> Self {
        let mut rng = Rng::new(seed);
        Self { up: rng.bytes(bytes).into(), down: rng.bytes(bytes).into() }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What arrived, by its SHA-256.
fn compare(what: &str, got: &[u8], expected: &[u8]) -> Result<String, String> {
    let (got_hash, expected_hash) = (sha256(&[got]), sha256(&[expected]));
    if got_hash == expected_hash {
        return Ok(hex(&got_hash));
    }
    let at = got.iter().zip(expected).position(|(a, b)| a != b);
    Err(format!("{what}: {} of {} bytes, first difference at {at:?}", got.len(), expected.len()))
}

/// Upstream opens, or has accepted: sends and reads, in its role's order.
async fn play_theirs(mut stream: Stream, content: Arc<Content>, opens: bool) -> Result<String, String> {
    let mut got = Vec::with_capacity(content.up.len());
    let fail = |what: &str, error: io::Error| format!("theirs, {what}: {error} ({:?})", error.kind());
    if opens {
        stream.write_all(&content.up).await.map_err(|error| fail("write", error))?;
        stream.shutdown().await.map_err(|error| fail("shutdown", error))?;
        stream.read_to_end(&mut got).await.map_err(|error| fail("read", error))?;
        compare("they received", &got, &content.down)
    } else {
        stream.read_to_end(&mut got).await.map_err(|error| fail("read", error))?;
        stream.write_all(&content.down).await.map_err(|error| fail("write", error))?;
        stream.shutdown().await.map_err(|error| fail("shutdown", error))?;
        compare("they received", &got, &content.up)
    }
}

/// Our side of all streams of a case. Returns the hash of what the first one received.
fn play_ours(ours: &mut Ours, case: &Case, content: &Content, timeout: Duration) -> Result<String, String> {
    if case.opener == Opener::Ours {
        for _ in 0..case.streams {
            let stream = ours.open();
            ours.send(stream, content.up.clone());
        }
    }
    let expected = if case.opener == Opener::Ours { &content.down } else { &content.up };
    let mut answered = std::collections::BTreeSet::new();
    let done = ours.run(timeout, |ours| {
        let ended: Vec<u32> = ours
            .flows
            .iter()
            .filter(|(id, flow)| flow.accepted && flow.end && !answered.contains(*id))
            .map(|(id, _)| *id)
            .collect();
        for stream in ended {
            answered.insert(stream);
            ours.send(stream, content.down.clone());
        }
        ours.peer_closed.is_some()
            || ours.flows.values().any(|flow| flow.failure.is_some())
            || (ours.flows.len() >= case.streams
                && ours.flows.values().all(|flow| flow.end && flow.acknowledged && flow.closed))
    });
    if let Some(Err(failure)) = ours.peer_closed {
        return Err(format!("ours: {failure:?}"));
    }
    if let Some(failure) = ours.flows.values().find_map(|flow| flow.failure) {
        return Err(format!("ours: {failure:?}; {}", ours.describe()));
    }
    if !done {
        return Err(format!("ours: not done after {timeout:?}; {}", ours.describe()));
    }
    let mut first = None;
    for flow in ours.flows.values() {
        let hash = compare("we received", &flow.received, expected)?;
        first.get_or_insert(hash);
    }
    first.ok_or_else(|| "no stream".into())
}

async fn play_all_theirs(
    upstream: Arc<Upstream>,
    name: std::net::SocketAddr,
    target: std::net::SocketAddr,
    case: Case,
    content: Arc<Content>,
) -> Result<String, String> {
    let opens = case.opener == Opener::Theirs;
    let mut streams = JoinSet::new();
    for _ in 0..case.streams {
        let (upstream, content) = (Arc::clone(&upstream), Arc::clone(&content));
        if opens {
            streams.spawn(async move {
                let stream =
                    upstream.open(name, target).await.map_err(|error| format!("theirs, connect: {error}"))?;
                play_theirs(stream, content, opens).await
            });
        } else {
            let stream = upstream.accept().await.map_err(|error| format!("theirs, accept: {error}"))?;
            streams.spawn(play_theirs(stream, content, opens));
        }
    }
    let mut last = Err("no stream".into());
    while let Some(played) = streams.join_next().await {
        last = Ok(played.map_err(|error| error.to_string())??);
    }
    last
}

/// Bytes that no process had before: the seed repeats everything else.
pub(crate) fn fresh_secret() -> [u8; 32] {
    use std::hash::{BuildHasher as _, RandomState};
    let mut export = [0; 32];
    for (index, part) in export.chunks_mut(8).enumerate() {
        part.copy_from_slice(&RandomState::new().hash_one(index).to_le_bytes());
    }
    export
}

/// Plays one case. `seed` makes the content and the network's faults.
pub async fn play(upstream: &Arc<Upstream>, case: Case, seed: u64) -> Report {
    let begin = Instant::now();
    let (result, faults) = try_play(upstream, case, seed).await;
    let seconds = begin.elapsed().as_secs_f64();
    let mut report = Report { case, ok: false, error: None, seconds, sha256: None, faults };
    match (result, case.wrong) {
        (Ok(sha256), None) => {
            report.ok = true;
            report.sha256 = Some(sha256);
        }
        (Ok(_), Some(_)) => report.error = Some("it went well".into()),
        (Err(error), wrong) => {
            let expected = match (case.opener, wrong) {
                (_, None) => None,
                (Opener::Ours, Some(_)) => Some("ours: PathUnconfirmed"),
                // What does not open is not answered: upstream waits for its idle timeout.
                (Opener::Theirs, Some(Wrong::Role)) => Some("TimedOut"),
                (Opener::Theirs, Some(Wrong::Secret)) => Some("unknown path secret"),
            };
            report.ok = expected.is_some_and(|expected| error.contains(expected));
            report.error = Some(error);
        }
    }
    let wanted = case.faults;
    let happened = |Counts { lost, reordered, duplicated, .. }: &Counts| {
        [(wanted.loss, lost), (wanted.reorder, reordered), (wanted.duplicate, duplicated)]
            .into_iter()
            .all(|(ppm, count)| ppm == 0 || *count > 0)
    };
    if wanted.any() && !faults.is_some_and(|ways| ways.iter().all(happened)) {
        report.ok = false;
        report.error = Some(format!("the network did nothing: {faults:?}"));
    }
    report
}

type Played = Result<(String, String), String>;

async fn try_play(upstream: &Arc<Upstream>, case: Case, seed: u64) -> (Played, Option<[Counts; 2]>) {
    let mut rng = Rng::new(seed ^ 0x696e_7465_726f_7000);
    let export = fresh_secret();
    let proxy = if case.faults.any() {
        // What we listen on is known only below, so theirs goes through a proxy made there.
        match upstream.acceptor() {
            Ok(acceptor) => Proxy::start(acceptor, case.faults, rng.bits()).await.map(Some),
            Err(error) => Err(error),
        }
    } else {
        Ok(None)
    };
    let proxy = match proxy {
        Ok(proxy) => proxy,
        Err(error) => return (Err(error.to_string()), None),
    };
    let played = async {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let acceptor = upstream.acceptor().map_err(|error| text(&error))?;
        let ours = Ours::start(case.mtu, WINDOW, OUR_RESET_KEY).map_err(|error| text(&error))?;
        let remote = proxy.as_ref().map_or(acceptor, |proxy| proxy.address);
        let path = ours::path(export, case.suite, case.role, remote, WINDOW, case.mtu);
        let id = path.credential_id();
        let mut their_export = export;
        if case.wrong == Some(Wrong::Secret) {
            their_export[0] ^= 1;
        }
        let their_role = if case.wrong == Some(Wrong::Role) { case.role } else { case.role.peer() };
        let their_id = paceline_transport::wire::PathSecret::new(their_export, case.suite, their_role);
        upstream
            .register(&Entry {
                export: their_export,
                suite: case.suite,
                role: their_role,
                remote: ours.address(),
                our_token: reset_token(&OUR_RESET_KEY, their_id.id()),
                window: WINDOW,
                mtu: case.mtu,
                idle_timeout_ms: if case.wrong.is_some() { 2_000 } else { 30_000 },
            })
            .map_err(|error| text(&error))?;
        let mut path = path;
        path.first_key_id = case.first_key_id;
        if case.wrong.is_none() {
            path.peer_reset_token = Some(upstream.token(id.0));
        }
        ours.inject(path).map_err(|error| text(&error))?;
        Ok::<_, String>(ours)
    }
    .await;
    let mut ours = match played {
        Ok(ours) => ours,
        Err(error) => return (Err(error), None),
    };
    // Theirs goes to us, through the network if that does anything.
    let back = if case.faults.any() && case.opener == Opener::Theirs {
        match Proxy::start(ours.address(), case.faults, rng.bits()).await {
            Ok(back) => Some(back),
            Err(error) => return (Err(error.to_string()), None),
        }
    } else {
        None
    };
    let target = back.as_ref().map_or(ours.address(), |back| back.address);
    let content = Arc::new(Content::new(rng.bits(), case.bytes));
    let timeout = match (case.wrong, case.opener) {
        // Nothing may happen here, as long as upstream's own timeout takes, twice.
        (Some(_), Opener::Theirs) => Duration::from_secs(4),
        _ => Duration::from_secs(60),
    };
    let name = ours.address();
    let theirs =
        tokio::spawn(play_all_theirs(Arc::clone(upstream), name, target, case, Arc::clone(&content)));
    let abort = theirs.abort_handle();
    let our_content = Arc::clone(&content);
    let ours_played = Handle::current().spawn_blocking(move || {
        let played = play_ours(&mut ours, &case, &our_content, timeout);
        (played, ours)
    });
    let theirs_played = async {
        match tokio::time::timeout(timeout + END, theirs).await {
            Ok(Ok(played)) => played,
            Ok(Err(error)) => Err(format!("theirs: {error}")),
            Err(_) => Err("theirs: not done".into()),
        }
    };
    let result = if case.wrong.is_some() {
        // Who opens is told why; who was asked must not have noticed.
        let (played, ours) = match ours_played.await {
            Ok(played) => played,
            Err(error) => return (Err(error.to_string()), None),
        };
        let played = match case.opener {
            Opener::Ours => played,
            Opener::Theirs if ours.flows.is_empty() && ours.peer_closed.is_none() => theirs_played.await,
            Opener::Theirs => Err(format!("we noticed: {:?}", ours.flows)),
        };
        played.map(|hash| (hash.clone(), hash))
    } else {
        let (ours_played, theirs_played) = tokio::join!(ours_played, theirs_played);
        match (ours_played, theirs_played) {
            (Ok((Ok(ours), _)), Ok(theirs)) => {
                Ok(if case.opener == Opener::Ours { (theirs, ours) } else { (ours, theirs) })
            }
            (Ok((Err(ours), _)), Err(theirs)) => Err(format!("{ours}; {theirs}")),
            (Ok((Err(error), _)), Ok(_)) | (Ok((Ok(_), _)), Err(error)) => Err(error),
            (Err(error), _) => Err(error.to_string()),
        }
    };
    abort.abort();
    // The one in front of whoever was opened to; the other, if there is one, carries only what goes to a path's address.
    let counts = back.or(proxy).map(|proxy| [proxy.counts(Way::There), proxy.counts(Way::Back)]);
    (result, counts)
}
