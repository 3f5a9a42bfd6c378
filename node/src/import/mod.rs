//! Importing a clerk's sheet: rows become patches of records, those with problems are sent back one by one.
//!
//! | step | where |
//! |---|---|
//! | is it text in UTF-8, and its hash | [`survey`] |
//! | lines, separator and headings | [`sheet`] |
//! | headings to fields; questions end it here, before anything is written | [`headers`] |
//! | identities of the records that there are, and of deleted ones | [`known`]; without a number, `unnamed` |
//! | cells to values, batches over the record API | [`row`], [`send`] |
//! | rows sent back | [`report`] |
//!
//! A row that is there already changes nothing, so the same file can be imported again at any time, also
//! after it was cut short. Memory grows with the identities and nothing else.

pub mod headers;
pub mod known;
mod lines;
pub mod report;
pub mod row;
pub mod send;
pub mod sheet;
pub mod survey;
mod unnamed;

use std::path::{Path, PathBuf};

use liandong_proto::pb::node::v1 as pb;
use liandong_proto::schema::Kind;
use tonic::Status;

use crate::text::Said;
use headers::{Answer, Mapping};
use report::REASON_HEADINGS;
use sheet::Layout;
use survey::{Survey, Unreadable};

/// The most problems and notes that are kept for the screen; the report has them all.
const MOST_KEPT: usize = 10_000;

/// A sheet that has been looked at and not imported yet.
#[derive(Debug)]
pub struct Sheet {
    /// What the rows are.
    pub kind: &'static Kind,
    /// The file.
    pub survey: Survey,
    /// How it is laid out.
    pub layout: Layout,
    /// Which column holds what.
    pub mapping: Mapping,
}

/// Why an import did not begin, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// The file, once it was being read.
    #[error(transparent)]
    Rows(#[from] csv::Error),
    /// The headings, or the answers about them.
    #[error("{0}")]
    Headings(Said),
    /// The report.
    #[error(transparent)]
    Report(std::io::Error),
    /// The site.
    #[error(transparent)]
    Site(#[from] Status),
    /// The thread that reads the rows is gone.
    #[error("reading the rows was cut short")]
    CutShort,
}

impl Sheet {
    /// Looks at a file; nothing is written.
    ///
    /// # Errors
    /// [`ImportError`].
    pub fn look(
        path: &Path,
        kind: &'static Kind,
        answers: &[Answer],
        salt: &[u8],
        on: &mut dyn FnMut(u64, u64),
    ) -> Result<Sheet, ImportError> {
        let survey = Survey::of(path, salt, on)?;
        let layout = Layout::sniff(kind, &survey.head).map_err(ImportError::Headings)?;
        let mut mapping = Mapping::of(kind, &layout.headings, answers).map_err(ImportError::Headings)?;
        // The two columns of a report that comes back are no riddle to anyone.
        mapping.ignored.retain(|heading| {
            !REASON_HEADINGS.contains(&heading.as_str()) && !report::ROW_HEADINGS.contains(&heading.as_str())
        });
        Ok(Sheet { kind, survey, layout, mapping })
    }
}

/// A problem or a note with the row it belongs to.
#[derive(Debug, Clone, PartialEq)]
pub struct RowProblem {
    /// As a spreadsheet counts, from 1.
    pub row: u64,
    /// What is wrong; never a value.
    pub problem: pb::Problem,
}

/// What became of a sheet.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Summary {
    /// Rows below the headings that were read, empty ones not counted.
    pub rows: u64,
    /// New records.
    pub saved: u64,
    /// Records of which some fields changed.
    pub updated: u64,
    /// How many of the new ones got their status because the sheet gave none.
    pub status_assumed: u64,
    /// Rows that say nothing new.
    pub unchanged: u64,
    /// Rows sent back.
    pub rejected: u64,
    /// How many of these because it cannot be told which record they mean.
    pub unclear: u64,
    /// Why rows were sent back.
    pub problems: Vec<RowProblem>,
    /// How many more of these there were.
    pub problems_left_out: u64,
    /// What is worth a second look.
    pub notes: Vec<RowProblem>,
    /// How many more of these there were.
    pub notes_left_out: u64,
    /// The file of rows sent back.
    pub report: Option<PathBuf>,
    /// It was stopped before the end of the sheet.
    pub interrupted: bool,
}

impl Summary {
    fn reject(&mut self, row: u64, problems: Vec<pb::Problem>) {
        self.rejected += 1;
        keep(&mut self.problems, &mut self.problems_left_out, row, problems);
    }

    fn note(&mut self, row: u64, notes: Vec<pb::Problem>) {
        keep(&mut self.notes, &mut self.notes_left_out, row, notes);
    }
}

fn keep(kept: &mut Vec<RowProblem>, left_out: &mut u64, row: u64, problems: Vec<pb::Problem>) {
    for problem in problems {
        if kept.len() < MOST_KEPT {
            kept.push(RowProblem { row, problem });
        } else {
            *left_out += 1;
        }
    }
}

#[cfg(test)]
mod tests;
