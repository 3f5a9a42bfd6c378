//! What the merge promises, one named scene each.

mod history;

use std::collections::{BTreeMap, BTreeSet};

use history::{
    BEGIN_MS, HOME, OTHER, PROVINCE, Write, YEAR_MS, choice, kind, number, plain, reread, step, tag, text,
};
use liandong_proto::entry::{Anchor, Op};
use liandong_proto::id::{Epoch, Origin, SiteCode};
use liandong_proto::merge::{self, Lineage};
use liandong_proto::schema::{Kind, Type};
use liandong_proto::stamp::Stamp;
use liandong_proto::state::{Reason, RecordState};

const CITY: Origin = origin(HOME, 1);
/// A copy of the city's node, so that one city can write without having seen itself.
const COPY: Origin = origin(HOME, 2);
const HUB: Origin = origin(PROVINCE, 3);
const STRANGER: Origin = origin(OTHER, 4);

const fn origin(site: SiteCode, epoch: u8) -> Origin {
    Origin { site, epoch: Epoch([epoch; 16]) }
}

/// One record on the hub's stage. Each act takes the next place, unless one is named.
struct Scene {
    kind: &'static Kind,
    lineage: Lineage,
    state: Option<RecordState>,
    place: u64,
    seqs: BTreeMap<Origin, u64>,
}

/// One act: who, having seen the record as of which place, when (ms after the beginning).
fn act(origin: Origin, base: u64, ms: u64) -> Write {
    Write {
        origin,
        seq: 0,
        hub_seq: 0,
        base,
        stamp: Stamp::at_ms(BEGIN_MS + ms).effective(BEGIN_MS + YEAR_MS),
        op: Op::Put,
        set: BTreeMap::new(),
        cleared: BTreeSet::new(),
        invalid: BTreeSet::new(),
        poison: None,
        seen: BTreeSet::new(),
        own: BTreeSet::new(),
    }
}

impl Scene {
    fn of(kind_name: &str) -> Scene {
        let lineage = Lineage::default();
        Scene { kind: kind(kind_name), lineage, state: None, place: 0, seqs: BTreeMap::new() }
    }

    /// A member as the city made it at place 1.
    fn member() -> Scene {
        let mut scene = Scene::of("member");
        scene.put(act(CITY, 0, 0), &[("name", "陈志强"), ("employer", "甲"), ("status", "ACTIVE")]);
        scene
    }

    fn raw(&self, name: &str, value: &str) -> (u32, Vec<u8>) {
        let tag = tag(self.kind, name);
        match self.kind.field_by_name(name).map(|field| field.ty) {
            Some(Type::Enum(_)) => (tag, number(tag, choice(self.kind, name, value))),
            Some(Type::Uint32) => (tag, number(tag, value.parse().expect("a number"))),
            _ => (tag, text(tag, value)),
        }
    }

    fn put(&mut self, mut write: Write, set: &[(&str, &str)]) -> &mut Scene {
        write.set.extend(set.iter().map(|(name, value)| self.raw(name, value)));
        self.take(write)
    }

    fn clear(&mut self, mut write: Write, name: &str) -> &mut Scene {
        write.cleared.insert(tag(self.kind, name));
        self.take(write)
    }

    fn delete(&mut self, mut write: Write) -> &mut Scene {
        write.op = Op::Delete;
        self.take(write)
    }

    fn take(&mut self, mut write: Write) -> &mut Scene {
        let seq = self.seqs.entry(write.origin).or_default();
        *seq += 1;
        write.seq = *seq;
        self.place = if write.hub_seq > 0 { write.hub_seq } else { self.place + 1 };
        write.hub_seq = self.place;
        let (state, _) = step(self.kind.number, &self.lineage, self.state.take(), &write);
        self.state = Some(reread(&state));
        self
    }

    fn state(&self) -> &RecordState {
        self.state.as_ref().expect("something has been written")
    }

    fn name_of(&self, tag: u32, raw: &[u8]) -> String {
        match self.kind.field(tag).map(|field| field.ty) {
            Some(Type::Enum(values)) => {
                let n = liandong_proto::fields::numbers(raw)[0] as i32;
                values.value(n).map_or_else(|| n.to_string(), |value| value.name.to_owned())
            }
            _ => plain(raw),
        }
    }

