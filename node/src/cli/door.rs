//! The one way to a site's records: its socket (or loopback port), which this process serves itself when nobody does.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use liandong_proto::pb::node::v1::records_client::RecordsClient;
use liandong_proto::pb::node::v1::upkeep_client::UpkeepClient;
use liandong_proto::schema::Text;
use tokio::sync::{Mutex, oneshot};
use tokio::task::JoinHandle;
use tonic::codegen::Service;
use tonic::service::Routes;
use tonic::transport::{Channel, Endpoint, Uri};

use super::exit::Failure;
use super::screen::Screen;
use crate::api::local::{Local, Stream};
use crate::api::{MESSAGE_BYTES, Resending, ServeError};
use crate::caller::Caller;
use crate::say;
use crate::site::{Class, OnProgress, SiteError};

/// How often, and how long after another, socket and directory are tried while another process is opening or
/// leaving the site: ten seconds in all.
const TRIES: usize = 200;
const TRY_AGAIN: Duration = Duration::from_millis(50);

/// What is being done while a site opens.
const OPENING: Text = Text { zh: "读取日志，补齐索引", en: "reading the log into the index" };

/// Opens something that takes the site's directory; runs where blocking is allowed.
pub type Open<T> = Arc<dyn Fn(OnProgress<'_>) -> Result<T, SiteError> + Send + Sync>;

/// A site that this process has opened.
pub struct Opened {
    /// Makes the services to serve.
    pub routes: Pin<Box<dyn Future<Output = Routes> + Send>>,
    /// Puts the site away.
    pub close: Box<dyn FnOnce() -> Result<(), Failure> + Send>,
}

/// A way to a site's services. It stands for as long as anybody serves them: when another process leaves the
/// site while a command is under way, this one takes over.
pub struct Door {
    channel: Resending,
    way: Arc<Way>,
    caller: Caller,
}

struct Way {
    local: Local,
    open: Open<Opened>,
    screen: Screen,
    /// What this process serves itself.
    own: Mutex<Option<Own>>,
}

struct Own {
    stop: oneshot::Sender<()>,
    served: JoinHandle<Result<(), ServeError>>,
    close: Box<dyn FnOnce() -> Result<(), Failure> + Send>,
}

impl Door {
    /// Connects to the socket of a site, opening the site when nobody serves it.
    ///
    /// # Errors
    /// [`Failure`] when the site can neither be reached nor opened.
    pub async fn open(
        local: Local,
        open: Open<Opened>,
        caller: Caller,
        screen: &Screen,
    ) -> Result<Door, Failure> {
        let way = Arc::new(Way { local, open, screen: *screen, own: Mutex::new(None) });
        drop(way.stream().await?);
        // The address stands for nothing; the connector knows the way.
        let endpoint = Endpoint::from_static("http://site");
        let channel = endpoint.connect_with_connector_lazy(Connector(Arc::clone(&way)));
        let channel = Resending::new(channel);
        Ok(Door { channel, way, caller })
    }

    /// Whether another process serves the site.
    pub fn is_elsewhere(&self) -> bool {
        self.way.own.try_lock().is_ok_and(|own| own.is_none())
    }

    /// Who came through it, and what for.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The records of the site.
    pub fn records(&self) -> RecordsClient<Resending> {
        RecordsClient::new(self.channel.clone())
            .max_decoding_message_size(MESSAGE_BYTES)
            .max_encoding_message_size(MESSAGE_BYTES)
    }

    /// Its status and its check.
    pub fn upkeep(&self) -> UpkeepClient<Resending> {
        UpkeepClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES)
    }

    /// For services that only one of the sites has.
    pub fn channel(&self) -> Resending {
        self.channel.clone()
    }

    /// Lets go of the site; one that this process opened is put away, so that the next start is quick.
    ///
    /// # Errors
    /// [`Failure`]; what was answered is durable all the same.
    pub async fn close(self) -> Result<(), Failure> {
        let Door { channel, way, .. } = self;
        // The server waits for the connections it has.
        drop(channel);
        let Some(Own { stop, served, close }) = way.own.lock().await.take() else { return Ok(()) };
        let _ = stop.send(());
        let served = served.await;
        blocking(close).await??;
        served.map_err(|_| cut_short())?.map_err(Failure::from)
    }
}

