//! Mobile numbers of the mainland: `1[3-9]` and nine digits.

use std::fmt;

use super::{Fault, text};

/// Not a mainland mobile number.
pub const SHAPE: Fault = Fault::new(
    "mobile.shape",
    "手机号应为 11 位，以 13 至 19 开头；固定电话请填在其他栏",
    "a mobile number has 11 digits and begins with 13 to 19; put a landline elsewhere",
);
/// Several numbers in one cell where one is wanted.
pub const SEVERAL: Fault = Fault::new(
    "mobile.several",
    "一格里有几个号码，请只留一个常用手机号",
    "several numbers in one cell; keep the one in use",
);
/// A spreadsheet turned the number into scientific notation.
pub const SCIENTIFIC: Fault = Fault::new(
    "mobile.scientific",
    "号码被表格软件转成了科学计数法，请把该列设为文本格式后重新填写",
    "a spreadsheet turned the number into scientific notation; set the column to text and enter it again",
);
/// Some digits are hidden by asterisks.
pub const MASKED: Fault = Fault::new(
    "mobile.masked",
    "号码被星号遮住，请填写完整的号码",
    "part of the number is hidden by asterisks; give the whole number",
);
/// The number is readable but not in the stored spelling.
pub const SPELLING: Fault = Fault::new(
    "mobile.spelling",
    "请写成 11 位数字，不带国家码、空格和横线",
    "write the 11 digits without country code, spaces or dashes",
);

/// A valid mobile number of 11 digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mobile([u8; 11]);

impl Mobile {
    /// Takes the stored spelling only: 11 digits.
    pub fn from_canonical(number: &str) -> Result<Self, Fault> {
        let exact = <[u8; 11]>::try_from(number.as_bytes()).ok().and_then(Self::judge);
        exact.ok_or_else(|| Self::parse(number).err().unwrap_or(SPELLING))
    }

    /// Takes what stands in a cell that should hold one number.
    pub fn parse(cell: &str) -> Result<Self, Fault> {
        let mut numbers = split_mobiles(cell).into_iter();
        match (numbers.next(), numbers.next()) {
            (Some(only), None) => only,
            (None, _) => Err(SHAPE),
            (Some(_), Some(_)) => Err(SEVERAL),
        }
    }

    /// The stored spelling.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("only ascii digits are ever stored")
    }

    fn judge(number: [u8; 11]) -> Option<Self> {
        let is_mobile = number[0] == b'1' && number[1] >= b'3' && number.iter().all(u8::is_ascii_digit);
        is_mobile.then_some(Self(number))
    }

    /// One number without spaces: country code, dashes, brackets and a float's `.0` are dropped.
    fn from_unspaced(written: &str) -> Result<Self, Fault> {
        if text::is_scientific(written) {
            return Err(SCIENTIFIC);
        }
        if written.contains('*') {
            return Err(MASKED);
        }
        let written = written.strip_suffix(".0").unwrap_or(written);
        let digits: String = written.chars().filter(|c| !matches!(c, '-' | '–' | '—' | '(' | ')')).collect();
        let national =
            ["+86", "0086", "86"].iter().find_map(|code| digits.strip_prefix(code)).unwrap_or(&digits);
        <[u8; 11]>::try_from(national.as_bytes()).ok().and_then(Self::judge).ok_or(SHAPE)
    }
}

/// Never shows the number.
impl fmt::Debug for Mobile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mobile(…)")
    }
}

/// The numbers of a cell in their order, each read or refused: split at `/ 、 ; , |`, at 或, and at spaces where the
/// parts are whole numbers by themselves (`138 0000 0000` is one number, not three).
pub fn split_mobiles(cell: &str) -> Vec<Result<Mobile, Fault>> {
    let cell = text::clean(cell);
    let mut numbers = Vec::new();
    for part in cell.split(['/', '、', ';', ',', '|', '或', '\\']) {
        let mut written = String::new();
        for group in part.split_whitespace() {
            written.push_str(group);
            if let Ok(number) = Mobile::from_unspaced(&written) {
                numbers.push(Ok(number));
                written.clear();
            }
        }
        if !written.is_empty() {
            numbers.push(Mobile::from_unspaced(&written));
        }
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(cell: &str, expected: &[Result<&str, Fault>]) {
        let numbers = split_mobiles(cell);
        let numbers: Vec<_> =
            numbers.iter().map(|n| n.as_ref().map(Mobile::as_str).map_err(|f| *f)).collect();
        assert_eq!(numbers, expected, "{cell}");
    }

    #[test]
    fn one_number_in_many_spellings() {
        for cell in [
            "13800138000",
            "+8613800138000",
            "+86 138 0013 8000",
            "86-13800138000",
            "(+86)13800138000",
            "0086 13800138000",
            "138-0013-8000",
            "１３８００１３８０００",
            "'13800138000",
            "13800138000.0",
            "\u{200B}13800138000 ",
        ] {
            check(cell, &[Ok("13800138000")]);
        }
    }

    #[test]
    fn a_cell_may_hold_two_numbers() {
        for cell in [
            "13800138000/15900159000",
            "13800138000、15900159000",
            "13800138000；15900159000",
            "13800138000 15900159000",
            "138 0013 8000 159 0015 9000",
            "+86 13800138000 / +86 15900159000",
            "13800138000\n15900159000",
        ] {
            check(cell, &[Ok("13800138000"), Ok("15900159000")]);
        }
        check("13800138000/0755-12345678", &[Ok("13800138000"), Err(SHAPE)]);
        check("0755-12345678 13800138000", &[Err(SHAPE)]);
        assert_eq!(Mobile::parse("13800138000/15900159000"), Err(SEVERAL));
    }

    #[test]
    fn mistakes_are_named() {
        for cell in [
            "1380013800",
            "138001380001",
            "12800138000",
            "23800138000",
            "1380013800x",
            "1380013800015900159000",
            "无",
        ] {
            check(cell, &[Err(SHAPE)]);
        }
        check("", &[]);
        assert_eq!(Mobile::parse(""), Err(SHAPE));
        assert_eq!(Mobile::parse(" / "), Err(SHAPE));
        check("1.38E+10", &[Err(SCIENTIFIC)]);
        check("138****8000", &[Err(MASKED)]);
    }

    #[test]
    fn the_stored_spelling_is_strict() {
        for number in ["13000000000", "19999999999"] {
            assert_eq!(Mobile::from_canonical(number).unwrap().as_str(), number);
        }
        assert_eq!(Mobile::from_canonical("+8613800138000"), Err(SPELLING));
        assert_eq!(Mobile::from_canonical("138-00138000"), Err(SPELLING));
        assert_eq!(Mobile::from_canonical("12000000000"), Err(SHAPE));
    }
}
