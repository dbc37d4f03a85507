//! Bugs for the simulator to find: `crates/sim/tests/planted.rs`. In no ordinary build (feature `planted`).
//!
//! Each is a change of one line, at the place that names it (`planted!`), of the kind that others shipped or that was found here.
//! In brackets: the commit of reference/reliability.md, section 3, or where we met it.

use super::Endpoint;

/// A bug. One at a time, in [`Config::planted`](crate::Config::planted).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// Wheel: the next expiry of a coarse slot is that of its first value, not of its earliest [ea32ab8e4, d10aa6bf2].
    ExpiryOfACoarseSlot,
    /// Pool: free buffers of one class make no room for another.
    PoolKeepsItsClasses,
    /// Pacer: what is scheduled and not sent does not count against the window.
    ScheduledIsNotInTheWindow,
    /// Wire: the next phase's key never takes the old one's place, so that the third phase is not understood.
    KeyPhaseStays,
    /// Handshake: a message that was lost is not sent again.
    MessagesAreSentOnce,
    /// Release: what waited in its path's line consumes no tokens [584fa82a7].
    HeldIsNotCharged,
    /// Release: what may not leave now goes back into the wheel, where others overtake it [5da854caa].
    HeldGoesBack,
    /// Release: what may not leave now is dropped [df8d34602].
    RefusedIsDropped,
    /// Release: what is cancelled stays on its path's account of scheduled bytes [3d9f00014].
    CancelledKeepsCredit,
    /// Release: what is cancelled keeps its descriptor.
    CancelledKeepsDescriptor,
    /// Completions: a failed transmission completes twice.
    FailureIsToldTwice,
    /// Probes: one that is given up never leaves the bytes in flight [97388120a].
    ProbeStaysInFlight,
    /// Probes: after the first PTO without an answer nothing is sent any more.
    OneProbeTimeout,
    /// Control: with nothing in flight, an acknowledgement is acknowledged [31260f7e9].
    AckIsAcknowledged,
    /// Control: a gap of one packet is acknowledged with its neighbours.
    AckClosesGaps,
    /// Idle: only stream packets count as heard from the peer [1addeafa4].
    ControlIsNotHeard,
    /// Flow: MAX_DATA is not repeated when it was lost [55a8b521d].
    MaxDataIsSaidOnce,
    /// Send: a lost packet that carries nothing but the FIN is not sent again [da77f1c9c].
    LostFinIsForgotten,
    /// Send: a packet that became too large loses what is left of its last piece.
    ResealLosesTheTail,
    /// Close: sent once, and not repeated to a peer that missed it [stream-stuck note].
    CloseIsSaidOnce,
    /// Time-wait: a stream is forgotten after 500 ms, before its peer's last retransmission [shutdown note].
    TimeWaitIsShort,
    /// Replay: a key id that was used before opens a stream again.
    ReplayIsAccepted,
}

impl Bug {
    /// All there are.
    pub const ALL: &[Self] = &[
        Self::ExpiryOfACoarseSlot,
        Self::PoolKeepsItsClasses,
        Self::ScheduledIsNotInTheWindow,
        Self::KeyPhaseStays,
        Self::MessagesAreSentOnce,
        Self::HeldIsNotCharged,
        Self::HeldGoesBack,
        Self::RefusedIsDropped,
        Self::CancelledKeepsCredit,
        Self::CancelledKeepsDescriptor,
        Self::FailureIsToldTwice,
        Self::ProbeStaysInFlight,
        Self::OneProbeTimeout,
        Self::AckIsAcknowledged,
        Self::AckClosesGaps,
        Self::ControlIsNotHeard,
        Self::MaxDataIsSaidOnce,
        Self::LostFinIsForgotten,
        Self::ResealLosesTheTail,
        Self::CloseIsSaidOnce,
        Self::TimeWaitIsShort,
        Self::ReplayIsAccepted,
    ];
}

impl Endpoint {
    /// What the layers below are told once.
    pub(crate) fn plant(mut self) -> Self {
        match self.config.planted {
            Some(Bug::PoolKeepsItsClasses) => self.pool.plant(),
            Some(Bug::ExpiryOfACoarseSlot) => self.wheel.plant(),
            _ => {}
        }
        self
    }
}

impl crate::stream::Stream {
    /// Both halves look at it.
    pub(super) fn plant(&mut self, bug: Option<Bug>) {
        (self.send.planted, self.recv.planted) = (bug, bug);
    }
}