impl Way {
    /// A connection to whoever serves the socket; when nobody does, that is this process from now on.
    async fn stream(&self) -> Result<Stream, Failure> {
        let mut own = self.own.lock().await;
        for tries in 1.. {
            if let Ok(stream) = self.local.connect().await {
                return Ok(stream);
            }
            if own.is_some() {
                break;
            }
            match try_open(&self.open, &self.screen).await? {
                Ok(opened) => *own = Some(serve(&self.local, opened).await?),
                Err(error) if is_passing(&error, tries) => tokio::time::sleep(TRY_AGAIN).await,
                Err(error) => return Err(error.into()),
            }
        }
        let shown = self.local.file().display();
        Err(Failure::internal(say!(
            "连不上自己的本地接口 {shown}；请重试",
            "this process's own socket {shown} cannot be reached; try again"
        )))
    }
}

/// Leads every connection of a channel through the door.
struct Connector(Arc<Way>);

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Failure>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let way = Arc::clone(&self.0);
        Box::pin(async move { Ok(TokioIo::new(way.stream().await?)) })
    }
}

/// A channel to whoever serves a site; `None` when nobody does.
pub async fn reach(local: &Local) -> Option<Channel> {
    Endpoint::from_static("http://site").connect_with_connector(Straight(local.clone())).await.ok()
}

/// Leads every connection to whoever serves, and opens nothing.
struct Straight(Local);

impl Service<Uri> for Straight {
    type Response = TokioIo<Stream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let local = self.0.clone();
        Box::pin(async move { Ok(TokioIo::new(local.connect().await?)) })
    }
}

async fn serve(local: &Local, opened: Opened) -> Result<Own, Failure> {
    let Opened { routes, close } = opened;
    let listening = local.bind().await?;
    let routes = routes.await;
    let (stop, stopped) = oneshot::channel();
    let served = tokio::spawn(listening.serve(routes, async {
        // A sender that is gone means stop as well.
        let _ = stopped.await;
    }));
    Ok(Own { stop, served, close })
}

/// Runs what blocks beside the runtime.
///
/// # Errors
/// [`Failure`] when it panicked.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.map_err(|_| cut_short())
}

fn cut_short() -> Failure {
    Failure::internal(say!(
        "内部错误，操作被中断；已回答的都已保存，请重新运行命令",
        "an internal error cut this short; what was answered is saved, run the command again"
    ))
}

/// Opens the directory for a process that stays, waiting for a command that is just using it.
///
/// # Errors
/// [`Failure`].
pub async fn open_patiently<T: Send + 'static>(open: Open<T>, screen: &Screen) -> Result<T, Failure> {
    let mut tries = 1;
    loop {
        match try_open(&open, screen).await? {
            Err(error) if is_passing(&error, tries) => tokio::time::sleep(TRY_AGAIN).await,
            ended => return Ok(ended?),
        }
        tries += 1;
    }
}

fn is_passing(error: &SiteError, tries: usize) -> bool {
    error.class() == Class::Locked && tries < TRIES
}

/// Opens, with a progress bar, since the index may have to be made again.
async fn try_open<T: Send + 'static>(
    open: &Open<T>,
    screen: &Screen,
) -> Result<Result<T, SiteError>, Failure> {
    let bar = screen.bar(OPENING);
    let (work, open) = (bar.clone(), Arc::clone(open));
    let opened = blocking(move || open(&mut |progress| work.on(progress))).await;
    bar.finish();
    opened
}
