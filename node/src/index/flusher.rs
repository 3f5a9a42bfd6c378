//! The thread that brings staged maps into the store.

use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};

use super::overlay::{Frozen, Overlay};
use super::{Digest, ROOT, seal, unseal};
use crate::store::{Store, StoreError};

/// Maps written between two checkpoints. A power loss costs no more than their replay.
const CHECKPOINT_EVERY: u32 = 32;

/// Called with a position before anything at or before it goes into the store.
pub type BeforeApply = Box<dyn Fn([u8; 16]) -> Result<(), String> + Send>;

pub(super) fn run(overlay: &Overlay, store: &Arc<dyn Store>, before_apply: &BeforeApply) {
    let mut since_checkpoint = 0;
    while let Some(frozen) = overlay.next() {
        since_checkpoint += 1;
        let checkpoint = since_checkpoint >= CHECKPOINT_EVERY;
        match write(store, &frozen, before_apply, checkpoint) {
            Ok(()) => {
                overlay.written();
                if checkpoint {
                    since_checkpoint = 0;
                }
            }
            Err(why) => {
                tracing::warn!(%why, "the index cannot be brought up to date; it will be tried again");
                if !overlay.failed(why) {
                    return;
                }
            }
        }
    }
}

fn write(
    store: &Arc<dyn Store>,
    frozen: &Frozen,
    before_apply: &BeforeApply,
    checkpoint: bool,
) -> Result<(), String> {
    before_apply(frozen.position)?;
    // One batch: the rows and the digest that fits them are there together or not at all.
    let mut batch = Vec::with_capacity(frozen.map.len() + 1);
    batch.push((Bytes::from_static(ROOT), Some(root(frozen.digest, frozen.position))));
    batch.extend(frozen.map.iter().map(|(key, value)| (key.clone(), value.clone())));
    let text = |error: StoreError| error.to_string();
    store.apply(&batch).map_err(text)?;
    if checkpoint { store.checkpoint().map_err(text) } else { Ok(()) }
}

/// The root row: count, sum, position.
pub(super) fn root(digest: Digest, position: [u8; 16]) -> Bytes {
    let mut row = BytesMut::with_capacity(32);
    row.put_u64(digest.count);
    row.put_u64(digest.sum);
    row.put_slice(&position);
    seal(ROOT, &row).0
}

/// Digest and position of a store; `None` for one that was never written.
pub(super) fn read_root(store: &dyn Store) -> Result<Option<(Digest, [u8; 16])>, super::IndexError> {
    let Some(sealed) = store.get(ROOT)? else { return Ok(None) };
    let row = unseal(ROOT, &sealed)?.value;
    let number =
        |at: usize| row.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes);
    let position = row.get(16..32).and_then(|bytes| bytes.try_into().ok());
    match (number(0), number(8), position) {
        (Some(count), Some(sum), Some(position)) => Ok(Some((Digest { count, sum }, position))),
        _ => Err(super::IndexError::Damaged { prefix: '0' }),
    }
}
