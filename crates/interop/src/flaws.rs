//! Where upstream is wrong, ours is not. (The close with code 0 after a rejected key id is a row of `secret_control`, a replayed
//! opening one of `replay`.)

use crate::{
    matrix::fresh_secret,
    proxy::{Proxy, Script, Way},
    report::{Row, row},
    scene::{ANSWER, IDLE_MS, LONG, Scene, Seen, UP, client_of, text},
    upstream::Upstream,
};
use paceline_transport::wire::{
    Role, Suite,
    packet::stream::{Packet, Space},
};
use std::{
    net::UdpSocket,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    task::block_in_place,
};

/// The packet that is late, and by how many others: upstream's window of numbers is 129.
const LATE: u64 = 50;
const BY: u64 = 200;

/// Of which one must be without a packet of the client's.
const LOOKS: u32 = 3;

/// Where the credential id ends: of another one nobody here knows, which may be said.
const BEHIND_ID: usize = 17;

/// Packet 50 of the first transmissions comes after 200 others, and never again: only the late one carries its bytes.
fn one_late() -> (Script, Arc<AtomicU64>) {
    let overtaken = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&overtaken);
    let mut held = None;
    let script = move |way: Way, datagram: &[u8]| {
        let whole = vec![datagram.to_vec()];
        let Some(packet) = Packet::decode(datagram).ok().filter(|_| way == Way::There) else { return whole };
        if packet.original_number() == LATE && !packet.is_probe() {
            if packet.space() == Space::Stream {
                held = Some(datagram.to_vec());
            }
            return Vec::new();
        }
        if held.is_some() && packet.space() == Space::Stream {
            count.fetch_add(1, Ordering::Relaxed);
            if count.load(Ordering::Relaxed) >= BY {
                return whole.into_iter().chain(held.take()).collect();
            }
        }
        whole
    };
    (Box::new(script), overtaken)
}

fn was_late(overtaken: &AtomicU64) -> Result<u64, String> {
    match overtaken.load(Ordering::Relaxed) {
        by if by >= BY => Ok(by),
        by => Err(format!("packet {LATE} was overtaken by {by} only")),
    }
}

async fn late_to_us(upstream: &Arc<Upstream>) -> Seen {
    let (script, overtaken) = one_late();
    let mut scene = Scene::new(upstream, Suite::Aes128GcmSha256, Role::Server, IDLE_MS, Some(script)).await?;
    scene.whole_stream().await?;
    Ok(format!("packet {LATE} came after {} others; {}", was_late(&overtaken)?, scene.judge()?))
}

/// What makes the row above one that can fail.
async fn late_to_them(upstream: &Arc<Upstream>) -> Seen {
    let (client, name) = client_of(upstream, fresh_secret(), Suite::Aes128GcmSha256)?;
    let (script, overtaken) = one_late();
    let front = Proxy::scripted(upstream.acceptor().map_err(text)?, script).await.map_err(text)?;
    let mut stream = client.open(name, front.address).await.map_err(text)?;
    let writer = tokio::spawn(async move {
        let written = stream.write_all(&vec![0x33; UP]).await;
        let shut = stream.shutdown().await;
        (written, shut, stream)
    });
    let mut accepted = upstream.accept().await.map_err(text)?;
    let mut got = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(3), accepted.read_to_end(&mut got)).await;
    writer.abort();
    let by = was_late(&overtaken)?;
    match read {
        Ok(Ok(len)) => Err(format!("all {len} bytes arrived, {by} packets late")),
        Ok(Err(error)) => Ok(format!("{} of {UP} bytes: {error}", got.len())),
        Err(_) => Ok(format!("{} of {UP} bytes, and no more", got.len())),
    }
}

/// Stream packets: control packets answer our probes.
fn sent_by_client(scene: &Scene) -> usize {
    let tape = scene.front.tape().map(|tape| tape.all(Way::There)).unwrap_or_default();
    tape.iter().filter(|packet| Packet::decode(packet).is_ok()).count()
}

