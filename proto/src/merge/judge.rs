//! The rules: who may change what, which steps a status may take, what is held.

use super::{Change, Lineage, Verdicts, first_home, for_each_group, is_sibling, strength, value_after};
use crate::entry::Op;
use crate::fields::Fields;
use crate::id::SiteCode;
use crate::schema::{self, Audience, Field, Kind, Merge, Party, Share};
use crate::state::{Reason, RecordState, Setter};
use crate::validate::{self, View};

/// Decides what becomes of a change: empty when all of it is shown.
///
/// `today` is the date of receipt, which decides what lies in the future. The hub judges what has travelled with
/// [`View::Shared`]; a node judges its own puts with [`View::Full`] before they become entries, or without a view
/// when it checks the whole record's values itself.
pub fn judge(
    state: Option<&RecordState>,
    change: &Change<'_>,
    lineage: &Lineage,
    today: validate::Today,
    view: Option<View>,
) -> Verdicts {
    let kind = schema::kind(change.kind);
    let state = state.filter(|state| !state.unclaimed());
    let home = state.map_or_else(|| first_home(kind, change), |state| state.home);
    let tombstone = state.is_some_and(|state| state.tombstones().any(|by| !change.saw(by, lineage)));
    let case = Case { kind, state, home, change, lineage, today, view, tombstone };
    let mut verdicts = Verdicts::new();
    if state.is_some_and(|state| state.erased) {
        // Nothing of it is kept, so nothing can be wrong with it.
        return verdicts;
    }
    if change.op == Op::Erase {
        // A home erases what it has put before, in its own log. Whoever erases what nobody knows would keep its home
        // from ever bringing it.
        if change.origin.site != home || state.is_none() {
            verdicts.push((0, Reason::NotOwner));
        }
        return verdicts;
    }
    if change.op == Op::Delete {
        if !case.is_party(kind.map_or(Party::Home, |kind| kind.owner)) {
            verdicts.push((0, Reason::NotOwner));
        }
        return verdicts;
    }
    let may_create = state.is_some()
        || kind.is_none_or(|kind| kind.owner != Party::Province || change.origin.site.is_province());
    for_each_group(change, |group, field| {
        let reason = if may_create { case.judge_group(group, field) } else { Some(Reason::NotOwner) };
        verdicts.extend(reason.map(|reason| (group[0], reason)));
    });
    verdicts
}

/// One change before its judge.
struct Case<'a> {
    kind: Option<&'static Kind>,
    state: Option<&'a RecordState>,
    home: SiteCode,
    change: &'a Change<'a>,
    lineage: &'a Lineage,
    today: validate::Today,
    /// How values are checked; `None`: not here.
    view: Option<View>,
    /// A delete stands that the writer had not seen.
    tombstone: bool,
}

