//! Reading the hub's log: one origin's entries, one record's history.

use liandong_node::log::{LogView, Pos};
use liandong_node::now::now_ms;
use liandong_node::site::{SiteError, history_item, record_kind};
use liandong_proto::entry::{Entry, Head, Header, Patch};
use liandong_proto::id::{Origin, RecordId, sha256};
use liandong_proto::pb::log::v1 as pb;
use liandong_proto::pb::node::v1 as node;
use prost::Message as _;

use crate::hub::Hub;

/// What of a restore travels together, in bytes; an entry that is larger travels alone.
const BATCH_BYTES: usize = 1 << 20;
/// Whoever waits for entries that stand far behind in the log hears at least so often.
const SIGN_OF_LIFE_MS: u64 = 5_000;

impl Hub {
    /// Calls `visit` for every commit, oldest first, for as long as it says so.
    pub(crate) fn commits(
        &self,
        visit: impl FnMut(pb::Commit) -> Result<bool, SiteError>,
    ) -> Result<(), SiteError> {
        commits(&*self.shared.log, visit)
    }

    /// All entries of a city that count, behind a place: of the epoch it lives in, and of those before it up to where the
    /// next one goes on. `take` gets them in batches, the last one marked, and in between an empty one whenever there was
    /// none for a while; it says whether to go on. Reads the whole log.
    ///
    /// # Errors
    /// [`SiteError`].
    pub fn own_line(
        &self,
        origin: Origin,
        after_seq: u64,
        mut take: impl FnMut(Vec<Entry>, bool) -> bool,
    ) -> Result<(), SiteError> {
        let line = self.read(|published| published.registry.line(origin));
        let (mut batch, mut bytes, mut told_ms, mut goes_on) = (Vec::new(), 0, now_ms(), true);
        self.commits(|commit| {
            line_entries(&line, commit, |head, entry| {
                if head.seq <= after_seq || !goes_on {
                    return;
                }
                let size = entry.header.len() + entry.open.len() + entry.sealed.len();
                if bytes + size > BATCH_BYTES && !batch.is_empty() {
                    (bytes, told_ms) = (0, now_ms());
                    goes_on = take(std::mem::take(&mut batch), false);
                }
                bytes += size;
                batch.push(entry);
            })?;
            if goes_on && now_ms().saturating_sub(told_ms) >= SIGN_OF_LIFE_MS {
                (bytes, told_ms) = (0, now_ms());
                goes_on = take(std::mem::take(&mut batch), false);
            }
            Ok(goes_on)
        })?;
        if goes_on {
            take(batch, true);
        }
        Ok(())
    }

    /// The newest of some heads that the hub holds of an origin.
    ///
    /// # Errors
    /// [`SiteError`].
    pub fn locate(&self, origin: Origin, heads: &[Head]) -> Result<Option<Head>, SiteError> {
        locate(&*self.shared.log, origin, heads)
    }

    pub(crate) fn read_history(
        &self,
        kind: u32,
        record: RecordId,
    ) -> Result<Vec<node::HistoryItem>, SiteError> {
        let mut items = Vec::new();
        self.commits(|commit| {
            for (at, accepted) in commit.entries.into_iter().enumerate() {
                let header = read_header(&accepted)?;
                if header.kind == kind && header.record == record {
                    let patch = Patch::from_open(&accepted.open).unwrap_or_default();
                    let verdicts = accepted.outcome.map(|outcome| outcome.verdicts).unwrap_or_default();
                    items.push(history_item(&header, &patch, commit.first_hub_seq + at as u64, verdicts));
                }
            }
            Ok(true)
        })?;
        Ok(items)
    }
}

/// Calls `visit` for every commit of a hub's log, oldest first, for as long as it says so.
///
/// # Errors
/// [`SiteError`].
pub fn commits(
    log: &dyn LogView,
    mut visit: impl FnMut(pb::Commit) -> Result<bool, SiteError>,
) -> Result<(), SiteError> {
    for raw in log.read(Pos::default()) {
        let raw = raw?;
        if raw.kind != record_kind::COMMIT {
            continue;
        }
        let commit = pb::Commit::decode(raw.payload)
            .map_err(|error| SiteError::corrupt(format!("the commit at {:?}", raw.pos), error))?;
        if !visit(commit)? {
            break;
        }
    }
    Ok(())
}

/// The newest of some heads that a hub's log holds of an origin.
///
/// # Errors
/// [`SiteError`].
pub fn locate(log: &dyn LogView, origin: Origin, heads: &[Head]) -> Result<Option<Head>, SiteError> {
    let mut found: Option<Head> = None;
    commits(log, |commit| {
        line_entries(&[(origin, u64::MAX)], commit, |head, _| {
            if heads.contains(&head) {
                found = Some(head);
            }
        })?;
        Ok(true)
    })?;
    Ok(found)
}

fn read_header(accepted: &pb::Accepted) -> Result<Header, SiteError> {
    Header::decode(&accepted.header).map_err(|error| SiteError::corrupt("an entry of a commit", error))
}

/// The entries of a commit that stand in a line: of these origins, each up to a place.
///
/// # Errors
/// [`SiteError`].
pub fn line_entries(
    line: &[(Origin, u64)],
    commit: pb::Commit,
    mut visit: impl FnMut(Head, Entry),
) -> Result<(), SiteError> {
    for accepted in commit.entries {
        let header = read_header(&accepted)?;
        let counts = |(origin, up_to): &(Origin, u64)| *origin == header.origin && header.seq <= *up_to;
        if line.iter().any(counts) {
            let head = Head { seq: header.seq, hash: sha256(&accepted.header) };
            visit(head, Entry { header: accepted.header, open: accepted.open, sealed: accepted.sealed });
        }
    }
    Ok(())
}
