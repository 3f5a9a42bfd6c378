//! Changes that no site would have made: each is kept and reported at its city, and holds up nothing.

use std::path::Path;

use bytes::Bytes;
use liandong_hub::hub::{Hub, HubOptions};
use liandong_node::log::{Batch, Log, Options};
use liandong_node::now::{now_ms, random};
use liandong_node::site::{By, Paths, PushReader, Put, Records as _, Site, SiteOptions, record_kind};
use liandong_node::trust::{self, Membership};
use liandong_proto::entry::{self, Entry, Head, Header, Op, Patch};
use liandong_proto::fields::Fields;
use liandong_proto::id::{Epoch, Origin, RecordId, SiteCode};
use liandong_proto::pb::log::v1::{Commit, Reason};
use liandong_proto::pb::record::v1 as pb;
use liandong_proto::pb::sync::v1 as sync;
use liandong_proto::position::{Generations, Position};
use liandong_proto::session::node::{NodeSession, Output, Standing};
use liandong_proto::stamp::Stamp;
use liandong_tests::cluster::{Door, decoded};
use prost::Message as _;
use sync::down::Message as Down;
use sync::sync_client::SyncClient;
use sync::up::Message as Up;

use crate::province::{AWARD_ROUND, GUANGZHOU, MEMBER, Province, SHENZHEN, member, open_findings};

fn open(dir: &Path) -> std::sync::Arc<Site> {
    Site::open(&SiteOptions::new(dir), &mut |_| {}).expect("the site opens")
}

fn write(site: &Site, members: std::ops::Range<u32>) {
    let put = |n| Put::set(MEMBER, None, Fields::split(member(n).encode_to_vec()).expect("a message"));
    let answers = site.put(members.map(put).collect(), &By::default(), false).expect("written");
    assert!(answers.iter().all(|answer| answer.problems.is_empty()));
}

/// Appends an entry to a site's log behind the back of all its rules; the record it makes.
fn smuggle(dir: &Path, open: Bytes) -> RecordId {
    let site = self::open(dir);
    let (origin, row) = (site.origin(), site.row());
    site.close().expect("closed");
    drop(site);
    let head = Head { seq: row.seq, hash: row.hash.as_ref().try_into().unwrap_or_default() };
    let (entry, record, _) = entry_of(origin, head, open);
    let (log, _) = Log::open(&Paths::new(dir).log(), Options::default()).expect("the log opens");
    let mut batch = Batch::new();
    batch.push(record_kind::OWN, &[&entry.encode_to_vec()]);
    let span = log.append(&batch, row.seq + 1).expect("appended");
    log.sync_to(span.end).expect("synced");
    record
}

/// A new member behind `head`, made by nobody's rules.
fn entry_of(origin: Origin, head: Head, open: Bytes) -> (Entry, RecordId, Head) {
    let record = RecordId::v7(now_ms(), random());
    let header = Header {
        origin,
        seq: head.seq + 1,
        stamp: Stamp::at_ms(now_ms()),
        base: Position::default(),
        kind: MEMBER,
        record,
        op: Op::Put,
        author: String::new(),
        import_id: Bytes::new(),
        prev: (head.seq > 0).then_some(head.hash),
        open_hash: None,
        sealed_hash: None,
        anchor: None,
        seen: Vec::new(),
    };
    let (entry, head) = entry::make(header, open, Bytes::new());
    (entry, record, head)
}

fn open_part(message: &pb::Member) -> Bytes {
    let set = Fields::split(message.encode_to_vec()).expect("a message");
    Patch { set, cleared: Vec::new() }.to_open(random())
}

/// Pushes the whole log of a site as one message, as a node with a large window would.
async fn push_at_once(site: &Site) -> Vec<sync::Receipt> {
    let member = Membership::load(site.paths()).expect("readable").expect("joined");
    let standing = site.greet(random(), member.hub_key().expect("a key")).expect("a nonce");
    let (entries, last) = PushReader::default().read(site, Head::default(), 4 << 20).expect("readable");
    assert_eq!(last, standing.head, "all of it fits one message");
    let noted = |welcome: sync::Welcome| {
        let generations = liandong_proto::session::generations_from_pb(&welcome.generations);
        site.welcomed(&generations).expect("noted");
    };
    push(&member, standing, entries, noted).await
}

