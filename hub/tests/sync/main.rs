//! A hub and its nodes in one process, over the real protocol on loopback.

mod erasure;

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use liandong_hub::agreements::AGREEMENT;
use liandong_hub::hub::{Hub, HubOptions};
use liandong_hub::listen::Listener;
use liandong_node::log::{self, Log};
use liandong_node::site::{By, Class, Put, Query, Records, Site, SiteOptions};
use liandong_node::trust::{self, Membership};
use liandong_node::uplink::{self, UplinkOptions};
use liandong_proto::fields::Fields;
use liandong_proto::id::{RecordId, SiteCode};
use liandong_proto::pb::hub::v1 as hub_pb;
use liandong_proto::pb::node::v1::{Comparison, Link};
use liandong_proto::pb::record::v1 as record;
use liandong_proto::pb::trust::v1::ProveRequest;
use liandong_proto::pb::trust::v1::membership_client::MembershipClient;
use liandong_proto::state::Reason;
use prost::Message as _;
use tokio::sync::watch;

const MEMBER: u32 = 1;
const AWARD_ROUND: u32 = 2;
const FINDING: u32 = 7;
const GUANGZHOU: u32 = 440_100;

struct Province {
    hub: Arc<Hub>,
    addr: SocketAddr,
    enrolment: SocketAddr,
    stop: watch::Sender<bool>,
    served: tokio::task::JoinHandle<()>,
}

impl Province {
    async fn start(dir: &Path) -> Province {
        let hub = Hub::open(&HubOptions::new(dir), &mut |_| {}).expect("the hub opens");
        let any = "127.0.0.1:0".parse().expect("an address");
        let listener = Listener::bind(any, any).await.expect("two ports");
        let (addr, enrolment) = (listener.addr, listener.enrolment_addr);
        let (stop, mut stopped) = watch::channel(false);
        let serving = Arc::clone(&hub);
        let served = tokio::spawn(async move {
            let shutdown = async move {
                let _ = stopped.changed().await;
            };
            listener.serve(serving, shutdown).await.expect("the hub serves");
        });
        Province { hub, addr, enrolment, stop, served }
    }

    async fn close(self) {
        self.served.abort();
        let _ = self.stop.send(true);
        let hub = self.hub;
        tokio::task::spawn_blocking(move || hub.close()).await.expect("joined").expect("the hub closes");
    }
}

struct City {
    site: Arc<Site>,
    stop: watch::Sender<bool>,
    up: tokio::task::JoinHandle<()>,
}

