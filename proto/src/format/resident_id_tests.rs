//! Tests of resident identity numbers beyond the shared vectors: boundaries, spreadsheets' damage, stored spelling.

use super::*;

fn today() -> Day {
    Day::new(2026, 4, 1).unwrap()
}

/// The first 17 digits with their check character.
fn completed(body: &str) -> String {
    let mut number = [b'0'; 18];
    number[..17].copy_from_slice(body.as_bytes());
    number[17] = check_character(&number);
    String::from_utf8(number.to_vec()).unwrap()
}

#[track_caller]
fn refuses(cell: &str, expected: Fault) {
    assert_eq!(ResidentId::parse(cell, today()).err(), Some(expected), "{cell}");
    assert_eq!(ResidentId::from_canonical(cell, today()).err(), Some(expected), "{cell}");
}

#[test]
fn mistakes_are_named() {
    refuses("", LENGTH);
    refuses("44010019850312123", LENGTH);
    refuses("4401001985031212390", LENGTH);
    refuses("44010019850312123A", CHARACTER);
    refuses("4401001985X3121239", CHARACTER);
    refuses("44010098503121X", CHARACTER);
    refuses("4401**********1239", MASKED);
    refuses("4.40100198503121E+17", SCIENTIFIC);
    refuses("440100198503121000", FLOAT);
    refuses("无", CHARACTER);
    refuses(&completed("44010018990230123"), BIRTH);
    refuses(&completed("44010009850312123"), BIRTH);
    refuses(&completed("44010019851312123"), BIRTH);
    refuses(&completed("16010019850312123"), PROVINCE);
    refuses(&completed("84000019850312123"), PROVINCE);
    refuses(&completed("99010019900101123"), PROVINCE);
    refuses(&completed("91115619900101123"), FOREIGNER);
}

#[test]
fn nobody_is_born_tomorrow() {
    let number = completed("44010020260401123");
    assert!(ResidentId::parse(&number, today()).is_ok());
    assert_eq!(ResidentId::parse(&number, Day::new(2026, 3, 31).unwrap()).err(), Some(FUTURE));
}

#[test]
fn a_true_number_may_end_with_000() {
    let mut days = (1..=31).map(|day| completed(&format!("440100198503{day:02}100")));
    let number = days.find(|number| number.ends_with("000")).expect("one in eleven does");
    assert!(ResidentId::parse(&number, today()).is_ok());
}

#[test]
fn every_province_code_is_as_the_standard_has_it() {
    let known: Vec<u32> = (10..100)
        .filter(|p| ResidentId::parse(&completed(&format!("{p}010019850312123")), today()).is_ok())
        .collect();
    let expected = [
        11, 12, 13, 14, 15, 21, 22, 23, 31, 32, 33, 34, 35, 36, 37, 41, 42, 43, 44, 45, 46, 50, 51, 52, 53,
        54, 61, 62, 63, 64, 65, 71, 81, 82, 83,
    ];
    assert_eq!(known, expected);
}

#[test]
fn fifteen_digits_become_eighteen() {
    let id = ResidentId::parse("440100850312123", today()).unwrap();
    assert_eq!(id.as_str(), "440100198503121239");
    let old = ResidentId::parse("440100990312997", today()).unwrap();
    assert_eq!(old.birth(), Day::new(1899, 3, 12).unwrap());
    assert_eq!(ResidentId::from_canonical("440100850312123", today()), Err(SPELLING));
}

#[test]
fn the_stored_spelling_is_strict() {
    assert!(ResidentId::from_canonical("44010019900101004X", today()).is_ok());
    for number in [
        "44010019900101004x",
        "44010019900101004Ⅹ",
        " 44010019900101004X",
        "４４０１００１９８５０３１２１２３９",
    ] {
        assert_eq!(ResidentId::from_canonical(number, today()), Err(SPELLING), "{number}");
    }
}

#[test]
fn every_wrong_digit_and_every_swap_is_caught() {
    let good = *b"440100198503121239";
    for place in 0..17 {
        for digit in (b'0'..=b'9').filter(|d| *d != good[place]) {
            let mut number = good;
            number[place] = digit;
            assert!(ResidentId::judge(number, today()).is_err(), "place {place}");
        }
    }
    for place in (0..16).filter(|&place| good[place] != good[place + 1]) {
        let mut number = good;
        number.swap(place, place + 1);
        assert!(ResidentId::judge(number, today()).is_err(), "places {place} and the next");
    }
}

#[test]
fn the_address_code_only_warns() {
    for (body, warns) in [
        ("44010019850312123", false),
        ("44190019850312123", false),
        ("81000019850312123", false),
        ("44000019850312123", true),
        ("81010019850312123", true),
    ] {
        let id = ResidentId::parse(&completed(body), today()).unwrap();
        assert_eq!(id.address_warning().is_some(), warns, "{body}");
        assert_eq!(id.address_code().to_string(), body[..6]);
    }
}

#[test]
fn the_number_never_shows_in_debug_output() {
    let id = ResidentId::parse("440100198503121239", today()).unwrap();
    assert_eq!(format!("{id:?}"), "ResidentId(…)");
}

#[test]
fn a_stored_number_is_not_copied_to_normalise_it() {
    assert!(matches!(normalise("44010019900101004X"), Cow::Borrowed(_)));
}

#[test]
fn what_input_methods_offer_for_x_is_an_x() {
    for x in ['x', 'X', 'Ｘ', 'ｘ', 'Ⅹ', 'ⅹ', 'Х', 'х', '×'] {
        assert_eq!(normalise(&format!("44010019900101004{x}")), "44010019900101004X", "{x}");
    }
}

/// The sum as GB 11643 states it: the digit of place i, from the right, times 2 to the power i - 1, is 1 modulo 11.
#[test]
fn check_characters_follow_the_formula() {
    let mut state = 1_u64;
    for _ in 0..500 {
        let mut number = [b'0'; 18];
        for digit in &mut number[..17] {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *digit += ((state >> 33) % 10) as u8;
        }
        let sum: u64 = (0..17).map(|place| u64::from(number[place] - b'0') << (17 - place)).sum();
        let expected = match (0..11).find(|check| (sum + check) % 11 == 1).unwrap() {
            10 => b'X',
            digit => b'0' + digit as u8,
        };
        assert_eq!(check_character(&number), expected, "{number:?}");
    }
}
