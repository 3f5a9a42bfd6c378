//! The record service as other systems get it: every call is held against the scopes of its token before the site
//! hears of it.

use std::sync::Arc;

use liandong_proto::pb::node::v1 as pb;
use liandong_proto::schema;
use pb::records_server::Records as RecordsRpc;
use pb::upkeep_server::Upkeep as UpkeepRpc;
use tonic::{Request, Response, Status};

use super::Caller;
use super::scope::{Need, Right, Scope, need};
use super::token::{Bearer, Refused, Tokens};
use crate::api::audited;
use crate::api::{ProgressStream, RecordStream, Service};
use crate::audit::Audit;
use crate::now::now_ms;

/// Finds out who calls, before anything of the call is read: its token stands in the metadata `authorization`.
///
/// # Errors
/// `UNAUTHENTICATED` for a token that is missing, wrong, over or revoked; that is recorded.
pub(super) fn authenticate(
    tokens: &Tokens,
    audit: &Arc<Audit>,
    mut request: Request<()>,
) -> Result<Request<()>, Status> {
    let caller = request.extensions().get::<Caller>().cloned();
    let caller = caller.ok_or_else(|| Status::internal("the connection says nothing of its caller"))?;
    if caller.is_shut_out() {
        audited::turned_away(audit, String::new(), "too many wrong tokens".into());
        return Err(Status::unauthenticated(
            "too many wrong tokens on this connection; connect again with a right one",
        ));
    }
    let text = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
    let text = text.and_then(|text| text.strip_prefix("Bearer "));
    // A small file that is in memory: shorter than handing it to another thread and back.
    let found = text.map(|text| tokens.bearer(text.trim(), now_ms()));
    match found {
        Some(Ok(bearer)) => {
            if !caller.known() {
                audited::turned_away(audit, bearer.author(), "too many connections".into());
                return Err(Status::resource_exhausted(
                    "other systems have too many connections to this site; use those, or end some",
                ));
            }
            request.extensions_mut().insert(bearer);
            return Ok(request);
        }
        Some(Err(Refused::Site(error))) => {
            tracing::error!(%error, "the tokens cannot be read; no other system gets in");
            return Err(Status::unavailable(
                "the site cannot read its tokens; ask its operator to look at its log",
            ));
        }
        _ => {}
    }
    caller.failed();
    let (who, detail) = match &found {
        Some(Err(why)) => why.recorded(),
        _ => (String::new(), "no token"),
    };
    audited::turned_away(audit, who, detail.into());
    let why = match found {
        Some(Err(why)) => why.to_string(),
        _ => "a token is needed, as metadata: authorization: Bearer ldt1.…".to_owned(),
    };
    let peer = caller.address.map(|address| address.to_string()).unwrap_or_default();
    tracing::warn!(peer, why, "a call of another system was refused");
    Err(Status::unauthenticated(why))
}

fn bearer<T>(request: &Request<T>) -> Result<Bearer, Status> {
    let bearer = request.extensions().get::<Bearer>().cloned();
    bearer.ok_or_else(|| Status::unauthenticated("a token is needed"))
}

/// The services behind the gate.
#[derive(Clone)]
pub(super) struct Gate {
    pub inner: Service,
}

impl Gate {
    /// Holds a call against what its bearer may; records it when that is not enough.
    fn admit<T>(
        &self,
        request: &Request<T>,
        call: &str,
        kinds: impl IntoIterator<Item = u32>,
    ) -> Result<Bearer, Status> {
        let bearer = bearer(request)?;
        let refused = |recorded: String, what: String| {
            tracing::warn!(author = bearer.author(), call, what, "a call of another system was refused");
            audited::turned_away(self.inner.records.audit(), bearer.author(), recorded);
            Err(Status::permission_denied(what))
        };
        match need(call) {
            Need::Token => {}
            Need::Here => {
                return refused(
                    format!("not from afar: {call}"),
                    "this call is for the site's own machine; use the command line there".into(),
                );
            }
            Need::OfKind(right) => {
                for kind in kinds {
                    let needed = Scope::of(kind, right);
                    if !bearer.may(needed) {
                        return refused(
                            schema::kind(kind)
                                .map_or("no such kind".into(), |_| format!("no scope {needed}")),
                            format!("the token lacks the scope {needed}; nothing was done"),
                        );
                    }
                }
            }
        }
        Ok(bearer)
    }
}

