//! Unified social credit codes of organisations: GB 32100-2015.

use std::borrow::Cow;
use std::fmt;

use super::{Fault, text};

/// Not 18 characters.
pub const LENGTH: Fault = Fault::new(
    "uscc.length",
    "统一社会信用代码应为 18 位，请对照登记证书补齐",
    "a unified social credit code has 18 characters; compare with the certificate",
);
/// The old nine-character organisation code, which the new one contains.
pub const OLD_CODE: Fault = Fault::new(
    "uscc.old_code",
    "这像是旧的 9 位组织机构代码，请填写登记证书上 18 位的统一社会信用代码",
    "looks like the old nine-character organisation code; give the 18 characters on the certificate",
);
/// A character that cannot stand in the code, or a letter among the six digits of the place.
pub const CHARACTER: Fault = Fault::new(
    "uscc.character",
    "只能用数字和大写字母，不用 I、O、S、V、Z，第 3 至 8 位为数字；请检查是否把 0 写成 O、1 写成 I",
    "digits and capitals only, without I, O, S, V and Z, and characters 3 to 8 are digits; look for O in place of 0 or I in place of 1",
);
/// The code is readable but not in the stored spelling.
pub const SPELLING: Fault = Fault::new(
    "uscc.spelling",
    "请写成 18 位半角字符，不带空格，字母用大写",
    "write 18 plain characters without spaces, letters as capitals",
);
/// A spreadsheet turned the code into scientific notation.
pub const SCIENTIFIC: Fault = Fault::new(
    "uscc.scientific",
    "代码被表格软件转成了科学计数法，请把该列设为文本格式后重新填写",
    "a spreadsheet turned the code into scientific notation; set the column to text and enter it again",
);
/// The check character does not fit.
pub const CHECK: Fault = Fault::new(
    "uscc.check",
    "校验位不符，可能有一位写错或相邻两位颠倒，请对照登记证书逐位核对",
    "the check character does not fit: one character is wrong or two are swapped; compare with the certificate",
);

/// The 31 characters of GB 32100 in the order of their values.
const ALPHABET: &[u8; 31] = b"0123456789ABCDEFGHJKLMNPQRTUWXY";

/// A valid code of 18 characters.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Uscc([u8; 18]);

impl Uscc {
    /// Takes the stored spelling only: 18 characters, letters as capitals.
    pub fn from_canonical(code: &str) -> Result<Self, Fault> {
        let Ok(bytes) = <[u8; 18]>::try_from(code.as_bytes()) else {
            return Err(Self::parse(code).err().unwrap_or(SPELLING));
        };
        let is_lower = bytes.iter().any(u8::is_ascii_lowercase);
        Self::judge(bytes).and_then(|code| if is_lower { Err(SPELLING) } else { Ok(code) })
    }

    /// Takes what stands in a cell: wide and small letters, spaces and dashes are mended.
    pub fn parse(cell: &str) -> Result<Self, Fault> {
        let code = normalise(cell);
        if text::is_scientific(&code) {
            return Err(SCIENTIFIC);
        }
        let bytes = code.as_bytes();
        if bytes.len() == 9 && bytes.iter().all(u8::is_ascii_alphanumeric) {
            return Err(OLD_CODE);
        }
        Self::judge(bytes.try_into().map_err(|_| LENGTH)?)
    }

    /// The stored spelling.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("only ascii letters and digits are ever stored")
    }

    fn judge(code: [u8; 18]) -> Result<Self, Fault> {
        let code = code.map(|b| b.to_ascii_uppercase());
        if !code[2..8].iter().all(u8::is_ascii_digit) {
            return Err(CHARACTER);
        }
        let check = check_character(&code).ok_or(CHARACTER)?;
        if !ALPHABET.contains(&code[17]) {
            return Err(CHARACTER);
        }
        if check == code[17] { Ok(Self(code)) } else { Err(CHECK) }
    }
}

/// A code is public, but most values beside it are not; kept out of logs all the same.
impl fmt::Debug for Uscc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Uscc(…)")
    }
}

/// The code without spaces, dashes and invisible characters, half-width, letters as capitals. Does not judge it.
pub fn normalise(cell: &str) -> Cow<'_, str> {
    let code = text::clean_unspaced(cell);
    if code.contains(|c: char| c == '-' || c.is_ascii_lowercase()) {
        return Cow::Owned(code.replace('-', "").to_ascii_uppercase());
    }
    code
}

