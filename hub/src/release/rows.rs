//! All that a release is made from, read in one go: the index as of one moment, between two commits.

use std::collections::{BTreeMap, HashMap};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender};
use std::thread;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use liandong_node::index::Index;
use liandong_node::rows;
use liandong_node::site::{OnProgress, Progress, SiteError};
use liandong_proto::id::{RecordId, SiteCode};
use liandong_proto::merge;
use liandong_proto::pb::log::v1 as pb;
use liandong_proto::schema::{self, Kind};
use liandong_proto::state::RecordState;
use prost::Message as _;
use xxhash_rust::xxh3::xxh3_128;

use super::cells::{Cells, Row};
use super::columns::{self, Column, MEMBER, Role, SANCTION, columns};
use super::counts::Counts;

/// Number of the kind of findings.
const FINDING: u32 = 7;
/// Tag of a member's document number, a token here, and of a sanction's.
const MEMBER_TOKEN: u32 = 5;
const SANCTION_TOKEN: u32 = 1;
/// Tags of a finding's status, and the number that says it is open.
const FINDING_STATUS: u32 = 30;
const FINDING_OPEN: i32 = 1;

/// What a city has in a release.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CityShare {
    /// Newest entry of its log that the hub has merged.
    pub last_seq: u64,
    /// When the hub received it, milliseconds since 1970.
    pub last_received_ms: u64,
    /// Records in the release.
    pub records: u64,
    /// Records that are left out, since something is missing or waits to be settled.
    pub incomplete: u64,
    /// Findings that name it and are not settled.
    pub open_findings: u64,
}

/// Everything of one moment.
pub struct Read {
    /// Where the hub stood.
    pub row: pb::SiteRow,
    /// Tables of records, by kind.
    pub tables: BTreeMap<u32, Table>,
    /// By city.
    pub cities: BTreeMap<SiteCode, CityShare>,
    /// What is counted for everybody.
    pub counts: Counts,
}

/// Rows of one kind, by city, then by record.
pub struct Table {
    /// Which kind.
    pub kind: &'static Kind,
    /// The columns of all roles: what two of them read is made once.
    columns: Vec<Column>,
    sites: BTreeMap<SiteCode, Vec<Cells>>,
}

/// What a role reads of a table: a batch for each city.
pub struct Part {
    /// Who.
    pub role: Role,
    /// Of all batches.
    pub schema: SchemaRef,
    /// The rows.
    pub batches: Vec<RecordBatch>,
}

/// Who reads records.
const READERS: [Role; 2] = [Role::Registrar, Role::Analyst];

impl Table {
    fn new(kind: &'static Kind) -> Table {
        let mut all: Vec<Column> = Vec::new();
        for column in READERS.into_iter().flat_map(|role| columns(kind, role)) {
            if !all.contains(&column) {
                all.push(column);
            }
        }
        Table { kind, columns: all, sites: BTreeMap::new() }
    }

    fn push(&mut self, row: &Row<'_>) {
        let new = || self.columns.iter().copied().map(Cells::new).collect();
        let cells = self.sites.entry(row.state.home).or_insert_with(new);
        cells.iter_mut().for_each(|cells| cells.append(row));
    }

    /// What each role reads of it; no rows are left.
    pub fn take(&mut self) -> Vec<Part> {
        let cells = |mut cells: Vec<Cells>| cells.iter_mut().map(Cells::finish).collect();
        let cities: Vec<Vec<ArrayRef>> = std::mem::take(&mut self.sites).into_values().map(cells).collect();
        let part = |role| {
            let mine = columns(self.kind, role);
            let place = |column| self.columns.iter().position(|it| it == column).expect("among all");
            let places: Vec<usize> = mine.iter().map(place).collect();
            let schema = Arc::new(columns::schema(&mine));
            let batch = |cells: &Vec<ArrayRef>| {
                let cells = places.iter().map(|at| Arc::clone(&cells[*at])).collect();
                RecordBatch::try_new(Arc::clone(&schema), cells).expect("as the schema says")
            };
            Part { role, batches: cities.iter().map(batch).collect(), schema }
        };
        READERS.map(part).into()
    }
}

/// A record that is in the release.
struct Shown {
    kind: u32,
    record: RecordId,
    person: Option<RecordId>,
    state: RecordState,
}

/// Records that go from one thread to the other at once, and how many times that may wait there.
const GROUP: usize = 1_024;
const GROUPS: usize = 4;

