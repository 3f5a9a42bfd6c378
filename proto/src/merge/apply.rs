//! The mechanics: what was decided is done to the state.

use super::{
    Change, Lineage, Verdicts, first_home, for_each_group, group_of, is_sibling, strength, value_after,
};
use crate::entry::Op;
use crate::fields::Fields;
use crate::schema::{self, Kind, Merge};
use crate::state::{Held, Reason, RecordState, Setter, Writer};

/// Folds one change, with its verdicts, into the state of its record.
pub fn apply(
    state: Option<RecordState>,
    change: &Change<'_>,
    verdicts: &Verdicts,
    lineage: &Lineage,
) -> RecordState {
    let kind = schema::kind(change.kind);
    let fresh = state.is_none();
    let mut state = state.unwrap_or_else(|| RecordState::new(first_home(kind, change)));
    if state.unclaimed() {
        state.home = first_home(kind, change);
    }
    note_writer(&mut state, change);
    state.hub_seq = state.hub_seq.max(change.hub_seq);
    if state.erased {
        return state;
    }
    if change.op == Op::Erase && verdicts.is_empty() {
        erase(&mut state, change.setter());
        return state;
    }
    if fresh && change.op == Op::Put && verdicts.is_empty() && change.patch.cleared.is_empty() {
        // The common case: a new record, taken as it came.
        state.fields = change.patch.set.clone();
        if !state.fields.is_empty() {
            state.setters.push(change.setter());
        }
        return state;
    }
    if change.op == Op::Put && verdicts.is_empty() && edit_simply(&mut state, change, lineage) {
        return state;
    }
    let mut fold = Fold { shown: Shown::of(&mut state), state, change, lineage, kind };
    match (verdicts.iter().find(|(tag, _)| *tag == 0), change.op) {
        (Some((_, reason)), _) => {
            fold.refuse(0, *reason, change.patch.set.clone(), change.patch.cleared.clone());
        }
        (None, Op::Delete) => fold.delete(),
        (None, Op::Put) => fold.put(verdicts),
        (None, Op::Erase) => {}
    }
    let Fold { shown, mut state, .. } = fold;
    shown.store(&mut state);
    state
}

/// Leaves of a record that somebody erased it. Whoever takes part in the fold later finds the same state, whether or not
/// the payloads before it could still be read.
pub fn erase(state: &mut RecordState, by: Setter) {
    (state.fields, state.sealed) = (Fields::default(), Fields::default());
    state.set_by.clear();
    state.held.clear();
    state.writers = vec![Writer { origin: by.origin, seq: by.seq }];
    state.setters = vec![by];
    (state.deleted_by, state.erased) = (Some(0), true);
}

fn note_writer(state: &mut RecordState, change: &Change<'_>) {
    match state.writers.iter_mut().find(|writer| writer.origin == change.origin) {
        Some(writer) => writer.seq = writer.seq.max(change.seq),
        None => state.writers.push(Writer { origin: change.origin, seq: change.seq }),
    }
}

/// The common case of an edit: nothing is held or deleted, and the writer had all that is shown before its
/// eyes. Does what [`Fold::put`] would, without spelling out who set every field; false, and nothing is changed,
/// when it is another case.
fn edit_simply(state: &mut RecordState, change: &Change<'_>, lineage: &Lineage) -> bool {
    let setter = change.setter();
    let known = state.setters.iter().any(|by| *by == setter || !change.saw(by, lineage));
    if !state.held.is_empty() || state.deleted() || state.setters.is_empty() || known {
        return false;
    }
    let at = state.setters.len() as u16;
    state.setters.push(setter);
    for_each_group(change, |group, _| {
        for tag in group {
            match state.set_by.binary_search_by_key(tag, |(tag, _)| *tag) {
                Ok(known) => state.set_by[known].1 = at,
                Err(new) => state.set_by.insert(new, (*tag, at)),
            }
        }
    });
    state.fields = state.fields.patched(&change.patch.set, &change.patch.cleared);
    // A setter that set nothing any more goes, and the one of most fields comes first, as `Shown::store` has it.
    let mut uses = vec![Uses::default(); state.setters.len()];
    for (tag, at) in &state.set_by {
        match state.fields.get(*tag) {
            Some(_) => uses[usize::from(*at)].shown += 1,
            None => uses[usize::from(*at)].cleared += 1,
        }
    }
    // Those that `set_by` does not name.
    let named: u32 = uses.iter().map(|uses| uses.shown).sum();
    uses[0].shown = state.fields.len() as u32 - named;
    if Uses::out_of_order(&uses) {
        Shown::of(state).store(state);
    }
    true
}

