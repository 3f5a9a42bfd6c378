//! The loopback port: for whoever can read its file, and for nobody else.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use liandong_node::api::{Local, Transport};
use liandong_proto::pb::node::v1 as pb;
use pb::records_client::RecordsClient;
use pb::upkeep_client::UpkeepClient;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tonic::transport::{Channel, Endpoint};

use crate::site::{PATIENCE, Site};

const LOOPBACK: [&str; 3] = ["local=loopback", "listen=127.0.0.1:0", "enrolment.listen=127.0.0.1:0"];

fn address(file: &Path) -> String {
    let text = std::fs::read_to_string(file).expect("the file is there");
    text.lines().next().expect("an address").to_owned()
}

/// Another file, with the same address and a secret that is not the site's.
fn guessed(site: &Site, program: &str) -> Local {
    let real = site.data_dir().join(format!("{program}.port"));
    let dir = site.file("guess");
    std::fs::create_dir_all(&dir).expect("made");
    let text = format!("{}\n{}\n", address(&real), "07".repeat(32));
    std::fs::write(dir.join(format!("{program}.port")), text).expect("written");
    Local::new(Transport::Loopback, &dir, program)
}

async fn check(site: Site, program: &str, record: &[&str]) {
    let running = site.start().await;
    let file = site.data_dir().join(format!("{program}.port"));
    assert!(!site.data_dir().join(format!("{program}.sock")).exists(), "there is no socket beside it");
    assert_eq!(std::fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o600);
    let address = address(&file);
    assert!(address.starts_with("127.0.0.1:"));
    // Whoever can read the file.
    site.answer(&[&["record", "put"], record].concat()).await;
    let status = site.answer(&["status"]).await;
    assert_eq!(status["running"], true, "it was the running site that answered");

    // Whoever speaks HTTP/2 at once, as any client or browser does.
    let plain = Endpoint::from_shared(format!("http://{address}")).expect("an address");
    let plain: Channel = plain.timeout(PATIENCE).connect_lazy();
    let read = UpkeepClient::new(plain.clone()).status(pb::StatusRequest {}).await;
    assert!(read.is_err(), "{read:?}");
    let written = RecordsClient::new(plain).put(pb::PutRequest::default()).await;
    assert!(written.is_err(), "{written:?}");
    // Whoever knows how it goes, and not the secret.
    let local = guessed(&site, program);
    assert!(local.connect().await.is_err(), "another secret");
    let mut stranger = TcpStream::connect(&address).await.expect("the port is open");
    stranger.write_all(&[b"liandong local 1".as_slice(), &[5; 32]].concat()).await.expect("sent");
    let mut answer = [0; 64];
    stranger.read_exact(&mut answer).await.expect("the site proves itself first");
    // Its own proof sent back is none.
    stranger.write_all(&answer[32..]).await.expect("sent");
    stranger.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.expect("sent");
    let mut more = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, stranger.read_to_end(&mut more)).await.expect("in time");
    assert!(ended.is_err() || more.is_empty(), "not a byte more is said to it");

    running.stop().await;
    assert!(!file.exists(), "the file goes with the site");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_can_read_its_file_gets_into_a_node() {
    let record = ["--kind", "member", "--set", "name=王芳", "--set", "status=ACTIVE"];
    check(Site::node(&LOOPBACK[..1]).await, "node", &record).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_can_read_its_file_gets_into_a_hub() {
    let record = [
        "--kind",
        "award_round",
        "--set",
        "year=2026",
        "--set",
        "title=优秀社工",
        "--set",
        "categories=优秀社工",
    ];
    check(Site::hub(&LOOPBACK).await, "hub", &record).await;
}

/// A site that was killed leaves its file behind. Whoever listens at that port now is told nothing, and the command
/// opens the site itself.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_takes_the_port_of_a_dead_site_learns_nothing() {
    let site = Site::node(&LOOPBACK[..1]).await;
    let running = site.start().await;
    let file = site.data_dir().join("node.port");
    let (port, text) = (address(&file), std::fs::read_to_string(&file).expect("there"));
    running.kill().await;
    assert_eq!(std::fs::read_to_string(&file).expect("left behind"), text);
    let impostor = TcpListener::bind(&port).await.expect("the port is free");
    let listening = tokio::spawn(async move {
        let (mut stream, _) = impostor.accept().await.expect("the command comes");
        let mut hello = [0; 48];
        stream.read_exact(&mut hello).await.expect("a greeting");
        // All that it can do is guess.
        stream.write_all(&[9; 64]).await.expect("sent");
        let mut more = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut more)).await;
        (hello.to_vec(), more)
    });
    let status = site.answer(&["status"]).await;
    assert_eq!(status["running"], false, "the command has opened the site itself");
    let (hello, more) = listening.await.expect("no panic");
    assert!(hello.starts_with(b"liandong local 1") && more.is_empty(), "no proof, no request");
}