    /// `field=value` for the shown fields asked for.
    #[track_caller]
    fn shows(&self, expected: &[(&str, &str)]) -> &Scene {
        for (name, value) in expected {
            let tag = tag(self.kind, name);
            let shown = self.state().fields.get(tag).map(|raw| self.name_of(tag, raw));
            assert_eq!(shown.as_deref().unwrap_or("(nothing)"), *value, "{name}");
        }
        self
    }

    /// `field=value by site because reason`, all of them, in any order; `-` for a cleared one.
    #[track_caller]
    fn holds(&self, expected: &[&str]) -> &Scene {
        let line = |held: &liandong_proto::state::Held| {
            let field =
                self.kind.field(held.tag).map_or_else(|| held.tag.to_string(), |field| field.name.to_owned());
            let values: Vec<String> = held.set.iter().map(|(tag, raw)| self.name_of(tag, raw)).collect();
            let value = if values.is_empty() { "-".to_owned() } else { values.join("+") };
            let site = match held.by.origin {
                CITY => "city",
                COPY => "copy",
                HUB => "hub",
                _ => "stranger",
            };
            format!("{field}={value} by {site}: {:?}", held.reason)
        };
        let held: BTreeSet<String> = self.state().held.iter().map(line).collect();
        assert_eq!(held, expected.iter().map(|line| (*line).to_owned()).collect());
        self
    }
}

// Concurrency ----------------------------------------------------------------------------------------------

#[test]
fn a_feed_wide_context_would_lose_an_edit() {
    // The hub set f at 30 and g at 120. A feed gives each record once, where it stands now: a reader at 100 has
    // skipped the record, and the city that edits f there has seen neither.
    let play = |base: u64| {
        let mut scene = Scene::member();
        scene.put(Write { hub_seq: 30, ..act(HUB, 1, 500) }, &[("qualification_level", "SENIOR")]);
        scene.put(Write { hub_seq: 120, ..act(HUB, 30, 600) }, &[("tier", "COUNCIL")]);
        scene.put(Write { hub_seq: 121, ..act(CITY, base, 700) }, &[("qualification_level", "ASSISTANT")]);
        scene
    };
    let exact = play(1);
    exact.shows(&[("qualification_level", "ASSISTANT")]);
    exact.holds(&["qualification_level=SENIOR by hub: Concurrent"]);
    // With the cursor of the feed as the base, the hub's edit is gone without a word.
    play(100).shows(&[("qualification_level", "ASSISTANT")]).holds(&[]);
}

#[test]
fn a_shared_field_edited_at_the_city_and_at_the_hub_shows_one_and_keeps_both() {
    let acts = [(act(CITY, 1, 20), "SENIOR"), (act(HUB, 1, 10), "ASSISTANT")];
    for order in [[0, 1], [1, 0]] {
        let mut scene = Scene::member();
        for at in order {
            let (write, level) = &acts[at];
            scene.put(write.clone(), &[("qualification_level", level)]);
        }
        scene.shows(&[("qualification_level", "SENIOR")]);
        scene.holds(&["qualification_level=ASSISTANT by hub: Concurrent"]);
    }
}

#[test]
fn edits_of_different_fields_merge_silently() {
    let mut scene = Scene::member();
    scene.put(act(CITY, 1, 20), &[("employer", "乙")]).put(act(HUB, 1, 10), &[("tier", "COUNCIL")]);
    scene.shows(&[("employer", "乙"), ("tier", "COUNCIL"), ("name", "陈志强")]).holds(&[]);
}

#[test]
fn a_field_group_merges_as_one() {
    let paper = |no: &'static str, from: &'static str, to: &'static str| {
        [("registration_no", no), ("registered_from", from), ("registered_to", to)]
    };
    let mut scene = Scene::member();
    scene.put(act(CITY, 1, 10), &paper("A1", "2024-01-01", "2026-12-31"));
    scene.put(act(HUB, 1, 20), &paper("B2", "2025-01-01", "2027-12-31"));
    scene.shows(&paper("B2", "2025-01-01", "2027-12-31"));
    scene.holds(&["registration_no=A1+2024-01-01+2026-12-31 by city: Concurrent"]);
    // A change of one member takes the others over as they are shown, and settles for the group.
    scene.put(act(CITY, 3, 30), &[("registered_to", "2028-06-30")]);
    scene.shows(&paper("B2", "2025-01-01", "2028-06-30")).holds(&[]);
}

