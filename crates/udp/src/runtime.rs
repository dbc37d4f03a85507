//! An endpoint's thread: made with its pool and socket, joined on `stop`.

use crate::{
    clock,
    counters::{Counters, Tally},
    environment::{NativeLink, UdpEnvironment},
    link::{Link, LinkOptions, StartError},
    registry::{self, InjectError},
    sync::AtomicBool,
    wait::Waker,
};
use paceline_transport::{
    Config, Step, Worker,
    app::{Command, PeerId, Shared},
    handshake::InjectedPath,
    pool::{self, Pool},
};
use std::{
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering},
    thread::{self, JoinHandle},
};

/// Socket buffers asked for, in bytes. The usual default holds three bursts.
pub const SOCKET_BUFFER_BYTES: usize = 4 << 20;
/// About doubles throughput on busy cores, and turns a p99 lateness of 2 ms into 39 µs (reference/limits.md, "Waiting").
#[cfg(target_os = "linux")]
const NICE: i32 = -10;

/// How to start.
#[derive(Clone, Debug)]
pub struct Options {
    /// Address and port (0: any) of the socket. An IPv6 socket takes no IPv4.
    pub bind: SocketAddr,
    /// The worker's configuration; it sizes the pool, too.
    pub config: Config,
    /// One datagram per send call.
    pub disable_gso: bool,
    /// One datagram per receive call.
    pub disable_gro: bool,
    /// SO_SNDBUF to ask for, in bytes.
    pub send_buffer: usize,
    /// SO_RCVBUF to ask for, in bytes.
    pub receive_buffer: usize,
}

impl Options {
    /// The defaults. `PACELINE_DISABLE_GSO=1` and `PACELINE_DISABLE_GRO=1` in the environment are read here and nowhere else.
    pub fn new(bind: SocketAddr, config: Config) -> Self {
        let switch = |name| std::env::var_os(name).is_some_and(|value| value == "1");
        Self {
            bind,
            config,
            disable_gso: switch("PACELINE_DISABLE_GSO"),
            disable_gro: switch("PACELINE_DISABLE_GRO"),
            send_buffer: SOCKET_BUFFER_BYTES,
            receive_buffer: SOCKET_BUFFER_BYTES,
        }
    }
}

/// A socket, a worker, and the thread that runs it.
#[derive(Debug)]
pub struct Runtime {
    control: Arc<Control>,
    thread: Option<JoinHandle<()>>,
    local_addr: SocketAddr,
    granted_buffers: (usize, usize),
    // Last: everything above may hold descriptors.
    pool: Arc<Pool>,
}

/// What the thread and its owner share.
#[derive(Debug)]
pub(crate) struct Control {
    pub(crate) shared: Arc<Shared>,
    pub(crate) waker: Waker,
    tally: Arc<Tally>,
    stop: AtomicBool,
    failed: AtomicBool,
    sharp_timers: AtomicBool,
    raised_priority: AtomicBool,
}

impl Control {
    pub(crate) fn new(waker: Waker) -> Self {
        Self {
            shared: Arc::default(),
            waker,
            tally: Arc::default(),
            stop: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            sharp_timers: AtomicBool::new(false),
            raised_priority: AtomicBool::new(false),
        }
    }

    pub(crate) fn stopping(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Ends the loop after the step it is in, or the wait.
    pub(crate) fn ask_to_stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.waker.wake();
    }

    /// What a worker that is about to park must not sleep over.
    pub(crate) fn has_work(&self) -> bool {
        self.stopping() || self.shared.has_commands()
    }
}

/// What the loop needs of a worker; lets tests run the loop with a worker that misbehaves.
pub(crate) trait Body {
    fn step(&mut self, now_ns: u64) -> Step;
    fn environment(&mut self) -> &mut UdpEnvironment;
}

impl Body for Worker<UdpEnvironment> {
    fn step(&mut self, now_ns: u64) -> Step {
        Self::step(self, now_ns)
    }

    fn environment(&mut self) -> &mut UdpEnvironment {
        self.environment_mut()
    }
}

impl Runtime {
    /// Makes the pool, binds the socket, and starts the thread.
    ///
    /// `doorbell` is called on that thread after a step that left news in [`Shared`], and when the thread fails. It must not block.
    ///
    /// # Errors
    /// The pool's sizes are refused, or a system call fails: `bind` with EADDRINUSE, EADDRNOTAVAIL or EACCES is the user's to fix.
    pub fn start(options: Options, doorbell: impl Fn() + Send + 'static) -> Result<Self, StartError> {
        Self::start_with(options, doorbell, Worker::new)
    }

