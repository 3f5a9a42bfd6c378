//! `release …`: publishing datasets, and looking at those that were published.

use std::path::{Path, PathBuf};

use liandong_node::cli::door::Door;
use liandong_node::cli::exit::{Exit, Failure};
use liandong_node::cli::screen::Screen;
use liandong_node::cli::table::{Table as Shown, moment};
use liandong_node::say;
use liandong_node::site::SiteError;
use liandong_node::text::counted;
use liandong_proto::pb::hub::v1::releases_client::ReleasesClient;
use liandong_proto::pb::hub::v1::{PublishRequest, ReleaseProgress, RemakeRequest};
use liandong_proto::schema::Text;
use serde_json::{Value, json};

use super::Setup;
use crate::release::{Changes, Fault, Manifest, ReleaseError, Releases, Role, Standing, Tally};

/// What to do with releases.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum ReleaseCommand {
    /// 按枢纽现在的内容发布新的一版 · Publish the next release of what the hub has now
    Publish(PublishArgs),
    /// 列出各版 · List them
    List,
    /// 查看一版：来源、各市进度、文件 · Show one: what it is made from, how far each city had come, its files
    Show(ShowArgs),
    /// 两版之间各表的增、改、删 · What was added, changed and removed between two
    Diff(DiffArgs),
    /// 检查一版的文件是否仍是当初发布的 · Check that the files of one are as they were published
    Verify(VerifyArgs),
}

/// Flags of `publish`.
#[derive(Debug, Clone, clap::Args)]
pub struct PublishArgs {
    /// 写进引用格式的说明 · A few words for its citation
    #[arg(long, value_name = "TEXT", default_value = "")]
    note: String,
}

/// Flags of `show`.
#[derive(Debug, Clone, clap::Args)]
pub struct ShowArgs {
    /// 版号；不写则为最新一版 · Its number; the newest without it
    release: Option<u64>,
}

/// Flags of `diff`.
#[derive(Debug, Clone, clap::Args)]
pub struct DiffArgs {
    /// 旧的一版 · The older
    older: u64,
    /// 新的一版；不写则为最新一版 · The newer; the newest without it
    newer: Option<u64>,
    /// 写成文件的表；改动写入 --out · Which table is written to --out
    #[arg(long, value_name = "TABLE", requires = "out")]
    table: Option<String>,
    /// 写入的 Parquet 文件；已有的文件不会覆盖 · The Parquet file; one that is there is left as it is
    #[arg(long, value_name = "FILE", requires = "table")]
    out: Option<PathBuf>,
}

/// Flags of `verify`.
#[derive(Debug, Clone, clap::Args)]
pub struct VerifyArgs {
    /// 版号；不写则为最新一版 · Its number; the newest without it
    release: Option<u64>,
    /// 并由日志重做一遍，比对每个文件 · And make it again from the log, and compare every file
    #[arg(long)]
    rebuild: bool,
}

impl ReleaseCommand {
    /// Whether files alone do not answer it.
    pub(super) fn asks_the_hub(&self) -> bool {
        matches!(self, ReleaseCommand::Publish(_) | ReleaseCommand::Verify(VerifyArgs { rebuild: true, .. }))
    }
}

/// Carries out what needs the hub.
///
/// # Errors
/// [`Failure`].
pub async fn run(door: &Door, command: &ReleaseCommand, setup: &Setup) -> Result<Exit, Failure> {
    let screen = &setup.screen;
    match command {
        ReleaseCommand::Publish(args) => {
            let (author, note, purpose) =
                (setup.author.clone(), args.note.clone(), setup.caller.purpose.clone());
            let asked = PublishRequest { author, note, purpose };
            let steps = ReleasesClient::new(door.channel()).publish(asked).await?.into_inner();
            let last = followed(steps, screen, Text { zh: "发布", en: "publishing" }).await?;
            let releases = shelf(setup)?;
            let manifest = releases.manifest(last.release)?;
            shown(&manifest, &releases, screen)?;
            Ok(Exit::Done)
        }
        ReleaseCommand::Verify(args) => {
            let releases = shelf(setup)?;
            let release = number(args.release, &releases)?;
            let mut faults = faults(&releases, release)?;
            let asked = RemakeRequest { author: setup.author.clone(), release };
            let steps = ReleasesClient::new(door.channel()).remake(asked).await?.into_inner();
            let last = followed(steps, screen, Text { zh: "由日志重做", en: "making it again" }).await?;
            faults.extend(last.otherwise.into_iter().map(|path| (path, told(&Fault::Otherwise))));
            verified(release, &faults, screen)
        }
        _ => read(command, setup),
    }
}

/// Carries out what files alone answer.
///
/// # Errors
/// [`Failure`].
pub fn read(command: &ReleaseCommand, setup: &Setup) -> Result<Exit, Failure> {
    let (releases, screen) = (shelf(setup)?, &setup.screen);
    match command {
        ReleaseCommand::List => list(&releases, screen)?,
        ReleaseCommand::Show(args) => {
            let release = number(args.release, &releases)?;
            shown(&releases.manifest(release)?, &releases, screen)?;
        }
        ReleaseCommand::Diff(args) => diff(args, &releases, screen)?,
        ReleaseCommand::Verify(args) => {
            let release = number(args.release, &releases)?;
            return verified(release, &faults(&releases, release)?, screen);
        }
        ReleaseCommand::Publish(_) => {}
    }
    Ok(Exit::Done)
}