#[test]
fn equal_concurrent_values_make_no_finding_and_stay_exact() {
    let mut scene = Scene::member();
    scene.put(act(CITY, 1, 10), &[("qualification_level", "SENIOR")]);
    scene.put(act(HUB, 1, 20), &[("qualification_level", "SENIOR")]);
    scene.shows(&[("qualification_level", "SENIOR")]).holds(&["qualification_level=SENIOR by city: Equal"]);
    // Who saw both writes over both.
    scene.put(act(HUB, 3, 30), &[("qualification_level", "ASSISTANT")]).holds(&[]);

    let mut scene = Scene::member();
    scene.put(act(CITY, 1, 10), &[("qualification_level", "SENIOR")]);
    scene.put(act(HUB, 1, 20), &[("qualification_level", "SENIOR")]);
    // The hub goes on without having seen the city's: equal they were, and yet two.
    scene.put(act(HUB, 1, 30), &[("qualification_level", "ASSISTANT")]);
    scene.shows(&[("qualification_level", "ASSISTANT")]);
    scene.holds(&["qualification_level=SENIOR by city: Concurrent"]);
}

#[test]
fn a_held_value_is_closed_by_an_edit_that_saw_both_and_by_no_other() {
    let mut scene = Scene::member();
    scene.put(act(CITY, 1, 20), &[("qualification_level", "SENIOR")]);
    scene.put(act(HUB, 1, 10), &[("qualification_level", "ASSISTANT")]);
    // The city goes on without having seen the hub's.
    scene.put(act(CITY, 1, 30), &[("qualification_level", "SOCIAL_WORKER")]);
    scene.holds(&["qualification_level=ASSISTANT by hub: Concurrent"]);
    // An edit of another field settles nothing.
    scene.put(act(CITY, 4, 40), &[("employer", "乙")]);
    scene.holds(&["qualification_level=ASSISTANT by hub: Concurrent"]);
    scene.put(act(CITY, 5, 50), &[("qualification_level", "ASSISTANT")]);
    scene.shows(&[("qualification_level", "ASSISTANT")]).holds(&[]);
}

#[test]
fn a_clock_ten_years_ahead_wins_nothing() {
    let mut scene = Scene::member();
    let received = |write: Write, ms: u64| Write { stamp: write.stamp.effective(BEGIN_MS + ms), ..write };
    scene.put(received(act(CITY, 1, 10 * YEAR_MS), 1_000), &[("qualification_level", "SENIOR")]);
    scene.put(received(act(HUB, 1, 2_000), 2_000), &[("qualification_level", "ASSISTANT")]);
    scene.shows(&[("qualification_level", "ASSISTANT")]);
    scene.holds(&["qualification_level=SENIOR by city: Concurrent"]);
    // Nor does it brick anything: whoever saw it writes over it.
    scene.put(received(act(CITY, 3, 0), 3_000), &[("qualification_level", "SENIOR")]).holds(&[]);
}

#[test]
fn a_clock_that_fell_back_does_not_hide_the_stronger_value() {
    // The hub saw the city's value and writes with an old clock; a copy of the city wrote meanwhile.
    let acts =
        [(act(CITY, 1, 30), "SENIOR"), (act(COPY, 1, 20), "ASSISTANT"), (act(HUB, 2, 10), "SOCIAL_WORKER")];
    for order in [[0, 1, 2], [0, 2, 1]] {
        let mut scene = Scene::member();
        for at in order {
            let (write, value) = &acts[at];
            scene.put(write.clone(), &[("qualification_level", value)]);
        }
        scene.shows(&[("qualification_level", "ASSISTANT")]);
        scene.holds(&["qualification_level=SOCIAL_WORKER by hub: Concurrent"]);
    }
}

