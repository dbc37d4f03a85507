//! The typed array of events that JavaScript owns: `[type, length, id, …]`, `length` counting all elements.

/// Numbers of `Event` in `packages/paceline/src/driver.ts`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Event {
    PeerOpen = 1,
    PeerClosed = 2,
    StreamAccepted = 3,
    Data = 4,
    End = 5,
    Progress = 6,
    Failed = 7,
    Closed = 8,
    Completion = 9,
    Skipped = 10,
    Drained = 11,
}

/// There is no room for the next event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// Writes events one behind the other, each whole or not at all.
#[derive(Debug)]
pub(crate) struct Ring<'a> {
    elements: &'a mut [f64],
    at: usize,
}

impl<'a> Ring<'a> {
    pub(crate) fn new(elements: &'a mut [f64]) -> Self {
        Self { elements, at: 0 }
    }

    /// Elements written.
    pub(crate) fn written(&self) -> usize {
        self.at
    }

    /// Appends an event, or leaves everything as it is.
    pub(crate) fn push<const N: usize>(&mut self, event: Event, values: [f64; N]) -> Result<(), Full> {
        self.push_with(event, values, std::iter::empty())
    }

    /// Appends an event with a variable part.
    pub(crate) fn push_with<const N: usize>(
        &mut self,
        event: Event,
        values: [f64; N],
        more: impl ExactSizeIterator<Item = [f64; 4]>,
    ) -> Result<(), Full> {
        let length = 2 + N + 4 * more.len();
        let room = self.elements[self.at..].get_mut(..length).ok_or(Full)?;
        room[0] = f64::from(event as u8);
        room[1] = length as f64;
        let (fixed, variable) = room[2..].split_at_mut(N);
        fixed.copy_from_slice(&values);
        for (place, values) in variable.chunks_exact_mut(4).zip(more) {
            place.copy_from_slice(&values);
        }
        self.at += length;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_that_does_not_fit_leaves_no_trace() {
        let mut elements = [-1.0; 8];
        let mut ring = Ring::new(&mut elements);
        assert_eq!(ring.push(Event::PeerOpen, [1.0, 0.0]), Ok(()));
        assert_eq!(ring.push_with(Event::Completion, [3.0], [[0.0; 4]].into_iter()), Err(Full));
        assert_eq!(ring.written(), 4);
        assert_eq!(ring.push(Event::Failed, [3.0, 9.0]), Ok(()));
        assert_eq!(ring.push(Event::Drained, [0.0]), Err(Full));
        assert_eq!(ring.written(), 8);
        assert_eq!(elements, [1.0, 4.0, 1.0, 0.0, 7.0, 4.0, 3.0, 9.0]);
    }
}
