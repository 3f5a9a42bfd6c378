//! The one committer. Two threads in a row: the judge orders, decides and folds; the writer appends, syncs,
//! stages the rows and only then tells anybody. While one commit is being synced the next is judged.

mod notes;
mod run;

use std::sync::Arc;

use bytes::Bytes;
use liandong_node::audit::Note;
use liandong_node::index::{Index, Staged};
use liandong_node::log::Batch;
use liandong_node::rows;
use liandong_node::site::{Author, PutAnswer, SiteError, Verdict, record_kind};
use liandong_proto::entry::{Head, Op, Patch};
use liandong_proto::erasure::ErasureRow;
use liandong_proto::id::{Hash, Origin, SiteCode};
use liandong_proto::merge::{self, Lineage, Verdicts};
use liandong_proto::pb::log::v1 as pb;
use liandong_proto::position::{Generations, Position};
use liandong_proto::session::hub::CheckedEntry;
use liandong_proto::sign::SigningKey;
use liandong_proto::state::Reason;
use prost::Message as _;
use sha2::{Digest as _, Sha256};

use crate::chain;
use crate::fold::{Accepting, Fold, Key, arrival};
use crate::queue::{Job, OwnWrite, Pushed};
use crate::registry::Registry;
use crate::sanctions::Sanctions;
use crate::states::{Ahead, findings_about, read_all, stored};

/// The most entries in one commit.
pub const ROUND_ENTRIES: usize = 16_384;

/// A commit on its way to the disk.
pub struct Round {
    /// Rounds are numbered from 1.
    pub number: u64,
    /// What goes into the log.
    pub batch: Batch,
    /// First place, for finding the segment again.
    pub mark: u64,
    /// What goes into the index.
    pub rows: Vec<Staged>,
    /// What is told once it is durable.
    pub told: Told,
}

/// What is told once a round is durable.
#[derive(Default)]
pub struct Told {
    /// Newest entries of the origins in it.
    pub heads: Vec<(Origin, pb::OriginRow)>,
    /// Where the order stands.
    pub at: Position,
    /// Hash of the commit.
    pub commit_hash: Hash,
    /// Sites whose feed has news.
    pub moved: Vec<SiteCode>,
    /// The hub's own row.
    pub row: pb::SiteRow,
    /// Calls of those who wait.
    pub answers: Vec<Box<dyn FnOnce() + Send>>,
    /// Sites whose push did not fit; their sessions end.
    pub broken: Vec<SiteCode>,
    /// Cities whose standing as members has changed.
    pub cities: Vec<(SiteCode, pb::CityRow)>,
    /// Those of them whose certificates so far are void: their sessions end.
    pub void: Vec<SiteCode>,
    /// Erasures that were asked for or proved.
    pub erasures: Vec<(Key, ErasureRow)>,
    /// Cities whose sessions begin anew, with other keys.
    pub again: Vec<SiteCode>,
    /// What the hub signs with from now on; all sessions begin anew.
    pub signer: Option<SigningKey>,
}

/// What a judge stands on besides its own state: a running hub, or one that is simulated.
pub trait Ground: Send + Sync {
    /// The index as of the newest round that is published.
    fn index(&self) -> &Index;

    /// Waits until a round is published.
    fn wait_published(&self, round: u64);

    /// The hub's clock.
    fn now_ms(&self) -> u64;

    /// Takes a note for the audit log.
    fn note(&self, note: Note);

    /// Decides what becomes of an entry.
    fn judge(&self, fold: &Fold<'_>, entry: &Accepting<'_>) -> Verdicts {
        fold.judge(entry)
    }
}

/// The judge: owns the order.
pub struct Judge {
    ground: Arc<dyn Ground>,
    number: u64,
    /// When the round at hand was received: one time for all of it, the one that a replay reads as well.
    received_at_ms: u64,
    ahead: Ahead,
    /// Signs commits: the hub's key at this place of the order, ahead of what is durable.
    signer: SigningKey,
    /// Commits are megabytes, one after the other: encoded in the same place.
    scratch: Vec<u8>,
    /// The province's own log.
    pub author: Author,
    /// Where the hub stands, ahead of what is durable.
    pub row: pb::SiteRow,
    /// Its history.
    pub generations: Generations,
    /// All origins, ahead of what is durable.
    pub registry: Registry,
    /// Which epochs go on from which.
    pub lineage: Lineage,
    /// Tokens under sanction.
    pub sanctions: Sanctions,
}

