//! `backup restore`: into an empty directory, or as a rehearsal into one that goes again.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::Ordering;

use liandong_proto::id::hex;
use liandong_proto::schema::Text;
use serde_json::{Value, json};

use super::rehearsal::Rehearsal;
use super::secret::OpenArgs;
use super::{Program, Reopened, Reopening, json_of, patiently, reached, text_of};
use crate::backup::{
    BackupError, Checked, Destination, Filling, Opening, Step, UNPACKED, check_free, unpack,
};
use crate::caller::Caller;
use crate::cli::exit::{Exit, Failure};
use crate::cli::screen::Screen;
use crate::cli::signals::{self, Signals};
use crate::say;
use crate::site::{Paths, SiteError};
use crate::text::{Said, counted};

/// Flags of `restore`.
#[derive(Debug, Clone, clap::Args)]
pub struct RestoreArgs {
    /// 备份文件 · The backup
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// 只演练：恢复到临时目录，打开、全面检查，然后删除 · Only try it: into a temporary directory, opened and checked in full,
    /// then removed
    #[arg(long, conflicts_with = "dry_run")]
    pub rehearse: bool,
    /// 只检查备份和目标目录，什么也不写 · Only check the backup and where it would go; nothing is written
    #[arg(long)]
    dry_run: bool,
    /// How it is opened.
    #[command(flatten)]
    open: OpenArgs,
}

