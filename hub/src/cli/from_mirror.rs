//! `backup restore --mirror`: keys from a backup, the log from the mirror.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use liandong_node::audit;
use liandong_node::backup::{BackupError, Chain as _, Checked, Step, fits};
use liandong_node::cli::backup::Told;
use liandong_node::cli::exit::{Exit, Failure};
use liandong_node::log::{self, Copied, Cut, Log, Pos, Record, segment_path};
use liandong_node::say;
use liandong_node::site::{Paths, read_signing_key, record_kind};
use liandong_node::text::Said;
use liandong_proto::id::{Epoch, SiteCode, hex};
use liandong_proto::pb::log::v1 as pb;
use liandong_proto::sign::VerifyingKey;
use prost::Message as _;
use serde_json::json;

use super::backup::room;
use crate::copy::HubChain;
use crate::mirror::{AUDIT, LOG, count, is_bare_head, place, said};

/// Puts the mirror's log in the place of the one that was unpacked, and its audit log where that goes further.
///
/// # Errors
/// [`Failure`] when the mirror is none of this hub, or older than the backup, or the backup's keys are older than the log's.
pub fn take(mirror: &Path, unpacked: &Path, checked: &mut Checked, step: Step<'_>) -> Result<Told, Failure> {
    if !segment_path(&mirror.join(LOG), 1).exists() {
        return Err(no_mirror(mirror));
    }
    let (to, bytes) = (unpacked.join(LOG), bytes(&mirror.join(LOG)) + bytes(&mirror.join(AUDIT)));
    // What was unpacked of the log goes before.
    fits(unpacked, bytes.saturating_sub(self::bytes(&to)) + room(bytes))?;
    let mut done = 0;
    copy(&mirror.join(LOG), &to, &mut done, bytes, step)?;
    let torn = cut(&to)?;
    let log = whole(&to, mirror)?;
    let (mut chain, mut records, mut signs_with) = (HubChain::default(), 0, None);
    // A backup of keys alone is where every log begins.
    let mut met = checked.records == 0;
    for record in log.read(Pos::START) {
        let record = record.map_err(BackupError::from)?;
        chain.take(record.kind, &record.payload).map_err(|said| damaged(mirror, &said.zh, &said.en))?;
        signs_with = new_key(&record).or(signs_with);
        records += 1;
        met |= chain.end() == checked.end;
        if records % 1_024 == 0 {
            step(done, bytes)?;
        }
    }
    drop(log);
    let Some(epoch) = chain.epoch().filter(|epoch| hex(epoch) == checked.manifest.epoch) else {
        return Err(another(mirror));
    };
    if !met {
        return Err(older(mirror));
    }
    if checked.manifest.keys && signs_with.is_some_and(|key| !has_key(unpacked, &key)) {
        return Err(old_keys(mirror));
    }
    (checked.records, checked.end) = (records, chain.end());
    let (theirs, placed) = (mirror.join(AUDIT), unpacked.join(AUDIT));
    if segment_path(&theirs, 1).exists() {
        let beside = unpacked.join("audit.mirror");
        copy(&theirs, &beside, &mut done, bytes, step)?;
        cut(&beside)?;
        let audited = audited(&beside, mirror)?;
        if audited >= checked.audited {
            remove(&placed)?;
            fs::rename(&beside, &placed).map_err(BackupError::file(&placed))?;
            checked.audited = audited;
        } else {
            remove(&beside)?;
        }
    }
    // Where the hub goes on in this mirror, it is not to take its mount point for a new one. One without a mark gets it from
    // the hub, once the logs were compared.
    if let Some(epoch) = Epoch::from_slice(&epoch) {
        place::note_if_marked(unpacked, mirror, &epoch).map_err(|error| Failure::internal(said(&error)))?;
    }
    let json = json!({
        "dir": mirror.display().to_string(),
        "hub_seq": checked.end.0,
        "cut": torn.is_some(),
        "cut_bytes": torn.unwrap_or(0),
    });
    Ok(Told { json, said: torn.map(cut_short) })
}

/// The key that the hub signs with from a record on, where the record says so.
fn new_key(record: &Record) -> Option<VerifyingKey> {
    let change = (record.kind == record_kind::REGISTRY)
        .then(|| pb::RegistryChange::decode(record.payload.clone()).ok())
        .flatten()
        .filter(|change| SiteCode(change.site).is_province())?;
    match change.change? {
        pb::registry_change::Change::Rekeyed(rotation) => VerifyingKey::from_slice(&rotation.new_key),
        _ => None,
    }
}

