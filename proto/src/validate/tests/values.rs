//! Single values: format, wire, share.

use super::*;

#[track_caller]
fn check_one(fields: &Fields, view: View, expected: Result<(), Fault>) {
    let (tag, raw) = fields.iter().next().expect("a field");
    let field = KIND.field(tag).expect("a known field");
    let found = check_value(&KIND, field, raw, fields, view, now());
    assert_eq!(found.map_err(|problem| problem.fault), expected);
    assert!(found.is_ok() || found.is_err_and(|problem| problem.tag == tag));
}

#[track_caller]
fn check_text(tag: u32, value: &str, expected: Result<(), Fault>) {
    check_one(&raw_text(tag, value), View::Full, expected);
}

#[test]
fn each_format_is_judged_by_its_own_rules() {
    check_text(NAME, "王芳", Ok(()));
    check_text(NAME, "王 芳", Err(name::SPELLING));
    check_text(NAME, "王芳2", Err(name::CHARACTER));
    check_text(NAME, "广州市示例社会工作服务中心（第2分部）", Ok(()));
    check_text(EMPLOYER, "第2中心（东区）", Ok(()));
    check_text(NAME, "广州市示例社会工作服务中心\n钱一", Err(name::LINES));
    check_text(NAME, "广州市示例社会工作服务中心13800138000", Err(name::NUMBER));
    check_text(NAME, "王芳138 0013 8000", Err(name::NUMBER));
    check_text(EMPLOYER, "两\n行", Err(name::LINES));
    check_text(SKILLS, "老年社会工作", Ok(()));
    check_text(SKILLS, "督导 13800138000", Err(value::NUMBER));
    check_text(EMPLOYER, "x\u{7f}", Err(value::CONTROL));
    check_text(EMPLOYER, "x\u{85}", Err(value::CONTROL));
    check_text(EMPLOYER, "x\u{b7}y", Ok(()));
    check_text(ID_NUMBER, ID, Ok(()));
    check_text(ID_NUMBER, "4401 00", Err(value::BLANKS));
    check_text(MOBILE, "13800138000", Ok(()));
    check_text(MOBILE, "+8613800138000", Err(mobile::SPELLING));
    check_text(EMAIL, "a.b.cn", Err(email::SHAPE));
    check_text(ADDRESS, "一\n二\t三", Ok(()));
    check_text(ADDRESS, "一\u{0}", Err(value::CONTROL));
    check_text(BIRTH, "1985", Ok(()));
    check_text(BIRTH, "1985-02-30", Err(date::CALENDAR));
    check_text(CERTIFIED, "2015-06-01", Ok(()));
    check_text(CERTIFIED, "2015-06", Err(date::PRECISION));
    check_text(USCC, "51440000MJ0000018G", Ok(()));
    check_text(USCC, "51440000MJ00000180", Err(uscc::CHECK));
    check_text(CERTIFICATE, "0012-粤A", Ok(()));
    check_text(CERTIFICATE, "0012 34", Err(value::BLANKS));
    check_text(CERTIFICATE, "1.2E+17", Err(value::SCIENTIFIC));
    check_text(CERTIFICATE, &"1".repeat(101), Err(value::LENGTH));
    check_text(EMPLOYER, &"x".repeat(1001), Err(value::LENGTH));
    check_text(ADDRESS, &"x".repeat(100_001), Err(value::LENGTH));
    for tag in [NAME, ID_NUMBER, MOBILE, EMAIL, BIRTH, USCC] {
        check_text(tag, "", Ok(()));
    }
}

#[test]
fn numbers_and_choices_stay_in_their_range() {
    let check = |tag, number, expected| check_one(&raw_number(tag, number), View::Full, expected);
    check(HOURS, u64::from(u32::MAX), Ok(()));
    check(HOURS, u64::from(u32::MAX) + 1, Err(value::RANGE));
    check(CITY, 440_100, Ok(()));
    check(CITY, 440_000, Ok(()));
    check(CITY, 0, Ok(()));
    check(CITY, 440_104, Err(value::SITE));
    check(CITY, 441_000, Err(value::SITE));
    check(CITY, (1 << 32) + 440_100, Err(value::RANGE));
    check(CITY, 110_000, Err(value::SITE));
    check(YEAR, 2026, Ok(()));
    check(YEAR, 26, Err(date::YEAR));
    check(YEAR, 0, Ok(()));
    check(BALANCE, -5_i64 as u64, Ok(()));
    check(BALANCE, 1 << 31, Err(value::RANGE));
    check(BALANCE, i64::MIN as u64, Err(value::RANGE));
    check(RATE, 1, Err(value::WIRE));
    check(FLAG, 1, Ok(()));
    check(FLAG, 2, Err(value::RANGE));
    check(SEX, 2, Ok(()));
    check(SEX, 9, Err(value::CHOICE));
    check(SEX, -1_i64 as u64, Err(value::CHOICE));
    check_one(&raw_number(SEX, 9), View::Shared, Ok(()));
    check_one(&raw_number(SEX, -1_i64 as u64), View::Shared, Err(value::CHOICE));
}