/// The session of a node that has nothing to do but this push; the receipts until all of it is confirmed.
async fn push(
    member: &Membership,
    standing: Standing,
    entries: Vec<Entry>,
    welcomed: impl Fn(sync::Welcome),
) -> Vec<sync::Receipt> {
    let (newest, signature) = (standing.head.seq, standing.signer.sign_head(standing.origin, &standing.head));
    let (_, hello) = NodeSession::start(standing);
    let [Output::Send(hello)] = hello.as_slice() else { panic!("a hello") };
    let (up, outbound) = tokio::sync::mpsc::unbounded_channel();
    up.send(hello.clone()).expect("open");
    let endpoint = trust::endpoint(&member.hub, member).expect("an address");
    let channel = endpoint.connect().await.expect("the hub listens");
    let mut client = SyncClient::new(channel).max_encoding_message_size(4 << 20);
    let outbound = tokio_stream::wrappers::UnboundedReceiverStream::new(outbound);
    let mut inbound = client.session(outbound).await.expect("a session").into_inner();
    let (mut entries, mut receipts) = (Some(entries), Vec::new());
    while let Some(down) = inbound.message().await.expect("the stream stands") {
        match down.message {
            Some(Down::Welcome(welcome)) => {
                welcomed(welcome);
                let entries = entries.take().expect("one welcome");
                let head_signature = Bytes::copy_from_slice(&signature);
                let push = sync::Push { entries, head_signature, ..sync::Push::default() };
                up.send(sync::Up { message: Some(Up::Push(push)) }).expect("open");
            }
            Some(Down::Receipt(receipt)) => {
                let is_last = receipt.up_to.as_ref().is_some_and(|head| head.seq == newest);
                receipts.push(receipt);
                if is_last {
                    break;
                }
            }
            Some(Down::Deliver(_)) => {}
            other => panic!("the hub answers {other:?}"),
        }
    }
    receipts
}

