//! No ID number and no mobile of any roster reaches the hub, in whatever spelling.

use liandong_node::site::{PushReader, Records as _, Site, SiteOptions};
use liandong_proto::entry::Head;
use liandong_proto::id::SiteCode;
use liandong_proto::pb::record::v1 as pb;
use liandong_tests::roster::{CityRoster, Plan};
use prost::Message as _;

use crate::needles::{Needles, base64, check_hub};
use crate::province::{GUANGZHOU, MEMBER, Province, SHAOGUAN, SHENZHEN, member};

const CITIES: [SiteCode; 3] = [GUANGZHOU, SHAOGUAN, SHENZHEN];
const DRAFTED: &str = "440100199001010023";

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

    check_hub(&province.hub().data_dir, &needles);

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
