//! Measurements of the whole system on one machine, hub and nodes as separate processes.
//!
//! | file | what |
//! |---|---|
//! | `sync` | the phases and their clock |
//! | `hostile` | single changes of one city while others attack the hub |
//! | `pull` | publishing a release, and what analysts wait for |
//! | `compare` | a comparison of node and hub, with a record altered and without |
//! | `group` | a hub and its nodes as children, asked all at once |
//! | `peer` | questions and answers over the pipes of a child: one JSON text a line |
//! | `node`, `hub` | what a child does |
//! | `members` | the records |
//! | `figures` | the result, as a table or as JSON |

mod compare;
mod figures;
mod group;
mod hostile;
mod hub;
mod members;
mod node;
mod peer;
mod pull;
mod sync;

pub(crate) use members::Members;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use liandong_node::cli::exit::{Exit, Failure};
use liandong_node::say;
use liandong_node::site::SiteError;

use crate::program;

/// Why a measurement could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A site.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// A file, a directory, a pipe or a process.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A child answered otherwise than asked, or not at all.
    #[error("{name}: {why}")]
    Child {
        /// Which.
        name: String,
        /// What it said.
        why: String,
    },
    /// The sites do not show the same in the end, so the figures mean nothing.
    #[error("{0}: node and hub show different records")]
    Different(String),
}

impl BenchError {
    fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> BenchError {
        move |source| BenchError::Io { what: what.into(), source }
    }
}

/// 在一台机器上测量整个系统 · Measures the whole system on one machine
#[derive(Debug, Parser)]
#[command(name = "bench", version, max_term_width = 120)]
struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// 各市写入、上报、省级汇总 · Cities write, push, and the province merges
    Sync(SyncArgs),
    /// 节点与枢纽的比较：耗时与线路上的字节 · A comparison of node and hub: its time, and its bytes on the wire
    Compare(CompareArgs),
    /// 发布数据集、整表拉取、分组统计 · Publishing a release, pulling a table, a question over it
    Pull(PullArgs),
    /// 枢纽受攻击时，守规矩的城市 · An honest city while the hub is under attack
    Hostile(HostileArgs),
}

/// What to publish and pull.
#[derive(Debug, Clone, clap::Args)]
struct PullArgs {
    /// 会员数 · How many members
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..))]
    rows: u32,
    /// 随机种子 · Seed of the records
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// 数据放在哪里；默认为临时目录 · Where the data go; a temporary directory unless given. Removed at the end
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// 以 JSON 输出 · Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What to compare.
#[derive(Debug, Clone, clap::Args)]
struct CompareArgs {
    /// 记录数 · How many records
    #[arg(long, default_value_t = 300_000, value_parser = clap::value_parser!(u32).range(1..))]
    records: u32,
    /// 随机种子 · Seed of the records
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// 数据放在哪里；默认为临时目录 · Where the data go; a temporary directory unless given. Removed at the end
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// 以 JSON 输出 · Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What to measure under attack.
#[derive(Debug, Clone, clap::Args)]
struct HostileArgs {
    /// 单条改动的测量次数，平时与受攻击时各一次 · How many single changes are timed, in calm and under attack each
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    singles: u32,
    /// 测量前已有的记录数 · Records that exist before
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    records: u32,
    /// 数据放在哪里；默认为临时目录 · Where the data go; a temporary directory unless given. Removed at the end
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// 以 JSON 输出 · Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What to measure.
#[derive(Debug, Clone, clap::Args)]
struct SyncArgs {
    /// 站点数 · How many cities
    #[arg(long, default_value_t = 21, value_parser = clap::value_parser!(u32).range(1..=21))]
    sites: u32,
    /// 每一项测量的改动数 · Changes of each measurement, all cities together
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..))]
    changes: u32,
    /// 测量前已有的记录数 · Records that exist before, all cities together
    #[arg(long, default_value_t = 0)]
    records: u32,
    /// 每次本地写入的记录数 · Records of a local write
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    group: u32,
    /// 单条改动的测量次数 · How many single changes are timed
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..))]
    singles: u32,
    /// 随机种子 · Seed of the records
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// 数据放在哪里；默认为临时目录 · Where the data go; a temporary directory unless given. Removed at the end
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// 以 JSON 输出 · Print one JSON object
    #[arg(long)]
    json: bool,
}

/// The program; the first of `args` is its name.
pub fn main_with(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args = match program::begun(args) {
        Ok(args) => args,
        Err(exit) => return exit,
    };
    match args.get(1).and_then(|word| word.to_str()) {
        Some(node::SUBCOMMAND) => return node::serve(args.get(2)),
        Some(hub::SUBCOMMAND) => return hub::serve(args.get(2)),
        _ => {}
    }
    let Args { what } = Args::parse_from(args);
    let (json, parent) = match &what {
        What::Compare(args) => (args.json, args.dir.clone()),
        What::Sync(args) => (args.json, args.dir.clone()),
        What::Pull(args) => (args.json, args.dir.clone()),
        What::Hostile(args) => (args.json, args.dir.clone()),
    };
    program::ended(json, |screen| {
        let dir = program::directory(parent.as_deref(), "bench-")?;
        match &what {
            What::Compare(args) => {
                let figures = compare::run(args, dir.path(), screen).map_err(failure)?;
                screen.answer(&figures.json(), || figures.text())
            }
            What::Sync(args) => {
                let figures = sync::run(args, dir.path(), screen).map_err(failure)?;
                screen.answer(&figures.json(), || figures.text())
            }
            What::Pull(args) => {
                let figures = pull::run(args, dir.path(), screen).map_err(failure)?;
                screen.answer(&figures.json(), || figures.text())
            }
            What::Hostile(args) => {
                let measured = hostile::run(args, dir.path(), screen).map_err(failure)?;
                screen.answer(&measured.json(), || measured.text())
            }
        }
    })
}

fn failure(error: BenchError) -> Failure {
    let said = say!("{error}", "{error}");
    match error {
        BenchError::Different(_) => Failure { exit: Exit::Review, said },
        _ => Failure::internal(said),
    }
}

/// Measures how long something takes.
struct Clock(Instant);

impl Clock {
    #[allow(clippy::disallowed_methods, reason = "a measurement reads the clock; nothing is decided by it")]
    fn start() -> Clock {
        Clock(Instant::now())
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    fn seconds(&self) -> f64 {
        self.elapsed().as_secs_f64()
    }
}