/// Reads the index. All rows are as of one moment: a scan is, and the writer stages each commit as a whole. One thread
/// reads records, another puts them into columns.
///
/// # Errors
/// [`SiteError`].
pub fn read(index: &Index, progress: OnProgress<'_>) -> Result<Read, SiteError> {
    let (sender, receiver) = mpsc::sync_channel::<Vec<Shown>>(GROUPS);
    thread::scope(|scope| {
        let tables = scope.spawn(move || {
            let mut tables: BTreeMap<u32, Table> =
                schema::kinds().iter().map(|kind| (kind.number, Table::new(kind))).collect();
            for Shown { kind, record, person, state } in receiver.into_iter().flatten() {
                if let Some(table) = tables.get_mut(&kind) {
                    table.push(&Row { record, person, state: &state });
                }
            }
            tables
        });
        let read = scan(index, &sender, progress);
        drop(sender);
        let tables = tables.join().unwrap_or_else(|panic| resume_unwind(panic));
        Ok(Read { tables, ..read? })
    })
}

fn scan(index: &Index, sender: &SyncSender<Vec<Shown>>, progress: OnProgress<'_>) -> Result<Read, SiteError> {
    let mut read = Read {
        row: pb::SiteRow::default(),
        tables: BTreeMap::new(),
        cities: liandong_proto::city::cities().iter().map(|city| (city.code, CityShare::default())).collect(),
        counts: Counts::default(),
    };
    let mut persons = Persons::default();
    let (mut done, mut group) = (0, Vec::with_capacity(GROUP));
    // Where the other thread has ended, its panic is what is told.
    let send =
        |group: &mut Vec<Shown>| drop(sender.send(std::mem::replace(group, Vec::with_capacity(GROUP))));
    for item in index.scan(rows::SITE, Some(&rows::after_prefix(rows::RECORDS))) {
        let (key, value) = item?;
        if key.as_ref() == rows::SITE {
            read.row = pb::SiteRow::decode(value)
                .map_err(|error| SiteError::corrupt("the hub's row in the index", error))?;
        } else if let Some(origin) = rows::parse_origin(&key) {
            let row = pb::OriginRow::decode(value)
                .map_err(|error| SiteError::corrupt("an origin's row in the index", error))?;
            let city = read.cities.get_mut(&origin.site).filter(|_| !row.closed);
            city.into_iter().for_each(|city| {
                (city.last_seq, city.last_received_ms) = (row.seq, row.last_received_ms);
            });
        } else if let Some((kind, record)) = rows::parse_record(&key) {
            if let Some(kind) = schema::kind(kind) {
                group.extend(read.record(kind, record, &value, &mut persons)?);
            }
            if group.len() == GROUP {
                send(&mut group);
            }
            done += 1;
            if done % 4_096 == 0 {
                progress(Progress { what: "release", done, total: 0 });
            }
        }
    }
    send(&mut group);
    Ok(read)
}

impl Read {
    /// Counts a record, and answers it if it is in the release.
    fn record(
        &mut self,
        kind: &'static Kind,
        record: RecordId,
        value: &Bytes,
        persons: &mut Persons,
    ) -> Result<Option<Shown>, SiteError> {
        let state = RecordState::decode(value)?;
        if state.deleted() {
            return Ok(None);
        }
        // A draft has no status here, and one that is nobody's yet is nothing yet.
        let is_draft = kind.status.is_some_and(|status| state.fields.get(status).is_none());
        let is_incomplete = merge::incomplete(kind, &state);
        if is_incomplete || is_draft || state.unclaimed() {
            let city = self.cities.get_mut(&state.home).filter(|_| is_incomplete);
            city.into_iter().for_each(|city| city.incomplete += 1);
            return Ok(None);
        }
        self.cities.entry(state.home).or_default().records += 1;
        if kind.number == FINDING && state.fields.number(FINDING_STATUS) == FINDING_OPEN {
            for site in crate::audience::sites(FINDING, &state) {
                self.cities.entry(site).or_default().open_findings += 1;
            }
        }
        self.counts.add(kind.number, &state);
        let person = persons.of(kind.number, record, &state);
        Ok(Some(Shown { kind: kind.number, record, person, state }))
    }
}

/// The persons behind records: whoever has the same document number. Each is named by the oldest record of a member, so
/// that a person's id outlives the tokens. Members come before whatever else names them, and the oldest first.
///
/// By the hash of the number's token: 128 bits, of which no two of all people's are the same.
#[derive(Default)]
struct Persons(HashMap<u128, RecordId>);

impl Persons {
    fn of(&mut self, kind: u32, record: RecordId, state: &RecordState) -> Option<RecordId> {
        match kind {
            MEMBER => match state.fields.str(MEMBER_TOKEN).filter(|token| !token.is_empty()) {
                Some(token) => Some(*self.0.entry(xxh3_128(token.as_bytes())).or_insert(record)),
                None => Some(record),
            },
            SANCTION => self.0.get(&xxh3_128(state.fields.str(SANCTION_TOKEN)?.as_bytes())).copied(),
            _ => None,
        }
    }
}
