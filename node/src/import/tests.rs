//! Headings, sheets, rows, identities and the report; the record API is met in the end-to-end tests.

use std::path::PathBuf;

use csv::StringRecord;
use liandong_proto::fields::Fields;
use liandong_proto::id::{RecordId, SiteCode};
use liandong_proto::schema;
use liandong_proto::validate::today;

use super::headers::{Answer, Mapping};
use super::known::{Known, Means};
use super::report::{Place, Report};
use super::row::Reading;
use super::sheet::{Layout, Row, Rows};
use super::*;
use crate::json::to_json;
use crate::text::Lang;

const ID: &str = "11010519491231002X";

fn member() -> &'static Kind {
    schema::kind_by_name("member").expect("the schema has members")
}

fn headings(line: &str) -> Vec<String> {
    line.split(',').map(str::to_owned).collect()
}

fn map(line: &str, answers: &[&str]) -> Mapping {
    let answers: Vec<Answer> = answers.iter().map(|answer| answer.parse().unwrap()).collect();
    Mapping::of(member(), &headings(line), &answers).unwrap()
}

#[track_caller]
fn check_heading(heading: &str, expected: &str) {
    let mapping = map(heading, &[]);
    let fields: Vec<&str> = mapping.columns.iter().map(|column| column.field.name).collect();
    assert_eq!(fields, [expected], "{heading}: {mapping:?}");
}

#[test]
fn headings_are_found_as_clerks_write_them() {
    for (heading, field) in [
        ("姓名", "name"),
        ("姓 名", "name"),
        ("　姓　名 ", "name"),
        ("*姓名", "name"),
        ("姓名：", "name"),
        ("Name", "name"),
        ("身份证号码", "id_number"),
        ("身份证号（必填）", "id_number"),
        ("手机", "mobile"),
        ("出生年月", "birth_date"),
        ("id_number", "id_number"),
        ("Ｍｏｂｉｌｅ", "mobile"),
    ] {
        check_heading(heading, field);
    }
}

#[test]
fn unknown_columns_are_listed_and_left_alone() {
    let mapping = map("姓名,血型,,序号", &[]);
    assert_eq!(mapping.columns.len(), 1);
    assert_eq!(mapping.ignored, ["血型", "序号"]);
    assert!(mapping.questions.is_empty());
}

#[test]
fn two_columns_for_one_field_are_a_question() {
    let mapping = map("姓名,手机,移动电话", &[]);
    assert_eq!(mapping.questions.len(), 2);
    assert!(mapping.questions[0].said.zh.contains("--map \"手机=\""), "{}", mapping.questions[0].said);
    let answered = map("姓名,手机,移动电话", &["移动电话="]);
    assert!(answered.questions.is_empty() && answered.columns.len() == 2);
}

#[test]
fn a_column_can_be_named_by_hand() {
    let mapping = map("姓名,血型", &["血型=remarks"]);
    assert_eq!(
        mapping.columns.iter().map(|column| column.field.name).collect::<Vec<_>>(),
        ["name", "remarks"]
    );
    let wrong =
        |answer: &str| Mapping::of(member(), &headings("姓名"), &[answer.parse().unwrap()]).unwrap_err();
    assert!(wrong("血型=remarks").en.contains("no column"));
    assert!(wrong("姓名=blood").en.contains("no field blood"));
    assert!("姓名".parse::<Answer>().is_err());
}

#[test]
fn no_two_fields_share_a_heading() {
    for kind in schema::kinds() {
        for field in kind.fields.iter().filter(|field| crate::json::is_one_cell(field)) {
            for heading in field.aliases.iter().copied().chain([field.label.zh, field.name]) {
                let mapping = Mapping::of(kind, &[heading.to_owned()], &[]).unwrap();
                assert!(
                    mapping.questions.is_empty(),
                    "{}.{}: {heading} means several fields",
                    kind.name,
                    field.name
                );
            }
        }
    }
}

