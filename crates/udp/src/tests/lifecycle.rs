//! Starting, stopping, failing.

use super::*;
use crate::{Options, Runtime, UdpEnvironment, clock::now_ns, runtime::Body};
use paceline_transport::{Config, Step, app::Command};
use std::{
    net::UdpSocket,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
        mpsc,
    },
};

/// What `stop` promises.
const PROMPT: Duration = Duration::from_millis(100);
/// Of which one shows it.
const TRIES: usize = 10;

fn start_options() -> Options {
    Options::new(V4.parse().unwrap(), Config::default())
}

/// A worker that is a function.
struct Fake<F> {
    environment: UdpEnvironment,
    step: F,
}

impl<F: FnMut(&mut UdpEnvironment, u64) -> Step> Body for Fake<F> {
    fn step(&mut self, now_ns: u64) -> Step {
        (self.step)(&mut self.environment, now_ns)
    }

    fn environment(&mut self) -> &mut UdpEnvironment {
        &mut self.environment
    }
}

fn start(
    doorbell: impl Fn() + Send + 'static,
    step: impl FnMut(&mut UdpEnvironment, u64) -> Step + Send + 'static,
) -> Runtime {
    Runtime::start_with(start_options(), doorbell, move |_, environment, _, _, _| Fake { environment, step })
        .unwrap()
}

#[test]
fn the_real_worker_starts_and_stops() {
    let mut runtime = Runtime::start(start_options(), || {}).unwrap();
    assert_ne!(runtime.local_addr().port(), 0);
    let (send, receive) = runtime.granted_buffers();
    assert!(send > 0 && receive > 0);
    let times = [now_ns(), runtime.now_ns(), now_ns()];
    assert!(times.is_sorted(), "{times:?}");
    thread::sleep(Duration::from_millis(20));
    runtime.stop();
    runtime.stop();
    assert!(!runtime.failed());
    // The port is free again, at once.
    UdpSocket::bind(runtime.local_addr()).unwrap();
    assert_eq!(runtime.pool().stats().lent, 0);
}

#[test]
fn datagrams_go_through_the_thread() {
    let mut maker = Maker::new(&pool());
    let (mut due, mut results) = (VecDeque::new(), Vec::new());
    let mut runtime = start(
        || {},
        move |environment, now_ns| {
            while let Some(burst) = environment.receive(now_ns) {
                due.push_back(maker.burst(burst.remote, 500, burst.segments.total_len()));
            }
            let _ = environment.submit(now_ns, &mut due);
            environment.poll_results(&mut results);
            results.clear();
            Step::default()
        },
    );
    let client = UdpSocket::bind(V4).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut buffer = [0; 2000];
    for id in 0..100 {
        client.send_to(&[0; 500], runtime.local_addr()).unwrap();
        let len = client.recv(&mut buffer).unwrap();
        assert_eq!(id_of(&buffer[..len]), id);
    }
    // The last send is counted after its answer has left.
    runtime.stop();
    let counters = runtime.counters();
    assert_eq!((counters.receives, counters.sends), (100, 100));
}

#[test]
fn it_waits_as_told() {
    let steps = Arc::new(AtomicU64::new(0));
    let (tell, told) = mpsc::channel();
    let mut runtime = start(|| {}, {
        let steps = steps.clone();
        move |_, now_ns| {
            let n = steps.fetch_add(1, SeqCst);
            tell.send(now_ns).unwrap();
            match n {
                0..5 => Step { busy: true, ..Step::default() },
                5..10 => Step { next_wake_ns: Some(now_ns + 3_000_000), ..Step::default() },
                _ => Step::default(),
            }
        }
    });
    let times: Vec<u64> = (0..11).map(|_| told.recv_timeout(PATIENCE).unwrap()).collect();
    assert!(times.windows(2).skip(5).all(|pair| pair[1] - pair[0] >= 3_000_000), "{times:?}");
    // From here on nothing wakes it but the application.
    assert!(told.recv_timeout(Duration::from_millis(50)).is_err());
    runtime.shared().submit(&mut vec![Command::AcceptStreams(1)]);
    runtime.wake();
    told.recv_timeout(PATIENCE).unwrap();
    runtime.stop();
}

#[test]
#[cfg(all(target_os = "linux", not(feature = "portable")))]
fn while_bulk_gathers_nobody_ends_the_wait() {
    const GATHERS_NS: u64 = 20_000_000;
    let (tell, told) = mpsc::channel();
    let mut n = 0;
    let mut runtime = start(
        || {},
        move |_, now_ns| {
            tell.send(now_ns).unwrap();
            n += 1;
            match n {
                1 => Step { coalesce_until_ns: Some(now_ns + GATHERS_NS), ..Step::default() },
                // A departure does not wait for what arrives.
                2 => Step {
                    coalesce_until_ns: Some(now_ns + 500 * GATHERS_NS),
                    next_wake_ns: Some(now_ns + 1_000_000),
                    ..Step::default()
                },
                _ => Step::default(),
            }
        },
    );
    let next = || told.recv_timeout(PATIENCE).unwrap();
    let first = next();
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    stranger.send_to(b"x", runtime.local_addr()).unwrap();
    runtime.shared().submit(&mut vec![Command::AcceptStreams(1)]);
    runtime.wake();
    let (second, third) = (next(), next());
    assert!(second - first >= GATHERS_NS, "{} ns", second - first);
    assert!((1_000_000..500 * GATHERS_NS).contains(&(third - second)), "{} ns", third - second);
    runtime.stop();
}

