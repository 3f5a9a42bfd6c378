//! A province with records of each kind, in which every value that somebody must not see can be told from all others.

use std::collections::BTreeMap;

use bytes::Bytes;
use liandong_node::now::now_ms;
use liandong_proto::id::{RecordId, SiteCode};
use liandong_proto::pb::record::v1 as pb;
use liandong_tests::cluster::{Door, decoded, id_of};
use serde_json::Value;

use super::clients::{Client, Https, certificate, client};
use crate::needles::Needles;
use crate::province::{AWARD_ROUND, FINDING, GUANGZHOU, MEMBER, Province, SANCTION, SHAOGUAN, SHENZHEN};

pub const CITIES: [SiteCode; 3] = [GUANGZHOU, SHAOGUAN, SHENZHEN];
pub const NOMINATION: u32 = 3;
pub const CASE: u32 = 4;
pub const TRANSFER: u32 = 6;
pub const ROLES: [&str; 3] = ["registrar", "analyst", "public"];

const ASSISTANT: pb::QualificationLevel = pb::QualificationLevel::Assistant;
const SENIOR: pb::QualificationLevel = pb::QualificationLevel::Senior;
/// Members of a city and a level. In cells of fewer than five nobody may learn how many there are.
pub const GROUPS: [(SiteCode, pb::QualificationLevel, u32); 5] = [
    (GUANGZHOU, ASSISTANT, 6),
    (GUANGZHOU, SENIOR, 2),
    (SHAOGUAN, ASSISTANT, 3),
    (SHENZHEN, ASSISTANT, 5),
    (SHENZHEN, SENIOR, 4),
];

const SUPPORTERS: [&str; 5] = ["司徒联名甲", "司徒联名乙", "司徒联名丙", "司徒联名丁", "司徒联名戊"];
const DEEDS: &str = "十年如一日照顾独居的上官奶奶";
const SUMMARY: &str = "皇甫某反映该社工收受礼品";
const DETAILS: &str = "询问笔录第三页记载的经过";
const COMPLAINANT: &str = "投诉人皇甫凌云";

/// A hub and three cities.
pub struct Study {
    pub province: Province,
    /// Members, in the order in which they were made.
    pub members: Vec<(SiteCode, RecordId, pb::Member)>,
    /// All records that were made, by kind.
    records: BTreeMap<u32, Vec<RecordId>>,
    /// Tokens that stand at the hub for document and telephone numbers.
    tokens: Vec<String>,
}

/// A resident's number: the place, the day of birth, a serial number, and the check character of ISO 7064 MOD 11-2.
fn resident_number(born: &str, serial: u32) -> String {
    let digits = format!("440100{}{:03}", born.replace('-', ""), serial % 1_000);
    let sum: u32 = digits.bytes().rev().zip(1..).map(|(digit, at)| u32::from(digit - b'0') << at).sum();
    format!("{digits}{}", char::from(b"10X98765432"[(sum % 11) as usize]))
}

/// A member; the same number gives the same one.
pub fn person(n: u32, level: pb::QualificationLevel) -> pb::Member {
    let digits: Vec<char> = "零一二三四五六七八九".chars().collect();
    let name: String = n.to_string().bytes().map(|digit| digits[usize::from(digit - b'0')]).collect();
    let born = format!("19{}-{:02}-{:02}", 60 + n % 35, n % 12 + 1, n % 28 + 1);
    pb::Member {
        name: format!("欧阳{name}明"),
        sex: if n.is_multiple_of(2) { pb::Sex::Female } else { pb::Sex::Male } as i32,
        id_number: resident_number(&born, n),
        birth_date: born,
        mobile: format!("139{:08}", 71_000_000 + n),
        email: format!("ouyang.{n}@example.org"),
        address: format!("珠江新城某路{n}号之秘密地址"),
        ethnicity: "高山族".into(),
        employer: format!("示范社会工作服务中心{name}"),
        school: "华南某大学".into(),
        qualification_level: level as i32,
        certificate_no: format!("2019CERT44{n:06}"),
        certificate_date: "2019-11-30".into(),
        registration_no: format!("REG-77-{n:06}"),
        registered_from: "2024-01-15".into(),
        registered_to: "2027-01-14".into(),
        cpd_hours: Some(n % 100),
        member_no: format!("MNO{n:06}"),
        tier: pb::MemberTier::Ordinary as i32,
        joined_on: "2020-03-01".into(),
        status: pb::MemberStatus::Active as i32,
        remarks: format!("只供本市查看的备注{n}"),
        ..pb::Member::default()
    }
}

