//! A city that has lost its server gets everything back: from the hub, which could not read it, with the recovery key.

use liandong_node::site::{Paths, RecoveryKey};
use liandong_node::trust::Invitation;
use liandong_proto::id::SiteCode;
use liandong_proto::pb::node::v1::Link;
use liandong_proto::pb::record::v1 as pb;
use liandong_tests::cluster::decoded;
use serde_json::Value;

use crate::province::{AWARD_ROUND, FINDING, GUANGZHOU, MEMBER, Province, SHENZHEN, linked, member, shown};

const KINDS: [u32; 3] = [MEMBER, AWARD_ROUND, FINDING];

/// Fields of everything shown: versions name epochs, and a restored site lives in another.
async fn fields(province: &Province, city: SiteCode) -> Vec<(u32, Vec<u8>)> {
    let all = shown(&province.door(city).await, &KINDS).await;
    all.into_iter().map(|(kind, _, _, fields)| (kind, fields)).collect()
}

async fn restore(province: &Province, city: SiteCode, key: &str) -> std::process::Output {
    let site = city.to_string();
    let code = province.invited(&site).await;
    let file = province.file("recovery.key");
    std::fs::write(&file, format!("{key}\n")).expect("written");
    let file = file.display().to_string();
    let args = ["restore", &code, "--site", &site, "--recovery-key", &file];
    province.node(city).command(&args).await.expect("it runs")
}