/// The MOD 31 check character of the first 17, or `None` when one of them is not of the alphabet.
pub fn check_character(code: &[u8; 18]) -> Option<u8> {
    const WEIGHTS: [u32; 17] = [1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28];
    let mut sum = 0;
    for (weight, &character) in WEIGHTS.iter().zip(code) {
        sum += weight * u32::from(VALUES[usize::from(character)]?);
    }
    Some(ALPHABET[((31 - sum % 31) % 31) as usize])
}

/// Character → value.
static VALUES: [Option<u8>; 256] = {
    let mut values = [None; 256];
    let mut n = 0;
    while n < ALPHABET.len() {
        values[ALPHABET[n] as usize] = Some(n as u8);
        n += 1;
    }
    values
};

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(cell: &str, expected: Result<&str, Fault>) {
        assert_eq!(Uscc::parse(cell).as_ref().map(Uscc::as_str), expected.as_ref().copied(), "{cell}");
    }

    #[test]
    fn cells_are_mended() {
        check("51440000MJ0000018G", Ok("51440000MJ0000018G"));
        check("51440000mj0000018g", Ok("51440000MJ0000018G"));
        check(" 5144 0000 MJ00 0001 8G", Ok("51440000MJ0000018G"));
        check("51440000-MJ0000018-G", Ok("51440000MJ0000018G"));
        check("５１４４００００ＭＪ００００018Ｇ", Ok("51440000MJ0000018G"));
    }

    #[test]
    fn mistakes_are_named() {
        check("51440000MJ00000180", Err(CHECK));
        check("51440000MJ0000081G", Err(CHECK));
        check("51440000MJ000001BG", Err(CHECK));
        check("51440000IJ0000018G", Err(CHARACTER));
        check("5144000OMJ0000018G", Err(CHARACTER));
        check("51440A00MJ0000018G", Err(CHARACTER));
        check("51A40000MJ0000018G", Err(CHARACTER));
        check("5144000AMJ0000018G", Err(CHARACTER));
        check("51440000MJ0000018Z", Err(CHARACTER));
        check("51440000MJ0000018", Err(LENGTH));
        check("51440000MJ0000018GG", Err(LENGTH));
        check("", Err(LENGTH));
        check("王芳王芳王芳", Err(CHARACTER));
        check("MJ0000018", Err(OLD_CODE));
        check("MJ000001-8", Err(OLD_CODE));
        check("9.1440100E+17", Err(SCIENTIFIC));
    }

    #[test]
    fn the_stored_spelling_is_strict() {
        assert!(Uscc::from_canonical("51440000MJ0000018G").is_ok());
        assert_eq!(Uscc::from_canonical("51440000mj0000018g"), Err(SPELLING));
        assert_eq!(Uscc::from_canonical("51440000-MJ0000018-G"), Err(SPELLING));
        assert_eq!(Uscc::from_canonical("51440000MJ00000180"), Err(CHECK));
        assert_eq!(Uscc::from_canonical("MJ0000018"), Err(OLD_CODE));
    }

    /// The sum as GB 32100 states it: the value of place i times 3 to the power i - 1.
    #[test]
    fn check_characters_follow_the_formula() {
        let mut state = 1_u64;
        for _ in 0..500 {
            let mut code = [b'0'; 18];
            for (place, character) in code[..17].iter_mut().enumerate() {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let values = if (2..8).contains(&place) { 10 } else { 31 };
                *character = ALPHABET[((state >> 33) % values) as usize];
            }
            let value = |c: u8| ALPHABET.iter().position(|a| *a == c).unwrap() as u64;
            let sum: u64 = (0..17).map(|place| value(code[place]) * 3_u64.pow(place as u32)).sum();
            let expected = (0..31).find(|check| (sum + check).is_multiple_of(31)).unwrap();
            assert_eq!(check_character(&code), Some(ALPHABET[expected as usize]), "{code:?}");
        }
    }

    #[test]
    fn a_published_code_is_valid() {
        check("91350100M000100Y43", Ok("91350100M000100Y43"));
    }

    #[test]
    fn every_changed_character_is_caught() {
        let good = *b"51440100MJ0000026G";
        for place in 0..18 {
            for &other in ALPHABET.iter().filter(|&&c| c != good[place]) {
                let mut code = good;
                code[place] = other;
                assert!(Uscc::judge(code).is_err(), "place {place}");
            }
        }
    }
}
