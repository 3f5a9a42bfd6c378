//! What is true of the hub's order, by definition: every write with everything that its writer had before its eyes. It
//! takes the verdicts on what breaks a rule as given, and works out by itself what is concurrent with what.
//!
//! Checks, of every record after each commit that touches it: tombstones; for each field group, which writes stand, shown
//! or held; which of them is shown; that each held concurrent value is in an open finding.
//! Does not check: values of groups of several fields, refused values, stamps of losers; and what was seen in a life of the
//! order that a restored hub has lost, which counts as not seen, as positions say.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use liandong_hub::chain::recorded;
use liandong_hub::findings;
use liandong_node::index::Index;
use liandong_node::rows;
use liandong_proto::entry::{Anchor, Header, Op, Patch};
use liandong_proto::id::{Epoch, Hash, Origin, RecordId, sha256};
use liandong_proto::pb::log::v1 as log;
use liandong_proto::pb::record::v1 as record;
use liandong_proto::schema::{self, Field, Merge, Type};
use liandong_proto::state::{Reason, RecordState};
use prost::Message as _;

use super::disk::Sight;
use super::invariants::{Broken, Invariant};

/// Kind and id of a record.
pub type Key = (u32, RecordId);

/// A write as the hub has taken it.
#[derive(Clone, Debug)]
struct Write {
    place: u64,
    origin: Origin,
    seq: u64,
    stamp: u64,
    delete: bool,
    /// Groups that count, with the number set where it is one.
    groups: BTreeMap<u32, i32>,
    patch: Patch,
    hash: Hash,
    saw: Sight,
}

/// One record in the hub's order.
#[derive(Clone, Debug, Default)]
struct Life {
    writes: Vec<Write>,
    /// Of each `REVIEW` group, which write holds the seat.
    seats: BTreeMap<u32, Option<usize>>,
}

/// What writers saw, whatever became of their writes: known before the hub has them.
#[derive(Default)]
pub struct Sights {
    by_hash: HashMap<Hash, Sight>,
    places: HashMap<Hash, (Epoch, u64)>,
    /// Of entries that a takeover made again: which entry it was, and the last one before it that the hub held.
    again: HashMap<Hash, (Hash, Anchor)>,
    lines: HashMap<Epoch, Anchor>,
}

impl Sights {
    /// Notes what the writer of an entry had before its eyes.
    pub fn note(&mut self, header: &Header, hash: Hash, sight: Sight) {
        self.by_hash.insert(hash, sight);
        self.places.insert(hash, (header.origin.epoch, header.seq));
    }

    /// An epoch goes on from another, whether or not anything is written in it.
    pub fn opened(&mut self, epoch: Epoch, anchor: Anchor) {
        self.lines.insert(epoch, anchor);
    }

    /// Notes an entry that a takeover has made again: its writer had before its eyes what it had when it was `first` made.
    pub fn note_again(&mut self, header: &Header, hash: Hash, first: Hash, seen: Anchor) {
        let sight = self.by_hash.get(&first).cloned().unwrap_or_default();
        self.again.insert(hash, (first, seen));
        self.note(header, hash, sight);
    }

    fn is_own(&self, later: &Write, earlier: &Write) -> bool {
        let (site, epoch) = (later.origin.site, later.origin.epoch);
        site == earlier.origin.site && self.knows(later.hash, (epoch, later.seq), earlier)
    }

    /// Whether the writer of an entry at a place had an entry of its own site in its log.
    fn knows(&self, hash: Hash, (mut epoch, mut up_to): (Epoch, u64), earlier: &Write) -> bool {
        if epoch == earlier.origin.epoch {
            return earlier.seq <= up_to;
        }
        if let Some((first, seen)) = self.again.get(&hash) {
            let (then, place) = self.places[first];
            if then == earlier.origin.epoch {
                // What is held there behind the parting is another's.
                return seen.epoch == then && earlier.seq <= seen.seq.min(place);
            }
            return self.knows(*first, (then, place), earlier);
        }
        while let Some(anchor) = self.lines.get(&epoch) {
            (epoch, up_to) = (anchor.epoch, anchor.seq);
            if epoch == earlier.origin.epoch {
                return earlier.seq <= up_to;
            }
        }
        false
    }

    fn saw(&self, later: &Write, earlier: &Write) -> bool {
        later.saw.contains(&earlier.place) || self.is_own(later, earlier)
    }
}

/// The hub's order in truth.
#[derive(Default)]
pub struct Truth {
    lives: HashMap<Key, Life>,
    taken: BTreeSet<(Origin, u64)>,
}

impl Truth {
    /// The places that are part of a record's state now.
    pub fn sight(&self, key: Key) -> Sight {
        Arc::new(
            self.lives
                .get(&key)
                .map(|life| life.writes.iter().map(|it| it.place).collect())
                .unwrap_or_default(),
        )
    }

