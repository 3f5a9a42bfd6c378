//! The whole system on one machine, as separate processes: rosters, import, sync, merge, and what came of it.

pub mod analysts;
mod endpoints;
mod import;
mod report;
mod rosters;
mod story;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use liandong_node::cli::exit::{Exit, Failure};
use liandong_node::cli::screen::Screen;
use liandong_node::cli::signals::Signals;
use liandong_node::say;
use liandong_node::text::{Lang, Said, counted};
use liandong_proto::id::SiteCode;
use liandong_proto::schema::Text;
use tokio::time::Instant;

use crate::cluster::{Cluster, ClusterError, stand_in};
use report::Report;
use rosters::Roster;
use story::Story;

/// How long nothing may move before the wait for equal records is given up.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked whether a process has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// 在一台机器上运行省级枢纽和各市站点：花名册、导入、同步、汇总 · Province and cities on one machine, from rosters on
#[derive(Debug, Clone, Parser)]
#[command(name = "federation", version, max_term_width = 120)]
pub struct Args {
    /// 城市数 · How many cities, the first of the 21 by code
    #[arg(long, default_value_t = 21, value_parser = clap::value_parser!(u32).range(1..=21))]
    pub cities: u32,
    /// 平均每市会员数 · Members of a city on average; large cities get more, small ones fewer
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub members: u32,
    /// 随机种子，相同种子生成相同花名册 · Seed; the same one makes the same rosters
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// 所有文件放在哪里；默认为临时目录，结束时删除 · Where all files go; a temporary directory, removed at the end, unless given
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// 使用自己的花名册，文件名为城市代码，如 440100.csv · Use rosters of your own, named by city code such as 440100.csv
    #[arg(long, value_name = "DIR", conflicts_with_all = ["cities", "members", "seed"])]
    pub rosters: Option<PathBuf>,
    /// 完成后退出；默认继续运行 · End when everything is equal; stays up otherwise
    #[arg(long)]
    pub exit: bool,
    /// 以 JSON 输出结果 · Print the result as one JSON object
    #[arg(long)]
    pub json: bool,
    /// 语言 · Language
    #[arg(long, value_name = "zh|en", value_parser = ["zh", "en"])]
    pub lang: Option<String>,
}

/// The program; the first of `args` is its name.
pub fn main_with(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    if let Some(exit) = stand_in(&args[1.min(args.len())..]) {
        return exit;
    }
    let args = Args::parse_from(args);
    let lang = args.lang.as_deref().and_then(Lang::named);
    let lang = lang.unwrap_or_else(|| Lang::of_locale(|name| std::env::var(name).ok()));
    let screen = Screen::new(lang, args.json, false);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            screen.fail(&Failure::file(Path::new("/proc"), &error));
            return Exit::Internal.into();
        }
    };
    match runtime.block_on(carry_out(&args, &screen)) {
        Ok(()) => Exit::Done.into(),
        Err(failure) => {
            screen.fail(&failure);
            failure.exit.into()
        }
    }
}

impl From<ClusterError> for Failure {
    fn from(error: ClusterError) -> Failure {
        let said = say!("{error}", "{error}");
        match error {
            ClusterError::Different(_) => Failure { exit: Exit::Review, said },
            _ => Failure::internal(said),
        }
    }
}

async fn carry_out(args: &Args, screen: &Screen) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    // Kept to the end: a directory nobody named goes with the program.
    let (dir, _temporary) = directory(args)?;
    let program =
        std::env::current_exe().map_err(|error| Failure::file(Path::new("/proc/self/exe"), &error))?;
    let clock = Clock { started: Instant::now(), screen: *screen };
    let rosters = rosters::find(args, &dir, screen)?;
    let (count, place) = (rosters.len(), rosters::place(&rosters, &dir));
    let counted_rosters = counted(count as u64, "roster");
    clock.say(say!("{count} 份花名册在 {place}", "{counted_rosters} in {place}"));
    let cities: Vec<SiteCode> = rosters.iter().map(|roster| roster.city).collect();
    let mut cluster = Cluster::make(&program, &dir, &cities).await?;
    let ended = tokio::select! {
        told = tell(&mut cluster, &rosters, &clock) => told.map(|()| true),
        _ = signals.next() => Ok(false),
    };
    let ended = match ended {
        Ok(true) if !args.exit => stay(&mut cluster, &clock, &mut signals).await,
        ended => ended.map(drop),
    };
    signals.end_at_next();
    let stopped = cluster.stop().await;
    ended?;
    Ok(stopped?)
}

