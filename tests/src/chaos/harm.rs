//! Damage to the files of a site that does not run, and records that are not what the log says.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use liandong_node::index::{Engine, Index, IndexOptions, Pace, Staged};
use liandong_node::log::{Log, Options, Pos};
use liandong_node::rows;
use liandong_node::site::{Paths, record_kind};
use liandong_proto::entry::Header;
use liandong_proto::id::RecordId;
use liandong_proto::pb::log::v1::Entry;
use liandong_proto::state::RecordState;
use prost::Message as _;

use crate::roster::SplitMix64;

/// What is done to an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Harm {
    /// A few bytes somewhere are others.
    Flipped,
    /// A file ends early.
    Truncated,
    /// A file is gone.
    Removed,
    /// The whole directory is gone.
    Gone,
}

/// All of them.
pub const HARMS: [Harm; 4] = [Harm::Flipped, Harm::Truncated, Harm::Removed, Harm::Gone];

/// Damages the index in a data directory.
///
/// # Errors
/// [`io::Error`].
pub fn index(data_dir: &Path, harm: Harm, random: &mut SplitMix64) -> io::Result<()> {
    let dir = Paths::new(data_dir).index();
    if harm == Harm::Gone {
        return fs::remove_dir_all(dir);
    }
    let mut files = Vec::new();
    find(&dir, &mut files)?;
    files.retain(|(_, length)| *length > 0);
    if files.is_empty() {
        return Ok(());
    }
    let (path, length) = &files[random.below(files.len())];
    match harm {
        Harm::Removed => fs::remove_file(path),
        Harm::Truncated => OpenOptions::new().write(true).open(path)?.set_len(random.next() % length),
        _ => {
            let file = OpenOptions::new().read(true).write(true).open(path)?;
            (0..random.between(1, 4)).try_for_each(|_| flip(&file, random.next() % length, random))
        }
    }
}

fn find(dir: &Path, files: &mut Vec<(PathBuf, u64)>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        match entry.metadata()? {
            it if it.is_dir() => find(&entry.path(), files)?,
            it => files.push((entry.path(), it.len())),
        }
    }
    files.sort();
    Ok(())
}

fn flip(file: &File, at: u64, random: &mut SplitMix64) -> io::Result<()> {
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    byte[0] ^= 1 << random.below(8);
    file.write_all_at(&byte, at)
}

/// Flips a byte of a record in a city's log: one that the hub can give back, or that comes again. False when there is none
/// yet. The end of the log is spared: a person has to decide where an entry may have stood behind the last one that can be
/// read. So are marks of sessions that no welcome stands behind: where a killed site's index does not know the newest one
/// either, nothing tells the site from a copy of it.
///
/// # Errors
/// [`io::Error`].
pub fn log(data_dir: &Path, random: &mut SplitMix64) -> io::Result<bool> {
    let dir = Paths::new(data_dir).log();
    let records = {
        let (log, _) = Log::open(&dir, Options::default()).map_err(io::Error::other)?;
        log.read(Pos::default()).collect::<Result<Vec<_>, _>>().map_err(io::Error::other)?
    };
    let receipt = records.iter().rfind(|record| record.kind == record_kind::CONFIRMED);
    let confirmed = receipt.and_then(|record| {
        let receipt = liandong_proto::pb::sync::v1::Receipt::decode(record.payload.clone()).ok()?;
        Some(receipt.up_to?.seq)
    });
    let seq =
        |payload: &bytes::Bytes| Some(Header::decode(&Entry::decode(payload.clone()).ok()?.header).ok()?.seq);
    let last = |kind: u8| records.iter().rposition(|record| record.kind == kind);
    let (own, welcome) = (last(record_kind::OWN), last(record_kind::WELCOMED));
    let may = |at: &usize| {
        let record = &records[*at];
        at + 60 < records.len()
            && Some(*at) < own
            && (record.kind != record_kind::TRIED || Some(*at) < welcome)
            && (record.kind != record_kind::OWN || seq(&record.payload) <= confirmed)
    };
    let candidates: Vec<usize> = (0..records.len()).filter(may).collect();
    if candidates.is_empty() {
        return Ok(false);
    }
    let hit = &records[candidates[random.below(candidates.len())]];
    let file = dir.join(format!("{:020}.log", hit.pos.segment));
    let file = OpenOptions::new().read(true).write(true).open(file)?;
    let length = hit.next.offset - hit.pos.offset;
    flip(&file, hit.pos.offset + random.next() % length, random)?;
    Ok(true)
}

/// Changes what an index that is not in use has of a record, as a fault of the program would: nothing but a comparison with
/// the log, or with another site, can tell.
///
/// # Errors
/// What went wrong with the index, in words; also when it does not have the record.
pub fn alter(
    index: &Path,
    engine: Engine,
    (kind, record): (u32, RecordId),
    change: impl FnOnce(&mut RecordState),
) -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", index.display());
    let (index, opened) = Index::open(IndexOptions {
        dir: index.to_path_buf(),
        engine,
        overlay_bytes: 1 << 20,
        pace: Pace::default(),
        before_apply: Box::new(|_| Ok(())),
        in_log: Box::new(|_| true),
    })
    .map_err(|error| failed(&error))?;
    let key = rows::record(kind, record);
    let row =
        index.get(&key).map_err(|error| failed(&error))?.ok_or_else(|| failed(&"there is no such record"))?;
    let mut state = RecordState::decode(&row.value).map_err(|error| failed(&error))?;
    change(&mut state);
    let position = opened.position.ok_or_else(|| failed(&"it is empty"))?;
    index.stage(&[Staged { key, old: Some(row.check), new: Some(state.encode().into()) }], position);
    index.close().map_err(|error| failed(&error))
}
