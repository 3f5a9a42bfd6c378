//! What an analyst gets: the tables for analysts with pseudonyms in place of ids, other ones for each project.
//!
//! An id has 16 bytes, a block of AES: under a key of the project's own it becomes another, no two the same, and nobody
//! without the key leads one back. The order of rows is that of the pseudonyms. What a record says is the same in every
//! project: pseudonyms do not keep two projects from finding out which rows are alike.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aes::Aes128;
use aes::cipher::{BlockCipherEncrypt as _, KeyInit as _};
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::compute::{sort_to_indices, take_record_batch};
use arrow::datatypes::SchemaRef;
use hmac::{Hmac, Mac as _};
use liandong_proto::id::{RecordId, hex, sha256};
use liandong_proto::schema;
use sha2::Sha256;

use super::columns::{Role, columns, table};
use super::read::{Rows, arrow_error};
use super::shelf::discard;
use super::write::{self, sync_dir};
use super::{Manifest, ReleaseError, Releases, Standing};

/// The pseudonyms of one project.
pub struct Pseudonyms {
    cipher: Aes128,
    /// Name of the folder that holds its files: says nothing of the project.
    folder: String,
}

impl Pseudonyms {
    /// Those of a project, under the hub's key. The same project has the same ones for ever.
    pub fn new(key: &[u8; 32], project: &str) -> Pseudonyms {
        let mut mac = <Hmac<Sha256>>::new_from_slice(key).expect("any length will do");
        mac.update(b"liandong pseudonyms of project ");
        mac.update(project.as_bytes());
        let derived: [u8; 32] = mac.finalize().into_bytes().into();
        let (key, name) = derived.split_at(16);
        let cipher = Aes128::new_from_slice(key).expect("16 bytes");
        Pseudonyms { cipher, folder: hex(&sha256(name)[..8]) }
    }

    /// The pseudonym of an id.
    pub fn of(&self, id: RecordId) -> RecordId {
        let mut block = id.0.into();
        self.cipher.encrypt_block(&mut block);
        RecordId(block.into())
    }

    /// Puts pseudonyms in the place of the ids in some columns of a city's rows, and orders these anew.
    fn replace(&self, batch: &RecordBatch, ids: &[&str]) -> Result<RecordBatch, arrow::error::ArrowError> {
        let schema = batch.schema();
        let cells = |(at, field): (usize, &arrow::datatypes::FieldRef)| -> ArrayRef {
            let column = batch.column(at);
            match column.as_any().downcast_ref::<StringArray>() {
                Some(cells) if ids.contains(&field.name().as_str()) => Arc::new(self.pseudonyms(cells)),
                _ => Arc::clone(column),
            }
        };
        let columns: Vec<ArrayRef> = schema.fields().iter().enumerate().map(cells).collect();
        let batch = RecordBatch::try_new(schema, columns)?;
        match batch.column_by_name("record_id") {
            None => Ok(batch),
            Some(ids) => take_record_batch(&batch, &sort_to_indices(ids, None, None)?),
        }
    }

    fn pseudonyms(&self, cells: &StringArray) -> StringArray {
        // A cell that is no id is left out: nothing gets past.
        let each = cells.iter().map(|cell| Some(self.of(cell?.parse().ok()?).to_string()));
        each.collect()
    }
}

/// Who reads, and as what.
pub enum Reader {
    /// The secretariat.
    Registrar,
    /// A project.
    Analyst(Box<Pseudonyms>),
    /// Anybody.
    Public,
}

impl Reader {
    /// Which folder it reads.
    pub fn role(&self) -> Role {
        match self {
            Reader::Registrar => Role::Registrar,
            Reader::Analyst(_) => Role::Analyst,
            Reader::Public => Role::Public,
        }
    }

    /// Name of the folder with what is made for it.
    pub(super) fn folder(&self) -> &str {
        match self {
            Reader::Analyst(pseudonyms) => &pseudonyms.folder,
            other => other.role().name(),
        }
    }
}

impl Releases {
    /// The file of a table as a reader gets it; `None` when there is no such table for it. For a project it is made when it
    /// is asked for first.
    ///
    /// # Errors
    /// [`ReleaseError`].
    pub fn file(
        &self,
        manifest: &Manifest,
        reader: &Reader,
        name: &str,
    ) -> Result<Option<PathBuf>, ReleaseError> {
        let Some(listed) = manifest.table(reader.role(), name) else { return Ok(None) };
        let from = self.path(manifest.release).join(listed.path());
        let Reader::Analyst(pseudonyms) = reader else { return Ok(Some(from)) };
        let ids = ids_of(name);
        if ids.is_empty() {
            return Ok(Some(from));
        }
        let translate = |part: &Path| translate(&from, part, pseudonyms, &ids);
        self.made(manifest.release, &pseudonyms.folder, &format!("{name}.parquet"), translate).map(Some)
    }

    /// A file that is made from a release for some of its readers, when it is asked for first. What is made while the release
    /// is withdrawn goes with it.
    ///
    /// # Errors
    /// [`ReleaseError`].
    pub(super) fn made(
        &self,
        release: u64,
        folder: &str,
        file: &str,
        make: impl FnOnce(&Path) -> Result<(), ReleaseError>,
    ) -> Result<PathBuf, ReleaseError> {
        let folder = self.projects(release).join(folder);
        let to = folder.join(file);
        if to.exists() {
            return Ok(to);
        }
        fs::create_dir_all(&folder).map_err(ReleaseError::file(&folder))?;
        let part = unused_name(&folder, file);
        // Whoever was first has made the same.
        let placed = make(&part).and_then(|()| fs::rename(&part, &to).map_err(ReleaseError::file(&part)));
        let placed = placed.inspect_err(|_| drop(fs::remove_file(&part)));
        // The mark comes before what it withdraws is removed: either that removal sees this file, or this look the mark.
        if matches!(self.standing(release)?, Standing::Withdrawn(_)) {
            discard(&self.projects(release))?;
            return Err(ReleaseError::Withdrawn(release));
        }
        placed?;
        sync_dir(&folder)?;
        Ok(to)
    }
}

/// A name that nobody else uses.
pub(super) fn unused_name(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!(".{name}.{}.part", hex(&liandong_node::now::random::<8>())))
}

fn ids_of(name: &str) -> Vec<&'static str> {
    let kind = schema::kinds().iter().find(|kind| table(kind) == name);
    let columns = kind.map(|kind| columns(kind, Role::Analyst)).unwrap_or_default();
    columns.into_iter().filter(|column| column.is_id()).map(|column| column.name).collect()
}

fn translate(from: &Path, to: &Path, pseudonyms: &Pseudonyms, ids: &[&str]) -> Result<(), ReleaseError> {
    let rows = Rows::open(from)?;
    let schema = SchemaRef::clone(&rows.schema);
    let replaced = |city: RecordBatch| pseudonyms.replace(&city, ids).map_err(arrow_error(from));
    write::parquet(to, schema, rows.by_city().map(|city| city.and_then(replaced))).map(drop)
}
