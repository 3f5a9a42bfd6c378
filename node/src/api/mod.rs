//! The site's services on its Unix socket: records, upkeep, health. The same at node and hub.

mod convert;

use std::future::Future;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use liandong_proto::id::RecordId;
use liandong_proto::pb::node::v1 as pb;
use pb::records_server::{Records as RecordsRpc, RecordsServer};
use pb::upkeep_server::{Upkeep as UpkeepRpc, UpkeepServer};
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use crate::site::{Class, Put, Query, Records, SiteError};

/// The largest message either side of the socket takes, in bytes.
pub const MESSAGE_BYTES: usize = 16 << 20;

/// The services of a site, for a router that may add its own.
pub async fn services(records: Arc<dyn Records>) -> Routes {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<RecordsServer<Service>>().await;
    let service = Service { records };
    let limit = MESSAGE_BYTES;
    Routes::new(health)
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
    /// The server.
    #[error(transparent)]
    Transport(#[from] tonic::transport::Error),
}

/// A bound socket that is not served yet: whoever connects waits.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Binds the socket for its owner alone (0600). A socket that a dead process left is replaced: the
    /// caller holds the directory's lock.
    ///
    /// # Errors
    /// [`ServeError::Socket`].
    pub fn bind(path: &Path) -> Result<Socket, ServeError> {
        let failed = |source| ServeError::Socket { path: path.to_path_buf(), source };
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
        Ok(Socket { listener, path: path.to_path_buf() })
    }

    /// Serves until `shutdown`; then answers what is under way and takes the socket away.
    ///
    /// # Errors
    /// [`ServeError`].
    pub async fn serve(
        self,
        routes: Routes,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), ServeError> {
        let incoming = UnixListenerStream::new(self.listener);
        let served =
            Server::builder().add_routes(routes).serve_with_incoming_shutdown(incoming, shutdown).await;
        // Whether or not it is still there: the next start replaces it.
        let _ = std::fs::remove_file(&self.path);
        Ok(served?)
    }
}

/// Serves a site's own services on its socket until `shutdown`.
///
/// # Errors
/// [`ServeError`].
pub async fn serve(
    records: Arc<dyn Records>,
    socket: &Path,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    Socket::bind(socket)?.serve(services(records).await, shutdown).await
}

#[derive(Clone)]
struct Service {
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
        let request = request.into_inner();
        let by = convert::by(&request.author, request.import_id);
        let puts = request.puts.into_iter().map(convert::put).collect::<Result<Vec<Put>, Status>>()?;
        let records = Arc::clone(&self.records);
        let answers = blocking(move || records.put(puts, &by, request.dry_run)).await?;
        Ok(Response::new(pb::PutResponse { results: answers.into_iter().map(convert::answer).collect() }))
    }

    async fn get(&self, request: Request<pb::GetRequest>) -> Result<Response<pb::Record>, Status> {
        let request = request.into_inner();
        let id = record_id(&request.record)?;
        let records = Arc::clone(&self.records);
        let shown = blocking(move || records.get(request.kind, id)?.ok_or(SiteError::NotFound)).await?;
        Ok(Response::new(convert::shown(shown)))
    }

    async fn list(&self, request: Request<pb::ListRequest>) -> Result<Response<pb::ListResponse>, Status> {
        let request = request.into_inner();
        let query = Query {
            kind: request.kind,
            filters: request.filters.into_iter().map(|filter| (filter.field, filter.equals)).collect(),
            page_size: request.page_size as usize,
            page_token: request.page_token,
            deleted: request.deleted,
        };
        let records = Arc::clone(&self.records);
        let page = blocking(move || records.list(&query)).await?;
        Ok(Response::new(pb::ListResponse {
            records: page.records.into_iter().map(convert::shown).collect(),
            next_page_token: page.next,
        }))
    }

    async fn history(
        &self,
        request: Request<pb::GetRequest>,
    ) -> Result<Response<pb::HistoryResponse>, Status> {
        let request = request.into_inner();
        let id = record_id(&request.record)?;
        let records = Arc::clone(&self.records);
        let items = blocking(move || records.history(request.kind, id)).await?;
        Ok(Response::new(pb::HistoryResponse { items }))
    }

    async fn deleted(
        &self,
        request: Request<pb::DeletedRequest>,
    ) -> Result<Response<Self::DeletedStream>, Status> {
        let kind = request.into_inner().kind;
        let records = Arc::clone(&self.records);
        let deleted = blocking(move || records.deleted(kind)).await?;
        let stream = tokio_stream::iter(deleted.into_iter().map(|shown| Ok(convert::shown(shown))));
        Ok(Response::new(Box::pin(stream)))
    }

    async fn delete(&self, request: Request<pb::DeleteRequest>) -> Result<Response<pb::PutResult>, Status> {
        let request = request.into_inner();
        let expected = Some(request.expected_version).filter(|version| !version.is_empty());
        let put = Put::delete(request.kind, record_id(&request.record)?, expected);
        let by = convert::by(&request.author, Default::default());
        let records = Arc::clone(&self.records);
        let answer = blocking(move || Ok(records.put(vec![put], &by, false)?.pop())).await?;
        Ok(Response::new(answer.map(convert::answer).unwrap_or_default()))
    }
}

type RecordStream = Pin<Box<dyn tokio_stream::Stream<Item = Result<pb::Record, Status>> + Send>>;
type ProgressStream = Pin<Box<dyn tokio_stream::Stream<Item = Result<pb::UpkeepProgress, Status>> + Send>>;

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

    async fn verify(
        &self,
        request: Request<pb::UpkeepRequest>,
    ) -> Result<Response<Self::VerifyStream>, Status> {
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
            let last = found.map(convert::findings).map_err(|error| status(&error));
            let _ = sender.blocking_send(last);
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}
