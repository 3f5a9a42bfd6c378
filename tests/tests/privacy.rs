//! No ID number and no mobile of any roster reaches the hub, in whatever spelling.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::Path;

use liandong_hub::hub::{Hub, HubOptions};
use liandong_node::site::{PushReader, Records as _, Site, SiteOptions};
use liandong_proto::entry::Head;
use liandong_proto::id::SiteCode;
use liandong_proto::pb::record::v1 as pb;
use liandong_tests::roster::{CityRoster, Plan};
use prost::Message as _;

use crate::province::{GUANGZHOU, MEMBER, Province, SHAOGUAN, SHENZHEN, member};

const CITIES: [SiteCode; 3] = [GUANGZHOU, SHAOGUAN, SHENZHEN];
const DRAFTED: &str = "440100199001010023";

/// Byte strings that must not be found.
struct Needles {
    by_length: BTreeMap<usize, HashSet<Vec<u8>>>,
    /// Whether any of them begins with these two bytes, and goes on with those two.
    first: Vec<bool>,
    second: Vec<bool>,
}

fn pair(bytes: &[u8]) -> usize {
    usize::from(bytes[0]) << 8 | usize::from(bytes[1])
}

impl Needles {
    fn of<'a>(numbers: impl Iterator<Item = &'a str>) -> Needles {
        let (first, second) = (vec![false; 1 << 16], vec![false; 1 << 16]);
        let mut needles = Needles { by_length: BTreeMap::new(), first, second };
        for number in numbers {
            spellings(number).into_iter().for_each(|needle| needles.add(needle));
        }
        needles
    }

    fn add(&mut self, needle: Vec<u8>) {
        self.first[pair(&needle)] = true;
        self.second[pair(&needle[2..])] = true;
        self.by_length.entry(needle.len()).or_default().insert(needle);
    }

    fn find(&self, bytes: &[u8]) -> Option<usize> {
        let begins = |at: &usize| self.first[pair(&bytes[*at..])] && self.second[pair(&bytes[*at + 2..])];
        (0..bytes.len().saturating_sub(3)).filter(begins).find(|at| {
            self.by_length.iter().any(|(length, needles)| {
                bytes.get(*at..*at + length).is_some_and(|window| needles.contains(window))
            })
        })
    }

    #[track_caller]
    fn check(&self, bytes: &[u8], what: impl std::fmt::Display) {
        assert_eq!(self.find(bytes), None, "a number of a roster stands in {what}");
    }
}

/// A number as text, in hexadecimal, and wherever it may begin within base64.
fn spellings(number: &str) -> Vec<Vec<u8>> {
    let hex: String = number.bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut all = vec![number.into(), hex.to_uppercase().into(), hex.into()];
    all.extend((0..3).map(|before| {
        let text = base64(&[&vec![0; before], number.as_bytes()].concat());
        // Characters at both ends hold bits of the neighbours as well.
        let end = (before + number.len()) * 8 / 6;
        text[(before * 8).div_ceil(6)..end].to_vec()
    }));
    all
}

fn base64(bytes: &[u8]) -> Vec<u8> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = Vec::new();
    for chunk in bytes.chunks(3) {
        let part = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = part(0) << 16 | part(1) << 8 | part(2);
        out.extend((0..4).map(|at| ALPHABET[(bits >> (18 - 6 * at)) as usize & 63]));
    }
    out
}

/// What stands in the columns of ID numbers and mobiles, without what clerks put around it.
fn numbers(roster: &CityRoster) -> Vec<String> {
    let mut reader = csv::Reader::from_path(&roster.path).expect("a roster");
    let is_number = |field: &&str| ["id_number", "mobile"].contains(field);
    let columns: Vec<usize> =
        roster.fields.iter().enumerate().filter(|(_, field)| is_number(field)).map(|(at, _)| at).collect();
    let mut numbers = Vec::new();
    for row in reader.records() {
        let row = row.expect("a row");
        for cell in columns.iter().filter_map(|column| row.get(*column)) {
            let cell: String =
                cell.trim_start_matches("+86").chars().filter(char::is_ascii_alphanumeric).collect();
            numbers.extend(Some(cell.to_uppercase()).filter(|number| number.len() >= 11));
        }
    }
    numbers
}

