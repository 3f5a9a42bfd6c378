//! The one way to a site's records: its socket, which this process serves itself when nobody does.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use liandong_proto::pb::node::v1::records_client::RecordsClient;
use liandong_proto::pb::node::v1::upkeep_client::UpkeepClient;
use liandong_proto::schema::Text;
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::service::Routes;
use tonic::transport::{Channel, Endpoint};

use super::exit::Failure;
use super::screen::Screen;
use crate::api::{MESSAGE_BYTES, ServeError, Socket};
use crate::say;
use crate::site::OnProgress;

/// How long to wait for another process that is opening the site.
const OTHER_OPENS: Duration = Duration::from_secs(10);
const TRY_AGAIN: Duration = Duration::from_millis(50);

/// What is being done while a site opens.
pub const OPENING: Text = Text { zh: "读取日志，补齐索引", en: "reading the log into the index" };

/// What a site is opened by; runs where blocking is allowed.
pub type Opener = Box<dyn FnOnce(OnProgress<'_>) -> Result<Opened, NotOpened> + Send>;

/// A site that this process has opened.
pub struct Opened {
    /// Makes the services to serve.
    pub routes: Pin<Box<dyn Future<Output = Routes> + Send>>,
    /// Puts the site away.
    pub close: Box<dyn FnOnce() -> Result<(), Failure> + Send>,
}

/// Why a site could not be opened.
#[derive(Debug)]
pub struct NotOpened {
    /// Another process has it, and may soon serve its socket.
    pub locked: bool,
    /// What to tell when it does not.
    pub failure: Failure,
}

/// A way to a site's services.
#[derive(Debug)]
pub struct Door {
    channel: Channel,
    own: Option<Own>,
}

/// What this process serves itself.
struct Own {
    stop: oneshot::Sender<()>,
    served: JoinHandle<Result<(), ServeError>>,
    close: Box<dyn FnOnce() -> Result<(), Failure> + Send>,
}

impl std::fmt::Debug for Own {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Own")
    }
}

impl Door {
    /// Connects to the socket of a site, opening the site when nobody serves it.
    ///
    /// # Errors
    /// [`Failure`] when the site can neither be reached nor opened.
    pub async fn open(socket: &Path, opener: Opener, screen: &Screen) -> Result<Door, Failure> {
        if let Some(channel) = connect(socket).await {
            return Ok(Door { channel, own: None });
        }
        match start(opener, screen).await {
            Ok(opened) => serve(socket, opened).await,
            Err(NotOpened { locked: false, failure }) => Err(failure),
            Err(NotOpened { failure, .. }) => match wait_for(socket).await {
                Some(channel) => Ok(Door { channel, own: None }),
                None => Err(failure),
            },
        }
    }

    /// Whether another process serves the site.
    pub fn is_elsewhere(&self) -> bool {
        self.own.is_none()
    }

    /// The records of the site.
    pub fn records(&self) -> RecordsClient<Channel> {
        RecordsClient::new(self.channel.clone())
            .max_decoding_message_size(MESSAGE_BYTES)
            .max_encoding_message_size(MESSAGE_BYTES)
    }

    /// Its status and its check.
    pub fn upkeep(&self) -> UpkeepClient<Channel> {
        UpkeepClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES)
    }

    /// For services that only one of the sites has.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Lets go of the site; one that this process opened is put away, so that the next start is quick.
    ///
    /// # Errors
    /// [`Failure`]; what was answered is durable all the same.
    pub async fn close(self) -> Result<(), Failure> {
        let Door { channel, own } = self;
        // The server waits for the connections it has.
        drop(channel);
        let Some(Own { stop, served, close }) = own else { return Ok(()) };
        let _ = stop.send(());
        let served = served.await;
        blocking(close).await??;
        served.map_err(|_| cut_short())?.map_err(Failure::from)
    }
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

/// Opens a site with a progress bar, since it may have to make its index again.
///
/// # Errors
/// [`NotOpened`].
pub async fn start(opener: Opener, screen: &Screen) -> Result<Opened, NotOpened> {
    let bar = screen.bar(OPENING);
    let work = bar.clone();
    let opened = blocking(move || opener(&mut |progress| work.on(progress))).await;
    bar.finish();
    opened.unwrap_or_else(|failure| Err(NotOpened { locked: false, failure }))
}

async fn serve(socket: &Path, opened: Opened) -> Result<Door, Failure> {
    let Opened { routes, close } = opened;
    let listening = Socket::bind(socket)?;
    let routes = routes.await;
    let (stop, stopped) = oneshot::channel();
    let served = tokio::spawn(listening.serve(routes, async {
        // A sender that is gone means stop as well.
        let _ = stopped.await;
    }));
    let channel = connect(socket).await.ok_or_else(|| {
        let shown = socket.display();
        Failure::internal(say!(
            "连不上自己的本地接口 {shown}；请重试",
            "this process's own socket {shown} cannot be reached; try again"
        ))
    })?;
    Ok(Door { channel, own: Some(Own { stop, served, close }) })
}

async fn connect(socket: &Path) -> Option<Channel> {
    // Whether anybody listens is asked of the socket itself, so that no half-made channel is left behind.
    drop(UnixStream::connect(socket).await.ok()?);
    let socket: PathBuf = std::path::absolute(socket).ok()?;
    let endpoint = Endpoint::from_shared(format!("unix:{}", socket.to_str()?)).ok()?;
    endpoint.connect().await.ok()
}

async fn wait_for(socket: &Path) -> Option<Channel> {
    let tries = async {
        loop {
            if let Some(channel) = connect(socket).await {
                return channel;
            }
            tokio::time::sleep(TRY_AGAIN).await;
        }
    };
    tokio::time::timeout(OTHER_OPENS, tries).await.ok()
}
