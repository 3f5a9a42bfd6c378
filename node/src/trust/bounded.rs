//! Connections of strangers: past a number the oldest of those who have not become known gives way to the next.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::{Connected, TcpConnectInfo};

use super::limits;

/// A pause after an error of the system that comes again at once, such as too many open files.
pub const AFTER_ERROR: Duration = Duration::from_millis(100);

/// A connection that may have to give way.
pub struct Counted {
    stream: TcpStream,
    is_known: Arc<AtomicBool>,
    /// Done when it has to; `None` afterwards, or when nobody can say so any more.
    cut: Option<oneshot::Receiver<()>>,
    is_cut: bool,
}

/// What the listener keeps of one.
struct Stranger {
    is_known: Arc<AtomicBool>,
    cut: oneshot::Sender<()>,
}

impl Stranger {
    fn is_one(&self) -> bool {
        !self.cut.is_closed() && !self.is_known.load(Ordering::Relaxed)
    }
}

/// Connections of a listener, at most `most` of them open at a time that are not known.
pub fn incoming(listener: TcpListener, most: usize) -> ReceiverStream<io::Result<Counted>> {
    let (accepted, stream) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut strangers: VecDeque<Stranger> = VecDeque::new();
        loop {
            let connection = tokio::select! {
                connection = listener.accept() => connection,
                () = accepted.closed() => return,
            };
            let Ok((stream, _)) = connection.inspect_err(|error| tracing::warn!(%error, "cannot accept"))
            else {
                tokio::time::sleep(AFTER_ERROR).await;
                continue;
            };
            strangers.retain(Stranger::is_one);
            if strangers.len() >= most {
                // Each has some time at least, however fast the next ones come.
                tokio::time::sleep(limits::HANDSHAKE_PAUSE).await;
                strangers.retain(Stranger::is_one);
                if strangers.len() >= most
                    && let Some(oldest) = strangers.pop_front()
                {
                    let _ = oldest.cut.send(());
                }
            }
            let is_known = Arc::new(AtomicBool::new(false));
            let (cut, told) = oneshot::channel();
            strangers.push_back(Stranger { is_known: Arc::clone(&is_known), cut });
            if accepted.send(Ok(Counted { stream, is_known, cut: Some(told), is_cut: false })).await.is_err()
            {
                return;
            }
        }
    });
    ReceiverStream::new(stream)
}

impl Counted {
    /// What is set once it is known who is at the other end: from then on it gives way to nobody.
    pub fn known(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_known)
    }

    fn goes_on(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if let Some(cut) = &mut self.cut
            && let Poll::Ready(told) = Pin::new(cut).poll(context)
        {
            // A listener that has ended cuts nobody.
            self.is_cut = told.is_ok() && !self.is_known.load(Ordering::Relaxed);
            self.cut = None;
        }
        if self.is_cut { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) }
    }
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
        self.goes_on(context)?;
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

    async fn ended(connection: &mut Counted) -> io::ErrorKind {
        let read = tokio::time::timeout(Duration::from_secs(20), connection.read_u8()).await;
        read.expect("in time").expect_err("nothing was sent").kind()
    }

    #[tokio::test]
    async fn past_the_number_the_oldest_stranger_gives_way_and_nobody_who_is_known() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let mut incoming = incoming(listener, 2);
        let mut clients = Vec::new();
        let mut connections = Vec::new();
        for n in 0..4 {
            clients.push(TcpStream::connect(address).await.expect("connected"));
            let next = tokio::time::timeout(Duration::from_secs(20), incoming.next()).await;
            let connection = next.expect("nobody waits for the silent").expect("open").expect("accepted");
            if n == 0 {
                connection.known().store(true, Ordering::Relaxed);
            }
            connections.push(connection);
        }
        assert_eq!(ended(&mut connections[1]).await, io::ErrorKind::TimedOut);
        for n in [0, 2, 3] {
            let silent = tokio::time::timeout(Duration::from_millis(50), connections[n].read_u8()).await;
            assert!(silent.is_err(), "{n} may stay: {silent:?}");
        }
    }
}
