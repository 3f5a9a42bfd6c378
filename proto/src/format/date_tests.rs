//! Tests of days and dates: the calendar, clerks' spellings, what is refused and why.

use super::*;

#[track_caller]
fn reads(cell: &str, expected: &str) {
    let date = Date::read(cell).unwrap_or_else(|fault| panic!("{cell}: {}", fault.code));
    assert_eq!(date.to_string(), expected, "{cell}");
    assert_eq!(Date::from_iso(expected), Ok(date), "what is written is the stored spelling");
}

#[track_caller]
fn refuses(cell: &str, expected: Fault) {
    assert_eq!(Date::read(cell).map(|d| d.to_string()), Err(expected), "{cell}");
}

#[test]
fn clerks_spellings_keep_their_precision() {
    for cell in [
        "1985.03",
        "1985/3",
        "1985-3",
        "1985年3月",
        "1985年03月",
        "198503",
        "1985．3",
        " 1985 年 3 月 ",
        "1985。3",
    ] {
        reads(cell, "1985-03");
    }
    for cell in [
        "1985-03-12",
        "1985.3.12",
        "1985.03.12.",
        "1985/3/12",
        "1985年3月12日",
        "1985年3月12号",
        "19850312",
        "１９８５／３／１２",
        "1985/3/12 0:00:00",
        "1985-03-12T00:00:00.000",
        "1985 3 12",
        "'1985-03-12",
    ] {
        reads(cell, "1985-03-12");
    }
    for cell in ["1985", "1985年", "1985 年", "1985."] {
        reads(cell, "1985");
    }
    reads("1985.10", "1985-10");
    reads("1985.01", "1985-01");
    reads("1985/1", "1985-01");
    reads("1985.1.2", "1985-01-02");
}

#[test]
fn what_could_mean_two_dates_is_refused() {
    refuses("1985.1", LOST_ZERO);
    refuses("31118", SERIAL);
    refuses("12/3/1985", YEAR_FIRST);
    refuses("85.3.12", YEAR_FIRST);
    refuses("85年3月", YEAR_FIRST);
    refuses("1985-03-11 16:00:00", TIME);
    for cell in [
        "",
        "-",
        "年",
        "长期",
        "至今",
        "1985-",
        "1985/",
        "1985-123",
        "1985-3-123",
        "1985-3-12-1",
        "198",
        "1985031",
    ] {
        refuses(cell, SHAPE);
    }
    refuses("19850312.0", YEAR_FIRST);
    refuses("1985.03.12.5", SHAPE);
    refuses("850312", CALENDAR);
}

#[test]
fn the_calendar_is_gregorian() {
    for cell in [
        "1990-02-30",
        "1800-02-29",
        "1900-02-29",
        "2100-02-29",
        "2023-02-29",
        "2023-04-31",
        "2023-13",
        "2023-00",
        "2023-05-00",
        "2023.0.1",
    ] {
        refuses(cell, CALENDAR);
    }
    refuses("1799-12-31", CALENDAR);
    refuses("2200", CALENDAR);
    for cell in ["2000-02-29", "2024-02-29", "1800-01-01", "2199-12-31"] {
        reads(cell, cell);
    }
}

#[test]
fn the_stored_spelling_is_strict() {
    for text in [
        "",
        "1985-3",
        "1985/03",
        "19850312",
        "1985-03-12 ",
        "1985-03-1x",
        "198５",
        "１985",
        "-985",
        "1985-03x12",
    ] {
        assert_eq!(Date::from_iso(text), Err(SHAPE), "{text}");
    }
    for text in ["1985-00", "1985-02-29", "1985-01-00", "0985"] {
        assert_eq!(Date::from_iso(text), Err(CALENDAR), "{text}");
    }
}