/// One entry of the round, before it is judged.
struct Coming {
    entry: CheckedEntry,
    patch: Patch,
    arrival: Option<Reason>,
    dropped: bool,
    base: u64,
}

impl Judge {
    #[allow(clippy::too_many_arguments, reason = "all that a life of the order starts from")]
    /// A judge that goes on from where a hub stands.
    pub fn new(
        ground: Arc<dyn Ground>,
        signer: SigningKey,
        author: Author,
        row: pb::SiteRow,
        generations: Generations,
        registry: Registry,
        lineage: Lineage,
        sanctions: Sanctions,
    ) -> Judge {
        Judge {
            ground,
            signer,
            number: 0,
            received_at_ms: 0,
            ahead: Ahead::default(),
            scratch: Vec::new(),
            author,
            row,
            generations,
            registry,
            lineage,
            sanctions,
        }
    }

    /// One round of jobs: all that goes into one commit. `published` is the newest round that is stored and told.
    ///
    /// # Errors
    /// [`SiteError`] when what is stored cannot be read: the order cannot go on from here.
    pub fn step(&mut self, jobs: Vec<Job>, published: u64) -> Result<Round, SiteError> {
        self.ahead.prune(published);
        self.received_at_ms = self.ground.now_ms().max(self.row.received_at_ms);
        let (mut told, mut batch) = (Told::default(), Batch::new());
        let pushed = |job: &Job| if let Job::Pushed(pushed) = job { pushed.entries.len() } else { 0 };
        let mut coming = Vec::with_capacity(jobs.iter().map(pushed).sum());
        let (mut own, mut knocks, mut signed) = (Vec::new(), Vec::new(), Vec::new());
        for job in jobs {
            match job {
                Job::Knock(knock) => knocks.push(knock),
                Job::Register(register) => self.register(register, &mut batch, &mut told),
                Job::Rekey(rekey) => self.rekey(rekey, &mut batch, &mut told),
                Job::Pushed(pushed) => self.pushed(pushed, &mut coming, &mut signed, &mut told),
                Job::Own(write) => own.push(write),
                Job::Proved(proved) => self.proved(proved, &mut batch, &mut told),
            }
        }
        for knock in knocks {
            self.knock(knock, &mut batch, &mut told);
        }
        self.round(coming, signed, own, batch, told)
    }

    /// Puts the entries of a push in line, without those that are here already.
    fn pushed(
        &mut self,
        pushed: Pushed,
        coming: &mut Vec<Coming>,
        signed: &mut Vec<pb::SignedHead>,
        told: &mut Told,
    ) {
        // What a void certificate or an older key pushed before its session ended is not the city's word any more.
        if self.registry.members.signing_key(pushed.identity) != Some(pushed.signing_key) {
            return;
        }
        let mut head = self.registry.head(pushed.origin);
        let before = head.seq;
        for entry in pushed.entries {
            if entry.header.seq <= head.seq {
                let same = entry.header.seq < head.seq || entry.hash == head.hash;
                if same {
                    continue;
                }
            }
            if entry.header.follows(&head).is_err() {
                tracing::error!(site = %pushed.origin.site, seq = entry.header.seq, held = head.seq, "a push does not follow what is held");
                told.broken.push(pushed.origin.site);
                break;
            }
            head = Head { seq: entry.header.seq, hash: entry.hash };
            // Only the first entry of an epoch says what it goes on from, and never itself.
            if let Some(anchor) =
                entry.header.anchor.filter(|anchor| head.seq == 1 && anchor.epoch != pushed.origin.epoch)
            {
                self.lineage.note(entry.header.origin.epoch, anchor);
                self.registry.anchored(entry.header.origin, anchor);
            }
            let base = self.generations.resolve(entry.header.base, &pushed.known);
            coming.push(Coming::new(entry, base));
        }
        if head.seq > before && head.seq == pushed.signed.seq {
            signed.push(pushed.signed);
        }
        // A push of what is here already leaves no trace: nothing of it is in the log.
        if head.seq > before {
            self.registry.advance(pushed.origin, head, self.received_at_ms);
        }
    }

