//! Generated histories of one record: who wrote what, having seen what, and in which order the hub took it.
//!
//! Causality is spelled out: every write carries the set of writes that its writer had seen. Sites lag behind, miss
//! deliveries, write with clocks that are years off, lose part of their log and go on in a new epoch.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use liandong_proto::entry::{Anchor, Op, Patch};
use liandong_proto::fields::{Fields, FieldsBuilder, Value};
use liandong_proto::id::{Epoch, Origin, RecordId, SiteCode};
use liandong_proto::merge::{self, Change, Lineage, Verdicts};
use liandong_proto::schema::{self, Kind, Type};
use liandong_proto::stamp::Stamp;
use liandong_proto::state::{Reason, RecordState};
use liandong_proto::validate::{self, View};

pub const HOME: SiteCode = SiteCode(440_100);
pub const OTHER: SiteCode = SiteCode(440_300);
pub const PROVINCE: SiteCode = SiteCode::PROVINCE;
/// 2026-01-01 in milliseconds since 1970: when the histories begin.
pub const BEGIN_MS: u64 = 1_767_225_600_000;
pub const YEAR_MS: u64 = 365 * 24 * 3_600_000;
const RECORD: RecordId = RecordId([7; 16]);

/// splitmix64 (Steele, Lea & Flood 2014): small, and the same everywhere.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// True in `n` of 100 cases.
    pub fn percent(&mut self, n: u64) -> bool {
        self.next() % 100 < n
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

/// How many histories a randomised test runs: `LIANDONG_HISTORIES`, or `default`.
pub fn histories(default: u64) -> u64 {
    std::env::var("LIANDONG_HISTORIES").ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

pub fn kind(name: &str) -> &'static Kind {
    schema::kind_by_name(name).expect("the schema has this kind")
}

pub fn tag(kind: &Kind, name: &str) -> u32 {
    kind.field_by_name(name).expect("the schema has this field").tag
}

/// Number of one of a field's choices.
pub fn choice(kind: &Kind, field: &str, name: &str) -> u64 {
    let Type::Enum(values) = kind.field_by_name(field).expect("the schema has this field").ty else {
        panic!("{field} is no choice")
    };
    let value = values.values.iter().find(|value| value.name == name);
    value.unwrap_or_else(|| panic!("{field} has no {name}")).number as u64
}

pub fn text(tag: u32, value: &str) -> Vec<u8> {
    FieldsBuilder::new().str(tag, value).take().bytes().to_vec()
}

pub fn number(tag: u32, value: u64) -> Vec<u8> {
    FieldsBuilder::new().u64(tag, value).take().bytes().to_vec()
}

/// Names a write: who, and its place in the writer's log.
pub type Id = (Origin, u64);

/// One write in the hub's order.
#[derive(Clone)]
pub struct Write {
    pub origin: Origin,
    pub seq: u64,
    pub hub_seq: u64,
    pub base: u64,
    pub stamp: Stamp,
    pub op: Op,
    pub set: BTreeMap<u32, Vec<u8>>,
    pub cleared: BTreeSet<u32>,
    /// Tags among `set` whose value breaks the schema.
    pub invalid: BTreeSet<u32>,
    /// Why the hub's intake refuses it as a whole.
    pub poison: Option<Reason>,
    /// All writes to the record that the writer had seen, its own among them.
    pub seen: BTreeSet<Id>,
    /// Those of `seen` that stand in the writer's own log.
    pub own: BTreeSet<Id>,
}

impl std::fmt::Debug for Write {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Origin { site, epoch } = self.origin;
        write!(f, "{site}.{:02x}#{} at {} base {}", epoch.0[0], self.seq, self.hub_seq, self.base)?;
        write!(f, " stamp {:+}", self.stamp.0 as i128 - i128::from(BEGIN_MS << 16))?;
        if self.op == Op::Delete {
            f.write_str(" delete")?;
        }
        for (tag, raw) in &self.set {
            let wrong = if self.invalid.contains(tag) { "!" } else { "" };
            write!(f, " {tag}={}{wrong}", plain(raw))?;
        }
        for tag in &self.cleared {
            write!(f, " -{tag}")?;
        }
        if let Some(reason) = self.poison {
            write!(f, " {reason:?}")?;
        }
        let seen: Vec<String> =
            self.seen.iter().map(|(o, seq)| format!("{}.{:02x}#{seq}", o.site, o.epoch.0[0])).collect();
        if seen.is_empty() { Ok(()) } else { write!(f, " saw {}", seen.join(" ")) }
    }
}

