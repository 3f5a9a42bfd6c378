//! The command line: commands speak to a site through its socket ([`door`]). The hub's uses most of it too.

pub mod api_token;
pub mod ask;
pub mod audit;
pub mod backup;
pub mod config;
mod copies;
pub mod doctor;
pub mod door;
mod entry;
pub mod exit;
pub mod finding;
pub mod global;
mod import;
mod init;
mod join;
mod linking_key;
pub mod logs;
mod outbound;
pub mod progress;
mod rebuild;
pub mod record;
mod recovery;
mod repair;
mod restore;
pub mod run;
pub mod screen;
pub mod signals;
mod signing_key;
pub mod status;
pub mod supervisor;
pub mod table;
pub mod takeover;
mod told;
pub mod verify;

use clap::{Parser, Subcommand};

use crate::caller::Caller;
use crate::config::{NODE_KEYS, NodeConfig};
pub use copies::room;
use door::Door;
pub use entry::main_with;
use exit::{Exit, Failure};
use global::Global;
use recovery::RecoveryCommand;
use screen::Screen;

/// Name of the program.
pub const PROGRAM: &str = "liandong-node";

/// 地市站点：会员记录、导入、与省级枢纽同步 · A city's node: records, import, sync with the provincial hub
#[derive(Debug, Parser)]
#[command(name = PROGRAM, version, max_term_width = 120)]
pub struct Args {
    /// Flags of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands of a node.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// 建立本市站点 · Make a city's site
    Init(init::InitArgs),
    /// 核对或更换恢复密钥 · Check the recovery key that was written down, or replace it
    #[command(subcommand)]
    RecoveryKey(recovery::RecoveryCommand),
    /// 服务器丢失后，凭邀请码和恢复密钥从省级枢纽取回本市记录 · Make a lost site again from the hub, with the recovery key
    Restore(restore::RestoreArgs),
    /// 日志与枢纽分叉后，由本机接管本市站点 · Go on with this machine after its log and the hub's have parted
    Takeover(takeover::TakeoverArgs),
    /// 查看关联密钥的指纹，不显示密钥 · Fingerprints of the linking keys, never the keys
    #[command(subcommand)]
    LinkingKey(linking_key::LinkingKeyCommand),
    /// 轮换签名密钥 · Go over to another signing key
    #[command(subcommand)]
    SigningKey(signing_key::SigningKeyCommand),
    /// 凭邀请码加入全省联动 · Join the federation with an invitation
    Join(join::JoinArgs),
    /// 运行站点：本地接口和同步 · Run the site: local interface and sync
    Run(run::RunArgs),
    /// 查看站点状态 · Show how the site is
    Status(status::StatusArgs),
    /// 导入 CSV 花名册 · Import a roster in CSV
    Import(import::ImportArgs),
    /// 查看和修改记录 · Read and change records
    #[command(subcommand)]
    Record(record::RecordCommand),
    /// 查看与本市有关的核对事项 · Read the findings that name this city
    #[command(subcommand)]
    Finding(finding::FindingCommand),
    /// 审计日志：何人何时因何查阅、导出、变更 · The audit log: who read, exported or changed what, when and what for
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// 哪些内容会离开本市：查看、确认 · What leaves this site: look at it, accept it
    #[command(subcommand)]
    Outbound(outbound::OutboundCommand),
    /// 本单位其他系统的访问令牌 · Tokens for the city's other systems
    #[command(subcommand)]
    ApiToken(api_token::TokenCommand),
    /// 备份、检查备份、由备份恢复 · Backups: make them, check them, put them back
    #[command(subcommand)]
    Backup(backup::BackupCommand),
    /// 检查日志和索引 · Check log and index
    Verify(verify::VerifyArgs),
    /// 体检：磁盘、时钟、日志、索引、同步、证书、备份；有问题时退出码为 1 · Look at disk, clock, log, index, sync, certificate and
    /// backups; exit code 1 when something has to be done
    Doctor(doctor::DoctorArgs),
    /// 由日志重建索引 · Make the index again from the log
    Rebuild,
    /// 修复损坏的日志：读得出的全部保留，本市的条目从省级枢纽取回 · Repair a damaged log: all that can be read stays, own
    /// entries come back from the hub
    Repair(repair::RepairArgs),
    /// 配置样例与检查 · Template and check of the settings
    #[command(subcommand)]
    Config(config::ConfigCommand),
}

