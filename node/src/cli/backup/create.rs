//! `backup create`.

use std::path::{Path, PathBuf};

use liandong_proto::id::SiteCode;
use liandong_proto::pb::node::v1::{BackupRequest, BackupResponse};
use liandong_proto::schema::Text;
use serde_json::json;

use super::secret::SealArgs;
use super::{json_of, patiently, text_of};
use crate::backup::{BackupError, Content, LeftOut, Sealing, free_bytes, note_made, pack, small_files};
use crate::cli::door::Door;
use crate::cli::exit::{Exit, Failure};
use crate::cli::screen::Screen;
use crate::cli::signals::Signals;
use crate::cli::table::moment;
use crate::say;
use crate::text::counted;

/// How often keys are looked at that are just being replaced.
const TRIES: usize = 5;

/// Flags of `create`.
#[derive(Debug, Clone, clap::Args)]
pub struct CreateArgs {
    /// 备份文件；是目录则在其中按站点和时间命名 · The file; in a directory it is named by site and time
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// 不含密钥：恢复后要另把 keys/ 放回才能启动 · Without the keys: after a restore keys/ has to be put back before it starts
    #[arg(long)]
    without_keys: bool,
    /// 只备份密钥和配置，不含记录：与镜像或枢纽上的副本合用 · Keys and settings alone, no records: to go with a mirror, or with
    /// what the hub keeps
    #[arg(long, conflicts_with = "without_keys")]
    only_keys: bool,
    /// 只说明会备份什么、写到哪里，什么也不写 · Only say what would be backed up, and where to; nothing is written
    #[arg(long)]
    dry_run: bool,
    /// How it is encrypted.
    #[command(flatten)]
    seal: SealArgs,
}

/// Backs the site up.
///
/// # Errors
/// [`Failure`]; no file is left behind then.
pub async fn create(door: Door, args: CreateArgs, dir: &Path, screen: &Screen) -> Result<Exit, Failure> {
    let made = create_by(&door, args, dir, screen).await;
    let closed = door.close().await;
    let exit = made?;
    closed?;
    Ok(exit)
}

async fn create_by(door: &Door, args: CreateArgs, dir: &Path, screen: &Screen) -> Result<Exit, Failure> {
    let mut signals = Signals::listen()?;
    // Nobody is asked for a passphrase that nothing would be encrypted with.
    let sealing = if args.dry_run { Sealing::None } else { args.seal.sealing(screen, &mut signals).await? };
    let (keys, logs) = (!args.without_keys, !args.only_keys);
    let caller = door.caller().doing("backup");
    let (mut content, mut left_out) = (None, Vec::new());
    for _ in 0..TRIES {
        let before = small_files(dir, keys)?.small;
        let asked = BackupRequest {
            author: caller.author.clone(),
            purpose: caller.purpose.clone(),
            keys,
            encrypted: sealing.is_some(),
            dry_run: args.dry_run,
        };
        let stand: BackupResponse = door.upkeep().backup(asked).await?.into_inner();
        let found = small_files(dir, keys)?;
        left_out = found.left_out;
        content = Content::new(dir, &stand, &before, found.small, keys, logs);
        if content.is_some() {
            break;
        }
    }
    let content = content.ok_or_else(|| {
        Failure::internal(say!(
            "密钥正在更换，没有备份；请稍后重试",
            "the keys are just being replaced, nothing was backed up; try again in a moment"
        ))
    })?;
    let manifest = content.manifest();
    let file = named(&args.file, manifest.site(), manifest.made_at_ms);
    left_out.iter().map(LeftOut::said).for_each(|said| screen.note(&said));
    if args.dry_run {
        return told(&file, &content, screen);
    }
    warn_of_room(&file, content.bytes(), screen);
    let is_encrypted = sealing.is_some();
    let path = file.clone();
    let what = Text { zh: "备份", en: "backing up" };
    let manifest = patiently(what, screen, &mut signals, move |stopped, bar| {
        Ok(pack(&path, content, &sealing, stopped, &mut |done, total| bar.at(done, total))?)
    });
    let manifest = manifest.await?;
    if let Err(error) = note_made(dir, manifest.made_at_ms, keys, logs) {
        screen.note(&say!(
            "备份已完成，但记不下时间（{error}）；doctor 会以为没有备份过",
            "the backup is made, but the time of it cannot be noted ({error}); doctor will miss it"
        ));
    }
    screen.answer(&json_of(&file, &manifest, is_encrypted), || {
        let told = text_of(&file, &manifest, is_encrypted, screen);
        let said = say!(
            "已备份\n{told}请把文件存放到别的机器上，并时常用 backup restore --rehearse 演练",
            "backed up\n{told}Keep the file on another machine, and try it now and then with backup restore --rehearse"
        );
        said.in_lang(screen.lang).to_owned()
    })?;
    Ok(Exit::Done)
}

/// How much smaller it gets is not known before; that it may not fit is.
fn warn_of_room(file: &Path, bytes: u64, screen: &Screen) {
    let Some(free) = free_bytes(file).filter(|free| *free < bytes) else { return };
    let (shown, free, mib) = (file.display(), free >> 20, bytes.div_ceil(1 << 20));
    screen.note(&say!(
        "{shown} 所在的磁盘剩余 {free} MiB，备份压缩前有 {mib} MiB，可能放不下；放不下时会说明，并删除未完成的文件",
        "the disk of {shown} has {free} MiB free, and the backup is {mib} MiB before it is compressed: it may not fit; if it \
         does not you will be told, and what there is of it is removed"
    ));
}

/// What would be backed up.
fn told(file: &Path, content: &Content, screen: &Screen) -> Result<Exit, Failure> {
    if file.symlink_metadata().is_ok() {
        return Err(BackupError::Exists(file.to_path_buf()).into());
    }
    let (files, bytes, shown) = (content.files(), content.bytes(), file.display().to_string());
    let json = json!({ "done": false, "file": shown, "files": files, "bytes": bytes });
    screen.answer(&json, || {
        let (count, mib) = (counted(files, "file"), bytes.div_ceil(1 << 20));
        let said = say!(
            "将把 {files} 个文件（压缩前 {mib} MiB）备份到 {shown}；什么也没有写",
            "{count} ({mib} MiB before they are compressed) would be backed up into {shown}; nothing was written"
        );
        said.in_lang(screen.lang).to_owned()
    })?;
    Ok(Exit::Done)
}

/// The file itself, or one in the directory given.
fn named(given: &Path, site: SiteCode, made_at_ms: u64) -> PathBuf {
    if !given.is_dir() {
        return given.to_path_buf();
    }
    let digits: String = moment(made_at_ms).chars().filter(char::is_ascii_digit).collect();
    given.join(format!("liandong-{site}-{digits}.backup"))
}