/// The last value of a field's bytes, readable.
pub fn plain(raw: &[u8]) -> String {
    match liandong_proto::fields::values(raw).last() {
        Some(Value::Delimited(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
        Some(Value::Varint(n)) => n.to_string(),
        other => format!("{other:?}"),
    }
}

impl Write {
    pub fn id(&self) -> Id {
        (self.origin, self.seq)
    }
}

#[derive(Clone, Debug)]
pub struct History {
    pub kind: u32,
    pub lineage: Lineage,
    pub writes: Vec<Write>,
}

pub fn fields(set: &BTreeMap<u32, Vec<u8>>) -> Fields {
    let mut out = FieldsBuilder::new();
    set.iter().for_each(|(tag, raw)| out.push(*tag, raw));
    out.finish()
}

pub fn patch(write: &Write) -> Patch {
    let cleared = write.cleared.iter().copied().collect();
    Patch::new(fields(&write.set), cleared).expect("tags in range")
}

/// Judges and applies one write; returns the verdicts too, as a commit would record them.
pub fn step(
    kind: u32,
    lineage: &Lineage,
    state: Option<RecordState>,
    write: &Write,
) -> (RecordState, Verdicts) {
    let patch = patch(write);
    let change = change(kind, write, &patch);
    let verdicts = match write.poison {
        Some(reason) => vec![(0, reason)],
        None => {
            let today = validate::today(BEGIN_MS + YEAR_MS);
            merge::judge(state.as_ref(), &change, lineage, today, Some(View::Shared))
        }
    };
    (merge::apply(state, &change, &verdicts, lineage), verdicts)
}

/// Applies one write with verdicts that were recorded before.
pub fn replay(
    kind: u32,
    lineage: &Lineage,
    state: Option<RecordState>,
    write: &Write,
    verdicts: &Verdicts,
) -> RecordState {
    let patch = patch(write);
    merge::apply(state, &change(kind, write, &patch), verdicts, lineage)
}

fn change<'a>(kind: u32, write: &Write, patch: &'a Patch) -> Change<'a> {
    Change {
        origin: write.origin,
        seq: write.seq,
        stamp: write.stamp,
        base: write.base,
        hub_seq: write.hub_seq,
        kind,
        record: RECORD,
        op: write.op,
        patch,
        seen: &[],
    }
}

/// The state after the whole history.
pub fn fold(history: &History) -> Option<RecordState> {
    let fold = |state, write| Some(step(history.kind, &history.lineage, state, write).0);
    history.writes.iter().fold(None, fold)
}

/// A state through its bytes and back.
pub fn reread(state: &RecordState) -> RecordState {
    RecordState::decode(&Bytes::from(state.encode())).expect("a state reads what it wrote")
}

/// One field a generated write may touch, with values that are right and values that are not.
struct Choice {
    right: Vec<(u32, Vec<u8>)>,
    wrong: Vec<(u32, Vec<u8>)>,
}

fn texts(kind: &Kind, name: &str, right: &[&str], wrong: &[&str]) -> Choice {
    let tag = tag(kind, name);
    let all = |values: &[&str]| values.iter().map(|value| (tag, text(tag, value))).collect();
    Choice { right: all(right), wrong: all(wrong) }
}

fn statuses(kind: &Kind) -> Choice {
    let field = kind.status.and_then(|tag| kind.field(tag)).expect("a kind with a status");
    let Type::Enum(values) = field.ty else { panic!("a status is a choice") };
    let travelling = values.values.iter().filter(|value| !value.draft);
    let right = travelling.map(|value| (field.tag, number(field.tag, value.number as u64)));
    Choice { right: right.collect(), wrong: Vec::new() }
}

/// Fields of a newer schema.
fn unknown(tag: u32) -> Choice {
    Choice { right: ["x", "y"].map(|value| (tag, text(tag, value))).to_vec(), wrong: Vec::new() }
}

