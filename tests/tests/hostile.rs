//! A hub among enemies: strangers who know nothing but its address, and members who keep to nothing. Each is refused with
//! the right word, and nobody else notices.

mod enemy;
mod frames;
mod python;

use bytes::Bytes;
use enemy::{Answer, Enemy, by_hand, framed, hang_up, next, refusal, send, soon};
use liandong_node::trust;
use liandong_proto::entry::Patch;
use liandong_proto::fields::Fields;
use liandong_proto::id::{RecordId, SiteCode};
use liandong_proto::pb::node::v1::Link;
use liandong_proto::pb::record::v1 as pb;
use liandong_proto::pb::sync::v1 as sync;
use liandong_proto::session::{MOST_NONCES, head_to_pb};
use liandong_tests::cluster::decoded;
use prost::Message as _;
use sync::down::Message as Down;
use sync::refusal::Code as Refused;
use sync::sync_client::SyncClient;
use sync::up::Message as Up;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::Code;

use crate::province::{GUANGZHOU, MEMBER, Province, SHENZHEN, linked, member, open_findings};

/// The most memory that a hub may take, whatever is done to it.
const MOST_MEMORY: u64 = 512 << 20;

/// A hub with an honest city that syncs, Shenzhen, and one that is taken over, Guangzhou.
async fn among_enemies() -> (Province, Enemy) {
    let mut province = Province::made(&[GUANGZHOU, SHENZHEN]).await;
    province.start_hub().await.expect("the hub starts");
    province.join(GUANGZHOU).await.expect("a member");
    province.start_node(SHENZHEN).await.expect("the node starts");
    let enemy = Enemy::of(&province, GUANGZHOU);
    (province, enemy)
}

/// A number of the hub's process, in bytes: `VmHWM` is the most memory it ever had, `VmRSS` what it has now.
fn memory(province: &Province, name: &str) -> u64 {
    let pid = province.pid(SiteCode::PROVINCE).expect("the hub runs");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("readable");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("it is there");
    let kib: u64 = line.trim_matches(|c: char| !c.is_ascii_digit()).parse().expect("a number");
    kib << 10
}

/// Files and connections that the hub has open.
fn open_files(province: &Province) -> usize {
    let pid = province.pid(SiteCode::PROVINCE).expect("the hub runs");
    std::fs::read_dir(format!("/proc/{pid}/fd")).expect("readable").count()
}

/// The honest city writes, and hub and city prove to each other that they show the same.
async fn others_sync(province: &Province, n: u32) {
    province.door(SHENZHEN).await.put(MEMBER, None, &member(n)).await.expect("local work goes on");
    province.equal().await;
    assert!(memory(province, "VmHWM:") <= MOST_MEMORY, "{}", memory(province, "VmHWM:"));
}

fn open_part(message: &pb::Member) -> Bytes {
    let set = Fields::split(message.encode_to_vec()).expect("a message");
    Patch { set, cleared: Vec::new() }.to_open([7; 16])
}

