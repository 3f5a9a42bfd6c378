//! Every call and every message of the protocol, from everybody who must not have it. The lists come from the
//! descriptors: a new call or message that has no line here fails the test.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use liandong_node::site::Paths;
use liandong_node::trust::{self, Membership};
use liandong_proto::entry::{self, Head, Header, Op};
use liandong_proto::id::{Epoch, Origin, RecordId, SiteCode};
use liandong_proto::pb::DESCRIPTORS;
use liandong_proto::pb::sync::v1 as sync;
use liandong_proto::position::Position;
use liandong_proto::session::head_to_pb;
use liandong_proto::stamp::Stamp;
use prost_reflect::DescriptorPool;
use sync::down::Message as Down;
use sync::refusal::Code as Refused;
use sync::sync_client::SyncClient;
use sync::up::Message as Up;
use tonic::Code;
use tonic::transport::{Channel, Identity};

use crate::province::{GUANGZHOU, Province, SHENZHEN};
use crate::trust::tls;

/// Calls a method with an empty message, streaming or not: the status it ends with.
async fn call(channel: &Channel, path: &str) -> Code {
    let mut client = tonic::client::Grpc::new(channel.clone());
    if client.ready().await.is_err() {
        return Code::Unavailable;
    }
    let codec = tonic_prost::ProstCodec::<sync::Applied, sync::Applied>::default();
    let path = path.parse().expect("a path");
    let answer = client.unary(tonic::Request::new(sync::Applied::default()), path, codec);
    let answer = tokio::time::timeout(Duration::from_secs(20), answer).await.expect("an answer in time");
    answer.err().map_or(Code::Ok, |status| status.code())
}

/// `/package.Service/Method` of everything that is served anywhere.
fn methods() -> Vec<String> {
    let pool = DescriptorPool::decode(DESCRIPTORS).expect("descriptors");
    let methods = pool.services().flat_map(|service| {
        service
            .methods()
            .map(|method| format!("/{}/{}", service.full_name(), method.name()))
            .collect::<Vec<_>>()
    });
    methods.filter(|path| path.starts_with("/liandong.")).collect()
}

/// What a stranger's call comes to at each port: `None` where no stranger gets as far as an answer.
fn stranger(path: &str) -> Option<Code> {
    match path {
        "/liandong.trust.v1.Enrolment/Join" => Some(Code::PermissionDenied),
        _ if path.starts_with("/liandong.") => Some(Code::Unimplemented),
        _ => None,
    }
}

