//! From the headings of a sheet to fields; what may mean two things is a question for a person.

use liandong_proto::format::text;
use liandong_proto::schema::{Field, Kind};

use crate::json::is_one_cell;
use crate::say;
use crate::text::Said;

/// A column that is understood.
#[derive(Debug, Clone)]
pub struct Column {
    /// Place in the row, from 0.
    pub index: usize,
    /// As it stands in the sheet.
    pub heading: String,
    /// What it holds.
    pub field: &'static Field,
}

/// A column that a person has to decide about.
#[derive(Debug, Clone)]
pub struct Question {
    /// The heading as it stands in the sheet.
    pub heading: String,
    /// Names of the fields that it may mean.
    pub fields: Vec<&'static str>,
    /// The question, with the form of the answer.
    pub said: Said,
}

/// What became of the columns of a sheet.
#[derive(Debug, Clone, Default)]
pub struct Mapping {
    /// Understood columns in ascending order of tags.
    pub columns: Vec<Column>,
    /// Headings that mean no field; their cells are left alone.
    pub ignored: Vec<String>,
    /// What has to be answered first.
    pub questions: Vec<Question>,
}

/// A person's word on a heading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    heading: String,
    /// Empty: leave the column alone.
    field: String,
}

impl std::str::FromStr for Answer {
    type Err = String;

    fn from_str(text: &str) -> Result<Answer, String> {
        let (heading, field) = text.rsplit_once('=').ok_or("应写成 表头=字段 · write it as HEADING=FIELD")?;
        Ok(Answer { heading: key(heading), field: field.trim().to_owned() })
    }
}

/// How many of the headings mean at least one field of the kind.
pub fn recognised<'a>(kind: &'static Kind, headings: impl IntoIterator<Item = &'a str>) -> usize {
    headings.into_iter().filter(|heading| !candidates(kind, heading).is_empty()).count()
}

impl Mapping {
    /// Maps headings to fields.
    ///
    /// # Errors
    /// What is wrong with the answers.
    pub fn of(kind: &'static Kind, headings: &[String], answers: &[Answer]) -> Result<Mapping, Said> {
        check_answers(kind, headings, answers)?;
        let mut mapping = Mapping::default();
        for (index, heading) in headings.iter().enumerate() {
            let answer = answers.iter().find(|answer| answer.heading == key(heading));
            let found = match answer {
                Some(answer) => named(kind, &answer.field).into_iter().collect(),
                None => candidates(kind, heading),
            };
            match found[..] {
                [] if heading.trim().is_empty() => {}
                [] => mapping.ignored.push(heading.clone()),
                [field] => mapping.columns.push(Column { index, heading: heading.clone(), field }),
                _ => mapping.questions.push(which_field(heading, &found)),
            }
        }
        mapping.ask_about_twins();
        mapping.columns.sort_by_key(|column| column.field.tag);
        Ok(mapping)
    }

    /// Two columns for one field: which of them counts?
    fn ask_about_twins(&mut self) {
        let all = std::mem::take(&mut self.columns);
        let is_twin =
            |column: &Column| all.iter().filter(|other| other.field.tag == column.field.tag).count() > 1;
        self.questions
            .extend(all.iter().filter(|column| is_twin(column)).map(|twin| which_column(twin, &all)));
        self.columns = all.iter().filter(|column| !is_twin(column)).cloned().collect();
    }

    /// Whether a column holds the field.
    pub fn has(&self, tag: u32) -> bool {
        self.columns.iter().any(|column| column.field.tag == tag)
    }
}

fn which_field(heading: &str, found: &[&'static Field]) -> Question {
    let list = |zh: bool| {
        let label = |field: &&'static Field| {
            format!("{}={}", field.name, if zh { field.label.zh } else { field.label.en })
        };
        found.iter().map(label).collect::<Vec<_>>().join(if zh { "、" } else { ", " })
    };
    let (zh, en, first) = (list(true), list(false), found[0].name);
    Question {
        heading: heading.to_owned(),
        fields: found.iter().map(|field| field.name).collect(),
        said: say!(
            "“{heading}”列可能是：{zh}。请用 --map \"{heading}={first}\" 指明，或用 --map \"{heading}=\" 不导入这一列",
            "the column \"{heading}\" may be: {en}. Say which with --map \"{heading}={first}\", or leave it \
             out with --map \"{heading}=\""
        ),
    }
}

fn which_column(column: &Column, columns: &[Column]) -> Question {
    let twins = columns.iter().filter(|other| other.field.tag == column.field.tag);
    let names: Vec<&str> = twins.map(|twin| twin.heading.as_str()).collect();
    let (zh, en) = (names.join("、"), names.join(", "));
    let (label_zh, label_en, heading) = (column.field.label.zh, column.field.label.en, &column.heading);
    Question {
        heading: heading.clone(),
        fields: vec![column.field.name],
        said: say!(
            "这几列都像是“{label_zh}”：{zh}。只能取一列；如不导入“{heading}”列，请用 --map \"{heading}=\"",
            "these columns all look like \"{label_en}\": {en}. Only one can be taken; to leave out \
             \"{heading}\" use --map \"{heading}=\""
        ),
    }
}

fn check_answers(kind: &'static Kind, headings: &[String], answers: &[Answer]) -> Result<(), Said> {
    for Answer { heading, field } in answers {
        if !headings.iter().any(|other| key(other) == *heading) {
            return Err(say!(
                "--map：表中没有“{heading}”这一列；请照抄表头",
                "--map: the sheet has no column \"{heading}\"; copy the heading as it stands"
            ));
        }
        if !field.is_empty() && named(kind, field).is_none() {
            let names: Vec<&str> = importable(kind).map(|field| field.name).collect();
            let names = names.join(", ");
            return Err(say!(
                "--map：没有字段 {field}；可用：{names}",
                "--map: there is no field {field}; there are: {names}"
            ));
        }
    }
    Ok(())
}

fn importable(kind: &'static Kind) -> impl Iterator<Item = &'static Field> {
    kind.fields.iter().filter(|field| is_one_cell(field))
}

fn named(kind: &'static Kind, name: &str) -> Option<&'static Field> {
    importable(kind).find(|field| field.name == name || field.label.zh == name)
}

/// The fields that a heading may mean. What stands in brackets behind it is a remark: `出生日期（年月日）`.
fn candidates(kind: &'static Kind, heading: &str) -> Vec<&'static Field> {
    let heading = key(heading);
    if heading.is_empty() {
        return Vec::new();
    }
    let meaning = |heading: &str| -> Vec<&'static Field> {
        importable(kind)
            .filter(|field| {
                let names = [field.name, field.label.zh, field.label.en].into_iter();
                names.chain(field.aliases.iter().copied()).any(|name| key(name) == heading)
            })
            .collect()
    };
    let found = meaning(&heading);
    match heading.split_once('(') {
        Some((before, _)) if found.is_empty() => meaning(before),
        _ => found,
    }
}

/// A heading without what does not count: letter case, blanks, full width, marks of required columns, a
/// colon.
fn key(heading: &str) -> String {
    let clean = text::clean_unspaced(heading).to_lowercase();
    clean.trim_matches(['*', ':', '_']).replace('_', "")
}
