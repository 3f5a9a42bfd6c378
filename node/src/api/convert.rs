//! Between the record API and its messages.

use bytes::Bytes;
use liandong_proto::entry::{Op, Patch};
use liandong_proto::fields::Fields;
use liandong_proto::id::{RecordId, SiteCode};
use liandong_proto::pb::node::v1 as pb;
use liandong_proto::state::held_to_pb;
use tonic::Status;

use crate::site::{By, Findings, Pin, Put, PutAnswer, Shown};

pub(super) fn by(author: &str, import_id: Bytes) -> By {
    By { author: author.to_owned(), import_id }
}

pub(super) fn put(put: pb::Put) -> Result<Put, Status> {
    let set = Fields::split(put.set).map_err(|error| Status::invalid_argument(error.to_string()))?;
    let record = match put.record.len() {
        0 => None,
        _ => {
            let id = RecordId::from_slice(&put.record);
            Some(id.ok_or_else(|| Status::invalid_argument("a record id has 16 bytes"))?)
        }
    };
    Ok(Put {
        kind: put.kind,
        record,
        op: Op::Put,
        patch: Patch { set, cleared: put.cleared },
        expected_version: Some(put.expected_version).filter(|version| !version.is_empty()),
        touch: put.touch,
    })
}

pub(super) fn answer(answer: PutAnswer) -> pb::PutResult {
    pb::PutResult {
        record: Bytes::copy_from_slice(&answer.record.0),
        version: answer.version,
        unchanged: answer.unchanged,
        problems: answer.problems,
    }
}

pub(super) fn shown(shown: Shown) -> pb::Record {
    pb::Record {
        kind: shown.kind,
        record: Bytes::copy_from_slice(&shown.record.0),
        version: shown.version,
        fields: shown.fields.bytes().clone(),
        home: shown.home.0,
        stamp: shown.stamp.0,
        deleted: shown.deleted,
        incomplete: shown.incomplete,
        held: shown.held.iter().map(held_to_pb).collect(),
        unsynced: shown.unsynced,
        erased: shown.erased,
    }
}

pub(super) fn pin(pin: pb::Pin) -> Pin {
    Pin { site: SiteCode(pin.site), fingerprint: pin.fingerprint }
}

pub(super) fn findings(found: Findings) -> pb::UpkeepProgress {
    let sound = found.faults.is_empty();
    let (zh, en) = found.faults.into_iter().unzip();
    let (pins_zh, pins_en) = found.pins.into_iter().unzip();
    pb::UpkeepProgress {
        done: found.entries,
        total: found.entries,
        finished: true,
        sound,
        zh,
        en,
        digest: found.digest,
        records: found.rows,
        pins_zh,
        pins_en,
        index_faults: found.index_faults,
        audit_faults: found.audit_faults,
    }
}
