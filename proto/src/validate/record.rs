//! One whole record: its values, the fields it needs, and what must fit together.

use crate::fields::Fields;
use crate::format::{Date, Fault, ResidentId, resident_id::Sex};
use crate::schema::{Field, Format, Kind, Share, Type};
use crate::share::is_draft;

use super::value::{self, Context};
use super::{Problem, Today, View};

/// A required field has no value.
pub const REQUIRED: Fault = Fault::new("record.required", "此项必填", "this field is required");
/// A period ends before it begins.
pub const PERIOD: Fault = Fault::new(
    "record.period",
    "结束日期早于开始日期，请核对两个日期",
    "the end is earlier than the beginning; check both dates",
);
/// Warning only: the birth date is not the one in the document number.
pub const BIRTH: Fault = Fault::new(
    "record.birth",
    "出生日期与身份证号中的不一致，请核对；此项仅作提醒",
    "the birth date differs from the one in the identity number; please check (a warning only)",
);
/// Warning only: the sex is not the one in the document number.
pub const SEX: Fault = Fault::new(
    "record.sex",
    "性别与身份证号中的不一致，请核对；此项仅作提醒",
    "the sex differs from the one in the identity number; please check (a warning only)",
);

/// Pairs of name endings that stand for the two ends of one period.
const PERIODS: [(&str, &str); 2] = [("from", "to"), ("opens_on", "closes_on")];

/// Checks every value and the record as a whole; empty when all is right. Tags that the schema does not know are left
/// alone: a newer node wrote them.
///
/// A draft need not be complete. In [`View::Shared`] only `OPEN` fields are demanded, and none of a record that has not
/// left its draft: its status has not travelled.
pub fn check_record(kind: &Kind, fields: &Fields, view: View, today: Today) -> Vec<Problem> {
    let mut problems = Vec::new();
    let is_complete = match (view, kind.status) {
        (View::Full, _) => !is_draft(kind, fields),
        (View::Shared, Some(status)) => fields.get(status).is_some(),
        (View::Shared, None) => true,
    };
    let context = Context { kind, fields, is_whole: true, view, today };
    // Both ascend by tag, so one walk finds every field's bytes.
    let mut present = fields.iter().peekable();
    for field in kind.fields {
        while present.next_if(|(tag, _)| *tag < field.tag).is_some() {}
        let raw = present.next_if(|(tag, _)| *tag == field.tag).map(|(_, raw)| raw);
        if let Some(raw) = raw
            && let Err(problem) = context.check(field, raw)
        {
            problems.push(problem);
            continue;
        }
        let is_demanded = is_complete && (view == View::Full || field.share == Share::Open);
        if field.required && is_demanded && is_empty(field, fields) {
            problems.push(Problem::new(field, REQUIRED));
        }
        if raw.is_some() && ends_early(kind, field, fields) {
            problems.push(Problem::new(field, PERIOD));
        }
    }
    problems
}

/// What is worth a second look and never refused: an unusual address code, a birth date or sex that does not fit the
/// identity number. For the node, where the raw number is at hand.
pub fn warnings(kind: &Kind, fields: &Fields, today: Today) -> Vec<Problem> {
    let mut problems = Vec::new();
    let number = kind.fields.iter().find(|field| field.format == Format::ResidentId);
    let Some(number) = number.filter(|_| value::is_resident_document(kind, fields)) else { return problems };
    let id = fields.str(number.tag).and_then(|text| ResidentId::from_canonical(text, today).ok());
    let Some(id) = id else { return problems };
    problems.extend(id.address_warning().map(|fault| Problem::new(number, fault)));
    if let Some(field) = kind.field_by_name("birth_date")
        && let Some(birth) = date(fields, field)
        && !birth.may_equal(id.birth().into())
    {
        problems.push(Problem::new(field, BIRTH));
    }
    if let Some(field) = kind.field_by_name("sex")
        && let Some(sex) = sex(field, fields)
        && sex != id.sex()
    {
        problems.push(Problem::new(field, SEX));
    }
    problems
}

fn is_empty(field: &Field, fields: &Fields) -> bool {
    match field.ty {
        Type::Enum(_) => fields.number(field.tag) == 0,
        Type::String | Type::Bytes => fields.bytes_of(field.tag).is_none_or(<[u8]>::is_empty),
        _ => fields.get(field.tag).is_none(),
    }
}

/// Whether `field` is the end of a period whose beginning is surely later.
fn ends_early(kind: &Kind, field: &Field, fields: &Fields) -> bool {
    if !matches!(field.format, Format::Date | Format::FullDate) {
        return false;
    }
    let begins = PERIODS.iter().find_map(|(from, to)| {
        let stem = field.name.strip_suffix(to)?;
        kind.fields.iter().find(|other| other.name.strip_suffix(from) == Some(stem))
    });
    let Some(begins) = begins else { return false };
    date(fields, begins).zip(date(fields, field)).is_some_and(|(from, to)| from.is_surely_after(to))
}

fn date(fields: &Fields, field: &Field) -> Option<Date> {
    Date::from_iso(fields.str(field.tag)?).ok()
}

fn sex(field: &Field, fields: &Fields) -> Option<Sex> {
    let Type::Enum(choices) = field.ty else { return None };
    match choices.value(fields.number(field.tag))?.name {
        "FEMALE" => Some(Sex::Female),
        "MALE" => Some(Sex::Male),
        _ => None,
    }
}
