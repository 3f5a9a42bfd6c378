//! Real sites that are killed and damaged under load, while it is checked that nothing acknowledged is missing.
//!
//! | file | what |
//! |---|---|
//! | `rounds` | who is killed when, and what is done to its files before it starts again |
//! | `clerk` | writes at a city for as long as anything runs; `book` keeps what it was told |
//! | `watch` | reads at a city and at the hub all the time, and holds what is shown against the books |
//! | `harm` | bytes that are flipped, cut off or removed |
//! | `report` | what happened, as a table or as JSON |

mod book;
mod clerk;
mod harm;
mod report;
mod rounds;
mod watch;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use liandong_node::cli::exit::{Exit, Failure};
use liandong_node::cli::screen::Screen;
use liandong_node::say;
use liandong_proto::schema::Text;

use crate::cluster::ClusterError;
use crate::program;
pub use harm::alter;
pub use report::Report;
pub use rounds::{Plan, run};

/// Why a run ended before its time.
#[derive(Debug, thiserror::Error)]
pub enum ChaosError {
    /// A site did not do what it must.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// Something acknowledged is missing, or something is shown that nobody wrote.
    #[error("{0}")]
    Broken(String),
}

/// 在负载下反复杀死并损坏各站点，同时检查已确认的改动一条不少 · Kills and damages sites under load, and checks all the while
/// that nothing acknowledged is missing
#[derive(Debug, Clone, Parser)]
#[command(name = "chaos", version, max_term_width = 120)]
struct Args {
    /// 轮数 · How many rounds
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// 城市数 · How many cities
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=21))]
    cities: u32,
    /// 随机种子；哪一刻被杀取决于机器，不能逐字节重放 · Seed of what is done; at which moment it hits depends on the machine
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// 只杀进程，不损坏文件 · Kill only, damage no file
    #[arg(long)]
    kill_only: bool,
    /// 文件放在哪里；默认为临时目录，出错时保留 · Where the files go; a temporary directory unless given. Kept when the run fails
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// 以 JSON 输出 · Print one JSON object
    #[arg(long)]
    json: bool,
}

/// The program; the first of `args` is its name.
pub fn main_with(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    program::main_with(args, |args: &Args| args.json, carry_out)
}

fn carry_out(args: &Args, screen: &Screen) -> Result<(), Failure> {
    let (program, runtime) = program::runner()?;
    let mut dir = program::directory(args.dir.as_deref(), "chaos-")?;
    let plan = Plan {
        rounds: args.rounds,
        cities: args.cities as usize,
        seed: args.seed,
        damages: !args.kill_only,
        check_every: 10,
    };
    let bar = screen.bar(Text { zh: "轮次", en: "rounds" });
    let ran = runtime
        .block_on(run(&plan, &program, dir.path(), |done| bar.at(u64::from(done), u64::from(plan.rounds))));
    bar.finish();
    match ran {
        Ok(report) => screen.answer(&report.json(), || report.text(screen.lang)),
        Err(error) => {
            dir.disable_cleanup(true);
            let (kept, seed) = (dir.path().display(), plan.seed);
            Err(Failure {
                exit: Exit::Review,
                said: say!(
                    "{error}；文件保留在 {kept}，种子 {seed}",
                    "{error}; the files are kept in {kept}, the seed was {seed}"
                ),
            })
        }
    }
}