impl City {
    fn open(dir: &Path) -> Arc<Site> {
        let key = dir.with_extension("key");
        std::fs::write(&key, "07".repeat(32)).expect("a key file");
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).expect("private");
        let mut options = SiteOptions::new(dir);
        options.linking_key = Some(key);
        Site::open(&options, &mut |_| {}).expect("the site opens")
    }

    /// Begins to sync; a site that is no member yet joins first.
    async fn connect(site: Arc<Site>, province: &Province) -> City {
        if Membership::load(site.paths()).expect("readable").is_none() {
            let (hub, code, address) =
                (Arc::clone(&province.hub), site.code(), province.enrolment.to_string());
            let invited = tokio::task::spawn_blocking(move || hub.invite(code, &address, "")).await;
            let (invitation, _) = invited.expect("joined").expect("invited");
            trust::join(&invitation, site.code(), site.paths()).await.expect("a member");
            let hub = Arc::clone(&province.hub);
            tokio::task::spawn_blocking(move || agree(&hub, code)).await.expect("agreed");
        }
        if !*site.outbound_accepted().borrow() {
            site.accept_outbound(&site.rules().fingerprint(), "a", false).expect("accepted");
        }
        let (stop, stopped) = watch::channel(false);
        let options =
            UplinkOptions { hub: Some(province.addr.to_string()), retry_max: Duration::from_millis(200) };
        let up = tokio::spawn(uplink::run(Arc::clone(&site), options, stopped));
        City { site, stop, up }
    }

    async fn disconnect(self) -> Arc<Site> {
        let _ = self.stop.send(true);
        self.up.await.expect("the uplink ends");
        self.site
    }

    /// Waits until node and hub have proved to each other that they show the same.
    async fn equal(&self) {
        let started = tokio::time::Instant::now();
        loop {
            let status = self.site.status().expect("a status");
            let covered =
                status.compared_own_seq == status.head_seq && status.compared_hub_seq == status.hub_seq;
            if status.comparison() == Comparison::Equal && covered && status.confirmed_seq == status.head_seq
            {
                return;
            }
            assert_ne!(status.comparison(), Comparison::Different, "node and hub show different records");
            assert!(started.elapsed() < Duration::from_secs(60), "not equal after a minute: {status:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Registers an agreement: without one nothing syncs.
fn agree(hub: &Hub, city: SiteCode) {
    let agreement = record::Agreement {
        city: city.0,
        role: record::AgreementRole::Provide as i32,
        purpose: "汇总".into(),
        from: "2020-01-01".into(),
        to: "2099-12-31".into(),
        document: "1".into(),
        status: record::AgreementStatus::InForce as i32,
        ..record::Agreement::default()
    };
    write(hub, vec![put(AGREEMENT, None, &agreement)]);
}

fn member(n: u32) -> record::Member {
    record::Member {
        name: format!("王{}", char::from_u32(0x4e00 + n % 10_000).unwrap_or('一')),
        employer: "广州市某某社会工作服务中心".into(),
        status: record::MemberStatus::Active as i32,
        tier: record::MemberTier::Ordinary as i32,
        ..record::Member::default()
    }
}

fn put(kind: u32, id: Option<RecordId>, message: &impl prost::Message) -> Put {
    Put::set(kind, id, Fields::split(message.encode_to_vec()).expect("a message"))
}

fn write(site: &dyn Records, puts: Vec<Put>) -> Vec<RecordId> {
    let answers = site.put(puts, &By::default(), false).expect("written");
    for answer in &answers {
        assert!(answer.problems.is_empty(), "{:?}", answer.problems);
    }
    answers.into_iter().map(|answer| answer.record).collect()
}

fn site_dir(dir: &Path, code: u32) -> std::path::PathBuf {
    let path = dir.join(code.to_string());
    Site::init(&path, SiteCode(code)).expect("a site is made");
    path
}

fn hub_dir(dir: &Path) -> std::path::PathBuf {
    let path = dir.join("hub");
    Hub::init(&path, None).expect("a hub is made");
    path
}

fn count(records: &dyn Records, kind: u32) -> usize {
    let mut query = Query { kind, page_size: 1_000, ..Query::default() };
    let mut n = 0;
    loop {
        let page = records.list(&query).expect("a page");
        n += page.records.len();
        if page.next.is_empty() {
            return n;
        }
        query.page_token = page.next;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_city_writes_is_merged_and_proved_equal() {
    let dir = tempfile::tempdir().expect("a directory");
    let province = Province::start(&hub_dir(dir.path())).await;
    let site = City::open(&site_dir(dir.path(), GUANGZHOU));
    write(site.as_ref(), (0..3_000).map(|n| put(MEMBER, None, &member(n))).collect());
    let city = City::connect(site, &province).await;
    city.equal().await;
    assert_eq!(city.site.status().expect("a status").link(), Link::Connected);
    assert_eq!(count(province.hub.as_ref(), MEMBER), 3_000);
    assert_eq!(count(province.hub.as_ref(), FINDING), 0);
    city.disconnect().await.close().expect("closed");
    province.close().await;
}

/// Reading a long log for somebody who has gone would go on for minutes.
/// What it proves may be a record of the hub's log, and is looked for among all erasures.
#[tokio::test(flavor = "multi_thread")]
async fn a_city_that_hands_in_proofs_without_end_is_told_to_wait() {
    let dir = tempfile::tempdir().expect("a directory");
    let province = Province::start(&hub_dir(dir.path())).await;
    let city = City::connect(City::open(&site_dir(dir.path(), GUANGZHOU)), &province).await;
    city.equal().await;
    let membership = Membership::load(city.site.paths()).expect("readable").expect("a member");
    let endpoint = trust::endpoint(&province.addr.to_string(), &membership).expect("an address");
    let mut client = MembershipClient::new(endpoint.connect().await.expect("connected"));
    let (mut answered, mut told) = (0, 0);
    for _ in 0..60 {
        match client.prove(ProveRequest::default()).await {
            Ok(_) => answered += 1,
            Err(status) if status.code() == tonic::Code::ResourceExhausted => told += 1,
            Err(status) => panic!("{status}"),
        }
    }
    assert!(answered >= 16 && told > 0, "{answered} were answered, {told} were not");
    city.disconnect().await.close().expect("closed");
    province.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_citys_line_is_read_in_parts_and_no_further_than_wanted() {
    let dir = tempfile::tempdir().expect("a directory");
    let province = Province::start(&hub_dir(dir.path())).await;
    let site = City::open(&site_dir(dir.path(), GUANGZHOU));
    let long = |n| record::Member { remarks: "备".repeat(30_000), ..member(n) };
    (0..40).for_each(|n| drop(write(site.as_ref(), vec![put(MEMBER, None, &long(n))])));
    let origin = site.origin();
    let city = City::connect(site, &province).await;
    city.equal().await;
    let mut parts: Vec<(usize, bool)> = Vec::new();
    let read = province.hub.own_line(origin, 0, |entries, last| {
        parts.push((entries.len(), last));
        true
    });
    read.expect("readable");
    assert_eq!(parts.iter().map(|(entries, _)| entries).sum::<usize>(), 40);
    assert!(parts.len() > 2 && parts.iter().filter(|(_, last)| *last).count() == 1, "{parts:?}");
    assert!(parts.last().is_some_and(|(_, last)| *last));
    let mut calls = 0;
    let read = province.hub.own_line(origin, 0, |_, _| {
        calls += 1;
        false
    });
    read.expect("readable");
    assert_eq!(calls, 1);
    city.disconnect().await.close().expect("closed");
    province.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_edits_of_a_shared_field_are_both_kept_and_a_settlement_reaches_the_city() {
    let dir = tempfile::tempdir().expect("a directory");
    let province = Province::start(&hub_dir(dir.path())).await;
    let site = City::open(&site_dir(dir.path(), GUANGZHOU));
    let id = write(site.as_ref(), vec![put(MEMBER, None, &member(1))])[0];
    let city = City::connect(site, &province).await;
    city.equal().await;
    let site = city.disconnect().await;
    // The city makes the member an expert in its books, the province another thing in its own.
    let by_city = record::Member { tier: record::MemberTier::Council as i32, ..Default::default() };
    let by_province = record::Member { tier: record::MemberTier::VicePresident as i32, ..Default::default() };
    write(province.hub.as_ref(), vec![put(MEMBER, Some(id), &by_province)]);
    // Of a batch, what is a city's to make is refused by itself.
    let batch = vec![put(MEMBER, None, &member(2)), put(MEMBER, Some(id), &by_province)];
    let answers = province.hub.put(batch, &By::default(), false).expect("answered");
    assert_eq!(answers[0].problems[0].code, "record.made_by_city");
    assert!(answers[1].problems.is_empty() && answers[1].record == id);
    write(site.as_ref(), vec![put(MEMBER, Some(id), &by_city)]);
    let city = City::connect(site, &province).await;
    city.equal().await;
    let shown = city.site.get(MEMBER, id).expect("readable").expect("there");
    let tier = |fields: &Fields| record::Member::decode(fields.bytes().clone()).expect("a member").tier;
    assert_eq!(tier(&shown.fields), by_province.tier, "under review, what was there stays");
    assert_eq!(shown.held.len(), 1);
    assert_eq!((shown.held[0].reason, tier(&shown.held[0].set)), (Reason::Concurrent, by_city.tier));
    assert_eq!(count(city.site.as_ref(), FINDING), 1);
    // An edit by somebody who has seen both settles it.
    write(province.hub.as_ref(), vec![put(MEMBER, Some(id), &by_city)]);
    let started = tokio::time::Instant::now();
    loop {
        let shown = city.site.get(MEMBER, id).expect("readable").expect("there");
        if tier(&shown.fields) == by_city.tier && shown.held.is_empty() {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "the settlement does not arrive");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    city.equal().await;
    city.disconnect().await.close().expect("closed");
    province.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finding_settled_through_the_finding_says_so_at_the_city() {
    let dir = tempfile::tempdir().expect("a directory");
    let province = Province::start(&hub_dir(dir.path())).await;
    let site = City::open(&site_dir(dir.path(), GUANGZHOU));
    let id = write(site.as_ref(), vec![put(MEMBER, None, &member(1))])[0];
    let city = City::connect(site, &province).await;
    city.equal().await;
    let site = city.disconnect().await;
    let tier = |tier: record::MemberTier| record::Member { tier: tier as i32, ..Default::default() };
    write(province.hub.as_ref(), vec![put(MEMBER, Some(id), &tier(record::MemberTier::VicePresident))]);
    write(site.as_ref(), vec![put(MEMBER, Some(id), &tier(record::MemberTier::Council))]);
    let city = City::connect(site, &province).await;
    city.equal().await;
    let query = Query { kind: FINDING, ..Query::default() };
    let finding = city.site.list(&query).expect("a page").records.remove(0).record;
    let request = hub_pb::SettleRequest {
        finding: bytes::Bytes::copy_from_slice(&finding.0),
        choice: 2,
        reason: "以本市为准".into(),
        author: "secretariat".into(),
        ..Default::default()
    };
    province.hub.settle(&request).expect("settled");
    let started = tokio::time::Instant::now();
    loop {
        let shown = city.site.get(FINDING, finding).expect("readable").expect("there");
        let settled = record::Finding::decode(shown.fields.bytes().clone()).expect("a finding");
        if settled.status() == record::FindingStatus::Settled {
            assert_eq!(
                (settled.reason.as_str(), settled.choice()),
                ("以本市为准", record::FindingChoice::Held)
            );
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "the settlement does not arrive");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let shown = city.site.get(MEMBER, id).expect("readable").expect("there");
    assert!(shown.held.is_empty());
    city.equal().await;
    assert!(province.hub.settle(&request).is_err(), "settled once is settled");
    city.disconnect().await.close().expect("closed");
    province.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_made_again_from_its_log_shows_the_same() {
    let dir = tempfile::tempdir().expect("a directory");
    let hub = hub_dir(dir.path());
    let province = Province::start(&hub).await;
    let site = City::open(&site_dir(dir.path(), GUANGZHOU));
    let ids = write(site.as_ref(), (0..200).map(|n| put(MEMBER, None, &member(n))).collect());
    let city = City::connect(site, &province).await;
    city.equal().await;
    let edit = record::Member { tier: record::MemberTier::Council as i32, ..Default::default() };
    write(province.hub.as_ref(), ids.iter().map(|id| put(MEMBER, Some(*id), &edit)).collect());
    city.equal().await;
    let site = city.disconnect().await;
    let records = |hub: &Hub| {
        let shown = hub.list(&Query { kind: MEMBER, page_size: 1_000, ..Query::default() }).expect("a page");
        shown.records.into_iter().map(|shown| (shown.record, shown.fields, shown.version)).collect::<Vec<_>>()
    };
    let before = records(&province.hub);
    province.close().await;
    let again = Hub::rebuild(&HubOptions::new(&hub), &mut |_| {}).expect("rebuilt");
    assert_eq!(records(&again), before);
    assert_eq!(again.verify(&[], &mut |_| {}).expect("readable").faults, Vec::<(String, String)>::new());
    again.close().expect("closed");
    drop(again);
    // A new generation: the city goes on where it was.
    let province = Province::start(&hub).await;
    write(site.as_ref(), vec![put(MEMBER, None, &member(9_999))]);
    let city = City::connect(site, &province).await;
    city.equal().await;
    assert_eq!(count(province.hub.as_ref(), MEMBER), 201);
    city.disconnect().await.close().expect("closed");
    province.close().await;
}

/// An older copy of the log is put beside the newer index: the hub says so, and goes on without what is lost only once
/// somebody asks for that.
#[test]
fn a_hub_whose_log_is_older_than_its_index_begins_no_new_one_by_itself() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = hub_dir(dir.path());
    let options = HubOptions::new(&path);
    let segment = path.join("log/00000000000000000001.log");
    let round = |n: u32| record::AwardRound {
        year: 2026 + n,
        title: "优秀社工".into(),
        categories: vec!["新秀".into()],
        ..Default::default()
    };
    let mut older = Vec::new();
    for n in 0..2 {
        let hub = Hub::open(&options, &mut |_| {}).expect("the hub opens");
        write(hub.as_ref(), vec![put(AWARD_ROUND, None, &round(n))]);
        hub.close().expect("closed");
        drop(hub);
        if n == 0 {
            older = std::fs::read(&segment).expect("readable");
        }
    }
    std::fs::write(&segment, &older).expect("written");
    for _ in 0..4 {
        for opened in [Hub::open(&options, &mut |_| {}), Hub::rebuild(&options, &mut |_| {})] {
            let error = opened.err().expect("its end is missing");
            assert_eq!(error.class(), Class::Damaged);
            assert!(error.to_string().contains("rebuild --accept-loss"), "{error}");
        }
    }
    let (hub, lost) = Hub::rebuild_without(&options, "x", &mut |_| {}).expect("somebody has asked for it");
    assert!(lost.is_some());
    assert_eq!(count(hub.as_ref(), AWARD_ROUND), 1);
    hub.close().expect("closed");
}

#[test]
fn a_hub_with_a_damaged_log_keeps_its_index() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = hub_dir(dir.path());
    // Small segments from the first on: what is opened reads the last one only.
    let log_dir = path.join("log");
    let large = dir.path().join("large");
    std::fs::rename(&log_dir, &large).expect("moved");
    let (large, _) = Log::open(&large, log::Options::default()).expect("opens");
    let small = log::Options { segment_bytes: 8 << 10, ..log::Options::default() };
    let (small, _) = Log::open(&log_dir, small).expect("opens");
    for raw in large.read(log::Pos::default()) {
        let raw = raw.expect("sound");
        let mut batch = log::Batch::new();
        batch.push(raw.kind, &[&raw.payload]);
        small.append(&batch, 0).expect("appended");
    }
    small.sync_to(small.end()).expect("synced");
    drop(small);
    let options = HubOptions { segment_bytes: 8 << 10, ..HubOptions::new(&path) };
    let hub = Hub::open(&options, &mut |_| {}).expect("the hub opens");
    let round = record::AwardRound {
        year: 2026,
        title: "优秀社工".repeat(40),
        categories: vec!["新秀".into()],
        ..Default::default()
    };
    for _ in 0..100 {
        write(hub.as_ref(), vec![put(AWARD_ROUND, None, &round)]);
    }
    hub.close().expect("closed");
    drop(hub);
    let segment = path.join("log/00000000000000000001.log");
    let mut bytes = std::fs::read(&segment).expect("readable");
    bytes[1_000] ^= 1;
    std::fs::write(&segment, bytes).expect("written");
    let error = Hub::rebuild(&options, &mut |_| {}).err().expect("the log is damaged");
    assert_eq!(error.class(), Class::Damaged);
    let hub = Hub::open(&options, &mut |_| {}).expect("the hub opens");
    assert_eq!(count(hub.as_ref(), AWARD_ROUND), 100, "what could be read still can");
    hub.close().expect("closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_index_is_gone_shows_the_same_offline() {
    let dir = tempfile::tempdir().expect("a directory");
    let province = Province::start(&hub_dir(dir.path())).await;
    let path = site_dir(dir.path(), GUANGZHOU);
    let site = City::open(&path);
    let ids = write(site.as_ref(), (0..50).map(|n| put(MEMBER, None, &member(n))).collect());
    let city = City::connect(site, &province).await;
    city.equal().await;
    let edit = record::Member { tier: record::MemberTier::Council as i32, ..Default::default() };
    write(province.hub.as_ref(), vec![put(MEMBER, Some(ids[7]), &edit)]);
    let started = tokio::time::Instant::now();
    while city.site.status().expect("a status").hub_seq < province.hub.read(|published| published.row.hub_seq)
    {
        assert!(started.elapsed() < Duration::from_secs(30), "the edit does not arrive");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let all = |site: &Site| {
        let page = site.list(&Query { kind: MEMBER, page_size: 1_000, ..Query::default() }).expect("a page");
        page.records.into_iter().map(|shown| (shown.record, shown.fields, shown.version)).collect::<Vec<_>>()
    };
    let site = city.disconnect().await;
    let before = all(&site);
    site.close().expect("closed");
    drop(site);
    province.close().await;
    std::fs::remove_dir_all(path.join("index")).expect("the index is removed");
    let site = City::open(&path);
    assert_eq!(all(&site), before);
    site.close().expect("closed");
}
