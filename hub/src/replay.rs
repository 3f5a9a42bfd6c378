//! Making the hub's index, or its tail, from the log: the recorded verdicts are repeated, never re-judged.

use std::collections::HashSet;

use bytes::Bytes;
use liandong_node::index::{Index, Staged};
use liandong_node::log::{LogView, Pos};
use liandong_node::rows;
use liandong_node::site::{OnProgress, Progress, SiteError, lacks, record_kind};
use liandong_proto::entry::{Anchor, Head, Header, Op, Patch};
use liandong_proto::id::{Epoch, Origin, RecordMap, SiteCode, sha256};
use liandong_proto::merge::Lineage;
use liandong_proto::pb::log::v1 as pb;
use liandong_proto::position::{GenerationStart, Generations};
use liandong_proto::state::RecordState;
use prost::Message;

use crate::chain::{self, hash_of, recorded};
use crate::fold::{Accepting, Fold, Key, Stored};
use crate::hub::{stage_row, started};
use crate::registry::Registry;
use crate::sanctions::Sanctions;

/// Merge version from which on it is recorded which cities a sanction concerns. Before, it is found out again.
const SANCTIONS_RECORDED: u32 = 2;

/// A hub's derived state while the log is folded into it.
pub struct Replay {
    /// Where the hub stands.
    pub row: pb::SiteRow,
    /// Its history.
    pub generations: Generations,
    /// All origins.
    pub registry: Registry,
    /// Which epochs go on from which.
    pub lineage: Lineage,
    /// Tokens under sanction, read for the first commit that needs them: see [`SANCTIONS_RECORDED`].
    sanctions: Option<Sanctions>,
    /// Places where today's rules would decide otherwise than was recorded.
    pub judged_otherwise: Vec<u64>,
}

impl Replay {
    /// Goes on from what an index holds.
    ///
    /// # Errors
    /// [`SiteError`].
    pub fn new(row: pb::SiteRow, index: &Index) -> Result<Replay, SiteError> {
        let start = |start: &pb::HistoryStart| GenerationStart {
            generation: start.generation,
            first_hub_seq: start.first_hub_seq,
        };
        let generations = Generations::new(row.generations.iter().map(start).collect());
        let registry = Registry::load(index)?;
        let mut lineage = Lineage::default();
        for (origin, row) in registry.iter() {
            if let Some(anchor) = row.anchor.as_ref().and_then(Anchor::from_pb) {
                lineage.note(origin.epoch, anchor);
            }
        }
        Ok(Replay { row, generations, registry, lineage, sanctions: None, judged_otherwise: Vec::new() })
    }

    /// Folds the log from a place to its end.
    ///
    /// # Errors
    /// [`SiteError`].
    pub fn run(
        &mut self,
        log: &dyn LogView,
        from: Pos,
        index: &Index,
        progress: OnProgress<'_>,
    ) -> Result<(), SiteError> {
        let (total, mut done) = (log.bytes_from(from), 0u64);
        for raw in log.read(from) {
            let raw = raw?;
            done += raw.payload.len() as u64;
            let mut staged = Vec::new();
            if raw.kind != record_kind::COMMIT {
                let hash = chain::note_hash(&self.row.commit_hash, raw.kind, &raw.payload);
                chain::advance(&mut self.row, hash);
            }
            match raw.kind {
                record_kind::OPENED => {
                    let opened: pb::EpochOpened = decode(&raw.payload)?;
                    (self.row.site, self.row.epoch) = (opened.site, opened.epoch);
                }
                record_kind::GENERATION => {
                    let start: pb::GenerationStart = decode(&raw.payload)?;
                    self.generations.begin(GenerationStart {
                        generation: start.generation,
                        first_hub_seq: start.first_hub_seq,
                    });
                    started(&mut self.row, &start);
                }
                record_kind::SESSION => {
                    let opened: pb::SessionOpened = decode(&raw.payload)?;
                    let epoch = Epoch::from_slice(&opened.epoch).unwrap_or_default();
                    let origin = Origin { site: SiteCode(opened.site), epoch };
                    self.registry.took_the_place(origin, opened.anchor.as_ref(), &mut self.lineage);
                    let row = self.registry.opened(origin, opened.nonce);
                    staged.push(self.origin_row(origin, &row));
                    // Another epoch may have been closed by it.
                    for (other, row) in self.registry.take_changed() {
                        if other != origin {
                            staged.push(self.origin_row(other, &row));
                        }
                    }
                }
                record_kind::REGISTRY => {
                    let change: pb::RegistryChange = decode(&raw.payload)?;
                    let row = self.registry.change(&change, self.row.generation);
                    let (old, value) = self.registry.members.stored(SiteCode(change.site), &row);
                    let key = rows::city(SiteCode(change.site));
                    staged.push(Staged { key, old, new: Some(value) });
                    for (origin, row) in self.registry.take_changed() {
                        staged.push(self.origin_row(origin, &row));
                    }
                }
                record_kind::ERASED => {
                    self.registry.erasures.note(decode(&raw.payload)?);
                    staged = self.erasure_rows();
                }
                record_kind::COMMIT => staged = self.commit(decode(&raw.payload)?, index)?,
                other => {
                    let why = format!("a record of kind {other}, which no hub of this version writes");
                    return Err(SiteError::corrupt(format!("log record at {:?}", raw.pos), why));
                }
            }
            stage_row(index, &self.row, staged, raw.next)?;
            progress(Progress { what: "replay", done, total });
        }
        Ok(())
    }

