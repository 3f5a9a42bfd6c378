//! One field's value: the shape on the wire, the spelling, and what may travel.

use bytes::Bytes;

use crate::city;
use crate::fields::{self, Fields, Value as Wire};
use crate::format::{Date, Fault, Mobile, ResidentId, Uscc, date, email, name, text};
use crate::id::SiteCode;
use crate::schema::{self, Field, Format, Kind, Pii, Share, Type};
use crate::share::is_token;

use super::{Problem, Today, View};

/// The bytes are not what the schema says the field is.
pub const WIRE: Fault = Fault::new(
    "value.wire",
    "数据的类型与字段不符，请检查写入程序的版本",
    "not the type that the schema says; check the version of the program that wrote it",
);
/// One value was expected.
pub const SEVERAL: Fault =
    Fault::new("value.several", "这里只能有一个值，请只留一个", "only one value can stand here; keep one");
/// Text that is not UTF-8.
pub const UTF8: Fault =
    Fault::new("value.utf8", "文字编码不是 UTF-8，请转换后再写入", "the text is not utf-8; convert it first");
/// Characters that cannot be seen or line breaks where there is one line.
pub const CONTROL: Fault = Fault::new(
    "value.control",
    "含有换行或看不见的控制字符，请删去",
    "contains line breaks or invisible control characters; remove them",
);
/// Longer than any real value.
pub const LENGTH: Fault = Fault::new("value.length", "内容过长，请缩短", "too long; shorten it");
/// Blanks in a number of a paper.
pub const BLANKS: Fault =
    Fault::new("value.blanks", "编号里不要有空格，请删去", "no blanks inside a number; remove them");
/// A spreadsheet turned a long number into scientific notation.
pub const SCIENTIFIC: Fault = Fault::new(
    "value.scientific",
    "编号被表格软件转成了科学计数法，请把该列设为文本格式后重新填写",
    "a spreadsheet turned the number into scientific notation; set the column to text and enter it again",
);
/// A choice that this schema does not have.
pub const CHOICE: Fault =
    Fault::new("value.choice", "没有这个选项，请从列表中选择", "no such choice; take one of the list");
/// A number outside what the type holds.
pub const RANGE: Fault =
    Fault::new("value.range", "数字超出范围，请核对", "the number is out of range; check it");
/// An entry of a list, or a group of values, that lacks what it needs.
pub const PART: Fault =
    Fault::new("value.part", "其中有一项没有填完整，请补齐", "one entry is incomplete; fill it in");
/// Not the 16 bytes of a record's id.
pub const RECORD: Fault = Fault::new(
    "value.record",
    "不是有效的记录编号，请从列表中选择",
    "not a record's id; choose it from the list",
);
/// A mobile or document number in a text that leaves the city.
pub const NUMBER: Fault = Fault::new(
    "value.hidden_number",
    "里面像是有手机号或证件号，不能随这一项离开本市；请把号码移到各自的栏",
    "holds what looks like a mobile or document number, which must not leave the city this way; move it to its own \
     column",
);
/// Not the code of a city of Guangdong or of the province.
pub const SITE: Fault = Fault::new(
    "value.site",
    "不是本省地级市的代码，应类似 440100",
    "not the code of a city of the province, such as 440100",
);
/// A raw value, or something else, where a token must stand.
pub const TOKEN: Fault = Fault::new(
    "value.token",
    "此处只能是令牌，原始值不得离开本市；请升级节点程序",
    "only a token may stand here, raw values do not leave the city; update the node",
);
/// A field that never leaves its city has left it.
pub const SEALED: Fault = Fault::new(
    "value.sealed",
    "此字段不得离开本市；请升级节点程序",
    "this field does not leave the city; update the node",
);

/// Longest text of one line, in bytes of UTF-8.
pub const MAX_LINE: usize = 1000;
/// Longest text of several lines, in bytes of UTF-8.
pub const MAX_TEXT: usize = 100_000;
/// Longest value of raw bytes.
pub const MAX_BYTES: usize = 100_000;
/// Longest code or opaque id, in bytes.
pub const MAX_CODE: usize = 100;

/// Choices of `id_type` whose number follows GB 11643.
const RESIDENT_DOCUMENTS: [&str; 2] = ["RESIDENT_ID", "RESIDENCE_PERMIT"];