/// Nobody reads here, and the endpoint has lived for longer than its idle timeout.
async fn old_and_idle(upstream: &Arc<Upstream>) -> Seen {
    let mut scene = Scene::new(upstream, Suite::Aes256GcmSha384, Role::Client, IDLE_MS, None).await?;
    let age = Duration::from_millis(u64::from(IDLE_MS) + 500);
    tokio::time::sleep(age).await;
    let mut theirs = scene.open().await?;
    let writer = tokio::spawn(async move {
        theirs.write_all(&vec![0x33; UP]).await?;
        theirs.shutdown().await?;
        let mut down = Vec::new();
        theirs.read_to_end(&mut down).await.map(|_| down.len())
    });
    tokio::time::sleep(Duration::from_millis(600)).await;
    // Who is not acknowledged sends again, several times in each of these times. On a busy machine it may, in one.
    let (mut before, mut after) = (0, sent_by_client(&scene));
    for _ in 0..LOOKS {
        before = after;
        tokio::time::sleep(ANSWER).await;
        after = sent_by_client(&scene);
        if after == before {
            break;
        }
    }
    let [acknowledgements, ..] = scene.sent();
    if acknowledgements == 0 || after != before {
        return Err(format!(
            "{acknowledgements} packets from ours; of {before} packets sent, {} were sent again",
            after - before
        ));
    }
    scene.answer_all()?;
    writer.await.map_err(text)?.map_err(text)?;
    Ok(format!("{before} packets acknowledged by {acknowledgements}, nobody reading; {}", scene.judge()?))
}

/// An opening with any byte behind the credential id changed, then as it was.
async fn unauthentic_opening(upstream: &Arc<Upstream>) -> Seen {
    let mut scene = Scene::new(upstream, Suite::Aes128GcmSha256, Role::Server, IDLE_MS, None).await?;
    let deaf = UdpSocket::bind("127.0.0.1:0").map_err(text)?;
    deaf.set_read_timeout(Some(LONG)).map_err(text)?;
    let address = deaf.local_addr().map_err(text)?;
    let theirs = scene.upstream.open(scene.ours.address(), address).await.map_err(text)?;
    let mut first = [0; 2_048];
    let len = block_in_place(|| deaf.recv(&mut first)).map_err(text)?;
    drop(theirs);
    let first = &first[..len];
    for at in BEHIND_ID..len {
        let mut bad = first.to_vec();
        bad[at] ^= 1;
        scene.stranger.send_to(&bad, scene.ours.address()).map_err(text)?;
    }
    let changed = (len - BEHIND_ID) as u64;
    scene.until("the changed openings", |ours| ours.stats().packets_received >= changed)?;
    scene.pass(ANSWER);
    let received = scene.ours.stats().packets_received;
    let sent = scene.sent();
    if received != changed || sent != [0; 3] || !scene.ours.flows.is_empty() {
        return Err(format!("{received} arrived; our server sent {sent:?} (client, home, stranger)"));
    }
    scene.stranger.send_to(first, scene.ours.address()).map_err(text)?;
    scene.until("the opening as it was", |ours| ours.flows.len() == 1)?;
    let begin = Instant::now();
    while begin.elapsed() < LONG {
        scene.pass(ANSWER);
        match scene.sent() {
            [0, 0, 0] => {}
            sent => return Ok(format!("{received} changed openings: nothing; the authentic one: {sent:?}")),
        }
    }
    Err("the authentic opening is not answered either".into())
}

/// All rows, in order, as they are done.
pub async fn play(upstream: &Arc<Upstream>, wanted: impl Fn(&str) -> bool, mut tell: impl FnMut(Row)) {
    row!(
        wanted,
        tell,
        "nothing is sealed for an opening that is not authentic",
        unauthentic_opening(upstream)
    );
    row!(wanted, tell, "acknowledged by an endpoint older than its idle timeout", old_and_idle(upstream));
    row!(wanted, tell, "a packet that 200 others overtook arrives", late_to_us(upstream));
    row!(
        wanted,
        tell,
        "a packet that 200 others overtook: upstream's server loses it",
        late_to_them(upstream)
    );
}