    fn origin_row(&mut self, origin: Origin, row: &pb::OriginRow) -> Staged {
        let (old, value) = self.registry.stored(origin, row);
        Staged { key: rows::origin(origin), old, new: Some(value) }
    }

    fn commit(&mut self, commit: pb::Commit, index: &Index) -> Result<Vec<Staged>, SiteError> {
        let mut entries = Vec::with_capacity(commit.entries.len());
        for accepted in &commit.entries {
            let header = Header::decode(&accepted.header)
                .map_err(|error| SiteError::corrupt("an entry of a commit", error))?;
            // What could not be read on arrival was dropped; what is here can be.
            let patch =
                if header.op != Op::Put { Patch::default() } else { Patch::from_open(&accepted.open)? };
            entries.push((header, patch, accepted));
        }
        let is_recorded = commit.merge_version >= SANCTIONS_RECORDED;
        let mut sanctions = match self.sanctions.take() {
            _ if is_recorded => Sanctions::default(),
            Some(known) => known,
            None => Sanctions::load(index)?,
        };
        for (header, patch, _) in entries.iter().filter(|_| !is_recorded) {
            if let Some(token) = sanctions.must_search(header.kind, &patch.set) {
                sanctions.search(&token, index)?;
            }
        }
        let mut keys: Vec<Key> = entries
            .iter()
            .map(|(header, _, _)| (header.kind, header.record))
            .collect::<HashSet<Key>>()
            .into_iter()
            .collect();
        keys.sort_unstable();
        let mut read = |key: Key| read_state(index, key);
        let mut states = RecordMap::with_capacity_and_hasher(keys.len(), Default::default());
        for key in keys {
            if let Some(stored) = read(key)? {
                states.insert(key, stored);
            }
        }
        let lineage = {
            for (header, _, _) in &entries {
                if let Some(anchor) = header.anchor {
                    self.lineage.note(header.origin.epoch, anchor);
                    self.registry.anchored(header.origin, anchor);
                }
            }
            self.lineage.clone()
        };
        let mut fold = Fold::new(&lineage, &mut sanctions, states);
        for (at, (header, patch, accepted)) in entries.iter().enumerate() {
            let hub_seq = commit.first_hub_seq + at as u64;
            let outcome = accepted.outcome.as_ref();
            let erased = outcome.map_or(&[][..], |outcome| &outcome.erased);
            let entry = Accepting {
                header,
                patch,
                base: accepted.base_hub_seq,
                hub_seq,
                received_at_ms: commit.received_at_ms,
                erased,
                sanctions: is_recorded.then(|| outcome.map_or(&[][..], |outcome| &outcome.sanctions)),
            };
            self.registry.erasures.begin(header.origin, header.seq, erased);
            let verdicts = recorded(outcome);
            // What was erased since cannot be judged again.
            let dropped = outcome.is_some_and(|outcome| outcome.open_dropped)
                || lacks(header, &accepted.open, &accepted.sealed).0;
            if !dropped && fold.judge(&entry) != verdicts {
                self.judged_otherwise.push(hub_seq);
            }
            fold.take(&entry, &verdicts, &mut read)?;
            let head = Head { seq: header.seq, hash: sha256(&accepted.header) };
            self.registry.advance(header.origin, head, commit.received_at_ms);
            self.row.hub_seq = hub_seq;
            if header.origin.site.0 == self.row.site {
                self.row.stamp = self.row.stamp.max(header.stamp.0);
                (self.row.seq, self.row.hash) = (head.seq, Bytes::copy_from_slice(&head.hash));
            }
        }
        let folded = fold.finish();
        self.registry.agreements.fold(&folded.rows);
        self.sanctions = Some(sanctions).filter(|_| !is_recorded);
        self.row.received_at_ms = commit.received_at_ms;
        chain::advance(&mut self.row, hash_of(&commit));
        let mut staged = folded.rows;
        for (origin, row) in self.registry.take_changed() {
            staged.push(self.origin_row(origin, &row));
        }
        staged.extend(self.erasure_rows());
        Ok(staged)
    }

    fn erasure_rows(&mut self) -> Vec<Staged> {
        let erasures = &mut self.registry.erasures;
        let changed = erasures.take_changed().into_iter();
        let row = |(key, row): (Key, _)| {
            let (old, value) = erasures.stored(key, &row);
            Staged { key: rows::erasure(key.0, key.1), old, new: Some(value) }
        };
        changed.map(row).collect()
    }
}

fn read_state(index: &Index, key: Key) -> Result<Option<Stored>, SiteError> {
    match index.get(&rows::record(key.0, key.1))? {
        None => Ok(None),
        Some(item) => Ok(Some(Stored { state: RecordState::decode(&item.value)?, check: Some(item.check) })),
    }
}

fn decode<M: Message + Default>(payload: &Bytes) -> Result<M, SiteError> {
    M::decode(payload.clone()).map_err(|error| SiteError::corrupt("a record of the log", error))
}
