//! Calendar days, and dates as rosters know them: a year, a month or a day, never more than was written.

use std::fmt;
use std::ops::Range;

use super::{Fault, text};

/// First year that any date may name; nobody on a roster was born, and nothing happened, before.
pub const FIRST_YEAR: u16 = 1800;
/// Last year that any date may name.
pub const LAST_YEAR: u16 = 2199;

/// Not a date in any accepted spelling.
pub const SHAPE: Fault = Fault::new(
    "date.shape",
    "日期无法识别，请写成 2020-03-12；只知道年月写 2020-03，只知道年份写 2020",
    "not a date; write it as 2020-03-12, or 2020-03 or 2020 when no more is known",
);
/// The calendar has no such day or month, or the year is out of range.
pub const CALENDAR: Fault = Fault::new(
    "date.calendar",
    "日历上没有这一天，请核对年、月、日",
    "no such day in the calendar; check year, month and day",
);
/// The year does not come first with four digits, so that day and month could be confused.
pub const YEAR_FIRST: Fault = Fault::new(
    "date.year_first",
    "请先写四位数的年份，例如 2020-03-12",
    "write the year first, with four digits, such as 2020-03-12",
);
/// A bare number that may be a spreadsheet's day count, which is never guessed.
pub const SERIAL: Fault = Fault::new(
    "date.serial",
    "这像是表格软件内部的日期序号，请把该列设为文本格式后重新填写日期",
    "looks like a spreadsheet's internal day number; set the column to text and write the date again",
);
/// `2020.1` may be January, or October that lost its zero in a number column.
pub const LOST_ZERO: Fault = Fault::new(
    "date.lost_zero",
    "“年.1”可能是一月，也可能是丢了零的十月，请写成 2020-01 或 2020-10",
    "year.1 may be january, or october that lost its zero; write 2020-01 or 2020-10",
);
/// A time of day other than midnight, which may belong to another day in another time zone.
pub const TIME: Fault = Fault::new(
    "date.time",
    "日期后带有时刻，可能因时区差一天，请只写日期",
    "a time of day follows the date and may shift it by a day; write the date alone",
);
/// A field that needs the exact day has only a month or a year.
pub const PRECISION: Fault = Fault::new(
    "date.precision",
    "这里需要精确到日，例如 2020-03-12",
    "the exact day is needed, such as 2020-03-12",
);
/// Four digits of a year were expected.
pub const YEAR: Fault =
    Fault::new("date.year", "请写四位数的年份，例如 2020", "write the year with four digits, such as 2020");

/// A day of the Gregorian calendar between 1800 and 2199.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day {
    year: u16,
    month: u8,
    day: u8,
}

impl Day {
    /// The day, or `None` when the calendar does not have it.
    pub const fn new(year: u16, month: u8, day: u8) -> Option<Self> {
        if year < FIRST_YEAR
            || year > LAST_YEAR
            || month < 1
            || month > 12
            || day < 1
            || day > days_in(year, month)
        {
            return None;
        }
        Some(Self { year, month, day })
    }

    /// The day in China (UTC+8 all year) at a Unix time in milliseconds; later than 2199 counts as its last day.
    ///
    /// Day count to civil date after Howard Hinnant, "chrono-compatible low-level date algorithms".
    pub const fn in_china(unix_ms: u64) -> Self {
        let days = (unix_ms / 1000 + 8 * 3600) / 86_400 + 719_468;
        let era = days / 146_097;
        let of_era = days % 146_097;
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        let year = year_of_era + era * 400 + (month <= 2) as u64;
        if year > LAST_YEAR as u64 {
            return Self { year: LAST_YEAR, month: 12, day: 31 };
        }
        Self { year: year as u16, month: month as u8, day: day as u8 }
    }

    /// The Unix time in milliseconds at which the day begins in China; 0 for days before 1970.
    ///
    /// Civil date to day count after Howard Hinnant, "chrono-compatible low-level date algorithms".
    pub const fn begins_in_china(self) -> u64 {
        // From then to 1970.
        const EPOCH: u64 = 719_468;
        (self.number() as u64 * 86_400).saturating_sub(EPOCH * 86_400 + 8 * 3600) * 1000
    }

