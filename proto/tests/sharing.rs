//! What leaves the city and in which form: projections of single changes, and of whole lives of records.

mod history;

use std::collections::BTreeMap;

use history::{Random, choice, kind, number, tag, text};
use liandong_proto::entry::{Op, Patch};
use liandong_proto::fields::{Fields, FieldsBuilder};
use liandong_proto::id::{Epoch, Origin, RecordId, SiteCode};
use liandong_proto::merge::{self, Change, Lineage};
use liandong_proto::pb::record::v1::{Consent, ConsentBasis, ConsentGroup, Member};
use liandong_proto::schema::{Field, Kind, Share};
use liandong_proto::share::{LinkingKey, Projection, Withdrawn, again, is_draft, is_token, leaks, project};
use liandong_proto::stamp::Stamp;
use liandong_proto::state::RecordState;
use liandong_proto::validate::{self, View};
use prost::Message as _;

const ID_NUMBER: &str = "440100198503121239";
const MOBILE: &str = "13800138000";

fn member() -> &'static Kind {
    kind("member")
}

fn key() -> LinkingKey {
    LinkingKey::new(&[7; 32])
}

/// A patch by field names; `status` by the name of its choice, `?` for a field of a newer schema.
fn patch(set: &[(&str, &str)], cleared: &[&str]) -> Patch {
    let tag_of = |name: &str| if name == "?" { 1900 } else { tag(member(), name) };
    let mut fields = BTreeMap::new();
    for (name, value) in set {
        let tag = tag_of(name);
        let raw = match *name {
            "status" => number(tag, choice(member(), name, value)),
            _ => text(tag, value),
        };
        fields.insert(tag, raw);
    }
    Patch::new(history::fields(&fields), cleared.iter().map(|name| tag_of(name)).collect())
        .expect("tags in range")
}

fn show(patch: &Patch) -> Vec<String> {
    let name = |tag: u32| member().field(tag).map_or("?", |field| field.name);
    let set = patch.set.iter().map(|(tag, raw)| {
        let value = history::plain(raw);
        format!("{}={}", name(tag), if is_token(&value) { "(token)" } else { &value })
    });
    set.chain(patch.cleared.iter().map(|tag| format!("-{}", name(*tag)))).collect()
}

#[track_caller]
fn check(before: &[(&str, &str)], change: &Patch, open: &[&str], sealed: &[&str]) -> Projection {
    let projection = project(member(), &patch(before, &[]).set, change, Some(&key()));
    assert_eq!(show(&projection.open), open, "open");
    assert_eq!(show(&projection.sealed), sealed, "sealed");
    assert!(!leaks(member(), &projection.open.set));
    projection
}

#[test]
fn each_field_travels_as_its_class_says() {
    let change = patch(
        &[
            ("name", "陈志强"),
            ("id_number", ID_NUMBER),
            ("mobile", MOBILE),
            ("address", "某路 1 号"),
            ("status", "ACTIVE"),
        ],
        &[],
    );
    let open = ["name=陈志强", "id_number=(token)", "mobile=(token)", "status=4"];
    let sealed = [&format!("id_number={ID_NUMBER}")[..], &format!("mobile={MOBILE}"), "address=某路 1 号"];
    let projection = check(&[], &change, &open, &sealed);
    let token = projection.open.set.str(tag(member(), "id_number"));
    assert_eq!(token, Some(key().token(ID_NUMBER.as_bytes()).as_str()), "equal people, equal tokens");
    assert_ne!(token, projection.open.set.str(tag(member(), "mobile")));
}

#[test]
fn clearing_follows_the_class_too() {
    let before = [
        ("name", "陈志强"),
        ("id_number", ID_NUMBER),
        ("address", "某路"),
        ("employer", "甲"),
        ("status", "ACTIVE"),
    ];
    let change = patch(&[], &["id_number", "address", "employer"]);
    check(&before, &change, &["-id_number", "-employer"], &["-id_number", "-address"]);
}

#[test]
fn an_empty_value_has_no_token_or_all_who_lack_one_would_be_one_person() {
    let change = patch(&[("name", "陈志强"), ("id_number", ""), ("status", "ACTIVE")], &[]);
    check(&[], &change, &["name=陈志强", "status=4", "-id_number"], &["id_number="]);
}