fn scan(dir: &Path, needles: &Needles) -> u64 {
    let mut bytes = 0;
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            bytes += scan(&path, needles);
        } else if path.is_file() {
            let content = fs::read(&path).expect("a file");
            needles.check(&content, path.display());
            bytes += content.len() as u64;
        }
    }
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn no_number_of_any_roster_is_at_the_hub_or_in_a_push() {
    let mut province = Province::running(&CITIES).await;
    let plan = Plan { cities: CITIES.len(), members: 450, seed: 5 };
    let rosters = plan.write(&province.file("rosters")).expect("rosters");
    for (city, roster) in CITIES.into_iter().zip(&rosters) {
        let file = roster.path.display().to_string();
        let report = province.file("rejected.csv").display().to_string();
        let args = ["import", &file, "--kind", "member", "--report", &report];
        let output = province.node(city).command(&args).await.expect("it runs");
        assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
    }
    // A draft travels sealed as a whole.
    let node = province.door(GUANGZHOU).await;
    let drafted = pb::Member {
        id_number: DRAFTED.into(),
        mobile: "13800138000".into(),
        status: pb::MemberStatus::Draft as i32,
        ..member(1)
    };
    let draft = node.put(MEMBER, None, &drafted).await.expect("a draft");
    province.equal().await;
    let applied = pb::Member { status: pb::MemberStatus::Active as i32, ..pb::Member::default() };
    node.put(MEMBER, Some(draft), &applied).await.expect("no draft any more");
    province.equal().await;
    let at_hub = province.door(SiteCode::PROVINCE).await.list(MEMBER, &[]).await.expect("a list");
    let people: usize = rosters.iter().map(|roster| roster.people).sum();
    assert_eq!(at_hub.len(), people + 1);
    drop(node);
    province.stop().await.expect("all stop");

    let mut all: Vec<String> = rosters.iter().flat_map(numbers).collect();
    all.extend([DRAFTED.into(), "13800138000".into()]);
    assert!(all.len() >= 2 * people);
    let needles = Needles::of(all.iter().map(String::as_str));
    for (at, number) in all.iter().enumerate().step_by(97) {
        let around = format!("{{\"n\":\"{number}\"}}");
        assert!(needles.find(around.as_bytes()).is_some(), "number {at} would be found");
        assert!(needles.find(&base64(around.as_bytes())).is_some(), "number {at} would be found in base64");
    }

    let hub_dir = &province.hub().data_dir;
    assert!(scan(hub_dir, &needles) > 0);
    // Blocks of the index may be compressed: its rows are read as well, and so is the log, record by record.
    let hub = Hub::open(&HubOptions::new(hub_dir), &mut |_| {}).expect("the hub opens");
    for raw in hub.log().read(Default::default()) {
        needles.check(&raw.expect("readable").payload, "the hub's log");
    }
    for row in hub.index().scan(&[1], None) {
        let (key, value) = row.expect("readable");
        needles.check(&key, "a key of the hub's index");
        needles.check(&value, "a row of the hub's index");
    }
    hub.close().expect("closed");

    for city in CITIES {
        let site = Site::open(&SiteOptions::new(&province.node(city).data_dir), &mut |_| {}).expect("opened");
        let (entries, last) =
            PushReader::default().read(&site, Head::default(), usize::MAX).expect("readable");
        assert_eq!(last.seq, site.row().seq, "all that was pushed");
        for entry in entries {
            needles.check(&entry.encode_to_vec(), format!("a push of {city}"));
        }
        let shown = site.get(MEMBER, draft).expect("readable");
        assert_eq!(
            shown.is_some_and(|shown| needles.find(shown.fields.bytes()).is_some()),
            city == GUANGZHOU
        );
        site.close().expect("closed");
    }
}
