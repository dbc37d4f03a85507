//! The class JavaScript sees: the `Driver` of `packages/paceline/src/driver.ts` over a socket and a thread.

#![allow(unreachable_pub, reason = "napi exports methods that are `pub`, whatever the type is")]

use crate::{
    clock::Line,
    commands, config,
    doorbell::Doorbell,
    errors::{self, Code, Result, error},
    injected::DriverInjectOptions,
    live,
    news::{Drain, MIN_RING_ELEMENTS, News, NoRoom, tell_fallbacks},
    options::{DriverConnectOptions, DriverOptions, LocalAddress, NativeLiveness, RemoteAddress},
    ring::Ring,
    stats::{DriverPathStats, DriverStats},
    teardown::{EndsWithEnvironment, Hook},
};
use napi::{
    Env,
    bindgen_prelude::{
        Either, Float64ArraySlice, Function, JsObjectValue, Object, ObjectFinalize, Uint8ArraySlice,
    },
};
use napi_derive::napi;
use paceline_transport::{app::Command, handshake, stats::EndpointStats};
use paceline_udp::{Counters, Options, Runtime};
use std::{cell::RefCell, net::SocketAddr, rc::Rc, sync::Arc};

/// A UDP socket, a thread, packet memory.
#[napi(custom_finalize)]
pub(crate) struct NativeDriver {
    shell: Rc<Shell>,
}

/// What the environment's hook reaches, too. Never borrowed while JavaScript runs.
struct Shell(RefCell<State>);

struct State {
    /// `None` when closed.
    open: Option<Open>,
    local: SocketAddr,
    line: Line,
    /// What `stats()` shows after the end.
    last: Counted,
}

/// What an endpoint counted.
#[derive(Default)]
struct Counted {
    endpoint: EndpointStats,
    handshake: handshake::Counters,
    socket: Counters,
}

impl From<&Counted> for DriverStats {
    fn from(counted: &Counted) -> Self {
        Self::new(&counted.endpoint, &counted.handshake, &counted.socket)
    }
}

struct Open {
    // Dropped first: joins the thread, which holds the doorbell.
    runtime: Runtime,
    doorbell: Arc<Doorbell>,
    news: News,
    /// Recycled: empty between calls.
    commands: Vec<Command>,
    referred: bool,
    /// The worker's failure was thrown.
    failure_told: bool,
    /// Refusals of segmentation offload that were told.
    fallbacks_told: u64,
    hook: Option<Hook<Shell>>,
    _token: live::Token,
}

impl Open {
    fn submit(&mut self) {
        if !self.commands.is_empty() {
            self.runtime.shared().submit(&mut self.commands);
            self.runtime.wake();
        }
    }

    fn drain(&mut self, drain: &mut Drain<'_>) -> Result<()> {
        let Self { news, runtime, doorbell, fallbacks_told, .. } = self;
        while drain.ring.written() == 0 {
            if news.is_told() {
                let take = || news.take(|into| runtime.shared().take_news(into));
                if !doorbell.held.take_or_release(take) {
                    return self.tell_failure();
                }
            }
            news.tell(drain).map_err(|no_room| error(Code::Internal, no_room))?;
            runtime.shared().received.give(news.spent());
        }
        tell_fallbacks(fallbacks_told, runtime.counters().gso_fallbacks, &mut drain.ring);
        Ok(())
    }

    /// A worker that failed brings no news, and whoever waits for some would wait for ever.
    fn tell_failure(&mut self) -> Result<()> {
        if self.runtime.failed() && !std::mem::replace(&mut self.failure_told, true) {
            return Err(error(Code::Internal, "the worker thread panicked; the endpoint is lost"));
        }
        Ok(())
    }

    /// The worker's newest counters, with what is known better here.
    fn stats(&self) -> Counted {
        let (mut endpoint, handshake) = self.runtime.shared().endpoint_stats();
        let pool = self.runtime.pool().stats();
        endpoint.pool_lent = pool.lent as u64;
        endpoint.pool_lent_bytes = pool.lent_bytes as u64;
        endpoint.pool_peak_bytes = pool.peak_bytes as u64;
        endpoint.pool_capacity_bytes = pool.capacity_bytes as u64;
        Counted { endpoint, handshake, socket: self.runtime.counters() }
    }
}

