//! The receiving half of a stream: reassembly, what to acknowledge, and the control packets that do it.

use super::{eagerness::Eagerness, flow::ReceiveWindow};
use crate::{
    buffer::{ranges::Ranges, reassembly::Reassembly},
    transmission::{Ecn, Space},
};
use paceline_wire::{
    Writer,
    frame::{self, EcnCounts},
};
use std::collections::VecDeque;

/// Control packets whose content is remembered, so that an echo of their number lets old ranges be forgotten.
const REMEMBERED_CONTROL: usize = 16;
/// Control packets of a stream in the wheel or at the socket.
pub(crate) const MAX_CONTROL_OUT: u8 = 2;
/// Upstream sizes control packets to 1200 bytes; ranges are cut long before (the newest are kept).
const MAX_CONTROL_DATA: usize = 1000;

#[derive(Clone, Copy, Debug)]
struct ControlSent {
    number: u64,
    sent_ns: u64,
    stream_through: Option<u64>,
    recovery_through: Option<u64>,
}

/// A close to put into the next control packet or probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Close {
    /// 0x1c (transport) rather than 0x1d (application).
    pub(crate) transport: bool,
    pub(crate) code: u64,
}

#[derive(Debug)]
pub(crate) struct Recv {
    pub(crate) buffer: Reassembly,
    pub(crate) window: ReceiveWindow,
    stream_numbers: Ranges,
    recovery_numbers: Ranges,
    /// The largest number that came and 1, per space.
    pub(crate) next_numbers: [u64; 2],
    ecn: EcnCounts,
    /// The newest state has not been told to the peer.
    pub(crate) ack_due: bool,
    /// Whether it has to be told at once.
    pub(crate) eagerness: Eagerness,
    pub(crate) control_out: u8,
    pub(crate) next_control: u64,
    remembered: VecDeque<ControlSent>,
    /// The application reads no more.
    pub(crate) stopped: bool,
    /// All bytes and the FIN were handed to the application, or dropped for it.
    pub(crate) finished: bool,
    #[cfg(feature = "planted")]
    pub(crate) planted: Option<crate::planted::Bug>,
}

impl Recv {
    pub(crate) fn new(initial_window: u64, max_window: u64, now_ns: u64) -> Self {
        Self {
            buffer: Reassembly::new(initial_window),
            window: ReceiveWindow::new(initial_window, max_window, now_ns),
            stream_numbers: Ranges::new(),
            recovery_numbers: Ranges::new(),
            next_numbers: [0; 2],
            ecn: EcnCounts::default(),
            ack_due: false,
            eagerness: Eagerness::default(),
            control_out: 0,
            next_control: 0,
            remembered: VecDeque::new(),
            stopped: false,
            finished: false,
            #[cfg(feature = "planted")]
            planted: None,
        }
    }

    fn numbers(&mut self, space: Space) -> &mut Ranges {
        match space {
            Space::Stream => &mut self.stream_numbers,
            Space::Recovery => &mut self.recovery_numbers,
        }
    }

    fn known_numbers(&self, space: Space) -> &Ranges {
        match space {
            Space::Stream => &self.stream_numbers,
            Space::Recovery => &self.recovery_numbers,
        }
    }

    pub(crate) fn is_duplicate(&self, space: Space, number: u64) -> bool {
        self.known_numbers(space).contains(number)
    }

    /// Whether the packet is so old that it may be a duplicate: then it is one, unless it brings something.
    pub(crate) fn is_forgotten(&self, space: Space, number: u64) -> bool {
        self.known_numbers(space).is_forgotten(number)
    }

    /// An authentic packet. Its number is acknowledged from now on; soon, if it `matters`.
    pub(crate) fn on_packet(&mut self, space: Space, number: u64, ecn: Ecn, matters: bool, now_ns: u64) {
        self.eagerness.on_packet(space, number, matters || ecn == Ecn::Ce, now_ns);
        self.numbers(space).insert(number);
        if let Some(next) = self.next_numbers.get_mut(space as usize) {
            *next = number.saturating_add(1).max(*next);
        }
        if planted!(self, AckClosesGaps) && self.is_duplicate(space, number.saturating_sub(2)) {
            self.numbers(space).insert(number.saturating_sub(1));
        }
        let count = match ecn {
            Ecn::NotEct => None,
            Ecn::Ect0 => Some(&mut self.ecn.ect0),
            Ecn::Ect1 => Some(&mut self.ecn.ect1),
            Ecn::Ce => Some(&mut self.ecn.ce),
        };
        if let Some(count) = count {
            *count = count.saturating_add(1);
        }
        self.ack_due = true;
    }

