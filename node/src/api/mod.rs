//! The site's services: records, upkeep, audit log, health. On this machine the same at node and hub.

pub mod access;
mod audited;
mod convert;
pub mod local;
mod loopback;
mod outbound;
mod resend;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use liandong_proto::id::RecordId;
use liandong_proto::pb::audit::v1::audit_log_server::AuditLogServer;
use liandong_proto::pb::node::v1 as pb;
use pb::records_server::{Records as RecordsRpc, RecordsServer};
use pb::upkeep_server::{Upkeep as UpkeepRpc, UpkeepServer};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic::{Code, Request, Response, Status};

use crate::audit;
use crate::site::{Class, Put, Query, Records, SiteError};
use audited::Reading;

pub use local::{Local, Transport};
pub use outbound::outbound;
pub use resend::Resending;

/// The largest message either side of the socket takes, in bytes.
pub const MESSAGE_BYTES: usize = 16 << 20;

/// The services of a site, for a router that may add its own.
pub async fn services(records: Arc<dyn Records>) -> Routes {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<RecordsServer<Service>>().await;
    let service = Service { records };
    let limit = MESSAGE_BYTES;
    let audit = audit::Service { audit: Arc::clone(service.records.audit()) };
    Routes::new(health)
        .add_service(AuditLogServer::new(audit))
        .add_service(
            RecordsServer::new(service.clone())
                .max_decoding_message_size(limit)
                .max_encoding_message_size(limit),
        )
        .add_service(UpkeepServer::new(service))
}

