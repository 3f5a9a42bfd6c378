//! Why an index can be used no more, for whoever runs the process: opening it again heals it.

use tokio::sync::watch;

use super::IndexError;

/// The end of an index, told once.
pub(super) struct End {
    why: watch::Sender<Option<IndexError>>,
}

impl Default for End {
    fn default() -> End {
        End { why: watch::Sender::new(None) }
    }
}

impl End {
    /// Takes note of an error if it is an end. The first one counts.
    pub fn note(&self, error: &IndexError) {
        if error.is_final() {
            self.why.send_if_modified(|why| {
                let first = why.is_none();
                why.get_or_insert_with(|| error.clone());
                first
            });
        }
    }

    /// The end, when it has come.
    pub fn why(&self) -> Option<IndexError> {
        self.why.borrow().clone()
    }

    /// Waits for it.
    pub async fn come(&self) -> IndexError {
        let mut why = self.why.subscribe();
        loop {
            if let Some(why) = &*why.borrow_and_update() {
                return why.clone();
            }
            // The sender is there as long as this waits on it.
            let _ = why.changed().await;
        }
    }
}
