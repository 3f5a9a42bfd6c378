//! Calls that are sent again when nobody can have begun with them: whoever serves a site may leave at any time.

use std::error::Error;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::codegen::{Bytes, Service, StdError};
use tonic::transport::Channel;

/// How often in all.
const TRIES: usize = 20;
const TRY_AGAIN: Duration = Duration::from_millis(50);

/// A channel for calls with a single request. One that the other side cannot have begun with, because the connection was
/// closing just then, is sent again over the next connection. One that broke off is never repeated: it may have been
/// done.
#[derive(Debug, Clone)]
pub struct Resending {
    channel: Channel,
}

impl Resending {
    /// Over this channel.
    pub fn new(channel: Channel) -> Resending {
        Resending { channel }
    }
}

impl Service<Request<Body>> for Resending {
    type Response = Response<Body>;
    type Error = StdError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, StdError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), StdError>> {
        self.channel.poll_ready(context).map_err(StdError::from)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The one that said it was ready; its place is taken by one that has still to be asked.
        let next = self.channel.clone();
        let mut channel = std::mem::replace(&mut self.channel, next);
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body: Bytes = body.collect().await?.to_bytes();
            let once_more = || Request::from_parts(head.clone(), Body::new(Full::new(body.clone())));
            for _ in 1..TRIES {
                match channel.call(once_more()).await {
                    Err(error) if is_untouched(&error) => tokio::time::sleep(TRY_AGAIN).await,
                    ended => return Ok(ended?),
                }
                poll_fn(|context| channel.poll_ready(context)).await?;
            }
            Ok(channel.call(once_more()).await?)
        })
    }
}

/// Whether a call that failed cannot have been begun with. Two things say so:
///
/// * cancelled: it was still queued in this process when its connection ended;
/// * an orderly farewell of the other side (GOAWAY): it was not sent any more, or without its body, or the other
///   side says that it comes after the last one it looked at.
fn is_untouched(error: &(dyn Error + 'static)) -> bool {
    let is_farewell = |error: &h2::Error| {
        error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR)
    };
    error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled)
        || error.downcast_ref::<h2::Error>().is_some_and(is_farewell)
        || error.source().is_some_and(is_untouched)
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tonic::Code;
    use tonic::transport::{Endpoint, Server, Uri};
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_client::HealthClient;

    use super::*;

    const PREFACE: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();
    const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    const HEADERS: u8 = 1;
    const DATA: u8 = 0;

    /// Gives these connections, one after the other, and then no more.
    #[derive(Clone)]
    struct Connections(Arc<Mutex<Vec<DuplexStream>>>);

    impl Service<Uri> for Connections {
        type Response = TokioIo<DuplexStream>;
        type Error = io::Error;
        type Future = std::future::Ready<io::Result<Self::Response>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Uri) -> Self::Future {
            let next = self.0.lock().expect("no panic").pop();
            std::future::ready(next.map(TokioIo::new).ok_or(io::ErrorKind::ConnectionRefused.into()))
        }
    }

    /// A site that reads a call as far as a frame of this kind, says in an orderly way which call was the last that it
    /// looked at, and is gone.
    async fn leaves(mut stream: DuplexStream, until: u8, last: u8) -> io::Result<()> {
        stream.write_all(SETTINGS).await?;
        stream.read_exact(&mut [0; PREFACE]).await?;
        loop {
            let mut head = [0; 9];
            stream.read_exact(&mut head).await?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            stream.read_exact(&mut vec![0; length as usize]).await?;
            if head[3] == until {
                break;
            }
        }
        let farewell = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, last, 0, 0, 0, 0];
        stream.write_all(&farewell).await
    }

    /// Calls over a site that leaves and one that stays; how the call ends, and whether the second was ever asked.
    async fn called(until: u8, last: u8) -> (Result<(), Code>, bool) {
        let (leaving, there) = duplex(1 << 16);
        let (staying, other) = duplex(1 << 16);
        let left = Arc::new(Mutex::new(vec![staying, leaving]));
        let leaves = tokio::spawn(leaves(there, until, last));
        let (_, health) = tonic_health::server::health_reporter();
        let served = tokio_stream::once(Ok::<_, io::Error>(other));
        let stays = tokio::spawn(Server::builder().add_service(health).serve_with_incoming(served));
        let endpoint = Endpoint::from_static("http://site");
        let channel = endpoint.connect_with_connector_lazy(Connections(Arc::clone(&left)));
        let mut client = HealthClient::new(Resending::new(channel));
        let answer = client.check(HealthCheckRequest::default()).await;
        leaves.await.expect("no panic").expect("it was called");
        stays.abort();
        let is_asked = left.lock().expect("no panic").is_empty();
        (answer.map(drop).map_err(|status| status.code()), is_asked)
    }

    #[tokio::test]
    async fn a_call_that_nobody_has_begun_with_is_sent_again() {
        assert_eq!(called(HEADERS, 0).await, (Ok(()), true));
        assert_eq!(called(DATA, 0).await, (Ok(()), true));
    }

    /// Whatever came of it: a change would be made twice.
    #[tokio::test]
    async fn a_call_that_broke_off_is_not() {
        let (ended, is_asked) = called(DATA, 1).await;
        assert!(ended.is_err() && !is_asked, "{ended:?}");
    }
}