#[test]
fn without_a_linking_key_numbers_stay_at_home() {
    let change = patch(&[("name", "陈志强"), ("id_number", ID_NUMBER)], &[]);
    let projection = project(member(), &Fields::default(), &change, None);
    assert_eq!(show(&projection.open), ["name=陈志强"]);
    assert_eq!(show(&projection.sealed), [format!("id_number={ID_NUMBER}")]);
    // And a token that stands for an older number does not stay.
    let before = patch(&[("id_number", "440100198503120009"), ("status", "ACTIVE")], &[]).set;
    let projection = project(member(), &before, &change, None);
    assert_eq!(show(&projection.open), ["name=陈志强", "-id_number"]);
}

#[test]
fn a_field_of_a_newer_schema_stays_at_home() {
    let change = patch(&[("name", "陈志强"), ("?", "x")], &["?"]);
    check(&[], &change, &["name=陈志强"], &["?=x"]);
    check(&[("name", "陈"), ("?", "x")], &patch(&[], &["?"]), &[], &["-?"]);
}

#[test]
fn a_draft_is_sealed_whole() {
    let draft = [("name", "陈志强"), ("id_number", ID_NUMBER), ("status", "DRAFT")];
    let sealed = ["name=陈志强", &format!("id_number={ID_NUMBER}"), "status=1"];
    check(&[], &patch(&draft, &[]), &[], &sealed);
    // So is every edit of it, and what it clears.
    check(&draft, &patch(&[("employer", "甲")], &["name"]), &[], &["employer=甲", "-name"]);
}

#[test]
fn the_change_that_leaves_the_draft_carries_the_whole_open_projection() {
    let draft = [
        ("name", "陈志强"),
        ("id_number", ID_NUMBER),
        ("address", "某路"),
        ("employer", "甲"),
        ("post", "主任"),
        ("status", "DRAFT"),
    ];
    let change = patch(&[("employer", "乙"), ("mobile", MOBILE), ("status", "APPLIED")], &["post"]);
    let open = ["name=陈志强", "id_number=(token)", "mobile=(token)", "employer=乙", "status=2"];
    // Raw values that are sealed already stay where they are; what is open now is sealed no longer.
    let sealed = [&format!("mobile={MOBILE}")[..], "-name", "-employer", "-post", "-status"];
    check(&draft, &change, &open, &sealed);
}

#[test]
fn raw_values_where_tokens_belong_are_found() {
    let leaky = |set: &[(&str, &str)]| leaks(member(), &patch(set, &[]).set);
    let token = key().token(ID_NUMBER.as_bytes());
    assert!(!leaky(&[("name", "陈志强"), ("id_number", &token), ("?", "x")]));
    assert!(leaky(&[("id_number", ID_NUMBER)]));
    assert!(leaky(&[("mobile", MOBILE)]));
    assert!(leaky(&[("id_number", &token[..54])]), "a token cut short");
    assert!(leaky(&[("address", "某路")]), "a field that never travels");
    assert!(leaky(&[("address", &token)]));
    // A raw value hidden before a token: readers take the last, a thief would not.
    let id = tag(member(), "id_number");
    let twice = [text(id, ID_NUMBER), text(id, &token)].concat();
    assert!(leaks(member(), &Fields::split(twice).expect("a message")));
    let number_on_the_wire = FieldsBuilder::new().u64(id, 440_100).take();
    assert!(leaks(member(), &number_on_the_wire));
}

/// Entries of consent: group, basis, when it was given, when it was taken back.
type Entries = Vec<(ConsentGroup, ConsentBasis, String, String)>;

/// The field with these entries, as bytes of the message.
fn consents(entries: &Entries) -> Vec<u8> {
    let entry =
        |(group, basis, given_on, withdrawn_on): &(ConsentGroup, ConsentBasis, String, String)| Consent {
            group: *group as i32,
            basis: *basis as i32,
            given_on: given_on.clone(),
            withdrawn_on: withdrawn_on.clone(),
            document: String::new(),
        };
    Member { consents: entries.iter().map(entry).collect(), ..Member::default() }.encode_to_vec()
}

fn given(
    group: ConsentGroup,
    given_on: &str,
    withdrawn_on: &str,
) -> (ConsentGroup, ConsentBasis, String, String) {
    (group, ConsentBasis::Consent, given_on.into(), withdrawn_on.into())
}

/// A patch of these fields with entries of consent among them.
fn with_consents(set: &[(&str, &str)], entries: &Entries) -> Patch {
    let mut patch = patch(set, &[]);
    patch.set = patch.set.patched(&Fields::split(consents(entries)).expect("a message"), &[]);
    patch
}