#[test]
fn anchored_epochs_are_one_line() {
    let fresh = origin(HOME, 9);
    let play = |up_to: u64| {
        let mut scene = Scene::member();
        scene.put(act(CITY, 1, 10), &[("employer", "乙")]).put(act(CITY, 1, 20), &[("employer", "丙")]);
        scene.lineage.note(fresh.epoch, Anchor { epoch: CITY.epoch, seq: up_to, hash: [0; 32] });
        // A restored node knows no delivery any more; its own log speaks for it.
        scene.put(act(fresh, 0, 30), &[("employer", "丁")]);
        scene
    };
    play(3).shows(&[("employer", "丁")]).holds(&[]);
    // Its backup ended at seq 2: the third entry is not in its past.
    play(2).shows(&[("employer", "丁")]).holds(&["employer=丙 by city: Concurrent"]);
}

// Review and rules -----------------------------------------------------------------------------------------

#[test]
fn the_newcomer_of_a_review_field_is_held() {
    let mut scene = Scene::member();
    scene.put(act(CITY, 1, 10), &[("tier", "COUNCIL")]).put(act(HUB, 1, 20), &[("tier", "ORDINARY")]);
    scene.shows(&[("tier", "COUNCIL")]).holds(&["tier=ORDINARY by hub: Concurrent"]);
    // Whoever saw what is shown takes its place; the other still waits.
    scene.put(act(CITY, 1, 30), &[("tier", "VICE_PRESIDENT")]);
    scene.shows(&[("tier", "VICE_PRESIDENT")]).holds(&["tier=ORDINARY by hub: Concurrent"]);
    scene.put(act(CITY, 3, 40), &[("tier", "ORDINARY")]).shows(&[("tier", "ORDINARY")]).holds(&[]);
}

#[test]
fn a_poison_change_touches_nothing_else() {
    let mut scene = Scene::member();
    scene.take(Write { poison: Some(Reason::Unreadable), ..act(CITY, 1, 10) });
    scene.shows(&[("name", "陈志强"), ("employer", "甲")]).holds(&["0=- by city: Unreadable"]);
    scene.put(act(HUB, 1, 20), &[("tier", "COUNCIL")]).shows(&[("tier", "COUNCIL")]);
    // The city's next good change puts it right.
    scene.put(act(CITY, 1, 30), &[("employer", "乙")]).shows(&[("employer", "乙")]).holds(&[]);
}

#[test]
fn what_breaks_a_rule_is_held_and_the_rest_of_the_change_applies() {
    let mut scene = Scene::member();
    scene.put(act(HUB, 1, 10), &[("name", "陈强"), ("tier", "COUNCIL"), ("registration_no", "A 1")]);
    scene.shows(&[("name", "陈志强"), ("tier", "COUNCIL"), ("registration_no", "(nothing)")]);
    scene.holds(&["name=陈强 by hub: NotOwner", "registration_no=A 1 by hub: Invalid"]);
    // The newest of each origin is kept; a good one settles it.
    scene.put(act(HUB, 1, 20), &[("registration_no", "B 2")]);
    scene.holds(&["name=陈强 by hub: NotOwner", "registration_no=B 2 by hub: Invalid"]);
    scene.put(act(HUB, 1, 30), &[("registration_no", "B2")]).holds(&["name=陈强 by hub: NotOwner"]);
    scene.put(act(CITY, 4, 40), &[("name", "陈强")]).shows(&[("name", "陈强")]).holds(&[]);
}

#[test]
fn a_refused_value_does_not_take_the_place_of_one_that_counts() {
    let mut scene = Scene::member();
    scene
        .put(act(CITY, 1, 20), &[("registration_no", "A1")])
        .put(act(HUB, 1, 10), &[("registration_no", "B2")]);
    scene.put(act(HUB, 1, 30), &[("registration_no", "B 2")]);
    scene.holds(&["registration_no=B2 by hub: Concurrent", "registration_no=B 2 by hub: Invalid"]);
}

#[test]
fn a_record_whose_required_field_is_held_is_incomplete() {
    let mut scene = Scene::of("member");
    scene.put(act(CITY, 0, 0), &[("name", "陈\n强"), ("status", "ACTIVE")]);
    assert!(merge::incomplete(scene.kind, scene.state()));
    scene.put(act(CITY, 1, 10), &[("name", "陈强")]).holds(&[]);
    assert!(!merge::incomplete(scene.kind, scene.state()));
}

