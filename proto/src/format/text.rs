//! Mending what keyboards and spreadsheets do to any cell: wide characters, invisible ones, stray spaces.

use std::borrow::Cow;

/// The cell with full-width ASCII made half-width, invisible characters removed, every kind of space made a plain one,
/// a spreadsheet's leading apostrophe dropped and both ends trimmed. Borrows when there is nothing to mend.
pub fn clean(cell: &str) -> Cow<'_, str> {
    let trimmed = cell.trim_matches(' ');
    if !trimmed.starts_with('\'') && trimmed.bytes().all(|b| matches!(b, b' '..=b'~')) {
        return Cow::Borrowed(trimmed);
    }
    let mended: String = trimmed.chars().filter_map(mend).collect();
    let mended = mended.trim();
    // All of them: what is stored reads back as it is.
    let mended = mended.trim_start_matches(['\'', '\u{2018}', '\u{2019}', ' ']);
    if mended == cell { Cow::Borrowed(cell) } else { Cow::Owned(mended.to_owned()) }
}

/// The cell after [`clean`], without any space at all: for numbers that people write in groups.
pub fn clean_unspaced(cell: &str) -> Cow<'_, str> {
    let cleaned = clean(cell);
    if cleaned.contains(' ') { Cow::Owned(cleaned.replace(' ', "")) } else { cleaned }
}

/// Whether a spreadsheet has turned a long number into scientific notation (`1.23E+17`), losing digits.
pub fn is_scientific(text: &str) -> bool {
    let Some((mantissa, exponent)) = text.split_once(['e', 'E']) else { return false };
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    digits(whole) && digits(fraction) && digits(exponent)
}

/// Digits of the shortest number that may not leave its city: a mobile has 11, a document number 15 or 18.
const NUMBER_DIGITS: usize = 11;

/// Whether the text holds what looks like a mobile or a document number: eleven digits or more with no letter between
/// them, however they are grouped.
pub fn holds_number(text: &str) -> bool {
    // Nearly every text has too few digits; full-width ones begin with EF.
    let digits = text.bytes().filter(|b| b.is_ascii_digit() || *b == 0xef).count();
    if digits < NUMBER_DIGITS {
        return false;
    }
    let mut run = 0;
    text.chars().any(|c| {
        if c.is_numeric() {
            run += 1;
        } else if c.is_alphabetic() {
            run = 0;
        }
        run >= NUMBER_DIGITS
    })
}

/// Whether a cell has a line break between two lines of text; one at either end is only a slip of the keyboard.
pub fn has_line_break(cell: &str) -> bool {
    cell.trim().contains(['\n', '\r'])
}

/// Whether `c` is a Han character as names use them (unified ideographs with extensions, compatibility forms, 〇).
pub fn is_han(c: char) -> bool {
    matches!(c, '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}' | '\u{F900}'..='\u{FAFF}' | '\u{20000}'..='\u{323AF}' | '\u{3007}')
}

fn mend(c: char) -> Option<char> {
    match c {
        // Zero-width space and joiners, word joiner, byte order mark, soft hyphen, direction marks.
        '\u{200B}'..='\u{200F}'
        | '\u{202A}'..='\u{202E}'
        | '\u{2060}'
        | '\u{2066}'..='\u{2069}'
        | '\u{FEFF}'
        | '\u{AD}' => None,
        '\u{FF01}'..='\u{FF5E}' => char::from_u32(u32::from(c) - 0xFEE0),
        c if c.is_whitespace() => Some(' '),
        c => Some(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(cell: &str, expected: &str) {
        assert_eq!(clean(cell), expected);
    }

    #[test]
    fn cells_are_mended() {
        check("abc", "abc");
        check("  a b ", "a b");
        check("１３８＋Ａｂ", "138+Ab");
        check("\u{FEFF}\u{200B}王\u{3000}芳\u{A0}", "王 芳");
        check("'0042", "0042");
        check(" '0042", "0042");
        check("\u{2019}0042", "0042");
        check("a\tb\n", "a b");
        check("", "");
        check("'", "");
        check("' ''0042", "0042");
    }

    #[test]
    fn a_clean_cell_is_borrowed() {
        assert!(matches!(clean("440100"), Cow::Borrowed(_)));
        assert!(matches!(clean("王芳"), Cow::Borrowed(_)));
        assert!(matches!(clean_unspaced("1 2"), Cow::Owned(_)));
    }

    #[test]
    fn numbers_that_may_not_leave_are_seen_in_any_grouping() {
        for text in [
            "王芳13800138000",
            "示例社工中心138 0013 8000",
            "138-0013-8000（示例社工中心）",
            "示例社工中心１３８００１３８０００",
            "11010519491231002X",
            "示例,男\n13800138000",
        ] {
            assert!(holds_number(text), "{text}");
        }
        for text in ["", "王芳", "第2中心（东区）", "2024年第1期2025年第2期2026年", "51440000MJ0000018G"]
        {
            assert!(!holds_number(text), "{text}");
        }
    }

    #[test]
    fn scientific_notation_is_known() {
        for text in ["4.40100198503121E+17", "1.38e10", "4E17", "1.38E-2"] {
            assert!(is_scientific(text), "{text}");
        }
        for text in ["", "E17", "1E", "1.E5", "138", "12345E", "MJ1E2X", "1.2.3E4"] {
            assert!(!is_scientific(text), "{text}");
        }
    }
}
