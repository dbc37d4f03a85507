//! Waiting for the socket, a deadline or the application, without spinning and without losing a wake.
//!
//! ```text
//!  application                         worker
//!  submit commands (mutex)             parked.swap(true)
//!  if parked.swap(false): ring         if commands or stop: parked = false, step again
//!                                      poll {socket, bell} until the deadline
//!                                      parked = false; silence the bell
//! ```
//!
//! Either the worker's look sees the commands, or the application's swap sees the flag and rings: both orders go through the
//! inbox mutex (or, for `stop`, through the flag, which both sides swap); `models.rs` tries them all. A ring that nobody waits
//! for ends the next poll at once. Ringing costs the application 8.7 µs, a swap a few ns (reference/limits.md, "Between
//! threads"), hence the flag.

use crate::{clock, sync::AtomicBool};
use std::{net::UdpSocket, sync::atomic::Ordering};

/// What the worker wants to hear of its socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interest {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
}

/// Parks one worker, and is rung by anybody.
#[derive(Debug)]
pub(crate) struct Waker {
    parked: AtomicBool,
    bell: Bell,
}

impl Waker {
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self { parked: AtomicBool::new(false), bell: Bell::new()? })
    }

    /// Ends the worker's wait, if it waits. Whatever it is to see must be written before. Returns whether it was parked.
    pub(crate) fn wake(&self) -> bool {
        let parked = self.parked.swap(false, Ordering::SeqCst);
        if parked {
            self.bell.ring();
        }
        parked
    }

    /// Waits until the socket is as wanted, `deadline_ns` on [`clock::now_ns`] has come (never before, unless something else
    /// happened), or somebody rings. `has_work` is asked after the flag is up: whoever writes work before it wakes is seen.
    pub(crate) fn park(
        &self,
        socket: &UdpSocket,
        interest: Interest,
        deadline_ns: Option<u64>,
        has_work: impl FnOnce() -> bool,
    ) {
        // Swaps, not stores: whoever woke before and did not ring has written before what is looked at from here on.
        self.parked.swap(true, Ordering::SeqCst);
        if !has_work() {
            let rung = self.bell.poll(socket, interest, || {
                deadline_ns.map(|deadline| deadline.saturating_sub(clock::now_ns()))
            });
            self.parked.swap(false, Ordering::SeqCst);
            if rung {
                self.bell.silence();
            }
            return;
        }
        self.parked.swap(false, Ordering::SeqCst);
    }
}

#[cfg(all(target_os = "linux", not(feature = "portable"), not(loom)))]
mod bell {
    use super::Interest;
    use crate::sys;
    use std::{
        fs::File,
        io::{Error, Read, Result, Write},
        net::UdpSocket,
    };

    /// An eventfd.
    #[derive(Debug)]
    pub(crate) struct Bell(File);

    impl Bell {
        pub(crate) fn new() -> Result<Self> {
            sys::event_fd().map(|fd| Self(fd.into())).map_err(|errno| Error::from_raw_os_error(errno.0))
        }

        pub(crate) fn ring(&self) {
            // Fails only when the counter is full, and then it rings already.
            let _ = (&self.0).write(&1u64.to_ne_bytes());
        }

        pub(crate) fn silence(&self) {
            let _ = (&self.0).read(&mut [0; 8]);
        }

        /// Returns whether the bell rings.
        pub(crate) fn poll(
            &self,
            socket: &UdpSocket,
            interest: Interest,
            timeout_ns: impl FnOnce() -> Option<u64>,
        ) -> bool {
            let mut events = 0;
            if interest.readable {
                events |= libc::POLLIN;
            }
            if interest.writable {
                events |= libc::POLLOUT;
            }
            if events == 0 {
                // Errors are reported unasked, and would end every wait at once while nobody takes them.
                return sys::ppoll([(&self.0, libc::POLLIN)], timeout_ns())[0] != 0;
            }
            sys::ppoll([(&self.0, libc::POLLIN), (socket, events)], timeout_ns())[0] != 0
        }
    }
}

#[cfg(all(not(all(target_os = "linux", not(feature = "portable"))), not(loom)))]
mod bell {
    use super::Interest;
    use std::{
        io::Result,
        net::{Ipv4Addr, UdpSocket},
        time::Duration,
    };

    /// A pair of loopback sockets: the one thing that std makes and every system's poll waits for.
    #[derive(Debug)]
    pub(crate) struct Bell {
        clapper: UdpSocket,
        bowl: UdpSocket,
    }

    impl Bell {
        pub(crate) fn new() -> Result<Self> {
            let bowl = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            let clapper = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            clapper.connect(bowl.local_addr()?)?;
            bowl.connect(clapper.local_addr()?)?;
            bowl.set_nonblocking(true)?;
            clapper.set_nonblocking(true)?;
            Ok(Self { clapper, bowl })
        }