#[test]
fn a_kind_of_the_province_has_no_other_home() {
    let mut scene = Scene::of("award_round");
    scene.put(act(CITY, 0, 0), &[("title", "一")]).holds(&["title=一 by city: NotOwner"]);
    assert_eq!(scene.state().home, PROVINCE);
    scene.put(act(CITY, 1, 5), &[("title", "二")]).delete(act(CITY, 2, 6));
    scene.put(act(HUB, 3, 10), &[("title", "三")]).shows(&[("title", "三")]).holds(&[]);
}

// Status ---------------------------------------------------------------------------------------------------

#[track_caller]
fn in_both_orders(first: (Write, &str), second: (Write, &str), shown: &str, held: &str) {
    for acts in [[&first, &second], [&second, &first]] {
        let mut scene = Scene::member();
        for (write, status) in acts {
            scene.put(write.clone(), &[("status", status)]);
        }
        scene.shows(&[("status", shown)]).holds(&[held]);
    }
}

#[test]
fn an_expulsion_beats_a_lapse_whichever_came_first() {
    let held = "status=LAPSED by copy: Concurrent";
    in_both_orders((act(CITY, 1, 10), "EXPELLED"), (act(COPY, 1, 20), "LAPSED"), "EXPELLED", held);
    in_both_orders((act(CITY, 1, 20), "EXPELLED"), (act(COPY, 1, 10), "LAPSED"), "EXPELLED", held);
}

#[test]
fn a_sanction_is_never_overwritten_by_an_older_active() {
    // The copy was away: its newer "active" follows a transfer it knows of, not the suspension.
    for ms in [5, 50] {
        let mut scene = Scene::member();
        scene.put(act(CITY, 1, 10), &[("status", "SUSPENDED")]);
        scene.put(act(COPY, 1, ms), &[("status", "ACTIVE")]);
        scene.shows(&[("status", "SUSPENDED")]).holds(&["status=ACTIVE by copy: Concurrent"]);
        // Who saw the sanction may lift it.
        scene.put(act(COPY, 3, 60), &[("status", "ACTIVE")]).shows(&[("status", "ACTIVE")]).holds(&[]);
    }
}

#[test]
fn a_sanction_that_was_not_seen_shows_when_the_stronger_one_is_lifted() {
    let mut scene = Scene::member();
    scene.put(act(CITY, 1, 10), &[("status", "EXPELLED")]);
    scene.put(act(COPY, 1, 20), &[("status", "SUSPENDED")]);
    scene.shows(&[("status", "EXPELLED")]).holds(&["status=SUSPENDED by copy: Concurrent"]);
    // The appeal was decided by somebody who had not seen the suspension.
    scene.put(act(CITY, 2, 30), &[("status", "ACTIVE")]);
    scene.shows(&[("status", "SUSPENDED")]).holds(&["status=ACTIVE by city: Concurrent"]);
}

#[test]
fn a_step_is_judged_by_what_its_writer_saw() {
    let mut scene = Scene::member();
    scene.put(act(CITY, 1, 10), &[("status", "DECEASED")]);
    scene.put(act(CITY, 2, 20), &[("status", "ACTIVE")]).holds(&["status=ACTIVE by city: StepNotAllowed"]);
    // The copy had seen an active member: a resignation is a right step from there, and the weaker one.
    scene.put(act(COPY, 1, 30), &[("status", "RESIGNED")]).shows(&[("status", "DECEASED")]);
    scene.holds(&["status=ACTIVE by city: StepNotAllowed", "status=RESIGNED by copy: Concurrent"]);
}

// Deletes --------------------------------------------------------------------------------------------------

#[test]
fn a_delete_beats_a_concurrent_edit_in_either_order() {
    for delete_first in [true, false] {
        let mut scene = Scene::member();
        if delete_first {
            scene.delete(act(CITY, 1, 10)).put(act(HUB, 1, 20), &[("tier", "COUNCIL")]);
        } else {
            scene.put(act(HUB, 1, 20), &[("tier", "COUNCIL")]).delete(act(CITY, 1, 10));
        }
        assert!(scene.state().deleted());
        assert!(scene.state().fields.is_empty());
        scene.holds(&["tier=COUNCIL by hub: Concurrent"]);
    }
}