fn recovery_key(province: &Province, city: SiteCode) -> String {
    RecoveryKey::of(&Paths::new(&province.node(city).data_dir)).expect("a key").to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_city_is_restored_from_the_hub_with_what_the_hub_could_not_read() {
    let mut province = Province::running(&[GUANGZHOU, SHENZHEN]).await;
    let node = province.door(GUANGZHOU).await;
    let mut ids = Vec::new();
    for n in 0..40 {
        let sealed = pb::Member {
            // One that is valid stands for all.
            id_number: if n == 0 { valid_number() } else { String::new() },
            email: format!("member{n}@example.org"),
            address: "广州市某区某路 1 号".into(),
            ..member(n)
        };
        ids.push(node.put(MEMBER, None, &sealed).await.expect("a member"));
    }
    let draft = pb::Member { status: pb::MemberStatus::Draft as i32, ..member(77) };
    node.put(MEMBER, None, &draft).await.expect("a draft");
    let categories = vec!["优秀社工".into()];
    let round =
        pb::AwardRound { year: 2026, title: "评选".into(), categories, ..pb::AwardRound::default() };
    let hub = province.door(SiteCode::PROVINCE).await;
    hub.put(AWARD_ROUND, None, &round).await.expect("a round");
    province.equal().await;
    let before = fields(&province, GUANGZHOU).await;
    drop((node, hub));

    let dir = province.node(GUANGZHOU).data_dir.clone();
    let key = recovery_key(&province, GUANGZHOU);
    province.stop_node(GUANGZHOU).await.expect("it stops");
    let old = province.file("old");
    std::fs::rename(&dir, &old).expect("the server is lost");
    std::fs::create_dir_all(&dir).expect("a new one");

    let other = recovery_key(&province, SHENZHEN);
    let beside = dir.join("keys").join("linking.key");
    std::fs::create_dir_all(dir.join("keys")).expect("made");
    std::fs::write(&beside, "another key").expect("written");
    let output = restore(&province, GUANGZHOU, &other).await;
    assert_eq!(output.status.code(), Some(3), "another city's key opens nothing: {output:?}");
    assert!(beside.exists(), "what was not made by the attempt stays");
    let output = restore(&province, GUANGZHOU, &key).await;
    assert!(output.status.success(), "{output:?}");
    // It signs with another key from now on.
    province.agree(GUANGZHOU).await.expect("agreed");
    province.start_node(GUANGZHOU).await.expect("it starts");
    province.equal().await;
    assert_eq!(fields(&province, GUANGZHOU).await, before);
    let node = province.door(GUANGZHOU).await;
    let first = node.get(MEMBER, ids[0]).await.expect("a call").expect("there");
    let first: pb::Member = decoded(&first);
    assert_eq!((first.id_number, first.email.as_str()), (valid_number(), "member0@example.org"));

    // It goes on as one city: edits of what was there and new records are taken simply.
    let post = pb::Member { post: "主任".into(), ..pb::Member::default() };
    node.put(MEMBER, Some(ids[1]), &post).await.expect("an edit");
    node.put(MEMBER, None, &member(90)).await.expect("a new member");
    province.equal().await;
    let hub = province.door(SiteCode::PROVINCE).await;
    let edited = hub.get(MEMBER, ids[1]).await.expect("a call").expect("there");
    assert_eq!((decoded::<pb::Member>(&edited).post.as_str(), edited.held.len()), ("主任", 0));
    for site in [SiteCode::PROVINCE, GUANGZHOU] {
        let home = if site.is_province() { province.hub() } else { province.node(site) };
        let found: Value =
            serde_json::from_str(&home.answer(&["verify", "--json"]).await.expect("sound")).expect("JSON");
        assert_eq!(found["sound"], true, "{found}");
    }
    drop((node, hub));

    // And again, over both of its epochs; then the machine that was lost turns up and is not let in.
    province.stop_node(GUANGZHOU).await.expect("it stops");
    let before = old.with_extension("again");
    std::fs::rename(&dir, &before).expect("lost once more");
    std::fs::create_dir_all(&dir).expect("a new one");
    let output = restore(&province, GUANGZHOU, &key).await;
    assert!(output.status.success(), "{output:?}");
    // It signs with another key from now on.
    province.agree(GUANGZHOU).await.expect("agreed");
    province.start_node(GUANGZHOU).await.expect("it starts");
    province.equal().await;
    assert_eq!(province.door(GUANGZHOU).await.list(MEMBER, &[]).await.expect("a list").len(), 42);
    province.stop_node(GUANGZHOU).await.expect("it stops");
    std::fs::remove_dir_all(&dir).expect("removed");
    std::fs::rename(&before, &dir).expect("it turns up");
    let code = province.invited("440100").await;
    province.node(GUANGZHOU).answer(&["join", &code]).await.expect("joined");
    province.agree(GUANGZHOU).await.expect("agreed");
    province.start_node(GUANGZHOU).await.expect("it starts");
    let node = province.door(GUANGZHOU).await;
    // It is told that it has parted.
    linked(&node, Link::Diverged).await;
}

/// The machine dies without a word, before anything was written: the hub still has its session, and nothing of its log.
#[tokio::test(flavor = "multi_thread")]
async fn a_city_that_died_before_it_wrote_anything_comes_back_as_well() {
    let mut province = Province::running(&[GUANGZHOU, SHENZHEN]).await;
    province.equal().await;
    let key = recovery_key(&province, GUANGZHOU);
    let dir = province.node(GUANGZHOU).data_dir.clone();
    province.kill_node(GUANGZHOU).await.expect("it dies");
    std::fs::remove_dir_all(&dir).expect("and is lost");
    std::fs::create_dir_all(&dir).expect("a new one");
    let output = restore(&province, GUANGZHOU, &key).await;
    assert!(output.status.success(), "{output:?}");
    // It signs with another key from now on.
    province.agree(GUANGZHOU).await.expect("agreed");
    province.start_node(GUANGZHOU).await.expect("it starts");
    province.door(GUANGZHOU).await.put(MEMBER, None, &member(1)).await.expect("a member");
    province.equal().await;
    let members = province.door(SiteCode::PROVINCE).await.list(MEMBER, &[]).await.expect("a list");
    assert_eq!(members.len(), 1);
    province.stop().await.expect("all stop");
}

/// Passes connections on to another address, until the test ends.
async fn pass_on(from: String, to: String) {
    let listener = tokio::net::TcpListener::bind(&from).await.expect("a port");
    tokio::spawn(async move {
        while let Ok((mut here, _)) = listener.accept().await {
            let to = to.clone();
            tokio::spawn(async move {
                let mut there = tokio::net::TcpStream::connect(to).await.expect("the hub listens");
                let _ = tokio::io::copy_bidirectional(&mut here, &mut there).await;
            });
        }
    });
}

/// The invitation is used up, and then the line breaks: the same command goes on, without another invitation.
#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_was_cut_short_goes_on_with_the_same_command() {
    let mut province = Province::running(&[GUANGZHOU]).await;
    province.door(GUANGZHOU).await.put(MEMBER, None, &member(1)).await.expect("a member");
    province.equal().await;
    let key = recovery_key(&province, GUANGZHOU);
    let dir = province.node(GUANGZHOU).data_dir.clone();
    province.kill_node(GUANGZHOU).await.expect("it dies");
    std::fs::remove_dir_all(&dir).expect("and is lost");
    std::fs::create_dir_all(&dir).expect("a new one");

    // Another way to the hub, of which the enrolment port alone is open yet.
    let ports = province.ports().expect("it listens").clone();
    let other = |address: &str| address.replace("127.0.0.1", "127.0.0.2");
    pass_on(other(&ports.enrolment), ports.enrolment.clone()).await;
    let mut invitation: Invitation = province.invited("440100").await.parse().expect("a code");
    invitation.address = other(&invitation.address);
    let (code, file) = (invitation.to_string(), province.file("recovery.key"));
    std::fs::write(&file, format!("{key}\n")).expect("written");
    let file = file.display().to_string();
    let command = ["restore", &code, "--site", "440100", "--recovery-key", &file];
    let output = province.node(GUANGZHOU).command(&command).await.expect("it runs");
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("run the same command again") || said.contains("请重新运行同一命令"), "{said}");
    let paths = Paths::new(&dir);
    assert!(!paths.log().exists() && !paths.city_key().exists(), "no half of a site is left");
    assert!(paths.unfinished().exists());

    pass_on(other(&ports.sync), ports.sync.clone()).await;
    let output = province.node(GUANGZHOU).command(&command).await.expect("it runs");
    assert!(output.status.success(), "{output:?}");
    assert!(!paths.unfinished().exists());
    province.agree(GUANGZHOU).await.expect("agreed");
    province.start_node(GUANGZHOU).await.expect("it starts");
    province.equal().await;
    assert_eq!(province.door(GUANGZHOU).await.list(MEMBER, &[]).await.expect("a list").len(), 1);
    province.stop().await.expect("all stop");
}