#[test]
fn the_wire_must_fit_the_schema() {
    check_one(&raw_number(NAME, 1), View::Full, Err(value::WIRE));
    check_one(&raw_text(HOURS, "40"), View::Full, Err(value::WIRE));
    check_one(&raw_text(SEX, "1"), View::Full, Err(value::WIRE));
    check_one(&raw_text(FLAG, "1"), View::Full, Err(value::WIRE));
    let bytes = |tag, value: &[u8]| FieldsBuilder::new().delimited(tag, value).take();
    check_one(&bytes(NAME, &[0xff]), View::Full, Err(value::UTF8));
    check_one(&bytes(ROUND, &[7; 16]), View::Full, Ok(()));
    check_one(&bytes(ROUND, &[7; 15]), View::Full, Err(value::RECORD));
    check_one(&bytes(ROUND, &[]), View::Full, Ok(()));
    check_one(&bytes(BLOB, &[7; value::MAX_BYTES]), View::Full, Ok(()));
    check_one(&bytes(BLOB, &[7; value::MAX_BYTES + 1]), View::Full, Err(value::LENGTH));
    let double = |value: f64| {
        let mut raw = vec![0xc9, 0x01];
        raw.extend_from_slice(&value.to_le_bytes());
        Fields::split(raw).expect("tag 25 with eight bytes")
    };
    check_one(&double(0.5), View::Full, Ok(()));
    check_one(&double(f64::NAN), View::Full, Err(value::RANGE));
    check_one(&double(f64::INFINITY), View::Full, Err(value::RANGE));
}

#[test]
fn one_value_stands_alone_and_many_are_all_checked() {
    let twice = |tag, a: &str, b: &str| FieldsBuilder::new().str(tag, a).str(tag, b).take();
    check_one(&twice(NAME, "王芳", "李娜"), View::Full, Err(value::SEVERAL));
    check_one(&twice(SKILLS, "a", "b"), View::Full, Ok(()));
    check_one(&twice(SKILLS, "a", "\u{1}"), View::Full, Err(value::CONTROL));
    check_one(&twice(ID_NUMBER, ID, TOKEN), View::Shared, Err(value::TOKEN));
    check_one(&twice(ID_NUMBER, TOKEN, ID), View::Shared, Err(value::SEVERAL));
}

#[test]
fn packed_numbers_are_checked_one_by_one() {
    let packed = |numbers: &[u64]| {
        let mut bytes = Vec::new();
        numbers.iter().for_each(|number| put_varint(&mut bytes, *number));
        FieldsBuilder::new().delimited(CODES, &bytes).take()
    };
    check_one(&packed(&[1, 2, 300]), View::Full, Ok(()));
    check_one(&packed(&[]), View::Full, Ok(()));
    check_one(&packed(&[1, u64::MAX]), View::Full, Err(value::RANGE));
    check_one(&raw_number(CODES, 7), View::Full, Ok(()));
    check_one(&FieldsBuilder::new().delimited(CODES, &[0x80]).take(), View::Full, Err(value::WIRE));
}

#[test]
fn nested_messages_must_be_messages() {
    let quota = |city| FieldsBuilder::new().u64(1, city).take();
    let mut quotas = FieldsBuilder::new();
    quotas.delimited(QUOTAS, quota(440_100).bytes()).delimited(QUOTAS, quota(440_300).bytes());
    check_one(&quotas.take(), View::Full, Ok(()));
    check_one(&FieldsBuilder::new().delimited(QUOTAS, &[8]).take(), View::Full, Err(value::WIRE));
}