/// [`check`] over a record that has entries of consent; those themselves are left out of what is shown.
#[track_caller]
fn check_consents(before: &Patch, change: &Patch, open: &[&str], sealed: &[&str]) {
    let projection = project(member(), &before.set, change, Some(&key()));
    let shown = |patch: &Patch| -> Vec<String> {
        show(patch).into_iter().filter(|line| !line.starts_with("consents")).collect()
    };
    assert_eq!(shown(&projection.open), open, "open");
    assert_eq!(shown(&projection.sealed), sealed, "sealed");
}

const FULL: [(&str, &str); 6] = [
    ("name", "陈志强"),
    ("mobile", MOBILE),
    ("address", "某路"),
    ("employer", "甲"),
    ("post", "主任"),
    ("status", "ACTIVE"),
];

#[test]
fn the_change_that_withdraws_consent_takes_the_fields_out_and_seals_them() {
    use ConsentGroup::{Contact, Employment};
    let before = with_consents(&FULL, &vec![given(Employment, "2024-01-01", "")]);
    let withdrawn = vec![given(Employment, "2024-01-01", "2026-03-01")];
    let change = with_consents(&[], &withdrawn);
    check_consents(&before, &change, &["-employer", "-post"], &["employer=甲", "post=主任"]);
    // A number's token goes; the number is sealed already, the address never travelled.
    let change = with_consents(&[], &vec![given(Contact, "2024-01-01", "2026-03-01")]);
    check_consents(&before, &change, &["-mobile"], &[&format!("mobile={MOBILE}")]);
    // What else the same change does.
    let mut change = with_consents(&[("employer", "乙"), ("name", "陈强")], &withdrawn);
    change.cleared = vec![tag(member(), "post")];
    check_consents(&before, &change, &["name=陈强", "-employer", "-post"], &["employer=乙", "-post"]);
}

#[test]
fn without_consent_later_edits_stay_sealed_and_a_new_consent_opens_the_fields() {
    use ConsentGroup::{Contact, Employment};
    let mut entries =
        vec![given(Employment, "2024-01-01", "2026-03-01"), given(Contact, "2024-01-01", "2026-03-01")];
    let before = with_consents(&FULL, &entries);
    let edit = patch(&[("employer", "乙"), ("name", "陈强"), ("mobile", MOBILE)], &["post", "address"]);
    let mobile = format!("mobile={MOBILE}");
    check_consents(&before, &edit, &["name=陈强"], &[&mobile, "employer=乙", "-address", "-post"]);
    entries.push(given(Employment, "2026-04-01", ""));
    let anew = with_consents(&[("post", "督导")], &entries);
    check_consents(&before, &anew, &["employer=甲", "post=督导"], &["-employer", "-post"]);
    entries.push(given(Contact, "2026-04-01", ""));
    let both = with_consents(&[], &entries);
    check_consents(
        &before,
        &both,
        &["mobile=(token)", "employer=甲", "post=主任"],
        &[&mobile, "-employer", "-post"],
    );
    // Without any entries nothing is withdrawn.
    let cleared = Patch { set: Fields::default(), cleared: vec![tag(member(), "consents")] };
    let open = ["mobile=(token)", "employer=甲", "post=主任", "-consents"];
    let projection = project(member(), &before.set, &cleared, Some(&key()));
    assert_eq!(show(&projection.open), open);
}

/// Two machines of a city have parted; one is told by the other's log what its edits were not told of.
#[test]
fn an_edit_made_again_goes_as_far_as_the_record_lets_it_now() {
    let made =
        |before: &[(&str, &str)], change: &Patch| project(member(), &patch(before, &[]).set, change, None);
    let anew = |before: &Patch, was: &Projection, key: Option<&LinkingKey>| {
        again(member(), &before.set, was, key).map(|it| (show(&it.open), show(&it.sealed)))
    };
    let texts = |all: &[&str]| all.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
    let active = [("name", "陈志强"), ("status", "ACTIVE")];
    let edit = made(&active, &patch(&[("employer", "甲"), ("post", "社工")], &[]));
    assert_eq!(anew(&patch(&active, &[]), &edit, None), None, "it stays as it was");

    // Consent to it was withdrawn at the other machine.
    let withdrawn = given(ConsentGroup::Employment, "2026-01-01", "2026-02-01");
    let told = with_consents(&active, &vec![withdrawn]);
    let now = anew(&told, &edit, None).expect("split anew");
    assert_eq!(now, (texts(&["-employer", "-post"]), texts(&["employer=甲", "post=社工"])));

    // Of a token the raw value stays, not the token.
    let edit = project(member(), &patch(&active, &[]).set, &patch(&[("mobile", MOBILE)], &[]), Some(&key()));
    let told = with_consents(&active, &vec![given(ConsentGroup::Contact, "2026-01-01", "2026-02-01")]);
    let now = anew(&told, &edit, None).expect("split anew");
    assert_eq!(now, (texts(&["-mobile"]), texts(&[&format!("mobile={MOBILE}")])));

    // The draft that was edited here has been submitted there.
    let draft = [("name", "陈志强"), ("status", "DRAFT")];
    let edit = made(
        &draft,
        &patch(&[("post", "社工"), ("mobile", MOBILE), ("address", "某路 1 号")], &["employer"]),
    );
    assert_eq!(anew(&patch(&draft, &[]), &edit, None), None, "it is one yet");
    let submitted = patch(&active, &[]);
    let (open, sealed) = anew(&submitted, &edit, Some(&key())).expect("split anew");
    assert_eq!(open, ["mobile=(token)", "post=社工", "-employer"]);
    assert_eq!(sealed, [&format!("mobile={MOBILE}")[..], "address=某路 1 号", "-employer", "-post"]);
    let (open, _) = anew(&submitted, &edit, None).expect("split anew");
    assert_eq!(open, ["post=社工", "-mobile", "-employer"], "no old token goes on naming it");
}

