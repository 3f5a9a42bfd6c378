//! Tests of validation over a kind made for them, so that no change of the real schema can hide a fault here.

mod kinds;
mod records;
mod steps;
mod values;

use super::*;
use crate::fields::{Fields, FieldsBuilder, put_varint};
use crate::format::{Fault, date, email, mobile, name, resident_id, uscc};
use crate::schema::{Audience, Enum, Field, Format, Kind, Merge, Party, Pii, Share, Step, Text, Type, Value};

const TOKEN: &str = "t1:0123abcd:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA-_";
const ID: &str = "440100198503121239";

const NAME: u32 = 1;
const BIRTH: u32 = 2;
const SEX: u32 = 3;
const ID_TYPE: u32 = 4;
const ID_NUMBER: u32 = 5;
const MOBILE: u32 = 6;
const EMAIL: u32 = 7;
const ADDRESS: u32 = 8;
const CERTIFIED: u32 = 9;
const FROM: u32 = 10;
const TO: u32 = 11;
const HOURS: u32 = 12;
const CITY: u32 = 13;
const ROUND: u32 = 14;
const SKILLS: u32 = 15;
const QUOTAS: u32 = 16;
const USCC: u32 = 17;
const YEAR: u32 = 18;
const CERTIFICATE: u32 = 19;
const CODES: u32 = 20;
const EMPLOYER: u32 = 21;
const FLAG: u32 = 22;
const SUBJECT: u32 = 23;
const BALANCE: u32 = 24;
const RATE: u32 = 25;
const OPENS: u32 = 26;
const CLOSES: u32 = 27;
const BLOB: u32 = 28;
const NEWER: u32 = 29;
const STATUS: u32 = 30;

const fn text(zh: &'static str, en: &'static str) -> Text {
    Text { zh, en }
}

const fn field(tag: u32, name: &'static str, format: Format, ty: Type) -> Field {
    Field {
        tag,
        name,
        label: text("字段", "field"),
        description: text("", ""),
        aliases: &[],
        owner: Party::Home,
        merge: Merge::Latest,
        share: Share::Open,
        pii: Pii::Indirect,
        group: &[],
        format,
        required: false,
        unit: "",
        consent: "",
        ty,
        repeated: false,
    }
}

const fn choice(number: i32, name: &'static str) -> Value {
    Value {
        number,
        name,
        label: text("", ""),
        aliases: &[],
        rank: 0,
        initial: false,
        draft: false,
        follows: &[],
    }
}

static SEXES: Enum = Enum { name: "Sex", values: &[choice(1, "MALE"), choice(2, "FEMALE")] };

static ID_TYPES: Enum = Enum {
    name: "IdType",
    values: &[choice(1, "RESIDENT_ID"), choice(2, "RESIDENCE_PERMIT"), choice(3, "PASSPORT")],
};

const DRAFT: i32 = 1;
const APPLIED: i32 = 2;
const ACTIVE: i32 = 3;
const EXPELLED: i32 = 4;
const MOVED: i32 = 5;

const fn step(from: i32, by: Party) -> Step {
    Step { from, by }
}

static STATUSES: Enum = Enum {
    name: "Status",
    values: &[
        Value {
            initial: true,
            draft: true,
            follows: &[step(APPLIED, Party::Home)],
            ..choice(DRAFT, "DRAFT")
        },
        Value { initial: true, follows: &[step(DRAFT, Party::Home)], ..choice(APPLIED, "APPLIED") },
        Value { follows: &[step(APPLIED, Party::Shared)], ..choice(ACTIVE, "ACTIVE") },
        Value { follows: &[step(ACTIVE, Party::Province)], ..choice(EXPELLED, "EXPELLED") },
        Value { follows: &[step(ACTIVE, Party::Sites)], ..choice(MOVED, "MOVED") },
    ],
};

