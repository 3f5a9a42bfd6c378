//! How a city's clerks write: a style of dates and choices for each city, and small untidiness row by row.
//!
//! Everything here can be read back without guessing. What cannot is a bad row.

use super::person::Person;
use super::random::SplitMix64;

/// Habits of one city's clerks.
#[derive(Debug, Clone)]
pub struct Style {
    dates: Dates,
    /// Birth dates without the day.
    birth_by_month: bool,
    /// Only the year of joining.
    joined_by_year: bool,
    /// 1 and 2 in place of 男 and 女.
    sex_by_number: bool,
    /// 初级, 中级, 高级 in place of the titles.
    short_levels: bool,
}

#[derive(Debug, Clone, Copy)]
enum Dates {
    Iso,
    Slashes,
    Dots,
    Chinese,
    Digits,
}

impl Style {
    /// The habits of a city.
    pub fn new(random: &mut SplitMix64) -> Self {
        let dates = [Dates::Iso, Dates::Slashes, Dates::Dots, Dates::Chinese, Dates::Digits];
        Self {
            dates: dates[random.below(dates.len())],
            birth_by_month: random.chance(300),
            joined_by_year: random.chance(300),
            sex_by_number: random.chance(150),
            short_levels: random.chance(400),
        }
    }

    /// A birth date, in some cities only its month.
    pub fn birth(&self, iso: &str) -> String {
        self.date(if self.birth_by_month { iso.get(..7).unwrap_or(iso) } else { iso })
    }

    /// A date of joining, in some cities only its year.
    pub fn joined(&self, iso: &str) -> String {
        self.date(if self.joined_by_year { iso.get(..4).unwrap_or(iso) } else { iso })
    }

    /// A date that needs its day.
    pub fn exact(&self, iso: &str) -> String {
        self.date(iso)
    }

    /// 男 or 女.
    pub fn sex(&self, sex: &str) -> String {
        let number = if sex == "男" { "1" } else { "2" };
        (if self.sex_by_number { number } else { sex }).to_owned()
    }

    /// A level of qualification.
    pub fn qualification(&self, level: &str) -> String {
        let short = match level {
            "助理社会工作师" => "初级",
            "社会工作师" => "中级",
            "高级社会工作师" => "高级",
            other => other,
        };
        (if self.short_levels { short } else { level }).to_owned()
    }

    fn date(&self, iso: &str) -> String {
        let part = |range: std::ops::Range<usize>| iso.get(range).unwrap_or("");
        let (year, month, day) = (part(0..4), part(5..7), part(8..10));
        let bare = |part: &str| part.trim_start_matches('0').to_owned();
        match self.dates {
            _ if iso.len() <= 4 => iso.to_owned(),
            Dates::Iso => iso.to_owned(),
            Dates::Digits => iso.replace('-', ""),
            Dates::Dots => iso.replace('-', "."),
            Dates::Slashes if day.is_empty() => format!("{year}/{}", bare(month)),
            Dates::Slashes => format!("{year}/{}/{}", bare(month), bare(day)),
            Dates::Chinese if day.is_empty() => format!("{year}年{}月", bare(month)),
            Dates::Chinese => format!("{year}年{}月{}日", bare(month), bare(day)),
        }
    }
}

/// Makes a row a little untidy, as one in ten is.
pub fn untidy(person: &mut Person, random: &mut SplitMix64) {
    if person.name.chars().count() == 2 && random.chance(200) {
        person.name.insert(3, if random.chance(500) { ' ' } else { '\u{3000}' });
    }
    if person.id_number.ends_with('X') && random.chance(300) {
        let tail = random.pick(&["x", "Ｘ", "Ⅹ"]);
        person.id_number.replace_range(17.., tail);
    }
    if random.chance(20) {
        person.id_number = match random.below(3) {
            0 => {
                format!("{} {} {}", &person.id_number[..6], &person.id_number[6..14], &person.id_number[14..])
            }
            1 => format!("'{}", person.id_number),
            _ => format!("\u{200B}{} ", person.id_number),
        };
    }
    let mobile = &person.mobile;
    match random.below(50) {
        0 => person.mobile = format!("+86 {mobile}"),
        1 => person.mobile = format!("{} {} {}", &mobile[..3], &mobile[3..7], &mobile[7..]),
        2 => person.mobile = format!("{}-{}-{}", &mobile[..3], &mobile[3..7], &mobile[7..]),
        _ => {}
    }
}

/// Why a row cannot be taken in as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BadRow {
    /// The check character of the ID number is wrong.
    CheckDigit,
    /// The birth date names a thirteenth month.
    ImpossibleDate,
    /// There is no name.
    MissingName,
    /// The ID number is in scientific notation.
    ScientificNotation,
}

impl BadRow {
    /// All kinds; every roster has at least one row of each.
    pub const ALL: [Self; 4] =
        [Self::CheckDigit, Self::ImpossibleDate, Self::MissingName, Self::ScientificNotation];

    /// Spoils a good row.
    pub fn spoil(self, person: &mut Person) {
        match self {
            Self::CheckDigit => {
                let wrong = if person.id_number.ends_with('5') { "6" } else { "5" };
                person.id_number.replace_range(17.., wrong);
            }
            Self::ImpossibleDate => person.birth_date = "1990-13-30".to_owned(),
            Self::MissingName => person.name.clear(),
            Self::ScientificNotation => {
                let digits = &person.id_number;
                person.id_number = format!("{}.{}E+17", &digits[..1], &digits[1..15]);
            }
        }
    }
}
