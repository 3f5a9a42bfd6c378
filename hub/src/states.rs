//! The states of a round's records, read ahead of the judge: from rounds that are on their way, then from the index.

use std::collections::VecDeque;
use std::panic::resume_unwind;

use bytes::Bytes;
use liandong_node::index::{Index, check_of};
use liandong_node::rows;
use liandong_node::site::SiteError;
use liandong_proto::id::{RecordId, RecordMap};
use liandong_proto::pb::record::v1::Finding;
use liandong_proto::state::RecordState;
use prost::Message as _;

use crate::findings;
use crate::fold::{Fold, Key, Stored};

/// From so many records on a second thread helps to read them.
const SHARED_READ: usize = 1_024;

/// States of rounds that are judged but not stored yet, newest last.
#[derive(Default)]
pub struct Ahead(VecDeque<(u64, RecordMap<Bytes>)>);

impl Ahead {
    /// Adds those of a round.
    pub fn push(&mut self, round: u64, states: RecordMap<Bytes>) {
        self.0.push_back((round, states));
    }

    /// Lets go of rounds that are stored.
    pub fn prune(&mut self, published: u64) {
        while self.0.front().is_some_and(|(number, _)| *number <= published) {
            self.0.pop_front();
        }
    }

    fn get(&self, key: &Key) -> Option<&Bytes> {
        self.0.iter().rev().find_map(|(_, states)| states.get(key))
    }
}

/// A state as it will be stored once the rounds on their way are.
///
/// # Errors
/// [`SiteError`].
pub fn stored(index: &Index, ahead: &Ahead, key: Key) -> Result<Option<Stored>, SiteError> {
    if let Some(value) = ahead.get(&key) {
        let check = Some(check_of(&rows::record(key.0, key.1), value));
        return Ok(Some(Stored { state: RecordState::decode(value)?, check }));
    }
    match index.get(&rows::record(key.0, key.1))? {
        None => Ok(None),
        Some(item) => Ok(Some(Stored { state: RecordState::decode(&item.value)?, check: Some(item.check) })),
    }
}

/// The states of all these records, read in key order.
///
/// # Errors
/// [`SiteError`].
pub fn read_all(
    index: &Index,
    ahead: &Ahead,
    keys: impl Iterator<Item = Key>,
) -> Result<RecordMap<Stored>, SiteError> {
    let mut keys: Vec<Key> = keys.collect();
    keys.sort_unstable();
    keys.dedup();
    let mut out = RecordMap::with_capacity_and_hasher(keys.len(), Default::default());
    let read = |keys: &[Key]| -> Result<Vec<(Key, Stored)>, SiteError> {
        let found = keys.iter().map(|key| Ok(stored(index, ahead, *key)?.map(|it| (*key, it))));
        found.filter_map(Result::transpose).collect()
    };
    // Reading is most of the work with an edit, and the judge is alone while nodes wait for it.
    let (mine, others) = keys.split_at(if keys.len() < SHARED_READ { keys.len() } else { keys.len() / 2 });
    std::thread::scope(|scope| {
        let others = (!others.is_empty()).then(|| scope.spawn(|| read(others)));
        out.extend(read(mine)?);
        let others = others.map(|others| others.join().unwrap_or_else(|panic| resume_unwind(panic)));
        out.extend(others.transpose()?.unwrap_or_default());
        Ok::<(), SiteError>(())
    })?;
    Ok(out)
}

/// The findings about a record, settled ones included: what people wrote there goes with it. Every round before this
/// one must be stored.
///
/// # Errors
/// [`SiteError`].
pub fn findings_about(index: &Index, fold: &Fold<'_>, key: Key) -> Result<Vec<RecordId>, SiteError> {
    let is_about = |state: &RecordState| {
        let finding = Finding::decode(state.fields.bytes().clone()).unwrap_or_default();
        let names = |kind: u32, record: &[u8]| (kind, record) == (key.0, key.1.0.as_slice());
        finding.subjects.iter().any(|subject| names(subject.kind, &subject.record))
    };
    let mut found = fold.findings(is_about);
    let prefix = rows::records_of(findings::KIND);
    for row in index.scan(&prefix, Some(&rows::after_prefix(&prefix))) {
        let (row, value) = row?;
        let Some((_, id)) = rows::parse_record(&row) else { continue };
        if is_about(&RecordState::decode(&value)?) {
            found.push(id);
        }
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}
