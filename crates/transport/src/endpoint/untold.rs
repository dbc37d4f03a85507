//! Streams of peers that are over before the application took their last news.
//!
//! Their updates wait in the outbox, and no stream is left that a limit counts: a peer that opens, sends and resets would fill
//! it for as long as the application stands still. So they count against their path until the outbox is taken.

use super::Endpoint;
use crate::transmission::{PathKey, StreamKey};

/// What waits in the outbox, for all paths.
#[derive(Debug, Default)]
pub(super) struct Untold {
    /// Of the outbox that it waits in; once that was taken, nothing of it waits.
    epoch: u64,
    /// Whose, each once.
    paths: Vec<PathKey>,
}

impl Endpoint {
    /// The stream is about to go; what stands of it in the outbox is charged to its path.
    pub(super) fn charge_untold(&mut self, key: StreamKey) {
        let Some((path_key, (epoch, index))) =
            self.streams.get(key).and_then(|stream| stream.path.zip(stream.update))
        else {
            return;
        };
        let bytes = {
            let outbox = self.shared.outbox();
            let update = outbox.streams.get(index).filter(|_| outbox.epoch == epoch);
            let Some(update) = update else { return };
            update.readable.iter().map(|bytes| bytes.len() as u64).fold(0, u64::saturating_add)
        };
        self.settle_untold(epoch);
        let Some(path) = self.paths.get_mut(path_key) else { return };
        if path.untold.streams == 0 {
            self.untold.paths.push(path_key);
        }
        path.untold.streams = path.untold.streams.saturating_add(1);
        path.untold.bytes = path.untold.bytes.saturating_add(bytes);
    }

    /// Looks whether the application has taken what waits.
    pub(super) fn recheck_untold(&mut self) {
        let epoch = self.shared.outbox().epoch;
        self.settle_untold(epoch);
    }

    fn settle_untold(&mut self, epoch: u64) {
        if self.untold.epoch == epoch {
            return;
        }
        self.untold.epoch = epoch;
        for key in self.untold.paths.drain(..) {
            if let Some(path) = self.paths.get_mut(key) {
                path.untold = Default::default();
            }
        }
    }
}
