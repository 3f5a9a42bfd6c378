//! What a hub does that cannot go on.

mod lost;
mod pushes;

use liandong_node::site::{By, Class, Put};
use liandong_proto::entry::Op;
use liandong_proto::id::RecordId;

use super::*;

fn made(dir: &Path) -> Arc<Hub> {
    Hub::init(dir, None).expect("a hub is made");
    Hub::open(&HubOptions::new(dir), &mut |_| {}).expect("the hub opens")
}

/// Nothing to write: it is answered when its round is published.
fn write(hub: &Hub) -> Result<Vec<PutAnswer>, SiteError> {
    hub.write(Vec::new(), &By::default(), false)
}

/// Somebody's answer that panics, in the writer: it stands for any panic there.
fn panics() -> Job {
    let answer = Box::new(|_| panic!("in the writer"));
    Job::Own(OwnWrite { puts: Vec::new(), by: By::default(), dry_run: false, answer })
}

#[tokio::test]
async fn a_panic_of_the_writer_ends_the_hub_and_nobody_waits() {
    let dir = tempfile::tempdir().expect("a directory");
    let hub = made(dir.path());
    write(&hub).expect("it works");
    hub.shared.queue.put(panics());
    let ended = tokio::time::timeout(std::time::Duration::from_secs(30), hub.failed()).await;
    let error = ended.expect("it ends");
    assert_eq!(error.class(), Class::Internal, "{error}");
    assert!(write(&hub).is_err());
    hub.shared.queue.put(panics());
    assert!(hub.wait_merged(1_000).is_err());
    hub.close().expect("the index is well");
}

#[test]
fn a_write_after_the_stop_does_not_wait() {
    let dir = tempfile::tempdir().expect("a directory");
    let hub = made(dir.path());
    hub.close().expect("closed");
    assert!(write(&hub).is_err());
}

#[tokio::test]
async fn a_damaged_record_ends_the_hub_as_damage() {
    let dir = tempfile::tempdir().expect("a directory");
    let hub = made(dir.path());
    let (kind, record) = (2, RecordId([7; 16]));
    let damaged =
        Staged { key: rows::record(kind, record), old: None, new: Some(Bytes::from_static(b"\xff")) };
    hub.index().stage(&[damaged], hub.log().end().to_bytes());
    let put = Put {
        kind,
        record: Some(record),
        op: Op::Put,
        patch: Default::default(),
        expected_version: None,
        touch: false,
    };
    let error = hub.write(vec![put], &By::default(), false).expect_err("it cannot be read");
    assert_eq!(error.class(), Class::Damaged, "{error}");
    assert_eq!(hub.failed().await.class(), Class::Damaged);
    let _ = hub.close();
}
