//! A hub that cannot go on: who is told, and what. A restart goes on from the log.

use liandong_node::site::{Class, SiteError};

use crate::hub::{Hub, Shared, locked};

/// Why a hub cannot go on.
#[derive(Clone, Debug)]
pub(crate) struct Failed {
    why: String,
    class: Class,
}

impl Failed {
    fn error(self) -> SiteError {
        SiteError::Stopped { why: self.why, class: self.class }
    }
}

impl Shared {
    /// The failure of the hub, when there is one.
    pub(crate) fn failure(&self) -> Option<SiteError> {
        self.failed.borrow().clone().map(Failed::error)
    }

    /// The hub cannot go on: everybody is told, nothing more is acknowledged. The first failure counts.
    pub(crate) fn fail(&self, error: SiteError) {
        let failed = match error {
            SiteError::Stopped { why, class } => Failed { why, class },
            error => Failed { why: error.to_string(), class: error.class() },
        };
        self.failed.send_if_modified(|first| {
            let is_first = first.is_none();
            first.get_or_insert(failed);
            is_first
        });
        // Whoever waits for an answer gets the failure for one.
        self.queue.abandon();
        {
            // Whoever looked just now is waiting by the time this is entered.
            let _rounds = locked(&self.rounds);
            self.round_done.notify_all();
        }
        for (_, session) in locked(&self.sessions).drain() {
            let _ = session.send(crate::listen::unavailable());
        }
    }
}

impl Hub {
    /// Why a write gets no answer.
    pub(crate) fn unanswered(&self) -> SiteError {
        if !self.shared.queue.is_stopped() {
            // Dropped by a committer that is about to say why.
            self.shared.wait_for(|_| false);
        }
        let stopping = || SiteError::Stopped { why: "the hub is stopping".into(), class: Class::Internal };
        self.shared.failure().unwrap_or_else(stopping)
    }

    /// Whether its committer and its index live: whoever runs the process starts it again when they do not.
    ///
    /// # Errors
    /// Why not.
    pub fn alive(&self) -> Result<(), SiteError> {
        if let Some(error) = self.shared.failure() {
            return Err(error);
        }
        if !self.has_threads() {
            return Err(SiteError::torn());
        }
        Ok(self.shared.index.alive()?)
    }

    /// Waits until the hub cannot go on: its committer has failed, or its index has ended. A restart goes on from
    /// the log.
    pub async fn failed(&self) -> SiteError {
        let mut failed = self.shared.failed.subscribe();
        let committer = async {
            // The sender is there as long as this waits on it.
            let _ = failed.wait_for(Option::is_some).await;
        };
        tokio::select! {
            () = committer => self.shared.failure().unwrap_or_else(SiteError::torn),
            error = self.shared.index.ended() => error.into(),
        }
    }
}
