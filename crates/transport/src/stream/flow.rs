//! The receive window of a stream: what the peer may send, and how it grows.
//!
//! The window starts small and doubles while the application takes half of it within two round trips (that is: while the
//! window, not the application, is the limit). What all streams hold above their first windows comes out of one budget.

/// Sum of the windows above the initial ones; shared by all streams of an endpoint.
#[derive(Debug)]
pub(crate) struct WindowBudget {
    left: u64,
}

impl WindowBudget {
    pub(crate) fn new(bytes: u64) -> Self {
        Self { left: bytes }
    }

    fn take(&mut self, bytes: u64) -> u64 {
        let taken = bytes.min(self.left);
        self.left = self.left.saturating_sub(taken);
        taken
    }

    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    pub(crate) fn give_back(&mut self, bytes: u64) {
        self.left = self.left.saturating_add(bytes);
    }
}

#[derive(Debug)]
pub(crate) struct ReceiveWindow {
    window: u64,
    initial: u64,
    max: u64,
    consumed: u64,
    /// What the peer was last told; credit is announced again when half a window has become free.
    announced: u64,
    epoch_ns: u64,
    epoch_consumed: u64,
}

impl ReceiveWindow {
    /// `announced` is what the peer may send before it hears anything from this stream (its parameters).
    pub(crate) fn new(initial: u64, max: u64, now_ns: u64) -> Self {
        Self {
            window: initial,
            initial,
            max: max.max(initial),
            consumed: 0,
            announced: initial,
            epoch_ns: now_ns,
            epoch_consumed: 0,
        }
    }

    /// Absolute offset the peer may send to.
    pub(crate) fn max_data(&self) -> u64 {
        self.consumed.saturating_add(self.window)
    }

    /// What is beyond the initial window, to be given back to the budget at the end.
    pub(crate) fn borrowed(&self) -> u64 {
        self.window.saturating_sub(self.initial)
    }

    /// The application took `bytes` more. Returns whether the peer should be told of its new credit.
    pub(crate) fn consume(
        &mut self,
        bytes: u64,
        now_ns: u64,
        rtt_ns: u64,
        budget: &mut WindowBudget,
    ) -> bool {
        self.consumed = self.consumed.saturating_add(bytes);
        let since = self.consumed.saturating_sub(self.epoch_consumed);
        if since >= self.window / 2 {
            if now_ns.saturating_sub(self.epoch_ns) < rtt_ns.saturating_mul(2) {
                let wanted = self.window.min(self.max.saturating_sub(self.window));
                self.window = self.window.saturating_add(budget.take(wanted));
            }
            self.epoch_ns = now_ns;
            self.epoch_consumed = self.consumed;
        }
        self.max_data().saturating_sub(self.announced) >= self.window / 4
    }

    #[cfg(feature = "planted")]
    pub(crate) fn is_announced(&self) -> bool {
        self.announced == self.max_data()
    }

    /// The peer is being told `max_data`.
    pub(crate) fn on_announced(&mut self) {
        self.announced = self.max_data();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_only_while_the_window_is_the_limit() {
        let mut budget = WindowBudget::new(1 << 20);
        let mut fast = ReceiveWindow::new(1000, 16_000, 0);
        assert!(fast.consume(500, 10, 100, &mut budget));
        assert_eq!(fast.max_data(), 500 + 2000);
        let mut slow = ReceiveWindow::new(1000, 16_000, 0);
        slow.consume(500, 1_000, 100, &mut budget);
        assert_eq!(slow.max_data(), 500 + 1000);
    }

    #[test]
    fn never_above_its_maximum_nor_the_budget() {
        let mut budget = WindowBudget::new(5_000);
        let mut window = ReceiveWindow::new(1000, 100_000, 0);
        for now in 0..100 {
            window.consume(window.window / 2, now, 1 << 30, &mut budget);
        }
        assert_eq!(window.window, 6_000);
        budget.give_back(window.borrowed());
        assert_eq!(budget.left, 5_000);
    }

    #[test]
    fn announces_in_quarters_of_a_window() {
        let mut budget = WindowBudget::new(0);
        let mut window = ReceiveWindow::new(1000, 1000, 0);
        assert!(!window.consume(249, 0, 1, &mut budget));
        assert!(window.consume(1, 0, 1, &mut budget));
        window.on_announced();
        assert!(!window.consume(1, 0, 1, &mut budget));
    }
}