#[track_caller]
fn check_layout(text: &str, separator: u8, above: usize) {
    let layout = Layout::sniff(member(), text.as_bytes()).unwrap();
    assert_eq!((layout.separator, layout.above), (separator, above), "{text}");
}

#[test]
fn separator_and_headings_are_found() {
    check_layout("姓名,手机\n王芳,1\n", b',', 0);
    check_layout("姓名;手机\n", b';', 0);
    check_layout("姓名\t手机\n", b'\t', 0);
    check_layout("广州市社工协会会员名册\n,,\n制表：2026年1月\n序号,姓名,手机\n", b',', 3);
    check_layout("说明；请勿改动，谢谢\r\n\r\n\"姓名\",\"手机\"\r\n", b',', 1);
    let none = Layout::sniff(member(), b"a,b\n1,2\n").unwrap_err();
    assert!(none.en.contains("nothing was imported"), "{none}");
    assert!(Layout::sniff(member(), b"").is_err());
}

fn rows_of(text: &str) -> Vec<Row> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("roster.csv");
    std::fs::write(&path, text).unwrap();
    let sheet = Sheet::look(&path, member(), &[], b"salt", &mut |_, _| {}).unwrap();
    let mut rows = Rows::new(sheet.survey.file, &sheet.layout, sheet.survey.text_from).unwrap();
    std::iter::from_fn(|| rows.next_row().unwrap()).collect()
}

#[test]
fn rows_are_numbered_as_a_spreadsheet_does() {
    for end in ["\n", "\r\n"] {
        let text = ["title", "姓名,手机", "a,1", "", "\"b", "b\",2", ",", "c,3"].join(end);
        for text in [text.clone(), text.clone() + end, format!("\u{FEFF}{text}")] {
            let rows = rows_of(&text);
            let numbers: Vec<u64> = rows.iter().map(|row| row.number).collect();
            // The cell of two lines is one row of the spreadsheet.
            assert_eq!(numbers, [3, 5, 7], "{text:?}");
            assert_eq!(&rows[1].cells[0], "b\nb");
        }
    }
}

#[test]
fn rows_that_are_out_of_place_are_sent_back() {
    let rows = rows_of("姓名,手机\na,1,2\nb,1,,\nc\n");
    let faults: Vec<bool> = rows.iter().map(|row| row.fault.is_some()).collect();
    assert_eq!(faults, [true, false, false]);
    let short: Vec<bool> = rows.iter().map(|row| row.is_short).collect();
    assert_eq!(short, [false, false, true]);
}

#[track_caller]
fn check_quotes(text: &str, expected: &[(u64, Option<&str>)]) {
    for text in [text.to_owned(), text.trim_end().to_owned(), text.replace('\n', "\r\n")] {
        let rows = rows_of(&text);
        assert_eq!(rows.len(), expected.len(), "{text:?}");
        for (row, (number, fault)) in rows.iter().zip(expected) {
            assert_eq!(row.number, *number, "{text:?}");
            let said = row.fault.as_ref().map(|said| said.en.as_str());
            assert!(
                said.is_some() == fault.is_some() && said.unwrap_or("").contains(fault.unwrap_or("")),
                "{said:?}"
            );
            assert!(!row.cells.as_slice().contains('\0'), "{text:?}");
        }
    }
}

#[test]
fn a_quotation_mark_without_partner_is_never_a_cell() {
    check_quotes("姓名,手机\na,1\n\"b,2\nc,3\nd,4\n", &[(2, None), (3, Some("the 2 lines below"))]);
    check_quotes(
        "姓名,手机\n\"x\ny\",1\n\na,1\nb,\"2\nc,3\n",
        &[(2, None), (4, None), (5, Some("the 1 line below"))],
    );
    check_quotes("姓名,手机\na,1\n\"b,2\n", &[(2, None), (3, Some("the 0 lines below"))]);
    check_quotes("姓名,手机\n\"a,1\nb,2\n\"c\",3\n", &[(2, Some("seems to hold the 2 lines"))]);
    check_quotes("姓名,备注\na,\"x\nb,y\nc\"\n", &[(2, Some("seems to hold"))]);
    check_quotes("序号,姓名,手机\n\"1,a,1\n\"2\",b,2\n", &[(2, Some("seems to hold"))]);
    check_quotes("姓名,手机,备注\na,1,\"x\ny, z\nw\"\n", &[(2, None)]);
    check_quotes(&format!("姓名,手机\n\"a,1\n{}", "b,2\n".repeat(30)), &[(2, Some("30 lines below"))]);
}