#[test]
fn news_rings_the_doorbell() {
    let (ring, rung) = mpsc::channel();
    let mut news = [true, false, true].into_iter();
    let _runtime = start(
        move || ring.send(()).unwrap(),
        move |_, now_ns| match news.next() {
            Some(news) => Step { news, next_wake_ns: Some(now_ns + 1_000_000), ..Step::default() },
            None => Step::default(),
        },
    );
    rung.recv_timeout(PATIENCE).unwrap();
    rung.recv_timeout(PATIENCE).unwrap();
    assert!(rung.recv_timeout(Duration::from_millis(50)).is_err());
}

#[test]
fn stop_ends_every_kind_of_loop_at_once() {
    let steps: [fn(&mut UdpEnvironment, u64) -> Step; 4] = [
        |_, _| Step::default(),
        |_, _| Step { busy: true, ..Step::default() },
        |_, now_ns| Step { next_wake_ns: Some(now_ns), ..Step::default() },
        |_, now_ns| Step { next_wake_ns: Some(now_ns + 1_000_000_000_000), done: true, ..Step::default() },
    ];
    for step in steps {
        for pause_us in [0, 100, 1_000, 10_000] {
            let stop = || {
                let mut runtime = start(|| {}, step);
                thread::sleep(Duration::from_micros(pause_us));
                let before = Instant::now();
                runtime.stop();
                before.elapsed()
            };
            // The fastest, since others use the machine, too.
            let times: Vec<Duration> =
                std::iter::repeat_with(stop).take(TRIES).take_while(|took| *took >= PROMPT).collect();
            assert!(times.len() < TRIES, "after {pause_us} µs: {times:?}");
        }
    }
}

#[test]
fn a_panic_is_reported_and_ends_nothing_but_the_thread() {
    for in_make in [true, false] {
        let (ring, rung) = mpsc::channel();
        let mut runtime = Runtime::start_with(
            start_options(),
            move || ring.send(()).unwrap(),
            move |_, environment, pool, _, _| {
                assert!(!in_make, "planted");
                let descriptor = pool.take(100, Purpose::Data);
                Fake { environment, step: move |_: &mut _, _| panic!("planted, with {descriptor:?}") }
            },
        )
        .unwrap();
        rung.recv_timeout(PATIENCE).unwrap();
        assert!(runtime.failed());
        runtime.wake();
        runtime.stop();
        assert_eq!(runtime.pool().stats().lent, 0);
        UdpSocket::bind(runtime.local_addr()).unwrap();
    }
}

#[test]
fn a_doorbell_that_panics_is_a_failure_too() {
    let mut runtime = start(|| panic!("planted"), |_, _| Step { news: true, ..Step::default() });
    let from = Instant::now();
    while !runtime.failed() {
        assert!(from.elapsed() < PATIENCE);
        thread::yield_now();
    }
    runtime.stop();
}

#[test]
fn stop_from_the_doorbell_does_not_wait_for_itself() {
    let slot = Arc::new(Mutex::new(None::<Runtime>));
    let (tell, told) = mpsc::channel();
    let runtime = start(
        {
            let slot = slot.clone();
            move || {
                if let Some(mut runtime) = slot.lock().unwrap().take() {
                    runtime.stop();
                    drop(runtime);
                    tell.send(()).unwrap();
                }
            }
        },
        |_, now_ns| Step { news: true, next_wake_ns: Some(now_ns + 1_000_000), ..Step::default() },
    );
    *slot.lock().unwrap() = Some(runtime);
    told.recv_timeout(PATIENCE).unwrap();
    // The thread has ended when it has let go of its end of the channel.
    assert_eq!(told.recv_timeout(PATIENCE), Err(mpsc::RecvTimeoutError::Disconnected));
}

#[test]
fn errors_name_the_call_and_the_errno() {
    let taken = UdpSocket::bind(V4).unwrap().local_addr().unwrap();
    let holder = UdpSocket::bind(taken).unwrap();
    let error = |bind: SocketAddr| Runtime::start(Options::new(bind, Config::default()), || {}).unwrap_err();
    assert_eq!(error(taken), StartError::System { syscall: "bind", errno: libc::EADDRINUSE, address: taken });
    assert!(error(taken).to_string().starts_with(&format!("bind {taken}: ")));
    drop(holder);
    let foreign = "192.0.2.1:0".parse().unwrap();
    let expected = StartError::System { syscall: "bind", errno: libc::EADDRNOTAVAIL, address: foreign };
    assert_eq!(error(foreign), expected);

    let config = Config { pool_bytes: 1, pool_reserve_bytes: 0, ..Config::default() };
    let error = Runtime::start(Options::new(foreign, config), || {}).unwrap_err();
    assert!(matches!(error, StartError::Pool(_)), "the pool comes first: {error}");
}

#[test]
fn the_thread_has_its_name_and_its_timers() {
    let (tell, told) = mpsc::channel();
    let mut runtime = start(
        || {},
        move |_, _| {
            let slack = std::fs::read_to_string("/proc/thread-self/timerslack_ns").ok();
            let _ = tell.send((thread::current().name().map(String::from), slack));
            Step::default()
        },
    );
    let (name, slack) = told.recv_timeout(PATIENCE).unwrap();
    assert_eq!(name.as_deref(), Some("paceline-io"));
    if let Some(slack) = slack {
        assert_eq!(slack.trim(), "1");
    }
    assert!(runtime.sharp_timers());
    println!("raised priority: {}", runtime.raised_priority());
    runtime.stop();
}
