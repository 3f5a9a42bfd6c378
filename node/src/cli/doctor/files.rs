//! What can be seen without opening a site.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use super::codes::{self, AUDIT_DAMAGED, DISK_FULL, DISK_LOW, LOG_DAMAGED};
use super::report::Report;
use super::standing::ends_at;
use crate::audit;
use crate::backup::Chain;
use crate::log::{Copied, LogError, Record, segment_ends, segment_path};
use crate::say;
use crate::site::Paths;
use crate::text::Said;
use crate::trust::Membership;

/// A segment of the largest log is made at once.
const FULL_BYTES: u64 = 256 << 20;
const LOW_BYTES: u64 = 2 << 30;
/// How long a mirror's disk is waited for.
const ANSWERS: Duration = Duration::from_secs(5);

/// How much of the disk is free.
pub fn disk(dir: &Path, report: &mut Report) {
    match space(dir) {
        Ok((free, said)) => match free {
            ..FULL_BYTES => report.found("disk", &DISK_FULL, said),
            FULL_BYTES..LOW_BYTES => report.found("disk", &DISK_LOW, said),
            _ => report.fine("disk", said),
        },
        Err(error) => report.not_done("disk", unseen(&error)),
    }
}

/// The bytes that are free on a directory's disk, and how that is said.
fn space(dir: &Path) -> io::Result<(u64, Said)> {
    let space = rustix::fs::statvfs(dir)?;
    let (free, all) = (space.f_bavail * space.f_frsize, space.f_blocks * space.f_frsize);
    let (mib, of) = (free >> 20, all >> 20);
    Ok((free, say!("剩余 {mib} MiB，共 {of} MiB", "{mib} MiB free of {of} MiB")))
}

fn unseen(error: &io::Error) -> Said {
    let why = error.to_string();
    say!("看不到剩余空间：{why}", "the free space cannot be seen: {why}")
}

/// The certificate that lies among the keys.
pub fn certificate(dir: &Path, is_hub: bool, report: &mut Report) {
    if is_hub {
        return report.not_done("certificate", say!("枢纽自己就是颁发机构", "a hub is the authority itself"));
    }
    match Membership::load(&Paths::new(dir)) {
        Ok(member) => ends_at(member.map_or(0, |member| member.not_after_ms), report),
        Err(error) => {
            let why = error.to_string();
            report.not_done("certificate", say!("读不出来：{why}", "it cannot be read: {why}"));
        }
    }
}

/// Reads log and audit log to their ends.
pub fn logs(
    dir: &Path,
    chain: fn() -> Box<dyn Chain>,
    report: &mut Report,
    progress: &mut dyn FnMut(u64, u64),
) {
    let mut chain = chain();
    let mut follow = |record: &Record| chain.take(record.kind, &record.payload).err();
    let paths = Paths::new(dir);
    match read(&paths.log(), &mut follow, progress) {
        Ok(count) => report.fine("log", whole(count)),
        Err(said) => report.found("log", &LOG_DAMAGED, said),
    }
    if !paths.audit().exists() {
        return report.not_done("audit", say!("还没有", "there is none yet"));
    }
    let mut end = audit::End::default();
    let mut follow = |record: &Record| end.follow(&record.payload);
    match read(&paths.audit(), &mut follow, progress) {
        Ok(count) => report.fine("audit", whole(count)),
        Err(said) => report.found("audit", &AUDIT_DAMAGED, said),
    }
}

fn whole(count: u64) -> Said {
    say!("{count} 条，链完整", "{count} records, the chain holds")
}

fn read(
    dir: &Path,
    follow: &mut dyn FnMut(&Record) -> Option<Said>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<u64, Said> {
    let told = |error: LogError| {
        let en = error.to_string();
        Said::new(format!("日志读不出来：{en}"), en)
    };
    let ends = segment_ends(dir).map_err(told)?;
    let (mut count, mut previous, total) = (0, None, ends.len() as u64);
    for (number, end) in (1..).zip(ends) {
        let path = segment_path(dir, number);
        let opened = File::open(&path).map_err(|error| {
            let shown = path.display();
            say!("打不开 {shown}（{error}）", "{shown} cannot be opened ({error})")
        })?;
        let records = Copied::open(opened, &path, number, previous).map_err(told)?;
        let length = fs::metadata(&path).map_or(0, |found| found.len());
        let records = if end.is_none() { records.last() } else { records.until(end.unwrap_or(length)) };
        for record in records {
            let record = record.map_err(told)?;
            if let Some(said) = follow(&record) {
                let (shown, pos, Said { zh, en }) = (path.display(), record.pos, said);
                return Err(say!("{shown} {pos}：{zh}", "{shown} at {pos}: {en}"));
            }
            count += 1;
        }
        previous = end;
        progress(number, total);
    }
    Ok(count)
}

/// Whether two directories are on one file system; `None` where that cannot be seen.
pub fn is_same_disk(one: &Path, other: &Path) -> Option<bool> {
    use std::os::unix::fs::MetadataExt as _;
    Some(fs::metadata(one).ok()?.dev() == fs::metadata(other).ok()?.dev())
}

/// The hub's mirror, when its status is known: that it lies on another disk, and the space there.
pub fn mirror_disk(dir: &Path, mirror: &Path, report: &mut Report) {
    let (told, asked) = mpsc::channel();
    let (data, place) = (dir.to_path_buf(), mirror.to_path_buf());
    // Beside: a disk that hangs answers nobody, and the other checks are wanted all the same.
    std::thread::spawn(move || drop(told.send((is_same_disk(&data, &place), space(&place)))));
    let shown = mirror.display();
    match asked.recv_timeout(ANSWERS) {
        Ok((Some(true), _)) => report.found("mirror", &codes::MIRROR_SAME_DISK, say!("{shown}", "{shown}")),
        Ok((_, Ok((free, said)))) => space_of_mirror(free, said, report),
        // The mirror's own failure says more.
        Ok((_, Err(error))) if error.kind() == io::ErrorKind::NotFound => {}
        Ok((_, Err(error))) => report.not_done("mirror", unseen(&error)),
        Err(_) => {
            report.not_done(
                "mirror",
                say!("{shown} 所在的磁盘没有响应", "the disk of {shown} does not answer"),
            );
        }
    }
}

fn space_of_mirror(free: u64, said: Said, report: &mut Report) {
    match free {
        ..FULL_BYTES => report.found("mirror", &codes::MIRROR_DISK_FULL, said),
        FULL_BYTES..LOW_BYTES => report.found("mirror", &codes::MIRROR_DISK_LOW, said),
        _ => report.fine("mirror", said),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn a_mirrors_disk_is_told_by_the_space_that_is_left() {
        #[track_caller]
        fn check(free: u64, expected: &[&str]) {
            let mut report = Report::default();
            space_of_mirror(free, say!("剩余", "free"), &mut report);
            let json = report.json(false);
            let found = json["findings"].as_array().expect("findings").iter();
            let codes: Vec<&str> = found.filter_map(|it: &Value| it["code"].as_str()).collect();
            assert_eq!(codes, expected);
        }
        check(0, &["MIRROR_DISK_FULL"]);
        check(FULL_BYTES, &["MIRROR_DISK_LOW"]);
        check(LOW_BYTES, &[]);
    }
}