#[test]
fn only_long_text_has_several_lines() {
    let reading = reading("姓名,身份证号,备注,职务");
    let row = |cells: [&str; 4]| reading.read(&StringRecord::from(cells.to_vec()));
    let read = row(["王芳\n", "", "一\n二", ""]).unwrap();
    assert_eq!(to_json(member(), read.fields.bytes().clone()).unwrap()["remarks"], "一\n二");
    for cells in [["王\n芳", "", "", ""], ["王芳", "1101\n05", "", ""], ["王芳", "", "", "督导\n主任"]]
    {
        let codes: Vec<String> = row(cells).unwrap_err().into_iter().map(|problem| problem.code).collect();
        assert!(codes.contains(&"row.lines".to_owned()), "{codes:?}");
    }
    let roster = "广州市示例社会工作服务中心,男\n钱一,男,13800138000";
    assert!(row([roster, "", "", ""]).is_err());
}

fn reading(line: &str) -> Reading {
    Reading { kind: member(), mapping: map(line, &[]), today: today(1_780_000_000_000) }
}

fn cells(line: &str) -> StringRecord {
    line.split(',').collect()
}

#[test]
fn a_row_becomes_the_fields_it_says() {
    let reading = reading("手机,姓名,性别,身份证号,状态,邮箱");
    let read = reading.read(&cells("13800138000/13900139000,王 芳,女,11010519491231002x,在册,无")).unwrap();
    let object = to_json(member(), read.fields.bytes().clone()).unwrap();
    assert_eq!(object["name"], "王芳");
    assert_eq!(object["mobile"], "13800138000");
    assert_eq!(object["id_number"], ID);
    assert_eq!(object["status"], "ACTIVE");
    assert!(!object.contains_key("email"), "a mark for nothing is nothing");
    let codes: Vec<&str> = read.notes.iter().map(|note| note.code.as_str()).collect();
    assert_eq!(codes, ["mobile.first_kept"]);
}

#[test]
fn all_that_is_wrong_with_a_row_comes_at_once() {
    let reading = reading("姓名,出生日期,手机,身份证号");
    let problems = reading.read(&cells(",1990-13-30,12345,4.4E+17")).unwrap_err();
    let mut codes: Vec<&str> = problems.iter().map(|problem| problem.code.as_str()).collect();
    codes.sort_unstable();
    assert_eq!(codes, ["date.calendar", "mobile.shape", "record.required", "resident_id.scientific"]);
    for problem in &problems {
        for value in ["1990", "12345", "4.4E"] {
            assert!(!problem.zh.contains(value) && !problem.en.contains(value), "{problem:?}");
        }
    }
}

#[test]
fn who_stands_on_a_roster_is_active() {
    let reading = reading("姓名");
    let read = reading.read(&cells("王芳")).unwrap();
    let with_status = to_json(member(), reading.with_status(&read.fields).bytes().clone()).unwrap();
    assert_eq!(with_status["status"], "ACTIVE");
    let said = super::tests::reading("姓名,会员状态");
    let read = said.read(&cells("王芳,草稿")).unwrap();
    assert_eq!(to_json(member(), said.with_status(&read.fields).bytes().clone()).unwrap()["status"], "DRAFT");
}

fn fields(line: &str, row: &str) -> Fields {
    reading(line).read(&cells(row)).unwrap().fields
}

fn id(n: u8) -> RecordId {
    RecordId([n; 16])
}

