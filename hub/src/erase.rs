//! Carrying out erasures at the hub: payloads out of the log, old bytes out of the index, then the hub's own proof. A
//! thread of its own does it, since it reads the whole log; what was not finished is finished at the next start.

use std::sync::mpsc;
use std::time::Duration;

use liandong_node::now::now_ms;
use liandong_node::payload;
use liandong_node::site::{By, Put, SiteError, told};
use liandong_node::text::Said;
use liandong_proto::entry::{Op, Patch};
use liandong_proto::erasure::{self, ErasureProof, ErasureRow};
use liandong_proto::id::{RecordId, SiteCode};
use liandong_proto::pb::node::v1 as node;
use liandong_proto::sign::Erased;

use crate::ca::Identity;
use crate::erasures::Erasures;
use crate::fold::Key;
use crate::hub::{Hub, Shared, locked};
use crate::mirror::half_erased;
use crate::queue::{Job, Proved, Prover};

/// After a failure, such as a full disk, it is tried again.
const AGAIN: Duration = Duration::from_secs(10);

impl Shared {
    /// Works until the queue is stopped: whatever waits at the start, then whenever somebody is woken.
    pub(crate) fn erase_all(&self) {
        loop {
            let pause = match self.erase_open() {
                Ok(()) => None,
                Err(_) if self.queue.is_stopped() => return,
                Err(error) => {
                    tracing::error!(%error, "records wait to be erased; it is tried again");
                    Some(AGAIN)
                }
            };
            let mut wanted = locked(&self.erasing);
            while !*wanted && !self.queue.is_stopped() {
                match pause {
                    None => {
                        wanted = self.erase.wait(wanted).unwrap_or_else(std::sync::PoisonError::into_inner);
                    }
                    Some(pause) => {
                        let waited = self.erase.wait_timeout(wanted, pause);
                        wanted = waited.unwrap_or_else(std::sync::PoisonError::into_inner).0;
                        break;
                    }
                }
            }
            if self.queue.is_stopped() {
                return;
            }
            *wanted = false;
        }
    }

    /// Wakes the thread: there is something to erase, or an end to be noticed.
    pub(crate) fn wake_eraser(&self) {
        *locked(&self.erasing) = true;
        self.erase.notify_all();
    }

    fn erase_open(&self) -> Result<(), SiteError> {
        let open: Vec<(Key, ErasureRow)> = {
            let published = self.published.read().unwrap_or_else(std::sync::PoisonError::into_inner);
            let is_open =
                |(_, row): &(&Key, &ErasureRow)| erasure::proof_of(row, SiteCode::PROVINCE).is_none();
            let rows = published.registry.erasures.iter().filter(is_open);
            rows.map(|(key, row)| (*key, row.clone())).collect()
        };
        if open.is_empty() {
            return Ok(());
        }
        let keys: payload::Erased = open.iter().map(|(key, _)| *key).collect();
        let mut edit = |kind, payload: &[u8]| payload::dropped(kind, payload, &keys);
        let dropped = self.log.rewrite(&mut edit, &|| self.queue.is_stopped())?.ok_or_else(stopping)?;
        if self.queue.is_stopped() {
            return Err(stopping());
        }
        self.index.scrub()?;
        let withdrawn = self.releases.forget(keys.iter(), now_ms())?;
        // Whoever waits may be told so, should the mirror fail.
        (*locked(&self.stripped)).clone_from(&keys);
        if let Some(mirror) = &self.mirror {
            mirror.compare().inspect_err(|_| self.wake_waiting())?;
        }
        *locked(&self.emptied) += dropped;
        tracing::info!(records = keys.len(), dropped, "erased");
        let prove = |((kind, record), row): (Key, ErasureRow)| {
            let entry = erasure::named(row.entry.as_ref()?)?;
            let (holder, at_ms) = (SiteCode::PROVINCE, now_ms());
            Some(Erased { kind, record, entry, holder, at_ms })
        };
        self.note_proofs(Prover::Hub(open.into_iter().filter_map(prove).collect()))?;
        self.reissue(&withdrawn);
        Ok(())
    }

    /// Publishes a release in the place of those that were withdrawn. What fails here can be done by hand.
    fn reissue(&self, withdrawn: &[u64]) {
        let Some(newest) = withdrawn.last() else { return };
        for release in withdrawn {
            tracing::warn!(release, "a release is withdrawn, since a record in it was erased");
        }
        let note = format!("instead of {newest}");
        match self.publish_release("", &note, now_ms(), &mut |_| {}) {
            Ok(manifest) => tracing::info!(release = manifest.release, "a release is published instead"),
            Err(error) => {
                tracing::error!(%error, "no release could be published instead; use release publish")
            }
        }
    }

    /// How an erasure has ended that was asked for: it is proved, or the log is without the content and the mirror cannot be
    /// written. `None` before that.
    fn erased(&self, known: &Erasures, kind: u32, records: &[RecordId]) -> Option<Result<(), Said>> {
        let is_proved = |record: &&RecordId| {
            let row = known.get(&(kind, **record));
            row.is_some_and(|row| erasure::proof_of(row, SiteCode::PROVINCE).is_some())
        };
        let mut left = records.iter().filter(|record| !is_proved(record)).peekable();
        if left.peek().is_none() {
            return Some(Ok(()));
        }
        let stripped = locked(&self.stripped);
        let failure = || self.mirror.as_ref().and_then(|mirror| mirror.standing().failure);
        left.all(|record| stripped.contains(&(kind, *record))).then(failure).flatten().map(Err)
    }