/// A command with its settings.
pub struct Setup {
    /// What was configured.
    pub config: NodeConfig,
    /// How to speak.
    pub screen: Screen,
    /// The data directory.
    pub data_dir: std::path::PathBuf,
    /// Who does this.
    pub author: String,
    /// The same with what for.
    pub caller: Caller,
}

impl Setup {
    /// Reads the settings.
    ///
    /// # Errors
    /// All mistakes at once; no data directory.
    pub fn load(
        global: &Global,
        flags: Vec<crate::config::Flag>,
        screen: &mut Screen,
    ) -> Result<Setup, Failure> {
        let settings = global.settings(NODE_KEYS, flags, screen)?;
        let data_dir = global::data_dir(&settings)?.to_path_buf();
        let (author, caller) = (global.author(), global.caller());
        Ok(Setup { config: NodeConfig::read(&settings), screen: *screen, data_dir, author, caller })
    }

    /// The way to the site.
    ///
    /// # Errors
    /// When it can neither be reached nor opened.
    pub async fn door(&self) -> Result<Door, Failure> {
        logs::start_quietly(&self.config.log, &self.screen)?;
        Door::open(run::local(self), run::opener(self), self.caller.clone(), &self.screen).await
    }
}

/// Carries out a command other than `run`.
///
/// # Errors
/// [`Failure`] with the exit code.
pub async fn answer(command: Command, global: &Global, screen: &mut Screen) -> Result<Exit, Failure> {
    match command {
        Command::Config(command) => return config::run(&command, PROGRAM, NODE_KEYS, global, screen),
        Command::Init(args) => return init::run(&args, global, screen).await,
        Command::Restore(args) => return restore::run(&args, global, screen).await,
        Command::Takeover(args) => {
            return takeover::run(&args, &Setup::load(global, Vec::new(), screen)?).await;
        }
        Command::Rebuild => return rebuild::run(&Setup::load(global, Vec::new(), screen)?).await,
        Command::Repair(args) => return repair::run(&args, &Setup::load(global, Vec::new(), screen)?).await,
        Command::Audit(command) => {
            let setup = Setup::load(global, Vec::new(), screen)?;
            logs::start_quietly(&setup.config.log, &setup.screen)?;
            let local = run::local(&setup);
            return audit::run(command, &setup.data_dir, &local, &setup.caller, &setup.screen).await;
        }
        Command::Backup(command) => return copies::run(command, global, screen).await,
        Command::Doctor(args) => return copies::examine(args, global, screen).await,
        Command::LinkingKey(command) => {
            return linking_key::run(&command, &Setup::load(global, Vec::new(), screen)?);
        }
        Command::RecoveryKey(RecoveryCommand::Check) => {
            return recovery::check(&Setup::load(global, Vec::new(), screen)?);
        }
        Command::ApiToken(command) => {
            return api_token::run(&command, &Setup::load(global, Vec::new(), screen)?).await;
        }
        _ => {}
    }
    let setup = Setup::load(global, Vec::new(), screen)?;
    let door = setup.door().await?;
    let ended = match command {
        Command::Status(args) => status::run(&door, &args, &setup.screen).await,
        Command::Join(args) => join::run(&door, &args, &setup).await,
        Command::Import(args) => import::run(&door, args, &setup).await,
        Command::Record(command) => record::run(&door, command, &setup.author, &setup.screen).await,
        Command::Finding(command) => finding::run(&door, command, &setup.screen).await,
        Command::Outbound(command) => outbound::run(&door, &command, &setup).await,
        Command::Verify(args) => verify::run(&door, &args, &setup.screen).await,
        Command::RecoveryKey(RecoveryCommand::Rotate(args)) => recovery::rotate(&door, args, &setup).await,
        Command::SigningKey(command) => signing_key::run(&door, &command, &setup).await,
        Command::Run(_)
        | Command::Config(_)
        | Command::Init(_)
        | Command::Restore(_)
        | Command::Takeover(_)
        | Command::Rebuild
        | Command::Repair(_)
        | Command::Audit(_)
        | Command::Backup(_)
        | Command::Doctor(_)
        | Command::ApiToken(_)
        | Command::LinkingKey(_)
        | Command::RecoveryKey(RecoveryCommand::Check) => Ok(Exit::Done),
    };
    let closed = door.close().await;
    let exit = ended?;
    closed?;
    Ok(exit)
}