    /// Takes in a commit; the records that it touches.
    pub fn commit(
        &mut self,
        commit: &log::Commit,
        first: u64,
        sights: &mut Sights,
    ) -> Result<BTreeSet<Key>, Broken> {
        let mut touched = BTreeSet::new();
        for (at, accepted) in commit.entries.iter().enumerate() {
            let header = Header::decode(&accepted.header).expect("the hub has read it");
            if !self.taken.insert((header.origin, header.seq)) {
                let what =
                    format!("entry {} of {} stands twice in the hub's order", header.seq, header.origin.site);
                return Err(Broken::new(Invariant::NothingTwice, what));
            }
            let key = (header.kind, header.record);
            let hash = sha256(&accepted.header);
            if header.origin.site.is_province() {
                // The hub writes into its own order: all of it is before its eyes.
                sights.note(&header, hash, self.sight(key));
            }
            let saw = sights.by_hash.get(&hash).cloned().unwrap_or_default();
            let verdicts = recorded(accepted.outcome.as_ref());
            let patch = Patch::from_open(&accepted.open).unwrap_or_default();
            let refused = |tag: u32| {
                verdicts.iter().any(|(t, why)| {
                    (*t == tag || *t == 0) && !matches!(why, Reason::Concurrent | Reason::Equal)
                })
            };
            let mut groups = BTreeMap::new();
            for tag in patch.set.iter().map(|(tag, _)| tag).chain(patch.cleared.iter().copied()) {
                let group = group_of(key.0, tag);
                if !refused(group) {
                    groups.insert(group, patch.set.number(group));
                }
            }
            let write = Write {
                place: first + at as u64,
                origin: header.origin,
                seq: header.seq,
                stamp: header.stamp.effective(commit.received_at_ms).0,
                delete: header.op == Op::Delete && !refused(0),
                groups,
                patch,
                hash,
                saw,
            };
            self.lives.entry(key).or_default().take(write, key.0, sights);
            touched.insert(key);
        }
        Ok(touched)
    }

    /// Holds what the hub's index shows of a record against what is true of it.
    pub fn check(&self, key: Key, index: &Index, sights: &Sights) -> Result<(), Broken> {
        let Some(life) = self.lives.get(&key) else { return Ok(()) };
        let Some(item) = index.get(&rows::record(key.0, key.1)).expect("memory") else {
            return Err(Broken::new(
                Invariant::EveryPairListed,
                format!("record {key:?} is not in the index"),
            ));
        };
        let state = RecordState::decode(&item.value).expect("a state");
        life.check(key, &state, index, sights)
    }
}

fn group_of(kind: u32, tag: u32) -> u32 {
    schema::kind(kind).and_then(|kind| kind.field(tag)).map_or(tag, |field| field.group[0])
}

fn field_of(kind: u32, tag: u32) -> Option<&'static Field> {
    schema::kind(kind).and_then(|kind| kind.field(tag))
}

impl Life {
    fn take(&mut self, write: Write, kind: u32, sights: &Sights) {
        self.writes.push(write);
        let groups: BTreeSet<u32> =
            self.writes.iter().flat_map(|write| write.groups.keys().copied()).collect();
        let (last, dead) = (self.writes.len() - 1, !self.tombstones(sights).is_empty());
        for group in groups {
            if field_of(kind, group).is_some_and(|field| field.merge == Merge::Review) {
                let standing = self.standing(group, sights);
                let holder = self.seats.get(&group).copied().flatten().filter(|at| standing.contains(at));
                let next =
                    holder.or(if standing.contains(&last) { Some(last) } else { standing.first().copied() });
                self.seats.insert(group, next.filter(|_| !dead));
            }
        }
    }

    /// Writes of a group that nothing that counts has seen since.
    fn standing(&self, group: u32, sights: &Sights) -> Vec<usize> {
        let counts = |write: &Write| write.groups.contains_key(&group);
        let is_over = |at: usize| {
            let mut later = self.writes[at + 1..].iter().filter(|by| counts(by) || by.delete);
            later.any(|by| sights.saw(by, &self.writes[at]))
        };
        (0..self.writes.len()).filter(|at| counts(&self.writes[*at]) && !is_over(*at)).collect()
    }

    fn tombstones(&self, sights: &Sights) -> Vec<usize> {
        let is_over = |at: usize| {
            let mut later = self.writes[at + 1..].iter().filter(|by| by.delete || !by.groups.is_empty());
            later.any(|by| sights.saw(by, &self.writes[at]))
        };
        (0..self.writes.len()).filter(|at| self.writes[*at].delete && !is_over(*at)).collect()
    }