        pub(crate) fn ring(&self) {
            // Fails only when rings are queued already.
            let _ = self.clapper.send(&[1]);
        }

        pub(crate) fn silence(&self) {
            while self.bowl.recv(&mut [0]).is_ok() {}
        }

        /// Returns whether the bell rings.
        ///
        /// These polls count milliseconds. Whole ones are waited for here; a rest of less is slept, during which a ring or an
        /// arrival waits, too: better than every departure late by half a millisecond.
        pub(crate) fn poll(
            &self,
            socket: &UdpSocket,
            interest: Interest,
            timeout_ns: impl Fn() -> Option<u64>,
        ) -> bool {
            let timeout_ms = match timeout_ns() {
                None => -1,
                Some(ns) => i32::try_from(ns / 1_000_000).unwrap_or(i32::MAX),
            };
            let (rung, ready) = poll(&self.bowl, socket, interest, timeout_ms);
            if let (false, false, Some(rest @ 1..1_000_000)) = (rung, ready, timeout_ns()) {
                std::thread::sleep(Duration::from_nanos(rest));
            }
            rung
        }
    }

    #[cfg(unix)]
    fn poll(bowl: &UdpSocket, socket: &UdpSocket, interest: Interest, timeout_ms: i32) -> (bool, bool) {
        let mut events = 0;
        if interest.readable {
            events |= libc::POLLIN;
        }
        if interest.writable {
            events |= libc::POLLOUT;
        }
        if events == 0 {
            // Errors are reported unasked, and would end every wait at once while nobody takes them.
            return (crate::sys::poll([(bowl, libc::POLLIN)], timeout_ms)[0] != 0, false);
        }
        let [rung, ready] = crate::sys::poll([(bowl, libc::POLLIN), (socket, events)], timeout_ms);
        (rung != 0, ready != 0)
    }

    #[cfg(windows)]
    fn poll(bowl: &UdpSocket, socket: &UdpSocket, interest: Interest, timeout_ms: i32) -> (bool, bool) {
        use std::os::windows::io::{AsRawSocket, RawSocket};

        #[repr(C)]
        struct PollFd {
            fd: RawSocket,
            events: i16,
            revents: i16,
        }
        #[link(name = "ws2_32")]
        unsafe extern "system" {
            fn WSAPoll(fds: *mut PollFd, count: u32, timeout_ms: i32) -> i32;
        }
        const READABLE: i16 = 0x0100; // POLLRDNORM
        const WRITABLE: i16 = 0x0010; // POLLWRNORM

        let events =
            if interest.readable { READABLE } else { 0 } | if interest.writable { WRITABLE } else { 0 };
        let mut fds = [
            PollFd { fd: bowl.as_raw_socket(), events: READABLE, revents: 0 },
            PollFd { fd: socket.as_raw_socket(), events, revents: 0 },
        ];
        let count = if events == 0 { 1 } else { 2 };
        // SAFETY: pointer and count describe (the front of) `fds`, which outlives the call.
        let found = unsafe { WSAPoll(fds.as_mut_ptr(), count, timeout_ms) };
        (found > 0 && fds[0].revents != 0, found > 0 && fds[1].revents != 0)
    }
}

/// An eventfd and a socket as a model has them. Nothing but a ring or an arrival ends a poll, so a lost wake is a deadlock.
#[cfg(loom)]
#[allow(dead_code, reason = "the library without its models")]
mod bell {
    use super::Interest;
    use loom::sync::{Condvar, Mutex};
    use std::net::UdpSocket;

    #[derive(Debug, Default)]
    struct State {
        rings: bool,
        arrived: bool,
    }

    #[derive(Debug, Default)]
    pub(crate) struct Bell(Mutex<State>, Condvar);

    impl Bell {
        pub(crate) fn new() -> std::io::Result<Self> {
            Ok(Self::default())
        }

        pub(crate) fn ring(&self) {
            self.0.lock().expect("a model").rings = true;
            self.1.notify_one();
        }

        pub(crate) fn silence(&self) {
            self.0.lock().expect("a model").rings = false;
        }

        /// Something arrives at the socket.
        pub(crate) fn arrive(&self) {
            self.0.lock().expect("a model").arrived = true;
            self.1.notify_one();
        }

        /// Takes what arrived.
        pub(crate) fn receive(&self) -> bool {
            std::mem::take(&mut self.0.lock().expect("a model").arrived)
        }

        pub(crate) fn poll(&self, _: &UdpSocket, _: Interest, _: impl Fn() -> Option<u64>) -> bool {
            let mut state = self.0.lock().expect("a model");
            while !(state.rings || state.arrived) {
                state = self.1.wait(state).expect("a model");
            }
            state.rings
        }
    }
}

#[cfg(all(test, loom))]
impl Waker {
    /// The socket's side of the model.
    pub(crate) const fn bell(&self) -> &Bell {
        &self.bell
    }
}

use bell::Bell;
