//! What an import says at its end.

use std::path::Path;

use liandong_proto::schema::Kind;
use serde_json::{Value, json};

use super::record::problem_json;
use super::screen::Screen;
use crate::import::headers::Mapping;
use crate::import::row::assumed_status;
use crate::import::{RowProblem, Summary};
use crate::say;
use crate::text::{Said, counted};

/// How many problems are printed for a person; the report has them all.
const PRINTED: usize = 50;

/// What is told at the end.
pub struct Told<'a> {
    /// The sheet.
    pub file: &'a Path,
    /// What its rows are.
    pub kind: &'static Kind,
    /// Nothing was written.
    pub dry_run: bool,
    /// Hexadecimal, as it stands in the history.
    pub import_id: String,
    /// What became of the columns.
    pub mapping: &'a Mapping,
}

impl Told<'_> {
    /// For programs.
    pub fn json(&self, summary: &Summary) -> Value {
        let columns = self.mapping.columns.iter();
        let columns: Vec<Value> =
            columns.map(|column| json!({ "heading": column.heading, "field": column.field.name })).collect();
        json!({
            "file": self.file.display().to_string(),
            "kind": self.kind.name,
            "dry_run": self.dry_run,
            "import_id": self.import_id,
            "rows": summary.rows,
            "saved": summary.saved,
            "status_assumed": summary.status_assumed,
            "updated": summary.updated,
            "unchanged": summary.unchanged,
            "rejected": summary.rejected,
            "unclear": summary.unclear,
            "interrupted": summary.interrupted,
            "questions": [],
            "columns": columns,
            "ignored": self.mapping.ignored,
            "problems": summary.problems.iter().map(row_json).collect::<Vec<_>>(),
            "problems_left_out": summary.problems_left_out,
            "notes": summary.notes.iter().map(row_json).collect::<Vec<_>>(),
            "notes_left_out": summary.notes_left_out,
            "report": summary.report.as_ref().map(|path| path.display().to_string()),
        })
    }

    /// For people.
    pub fn text(&self, summary: &Summary, screen: &Screen) -> String {
        let Summary { rows, saved, updated, unchanged, rejected, .. } = summary;
        let (file, in_sheet) = (self.file.display(), counted(*rows, "row"));
        let head = if self.dry_run {
            say!("{file}：只检查，没有写入", "{file}: checked only, nothing was written")
        } else {
            say!("{file}：导入结束", "{file}: imported")
        };
        let counts = say!(
            "  {rows} 行：新增 {saved}，更新 {updated}，未变 {unchanged}，退回 {rejected}",
            "  {in_sheet}: {saved} new, {updated} updated, {unchanged} unchanged, {rejected} sent back"
        );
        let mut lines = vec![head, counts];
        if let Some((_, status)) = assumed_status(self.kind).filter(|_| summary.status_assumed > 0) {
            let (assumed, rows) = (summary.status_assumed, counted(summary.status_assumed, "row"));
            let (zh, name) = (status.label.zh, status.name);
            lines.push(say!(
                "  有 {assumed} 行没有写明状态，按“{zh}”（{name}）处理；不是的请用 record put 改正",
                "  status not given: {name} assumed for {rows}; where that is wrong change it with record put"
            ));
        }
        if summary.unclear > 0 {
            let (unclear, in_doubt) = (summary.unclear, counted(summary.unclear, "row"));
            lines.push(say!(
                "  退回的行中有 {unclear} 行看不出是哪一条记录，要由人来确定",
                "  of those sent back, {in_doubt} may mean more than one record: a person has to decide"
            ));
        }
        if summary.interrupted {
            let done = saved + updated + unchanged;
            lines.push(say!(
                "  被中断：前 {rows} 行中 {done} 行已保存；再次导入同一文件会从停下的地方继续",
                "  interrupted: {done} of the first {in_sheet} saved; importing the same file again \
                 goes on from there"
            ));
        }
        lines.extend(listed(&summary.problems, summary.problems_left_out));
        if let Some(path) = &summary.report {
            let path = path.display();
            lines.push(say!(
                "  退回的行在 {path}；改好后直接导入这个文件即可",
                "  rows sent back are in {path}; mend them there and import that file"
            ));
        }
        if !summary.notes.is_empty() {
            lines.push(say!("  已保存，但请留意：", "  saved, but please look at:"));
            lines.extend(listed(&summary.notes, summary.notes_left_out));
        }
        lines.iter().map(|said| said.in_lang(screen.lang)).collect::<Vec<_>>().join("\n")
    }
}

fn listed(problems: &[RowProblem], left_out: u64) -> Vec<Said> {
    let line = |RowProblem { row, problem }: &RowProblem| {
        let (zh, en) = (&problem.zh, &problem.en);
        say!("    第 {row} 行  {zh}", "    row {row}  {en}")
    };
    let mut lines: Vec<Said> = problems.iter().take(PRINTED).map(line).collect();
    let more = problems.len().saturating_sub(PRINTED) as u64 + left_out;
    if more > 0 {
        lines.push(say!("    还有 {more} 处", "    and {more} more"));
    }
    lines
}

fn row_json(found: &RowProblem) -> Value {
    let mut json = problem_json(&found.problem);
    json["row"] = found.row.into();
    json
}
