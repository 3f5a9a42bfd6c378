//! No value of any sealed or token field of any kind leaves its city, whatever is done with the record. The fields come
//! from the schema: a new one is covered as soon as it is there.

use liandong_hub::hub::{Hub, HubOptions};
use liandong_node::site::record_kind;
use liandong_proto::entry::{Header, Patch};
use liandong_proto::fields::{Fields, FieldsBuilder};
use liandong_proto::id::{RecordId, SiteCode};
use liandong_proto::pb::log::v1 as log;
use liandong_proto::pb::node::v1 as node;
use liandong_proto::pb::record::v1 as pb;
use liandong_proto::schema::{self, Field, Format, Kind, Share, Type};
use liandong_proto::share;
use liandong_tests::cluster::{Door, decoded, fields_of};
use prost::Message;

use crate::needles::{Needles, check_hub};
use crate::province::{GUANGZHOU, MEMBER, Province, SHENZHEN, member};
use crate::wire::Recorder;

const CITIES: [SiteCode; 2] = [GUANGZHOU, SHENZHEN];

fn stays(kind: &Kind) -> impl Iterator<Item = &'static Field> {
    kind.fields.iter().filter(|field| field.share != Share::Open)
}

/// A number of the form of GB 11643 with its check digit.
fn resident_id(n: u32) -> String {
    let digits = format!("440106{}0101{:03}", 1950 + n / 1_000, n % 1_000);
    let weights = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
    let sum: u32 = digits.bytes().zip(weights).map(|(digit, weight)| u32::from(digit - b'0') * weight).sum();
    format!("{digits}{}", ['1', '0', 'X', '9', '8', '7', '6', '5', '4', '3', '2'][sum as usize % 11])
}

/// The `n`th value of a field: a text to search for, or a number that says nothing by itself.
fn value(field: &Field, n: u32) -> Result<String, u64> {
    match (field.format, field.ty) {
        (Format::ResidentId, _) => Ok(resident_id(n)),
        (Format::Mobile, _) => Ok(format!("139{n:08}")),
        (Format::Email, _) => Ok(format!("clerk.{n:06}@sealed.example.org")),
        (Format::Text | Format::LongText, _) => {
            // No digits, which could look like a number of another kind.
            let letters =
                n.to_string().bytes().map(|digit| char::from(digit - b'0' + b'k')).collect::<String>();
            Ok(format!("不出本市之{}{letters}", field.name))
        }
        (_, Type::Enum(values)) => Err(values.values[n as usize % values.values.len()].number as u64),
        (format, _) => {
            panic!("{} of {format:?} does not leave its city: say here how a value is made", field.name)
        }
    }
}

/// Values that are used once, and all that were used.
#[derive(Default)]
struct Values {
    next: u32,
    used: Vec<String>,
}

impl Values {
    fn of(&mut self, kind: &Kind) -> Fields {
        let mut set = FieldsBuilder::new();
        for field in stays(kind) {
            self.next += 1;
            match value(field, self.next) {
                Ok(text) => {
                    set.str(field.tag, &text);
                    self.used.push(text);
                }
                Err(number) => drop(set.u64(field.tag, number)),
            }
        }
        set.take()
    }
}

/// A record of a kind that has such fields, without any of them.
fn bare(kind: &Kind) -> Vec<u8> {
    match kind.name {
        "member" => member(1).encode_to_vec(),
        "case" => pb::Case {
            received_on: "2026-03-02".into(),
            status: pb::CaseStatus::Received as i32,
            ..pb::Case::default()
        }
        .encode_to_vec(),
        name => panic!("{name} has fields that stay in the city: say here how a record of it is made"),
    }
}

async fn write(
    door: &Door,
    kind: &Kind,
    record: Option<RecordId>,
    set: &Fields,
    cleared: Vec<u32>,
) -> RecordId {
    let put = node::Put {
        kind: kind.number,
        record: record.map(|id| id.0.to_vec().into()).unwrap_or_default(),
        set: set.bytes().clone(),
        cleared,
        ..node::Put::default()
    };
    door.put_all(vec![put]).await.unwrap_or_else(|error| panic!("{}: {error}", kind.name))[0]
}

/// Everything that can be done with a record of a kind: made whole, made and filled, edited, drafted, cleared, deleted.
async fn live(door: &Door, kind: &Kind, values: &mut Values) -> RecordId {
    let bare = Fields::split(bare(kind)).expect("a message");
    let with = |set: &Fields| bare.patched(set, &[]);
    let kept = write(door, kind, None, &with(&values.of(kind)), Vec::new()).await;
    write(door, kind, Some(kept), &values.of(kind), Vec::new()).await;
    let filled = write(door, kind, None, &bare, Vec::new()).await;
    write(door, kind, Some(filled), &values.of(kind), Vec::new()).await;
    write(door, kind, Some(filled), &Fields::default(), stays(kind).map(|field| field.tag).collect()).await;
    let status = kind.status.and_then(|tag| kind.field(tag));
    if let Some((tag, Type::Enum(statuses))) = status.map(|field| (field.tag, field.ty))
        && let Some(draft) = statuses.values.iter().find(|value| value.draft)
    {
        let drafted = FieldsBuilder::new().u64(tag, draft.number as u64).take();
        let set = with(&values.of(kind)).patched(&drafted, &[]);
        let record = write(door, kind, None, &set, Vec::new()).await;
        write(door, kind, Some(record), &values.of(kind), Vec::new()).await;
        let next =
            statuses.values.iter().find(|value| value.follows.iter().any(|step| step.from == draft.number));
        let next = next.expect("a draft leads somewhere").number as u64;
        write(door, kind, Some(record), &FieldsBuilder::new().u64(tag, next).take(), Vec::new()).await;
    }
    let gone = write(door, kind, None, &with(&values.of(kind)), Vec::new()).await;
    let delete =
        node::DeleteRequest { kind: kind.number, record: gone.0.to_vec().into(), ..Default::default() };
    door.records().delete(delete).await.expect("deleted");
    kept
}

