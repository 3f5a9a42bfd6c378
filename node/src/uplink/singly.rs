//! Messages each in a frame of its own: what waits together would share one, and a frame that is cut in the middle is lost as
//! a whole.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio_stream::Stream;

/// A stream that is looked at anew after each of its items.
pub struct Singly<S> {
    inner: S,
    has_given: bool,
}

impl<S> Singly<S> {
    pub fn new(inner: S) -> Singly<S> {
        Singly { inner, has_given: false }
    }
}

impl<S: Stream + Unpin> Stream for Singly<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<S::Item>> {
        if std::mem::take(&mut self.has_given) {
            // Whoever gathers items sends what there is now, and comes back.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let item = Pin::new(&mut self.inner).poll_next(context);
        self.has_given = matches!(item, Poll::Ready(Some(_)));
        item
    }
}
