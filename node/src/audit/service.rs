//! The audit log on the site's socket, and the same for a command that has the directory to itself.

use std::pin::Pin;
use std::sync::Arc;

use liandong_proto::pb::audit::v1 as pb;
use pb::audit_log_server::AuditLog as AuditLogRpc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::api::local::Account;

use super::{Audit, AuditError, End, Note, What};

/// Records on their way to a reader.
pub type Records = ReceiverStream<Result<pb::AuditRecord, Status>>;

/// Serves an audit log.
#[derive(Clone)]
pub struct Service {
    /// Which.
    pub audit: Arc<Audit>,
}

/// Who calls, and the account they call from: the id they were given, the account's where there is none.
pub fn who<T>(named: &str, request: &Request<T>) -> (String, String) {
    let account = request.extensions().get::<Account>().and_then(|account| account.0);
    let peer = account.map(|uid| format!("uid:{uid}"));
    let peer = peer.unwrap_or_default();
    (if named.is_empty() { peer.clone() } else { named.to_owned() }, peer)
}

fn unreadable(error: &AuditError) -> Status {
    Status::data_loss(error.to_string())
}

/// The records that are asked for. That they were is recorded first; where that cannot be done they are read all the
/// same, since they say what there was before it went wrong.
pub fn read(audit: Arc<Audit>, asked: pb::ReadRequest, who: String, peer: String) -> Records {
    let (sender, receiver) = mpsc::channel(256);
    tokio::task::spawn_blocking(move || {
        let what = if asked.to_file { What::AuditExported } else { What::AuditRead };
        // It has been heard.
        let _ = audit.note(Note { what, who, peer, purpose: asked.purpose.clone(), ..Note::default() });
        let records = match audit.records() {
            Ok(records) => records,
            Err(error) => return drop(sender.blocking_send(Err(unreadable(&error)))),
        };
        for record in records {
            let wanted = |record: &pb::AuditRecord| {
                record.at_ms >= asked.since_ms
                    && (asked.who.is_empty() || record.who == asked.who)
                    && (asked.what.is_empty() || asked.what.contains(&record.what))
            };
            let item = match record {
                Ok(record) if wanted(&record) => Ok(record),
                Ok(_) => continue,
                Err(error) => Err(unreadable(&error)),
            };
            if sender.blocking_send(item).is_err() {
                return;
            }
        }
    });
    ReceiverStream::new(receiver)
}

/// Checks all of it, and records that it was checked.
pub fn verify(audit: &Audit, asked: &pb::VerifyRequest, who: String, peer: String) -> pb::VerifyResponse {
    let expected =
        End { number: asked.expect_number, hash: asked.expect_hash.as_ref().try_into().unwrap_or_default() };
    let found = audit.verify(&[expected]);
    let purpose = asked.purpose.clone();
    let detail = if found.faults.is_empty() { "sound" } else { "faults" };
    let note =
        Note { what: What::AuditVerified, who, peer, purpose, count: found.records, ..Note::default() };
    // It has been heard.
    let _ = audit.note(Note { detail: detail.into(), ..note });
    let (zh, en) = found.faults.into_iter().map(|said| (said.zh, said.en)).unzip();
    pb::VerifyResponse {
        records: found.records,
        number: found.end.number,
        hash: found.end.hash.to_vec().into(),
        zh,
        en,
    }
}

/// Records what a command does with a token, durably: no log but this one has it. Anything else is refused, since it is
/// recorded where it happens.
///
/// # Errors
/// What is refused, and what cannot be written.
pub fn record(audit: &Audit, asked: pb::RecordRequest, who: String, peer: String) -> Result<(), Status> {
    let what = asked.what();
    if !matches!(what, What::TokenMade | What::TokenRevoked) {
        return Err(Status::invalid_argument("only what is done with tokens is recorded by a command"));
    }
    let (purpose, detail) = (asked.purpose, asked.detail);
    let noted = audit.note(Note { what, who, peer, purpose, detail, count: 1, ..Note::default() });
    noted.map_err(|error| Status::unavailable(error.to_string()))
}

#[tonic::async_trait]
impl AuditLogRpc for Service {
    type ReadStream = Pin<Box<Records>>;

    async fn read(&self, request: Request<pb::ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        let (who, peer) = who(&request.get_ref().reader, &request);
        let records = read(Arc::clone(&self.audit), request.into_inner(), who, peer);
        Ok(Response::new(Box::pin(records)))
    }

    async fn record(
        &self,
        request: Request<pb::RecordRequest>,
    ) -> Result<Response<pb::RecordResponse>, Status> {
        let (who, peer) = who(&request.get_ref().author, &request);
        let (audit, asked) = (Arc::clone(&self.audit), request.into_inner());
        let recorded = tokio::task::spawn_blocking(move || record(&audit, asked, who, peer)).await;
        recorded.map_err(|_| Status::internal("the recording was cut short"))??;
        Ok(Response::new(pb::RecordResponse {}))
    }

    async fn verify(
        &self,
        request: Request<pb::VerifyRequest>,
    ) -> Result<Response<pb::VerifyResponse>, Status> {
        let (who, peer) = who(&request.get_ref().reader, &request);
        let (audit, asked) = (Arc::clone(&self.audit), request.into_inner());
        let verified = tokio::task::spawn_blocking(move || verify(&audit, &asked, who, peer)).await;
        Ok(Response::new(verified.map_err(|_| Status::internal("the check was cut short"))?))
    }
}
