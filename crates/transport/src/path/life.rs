//! How old a path is and what may still be done with it (handshake.md sections 6 to 8).

use crate::{config::SECOND, endpoint::Alarm, handshakes::Handshakes};
use paceline_handshake::AttemptId;

/// Between two attempts to make a path anew.
pub(crate) const REFRESH_GAP_NS: u64 = 10 * SECOND;
/// Doublings of that gap while the attempts fail: a peer that is gone for good is asked every 21 minutes.
const MAX_REFRESH_EXPONENT: u32 = 7;
/// Added to the idle timeout before a retired path goes: the peer's Confirm timeout, during which it may go back to this path,
/// and once more for what is on its way.
const LINGER_NS: u64 = 2 * paceline_handshake::HANDSHAKE_TIMEOUT_NS;

/// What may be done with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Initiator: streams leave, but the peer has not proved that it has the keys.
    Usable,
    /// Both sides have proved that they have the keys.
    Confirmed,
    /// Too old to open streams; nothing has taken its place yet.
    Aged,
    /// A newer path opens the streams. It takes those that the peer opens, and ends with its last stream.
    Retired,
    /// Its peer is closed here, or has lost the keys: no new streams in either direction.
    Closing,
}

/// What happens to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A Confirmed, a Confirm, or an authentic packet.
    Proved,
    /// `MAX_LIFETIME` is over.
    LifetimeOver,
    /// A newer path to the same peer is there.
    Superseded,
    /// The newer path is gone again.
    Reinstated,
    /// The peer is closed here, restarted, or never confirmed.
    Ended,
}

impl Phase {
    /// The table of transitions.
    pub(crate) const fn on(self, event: Event) -> Self {
        match (self, event) {
            (Self::Closing, _) | (_, Event::Ended) => Self::Closing,
            (Self::Usable, Event::Proved) => Self::Confirmed,
            // What its proof says is as true of a retired one; it opens no streams all the same.
            (Self::Confirmed | Self::Aged | Self::Retired, Event::Proved) => self,
            (_, Event::Superseded) => Self::Retired,
            (Self::Retired, Event::Reinstated) => Self::Confirmed,
            (Self::Usable | Self::Confirmed | Self::Aged, Event::Reinstated) => self,
            (Self::Usable | Self::Confirmed | Self::Aged, Event::LifetimeOver) => Self::Aged,
            (Self::Retired, Event::LifetimeOver) => self,
        }
    }

    /// Streams may be opened here.
    pub(crate) const fn opens(self) -> bool {
        matches!(self, Self::Usable | Self::Confirmed)
    }

    /// Streams of the peer are taken.
    pub(crate) const fn accepts(self) -> bool {
        !matches!(self, Self::Closing)
    }
}

/// What a path's timer finds to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Make a new path to the same peer.
    Refresh,
    /// It has been retired and without streams for long enough.
    Drop,
    /// Its secret was injected, and the peer has not shown in time that it has it.
    Unconfirmed,
}

/// What is different about a path that no handshake made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Injected {
    /// Time for the first authentic packet, ns.
    within_ns: u64,
    /// When that is over; `u64::MAX` before a stream was opened here, and after that packet.
    until_ns: u64,
}

impl Injected {
    pub(crate) const fn new(within_ns: u64) -> Self {
        Self { within_ns, until_ns: u64::MAX }
    }
}

/// A path's age and its plans.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    pub(crate) phase: Phase,
    /// Whom it leads to: random for every start of a peer.
    pub(crate) instance: [u8; 16],
    /// Its handshake still sends Confirms.
    pub(crate) attempt: Option<AttemptId>,
    pub(crate) born_ns: u64,
    /// When a new path is to be made; `u64::MAX`: the peer will do it.
    refresh_ns: u64,
    refresh_failures: u32,
    expires_ns: u64,
    /// Since when it carries no stream; `None` while it does.
    pub(crate) idle_since_ns: Option<u64>,
    /// Made here: nobody else decides that another takes its place.
    initiator: bool,
    idle_timeout_ns: u64,
    injected: Option<Injected>,
    /// As it stands in the timer wheel, ns.
    pub(crate) timer: Alarm,
}