/// The newest recovery key alone opens what was sealed under it and under those before it.
#[tokio::test(flavor = "multi_thread")]
async fn a_city_whose_recovery_key_was_replaced_is_restored_with_the_newest_alone() {
    let mut province = Province::running(&[GUANGZHOU, SHENZHEN]).await;
    let rotate = async |province: &Province| {
        let answer =
            province.node(GUANGZHOU).answer(&["recovery-key", "rotate", "--unattended", "--json"]).await;
        let answer: Value = serde_json::from_str(&answer.expect("rotated")).expect("JSON");
        (answer["recovery_key"].as_str().expect("a key").to_owned(), answer["in_use"] == true)
    };
    let put = async |province: &Province, n: u32| {
        let sealed = pb::Member { address: format!("广州市某路 {n} 号"), ..member(n) };
        province.door(GUANGZHOU).await.put(MEMBER, None, &sealed).await.expect("a member")
    };
    let first = recovery_key(&province, GUANGZHOU);
    let mut ids = vec![put(&province, 1).await];
    province.equal().await;
    let (second, in_use) = rotate(&province).await;
    assert!(in_use && second != first && recovery_key(&province, GUANGZHOU) == second);
    ids.push(put(&province, 2).await);
    province.equal().await;

    // Without the hub it waits, and the one before goes on counting, also over a restart.
    province.stop_hub().await.expect("it stops");
    let (third, in_use) = rotate(&province).await;
    assert!(!in_use && recovery_key(&province, GUANGZHOU) == second);
    assert_eq!(rotate(&province).await, (third.clone(), false), "the one that waits, not another");
    ids.push(put(&province, 3).await);
    province.stop_node(GUANGZHOU).await.expect("it stops");
    province.start_hub().await.expect("it starts");
    province.start_node(GUANGZHOU).await.expect("it starts");
    ids.push(put(&province, 4).await);
    province.equal().await;
    assert_eq!(recovery_key(&province, GUANGZHOU), third);
    ids.push(put(&province, 5).await);
    province.equal().await;
    let before = fields(&province, GUANGZHOU).await;
    let found = province.node(GUANGZHOU).answer(&["verify", "--json"]).await.expect("sound");
    assert_eq!(serde_json::from_str::<Value>(&found).expect("JSON")["sound"], true, "{found}");

    let dir = province.node(GUANGZHOU).data_dir.clone();
    province.stop_node(GUANGZHOU).await.expect("it stops");
    std::fs::remove_dir_all(&dir).expect("the server is lost");
    std::fs::create_dir_all(&dir).expect("a new one");
    for older in [&first, &second] {
        let output = restore(&province, GUANGZHOU, older).await;
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{output:?}");
        assert!(told.contains("not the city's newest recovery key"), "{told}");
    }
    let output = restore(&province, GUANGZHOU, &third).await;
    assert!(output.status.success(), "{output:?}");
    province.agree(GUANGZHOU).await.expect("agreed");
    province.start_node(GUANGZHOU).await.expect("it starts");
    province.equal().await;
    assert_eq!(fields(&province, GUANGZHOU).await, before);
    let node = province.door(GUANGZHOU).await;
    for (at, id) in ids.iter().enumerate() {
        let shown: pb::Member = decoded(&node.get(MEMBER, *id).await.expect("a call").expect("there"));
        assert_eq!(shown.address, format!("广州市某路 {} 号", at + 1));
    }
    drop(node);
    province.stop().await.expect("all stop");
}

/// A number of the form of GB 11643 with its check digit.
fn valid_number() -> String {
    let digits = "44010619900101123";
    let weights = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
    let sum: u32 = digits.bytes().zip(weights).map(|(digit, weight)| u32::from(digit - b'0') * weight).sum();
    format!("{digits}{}", ['1', '0', 'X', '9', '8', '7', '6', '5', '4', '3', '2'][sum as usize % 11])
}
