//! The clerk's file of rows that were sent back, with the reasons, ready to be mended and imported.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use csv::{StringRecord, Writer, WriterBuilder};
use liandong_proto::pb::node::v1 as pb;

use super::sheet::Layout;
use crate::text::Lang;

/// Headings of the two columns behind the clerk's own; an import leaves them alone.
pub const REASON_HEADINGS: [&str; 2] = ["退回原因", "reason sent back"];
/// See [`REASON_HEADINGS`].
pub const ROW_HEADINGS: [&str; 2] = ["原行号", "row in the first file"];

/// Written from the first row on that is sent back; no row, no file.
#[derive(Debug)]
pub struct Report {
    place: Place,
    layout: Layout,
    lang: Lang,
    out: Option<(PathBuf, Writer<BufWriter<File>>)>,
}

/// Where the report goes.
#[derive(Debug, Clone)]
pub enum Place {
    /// Nowhere.
    Nowhere,
    /// Here, in place of what may be there.
    At(PathBuf),
    /// Beside the sheet, under a name that is not taken: an earlier report may be half mended.
    Beside(PathBuf),
}

impl Report {
    /// A report on a sheet of this layout.
    pub fn new(place: Place, layout: &Layout, lang: Lang) -> Report {
        Report { place, layout: layout.clone(), lang, out: None }
    }

    /// Adds a row with everything that is wrong with it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn add(&mut self, number: u64, cells: &StringRecord, problems: &[pb::Problem]) -> io::Result<()> {
        if self.out.is_none() {
            self.out = self.begin()?;
        }
        let Some((_, out)) = &mut self.out else { return Ok(()) };
        let reasons: Vec<&str> =
            problems.iter().map(|problem| self.lang.pick(problem.zh.as_str(), problem.en.as_str())).collect();
        let reasons = reasons.join(self.lang.pick("；", "; "));
        let width = self.layout.headings.len();
        let cells = cells.iter().chain(std::iter::repeat("")).take(width.max(cells.len()));
        let number = number.to_string();
        out.write_record(cells.chain([reasons.as_str(), &number])).map_err(io::Error::from)
    }

    fn begin(&self) -> io::Result<Option<(PathBuf, Writer<BufWriter<File>>)>> {
        let (path, file) = match &self.place {
            Place::Nowhere => return Ok(None),
            Place::At(path) => (path.clone(), options().create(true).truncate(true).open(path)?),
            Place::Beside(sheet) => create_beside(sheet)?,
        };
        let mut file = BufWriter::new(file);
        // Spreadsheets take a file without the mark for one in the local code page.
        file.write_all("\u{FEFF}".as_bytes())?;
        let mut out = WriterBuilder::new().flexible(true).delimiter(self.layout.separator).from_writer(file);
        let headings = self.layout.headings.iter().map(String::as_str);
        let own = [
            self.lang.pick(REASON_HEADINGS[0], REASON_HEADINGS[1]),
            self.lang.pick(ROW_HEADINGS[0], ROW_HEADINGS[1]),
        ];
        out.write_record(headings.chain(own)).map_err(io::Error::from)?;
        Ok(Some((path, out)))
    }

    /// Writes the rest; the path, when there is a report.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish(self) -> io::Result<Option<PathBuf>> {
        let Some((path, out)) = self.out else { return Ok(None) };
        let file = out.into_inner().map_err(|error| io::Error::other(error.to_string()))?;
        file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        Ok(Some(path))
    }
}

/// The clerk's file on the clerk's machine: nobody else reads it.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

fn create_beside(sheet: &Path) -> io::Result<(PathBuf, File)> {
    for n in 1u32.. {
        let suffix = if n == 1 { "rejected.csv".to_owned() } else { format!("rejected-{n}.csv") };
        let path = sheet.with_extension(suffix);
        match options().create_new(true).open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("every name beside the sheet is taken"))
}