/// Something done to what was unpacked before it is put into its place.
pub type Between = Box<dyn FnOnce(&Path, &mut Checked, Step<'_>) -> Result<Told, Failure> + Send>;

/// What it has to say.
#[derive(Debug, Default)]
pub struct Told {
    /// For programs.
    pub json: Value,
    /// For people, where there is something to know.
    pub said: Option<Said>,
}

/// Puts a backup back into `dir`, or tries to.
///
/// # Errors
/// [`Failure`]; until everything is in its place the directory is left as it was.
pub async fn restore(
    args: RestoreArgs,
    dir: Option<&Path>,
    program: &Program,
    between: Option<Between>,
    caller: &Caller,
    screen: &Screen,
) -> Result<Exit, Failure> {
    let mut signals = Signals::listen()?;
    let (opening, is_encrypted) = args.open.opening(&args.file, screen, &mut signals).await?;
    let rehearsal = args.rehearse.then(|| Rehearsal::begin(&std::env::temp_dir())).transpose()?;
    let dir = match (&rehearsal, dir) {
        (Some(rehearsal), _) => rehearsal.site(),
        (None, Some(dir)) => dir.to_path_buf(),
        (None, None) => {
            return Err(Failure::usage(say!(
                "没有指明数据目录；请用 --data-dir 指明一个空目录，或用 --rehearse 只演练",
                "no data directory was named; name an empty one with --data-dir, or only try it with --rehearse"
            )));
        }
    };
    if args.dry_run {
        return tried(&args, &opening, &dir, program, &mut signals, screen).await;
    }
    let (path, to, mine) = (args.file.clone(), dir.clone(), program.clone());
    let (is_rehearsal, author) = (args.rehearse, caller.author.clone());
    let what = Text { zh: "读取备份", en: "reading the backup" };
    let unpacked = patiently(what, screen, &mut signals, move |stopped, bar| {
        let (mut chain, whose) = ((mine.chain)(), |site| mine.own(site));
        let step = &mut |done, total| bar.at(done, total);
        let filling = Filling::begin(&to)?;
        let into = Some(Destination { filling: &filling, room: mine.room });
        let unpacked = unpack(&path, &opening, into, &whose, &mut *chain, stopped, step);
        let mut checked = unpacked.map_err(|error| match error {
            BackupError::Exists(dir) if dir == to => not_empty(&to),
            error @ BackupError::NoRoom { .. } if is_rehearsal => elsewhere(error.into()),
            error => error.into(),
        })?;
        let placed = || -> Result<_, Failure> {
            let step: Step<'_> = &mut |done, total| {
                bar.at(done, total);
                if stopped.load(Ordering::Relaxed) { Err(BackupError::Interrupted) } else { Ok(()) }
            };
            let told = between
                .map_or(Ok(Told::default()), |between| between(&to.join(UNPACKED), &mut checked, step))?;
            if checked.records == 0 {
                return Err(keys_alone(mine.is_hub));
            }
            if mine.is_hub && !is_rehearsal {
                say_put_back(&to.join(UNPACKED), &author)?;
            }
            Ok((told, filling.place()?))
        };
        match placed() {
            Ok((told, left)) => Ok((checked, told, left)),
            Err(failure) => {
                // What was unpacked, and what of it was placed; the next restore takes away what this cannot.
                filling.give_up();
                Err(failure)
            }
        }
    });
    let (checked, told, left) = unpacked.await?;
    if let Some(error) = left {
        screen.note(&not_tidied(&dir, &error));
    }
    let reopened = if checked.manifest.keys {
        let reopening = Reopening {
            dir: dir.clone(),
            caller: caller.clone(),
            made_at_ms: checked.manifest.made_at_ms,
            is_rehearsal: args.rehearse,
        };
        let reopen = program.reopen.clone();
        let what = Text { zh: "由日志建立索引并检查", en: "making the index from the log" };
        // What is put back for good is finished; a rehearsal goes at the first signal.
        let goes = std::sync::Arc::new(Mutex::new(rehearsal));
        let (held, asked) = (std::sync::Arc::clone(&goes), *screen);
        let opened = patiently(what, screen, &mut signals, move |stopped, bar| {
            let mut on_progress = |progress| {
                bar.on(progress);
                if stopped.load(Ordering::Relaxed)
                    && let Some(rehearsal) = held.lock().ok().and_then(|mut held| held.take())
                {
                    drop(rehearsal);
                    bar.finish();
                    asked.fail(&BackupError::Interrupted.into());
                    signals::end_at_once();
                }
            };
            Ok(reopen(&reopening, &mut on_progress)?)
        });
        Some(opened.await.map_err(|failure| {
            if args.rehearse { tried_in_vain(failure) } else { not_opened(&dir, failure) }
        })?)
    } else {
        None
    };
    let mut json = json_of(&args.file, &checked.manifest, is_encrypted);
    json["rehearsal"] = json!(args.rehearse);
    json["data_dir"] = json!(dir.display().to_string());
    json["entries"] = checked.end.0.into();
    json["end"] = json!(hex(&checked.end.1));
    json["opened"] = json!(reopened.is_some());
    json["mirror"] = told.json;
    if let Some(Reopened { records, faults }) = &reopened {
        json["records"] = (*records).into();
        json["sound"] = json!(faults.is_empty());
        json["faults"] = faults.iter().map(|(zh, en)| json!({ "zh": zh, "en": en })).collect();
    }
    let is_sound = reopened.as_ref().is_none_or(|reopened| reopened.faults.is_empty());
    screen.answer(&json, || {
        let said = told_of(&args, &dir, program, &checked, reopened.as_ref());
        let content = text_of(&args.file, &checked.manifest, is_encrypted, screen);
        let more = told.said.map_or_else(String::new, |said| format!("{}\n", said.in_lang(screen.lang)));
        format!("{}\n{more}{content}", said.in_lang(screen.lang))
    })?;
    Ok(if is_sound { Exit::Done } else { Exit::Damaged })
}

