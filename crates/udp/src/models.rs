//! Inbox, park and stop: every order of events between application, network and worker (loom, three preemptions at most).
//!
//! The waker, its flag, the inbox and the stop flag are the real ones; eventfd and socket are modelled. A wake that gets lost
//! leaves the worker asleep for good, which loom reports as a deadlock.

use crate::{
    runtime::Control,
    wait::{Interest, Waker},
};
use loom::{model::Builder, thread};
use paceline_transport::app::Command;
use std::{net::UdpSocket, sync::Arc};

/// Preemptions looked at: beyond two, tokio's experience is, hardly any fault is left to find.
const PREEMPTIONS: usize = 3;
const INTEREST: Interest = Interest { readable: true, writable: false };

fn every_order(model: impl Fn(&UdpSocket) + Send + Sync + 'static) {
    // Never polled: the bell is a model.
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut builder = Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS);
    builder.check(move || model(&socket));
}

fn control() -> Arc<Control> {
    Arc::new(Control::new(Waker::new().unwrap()))
}

/// Parks until the application has given this many batches; each is left where it is, as only a worker takes them.
fn wait_for_commands(control: &Control, socket: &UdpSocket) {
    while !control.shared.has_commands() {
        control.waker.park(socket, INTEREST, None, || control.has_work());
    }
}

/// An application that gives one batch and wakes the worker.
fn tells_to_shut_down(control: &Arc<Control>) -> thread::JoinHandle<bool> {
    let control = Arc::clone(control);
    thread::spawn(move || {
        control.shared.submit(&mut vec![Command::Shutdown]);
        control.waker.wake()
    })
}

#[test]
fn r9_no_command_is_slept_over() {
    every_order(|socket| {
        let control = control();
        let application = tells_to_shut_down(&control);
        wait_for_commands(&control, socket);
        application.join().unwrap();
    });
}

/// An arrival ends the wait just when the application rings: the ring that nobody waited for must not hide the next one.
#[test]
fn r9_no_command_is_slept_over_behind_an_arrival() {
    every_order(|socket| {
        let control = control();
        let network = {
            let control = Arc::clone(&control);
            thread::spawn(move || control.waker.bell().arrive())
        };
        let application = tells_to_shut_down(&control);
        let (mut arrived, mut told) = (false, false);
        while !(arrived && told) {
            arrived |= control.waker.bell().receive();
            told |= control.shared.has_commands();
            if !(arrived && told) {
                // What was told is not work any more.
                control.waker.park(socket, INTEREST, None, || !told && control.has_work());
            }
        }
        network.join().unwrap();
        application.join().unwrap();
    });
}

/// Two threads wake: one rings, and whoever did not need to ring is heard as well.
#[test]
fn r9_two_wakes_at_once() {
    every_order(|socket| {
        let control = control();
        let application = tells_to_shut_down(&control);
        let owner = {
            let control = Arc::clone(&control);
            thread::spawn(move || control.ask_to_stop())
        };
        loop {
            let stopping = control.stopping();
            let told = control.shared.has_commands();
            if stopping && told {
                break;
            }
            control.waker.park(socket, INTEREST, None, || {
                (!stopping && control.stopping()) || (!told && control.shared.has_commands())
            });
        }
        application.join().unwrap();
        owner.join().unwrap();
    });
}

/// `stop()` joins the thread: whatever the worker is about to do, it must see the flag.
#[test]
fn r9_stop_ends_every_wait() {
    every_order(|socket| {
        let control = control();
        let owner = {
            let control = Arc::clone(&control);
            thread::spawn(move || control.ask_to_stop())
        };
        while !control.stopping() {
            control.waker.park(socket, INTEREST, None, || control.has_work());
        }
        owner.join().unwrap();
    });
}
