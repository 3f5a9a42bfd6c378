//! Mirrors that may hold what the log does not, and cannot be read where that would be seen.

use super::*;

/// Yesterday's hub and today's mirror, whose log is one segment: how long the mirror's was yesterday.
fn behind(disks: &Disks) -> usize {
    let hub = disks.open();
    write(&hub, "旧").expect("written");
    close(hub);
    let (backup, common) =
        (disks.dir.path().join("backup"), segments(&disks.mirror().join(LOG)).remove(0).len());
    copy(&disks.data(), &backup);
    let hub = disks.open();
    for title in ["新一", "新二", "新三"] {
        write(&hub, title).expect("written");
    }
    close(hub);
    fs::remove_dir_all(disks.data()).expect("lost");
    fs::rename(&backup, disks.data()).expect("put back");
    common
}

/// Turns a bit over just behind what both have.
fn flip(disks: &Disks, at: usize) {
    let path = segment_path(&disks.mirror().join(LOG), 1);
    let mut bytes = fs::read(&path).expect("read");
    bytes[at] ^= 1;
    fs::write(&path, bytes).expect("damaged");
}

/// A write is refused for this reason, and the mirror is as it was.
#[track_caller]
fn check_refused(disks: &Disks, words: &str) {
    let before = segments(&disks.mirror().join(LOG));
    let hub = disks.open();
    let error = write(&hub, "另").expect_err("refused").to_string();
    assert!(error.contains(words) && error.contains("nothing was saved"), "{error}");
    close(hub);
    assert!(segments(&disks.mirror().join(LOG)) == before, "it is as it was");
}

#[test]
fn a_bad_bit_does_not_let_a_mirror_be_cut_that_goes_further() {
    let disks = Disks::large();
    let common = behind(&disks);
    flip(&disks, common + 30);
    check_refused(&disks, "--mirror");
    // Nor where nothing behind it can be read.
    let path = segment_path(&disks.mirror().join(LOG), 1);
    let mut bytes = fs::read(&path).expect("read");
    bytes[common..].fill(0x55);
    fs::write(&path, bytes).expect("damaged");
    check_refused(&disks, "--mirror");
}

#[test]
fn a_bad_bit_does_not_let_another_line_be_written_over() {
    let disks = Disks::large();
    let common = behind(&disks);
    flip(&disks, common + 30);
    let hub = disks.open_with(None);
    for n in 0..40 {
        write(&hub, &format!("另{n}")).expect("written");
    }
    close(hub);
    let length = |dir: PathBuf| fs::metadata(segment_path(&dir, 1)).expect("a segment").len();
    assert!(length(disks.data().join(LOG)) > length(disks.mirror().join(LOG)));
    check_refused(&disks, "--mirror");
}

#[test]
fn a_mirror_that_lacks_a_segment_is_not_filled_over() {
    let disks = Disks::made();
    let hub = disks.open();
    for n in 0..20 {
        write(&hub, &format!("评选{n}")).expect("written");
    }
    close(hub);
    let dir = disks.mirror().join(LOG);
    assert!(segments(&dir).len() > 3);
    fs::rename(segment_path(&dir, 2), disks.dir.path().join("gone")).expect("lost");
    let third = fs::read(segment_path(&dir, 3)).expect("read");
    let names = || fs::read_dir(&dir).expect("listed").count();
    let before = names();
    check_refused(&disks, "is missing");
    assert!(fs::read(segment_path(&dir, 3)).expect("read") == third && names() == before);
}
