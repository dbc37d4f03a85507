//! What can be wrong with a wheel, for the simulator to find. In no ordinary build.

use crate::{prioritized::Prioritized, wheel::Wheel};

/// A bug of a wheel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// The next expiry of a coarse slot is that of its oldest value, not of its earliest.
    CoarseExpiry,
    /// A slot is dealt out from its end.
    CascadeOrder,
}

impl<T> Wheel<T> {
    /// Plants a bug.
    pub fn plant(&mut self, bug: Planted) {
        self.levels.planted = Some(bug);
    }
}

impl<T, const N: usize> Prioritized<T, N> {
    /// Plants a bug into each of them.
    pub fn plant(&mut self, bug: Planted) {
        self.wheels.iter_mut().for_each(|wheel| wheel.plant(bug));
    }
}
