//! A CSV file as a sheet: what separates its cells, where its headings stand, its rows one by one.

use std::fs::File;
use std::io::{BufReader, Chain, Read as _};

use csv::{ByteRecord, Reader, ReaderBuilder, StringRecord};
use liandong_proto::schema::Kind;

use super::headers;
use super::lines::Lines;
use crate::say;
use crate::text::{Said, counted};

/// Separators that spreadsheets write.
const SEPARATORS: [u8; 3] = [b',', b';', b'\t'];
/// Titles and remarks may stand above the headings, but not more lines than this.
const HEADER_WITHIN: usize = 20;
/// A row over more lines than this is a quotation mark without its partner.
const MOST_LINES: u64 = 20;
/// Stands behind the last line. Where a quotation mark is still open there, it ends up in that mark's cell in place of
/// a row of its own. No sheet holds a zero byte: the survey refuses such files.
const END: &[u8] = b"\0\n";

/// How a sheet is laid out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// What stands between two cells.
    pub separator: u8,
    /// How many rows, not counting empty lines, stand above the headings.
    pub above: usize,
    /// The headings, trimmed.
    pub headings: Vec<String>,
}

impl Layout {
    /// Finds the layout in which most headings mean fields of the kind.
    ///
    /// # Errors
    /// When no row looks like headings.
    pub fn sniff(kind: &'static Kind, head: &[u8]) -> Result<Layout, Said> {
        let mut best: Option<(usize, Layout)> = None;
        for separator in SEPARATORS {
            let mut rows = reader(separator, Lines::new(head)).into_records();
            for above in 0..HEADER_WITHIN {
                let Some(Ok(row)) = rows.next() else { break };
                let score = headers::recognised(kind, row.iter());
                if score > best.as_ref().map_or(0, |(score, _)| *score) {
                    let headings = row.iter().map(|heading| heading.trim().to_owned()).collect();
                    best = Some((score, Layout { separator, above, headings }));
                }
            }
        }
        best.map(|(_, layout)| layout).ok_or_else(|| {
            let (zh, en) = (kind.title.zh, kind.title.en);
            let required = kind.fields.iter().filter(|field| field.required).map(|field| field.label.zh);
            let required = required.collect::<Vec<_>>().join("、");
            say!(
                "前 {HEADER_WITHIN} 行里没有找到“{zh}”的表头；没有导入任何内容。请让表头独占一行，列名如：{required}",
                "no headings of \"{en}\" in the first {HEADER_WITHIN} rows; nothing was imported. Put the \
                 headings in a row of their own, such as: {required}"
            )
        })
    }
}

/// One row as it stands in the file.
#[derive(Debug, Clone)]
pub struct Row {
    /// As a spreadsheet counts, from 1.
    pub number: u64,
    /// The cells.
    pub cells: StringRecord,
    /// It has fewer cells than there are headings.
    pub is_short: bool,
    /// Why the row as such cannot be right.
    pub fault: Option<Said>,
}

/// The rows below the headings; memory does not grow with them.
#[derive(Debug)]
pub struct Rows {
    reader: Reader<Chain<Lines<BufReader<File>>, &'static [u8]>>,
    separator: char,
    columns: usize,
    record: ByteRecord,
    /// Line breaks within cells so far: a spreadsheet does not count them.
    inner_breaks: u64,
    text_from: u64,
}