struct Fold<'a> {
    state: RecordState,
    shown: Shown,
    change: &'a Change<'a>,
    lineage: &'a Lineage,
    kind: Option<&'static Kind>,
}

impl Fold<'_> {
    fn saw(&self, by: &Setter) -> bool {
        self.change.saw(by, self.lineage)
    }

    fn put(&mut self, verdicts: &Verdicts) {
        let change = self.change;
        // Tags that are not shown, and whether any group counts.
        let (mut aside, mut accepted) = (Vec::new(), false);
        for_each_group(change, |group, _| {
            let reason = verdicts.iter().find(|(tag, _)| *tag == group[0]).map(|(_, reason)| *reason);
            if reason.is_some() {
                aside.extend_from_slice(group);
            }
            match reason {
                None => {
                    accepted = true;
                    self.show(group);
                }
                Some(Reason::Concurrent | Reason::Equal) => {
                    accepted = true;
                    self.keep(group);
                }
                Some(reason) => {
                    let value = change.patch.set.filtered(|tag| group.contains(&tag));
                    let gone = change.patch.cleared.iter().filter(|tag| group.contains(tag)).copied();
                    self.refuse(group[0], reason, value, gone.collect());
                }
            }
        });
        let patch = change.patch;
        self.state.fields = if aside.is_empty() {
            self.state.fields.patched(&patch.set, &patch.cleared)
        } else {
            let cleared: Vec<u32> =
                patch.cleared.iter().filter(|tag| !aside.contains(tag)).copied().collect();
            self.state.fields.patched(&patch.set.filtered(|tag| !aside.contains(&tag)), &cleared)
        };
        if accepted {
            self.undelete();
        }
    }

    /// The change takes the place of what is shown: what it saw is closed, what it did not see is held.
    fn show(&mut self, group: &[u32]) {
        self.close_seen(group[0]);
        let old = self.shown.newest(group);
        let unseen = old.filter(|by| !self.saw(by));
        if unseen.is_some() || !self.state.held.is_empty() {
            let new = value_after(&self.state, self.change, group);
            if let Some(by) = unseen {
                self.hold_shown(group, by);
            }
            self.label(group[0], &new);
        }
        self.shown.set(group, self.change.setter());
    }

    /// The change is held beside what is shown. Where it saw what is shown, the strongest of the others that
    /// it did not see is shown from now on.
    fn keep(&mut self, group: &[u32]) {
        self.close_seen(group[0]);
        let set = value_after(&self.state, self.change, group);
        let cleared = absent(group, &set);
        let by = self.change.setter();
        self.state.held.push(Held { reason: Reason::Concurrent, by, tag: group[0], set, cleared });
        if self.shown.newest(group).is_some_and(|old| self.saw(&old)) {
            self.raise(group);
        } else {
            let shown = self.state.fields.filtered(|tag| group.contains(&tag));
            self.label(group[0], &shown);
        }
    }

    /// Keeps a value that breaks a rule. Of one origin and group only the newest is kept.
    fn refuse(&mut self, tag: u32, reason: Reason, set: Fields, cleared: Vec<u32>) {
        let (change, lineage) = (self.change, self.lineage);
        self.state
            .held
            .retain(|held| held.tag != tag || is_sibling(held) || !change.descends(&held.by, lineage));
        self.state.held.push(Held { reason, by: self.change.setter(), tag, set, cleared });
    }

    /// Held values of a group that the writer had before its eyes are settled by its edit; so is a change
    /// refused as a whole.
    fn close_seen(&mut self, tag: u32) {
        let (change, lineage) = (self.change, self.lineage);
        self.state.held.retain(|held| {
            let concerned = held.tag == tag || (held.tag == 0 && !is_sibling(held));
            !concerned || !change.saw(&held.by, lineage)
        });
    }

    fn hold_shown(&mut self, group: &[u32], by: Setter) {
        let set = self.state.fields.filtered(|tag| group.contains(&tag));
        let cleared = absent(group, &set);
        self.state.held.push(Held { reason: Reason::Concurrent, by, tag: group[0], set, cleared });
    }

    /// Tells siblings that equal what is shown from those that do not.
    fn label(&mut self, tag: u32, shown: &Fields) {
        for held in self.state.held.iter_mut().filter(|held| held.tag == tag && is_sibling(held)) {
            held.reason = if held.set == *shown { Reason::Equal } else { Reason::Concurrent };
        }
    }

    /// Shows the strongest sibling of a group (of a `REVIEW` group the first), but the change itself only when
    /// there is no other: it was judged the weaker one.
    fn raise(&mut self, group: &[u32]) {
        let field = self.kind.and_then(|kind| kind.field(group[0]));
        let review = field.is_some_and(|field| field.merge == Merge::Review);
        let mine = self.change.setter();
        let siblings = self.state.held.iter().enumerate();
        let siblings = siblings.filter(|(_, held)| held.tag == group[0] && is_sibling(held));
        let best = siblings.max_by_key(|(_, held)| {
            let first = std::cmp::Reverse(if review { held.by.hub_seq } else { 0 });
            (held.by != mine, first, strength(field, held.set.number(group[0]), &held.by))
        });
        let Some(at) = best.map(|(at, _)| at) else { return };
        let winner = self.state.held.remove(at);
        self.state.fields = self.state.fields.patched(&winner.set, &winner.cleared);
        self.shown.set(group, winner.by);
        self.label(group[0], &winner.set);
    }

    /// Puts a tombstone in the place of the record. What the deleter had not seen is held.
    fn delete(&mut self) {
        let (change, lineage) = (self.change, self.lineage);
        self.state.held.retain(|held| !change.saw(&held.by, lineage));
        while let Some((tag, by)) = self.shown.first_unseen(|by| !change.saw(by, lineage)) {
            let group = group_of(self.kind, &tag);
            self.hold_shown(group, by);
            self.shown.by.retain(|(tag, _)| !group.contains(tag));
        }
        self.state.fields = Fields::default();
        self.state.sealed = Fields::default();
        self.shown.by.clear();
        let other = self.shown.deleted_by.filter(|by| !change.saw(by, lineage));
        self.shown.deleted_by = Some(self.strongest_tombstone(other, change.setter()));
        for held in self.state.held.iter_mut().filter(|held| held.tag != 0 && is_sibling(held)) {
            held.reason = if held.set.is_empty() { Reason::Equal } else { Reason::Concurrent };
        }
    }

    /// Of two concurrent deletes one is shown; the other is kept, for an edit must have seen both to undo them.
    fn strongest_tombstone(&mut self, other: Option<Setter>, mine: Setter) -> Setter {
        let Some(other) = other else { return mine };
        let (shown, kept) =
            if strength(None, 0, &other) > strength(None, 0, &mine) { (other, mine) } else { (mine, other) };
        let (set, cleared) = (Fields::default(), Vec::new());
        self.state.held.push(Held { reason: Reason::Equal, by: kept, tag: 0, set, cleared });
        shown
    }

    /// An edit undoes the deletes that it saw. Once none is left, what they had not seen is shown again.
    fn undelete(&mut self) {
        let Some(shown) = self.shown.deleted_by else { return };
        let (change, lineage) = (self.change, self.lineage);
        let is_tombstone = |held: &Held| held.tag == 0 && held.reason == Reason::Equal;
        self.state.held.retain(|held| !is_tombstone(held) || !change.saw(&held.by, lineage));
        if !self.saw(&shown) {
            return;
        }
        let others = self.state.held.iter().enumerate().filter(|(_, held)| is_tombstone(held));
        let next = others.max_by_key(|(_, held)| strength(None, 0, &held.by)).map(|(at, _)| at);
        self.shown.deleted_by = next.map(|at| self.state.held.remove(at).by);
        if self.shown.deleted_by.is_some() {
            return;
        }
        let mut tags: Vec<u32> =
            self.state.held.iter().filter(|held| is_sibling(held)).map(|held| held.tag).collect();
        tags.sort_unstable();
        tags.dedup();
        for tag in tags {
            let group = group_of(self.kind, &tag);
            if self.shown.newest(group).is_none() {
                self.raise(group);
            }
        }
    }
}

