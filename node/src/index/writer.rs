//! The thread that brings what is staged into the store.

use std::time::Duration;

use super::layer::Layer;
use super::overlay::{Overlay, Work};
use super::scrub::Copying;
use super::{IndexError, Position};
use crate::store::{Guarded, Store as _};

/// Bytes written between two checkpoints. A power loss costs at most their replay.
const CHECKPOINT_BYTES: usize = 128 << 20;

/// Called with a position before anything at or before it goes into the store; makes the log durable so far.
pub type BeforeApply = Box<dyn Fn(Position) -> Result<(), String> + Send>;

pub(super) struct Writer<'a> {
    pub overlay: &'a Overlay,
    pub store: &'a Guarded,
    pub before_apply: &'a BeforeApply,
    pub copying: &'a Copying,
    /// Written and not yet durable in the store, in bytes.
    unsynced: usize,
    /// When the oldest and the newest of it were written, counted from the beginning of the overlay.
    written: Option<(Duration, Duration)>,
    /// Calls of the layer at hand that are in the store already.
    done: usize,
}

impl<'a> Writer<'a> {
    pub fn new(
        overlay: &'a Overlay,
        store: &'a Guarded,
        before_apply: &'a BeforeApply,
        copying: &'a Copying,
    ) -> Writer<'a> {
        Writer { overlay, store, before_apply, copying, unsynced: 0, written: None, done: 0 }
    }

    /// Works until the overlay is stopped.
    pub fn run(mut self) {
        loop {
            let result = match self.overlay.next(self.written) {
                Work::Stop => return,
                Work::Checkpoint => self.checkpoint(),
                Work::Write(layer) => self.write(&layer),
                Work::Scrub => self.scrub(),
            };
            match result {
                Ok(()) => self.overlay.recovered(),
                Err(error) => {
                    tracing::warn!(%error, "the index cannot be brought up to date; the log has everything");
                    self.overlay.failed(error);
                }
            }
        }
    }

    fn write(&mut self, layer: &Layer) -> Result<(), IndexError> {
        if let Some(position) = layer.position() {
            (self.before_apply)(position).map_err(IndexError::NotDurable)?;
        }
        while let Some((done, batch)) = layer.batch(self.done, self.store.batch_bytes()) {
            self.store.apply(&batch)?;
            self.done = done;
            if self.overlay.is_stopped() && done < layer.calls() {
                return Ok(());
            }
        }
        self.done = 0;
        let now = self.overlay.now();
        self.written = Some((self.written.map_or(now, |(first, _)| first), now));
        self.unsynced += layer.bytes();
        self.overlay.written();
        if self.unsynced >= CHECKPOINT_BYTES { self.checkpoint() } else { Ok(()) }
    }

    fn scrub(&mut self) -> Result<(), IndexError> {
        self.copying.run(self.store)?;
        (self.unsynced, self.written) = (0, None);
        self.overlay.scrubbed();
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<(), IndexError> {
        self.store.checkpoint()?;
        (self.unsynced, self.written) = (0, None);
        Ok(())
    }
}
