//! From rows to the record API: one thread reads ahead, each batch is durable before the next is sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use csv::StringRecord;
use liandong_proto::fields::Fields;
use liandong_proto::id::{RecordId, SiteCode};
use liandong_proto::pb::node::v1 as pb;
use liandong_proto::pb::node::v1::records_client::RecordsClient;
use liandong_proto::schema::Kind;
use liandong_proto::validate::{Today, today};
use tokio::sync::mpsc;

use super::known::{Known, Means};
use super::report::Report;
use super::row::{Reading, too_short};
use super::sheet::{Row, Rows};
use super::{ImportError, Sheet, Summary};
use crate::api::Resending;
use crate::caller::Caller;
use crate::say;

/// Rows of a batch; one batch is one write to the disk.
const BATCH_ROWS: usize = 1_000;
/// Where a batch ends sooner.
const BATCH_BYTES: usize = 4 << 20;
/// Batches that are read ahead.
const AHEAD: usize = 2;
const PAGE: u32 = 1_000;

/// How to write.
#[derive(Debug, Clone)]
pub struct Writing {
    /// Opaque id of the person.
    pub author: String,
    /// Checks everything and writes nothing.
    pub dry_run: bool,
    /// The day.
    pub today: Today,
    /// Set from outside: end after the batch under way.
    pub stop: Arc<AtomicBool>,
}

/// A row on its way.
enum Item {
    Put { row: Row, put: pb::Put, is_new: bool, status_assumed: bool, notes: Vec<pb::Problem> },
    Rejected { row: Row, problems: Vec<pb::Problem>, is_unclear: bool },
    Repeated,
}

struct Batch {
    items: Vec<Item>,
    bytes_read: u64,
}