#[test]
fn of_one_group_the_newest_entry_counts_and_only_consent_can_be_withdrawn() {
    use ConsentGroup::Employment;
    let withdrawn = |entries: &Entries| {
        let fields = Fields::split(consents(entries)).expect("a message");
        let employer = member().field_by_name("employer").expect("a field");
        Withdrawn::of(member(), &fields).holds(employer)
    };
    let (old, new) = (given(Employment, "2024-01-01", "2025-01-01"), given(Employment, "2026-01-01", ""));
    assert!(withdrawn(&vec![old.clone()]));
    assert!(!withdrawn(&vec![old.clone(), new.clone()]) && !withdrawn(&vec![new, old.clone()]));
    assert!(withdrawn(&vec![given(Employment, "2024-01-01", ""), old.clone()]), "the later in the list");
    let duty = (Employment, ConsentBasis::LegalDuty, "2024-01-01".to_owned(), "2025-01-01".to_owned());
    assert!(!withdrawn(&vec![duty]));
    assert!(!withdrawn(&vec![given(ConsentGroup::Contact, "2024-01-01", "2025-01-01")]));
    assert!(!withdrawn(&Vec::new()));
}

#[test]
fn a_record_that_leaves_its_draft_leaves_what_is_withdrawn_sealed() {
    let mut draft = FULL;
    draft[5].1 = "DRAFT";
    let entries = vec![given(ConsentGroup::Employment, "2024-01-01", "2026-03-01")];
    let before = with_consents(&draft, &entries);
    let change = patch(&[("status", "ACTIVE"), ("post", "督导")], &[]);
    let projection = project(member(), &before.set, &change, Some(&key()));
    let open: Vec<String> =
        show(&projection.open).into_iter().filter(|it| !it.starts_with("consents")).collect();
    assert_eq!(open, ["name=陈志强", "mobile=(token)", "status=4"]);
    assert_eq!(show(&projection.sealed), ["post=督导", "-name", "-status", "-consents"]);
}

/// What the hub makes of a required field that its city takes out: no rule is broken, the record is not whole any more.
#[test]
fn a_required_field_that_is_taken_out_leaves_the_record_incomplete() {
    let origin = Origin { site: SiteCode(440_100), epoch: Epoch([1; 16]) };
    let take = |state: Option<RecordState>, seq: u64, patch: &Patch| {
        let (kind, record, op) = (member().number, RecordId([1; 16]), Op::Put);
        let (stamp, base, hub_seq) = (Stamp(seq), seq - 1, seq);
        let change = Change { origin, seq, stamp, base, hub_seq, kind, record, op, patch, seen: &[] };
        let today = validate::today(1_777_600_000_000);
        let verdicts = merge::judge(state.as_ref(), &change, &Lineage::default(), today, Some(View::Shared));
        assert_eq!(verdicts, [], "change {seq}");
        merge::apply(state, &change, &verdicts, &Lineage::default())
    };
    let state = take(None, 1, &patch(&[("name", "陈志强"), ("employer", "甲"), ("status", "ACTIVE")], &[]));
    assert!(!merge::incomplete(member(), &state));
    let state = take(Some(state), 2, &patch(&[], &["name", "employer"]));
    assert!(merge::incomplete(member(), &state) && state.fields.str(tag(member(), "name")).is_none());
}