fn shelf(setup: &Setup) -> Result<Releases, Failure> {
    let paths = liandong_node::site::Paths::new(&setup.data_dir);
    if !paths.log().exists() {
        return Err(SiteError::NoSite(setup.data_dir.clone()).into());
    }
    Ok(Releases::new(paths.dir.join("releases")))
}

/// A number that was typed, or that of the newest.
fn number(typed: Option<u64>, releases: &Releases) -> Result<u64, Failure> {
    let none = || {
        Failure::data(say!(
            "还没有发布过；请用 release publish",
            "nothing was published yet; use release publish"
        ))
    };
    typed.map_or_else(|| Ok(releases.latest()?.ok_or_else(none)?.release), Ok)
}

async fn followed(
    mut steps: tonic::Streaming<ReleaseProgress>,
    screen: &Screen,
    what: Text,
) -> Result<ReleaseProgress, Failure> {
    let bar = screen.bar(what);
    let mut last = None;
    while let Some(step) = steps.message().await? {
        bar.at(step.done, step.total);
        last = Some(step).filter(|step| step.finished).or(last);
    }
    bar.finish();
    last.ok_or_else(|| Failure::internal(say!("没有做完，请重试", "it was not finished; try again")))
}

fn list(releases: &Releases, screen: &Screen) -> Result<(), Failure> {
    let all = releases.list()?;
    if screen.json {
        for listed in &all {
            let json = match &listed.standing {
                Standing::Published(manifest) => summary(manifest),
                Standing::Withdrawn(withdrawn) => {
                    json!({ "release": listed.release, "withdrawn_ms": withdrawn.withdrawn_ms })
                }
            };
            screen.line(&json.to_string())?;
        }
        return Ok(());
    }
    let (zh, en) = (
        ["版号", "发布时间", "全省次序", "会员", "说明"],
        ["release", "published", "hub seq", "members", "note"],
    );
    let mut table = Shown::new(screen.lang.pick(zh, en));
    for listed in &all {
        let number = listed.release.to_string();
        table.row(match &listed.standing {
            Standing::Published(it) => {
                let members = it.table(Role::Registrar, "members").map_or(0, |table| table.rows);
                [
                    number,
                    moment(it.published_ms),
                    it.hub_seq.to_string(),
                    members.to_string(),
                    it.note.clone(),
                ]
            }
            Standing::Withdrawn(it) => {
                let why =
                    screen.lang.pick("已撤回：其中的记录已删除", "withdrawn: a record in it was erased");
                [number, moment(it.withdrawn_ms), "-".into(), "-".into(), why.into()]
            }
        });
    }
    screen.line(table.render().trim_end())
}

fn summary(manifest: &Manifest) -> Value {
    json!({
        "release": manifest.release,
        "published_ms": manifest.published_ms,
        "hub_generation": manifest.hub_generation,
        "hub_seq": manifest.hub_seq,
        "note": manifest.note,
    })
}

fn shown(manifest: &Manifest, releases: &Releases, screen: &Screen) -> Result<(), Failure> {
    let path = releases.path(manifest.release);
    let mut json = serde_json::to_value(manifest).unwrap_or_default();
    json["dir"] = json!(path.display().to_string());
    screen.answer(&json, || {
        let number = manifest.release;
        let (at, seq) = (moment(manifest.published_ms), manifest.hub_seq);
        let head = say!(
            "第 {number} 版，{at} 发布，全省次序至 {seq}",
            "release {number}, published {at}, up to place {seq}"
        );
        let zh = ["城市", "最近收到", "记录", "不完整", "核对事项", "完整度"];
        let en = ["city", "last received", "records", "incomplete", "findings", "complete"];
        let mut cities = Shown::new(screen.lang.pick(zh, en));
        for city in manifest.cities.iter().filter(|city| city.last_received_ms > 0) {
            let name = screen.lang.pick(&city.name_zh, &city.name_en).clone();
            let counted = city.counted.unwrap_or_default();
            cities.row([
                name,
                moment(city.last_received_ms),
                counted.records.to_string(),
                counted.incomplete.to_string(),
                counted.open_findings.to_string(),
                format!("{}.{} %", counted.completeness_permille / 10, counted.completeness_permille % 10),
            ]);
        }
        let (zh, en) = (["文件", "行", "字节"], ["file", "rows", "bytes"]);
        let mut tables = Shown::new(screen.lang.pick(zh, en));
        for table in &manifest.tables {
            tables.row([table.path(), table.rows.to_string(), table.bytes.to_string()]);
        }
        let cite = screen.lang.pick(&manifest.citation.zh, &manifest.citation.en);
        let cite = format!("{}{cite}", screen.lang.pick("引用：", "cite as: "));
        let dir = path.display();
        format!(
            "{}\n{dir}\n{cite}\n\n{}\n{}",
            head.in_lang(screen.lang),
            cities.render(),
            tables.render().trim_end()
        )
    })
}

