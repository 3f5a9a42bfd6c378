//! An answer on its way: bounded in time, ended when the token is void, counted and recorded when it is over.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arrow::array::RecordBatch;
use futures_util::{Stream, StreamExt as _};
use liandong_node::now::now_ms;
use tokio::time::{Sleep, sleep};
use tonic::Status;

use crate::analysts::{Analyst, Desk};
use crate::release::Message;

/// The longest that an answer may take.
pub const LONGEST: Duration = Duration::from_secs(300);
/// How often it is looked whether the token is still good.
const LOOK_EVERY_MS: u64 = 10_000;

/// What an answer consists of.
pub trait Counted {
    /// How many rows.
    fn rows(&self) -> u64;
}

impl Counted for RecordBatch {
    fn rows(&self) -> u64 {
        self.num_rows() as u64
    }
}

impl Counted for Message {
    fn rows(&self) -> u64 {
        self.rows
    }
}

/// Rows, as a stream makes them.
pub struct Answer<S> {
    rows: S,
    desk: Desk,
    analyst: Arc<Analyst>,
    /// As shown: looked up again while rows are on their way.
    token: String,
    looked_ms: u64,
    ends: Pin<Box<Sleep>>,
    /// Which tables, for the record.
    tables: String,
    sent: u64,
    is_over: bool,
}

impl<S> Answer<S> {
    /// Rows for somebody.
    pub fn new(rows: S, desk: Desk, analyst: Arc<Analyst>, token: String, tables: String) -> Answer<S> {
        let ends = Box::pin(sleep(LONGEST));
        Answer { rows, desk, analyst, token, looked_ms: now_ms(), ends, tables, sent: 0, is_over: false }
    }

    fn look(&mut self) -> Result<(), Status> {
        let now_ms = now_ms();
        if now_ms < self.looked_ms + LOOK_EVERY_MS {
            return Ok(());
        }
        self.looked_ms = now_ms;
        self.desk
            .admit(&self.token, now_ms)
            .map(drop)
            .map_err(|refused| Status::unauthenticated(refused.to_string()))
    }
}

impl<T: Counted, S: Stream<Item = Result<T, Status>> + Unpin> Stream for Answer<S> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let next = if self.ends.as_mut().poll(context).is_ready() {
            let seconds = LONGEST.as_secs();
            Some(Err(Status::deadline_exceeded(format!(
                "the query took more than {seconds} s and was ended; ask for less at once"
            ))))
        } else {
            match self.rows.poll_next_unpin(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => None,
                Poll::Ready(Some(Err(status))) => Some(Err(status)),
                Poll::Ready(Some(Ok(batch))) => Some(self.look().map(|()| batch)),
            }
        };
        match &next {
            Some(Ok(batch)) => self.sent += batch.rows(),
            _ => self.is_over = true,
        }
        Poll::Ready(next)
    }
}

impl<S> Drop for Answer<S> {
    fn drop(&mut self) {
        self.desk.note_read(&self.analyst, &self.tables, self.sent);
    }
}
