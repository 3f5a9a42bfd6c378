//! `import`: a clerk's sheet into the site.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use liandong_proto::id::{SiteCode, hex};
use liandong_proto::pb::node::v1::StatusRequest;
use liandong_proto::schema::Text;
use serde_json::{Value, json};

use super::Setup;
use super::door::{Door, blocking};
use super::exit::{Exit, Failure};
use super::global::this_day;
use super::record::kind_of;
use super::screen::Screen;
use super::signals::Signals;
use super::told::Told;
use crate::import::headers::{Answer, Mapping};
use crate::import::report::{Place, Report};
use crate::import::send::{self, Writing};
use crate::import::survey::Unreadable;
use crate::import::{ImportError, Sheet, Summary};
use crate::now::random;
use crate::say;
use crate::text::Said;

/// Flags of `import`.
#[derive(Debug, clap::Args)]
pub struct ImportArgs {
    /// UTF-8 编码的 CSV 文件 · CSV file in UTF-8
    pub file: PathBuf,
    /// 每行是什么记录，如 member、会员 · What the rows are, such as member
    #[arg(long)]
    pub kind: String,
    /// 只检查，不写入 · Check only, write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// 退回的行写到哪里，默认在原文件旁 · Where rows sent back go, beside the file unless given
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// 指明某列是什么字段，等号后留空则不导入该列 · Say what a column is; nothing behind = leaves it out
    #[arg(long, value_name = "HEADING=FIELD")]
    pub map: Vec<Answer>,
}

/// Imports a sheet and says what became of it.
///
/// # Errors
/// [`Failure`] when nothing could be imported.
pub async fn run(door: &Door, args: ImportArgs, setup: &Setup) -> Result<Exit, Failure> {
    let screen = &setup.screen;
    let kind = kind_of(&args.kind)?;
    let stop = stop_at_signal()?;
    let salt = salt(&setup.data_dir)?;
    let bar = screen.bar(Text { zh: "检查文件", en: "looking at the file" });
    let (path, work) = (args.file.clone(), bar.clone());
    let looked =
        blocking(move || Sheet::look(&path, kind, &args.map, &salt, &mut |done, total| work.at(done, total)));
    let sheet = looked.await?.map_err(|error| failure(&args.file, error))?;
    bar.finish();
    if !sheet.mapping.questions.is_empty() {
        return ask(&sheet.mapping, &args.file, screen);
    }
    tell_columns(&sheet.mapping, screen);

    let status = door.upkeep().status(StatusRequest {}).await?.into_inner();
    let bar = screen.bar(Text { zh: "读取已有记录", en: "reading the records there are" });
    let there_are =
        status.counts.iter().find(|count| count.kind == kind.number).map_or(0, |count| count.records);
    let mut records = door.records();
    let (site, caller) = (SiteCode(status.site), door.caller().doing("import"));
    let known = send::known(&mut records, kind, site, &caller, |seen| bar.at(seen, there_are.max(seen)));
    let known = known.await.map_err(|error| failure(&args.file, error))?;
    bar.finish();

    let place = match args.report {
        Some(path) if is_same_file(&path, &args.file) => return Err(report_on_itself()),
        Some(path) => Place::At(path),
        None if args.dry_run => Place::Nowhere,
        None => Place::Beside(args.file.clone()),
    };
    let import_id = hex(&sheet.survey.hash[..16]);
    let mapping = sheet.mapping.clone();
    let mut report = Report::new(place, &sheet.layout, screen.lang);
    let mut summary = Summary::default();
    let writing = Writing { author: setup.author.clone(), dry_run: args.dry_run, today: this_day(), stop };
    let bar = screen.bar(Text { zh: "导入", en: "importing" });
    let ended = send::rows(records, sheet, known, writing, &mut report, &mut summary, |done, total| {
        bar.at(done, total)
    });
    let ended = ended.await;
    bar.finish();
    summary.report = report.finish().map_err(|error| Failure::file(&args.file, &error))?;
    let told = Told { file: &args.file, kind, dry_run: args.dry_run, import_id, mapping: &mapping };
    screen.answer(&told.json(&summary), || told.text(&summary, screen))?;
    ended.map_err(|error| failure(&args.file, error))?;
    Ok(match summary {
        Summary { interrupted: true, .. } => Exit::Internal,
        Summary { rejected, unclear, .. } if rejected > unclear => Exit::Data,
        Summary { unclear: 1.., .. } => Exit::Review,
        _ => Exit::Done,
    })
}

