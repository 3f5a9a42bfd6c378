//! Payloads dropped in their places: nothing else changes, and no byte of them stays.

use super::*;

const SECRET: &[u8] = b"the secret";

/// A log of several segments in which every third record is a secret.
fn written(dir: &Path) -> (Log, Vec<Record>) {
    let (log, _) = open(dir);
    for number in 0..40 {
        let span = log.append(&batch(&[SECRET, &payload(number, 30), b"plain"]), number as u64);
        log.sync_to(span.expect("appended").end).expect("synced");
    }
    log.begin_segment(40).expect("begun");
    let before = records(&log);
    (log, before)
}

fn blank(_: u8, payload: &[u8]) -> Option<Vec<u8>> {
    (payload == SECRET).then(|| vec![0; payload.len()])
}

fn never() -> bool {
    false
}

fn holds_secret(dir: &Path) -> bool {
    let found = |path: PathBuf| {
        let bytes = fs::read(path).expect("readable");
        bytes.windows(SECRET.len()).any(|window| window == SECRET)
    };
    fs::read_dir(dir).expect("a directory").any(|entry| found(entry.expect("an entry").path()))
}

#[test]
fn what_was_dropped_is_gone_from_the_disk_and_everything_else_is_in_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let (log, before) = written(dir.path());
    assert!(files(dir.path()).len() > 3 && holds_secret(dir.path()));
    assert_eq!(log.rewrite(&mut blank, &never).expect("rewritten"), Some(40));
    assert!(!holds_secret(dir.path()));
    let check = |log: &Log| {
        let after = records(log);
        assert_eq!(after.len(), before.len());
        for (old, new) in before.iter().zip(&after) {
            assert_eq!((old.pos, old.kind), (new.pos, new.kind));
            let expected = blank(old.kind, &old.payload).unwrap_or_else(|| old.payload.to_vec());
            assert_eq!(new.payload, expected);
        }
    };
    check(&log);
    assert_eq!(log.rewrite(&mut blank, &never).expect("again"), Some(0), "there is nothing left to drop");
    drop(log);
    let (log, opened) = open(dir.path());
    assert_eq!(opened.cut, None);
    check(&log);
    log.append(&batch(&[b"later"]), 40).expect("appended");
    let sought = log.read(log.seek(39)).next().expect("a record").expect("sound");
    assert!(sought.pos <= before[before.len() - 3].pos, "what has number 39 is found from there");
    assert_eq!(payloads(&log).last().map(Vec::as_slice), Some(b"later".as_slice()));
}

#[test]
fn a_segment_that_is_closed_takes_no_more_than_it_holds() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    let end = append_synced(&log, &[b"one"]).end;
    log.begin_segment(0).expect("begun");
    append_synced(&log, &[b"two"]);
    let length = |number: usize| fs::metadata(&files(dir.path())[number - 1]).expect("a file").len();
    assert_eq!((length(1), length(2)), (end.offset, SMALL.segment_bytes));
    log.verify(&mut |_, _| {}).expect("sound");
    drop(log);
    // The name of the next one has not become durable.
    fs::remove_file(&files(dir.path())[1]).expect("removed");
    let (log, opened) = open(dir.path());
    assert_eq!((opened.end, opened.cut), (end, None));
    append_synced(&log, &[b"three"]);
    assert_eq!(payloads(&log), texts(&["one", "three"]));
    log.verify(&mut |_, _| {}).expect("sound");
}

#[test]
fn whoever_stops_it_waits_for_one_segment_only() {
    let dir = tempfile::tempdir().unwrap();
    let (log, before) = written(dir.path());
    let asked = std::cell::Cell::new(0);
    let stopped = || asked.replace(asked.get() + 1) == 1;
    assert_eq!(log.rewrite(&mut blank, &stopped).expect("stopped"), None);
    assert_eq!((asked.get(), records(&log).len()), (2, before.len()));
    let rest = log.rewrite(&mut blank, &never).expect("it goes on").expect("to its end");
    assert!(rest > 0 && rest < 40 && !holds_secret(dir.path()), "{rest}");
}

#[test]
fn a_reader_on_its_way_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (log, before) = written(dir.path());
    let mut reader = log.read(Pos::START);
    let first = reader.next().expect("a record").expect("readable");
    log.rewrite(&mut blank, &never).expect("rewritten");
    let rest: Vec<Record> = reader.collect::<Result<_, _>>().expect("readable to its end");
    assert_eq!((first.pos, rest.len() + 1), (before[0].pos, before.len()));
}

#[test]
fn a_full_disk_leaves_the_log_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let (log, before) = written(dir.path());
    *log.disk.faults.room.lock().unwrap() = Some(100);
    assert!(matches!(log.rewrite(&mut blank, &never), Err(LogError::Full { .. })));
    assert_eq!(records(&log), before);
    *log.disk.faults.room.lock().unwrap() = None;
    assert_eq!(log.rewrite(&mut blank, &never).expect("now"), Some(40));
}
