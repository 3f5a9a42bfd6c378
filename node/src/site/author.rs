//! Writing: a put is checked, projected, and made into the next entry of this site's own log.

use liandong_proto::entry::{self, Anchor, Entry, Head, Header, Op, Patch};
use liandong_proto::fields::Fields;
use liandong_proto::id::{Origin, RecordId, RecordMap};
use liandong_proto::merge::{self, Change, Lineage};
use liandong_proto::pb::node::v1 as pb;
use liandong_proto::position::{Generations, Position};
use liandong_proto::schema::{self, Kind};
use liandong_proto::share::{self, CityRing, LinkingKey};
use liandong_proto::stamp::{Clock, Stamp};
use liandong_proto::state::{Reason, RecordState};
use liandong_proto::validate::{self, View};
use rand::RngExt as _;
use rand::rngs::StdRng;

use super::{By, Put, PutAnswer, SiteError, refusal, view};

/// Keys of a site.
#[derive(Clone, Debug)]
pub struct Keys {
    /// Seals what never leaves.
    pub city: CityRing,
    /// Makes tokens; absent until the secretariat's key has arrived.
    pub linking: Option<LinkingKey>,
}

/// The end of a site's own log, and what is needed to write on.
#[derive(Debug)]
pub struct Author {
    /// Who writes.
    pub origin: Origin,
    /// Newest own entry.
    pub head: Head,
    /// Gives out stamps.
    pub clock: Clock,
    /// The history that says which generation gave out a base.
    pub generations: Generations,
    /// For the first entry of an epoch that goes on from another.
    pub anchor: Option<Anchor>,
    keys: Keys,
    random: StdRng,
    lineage: Lineage,
}

/// An entry that has been made and not yet appended.
#[derive(Debug)]
pub struct Made {
    /// The entry.
    pub entry: Entry,
    /// Its header.
    pub header: Header,
    /// The head it leads to.
    pub head: Head,
    /// Its open part, as a patch.
    pub open: Patch,
    /// Its sealed part, as a patch.
    pub sealed: Patch,
}

/// What a put comes to.
#[derive(Debug)]
pub enum Verdict {
    /// Nothing to write: it already is so, or it may not be.
    Answer(PutAnswer),
    /// An entry to append, and what to answer once it is durable.
    Write(Box<Made>, RecordId),
}

impl Author {
    /// An author that goes on from the end of a log.
    pub fn new(origin: Origin, keys: Keys, random: StdRng) -> Author {
        Author {
            origin,
            head: Head::default(),
            clock: Clock::default(),
            generations: Generations::default(),
            anchor: None,
            keys,
            random,
            lineage: Lineage::default(),
        }
    }

    /// The keys.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The keys, to go over to others.
    pub(super) fn keys_mut(&mut self) -> &mut Keys {
        &mut self.keys
    }

    /// Makes an entry of a put, and moves the head on. The caller appends it, or puts the author back
    /// with [`Author::rewind`].
    pub fn write(
        &mut self,
        put: &Put,
        state: Option<&RecordState>,
        by: &By,
        now_ms: u64,
    ) -> Result<Verdict, SiteError> {
        let kind = schema::kind(put.kind)
            .ok_or_else(|| SiteError::Refused(format!("no kind of record has number {}", put.kind)))?;
        let record = put.record.unwrap_or_else(|| RecordId::v7(now_ms, self.random.random()));
        if let Some(answer) = self.version_conflict(put, record, state) {
            return Ok(Verdict::Answer(answer));
        }
        if put.op == Op::Delete && state.is_none_or(RecordState::deleted) {
            return Err(SiteError::NotFound);
        }
        if put.op == Op::Erase && state.is_none() {
            return Err(SiteError::NotFound);
        }
        if let Some(state) = state.filter(|state| state.erased) {
            let problems = if put.op == Op::Erase { Vec::new() } else { vec![refusal::erased(kind)] };
            let version = view::version(state, Some(self.origin));
            return Ok(Verdict::Answer(PutAnswer { record, version, unchanged: true, problems }));
        }
        let before = state.map(RecordState::visible).unwrap_or_default();
        let trimmed = if put.touch || put.op != Op::Put { None } else { without_noops(&put.patch, &before) };
        let patch = trimmed.as_ref().unwrap_or(&put.patch);
        if put.op == Op::Put && patch.is_empty() && state.is_some_and(|state| !state.deleted()) {
            let version = state.map(|state| view::version(state, Some(self.origin))).unwrap_or_default();
            return Ok(Verdict::Answer(PutAnswer { record, version, unchanged: true, problems: Vec::new() }));
        }
        let problems = self.problems(kind, record, put.op, patch, state, &before, now_ms);
        if !problems.is_empty() {
            return Ok(Verdict::Answer(PutAnswer { record, problems, ..PutAnswer::default() }));
        }
        let made = self.make(kind, record, put.op, patch, state, &before, by, now_ms);
        Ok(Verdict::Write(Box::new(made), record))
    }