/// Checks one field. `raw` is the field's bytes as [`Fields::get`] gives them, `fields` where its neighbours stand: a
/// record or a patch.
///
/// The document type decides how a document number is spelt. A patch need not bring it, so without one a number is only
/// judged as some code; [`super::check_record`], which sees the whole record, takes it for a resident identity card's.
/// An empty value counts as absent and is right here; only `check_record` demands fields. An unknown choice may come
/// from a newer node: right when shared, wrong at the node that writes it.
pub fn check_value(
    kind: &Kind,
    field: &Field,
    raw: &[u8],
    fields: &Fields,
    view: View,
    today: Today,
) -> Result<(), Problem> {
    Context { kind, fields, is_whole: false, view, today }.check(field, raw)
}

/// Whether the record's document is one whose number follows GB 11643: a resident identity card or a residence permit,
/// and also when the type is not given, as on nearly every roster. `fields` is the whole record.
pub fn is_resident_document(kind: &Kind, fields: &Fields) -> bool {
    says_resident(kind, fields).unwrap_or(true)
}

/// `None` when no document type is given.
fn says_resident(kind: &Kind, fields: &Fields) -> Option<bool> {
    let field = kind.field_by_name("id_type")?;
    let Type::Enum(choices) = field.ty else { return None };
    match fields.number(field.tag) {
        0 => None,
        number => Some(choices.value(number).is_some_and(|value| RESIDENT_DOCUMENTS.contains(&value.name))),
    }
}

/// What a value is judged by besides itself.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub kind: &'a Kind,
    pub fields: &'a Fields,
    /// Whether `fields` is a whole record, so that what is not there is not known.
    pub is_whole: bool,
    pub view: View,
    pub today: Today,
}

impl Context<'_> {
    pub fn check(self, field: &Field, raw: &[u8]) -> Result<(), Problem> {
        self.check_field(field, raw).map_err(|fault| Problem::new(field, fault))
    }

    fn check_field(self, field: &Field, raw: &[u8]) -> Result<(), Fault> {
        match (self.view, field.share) {
            (View::Shared, Share::Sealed) => Err(SEALED),
            (View::Shared, Share::Token) => check_each(field, raw, check_token),
            _ => check_each(field, raw, |value| self.check_one(field, value)),
        }
    }

    fn check_one(self, field: &Field, value: Wire<'_>) -> Result<(), Fault> {
        match (field.ty, value) {
            (Type::String, Wire::Delimited(bytes)) => self.check_text(field, bytes),
            (Type::Bytes, Wire::Delimited(bytes)) => check_bytes(field, bytes),
            (Type::Message(name), Wire::Delimited(bytes)) => self.check_parts(name, bytes),
            (_, Wire::Varint(number)) => self.check_number(field, number),
            (Type::Double, Wire::Fixed64(bits)) if f64::from_bits(bits).is_finite() => Ok(()),
            (Type::Double, Wire::Fixed64(_)) => Err(RANGE),
            (_, Wire::Delimited(packed)) if field.repeated => {
                let mut at = 0;
                while at < packed.len() {
                    let (number, next) = varint(packed, at).ok_or(WIRE)?;
                    self.check_number(field, number)?;
                    at = next;
                }
                Ok(())
            }
            _ => Err(WIRE),
        }
    }

    /// Numbers as the wire has them: negative ones are sign-extended to 64 bits.
    fn check_number(self, field: &Field, number: u64) -> Result<(), Fault> {
        let within = |is_within: bool| if is_within { Ok(()) } else { Err(RANGE) };
        match field.ty {
            Type::Enum(choices) => {
                let number = i32::try_from(number).map_err(|_| CHOICE)?;
                let is_known = number == 0 || self.view == View::Shared || choices.value(number).is_some();
                if is_known { Ok(()) } else { Err(CHOICE) }
            }
            Type::Bool => within(number <= 1),
            Type::Int32 => within(i32::try_from(number as i64).is_ok()),
            Type::Uint32 if u32::try_from(number).is_err() => Err(RANGE),
            Type::Uint32 | Type::Uint64 => match field.format {
                Format::Site if number != 0 && !is_site(number) => Err(SITE),
                Format::Year if number != 0 => date::check_year_number(number).map(drop),
                _ => Ok(()),
            },
            Type::Int64 => Ok(()),
            _ => Err(WIRE),
        }
    }

    fn check_parts(self, message: &str, bytes: &[u8]) -> Result<(), Fault> {
        let fields = Fields::split(Bytes::copy_from_slice(bytes)).map_err(|_| WIRE)?;
        for part in schema::parts(message).unwrap_or_default() {
            match fields.get(part.tag) {
                Some(raw) => self.check_field(part, raw)?,
                // A number that is 0 does not travel.
                None if part.required && part.format != Format::Number => return Err(PART),
                None => {}
            }
        }
        Ok(())
    }

    fn check_text(self, field: &Field, bytes: &[u8]) -> Result<(), Fault> {
        let text = std::str::from_utf8(bytes).map_err(|_| UTF8)?;
        if text.is_empty() {
            return Ok(());
        }
        match field.format {
            Format::ResidentId if says_resident(self.kind, self.fields).unwrap_or(self.is_whole) => {
                ResidentId::from_canonical(text, self.today).map(drop)
            }
            Format::ResidentId | Format::Code | Format::Opaque => check_code(text),
            Format::Uscc => Uscc::from_canonical(text).map(drop),
            Format::Mobile => Mobile::from_canonical(text).map(drop),
            Format::Email => email::check(text),
            Format::Date => Date::from_iso(text).map(drop),
            Format::FullDate => Date::from_iso(text)?.to_day().map(drop).ok_or(date::PRECISION),
            Format::Year => date::check_year(text).map(drop),
            Format::Name => check_name(field, text),
            Format::TokenText if !is_token(text) => Err(TOKEN),
            Format::LongText => check_lines(text),
            Format::Text if leaves_about_people(field) && text::holds_number(text) => Err(NUMBER),
            _ => check_line(text),
        }
    }
}