    pub(crate) fn start_with<B: Body>(
        options: Options,
        doorbell: impl Fn() + Send + 'static,
        make: impl FnOnce(Config, UdpEnvironment, Arc<Pool>, Arc<Shared>, u64) -> B + Send + 'static,
    ) -> Result<Self, StartError> {
        let Options { bind, config, disable_gso, disable_gro, send_buffer, receive_buffer } = options;
        let pool = Pool::new(pool::Config {
            capacity_bytes: config.pool_bytes,
            reserve_bytes: config.pool_reserve_bytes,
        })
        .map_err(|error| StartError::Pool(error.to_string()))?;
        let link =
            NativeLink::bind(&LinkOptions { bind, disable_gso, disable_gro, send_buffer, receive_buffer })?;
        let local_addr =
            link.socket().local_addr().map_err(|error| StartError::system("getsockname", bind, error))?;
        let granted_buffers = link.granted_buffers();
        let waker = Waker::new().map_err(|error| StartError::system("eventfd", bind, error))?;
        let control = Arc::new(Control::new(waker));
        let environment = UdpEnvironment::new(link, pool.clone(), control.tally.clone());
        let thread = {
            let (control, pool) = (control.clone(), pool.clone());
            thread::Builder::new().name("paceline-io".into()).spawn(move || {
                let run = || {
                    prepare_thread(&control);
                    let body = make(config, environment, pool, control.shared.clone(), clock::now_ns());
                    run(body, &control, &doorbell);
                };
                // The worker is dropped by now, so nothing half-changed is ever looked at.
                if catch_unwind(AssertUnwindSafe(run)).is_err() {
                    control.failed.store(true, Ordering::SeqCst);
                    // It may have been the doorbell that failed.
                    let _ = catch_unwind(AssertUnwindSafe(&doorbell));
                }
            })
        }
        .map_err(|error| StartError::system("pthread_create", bind, error))?;
        Ok(Self { control, thread: Some(thread), local_addr, granted_buffers, pool })
    }

    /// Where the socket is bound.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The queues to and from the worker. Submit, then [`wake`](Self::wake).
    pub fn shared(&self) -> &Arc<Shared> {
        &self.control.shared
    }

    /// Makes `peer`, an unused odd number, of a path secret that no handshake made, and uses the secret up: this process takes it
    /// no second time in that role, as key ids and packet numbers would repeat. See [`InjectedPath`] for what may go wrong. News
    /// of the peer comes as for [`Command::Connect`].
    ///
    /// # Errors
    /// The secret was used, or too many were.
    pub fn inject(&self, peer: PeerId, path: InjectedPath, max_rate: Option<u64>) -> Result<(), InjectError> {
        registry::claim(&path)?;
        self.shared().submit(&mut vec![Command::Inject { peer, path: Box::new(path), max_rate }]);
        self.wake();
        Ok(())
    }

    /// Ends the worker's wait, if it waits: after submitting commands, once per batch. Cheap when it does not wait.
    pub fn wake(&self) {
        self.control.waker.wake();
    }

    /// Send and receive buffer as granted, in bytes, comparable to what was asked for.
    pub fn granted_buffers(&self) -> (usize, usize) {
        self.granted_buffers
    }

    /// The worker's clock, in ns.
    pub fn now_ns(&self) -> u64 {
        clock::now_ns()
    }

    /// What the socket did so far.
    pub fn counters(&self) -> Counters {
        self.control.tally.read()
    }

    /// The pool, for its statistics.
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Whether the thread ended by a panic: no news will come any more. The doorbell rang.
    pub fn failed(&self) -> bool {
        self.control.failed.load(Ordering::SeqCst)
    }

    /// Whether the thread got the nice value it wanted; usually only with CAP_SYS_NICE.
    pub fn raised_priority(&self) -> bool {
        self.control.raised_priority.load(Ordering::Relaxed)
    }

    /// Whether the thread's timers have a slack of 1 ns.
    pub fn sharp_timers(&self) -> bool {
        self.control.sharp_timers.load(Ordering::Relaxed)
    }

    /// Ends the loop after the step it is in, whatever is left to do, and joins the thread. The socket is closed then.
    /// Does nothing the second time. From the doorbell it only asks for the end, since a thread cannot join itself.
    pub fn stop(&mut self) {
        self.control.ask_to_stop();
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != thread::current().id()
        {
            // Panics are caught inside; nothing is left to learn from the result.
            let _ = thread.join();
        }
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run<B: Body>(mut body: B, control: &Control, doorbell: &impl Fn()) {
    while !control.stopping() {
        let now_ns = clock::now_ns();
        let step = body.step(now_ns);
        if step.news {
            doorbell();
        }
        if step.busy {
            continue;
        }
        // A worker that is done has nothing to wake up for; it stays until it is stopped.
        body.environment().wait(now_ns, &control.waker, &step, || control.has_work());
    }
}

fn prepare_thread(control: &Control) {
    let (sharp_timers, raised_priority) = sharpen();
    control.sharp_timers.store(sharp_timers, Ordering::Relaxed);
    control.raised_priority.store(raised_priority, Ordering::Relaxed);
}

/// What a worker's thread does first. Returns whether it has sharp timers and the priority it wants.
#[cfg(target_os = "linux")]
pub(crate) fn sharpen() -> (bool, bool) {
    // Timer slack: the default of 50 µs doubles the median lateness (reference/limits.md, "Waiting").
    crate::sys::sharpen_thread(NICE)
}

/// There is nothing to do.
#[cfg(not(target_os = "linux"))]
pub(crate) fn sharpen() -> (bool, bool) {
    (false, false)
}
