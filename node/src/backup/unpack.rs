//! Reading a backup from its first byte to its last: whether it is what was written, and with a directory given, putting
//! it there.
//!
//! Checks: format, that every name is one that a site has and comes once, limits of each kind of member, length and SHA-256 of every member, every segment's frames,
//! the chain over the log and over the audit log.
//!
//! Does not check: signatures, and that the log's payloads are those that its headers name; a rehearsal does, which
//! opens the site. Nor who made the file: whoever can write one that is not encrypted can write its manifest.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use liandong_proto::id::{SiteCode, hex};
use rustix::fs::MemfdFlags;
use sha2::{Digest as _, Sha256};

use super::bounds::{Bounds, TAIL_BYTES, WINDOW_LOG, shown};
use super::cipher::Opening;
use super::manifest::{FORMAT_NAME, MANIFEST_NAME, Manifest, Member, check_format, no_backup};
use super::member::{LAYOUT_NAME, LOGS, is_known};
use super::place::{Filling, Target, sync_dir};
use super::{BackupError, Chain, space};
use crate::audit;
use crate::log::{Copied, segment_path};
use crate::say;
use crate::site::LAYOUT;

/// What stands in a backup that is sound.
#[derive(Clone, Debug)]
pub struct Checked {
    /// What it says of itself.
    pub manifest: Manifest,
    /// Records of its log; none in a backup of keys alone.
    pub records: u64,
    /// Records of its audit log.
    pub audited: u64,
    /// The newest entry in the log, and what stands for everything up to it.
    pub end: (u64, Vec<u8>),
}

/// Where a backup is put.
#[derive(Clone, Copy, Debug)]
pub struct Destination<'a> {
    /// An empty directory, or one that was made for it.
    pub filling: &'a Filling,
    /// What has to be free beside so many bytes that are put there, so that the site opens.
    pub room: fn(u64) -> u64,
}

