//! Names of people: Chinese ones, ones with a middle dot, and Latin ones.

use std::borrow::Cow;

use super::{Fault, text};

/// Nothing is written.
pub const EMPTY: Fault = Fault::new("name.empty", "姓名不能为空", "a name is needed");
/// A character that no name has.
pub const CHARACTER: Fault = Fault::new(
    "name.character",
    "姓名里有数字或符号，请只写姓名，其他说明写在备注",
    "a name has no digits or symbols; write the name alone and put the rest in the remarks",
);
/// Longer than any name.
pub const LENGTH: Fault = Fault::new(
    "name.length",
    "姓名过长，请只写一个人的姓名",
    "too long for a name; write one person's name alone",
);
/// Several lines, of which a name has one.
pub const LINES: Fault = Fault::new(
    "name.lines",
    "姓名里有换行，可能混入了其他内容；请只写一个名称，写成一行",
    "a name over several lines may have swallowed something else; write one name on one line",
);
/// A mobile or document number, which a name would carry out of the city.
pub const NUMBER: Fault = Fault::new(
    "name.number",
    "名称里像是有手机号或证件号，不能随名称离开本市；请把号码移到各自的栏，这里只写名称",
    "holds what looks like a mobile or document number, which must not leave the city with the name; move it to its \
     own column and write the name alone",
);
/// The name is readable but not in the stored spelling.
pub const SPELLING: Fault = Fault::new(
    "name.spelling",
    "两字姓名中间和首尾不要加空格，间隔点请用“·”",
    "no spaces inside a short chinese name or around any name, and the middle dot is ·",
);

/// The longest name in characters; transliterated names of ethnic minorities reach the thirties.
pub const MAX_CHARACTERS: usize = 50;

/// Checks what holds for the names of people and organisations alike.
pub fn check_any(name: &str) -> Result<(), Fault> {
    if text::has_line_break(name) {
        return Err(LINES);
    }
    if text::holds_number(name) { Err(NUMBER) } else { Ok(()) }
}

/// Checks the stored spelling of a person's name: letters of any script, single spaces, `·`, `'`, `-`, `.`; at most [`MAX_CHARACTERS`].
pub fn check(name: &str) -> Result<(), Fault> {
    if name.is_empty() {
        return Err(EMPTY);
    }
    let mut characters = 0;
    let mut has_space = false;
    for c in name.chars() {
        characters += 1;
        has_space |= c == ' ';
        if !(text::is_han(c) || c.is_alphabetic() || matches!(c, ' ' | '·' | '\'' | '-' | '.')) {
            return Err(if tidy(name).chars().all(|c| c.is_alphabetic() || c == '·') {
                SPELLING
            } else {
                CHARACTER
            });
        }
    }
    if characters > MAX_CHARACTERS {
        return Err(LENGTH);
    }
    if has_space && tidy(name) != name { Err(SPELLING) } else { Ok(()) }
}

/// Whether a name is an organisation's: it has more Han characters than any Chinese name without a middle dot.
pub fn is_organisation(name: &str) -> bool {
    !name.contains('·') && name.chars().filter(|c| text::is_han(*c)).nth(5).is_some()
}

/// The stored spelling of a cell. A line break, which [`tidy`] would make a space, is refused here: it is the mark of a
/// cell that has swallowed the rows below it.
pub fn read(cell: &str) -> Result<Cow<'_, str>, Fault> {
    if text::has_line_break(cell) { Err(LINES) } else { Ok(tidy(cell)) }
}

