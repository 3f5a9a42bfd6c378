//! `audit export`: into a file for its owner alone, which is there as a whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use liandong_proto::pb::audit::v1 as pb;
use serde_json::{Value, json};
use tokio_stream::StreamExt as _;

use super::{Wanted, Way, json as record_json};
use crate::cli::exit::{Exit, Failure};
use crate::cli::screen::Screen;
use crate::say;

/// Arguments of `audit export`.
#[derive(Debug, clap::Args)]
pub struct ExportArgs {
    /// 写到哪里：.csv 为表格，其余每行一个 JSON 对象 · Where to: a table for .csv, one JSON object on each line otherwise
    pub file: PathBuf,
    /// Which.
    #[command(flatten)]
    pub wanted: Wanted,
}

pub(super) async fn run(
    mut way: Way,
    args: &ExportArgs,
    asked: pb::ReadRequest,
    screen: &Screen,
) -> Result<Exit, Failure> {
    let path = &args.file;
    let failed = |error: io::Error| Failure::file(path, &error);
    // Whether it can be written is known before anything is read.
    let mut file = Unfinished::new(path).map_err(failed)?;
    let mut records = way.read(asked).await?;
    let mut count = 0u64;
    while let Some(record) = records.next().await {
        file.write(&record_json(&record?)).map_err(failed)?;
        count += 1;
    }
    file.finish().map_err(failed)?;
    let shown = path.display().to_string();
    screen.answer(&json!({ "file": shown, "records": count }), || {
        let said = say!("已写入 {shown}：{count} 条", "{shown} written: {count} records");
        said.in_lang(screen.lang).to_owned()
    })?;
    Ok(Exit::Done)
}

/// A file under another name until it is complete; dropped before that, it is removed.
struct Unfinished<'a> {
    path: &'a Path,
    temporary: PathBuf,
    out: BufWriter<File>,
    is_table: bool,
    is_done: bool,
}

impl<'a> Unfinished<'a> {
    fn new(path: &'a Path) -> io::Result<Unfinished<'a>> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let mut temporary = name.to_os_string();
        temporary.push(format!(".{}.tmp", std::process::id()));
        let temporary = path.with_file_name(temporary);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        let is_table = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
        let mut out = Unfinished { path, temporary, out: BufWriter::new(file), is_table, is_done: false };
        if is_table {
            // Spreadsheet programs take a file without this mark for another encoding.
            out.out.write_all("\u{FEFF}".as_bytes())?;
            out.line(&COLUMNS.map(str::to_owned))?;
        }
        Ok(out)
    }

    fn write(&mut self, record: &Value) -> io::Result<()> {
        if !self.is_table {
            return writeln!(self.out, "{record}");
        }
        let cell = |column: &str| match &record[column] {
            Value::Null => String::new(),
            Value::String(text) => harmless(text),
            other => other.to_string(),
        };
        self.line(&COLUMNS.map(cell))
    }

    fn line(&mut self, cells: &[String]) -> io::Result<()> {
        let mut writer = csv::Writer::from_writer(&mut self.out);
        writer.write_record(cells).map_err(io::Error::from)?;
        writer.flush()
    }

    fn finish(mut self) -> io::Result<()> {
        self.out.flush()?;
        self.out.get_ref().sync_all()?;
        fs::rename(&self.temporary, self.path)?;
        self.is_done = true;
        let dir = self.path.parent().filter(|dir| !dir.as_os_str().is_empty());
        File::open(dir.unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if !self.is_done {
            // Whoever looks finds a file that says by its name what it is.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Columns of a table: the names in JSON.
const COLUMNS: [&str; 12] = [
    "number",
    "at_ms",
    "what",
    "who",
    "via",
    "peer",
    "kind",
    "count",
    "purpose",
    "site",
    "detail",
    "prev_hash",
];

/// A text that a spreadsheet program does not take for a formula.
fn harmless(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@']) { format!("'{text}") } else { text.to_owned() }
}
