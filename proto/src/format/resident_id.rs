//! Resident identity numbers: GB 11643-1999, with the residence permits of Hong Kong, Macao and Taiwan residents.

use std::borrow::Cow;
use std::fmt;

use super::{Day, Fault, text};

/// Not 18 (or the old 15) characters.
pub const LENGTH: Fault = Fault::new(
    "resident_id.length",
    "身份证号应为 18 位，请对照证件补齐或删去多余的字符",
    "an identity number has 18 characters; compare with the card",
);
/// A character that cannot stand in the number.
pub const CHARACTER: Fault = Fault::new(
    "resident_id.character",
    "身份证号只能是数字，末位可以是大写 X，请对照证件改正",
    "an identity number has digits only, and may end with a capital X; compare with the card",
);
/// The number is readable but not in the stored spelling.
pub const SPELLING: Fault = Fault::new(
    "resident_id.spelling",
    "请写成 18 位半角字符，不带空格，末位 X 用大写",
    "write 18 plain characters without spaces, the last X as a capital",
);
/// Some digits are hidden by asterisks.
pub const MASKED: Fault = Fault::new(
    "resident_id.masked",
    "号码被星号遮住，请填写完整的号码",
    "part of the number is hidden by asterisks; give the whole number",
);
/// A spreadsheet turned the number into scientific notation; the last digits are lost.
pub const SCIENTIFIC: Fault = Fault::new(
    "resident_id.scientific",
    "号码被表格软件转成了科学计数法，末几位已丢失，请把该列设为文本格式后重新填写",
    "a spreadsheet turned the number into scientific notation and lost its last digits; set the column to text and enter it again",
);
/// A spreadsheet kept the number as a float; the last three digits became 000.
pub const FLOAT: Fault = Fault::new(
    "resident_id.float",
    "末三位变成了 000，是表格软件按数值保存所致，请把该列设为文本格式后重新填写",
    "the last three digits became 000 because a spreadsheet stored a number; set the column to text and enter it again",
);
/// The first two digits name no province.
pub const PROVINCE: Fault = Fault::new(
    "resident_id.province",
    "前两位不是任何省级行政区的代码，请对照证件改正",
    "the first two digits are no province's code; compare with the card",
);
/// A number of the foreigner's permanent residence card, which is another kind of document.
pub const FOREIGNER: Fault = Fault::new(
    "resident_id.foreigner",
    "以 9 开头的是外国人永久居留身份证号码，请改选相应的证件类型",
    "a number that begins with 9 belongs to a foreigner's permanent residence card; choose that type of document",
);
/// Digits 7 to 14 are no day of the calendar.
pub const BIRTH: Fault = Fault::new(
    "resident_id.birth",
    "第 7 至 14 位不是真实的出生日期，请对照证件改正",
    "digits 7 to 14 are not a real birth date; compare with the card",
);
/// Digits 7 to 14 lie in the future.
pub const FUTURE: Fault = Fault::new(
    "resident_id.future",
    "第 7 至 14 位的出生日期晚于今天，请对照证件改正",
    "the birth date in digits 7 to 14 is later than today; compare with the card",
);
/// The check character does not fit the other seventeen.
pub const CHECK: Fault = Fault::new(
    "resident_id.check",
    "校验位不符，可能有一位写错或相邻两位颠倒，请对照证件逐位核对",
    "the check character does not fit: one digit is wrong or two are swapped; compare with the card digit by digit",
);
/// Warning only: the address code names no county-level place (a province, or a permit that is not `8x0000`).
pub const ADDRESS: Fault = Fault::new(
    "resident_id.address",
    "前六位不是常见的区县代码，请对照证件确认；此项仅作提醒",
    "the first six digits are not a usual county code; please confirm with the card (a warning only)",
);

/// Sex as the 17th digit says: odd male, even female.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sex {
    /// 男.
    Male,
    /// 女.
    Female,
}

/// Which document carries the number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Resident identity card.
    Resident,
    /// Residence permit for Hong Kong residents, 810000.
    HongKong,
    /// Residence permit for Macao residents, 820000.
    Macao,
    /// Residence permit for Taiwan residents, 830000.
    Taiwan,
}

/// A valid number of 18 characters: known province, real birth date not after today, fitting check character.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ResidentId {
    number: [u8; 18],
    birth: Day,
}

impl ResidentId {
    /// Takes the stored spelling only: 18 characters, digits and a capital X.
    pub fn from_canonical(number: &str, today: Day) -> Result<Self, Fault> {
        match <[u8; 18]>::try_from(number.as_bytes()) {
            Ok(bytes) if is_spelled_right(&bytes) => Self::judge(bytes, today),
            _ => Err(Self::parse(number, today).err().unwrap_or(SPELLING)),
        }
    }