/// Reads the identities of all records of a kind, also of those that were deleted.
///
/// # Errors
/// [`ImportError::Site`].
pub async fn known(
    records: &mut RecordsClient<Resending>,
    kind: &'static Kind,
    site: SiteCode,
    caller: &Caller,
    mut on: impl FnMut(u64),
) -> Result<Known, ImportError> {
    let mut known = Known::new(kind, site);
    let mut request = pb::ListRequest { deleted: true, ..caller.list(kind.number, PAGE) };
    let (mut seen, mut any_deleted) = (0, false);
    loop {
        let page = records.list(request.clone()).await?.into_inner();
        for record in &page.records {
            any_deleted |= record.deleted;
            let Some(id) = RecordId::from_slice(&record.record).filter(|_| !record.deleted) else { continue };
            known.note(id, &Fields::split(record.fields.clone()).unwrap_or_default());
        }
        seen += page.records.len() as u64;
        on(seen);
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    if any_deleted {
        // A tombstone holds nothing; what the record held until then stands in the log alone.
        let mut deleted = records.deleted(caller.deleted(kind.number)).await?.into_inner();
        while let Some(record) = deleted.message().await? {
            let Some(id) = RecordId::from_slice(&record.record) else { continue };
            let fields = Fields::split(record.fields).unwrap_or_default();
            known.note_deleted(id, &fields, record.stamp >> 16);
        }
    }
    Ok(known)
}

/// Imports the rows of a sheet. `summary` says at any time what has become of them, also when this fails.
///
/// # Errors
/// [`ImportError`]; what the summary counts as saved stays saved.
pub async fn rows(
    mut records: RecordsClient<Resending>,
    sheet: Sheet,
    known: Known,
    writing: Writing,
    report: &mut Report,
    summary: &mut Summary,
    on: impl Fn(u64, u64),
) -> Result<(), ImportError> {
    let import_id = Bytes::copy_from_slice(&sheet.survey.hash[..16]);
    let total = sheet.survey.bytes;
    let (sender, mut batches) = mpsc::channel(AHEAD);
    let today = writing.today;
    let reader = tokio::task::spawn_blocking(move || read(sheet, known, today, &sender));
    while let Some(batch) = batches.recv().await {
        if writing.stop.load(Ordering::Relaxed) {
            summary.interrupted = true;
            break;
        }
        send(&mut records, batch.items, &writing, &import_id, report, summary).await?;
        on(batch.bytes_read, total);
    }
    drop(batches);
    reader.await.map_err(|_| ImportError::CutShort)?
}

/// Reads all rows, until the other side has gone.
fn read(
    sheet: Sheet,
    mut known: Known,
    today: Today,
    batches: &mpsc::Sender<Batch>,
) -> Result<(), ImportError> {
    let Sheet { kind, survey, layout, mapping } = sheet;
    let mut rows = Rows::new(survey.file, &layout, survey.text_from)?;
    let reading = Reading { kind, mapping, today };
    let (mut items, mut bytes) = (Vec::with_capacity(BATCH_ROWS), 0);
    loop {
        let row = rows.next_row()?;
        let is_last = row.is_none();
        if let Some(row) = row {
            let item = item(&reading, &mut known, row);
            if let Item::Put { put, .. } = &item {
                bytes += put.set.len();
            }
            items.push(item);
        }
        if is_last || items.len() == BATCH_ROWS || bytes >= BATCH_BYTES {
            let items = std::mem::replace(&mut items, Vec::with_capacity(BATCH_ROWS));
            bytes = 0;
            let batch = Batch { items, bytes_read: rows.bytes_read() };
            if batches.blocking_send(batch).is_err() || is_last {
                return Ok(());
            }
        }
    }
}

fn item(reading: &Reading, known: &mut Known, row: Row) -> Item {
    if let Some(fault) = &row.fault {
        let problem = pb::Problem {
            code: "row.shape".into(),
            zh: fault.zh.clone(),
            en: fault.en.clone(),
            ..Default::default()
        };
        return Item::Rejected { row, problems: vec![problem], is_unclear: false };
    }
    let mut read = match reading.read(&row.cells) {
        Ok(read) => read,
        Err(problems) => return Item::Rejected { row, problems, is_unclear: false },
    };
    let (record, is_new) = match known.means(row.number, &read.fields) {
        Means::New(record) => (record, true),
        Means::Record(record) => (Some(record), false),
        Means::Repeats(_) => return Item::Repeated,
        Means::Deleted { record, at_ms } => {
            let problems = vec![deleted(reading.kind, record, at_ms)];
            return Item::Rejected { row, problems, is_unclear: false };
        }
        Means::Unclear(problem) => return Item::Rejected { row, problems: vec![problem], is_unclear: true },
    };
    if row.is_short {
        read.notes.push(too_short());
    }
    let given = read.fields;
    let set = if is_new { reading.with_status(&given) } else { given.clone() };
    let status_assumed = set.len() > given.len();
    let put = pb::Put {
        kind: reading.kind.number,
        record: record.map(|record| Bytes::copy_from_slice(&record.0)).unwrap_or_default(),
        set: set.bytes().clone(),
        ..pb::Put::default()
    };
    Item::Put { row, put, is_new, status_assumed, notes: read.notes }
}

fn deleted(kind: &Kind, record: RecordId, at_ms: u64) -> pb::Problem {
    let (name, on) = (kind.name, today(at_ms));
    let said = say!(
        "这条记录已于 {on} 删除，没有导入；要恢复请用 record put --kind {name} --id {record} 重新填写，否则请删去这一行",
        "deleted on {on}, so it was not imported; bring it back with record put --kind {name} --id {record}, or \
         remove the row"
    );
    pb::Problem { code: "row.deleted".into(), zh: said.zh, en: said.en, ..pb::Problem::default() }
}

async fn send(
    records: &mut RecordsClient<Resending>,
    mut items: Vec<Item>,
    writing: &Writing,
    import_id: &Bytes,
    report: &mut Report,
    summary: &mut Summary,
) -> Result<(), ImportError> {
    let puts: Vec<pb::Put> = items
        .iter_mut()
        .filter_map(|item| match item {
            Item::Put { put, .. } => Some(std::mem::take(put)),
            _ => None,
        })
        .collect();
    let mut results = Vec::new();
    if !puts.is_empty() {
        let request = pb::PutRequest {
            puts,
            author: writing.author.clone(),
            import_id: import_id.clone(),
            dry_run: writing.dry_run,
        };
        results = records.put(request).await?.into_inner().results;
    }
    let mut results = results.into_iter();
    for item in items {
        summary.rows += 1;
        let (row, problems) = match item {
            Item::Repeated => {
                summary.unchanged += 1;
                continue;
            }
            Item::Rejected { row, problems, is_unclear } => {
                summary.unclear += u64::from(is_unclear);
                (row, problems)
            }
            Item::Put { row, is_new, status_assumed, notes, .. } => {
                let result = results.next().ok_or(ImportError::CutShort)?;
                if result.problems.is_empty() {
                    match (result.unchanged, is_new) {
                        (true, _) => summary.unchanged += 1,
                        (false, true) => {
                            summary.saved += 1;
                            summary.status_assumed += u64::from(status_assumed);
                        }
                        (false, false) => summary.updated += 1,
                    }
                    summary.note(row.number, notes);
                    continue;
                }
                (row, result.problems)
            }
        };
        send_back(&row.cells, row.number, problems, report, summary)?;
    }
    Ok(())
}

fn send_back(
    cells: &StringRecord,
    number: u64,
    problems: Vec<pb::Problem>,
    report: &mut Report,
    summary: &mut Summary,
) -> Result<(), ImportError> {
    report.add(number, cells, &problems).map_err(ImportError::Report)?;
    summary.reject(number, problems);
    Ok(())
}
