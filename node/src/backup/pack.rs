//! Making a backup: under another name, synced, then renamed. What is there is never written over.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use liandong_proto::id::hex;
use liandong_proto::pb::node::v1::BackupResponse;
use rustix::fs::RenameFlags;
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use super::bounds::Bounds;
use super::cipher::{Out, Sealing};
use super::manifest::{FORMAT_NAME, MANIFEST_NAME, Manifest, Member, format_text};
use super::member::{Kept, LOGS, Small, fingerprint, segments};
use super::{BackupError, space};
use crate::now::{now_ms, random};

/// Fast, and half of what it was.
const LEVEL: i32 = 3;
/// It is never packed as small as that: hashes, signatures and what is sealed do not get smaller.
const SMALLEST: u64 = 10;
/// Blocks of tar; two empty ones stand at the end.
const BLOCK: u64 = 512;

/// What goes into a backup.
pub struct Content {
    manifest: Manifest,
    small: Vec<Small>,
    kept: Vec<Kept>,
}

impl Content {
    /// All that a site in `dir` has, which stands so. `before` and `small` are its small files as they were before it was
    /// asked and after; `None` where they differ: then ask again.
    pub fn new(
        dir: &Path,
        stand: &BackupResponse,
        before: &[Small],
        small: Vec<Small>,
        keys: bool,
        logs: bool,
    ) -> Option<Content> {
        if fingerprint(before) != fingerprint(&small) {
            return None;
        }
        let lengths = [&stand.log, &stand.audit];
        let kept = LOGS.iter().zip(lengths).flat_map(|(log, lengths)| segments(dir, log, lengths));
        let kept = if logs { kept.collect() } else { Vec::new() };
        Some(Content { manifest: Manifest::new(stand, keys, now_ms()), small, kept })
    }

    /// How many files go into it.
    pub fn files(&self) -> u64 {
        (self.small.len() + self.kept.len()) as u64
    }

    /// How many bytes they have.
    pub fn bytes(&self) -> u64 {
        let small = self.small.iter().map(|it| it.bytes.len() as u64);
        small.chain(self.kept.iter().map(|it| it.bytes)).sum()
    }

    /// How long the archive is before it is compressed, to the byte.
    ///
    /// # Errors
    /// Where it is more than whoever reads it would take.
    fn archive_bytes(&self) -> Result<u64, BackupError> {
        let format = format_text(self.manifest.site());
        let mut members = vec![(FORMAT_NAME, format.len() as u64)];
        members.extend(self.small.iter().map(|it| (it.name.as_str(), it.bytes.len() as u64)));
        let mut bounds = Bounds::default();
        members.iter().try_for_each(|(name, bytes)| bounds.small(name, *bytes))?;
        for it in &self.kept {
            let log = LOGS.iter().position(|log| it.name.starts_with(log)).unwrap_or(0);
            bounds.segment(log, &it.name, it.bytes)?;
            members.push((&it.name, it.bytes));
        }
        // All hashes are of one length.
        let member = |(name, bytes): &(&str, u64)| Member {
            name: (*name).to_owned(),
            bytes: *bytes,
            sha256: hex(&[0; 32]),
        };
        let listed = Manifest { members: members.iter().map(member).collect(), ..self.manifest.clone() };
        let manifest = listed.encode().len() as u64;
        bounds.small(MANIFEST_NAME, manifest)?;
        members.push((MANIFEST_NAME, manifest));
        Ok(members.iter().map(|(_, bytes)| BLOCK + bytes.next_multiple_of(BLOCK)).sum::<u64>() + 2 * BLOCK)
    }

    /// When it was made, and whose it is.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }
}

