//! Folding accepted entries into states, findings and feeds: the same code when a commit is made and when
//! the index is made again from the log.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use liandong_node::index::{Staged, check_of};
use liandong_node::rows;
use liandong_node::site::SiteError;
use liandong_proto::entry::{Header, Op, Patch};
use liandong_proto::id::{RecordId, RecordMap, SiteCode};
use liandong_proto::merge::{self, Change, Lineage, Verdicts};
use liandong_proto::pb::log::v1 as pb;
use liandong_proto::schema;
use liandong_proto::share;
use liandong_proto::stamp::Stamp;
use liandong_proto::state::{Reason, RecordState};
use liandong_proto::validate::{self, View};

use crate::sanctions::{SANCTION, Sanctions};
use crate::{audience, erasures, findings};

/// Kind and id of a record.
pub type Key = (u32, RecordId);

/// A state as it is stored now.
#[derive(Debug, Clone)]
pub struct Stored {
    /// The state.
    pub state: RecordState,
    /// Check of its row; `None` when there is no row yet.
    pub check: Option<u64>,
}

/// One entry that is being accepted.
#[derive(Debug, Clone, Copy)]
pub struct Accepting<'a> {
    /// Its header.
    pub header: &'a Header,
    /// Its open part.
    pub patch: &'a Patch,
    /// The place that its base stands for in this order.
    pub base: u64,
    /// Its own place.
    pub hub_seq: u64,
    /// When it was received, milliseconds since 1970.
    pub received_at_ms: u64,
    /// What it erases: its record, then the findings about it. For an entry of a record that was erased before: the
    /// record, where its city was not known to hold it.
    pub erased: &'a [pb::ErasedRecord],
    /// The sanctions that concern other cities since it, where that is recorded already. It follows from tokens of
    /// members, and of those that were erased no token is left to find it by.
    pub sanctions: Option<&'a [pb::SanctionSites]>,
}

/// A round of accepted entries being folded.
#[derive(Debug)]
pub struct Fold<'a> {
    lineage: &'a Lineage,
    sanctions: &'a mut Sanctions,
    states: RecordMap<Stored>,
    changed: Vec<Key>,
    feed: BTreeMap<Bytes, FeedRow>,
    /// Sites whose feed has news.
    pub moved: BTreeSet<SiteCode>,
}

#[derive(Debug, Clone, Copy)]
struct FeedRow {
    was: bool,
    is: bool,
}

/// What a fold comes to.
#[derive(Debug)]
pub struct Folded {
    /// States that changed, for the rounds that come before these are stored.
    pub states: RecordMap<Bytes>,
    /// Rows to stage.
    pub rows: Vec<Staged>,
    /// Sites whose feed has news.
    pub moved: BTreeSet<SiteCode>,
}

