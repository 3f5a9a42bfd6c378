//! Whoever takes consent back is heard: with the next sync the fields are gone from what the province shows, and what is
//! written of them later never leaves the city.

use std::fs;
use std::path::Path;

use liandong_proto::id::{RecordId, SiteCode};
use liandong_proto::pb::record::v1 as pb;
use liandong_tests::cluster::{Door, decoded};
use pb::{Consent, ConsentBasis, ConsentGroup};
use serde_json::Value;

use crate::province::{GUANGZHOU, MEMBER, Province, member};

const MOBILE: &str = "13912345678";

fn consent(group: ConsentGroup, given_on: &str, withdrawn_on: &str) -> Consent {
    Consent {
        group: group as i32,
        basis: ConsentBasis::Consent as i32,
        given_on: given_on.into(),
        withdrawn_on: withdrawn_on.into(),
        document: "同意书-17".into(),
    }
}

async fn shown(door: &Door, id: RecordId) -> pb::Member {
    decoded(&door.get(MEMBER, id).await.expect("a call").expect("there"))
}

/// Whether a text stands in any file under a directory.
fn holds(dir: &Path, text: &str) -> bool {
    fs::read_dir(dir).expect("a directory").any(|entry| {
        let path = entry.expect("an entry").path();
        let found = || {
            let bytes = fs::read(&path).unwrap_or_default();
            bytes.windows(text.len()).any(|window| window == text.as_bytes())
        };
        if path.is_dir() { holds(&path, text) } else { found() }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn withdrawn_consent_takes_the_fields_out_at_the_next_sync_and_the_city_keeps_them() {
    let mut province = Province::running(&[GUANGZHOU]).await;
    let (node, hub) = (province.door(GUANGZHOU).await, province.door(SiteCode::PROVINCE).await);
    let given = vec![
        consent(ConsentGroup::Employment, "2024-01-01", ""),
        consent(ConsentGroup::Contact, "2024-01-01", ""),
    ];
    let full = pb::Member { mobile: MOBILE.into(), post: "主任".into(), consents: given, ..member(1) };
    let employer = full.employer.clone();
    let id = node.put(MEMBER, None, &full).await.expect("a member");
    province.equal().await;
    let before = shown(&hub, id).await;
    assert_eq!((&before.employer, before.post.as_str(), before.consents.len()), (&employer, "主任", 2));
    assert!(before.mobile.starts_with("t1:"), "{}", before.mobile);

    // Taken back while the node does not sync.
    drop(node);
    province.stop_node(GUANGZHOU).await.expect("it stops");
    let home = province.node(GUANGZHOU);
    let entry = |group: &str, withdrawn: &str| {
        format!(
            r#"{{"group":"{group}","basis":"CONSENT","given_on":"2024-01-01","withdrawn_on":"{withdrawn}"}}"#
        )
    };
    let list = format!("consents=[{},{}]", entry("EMPLOYMENT", "2026-03-01"), entry("本人联系方式", ""));
    let wrong =
        home.command(&["record", "put", "--kind", "member", "--id", &id.to_string(), "--set", &list]).await;
    assert_eq!(wrong.expect("it runs").status.code(), Some(3), "no such group");
    let list = format!("consents=[{},{}]", entry("从业情况", "2026-03-01"), entry("CONTACT", "2026-03-02"));
    home.answer(&["record", "put", "--kind", "member", "--id", &id.to_string(), "--set", &list])
        .await
        .expect("put");
    let preview = home.answer(&["outbound", "preview", "--json"]).await.expect("a preview");
    let preview: Value = serde_json::from_str(&preview).expect("an object");
    let members =
        preview["kinds"].as_array().and_then(|all| all.iter().find(|kind| kind["kind"] == "member"));
    let members = members.expect("members");
    assert_eq!(
        (&members["waiting_changes"], &members["withdrawn_records"]),
        (&1.into(), &1.into()),
        "{members}"
    );
    let withdrawn = members["rows"][0]["withdrawn"].as_array().expect("names").clone();
    for name in ["mobile", "employer", "post"] {
        assert!(withdrawn.contains(&name.into()), "{members}");
    }
    province.start_node(GUANGZHOU).await.expect("it starts");
    province.equal().await;
    let node = province.door(GUANGZHOU).await;
    let (here, there) = (shown(&node, id).await, shown(&hub, id).await);
    assert_eq!((here.mobile.as_str(), &here.employer, here.post.as_str()), (MOBILE, &employer, "主任"));
    assert_eq!((there.mobile.as_str(), there.employer.as_str(), there.post.as_str()), ("", "", ""));
    assert_eq!((&there.name, there.tier, there.consents.len()), (&here.name, here.tier, 2), "the rest stays");

    // Later edits stay at home, in no byte of the hub's.
    let later = "莲花山社会工作服务社";
    let edit = pb::Member { employer: later.into(), dues_paid_to: "2027".into(), ..pb::Member::default() };
    node.put(MEMBER, Some(id), &edit).await.expect("an edit");
    province.equal().await;
    let (here, there) = (shown(&node, id).await, shown(&hub, id).await);
    assert_eq!(
        (here.employer.as_str(), there.employer.as_str(), there.dues_paid_to.as_str()),
        (later, "", "2027")
    );
    assert!(!holds(&province.hub().data_dir, later) && holds(&province.hub().data_dir, &employer));

    // And with a new consent they are there again, as they are now.
    let mut consents = here.consents.clone();
    consents.push(consent(ConsentGroup::Employment, "2026-04-01", ""));
    node.put(MEMBER, Some(id), &pb::Member { consents, ..pb::Member::default() }).await.expect("an edit");
    province.equal().await;
    let there = shown(&hub, id).await;
    assert_eq!((there.employer.as_str(), there.post.as_str(), there.mobile.as_str()), (later, "主任", ""));
    assert!(there.consents.len() == 3 && holds(&province.hub().data_dir, later));
    let here = shown(&node, id).await;
    assert_eq!((here.employer.as_str(), here.mobile.as_str()), (later, MOBILE));
    province.stop().await.expect("all stop");
}
