//! A path that takes small packets and swallows large ones (RFC 8899 §4.3).
//!
//! Nobody says so: large packets go unanswered while smaller ones are answered. Counted are probe timeouts, and rounds of losses
//! of large packets only, since a small packet was answered and no large one has been; the third says that the path has become
//! narrow. An outage is not mistaken for it: the first large packet that is answered afterwards begins anew.

/// What every path takes (RFC 8899 §5.1.2 BASE_PLPMTU; RFC 9000 §14).
pub(crate) const BASE_MTU: u16 = 1200;
/// RFC 8899 §5.1.2: MAX_PROBES.
const MAX_SILENT: u32 = 3;

#[derive(Clone, Debug, Default)]
pub(crate) struct Silence {
    /// A small packet was answered since the last large one.
    small_answered: bool,
    silent: u32,
    counted_ns: u64,
}

impl Silence {
    pub(crate) fn on_answer(&mut self, large: bool, small: bool) {
        if large {
            *self = Self { counted_ns: self.counted_ns, ..Self::default() };
        } else {
            self.small_answered |= small;
        }
    }

    /// A large packet that left at `sent_ns` was not answered. Returns whether the path has become narrow.
    pub(crate) fn on_silence(&mut self, sent_ns: u64, now_ns: u64) -> bool {
        if !self.small_answered || sent_ns < self.counted_ns {
            return false;
        }
        self.counted_ns = now_ns;
        self.silent = self.silent.saturating_add(1);
        if self.silent < MAX_SILENT {
            return false;
        }
        *self = Self { counted_ns: now_ns, ..Self::default() };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_silences_after_a_small_answer() {
        let mut silence = Silence::default();
        for at in 0..10 {
            assert!(!silence.on_silence(at, at), "an outage");
        }
        silence.on_answer(false, true);
        assert!(!silence.on_silence(20, 21));
        assert!(!silence.on_silence(20, 22), "the same round");
        assert!(!silence.on_silence(23, 24));
        silence.on_answer(true, true);
        silence.on_answer(false, true);
        assert!(!silence.on_silence(25, 26));
        assert!(!silence.on_silence(27, 28));
        assert!(silence.on_silence(29, 30));
        assert!(!silence.on_silence(31, 32), "counted anew");
    }
}
