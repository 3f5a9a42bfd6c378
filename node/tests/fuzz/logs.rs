//! Segments of a log with anything in them: opened, cut where that is allowed, or refused with the place. Never a panic,
//! and never a record that was not written.

use std::fs;
use std::path::Path;

use liandong_node::log::{Batch, Log, Options};

use crate::runner::run;
use crate::source::Source;

const SEGMENT: u64 = 512;

fn options() -> Options {
    Options { segment_bytes: SEGMENT, ..Options::default() }
}

/// A log of a few segments; its records, in order.
fn written(source: &mut Source, dir: &Path) -> Vec<Vec<u8>> {
    let (log, _) = Log::open(dir, options()).expect("a new log");
    let mut all = Vec::new();
    for mark in 1..2 + source.below(12) as u64 {
        let mut batch = Batch::new();
        for _ in 0..1 + source.below(3) {
            let payload = source.bytes(90);
            batch.push(2, &[&payload]);
            all.push(payload);
        }
        let span = log.append(&batch, mark).expect("room");
        if source.percent(70) {
            log.sync_to(span.end).expect("synced");
        }
    }
    all
}

#[test]
fn segments_are_read_or_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    run("segments_are_read_or_refused", 30, |source| {
        let dir = dir.path().join("log");
        let _ = fs::remove_dir_all(&dir);
        let all = written(source, &dir);
        let mut files: Vec<_> =
            fs::read_dir(&dir).expect("there").map(|entry| entry.expect("an entry").path()).collect();
        files.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
        files.sort();
        let file = &files[source.below(files.len())];
        let bytes = fs::read(file).expect("readable");
        fs::write(file, source.mutated(bytes)).expect("written");
        let Ok((log, _)) = Log::open(&dir, options()) else { return };
        let read: Vec<_> = log.read(log.seek(0)).map_while(Result::ok).collect();
        assert!(read.len() <= all.len());
        assert!(read.iter().zip(&all).all(|(record, payload)| record.payload.as_ref() == payload.as_slice()));
        let _ = log.verify(&mut |_, _| {});
        // It goes on from there.
        let mut batch = Batch::new();
        batch.push(2, &[b"the next"]);
        if let Ok(span) = log.append(&batch, 99) {
            log.sync_to(span.end).expect("synced");
        }
    });
}