fn bytes(id: RecordId) -> Bytes {
    Bytes::copy_from_slice(&id.0)
}

impl Study {
    /// The province, with nothing published yet.
    pub async fn new() -> Study {
        let mut province = Province::running(&CITIES).await;
        let mut members = Vec::new();
        let mut n = 100;
        for (city, level, count) in GROUPS {
            let door = province.door(city).await;
            for _ in 0..count {
                n += 1;
                let member = person(n, level);
                let id = door.put(MEMBER, None, &member).await.expect("a member");
                members.push((city, id, member));
            }
        }
        // Somebody is a member in two cities.
        let twin = members.last().expect("members").1;
        let first = members[0].2.clone();
        let (id_number, birth_date, sex) = (first.id_number, first.birth_date, first.sex);
        let same = pb::Member { id_number, birth_date, sex, ..pb::Member::default() };
        province.door(SHENZHEN).await.put(MEMBER, Some(twin), &same).await.expect("an edit");
        let mut records = others(&province, &members).await;
        province.equal().await;

        let hub = province.door(SiteCode::PROVINCE).await;
        let at_hub = hub.list(MEMBER, &[]).await.expect("a list");
        let tokens: Vec<String> = at_hub
            .iter()
            .flat_map(|record| {
                let member: pb::Member = decoded(record);
                [member.id_number, member.mobile]
            })
            .collect();
        assert!(tokens.iter().all(|token| token.len() > 20), "tokens, no numbers");
        let sanction = pb::Sanction {
            token: tokens[0].clone(),
            kind: pb::SanctionKind::PublicCensure as i32,
            from: "2025-12-01".into(),
            ..pb::Sanction::default()
        };
        records.insert(SANCTION, vec![hub.put(SANCTION, None, &sanction).await.expect("a sanction")]);
        finding(&mut province, members[1].1).await;
        let findings = hub.list(FINDING, &[]).await.expect("a list");
        records.insert(FINDING, findings.iter().map(id_of).collect());
        assert!(!records[&FINDING].is_empty(), "a finding is there");
        records.insert(MEMBER, members.iter().map(|(_, id, _)| *id).collect());
        Study { province, members, records, tokens }
    }

    /// The same, with a first release.
    pub async fn published() -> Study {
        let study = Study::new().await;
        assert_eq!(study.publish("first").await, 1);
        study
    }

    /// Publishes the next release: its number.
    pub async fn publish(&self, note: &str) -> u64 {
        self.asked(&["release", "publish", "--note", note]).await["release"].as_u64().expect("a number")
    }

    /// What the hub's command line answers in JSON.
    pub async fn asked(&self, args: &[&str]) -> Value {
        let answer = self.province.hub().answer(&[args, &["--json"]].concat()).await;
        serde_json::from_str(&answer.expect("an answer")).expect("JSON")
    }

    /// A token for a role, of a project with the token's name.
    pub async fn token(&self, role: &str, name: &str) -> String {
        self.token_of(role, name, name).await
    }

    /// A token of a project.
    pub async fn token_of(&self, role: &str, name: &str, project: &str) -> String {
        let args = ["token", "create", "--role", role, "--name", name, "--project", project];
        let made = self.asked(&[&args[..], &["--purpose", "行业调查"]].concat()).await;
        made["token"].as_str().expect("a token").to_owned()
    }

    /// Where analysts read: host and port.
    pub fn address(&self) -> &str {
        &self.province.ports().expect("the hub runs").analysts
    }

    /// The certificate that they trust.
    pub fn certificate(&self) -> String {
        certificate(&self.province.hub().data_dir)
    }

    /// A Flight SQL client with a token.
    pub async fn client(&self, token: &str) -> Client {
        client(self.address(), &self.certificate(), Some(token)).await
    }

    /// HTTPS with a token.
    pub fn https(&self, token: &str) -> Https {
        Https::new(self.address(), &self.certificate(), Some(token))
    }

