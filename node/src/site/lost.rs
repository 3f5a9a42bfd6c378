//! What a restored hub has lost. States that were delivered from there do not hold any more, and nothing is delivered in
//! their stead where the hub knows nothing else: a record shows what the site itself has written, until the hub, which then
//! delivers everything anew, says more.

use std::collections::HashMap;

use liandong_proto::entry::Header;
use liandong_proto::id::RecordId;
use liandong_proto::merge::Lineage;
use liandong_proto::position::{Generations, Position};
use liandong_proto::share::CityRing;
use liandong_proto::state::RecordState;

use super::{Record, SiteError, fold_own, patches, record_kind};
use crate::index::{Index, Staged, check_of};
use crate::log::{LogView, Pos};
use crate::rows;

/// A record without its lost state, and the check of the row that goes.
type Anew = (u64, Option<RecordState>);

/// Rows that change once a site that stood at `cursor` has learned a history. `until` is where it stands in the log; the
/// index shows all that is before it.
///
/// # Errors
/// [`SiteError`].
pub fn forget_lost(
    generations: &Generations,
    cursor: Position,
    log: &dyn LogView,
    until: Pos,
    index: &Index,
    (key, lineage): (&CityRing, &Lineage),
) -> Result<Vec<Staged>, SiteError> {
    let mut lost: HashMap<(u32, RecordId), Anew> = HashMap::new();
    if !generations.lost(cursor) {
        return Ok(Vec::new());
    }
    for row in index.scan(rows::RECORDS, Some(&rows::after_prefix(rows::RECORDS))) {
        let (row, value) = row?;
        let state = RecordState::decode(&value)?;
        let at = Position { generation: state.generation, hub_seq: state.hub_seq };
        // What was erased stays so, whoever forgets it.
        if let Some(record) = rows::parse_record(&row).filter(|_| !state.erased && generations.lost(at)) {
            lost.insert(record, (check_of(&row, &value), None));
        }
    }
    if lost.is_empty() {
        return Ok(Vec::new());
    }
    for raw in log.read(Pos::default()) {
        let raw = raw?;
        if raw.pos >= until {
            break;
        }
        if raw.kind != record_kind::OWN {
            continue;
        }
        let Record::Own(entry) = Record::read(&raw)? else { continue };
        let header =
            Header::decode(&entry.header).map_err(|error| SiteError::corrupt("an own entry", error))?;
        if let Some((_, state)) = lost.get_mut(&(header.kind, header.record)) {
            let (open, sealed) = patches(&entry, &header, key)?;
            *state = Some(fold_own(state.take(), &header, &open, &sealed, lineage));
        }
    }
    let staged = lost.into_iter().map(|((kind, record), (check, state))| Staged {
        key: rows::record(kind, record),
        old: Some(check),
        new: state.map(|state| state.encode().into()),
    });
    Ok(staged.collect())
}
