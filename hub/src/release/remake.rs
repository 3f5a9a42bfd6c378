//! The hub's own releases: publishing one, and making one again from the log as it was then.

use std::fs;

use liandong_node::index::Index;
use liandong_node::log::{LogError, LogView, Pos, Record, Records};
use liandong_node::site::{OnProgress, record_kind};
use liandong_proto::id::SiteCode;
use liandong_proto::pb::log::v1 as pb;
use pb::registry_change::Change;
use prost::Message as _;

use super::manifest::{Manifest, Table};
use super::verify::{Fault, again};
use super::{Issue, ReleaseError, Releases};
use crate::hub::{Hub, Shared};
use crate::replay::Replay;

impl Shared {
    /// Publishes the next release of what is in the index now. Its number stands in the log before it can be read: one that
    /// was seen is given to no other, also when the releases' directory is lost.
    ///
    /// # Errors
    /// [`ReleaseError`]; nothing is published then.
    pub(crate) fn publish_release(
        &self,
        author: &str,
        note: &str,
        now_ms: u64,
        progress: OnProgress<'_>,
    ) -> Result<Manifest, ReleaseError> {
        let used = self.read(|published| published.registry.members.last_release());
        let claim = |release| self.register(SiteCode::PROVINCE, author, Change::Published(release));
        self.releases.publish(&self.index, &Issue { note, now_ms, used, claim: &claim }, progress)
    }
}

impl Hub {
    /// The releases of this hub.
    pub fn releases(&self) -> &Releases {
        &self.shared.releases
    }

    /// Makes a release again from the log up to where it ended, and names the files that come out otherwise. What was erased
    /// since is in none; releases that held it are withdrawn.
    ///
    /// # Errors
    /// [`ReleaseError`].
    pub fn remake_release(
        &self,
        release: u64,
        progress: OnProgress<'_>,
    ) -> Result<Vec<(Table, Fault)>, ReleaseError> {
        let manifest = self.releases().manifest(release)?;
        let dir = self.shared.paths.dir.join(".release.check");
        let failed = ReleaseError::file(&dir);
        if dir.exists() {
            fs::remove_dir_all(&dir).map_err(ReleaseError::file(&dir))?;
        }
        fs::create_dir(&dir).map_err(failed)?;
        let differ = self.remade(&manifest, &dir, progress);
        fs::remove_dir_all(&dir).map_err(ReleaseError::file(&dir))?;
        differ
    }

    fn remade(
        &self,
        manifest: &Manifest,
        dir: &std::path::Path,
        progress: OnProgress<'_>,
    ) -> Result<Vec<(Table, Fault)>, ReleaseError> {
        let index = Index::in_memory();
        let until = Until { log: &*self.shared.log, hub_seq: manifest.hub_seq };
        let mut replay = Replay::new(pb::SiteRow::default(), &index)?;
        replay.run(&until, Pos::default(), &index, progress)?;
        let tables = dir.join("tables");
        fs::create_dir(&tables).map_err(ReleaseError::file(&tables))?;
        again(manifest, &index, &tables, progress)
    }
}

/// A log up to a place in the hub's order.
struct Until<'a> {
    log: &'a dyn LogView,
    hub_seq: u64,
}

impl Until<'_> {
    fn holds(&self, read: &Result<Record, LogError>) -> bool {
        let Ok(Record { kind: record_kind::COMMIT, payload, .. }) = read else { return true };
        pb::Commit::decode(payload.clone()).map_or(true, |commit| commit.first_hub_seq <= self.hub_seq)
    }
}

impl LogView for Until<'_> {
    fn read(&self, from: Pos) -> Records<'_> {
        Box::new(self.log.read(from).take_while(|read| self.holds(read)))
    }

    fn seek(&self, mark: u64) -> Pos {
        self.log.seek(mark)
    }

    fn end(&self) -> Pos {
        self.log.end()
    }

    fn bytes_from(&self, from: Pos) -> u64 {
        self.log.bytes_from(from)
    }
}