fn diff(args: &DiffArgs, releases: &Releases, screen: &Screen) -> Result<(), Failure> {
    let (older, newer) = (releases.manifest(args.older)?, releases.manifest(number(args.newer, releases)?)?);
    let file = |manifest: &Manifest, name: &str| -> Option<PathBuf> {
        let table = manifest.table(Role::Registrar, name)?;
        Some(releases.path(manifest.release).join(table.path()))
    };
    let between = |name: &str, newer: &Path| Changes::between(file(&older, name).as_deref(), newer);
    if let (Some(name), Some(out)) = (&args.table, &args.out) {
        let unknown = || {
            Failure::usage(say!(
                "没有名为 {name} 的表；release show 列出各表",
                "no table is called {name}; release show lists them"
            ))
        };
        let tally = between(name, &file(&newer, name).ok_or_else(unknown)?)?.write(out)?;
        let (path, rows) = (out.display(), tally.rows());
        return screen.answer(&json!({ "table": name, "changes": tally, "out": path.to_string() }), || {
            let rows_en = counted(rows, "row");
            say!("{rows} 行改动写入 {path}", "{rows_en} written to {path}").in_lang(screen.lang).to_owned()
        });
    }
    let mut rows = Vec::new();
    for table in newer.tables.iter().filter(|table| table.role == Role::Registrar) {
        rows.push((
            table.name.clone(),
            between(&table.name, &releases.path(newer.release).join(table.path()))?.tally()?,
        ));
    }
    let tables: Vec<Value> =
        rows.iter().map(|(name, tally)| json!({ "table": name, "changes": tally })).collect();
    screen.answer(&json!({ "older": older.release, "newer": newer.release, "tables": tables }), || {
        let (zh, en) = (["表", "增", "改", "删"], ["table", "added", "changed", "removed"]);
        let mut table = Shown::new(screen.lang.pick(zh, en));
        for (name, Tally { added, changed, removed }) in rows {
            table.row([name, added.to_string(), changed.to_string(), removed.to_string()]);
        }
        table.render().trim_end().to_owned()
    })
}

fn faults(releases: &Releases, release: u64) -> Result<Vec<(String, Text)>, Failure> {
    let found = releases.verify(release)?;
    Ok(found.iter().map(|(table, fault)| (table.path(), told(fault))).collect())
}

fn told(fault: &Fault) -> Text {
    match fault {
        Fault::Unreadable(_) => Text { zh: "读不出来", en: "cannot be read" },
        Fault::Altered => {
            Text { zh: "内容与发布时不同", en: "its bytes are not those that were published" }
        }
        Fault::Rows(_) => {
            Text { zh: "行数与清单不符", en: "has another number of rows than the manifest says" }
        }
        Fault::Otherwise => {
            Text { zh: "由日志重做的结果不同", en: "comes out otherwise from the log" }
        }
    }
}

fn verified(release: u64, faults: &[(String, Text)], screen: &Screen) -> Result<Exit, Failure> {
    let listed: Vec<Value> =
        faults.iter().map(|(file, why)| json!({ "file": file, "zh": why.zh, "en": why.en })).collect();
    screen.answer(&json!({ "release": release, "sound": faults.is_empty(), "faults": listed }), || {
        if faults.is_empty() {
            return say!("第 {release} 版完好", "release {release} is sound").in_lang(screen.lang).to_owned();
        }
        let head = say!(
            "第 {release} 版有文件不对；请不要再使用，另行发布一版：",
            "files of release {release} are wrong; use it no more, and publish another:"
        );
        let lines = faults.iter().map(|(file, why)| format!("  {file}: {}", screen.of(*why)));
        std::iter::once(head.in_lang(screen.lang).to_owned()).chain(lines).collect::<Vec<_>>().join("\n")
    })?;
    Ok(if faults.is_empty() { Exit::Done } else { Exit::Damaged })
}

impl From<ReleaseError> for Failure {
    fn from(error: ReleaseError) -> Failure {
        match error {
            ReleaseError::Site(error) => error.into(),
            ReleaseError::File { path, source } => Failure::file(&path, &source),
            ReleaseError::None(release) => Failure::data(say!(
                "没有第 {release} 版；release list 列出各版",
                "there is no release {release}; release list shows those there are"
            )),
            ReleaseError::Withdrawn(release) => Failure::data(say!(
                "第 {release} 版已撤回，因为其中有记录被删除；请使用后来的版本",
                "release {release} was withdrawn, since a record in it was erased; use a later one"
            )),
            ReleaseError::Busy => Failure::data(say!(
                "正在发布另一版；请稍后再试",
                "another release is being published; try again when it is done"
            )),
            ReleaseError::Parquet { .. } | ReleaseError::Manifest { .. } | ReleaseError::TooLong { .. } => {
                let en = error.to_string();
                let said = say!(
                    "数据集的文件读写失败：{en}；请用 release verify 检查，必要时另行发布一版",
                    "a file of a release failed: {en}; look with release verify, and publish another if need be"
                );
                Failure::internal(said)
            }
        }
    }
}