impl State {
    /// Joins the thread and frees everything. What of it only a live environment can do is returned.
    fn close(&mut self) -> Option<(Arc<Doorbell>, bool, Option<Hook<Shell>>)> {
        let mut open = self.open.take()?;
        open.runtime.stop();
        self.last = open.stats();
        // Gauges: nothing is there any more.
        self.last.endpoint.streams = 0;
        self.last.endpoint.paths = 0;
        let Open { doorbell, referred, hook, .. } = open;
        Some((doorbell, referred, hook))
    }
}

impl Shell {
    fn close(&self, env: Env) {
        let left = self.0.borrow_mut().close();
        if let Some((doorbell, referred, hook)) = left {
            if referred {
                doorbell.refer(env, false);
            }
            if let Some(hook) = hook {
                hook.remove();
            }
        }
    }
}

impl EndsWithEnvironment for Shell {
    fn environment_ends(&self) {
        // The hook is running, hence gone by itself; whether the loop of an ending environment is kept alive does not matter.
        drop(self.0.borrow_mut().close());
    }
}

impl ObjectFinalize for NativeDriver {
    fn finalize(self, env: Env) -> napi::Result<()> {
        // Forgotten without `close()`, or closed long ago.
        self.shell.close(env);
        Ok(())
    }
}

#[napi]
impl NativeDriver {
    /// Binds the socket and starts the thread. Keeps the process alive until `unref()` or `close()`.
    #[napi(constructor)]
    pub fn new(env: Env, options: DriverOptions<'_>) -> Result<Self> {
        let bind = socket_addr(&options.address, options.port, 0)?;
        let config = options.config()?;
        let line = line(env).map_err(errors::napi)?;
        let doorbell = Arc::new(Doorbell::new(&options.on_wake).map_err(errors::napi)?);
        let ring = {
            // Fields of a closure are dropped in this order: the count goes down when nothing else is left.
            let (doorbell, token) = (doorbell.clone(), live::Token::thread());
            move || {
                let _counted = &token;
                doorbell.ring();
            }
        };
        let start = Options {
            disable_gso: options.disable_gso,
            disable_gro: options.disable_gro,
            ..Options::new(bind, config)
        };
        let runtime = Runtime::start(start, ring).map_err(|refused| errors::start_error(env, &refused))?;
        live::watch(runtime.pool());
        let local = runtime.local_addr();
        let mut open = Open {
            runtime,
            doorbell,
            news: News::default(),
            // Peers are told how many streams there may be; until somebody takes them, there may be none.
            commands: vec![Command::AcceptStreams(0)],
            referred: true,
            failure_told: false,
            fallbacks_told: 0,
            hook: None,
            _token: live::Token::driver(),
        };
        open.submit();
        open.doorbell.refer(env, true);
        let state = State { open: Some(open), local, line, last: Counted::default() };
        let driver = Self { shell: Rc::new(Shell(RefCell::new(state))) };
        match Hook::add(env, &driver.shell) {
            Ok(hook) => driver.with_open(|open| open.hook = Some(hook)),
            Err(refused) => {
                driver.shell.close(env);
                return Err(errors::napi(refused));
            }
        };
        Ok(driver)
    }

    /// Where the socket is bound.
    #[napi(getter)]
    pub fn address(&self) -> LocalAddress {
        let local = self.shell.0.borrow().local;
        LocalAddress {
            address: config::address_text(local),
            port: u32::from(local.port()),
            family: config::family(local.ip()).to_owned(),
        }
    }

    /// Starts a handshake.
    #[napi]
    pub fn connect(
        &self,
        peer: u32,
        address: String,
        port: u32,
        options: DriverConnectOptions<'_>,
    ) -> Result<()> {
        commands::opened(peer).map_err(|_| error(Code::Internal, format_args!("peer {peer} is not odd")))?;
        let remote = self.reachable(&address, port)?;
        let command = options.command(peer, remote)?;
        self.with_open(|open| {
            open.news.peers_mut().connecting(peer, remote);
            open.commands.push(command);
            open.submit();
        });
        Ok(())
    }