    fn id(&self, at: usize) -> (Origin, u64) {
        (self.writes[at].origin, self.writes[at].seq)
    }

    fn check(&self, key: Key, state: &RecordState, index: &Index, sights: &Sights) -> Result<(), Broken> {
        let tombstones = self.tombstones(sights);
        if state.deleted() == tombstones.is_empty() {
            let what =
                format!("{key:?}: deleted {}, and {} deletes stand", state.deleted(), tombstones.len());
            return Err(Broken::new(Invariant::TombstonesStand, what));
        }
        let groups: BTreeSet<u32> =
            self.writes.iter().flat_map(|write| write.groups.keys().copied()).collect();
        for group in groups {
            self.check_group(key, group, state, sights).map_err(|broken| self.told(broken, group, sights))?;
        }
        for held in state.held.iter().filter(|held| held.reason == Reason::Concurrent) {
            let finding = index.get(&rows::record(findings::KIND, findings::id(key, held))).expect("memory");
            let finding = finding.and_then(|item| RecordState::decode(&item.value).ok());
            let status = finding.and_then(|it| record::Finding::decode(it.fields.bytes().clone()).ok());
            if status.is_none_or(|finding| finding.status() != record::FindingStatus::Open) {
                let what = format!("{key:?} field {}: a held value is in no open finding", held.tag);
                return Err(Broken::new(Invariant::EveryPairListed, what));
            }
        }
        Ok(())
    }

    /// The writes of a group, for whoever looks into it.
    fn told(&self, broken: Broken, group: u32, sights: &Sights) -> Broken {
        let writes = self.writes.iter().filter(|it| it.delete || it.groups.contains_key(&group)).map(|it| {
            let again =
                sights.again.get(&it.hash).map(|(first, seen)| (sights.places[first], seen.epoch, seen.seq));
            format!(
                "\n  {} {:?}:{} delete {} stamp {} again {again:?}",
                it.place, it.origin, it.seq, it.delete, it.stamp
            )
        });
        let what = format!("{}{}", broken.what, writes.collect::<String>());
        Broken { what, ..broken }
    }

    fn check_group(&self, key: Key, group: u32, state: &RecordState, sights: &Sights) -> Result<(), Broken> {
        let standing = self.standing(group, sights);
        let expected: BTreeSet<_> = standing.iter().map(|at| self.id(*at)).collect();
        let field = field_of(key.0, group);
        let tags = field.map_or(vec![group], |field| field.group.to_vec());
        let siblings = state
            .held
            .iter()
            .filter(|held| held.tag == group && matches!(held.reason, Reason::Concurrent | Reason::Equal));
        let newest = tags.iter().filter_map(|tag| state.setter(*tag));
        let newest = newest.max_by_key(|by| (by.stamp, by.origin.site, by.origin.epoch.0, by.seq));
        let shown = newest.filter(|_| !state.deleted()).map(|by| (by.origin, by.seq));
        let found: BTreeSet<_> =
            siblings.clone().map(|held| (held.by.origin, held.by.seq)).chain(shown).collect();
        if found != expected {
            let what =
                format!("{key:?} field {group}: stand {expected:?}, listed {found:?}, shown {shown:?}");
            return Err(Broken::new(Invariant::EveryPairListed, what));
        }
        for held in siblings.filter(|_| tags.len() == 1) {
            let by = self.writes.iter().find(|it| (it.origin, it.seq) == (held.by.origin, held.by.seq));
            if by.is_some_and(|by| by.patch.set.get(group) != held.set.get(group)) {
                let what = format!("{key:?} field {group}: what is held is not what was written");
                return Err(Broken::new(Invariant::EveryPairListed, what));
            }
        }
        let merge = field.map_or(Merge::Latest, |field| field.merge);
        let winner = match merge {
            Merge::Review => self.seats.get(&group).copied().flatten(),
            _ => standing.iter().copied().max_by_key(|at| self.strength(field, group, *at)),
        };
        let winner = winner.filter(|_| !state.deleted()).map(|at| self.id(at));
        if shown == winner {
            return Ok(());
        }
        let invariant = match merge {
            Merge::Status => Invariant::SanctionStands,
            _ => Invariant::RightOneShown,
        };
        Err(Broken::new(invariant, format!("{key:?} field {group}: shown {shown:?}, and not {winner:?}")))
    }

    fn strength(&self, field: Option<&Field>, group: u32, at: usize) -> (u32, u64, u32, [u8; 16], u64) {
        let write = &self.writes[at];
        let rank = match field {
            Some(Field { merge: Merge::Status, ty: Type::Enum(values), .. }) => {
                values.value(write.groups[&group]).map_or(0, |value| value.rank)
            }
            _ => 0,
        };
        (rank, write.stamp, write.origin.site.0, write.origin.epoch.0, write.seq)
    }
}
