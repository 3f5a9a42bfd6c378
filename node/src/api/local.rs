//! How commands on the same machine reach a site: a Unix socket, or a loopback port where there are none.
//!
//! | transport | who gets in |
//! |---|---|
//! | socket | the account that the file belongs to: 0600, in a directory 0700 |
//! | loopback | whoever can read the file with address and secret, which is made like a key: 0600 |
//!
//! What differs between systems is in here and nowhere else.

use std::future::Future;
use std::io::{self, Cursor};
use std::path::{Path, PathBuf};
use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, Chain, Join, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::Connected;

use super::{ServeError, loopback};

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// A Unix socket.
    Socket,
    /// A port on 127.0.0.1, with a secret in a file.
    Loopback,
}

impl Transport {
    /// The words that stand in the settings.
    pub const NAMES: &'static [&'static str] = &["socket", "loopback"];
    /// What holds unless something else is set, as written in TOML.
    pub const DEFAULT: &'static str = if cfg!(unix) { "\"socket\"" } else { "\"loopback\"" };

    /// The transport with a name of [`NAMES`](Self::NAMES); the default for any other.
    pub fn named(name: &str) -> Transport {
        match name {
            "loopback" => Transport::Loopback,
            "socket" => Transport::Socket,
            _ if cfg!(unix) => Transport::Socket,
            _ => Transport::Loopback,
        }
    }
}

/// A connection on this machine.
pub type Stream = Box<dyn Io>;

/// What a connection is made of.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {
    /// The account at the other end, where the system tells it.
    fn account(&self) -> Account {
        Account(None)
    }
}

impl Io for TcpStream {}

/// A user id of this machine, or none.
#[derive(Debug, Clone, Copy)]
pub struct Account(pub Option<u32>);

impl Connected for Stream {
    type ConnectInfo = Account;

    fn connect_info(&self) -> Account {
        self.account()
    }
}

pub(super) type Incoming = Pin<Box<dyn tokio_stream::Stream<Item = io::Result<Stream>> + Send>>;

/// The way to a site's services on its own machine.
#[derive(Debug, Clone)]
pub struct Local {
    transport: Transport,
    file: PathBuf,
}

impl Local {
    /// That of a site (`node`, `hub`) in a directory.
    pub fn new(transport: Transport, data_dir: &Path, program: &str) -> Local {
        let extension = match transport {
            Transport::Socket => "sock",
            Transport::Loopback => "port",
        };
        Local { transport, file: data_dir.join(format!("{program}.{extension}")) }
    }

    /// The socket, or the file that says where the port is.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Connects to whoever serves it, and waits until they have taken the connection.
    ///
    /// # Errors
    /// When nobody does, or whoever did is leaving.
    pub async fn connect(&self) -> io::Result<Stream> {
        let stream = match self.transport {
            Transport::Socket => socket::connect(&self.file).await?,
            Transport::Loopback => loopback::connect(&self.file).await?,
        };
        taken(stream).await
    }

    /// Binds it, for its owner alone. What a dead process left is replaced: the caller holds the directory's lock.
    ///
    /// # Errors
    /// [`ServeError::Socket`].
    pub async fn bind(&self) -> Result<Bound, ServeError> {
        let _ = std::fs::remove_file(&self.file);
        let bound = match self.transport {
            Transport::Socket => socket::bind(&self.file),
            Transport::Loopback => loopback::bind(&self.file).await,
        };
        let failed = |source| ServeError::Socket { path: self.file.clone(), source };
        Ok(Bound { incoming: bound.map_err(failed)?, file: self.file.clone() })
    }
}

/// A connection whose other side has begun to speak, as the side that serves does first in HTTP/2. Before that it may wait
/// in the queue of a process that is leaving and never looks at it; what is sent then is lost in a way that cannot be
/// told from a call that broke off half-way.
async fn taken(mut stream: Stream) -> io::Result<Stream> {
    let first = stream.read_u8().await?;
    let (reader, writer) = tokio::io::split(stream);
    Ok(Box::new(tokio::io::join(Cursor::new([first]).chain(reader), writer)))
}

type Taken = Join<Chain<Cursor<[u8; 1]>, ReadHalf<Stream>>, WriteHalf<Stream>>;

impl Io for Taken {}

/// A way that is bound and not served yet: whoever connects waits.
pub struct Bound {
    incoming: Incoming,
    file: PathBuf,
}

impl Bound {
    /// Serves until `shutdown`; then answers what is under way and takes the file away.
    ///
    /// # Errors
    /// [`ServeError`].
    pub async fn serve(
        self,
        routes: Routes,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), ServeError> {
        let served =
            Server::builder().add_routes(routes).serve_with_incoming_shutdown(self.incoming, shutdown).await;
        // Whether or not it is still there: the next start replaces it.
        let _ = std::fs::remove_file(&self.file);
        Ok(served?)
    }
}

#[cfg(unix)]
mod socket {
    use std::io;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    use tokio::net::{UnixListener, UnixStream};
    use tokio_stream::StreamExt as _;
    use tokio_stream::wrappers::UnixListenerStream;

    use super::{Account, Incoming, Io, Stream};

    impl Io for UnixStream {
        fn account(&self) -> Account {
            Account(self.peer_cred().ok().map(|peer| peer.uid()))
        }
    }

    pub async fn connect(path: &Path) -> io::Result<Stream> {
        Ok(Box::new(UnixStream::connect(path).await?))
    }

    pub fn bind(path: &Path) -> io::Result<Incoming> {
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        let connections = UnixListenerStream::new(listener);
        Ok(Box::pin(connections.map(|stream| stream.map(|stream| Box::new(stream) as Stream))))
    }
}

#[cfg(not(unix))]
mod socket {
    use std::io;
    use std::path::Path;

    use super::{Incoming, Stream};

    fn none<T>() -> io::Result<T> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "set local = \"loopback\": there are no sockets here"))
    }

    pub async fn connect(_: &Path) -> io::Result<Stream> {
        none()
    }

    pub fn bind(_: &Path) -> io::Result<Incoming> {
        none()
    }
}

#[cfg(all(test, unix))]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::UnixListener;

    use super::*;

    /// What a process on its way out leaves of those that wait for it, and what one that stays says.
    #[tokio::test]
    async fn a_connection_counts_once_the_other_side_speaks() {
        let dir = tempfile::tempdir().expect("a directory");
        let local = Local::new(Transport::Socket, dir.path(), "site");
        let listener = UnixListener::bind(local.file()).expect("bound");
        let (left, ()) = tokio::join!(local.connect(), async {
            drop(listener.accept().await.expect("somebody connects"));
        });
        assert_eq!(left.err().map(|error| error.kind()), Some(io::ErrorKind::UnexpectedEof));
        let (connected, ()) = tokio::join!(local.connect(), async {
            let (mut stream, _) = listener.accept().await.expect("somebody connects");
            stream.write_all(b"first and more").await.expect("written");
        });
        let mut said = String::new();
        connected.expect("connected").read_to_string(&mut said).await.expect("text");
        assert_eq!(said, "first and more");
    }
}
