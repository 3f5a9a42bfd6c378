//! All that a release is made from, read in one go: the index as of one moment, between two commits.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

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

use super::cells::{Cells, Row};
use super::columns::{self, MEMBER, Role, SANCTION, columns};
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
    /// Tables of records, for each role that reads records.
    pub tables: BTreeMap<(Role, u32), Table>,
    /// By city.
    pub cities: BTreeMap<SiteCode, CityShare>,
    /// What is counted for everybody.
    pub counts: Counts,
}

/// Rows of one kind, by city, then by record.
pub struct Table {
    /// Which kind.
    pub kind: &'static Kind,
    /// Of all its batches.
    pub schema: SchemaRef,
    sites: BTreeMap<SiteCode, Vec<Cells>>,
    role: Role,
    /// How many rows.
    pub rows: u64,
}

impl Table {
    fn new(kind: &'static Kind, role: Role) -> Table {
        let schema = Arc::new(columns::schema(&columns(kind, role)));
        Table { kind, schema, sites: BTreeMap::new(), role, rows: 0 }
    }

    fn push(&mut self, row: &Row<'_>) {
        let new = || columns(self.kind, self.role).into_iter().map(Cells::new).collect();
        let cells = self.sites.entry(row.state.home).or_insert_with(new);
        cells.iter_mut().for_each(|cells| cells.append(row));
        self.rows += 1;
    }

    /// Its rows, a batch for each city; none are left.
    pub fn take(&mut self) -> Vec<RecordBatch> {
        let batch = |mut cells: Vec<Cells>| {
            let arrays: Vec<ArrayRef> = cells.iter_mut().map(Cells::finish).collect();
            RecordBatch::try_new(Arc::clone(&self.schema), arrays).expect("as the schema says")
        };
        std::mem::take(&mut self.sites).into_values().map(batch).collect()
    }
}

/// Reads the index. All rows are as of one moment: a scan is, and the writer stages each commit as a whole.
///
/// # Errors
/// [`SiteError`].
pub fn read(index: &Index, progress: OnProgress<'_>) -> Result<Read, SiteError> {
    let mut read = Read {
        row: pb::SiteRow::default(),
        tables: BTreeMap::new(),
        cities: liandong_proto::city::cities().iter().map(|city| (city.code, CityShare::default())).collect(),
        counts: Counts::default(),
    };
    for kind in schema::kinds() {
        for role in [Role::Registrar, Role::Analyst] {
            read.tables.insert((role, kind.number), Table::new(kind, role));
        }
    }
    let mut persons = Persons::default();
    let mut done = 0;
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
            let kind = schema::kind(kind);
            kind.into_iter().try_for_each(|kind| read.record(kind, record, &value, &mut persons))?;
            done += 1;
            if done % 4_096 == 0 {
                progress(Progress { what: "release", done, total: 0 });
            }
        }
    }
    Ok(read)
}

impl Read {
    fn record(
        &mut self,
        kind: &'static Kind,
        record: RecordId,
        value: &Bytes,
        persons: &mut Persons,
    ) -> Result<(), SiteError> {
        let state = RecordState::decode(value)?;
        if state.deleted() {
            return Ok(());
        }
        // A draft has no status here, and one that is nobody's yet is nothing yet.
        let is_draft = kind.status.is_some_and(|status| state.fields.get(status).is_none());
        let is_incomplete = merge::incomplete(kind, &state);
        if is_incomplete || is_draft || state.unclaimed() {
            let city = self.cities.get_mut(&state.home).filter(|_| is_incomplete);
            city.into_iter().for_each(|city| city.incomplete += 1);
            return Ok(());
        }
        self.cities.entry(state.home).or_default().records += 1;
        if kind.number == FINDING && state.fields.number(FINDING_STATUS) == FINDING_OPEN {
            for site in crate::audience::sites(FINDING, &state) {
                self.cities.entry(site).or_default().open_findings += 1;
            }
        }
        self.counts.add(kind.number, &state);
        let row = Row { record, person: persons.of(kind.number, record, &state), state: &state };
        for role in [Role::Registrar, Role::Analyst] {
            if let Some(table) = self.tables.get_mut(&(role, kind.number)) {
                table.push(&row);
            }
        }
        Ok(())
    }
}

/// The persons behind records: whoever has the same document number. Each is named by the oldest record of a member, so
/// that a person's id outlives the tokens. Members come before whatever else names them, and the oldest first.
#[derive(Default)]
struct Persons(HashMap<String, RecordId>);

impl Persons {
    fn of(&mut self, kind: u32, record: RecordId, state: &RecordState) -> Option<RecordId> {
        match kind {
            MEMBER => match state.fields.str(MEMBER_TOKEN).filter(|token| !token.is_empty()) {
                Some(token) => Some(*self.0.entry(token.to_owned()).or_insert(record)),
                None => Some(record),
            },
            SANCTION => self.0.get(state.fields.str(SANCTION_TOKEN)?).copied(),
            _ => None,
        }
    }
}
