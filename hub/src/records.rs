//! The hub as a site: the same record API as a node's.

use bytes::Bytes;
use liandong_node::log::Pos;
use liandong_node::rows;
use liandong_node::site::{
    By, Findings, OnProgress, Page, Progress, Put, PutAnswer, Query, Records, Shown, SiteError, view,
};
use liandong_proto::id::RecordId;
use liandong_proto::pb::node::v1 as node;
use liandong_proto::state::RecordState;

use crate::hub::Hub;
use crate::verify::verify_log;

impl Hub {
    /// The state of a record.
    ///
    /// # Errors
    /// [`SiteError`].
    pub fn state(&self, kind: u32, record: RecordId) -> Result<Option<RecordState>, SiteError> {
        let stored = self.index().get(&rows::record(kind, record))?;
        Ok(stored.map(|item| RecordState::decode(&item.value)).transpose()?)
    }
}

impl Records for Hub {
    fn put(&self, puts: Vec<Put>, by: &By, dry_run: bool) -> Result<Vec<PutAnswer>, SiteError> {
        self.write(puts, by, dry_run)
    }

    fn get(&self, kind: u32, record: RecordId) -> Result<Option<Shown>, SiteError> {
        let state = self.state(kind, record)?;
        Ok(state.map(|state| view::shown(kind, record, state, Some(self.origin()), u64::MAX)))
    }

    fn list(&self, query: &Query) -> Result<Page, SiteError> {
        view::list(self.index(), query, Some(self.origin()), u64::MAX)
    }

    fn history(&self, kind: u32, record: RecordId) -> Result<Vec<node::HistoryItem>, SiteError> {
        self.read_history(kind, record)
    }

    fn status(&self) -> Result<node::StatusResponse, SiteError> {
        let published = self.published();
        let counts = view::counts(self.index())?;
        let origin = self.origin();
        Ok(node::StatusResponse {
            site: origin.site.0,
            epoch: Bytes::copy_from_slice(&origin.epoch.0),
            version: env!("CARGO_PKG_VERSION").into(),
            head_seq: published.row.seq,
            head_hash: published.row.hash,
            confirmed_seq: published.row.seq,
            generation: published.row.generation,
            hub_seq: published.row.hub_seq,
            index_lag_changes: self.index().lag() as u64,
            counts: counts.into_iter().map(|(kind, records)| node::KindCount { kind, records }).collect(),
            open_findings: liandong_node::site::open_findings(self.index())?,
            log_bytes: self.shared.log.bytes_from(Pos::default()),
            index_bytes: self.index().disk_bytes(),
            data_dir: self.shared.paths.dir.display().to_string(),
            rss_bytes: liandong_node::process::peak_rss_bytes(),
            ..node::StatusResponse::default()
        })
    }

    fn verify(&self, progress: OnProgress<'_>) -> Result<Findings, SiteError> {
        let mut found = Findings::default();
        let key = self.signing_key();
        verify_log(&self.shared.log, key, &mut found, progress);
        self.index().flush()?;
        match self.index().verify(&mut |done, total| progress(Progress { what: "index", done, total })) {
            Ok(digest) => (found.rows, found.digest) = (digest.count, digest.to_string()),
            Err(error) => {
                found.fault(
                    "索引与日志不符，请运行 rebuild",
                    &format!("the index is damaged: {error}; run rebuild"),
                );
            }
        }
        Ok(found)
    }
}