    /// Makes a peer of a path secret that no handshake made, and uses the secret up for this process.
    #[napi]
    pub fn inject(
        &self,
        peer: u32,
        address: String,
        port: u32,
        options: DriverInjectOptions<'_>,
    ) -> Result<()> {
        commands::opened(peer).map_err(|_| error(Code::Internal, format_args!("peer {peer} is not odd")))?;
        let remote = self.reachable(&address, port)?;
        let path = options.path(remote)?;
        let max_rate = commands::max_rate(options.max_bitrate as u64);
        self.with_open(|open| {
            open.runtime.inject(peer, path, max_rate).map_err(errors::inject_error)?;
            open.news.peers_mut().connecting(peer, remote);
            Ok(())
        })
        .unwrap_or(Ok(()))
    }

    /// Encoded commands of one tick. All are carried out or, if one is malformed, none.
    #[napi]
    pub fn submit(&self, commands: &[u8]) -> Result<()> {
        self.with_open(|open| {
            commands::decode(commands, &open.runtime.shared().written, &mut open.commands)
                .map_err(|malformed| error(Code::Internal, malformed))?;
            open.submit();
            Ok(())
        })
        .unwrap_or(Ok(()))
    }

    /// Appends to a stream's send buffer.
    #[napi]
    pub fn write(&self, stream: u32, chunk: &[u8]) {
        self.with_open(|open| {
            commands::write(stream, chunk, &open.runtime.shared().written, &mut open.commands);
            open.submit();
        });
    }

    /// Takes news. Returns how many elements of `events` were written; 0 when there is no more, and the bell is armed.
    #[napi]
    pub fn drain(
        &self,
        mut events: Float64ArraySlice<'_>,
        mut slab: Uint8ArraySlice<'_>,
        slab_offset: u32,
    ) -> Result<u32> {
        let (events, slab) = lent(&mut events, &mut slab)?;
        let line = self.shell.0.borrow().line;
        let mut drain = Drain { ring: Ring::new(events), slab, slab_at: slab_offset as usize, line };
        self.with_open(|open| open.drain(&mut drain)).unwrap_or(Ok(()))?;
        Ok(drain.ring.written() as u32)
    }

    /// The worker's clock now, in ms on the line of `performance.now()`.
    #[napi]
    pub fn now(&self) -> f64 {
        self.shell.0.borrow().line.ms(paceline_udp::now_ns())
    }

    /// Counters of the endpoint; the last ones after the end.
    #[napi]
    pub fn stats(&self) -> DriverStats {
        let state = self.shell.0.borrow();
        match &state.open {
            Some(open) => DriverStats::from(&open.stats()),
            None => DriverStats::from(&state.last),
        }
    }

    /// Newest measurements of a peer's path, once it has one.
    #[napi]
    pub fn peer_stats(&self, peer: u32) -> Either<DriverPathStats, ()> {
        let stats = self.with_open(|open| {
            let slot = open.news.peers().get(peer)?.path?;
            let stats = open.runtime.shared().path_stats(slot)?;
            // A slot without a cipher is not in use.
            (stats.cipher_bits != 0).then(|| DriverPathStats::new(slot, &stats))
        });
        or_undefined(stats.flatten())
    }

    /// A peer's address now; nothing for one that is unknown or closed.
    #[napi]
    pub fn peer_address(&self, peer: u32) -> Either<RemoteAddress, ()> {
        let remote = self.with_open(|open| open.news.peers().get(peer).map(|known| known.remote)).flatten();
        or_undefined(remote.map(|remote| RemoteAddress {
            address: config::address_text(remote),
            port: u32::from(remote.port()),
        }))
    }

    /// The process stays alive for this driver.
    #[napi(js_name = "ref")]
    pub fn refer(&self, env: Env) {
        self.set_referred(env, true);
    }