/// Reads all of the backup and looks where it would go.
async fn tried(
    args: &RestoreArgs,
    opening: &Opening,
    dir: &Path,
    program: &Program,
    signals: &mut Signals,
    screen: &Screen,
) -> Result<Exit, Failure> {
    check_free(dir).map_err(|error| match error {
        BackupError::Exists(_) => not_empty(dir),
        error => error.into(),
    })?;
    let (path, opening, mine) = (args.file.clone(), opening.clone(), program.clone());
    let what = Text { zh: "检查备份", en: "checking the backup" };
    let checked = patiently(what, screen, signals, move |stopped, bar| {
        let (mut chain, whose) = ((mine.chain)(), |site| mine.own(site));
        let step = &mut |done, total| bar.at(done, total);
        Ok(unpack(&path, &opening, None, &whose, &mut *chain, stopped, step)?)
    });
    let checked = checked.await?;
    let (shown, bytes) = (dir.display().to_string(), checked.manifest.bytes());
    let json = json!({ "done": false, "data_dir": shown, "bytes": bytes, "entries": checked.end.0 });
    screen.answer(&json, || {
        let (Said { zh, en }, mib) = (reached(&checked), bytes.div_ceil(1 << 20));
        let said = say!(
            "备份完好（{zh}），将恢复到 {shown}，占 {mib} MiB，索引另计；什么也没有写",
            "the backup is sound ({en}) and would be restored into {shown}: {mib} MiB, and its index; nothing was written"
        );
        said.in_lang(screen.lang).to_owned()
    })?;
    Ok(Exit::Done)
}

/// Before there is a hub that could be run: whoever runs it need not know where it came from.
fn say_put_back(dir: &Path, author: &str) -> Result<(), Failure> {
    let path = Paths::new(dir).put_back();
    let written = File::create(&path).and_then(|mut file| {
        file.write_all(author.as_bytes())?;
        file.sync_all()
    });
    Ok(written.map_err(|source| SiteError::File { path, source })?)
}

fn told_of(
    args: &RestoreArgs,
    dir: &Path,
    program: &Program,
    checked: &Checked,
    reopened: Option<&Reopened>,
) -> Said {
    let (shown, name) = (dir.display(), program.name);
    let Said { zh, en } = reached(checked);
    let count = counted(reopened.map_or(0, |reopened| reopened.records), "record");
    match reopened {
        Some(Reopened { faults, .. }) if !faults.is_empty() => {
            let zh = faults.iter().map(|(zh, _)| zh.as_str()).collect::<Vec<_>>().join("\n  ");
            let en = faults.iter().map(|(_, en)| en.as_str()).collect::<Vec<_>>().join("\n  ");
            say!(
                "演练发现问题，这份备份请不要使用；临时目录已删除：\n  {zh}",
                "the rehearsal has found faults, do not use this backup; the temporary directory is removed:\n  {en}"
            )
        }
        Some(Reopened { records, .. }) if args.rehearse => say!(
            "演练成功：能打开，{records} 条记录；{zh}；签名、哈希和索引全部相符。临时目录已删除",
            "the rehearsal went well: it opens, {count}; {en}; signatures, hashes and index all agree. The temporary \
             directory is removed"
        ),
        None if args.rehearse => say!(
            "演练成功：{zh}；备份不含密钥，因此没有打开。临时目录已删除",
            "the rehearsal went well: {en}; there are no keys in it, so it was not opened. The temporary directory is removed"
        ),
        Some(Reopened { records, .. }) if program.is_hub => say!(
            "已恢复到 {shown}：{records} 条记录；{zh}\n\
             已记下本枢纽由备份恢复：此前的邀请码作废，确认停用名单之前各市不能同步；缺的条目由各市重新推送。\n\
             原来的机器如果还在，请不要再启动。\n\
             下一步：{name} run --data-dir {shown}，核对后 {name} city confirm",
            "restored into {shown}: {count}; {en}\n\
             It is noted that this hub was restored: invitations so far are void, no city syncs before somebody has confirmed \
             who is cut off; what entries it lacks the cities push again.\n\
             If the old machine is still there, do not start it again.\n\
             Next: {name} run --data-dir {shown}, and once you have looked, {name} city confirm"
        ),
        Some(Reopened { records, .. }) => say!(
            "已恢复到 {shown}：{records} 条记录；{zh}\n\
             原来的机器如果还在，请不要再启动：两份同时写，枢纽只认一份。\n\
             下一步：{name} run --data-dir {shown}。备份之后如果还同步过，status 会显示已分叉、不再同步，本地工作照常：那时停下站点，\
             运行 {name} takeover --data-dir {shown}，从枢纽取回备份之后的条目，再 run",
            "restored into {shown}: {count}; {en}\n\
             If the old machine is still there, do not start it again: the hub knows one of two copies only.\n\
             Next: {name} run --data-dir {shown}. Where it has synced since this backup, status shows diverged and nothing \
             syncs, while local work goes on: stop it then, run {name} takeover --data-dir {shown}, which fetches what came \
             after the backup from the hub, and run it again"
        ),
        None if program.is_hub => say!(
            "日志已恢复到 {shown}：{zh}。备份不含密钥，因此没有打开\n\
             下一步：把 keys/ 放回 {shown}，先运行 {name} restored --data-dir {shown}，再 {name} run",
            "the log is restored into {shown}: {en}. There are no keys in the backup, so it was not opened\n\
             Next: put keys/ back into {shown}, run {name} restored --data-dir {shown} first, then {name} run"
        ),
        None => say!(
            "日志已恢复到 {shown}：{zh}。备份不含密钥，因此没有打开\n下一步：把 keys/ 放回 {shown}，再 {name} run",
            "the log is restored into {shown}: {en}. There are no keys in the backup, so it was not opened\n\
             Next: put keys/ back into {shown}, then {name} run"
        ),
    }
}