    /// Days since the beginning of March of the year 0: what lies between two days is their difference.
    pub const fn number(self) -> i32 {
        let shifted = if self.month > 2 { self.month as i32 - 3 } else { self.month as i32 + 9 };
        let year = self.year as i32 - (self.month <= 2) as i32;
        let of_year = (153 * shifted + 2) / 5 + self.day as i32 - 1;
        year * 365 + year / 4 - year / 100 + year / 400 + of_year
    }

    /// The year, four digits.
    pub const fn year(self) -> u16 {
        self.year
    }

    /// The month, 1 to 12.
    pub const fn month(self) -> u8 {
        self.month
    }

    /// The day of the month, from 1.
    pub const fn day(self) -> u8 {
        self.day
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

/// How much of a date is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Precision {
    /// Only the year.
    Year,
    /// Year and month.
    Month,
    /// The exact day.
    Day,
}

/// A date as far as it is known; its text is `Y`, `Y-M` or `Y-M-D` of ISO 8601, so the precision is in the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Date {
    year: u16,
    /// 0 when not known.
    month: u8,
    /// 0 when not known; not 0 only when the month is known.
    day: u8,
}

impl Date {
    /// The date with the parts that are known, or `None` when the calendar does not have it.
    pub const fn new(year: u16, month: Option<u8>, day: Option<u8>) -> Option<Self> {
        match (month, day) {
            (None, None) if year >= FIRST_YEAR && year <= LAST_YEAR => Some(Self { year, month: 0, day: 0 }),
            (Some(month), None) if Day::new(year, month, 1).is_some() => Some(Self { year, month, day: 0 }),
            (Some(month), Some(day)) if Day::new(year, month, day).is_some() => {
                Some(Self { year, month, day })
            }
            _ => None,
        }
    }

    /// Reads the stored spelling only: `2020`, `2020-03` or `2020-03-12`.
    pub fn from_iso(iso: &str) -> Result<Self, Fault> {
        let b = iso.as_bytes();
        if !matches!(b.len(), 4 | 7 | 10) || (b.len() > 4 && b[4] != b'-') || (b.len() > 7 && b[7] != b'-') {
            return Err(SHAPE);
        }
        let part = |range: Range<usize>| b.get(range).map(|digits| number(digits).ok_or(SHAPE)).transpose();
        Self::from_parts(number(&b[..4]).ok_or(SHAPE)?, part(5..7)?, part(8..10)?)
    }

    /// Reads what clerks write: `1985.03`, `1985/3/12`, `1985年3月12日`, `19850312`, `198503`, `1985`.
    ///
    /// Six bare digits are a year and a month. Anything that could mean two dates is refused, not guessed.
    pub fn read(cell: &str) -> Result<Self, Fault> {
        let cell = text::clean(cell);
        let written = without_midnight(&cell)?;
        if !written.is_empty() && written.bytes().all(|b| b.is_ascii_digit()) {
            return Self::from_bare_digits(written.as_bytes());
        }
        Self::from_groups(written)
    }

    /// How much is known.
    pub const fn precision(self) -> Precision {
        match (self.month, self.day) {
            (0, _) => Precision::Year,
            (_, 0) => Precision::Month,
            _ => Precision::Day,
        }
    }

    /// The Unix time in milliseconds at which the day begins in China; 0 for days before 1970.
    ///
    /// Civil date to day count after Howard Hinnant, "chrono-compatible low-level date algorithms".
    pub const fn begins_in_china(self) -> u64 {
        let year = self.year as u64 - (self.month <= 2) as u64;
        let (era, year_of_era) = (year / 400, year % 400);
        let shifted_month = (self.month as u64 + 9) % 12;
        let of_year = (153 * shifted_month + 2) / 5 + self.day as u64 - 1;
        let days = era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
        (days * 86_400).saturating_sub(719_468 * 86_400 + 8 * 3600) * 1000
    }

    /// The year, four digits.
    pub const fn year(self) -> u16 {
        self.year
    }

    /// The month, 1 to 12, when it is known.
    pub const fn month(self) -> Option<u8> {
        if self.month == 0 { None } else { Some(self.month) }
    }

    /// The exact day, when it is known.
    pub const fn to_day(self) -> Option<Day> {
        Day::new(self.year, self.month, self.day)
    }

    /// The first day that this date can mean.
    pub fn first_day(self) -> Day {
        Day { year: self.year, month: self.month.max(1), day: self.day.max(1) }
    }