/// From the first signal on, the batch under way is the last one; the second ends at once.
fn stop_at_signal() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    let (mut signals, asked) = (Signals::listen()?, Arc::clone(&stop));
    tokio::spawn(async move {
        signals.next().await;
        asked.store(true, Ordering::Relaxed);
        signals.end_at_next();
    });
    Ok(stop)
}

/// Random bytes of this site that keep the hash of a sheet, which travels with its changes, from telling
/// anything about a sheet that could be guessed. Made by the first import.
fn salt(data_dir: &Path) -> Result<Vec<u8>, Failure> {
    let path = data_dir.join("import.salt");
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    match made {
        Ok(mut file) => {
            let salt: [u8; 32] = random();
            file.write_all(&salt).map_err(|error| Failure::file(&path, &error))?;
            Ok(salt.to_vec())
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            std::fs::read(&path).map_err(|error| Failure::file(&path, &error))
        }
        Err(error) => Err(Failure::file(&path, &error)),
    }
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

fn report_on_itself() -> Failure {
    Failure::usage(say!(
        "--report 不能是要导入的文件本身；没有导入任何内容，请换一个文件名",
        "--report cannot be the file that is imported; nothing was imported, choose another name"
    ))
}

fn failure(file: &Path, error: ImportError) -> Failure {
    match error {
        ImportError::Unreadable(Unreadable::File(error)) => Failure::file(file, &error),
        ImportError::Unreadable(Unreadable::Encoding(said)) => Failure::data(said),
        ImportError::Headings(said) => Failure::data(said),
        ImportError::Report(error) => Failure::internal(report_failed(&error)),
        ImportError::Site(status) => status.into(),
        ImportError::Rows(error) => {
            let shown = file.display();
            let why = match error.kind() {
                csv::ErrorKind::Io(error) => error.kind().to_string(),
                _ => "csv".to_owned(),
            };
            Failure::internal(say!(
                "读取 {shown} 中途失败（{why}）；已保存的不受影响，再次导入同一文件会从停下的地方继续",
                "reading {shown} failed halfway ({why}); what is saved stays, importing the same file again \
                 goes on from there"
            ))
        }
        ImportError::CutShort => Failure::internal(say!(
            "导入被中断；已保存的不受影响，再次导入同一文件会从停下的地方继续",
            "the import was cut short; what is saved stays, importing the same file again goes on from there"
        )),
    }
}

fn report_failed(error: &io::Error) -> Said {
    let why = error.kind();
    say!(
        "退回的行写不出去（{why}），导入停止；已保存的不受影响。请用 --report 指定可写的位置后再导入同一文件",
        "rows sent back cannot be written ({why}), so the import stopped; what is saved stays. Name a place \
         that can be written with --report and import the same file again"
    )
}

fn ask(mapping: &Mapping, file: &Path, screen: &Screen) -> Result<Exit, Failure> {
    let questions = mapping.questions.iter().map(|question| {
        let (zh, en) = (&question.said.zh, &question.said.en);
        json!({ "heading": question.heading, "fields": question.fields, "zh": zh, "en": en })
    });
    let questions: Vec<Value> = questions.collect();
    let json = json!({ "file": file.display().to_string(), "rows": 0, "saved": 0, "questions": questions });
    screen.answer(&json, || {
        let lines: Vec<&str> =
            mapping.questions.iter().map(|question| question.said.in_lang(screen.lang)).collect();
        let lines = lines.join("\n  ");
        let said = say!(
            "有几列需要您来确定，还没有导入任何内容：\n  {lines}",
            "some columns are for you to decide, nothing has been imported yet:\n  {lines}"
        );
        said.in_lang(screen.lang).to_owned()
    })?;
    Ok(Exit::Review)
}

fn tell_columns(mapping: &Mapping, screen: &Screen) {
    if screen.json || mapping.ignored.is_empty() {
        return;
    }
    let (zh, en) = (mapping.ignored.join("、"), mapping.ignored.join(", "));
    screen.note(&say!(
        "这些列不认识，不导入：{zh}。如有需要，用 --map 表头=字段 指明",
        "these columns are not understood and left out: {en}. Say what they are with --map HEADING=FIELD"
    ));
}