fn absent(group: &[u32], set: &Fields) -> Vec<u32> {
    group.iter().filter(|tag| set.get(**tag).is_none()).copied().collect()
}

/// Who set what, spelled out for every tag while a state is being changed.
struct Shown {
    /// Index into `setters` for each tag shown or cleared; ascending tags.
    by: Vec<(u32, u16)>,
    setters: Vec<Setter>,
    deleted_by: Option<Setter>,
}

impl Shown {
    /// Takes the table out of a state; [`Shown::store`] puts it back.
    fn of(state: &mut RecordState) -> Shown {
        let deleted_by = state.tombstone().copied();
        let setters = std::mem::take(&mut state.setters);
        let mut by = Vec::with_capacity(state.fields.len() + state.set_by.len() + 4);
        let mut explicit = state.set_by.iter().copied().peekable();
        for (tag, _) in state.fields.iter() {
            while let Some(cleared) = explicit.next_if(|(t, _)| *t < tag) {
                by.push(cleared);
            }
            by.push(explicit.next_if(|(t, _)| *t == tag).unwrap_or((tag, 0)));
        }
        by.extend(explicit);
        if by.iter().any(|(_, at)| usize::from(*at) >= setters.len()) {
            // No state that was read or folded is like this.
            by.retain(|(_, at)| usize::from(*at) < setters.len());
        }
        Shown { by, setters, deleted_by }
    }