/// The name of a cell: ends trimmed, inner spaces of Chinese names of two or three characters stripped (`王 芳`), other
/// spaces single, every kind of middle dot between Han characters made `·`. Does not judge it.
pub fn tidy(cell: &str) -> Cow<'_, str> {
    let cleaned = text::clean(cell);
    let is_dot = |c| matches!(c, '•' | '・' | '‧' | '∙' | '⋅' | '●' | '･');
    let is_han_dotted = cleaned.contains(text::is_han) && (cleaned.contains(is_dot) || cleaned.contains('.'));
    if !cleaned.contains(' ') && !is_han_dotted {
        return cleaned;
    }
    let letters = cleaned.chars().filter(|c| *c != ' ').count();
    let is_short_chinese = letters <= 3 && cleaned.chars().all(|c| c == ' ' || text::is_han(c));
    let words = cleaned.split(' ').filter(|word| !word.is_empty());
    let mut name = words.collect::<Vec<_>>().join(if is_short_chinese { "" } else { " " });
    if is_han_dotted {
        name = name.replace(|c| is_dot(c) || c == '.', "·").replace(" ·", "·").replace("· ", "·");
    }
    Cow::Owned(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn tidies(cell: &str, expected: &str) {
        assert_eq!(tidy(cell), expected, "{cell}");
        assert_eq!(tidy(expected), expected, "tidying twice changes nothing");
        assert_eq!(check(expected), Ok(()), "{expected}");
    }

    #[test]
    fn cells_are_mended() {
        tidies("王芳", "王芳");
        tidies("王 芳", "王芳");
        tidies("王\u{3000}\u{3000}芳", "王芳");
        tidies("欧阳 娜", "欧阳娜");
        tidies("李 小 龙", "李小龙");
        tidies("王 〇", "王〇");
        tidies(" 欧阳 小娜 ", "欧阳 小娜");
        tidies("阿依古丽·买买提", "阿依古丽·买买提");
        tidies("阿依古丽•买买提", "阿依古丽·买买提");
        tidies("阿依古丽 ・ 买买提", "阿依古丽·买买提");
        tidies("阿依古丽．买买提", "阿依古丽·买买提");
        tidies("Chan  Tai Man", "Chan Tai Man");
        tidies("J. O'Neil-Li", "J. O'Neil-Li");
        tidies("\u{FEFF}㛃\u{20BB7}", "㛃\u{20BB7}");
    }

    #[test]
    fn mistakes_are_named() {
        for (name, fault) in [
            ("", EMPTY),
            ("王芳1", CHARACTER),
            ("王芳(组长)", CHARACTER),
            ("王芳、李娜", CHARACTER),
            ("王芳\u{0}", CHARACTER),
            ("王 芳", SPELLING),
            ("王芳 ", SPELLING),
            ("王　芳", SPELLING),
            ("Chan  Tai", SPELLING),
            ("阿依古丽•买买提", SPELLING),
        ] {
            assert_eq!(check(name), Err(fault), "{name}");
        }
        assert_eq!(check(&"王".repeat(MAX_CHARACTERS)), Ok(()));
        assert_eq!(check(&"王".repeat(MAX_CHARACTERS + 1)), Err(LENGTH));
    }

    #[test]
    fn no_name_has_lines_or_numbers() {
        assert_eq!(read("示例社工服务中心\n13800138000"), Err(LINES));
        assert_eq!(read("王芳\r\n李娜"), Err(LINES));
        assert_eq!(read("王 芳\n"), Ok("王芳".into()));
        assert_eq!(check_any("示例社工服务中心\n王芳"), Err(LINES));
        assert_eq!(check_any("示例社工服务中心13800138000"), Err(NUMBER));
        assert_eq!(check_any("示例社工服务中心11010519491231002X"), Err(NUMBER));
        assert_eq!(check_any("广州市示例社会工作服务中心(第2分部)"), Ok(()));
    }

    #[test]
    fn organisations_have_longer_names() {
        assert!(is_organisation("广州市示例社会工作服务中心(第2分部)"));
        assert!(is_organisation("示例社工中心"));
        for name in ["欧阳小娜", "上官欧阳娜", "阿依古丽·买买提江·吐尔逊", "Guangdong Association"]
        {
            assert!(!is_organisation(name), "{name}");
        }
    }
}
