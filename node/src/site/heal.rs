//! Records that this site and the hub show differently: each is made again from the log and held against what the index
//! has. Where the two differ the log is right. Nothing is taken over from the hub.

use std::collections::{HashMap, HashSet};

use liandong_proto::id::RecordId;
use liandong_proto::pb::audit::v1::What;
use liandong_proto::pb::log::v1 as pb;

use super::open::{Replay, read_state};
use super::{Site, SiteError, locked};
use crate::audit::Note;
use crate::index::{Check, Index, Staged};
use crate::log::Pos;
use crate::rows;

/// So many ids are named one by one; of more, how many there are.
pub const NAMED: usize = 10;
/// So many records are known to be right; beyond that they are looked into again.
const MOST_PROVED: usize = 100_000;

/// Records that the index was found to have as the log does, each with the check of its row then.
pub(super) type Proved = HashMap<(u32, RecordId), Option<Check>>;

impl Site {
    /// Those among records that [`heal`](Site::heal) has not found right already, as they are now.
    ///
    /// # Errors
    /// [`SiteError`].
    pub fn unproved(&self, records: &[(u32, RecordId)]) -> Result<Vec<(u32, RecordId)>, SiteError> {
        let proved = locked(&self.proved);
        let mut out = Vec::new();
        for key in records {
            let check = self.index.get(&rows::record(key.0, key.1))?.map(|row| row.check);
            if proved.get(key) != Some(&check) {
                out.push(*key);
            }
        }
        Ok(out)
    }

    /// Holds records against the log, and puts right those that the index has otherwise: which they were. Each of the first
    /// [`NAMED`] is named in the program's log and in the audit log. Writers wait only for what came while the log was
    /// read; readers do not wait.
    ///
    /// # Errors
    /// [`SiteError`].
    pub fn heal(&self, records: &[(u32, RecordId)]) -> Result<Vec<(u32, RecordId)>, SiteError> {
        self.heal_beside(records, || ())
    }

    /// The same; `meanwhile` is what goes on between the long reading and the short one.
    pub(super) fn heal_beside(
        &self,
        records: &[(u32, RecordId)],
        meanwhile: impl FnOnce(),
    ) -> Result<Vec<(u32, RecordId)>, SiteError> {
        let aside = Index::in_memory();
        // Up to there, these keys open everything: others may be taken while it is read.
        let (key, end) = {
            let writer = locked(&self.writer);
            (writer.author.keys().city.clone(), self.log.end())
        };
        let mut replay = Replay::new(pb::SiteRow::default(), &key);
        replay.only = Some(records.iter().copied().collect::<HashSet<_>>());
        replay.until = Some(end);
        let reached = replay.run(&*self.log, Pos::default(), &aside, &mut |_| {})?;
        meanwhile();
        let healed = locked(&self.writer).whole(|writer| {
            let key = writer.author.keys().city.clone();
            let mut replay = replay.with_keys(&key);
            replay.until = None;
            replay.run(&*self.log, reached, &aside, &mut |_| {})?;
            let (mut staged, mut healed, mut proved) = (Vec::new(), Vec::new(), Proved::new());
            for (kind, record) in records {
                let key = rows::record(*kind, *record);
                let new = read_state(&aside, (*kind, *record))?.map(|(state, _)| state.encode().into());
                let shown = self.index.get(&key)?;
                let check = shown.as_ref().map(|shown| shown.check);
                if shown.map(|shown| shown.value) == new {
                    proved.insert((*kind, *record), check);
                } else {
                    healed.push((*kind, *record));
                    staged.push(Staged { key, old: check, new });
                }
            }
            if !staged.is_empty() {
                self.stage(writer, staged, self.log.end());
            }
            let mut known = locked(&self.proved);
            if known.len() + proved.len() > MOST_PROVED {
                known.clear();
            }
            known.retain(|key, _| !healed.contains(key));
            known.extend(proved);
            Ok::<_, SiteError>(healed)
        })?;
        self.tell_healed(&healed);
        Ok(healed)
    }

    fn tell_healed(&self, healed: &[(u32, RecordId)]) {
        for (kind, record) in healed.iter().take(NAMED) {
            tracing::warn!(kind, %record, "this record was not shown as the log has it: it is made again from the log");
        }
        if healed.is_empty() {
            return;
        }
        let named: Vec<String> =
            healed.iter().take(NAMED).map(|(kind, record)| format!("{kind}/{record}")).collect();
        self.audit.note_behind(Note {
            count: healed.len() as u64,
            detail: named.join(" "),
            ..Note::city(What::Repaired, self.code())
        });
    }
}