    /// Takes what stands in a cell: [`normalise`] first, 15 digits become 18.
    pub fn parse(cell: &str, today: Day) -> Result<Self, Fault> {
        let number = normalise(cell);
        if text::is_scientific(&number) {
            return Err(SCIENTIFIC);
        }
        if number.contains('*') {
            return Err(MASKED);
        }
        if !number.bytes().all(|b| b.is_ascii_digit() || b == b'X') {
            return Err(CHARACTER);
        }
        let bytes = number.as_bytes();
        if let Ok(old) = <&[u8; 15]>::try_from(bytes) {
            return Self::judge(lengthened(old).ok_or(CHARACTER)?, today);
        }
        let bytes = <[u8; 18]>::try_from(bytes).map_err(|_| LENGTH)?;
        if is_spelled_right(&bytes) { Self::judge(bytes, today) } else { Err(CHARACTER) }
    }

    /// The stored spelling.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.number).expect("only ascii digits and X are ever stored")
    }

    /// Birth date, digits 7 to 14.
    pub fn birth(&self) -> Day {
        self.birth
    }

    /// Sex, digit 17.
    pub fn sex(&self) -> Sex {
        if self.number[16] % 2 == 1 { Sex::Male } else { Sex::Female }
    }

    /// Which document carries the number.
    pub fn class(&self) -> Class {
        match &self.number[..2] {
            b"81" => Class::HongKong,
            b"82" => Class::Macao,
            b"83" => Class::Taiwan,
            _ => Class::Resident,
        }
    }

    /// The first six digits: where the number was first issued. Never decides anybody's city.
    pub fn address_code(&self) -> u32 {
        value(&self.number[..6])
    }

    /// A doubt about the address code. Codes change and old ones stay valid for life, so this only ever warns.
    pub fn address_warning(&self) -> Option<Fault> {
        let code = self.address_code();
        let usual = match self.class() {
            Class::Resident => !(code / 100).is_multiple_of(100),
            _ => code.is_multiple_of(10_000),
        };
        if usual { None } else { Some(ADDRESS) }
    }

    fn judge(number: [u8; 18], today: Day) -> Result<Self, Fault> {
        let fits = check_character(&number) == number[17];
        if !fits && number.ends_with(b"000") {
            return Err(FLOAT);
        }
        let province = value(&number[..2]);
        if !is_province(province) && !matches!(province, 81..=83) {
            let issued_in = value(&number[1..3]);
            return Err(if number[0] == b'9' && is_province(issued_in) { FOREIGNER } else { PROVINCE });
        }
        let (year, month, day) = (value(&number[6..10]), value(&number[10..12]), value(&number[12..14]));
        let birth = Day::new(year as u16, month as u8, day as u8).ok_or(BIRTH)?;
        if birth > today {
            return Err(FUTURE);
        }
        if fits { Ok(Self { number, birth }) } else { Err(CHECK) }
    }
}

/// Never shows the number.
impl fmt::Debug for ResidentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResidentId(…)")
    }
}

/// The number without spaces and invisible characters, digits half-width, any kind of X as a capital X.
/// Does not judge it. Borrows when there is nothing to mend.
pub fn normalise(cell: &str) -> Cow<'_, str> {
    let number = text::clean_unspaced(cell);
    // Roman ten, Cyrillic ha and the multiplication sign stand for X when an input method offers nothing better.
    let is_x = |c| matches!(c, 'x' | 'Ⅹ' | 'ⅹ' | 'Х' | 'х' | '×');
    if number.contains(is_x) { Cow::Owned(number.replace(is_x, "X")) } else { number }
}

/// The ISO 7064 MOD 11-2 check character of the first 17 digits; the 18th byte is not looked at.
///
/// `digits` must be ASCII digits, or the result means nothing.
pub fn check_character(digits: &[u8; 18]) -> u8 {
    const WEIGHTS: [u8; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
    let sum: u32 =
        WEIGHTS.iter().zip(digits).map(|(w, d)| u32::from(*w) * u32::from(d.wrapping_sub(b'0'))).sum();
    b"10X98765432"[(sum % 11) as usize]
}

/// The 18 characters of a 15-digit number of before 1999: the century put in, the check character added.
/// The last three digits 996 to 999 were kept for people born in the 19th century.
fn lengthened(old: &[u8; 15]) -> Option<[u8; 18]> {
    if !old.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let mut number = [b'0'; 18];
    number[..6].copy_from_slice(&old[..6]);
    number[6..8].copy_from_slice(if value(&old[12..]) >= 996 { b"18" } else { b"19" });
    number[8..17].copy_from_slice(&old[6..]);
    number[17] = check_character(&number);
    Some(number)
}

fn is_spelled_right(number: &[u8; 18]) -> bool {
    number[..17].iter().all(u8::is_ascii_digit) && (number[17].is_ascii_digit() || number[17] == b'X')
}

/// First two digits of GB/T 2260, Hong Kong and Macao left to the permits.
fn is_province(code: u32) -> bool {
    matches!(code, 11..=15 | 21..=23 | 31..=37 | 41..=46 | 50..=54 | 61..=65 | 71)
}

/// ASCII digits as a number; the callers pass at most six.
fn value(digits: &[u8]) -> u32 {
    digits.iter().fold(0, |n, d| n * 10 + u32::from(d - b'0'))
}

#[cfg(test)]
#[path = "resident_id_tests.rs"]
mod tests;
