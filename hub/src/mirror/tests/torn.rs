//! A copying that was cut short can be told from damage, whatever of it came to the disk.

use std::fs::OpenOptions;
use std::sync::atomic::AtomicU64;

use liandong_node::log::{BATCH_HEAD_BYTES, Batch, LogError};
use liandong_proto::id::sha256;

use super::*;
use crate::mirror::follow::Follower;

/// More than is copied at once.
const LARGE: usize = 300 << 10;

#[test]
fn of_several_batches_the_first_head_is_written_last() {
    let dir = tempfile::tempdir().expect("a directory");
    let (source, target) = (dir.path().join("source"), dir.path().join("target"));
    let (log, _) = Log::open(&source, log::Options::default()).expect("made");
    let log = Arc::new(log);
    let append = |count: u64, byte: u8| {
        for _ in 0..count {
            let mut batch = Batch::new();
            batch.push(1, &[&vec![byte; LARGE]]);
            let span = log.append(&batch, 0).expect("appended");
            log.sync_to(span.end).expect("synced");
        }
        log.end().offset
    };
    let beats = Arc::new(AtomicU64::new(0));
    let mut follower = Follower::new(Arc::clone(&log), target.clone(), |_, bytes| sha256(bytes), beats);
    let from = append(1, 1);
    follower.catch_up(log.extents().expect("extents")).expect("copied");
    let end = append(3, 2);
    // The copying comes to its end before the last batch does.
    let (ours, theirs) = (segment_path(&source, 1), segment_path(&target, 1));
    let whole = fs::read(&ours).expect("read");
    OpenOptions::new().write(true).open(&ours).and_then(|it| it.set_len(end - 1)).expect("cut");
    follower.catch_up(log.extents().expect("extents")).expect_err("cut short");
    let head = usize::try_from(from).expect("small");
    let torn = fs::read(&theirs).expect("read");
    let head = head..head + usize::try_from(BATCH_HEAD_BYTES).expect("small");
    assert!(torn[head.clone()].iter().all(|byte| *byte == 0) && torn[head.end..].contains(&2));
    // As the log of a hub it would be taken for damaged, since a later batch says that this one had been synced.
    let copy = dir.path().join("copy");
    super::copy(&target, &copy);
    let opened = Log::open(&copy, log::Options::default());
    assert!(matches!(opened, Err(LogError::Damaged { .. })));
    // The next try begins behind what is whole.
    fs::write(&ours, &whole).expect("mended");
    follower.catch_up(log.extents().expect("extents")).expect("copied");
    let end = usize::try_from(end).expect("small");
    assert!(fs::read(&theirs).expect("read") == whole[..end]);
}