/// What a member's call at the sync port comes to: the sync service, its certificate and its keys are its own, with a request
/// that says nothing they end in a word about that; nothing else is served.
fn member(path: &str) -> Vec<Code> {
    match path {
        "/liandong.sync.v1.Sync/Session" => vec![Code::Ok, Code::Internal],
        "/liandong.trust.v1.Membership/Renew" => vec![Code::InvalidArgument],
        // With no proofs there is nothing to say.
        "/liandong.trust.v1.Membership/Prove" => vec![Code::Ok, Code::Internal],
        "/liandong.trust.v1.Membership/RotateSigningKey" => vec![Code::InvalidArgument],
        "/liandong.trust.v1.Membership/DepositKeyRing" => vec![Code::InvalidArgument],
        "/liandong.trust.v1.Membership/Keys" => vec![Code::Ok],
        "/liandong.trust.v1.Enrolment/Join" => vec![Code::Unimplemented],
        _ if ["/liandong.node.v1.", "/liandong.hub.v1.", "/liandong.audit.v1."]
            .iter()
            .any(|local| path.starts_with(local)) =>
        {
            vec![Code::Unimplemented]
        }
        other => panic!("{other} is new: say here who may call it"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_is_refused_to_whoever_must_not_make_it() {
    let province = Province::running(&[GUANGZHOU, SHENZHEN]).await;
    let elsewhere = Province::running(&[GUANGZHOU]).await;
    let (ours, theirs) = (province.membership(GUANGZHOU), elsewhere.membership(GUANGZHOU));
    let revoked = province.membership(SHENZHEN);
    let revoke = ["city", "revoke", "440300", "--reason", "x"];
    province.hub().answer(&revoke).await.expect("revoked");
    let ports = province.ports().expect("it listens").clone();
    let identity = |member: &Membership| Some(Identity::from_pem(&member.certificate, &member.private_key));
    let methods = methods();
    assert!(methods.len() >= 14, "{methods:?}");

    for (who, identity) in [("nobody", None), ("a city of another hub", identity(&theirs))] {
        let channel = tls(&ports.sync, &ours, identity).await;
        for path in &methods {
            // A certificate may be refused with the handshake, or with the first call.
            let code = match &channel {
                Some(channel) => call(channel, path).await,
                None => Code::Unavailable,
            };
            let refused =
                [Code::Cancelled, Code::Unavailable, Code::Unknown, Code::Unauthenticated, Code::Internal];
            assert!(refused.contains(&code), "{who} calls {path}: {code:?}");
        }
    }
    let living = tls(&ports.sync, &ours, identity(&ours)).await.expect("TLS stands");
    let joining = tls(&ports.enrolment, &ours, None).await.expect("anybody may ask to join");
    for path in &methods {
        // A connection with a void certificate does not last.
        let void = tls(&ports.sync, &ours, identity(&revoked)).await.expect("TLS stands");
        let code = call(&void, path).await;
        assert!(
            [Code::PermissionDenied, Code::Unimplemented].contains(&code),
            "a revoked city calls {path}: {code:?}"
        );
        let code = call(&living, path).await;
        assert!(member(path).contains(&code), "a member calls {path}: {code:?}");
        let code = call(&joining, path).await;
        assert_eq!(Some(code), stranger(path), "a stranger calls {path} at the enrolment port");
    }
}

/// A session in which a member sends what it likes, the second once it is welcome; the refusal that ends it.
async fn refusal(member: &Membership, first: Up, second: Option<Up>) -> Option<Refused> {
    let channel = trust::endpoint(&member.hub, member).expect("an address").connect().await.expect("TLS");
    let (up, outbound) = tokio::sync::mpsc::unbounded_channel();
    let send = |message| up.send(sync::Up { message: Some(message) }).expect("open");
    let mut second = second;
    send(first);
    let outbound = tokio_stream::wrappers::UnboundedReceiverStream::new(outbound);
    let mut inbound = SyncClient::new(channel).session(outbound).await.expect("a session").into_inner();
    let answered = async {
        while let Some(down) = inbound.message().await.ok().flatten() {
            match down.message {
                Some(Down::Refusal(refusal)) => return Some(refusal.code()),
                Some(Down::Welcome(_)) => send(second.take().expect("there is a second")),
                _ => {}
            }
        }
        None
    };
    tokio::time::timeout(Duration::from_secs(20), answered).await.expect("an end in time")
}

fn hello(site: SiteCode, epoch: Epoch) -> Up {
    let head = Some(head_to_pb(&Head::default()));
    let epoch = Bytes::copy_from_slice(&epoch.0);
    // The same in all sessions: to the hub these are one node that comes back.
    let nonces = vec![Bytes::from_static(&[5; 16])];
    Up::Hello(sync::Hello {
        protocol_min: 1,
        protocol_max: 1,
        site: site.0,
        epoch,
        nonces,
        head,
        ..sync::Hello::default()
    })
}

fn push_of(origin: Origin, signer: &liandong_proto::sign::SigningKey) -> Up {
    let header = Header {
        origin,
        seq: 1,
        stamp: Stamp::at_ms(1),
        base: Position::default(),
        kind: 1,
        record: RecordId([1; 16]),
        op: Op::Delete,
        author: String::new(),
        import_id: Bytes::new(),
        prev: None,
        open_hash: None,
        sealed_hash: None,
        anchor: None,
        seen: Vec::new(),
    };
    let (entry, head) = entry::make(header, Bytes::new(), Bytes::new());
    let head_signature = Bytes::copy_from_slice(&signer.sign_head(origin, &head));
    Up::Push(sync::Push { entries: vec![entry], head_signature, ..sync::Push::default() })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_message_out_of_its_place_or_for_another_city_is_refused() {
    let mut province = Province::made(&[GUANGZHOU, SHENZHEN]).await;
    province.start_hub().await.expect("the hub starts");
    province.join(GUANGZHOU).await.expect("a member");
    let member = province.membership(GUANGZHOU);
    let signer = Paths::new(&province.node(GUANGZHOU).data_dir).signing().expect("a key");
    let epoch = Epoch([3; 16]);
    let own = Origin { site: GUANGZHOU, epoch };
    let foreign = Origin { site: SHENZHEN, epoch };
    // Before a hello nothing has a place; behind one, these have none, or name what is not this city's.
    let first: BTreeMap<&str, (Up, Refused)> = BTreeMap::from([
        ("hello", (hello(SHENZHEN, epoch), Refused::WrongOrigin)),
        ("locate", (Up::Locate(sync::Locate::default()), Refused::UnexpectedMessage)),
        ("push", (push_of(own, &signer), Refused::UnexpectedMessage)),
        ("applied", (Up::Applied(sync::Applied::default()), Refused::UnexpectedMessage)),
        ("compare", (Up::Compare(sync::Compare::default()), Refused::UnexpectedMessage)),
        ("restore", (Up::Restore(sync::RestoreAsk::default()), Refused::UnexpectedMessage)),
    ]);
    let pool = DescriptorPool::decode(DESCRIPTORS).expect("descriptors");
    let messages = pool.get_message_by_name("liandong.sync.v1.Up").expect("the messages of a node");
    let known: Vec<String> = messages.fields().map(|field| field.name().to_owned()).collect();
    for name in &known {
        let (message, code) =
            first.get(name.as_str()).unwrap_or_else(|| panic!("{name} is new: say here when it is refused"));
        assert_eq!(refusal(&member, message.clone(), None).await, Some(*code), "{name} first");
    }
    assert_eq!(first.len(), known.len());

    let mut other_key = push_of(own, &liandong_proto::sign::SigningKey::new(&[9; 32]));
    if let Up::Push(push) = &mut other_key {
        push.after_seq = 0;
    }
    let never = sync::Applied { cursor: Some(sync::Position { generation: 0, hub_seq: 1 << 40 }) };
    let behind = [
        ("a second hello", hello(GUANGZHOU, epoch), Refused::UnexpectedMessage),
        ("another city's entry", push_of(foreign, &signer), Refused::WrongOrigin),
        ("a push signed by another key", other_key, Refused::Signature),
        ("an applied of what was never delivered", Up::Applied(never), Refused::UnexpectedMessage),
        (
            "a restore in a session that syncs",
            Up::Restore(sync::RestoreAsk::default()),
            Refused::UnexpectedMessage,
        ),
    ];
    for (what, message, code) in behind {
        let ended = refusal(&member, hello(GUANGZHOU, epoch), Some(message)).await;
        assert_eq!(ended, Some(code), "{what}");
    }
}