    /// The last day that this date can mean.
    pub fn last_day(self) -> Day {
        let month = if self.month == 0 { 12 } else { self.month };
        let day = if self.day == 0 { days_in(self.year, month) } else { self.day };
        Day { year: self.year, month, day }
    }

    /// Whether this date is after `other` whatever days the two mean: `2020` is not after `2020-03`.
    pub fn is_surely_after(self, other: Self) -> bool {
        self.first_day() > other.last_day()
    }

    /// Whether the two may mean one day: `1985-03` and `1985-03-12` do.
    pub fn may_equal(self, other: Self) -> bool {
        !self.is_surely_after(other) && !other.is_surely_after(self)
    }

    /// At most two digits of month and day; a part that was written must be real, so 0 is a mistake, not "unknown".
    fn from_parts(year: u16, month: Option<u16>, day: Option<u16>) -> Result<Self, Fault> {
        Self::new(year, month.map(|m| m as u8), day.map(|d| d as u8)).ok_or(CALENDAR)
    }

    fn from_bare_digits(b: &[u8]) -> Result<Self, Fault> {
        let part = |range: Range<usize>| b.get(range).and_then(number);
        match b.len() {
            4 | 6 | 8 => Self::from_parts(part(0..4).ok_or(SHAPE)?, part(4..6), part(6..8)),
            5 => Err(SERIAL),
            _ => Err(SHAPE),
        }
    }

    fn from_groups(written: &str) -> Result<Self, Fault> {
        let is_mark =
            |c: char| matches!(c, '.' | '/' | '-' | '年' | '月' | '。' | '–' | '—' | '日' | '号' | ' ');
        if !written.chars().all(|c| c.is_ascii_digit() || is_mark(c)) {
            return Err(SHAPE);
        }
        let mut groups = written.split(is_mark).filter(|group| !group.is_empty());
        let year = groups.next().ok_or(SHAPE)?;
        let (month, day) = (groups.next(), groups.next());
        let short = |group: Option<&str>| group.is_none_or(|g| g.len() <= 2);
        if groups.next().is_some() || (month.is_none() && !written.ends_with(['年', '.'])) {
            return Err(SHAPE);
        }
        if year.len() != 4 {
            return Err(YEAR_FIRST);
        }
        if !short(month) || !short(day) {
            return Err(SHAPE);
        }
        if written.len() == 6 && written.as_bytes()[4] == b'.' && month == Some("1") {
            return Err(LOST_ZERO);
        }
        let value = |group: Option<&str>| group.map(|g| number(g.as_bytes()).ok_or(SHAPE)).transpose();
        Self::from_parts(number(year.as_bytes()).ok_or(SHAPE)?, value(month)?, value(day)?)
    }
}

impl From<Day> for Date {
    fn from(day: Day) -> Self {
        Self { year: day.year, month: day.month, day: day.day }
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.precision() {
            Precision::Year => write!(f, "{:04}", self.year),
            Precision::Month => write!(f, "{:04}-{:02}", self.year, self.month),
            Precision::Day => self.first_day().fmt(f),
        }
    }
}

/// Four digits of a year between [`FIRST_YEAR`] and [`LAST_YEAR`].
pub fn check_year(text: &str) -> Result<u16, Fault> {
    let year = if text.len() == 4 { number(text.as_bytes()) } else { None };
    check_year_number(year.ok_or(YEAR)?.into())
}

/// A year between [`FIRST_YEAR`] and [`LAST_YEAR`].
pub fn check_year_number(year: u64) -> Result<u16, Fault> {
    u16::try_from(year).ok().filter(|year| (FIRST_YEAR..=LAST_YEAR).contains(year)).ok_or(YEAR)
}

const fn days_in(year: u16, month: u8) -> u8 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// At most four ASCII digits as a number.
fn number(digits: &[u8]) -> Option<u16> {
    digits.iter().try_fold(0, |n: u16, &b| b.is_ascii_digit().then(|| n * 10 + u16::from(b - b'0')))
}

/// Drops the midnight that spreadsheets add to a date.
fn without_midnight(cell: &str) -> Result<&str, Fault> {
    let Some((date, time)) = cell.split_once(['T', ' ']).filter(|(_, time)| time.contains(':')) else {
        return Ok(cell);
    };
    if time.chars().all(|c| matches!(c, '0' | ':' | '.' | 'Z')) { Ok(date) } else { Err(TIME) }
}

#[cfg(test)]
#[path = "date_tests.rs"]
mod tests;
