//! `mirror …`: beginning a new mirror where there was one, on purpose.

use std::path::Path;

use liandong_node::cli::ask;
use liandong_node::cli::exit::{Exit, Failure};
use liandong_node::say;
use serde_json::json;

use super::Setup;
use crate::mirror::place::{self, MARK};
use crate::mirror::said;

/// What to do with the mirror.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum MirrorCommand {
    /// 镜像的磁盘已换新：在设置 mirror 的目录重新建立镜像 · The mirror's disk was replaced: begin a new mirror in the directory of
    /// the setting mirror
    New(NewArgs),
}

/// Flags of `new`.
#[derive(Debug, Clone, clap::Args)]
pub struct NewArgs {
    /// 不再询问 · Do not ask
    #[arg(long)]
    yes: bool,
}

/// Takes the directory off the hub's note of mirrors: the hub sets it up as a new one.
///
/// # Errors
/// When it was not confirmed, there is a mirror, or no directory for one.
pub fn run(command: &MirrorCommand, setup: &Setup) -> Result<Exit, Failure> {
    let MirrorCommand::New(args) = command;
    let dir = setup.config.mirror.as_deref().ok_or_else(|| {
        Failure::usage(say!(
            "没有设置 mirror，没有改动；请先在配置中写明镜像的目录",
            "mirror is not set, nothing was changed; name the mirror's directory in the settings first"
        ))
    })?;
    let shown = dir.display();
    if !dir.is_dir() {
        return Err(Failure::usage(say!(
            "没有 {shown}，没有改动；请挂载镜像的新磁盘，或建立此目录",
            "there is no {shown}, nothing was changed; mount the mirror's new disk, or make the directory"
        )));
    }
    if dir.join(MARK).exists() {
        return Err(there_is_one(dir));
    }
    let what = say!(
        "在 {shown} 重新建立镜像。请先确认镜像原来的磁盘确实不再使用，而不只是没有挂载",
        "begin a new mirror in {shown}. Make sure first that the disk it was on is really gone, and not just not mounted"
    );
    ask::sure(args.yes, &what, &setup.screen)?;
    let was_noted = place::forget(&setup.data_dir, dir).map_err(|error| Failure::internal(said(&error)))?;
    setup.screen.answer(&json!({ "dir": shown.to_string(), "was_set_up": was_noted }), || {
        let said = say!(
            "枢纽将在 {shown} 重新建立镜像：运行中的枢纽几秒内开始，否则在下次启动时",
            "the hub begins a new mirror in {shown}: within seconds where it runs, otherwise at its next start"
        );
        said.in_lang(setup.screen.lang).to_owned()
    })?;
    Ok(Exit::Done)
}

fn there_is_one(dir: &Path) -> Failure {
    let shown = dir.display();
    Failure::usage(say!(
        "{shown} 中已有镜像，没有改动；确实不要时，先把其中的内容移到别处",
        "there is a mirror in {shown} already, nothing was changed; move what is in it elsewhere first if it is not wanted"
    ))
}
