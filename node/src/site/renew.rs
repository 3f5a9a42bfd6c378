//! Tokens made again: records whose tokens are missing, or by another linking key than the one in use, get theirs by
//! ordinary changes of this site. What is to be done follows from the records alone, so it goes on where it broke off.

use std::collections::HashSet;

use liandong_proto::entry::{Op, Patch};
use liandong_proto::fields::Fields;
use liandong_proto::id::RecordId;
use liandong_proto::schema::{self, Kind, Share};
use liandong_proto::share::{LinkingKey, is_token_of, project};
use liandong_proto::state::RecordState;
use tokio::sync::watch;

use super::{By, Put, Renewal, Site, SiteError, locked, view};
use crate::rows;

/// Records in one batch: clerks wait for no longer than that.
const BATCH: usize = 256;
/// How often those are looked at again that a clerk has edited meanwhile.
const ROUNDS: usize = 8;
/// The author of these changes: nobody in person.
const AUTHOR: &str = "system:linking-key";

type Key = (u32, RecordId);

impl Site {
    /// Takes a linking key that came, wrapped for this site, into use: from the next change on, without a restart.
    ///
    /// # Errors
    /// [`WrapError`](crate::trust::wrap::WrapError); the key in use stays then.
    pub fn take_linking_key(&self, file: &[u8]) -> Result<(), crate::trust::wrap::WrapError> {
        let key = self.paths.unwrap_linking_key(file)?;
        let mut ring = locked(&self.linking);
        if ring.take(&self.paths, &key)? {
            let in_use = ring.in_use().cloned();
            let fingerprint = in_use.as_ref().map(|key| key.fingerprint().to_owned()).unwrap_or_default();
            locked(&self.writer).author.keys_mut().linking = in_use;
            tracing::warn!(fingerprint, "a linking key has come and is in use");
            self.renewal.send_modify(|_| {});
        }
        Ok(())
    }

    /// How far tokens have been made again, and the news that there may be some to make.
    pub fn renewal(&self) -> watch::Receiver<Renewal> {
        self.renewal.subscribe()
    }

    /// Makes tokens again until none is left, or `stopped`. Idempotent; how many records got new ones.
    ///
    /// # Errors
    /// [`SiteError`]; what was done is durable, and the rest is found again.
    pub fn renew_tokens(&self, stopped: impl Fn() -> bool) -> Result<u64, SiteError> {
        let mut refused: HashSet<Key> = HashSet::new();
        let mut done = 0;
        for _ in 0..ROUNDS {
            let Some(key) = self.linking_key() else { break };
            let fingerprint = key.fingerprint();
            let stale: Vec<Key> =
                self.stale(&key)?.into_iter().filter(|key| !refused.contains(key)).collect();
            if stale.is_empty() || stopped() {
                break;
            }
            let total = done + stale.len() as u64;
            tracing::info!(records = stale.len(), fingerprint, "making tokens again");
            for batch in stale.chunks(BATCH) {
                if stopped() {
                    return Ok(done);
                }
                done += self.renew(batch, &key, &mut refused)?;
                self.progress(Renewal { done, total });
            }
        }
        if done > 0 {
            tracing::info!(records = done, refused = refused.len(), "tokens have been made again");
        }
        for (kind, record) in &refused {
            tracing::warn!(kind, record = %record, "this record breaks a rule of today and keeps its old tokens; mend it");
        }
        self.progress(Renewal::default());
        Ok(done)
    }

    fn progress(&self, now: Renewal) {
        // Whoever waits for a key to come need not wake for that.
        self.renewal.send_if_modified(|renewal| {
            *renewal = now;
            false
        });
    }

    fn linking_key(&self) -> Option<LinkingKey> {
        locked(&self.writer).author.keys().linking.clone()
    }

    /// Records with a raw value here and no token of this key.
    fn stale(&self, linking: &LinkingKey) -> Result<Vec<Key>, SiteError> {
        let mut out = Vec::new();
        let kinds =
            schema::kinds().iter().filter(|kind| kind.fields.iter().any(|field| field.share == Share::Token));
        for kind in kinds {
            let prefix = rows::records_of(kind.number);
            for row in self.index.scan(&prefix, Some(&rows::after_prefix(&prefix))) {
                let (key, value) = row?;
                let Some(key) = rows::parse_record(&key) else { continue };
                if !stale_fields(kind, &RecordState::decode(&value)?, linking).is_empty() {
                    out.push(key);
                }
            }
        }
        Ok(out)
    }

    /// Makes the tokens of some records again, as they are now; how many.
    fn renew(
        &self,
        batch: &[Key],
        linking: &LinkingKey,
        refused: &mut HashSet<Key>,
    ) -> Result<u64, SiteError> {
        let origin = Some(self.origin());
        let (mut keys, mut puts) = (Vec::new(), Vec::new());
        for (kind, record) in batch {
            let Some(schema) = schema::kind(*kind) else { continue };
            let Some((state, _)) = self.state(*kind, *record)? else { continue };
            let set = stale_fields(schema, &state, linking);
            if set.is_empty() {
                continue;
            }
            keys.push((*kind, *record));
            puts.push(Put {
                kind: *kind,
                record: Some(*record),
                op: Op::Put,
                patch: Patch { set, cleared: Vec::new() },
                // What a clerk has written meanwhile is looked at in the next round.
                expected_version: Some(view::version(&state, origin)),
                touch: true,
            });
        }
        let by = By { author: AUTHOR.to_owned(), ..By::default() };
        let answers = self.put_batch(&puts, &by, false)?;
        let mut done = 0;
        for (key, answer) in keys.into_iter().zip(answers) {
            match answer.problems.first() {
                None => done += 1,
                Some(problem) if problem.code == "record.version" => {}
                Some(_) => drop(refused.insert(key)),
            }
        }
        Ok(done)
    }
}

/// Raw values whose token is missing, or is by another key.
fn stale_fields(kind: &Kind, state: &RecordState, linking: &LinkingKey) -> Fields {
    if state.deleted() || state.sealed.is_empty() {
        return Fields::default();
    }
    let stale = state.sealed.filtered(|tag| {
        let is_token = kind.field(tag).is_some_and(|field| field.share == Share::Token);
        let has_value = state.sealed.bytes_of(tag).is_some_and(|value| !value.is_empty());
        let token = state.fields.str(tag);
        is_token && has_value && !token.is_some_and(|token| is_token_of(token, linking.fingerprint()))
    });
    if stale.is_empty() {
        return stale;
    }
    // One that would travel sealed only, as in a draft, has no token to make again.
    let patch = Patch { set: stale, cleared: Vec::new() };
    let open = project(kind, &state.visible(), &patch, Some(linking)).open.set;
    patch.set.filtered(|tag| open.get(tag).is_some())
}