    /// What a role must not see anywhere.
    pub fn forbidden(&self, role: &str) -> Needles {
        let mut texts: Vec<String> = self.tokens.clone();
        for (_, _, member) in &self.members {
            let it = member.clone();
            texts.extend([it.id_number, it.mobile, it.email, it.address, it.remarks]);
            if role != "registrar" {
                texts.push(it.birth_date.replace('-', ""));
                texts.extend([it.name, it.birth_date, it.certificate_no, it.registration_no, it.member_no]);
            }
            if role == "public" {
                texts.push(it.employer);
            }
        }
        texts.extend([DETAILS, COMPLAINANT, "高山族"].map(Into::into));
        if role != "registrar" {
            texts.extend(SUPPORTERS.map(Into::into));
            texts.extend([DEEDS, SUMMARY, "DISCIPLINE_BREACH", "PUBLIC_CENSURE"].map(Into::into));
            texts.extend(self.records.values().flatten().map(ToString::to_string));
        }
        if role == "public" {
            // What is counted by ground is for everybody; what one case was about is not.
            texts.retain(|text| text != "DISCIPLINE_BREACH");
            texts.extend(["华南某大学", "2019-11-30", "2027-01-14"].map(Into::into));
        }
        let needles = Needles::of(texts.iter().map(String::as_str));
        let hidden = self.records.values().flatten().filter(|_| role != "registrar");
        hidden.fold(needles, |needles, id| needles.and_bytes(&id.0))
    }

    /// Ends it.
    pub async fn stop(mut self) {
        self.province.stop().await.expect("all stop");
    }
}

/// One record of each other kind: who has them is a member of Guangzhou.
async fn others(
    province: &Province,
    members: &[(SiteCode, RecordId, pb::Member)],
) -> BTreeMap<u32, Vec<RecordId>> {
    let hub = province.door(SiteCode::PROVINCE).await;
    let round = pb::AwardRound {
        year: 2026,
        title: "年度优秀社工评选".into(),
        categories: vec!["优秀一线社工".into()],
        ..pb::AwardRound::default()
    };
    let round = hub.put(AWARD_ROUND, None, &round).await.expect("a round");
    let node: Door = province.door(GUANGZHOU).await;
    province.equal().await;
    let nomination = pb::Nomination {
        member: bytes(members[0].1),
        round: bytes(round),
        category: "优秀一线社工".into(),
        recommended_by: pb::RecommendedBy::Self_ as i32,
        supporters: SUPPORTERS.map(Into::into).to_vec(),
        deeds: DEEDS.into(),
        status: pb::NominationStatus::Submitted as i32,
        ..pb::Nomination::default()
    };
    let case = pb::Case {
        respondent: bytes(members[2].1),
        complainant_kind: pb::ComplainantKind::ServiceUser as i32,
        grounds: vec![pb::CaseGround::DisciplineBreach as i32, pb::CaseGround::GraveHarm as i32],
        received_on: "2026-02-03".into(),
        summary: SUMMARY.into(),
        details: DETAILS.into(),
        complainant: COMPLAINANT.into(),
        status: pb::CaseStatus::Received as i32,
        ..pb::Case::default()
    };
    let transfer = pb::Transfer {
        member: bytes(members[3].1),
        from: GUANGZHOU.0,
        to: SHENZHEN.0,
        effective_on: "2026-05-01".into(),
        status: pb::TransferStatus::Offered as i32,
    };
    let nomination = node.put(NOMINATION, None, &nomination).await.expect("a nomination");
    let case = node.put(CASE, None, &case).await.expect("a case");
    let transfer = node.put(TRANSFER, None, &transfer).await.expect("a transfer");
    [(AWARD_ROUND, round), (NOMINATION, nomination), (CASE, case), (TRANSFER, transfer)]
        .map(|(kind, id)| (kind, vec![id]))
        .into()
}

/// Province and city change the tier of a member without knowing of each other.
async fn finding(province: &mut Province, member: RecordId) {
    province.stop_node(GUANGZHOU).await.expect("the node stops");
    let tier = pb::Member { tier: pb::MemberTier::President as i32, ..pb::Member::default() };
    province.door(SiteCode::PROVINCE).await.put(MEMBER, Some(member), &tier).await.expect("an edit");
    let text = member.to_string();
    let edit = ["record", "put", "--kind", "member", "--id", &text, "--set", "tier=COUNCIL"];
    province.node(GUANGZHOU).answer(&edit).await.expect("an edit offline");
    province.start_node(GUANGZHOU).await.expect("the node starts");
    province.equal().await;
}

/// A moment that is over.
pub fn yesterday() -> u64 {
    now_ms() - 86_400_000
}