#[test]
fn whoever_saw_the_delete_can_undo_it_and_nobody_else() {
    let mut scene = Scene::member();
    scene.delete(act(CITY, 1, 10)).put(act(HUB, 1, 20), &[("tier", "COUNCIL")]);
    scene.put(act(COPY, 1, 30), &[("employer", "乙")]);
    assert!(scene.state().deleted(), "the copy had not seen the delete");
    scene.put(act(CITY, 2, 40), &[("name", "陈志强"), ("status", "ACTIVE")]);
    assert!(!scene.state().deleted());
    // What the delete had not seen is back with it; what it had seen is not.
    scene.shows(&[("name", "陈志强"), ("tier", "COUNCIL"), ("employer", "乙")]).holds(&[]);
}

#[test]
fn an_edit_that_arrives_after_the_undelete_is_no_different() {
    let mut scene = Scene::member();
    scene.delete(act(CITY, 1, 10)).put(act(CITY, 2, 40), &[("name", "陈志强"), ("status", "ACTIVE")]);
    scene.put(act(HUB, 1, 20), &[("tier", "COUNCIL")]).shows(&[("tier", "COUNCIL")]).holds(&[]);
}

#[test]
fn an_undelete_needs_to_have_seen_every_delete() {
    let both = [CITY, COPY];
    for (first, second) in [(0, 1), (1, 0)] {
        let mut scene = Scene::member();
        scene.delete(act(both[first], 1, 10)).delete(act(both[second], 1, 10));
        // The city knows of its own delete only.
        scene.put(act(CITY, 1, 20), &[("employer", "乙")]);
        assert!(scene.state().deleted(), "{first} {second}");
        scene.put(act(CITY, 4, 30), &[("name", "陈志强")]);
        assert!(!scene.state().deleted(), "{first} {second}");
    }
}

#[test]
fn nothing_resurrects() {
    let mut scene = Scene::member();
    scene.put(act(HUB, 1, 5), &[("tier", "COUNCIL")]).delete(act(CITY, 2, 10));
    for ms in 0..5 {
        scene.put(act(COPY, 1, 100 + ms), &[("employer", "乙")]).clear(act(COPY, 1, 100 + ms), "post");
        scene.put(act(STRANGER, 99, 100), &[("employer", "丁")]);
    }
    assert!(scene.state().deleted());
    assert!(scene.state().fields.is_empty());
    scene.holds(&[
        "employer=乙 by copy: Concurrent",
        "post=- by copy: Equal",
        "employer=丁 by stranger: NotOwner",
    ]);
}

#[test]
fn a_cleared_field_is_a_value_like_any_other() {
    let mut scene = Scene::member();
    scene.clear(act(CITY, 1, 20), "qualification_level");
    scene.put(act(HUB, 1, 10), &[("qualification_level", "SENIOR")]);
    scene.shows(&[("qualification_level", "(nothing)")]);
    scene.holds(&["qualification_level=SENIOR by hub: Concurrent"]);
    let mut scene = Scene::member();
    scene.clear(act(CITY, 1, 10), "qualification_level");
    scene.put(act(HUB, 1, 20), &[("qualification_level", "SENIOR")]);
    scene.shows(&[("qualification_level", "SENIOR")]).holds(&["qualification_level=- by city: Concurrent"]);
}

#[test]
fn an_edit_that_comes_before_what_it_edits_takes_no_record_away() {
    // As a hub gets them back that has lost both: the other city of a transfer first, its home afterwards.
    let mut scene = Scene::of("transfer");
    scene.put(act(STRANGER, 0, 20), &[("effective_on", "2026-02-01")]);
    assert!(scene.state().unclaimed());
    let made = [("from", "440100"), ("to", "440300"), ("effective_on", "2026-01-01"), ("status", "OFFERED")];
    scene.put(act(CITY, 0, 10), &made);
    scene.shows(&[("effective_on", "2026-01-01"), ("status", "OFFERED")]);
    assert_eq!(scene.state().home, HOME);
    scene.holds(&["effective_on=2026-02-01 by stranger: NotOwner"]);
}

#[test]
fn a_draft_is_its_homes_whoever_is_refused_to_change_it() {
    let mut scene = Scene::of("transfer");
    scene.put(act(CITY, 0, 10), &[]);
    scene.put(act(STRANGER, 0, 20), &[("effective_on", "2026-02-01")]);
    assert!(!scene.state().unclaimed());
    assert_eq!(scene.state().home, HOME);
}
