//! Tables of text for a terminal, aligned also where a character takes two columns.

use liandong_proto::format::Day;
use unicode_width::UnicodeWidthStr as _;

/// The widest a cell of a list may be, in columns; what is longer is cut.
const MAX_CELL: usize = 40;

/// Rows of cells under headings.
#[derive(Debug, Clone, Default)]
pub struct Table {
    headings: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with headings and no rows.
    pub fn new<S: Into<String>>(headings: impl IntoIterator<Item = S>) -> Table {
        Table { headings: headings.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    /// Adds a row.
    pub fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.rows.push(cells.into_iter().map(|cell| cut(&cell.into())).collect());
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table as lines.
    pub fn render(&self) -> String {
        let lines = || std::iter::once(&self.headings).chain(&self.rows);
        let columns = lines().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns)
            .map(|column| {
                lines().filter_map(|line| line.get(column)).map(|cell| cell.width()).max().unwrap_or(0)
            })
            .collect();
        let mut out = String::new();
        for line in lines() {
            let mut text = String::new();
            for (cell, width) in line.iter().zip(&widths) {
                text.push_str(cell);
                text.push_str(&" ".repeat(width - cell.width() + 2));
            }
            out.push_str(text.trim_end());
            out.push('\n');
        }
        out
    }
}

/// Lines of label and value; values of several lines are indented.
pub fn pairs<'a>(lines: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let lines: Vec<(&str, String)> = lines.into_iter().collect();
    let width = lines.iter().map(|(label, _)| label.width()).max().unwrap_or(0);
    let mut out = String::new();
    for (label, value) in lines {
        let value = value.trim_end().replace('\n', &format!("\n{}", " ".repeat(width + 2)));
        out.push_str(&format!("{label}{}{value}\n", " ".repeat(width - label.width() + 2)));
    }
    out
}

/// A time in milliseconds since 1970 as a clock in China shows it; a dash for 0.
pub fn moment(ms: u64) -> String {
    if ms == 0 {
        return "-".to_owned();
    }
    let of_day = (ms / 1000 + 8 * 3600) % 86_400;
    format!("{} {:02}:{:02}:{:02}", Day::in_china(ms), of_day / 3600, of_day / 60 % 60, of_day % 60)
}

fn cut(cell: &str) -> String {
    let one_line = cell.replace(['\n', '\r', '\t'], " ");
    if one_line.width() <= MAX_CELL {
        return one_line;
    }
    let mut kept = String::new();
    for c in one_line.chars() {
        if kept.width() >= MAX_CELL - 2 {
            break;
        }
        kept.push(c);
    }
    kept + "…"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_characters_are_aligned() {
        let mut table = Table::new(["姓名", "no"]);
        table.row(["王芳", "1"]);
        table.row(["Li", "22"]);
        assert_eq!(table.render(), "姓名  no\n王芳  1\nLi    22\n");
        assert_eq!(pairs([("姓名", "王芳".into()), ("id", "a\nb".into())]), "姓名  王芳\nid    a\n      b\n");
    }

    #[test]
    fn moments_are_in_china() {
        assert_eq!(moment(1_700_000_000_000), "2023-11-15 06:13:20");
        assert_eq!(moment(0), "-");
    }

    #[test]
    fn long_cells_are_cut() {
        let mut table = Table::new(["a"]);
        table.row(["字".repeat(60)]);
        assert!(
            table.render().lines().nth(1).is_some_and(|line| line.width() <= MAX_CELL && line.ends_with('…'))
        );
    }
}
