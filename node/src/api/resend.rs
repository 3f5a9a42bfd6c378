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
