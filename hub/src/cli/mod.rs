//! The hub's command line. What is general comes from the node's; here is what only a hub does.

mod agree;
mod backup;
mod city;
mod doctor;
mod entry;
mod finding;
mod from_mirror;
mod init;
mod linking_key;
mod mirror;
mod rebuild;
mod release;
mod restored;
pub mod run;
mod signing_key;
mod token;

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use liandong_node::caller::Caller;
use liandong_node::cli::door::Door;
use liandong_node::cli::exit::{Exit, Failure};
use liandong_node::cli::global::{Global, data_dir};
use liandong_node::cli::screen::Screen;
use liandong_node::cli::{audit, config, logs, record, status, verify};
use liandong_node::config::Flag;

use crate::config::{HubConfig, KEYS};

pub use backup::room;
pub use entry::main_with;
use linking_key::LinkingKeyCommand;
use mirror::MirrorCommand;

/// Name of the program.
pub const PROGRAM: &str = "liandong-hub";

/// 省级枢纽：汇总 21 个地市，合并、核对、下发 · The provincial hub: orders, merges and reconciles what 21 cities sync
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

/// The commands of the hub.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// 建立省级枢纽 · Make the hub
    Init(init::InitArgs),
    /// 运行枢纽：本地接口和同步端口 · Run the hub: local interface and sync port
    Run(run::RunArgs),
    /// 查看枢纽状态 · Show how the hub is
    Status(status::StatusArgs),
    /// 各市情况 · The cities
    #[command(subcommand)]
    City(city::CityCommand),
    /// 查看和修改记录 · Read and change records
    #[command(subcommand)]
    Record(record::RecordCommand),
    /// 查看和处理核对事项 · Read and settle findings
    #[command(subcommand)]
    Finding(finding::FindingCommand),
    /// 数据集：发布后不再改动的编号版本 · Releases: numbered datasets that never change
    #[command(subcommand)]
    Release(release::ReleaseCommand),
    /// 数据集的访问令牌 · Tokens for whoever reads releases
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// 审计日志：何人何时因何查阅、导出、变更 · The audit log: who read, exported or changed what, when and what for
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// 检查日志和索引 · Check log and index
    Verify(verify::VerifyArgs),
    /// 体检：磁盘、时钟、日志、索引、各市、镜像、备份；有问题时退出码为 1 · Look at disk, clock, log, index, cities, mirror and
    /// backups; exit code 1 when something has to be done
    Doctor(doctor::DoctorArgs),
    /// 备份、检查备份、由备份恢复 · Backups: make them, check them, put them back
    #[command(subcommand)]
    Backup(backup::BackupCommand),
    /// 日志的镜像 · The mirror of the log
    #[command(subcommand)]
    Mirror(MirrorCommand),
    /// 声明本枢纽由备份恢复：确认停用名单之前各市不能同步 · Say that this hub was restored from a backup: no city syncs before `city confirm`
    Restored,
    /// 由日志重建索引 · Make the index again from the log
    Rebuild(rebuild::RebuildArgs),
    /// 轮换枢纽的签名密钥 · Go over to another signing key
    #[command(subcommand)]
    SigningKey(signing_key::SigningKeyCommand),
    /// 关联密钥，在枢纽之外生成 · The linking key, made away from the hub
    #[command(subcommand)]
    LinkingKey(linking_key::LinkingKeyCommand),
    /// 配置样例与检查 · Template and check of the settings
    #[command(subcommand)]
    Config(config::ConfigCommand),
}

/// A command with its settings.
pub struct Setup {
    /// What was configured.
    pub config: HubConfig,
    /// How to speak.
    pub screen: Screen,
    /// The data directory.
    pub data_dir: PathBuf,
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
    pub fn load(global: &Global, flags: Vec<Flag>, screen: &mut Screen) -> Result<Setup, Failure> {
        let settings = global.settings(KEYS, flags, screen)?;
        let data_dir = data_dir(&settings)?.to_path_buf();
        let (author, caller) = (global.author(), global.caller());
        Ok(Setup { config: HubConfig::read(&settings), screen: *screen, data_dir, author, caller })
    }

    /// The way to the hub.
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
        Command::Config(command) => return config::run(&command, PROGRAM, KEYS, global, screen),
        Command::LinkingKey(command) if !matches!(command, LinkingKeyCommand::Send(_)) => {
            return linking_key::run(&command, screen);
        }
        Command::Init(args) => return init::run(args, global, screen).await,
        Command::Audit(command) => {
            let setup = Setup::load(global, Vec::new(), screen)?;
            logs::start_quietly(&setup.config.log, &setup.screen)?;
            let local = run::local(&setup);
            return audit::run(command, &setup.data_dir, &local, &setup.caller, &setup.screen).await;
        }
        Command::Backup(command) => return backup::run(command, global, screen).await,
        Command::Doctor(args) => return doctor::run(args, global, screen).await,
        Command::Release(command) if !command.asks_the_hub() => {
            return release::read(&command, &Setup::load(global, Vec::new(), screen)?);
        }
        Command::Token(command) => {
            return token::run(&command, &Setup::load(global, Vec::new(), screen)?).await;
        }
        Command::Mirror(command) => return mirror::run(&command, &Setup::load(global, Vec::new(), screen)?),
        Command::Rebuild(args) => {
            return rebuild::run(&args, &Setup::load(global, Vec::new(), screen)?).await;
        }
        _ => {}
    }
    let setup = Setup::load(global, Vec::new(), screen)?;
    let door = setup.door().await?;
    let ended = match command {
        Command::Status(args) => status::run(&door, &args, &setup.screen).await,
        Command::City(command) => city::run(&door, &command, &setup).await,
        Command::Record(command) => record::run(&door, command, &setup.author, &setup.screen).await,
        Command::Finding(command) => finding::run(&door, command, &setup).await,
        Command::Release(command) => release::run(&door, &command, &setup).await,
        Command::Restored => restored::restored(&door, &setup).await,
        Command::Verify(args) => verify::run(&door, &args, &setup.screen).await,
        Command::SigningKey(command) => signing_key::run(&door, &command, &setup).await,
        Command::LinkingKey(LinkingKeyCommand::Send(args)) => linking_key::send(&door, &args, &setup).await,
        Command::LinkingKey(_)
        | Command::Init(_)
        | Command::Run(_)
        | Command::Rebuild(_)
        | Command::Token(_)
        | Command::Audit(_)
        | Command::Backup(_)
        | Command::Mirror(_)
        | Command::Doctor(_)
        | Command::Config(_) => Ok(Exit::Done),
    };
    let closed = door.close().await;
    let exit = ended?;
    closed?;
    Ok(exit)
}