fn not_empty(dir: &Path) -> Failure {
    let shown = dir.display();
    Failure::usage(say!(
        "{shown} 不是空目录，没有改动；恢复只写进空目录，请换一个",
        "{shown} is not empty and was not touched; a restore writes into an empty directory only, name another"
    ))
}

fn tried_in_vain(failure: Failure) -> Failure {
    let Said { zh, en } = failure.said;
    let said = say!(
        "演练不成功，恢复后的站点打不开：{zh}；临时目录已删除",
        "the rehearsal went wrong, what is restored does not open: {en}; the temporary directory is removed"
    );
    Failure { exit: failure.exit, said }
}

/// A rehearsal that does not fit can be made on another disk.
fn elsewhere(mut failure: Failure) -> Failure {
    failure.said.zh.push_str("；演练用临时目录，可用环境变量 TMPDIR 另外指定");
    failure
        .said
        .en
        .push_str("; a rehearsal takes the directory for temporary files, name another one in TMPDIR");
    failure
}

fn keys_alone(is_hub: bool) -> Failure {
    Failure::usage(if is_hub {
        say!(
            "这份备份只有密钥，没有日志，没有恢复；请用 --mirror 指明枢纽日志的镜像目录",
            "this backup holds keys alone and no log, nothing was restored; name the mirror of the hub's log with --mirror"
        )
    } else {
        say!(
            "这份备份只有密钥，没有日志，没有恢复；请用 liandong-node restore 从枢纽取回本市记录",
            "this backup holds keys alone and no log, nothing was restored; fetch the city's records from the hub with \
             liandong-node restore"
        )
    })
}

/// Everything has its place, and something failed behind that.
fn not_tidied(dir: &Path, error: &BackupError) -> Said {
    let shown = dir.display();
    say!(
        "{shown} 已恢复完整，但收尾时出错（{error}）；若马上断电，可能要再恢复一次；残留的 {UNPACKED} 由下次启动删除",
        "all is in its place in {shown}, but something failed behind that ({error}); should the power fail now, the restore may          have to be made again; what is left of {UNPACKED} goes with the next start"
    )
}

fn not_opened(dir: &Path, failure: Failure) -> Failure {
    let (shown, Said { zh, en }) = (dir.display(), failure.said);
    let said = say!(
        "文件已恢复到 {shown}，但站点打不开：{zh}",
        "the files are in {shown}, but the site does not open: {en}"
    );
    Failure { exit: failure.exit, said }
}