static FIELDS: [Field; 29] = [
    Field { required: true, pii: Pii::Direct, ..field(NAME, "name", Format::Name, Type::String) },
    field(BIRTH, "birth_date", Format::Date, Type::String),
    field(SEX, "sex", Format::Choice, Type::Enum(&SEXES)),
    field(ID_TYPE, "id_type", Format::Choice, Type::Enum(&ID_TYPES)),
    Field {
        share: Share::Token,
        required: true,
        ..field(ID_NUMBER, "id_number", Format::ResidentId, Type::String)
    },
    Field { share: Share::Token, ..field(MOBILE, "mobile", Format::Mobile, Type::String) },
    Field { share: Share::Sealed, ..field(EMAIL, "email", Format::Email, Type::String) },
    Field {
        share: Share::Sealed,
        required: true,
        ..field(ADDRESS, "address", Format::LongText, Type::String)
    },
    field(CERTIFIED, "certificate_date", Format::FullDate, Type::String),
    field(FROM, "registered_from", Format::Date, Type::String),
    field(TO, "registered_to", Format::Date, Type::String),
    field(HOURS, "cpd_hours", Format::Number, Type::Uint32),
    field(CITY, "city", Format::Site, Type::Uint32),
    field(ROUND, "round", Format::Record, Type::Bytes),
    Field { repeated: true, ..field(SKILLS, "skills", Format::Text, Type::String) },
    Field { repeated: true, ..field(QUOTAS, "quotas", Format::Parts, Type::Message("test.Quota")) },
    field(USCC, "employer_uscc", Format::Uscc, Type::String),
    field(YEAR, "year", Format::Year, Type::Uint32),
    field(CERTIFICATE, "certificate_no", Format::Code, Type::String),
    Field { repeated: true, ..field(CODES, "codes", Format::Number, Type::Uint32) },
    field(EMPLOYER, "employer", Format::Name, Type::String),
    field(FLAG, "flag", Format::Flag, Type::Bool),
    field(SUBJECT, "subject", Format::TokenText, Type::String),
    field(BALANCE, "balance", Format::Number, Type::Int32),
    field(RATE, "rate", Format::Number, Type::Double),
    field(OPENS, "opens_on", Format::FullDate, Type::String),
    field(CLOSES, "closes_on", Format::FullDate, Type::String),
    field(BLOB, "blob", Format::Opaque, Type::Bytes),
    Field {
        required: true,
        merge: Merge::Status,
        ..field(STATUS, "status", Format::Choice, Type::Enum(&STATUSES))
    },
];

static KIND: Kind = Kind {
    number: 99,
    name: "Test",
    message: "test.Test",
    title: text("测试", "Test"),
    owner: Party::Home,
    audience: Audience::Home,
    fields: &FIELDS,
    status: Some(STATUS),
    identity: &[ID_NUMBER],
    consents: None,
};

fn now() -> Today {
    Today::new(2026, 4, 1).unwrap()
}

fn raw_text(tag: u32, value: &str) -> Fields {
    FieldsBuilder::new().str(tag, value).take()
}

fn raw_number(tag: u32, value: u64) -> Fields {
    FieldsBuilder::new().u64(tag, value).take()
}

/// A member with everything in order.
fn member() -> Fields {
    let mut fields = FieldsBuilder::new();
    fields.str(NAME, "王芳").str(BIRTH, "1985-03").u64(SEX, 1).u64(ID_TYPE, 1).str(ID_NUMBER, ID);
    fields.str(MOBILE, "13800138000").str(EMAIL, "a@b.cn").str(ADDRESS, "示范路1号\n后门");
    fields.str(CERTIFIED, "2015-06-01").str(FROM, "2024-01-01").str(TO, "2026-12").u64(HOURS, 40);
    fields.str(EMPLOYER, "广州市示例社会工作服务中心（第2分部）").u64(STATUS, ACTIVE as u64);
    fields.take()
}

/// The same as it travels.
fn shared() -> Fields {
    let open = member().filtered(|tag| KIND.field(tag).is_some_and(|field| field.share == Share::Open));
    open.patched(&FieldsBuilder::new().str(ID_NUMBER, TOKEN).str(MOBILE, TOKEN).take(), &[])
}
