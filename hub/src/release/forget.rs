//! Records that are erased: every release that holds one is taken back, before the hub proves that it holds it no more.

use std::collections::HashSet;
use std::path::Path;

use arrow::array::AsArray as _;
use liandong_proto::id::RecordId;
use liandong_proto::schema;
use parquet::arrow::ProjectionMask;

use super::columns::{Role, table};
use super::read::open;
use super::{Manifest, ReleaseError, Releases, Standing};
use crate::hub::locked;

impl Releases {
    /// Withdraws every release that holds one of these records: which. One that is being published is waited for, and what
    /// an earlier call, or a publication that was cut short, has left is removed first.
    ///
    /// # Errors
    /// [`ReleaseError`]; it is to be called again then.
    pub fn forget<'a>(
        &self,
        records: impl Iterator<Item = &'a (u32, RecordId)> + Clone,
        now_ms: u64,
    ) -> Result<Vec<u64>, ReleaseError> {
        let _publishing = locked(&self.publishing);
        self.discard_parts()?;
        let mut withdrawn = Vec::new();
        for release in self.taken()? {
            let must_go = match self.standing(release)? {
                Standing::Withdrawn(_) => self.path(release).exists() || self.projects(release).exists(),
                Standing::Published(manifest) => self.holds(&manifest, records.clone())?,
            };
            if must_go {
                self.withdraw(release, now_ms)?;
                withdrawn.push(release);
            }
        }
        Ok(withdrawn)
    }

    fn holds<'a>(
        &self,
        manifest: &Manifest,
        records: impl Iterator<Item = &'a (u32, RecordId)> + Clone,
    ) -> Result<bool, ReleaseError> {
        for kind in schema::kinds() {
            let of_kind = records.clone().filter(|(number, _)| *number == kind.number);
            let ids: HashSet<String> = of_kind.map(|(_, record)| record.to_string()).collect();
            let listed = manifest.table(Role::Registrar, &table(kind)).filter(|_| !ids.is_empty());
            if let Some(listed) = listed
                && names(&self.path(manifest.release).join(listed.path()), &ids)?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Whether a table has a row of one of these records.
fn names(path: &Path, ids: &HashSet<String>) -> Result<bool, ReleaseError> {
    let failed = |source| ReleaseError::Parquet { path: path.to_path_buf(), source };
    let builder = open(path)?;
    let only_ids = ProjectionMask::columns(builder.parquet_schema(), ["record_id"]);
    for batch in builder.with_projection(only_ids).build().map_err(failed)? {
        let batch = batch.map_err(|error| failed(error.into()))?;
        let cells = batch.column(0).as_string::<i32>();
        if cells.iter().flatten().any(|id| ids.contains(id)) {
            return Ok(true);
        }
    }
    Ok(false)
}
