//! Who gets in: by invitation once, with a certificate of this hub, for as long as the province wants it so.

use std::process::Stdio;
use std::time::Duration;

use liandong_node::now::now_ms;
use liandong_node::site::Paths;
use liandong_node::trust::{self, HUB_NAME, Membership};
use liandong_proto::pb::node::v1::Link;
use liandong_proto::pb::sync::v1 as sync;
use liandong_proto::pb::trust::v1 as pb;
use pb::enrolment_client::EnrolmentClient;
use pb::membership_client::MembershipClient;
use sync::sync_client::SyncClient;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use tonic::Code;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::province::{GUANGZHOU, MEMBER, Province, SHENZHEN, linked, member, program};
use crate::site::PATIENCE;

/// How a session begins for whoever holds this channel: its status, `Ok` for one that stands.
async fn session(channel: Channel) -> Code {
    let (_up, outbound) = tokio::sync::mpsc::unbounded_channel::<sync::Up>();
    let outbound = tokio_stream::wrappers::UnboundedReceiverStream::new(outbound);
    let begun =
        tokio::time::timeout(Duration::from_secs(20), SyncClient::new(channel).session(outbound)).await;
    begun.expect("an answer in time").err().map_or(Code::Ok, |status| status.code())
}

/// TLS towards the hub with the authority of `trusting`, and `identity` if there is one.
pub async fn tls(address: &str, trusting: &Membership, identity: Option<Identity>) -> Option<Channel> {
    let tls =
        ClientTlsConfig::new().domain_name(HUB_NAME).ca_certificate(Certificate::from_pem(&trusting.ca));
    let tls = identity.map_or(tls.clone(), |identity| tls.identity(identity));
    let endpoint = Endpoint::from_shared(format!("https://{address}")).expect("an address");
    endpoint.tls_config(tls).expect("certificates").connect().await.ok()
}