impl Case<'_> {
    fn judge_group(&self, group: &[u32], field: Option<&'static Field>) -> Option<Reason> {
        if !self.is_party(field.map_or(Party::Home, |field| field.owner)) {
            return Some(Reason::NotOwner);
        }
        if let Some((kind, field)) = self.kind.zip(field)
            && (self.invalid(kind, field)
                || group[1..]
                    .iter()
                    .filter_map(|tag| kind.field(*tag))
                    .any(|member| self.invalid(kind, member)))
        {
            return Some(Reason::Invalid);
        }
        if let Some((kind, field)) = self.kind.zip(field).filter(|(_, field)| field.merge == Merge::Status)
            && !self.step_allowed(kind, field)
        {
            return Some(Reason::StepNotAllowed);
        }
        self.contend(self.state?, field, group)
    }

    /// Whether a change that breaks no rule is shown, or held beside what others wrote without having seen it.
    fn contend(&self, state: &RecordState, field: Option<&Field>, group: &[u32]) -> Option<Reason> {
        let change = self.change;
        if self.tombstone {
            let nothing = group.iter().all(|tag| change.patch.set.get(*tag).is_none());
            return Some(if nothing { Reason::Equal } else { Reason::Concurrent });
        }
        let shown = group.iter().filter_map(|tag| state.setter(*tag)).max_by_key(|by| strength(None, 0, by));
        let unseen = shown.filter(|by| !self.saw(by));
        let winner = match field.map_or(Merge::Latest, |field| field.merge) {
            Merge::Review => unseen.map(|_| None)?,
            Merge::Latest | Merge::Status => {
                // Whoever saw the shown value may yet be weaker than a held one: a rank falls, a clock steps back.
                let mine = strength(field, change.patch.set.number(group[0]), &change.setter());
                let siblings = state.held.iter().filter(|held| held.tag == group[0] && is_sibling(held));
                let others = siblings
                    .filter(|held| !self.saw(&held.by))
                    .map(|held| (strength(field, held.set.number(group[0]), &held.by), Some(held)));
                let others =
                    others.chain(unseen.map(|by| (strength(field, state.fields.number(group[0]), by), None)));
                let (theirs, winner) = others.max_by_key(|(strength, _)| *strength)?;
                (theirs > mine).then_some(winner)?
            }
        };
        let value = value_after(state, change, group);
        let equal = match winner {
            Some(held) => held.set == value,
            None => group.iter().all(|tag| value.get(*tag) == state.fields.get(*tag)),
        };
        Some(if equal { Reason::Equal } else { Reason::Concurrent })
    }

    fn saw(&self, by: &Setter) -> bool {
        self.change.saw(by, self.lineage)
    }

    fn invalid(&self, kind: &Kind, field: &Field) -> bool {
        let Some(view) = self.view else { return false };
        let set = &self.change.patch.set;
        let wrong = |raw| validate::check_value(kind, field, raw, set, view, self.today).is_err();
        set.get(field.tag).is_some_and(wrong)
    }

    fn is_party(&self, party: Party) -> bool {
        let site = self.change.origin.site;
        match party {
            Party::Home => site == self.home,
            Party::Province => site.is_province(),
            Party::Shared => site == self.home || site.is_province(),
            Party::Sites => {
                let Some(Audience::Sites(tags)) = self.kind.map(|kind| kind.audience) else { return false };
                let named = |fields: &Fields| {
                    tags.iter().filter_map(|tag| fields.u64(*tag)).any(|code| code == u64::from(site.0))
                };
                match self.state {
                    // A tombstone names nobody any more; whoever knows the record was named by it.
                    Some(state) => state.deleted() || named(&state.fields),
                    None => site == self.home && named(&self.change.patch.set),
                }
            }
        }
    }

    fn step_allowed(&self, kind: &Kind, field: &Field) -> bool {
        if self.change.patch.cleared.contains(&field.tag) {
            return false;
        }
        let (mut parties, mut known) = ([Party::Home; 4], 0);
        for party in [Party::Home, Party::Province, Party::Shared, Party::Sites] {
            if self.is_party(party) {
                parties[known] = party;
                known += 1;
            }
        }
        let parties = &parties[..known];
        let to = self.change.patch.set.number(field.tag);
        let first = || validate::check_step(kind, None, to, parties).is_ok();
        match self.stepped_from(field) {
            Some(from) => from == to || validate::check_step(kind, Some(from), to, parties).is_ok(),
            None if self.state.is_none() && self.change.base == 0 => first(),
            // What the writer stepped from has been replaced since, or has not travelled: it was a draft.
            None => first() || validate::reachable_by(kind, to, parties),
        }
    }

    /// The strongest status that the writer had before its eyes and that still stands, shown or held.
    fn stepped_from(&self, field: &Field) -> Option<i32> {
        let state = self.state?;
        let shown = state.setter(field.tag).map(|by| (state.fields.number(field.tag), by));
        let siblings = state.held.iter().filter(|held| held.tag == field.tag && is_sibling(held));
        let standing = siblings.map(|held| (held.set.number(field.tag), &held.by)).chain(shown);
        let seen = standing.filter(|(_, by)| self.saw(by));
        let strongest = seen.max_by_key(|(number, by)| strength(Some(field), *number, by));
        strongest.map(|(number, _)| number)
    }
}

/// Whether a record lacks a required field that should be shown: such a record is listed, not released.
pub fn incomplete(kind: &Kind, state: &RecordState) -> bool {
    if state.deleted() {
        return false;
    }
    if let Some(status) = kind.status {
        // A draft travels sealed; at the hub it has no status and no fields at all.
        if state.fields.get(status).is_none() && state.held.is_empty() {
            return false;
        }
    }
    kind.fields
        .iter()
        .any(|field| field.required && field.share == Share::Open && state.fields.get(field.tag).is_none())
}