#[tonic::async_trait]
impl RecordsRpc for Gate {
    type DeletedStream = RecordStream;

    async fn put(&self, mut request: Request<pb::PutRequest>) -> Result<Response<pb::PutResponse>, Status> {
        let kinds: Vec<u32> = request.get_ref().puts.iter().map(|put| put.kind).collect();
        let bearer = self.admit(&request, "/liandong.node.v1.Records/Put", kinds)?;
        request.get_mut().author = bearer.author();
        self.inner.put(request).await
    }

    async fn get(&self, mut request: Request<pb::GetRequest>) -> Result<Response<pb::Record>, Status> {
        let bearer = self.admit(&request, "/liandong.node.v1.Records/Get", [request.get_ref().kind])?;
        request.get_mut().reader = bearer.author();
        self.inner.get(request).await
    }

    async fn list(
        &self,
        mut request: Request<pb::ListRequest>,
    ) -> Result<Response<pb::ListResponse>, Status> {
        let bearer = self.admit(&request, "/liandong.node.v1.Records/List", [request.get_ref().kind])?;
        request.get_mut().reader = bearer.author();
        self.inner.list(request).await
    }

    async fn history(
        &self,
        mut request: Request<pb::GetRequest>,
    ) -> Result<Response<pb::HistoryResponse>, Status> {
        let bearer = self.admit(&request, "/liandong.node.v1.Records/History", [request.get_ref().kind])?;
        request.get_mut().reader = bearer.author();
        self.inner.history(request).await
    }

    async fn deleted(
        &self,
        mut request: Request<pb::DeletedRequest>,
    ) -> Result<Response<Self::DeletedStream>, Status> {
        let bearer = self.admit(&request, "/liandong.node.v1.Records/Deleted", [request.get_ref().kind])?;
        request.get_mut().reader = bearer.author();
        self.inner.deleted(request).await
    }

    async fn delete(
        &self,
        mut request: Request<pb::DeleteRequest>,
    ) -> Result<Response<pb::PutResult>, Status> {
        let bearer = self.admit(&request, "/liandong.node.v1.Records/Delete", [request.get_ref().kind])?;
        request.get_mut().author = bearer.author();
        self.inner.delete(request).await
    }

    async fn erase(&self, request: Request<pb::EraseRequest>) -> Result<Response<pb::EraseResponse>, Status> {
        self.admit(&request, "/liandong.node.v1.Records/Erase", [])?;
        self.inner.erase(request).await
    }

    async fn erasures(
        &self,
        request: Request<pb::ErasuresRequest>,
    ) -> Result<Response<pb::ErasuresResponse>, Status> {
        self.admit(&request, "/liandong.node.v1.Records/Erasures", [])?;
        self.inner.erasures(request).await
    }
}

#[tonic::async_trait]
impl UpkeepRpc for Gate {
    type VerifyStream = ProgressStream;

    /// How the site is, without what the token may not read and without where its files are.
    async fn status(
        &self,
        request: Request<pb::StatusRequest>,
    ) -> Result<Response<pb::StatusResponse>, Status> {
        let bearer = self.admit(&request, "/liandong.node.v1.Upkeep/Status", [])?;
        let mut response = self.inner.status(request).await?;
        let status = response.get_mut();
        let reads = |kind| bearer.may(Scope::of(kind, Right::Read));
        status.counts.retain(|count| reads(count.kind));
        if !schema::kind_by_name("finding").is_some_and(|kind| reads(kind.number)) {
            status.open_findings = 0;
        }
        status.data_dir = String::new();
        Ok(response)
    }

    async fn keys_changed(
        &self,
        request: Request<pb::KeysChangedRequest>,
    ) -> Result<Response<pb::KeysChangedResponse>, Status> {
        self.admit(&request, "/liandong.node.v1.Upkeep/KeysChanged", [])?;
        self.inner.keys_changed(request).await
    }

    async fn backup(
        &self,
        request: Request<pb::BackupRequest>,
    ) -> Result<Response<pb::BackupResponse>, Status> {
        self.admit(&request, "/liandong.node.v1.Upkeep/Backup", [])?;
        self.inner.backup(request).await
    }

    async fn verify(
        &self,
        request: Request<pb::UpkeepRequest>,
    ) -> Result<Response<Self::VerifyStream>, Status> {
        self.admit(&request, "/liandong.node.v1.Upkeep/Verify", [])?;
        self.inner.verify(request).await
    }
}