impl<'a> Fold<'a> {
    /// A round with the states of the records it touches (those that exist).
    pub fn new(lineage: &'a Lineage, sanctions: &'a mut Sanctions, states: RecordMap<Stored>) -> Fold<'a> {
        Fold {
            lineage,
            sanctions,
            states,
            changed: Vec::new(),
            feed: BTreeMap::new(),
            moved: BTreeSet::new(),
        }
    }

    /// The state of a record as folded so far.
    pub fn state(&self, key: Key) -> Option<&RecordState> {
        self.states.get(&key).map(|stored| &stored.state)
    }

    /// Makes a state that was not foreseen known to the round.
    pub fn know(&mut self, key: Key, stored: Option<Stored>) {
        if let Some(stored) = stored {
            self.states.entry(key).or_insert(stored);
        }
    }

    /// Decides what becomes of an entry by today's rules.
    pub fn judge(&self, entry: &Accepting<'_>) -> Verdicts {
        let key = (entry.header.kind, entry.header.record);
        let change = self.change(entry);
        let today = validate::today(entry.received_at_ms);
        merge::judge(self.state(key), &change, self.lineage, today, Some(View::Shared))
    }

    fn change<'b>(&self, entry: &Accepting<'b>) -> Change<'b> {
        Change {
            origin: entry.header.origin,
            seq: entry.header.seq,
            stamp: entry.header.stamp.effective(entry.received_at_ms),
            base: entry.base,
            hub_seq: entry.hub_seq,
            kind: entry.header.kind,
            record: entry.header.record,
            op: entry.header.op,
            patch: entry.patch,
            seen: &entry.header.seen,
        }
    }

    /// Takes an entry in with the verdicts it got. `read` gives records that the round has not read yet
    /// (findings, sanctions). The sanctions that concern other cities since it are returned.
    ///
    /// # Errors
    /// [`SiteError`] of `read`.
    pub fn take(
        &mut self,
        entry: &Accepting<'_>,
        verdicts: &Verdicts,
        read: &mut dyn FnMut(Key) -> Result<Option<Stored>, SiteError>,
    ) -> Result<Vec<pb::SanctionSites>, SiteError> {
        let key = (entry.header.kind, entry.header.record);
        let change = self.change(entry);
        let (old, check, new) = match self.states.remove(&key) {
            Some(stored) => (Some(stored.state), stored.check, false),
            None => (None, None, true),
        };
        let held_before = old.as_ref().map(|state| state.held.clone()).unwrap_or_default();
        let simply = verdicts.is_empty() && held_before.is_empty();
        let (erases, is_late) = (!entry.erased.is_empty(), old.as_ref().is_some_and(|old| old.erased));
        let state = merge::apply(old, &change, verdicts, self.lineage);
        let simply = simply && state.held.is_empty();
        if new || !self.changed.contains_last(&key) {
            self.changed.push(key);
        }
        let token = match entry.sanctions {
            Some(_) => None,
            None => self.sanctions.token_of(&key, &change, &state),
        };
        self.states.insert(key, Stored { state, check });
        if erases && !is_late {
            self.erase(entry, read)?;
            return Ok(Vec::new());
        }
        let late = entry.erased.iter().filter_map(erasures::read).flat_map(|(_, holders)| holders);
        late.for_each(|site| self.tell(key, site, entry.hub_seq));
        let echo = if simply { Some(entry.header.origin.site) } else { None };
        self.feed(key, entry.hub_seq, echo);
        if !simply {
            self.reconcile(key, entry, &held_before, read)?;
        }
        let concerned = match (entry.sanctions, token) {
            (Some(recorded), _) => recorded.to_vec(),
            (None, Some(token)) => self.sanctioned(&token, key, read)?,
            (None, None) => Vec::new(),
        };
        self.concern(&concerned, entry.hub_seq, read)?;
        Ok(concerned)
    }

    /// Puts a record into the feeds of all that may see it or have seen it. A change simply taken is not
    /// echoed to the site that made it.
    fn feed(&mut self, key: Key, hub_seq: u64, not_to: Option<SiteCode>) {
        let Some(stored) = self.states.get_mut(&key) else { return };
        let state = &mut stored.state;
        if not_to == Some(state.home) && state.fed.is_empty() && is_home_only(key.0) {
            return;
        }
        let mut sites = audience::sites(key.0, state);
        sites.extend(state.fed.iter().map(|(site, _)| *site));
        sites.sort_unstable();
        sites.dedup();
        for site in sites.into_iter().filter(|site| Some(*site) != not_to) {
            match state.fed.iter_mut().find(|(fed, _)| *fed == site) {
                Some((_, place)) => {
                    let old = rows::feed(site, *place, key.0, key.1);
                    let row = self.feed.entry(old).or_insert(FeedRow { was: true, is: true });
                    row.is = false;
                    *place = hub_seq;
                }
                None => state.fed.push((site, hub_seq)),
            }
            let new = rows::feed(site, hub_seq, key.0, key.1);
            self.feed.entry(new).or_insert(FeedRow { was: false, is: false }).is = true;
            self.moved.insert(site);
        }
    }

    /// Held values become findings; findings whose value is no longer held are closed.
    fn reconcile(
        &mut self,
        key: Key,
        entry: &Accepting<'_>,
        before: &[liandong_proto::state::Held],
        read: &mut dyn FnMut(Key) -> Result<Option<Stored>, SiteError>,
    ) -> Result<(), SiteError> {
        let Some(state) = self.state(key) else { return Ok(()) };
        let steps = findings::steps(key, state, before);
        for step in steps {
            let finding = (findings::KIND, step.id);
            if !self.states.contains_key(&finding) {
                let stored = read(finding)?;
                self.know(finding, stored);
            }
            let old = self.states.get(&finding);
            let check = old.and_then(|stored| stored.check);
            let stamp = Stamp::at_ms(entry.received_at_ms);
            let old = old.map(|stored| &stored.state);
            let Some(state) = findings::apply(&step, old, entry.hub_seq, stamp) else { continue };
            self.states.insert(finding, Stored { state, check });
            self.changed.push(finding);
            self.feed(finding, entry.hub_seq, None);
        }
        Ok(())
    }

    /// A member's token or a sanction has changed: the sanctions that do not name the cities that hold the token.
    fn sanctioned(
        &mut self,
        token: &str,
        key: Key,
        read: &mut dyn FnMut(Key) -> Result<Option<Stored>, SiteError>,
    ) -> Result<Vec<pb::SanctionSites>, SiteError> {
        let mut out = Vec::new();
        for sanction in self.sanctions.of(token) {
            if !self.states.contains_key(&sanction) {
                let stored = read(sanction)?;
                self.know(sanction, stored);
            }
            let home = self.state(key).map(|state| state.home);
            let known = self.states.get(&sanction).filter(|stored| !stored.state.erased);
            let Some(stored) = known else { continue };
            let holders = self.sanctions.holders(token, home.filter(|_| key != sanction));
            if Sanctions::with_sites(&stored.state, &holders).is_some() {
                let record = Bytes::copy_from_slice(&sanction.1.0);
                let sites = holders.iter().map(|site| site.0).collect();
                out.push(pb::SanctionSites { record, sites });
            }
        }
        Ok(out)
    }

    /// Sanctions go to the cities that they concern.
    fn concern(
        &mut self,
        sanctions: &[pb::SanctionSites],
        hub_seq: u64,
        read: &mut dyn FnMut(Key) -> Result<Option<Stored>, SiteError>,
    ) -> Result<(), SiteError> {
        for concerned in sanctions {
            let Some(record) = RecordId::from_slice(&concerned.record) else { continue };
            let sanction = (SANCTION, record);
            if !self.states.contains_key(&sanction) {
                let stored = read(sanction)?;
                self.know(sanction, stored);
            }
            let sites: Vec<SiteCode> = concerned.sites.iter().map(|site| SiteCode(*site)).collect();
            let Some(stored) = self.states.get_mut(&sanction) else { continue };
            if let Some(fields) = Sanctions::with_sites(&stored.state, &sites) {
                stored.state.fields = fields;
                stored.state.hub_seq = hub_seq;
                self.changed.push(sanction);
                self.feed(sanction, hub_seq, None);
            }
        }
        Ok(())
    }

    /// Whether a record is erased, as folded so far.
    pub fn is_erased(&self, key: Key) -> bool {
        self.state(key).is_some_and(|state| state.erased)
    }

    /// The findings of this round that are as wanted.
    pub fn findings(&self, wanted: impl Fn(&RecordState) -> bool) -> Vec<RecordId> {
        let findings = self.states.iter().filter(|(key, _)| key.0 == findings::KIND);
        findings.filter(|(_, stored)| wanted(&stored.state)).map(|(key, _)| key.1).collect()
    }

    /// What an entry erases that asks for it: its record, then the findings about it, each with the cities that were
    /// given it. Recorded with the entry, for a rebuild cannot read any more whom it concerned.
    pub fn erased_by(
        &mut self,
        entry: &Accepting<'_>,
        about: Vec<RecordId>,
        read: &mut dyn FnMut(Key) -> Result<Option<Stored>, SiteError>,
    ) -> Result<Vec<pb::ErasedRecord>, SiteError> {
        let first = (entry.header.kind, entry.header.record);
        let keys = [first].into_iter().chain(about.into_iter().map(|id| (findings::KIND, id)));
        let mut out = Vec::new();
        for key in keys {
            if !self.states.contains_key(&key) {
                let stored = read(key)?;
                self.know(key, stored);
            }
            let state = self.state(key);
            let mut holders: BTreeSet<SiteCode> = state
                .map(|state| {
                    audience::sites(key.0, state)
                        .into_iter()
                        .chain(state.fed.iter().map(|fed| fed.0))
                        // Whoever wrote to it holds that in its own log, also what was refused.
                        .chain(state.writers.iter().map(|writer| writer.origin.site))
                        .filter(|site| !site.is_province())
                        .collect()
                })
                .unwrap_or_default();
            if key == first {
                holders.extend(Some(entry.header.origin.site).filter(|site| !site.is_province()));
            }
            let record = Bytes::copy_from_slice(&key.1.0);
            let holders = holders.into_iter().map(|site| site.0).collect();
            out.push(pb::ErasedRecord { kind: key.0, record, holders });
        }
        Ok(out)
    }

    /// Erases what an entry took, and tells those who hold it, but not the one who asked.
    fn erase(
        &mut self,
        entry: &Accepting<'_>,
        read: &mut dyn FnMut(Key) -> Result<Option<Stored>, SiteError>,
    ) -> Result<(), SiteError> {
        let by = self.change(entry).setter();
        for (at, (key, holders)) in entry.erased.iter().filter_map(erasures::read).enumerate() {
            if !self.states.contains_key(&key) {
                let stored = read(key)?;
                self.know(key, stored);
            }
            let stored = self
                .states
                .entry(key)
                .or_insert_with(|| Stored { state: RecordState::new(SiteCode::PROVINCE), check: None });
            let state = &mut stored.state;
            merge::erase(state, by);
            state.hub_seq = entry.hub_seq;
            for (site, place) in std::mem::take(&mut state.fed) {
                let old = rows::feed(site, place, key.0, key.1);
                self.feed.entry(old).or_insert(FeedRow { was: true, is: true }).is = false;
            }
            let asked = (at == 0).then_some(by.origin.site);
            for site in holders.into_iter().filter(|site| Some(*site) != asked) {
                self.tell(key, site, entry.hub_seq);
            }
            self.changed.push(key);
        }
        Ok(())
    }

    /// Puts an erased record into the feed of a city that was not told yet.
    fn tell(&mut self, key: Key, site: SiteCode, hub_seq: u64) {
        let Some(stored) = self.states.get_mut(&key) else { return };
        stored.state.fed.push((site, hub_seq));
        let new = rows::feed(site, hub_seq, key.0, key.1);
        self.feed.entry(new).or_insert(FeedRow { was: false, is: false }).is = true;
        self.moved.insert(site);
    }

    /// The rows that have changed.
    pub fn finish(mut self) -> Folded {
        self.changed.sort_unstable();
        self.changed.dedup();
        let mut out = Vec::with_capacity(self.changed.len() + self.feed.len() + 2);
        let mut states = RecordMap::with_capacity_and_hasher(self.changed.len(), Default::default());
        for key in self.changed {
            let Some(stored) = self.states.get(&key) else { continue };
            let value = Bytes::from(stored.state.encode());
            states.insert(key, value.clone());
            let row = rows::record(key.0, key.1);
            out.push(Staged { key: row, old: stored.check, new: Some(value) });
        }
        for (key, row) in self.feed {
            let empty = Bytes::new();
            match (row.was, row.is) {
                (false, true) => out.push(Staged { key, old: None, new: Some(empty) }),
                (true, false) => {
                    let old = Some(check_of(&key, &empty));
                    out.push(Staged { key, old, new: None });
                }
                _ => {}
            }
        }
        Folded { states, rows: out, moved: self.moved }
    }
}

trait ContainsLast {
    fn contains_last(&self, key: &Key) -> bool;
}

impl ContainsLast for Vec<Key> {
    /// Most changes to one record come one after another; the list is made unique at the end.
    fn contains_last(&self, key: &Key) -> bool {
        self.last() == Some(key)
    }
}

fn is_home_only(kind: u32) -> bool {
    matches!(schema::kind(kind).map(|kind| kind.audience), None | Some(schema::Audience::Home))
}

/// What arrived in `open`, and what must be said of it before any rule is asked.
pub fn arrival(header: &Header, open: &Bytes) -> (Patch, Option<Reason>, bool) {
    if header.op != Op::Put {
        return (Patch::default(), None, false);
    }
    match Patch::from_open(open) {
        Err(_) => (Patch::default(), Some(Reason::Unreadable), true),
        Ok(patch) => match schema::kind(header.kind) {
            // A raw value where a token belongs: nothing of the payload is kept.
            Some(kind) if share::leaks(kind, &patch.set) => (Patch::default(), Some(Reason::RawValue), true),
            _ => (patch, None, false),
        },
    }
}