/// Reads a backup; `whose` refuses one of another site than is wanted. without `into` nothing is written.
///
/// # Errors
/// [`BackupError`]; then the directory is as before.
pub fn unpack(
    path: &Path,
    opening: &Opening,
    into: Option<Destination<'_>>,
    whose: &dyn Fn(SiteCode) -> Result<(), BackupError>,
    chain: &mut dyn Chain,
    stopped: &AtomicBool,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Checked, BackupError> {
    let target = into.map(|into| Target::begin(into.filling)).transpose()?;
    let file = File::open(path).map_err(BackupError::file(path))?;
    let total = file.metadata().map_err(BackupError::file(path))?.len();
    let done = Arc::new(AtomicU64::new(0));
    let count = {
        let done = Arc::clone(&done);
        move |from| Counted { from, done }
    };
    let inside = opening.inside(path, BufReader::with_capacity(1 << 18, file), count)?;
    let mut read = Reader {
        path,
        to: into,
        packed_bytes: total,
        bounds: Bounds::default(),
        names: HashSet::new(),
        dir: target.as_ref().map(|target| target.unpacked.clone()),
        members: Vec::new(),
        previous: [None; LOGS.len()],
        numbers: [0; LOGS.len()],
        audit: audit::End::default(),
        records: 0,
        audited: 0,
        whose,
        chain,
        step: &mut || {
            progress(done.load(Ordering::Relaxed), total);
            if stopped.load(Ordering::Relaxed) { Err(BackupError::Interrupted) } else { Ok(()) }
        },
    };
    let manifest = read.all(inside)?;
    let (records, audited) = (read.records, read.audited);
    let checked = Checked { manifest, records, audited, end: read.chain.end() };
    if let Some(target) = target {
        target.keep();
    }
    Ok(checked)
}

struct Counted<R> {
    from: R,
    done: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(into)?;
        self.done.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

struct Reader<'a> {
    path: &'a Path,
    /// Where all of it will be.
    to: Option<Destination<'a>>,
    packed_bytes: u64,
    bounds: Bounds,
    names: HashSet<String>,
    dir: Option<PathBuf>,
    members: Vec<Member>,
    /// Length of the segment before, and its number, of each log.
    previous: [Option<u64>; LOGS.len()],
    numbers: [u64; LOGS.len()],
    audit: audit::End,
    records: u64,
    audited: u64,
    whose: &'a dyn Fn(SiteCode) -> Result<(), BackupError>,
    chain: &'a mut dyn Chain,
    step: &'a mut dyn FnMut() -> Result<(), BackupError>,
}

impl Reader<'_> {
    fn all(&mut self, inside: Box<dyn Read>) -> Result<Manifest, BackupError> {
        let path = self.path;
        let mut manifest = None;
        let (inside, unpacked_bytes) = length_of(inside).map_err(broken(path))?;
        if let Some(Destination { filling, room }) = self.to {
            // What is in it is no shorter than what it is packed into, as long as it does not say better.
            let bytes = unpacked_bytes.unwrap_or(self.packed_bytes);
            space::fits(filling.dir(), bytes.saturating_add(room(bytes)))?;
        }
        let mut decoder = zstd::Decoder::new(inside).map_err(broken(path))?;
        decoder.window_log_max(WINDOW_LOG).map_err(broken(path))?;
        let mut archive = tar::Archive::new(decoder);
        // Without the extensions of tar, which name things at any length.
        let entries = archive.entries().map_err(broken(path))?.raw(true);
        for entry in entries {
            let is_first = self.members.is_empty();
            let mut entry = entry.map_err(broken(path))?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            if manifest.is_some() || entry.header().entry_type() != tar::EntryType::Regular {
                return Err(unexpected(&name));
            }
            let bytes = entry.size();
            match name.as_str() {
                FORMAT_NAME if is_first => {
                    (self.whose)(check_format(&self.small(&name, bytes, &mut entry)?)?)?;
                }
                _ if is_first => return Err(no_backup()),
                MANIFEST_NAME => {
                    let text = self.small(&name, bytes, &mut entry)?;
                    self.members.pop();
                    manifest = Some(Manifest::decode(&text)?);
                }
                _ if !is_known(&name) || !self.names.insert(name.clone()) => {
                    return Err(unexpected(&name));
                }
                _ => match LOGS.iter().position(|log| name.starts_with(&format!("{log}/"))) {
                    Some(log) => self.segment(log, &name, bytes, &mut entry)?,
                    None => {
                        let content = self.small(&name, bytes, &mut entry)?;
                        if name == LAYOUT_NAME {
                            check_layout(&String::from_utf8_lossy(&content))?;
                        }
                        self.write(&name)?.map_or(Ok(()), |mut file| {
                            file.write_all(&content)
                                .and_then(|()| file.sync_all())
                                .map_err(BackupError::file(&self.at(&name)))
                        })?;
                    }
                },
            }
            (self.step)()?;
        }
        ended(archive.into_inner()).map_err(broken(path))?;
        let manifest = manifest.ok_or_else(|| {
            BackupError::damaged("文件不完整，末尾缺失", "it is incomplete, its end is missing")
        })?;
        if manifest.members != self.members {
            let differs = manifest.members.iter().zip(&self.members).find(|(said, found)| said != found);
            let name = shown(differs.map_or(MANIFEST_NAME, |(said, _)| said.name.as_str()));
            return Err(BackupError::damaged(
                format!("{name} 与清单中的校验值不符"),
                format!("{name} is not what its manifest says"),
            ));
        }
        if let Some(dir) = &self.dir {
            LOGS.iter()
                .map(|log| dir.join(log))
                .filter(|log| log.exists())
                .try_for_each(|log| sync_dir(&log))?;
            sync_dir(dir)?;
        }
        Ok(manifest)
    }

    /// Where a member goes, for people.
    fn at(&self, name: &str) -> PathBuf {
        self.dir.as_ref().map_or_else(|| name.into(), |dir| dir.join(name))
    }

    /// The file that a member is written to, if it is.
    fn write(&self, name: &str) -> Result<Option<File>, BackupError> {
        let Some(dir) = &self.dir else { return Ok(None) };
        let path = dir.join(name);
        let parent = path.parent().unwrap_or(dir);
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(parent)
            .map_err(BackupError::file(parent))?;
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path);
        file.map(Some).map_err(BackupError::file(&path))
    }

    fn small(&mut self, name: &str, bytes: u64, from: &mut dyn Read) -> Result<Vec<u8>, BackupError> {
        self.bounds.small(name, bytes)?;
        let mut content = Vec::new();
        from.read_to_end(&mut content).map_err(broken(self.path))?;
        let sha256 = hex(&Sha256::digest(&content));
        self.members.push(Member { name: name.to_owned(), bytes, sha256 });
        Ok(content)
    }

    fn segment(
        &mut self,
        log: usize,
        name: &str,
        bytes: u64,
        from: &mut dyn Read,
    ) -> Result<(), BackupError> {
        let number = self.numbers[log] + 1;
        let shown = segment_path(Path::new(LOGS[log]), number);
        if Path::new(name) != shown {
            return Err(unexpected(name));
        }
        self.bounds.segment(log, name, bytes)?;
        let at = self.at(name);
        let failed = |error| BackupError::file(&at)(error);
        let mut file = match self.write(name)? {
            Some(file) => file,
            // Read from memory, so that nothing is written: a segment has some megabytes.
            None => rustix::fs::memfd_create("segment", MemfdFlags::CLOEXEC)
                .map_err(|it| failed(it.into()))?
                .into(),
        };
        let (mut sha, mut chunk, mut read) = (Sha256::new(), vec![0; 1 << 18], 0);
        loop {
            let count = from.read(&mut chunk).map_err(broken(self.path))?;
            if count == 0 {
                break;
            }
            sha.update(&chunk[..count]);
            file.write_all(&chunk[..count]).map_err(failed)?;
            read += count as u64;
            (self.step)()?;
        }
        if self.dir.is_some() {
            file.sync_all().map_err(failed)?;
        }
        file.rewind().map_err(failed)?;
        self.members.push(Member { name: name.to_owned(), bytes, sha256: hex(&sha.finalize()) });
        let previous = self.previous[log].replace(read);
        self.numbers[log] = number;
        for record in Copied::open(file, &shown, number, previous)? {
            let record = record?;
            let wrong = if log == 0 {
                self.records += 1;
                self.chain.take(record.kind, &record.payload).err()
            } else {
                self.audited += 1;
                self.audit.follow(&record.payload)
            };
            if let Some(said) = wrong {
                return Err(BackupError::damaged(
                    format!("{} {}：{}", shown.display(), record.pos, said.zh),
                    format!("{} at {}: {}", shown.display(), record.pos, said.en),
                ));
            }
        }
        (self.step)()
    }
}

