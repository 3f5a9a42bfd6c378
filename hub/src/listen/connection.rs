//! A connection that stands: who is at its other end, and how this side ends it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use liandong_node::trust::limits;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tonic::transport::server::Connected;

use crate::ca::Identity;

/// The other end of a connection, as every request that comes over it sees it.
#[derive(Clone, Debug)]
pub struct Peer {
    identity: Option<Identity>,
    cut: watch::Sender<bool>,
}

impl Peer {
    /// Somebody who is who a certificate says, or nobody knows who.
    pub fn new(identity: Option<Identity>) -> Peer {
        Peer { identity, cut: watch::Sender::new(false) }
    }

    /// The city, by the certificate that was shown with the handshake.
    pub fn identity(&self) -> Option<Identity> {
        self.identity
    }

    /// Ends the connection now, with all that is under way on it.
    pub fn cut(&self) {
        self.cut.send_replace(true);
    }

    /// Ends the connection once what was said last has had time to arrive.
    pub fn cut_soon(&self) {
        let peer = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(limits::VOID_AGE).await;
            peer.cut();
        });
    }

    /// Whether the connection is there no more.
    pub fn is_gone(&self) -> bool {
        self.cut.is_closed()
    }
}

/// Until whoever is at the other end is a member no more, which is looked at after each `pause`, whether or not it says
/// anything.
pub async fn unvouched(pause: Duration, is_member: impl Fn() -> bool) {
    while is_member() {
        tokio::time::sleep(pause).await;
    }
}

type End = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A connection with its place among those that may be open at once.
pub struct Connection<S> {
    stream: S,
    peer: Peer,
    _place: Option<OwnedSemaphorePermit>,
    /// Done when this side ends it, whatever the other has or has not said.
    end: Option<End>,
}

impl<S> Connection<S> {
    /// A connection that lasts until `end` at most.
    pub fn new(
        stream: S,
        peer: Peer,
        place: Option<OwnedSemaphorePermit>,
        end: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        let mut cut = peer.cut.subscribe();
        let end = async move {
            tokio::select! {
                () = end => {}
                // The sender stands in the connection itself.
                _ = cut.wait_for(|cut| *cut) => {}
            }
        };
        Connection { stream, peer, _place: place, end: Some(Box::pin(end)) }
    }

    /// Asked by both directions: a peer that takes nothing must not keep this side from looking.
    fn goes_on(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let ended = self.end.as_mut().is_none_or(|end| end.as_mut().poll(context).is_ready());
        if ended {
            self.end = None;
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }
}

impl<S> Connected for Connection<S> {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.goes_on(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.goes_on(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.goes_on(context)?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.goes_on(context)?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.goes_on(context)?;
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn read(mut connection: Connection<tokio::io::DuplexStream>) -> io::ErrorKind {
        let read = tokio::time::timeout(Duration::from_secs(20), connection.read_u8()).await;
        read.expect("in time").expect_err("nothing was sent").kind()
    }

    #[tokio::test]
    async fn whoever_says_nothing_is_cut_when_its_time_is_over() {
        let (_silent, stream) = tokio::io::duplex(64);
        let connection =
            Connection::new(stream, Peer::new(None), None, tokio::time::sleep(Duration::from_millis(50)));
        assert_eq!(read(connection).await, io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn whoever_takes_nothing_is_cut_in_the_middle_of_a_write() {
        let (_deaf, stream) = tokio::io::duplex(64);
        let peer = Peer::new(None);
        let mut connection = Connection::new(stream, peer.clone(), None, pending());
        let writing = tokio::spawn(async move { connection.write_all(&[0; 1_000]).await });
        assert!(!peer.is_gone());
        peer.cut();
        let written = tokio::time::timeout(Duration::from_secs(20), writing).await;
        let written = written.expect("in time").expect("it runs");
        assert_eq!(written.map_err(|error| error.kind()), Err(io::ErrorKind::TimedOut));
        assert!(peer.is_gone());
    }

    #[tokio::test]
    async fn whoever_is_a_member_no_more_is_cut_though_it_says_nothing() {
        let (_silent, stream) = tokio::io::duplex(64);
        let is_member = Arc::new(AtomicBool::new(true));
        let asked = Arc::clone(&is_member);
        let end = unvouched(Duration::from_millis(10), move || asked.load(Ordering::Relaxed));
        let mut connection = Connection::new(stream, Peer::new(None), None, end);
        let read = tokio::time::timeout(Duration::from_millis(100), connection.read_u8()).await;
        assert!(read.is_err(), "a member may be silent");
        is_member.store(false, Ordering::Relaxed);
        let read = tokio::time::timeout(Duration::from_secs(20), connection.read_u8()).await;
        assert_eq!(read.expect("in time").map_err(|error| error.kind()), Err(io::ErrorKind::TimedOut));
    }
}