    /// Has proofs noted in the log; durable before it returns.
    fn note_proofs(&self, by: Prover) -> Result<(), SiteError> {
        let (sender, receiver) = mpsc::channel();
        let answer = Box::new(move |()| {
            let _ = sender.send(());
        });
        self.queue.put(Job::Proved(Proved { by, answer }));
        receiver.recv().map_err(|_| stopping())
    }
}

fn stopping() -> SiteError {
    SiteError::Refused("the hub is stopping; the next start goes on, and proofs come again".into())
}

impl Hub {
    /// Takes in a city's proofs, and answers with the hub's own.
    ///
    /// # Errors
    /// [`SiteError`].
    pub(crate) fn prove(
        &self,
        identity: Identity,
        proofs: Vec<ErasureProof>,
    ) -> Result<Vec<ErasureProof>, SiteError> {
        let known = |erasures: &Erasures| {
            let keys = self.read(|published| published.registry.members.line(identity));
            let news = |proof: &ErasureProof| erasures.is_news(proof, identity.site, &keys);
            (proofs.iter().any(news), erasures.answers(&proofs))
        };
        let (has_news, answers) = self.with_erasures(known);
        if !has_news {
            return Ok(self.signed_now(answers));
        }
        self.shared.note_proofs(Prover::City(identity, proofs.clone()))?;
        Ok(self.signed_now(self.with_erasures(|erasures| erasures.answers(&proofs))))
    }

    /// The hub's own proofs, by the key that it signs with now: whoever has joined since knows no other.
    pub(crate) fn signed_now(&self, proofs: Vec<ErasureProof>) -> Vec<ErasureProof> {
        let signer = self.shared.signer();
        let key = signer.verifying();
        let anew = |proof: ErasureProof| match (erasure::check(&key, &proof), erasure::read(&proof)) {
            (Err(_), Some(erased)) => erasure::prove(&signer, &erased),
            _ => proof,
        };
        proofs.into_iter().map(anew).collect()
    }

    fn with_erasures<T>(&self, read: impl FnOnce(&Erasures) -> T) -> T {
        let erasures = {
            let published = self.shared.published.read();
            published.unwrap_or_else(std::sync::PoisonError::into_inner).registry.erasures.clone()
        };
        read(&erasures)
    }

    pub(crate) fn erase_records(&self, kind: u32, records: &[RecordId], by: &By) -> Result<u64, SiteError> {
        let put = |record: &RecordId| Put {
            kind,
            record: Some(*record),
            op: Op::Erase,
            patch: Patch::default(),
            expected_version: None,
            touch: false,
        };
        let before = *locked(&self.shared.emptied);
        for dry_run in [true, false] {
            let answers = self.write(records.iter().map(put).collect(), by, dry_run)?;
            if let Some(problem) = answers.iter().flat_map(|answer| &answer.problems).next() {
                return Err(SiteError::Refused(format!("{} / {}", problem.zh, problem.en)));
            }
        }
        let mut ended = None;
        self.shared.wait_for(|published| {
            ended = self.shared.erased(&published.registry.erasures, kind, records);
            ended.is_some()
        });
        self.shared.failure().map_or(Ok(()), Err)?;
        ended.unwrap_or(Ok(())).map_err(|why| half_erased(&why))?;
        Ok(*locked(&self.shared.emptied) - before)
    }

    pub(crate) fn read_erasures(&self) -> Vec<node::ErasureStatus> {
        self.with_erasures(|erasures| {
            let mut rows: Vec<(Key, ErasureRow)> =
                erasures.iter().map(|(key, row)| (*key, row.clone())).collect();
            rows.sort_by_key(|(key, _)| *key);
            let told = |(key, row): (Key, ErasureRow)| {
                let holders: Vec<SiteCode> = row.holders.iter().map(|site| SiteCode(*site)).collect();
                told(key, row, holders.into_iter().chain([SiteCode::PROVINCE]))
            };
            rows.into_iter().map(told).collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::hub::HubOptions;

    /// However soon the mirror fails: that the log is without a content is said only once it is.
    #[test]
    fn the_log_comes_before_the_mirrors_failure() {
        let dir = tempfile::tempdir().expect("a directory");
        let (data_dir, mirror) = (dir.path().join("hub"), dir.path().join("mirror"));
        Hub::init(&data_dir, None).expect("made");
        fs::write(&mirror, "no directory").expect("written");
        let options = HubOptions { mirror: Some(mirror), ..HubOptions::new(&data_dir) };
        let hub = Hub::open(&options, &mut |_| {}).expect("it opens");
        let shared = &hub.shared;
        let compared = shared.mirror.as_ref().expect("a mirror").compare();
        assert!(compared.is_err(), "it has failed");
        let records = [RecordId([1; 16]), RecordId([2; 16])];
        let ended = || shared.erased(&Erasures::default(), 2, &records);
        assert!(ended().is_none(), "the log still holds them");
        locked(&shared.stripped).insert((2, records[0]));
        assert!(ended().is_none(), "it still holds one");
        locked(&shared.stripped).insert((2, records[1]));
        assert!(ended().is_some_and(|ended| ended.is_err()), "the mirror alone is left");
        hub.close().expect("closed");
    }
}