fn member_choices() -> Vec<Choice> {
    let kind = kind("member");
    let tier = tag(kind, "tier");
    vec![
        texts(kind, "name", &["陈志强", "陈志刚"], &["陈\n强"]),
        texts(kind, "employer", &["甲中心", "乙中心", "丙中心"], &["甲\u{1}"]),
        texts(kind, "post", &["主任", "干事"], &[]),
        texts(kind, "registration_no", &["A1", "A2"], &["A 1"]),
        texts(kind, "registered_from", &["2024-01-01", "2025-02-03"], &["2024-13-01"]),
        texts(kind, "registered_to", &["2027-01-01", "2028-02-03"], &["2027-00"]),
        texts(kind, "id_number", &[], &["440100198503121239"]),
        statuses(kind),
        statuses(kind),
        Choice { right: (1..4).map(|n| (tier, number(tier, n))).collect(), wrong: Vec::new() },
        unknown(1900),
        unknown(1901),
    ]
}

fn nomination_choices() -> Vec<Choice> {
    let kind = kind("nomination");
    vec![
        texts(kind, "deeds", &["甲", "乙"], &["\u{1}"]),
        texts(kind, "result_reason", &["丙", "丁"], &["\u{1}"]),
        statuses(kind),
        statuses(kind),
        statuses(kind),
    ]
}

fn transfer_choices() -> Vec<Choice> {
    let kind = kind("transfer");
    let site = |name: &str, codes: &[SiteCode]| {
        let tag = tag(kind, name);
        let right = codes.iter().map(|code| (tag, number(tag, u64::from(code.0)))).collect();
        Choice { right, wrong: vec![(tag, number(tag, 7))] }
    };
    vec![
        site("from", &[HOME, HOME, OTHER]),
        site("to", &[OTHER, OTHER, SiteCode(440_500)]),
        texts(kind, "effective_on", &["2026-01-01", "2026-02-02"], &["2026-99"]),
        statuses(kind),
        unknown(1900),
    ]
}

fn round_choices() -> Vec<Choice> {
    let kind = kind("award_round");
    vec![
        texts(kind, "title", &["一", "二"], &["一\u{1}"]),
        texts(kind, "opens_on", &["2026-03-01", "2026-04-01"], &["2026-03"]),
        texts(kind, "notice_days", &[], &["五"]),
    ]
}

/// One site while a history is being made.
struct Site {
    origin: Origin,
    seq: u64,
    /// How many of the hub's writes it has been delivered.
    delivered: usize,
    /// Its own log, as far as it concerns the record.
    own: BTreeSet<Id>,
    outbox: Vec<Write>,
    /// How far its clock is off.
    skew_ms: i64,
}

/// Makes the history that belongs to a seed.
pub fn generate(seed: u64) -> History {
    let mut random = Random(seed);
    let (name, choices) = match random.below(10) {
        0 => ("award_round", round_choices()),
        1 | 2 => ("transfer", transfer_choices()),
        3 | 4 => ("nomination", nomination_choices()),
        _ => ("member", member_choices()),
    };
    let mut made = Making::new(kind(name), choices, &mut random);
    if random.percent(90) {
        // Most records are begun by whom they belong to.
        let at = if name == "award_round" { 3 } else { 0 };
        made.write(at, &mut random);
        made.push(at, 1);
    }
    for _ in 0..random.below(40) + 4 {
        made.step(&mut random);
    }
    History { kind: made.kind.number, lineage: made.lineage, writes: made.hub }
}

struct Making {
    kind: &'static Kind,
    choices: Vec<Choice>,
    lineage: Lineage,
    sites: Vec<Site>,
    hub: Vec<Write>,
    hub_seq: u64,
    now_ms: u64,
    epochs: u8,
    /// How eagerly entries are pushed and delivered, in per cent.
    eagerness: u64,
}

impl Making {
    fn new(kind: &'static Kind, choices: Vec<Choice>, random: &mut Random) -> Making {
        // The second one is a copy of the home city's node that somebody started.
        let sites = [HOME, HOME, OTHER, PROVINCE].into_iter().enumerate();
        let sites = sites.map(|(at, site)| Site {
            origin: Origin { site, epoch: Epoch([at as u8; 16]) },
            seq: 0,
            delivered: 0,
            own: BTreeSet::new(),
            outbox: Vec::new(),
            skew_ms: random.pick(&[0, 0, 900, -(YEAR_MS as i64), 3 * YEAR_MS as i64, 10 * YEAR_MS as i64]),
        });
        Making {
            kind,
            choices,
            lineage: Lineage::default(),
            sites: sites.collect(),
            hub: Vec::new(),
            hub_seq: 0,
            now_ms: BEGIN_MS,
            epochs: 10,
            eagerness: random.pick(&[20, 50, 90]),
        }
    }

