//! Making a release: read, write beside the others, and put it in its place as a whole.

use std::fs;
use std::path::Path;

use liandong_node::index::Index;
use liandong_node::site::{OnProgress, Progress};
use liandong_proto::id::{hex, sha256};
use liandong_proto::merge;

use super::columns::{Role, table};
use super::manifest::{self, Citation, FORMAT, Manifest};
use super::rows::{self, Part, Read};
use super::write::{self, Sheet};
use super::{ReleaseError, dictionary};

/// What is said of a release by whoever publishes it.
#[derive(Clone, Debug, Default)]
pub struct Published {
    /// Its number.
    pub release: u64,
    /// When, milliseconds since 1970.
    pub published_ms: u64,
    /// What it is for.
    pub note: String,
}

/// Makes the files of a release in an empty directory that is there, from an index. The same rows give the same bytes.
///
/// # Errors
/// [`ReleaseError`].
pub fn build(
    index: &Index,
    dir: &Path,
    published: &Published,
    progress: OnProgress<'_>,
) -> Result<Manifest, ReleaseError> {
    let mut read = rows::read(index, progress)?;
    let cities: Vec<manifest::City> =
        read.cities.iter().map(|(site, share)| manifest::city(*site, share)).collect();
    let sheets = sheets(&mut read, &cities);
    let schema_sha256 = schema_hash(&sheets);
    let total = sheets
        .iter()
        .map(|sheet| sheet.batches.iter().map(|batch| batch.num_rows() as u64).sum::<u64>())
        .sum();
    let tables = write::all(dir, sheets, &mut |done| progress(Progress { what: "release", done, total }))?;
    let manifest = Manifest {
        format: FORMAT,
        release: published.release,
        published_ms: published.published_ms,
        note: published.note.clone(),
        hub_generation: format!("{:016x}", read.row.generation),
        hub_seq: read.row.hub_seq,
        received_ms: read.row.received_at_ms,
        merge_version: merge::VERSION,
        schema_sha256,
        citation: Citation::new(
            published.release,
            published.published_ms,
            Some(read.row.hub_seq),
            &published.note,
        ),
        cities,
        tables,
    };
    let path = dir.join("manifest.json");
    let mut text = serde_json::to_string_pretty(&manifest).expect("plain data");
    text.push('\n');
    fs::write(&path, text).map_err(ReleaseError::file(&path))?;
    fs::File::open(&path).and_then(|file| file.sync_all()).map_err(ReleaseError::file(&path))?;
    write::sync_dir(dir)?;
    Ok(manifest)
}

fn sheets(read: &mut Read, cities: &[manifest::City]) -> Vec<Sheet> {
    let mut sheets = Vec::new();
    for rows in read.tables.values_mut() {
        let name = table(rows.kind);
        let sheet = |Part { role, schema, batches }| Sheet { role, name: name.clone(), schema, batches };
        sheets.extend(rows.take().into_iter().map(sheet));
    }
    let mut add = |role, name: &str, batch: arrow::array::RecordBatch| {
        sheets.push(Sheet { role, name: name.into(), schema: batch.schema(), batches: vec![batch] });
    };
    for role in Role::ALL {
        dictionary::tables(role, cities).into_iter().for_each(|(name, batch)| add(role, name, batch));
    }
    read.counts.tables().into_iter().for_each(|(name, batch)| add(Role::Public, name, batch));
    sheets
}

/// Over the names and types of all columns: two releases with the same one can be read by the same program.
fn schema_hash(sheets: &[Sheet]) -> String {
    let mut lines: Vec<String> = Vec::new();
    for sheet in sheets {
        for field in sheet.schema.fields() {
            lines.push(format!(
                "{} {} {} {}",
                sheet.role.name(),
                sheet.name,
                field.name(),
                field.data_type()
            ));
        }
    }
    lines.sort();
    hex(&sha256(lines.join("\n").as_bytes()))
}
