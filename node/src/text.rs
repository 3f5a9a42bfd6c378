//! What is said to people: Chinese and English side by side, where they are said.

use std::fmt;

use liandong_proto::schema::Text;

/// The language of the person at the terminal.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Lang {
    /// 中文.
    #[default]
    Zh,
    /// English.
    En,
}

impl Lang {
    /// The language of that name: `zh` or `en`.
    pub fn named(name: &str) -> Option<Lang> {
        match name {
            "zh" => Some(Lang::Zh),
            "en" => Some(Lang::En),
            _ => None,
        }
    }

    /// The language of a locale: the first of LC_ALL, LC_MESSAGES and LANG that is set decides, as POSIX has
    /// it.
    /// Chinese when none is set, or when it names no language (`C`).
    pub fn of_locale(variable: impl Fn(&str) -> Option<String>) -> Lang {
        let mut set = ["LC_ALL", "LC_MESSAGES", "LANG"].iter().filter_map(|name| variable(name));
        let locale = set.find(|value| !value.is_empty()).unwrap_or_default();
        let is_none = |name: &str| locale == name || locale.starts_with(&format!("{name}."));
        if locale.is_empty() || locale.starts_with("zh") || is_none("C") || is_none("POSIX") {
            Lang::Zh
        } else {
            Lang::En
        }
    }

    /// The text of the schema in this language.
    pub fn of(self, text: Text) -> &'static str {
        self.pick(text.zh, text.en)
    }

    /// One of two texts that say the same.
    pub fn pick<T>(self, zh: T, en: T) -> T {
        match self {
            Lang::Zh => zh,
            Lang::En => en,
        }
    }
}

/// One message in both languages. A complaint says what is wrong, what follows from it, and what to do
/// next; it never holds a personal value.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Said {
    /// In Chinese.
    pub zh: String,
    /// In English, beginning with a small letter.
    pub en: String,
}

impl Said {
    /// A message from its two texts.
    pub fn new(zh: impl Into<String>, en: impl Into<String>) -> Said {
        Said { zh: zh.into(), en: en.into() }
    }

    /// The message in one language.
    pub fn in_lang(&self, lang: Lang) -> &str {
        lang.pick(&self.zh, &self.en)
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} · {}", self.zh, self.en)
    }
}

impl From<Text> for Said {
    fn from(text: Text) -> Said {
        Said::new(text.zh, text.en)
    }
}

/// A number with its English noun, in the plural unless there is one: `1 row`, `2 rows`, `3 entries`.
pub fn counted(number: u64, noun: &str) -> String {
    match (number, noun.strip_suffix('y')) {
        (1, _) => format!("1 {noun}"),
        (_, Some(stem)) => format!("{number} {stem}ies"),
        (_, None) => format!("{number} {noun}s"),
    }
}

/// A [`Said`] from two format strings, Chinese first; both may capture variables.
#[macro_export]
macro_rules! say {
    ($zh:literal, $en:literal $(,)?) => {
        $crate::text::Said { zh: format!($zh), en: format!($en) }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(set: &[(&str, &str)], expected: Lang) {
        let variable =
            |name: &str| set.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
        assert_eq!(Lang::of_locale(variable), expected, "{set:?}");
    }

    #[test]
    fn the_locale_chooses_the_language() {
        check(&[], Lang::Zh);
        check(&[("LANG", "zh_CN.UTF-8")], Lang::Zh);
        check(&[("LANG", "en_GB.UTF-8")], Lang::En);
        check(&[("LANG", "pt_BR")], Lang::En);
        check(&[("LANG", "C.UTF-8")], Lang::Zh);
        check(&[("LANG", "POSIX")], Lang::Zh);
        check(&[("LANG", "zh_CN"), ("LC_MESSAGES", "en_US")], Lang::En);
        check(&[("LC_ALL", "zh_TW"), ("LC_MESSAGES", "en_US")], Lang::Zh);
        check(&[("LC_ALL", ""), ("LANG", "en_US")], Lang::En);
    }

    #[test]
    fn one_is_no_plural() {
        assert_eq!([0, 1, 2].map(|n| counted(n, "row")), ["0 rows", "1 row", "2 rows"]);
        assert_eq!([1, 2].map(|n| counted(n, "own entry")), ["1 own entry", "2 own entries"]);
    }

    #[test]
    fn a_message_has_both_languages() {
        let row = 7;
        let said = say!("第 {row} 行", "row {row}");
        assert_eq!((said.in_lang(Lang::Zh), said.in_lang(Lang::En)), ("第 7 行", "row 7"));
    }
}
