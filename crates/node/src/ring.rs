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
    Offload = 12,
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

    /// A million events into rings of every size: what is read back, record by record, is what went in; what did not fit left
    /// no trace.
    #[test]
    fn equals_a_vec_of_events() {
        let mut state = 1_u64;
        let mut random = |bound: u64| {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            (state >> 33) % bound
        };
        let (mut pushed, mut refused) = (0_u64, 0_u64);
        let mut elements = vec![0.0; 2_048];
        while pushed + refused < 1_000_000 {
            let size = random(2_048) as usize;
            elements.fill(-1.0);
            let mut model: Vec<Vec<f64>> = Vec::new();
            let mut ring = Ring::new(&mut elements[..size]);
            for _ in 0..1 + random(200) {
                let room = size - model.iter().map(Vec::len).sum::<usize>();
                let (a, b) = (random(1 << 40) as f64, random(1 << 40) as f64);
                let more: Vec<[f64; 4]> =
                    (0..random(5) * random(12)).map(|at| [at as f64, a, b, 0.5]).collect();
                let (result, event) = if random(2) == 0 {
                    (ring.push(Event::Data, [a, b, 3.0]), vec![4.0, 5.0, a, b, 3.0])
                } else {
                    let mut event = vec![9.0, (4 + 4 * more.len()) as f64, a, b];
                    event.extend(more.iter().flatten());
                    (ring.push_with(Event::Completion, [a, b], more.iter().copied()), event)
                };
                assert_eq!(result.is_ok(), event.len() <= room);
                if result.is_ok() {
                    model.push(event);
                    pushed += 1;
                } else {
                    refused += 1;
                }
                assert_eq!(ring.written(), model.iter().map(Vec::len).sum::<usize>());
            }
            let written = ring.written();
            let mut rest = &elements[..written];
            for event in &model {
                let (one, others) = rest.split_at(rest[1] as usize);
                assert_eq!(one, event);
                rest = others;
            }
            assert!(rest.is_empty() && elements[written..].iter().all(|element| *element == -1.0));
        }
        assert!(pushed > 100_000 && refused > 100_000, "{pushed} pushed, {refused} refused");
    }
}