/// What a newer program has left is for that program to put back.
fn check_layout(text: &str) -> Result<(), BackupError> {
    let found = text.split_whitespace().next().and_then(|number| number.parse::<u32>().ok());
    match found {
        Some(found) if found > LAYOUT => Err(BackupError::Foreign(say!(
            "备份来自更新的版本（目录格式 {found}，本程序认识到 {LAYOUT}）；没有恢复，请用那个版本的程序",
            "the backup is of a newer version (layout {found}, this program knows layouts up to {LAYOUT}); nothing was \
             restored, use that version"
        ))),
        Some(_) => Ok(()),
        None => Err(unexpected(LAYOUT_NAME)),
    }
}

/// What the disk says is a failure to read; what a decoder says is damage.
fn broken(path: &Path) -> impl FnOnce(io::Error) -> BackupError + '_ {
    move |error| match error.raw_os_error() {
        Some(_) => BackupError::file(path)(error),
        None => BackupError::damaged(
            format!("读到一半无法继续（{error}）"),
            format!("it cannot be read to its end ({error})"),
        ),
    }
}

/// How long what is packed there is, where whoever packed it said so; and the same to be read from its beginning.
fn length_of(mut inside: Box<dyn Read>) -> io::Result<(Box<dyn Read>, Option<u64>)> {
    // Longer is no header of a frame (RFC 8878, 3.1.1.1).
    let mut head = Vec::new();
    inside.by_ref().take(18).read_to_end(&mut head)?;
    let bytes = zstd::zstd_safe::get_frame_content_size(&head).ok().flatten();
    Ok((Box::new(io::Cursor::new(head).chain(inside)), bytes))
}

/// Reads what is behind the last member: zeros alone, and then it was whole.
fn ended(mut rest: impl Read) -> io::Result<()> {
    let (mut chunk, mut read) = ([0; 4 << 10], 0);
    loop {
        match rest.read(&mut chunk)? {
            0 => return Ok(()),
            count => {
                read += count as u64;
                if read > TAIL_BYTES || chunk[..count].iter().any(|byte| *byte != 0) {
                    return Err(io::Error::other("something stands behind its end"));
                }
            }
        }
    }
}

fn unexpected(name: &str) -> BackupError {
    let name = shown(name);
    BackupError::damaged(
        format!("其中有不该有的内容“{name}”"),
        format!("there is something in it that does not belong there: \"{name}\""),
    )
}