/// Why a socket cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The socket.
    #[error("{path}: {source}")]
    Socket {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The port for other systems.
    #[error("cannot listen on {address}: {source}; set api_listen to another address, or stop what uses it")]
    Port {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The certificate of that port.
    #[error("api_certificate and api_key cannot be used together: {}", cause(.0))]
    Certificate(tonic::transport::Error),
    /// The server.
    #[error(transparent)]
    Transport(#[from] tonic::transport::Error),
}

/// What stands behind an error that says little itself.
fn cause(error: &tonic::transport::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

/// Serves a site's own services on this machine until `shutdown`.
///
/// # Errors
/// [`ServeError`].
pub async fn serve(
    records: Arc<dyn Records>,
    local: &Local,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    local.bind().await?.serve(services(records).await, shutdown).await
}

#[derive(Clone)]
pub(crate) struct Service {
    records: Arc<dyn Records>,
}

/// One table from a site's error to a gRPC status.
pub fn status(error: &SiteError) -> Status {
    let text = error.to_string();
    match error.class() {
        Class::Refused => Status::invalid_argument(text),
        Class::NotFound => Status::not_found(text),
        Class::Locked => Status::unavailable(text),
        Class::Full => Status::resource_exhausted(text),
        Class::Damaged => Status::data_loss(text),
        Class::Unready => {
            let zh = if let SiteError::Unready(said) = error { said.zh.clone() } else { String::new() };
            Status::with_details(Code::FailedPrecondition, text, zh.into())
        }
        Class::Internal => Status::internal(text),
    }
}

/// Runs a blocking call of the record API where blocking is allowed.
pub async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, SiteError> + Send + 'static,
) -> Result<T, Status> {
    let joined = tokio::task::spawn_blocking(call).await;
    joined.map_err(|_| Status::internal("the call was cut short"))?.map_err(|error| status(&error))
}

fn record_id(bytes: &[u8]) -> Result<RecordId, Status> {
    RecordId::from_slice(bytes).ok_or_else(|| Status::invalid_argument("a record id has 16 bytes"))
}

#[tonic::async_trait]
impl RecordsRpc for Service {
    type DeletedStream = RecordStream;

    async fn put(&self, request: Request<pb::PutRequest>) -> Result<Response<pb::PutResponse>, Status> {
        let caller = audited::caller(&request.get_ref().author, &request);
        let request = request.into_inner();
        let by = convert::by(&request.author, request.import_id);
        let puts = request.puts.into_iter().map(convert::put).collect::<Result<Vec<Put>, Status>>()?;
        let records = Arc::clone(&self.records);
        let answers = blocking(move || {
            let kind = puts.first().map_or(0, |put| put.kind);
            let answers = records.put(puts, &by, request.dry_run)?;
            if !by.import_id.is_empty() && !request.dry_run {
                audited::imported(records.audit(), kind, &answers, &by.import_id, caller);
            }
            Ok(answers)
        });
        let results = answers.await?.into_iter().map(convert::answer).collect();
        Ok(Response::new(pb::PutResponse { results }))
    }

    async fn get(&self, request: Request<pb::GetRequest>) -> Result<Response<pb::Record>, Status> {
        let asked = request.get_ref();
        let (kind, id) = (asked.kind, record_id(&asked.record)?);
        let reading = Reading::new("get", kind, &asked.reader, &asked.purpose, &request);
        let shown = self.read(reading, move |records| Ok((records.get(kind, id)?, 1))).await?;
        Ok(Response::new(convert::shown(shown)))
    }

    async fn list(&self, request: Request<pb::ListRequest>) -> Result<Response<pb::ListResponse>, Status> {
        let asked = request.get_ref();
        let reading = Reading::new("list", asked.kind, &asked.reader, &asked.purpose, &request);
        let reading = reading.searching(asked.filters.iter().map(|filter| filter.field.as_str()));
        let request = request.into_inner();
        let query = Query {
            kind: request.kind,
            filters: request.filters.into_iter().map(|filter| (filter.field, filter.equals)).collect(),
            page_size: request.page_size as usize,
            page_token: request.page_token,
            deleted: request.deleted,
        };
        let page = self.read(reading, move |records| {
            let page = records.list(&query)?;
            let count = page.records.len() as u64;
            Ok((Some(page), count))
        });
        let page = page.await?;
        Ok(Response::new(pb::ListResponse {
            records: page.records.into_iter().map(convert::shown).collect(),
            next_page_token: page.next,
        }))
    }

    async fn history(
        &self,
        request: Request<pb::GetRequest>,
    ) -> Result<Response<pb::HistoryResponse>, Status> {
        let asked = request.get_ref();
        let (kind, id) = (asked.kind, record_id(&asked.record)?);
        let reading = Reading::new("history", kind, &asked.reader, &asked.purpose, &request);
        let items = self.read(reading, move |records| {
            let items = records.history(kind, id)?;
            let count = u64::from(!items.is_empty());
            Ok((Some(items), count))
        });
        Ok(Response::new(pb::HistoryResponse { items: items.await? }))
    }

    async fn deleted(
        &self,
        request: Request<pb::DeletedRequest>,
    ) -> Result<Response<Self::DeletedStream>, Status> {
        let asked = request.get_ref();
        let kind = asked.kind;
        let reading = Reading::new("deleted", kind, &asked.reader, &asked.purpose, &request);
        let deleted = self.read(reading, move |records| {
            let deleted = records.deleted(kind)?;
            let count = deleted.len() as u64;
            Ok((Some(deleted), count))
        });
        let stream = tokio_stream::iter(deleted.await?.into_iter().map(|shown| Ok(convert::shown(shown))));
        Ok(Response::new(Box::pin(stream)))
    }

    async fn erase(&self, request: Request<pb::EraseRequest>) -> Result<Response<pb::EraseResponse>, Status> {
        let caller = audited::caller(&request.get_ref().author, &request);
        let request = request.into_inner();
        if request.reason.trim().is_empty() {
            return Err(Status::invalid_argument("an erasure needs a reason; give one with --reason"));
        }
        let by = convert::by(&request.author, Default::default());
        let wanted = request.records.iter().map(|id| record_id(id)).collect::<Result<Vec<_>, _>>()?;
        let records = Arc::clone(&self.records);
        let erased = blocking(move || {
            let dropped = records.erase(request.kind, &wanted, &by)?;
            audited::erased(records.audit(), &request, caller);
            let mut erased = records.erasures()?;
            erased.retain(|it| it.kind == request.kind && request.records.contains(&it.record));
            Ok(pb::EraseResponse { erased, dropped, releases: Vec::new() })
        });
        Ok(Response::new(erased.await?))
    }

    async fn erasures(
        &self,
        _: Request<pb::ErasuresRequest>,
    ) -> Result<Response<pb::ErasuresResponse>, Status> {
        let records = Arc::clone(&self.records);
        let erasures = blocking(move || records.erasures()).await?;
        Ok(Response::new(pb::ErasuresResponse { erasures }))
    }

    async fn delete(&self, request: Request<pb::DeleteRequest>) -> Result<Response<pb::PutResult>, Status> {
        let caller = audited::caller(&request.get_ref().author, &request);
        let request = request.into_inner();
        let expected = Some(request.expected_version).filter(|version| !version.is_empty());
        let put = Put::delete(request.kind, record_id(&request.record)?, expected);
        let by = convert::by(&request.author, Default::default());
        let records = Arc::clone(&self.records);
        let answer = blocking(move || {
            let answer = records.put(vec![put], &by, false)?.pop();
            audited::deleted(records.audit(), request.kind, answer.as_ref(), caller);
            Ok(answer)
        });
        let answer = answer.await?;
        Ok(Response::new(answer.map(convert::answer).unwrap_or_default()))
    }
}

pub(crate) type RecordStream = Pin<Box<dyn tokio_stream::Stream<Item = Result<pb::Record, Status>> + Send>>;
pub(crate) type ProgressStream =
    Pin<Box<dyn tokio_stream::Stream<Item = Result<pb::UpkeepProgress, Status>> + Send>>;

#[tonic::async_trait]
impl UpkeepRpc for Service {
    type VerifyStream = ProgressStream;

    async fn status(&self, _: Request<pb::StatusRequest>) -> Result<Response<pb::StatusResponse>, Status> {
        let records = Arc::clone(&self.records);
        Ok(Response::new(blocking(move || records.status()).await?))
    }

    async fn keys_changed(
        &self,
        _: Request<pb::KeysChangedRequest>,
    ) -> Result<Response<pb::KeysChangedResponse>, Status> {
        self.records.keys_changed();
        Ok(Response::new(pb::KeysChangedResponse {}))
    }

    async fn backup(
        &self,
        request: Request<pb::BackupRequest>,
    ) -> Result<Response<pb::BackupResponse>, Status> {
        let caller = audited::caller(&request.get_ref().author, &request);
        let (records, asked) = (Arc::clone(&self.records), request.into_inner());
        let standing = tokio::task::spawn_blocking(move || audited::standing(&*records, &asked, caller));
        let standing = standing.await.map_err(|_| Status::internal("the call was cut short"))?;
        Ok(Response::new(standing?))
    }

    async fn verify(
        &self,
        request: Request<pb::UpkeepRequest>,
    ) -> Result<Response<Self::VerifyStream>, Status> {
        let caller = audited::caller(&request.get_ref().author, &request);
        let pins: Vec<_> = request.into_inner().pins.into_iter().map(convert::pin).collect();
        let records = Arc::clone(&self.records);
        let (sender, receiver) = mpsc::channel(16);
        tokio::task::spawn_blocking(move || {
            let found = records.verify(&pins, &mut |progress| {
                // A client that does not keep up misses a step of the bar, nothing else.
                let _ = sender.try_send(Ok(pb::UpkeepProgress {
                    done: progress.done,
                    total: progress.total,
                    ..pb::UpkeepProgress::default()
                }));
            });
            if let Ok(found) = &found {
                audited::verified(records.audit(), found, caller);
            }
            let last = found.map(convert::findings).map_err(|error| status(&error));
            let _ = sender.blocking_send(last);
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}