    fn version_conflict(
        &self,
        put: &Put,
        record: RecordId,
        state: Option<&RecordState>,
    ) -> Option<PutAnswer> {
        let expected = put.expected_version.as_ref()?;
        let version = state.map(|state| view::version(state, Some(self.origin))).unwrap_or_default();
        (*expected != version).then(|| PutAnswer {
            record,
            version,
            unchanged: false,
            problems: vec![pb::Problem {
                code: "record.version".into(),
                zh: "记录在您读取之后已被他人修改；请重新读取后再改".into(),
                en: "the record has changed since you read it; read it again, then edit".into(),
                ..pb::Problem::default()
            }],
        })
    }

    #[allow(clippy::too_many_arguments, reason = "one put, seen from all its sides")]
    fn problems(
        &self,
        kind: &'static Kind,
        record: RecordId,
        op: Op,
        patch: &Patch,
        state: Option<&RecordState>,
        before: &Fields,
        now_ms: u64,
    ) -> Vec<pb::Problem> {
        let change = Change {
            origin: self.origin,
            seq: self.head.seq + 1,
            stamp: Stamp::at_ms(now_ms),
            // All that is shown is before the writer's eyes; nothing is, of a new record, so it has to begin
            // with a status that a record may begin with.
            base: state.map_or(0, |_| u64::MAX),
            hub_seq: 0,
            kind: kind.number,
            record,
            op,
            patch,
            seen: &[],
        };
        // The rules look at fields as this site sees them, so that a draft's status counts as well.
        let seen = state.filter(|_| share::is_draft(kind, before)).map(|state| {
            let mut seen = state.clone();
            seen.fields = before.clone();
            seen
        });
        let today = validate::today(now_ms);
        // The province has tokens where a city has values, and nothing of what is sealed.
        let view = if self.origin.site.is_province() { View::Shared } else { View::Full };
        let whole;
        let after = if before.is_empty() && patch.cleared.is_empty() {
            &patch.set
        } else {
            whole = before.patched(&patch.set, &patch.cleared);
            &whole
        };
        // The values of a whole record are all checked below; a draft need not be whole.
        let draft = share::is_draft(kind, after);
        let values = draft.then_some(view);
        let verdicts = merge::judge(seen.as_ref().or(state), &change, &self.lineage, today, values);
        if state.is_none() && refusal::is_anothers(kind, self.origin.site) && !verdicts.is_empty() {
            return vec![refusal::anothers(kind)];
        }
        let next = || {
            let may = |to: i32| {
                let step = refusal::step(kind, to);
                let change = Change { patch: &step, ..change };
                merge::judge(seen.as_ref().or(state), &change, &self.lineage, today, None).is_empty()
            };
            refusal::next(kind, before, may)
        };
        let mut problems: Vec<pb::Problem> = Vec::new();
        for (tag, reason) in verdicts {
            problems.push(match reason {
                Reason::StepNotAllowed => refusal::step_refused(kind, tag, next()),
                _ => refusal::refused(kind, tag, reason, patch, view, today),
            });
        }
        if problems.is_empty() && op == Op::Put && !draft {
            problems.extend(
                validate::check_record(kind, after, view, today).iter().map(|p| refusal::problem(kind, p)),
            );
        }
        problems
    }

