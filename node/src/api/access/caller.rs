//! Connections of other systems, each with a count of the tokens that were wrong; one that shows none is cut.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tonic::transport::server::Connected;

use crate::trust::bounded::Counted;
use crate::trust::limits;

/// The other end of a connection.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Where it is.
    pub address: Option<SocketAddr>,
    failures: Arc<AtomicU32>,
    is_known: Arc<AtomicBool>,
    places: Arc<Semaphore>,
    /// Of its connection, once it is known; it goes with the last who knows of it.
    place: Arc<Mutex<Option<OwnedSemaphorePermit>>>,
}

impl Caller {
    /// One more attempt that failed.
    pub fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// It has shown a right one, and takes a place among those who have; false when there is none left.
    pub fn known(&self) -> bool {
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        if place.is_none() {
            *place = Arc::clone(&self.places).try_acquire_owned().ok();
        }
        let has_place = place.is_some();
        self.is_known.store(has_place, Ordering::Relaxed);
        has_place
    }

    /// Whether there were too many of them: then not even a right token is looked at.
    pub fn is_shut_out(&self) -> bool {
        self.failures.load(Ordering::Relaxed) >= limits::API_FAILURES
    }
}

/// A connection that ends when its caller, shut out, says anything more, or has said nothing of worth in time.
pub struct Connection {
    stream: Counted,
    caller: Caller,
    /// When it is cut unless its caller is known by then.
    until: Pin<Box<Sleep>>,
}

impl Connection {
    /// A new one, with so much time to show a token, and then one of the places.
    pub fn new(stream: Counted, places: Arc<Semaphore>, patience: Duration) -> Connection {
        let address = stream.connect_info().remote_addr();
        let is_known = stream.known();
        let caller = Caller { address, failures: Arc::default(), is_known, places, place: Arc::default() };
        Connection { stream, caller, until: Box::pin(tokio::time::sleep(patience)) }
    }
}

impl Connected for Connection {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.caller.is_known.load(Ordering::Relaxed) && self.until.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if read.is_ready() && self.caller.is_shut_out() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;
    use tokio::net::{TcpListener, TcpStream};
    use tokio_stream::StreamExt as _;

    use super::*;
    use crate::trust::bounded::incoming;

    async fn connection(patience: Duration) -> (TcpStream, Connection) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let client = TcpStream::connect(address).await.expect("connected");
        let stream = incoming(listener, 1).next().await.expect("open").expect("accepted");
        (client, Connection::new(stream, Arc::new(Semaphore::new(1)), patience))
    }

    #[tokio::test]
    async fn whoever_shows_no_token_is_cut() {
        let (_silent, mut connection) = connection(Duration::from_millis(50)).await;
        let read = tokio::time::timeout(Duration::from_secs(20), connection.read_u8()).await;
        assert_eq!(read.expect("in time").map_err(|error| error.kind()), Err(io::ErrorKind::TimedOut));
    }

    #[tokio::test]
    async fn whoever_has_shown_one_may_be_silent() {
        let (client, mut connection) = connection(Duration::ZERO).await;
        assert!(connection.caller.known());
        assert!(connection.caller.known(), "it keeps its place");
        connection.until.as_mut().await;
        drop(client);
        let read = tokio::time::timeout(Duration::from_secs(20), connection.read_u8()).await;
        let ended = read.expect("in time").map_err(|error| error.kind());
        assert_eq!(ended, Err(io::ErrorKind::UnexpectedEof), "it ends when the other side does");
    }
}
