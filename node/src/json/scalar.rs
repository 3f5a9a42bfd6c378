//! What a person writes in one cell, or behind `--set name=`, as the value of a field.

use liandong_proto::city;
use liandong_proto::fields::{FieldsBuilder, put_varint};
use liandong_proto::format::{Fault, mobile, text};
use liandong_proto::id::{RecordId, SiteCode};
use liandong_proto::pb::node::v1 as pb;
use liandong_proto::schema::{Enum, Field, Format, Type};
use liandong_proto::validate::{self, Today};

use crate::say;
use crate::text::Said;

/// A value that fits in one cell, in its stored spelling.
#[derive(Debug, Clone, PartialEq)]
pub enum Scalar {
    /// Of a `string` field.
    Text(String),
    /// Of an integer, bool or enum field.
    Number(u64),
    /// Of a `double` field.
    Decimal(f64),
    /// Of a `bytes` field.
    Bytes(Vec<u8>),
}

/// Why a text is no value of a field. Never holds the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Stable identifier.
    pub code: &'static str,
    /// What is wrong and how to mend it.
    pub said: Said,
}

impl Trouble {
    /// The trouble as the site itself would tell it.
    pub fn of(self, field: &Field) -> pb::Problem {
        pb::Problem {
            tag: field.tag,
            field: field.name.into(),
            code: self.code.into(),
            zh: format!("{}：{}", field.label.zh, self.said.zh),
            en: format!("{}: {}", field.label.en, self.said.en),
        }
    }
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Trouble {
        Trouble { code: fault.code, said: Said::new(fault.zh, fault.en) }
    }
}

/// Whether a value of the field fits in one cell.
pub fn is_one_cell(field: &Field) -> bool {
    !field.repeated && field.format != Format::Parts
}

/// The value that a text means; `None` when nothing stands there. `is_resident` says whether a document
/// number follows GB 11643.
///
/// # Errors
/// [`Trouble`], which never holds the text.
pub fn read(
    field: &Field,
    written: &str,
    is_resident: bool,
    today: Today,
) -> Result<Option<Scalar>, Trouble> {
    let clean = text::clean(written);
    if clean.is_empty() || (is_strict(field) && is_blank_mark(&clean)) {
        return Ok(None);
    }
    let value = match (field.ty, field.format) {
        (Type::Enum(choices), _) => Scalar::Number(choice(choices, &clean)?),
        (Type::Bool, _) => Scalar::Number(flag(&clean)?),
        (Type::Bytes, _) => Scalar::Bytes(bytes(&clean)?),
        (Type::String, Format::Mobile) => Scalar::Text(first_mobile(written)?),
        (Type::String, Format::Year) => {
            let year = clean.trim_end_matches(['年', '.']).trim();
            Scalar::Text(validate::stored_spelling(Format::Year, year, is_resident, today)?.into_owned())
        }
        (Type::String, format) => {
            let stored = validate::stored_spelling(format, written, is_resident, today)?;
            if stored.is_empty() {
                return Ok(None);
            }
            Scalar::Text(stored.into_owned())
        }
        (_, Format::Site) => Scalar::Number(site(&clean)?),
        (Type::Double, _) => Scalar::Decimal(decimal(field, &clean)?),
        _ => Scalar::Number(number(field, &clean)?),
    };
    Ok(Some(value))
}

/// How many mobile numbers stand in a cell of a field that holds one.
pub fn mobiles(field: &Field, written: &str) -> usize {
    if field.format == Format::Mobile { mobile::split_mobiles(written).len() } else { 1 }
}

impl Scalar {
    /// Appends the value as the field; tags must ascend.
    pub fn push(&self, tag: u32, into: &mut FieldsBuilder) {
        match self {
            Scalar::Text(text) => into.str(tag, text),
            Scalar::Number(number) => into.u64(tag, *number),
            Scalar::Decimal(number) => {
                let mut raw = Vec::with_capacity(12);
                put_varint(&mut raw, u64::from(tag) << 3 | 1);
                raw.extend_from_slice(&number.to_le_bytes());
                into.push(tag, &raw);
                into
            }
            Scalar::Bytes(bytes) => into.delimited(tag, bytes),
        };
    }

    /// Whether it is what an absent field means as well (proto3).
    pub fn is_default(&self) -> bool {
        match self {
            Scalar::Text(text) => text.is_empty(),
            Scalar::Number(number) => *number == 0,
            Scalar::Decimal(number) => *number == 0.0,
            Scalar::Bytes(bytes) => bytes.is_empty(),
        }
    }
}

