//! `backup …` at the hub.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use liandong_node::cli::audit;
use liandong_node::cli::backup::{self, Between, CreateArgs, Program, Reopened, RestoreArgs, VerifyArgs};
use liandong_node::cli::exit::{Exit, Failure};
use liandong_node::cli::global::Global;
use liandong_node::cli::screen::Screen;
use liandong_node::site::Records as _;

use super::{PROGRAM, Setup, from_mirror};
use crate::config::KEYS;
use crate::copy::HubChain;
use crate::hub::{Hub, HubOptions};
use crate::store_fjall::{FREE_BYTES, WRITTEN_PER_BYTE};

/// What to do with backups.
#[derive(Debug, clap::Subcommand)]
pub enum BackupCommand {
    /// 备份到一个文件；枢纽运行时也可以 · Back up into one file, also while the hub runs
    Create(CreateArgs),
    /// 从头到尾检查一个备份，什么也不写 · Check a backup from end to end; nothing is written
    Verify(VerifyArgs),
    /// 由备份恢复到一个空目录；--rehearse 只演练 · Put a backup back into an empty directory; --rehearse only tries it
    Restore(FromArgs),
}

/// Flags of `restore`.
#[derive(Debug, Clone, clap::Args)]
pub struct FromArgs {
    /// Those of every site.
    #[command(flatten)]
    restore: RestoreArgs,
    /// 日志取自此镜像目录，备份只提供密钥和设置 · Take the log from this mirror; of the backup only keys and settings
    #[arg(long, value_name = "DIR", conflicts_with = "dry_run")]
    mirror: Option<PathBuf>,
}

/// What has to be free beside so many bytes of a hub, so that it opens.
pub fn room(bytes: u64) -> u64 {
    let HubOptions { segment_bytes, overlay_bytes, .. } = HubOptions::new(Path::new(""));
    backup::room(bytes, segment_bytes, FREE_BYTES, WRITTEN_PER_BYTE, overlay_bytes)
}

fn program() -> Program {
    Program {
        name: PROGRAM,
        is_hub: true,
        room,
        chain: || Box::new(HubChain::default()),
        reopen: Arc::new(|put_back, progress| {
            let hub = Hub::open(&HubOptions::new(&put_back.dir), progress)?;
            let mut opened = Reopened::default();
            if put_back.is_rehearsal {
                opened.faults = hub.verify(&[], progress)?.faults;
            } else {
                audit::put_back(hub.audit(), &put_back.caller, put_back.made_at_ms);
            }
            opened.records = hub.status()?.counts.iter().map(|count| count.records).sum();
            hub.close()?;
            Ok(opened)
        }),
    }
}

/// Carries one of them out.
///
/// # Errors
/// [`Failure`].
pub async fn run(command: BackupCommand, global: &Global, screen: &mut Screen) -> Result<Exit, Failure> {
    match command {
        BackupCommand::Create(args) => {
            let setup = Setup::load(global, Vec::new(), screen)?;
            backup::create(setup.door().await?, args, &setup.data_dir, &setup.screen).await
        }
        BackupCommand::Verify(args) => backup::verify(args, &program(), screen).await,
        BackupCommand::Restore(args) => {
            let settings = global.settings(KEYS, Vec::new(), screen)?;
            let dir = settings.path("data_dir");
            let FromArgs { restore, mirror } = args;
            let between = mirror.map(|mirror| -> Between {
                Box::new(move |unpacked, checked, step| from_mirror::take(&mirror, unpacked, checked, step))
            });
            backup::restore(restore, dir, &program(), between, &global.caller(), screen).await
        }
    }
}
