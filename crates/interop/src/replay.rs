//! A byte-identical copy of an upstream client's first packet comes once more: while its stream lives, in its time-wait, after it.
//!
//! All addresses that our server knows of are ours to listen at, so that nothing it sends escapes [`Nonces`].

use crate::{
    matrix::fresh_secret,
    nonces::Nonces,
    proxy::{Proxy, Way},
    report::{Row, row},
    scene::{ANSWER, COPIES, DOWN, IDLE_MS, LONG, Scene, Seen, UP, client_of, text},
    upstream::Upstream,
};
use paceline_transport::wire::{Opener, PathSecret, Role, Suite};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Without a packet of the client's, before its first one is replayed.
const QUIET: Duration = Duration::from_millis(100);

/// Idle timeout, ms, of a stream that is to be silent while it is idle: keep-alives come three times in one.
const NO_KEEP_ALIVE_MS: u32 = 60_000;

/// What may come of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Silence,
    OneSecretControl,
}

async fn after_the_end(
    upstream: &Arc<Upstream>,
    suite: Suite,
    role: Role,
    wait: Duration,
    answer: Answer,
) -> Seen {
    let mut scene = Scene::new(upstream, suite, role, IDLE_MS, None).await?;
    scene.whole_stream().await?;
    let end = Instant::now();
    let first = scene.first_packet()?;
    scene.pass(wait.saturating_sub(end.elapsed() + QUIET));
    scene.until_quiet(QUIET)?;
    let at = end.elapsed();
    let (sent, client) = scene.replay(&first, ANSWER).await?;
    if client > 0 {
        return Err(format!("the client itself still sent {client} packets"));
    }
    let judged = scene.judge()?;
    let allowed = usize::from(answer == Answer::OneSecretControl);
    let total: usize = sent.iter().sum();
    if total > allowed || total != usize::from(judged.ends_with(" 1 secret control")) {
        return Err(format!("our server sent {sent:?} packets (client, home, stranger); {judged}"));
    }
    Ok(format!("{} copies after {} ms: {total} answers; {judged}", 2 * COPIES, at.as_millis()))
}

