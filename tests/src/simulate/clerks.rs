//! What people write: members, transfers between two cities, and what the province adds to members.

use liandong_node::site::Put;
use liandong_proto::entry::{Op, Patch};
use liandong_proto::fields::{Fields, FieldsBuilder};
use liandong_proto::id::{RecordId, SiteCode};
use liandong_proto::pb::record::v1::{Agreement, AgreementRole, AgreementStatus};
use prost::Message as _;
use rand::RngExt as _;
use rand::rngs::StdRng;

/// Number of the kind "member".
pub const MEMBER: u32 = 1;
/// Number of the kind "transfer".
pub const TRANSFER: u32 = 6;

/// What every raw value begins with that must not leave a city.
pub const RAW: [&[u8]; 3] = ["44010119".as_bytes(), "1391122".as_bytes(), "绝密".as_bytes()];

const STATUS: u32 = 30;

fn resident_id(random: &mut StdRng) -> String {
    let digits = format!(
        "44010119{:02}0{}1{}00{}",
        random.random_range(50..99),
        random.random_range(1..9),
        random.random_range(0..9),
        random.random_range(1..9)
    );
    let weights = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
    let sum: u32 = digits.bytes().zip(weights).map(|(digit, weight)| u32::from(digit - b'0') * weight).sum();
    format!("{digits}{}", b"10X98765432"[(sum % 11) as usize] as char)
}

fn day(random: &mut StdRng) -> String {
    format!(
        "20{:02}-{:02}-{:02}",
        random.random_range(10..20),
        random.random_range(1..13),
        random.random_range(1..29)
    )
}

fn set(build: impl FnOnce(&mut FieldsBuilder)) -> Fields {
    let mut fields = FieldsBuilder::new();
    build(&mut fields);
    fields.finish()
}

fn text(tag: u32, value: &str) -> Fields {
    FieldsBuilder::new().str(tag, value).take()
}

fn number(tag: u32, value: u64) -> Fields {
    FieldsBuilder::new().u64(tag, value).take()
}

/// A new member.
pub fn new_member(random: &mut StdRng) -> Put {
    let fields = set(|it| {
        it.str(1, ["张三", "李四", "王五", "陈六"][random.random_range(0..4)]);
        it.str(5, &resident_id(random));
        it.str(6, &format!("1391122{:04}", random.random_range(0..10_000)));
        it.str(8, &format!("绝密路{}号", random.random_range(1..1000)));
        it.u64(STATUS, if random.random_bool(0.2) { 2 } else { 4 });
    });
    Put::set(MEMBER, None, fields)
}

/// A change of a member by its city.
pub fn edit_member(record: RecordId, random: &mut StdRng) -> Put {
    let fields = match random.random_range(0..8) {
        0 => text(14, ["星火社工中心", "启明社工站", "同行社工"][random.random_range(0..3)]),
        1 => text(5, &resident_id(random)),
        2 => text(8, &format!("绝密里{}号", random.random_range(1..1000))),
        3 => number(STATUS, [4, 4, 5, 8, 9, 10][random.random_range(0..6)]),
        4 => return Put::delete(MEMBER, record, None),
        _ => return shared_edit(record, random),
    };
    Put::set(MEMBER, Some(record), fields)
}

/// A change of what city and province both may change of a member.
pub fn shared_edit(record: RecordId, random: &mut StdRng) -> Put {
    let fields = match random.random_range(0..5) {
        0 | 1 => number(27, random.random_range(1..6)),
        2 | 3 => number(18, random.random_range(1..4)),
        _ => set(|it| {
            it.str(21, &format!("GD{}", random.random_range(100..999)));
            it.str(22, &day(random));
        }),
    };
    Put::set(MEMBER, Some(record), fields)
}

/// A transfer of a member to another city.
pub fn new_transfer(member: RecordId, from: SiteCode, to: SiteCode, random: &mut StdRng) -> Put {
    let fields = set(|it| {
        it.delimited(1, &member.0);
        it.u64(2, u64::from(from.0));
        it.u64(3, u64::from(to.0));
        it.str(4, &day(random));
        it.u64(STATUS, 1);
    });
    Put::set(TRANSFER, None, fields)
}

/// A change of a transfer by one of its cities.
pub fn edit_transfer(record: RecordId, random: &mut StdRng) -> Put {
    let fields = match random.random_range(0..9) {
        0..4 => text(4, &day(random)),
        4 => return Put::delete(TRANSFER, record, None),
        5 => {
            return Put {
                patch: Patch { set: Fields::default(), cleared: vec![4] },
                op: Op::Put,
                ..Put::delete(TRANSFER, record, None)
            };
        }
        _ => number(STATUS, random.random_range(2..6)),
    };
    Put::set(TRANSFER, Some(record), fields)
}

/// An agreement with a city that holds for as long as any clock says.
pub fn agreement(city: SiteCode) -> Put {
    let agreement = Agreement {
        city: city.0,
        role: AgreementRole::Joint as i32,
        purpose: "行业自律".into(),
        from: "1971-01-01".into(),
        to: "2199-12-31".into(),
        document: "粤社协 1 号".into(),
        status: AgreementStatus::InForce as i32,
        ..Agreement::default()
    };
    Put::set(
        liandong_hub::agreements::AGREEMENT,
        None,
        Fields::split(agreement.encode_to_vec()).expect("fields"),
    )
}