#[test]
fn what_travels_is_a_token_or_nothing() {
    check_one(&raw_text(ID_NUMBER, TOKEN), View::Shared, Ok(()));
    check_one(&raw_text(ID_NUMBER, ID), View::Shared, Err(value::TOKEN));
    check_one(&raw_text(ID_NUMBER, ""), View::Shared, Err(value::TOKEN));
    check_one(&raw_number(ID_NUMBER, 7), View::Shared, Err(value::TOKEN));
    check_one(&raw_text(SUBJECT, TOKEN), View::Shared, Ok(()));
    check_one(&raw_text(SUBJECT, ID), View::Shared, Err(value::TOKEN));
    check_one(&raw_text(EMAIL, "a@b.cn"), View::Shared, Err(value::SEALED));
    check_one(&raw_text(NAME, "王芳2"), View::Shared, Err(name::CHARACTER));
}

#[test]
fn the_document_type_decides_how_its_number_is_spelt() {
    #[track_caller]
    fn check(document: Option<u64>, number: &str, as_patch: Result<(), Fault>, as_record: Result<(), Fault>) {
        let mut fields = FieldsBuilder::new();
        if let Some(document) = document {
            fields.u64(ID_TYPE, document);
        }
        let fields = fields.str(ID_NUMBER, number).take();
        let raw = fields.get(ID_NUMBER).expect("set above");
        let field = KIND.field(ID_NUMBER).expect("a known field");
        let found = check_value(&KIND, field, raw, &fields, View::Full, now());
        assert_eq!(found.map_err(|problem| problem.fault), as_patch, "{document:?} {number} in a patch");
        let problems = check_record(&KIND, &fields, View::Full, now());
        let found = problems.iter().find(|problem| problem.tag == ID_NUMBER).map(|problem| problem.fault);
        assert_eq!(found.map_or(Ok(()), Err), as_record, "{document:?} {number} in a record");
    }
    let resident = Err(resident_id::CHARACTER);
    for document in [None, Some(0), Some(1), Some(2)] {
        check(document, ID, Ok(()), Ok(()));
        check(document, "810000198503121232", Ok(()), Ok(()));
    }
    for document in [None, Some(0)] {
        check(document, "E12345678", Ok(()), resident);
        check(document, "E1234 5678", Err(value::BLANKS), resident);
    }
    check(Some(1), "E12345678", resident, resident);
    check(Some(2), "E12345678", resident, resident);
    check(Some(3), "E12345678", Ok(()), Ok(()));
    check(Some(3), "E1234 5678", Err(value::BLANKS), Err(value::BLANKS));
}

#[test]
fn cells_become_the_stored_spelling() {
    #[track_caller]
    fn check(format: Format, cell: &str, expected: Result<&str, Fault>) {
        let found = stored_spelling(format, cell, true, now());
        assert_eq!(found.as_deref().map_err(|fault| *fault), expected, "{cell}");
    }
    check(Format::ResidentId, "440100 850312 123", Ok(ID));
    check(Format::ResidentId, "4401001985031212", Err(resident_id::LENGTH));
    check(Format::Uscc, "51440000mj0000018g", Ok("51440000MJ0000018G"));
    check(Format::Mobile, "+86 138-0013-8000", Ok("13800138000"));
    check(Format::Date, "1985年3月", Ok("1985-03"));
    check(Format::FullDate, "1985/3/12", Ok("1985-03-12"));
    check(Format::FullDate, "1985/3", Err(date::PRECISION));
    check(Format::Email, "a＠b.cn", Ok("a@b.cn"));
    check(Format::Email, "无", Err(email::SHAPE));
    check(Format::Name, "王 芳", Ok("王芳"));
    check(Format::Code, "'00 12", Ok("0012"));
    check(Format::LongText, " 一\n二 ", Ok("一\n二"));
    check(Format::Number, " ４０ ", Ok("40"));
    check(Format::Mobile, "  ", Ok(""));
    assert_eq!(stored_spelling(Format::ResidentId, "e 123", false, now()).as_deref(), Ok("e123"));
}

#[test]
fn faults_have_codes_of_their_own() {
    let all = [
        value::WIRE,
        value::SEVERAL,
        value::UTF8,
        value::CONTROL,
        value::LENGTH,
        value::BLANKS,
        value::SCIENTIFIC,
        value::CHOICE,
        value::RANGE,
        value::RECORD,
        value::SITE,
        value::TOKEN,
        value::SEALED,
        record::REQUIRED,
        record::PERIOD,
        record::BIRTH,
        record::SEX,
        step::START,
        step::ORDER,
        step::PARTY,
        step::UNKNOWN,
    ];
    for (n, fault) in all.iter().enumerate() {
        assert!(all[..n].iter().all(|other| other.code != fault.code), "{}", fault.code);
    }
    assert!(all.iter().all(|fault| fault.en.starts_with(char::is_lowercase) && !fault.zh.is_empty()));
}
