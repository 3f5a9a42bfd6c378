//! Connections that are counted: past a number the next one waits until another has ended; and none stays longer than it may.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Sleep;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::{Connected, TcpConnectInfo};

/// A connection with its place among those that may be open at once.
pub struct Counted {
    stream: TcpStream,
    _place: OwnedSemaphorePermit,
    /// When it is cut, whatever it has or has not said.
    until: Option<Pin<Box<Sleep>>>,
}

/// Connections of a listener, at most `most` of them open at a time, each for at most `age`. The others wait in the
/// system's queue.
pub fn incoming(
    listener: TcpListener,
    most: usize,
    age: Option<Duration>,
) -> ReceiverStream<io::Result<Counted>> {
    let places = Arc::new(Semaphore::new(most));
    let (accepted, stream) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            let place = tokio::select! {
                place = Arc::clone(&places).acquire_owned() => place,
                () = accepted.closed() => return,
            };
            // The semaphore is never closed.
            let Ok(place) = place else { return };
            let connection = tokio::select! {
                connection = listener.accept() => connection,
                () = accepted.closed() => return,
            };
            let until = age.map(|age| Box::pin(tokio::time::sleep(age)));
            let counted = connection.map(|(stream, _)| Counted { stream, _place: place, until });
            if accepted.send(counted).await.is_err() {
                return;
            }
        }
    });
    ReceiverStream::new(stream)
}

impl Connected for Counted {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.until.as_mut().is_some_and(|until| until.as_mut().poll(context).is_ready()) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Counted {
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
    use tokio_stream::StreamExt as _;

    use super::*;

    #[tokio::test]
    async fn past_the_number_a_connection_waits_until_another_has_ended() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let mut incoming = incoming(listener, 2, None);
        let mut clients = Vec::new();
        for _ in 0..3 {
            clients.push(TcpStream::connect(address).await.expect("it waits in the queue at least"));
        }
        let first = incoming.next().await.expect("open").expect("accepted");
        let _second = incoming.next().await.expect("open").expect("accepted");
        let third = tokio::time::timeout(Duration::from_millis(200), incoming.next()).await;
        assert!(third.is_err(), "two places are taken");
        drop(first);
        let third = tokio::time::timeout(Duration::from_secs(20), incoming.next()).await;
        assert!(third.is_ok_and(|third| third.is_some_and(|third| third.is_ok())), "a place is free");
    }

    #[tokio::test]
    async fn whoever_says_nothing_is_cut_when_its_time_is_over() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let mut incoming = incoming(listener, 1, Some(Duration::from_millis(50)));
        let _silent = TcpStream::connect(address).await.expect("connected");
        let mut connection = incoming.next().await.expect("open").expect("accepted");
        let read = tokio::time::timeout(Duration::from_secs(20), connection.read_u8()).await;
        assert_eq!(read.expect("in time").map_err(|error| error.kind()), Err(io::ErrorKind::TimedOut));
    }
}
