//! `backup verify`.

use std::path::PathBuf;

use liandong_proto::schema::Text;
use serde_json::json;

use super::secret::OpenArgs;
use super::{Program, json_of, patiently, reached, text_of};
use crate::backup::unpack;
use crate::cli::exit::{Exit, Failure};
use crate::cli::screen::Screen;
use crate::cli::signals::Signals;
use crate::say;

/// Flags of `verify`.
#[derive(Debug, Clone, clap::Args)]
pub struct VerifyArgs {
    /// 备份文件 · The backup
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// How it is opened.
    #[command(flatten)]
    open: OpenArgs,
}

/// Reads all of a backup, and writes nothing.
///
/// # Errors
/// [`Failure`] with what is wrong.
pub async fn verify(args: VerifyArgs, program: &Program, screen: &Screen) -> Result<Exit, Failure> {
    let mut signals = Signals::listen()?;
    let (opening, is_encrypted) = args.open.opening(&args.file, screen, &mut signals).await?;
    let (path, mine) = (args.file.clone(), program.clone());
    let what = Text { zh: "检查备份", en: "checking the backup" };
    let checked = patiently(what, screen, &mut signals, move |stopped, bar| {
        let (mut chain, whose) = ((mine.chain)(), |site| mine.own(site));
        let step = &mut |done, total| bar.at(done, total);
        Ok(unpack(&path, &opening, None, &whose, &mut *chain, stopped, step)?)
    });
    let checked = checked.await?;
    let mut json = json_of(&args.file, &checked.manifest, is_encrypted);
    json["sound"] = json!(true);
    json["records"] = checked.records.into();
    json["audit_records"] = checked.audited.into();
    json["entries"] = checked.end.0.into();
    screen.answer(&json, || {
        let (told, reached) =
            (text_of(&args.file, &checked.manifest, is_encrypted, screen), reached(&checked));
        let (zh, en) = (reached.zh, reached.en);
        let said = say!(
            "完好：{zh}\n{told}是否真的能恢复，用 backup restore --rehearse 演练",
            "sound: {en}\n{told}Whether it can really be put back is tried with backup restore --rehearse"
        );
        said.in_lang(screen.lang).to_owned()
    })?;
    Ok(Exit::Done)
}
