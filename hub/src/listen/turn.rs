//! What reads much is read for each city one after the other, however many sessions it begins.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use liandong_proto::id::SiteCode;
use tokio::sync::{Semaphore, mpsc};

use crate::hub::locked;

/// The turns of all cities.
#[derive(Default)]
pub struct Turns(Mutex<HashMap<SiteCode, Turn>>);

/// One city's.
#[derive(Clone)]
pub struct Turn(Arc<Semaphore>);

impl Turns {
    /// That of a city.
    pub fn of(&self, site: SiteCode) -> Turn {
        locked(&self.0).entry(site).or_insert_with(|| Turn(Arc::new(Semaphore::new(1)))).clone()
    }
}

impl Turn {
    /// Works beside the runtime once all the work before is done; not at all when `asking`, the session that asked, has
    /// ended by then.
    pub fn take<T: Send + 'static>(
        &self,
        asking: &mpsc::UnboundedSender<T>,
        work: impl FnOnce() + Send + 'static,
    ) {
        let (turn, asking) = (Arc::clone(&self.0), asking.clone());
        tokio::spawn(async move {
            let turn = tokio::select! {
                turn = turn.acquire_owned() => turn,
                () = asking.closed() => return,
            };
            // It is held for as long as the work takes, also when the session ends meanwhile.
            tokio::task::spawn_blocking(move || {
                work();
                drop(turn);
            });
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn one_at_a_time_and_none_for_a_session_that_has_ended() {
        let turns = Turns::default();
        let (asking, _session) = mpsc::unbounded_channel::<()>();
        let (gone, ended) = mpsc::unbounded_channel::<()>();
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let (done, mut all_done) = mpsc::unbounded_channel();
        let busy = Arc::new(AtomicUsize::new(0));
        let city = SiteCode(440_100);
        let first = done.clone();
        turns.of(city).take(&asking, move || {
            wait.recv().expect("told");
            first.send("first").expect("open");
        });
        let (never, counted) = (done.clone(), Arc::clone(&busy));
        drop(ended);
        turns.of(city).take(&gone, move || never.send("of a session that has ended").expect("open"));
        for _ in 0..3 {
            let (busy, done) = (Arc::clone(&counted), done.clone());
            turns.of(city).take(&asking, move || {
                assert_eq!(busy.fetch_add(1, Ordering::SeqCst), 0, "another is at work");
                std::thread::yield_now();
                busy.fetch_sub(1, Ordering::SeqCst);
                done.send("later").expect("open");
            });
        }
        turns.of(SiteCode(440_300)).take(&asking, move || done.send("another city").expect("open"));
        assert_eq!(all_done.recv().await, Some("another city"), "nobody waits for a city but itself");
        go.send(()).expect("it waits");
        let mut rest = Vec::new();
        while let Some(what) = all_done.recv().await {
            rest.push(what);
        }
        assert_eq!(rest, ["first", "later", "later", "later"]);
    }
}