#[test]
fn comparison_respects_what_is_not_known() {
    let date = |text| Date::from_iso(text).unwrap();
    assert!(date("2021").is_surely_after(date("2020-12-31")));
    assert!(!date("2020").is_surely_after(date("2020-03")));
    assert!(!date("2020-03").is_surely_after(date("2020")));
    assert!(date("2020-04").is_surely_after(date("2020-03-31")));
    assert!(!date("2020-03-12").is_surely_after(date("2020-03-12")));
    assert!(date("2020-03-13").is_surely_after(date("2020-03-12")));
    assert!(date("2020-03-12").may_equal(date("2020-03")));
    assert!(!date("2020-03-12").may_equal(date("2020-04")));
    assert_eq!(date("2020-02").last_day(), Day::new(2020, 2, 29).unwrap());
    assert_eq!(date("2020").first_day(), Day::new(2020, 1, 1).unwrap());
    assert_eq!(date("2020").to_day(), None);
    assert_eq!(date("2020-02").to_day(), None);
}

#[test]
fn a_date_without_a_month_has_no_day() {
    assert_eq!(Date::new(2020, None, Some(1)), None);
    assert_eq!(Date::new(2020, Some(0), None), None);
    assert_eq!(Date::new(2020, Some(2), Some(0)), None);
}

#[test]
fn a_day_begins_when_the_one_before_ends() {
    for n in (0..84_000u64).step_by(13).chain([0, 1, 59, 60, 365, 11_016]) {
        let day = Day::in_china(n * 86_400_000);
        let begins = day.begins_in_china();
        assert_eq!(Day::in_china(begins), day);
        assert!(begins == 0 || Day::in_china(begins - 1) < day, "{day}");
    }
    assert_eq!(Day::new(1900, 1, 1).map(Day::begins_in_china), Some(0));
}

#[test]
fn the_day_turns_at_midnight_in_china() {
    let day = |unix_ms| Day::in_china(unix_ms).to_string();
    assert_eq!(day(0), "1970-01-01");
    assert_eq!(day(57_599_999), "1970-01-01");
    assert_eq!(day(57_600_000), "1970-01-02");
    assert_eq!(day(951_753_600_000), "2000-02-29");
    assert_eq!(day(1_772_294_400_000), "2026-03-01");
    assert_eq!(day(u64::MAX), "2199-12-31");
}

#[test]
fn every_day_follows_the_one_before() {
    let mut expected = Day::new(1970, 1, 1).unwrap();
    for n in 1..84_000_u64 {
        let day = Day::in_china(n * 86_400_000);
        let next = Day::new(expected.year, expected.month, expected.day + 1)
            .or_else(|| Day::new(expected.year, expected.month + 1, 1))
            .or_else(|| Day::new(expected.year + 1, 1, 1));
        expected = next.expect("still before 2200");
        assert_eq!(day, expected, "day {n}");
    }
}

#[test]
fn years_have_four_digits() {
    assert_eq!(check_year("2026"), Ok(2026));
    for text in ["", "26", "02026", "20x6", "1799", "2200", "２０２６"] {
        assert_eq!(check_year(text), Err(YEAR), "{text}");
    }
}

#[test]
fn days_are_numbered_one_by_one() {
    // Through two leap years, a century that is one and a century that is none.
    let mut before = Day::new(1899, 12, 31).expect("a day").number();
    let mut ms = 0;
    for (from, to) in [(1900, 1905), (1999, 2001), (2095, 2101)] {
        for year in from..=to {
            for month in 1..=12 {
                for day in 1..=days_in(year, month) {
                    let number = Day::new(year, month, day).expect("a day").number();
                    let follows = number == before + 1 || (month == 1 && day == 1 && year == from);
                    assert!(follows, "{year}-{month}-{day}");
                    before = number;
                }
            }
        }
    }
    // And as the clock has them.
    let first = Day::in_china(ms).number();
    for n in 1..40_000 {
        ms += 86_400_000;
        assert_eq!(Day::in_china(ms).number(), first + n);
    }
}