impl Life {
    /// A path made now. `luck` is random: it spreads re-handshakes of paths that were made together.
    pub(crate) fn new(
        instance: [u8; 16],
        initiator: bool,
        idle_timeout_ns: u64,
        limits: &Handshakes,
        now_ns: u64,
        luck: u64,
    ) -> Self {
        let less = luck.checked_rem((limits.rehandshake_after_ns / 10).max(1)).unwrap_or(0);
        let after = limits.rehandshake_after_ns.saturating_sub(less);
        Self {
            phase: if initiator { Phase::Usable } else { Phase::Confirmed },
            instance,
            attempt: None,
            born_ns: now_ns,
            refresh_ns: if initiator { now_ns.saturating_add(after) } else { u64::MAX },
            refresh_failures: 0,
            expires_ns: now_ns.saturating_add(limits.max_lifetime_ns),
            idle_since_ns: Some(now_ns),
            initiator,
            idle_timeout_ns,
            injected: None,
            timer: Alarm::default(),
        }
    }

    /// The application has the secret, and nobody can make another: it opens streams until the process ends.
    pub(crate) fn inject(&mut self, injected: Injected) {
        self.injected = Some(injected);
        self.phase = Phase::Usable;
        (self.refresh_ns, self.expires_ns) = (u64::MAX, u64::MAX);
    }

    /// The application has the secret.
    pub(crate) const fn is_injected(&self) -> bool {
        self.injected.is_some()
    }

    /// A stream was opened here: an injected path has to prove itself from now on. Returns whether that is news.
    pub(crate) fn on_opened(&mut self, now_ns: u64) -> bool {
        let Some(injected) = &mut self.injected else { return false };
        if self.phase != Phase::Usable || injected.until_ns < u64::MAX {
            return false;
        }
        injected.until_ns = now_ns.saturating_add(injected.within_ns);
        true
    }

    /// An authentic packet came. Of other paths the handshake keeps account.
    pub(crate) fn on_authentic(&mut self) {
        if let Some(injected) = &mut self.injected {
            injected.until_ns = u64::MAX;
            self.phase = self.phase.on(Event::Proved);
        }
    }

    /// A new path is wanted now: its age, or its key ids.
    pub(crate) fn want_refresh(&mut self, now_ns: u64) {
        if self.refresh_failures == 0 && self.injected.is_none() {
            self.refresh_ns = self.refresh_ns.min(now_ns);
        }
    }

    /// An attempt begins; the next one, should it fail, comes later and later.
    pub(crate) fn refreshing(&mut self, now_ns: u64) {
        let gap = REFRESH_GAP_NS.saturating_mul(1u64.wrapping_shl(self.refresh_failures));
        self.refresh_failures = self.refresh_failures.saturating_add(1).min(MAX_REFRESH_EXPONENT);
        self.refresh_ns = now_ns.saturating_add(gap);
    }

    /// When it may go, if it may.
    fn drop_ns(&self) -> Option<u64> {
        let idle_ns = self.idle_since_ns?;
        match self.phase {
            Phase::Retired => {
                // The other side may have made its new path for another reason, and use this one as long as it may.
                let unused_ns = if self.initiator { idle_ns } else { idle_ns.max(self.expires_ns) };
                Some(unused_ns.saturating_add(self.idle_timeout_ns).saturating_add(LINGER_NS))
            }
            Phase::Closing => Some(idle_ns),
            Phase::Usable | Phase::Confirmed | Phase::Aged => None,
        }
    }

    fn may_refresh(&self) -> bool {
        matches!(self.phase, Phase::Usable | Phase::Confirmed | Phase::Aged)
    }

    /// When something is due next, ns.
    pub(crate) fn deadline(&self) -> Option<u64> {
        let refresh = Some(self.refresh_ns).filter(|at| *at < u64::MAX && self.may_refresh());
        let expiry = Some(self.expires_ns).filter(|at| *at < u64::MAX && self.phase.opens());
        let unconfirmed = self.injected.map(|injected| injected.until_ns).filter(|at| *at < u64::MAX);
        [refresh, expiry, unconfirmed, self.drop_ns()].into_iter().flatten().min()
    }

    /// Grows older; what is to be done about it.
    pub(crate) fn advance(&mut self, now_ns: u64) -> Option<Due> {
        if self.expires_ns <= now_ns {
            self.phase = self.phase.on(Event::LifetimeOver);
        }
        if self.drop_ns().is_some_and(|at| at <= now_ns) {
            return Some(Due::Drop);
        }
        if let Some(injected) = &mut self.injected
            && injected.until_ns <= now_ns
        {
            injected.until_ns = u64::MAX;
            return Some(Due::Unconfirmed);
        }
        (self.refresh_ns <= now_ns && self.may_refresh()).then_some(Due::Refresh)
    }
}

#[cfg(test)]
mod tests;