/// Commits of the hub: how many entries each has, and the reasons of those that were not simply taken.
fn commits(dir: &Path) -> Vec<(usize, Vec<Reason>)> {
    let hub = Hub::open(&HubOptions::new(dir), &mut |_| {}).expect("the hub opens");
    let mut out = Vec::new();
    for raw in hub.log().read(Default::default()) {
        let raw = raw.expect("readable");
        if raw.kind != record_kind::COMMIT {
            continue;
        }
        let commit = Commit::decode(raw.payload).expect("a commit");
        // What is said of cities and sessions has commits of its own.
        if commit.entries.is_empty() {
            continue;
        }
        let outcomes = commit.entries.iter().filter_map(|accepted| accepted.outcome.as_ref());
        let reasons = outcomes.flat_map(|outcome| outcome.verdicts.iter().map(|verdict| verdict.reason()));
        out.push((commit.entries.len(), reasons.collect()));
    }
    hub.close().expect("closed");
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn one_poison_change_among_ten_thousand_holds_up_none_of_the_others() {
    let mut province = Province::made(&[GUANGZHOU]).await;
    let dir = province.node(GUANGZHOU).data_dir.clone();
    let site = open(&dir);
    (0..5).for_each(|n| write(&site, n * 1_000..(n + 1) * 1_000));
    site.close().expect("closed");
    drop(site);
    // Nobody is born in the thirteenth month.
    let poison = smuggle(&dir, open_part(&pb::Member { birth_date: "1990-13-01".into(), ..member(99_999) }));
    let site = open(&dir);
    (5..9).for_each(|n| write(&site, n * 1_000..(n + 1) * 1_000));
    write(&site, 9_000..9_999);
    assert_eq!(site.row().seq, 10_000);

    province.start_hub().await.expect("the hub starts");
    site.close().expect("closed");
    drop(site);
    province.join(GUANGZHOU).await.expect("a member");
    let site = open(&dir);
    let receipts = push_at_once(&site).await;
    assert_eq!(receipts.len(), 1, "one commit round for all of them");
    assert_eq!(receipts[0].up_to.as_ref().map(|head| head.seq), Some(10_000));
    site.close().expect("closed");
    drop(site);
    province.stop_hub().await.expect("the hub stops");
    // The first is the province's own: the agreement.
    assert_eq!(commits(&province.hub().data_dir), [(1, vec![]), (10_000, vec![Reason::Invalid])]);

    province.start_hub().await.expect("the hub starts");
    province.start_nodes().await.expect("the node starts");
    province.equal().await;
    let hub = province.door(SiteCode::PROVINCE).await;
    assert_eq!(named(&hub).await, 10_000, "the rest of the poisoned member is merged as well");
    listed(&province, GUANGZHOU, poison, pb::FindingRule::Invalid, "INVALID").await;
    province.stop().await.expect("all stop");
}

/// The finding stands at its city, over the services and for a person at the command line, and says why.
async fn listed(province: &Province, city: SiteCode, record: RecordId, rule: pb::FindingRule, word: &str) {
    let findings = open_findings(&province.door(city).await).await;
    let about = |finding: &pb::Finding| finding.subjects[0].record.as_ref() == record.0;
    let [(id, finding)] = findings.as_slice() else { panic!("one finding at {city}: {findings:?}") };
    assert!(about(finding) && finding.rule() == rule, "{finding:?}");
    let shown = province.node(city).answer(&["finding", "show", &id.to_string(), "--json"]).await;
    let shown = shown.expect("shown");
    assert!(shown.contains(word) && shown.contains(&record.to_string()), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_raw_number_where_a_token_belongs_is_dropped_and_listed() {
    let mut province = Province::made(&[GUANGZHOU, SHENZHEN]).await;
    let dir = province.node(GUANGZHOU).data_dir.clone();
    let site = open(&dir);
    write(&site, 0..20);
    site.close().expect("closed");
    drop(site);
    let raw = pb::Member { id_number: "440100199001010023".into(), ..member(1) };
    let poison = smuggle(&dir, open_part(&raw));
    let site = open(&dir);
    write(&site, 20..40);
    site.close().expect("closed");
    drop(site);
    province.start_hub().await.expect("the hub starts");
    province.start_nodes().await.expect("the nodes start");
    province.equal().await;
    let hub = province.door(SiteCode::PROVINCE).await;
    assert_eq!(named(&hub).await, 40);
    listed(&province, GUANGZHOU, poison, pb::FindingRule::RawValue, "RAW_VALUE").await;
    assert!(open_findings(&province.door(SHENZHEN).await).await.is_empty());
    province.stop().await.expect("all stop");
}

/// Members of which something is shown.
async fn named(door: &Door) -> usize {
    let members = door.list(MEMBER, &[]).await.expect("a list");
    members.iter().filter(|record| !decoded::<pb::Member>(record).name.is_empty()).count()
}

/// Where a node stands that has nothing but entries up to `head`, in an epoch of its own.
fn stranger(paths: &Paths, origin: Origin, head: Head) -> Standing {
    let membership = Membership::load(paths).expect("readable").expect("joined");
    Standing {
        origin,
        nonces: vec![Bytes::copy_from_slice(&random::<16>())],
        head,
        cursor: Position::default(),
        generations: Generations::default(),
        restore: false,
        receipt: Default::default(),
        anchor: None,
        signer: paths.signing().expect("a key"),
        hub_key: membership.hub_key().expect("a key"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_cannot_be_read_holds_up_nothing_and_names_its_city() {
    let mut province = Province::made(&[GUANGZHOU]).await;
    province.start_hub().await.expect("the hub starts");
    province.join(GUANGZHOU).await.expect("a member");
    let paths = Paths::new(&province.node(GUANGZHOU).data_dir);
    let membership = Membership::load(&paths).expect("readable").expect("joined");
    let origin = Origin { site: GUANGZHOU, epoch: Epoch(random()) };
    let (mut entries, mut head, mut poison) = (Vec::new(), Head::default(), None);
    for n in 0..41 {
        let open = if n == 20 { Bytes::from_static(&[0xff; 40]) } else { open_part(&member(n)) };
        let (entry, record, next) = entry_of(origin, head, open);
        (head, poison) = (next, if n == 20 { Some(record) } else { poison });
        entries.push(entry);
    }
    let standing = stranger(&paths, origin, head);
    assert_eq!(push(&membership, standing, entries, |_| {}).await.len(), 1);
    let hub = province.door(SiteCode::PROVINCE).await;
    assert_eq!(named(&hub).await, 40);
    let findings = open_findings(&hub).await;
    let [(_, finding)] = findings.as_slice() else { panic!("one finding: {findings:?}") };
    assert_eq!((finding.rule(), finding.sites.as_slice()), (pb::FindingRule::Unreadable, &[GUANGZHOU.0][..]));
    assert_eq!(poison.map(|record| record.0.to_vec()), Some(finding.subjects[0].record.to_vec()));
    province.stop().await.expect("all stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_city_whose_clock_is_years_ahead_does_not_drag_the_hub_along_by_a_rebuild() {
    let mut province = Province::made(&[GUANGZHOU]).await;
    province.start_hub().await.expect("the hub starts");
    province.join(GUANGZHOU).await.expect("a member");
    let paths = Paths::new(&province.node(GUANGZHOU).data_dir);
    let membership = Membership::load(&paths).expect("readable").expect("joined");
    let origin = Origin { site: GUANGZHOU, epoch: Epoch(random()) };
    let (entry, ..) = entry_of(origin, Head::default(), open_part(&member(1)));
    let header = Header::decode(&entry.header).expect("as it was made");
    let header = Header { stamp: Stamp(u64::MAX), ..header };
    let (entry, head) = entry::make(header, entry.open, Bytes::new());
    assert_eq!(push(&membership, stranger(&paths, origin, head), vec![entry], |_| {}).await.len(), 1);
    province.stop_hub().await.expect("it stops");
    province.hub().answer(&["rebuild"]).await.expect("made again");
    province.start_hub().await.expect("the hub starts");
    let hub = province.door(SiteCode::PROVINCE).await;
    let categories = vec!["优秀一线社工".into()];
    let round = pb::AwardRound { year: 2026, title: "评选".into(), categories, ..Default::default() };
    hub.put(AWARD_ROUND, None, &round).await.expect("a round");
    drop(hub);
    province.stop().await.expect("all stop");
    let (log, _) =
        Log::open(&Paths::new(&province.hub().data_dir).log(), Options::default()).expect("it opens");
    let commits = log.read(Default::default()).map(|raw| raw.expect("readable"));
    let commits = commits.filter(|raw| raw.kind == record_kind::COMMIT);
    let entries = commits.flat_map(|raw| Commit::decode(raw.payload).expect("a commit").entries);
    let headers = entries.map(|accepted| Header::decode(&accepted.header).expect("readable"));
    let own = headers.filter(|header| header.origin.site.is_province()).map(|header| header.stamp);
    let ahead = own.max().expect("the round is one").ms().saturating_sub(now_ms());
    assert!(ahead < 3_600_000, "{ahead} ms ahead");
}