impl Rows {
    /// The rows of a file that stands at the beginning of its text.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn new(file: File, layout: &Layout, text_from: u64) -> Result<Rows, csv::Error> {
        let lines = Lines::new(BufReader::with_capacity(1 << 20, file)).chain(END);
        let reader = reader(layout.separator, lines);
        let (separator, columns) = (char::from(layout.separator), layout.headings.len());
        let record = ByteRecord::new();
        let mut rows = Rows { reader, separator, columns, record, inner_breaks: 0, text_from };
        for _ in 0..=layout.above {
            rows.read()?;
        }
        Ok(rows)
    }

    /// How many bytes of the file have been read.
    pub fn bytes_read(&self) -> u64 {
        self.text_from + self.reader.get_ref().get_ref().0.bytes_taken()
    }

    /// The next row with anything in it; `None` at the end.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn next_row(&mut self) -> Result<Option<Row>, csv::Error> {
        while let Some(Place { number, lines_below, is_open }) = self.read()? {
            // The survey has seen that all of it is UTF-8; a file changed since then is met with a
            // replacement character.
            let cells: StringRecord = self.record.iter().map(String::from_utf8_lossy).collect();
            if cells.iter().all(|cell| cell.trim().is_empty()) {
                continue;
            }
            let extra = cells.iter().skip(self.columns).any(|cell| !cell.trim().is_empty());
            let has_swallowed = || cells.iter().any(|cell| self.holds_rows(cell));
            let below = counted(lines_below, "line");
            let fault = if is_open {
                Some(say!(
                    "这一行有一个引号没有成对，它和其后的 {lines_below} 行被当成了一行，都没有导入；\
                     请在原文件中改正引号，再导入原文件",
                    "a quotation mark in this row has no partner, so it and the {below} below it count \
                     as one row and none of them is imported; mend the mark in the file itself and import that \
                     again"
                ))
            } else if lines_below >= MOST_LINES || lines_below > 0 && has_swallowed() {
                Some(say!(
                    "这一行的一个单元格里像是混入了其后的 {lines_below} 行，多半是引号没有成对，这些行都没有导入；\
                     请在原文件中改正引号，再导入原文件",
                    "a cell of this row seems to hold the {below} below it, most likely because a \
                     quotation mark has no partner, and none of them is imported; mend the mark in the file \
                     itself and import that again"
                ))
            } else if extra {
                Some(say!(
                    "单元格比表头多，内容可能错位；含有分隔符的单元格请加引号",
                    "more cells than headings, so they may be out of place; put cells with a separator in \
                     quotes"
                ))
            } else {
                None
            };
            let is_short = cells.len() < self.columns;
            return Ok(Some(Row { number, cells, is_short, fault }));
        }
        Ok(None)
    }

    /// Whether a cell looks like rows of this sheet: whole ones, or the end of one with the beginning of another.
    fn holds_rows(&self, cell: &str) -> bool {
        let between = self.columns.saturating_sub(1).max(1);
        let counts: Vec<usize> =
            cell.trim().lines().map(|line| line.matches(self.separator).count()).collect();
        let [first, .., last] = counts[..] else { return false };
        first + last >= between || counts.iter().any(|count| *count >= between)
    }

    /// Where the next record stands; `None` at the end.
    fn read(&mut self) -> Result<Option<Place>, csv::Error> {
        if !self.reader.read_byte_record(&mut self.record)? || self.record.as_slice() == &END[..1] {
            return Ok(None);
        }
        let is_open = self.record.as_slice().ends_with(END);
        if is_open {
            self.drop_end();
        }
        let breaks = self.record.as_slice().iter().filter(|byte| **byte == b'\n').count() as u64;
        let line = self.reader.position().line();
        // Behind a whole record the reader stands behind its line end; behind an open one, behind the line of `END`.
        // Empty lines before it count as rows as well.
        let last_line = line - 1;
        let number = last_line - breaks - self.inner_breaks - u64::from(is_open);
        self.inner_breaks += breaks;
        Ok(Some(Place { number, lines_below: breaks, is_open }))
    }

    /// Takes `END`, and the line end before it, out of the last cell.
    fn drop_end(&mut self) {
        let last = self.record.len().saturating_sub(1);
        let cut = |cell: &[u8]| {
            cell.strip_suffix(END).map(|cell| cell.strip_suffix(b"\n").unwrap_or(cell).to_vec())
        };
        let Some(cut) = self.record.get(last).and_then(cut) else { return };
        self.record.truncate(last);
        self.record.push_field(&cut);
    }
}

/// Where a record stands, and over how much of the file it goes.
struct Place {
    /// As a spreadsheet counts, from 1.
    number: u64,
    /// Lines of it below the first.
    lines_below: u64,
    /// A quotation mark is still open at the end of the file.
    is_open: bool,
}

fn reader<R: std::io::Read>(separator: u8, from: R) -> Reader<R> {
    ReaderBuilder::new().has_headers(false).flexible(true).delimiter(separator).from_reader(from)
}