/// Writes a backup to `path`. `progress` hears how many bytes of how many are done.
///
/// # Errors
/// [`BackupError`]; then nothing is left behind.
pub fn pack(
    path: &Path,
    content: Content,
    sealing: &Sealing,
    stopped: &AtomicBool,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Manifest, BackupError> {
    if path.symlink_metadata().is_ok() {
        return Err(BackupError::Exists(path.to_path_buf()));
    }
    let unpacked_bytes = content.archive_bytes()?;
    space::fits(path, unpacked_bytes / SMALLEST)?;
    let unfinished = Unfinished::begin(path)?;
    let Content { mut manifest, small, kept } = content;
    let total = kept.iter().map(|it| it.bytes).sum();
    let out = sealing.around(BufWriter::with_capacity(1 << 18, unfinished.file()?))?;
    let failed = |error: io::Error| match stopped.load(Ordering::Relaxed) {
        true => BackupError::Interrupted,
        false => BackupError::file(path)(error),
    };
    let mut encoder = zstd::Encoder::new(out, LEVEL).map_err(failed)?;
    // A restore reads it there, and knows at once whether there is room.
    encoder.set_pledged_src_size(Some(unpacked_bytes)).map_err(failed)?;
    let mut archive = Archive { tar: tar::Builder::new(encoder), at_s: manifest.made_at_ms / 1000, done: 0 };
    let mut step = |done: u64| progress(done, total);
    let format = format_text(manifest.site());
    manifest.members.push(
        archive
            .add(FORMAT_NAME, format.as_bytes(), format.len() as u64, stopped, &mut |_| {})
            .map_err(failed)?,
    );
    for Small { name, bytes } in &small {
        let added = archive.add(name, bytes.as_slice(), bytes.len() as u64, stopped, &mut |_| {});
        manifest.members.push(added.map_err(failed)?);
    }
    archive.done = 0;
    for Kept { name, path, bytes } in &kept {
        let file = File::open(path).map_err(BackupError::file(path))?;
        manifest.members.push(archive.add(name, file, *bytes, stopped, &mut step).map_err(failed)?);
    }
    let text = manifest.encode();
    archive.add(MANIFEST_NAME, text.as_slice(), text.len() as u64, stopped, &mut |_| {}).map_err(failed)?;
    let finish = || -> io::Result<()> { archive.tar.into_inner()?.finish()?.finish()?.sync_all() };
    finish().map_err(failed)?;
    unfinished.name(path)?;
    Ok(manifest)
}

struct Archive {
    tar: tar::Builder<zstd::Encoder<'static, Out>>,
    at_s: u64,
    done: u64,
}

impl Archive {
    fn add(
        &mut self,
        name: &str,
        content: impl Read,
        bytes: u64,
        stopped: &AtomicBool,
        progress: &mut dyn FnMut(u64),
    ) -> io::Result<Member> {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes);
        header.set_mode(0o600);
        header.set_mtime(self.at_s);
        let mut reading = Reading {
            from: content.take(bytes),
            sha: Sha256::new(),
            read: 0,
            before: self.done,
            stopped,
            progress,
        };
        self.tar.append_data(&mut header, name, &mut reading)?;
        let read = reading.read;
        if read != bytes {
            let what = format!("{name} has {read} bytes, {bytes} were durable");
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, what));
        }
        let sha256 = hex(&reading.sha.finalize());
        self.done += bytes;
        Ok(Member { name: name.to_owned(), bytes, sha256 })
    }
}

/// What is read is counted, hashed and told.
struct Reading<'a, R> {
    from: R,
    sha: Sha256,
    read: u64,
    before: u64,
    stopped: &'a AtomicBool,
    progress: &'a mut dyn FnMut(u64),
}

impl<R: Read> Read for Reading<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.stopped.load(Ordering::Relaxed) {
            return Err(io::Error::other("interrupted"));
        }
        let count = self.from.read(into)?;
        self.sha.update(&into[..count]);
        self.read += count as u64;
        (self.progress)(self.before + self.read);
        Ok(count)
    }
}

/// A file that has not got its name yet; dropped without one it is removed.
struct Unfinished {
    temporary: PathBuf,
    named: bool,
}

impl Unfinished {
    fn begin(path: &Path) -> Result<Unfinished, BackupError> {
        let name =
            path.file_name().ok_or_else(|| BackupError::file(path)(io::ErrorKind::InvalidInput.into()))?;
        let mut temporary = name.to_os_string();
        // By chance, since processes in containers share their numbers.
        temporary.push(format!(".{}.part", hex(&random::<8>())));
        let temporary = path.with_file_name(temporary);
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .map_err(BackupError::file(&temporary))?;
        Ok(Unfinished { temporary, named: false })
    }

    fn file(&self) -> Result<File, BackupError> {
        OpenOptions::new().write(true).open(&self.temporary).map_err(BackupError::file(&self.temporary))
    }

    fn name(mut self, path: &Path) -> Result<(), BackupError> {
        let cwd = rustix::fs::CWD;
        let renamed = match rustix::fs::renameat_with(cwd, &self.temporary, cwd, path, RenameFlags::NOREPLACE)
        {
            Err(Errno::EXIST) => return Err(BackupError::Exists(path.to_path_buf())),
            // File systems that cannot promise it, such as NFS: a link is refused as well where there is a file.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => fs::hard_link(&self.temporary, path),
            Err(error) => Err(error.into()),
            Ok(()) => {
                self.named = true;
                Ok(())
            }
        };
        renamed.map_err(BackupError::file(path))?;
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(BackupError::file(dir))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.named {
            // Whoever finds it sees by its name what it is.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}