    fn step(&mut self, random: &mut Random) {
        self.now_ms += random.next() % 50;
        // The first site writes most, as homes do.
        let at = random.pick(&[0, 0, 0, 1, 2, 3, 3]);
        if random.percent(70) {
            self.write(at, random);
        }
        for at in 0..self.sites.len() {
            if random.percent(self.eagerness) {
                let n = random.below(self.sites[at].outbox.len() + 1);
                self.push(at, n);
            }
            if random.percent(self.eagerness) {
                let site = &mut self.sites[at];
                let news = self.hub.len() - site.delivered;
                site.delivered += if random.percent(60) { news } else { random.below(news + 1) };
            }
        }
        if random.percent(2) {
            self.new_epoch(at, random);
        }
    }

    fn write(&mut self, at: usize, random: &mut Random) {
        let site = &mut self.sites[at];
        site.seq += 1 + random.next() % 2;
        let delivered = &self.hub[..site.delivered];
        let seen: BTreeSet<Id> = delivered.iter().map(Write::id).chain(site.own.iter().copied()).collect();
        let local_ms = self.now_ms.saturating_add_signed(site.skew_ms);
        let mut write = Write {
            origin: site.origin,
            seq: site.seq,
            hub_seq: 0,
            base: delivered.last().map_or(0, |write| write.hub_seq),
            stamp: Stamp((local_ms << 16) | (random.next() % 3)),
            op: if random.percent(8) { Op::Delete } else { Op::Put },
            set: BTreeMap::new(),
            cleared: BTreeSet::new(),
            invalid: BTreeSet::new(),
            poison: None,
            seen,
            own: site.own.clone(),
        };
        if write.op == Op::Put {
            for _ in 0..random.pick(&[1, 1, 2, 3]) {
                touch(&mut write, &self.choices[random.below(self.choices.len())], random);
            }
            if random.percent(2) {
                write.poison = Some(random.pick(&[Reason::Unreadable, Reason::RawValue]));
                (write.set, write.cleared, write.invalid) = Default::default();
            }
        }
        site.own.insert(write.id());
        site.outbox.push(write);
    }

    fn push(&mut self, at: usize, n: usize) {
        for mut write in self.sites[at].outbox.drain(..n) {
            // Other records take places in between.
            self.hub_seq += 1 + write.stamp.0 % 3;
            write.hub_seq = self.hub_seq;
            write.stamp = write.stamp.effective(self.now_ms);
            self.hub.push(write);
        }
    }

    /// The site is restored from a backup: it lost the end of its log and goes on in a new epoch.
    fn new_epoch(&mut self, at: usize, random: &mut Random) {
        let site = &mut self.sites[at];
        let (old, up_to) = (site.origin, random.next() % (site.seq + 1));
        site.own.retain(|(origin, seq)| *origin != old || *seq <= up_to);
        site.outbox.clear();
        site.delivered = random.below(site.delivered + 1);
        self.epochs += 1;
        site.origin.epoch = Epoch([self.epochs; 16]);
        site.seq = 0;
        if up_to > 0 {
            self.lineage.note(site.origin.epoch, Anchor { epoch: old.epoch, seq: up_to, hash: [0; 32] });
        } else {
            site.own.clear();
        }
    }
}

fn touch(write: &mut Write, choice: &Choice, random: &mut Random) {
    let known = choice.right.first().or(choice.wrong.first()).expect("a choice has values").0;
    if write.set.contains_key(&known) || write.cleared.contains(&known) {
        return;
    }
    if random.percent(10) {
        write.cleared.insert(known);
    } else if choice.right.is_empty() || (!choice.wrong.is_empty() && random.percent(10)) {
        let (tag, raw) = choice.wrong[random.below(choice.wrong.len())].clone();
        write.invalid.insert(tag);
        write.set.insert(tag, raw);
    } else {
        let (tag, raw) = choice.right[random.below(choice.right.len())].clone();
        write.set.insert(tag, raw);
    }
}