    #[allow(clippy::too_many_arguments, reason = "one put, seen from all its sides")]
    fn make(
        &mut self,
        kind: &'static Kind,
        record: RecordId,
        op: Op,
        patch: &Patch,
        state: Option<&RecordState>,
        before: &Fields,
        by: &By,
        now_ms: u64,
    ) -> Made {
        let projection = if op == Op::Erase {
            share::Projection::default()
        } else if self.origin.site.is_province() {
            share::Projection { open: patch.clone(), sealed: Patch::default() }
        } else {
            share::project(kind, before, patch, self.keys.linking.as_ref())
        };
        let hub_seq = state.map_or(0, |state| state.hub_seq);
        let base = if hub_seq == 0 {
            Position::default()
        } else {
            Position { generation: self.generations.owner(hub_seq), hub_seq }
        };
        let seq = self.head.seq + 1;
        let header = Header {
            origin: self.origin,
            seq,
            stamp: self.clock.tick(now_ms),
            base,
            kind: kind.number,
            record,
            op,
            author: by.author.clone(),
            import_id: by.import_id.clone(),
            prev: (self.head.seq > 0).then_some(self.head.hash),
            open_hash: None,
            sealed_hash: None,
            anchor: if seq == 1 { self.anchor } else { None },
            seen: Vec::new(),
        };
        let open = self.open(&projection.open);
        let sealed = self.seal(&projection.sealed, seq);
        let (entry, head) = entry::make(header.clone(), open, sealed);
        self.head = head;
        Made { entry, header, head, open: projection.open, sealed: projection.sealed }
    }

    /// The open part of an entry.
    pub(super) fn open(&mut self, patch: &Patch) -> bytes::Bytes {
        patch.to_open(self.random.random())
    }

    /// The sealed part of an entry at a place of the own log.
    pub(super) fn seal(&mut self, patch: &Patch, seq: u64) -> bytes::Bytes {
        self.keys.city.seal(patch, self.origin, seq, self.random.random())
    }

    /// Takes back entries that could not be appended.
    pub fn rewind(&mut self, head: Head) {
        self.head = head;
    }
}

/// Folds an own entry into the state of its record. At a node the change goes on top of what was delivered:
/// the hub alone judges, and says so with its next delivery.
pub fn fold_own(
    state: Option<RecordState>,
    header: &Header,
    open: &Patch,
    sealed: &Patch,
    lineage: &Lineage,
) -> RecordState {
    let change = Change {
        origin: header.origin,
        seq: header.seq,
        stamp: header.stamp,
        base: u64::MAX,
        hub_seq: 0,
        kind: header.kind,
        record: header.record,
        op: header.op,
        patch: open,
        seen: &header.seen,
    };
    let mut state = merge::apply(state, &change, &Vec::new(), lineage);
    if header.op == Op::Put && !sealed.is_empty() && !state.erased {
        state.sealed = state.sealed.patched(&sealed.set, &sealed.cleared);
    }
    state
}

/// Decoded patches of an own entry.
///
/// # Errors
/// [`SiteError::Corrupt`] when the sealed part does not open under any of the city's keys.
pub fn patches(entry: &Entry, header: &Header, key: &CityRing) -> Result<(Patch, Patch), SiteError> {
    let open = Patch::from_open(&entry.open)?;
    let sealed = key
        .open(&entry.sealed, header.origin, header.seq)
        .map_err(|error| SiteError::corrupt(format!("own entry {}", header.seq), error))?;
    Ok((open, sealed))
}

/// The patch without fields that already are as it wants them; `None` when there are none such.
fn without_noops(patch: &Patch, before: &Fields) -> Option<Patch> {
    let noop = |tag: u32| before.get(tag) == patch.set.get(tag);
    let absent = |tag: &u32| before.get(*tag).is_none();
    if !patch.set.iter().any(|(tag, _)| noop(tag)) && !patch.cleared.iter().any(absent) {
        return None;
    }
    Some(Patch {
        set: patch.set.filtered(|tag| !noop(tag)),
        cleared: patch.cleared.iter().filter(|tag| !absent(tag)).copied().collect(),
    })
}

/// States of records changed within one batch, before the index shows them.
pub type Touched = RecordMap<RecordState>;
