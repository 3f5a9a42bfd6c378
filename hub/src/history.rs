//! Reading the hub's log: one origin's entries, one record's history.

use liandong_node::log::Pos;
use liandong_node::site::{SiteError, history_item, record_kind};
use liandong_proto::entry::{Entry, Head, Header, Patch};
use liandong_proto::id::{Origin, RecordId, sha256};
use liandong_proto::pb::log::v1 as pb;
use liandong_proto::pb::node::v1 as node;
use prost::Message as _;

use crate::hub::Hub;

impl Hub {
    /// Calls `visit` for every commit, oldest first.
    pub(crate) fn commits(
        &self,
        mut visit: impl FnMut(pb::Commit) -> Result<bool, SiteError>,
    ) -> Result<(), SiteError> {
        for raw in self.shared.log.read(Pos::default()) {
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

    /// Calls `visit` for every entry of an origin, in order. Reads the whole log.
    ///
    /// # Errors
    /// [`SiteError`].
    pub fn own_entries(&self, origin: Origin, visit: impl FnMut(Head, Entry)) -> Result<(), SiteError> {
        self.line_entries(&[(origin, u64::MAX)], visit)
    }

    /// All entries of a city that count: of the epoch it lives in, and of those before it up to where the next one goes on.
    ///
    /// # Errors
    /// [`SiteError`].
    pub fn own_line(&self, origin: Origin, visit: impl FnMut(Head, Entry)) -> Result<(), SiteError> {
        self.line_entries(&self.published().registry.line(origin), visit)
    }

    fn line_entries(
        &self,
        line: &[(Origin, u64)],
        mut visit: impl FnMut(Head, Entry),
    ) -> Result<(), SiteError> {
        self.commits(|commit| {
            for accepted in commit.entries {
                let header = read_header(&accepted)?;
                let counts =
                    |(origin, up_to): &(Origin, u64)| *origin == header.origin && header.seq <= *up_to;
                if line.iter().any(counts) {
                    let head = Head { seq: header.seq, hash: sha256(&accepted.header) };
                    let entry =
                        Entry { header: accepted.header, open: accepted.open, sealed: accepted.sealed };
                    visit(head, entry);
                }
            }
            Ok(true)
        })
    }

    /// The newest of some heads that the hub holds of an origin.
    ///
    /// # Errors
    /// [`SiteError`].
    pub fn locate(&self, origin: Origin, heads: &[Head]) -> Result<Option<Head>, SiteError> {
        let mut found: Option<Head> = None;
        self.own_entries(origin, |head, _| {
            if heads.contains(&head) {
                found = Some(head);
            }
        })?;
        Ok(found)
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

fn read_header(accepted: &pb::Accepted) -> Result<Header, SiteError> {
    Header::decode(&accepted.header).map_err(|error| SiteError::corrupt("an entry of a commit", error))
}