#[test]
fn rows_find_the_records_they_mean() {
    let mut known = Known::new(member(), SiteCode(440_100));
    let line = "姓名,身份证号,会员编号";
    known.note(id(1), &fields(line, &format!("王芳,{ID},A1")));
    known.note(id(2), &fields("姓名,会员编号", "李娜,A2"));
    let mut means = |row, line: &str, text: &str| known.means(row, &fields(line, text));
    assert_eq!(means(2, line, &format!("王芳,{ID},A1")), Means::Record(id(1)));
    assert_eq!(means(3, line, &format!("王芳,{ID},A1")), Means::Repeats(2));
    let Means::Unclear(problem) = means(4, line, &format!("王芳芳,{ID},A1")) else {
        panic!("it contradicts row 2")
    };
    assert_eq!(problem.code, "row.repeated");
    assert!(problem.zh.contains("第 2 行"));
    assert_eq!(means(5, "姓名,会员编号", "李娜,A2"), Means::Record(id(2)));
    assert_eq!(means(6, "姓名,会员编号", "赵敏,A3"), Means::New(None));
}

#[test]
fn a_member_number_never_moves_a_person_to_another_one() {
    let mut known = Known::new(member(), SiteCode(440_100));
    known.note(id(1), &fields("姓名,身份证号,会员编号", &format!("王芳,{ID},A1")));
    let other = "440100197401024011";
    let Means::Unclear(problem) =
        known.means(2, &fields("姓名,身份证号,会员编号", &format!("李娜,{other},A1")))
    else {
        panic!("A1 is someone else's")
    };
    assert_eq!(problem.code, "row.other_identity");
    assert!(!problem.zh.contains(other) && !problem.en.contains(ID));
}

#[test]
fn a_row_without_identity_gets_the_same_id_every_time() {
    let row = fields("姓名,手机", "王芳,13800138000");
    let twin = fields("姓名,手机", "王芳,13900139000");
    let mut first = Known::new(member(), SiteCode(440_100));
    let Means::New(Some(a)) = first.means(2, &row) else { panic!("nobody is known") };
    let Means::New(Some(b)) = first.means(3, &twin) else { panic!("nobody is known") };
    assert_ne!(a, b);
    let mut again = Known::new(member(), SiteCode(440_100));
    again.note(a, &row);
    again.note(b, &twin);
    assert_eq!(again.means(2, &row), Means::Record(a));
    assert_eq!(again.means(3, &twin), Means::Record(b));
    let mut elsewhere = Known::new(member(), SiteCode(440_300));
    assert!(matches!(elsewhere.means(2, &row), Means::New(Some(c)) if c != a));
}

fn report(place: Place) -> Option<PathBuf> {
    let layout = Layout { separator: b';', above: 0, headings: headings("姓名,手机") };
    let mut report = Report::new(place, &layout, Lang::Zh);
    let problem =
        pb::Problem { zh: "手机：位数不对".into(), en: "mobile: digits".into(), ..Default::default() };
    report.add(7, &cells("王芳,1"), &[problem.clone(), problem]).unwrap();
    report.finish().unwrap()
}

#[test]
fn the_report_can_be_mended_and_imported() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let sheet = dir.path().join("roster.csv");
    let path = report(Place::Beside(sheet.clone())).unwrap();
    assert_eq!(path, dir.path().join("roster.rejected.csv"));
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text, "\u{FEFF}姓名;手机;退回原因;原行号\n王芳;1;手机：位数不对；手机：位数不对;7\n");
    let looked = Sheet::look(&path, member(), &[], b"", &mut |_, _| {}).unwrap();
    assert_eq!((looked.mapping.columns.len(), looked.mapping.ignored.len()), (2, 0));
    assert_eq!(
        report(Place::Beside(sheet)),
        Some(dir.path().join("roster.rejected-2.csv")),
        "never over another"
    );
    assert_eq!(report(Place::Nowhere), None);
}

#[test]
fn no_rejected_row_no_report() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout { separator: b',', above: 0, headings: headings("姓名") };
    let path = dir.path().join("r.csv");
    assert_eq!(Report::new(Place::At(path.clone()), &layout, Lang::En).finish().unwrap(), None);
    assert!(!path.exists());
}