    /// The process does not stay alive for this driver.
    #[napi]
    pub fn unref(&self, env: Env) {
        self.set_referred(env, false);
    }

    /// Ends everything at once: unsent data is lost, the thread joined, memory freed. Does nothing the second time.
    #[napi]
    pub fn close(&self, env: Env) {
        self.shell.close(env);
    }

    /// An address that this socket reaches.
    fn reachable(&self, address: &str, port: u32) -> Result<SocketAddr> {
        let remote = socket_addr(address, port, 1)?;
        reaches(self.shell.0.borrow().local, remote)?;
        Ok(remote)
    }

    fn set_referred(&self, env: Env, referred: bool) {
        self.with_open(|open| {
            if std::mem::replace(&mut open.referred, referred) != referred {
                open.doorbell.refer(env, referred);
            }
        });
    }

    /// `None` when closed.
    fn with_open<T>(&self, act: impl FnOnce(&mut Open) -> T) -> Option<T> {
        self.shell.0.borrow_mut().open.as_mut().map(act)
    }
}

/// What is alive in this process, over all environments: for tests that look for leaks.
#[napi]
pub(crate) fn native_liveness() -> NativeLiveness {
    live::now().into()
}

/// What JavaScript lends to a `drain()`.
pub(crate) fn lent<'a>(
    events: &'a mut Float64ArraySlice<'_>,
    slab: &'a mut Uint8ArraySlice<'_>,
) -> Result<(&'a mut [f64], &'a mut [u8])> {
    if events.len() < MIN_RING_ELEMENTS {
        return Err(error(Code::Internal, NoRoom::Ring));
    }
    let (ring_at, slab_at) = (events.as_ptr_range(), slab.as_ptr_range());
    if slab_at.start < ring_at.end.cast() && ring_at.start.cast() < slab_at.end {
        return Err(error(Code::Internal, "events and slab overlap"));
    }
    // SAFETY: JavaScript owns the memory and stands still while the call runs that these are arguments of; the two do not
    // overlap, as was just looked at; both stay where they are until the call returns.
    Ok(unsafe { (events.as_mut(), slab.as_mut()) })
}

/// `Option` would become null.
pub(crate) fn or_undefined<T>(value: Option<T>) -> Either<T, ()> {
    value.map_or(Either::B(()), Either::A)
}

/// A socket reaches only addresses of its own family.
pub(crate) fn reaches(local: SocketAddr, remote: SocketAddr) -> Result<()> {
    if local.is_ipv4() == remote.is_ipv4() {
        return Ok(());
    }
    let message = format_args!(
        "{}: the socket is bound to {} and reaches only {}",
        config::address_text(remote),
        config::address_text(local),
        config::family(local.ip())
    );
    Err(error(Code::Option, message))
}

pub(crate) fn socket_addr(address: &str, port: u32, lowest: u16) -> Result<SocketAddr> {
    let port = u16::try_from(port).ok().filter(|port| *port >= lowest);
    let port = port.ok_or_else(|| error(Code::Option, format_args!("port: expected {lowest} to 65535")))?;
    config::socket_addr(address, port).map_err(|_| {
        error(Code::Option, format_args!("{address:?} is not an IP address this system can use"))
    })
}

/// Asks this environment's `performance.now()`: the shortest of a few tries, as the first one may be compiled meanwhile.
fn line(env: Env) -> napi::Result<Line> {
    const TRIES: usize = 3;
    let performance: Object<'_> = env.get_global()?.get_named_property("performance")?;
    let now: Function<'_, (), f64> = performance.get_named_property("now")?;
    let (mut line, mut shortest) = (Line::new(0, 0.0, 0), u64::MAX);
    for _ in 0..TRIES {
        let before_ns = paceline_udp::now_ns();
        let now_ms = now.apply(performance, ())?;
        let after_ns = paceline_udp::now_ns();
        let took = after_ns.saturating_sub(before_ns);
        if took < shortest {
            (line, shortest) = (Line::new(before_ns, now_ms, after_ns), took);
        }
    }
    Ok(line)
}
