//! The second of the two threads of a commit: the writer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, mpsc};

use liandong_node::log::{Log, LogError, Pos};
use liandong_node::site::SiteError;
use liandong_proto::entry::Head;
use liandong_proto::id::{RecordId, SiteCode};
use liandong_proto::pb::sync::v1::refusal::Code;
use liandong_proto::session::hub::Input;
use liandong_proto::session::refusal;

use crate::agreements::{self, Term};
use crate::commit::{Round, Told};
use crate::hub::{Published, Shared, locked, stage_row};

/// The writer: makes rounds durable, stores them, tells.
pub struct Writer {
    /// What it writes to, and whom it tells.
    pub shared: Arc<Shared>,
    /// Newest round that is stored and told.
    pub published: Arc<AtomicU64>,
}

#[allow(
    clippy::disallowed_methods,
    reason = "how long the disk takes is this process's affair, and in no result"
)]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}

impl Writer {
    /// Works until the judge has ended.
    pub fn run(self, rounds: &mpsc::Receiver<Round>) {
        while let Ok(round) = rounds.recv() {
            let number = round.number;
            if let Err(error) = self.write(round) {
                tracing::error!(%error, "the log cannot be written; the hub stops accepting");
                self.shared.fail(error);
                return;
            }
            self.published.store(number, Ordering::Release);
            *locked(&self.shared.rounds) = number;
            self.shared.round_done.notify_all();
        }
    }

    fn write(&self, round: Round) -> Result<(), SiteError> {
        let end = if round.batch.is_empty() {
            self.shared.log.end()
        } else {
            let end = self.append(&round)?;
            let began = now();
            self.shared.log.sync_to(end)?;
            self.shared.committed.note(began.elapsed());
            end
        };
        let agreements = agreements::changed(&round.rows);
        stage_row(&self.shared.index, &round.told.row, round.rows, end)?;
        let begun = {
            let published = self.shared.published.read().unwrap_or_else(PoisonError::into_inner);
            round.told.erasures.iter().any(|(key, row)| published.registry.erasures.begins(key, row))
        };
        if begun {
            // What is erased lies before; nobody else appends.
            let mark = round.told.row.hub_seq + 1;
            self.with_space(|log| log.begin_segment(mark))?;
        }
        self.tell(round.told, agreements, end);
        if begun {
            self.shared.wake_eraser();
        }
        Ok(())
    }

    /// Appends a round.
    fn append(&self, round: &Round) -> Result<Pos, SiteError> {
        self.with_space(|log| log.append(&round.batch, round.mark)).map(|span| span.end)
    }

    /// Waits for space on a full disk: nothing is acknowledged meanwhile, nothing is lost.
    fn with_space<T>(&self, write: impl Fn(&Log) -> Result<T, LogError>) -> Result<T, SiteError> {
        loop {
            match write(&self.shared.log) {
                Ok(written) => {
                    *locked(&self.shared.full) = None;
                    return Ok(written);
                }
                Err(error @ LogError::Full { .. }) => {
                    tracing::error!(%error, "waiting for space");
                    *locked(&self.shared.full) = Some(error.to_string());
                    pause_for_space();
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn tell(&self, told: Told, agreements: Vec<(RecordId, Option<Term>)>, end: Pos) {
        let origins = told.heads.iter().map(|(origin, _)| origin.site);
        self.shared.scanned.touch(origins.chain(told.moved.iter().copied()), told.at.hub_seq);
        let heads: Vec<(SiteCode, Head)> = {
            let mut published = self.shared.published.write().unwrap_or_else(PoisonError::into_inner);
            if let Some(signer) = told.signer.clone() {
                self.shared.take_signer(signer);
            }
            published.take(&told, agreements)
        };
        for answer in told.answers {
            answer();
        }
        let (mut mirrored, mut at_once) = (told.mirrored, told.registered);
        match &self.shared.mirror {
            Some(mirror) => {
                if mirror.standing().is_live {
                    mirrored.append(&mut at_once);
                }
                mirror.follow(end, mirrored);
            }
            None => at_once.append(&mut mirrored),
        }
        at_once.into_iter().for_each(|answer| answer(Ok(())));
        let mut sessions = locked(&self.shared.sessions);
        // Before they hear of the commit: their receipts would be by the key before.
        let all = sessions.keys().copied().filter(|_| told.signer.is_some());
        for site in all.chain(told.again).collect::<Vec<_>>() {
            if let Some(session) = sessions.remove(&site) {
                let _ = session.send(Input::Stop(refusal(
                    Code::Unavailable,
                    "枢纽有变动，会话重新开始",
                    "something has changed at the hub, the session begins anew",
                )));
            }
        }
        for (site, up_to) in heads {
            if let Some(session) = sessions.get(&site) {
                let _ = session.send(Input::Committed { up_to, at: told.at, commit_hash: told.commit_hash });
            }
        }
        for site in told.moved {
            if let Some(session) = sessions.get(&site) {
                let _ = session.send(Input::FeedMoved);
            }
        }
        for site in told.void {
            if let Some(session) = sessions.remove(&site) {
                let _ = session.send(Input::Stop(crate::registry::not_a_member()));
            }
        }
        for site in told.broken {
            if let Some(session) = sessions.remove(&site) {
                let _ = session.send(Input::Stop(refusal(
                    Code::ChainBroken,
                    "推送的条目与枢纽所存不衔接；请在节点上运行 verify",
                    "what was pushed does not follow what the hub holds; run verify at the node",
                )));
            }
        }
    }
}

impl Published {
    /// Takes over what a round that is durable has changed; the heads to be told to the sessions of their cities.
    pub fn take(&mut self, told: &Told, agreements: Vec<(RecordId, Option<Term>)>) -> Vec<(SiteCode, Head)> {
        self.row = told.row.clone();
        for (site, row) in &told.cities {
            self.registry.members.publish(*site, row.clone());
        }
        for (key, row) in &told.erasures {
            self.registry.erasures.publish(*key, row.clone());
        }
        for (id, term) in agreements {
            self.registry.agreements.take(id, term);
        }
        for (origin, row) in &told.heads {
            self.registry.publish(*origin, row.clone());
        }
        // A closed epoch has nobody left to hear of it: the city's session is that of the next one.
        let living = told.heads.iter().filter(|(_, row)| !row.closed);
        living.map(|(origin, row)| (origin.site, crate::registry::head(row))).collect()
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "a full disk is outside this process: there is nothing to wait on"
)]
fn pause_for_space() {
    std::thread::sleep(std::time::Duration::from_secs(1));
}