/// Everything from the start of the hub to the printed report.
async fn tell(cluster: &mut Cluster, rosters: &[Roster], clock: &Clock) -> Result<(), Failure> {
    cluster.start_hub().await?;
    // Somebody accepts what leaves a city: by the command at the first, by the setting at the others.
    let first = cluster.cities().next();
    first.into_iter().for_each(|city| cluster.accept_by_hand(city));
    cluster.start_nodes().await?;
    if let Some(first) = first {
        cluster.node(first).answer(&["outbound", "accept", "--yes"]).await?;
    }
    endpoints::write(cluster, rosters, None)?;
    let (url, count) = (cluster.ports().map(|ports| ports.sync.clone()).unwrap_or_default(), rosters.len());
    let joined = counted(count as u64, "node");
    clock.say(say!(
        "枢纽在 {url}，{count} 个站点已凭邀请码加入并启动",
        "the hub is at {url}; joined by invitation and started: {joined}"
    ));
    let imports = import::all(cluster, rosters, &clock.screen).await?;
    clock.say(say!("花名册已导入", "the rosters are imported"));
    let Story { nominations, cases, offline, edits } = story::tell(cluster, PATIENCE).await?;
    endpoints::write(cluster, rosters, None)?;
    clock.say(say!(
        "1 次评选活动、{nominations} 份推荐、{cases} 宗案件；{offline} 离线期间，{edits} 名会员的级别在市、省两处同时修改",
        "1 award round, {nominations} nominations, {cases} cases; while {offline} was offline, the tiers of {edits} members \
         changed both there and at the province"
    ));
    let bar = clock.screen.bar(Text { zh: "核对", en: "comparing" });
    let standing = cluster.until_equal(PATIENCE, |equal, of| bar.at(equal as u64, of as u64)).await;
    bar.finish();
    let standing = standing?;
    clock.say(say!("市、省两级记录全部一致", "city and province show the same records everywhere"));
    let (release, members) = analysts::publish(cluster).await?;
    let tokens = analysts::tokens(cluster).await?;
    endpoints::write(cluster, rosters, Some(&tokens))?;
    let rows = counted(members, "member");
    clock
        .say(say!("数据集第 {release} 版已发布：{members} 名会员", "release {release} is published: {rows}"));
    let answer = analysts::ask(cluster, &tokens.analyst, analysts::QUESTION).await?;
    let (sql, table) = (analysts::QUESTION, analysts::shown(&answer));
    clock.say(say!("分析人员查询：\n{sql}\n{table}", "an analyst asks:\n{sql}\n{table}"));
    let hub = cluster.hub().door().await?.status().await?;
    let report = Report::new(&imports, &standing, &hub, clock.seconds());
    clock.screen.answer(&report.json(), || report.text(clock.screen.lang))
}

/// Stays until a signal; says when a process ends meanwhile.
async fn stay(cluster: &mut Cluster, clock: &Clock, signals: &mut Signals) -> Result<(), Failure> {
    let place = endpoints::path(cluster).display().to_string();
    clock.say(say!(
        "继续运行，按 Ctrl-C 结束；各站点的地址和目录见 {place}",
        "staying up, Ctrl-C ends it; addresses and directories are in {place}"
    ));
    let mut look = tokio::time::interval(LOOK_AGAIN);
    loop {
        tokio::select! {
            _ = signals.next() => return Ok(()),
            _ = look.tick() => for (site, error) in cluster.ended() {
                clock.say(say!(
                    "{error}\n用原来的数据目录即可重新启动 {site}，同步会自动接上",
                    "{error}\n{site} can be started again with its data directory; its sync goes on by itself"
                ));
            },
        }
    }
}

/// The directory for everything, and the guard that removes it when nobody named one.
fn directory(args: &Args) -> Result<(PathBuf, Option<tempfile::TempDir>), Failure> {
    let Some(dir) = &args.out else {
        let made = tempfile::Builder::new().prefix("federation-").tempdir();
        let made = made.map_err(|error| Failure::file(&std::env::temp_dir(), &error))?;
        return Ok((made.path().to_path_buf(), Some(made)));
    };
    std::fs::create_dir_all(dir).map_err(|error| Failure::file(dir, &error))?;
    let dir = dir.canonicalize().map_err(|error| Failure::file(dir, &error))?;
    if dir.join("hub").exists() || dir.join("nodes").exists() {
        let shown = dir.display();
        return Err(Failure::usage(say!(
            "{shown} 中已有一套站点，没有改动；请换一个目录，或先删除它",
            "{shown} already holds a federation, nothing was changed; choose another directory, or remove it first"
        )));
    }
    Ok((dir, None))
}

/// Tells what has been done, and when.
struct Clock {
    started: Instant,
    screen: Screen,
}

impl Clock {
    fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    fn say(&self, said: Said) {
        let seconds = self.seconds();
        let (zh, en) = (said.zh, said.en);
        self.screen.note(&say!("[{seconds:5.1} s] {zh}", "[{seconds:5.1} s] {en}"));
    }
}