/// Nothing that travels in clear names a sealed field, or holds anything but tokens where tokens belong.
fn check_open(hub_dir: &std::path::Path) -> u64 {
    let hub = Hub::open(&HubOptions::new(hub_dir), &mut |_| {}).expect("the hub opens");
    let mut checked = 0;
    for raw in hub.log().read(Default::default()) {
        let raw = raw.expect("readable");
        if raw.kind != record_kind::COMMIT {
            continue;
        }
        for accepted in log::Commit::decode(raw.payload).expect("a commit").entries {
            let header = Header::decode(&accepted.header).expect("a header");
            let kind = schema::kind(header.kind).expect("a kind");
            let open = Patch::from_open(&accepted.open).expect("a patch");
            assert!(!share::leaks(kind, &open.set), "{} in {:?}", kind.name, header.record);
            let sealed = |tag: &u32| kind.field(*tag).is_none_or(|field| field.share == Share::Sealed);
            assert!(!open.cleared.iter().any(sealed), "{} in {:?}", kind.name, header.record);
            assert!(!accepted.outcome.is_some_and(|outcome| outcome.open_dropped));
            checked += 1;
        }
    }
    hub.close().expect("closed");
    checked
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_sealed_of_any_kind_is_at_the_hub_or_on_the_wire() {
    let mut province = Province::running(&CITIES).await;
    let mut recorders = Vec::new();
    for city in CITIES {
        province.stop_node(city).await.expect("it stops");
        let mut membership = province.membership(city);
        let recorder = Recorder::between(&membership, &province.hub().data_dir).await;
        membership.hub = recorder.address.clone();
        let paths = liandong_node::site::Paths::new(&province.node(city).data_dir);
        membership.store(&paths).expect("written");
        recorders.push(recorder);
        province.start_node(city).await.expect("it starts");
    }
    let mut values = Values::default();
    let kinds = schema::kinds().iter().filter(|kind| stays(kind).next().is_some());
    let kinds: Vec<&Kind> = kinds.collect();
    let fields: usize = kinds.iter().map(|kind| stays(kind).count()).sum();
    assert!(fields >= 9, "{fields} fields stay in their cities");
    let mut kept = Vec::new();
    for city in CITIES {
        let door = province.door(city).await;
        for kind in &kinds {
            kept.push((city, kind.number, live(&door, kind, &mut values).await));
        }
        // One and the same person in both.
        let same = pb::Member { id_number: resident_id(9_999), mobile: "13700000001".into(), ..member(2) };
        kept.push((city, 0, door.put(MEMBER, None, &same).await.expect("a member")));
    }
    values.used.extend([resident_id(9_999), "13700000001".into()]);
    province.equal().await;
    // Keys that change make everything travel once more under others.
    province.node(GUANGZHOU).answer(&["recovery-key", "rotate", "--unattended"]).await.expect("rotated");
    let door = province.door(GUANGZHOU).await;
    live(&door, kinds[0], &mut values).await;
    province.equal().await;

    let needles = Needles::of(values.used.iter().map(String::as_str));
    assert!(values.used.len() > 60, "{}", values.used.len());
    for (city, kind, record) in kept.iter().filter(|(_, kind, _)| *kind > 0) {
        let shown = province.door(*city).await.get(*kind, *record).await.expect("a call").expect("there");
        assert!(needles.find(fields_of(&shown).bytes()).is_some(), "at home it is shown, and would be found");
    }
    let hub = province.door(SiteCode::PROVINCE).await;
    let mut tokens = Vec::new();
    for (_, _, record) in kept.iter().filter(|(_, kind, _)| *kind == 0) {
        let shown: pb::Member = decoded(&hub.get(MEMBER, *record).await.expect("a call").expect("there"));
        assert!(share::is_token(&shown.id_number) && share::is_token(&shown.mobile));
        tokens.push((shown.id_number, shown.mobile));
    }
    assert_eq!(tokens[0], tokens[1], "equal people, equal tokens");
    drop((hub, door));
    province.stop().await.expect("all stop");
    for (city, recorder) in CITIES.into_iter().zip(&recorders) {
        let recorded = recorder.taken();
        // What travels in clear is seen in the recording; so would be what must not.
        let open = Needles::of(["示范社会工作服务中心"].into_iter());
        assert!(open.find(&recorded.up).is_some(), "the recording of {city} has the messages");
        needles.check(&recorded.up, format!("what {city} sent"));
        needles.check(&recorded.down, format!("what {city} got"));
    }
    check_hub(&province.hub().data_dir, &needles);
    assert!(check_open(&province.hub().data_dir) > 30);
}