/// Nobody gets a session, or anything else of the sync port, without a certificate of this hub; and the enrolment port
/// has no session to give.
#[tokio::test(flavor = "multi_thread")]
async fn only_a_city_with_a_certificate_of_this_hub_gets_in() {
    let province = Province::running(&[GUANGZHOU]).await;
    let other = Province::running(&[GUANGZHOU]).await;
    let (ours, theirs) = (province.membership(GUANGZHOU), other.membership(GUANGZHOU));
    let ports = province.ports().expect("it listens").clone();
    let identity = |member: &Membership| Some(Identity::from_pem(&member.certificate, &member.private_key));

    let plain = Endpoint::from_shared(format!("http://{}", ports.sync)).expect("an address").connect().await;
    if let Ok(channel) = plain {
        assert_ne!(session(channel).await, Code::Ok, "plaintext");
    }
    for (who, identity) in [("nobody", None), ("a city of another hub", identity(&theirs))] {
        // A refusal of the certificate may come with the handshake or with the first call.
        if let Some(channel) = tls(&ports.sync, &ours, identity).await {
            assert_ne!(session(channel.clone()).await, Code::Ok, "{who}");
            let renewed = MembershipClient::new(channel).renew(pb::RenewRequest::default()).await;
            assert!(renewed.is_err(), "{who}");
        }
    }
    assert!(tls(&ports.sync, &theirs, identity(&ours)).await.is_none(), "a node knows its own hub");
    let enrolment = tls(&ports.enrolment, &ours, None).await.expect("anybody may ask to join");
    assert_eq!(session(enrolment.clone()).await, Code::Unimplemented);
    let renewed = MembershipClient::new(enrolment.clone()).renew(pb::RenewRequest::default()).await;
    assert_eq!(renewed.map_err(|status| status.code()).err(), Some(Code::Unimplemented));
    let guess = pb::JoinRequest { secret: vec![7; 16].into(), site: GUANGZHOU.0, ..Default::default() };
    let joined = EnrolmentClient::new(enrolment).join(guess).await;
    assert_eq!(joined.map_err(|status| status.code()).err(), Some(Code::PermissionDenied));
    // With all that going on the member itself has not been disturbed.
    province.equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_is_for_one_city_and_for_once() {
    let mut province = Province::made(&[GUANGZHOU, SHENZHEN]).await;
    province.start_hub().await.expect("the hub starts");
    let join = async |city, code: &str| province.node(city).command(&["join", code]).await.expect("it runs");
    let code = province.invited("440100").await;
    let output = join(SHENZHEN, &code).await;
    assert_eq!(output.status.code(), Some(6), "another city's: {output:?}");
    assert!(!province.node(SHENZHEN).is_member());
    assert!(join(GUANGZHOU, &code).await.status.success());
    assert_eq!(join(GUANGZHOU, &code).await.status.code(), Some(6), "used");
    let replaced = province.invited("深圳").await;
    let code = province.invited("深圳").await;
    assert_eq!(join(SHENZHEN, &replaced).await.status.code(), Some(6), "a later one took its place");
    assert_eq!(join(SHENZHEN, &code[..60]).await.status.code(), Some(2), "cut short in a message");
    assert!(join(SHENZHEN, &code).await.status.success());
    for city in [GUANGZHOU, SHENZHEN] {
        province.agree(city).await.expect("agreed");
    }
    province.start_nodes().await.expect("the nodes start");
    province.equal().await;
    province.stop().await.expect("all stop");
}

/// A city that is cut off loses the stream it has; it works on, and comes back with a fresh invitation.
#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_city_is_cut_off_at_once_and_comes_back_by_invitation_only() {
    let mut province = Province::running(&[GUANGZHOU, SHENZHEN]).await;
    province.equal().await;
    let door = province.door(GUANGZHOU).await;
    let revoke = ["city", "revoke", "440100", "--reason", "密钥遗失"];
    province.hub().answer(&revoke).await.expect("revoked");
    linked(&door, Link::Refused).await;
    door.put(MEMBER, None, &member(1)).await.expect("local work goes on");
    let void = province.membership(GUANGZHOU);
    let ports = province.ports().expect("it listens").clone();
    let channel =
        trust::endpoint(&ports.sync, &void).expect("an address").connect().await.expect("TLS stands");
    assert_eq!(session(channel).await, Code::PermissionDenied, "a new stream with the old certificate");

    let code = province.invited("440100").await;
    province.node(GUANGZHOU).answer(&["join", &code]).await.expect("joined again");
    // It comes back by itself.
    linked(&door, Link::Connected).await;
    province.equal().await;
    let members = province.door(liandong_proto::id::SiteCode::PROVINCE).await.list(MEMBER, &[]).await;
    assert_eq!(members.expect("a list").len(), 1, "what it wrote meanwhile is there");
    let channel =
        trust::endpoint(&ports.sync, &void).expect("an address").connect().await.expect("TLS stands");
    assert_eq!(session(channel).await, Code::PermissionDenied, "the earlier certificate stays void");
    province.stop().await.expect("all stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_by_its_own_city() {
    let province = Province::running(&[GUANGZHOU]).await;
    let before = province.membership(GUANGZHOU);
    let paths = Paths::new(&province.node(GUANGZHOU).data_dir);
    let ports = province.ports().expect("it listens").clone();
    let channel = trust::endpoint(&ports.sync, &before).expect("an address").connect().await.expect("TLS");
    let after = trust::renew(channel, before.clone(), &paths).await.expect("renewed");
    assert!(after.certificate != before.certificate && after.private_key != before.private_key);
    assert!(after.not_after_ms >= before.not_after_ms);
    assert_eq!(province.membership(GUANGZHOU).certificate, after.certificate, "kept");
    let channel = trust::endpoint(&ports.sync, &after).expect("an address").connect().await.expect("TLS");
    assert_eq!(session(channel).await, Code::Ok);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_says_in_its_log_that_its_certificate_is_at_its_end() {
    let mut province = Province::running(&[GUANGZHOU]).await;
    province.stop_node(GUANGZHOU).await.expect("it stops");
    province.stop_hub().await.expect("it stops");
    let home = &province.node(GUANGZHOU).data_dir;
    let mut membership = province.membership(GUANGZHOU);
    membership.not_after_ms = now_ms() + 5 * 86_400_000 + 60_000;
    membership.store(&Paths::new(home)).expect("stored");
    let mut node = Command::new(program());
    node.args(["site-node", "--tied", "run", "--data-dir"]).arg(home).kill_on_drop(true);
    let mut node = node.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(node.stderr.take().expect("a pipe")).lines();
    let told = async {
        while let Some(line) = lines.next_line().await.expect("readable") {
            if line.contains("a certificate is at its end") {
                return line;
            }
        }
        panic!("it ended without a word");
    };
    let line = tokio::time::timeout(PATIENCE, told).await.expect("in time");
    assert!(line.contains("ERROR") && line.contains("\"days\":5"), "{line}");
}
