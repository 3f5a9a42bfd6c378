//! The bytes of format version 1, kept in the repository: written and read exactly so for ever.

use super::*;

const FILES: [&str; 2] = ["00000000000000000001.log", "00000000000000000002.log"];

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/log")
}

/// A batch of the golden log: its mark, and kind and payload of its records.
type GoldenBatch = (u64, Vec<(u8, Vec<u8>)>);

/// The third fills the first segment up, so the second one begins with it.
fn batches() -> Vec<GoldenBatch> {
    vec![
        (1, vec![(1, b"the first record".to_vec())]),
        (2, vec![(1, "联动".into()), (2, Vec::new()), (255, vec![0; 5])]),
        (5, vec![(2, (0..=255).collect())]),
        (6, vec![(1, b"the last batch".to_vec()), (1, b"btch".to_vec())]),
    ]
}

/// Set `LIANDONG_BLESS=1` to write the golden files anew; right only together with a new format version.
#[test]
fn the_bytes_are_reproduced() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = Log::open(dir.path(), Options { segment_bytes: 420, ..SMALL }).unwrap();
    for (mark, records) in batches() {
        let mut batch = Batch::new();
        records.iter().for_each(|(kind, payload)| batch.push(*kind, &[payload]));
        let span = log.append(&batch, mark).unwrap();
        if mark != 2 {
            log.sync_to(span.end).unwrap();
        }
    }
    if std::env::var_os("LIANDONG_BLESS").is_some() {
        copy(dir.path(), &golden());
        // A closed segment may have its zeros yet.
        edit(&golden().join(FILES[0]), |bytes| bytes.resize(420, 0));
    }
    assert_eq!(files(dir.path()).len(), FILES.len());
    for name in FILES {
        let (found, expected) = (fs::read(dir.path().join(name)), fs::read(golden().join(name)));
        let (mut found, expected) = (found.unwrap(), expected.expect("the golden file is in the repository"));
        if name == FILES[0] {
            assert_eq!(found.len(), 143, "cut to its end");
            found.resize(420, 0);
        }
        let differs = found.iter().zip(&expected).position(|(found, expected)| found != expected);
        assert_eq!((differs, found.len()), (None, expected.len()), "{name}");
    }
}

#[test]
fn the_bytes_are_read() {
    // Opening syncs and would cut, so it gets a copy.
    let dir = tempfile::tempdir().unwrap();
    copy(&golden(), dir.path());
    let (log, opened) = examine(dir.path()).unwrap();
    assert_eq!((opened.end, opened.cut), (Pos { segment: 2, offset: 381 }, None));
    let expected: Vec<_> = batches().into_iter().flat_map(|(_, records)| records).collect();
    let found: Vec<_> = records(&log).iter().map(|record| (record.kind, record.payload.to_vec())).collect();
    assert_eq!(found, expected);
    assert_eq!((log.seek(4).segment, log.seek(5).segment), (1, 2));
}
