//! `backup restore --mirror`: keys from a backup, the log from the mirror.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use liandong_node::audit;
use liandong_node::backup::{BackupError, Chain as _, Checked, Step, fits};
use liandong_node::cli::exit::Failure;
use liandong_node::log::{self, Log, Pos, segment_path};
use liandong_node::say;
use liandong_proto::id::hex;
use serde_json::{Value, json};

use super::backup::open_bytes;
use crate::copy::HubChain;
use crate::mirror::{AUDIT, LOG};

/// Puts the mirror's log in the place of the one that was unpacked, and its audit log where that goes further.
///
/// # Errors
/// [`Failure`] when the mirror is none of this hub, or older than the backup.
pub fn take(mirror: &Path, unpacked: &Path, checked: &mut Checked, step: Step<'_>) -> Result<Value, Failure> {
    if !segment_path(&mirror.join(LOG), 1).exists() {
        return Err(no_mirror(mirror));
    }
    let (to, bytes) = (unpacked.join(LOG), bytes(&mirror.join(LOG)) + bytes(&mirror.join(AUDIT)));
    // What was unpacked of the log goes before.
    fits(unpacked, bytes.saturating_sub(self::bytes(&to)) + open_bytes())?;
    let mut done = 0;
    copy(&mirror.join(LOG), &to, &mut done, bytes, step)?;
    let (log, opened) = Log::open(&to, log::Options::default()).map_err(BackupError::from)?;
    let (mut chain, mut records) = (HubChain::default(), 0);
    // A backup of keys alone is where every log begins.
    let mut met = checked.records == 0;
    for record in log.read(Pos::START) {
        let record = record.map_err(BackupError::from)?;
        chain.take(record.kind, &record.payload).map_err(|said| damaged(mirror, &said.zh, &said.en))?;
        records += 1;
        met |= chain.end() == checked.end;
        if records % 1_024 == 0 {
            step(done, bytes)?;
        }
    }
    drop(log);
    if chain.epoch().is_none_or(|epoch| hex(&epoch) != checked.manifest.epoch) {
        return Err(another(mirror));
    }
    if !met {
        return Err(older(mirror));
    }
    (checked.records, checked.end) = (records, chain.end());
    let (theirs, placed) = (mirror.join(AUDIT), unpacked.join(AUDIT));
    if segment_path(&theirs, 1).exists() {
        let beside = unpacked.join("audit.mirror");
        copy(&theirs, &beside, &mut done, bytes, step)?;
        let audited = audited(&beside)?;
        if audited >= checked.audited {
            remove(&placed)?;
            fs::rename(&beside, &placed).map_err(BackupError::file(&placed))?;
            checked.audited = audited;
        } else {
            remove(&beside)?;
        }
    }
    let cut = opened.cut.is_some();
    Ok(json!({ "dir": mirror.display().to_string(), "hub_seq": checked.end.0, "cut": cut }))
}

/// How many records an audit log has whose chain holds.
fn audited(dir: &Path) -> Result<u64, Failure> {
    let (log, _) = Log::open(dir, log::Options::default()).map_err(BackupError::from)?;
    let (mut end, mut count) = (audit::End::default(), 0);
    for record in log.read(Pos::START) {
        let record = record.map_err(BackupError::from)?;
        match end.follow(&record.payload) {
            None => count += 1,
            Some(said) => return Err(damaged(dir, &said.zh, &said.en)),
        }
    }
    Ok(count)
}

/// Copies the segments of a log; what was there before goes.
fn copy(from: &Path, to: &Path, done: &mut u64, bytes: u64, step: Step<'_>) -> Result<(), Failure> {
    remove(to)?;
    liandong_node::site::make_private_dir(to)?;
    let paths = (1..).map(|number| (segment_path(from, number), segment_path(to, number)));
    for (from, to) in paths.take_while(|(from, _)| from.exists()) {
        *done += fs::copy(&from, &to).map_err(BackupError::file(&to))?;
        File::open(&to).and_then(|it| it.sync_all()).map_err(BackupError::file(&to))?;
        step(*done, bytes)?;
    }
    File::open(to).and_then(|dir| dir.sync_all()).map_err(BackupError::file(to))?;
    Ok(())
}

fn bytes(dir: &Path) -> u64 {
    (1..).map_while(|number| fs::metadata(segment_path(dir, number)).ok()).map(|found| found.len()).sum()
}

fn remove(dir: &Path) -> Result<(), Failure> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(BackupError::file(dir)(error).into()),
        _ => Ok(()),
    }
}

fn no_mirror(dir: &Path) -> Failure {
    let shown = dir.display();
    Failure::usage(say!(
        "{shown} 中没有枢纽日志的镜像，没有恢复；请指明枢纽设置 mirror 所写的目录",
        "{shown} holds no mirror of a hub's log, nothing was restored; name the directory of the hub's setting mirror"
    ))
}

fn another(dir: &Path) -> Failure {
    let shown = dir.display();
    Failure::data(say!(
        "{shown} 是另一个枢纽的镜像，没有恢复；请拿同一枢纽的备份和镜像",
        "{shown} is the mirror of another hub, nothing was restored; take backup and mirror of the same one"
    ))
}

fn older(dir: &Path) -> Failure {
    let shown = dir.display();
    Failure::data(say!(
        "{shown} 中的日志没有到这份备份为止的内容，没有恢复；镜像比备份旧，或走了另一条线：请不带 --mirror，只用备份恢复",
        "the log in {shown} does not have all that this backup has, nothing was restored; the mirror is older, or of another \
         line: restore from the backup alone, without --mirror"
    ))
}

fn damaged(dir: &Path, zh: &str, en: &str) -> Failure {
    let shown = dir.display();
    let said = say!(
        "镜像 {shown} 已损坏，没有恢复：{zh}；请改用备份",
        "the mirror {shown} is damaged, nothing was restored: {en}; use a backup instead"
    );
    Failure { exit: liandong_node::cli::exit::Exit::Damaged, said }
}