/// Whether a key is there, in use or about to be.
fn has_key(unpacked: &Path, key: &VerifyingKey) -> bool {
    let paths = Paths::new(unpacked);
    [paths.signing_key(), paths.next_signing_key()]
        .iter()
        .any(|path| read_signing_key(path).is_ok_and(|found| found.verifying() == *key))
}

/// Cuts a copying that was cut short off the end of a mirror's log: so many bytes. It lacks the head of its first batch,
/// which is written when all the rest is durable; no answer was given for any of it. What else cannot be read is left to whoever
/// opens the log.
fn cut(dir: &Path) -> Result<Option<u64>, Failure> {
    let number = count(dir).map_err(|error| damaged_by(dir, &said(&error)))?;
    let path = segment_path(dir, number);
    let failed = |error| Failure::from(BackupError::file(&path)(error));
    let file = OpenOptions::new().read(true).write(true).open(&path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    let before = number.checked_sub(1).filter(|before| *before > 0);
    let previous = before.map(|before| fs::metadata(segment_path(dir, before)).map(|found| found.len()));
    let read = file.try_clone().map_err(failed)?;
    let Ok(copied) = Copied::open(read, &path, number, previous.transpose().map_err(failed)?) else {
        return Ok(None);
    };
    let mut copied = copied.last();
    // Whatever ends it: what is damaged is for whoever opens the log.
    let _ = copied.by_ref().last();
    let at = copied.whole_to();
    if !is_bare_head(&file, number, at).map_err(failed)? {
        return Ok(None);
    }
    let mut rest = vec![0; usize::try_from(length - at).unwrap_or(0)];
    file.read_exact_at(&mut rest, at).map_err(failed)?;
    if rest.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    file.set_len(at).and_then(|()| file.sync_all()).map_err(failed)?;
    Ok(Some(length - at))
}

/// Opens a copy of which nothing has to be cut any more. The heads of a mirror are written last: a batch that has its head and
/// cannot be read was whole once, and may have been answered for. A hub without it could not go on in this mirror either.
fn whole(dir: &Path, mirror: &Path) -> Result<Log, Failure> {
    let (log, opened) = Log::open(dir, log::Options::default()).map_err(BackupError::from)?;
    let Some(Cut { at, bytes }) = opened.cut else { return Ok(log) };
    Err(damaged(
        mirror,
        &format!("其日志在 {at} 之后的 {bytes} 字节读不出来，而这不是没有写完的复制"),
        &format!("its log cannot be read behind {at}, {bytes} bytes, which is no copying that was cut short"),
    ))
}

/// How many records an audit log has whose chain holds.
fn audited(dir: &Path, mirror: &Path) -> Result<u64, Failure> {
    let log = whole(dir, mirror)?;
    let (mut end, mut count) = (audit::End::default(), 0);
    for record in log.read(Pos::START) {
        let record = record.map_err(BackupError::from)?;
        match end.follow(&record.payload) {
            None => count += 1,
            Some(said) => return Err(damaged(mirror, &said.zh, &said.en)),
        }
    }
    Ok(count)
}

/// Copies the segments of a log; what was there before goes.
fn copy(from: &Path, to: &Path, done: &mut u64, bytes: u64, step: Step<'_>) -> Result<(), Failure> {
    count(from).map_err(|error| damaged_by(from, &said(&error)))?;
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

fn old_keys(dir: &Path) -> Failure {
    let shown = dir.display();
    Failure::data(say!(
        "备份中的签名密钥早于镜像 {shown} 中最后一次 signing-key rotate，没有恢复：用它恢复的枢纽打不开；请用轮换之后的备份\
         （--only-keys 也够）",
        "the signing key in the backup is older than the last signing-key rotate in the mirror {shown}, nothing was restored: \
         the hub would not open with it; take a backup made since then, one of --only-keys will do"
    ))
}

fn cut_short(bytes: u64) -> Said {
    say!(
        "镜像的末尾是一次没有写完的复制，日志恢复到它之前，舍去 {bytes} 字节：其中没有答复过的写入",
        "the mirror ends in a copying that was cut short; the log is restored up to there, {bytes} bytes were left out: no write \
         that was answered is among them"
    )
}

fn damaged_by(dir: &Path, said: &Said) -> Failure {
    damaged(dir, &said.zh, &said.en)
}

fn damaged(dir: &Path, zh: &str, en: &str) -> Failure {
    let shown = dir.display();
    let said = say!(
        "镜像 {shown} 已损坏，没有恢复：{zh}；请改用备份",
        "the mirror {shown} is damaged, nothing was restored: {en}; use a backup instead"
    );
    Failure { exit: Exit::Damaged, said }
}