    /// The peer says that control packet `next - 1` arrived: what it acknowledged need not be acknowledged again. Returns when
    /// that packet left, the first time that it is named: a round trip ago, or longer if the peer had nothing to send.
    pub(crate) fn on_control_echo(&mut self, next: u64) -> Option<u64> {
        let arrived = next.checked_sub(1)?;
        // Each control packet says all that the ones before it said, so an older one that is remembered does as well.
        let index = self.remembered.iter().rposition(|sent| sent.number <= arrived)?;
        let mut sent_ns = None;
        if let Some(sent) = self.remembered.get(index).copied() {
            if let Some(through) = sent.stream_through {
                self.stream_numbers.remove_through(through);
            }
            if let Some(through) = sent.recovery_through {
                self.recovery_numbers.remove_through(through);
            }
            sent_ns = (sent.number == arrived).then_some(sent.sent_ns);
        }
        self.remembered.drain(..=index);
        sent_ns
    }

    /// What has arrived, as frames for time-wait: as many of the newest ranges as fit.
    pub(crate) fn encode_acks(&self, out: &mut [u8]) -> usize {
        let mut writer = Writer::new(out);
        // A space from which nothing came, or whose turn finds no room, is left out.
        let _ = frame::ack(&mut writer, self.recovery_numbers.iter_desc(), None, 0);
        let _ = frame::ack(&mut writer, self.stream_numbers.iter_desc(), Some(self.ecn), 0);
        writer.len()
    }

    /// The ACK frame of one packet that came after the end.
    pub(crate) fn encode_late_ack(space: Space, number: u64, writer: &mut Writer<'_>) -> bool {
        let ecn = (space == Space::Stream).then(EcnCounts::default);
        frame::ack(writer, std::iter::once(number..=number), ecn, 0).is_ok()
    }

    /// Frames of the next control packet: MAX_DATA, ACK of the stream space (0x03), ACK of the recovery space (0x02), and a
    /// close if there is one. Returns how many bytes of `out` they take.
    pub(crate) fn encode_control(&mut self, close: Option<Close>, out: &mut [u8], now_ns: u64) -> usize {
        let end = out.len().min(MAX_CONTROL_DATA);
        let Some(out) = out.get_mut(..end) else { return 0 };
        let mut writer = Writer::new(out);
        let max_data = self.window.max_data();
        let mut fits = planted!(self, MaxDataIsSaidOnce, self.window.is_announced())
            || frame::max_data(&mut writer, max_data).is_ok();
        self.buffer.set_max_data(max_data);
        if let Some(close) = close {
            fits &= frame::connection_close(&mut writer, close.transport, close.code).is_ok();
        }
        debug_assert!(fits);
        let mut sent = ControlSent {
            number: self.next_control,
            sent_ns: now_ns,
            stream_through: None,
            recovery_through: None,
        };
        // The stream space first: a starved stream ACK makes the peer retransmit what arrived.
        if let Some(largest) = self.stream_numbers.largest()
            && frame::ack(&mut writer, self.stream_numbers.iter_desc(), Some(self.ecn), 0).is_ok()
        {
            sent.stream_through = Some(largest);
        }
        if let Some(largest) = self.recovery_numbers.largest()
            && frame::ack(&mut writer, self.recovery_numbers.iter_desc(), None, 0).is_ok()
        {
            sent.recovery_through = Some(largest);
        }
        let len = writer.len();
        self.window.on_announced();
        self.ack_due = false;
        self.eagerness.on_acknowledged(now_ns);
        if self.remembered.len() >= REMEMBERED_CONTROL {
            // Every other one goes, so that what is left reaches back further than a round trip, however many packets that is.
            let mut keep = false;
            self.remembered.retain(|_| {
                keep = !keep;
                keep
            });
        }
        self.remembered.push_back(sent);
        self.next_control = self.next_control.saturating_add(1);
        len
    }
}
