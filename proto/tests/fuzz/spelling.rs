//! Text from cells and command lines. Whatever is taken has one spelling: reading that again changes nothing.

use liandong_proto::format::{Date, Mobile, ResidentId, Uscc, email, mobile, name, resident_id, text, uscc};
use liandong_proto::id::{RecordId, hex, unhex};
use liandong_proto::schema::{self, Format};
use liandong_proto::share::{is_token, is_token_of};
use liandong_proto::validate::{self, stored_spelling};

use crate::runner::run;
use crate::valid::NOW_MS;

const VALID: [&str; 22] = [
    "1985-03-12",
    "1985.3",
    "1985年3月12日",
    "19850312",
    "2026/12/31 0:00:00",
    "11010519491231002X",
    "110105491231002",
    "１１０１０５１９４９１２３１００２Ｘ",
    "91350100M000100Y43",
    "13800138000",
    "+86 138-0013-8000",
    "13800138000、13900139000",
    "1.38E+10",
    "someone@example.org",
    "某人@例子.中国",
    "欧阳娜娜",
    "阿卜杜拉·买买提",
    "Mary-Jane O'Neil",
    "01890a5d-ac96-774b-bcce-b302099a8057",
    "01890a5dac96774bbcceb302099a8057",
    "深圳市某某社会工作服务中心（本级）",
    "",
];

#[test]
fn cells_have_one_spelling() {
    let formats: Vec<Format> =
        schema::kinds().iter().flat_map(|kind| kind.fields.iter().map(|field| field.format)).collect();
    run("cells_have_one_spelling", 30_000, |source| {
        let cell = source.text(&VALID);
        let today = validate::today(NOW_MS);
        let (format, is_resident) = (source.pick(&formats), source.percent(70));
        if let Ok(spelt) = stored_spelling(format, &cell, is_resident, today) {
            let again = stored_spelling(format, &spelt, is_resident, today);
            assert_eq!(again.as_deref(), Ok(spelt.as_ref()), "{format:?} {cell:?}");
        }
    });
}

#[test]
fn numbers_and_dates_read_back() {
    run("numbers_and_dates_read_back", 30_000, |source| {
        let cell = source.text(&VALID);
        let today = validate::today(NOW_MS);
        if let Ok(date) = Date::read(&cell) {
            assert_eq!(
                (Date::from_iso(&date.to_string()), Date::read(&date.to_string())),
                (Ok(date), Ok(date))
            );
            assert!(date.first_day() <= date.last_day() && date.may_equal(date));
            if let Some(day) = date.to_day() {
                assert_eq!(validate::today(day.begins_in_china().max(1)) == day, day.begins_in_china() > 0);
            }
        }
        let _ = Date::from_iso(&cell);
        if let Ok(number) = ResidentId::parse(&cell, today) {
            assert_eq!(ResidentId::from_canonical(number.as_str(), today), Ok(number));
            let _ = (
                number.birth(),
                number.sex(),
                number.class(),
                number.address_code(),
                number.address_warning(),
            );
        }
        if let Ok(code) = Uscc::parse(&cell) {
            assert_eq!(Uscc::from_canonical(code.as_str()), Ok(code));
        }
        if let Ok(number) = Mobile::parse(&cell) {
            assert_eq!(Mobile::from_canonical(number.as_str()), Ok(number));
        }
        assert!(mobile::split_mobiles(&cell).len() <= cell.len() + 1);
        let _ =
            (email::check(&cell), name::check(&cell), name::check_any(&cell), name::is_organisation(&cell));
        let _ = (resident_id::normalise(&cell), uscc::normalise(&cell), text::is_scientific(&cell));
        let _ =
            (text::holds_number(&cell), text::clean(&cell), is_token(&cell), is_token_of(&cell, "abcd1234"));
    });
}

#[test]
fn ids_read_back() {
    run("ids_read_back", 20_000, |source| {
        let cell = if source.percent(50) {
            source.text(&VALID)
        } else {
            let id = RecordId(source.array()).to_string();
            String::from_utf8_lossy(&source.mutated(id.into_bytes())).into_owned()
        };
        if let Ok(id) = cell.parse::<RecordId>() {
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        if let Some(bytes) = unhex(cell.as_bytes()) {
            assert_eq!(hex(&bytes), cell.to_ascii_lowercase());
        }
    });
}
