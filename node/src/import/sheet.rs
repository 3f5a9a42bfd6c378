//! A CSV file as a sheet: what separates its cells, where its headings stand, its rows one by one.

use std::fs::File;
use std::io::BufReader;

use csv::{ByteRecord, Reader, ReaderBuilder, StringRecord};
use liandong_proto::schema::Kind;

use super::headers;
use super::lines::Lines;
use crate::say;
use crate::text::Said;

/// Separators that spreadsheets write.
const SEPARATORS: [u8; 3] = [b',', b';', b'\t'];
/// Titles and remarks may stand above the headings, but not more lines than this.
const HEADER_WITHIN: usize = 20;
/// A row over more lines than this is a quotation mark without its partner.
const MOST_LINES: u64 = 20;

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
    /// Why the row as such cannot be right.
    pub fault: Option<Said>,
}

/// The rows below the headings; memory does not grow with them.
#[derive(Debug)]
pub struct Rows {
    reader: Reader<Lines<BufReader<File>>>,
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
        let reader = reader(layout.separator, Lines::new(BufReader::with_capacity(1 << 20, file)));
        let columns = layout.headings.len();
        let mut rows = Rows { reader, columns, record: ByteRecord::new(), inner_breaks: 0, text_from };
        for _ in 0..=layout.above {
            rows.read()?;
        }
        Ok(rows)
    }

    /// How many bytes of the file have been read.
    pub fn bytes_read(&self) -> u64 {
        self.text_from + self.reader.get_ref().bytes_taken()
    }

    /// The next row with anything in it; `None` at the end.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn next_row(&mut self) -> Result<Option<Row>, csv::Error> {
        while let Some((number, lines)) = self.read()? {
            // The survey has seen that all of it is UTF-8; a file changed since then is met with a
            // replacement character.
            let cells: StringRecord = self.record.iter().map(String::from_utf8_lossy).collect();
            if cells.iter().all(|cell| cell.trim().is_empty()) {
                continue;
            }
            let extra = cells.iter().skip(self.columns).any(|cell| !cell.trim().is_empty());
            let fault = if lines > MOST_LINES {
                let last = number + lines - 1;
                Some(say!(
                    "有一个引号没有成对，直到第 {last} 行都被当成了这一行；请改正引号",
                    "a quotation mark has no partner, so everything up to line {last} counts as this row; \
                     mend the mark"
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
            return Ok(Some(Row { number, cells, fault }));
        }
        Ok(None)
    }

    /// Number and lines of the next record.
    fn read(&mut self) -> Result<Option<(u64, u64)>, csv::Error> {
        if !self.reader.read_byte_record(&mut self.record)? {
            return Ok(None);
        }
        let breaks = self.record.as_slice().iter().filter(|byte| **byte == b'\n').count() as u64;
        // The reader stands behind the line end of the record; empty lines before it count as rows as well.
        let last_line = self.reader.position().line() - 1;
        let number = last_line - breaks - self.inner_breaks;
        self.inner_breaks += breaks;
        Ok(Some((number, breaks + 1)))
    }
}

fn reader<R: std::io::Read>(separator: u8, from: R) -> Reader<R> {
    ReaderBuilder::new().has_headers(false).flexible(true).delimiter(separator).from_reader(from)
}
