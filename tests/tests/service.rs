//! What a service manager hears, and who on the same machine gets in.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use liandong_tests::cluster::Door;
use tokio::net::UnixDatagram;

use crate::site::{PATIENCE, Site};

/// The next message of a process to its manager, without lines that hold nothing.
async fn heard(manager: &UnixDatagram) -> Vec<String> {
    let mut bytes = [0; 4_096];
    let read = tokio::time::timeout(PATIENCE, manager.recv(&mut bytes)).await;
    let read = read.expect("in time").expect("readable");
    let text = std::str::from_utf8(&bytes[..read]).expect("text");
    text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

async fn check_manager(site: Site, socket: &str) {
    let path = site.file("notify");
    let manager = UnixDatagram::bind(&path).expect("a socket");
    let socket = site.data_dir().join(socket);
    // It looks at nobody else's environment: the watchdog is for whoever has no process id in it.
    let variables = [("NOTIFY_SOCKET", path.as_os_str()), ("WATCHDOG_USEC", "200000".as_ref())];
    let starting = site.start_with(&variables);
    let hearing = async {
        let first = heard(&manager).await;
        assert!(first.iter().any(|line| line.starts_with("EXTEND_TIMEOUT_USEC=")), "{first:?}");
        assert!(first.iter().any(|line| line.starts_with("STATUS=opening")), "{first:?}");
        loop {
            let said = heard(&manager).await;
            if said.iter().any(|line| line == "READY=1") {
                break;
            }
            assert!(!said.iter().any(|line| line.starts_with("WATCHDOG")), "{said:?}");
        }
        // At this very moment, without waiting for anything more.
        let door = Door::open(&socket).await.expect("ready means that it is served");
        door.status().await.expect("and that it answers");
    };
    let (running, ()) = tokio::join!(starting, hearing);
    for _ in 0..3 {
        assert_eq!(heard(&manager).await, ["WATCHDOG=1"]);
    }
    let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!((mode(&socket), mode(&site.data_dir())), (0o600, 0o700));
    running.stop().await;
    loop {
        let said = heard(&manager).await;
        if said.iter().any(|line| line == "STOPPING=1") {
            break;
        }
        assert_eq!(said, ["WATCHDOG=1"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_ready_when_it_answers_and_says_that_it_lives() {
    check_manager(Site::node(&[]).await, "node.sock").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_is_ready_when_it_answers_and_says_that_it_lives() {
    let options = ["listen=127.0.0.1:0", "enrolment.listen=127.0.0.1:0"];
    check_manager(Site::hub(&options).await, "hub.sock").await;
}