/// Fields in which a dash can only mean that there is nothing.
fn is_strict(field: &Field) -> bool {
    !matches!(field.format, Format::Text | Format::LongText | Format::Name | Format::Opaque)
}

fn is_blank_mark(clean: &str) -> bool {
    matches!(clean, "-" | "--" | "/" | "\\" | "—" | "——" | "无" | "暂无" | "N/A" | "n/a")
}

fn choice(choices: &'static Enum, clean: &str) -> Result<u64, Trouble> {
    let found = choices.by_text(clean).or_else(|| choices.by_text(&text::clean_unspaced(clean)));
    if let Some(value) = found {
        return Ok(value.number as u64);
    }
    let zh: Vec<&str> = choices.values.iter().map(|value| value.label.zh).collect();
    let en: Vec<&str> = choices.values.iter().map(|value| value.name).collect();
    let (zh, en) = (zh.join("、"), en.join(", "));
    Err(Trouble {
        code: "value.choice",
        said: say!("没有这个选项，请写成其中之一：{zh}", "no such choice; write one of these: {en}"),
    })
}

fn flag(clean: &str) -> Result<u64, Trouble> {
    match clean.to_lowercase().as_str() {
        "是" | "有" | "√" | "✓" | "true" | "yes" | "y" | "1" => Ok(1),
        "否" | "无" | "×" | "false" | "no" | "n" | "0" => Ok(0),
        _ => {
            Err(Trouble { code: "value.flag", said: say!("请写“是”或“否”", "write yes or no") })
        }
    }
}

fn bytes(clean: &str) -> Result<Vec<u8>, Trouble> {
    let id: Result<RecordId, _> = clean.parse();
    id.map(|id| id.0.to_vec()).map_err(|_| Trouble {
        code: "value.record",
        said: say!(
            "不是记录编号，应类似 01890a5d-ac96-774b-bcce-b302099a8057",
            "not a record's id such as 01890a5d-ac96-774b-bcce-b302099a8057"
        ),
    })
}

fn site(clean: &str) -> Result<u64, Trouble> {
    site_named(clean).map(|site| u64::from(site.0)).ok_or_else(|| Trouble {
        code: "value.site",
        said: say!(
            "不是本省地级市，应写代码或名称，如 440100 或 广州市",
            "not a city of the province; write its code or name, such as 440100 or Guangzhou"
        ),
    })
}

/// The site that a person means: `440100`, `广州市`, `广州`, `Guangzhou`; `440000`, `广东省` or `省` for the province.
pub fn site_named(text: &str) -> Option<SiteCode> {
    let is = |city: &&city::City| {
        city.code.to_string() == text
            || city.zh == text
            || city.zh.strip_suffix('市') == Some(text)
            || city.en.eq_ignore_ascii_case(text)
    };
    if let Some(city) = city::cities().iter().find(is) {
        return Some(city.code);
    }
    let province = text == SiteCode::PROVINCE.to_string() || ["广东省", "广东", "省"].contains(&text);
    province.then_some(SiteCode::PROVINCE)
}

/// The digits of a cell without grouping and unit.
fn digits(field: &Field, clean: &str) -> String {
    let mut digits = clean.replace([',', ' '], "");
    for unit in [field.unit, "学时", "小时", "元", "年", "分"] {
        if let Some(bare) = digits.strip_suffix(unit).filter(|_| !unit.is_empty()) {
            digits = bare.to_owned();
        }
    }
    digits
}

fn number(field: &Field, clean: &str) -> Result<u64, Trouble> {
    let digits = digits(field, clean);
    let whole = match digits.split_once('.') {
        Some((whole, fraction)) if fraction.bytes().all(|b| b == b'0') => whole,
        _ => &digits,
    };
    whole.parse::<u32>().map(u64::from).map_err(|_| Trouble {
        code: "value.number",
        said: say!("请写整数，不带其他文字", "write a whole number and nothing else"),
    })
}

fn decimal(field: &Field, clean: &str) -> Result<f64, Trouble> {
    let digits = digits(field, clean);
    let is_plain = digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-'));
    digits.parse().ok().filter(|_| is_plain).ok_or_else(|| Trouble {
        code: "value.number",
        said: say!("请写数字，不带其他文字", "write a number and nothing else"),
    })
}

/// The first number that is right; a cell of none is judged by its first.
fn first_mobile(written: &str) -> Result<String, Trouble> {
    let mut numbers = mobile::split_mobiles(written);
    let right = numbers.iter().position(Result::is_ok).unwrap_or(0);
    if numbers.is_empty() {
        return Err(mobile::SHAPE.into());
    }
    Ok(numbers.swap_remove(right)?.as_str().to_owned())
}