/// While the stream is idle, and again while it is busy.
async fn during_life(upstream: &Arc<Upstream>, suite: Suite, role: Role) -> Seen {
    let mut scene = Scene::new(upstream, suite, role, NO_KEEP_ALIVE_MS, None).await?;
    let mut theirs = scene.open().await?;
    theirs.write_all(&[0x33; 1_000]).await.map_err(text)?;
    scene.until("the first bytes", |ours| ours.flows.values().any(|flow| flow.received.len() == 1_000))?;
    let first = scene.first_packet()?;
    scene.until_quiet(ANSWER)?;
    let (idle, client) = scene.replay(&first, ANSWER).await?;
    let total: usize = idle.iter().sum();
    if client > 0 || total > 0 {
        return Err(format!(
            "idle: our server sent {idle:?} packets (client, home, stranger), the client {client}"
        ));
    }
    let writer = tokio::spawn(async move {
        for _ in 0..(UP - 1_000) / 1_000 {
            theirs.write_all(&[0x33; 1_000]).await?;
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
        theirs.shutdown().await?;
        let mut down = Vec::new();
        theirs.read_to_end(&mut down).await?;
        Ok::<_, std::io::Error>(down.len())
    });
    // On a busy machine the client may have no turn meanwhile.
    let (mut copies, begin) = (0, Instant::now());
    loop {
        let (busy, client) = scene.replay(&first, Duration::ZERO).await?;
        copies += 2 * COPIES;
        if busy[2] > 0 {
            return Err(format!("busy: the stranger got {} packets", busy[2]));
        }
        if client > 0 {
            break;
        }
        if begin.elapsed() > LONG {
            return Err("busy: the client sent nothing".into());
        }
    }
    scene.answer_all()?;
    let down = writer.await.map_err(text)?.map_err(text)?;
    if down != DOWN {
        return Err(format!("they received {down} bytes of {DOWN}"));
    }
    scene.until("our end", |ours| ours.flows.values().all(|flow| flow.closed))?;
    Ok(format!("{} copies while idle, {copies} while busy; {}", 2 * COPIES, scene.judge()?))
}

/// Upstream as the server, under the same replay: it does repeat numbers, and [`Nonces`] sees it.
async fn upstream_repeats(upstream: &Arc<Upstream>) -> Seen {
    let (suite, role) = (Suite::Aes128GcmSha256, Role::Server);
    let export = fresh_secret();
    let (client, name) = client_of(upstream, export, suite)?;
    let front = Proxy::recording(upstream.acceptor().map_err(text)?).await.map_err(text)?;
    let mut stream = client.open(name, front.address).await.map_err(text)?;
    stream.write_all(b"hello").await.map_err(text)?;
    stream.shutdown().await.map_err(text)?;
    let mut accepted = upstream.accept().await.map_err(text)?;
    let mut got = Vec::new();
    accepted.read_to_end(&mut got).await.map_err(text)?;
    accepted.write_all(b"world").await.map_err(text)?;
    accepted.shutdown().await.map_err(text)?;
    stream.read_to_end(&mut got).await.map_err(text)?;
    drop((accepted, stream));
    let tape = front.tape().ok_or("no tape")?;
    let mut nonces = Nonces::new(PathSecret::new(export, suite, role), Opener::Remote);
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let before = tape.all(Way::Back);
    before
        .iter()
        .try_for_each(|packet| nonces.add(packet))
        .map_err(|error| format!("already before: {error}"))?;
    let first = tape.all(Way::There).into_iter().next().ok_or("the client sent nothing")?;
    front.repeat(&first).await.map_err(text)?;
    let again = tokio::time::timeout(LONG, upstream.accept()).await.map_err(|_| "it accepts nothing")?;
    drop(again.map_err(text)?);
    let (mut added, mut repeated) = (before.len(), Vec::new());
    let begin = Instant::now();
    while begin.elapsed() < LONG {
        tokio::time::sleep(Duration::from_millis(700)).await;
        let after = tape.all(Way::Back);
        repeated.extend(after[added..].iter().filter_map(|packet| nonces.add(packet).err()));
        added = after.len();
        // A repeated number of a MAC is one thing, a repeated nonce the other.
        if let Some(nonce) = repeated.iter().find(|error| error.contains("Sealed")) {
            return Ok(format!("{} repeated, such as: {nonce}", repeated.len()));
        }
    }
    Err(format!(
        "no repeated nonce in {} packets and {} more: {repeated:?}",
        before.len(),
        added - before.len()
    ))
}

/// All rows, in order, as they are done.
pub async fn play(upstream: &Arc<Upstream>, wanted: impl Fn(&str) -> bool, mut tell: impl FnMut(Row)) {
    let (short, long) = (Suite::Aes128GcmSha256, Suite::Aes256GcmSha384);
    let at = Duration::from_millis;
    row!(
        wanted,
        tell,
        "first packet replayed 0.3 s after the end",
        after_the_end(upstream, short, Role::Server, at(300), Answer::Silence)
    );
    row!(
        wanted,
        tell,
        "first packet replayed 0.7 s after the end",
        after_the_end(upstream, long, Role::Client, at(700), Answer::Silence)
    );
    row!(
        wanted,
        tell,
        "first packet replayed 5 s after the end, time-wait 2 s",
        after_the_end(upstream, short, Role::Client, at(5_000), Answer::OneSecretControl)
    );
    row!(wanted, tell, "first packet replayed during the stream", during_life(upstream, long, Role::Server));
    row!(
        wanted,
        tell,
        "first packet replayed to upstream's server: it repeats a number, and the checker sees it",
        upstream_repeats(upstream)
    );
}
