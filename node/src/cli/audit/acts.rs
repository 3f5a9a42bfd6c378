//! What commands record of themselves. None of them is held up by an audit log that cannot be written: that stands in
//! the program's log and in `status`.

use std::sync::Arc;

use liandong_proto::id::hex;

use super::peer;
use crate::audit::{Audit, Note, What};
use crate::caller::Caller;

fn by(what: What, caller: &Caller) -> Note {
    let Caller { author, purpose } = caller.clone();
    Note { what, who: author, purpose, peer: peer(), ..Note::default() }
}

/// Where the audit log stands goes into the program's log, which is kept elsewhere: so the end of it cannot be cut
/// off without a trace.
fn tell(audit: &Audit) {
    let end = audit.standing().end;
    tracing::info!(number = end.number, hash = hex(&end.hash), "audit log");
}

/// The site begins to run.
pub fn started(audit: &Arc<Audit>, caller: &Caller, version: &str) {
    audit.note_behind(Note { detail: version.to_owned(), ..by(What::Started, caller) });
    tell(audit);
}

/// The site stops.
pub fn stopped(audit: &Arc<Audit>, caller: &Caller) {
    audit.note_behind(by(What::Stopped, caller));
    tell(audit);
}

/// The index was made again.
pub fn rebuilt(audit: &Arc<Audit>, caller: &Caller) {
    audit.note_behind(by(What::Rebuilt, caller));
}

/// This machine has taken the site over.
pub fn taken_over(audit: &Arc<Audit>, caller: &Caller, changes: u64) {
    audit.note_behind(Note { count: changes, detail: "takeover".into(), ..by(What::Restored, caller) });
}

/// The site was made again.
pub fn restored(audit: &Arc<Audit>, caller: &Caller, records: u64) {
    audit.note_behind(Note { count: records, ..by(What::Restored, caller) });
}

/// A damaged log was made anew: how many entries came back, and what could not be read.
pub fn repaired(audit: &Arc<Audit>, caller: &Caller, fetched: u64, places: String) {
    audit.note_behind(Note { count: fetched, detail: places, ..by(What::Repaired, caller) });
}
