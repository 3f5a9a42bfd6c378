//! After the rosters: an award round, nominations, cases, and a city that is offline for a while.

use std::time::Duration;

use liandong_proto::city::city;
use liandong_proto::id::{RecordId, SiteCode};
use liandong_proto::pb::node::v1 as node;
use liandong_proto::pb::record::v1 as pb;
use pb::{CaseStatus, MemberTier, NominationStatus};

use crate::cluster::{Cluster, ClusterError, Door, decoded, id_of, put_of};

/// Numbers of the kinds, as the schema has them.
pub const MEMBER: u32 = 1;
/// See [`MEMBER`].
pub const AWARD_ROUND: u32 = 2;
/// See [`MEMBER`].
pub const NOMINATION: u32 = 3;
/// See [`MEMBER`].
pub const CASE: u32 = 4;

const CATEGORIES: [&str; 3] = ["优秀一线社工", "优秀督导", "优秀项目主管"];
/// Members of the city that is offline whose tier changes at both places.
const EDITED: usize = 3;
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What was written.
#[derive(Debug, Clone, Default)]
pub struct Story {
    /// By all cities.
    pub nominations: usize,
    /// By all cities.
    pub cases: usize,
    /// The city that was offline.
    pub offline: String,
    /// Members changed at both places meanwhile.
    pub edits: usize,
}

/// Tells the story; `patience` is how long a city may take to hear of the award round.
pub async fn tell(cluster: &mut Cluster, patience: Duration) -> Result<Story, ClusterError> {
    let cities: Vec<SiteCode> = cluster.cities().collect();
    let hub = cluster.hub().door().await?;
    let round = award_round(&hub, &cities).await?;
    let mut story = Story::default();
    for city in &cities {
        let door = cluster.node(*city).door().await?;
        heard_of(&door, round, *city, patience).await?;
        let members = door.list(MEMBER, &[("status", "ACTIVE")]).await?;
        let members: Vec<RecordId> = members.iter().map(id_of).collect();
        story.nominations += nominations(&door, round, &members).await?;
        story.cases += cases(&door, &members).await?;
    }
    if let Some(last) = cities.last() {
        story.offline = city(*last).map_or_else(|| last.to_string(), |city| city.zh.to_owned());
        story.edits = offline(cluster, &hub, *last).await?;
    }
    Ok(story)
}

/// The province announces a round; every city may recommend two people in each category.
pub async fn award_round(hub: &Door, cities: &[SiteCode]) -> Result<RecordId, ClusterError> {
    let quota = |city: &SiteCode, category: &str| pb::AwardQuota {
        city: city.0,
        category: category.to_owned(),
        places: 2,
    };
    let round = pb::AwardRound {
        year: 2026,
        title: "2026年度全省优秀社会工作者评选".into(),
        categories: CATEGORIES.map(str::to_owned).to_vec(),
        quotas: cities.iter().flat_map(|city| CATEGORIES.map(|category| quota(city, category))).collect(),
        opens_on: "2026-01-05".into(),
        closes_on: "2026-02-27".into(),
        notice_days: 7,
        approval_document: "粤社协示〔2025〕18号".into(),
    };
    hub.put(AWARD_ROUND, None, &round).await
}

async fn heard_of(
    door: &Door,
    round: RecordId,
    city: SiteCode,
    patience: Duration,
) -> Result<(), ClusterError> {
    let hearing = async {
        while door.get(AWARD_ROUND, round).await?.is_none() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(())
    };
    let slow = |_| ClusterError::Slow(format!("the award round at {city}"));
    tokio::time::timeout(patience, hearing).await.map_err(slow)?
}

/// Three nominations: one sent up to the province, one submitted, one still a draft.
pub async fn nominations(door: &Door, round: RecordId, members: &[RecordId]) -> Result<usize, ClusterError> {
    use NominationStatus as Status;
    let begins = [Status::Submitted, Status::Submitted, Status::Draft];
    let nomination = |(n, status): (usize, &Status)| {
        let member = members.get(n)?;
        Some(pb::Nomination {
            member: member.0.to_vec().into(),
            round: round.0.to_vec().into(),
            category: CATEGORIES[n].to_owned(),
            recommended_by: pb::RecommendedBy::Unit as i32,
            recommending_unit: "示范社会工作服务中心".into(),
            deeds: "长期在一线服务社区长者，带领团队建立探访制度。".into(),
            status: *status as i32,
            ..pb::Nomination::default()
        })
    };
    let nominations: Vec<_> = begins.iter().enumerate().filter_map(nomination).collect();
    let puts = nominations.iter().map(|nomination| put_of(NOMINATION, None, nomination)).collect();
    let ids = door.put_all(puts).await?;
    if let Some(first) = ids.first() {
        let steps = [Status::CityReview, Status::CityNotice, Status::SentUp];
        let step = |status: Status| pb::Nomination { status: status as i32, ..pb::Nomination::default() };
        let puts = steps.map(|status| put_of(NOMINATION, Some(*first), &step(status)));
        door.put_all(puts.to_vec()).await?;
    }
    Ok(ids.len())
}

/// One case, under inquiry.
pub async fn cases(door: &Door, members: &[RecordId]) -> Result<usize, ClusterError> {
    let Some(respondent) = members.last() else { return Ok(0) };
    let case = pb::Case {
        respondent: respondent.0.to_vec().into(),
        complainant_kind: pb::ComplainantKind::ServiceUser as i32,
        grounds: vec![pb::CaseGround::DisciplineBreach as i32],
        received_on: "2025-11-03".into(),
        summary: "服务记录与实际探访次数不符。".into(),
        details: "调阅三个月的探访记录并与服务对象核对。".into(),
        complainant: "服务对象家属，联系方式见纸质卷宗".into(),
        status: CaseStatus::Received as i32,
        ..pb::Case::default()
    };
    let id = door.put(CASE, None, &case).await?;
    let steps = [CaseStatus::Screening, CaseStatus::Accepted, CaseStatus::Investigating];
    let step = |status: CaseStatus| pb::Case { status: status as i32, ..pb::Case::default() };
    door.put_all(steps.map(|status| put_of(CASE, Some(id), &step(status))).to_vec()).await?;
    Ok(1)
}

/// A city works on without the network while the province changes the same members: each side keeps its
/// value, and a finding asks a person.
async fn offline(cluster: &mut Cluster, hub: &Door, city: SiteCode) -> Result<usize, ClusterError> {
    let home = cluster.node(city).clone();
    let shared = shared_members(&home.door().await?, hub).await?;
    cluster.stop_node(city).await?;
    let tier = |tier: MemberTier| pb::Member { tier: tier as i32, ..pb::Member::default() };
    for member in &shared {
        hub.put(MEMBER, Some(*member), &tier(MemberTier::VicePresident)).await?;
        let id = member.to_string();
        home.answer(&["record", "put", "--kind", "member", "--id", &id, "--set", "tier=COUNCIL"]).await?;
    }
    cluster.start_node(city).await?;
    Ok(shared.len())
}

/// Ordinary members of a city that the province has already.
async fn shared_members(node: &Door, hub: &Door) -> Result<Vec<RecordId>, ClusterError> {
    let mut shared = Vec::new();
    let is_ordinary = |record: &node::Record| decoded::<pb::Member>(record).tier() == MemberTier::Ordinary;
    for member in node.list(MEMBER, &[("status", "ACTIVE")]).await?.iter().filter(|m| is_ordinary(m)) {
        if shared.len() == EDITED {
            break;
        }
        if hub.get(MEMBER, id_of(member)).await?.is_some() {
            shared.push(id_of(member));
        }
    }
    Ok(shared)
}
