//! Syncs over bad lines: cut again and again, or slow and lossy.
//!
//! | file | what |
//! |---|---|
//! | `cuts` | a sync with many cuts, held against one without |
//! | `slow` | a sync between two hosts over a slow line that loses some of what it carries |
//! | `hosts`, `air` | the hosts, as network namespaces, and the line between them |
//! | `relay` | the line between cities and hub on the loopback interface: counts bytes, and cuts |

mod air;
mod cuts;
mod hosts;
mod relay;
mod slow;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use liandong_node::cli::exit::{Exit, Failure};
use liandong_node::cli::screen::Screen;
use liandong_node::say;
use liandong_node::text::{Lang, Said};
use serde_json::json;

use crate::cluster::ClusterError;
use crate::program;
pub(crate) use air::{AIR, serve as carry_air};
pub use air::{Carried, Weather};
pub use cuts::{Plan as CutsPlan, Report as Cuts, run as cuts};
pub(crate) use relay::Line;
pub use slow::{Plan as SlowPlan, Report as Slow, run as slow};

/// Why a run ended before its time.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// A site did not do what it must.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// Something is missing or there twice.
    #[error("{0}")]
    Broken(String),
}

/// 在坏线路上同步：反复切断，或又慢又丢包 · Syncs over bad lines: cut again and again, or slow and lossy
#[derive(Debug, Parser)]
#[command(name = "line", version, max_term_width = 120)]
struct Args {
    #[command(subcommand)]
    what: What,
    /// 文件放在哪里；默认为临时目录，结束时删除 · Where the files go; a temporary directory unless given. Removed at the end
    #[arg(long, value_name = "DIR", global = true)]
    dir: Option<PathBuf>,
    /// 以 JSON 输出 · Print one JSON object
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum What {
    /// 同步途中反复切断，与不切断的比较 · Cut again and again during a sync, held against one that is not
    Cuts(CutsArgs),
    /// 两台主机（网络命名空间）之间又慢又丢包的线路 · Two hosts (network namespaces), and a slow and lossy line between them
    Slow(SlowArgs),
}

#[derive(Debug, clap::Args)]
struct SlowArgs {
    /// 城市数 · How many cities
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=21))]
    cities: u32,
    /// 各市合计的改动数 · Changes, all cities together
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..))]
    changes: u32,
    /// 速率，千比特每秒 · Thousands of bits a second
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u64).range(1..))]
    rate_kbit: u64,
    /// 往返延迟，毫秒 · There and back, in milliseconds
    #[arg(long, default_value_t = 300)]
    delay_ms: u64,
    /// 每千个数据报丢失几个 · How many of a thousand datagrams are lost
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(..=900))]
    loss_permille: u64,
    /// 随机种子 · Seed of what is lost, and of the records
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Debug, clap::Args)]
struct CutsArgs {
    /// 城市数 · How many cities
    #[arg(long, default_value_t = 21, value_parser = clap::value_parser!(u32).range(1..=21))]
    cities: u32,
    /// 各市合计的改动数 · Changes, all cities together
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..))]
    changes: u32,
    /// 切断次数 · How often the line is cut
    #[arg(long, default_value_t = 500)]
    cuts: u32,
    /// 随机种子 · Seed of the places where it is cut, and of the records
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// The program; the first of `args` is its name.
pub fn main_with(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    program::main_with(args, |args: &Args| args.json, carry_out)
}

fn carry_out(args: &Args, screen: &Screen) -> Result<(), Failure> {
    let (program, runtime) = program::runner()?;
    let dir = program::directory(args.dir.as_deref(), "line-")?;
    match &args.what {
        What::Cuts(asked) => {
            let plan = CutsPlan {
                cities: asked.cities as usize,
                changes: asked.changes as usize,
                cuts: u64::from(asked.cuts),
                seed: asked.seed,
            };
            let told = runtime.block_on(cuts(&plan, &program, dir.path(), |what| {
                screen.note(&Said::new(what.zh, what.en))
            }));
            let told = told.map_err(|error| failure(&error))?;
            screen.answer(&json!(told), || told.text(screen.lang))
        }
        What::Slow(asked) => {
            let SlowArgs { rate_kbit, delay_ms, loss_permille, seed, .. } = *asked;
            let plan = SlowPlan {
                weather: Weather { rate_kbit, delay_ms, loss_permille, seed },
                cities: asked.cities as usize,
                changes: asked.changes as usize,
            };
            match runtime.block_on(slow(&plan, &program, dir.path())).map_err(|error| failure(&error))? {
                Ok(told) => screen.answer(&json!(told), || told.text(screen.lang)),
                Err(why) => {
                    let said = say!(
                        "已跳过：本机不能建立网络命名空间：{why}",
                        "skipped: this machine makes no hosts: {why}"
                    );
                    screen.answer(&json!({ "skipped": why }), || said.in_lang(screen.lang).to_owned())
                }
            }
        }
    }
}

fn failure(error: &LineError) -> Failure {
    Failure { exit: Exit::Damaged, said: say!("{error}", "{error}") }
}

impl Cuts {
    /// For people.
    pub fn text(&self, lang: Lang) -> String {
        let Cuts { changes, uncut, cut, ratio, .. } = self;
        let (whole, with, cuts, connections) =
            ((uncut.up + uncut.down) / 1024, (cut.up + cut.down) / 1024, cut.cuts, cut.connections);
        let (plain, broken) = (uncut.seconds, cut.seconds);
        let said = say!(
            "{changes} 条改动：不切断 {whole} KiB，{plain:.1} 秒；切断 {cuts} 次、{connections} 个连接，{with} KiB，{broken:.1} 秒\n\
             字节之比 {ratio:.4}；没有缺口，没有重复",
            "{changes} changes: uncut {whole} KiB in {plain:.1} s; with {cuts} cuts and {connections} connections {with} KiB in \
             {broken:.1} s\nratio of the bytes {ratio:.4}; no gap, no duplicate"
        );
        said.in_lang(lang).to_owned()
    }
}

impl Slow {
    /// For people.
    pub fn text(&self, lang: Lang) -> String {
        let Slow { weather, changes, seconds, carried } = self;
        let Weather { rate_kbit, delay_ms, loss_permille, .. } = weather;
        let (kib, lost, datagrams) = (carried.bytes / 1024, carried.lost, carried.datagrams);
        let said = say!(
            "{rate_kbit} kbit/s，往返 {delay_ms} 毫秒，千分之 {loss_permille} 丢失：{changes} 条改动，{seconds:.1} 秒，{kib} KiB；\
             {datagrams} 个数据报丢失 {lost} 个；没有缺口，没有重复",
            "{rate_kbit} kbit/s, {delay_ms} ms there and back, {loss_permille} of 1,000 lost: {changes} changes in {seconds:.1} \
             s, {kib} KiB; {lost} of {datagrams} datagrams lost; no gap, no duplicate"
        );
        said.in_lang(lang).to_owned()
    }
}