/// So many groups in one another, as no message of the protocol is.
fn nested(depth: usize) -> Vec<u8> {
    // Field 60, start and end of a group.
    [[0xe3, 0x03].repeat(depth), [0xe4, 0x03].repeat(depth)].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_a_message_is_refused() {
    let (province, enemy) = among_enemies().await;
    let bomb = vec![0x1f; 64 << 10];
    let attacks: Vec<(&str, Option<&str>, Bytes, Answer)> = vec![
        // The length alone: nobody waits for what it promises, and nothing is set aside for it.
        ("4 GiB", None, framed(false, u32::MAX, b""), Answer::Refused(Refused::TooLarge)),
        ("5 MiB", None, framed(false, 5 << 20, &vec![0; 5 << 20]), Answer::Refused(Refused::TooLarge)),
        (
            "nesting",
            None,
            {
                let nested = nested(100_000);
                framed(false, nested.len() as u32, &nested)
            },
            Answer::Refused(Refused::Malformed),
        ),
        ("noise", None, framed(false, 4, &[0xff; 4]), Answer::Refused(Refused::Malformed)),
        ("a flag of no meaning", None, Bytes::from_static(&[9; 40]), Answer::Refused(Refused::Malformed)),
        ("a bomb", Some("gzip"), framed(true, bomb.len() as u32, &bomb), Answer::Status(Code::Unimplemented)),
        (
            "a bomb unannounced",
            None,
            framed(true, bomb.len() as u32, &bomb),
            Answer::Refused(Refused::Malformed),
        ),
    ];
    for (what, encoding, body, answer) in attacks {
        assert_eq!(by_hand(&mut enemy.channel().await, encoding, body).await, answer, "{what}");
    }
    others_sync(&province, 1).await;
}

/// What stands inside an entry is the city's: it is taken as it is, and becomes a finding where it cannot be read.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_in_an_entry_and_what_is_another_citys_is_held() {
    let (province, mut enemy) = among_enemies().await;
    let theirs = province.door(SHENZHEN).await.put(MEMBER, None, &member(1)).await.expect("a member");
    province.equal().await;
    let deep = Bytes::from(nested(20_000));
    enemy
        .pushed(RecordId([8; 16]), &[(deep, Bytes::new()), (Bytes::from_static(&[0xff; 40]), Bytes::new())])
        .await;
    let stolen =
        pb::Member { name: "李四".into(), employer: "另一单位".into(), ..pb::Member::default() };
    enemy.pushed(theirs, &[(open_part(&stolen), Bytes::new())]).await;
    others_sync(&province, 2).await;
    for site in [SHENZHEN, SiteCode::PROVINCE] {
        let shown = province.door(site).await.get(MEMBER, theirs).await.expect("a call").expect("there");
        assert_eq!(decoded::<pb::Member>(&shown).name, member(1).name, "{site}");
    }
    assert!(!open_findings(&province.door(SiteCode::PROVINCE).await).await.is_empty(), "people are told");
}

#[tokio::test(flavor = "multi_thread")]
async fn replays_and_places_that_do_not_exist_lead_nowhere() {
    let (province, mut enemy) = among_enemies().await;
    let first = enemy.push(RecordId([8; 16]), &[(open_part(&member(7)), Bytes::new())]);
    let before = Enemy {
        head: Default::default(),
        member: enemy.member.clone(),
        signer: enemy.signer.clone(),
        ..enemy
    };
    let (up, mut down) = before.welcomed().await;
    send(&up, Up::Push(first.clone()));
    loop {
        match next(&mut down).await.expect("the session lives") {
            Down::Receipt(receipt) => break assert_eq!(receipt.up_to, Some(head_to_pb(&enemy.head))),
            Down::Refusal(refusal) => panic!("{refusal:?}"),
            _ => {}
        }
    }
    hang_up(up, down).await;
    // The same push once more, in a session that goes on from it, in place of the next one.
    assert_eq!(enemy.ends(Up::Push(first.clone())).await, Some(Refused::ChainBroken), "a replay");
    let beyond = sync::Push { after_seq: u64::MAX, ..first };
    assert_eq!(
        enemy.ends(Up::Push(beyond)).await,
        Some(Refused::ChainBroken),
        "behind the end of all places"
    );
    let nowhere = Some(sync::Position { generation: 77, hub_seq: u64::MAX });
    let applied = Up::Applied(sync::Applied { cursor: nowhere });
    assert_eq!(enemy.ends(applied).await, Some(Refused::UnexpectedMessage), "a delivery that never was");

    let start = |n: u64| sync::GenerationStart { generation: n ^ 0x55, first_hub_seq: u64::MAX - n };
    let many = |n: u64| (0..n).map(start).collect::<Vec<_>>();
    let nonces = |n: usize, size: usize| vec![Bytes::from(vec![5; size]); n];
    let hello = || enemy.hello();
    let refused: Vec<(&str, sync::Hello, Refused)> = vec![
        ("another city", sync::Hello { site: SHENZHEN.0, ..hello() }, Refused::WrongOrigin),
        ("no epoch", sync::Hello { epoch: Bytes::new(), ..hello() }, Refused::WrongOrigin),
        ("generations", sync::Hello { generations: many(16_385), ..hello() }, Refused::UnexpectedMessage),
        (
            "nonces",
            sync::Hello { nonces: nonces(MOST_NONCES + 1, 16), ..hello() },
            Refused::UnexpectedMessage,
        ),
        ("a nonce", sync::Hello { nonces: nonces(1, 1 << 20), ..hello() }, Refused::UnexpectedMessage),
        ("the future", sync::Hello { protocol_min: 9, protocol_max: 9, ..hello() }, Refused::ProtocolVersion),
    ];
    for (what, hello, code) in refused {
        let (_up, mut down) = enemy.session(enemy.channel().await, hello).await;
        assert_eq!(refusal(&mut down).await, Some(code), "{what}");
    }
    // A session that the hub has noted is the city's; whoever does not know of it is a copy.
    let copy = sync::Hello { nonces: nonces(1, 15), ..hello() };
    let (up, mut down) = enemy.session(enemy.channel().await, copy).await;
    let Some(Down::Welcome(welcome)) = next(&mut down).await else { panic!("no welcome") };
    let cause = welcome.diverged.map(|diverged| diverged.cause());
    assert_eq!(cause, Some(sync::diverged::Cause::Nonce));
    hang_up(up, down).await;
    // A history made up, and a place behind all others: the hub goes on from what it knows itself.
    let cursor = Some(sync::Position { generation: 5, hub_seq: u64::MAX });
    let made_up = sync::Hello { generations: many(16_000), cursor, ..hello() };
    let (up, mut down) = enemy.session(enemy.channel().await, made_up).await;
    let Some(Down::Welcome(welcome)) = next(&mut down).await else { panic!("no welcome") };
    let generation = welcome.generations.last().expect("a history").generation;
    hang_up(up, down).await;
    let cursor = Some(sync::Position { generation, hub_seq: u64::MAX });
    let (_up, mut down) = enemy.session(enemy.channel().await, sync::Hello { cursor, ..hello() }).await;
    assert!(matches!(next(&mut down).await, Some(Down::Welcome(_))));
    others_sync(&province, 1).await;
    let cities = province.door(SiteCode::PROVINCE).await.cities().await.expect("the hub can count");
    let held = cities.cities.iter().find(|city| city.site == GUANGZHOU.0).expect("it is listed").seq;
    assert_eq!(held, 1, "the replay was not taken for more");
}

