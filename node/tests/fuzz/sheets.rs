//! A clerk's file, from its first byte to the fields of a record, and back to the clerk.

use std::fs;

use liandong_node::import::Sheet;
use liandong_node::import::known::Known;
use liandong_node::import::row::Reading;
use liandong_node::import::sheet::Rows;
use liandong_proto::fields::Fields;
use liandong_proto::id::RecordId;
use liandong_proto::schema;
use liandong_proto::validate::today;

use crate::runner::run;
use crate::source::Source;
use crate::valid::{CITY, NOW_MS};

const CELLS: [&str; 24] = [
    "陈一",
    "欧阳娜娜",
    "男",
    "女",
    "1985年3月",
    "1985-03-12",
    "11010519491231002X",
    "1.10105E+17",
    "13800138000",
    "13800138000/13900139000",
    "a@example.org",
    "助理社会工作师",
    "会长",
    "440100",
    "0",
    "-1",
    "是",
    "",
    "  ",
    "两行\n一格",
    "带,逗号",
    "带\"引号",
    "=1+1",
    "M000001",
];
/// Where text of a sheet goes wrong.
const MARKS: [&str; 14] =
    ["\"", "\"\"", ",", ";", "\t", "\n", "\r", "\r\n", "\n\n", "\u{feff}", "\0", "\",\"", "，", " "];

/// A sheet of a kind, more or less as a spreadsheet writes it.
fn sheet(source: &mut Source, kind: &schema::Kind) -> String {
    let separator = source.pick(&[",", ",", ";", "\t"]);
    let end = source.pick(&["\n", "\r\n", "\r"]);
    let mut headings: Vec<&str> = Vec::new();
    for field in kind.fields {
        if field.required || source.percent(30) {
            let alias = source.below(field.aliases.len() + 1);
            headings.push(field.aliases.get(alias).copied().unwrap_or(field.label.zh));
        }
    }
    if source.percent(20) {
        headings.push("备注栏");
    }
    let mut rows: Vec<Vec<String>> = Vec::new();
    if source.percent(30) {
        rows.push(vec!["某市社会工作者协会会员名册".into()]);
    }
    rows.push(headings.iter().map(|heading| (*heading).to_owned()).collect());
    for _ in 0..source.below(6) {
        let odd = source.percent(10) as usize;
        rows.push((0..headings.len() + odd).map(|_| source.text(&CELLS)).collect());
    }
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().map(|cell| {
            if cell.contains(['"', '\n', '\r', ',', ';', '\t']) && source.percent(90) {
                format!("\"{}\"", cell.replace('"', "\"\""))
            } else {
                cell.clone()
            }
        });
        text.push_str(&cells.collect::<Vec<_>>().join(separator));
        text.push_str(end);
    }
    text
}

fn bent(source: &mut Source, text: &str) -> Vec<u8> {
    let mut text: Vec<char> = text.chars().collect();
    for _ in 0..source.pick(&[0, 0, 1, 1, 2, 6]) {
        let at = source.below(text.len() + 1);
        match source.below(4) {
            0 => text.truncate(at),
            1 if at < text.len() => drop(text.remove(at)),
            _ => drop(text.splice(at..at, source.pick(&MARKS).chars())),
        }
    }
    let bytes = text.into_iter().collect::<String>().into_bytes();
    if source.percent(10) { source.mutated(bytes) } else { bytes }
}

#[test]
fn sheets_are_read_row_by_row() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("sheet.csv");
    let (mut cases, mut read_rows) = (0u64, 0u64);
    run("sheets_are_read_row_by_row", 400, |source| {
        let kind =
            schema::kind_by_name(source.pick(&["member", "member", "case", "nomination"])).expect("a kind");
        let text = sheet(source, kind);
        let bytes = bent(source, &text);
        fs::write(&path, &bytes).expect("written");
        cases += 1;
        let Ok(sheet) = Sheet::look(&path, kind, &[], b"salt", &mut |_, _| {}) else { return };
        let Ok(mut rows) = Rows::new(sheet.survey.file, &sheet.layout, sheet.survey.text_from) else {
            return;
        };
        let reading = Reading { kind, mapping: sheet.mapping, today: today(NOW_MS) };
        let mut known = Known::new(kind, CITY);
        known.note(RecordId([1; 16]), &Fields::default());
        let lines = bytes.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count() as u64 + 1;
        let mut before = 0;
        while let Some(row) = rows.next_row().expect("a file that can be read") {
            assert!(row.number > before && row.number <= lines, "{} after {before} of {lines}", row.number);
            before = row.number;
            read_rows += 1;
            match reading.read(&row.cells) {
                Ok(read) => {
                    let whole = reading.with_status(&read.fields);
                    assert_eq!(Fields::split(whole.bytes().clone()).as_ref(), Ok(&whole));
                    let _ = known.means(row.number, &whole);
                }
                Err(problems) => assert!(problems.iter().all(|problem| !problem.zh.is_empty())),
            }
        }
        assert!(rows.bytes_read() <= bytes.len() as u64);
    });
    assert!(cases < 100 || read_rows > cases, "{read_rows} rows in {cases} sheets");
}