/// One life of a record at its city, change by change, as the node folds it.
fn live(seed: u64) {
    let mut random = Random(seed);
    let origin = Origin { site: SiteCode(440_100), epoch: Epoch([1; 16]) };
    let mut whole: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    let mut state: Option<RecordState> = None;
    let mut entries = Entries::new();
    for seq in 1..2 + random.next() % 10 {
        let mut set = BTreeMap::new();
        for _ in 0..1 + random.below(4) {
            let name =
                random.pick(&["name", "id_number", "mobile", "address", "remarks", "employer", "post"]);
            let tag = tag(member(), name);
            set.insert(tag, text(tag, random.pick(&[ID_NUMBER, MOBILE, "陈志强", "乙"])));
        }
        if seq == 1 || random.percent(40) {
            let status = tag(member(), "status");
            // Nobody goes back to a draft.
            let was_draft = seq == 1 || is_draft(member(), &history::fields(&whole));
            let next =
                if was_draft && random.percent(60) { "DRAFT" } else { random.pick(&["APPLIED", "ACTIVE"]) };
            set.insert(status, number(status, choice(member(), "status", next)));
        }
        if random.percent(20) {
            set.insert(1900, text(1900, "x"));
        }
        if random.percent(30) {
            let group = random.pick(&[ConsentGroup::Contact, ConsentGroup::Employment]);
            match entries.iter_mut().rfind(|entry| entry.0 == group && entry.3.is_empty()) {
                Some(entry) => entry.3 = "2026-03-01".into(),
                None => entries.push(given(group, &format!("2025-01-{seq:02}"), "")),
            }
            let tag = tag(member(), "consents");
            let raw = Fields::split(consents(&entries)).expect("a message");
            set.insert(tag, raw.get(tag).expect("there are some").to_vec());
        }
        let status = tag(member(), "status");
        let kept = [status, tag(member(), "consents")];
        let gone = whole.keys().copied().filter(|tag| !set.contains_key(tag) && !kept.contains(tag));
        let gone: Vec<u32> = gone.filter(|_| random.percent(20)).collect();
        let change = Patch::new(history::fields(&set), gone.clone()).expect("tags in range");
        let before = state.as_ref().map(RecordState::visible).unwrap_or_default();
        let key = key();
        let Projection { open, sealed } = project(member(), &before, &change, Some(&key));
        whole.retain(|tag, _| !gone.contains(tag));
        whole.extend(set);

        assert!(!leaks(member(), &open.set), "seed {seed}");
        for raw in [ID_NUMBER, MOBILE] {
            let id_and_mobile = ["id_number", "mobile", "address", "remarks"].map(|name| tag(member(), name));
            for (tag, bytes) in open.set.iter().filter(|(tag, _)| id_and_mobile.contains(tag)) {
                let found = bytes.windows(raw.len()).any(|window| window == raw.as_bytes());
                assert!(!found, "seed {seed}: {raw} in open field {tag}");
            }
        }
        let draft = is_draft(member(), &history::fields(&whole));
        assert!(open.is_empty() || !draft, "seed {seed}");
        let folded = Change {
            origin,
            seq,
            stamp: Stamp(seq),
            base: u64::MAX,
            hub_seq: 0,
            kind: member().number,
            record: RecordId([1; 16]),
            op: Op::Put,
            patch: &open,
            seen: &[],
        };
        let mut next = merge::apply(state, &folded, &Vec::new(), &Lineage::default());
        next.sealed = next.sealed.patched(&sealed.set, &sealed.cleared);
        assert_eq!(next.visible(), history::fields(&whole), "seed {seed}: state = open ∪ sealed");
        if draft {
            assert!(next.fields.is_empty(), "seed {seed}: nothing of a draft is open");
        } else {
            // Of each group the last entry is the newest.
            let may_travel = |field: &Field| {
                let last = entries.iter().rfind(|entry| match entry.0 {
                    ConsentGroup::Contact => field.consent == "contact",
                    _ => field.consent == "employment",
                });
                field.share != Share::Sealed && last.is_none_or(|entry| entry.3.is_empty())
            };
            let open_now = whole.keys().filter(|tag| member().field(**tag).is_some_and(may_travel));
            let tags: Vec<u32> = next.fields.iter().map(|(tag, _)| tag).collect();
            assert_eq!(
                tags,
                open_now.copied().collect::<Vec<u32>>(),
                "seed {seed}: all that may travel is open"
            );
        }
        state = Some(next);
    }
}

#[test]
fn open_and_sealed_together_are_the_record_through_its_whole_life() {
    for seed in 0..2_000 {
        live(seed);
    }
}

/// Paste the seed of a failed run here.
#[test]
fn one_life() {
    live(0);
}