#[tokio::test(flavor = "multi_thread")]
async fn noise_on_the_ports_ends_with_the_connection_it_came_on() {
    let (province, enemy) = among_enemies().await;
    let ports = province.ports().expect("it listens").clone();
    let noise: Vec<u8> = (0..64u32 << 10).map(|n| (n * 31 % 251) as u8).collect();
    for port in [&ports.sync, &ports.enrolment] {
        let mut stream = TcpStream::connect(port).await.expect("connected");
        let _ = stream.write_all(&noise).await;
        let mut rest = Vec::new();
        // An end or a reset, and at most an alert before.
        let _ = soon("the end", stream.read_to_end(&mut rest)).await;
        assert!(rest.len() < 64, "{}: {} bytes", port, rest.len());
    }
    let mut stream = enemy.tls().await;
    let _ = stream.write_all(&noise).await;
    let mut rest = Vec::new();
    let _ = soon("the end", stream.read_to_end(&mut rest)).await;
    assert!(rest.len() < 256, "{} bytes", rest.len());
    others_sync(&province, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_streams_resets_and_headers_than_a_node_needs_are_refused() {
    let (province, enemy) = among_enemies().await;
    let with = |frames: Vec<u8>| [frames::beginning(), frames].concat();
    let many = with(frames::sessions(1_000, false));
    let said = frames::answered(enemy.tls().await, &many, |said| said.goaway.is_some()).await;
    assert_eq!(said.goaway, Some(frames::ENHANCE_YOUR_CALM), "{said:?}");
    assert_eq!(said.resets.1, frames::REFUSED_STREAM, "{said:?}");
    let rapid = with(frames::sessions(1_000, true));
    let said = frames::answered(enemy.tls().await, &rapid, |said| said.goaway.is_some()).await;
    assert_eq!(said.goaway, Some(frames::ENHANCE_YOUR_CALM), "{said:?}");
    let endless = with(frames::endless_headers(1_000));
    let said = frames::answered(enemy.tls().await, &endless, |said| said.goaway.is_some()).await;
    assert_eq!(said.goaway, Some(frames::ENHANCE_YOUR_CALM), "{said:?}");
    others_sync(&province, 1).await;
}

/// A city may begin so many sessions and no more; another one is not held up by that.
#[tokio::test(flavor = "multi_thread")]
async fn a_city_that_begins_session_after_session_is_told_to_wait() {
    let (province, enemy) = among_enemies().await;
    let channel = enemy.channel().await;
    let told = async {
        loop {
            let (up, outbound) = tokio::sync::mpsc::unbounded_channel::<sync::Up>();
            let outbound = tokio_stream::wrappers::UnboundedReceiverStream::new(outbound);
            match SyncClient::new(channel.clone()).session(outbound).await {
                Ok(begun) => hang_up(up, begun.into_inner()).await,
                Err(status) => return status,
            }
        }
    };
    let told = soon("a no", told).await;
    assert_eq!(told.code(), Code::ResourceExhausted);
    assert!(told.message().contains("too many sessions"), "{told}");
    others_sync(&province, 1).await;
}

/// Sessions that ask and never read: what waits for them is bounded, then they are cut.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_asks_and_never_reads_is_cut() {
    let (province, enemy) = among_enemies().await;
    // Little fits on the way; the rest waits at the hub.
    let endpoint = trust::endpoint(&enemy.member.hub, &enemy.member).expect("an address");
    let channel = endpoint.initial_stream_window_size(65_535).connect().await.expect("TLS stands");
    let (up, outbound) = tokio::sync::mpsc::channel(64);
    let say = |message| up.send(sync::Up { message: Some(message) });
    say(Up::Hello(enemy.hello())).await.expect("open");
    let outbound = tokio_stream::wrappers::ReceiverStream::new(outbound);
    let mut down = SyncClient::new(channel).session(outbound).await.expect("a session").into_inner();
    assert!(matches!(next(&mut down).await, Some(Down::Welcome(_))));
    // Each is answered, if only by a word that it comes too soon.
    let asked = async {
        let mut asked = 0;
        while say(Up::Compare(sync::Compare::default())).await.is_ok() {
            asked += 1;
        }
        asked
    };
    let asked = soon("the end of the session", asked).await;
    // An answer is eleven bytes on the way: what fits there, and some that wait at both ends.
    assert!(asked < 65_535 / 11 + 1_000, "{asked} questions");
    drop(down);
    others_sync(&province, 1).await;
}

/// The whole log of a city waits for whoever asks for it and reads nothing, and it is all there for whoever reads.
#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_nobody_reads_stays_in_the_log() {
    const SEALED: usize = 200 << 10;
    const COUNT: usize = 320;
    let (province, mut enemy) = among_enemies().await;
    let record = RecordId([8; 16]);
    let open = open_part(&member(7));
    let (up, mut down) = enemy.welcomed().await;
    // Two fill a batch.
    for _ in 0..COUNT / 2 {
        let part = || (open.clone(), Bytes::from(vec![9; SEALED]));
        let push = enemy.push(record, &[part(), part()]);
        send(&up, Up::Push(push));
        let end = Some(head_to_pb(&enemy.head));
        while !matches!(next(&mut down).await.expect("it lives"), Down::Receipt(receipt) if receipt.up_to == end)
        {
        }
    }
    hang_up(up, down).await;
    others_sync(&province, 1).await;
    let before = memory(&province, "VmRSS:");
    let hello = sync::Hello { restore: true, ..enemy.hello() };
    let (up, mut down) = enemy.session(enemy.channel().await, hello).await;
    assert!(matches!(next(&mut down).await, Some(Down::Welcome(_))));
    send(&up, Up::Restore(sync::RestoreAsk::default()));
    // By now it has begun.
    let Some(Down::Restore(first)) = next(&mut down).await else { panic!("no entries") };
    others_sync(&province, 2).await;
    let grown = memory(&province, "VmRSS:").saturating_sub(before);
    assert!(grown < (COUNT * SEALED / 2) as u64, "{grown} bytes more");
    let mut entries = first.entries.len();
    while let Some(Down::Restore(part)) = next(&mut down).await {
        entries += part.entries.len();
        if part.last {
            break;
        }
    }
    assert_eq!(entries, COUNT);
}