    fn round(
        &mut self,
        coming: Vec<Coming>,
        signed: Vec<pb::SignedHead>,
        own: Vec<OwnWrite>,
        mut batch: Batch,
        mut told: Told,
    ) -> Result<Round, SiteError> {
        let received_at_ms = self.received_at_ms;
        let first = self.row.hub_seq + 1;
        self.search_sanctions(&coming, &own)?;
        let pushed = coming.iter().map(|coming| (coming.entry.header.kind, coming.entry.header.record));
        let written =
            own.iter().flat_map(|write| &write.puts).filter_map(|put| Some((put.kind, put.record?)));
        let states = read_all(self.ground.index(), &self.ahead, pushed.chain(written))?;
        let mut sanctions = std::mem::take(&mut self.sanctions);
        let lineage = self.lineage.clone();
        let mut fold = Fold::new(&lineage, &mut sanctions, states);
        let (ground, ahead) = (Arc::clone(&self.ground), std::mem::take(&mut self.ahead));
        let mut read = |key: Key| stored(ground.index(), &ahead, key);
        let mut accepted = Vec::with_capacity(coming.len());
        let mut hashes = Sha256::new();
        let mut hub_seq = first;
        let (round, mut erasures) = (self.number, std::mem::take(&mut self.registry.erasures));
        let mut take = |fold: &mut Fold<'_>, mut coming: Coming, hub_seq: u64| -> Result<(), SiteError> {
            let header = &coming.entry.header;
            let key = (header.kind, header.record);
            if fold.is_erased(key) {
                // Of what is erased nothing is kept, not even what comes now.
                (coming.patch, coming.arrival, coming.dropped) = (Patch::default(), None, true);
                coming.entry.entry.sealed = Bytes::new();
            }
            let mut entry = Accepting {
                header: &coming.entry.header,
                patch: &coming.patch,
                erased: &[],
                sanctions: None,
                base: coming.base,
                hub_seq,
                received_at_ms,
            };
            let verdicts = match coming.arrival {
                Some(reason) => vec![(0, reason)],
                None => ground.judge(fold, &entry),
            };
            let mut erased = Vec::new();
            if fold.is_erased(key) {
                erased = erasures.late(key, entry.header.origin.site);
            } else if entry.header.op == Op::Erase && verdicts.is_empty() {
                ground.wait_published(round);
                erased = fold.erased_by(&entry, findings_about(ground.index(), fold, key)?, &mut read)?;
            }
            erasures.begin(entry.header.origin, entry.header.seq, &erased);
            entry.erased = &erased;
            let sanctions = fold.take(&entry, &verdicts, &mut read)?;
            hashes.update(coming.entry.hash);
            let raw = coming.entry.entry;
            accepted.push(pb::Accepted {
                header: raw.header,
                open: if coming.dropped { Bytes::new() } else { raw.open },
                sealed: raw.sealed,
                outcome: chain::outcome(&verdicts, coming.dropped, erased, sanctions),
                base_hub_seq: coming.base,
            });
            Ok(())
        };
        for entry in coming {
            take(&mut fold, entry, hub_seq)?;
            hub_seq += 1;
        }
        for write in own {
            let answers = self.own(&write, &mut fold, &mut hub_seq, &mut take)?;
            told.answers.push(Box::new(move || (write.answer)(answers)));
        }
        let folded = fold.finish();
        self.registry.agreements.fold(&folded.rows);
        self.sanctions = sanctions;
        self.ahead = ahead;
        self.registry.erasures = erasures;
        let mut rows = folded.rows;
        self.number += 1;
        // Notes alone get a commit as well: its signature is their end.
        if !accepted.is_empty() || !batch.is_empty() {
            self.row.hub_seq = hub_seq - 1;
            self.row.received_at_ms = received_at_ms;
            let mut commit = pb::Commit {
                generation: self.row.generation,
                first_hub_seq: first,
                received_at_ms,
                merge_version: merge::VERSION,
                prev_hash: self.row.commit_hash.clone(),
                entries: accepted,
                heads: signed,
                signature: Bytes::new(),
            };
            let hash = chain::commit_hash(&commit, hashes);
            commit.signature = Bytes::copy_from_slice(&self.signer.sign_commit(&hash));
            chain::advance(&mut self.row, hash);
            self.scratch.clear();
            commit.encode(&mut self.scratch).expect("a Vec grows");
            batch.push(record_kind::COMMIT, &[&self.scratch]);
            self.ahead.push(self.number, folded.states);
        }
        told.heads.extend(self.registry.take_changed());
        for (origin, row) in &told.heads {
            let key = rows::origin(*origin);
            let (old, value) = self.registry.stored(*origin, row);
            rows.push(Staged { key, old, new: Some(value) });
        }
        for (site, row) in &told.cities {
            let (old, value) = self.registry.members.stored(*site, row);
            rows.push(Staged { key: rows::city(*site), old, new: Some(value) });
        }
        told.erasures = self.registry.erasures.take_changed();
        for (key, row) in &told.erasures {
            let (old, value) = self.registry.erasures.stored(*key, row);
            rows.push(Staged { key: rows::erasure(key.0, key.1), old, new: Some(value) });
        }
        told.at = Position { generation: self.row.generation, hub_seq: self.row.hub_seq };
        told.commit_hash = self.row.commit_hash.as_ref().try_into().unwrap_or_default();
        told.moved = folded.moved.into_iter().collect();
        self.row.seq = self.author.head.seq;
        self.row.hash = Bytes::copy_from_slice(&self.author.head.hash);
        told.row = self.row.clone();
        Ok(Round { number: self.number, batch, mark: first, rows, told })
    }

    /// Makes the province's own entries and takes them into the round.
    fn own(
        &mut self,
        write: &OwnWrite,
        fold: &mut Fold<'_>,
        hub_seq: &mut u64,
        take: &mut impl FnMut(&mut Fold<'_>, Coming, u64) -> Result<(), SiteError>,
    ) -> Result<Result<Vec<PutAnswer>, SiteError>, SiteError> {
        let before = self.author.head;
        let mut answers = Vec::with_capacity(write.puts.len());
        for put in &write.puts {
            let state = put.record.and_then(|record| fold.state((put.kind, record)));
            let verdict = match self.author.write(put, state, &write.by, self.ground.now_ms()) {
                Ok(verdict) => verdict,
                // What came before it in this batch is taken all the same; the caller hears of the first fault.
                Err(error) => return Ok(Err(error)),
            };
            match verdict {
                Verdict::Answer(answer) => answers.push(answer),
                Verdict::Write(_, record) if write.dry_run => {
                    self.author.rewind(before);
                    answers.push(PutAnswer { record, ..PutAnswer::default() });
                }
                Verdict::Write(made, record) => {
                    let hash = made.head.hash;
                    let base = made.header.base.hub_seq;
                    // What is only tried gives out stamps as well, and the log does not know of them.
                    self.row.stamp = made.header.stamp.0;
                    let entry = CheckedEntry { entry: made.entry, header: made.header, hash };
                    self.registry.advance(self.author.origin, self.author.head, self.received_at_ms);
                    take(
                        fold,
                        Coming { entry, patch: made.open, arrival: None, dropped: false, base },
                        *hub_seq,
                    )?;
                    *hub_seq += 1;
                    let version = fold
                        .state((put.kind, record))
                        .map(|state| liandong_node::site::view::version(state, Some(self.author.origin)));
                    answers.push(PutAnswer {
                        record,
                        version: version.unwrap_or_default(),
                        ..PutAnswer::default()
                    });
                }
            }
        }
        Ok(Ok(answers))
    }

    /// A token that comes under sanction now is looked for among all members, those of earlier rounds
    /// included: so these are stored first.
    fn search_sanctions(&mut self, coming: &[Coming], own: &[OwnWrite]) -> Result<(), SiteError> {
        let pushed = coming.iter().map(|coming| (coming.entry.header.kind, &coming.patch.set));
        let written = own.iter().flat_map(|write| write.puts.iter().map(|put| (put.kind, &put.patch.set)));
        let tokens: Vec<String> =
            pushed.chain(written).filter_map(|(kind, set)| self.sanctions.must_search(kind, set)).collect();
        if tokens.is_empty() {
            return Ok(());
        }
        self.ground.wait_published(self.number);
        tokens.iter().try_for_each(|token| self.sanctions.search(token, self.ground.index()))
    }
}

impl Coming {
    fn new(entry: CheckedEntry, base: u64) -> Coming {
        let (patch, reason, dropped) = arrival(&entry.header, &entry.entry.open);
        Coming { entry, patch, arrival: reason, dropped, base }
    }
}
