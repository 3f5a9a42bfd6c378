//! Valid things to begin with: entries, patches and states with every part in them.

use bytes::Bytes;
use liandong_proto::entry::{self, Anchor, Entry, Head, Header, MOST_SEEN, Op, Patch};
use liandong_proto::fields::{Fields, FieldsBuilder};
use liandong_proto::id::{Epoch, Origin, RecordId, SiteCode};
use liandong_proto::position::Position;
use liandong_proto::schema::{self, Kind, Type};
use liandong_proto::share::{CityKey, LinkingKey};
use liandong_proto::stamp::Stamp;
use liandong_proto::state::{Held, Reason, RecordState, Setter, Writer};

use crate::source::Source;

pub const CITY: SiteCode = SiteCode(440_100);
pub const OTHER: SiteCode = SiteCode(440_300);
/// 2026-06-01 in milliseconds since 1970.
pub const NOW_MS: u64 = 1_780_272_000_000;

pub fn origin(source: &mut Source) -> Origin {
    let site = source.pick(&[CITY, CITY, OTHER, SiteCode::PROVINCE]);
    Origin { site, epoch: Epoch([source.pick(&[1, 1, 1, 2]); 16]) }
}

pub fn kind(source: &mut Source) -> &'static Kind {
    let kinds = schema::kinds();
    &kinds[source.below(kinds.len())]
}

/// Fields of a kind with values of the right type, most of them sound.
pub fn fields(source: &mut Source, kind: &Kind) -> Fields {
    const TEXTS: [&str; 8] = [
        "陈一",
        "2026-03-01",
        "1985-03",
        "11010519491231002X",
        "13800138000",
        "a@example.org",
        "",
        "M000001",
    ];
    let mut out = FieldsBuilder::new();
    for field in kind.fields {
        if source.percent(50) {
            continue;
        }
        match field.ty {
            Type::Enum(choices) => {
                let choice = &choices.values[source.below(choices.values.len())];
                out.u64(field.tag, choice.number as u64);
            }
            _ => match source.below(4) {
                0 => drop(out.u64(field.tag, source.edge())),
                1 => drop(out.delimited(field.tag, &source.bytes(24))),
                2 => drop(out.delimited(field.tag, &source.array::<16>())),
                _ => drop(out.str(field.tag, source.pick(&TEXTS))),
            },
        }
    }
    if source.percent(20) {
        out.str(900, "of a newer version");
    }
    out.finish()
}

pub fn patch(source: &mut Source, kind: &Kind) -> Patch {
    let set = if source.percent(90) { fields(source, kind) } else { Fields::default() };
    let cleared = (0..source.below(4)).map(|_| 1 + source.below(30) as u32).collect();
    Patch::new(set, cleared).expect("tags in range")
}

/// An entry behind a head, of any kind, with any payload; what the header says is right.
pub fn entry(source: &mut Source, origin: Origin, after: Head, records: u8) -> (Entry, Head) {
    let kind = kind(source);
    let patch = patch(source, kind);
    let open = if source.percent(90) { patch.to_open(source.array()) } else { Bytes::new() };
    let seal =
        |source: &mut Source| CityKey::new(&[6; 32]).seal(&patch, origin, after.seq + 1, source.array());
    let sealed = if source.percent(30) { seal(source) } else { Bytes::new() };
    let anchor = (after.seq == 0 && source.percent(20)).then(|| older(source));
    let anchors = if source.percent(10) { 1 + source.below(MOST_SEEN) } else { 0 };
    let seen = (0..anchors).map(|_| older(source)).collect();
    let header = Header {
        origin,
        seq: after.seq + 1,
        stamp: if source.percent(80) { Stamp::at_ms(NOW_MS) } else { Stamp(source.edge()) },
        base: Position { generation: source.pick(&[0, 1, 7]), hub_seq: source.edge() },
        kind: if source.percent(95) { kind.number } else { 1 + source.below(65_535) as u32 },
        record: RecordId([source.below(records.into()) as u8; 16]),
        op: source.pick(&[Op::Put, Op::Put, Op::Put, Op::Delete, Op::Erase]),
        author: "clerk-1".into(),
        import_id: if source.percent(20) { Bytes::from_static(&[5; 16]) } else { Bytes::new() },
        prev: (after.seq > 0).then_some(after.hash),
        open_hash: None,
        sealed_hash: None,
        anchor,
        seen,
    };
    entry::make(header, open, sealed)
}

pub fn state(source: &mut Source) -> RecordState {
    let writers: Vec<Writer> = (0..1 + source.below(3))
        .map(|n| Writer {
            origin: Origin { site: source.pick(&[CITY, OTHER]), epoch: Epoch([n as u8; 16]) },
            seq: source.edge(),
        })
        .collect();
    let setter = |source: &mut Source| Setter {
        origin: source.pick(&writers).origin,
        seq: source.edge(),
        hub_seq: source.edge(),
        stamp: Stamp(source.edge()),
    };
    let setters: Vec<Setter> = (0..1 + source.below(4)).map(|_| setter(source)).collect();
    let kind = kind(source);
    let held = (0..source.below(3)).map(|_| Held {
        reason: source.pick(&[Reason::Concurrent, Reason::NotOwner, Reason::Equal]),
        by: setter(source),
        tag: source.below(30) as u32,
        set: fields(source, kind),
        cleared: vec![3, 9],
    });
    let held = held.collect();
    let fields_shown = fields(source, kind);
    let at = |source: &mut Source| source.below(setters.len()) as u16;
    RecordState {
        hub_seq: source.edge(),
        generation: source.edge(),
        set_by: fields_shown.iter().map(|(tag, _)| (tag, at(source))).collect(),
        deleted_by: source.percent(20).then(|| at(source)),
        fields: fields_shown,
        setters: setters.clone(),
        sealed: if source.percent(30) { fields(source, kind) } else { Fields::default() },
        held,
        fed: vec![(CITY, source.edge()), (OTHER, 3)],
        erased: source.percent(5),
        writers: writers.clone(),
        ..RecordState::new(CITY)
    }
}

pub fn linking_key() -> LinkingKey {
    LinkingKey::new(&[8; 32])
}

/// A place in an older epoch.
pub fn older(source: &mut Source) -> Anchor {
    Anchor { epoch: Epoch([source.pick(&[1, 2, 3]); 16]), seq: source.edge(), hash: source.array() }
}