/// More connections than a hub has files for, by strangers who say nothing: members come and go, and cities join.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_silent_strangers_keep_nobody_out() {
    let (mut province, _) = among_enemies().await;
    others_sync(&province, 1).await;
    let before = open_files(&province);
    let ports = province.ports().expect("it listens").clone();
    let mut strangers = Vec::new();
    for _ in 0..1_000 {
        for port in [&ports.sync, &ports.enrolment] {
            strangers.push(soon("a connection", TcpStream::connect(port)).await.expect("connected"));
        }
    }
    province.stop_node(SHENZHEN).await.expect("it stops");
    province.start_node(SHENZHEN).await.expect("it starts");
    others_sync(&province, 2).await;
    province.start_node(GUANGZHOU).await.expect("it starts");
    others_sync(&province, 3).await;
    let code = province.invited("440300").await;
    province.node(SHENZHEN).answer(&["join", &code]).await.expect("it joins once more");
    let files = open_files(&province);
    assert!(files < before + 400, "{files} files, {before} before");
    drop(strangers);
}

/// A member has its own places and no other's. Those past them wait a while and are closed.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_has_four_connections_and_a_revoked_one_is_cut_off_with_all_of_them() {
    let (province, enemy) = among_enemies().await;
    others_sync(&province, 1).await;
    let mut streams = Vec::new();
    for _ in 0..100 {
        streams.push(enemy.tls().await);
    }
    province.door(SHENZHEN).await.put(MEMBER, None, &member(2)).await.expect("local work goes on");
    // Each says what HTTP/2 begins with; those with a place are answered.
    let mut answered = 0;
    for mut stream in streams {
        let _ = stream.write_all(&frames::beginning()).await;
        let mut one = [0; 1];
        answered += usize::from(soon("an answer or the end", stream.read_exact(&mut one)).await.is_ok());
        if answered > 0 && answered <= 4 {
            tokio::spawn(async move {
                // It keeps its place.
                let mut rest = Vec::new();
                let _ = stream.read_to_end(&mut rest).await;
            });
        }
    }
    assert_eq!(answered, 4);
    others_sync(&province, 3).await;

    // TLS stands for a void certificate as well, so that its city can be told; not for long.
    let revoke = ["city", "revoke", "440100", "--reason", "证书被盗"];
    province.hub().answer(&revoke).await.expect("revoked");
    let mut stream = enemy.tls().await;
    let mut rest = Vec::new();
    let _ = soon("the end", stream.read_to_end(&mut rest)).await;
    let mut void = Vec::new();
    for _ in 0..100 {
        void.push(enemy.tls().await);
    }
    let session = enemy.channel().await;
    let (_up, outbound) = tokio::sync::mpsc::unbounded_channel::<sync::Up>();
    let outbound = tokio_stream::wrappers::UnboundedReceiverStream::new(outbound);
    let told = soon("a no", SyncClient::new(session).session(outbound)).await;
    assert_eq!(told.err().map(|status| status.code()), Some(Code::PermissionDenied));
    others_sync(&province, 4).await;
}

/// A thief has all the places of a city with a certificate that was stolen, and says nothing but what keeps connections
/// alive. The city joins anew, and waits for none of them; they are cut within the minute.
#[tokio::test(flavor = "multi_thread")]
async fn a_thief_who_keeps_still_holds_no_place_of_a_city_that_has_joined_anew() {
    let (mut province, enemy) = among_enemies().await;
    others_sync(&province, 1).await;
    let before = open_files(&province);
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(enemy.channel().await);
    }
    let revoke = ["city", "revoke", "440100", "--reason", "证书被盗"];
    province.hub().answer(&revoke).await.expect("revoked");
    let code = province.invited("440100").await;
    province.node(GUANGZHOU).answer(&["join", &code]).await.expect("it joins anew");
    province.start_node(GUANGZHOU).await.expect("it starts");
    linked(&province.door(GUANGZHOU).await, Link::Connected).await;
    others_sync(&province, 2).await;
    province.stop_node(GUANGZHOU).await.expect("it stops");
    let cut = async {
        while open_files(&province) > before {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    };
    soon("the end of the thief's connections", cut).await;
    drop(held);
}