    fn get(&self, tag: u32) -> Option<&Setter> {
        let at = self.by.binary_search_by_key(&tag, |(tag, _)| *tag).ok()?;
        self.setters.get(usize::from(self.by[at].1))
    }

    fn newest(&self, group: &[u32]) -> Option<Setter> {
        group.iter().filter_map(|tag| self.get(*tag)).max_by_key(|by| strength(None, 0, by)).copied()
    }

    fn first_unseen(&self, unseen: impl Fn(&Setter) -> bool) -> Option<(u32, Setter)> {
        self.by.iter().find_map(|(tag, at)| {
            let by = self.setters.get(usize::from(*at)).filter(|by| unseen(by))?;
            Some((*tag, *by))
        })
    }

    fn set(&mut self, group: &[u32], setter: Setter) {
        let at = self.place_of(setter);
        for tag in group {
            match self.by.binary_search_by_key(tag, |(tag, _)| *tag) {
                Ok(known) => self.by[known].1 = at,
                Err(new) => self.by.insert(new, (*tag, at)),
            }
        }
    }

    /// Writes the table back: the setter of most fields first, so that it need not be named, those of none gone.
    fn store(mut self, state: &mut RecordState) {
        let mut uses = vec![Uses::default(); self.setters.len()];
        for (tag, at) in &self.by {
            let uses = &mut uses[usize::from(*at)];
            match state.fields.get(*tag) {
                Some(_) => uses.shown += 1,
                None => uses.cleared += 1,
            }
        }
        if Uses::out_of_order(&uses) {
            self.renumber(&uses);
        }
        state.set_by.clear();
        let named = self.by.iter().filter(|(tag, at)| *at != 0 || state.fields.get(*tag).is_none());
        state.set_by.extend(named.copied());
        state.deleted_by = self.deleted_by.map(|setter| self.place_of(setter));
        state.setters = self.setters;
    }

    fn renumber(&mut self, uses: &[Uses]) {
        let mut order: Vec<usize> =
            (0..uses.len()).filter(|at| uses[*at].shown + uses[*at].cleared > 0).collect();
        order.sort_by_key(|at| std::cmp::Reverse(uses[*at].shown));
        let mut new_place = vec![0; uses.len()];
        for (new, old) in order.iter().enumerate() {
            new_place[*old] = new as u16;
        }
        self.by.iter_mut().for_each(|(_, at)| *at = new_place[usize::from(*at)]);
        self.setters = order.iter().map(|old| self.setters[*old]).collect();
    }

    fn place_of(&mut self, setter: Setter) -> u16 {
        let known = self.setters.iter().rposition(|known| *known == setter);
        known.unwrap_or_else(|| {
            self.setters.push(setter);
            self.setters.len() - 1
        }) as u16
    }
}

/// How many tags name a setter.
#[derive(Clone, Copy, Default)]
struct Uses {
    shown: u32,
    cleared: u32,
}

impl Uses {
    /// Whether one set nothing any more, or more fields than the first.
    fn out_of_order(all: &[Uses]) -> bool {
        let most = all.first().map_or(0, |first| first.shown);
        all.iter().any(|uses| uses.shown > most || uses.shown + uses.cleared == 0)
    }
}