/// Every value of a `repeated` field, or the one value of any other: a second one could smuggle out what readers, who
/// take the last, never see.
fn check_each(field: &Field, raw: &[u8], check: impl Fn(Wire<'_>) -> Result<(), Fault>) -> Result<(), Fault> {
    let mut values = fields::values(raw);
    if field.repeated {
        return values.try_for_each(check);
    }
    check(values.next().ok_or(WIRE)?)?;
    if values.next().is_some() { Err(SEVERAL) } else { Ok(()) }
}

fn check_token(value: Wire<'_>) -> Result<(), Fault> {
    match value {
        Wire::Delimited(bytes) if std::str::from_utf8(bytes).is_ok_and(is_token) => Ok(()),
        _ => Err(TOKEN),
    }
}

fn check_bytes(field: &Field, bytes: &[u8]) -> Result<(), Fault> {
    match field.format {
        Format::Record if !matches!(bytes.len(), 0 | 16) => Err(RECORD),
        _ if bytes.len() > MAX_BYTES => Err(LENGTH),
        _ => Ok(()),
    }
}

fn check_name(field: &Field, text: &str) -> Result<(), Fault> {
    name::check_any(text)?;
    // Organisations, which may be members too, have digits and brackets in their names; people have not.
    if field.pii == Pii::Direct && !name::is_organisation(text) {
        name::check(text)
    } else {
        check_line(text)
    }
}

/// Whether a text of people leaves the city: only there could a number of theirs slip out.
fn leaves_about_people(field: &Field) -> bool {
    field.share == Share::Open && field.pii != Pii::None
}

fn check_line(text: &str) -> Result<(), Fault> {
    if text.len() > MAX_LINE {
        return Err(LENGTH);
    }
    if has_control(text) { Err(CONTROL) } else { Ok(()) }
}

fn check_lines(text: &str) -> Result<(), Fault> {
    if text.len() > MAX_TEXT {
        return Err(LENGTH);
    }
    let is_allowed = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t');
    if has_control(text) && !text.chars().all(is_allowed) { Err(CONTROL) } else { Ok(()) }
}

/// Control characters of Unicode: those of ASCII are one byte, those of Latin-1 begin with C2.
fn has_control(text: &str) -> bool {
    // Without an early end the loop is done many bytes at a time.
    let is_ascii_control = |b: &u8| *b < 0x20 || *b == 0x7f;
    let found = text.as_bytes().iter().fold(false, |found, b| found | is_ascii_control(b));
    found || text.as_bytes().contains(&0xc2) && text.contains(char::is_control)
}

fn check_code(code: &str) -> Result<(), Fault> {
    if code.len() > MAX_CODE {
        return Err(LENGTH);
    }
    if code.contains(char::is_whitespace) {
        return Err(BLANKS);
    }
    if code.chars().any(char::is_control) {
        return Err(CONTROL);
    }
    if text::is_scientific(code) { Err(SCIENTIFIC) } else { Ok(()) }
}

fn is_site(code: u64) -> bool {
    let code = u32::try_from(code).map(SiteCode);
    code.is_ok_and(|code| code.is_province() || city::city(code).is_some())
}

fn varint(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let mut number = 0;
    for (n, byte) in bytes[at..].iter().take(10).enumerate() {
        number |= u64::from(byte & 0x7f) << (7 * n);
        if byte & 0x80 == 0 {
            return Some((number, at + n + 1));
        }
    }
    None
}
