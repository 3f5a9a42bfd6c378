//! What is answered is in the mirror, and what only the mirror has is never written over.

mod away;
mod kept;
mod torn;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use liandong_node::log::{self, Log, Pos, segment_path};
use liandong_node::site::{By, Class, Put, Records as _, SiteError};
use liandong_proto::fields::Fields;
use liandong_proto::id::RecordId;
use liandong_proto::pb::record::v1 as record;
use prost::Message as _;

use super::{AUDIT, LOG, Mirror, State};
use crate::hub::{Hub, HubOptions, locked};

const ROUND: u32 = 2;

struct Disks {
    dir: tempfile::TempDir,
}

impl Disks {
    /// With a log in one large segment.
    fn large() -> Disks {
        let disks = Disks { dir: tempfile::tempdir().expect("a directory") };
        Hub::init(&disks.data(), None).expect("a hub is made");
        fs::create_dir(disks.mirror()).expect("made");
        disks
    }

    fn made() -> Disks {
        let disks = Disks::large();
        // The first segment has the size that it was made with; those that follow are small, so that there are several.
        let options = log::Options { segment_bytes: 1_024, ..log::Options::default() };
        let (log, _) = Log::open(&disks.data().join(LOG), options).expect("opened");
        log.begin_segment(1).expect("begun");
        disks
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("hub")
    }

    fn mirror(&self) -> PathBuf {
        self.dir.path().join("mirror")
    }

    fn open(&self) -> Arc<Hub> {
        self.open_with(Some(self.mirror()))
    }

    fn open_with(&self, mirror: Option<PathBuf>) -> Arc<Hub> {
        let options = HubOptions { mirror, segment_bytes: 1_024, ..HubOptions::new(&self.data()) };
        Hub::open(&options, &mut |_| {}).expect("the hub opens")
    }

    /// The hub's log and the mirror's, byte for byte as far as they go.
    #[track_caller]
    fn check_equal(&self) {
        for name in [LOG, AUDIT] {
            let ours = segments(&self.data().join(name));
            let theirs = segments(&self.mirror().join(name));
            assert_eq!(ours.len(), theirs.len(), "segments of {name}");
            for (at, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
                assert!(ours.starts_with(theirs), "segment {at} of {name}");
                let rest = &ours[theirs.len()..];
                // An idle log has the preface of an empty batch behind its end.
                assert!(rest.iter().skip(20).all(|byte| *byte == 0), "segment {at} of {name} goes on");
            }
        }
    }
}

fn mirror(hub: &Hub) -> &Mirror {
    hub.shared.mirror.as_ref().expect("a mirror")
}

/// Closes it and lets go of its directory.
fn close(hub: Arc<Hub>) {
    hub.close().expect("closed");
}

fn segments(dir: &Path) -> Vec<Vec<u8>> {
    let paths = (1..).map(|number| segment_path(dir, number));
    paths.map_while(|path| fs::read(path).ok()).collect()
}

fn contains(dir: &Path, text: &str) -> bool {
    segments(dir).iter().any(|bytes| bytes.windows(text.len()).any(|window| window == text.as_bytes()))
}

fn write(hub: &Hub, title: &str) -> Result<RecordId, SiteError> {
    let categories = vec!["优秀社工".into()];
    let round =
        record::AwardRound { year: 2026, title: title.into(), categories, ..record::AwardRound::default() };
    let put = Put::set(ROUND, None, Fields::split(round.encode_to_vec()).expect("fields"));
    let mut answers = hub.write(vec![put], &By::default(), false)?;
    let answer = answers.pop().expect("an answer");
    assert_eq!(answer.problems, [], "it is a round");
    Ok(answer.record)
}

/// Waits until the mirror is as it is wanted; one that never is fails the test.
#[track_caller]
fn wait_for(hub: &Hub, wanted: impl Fn(&State) -> bool) {
    let (mirror, state) = (mirror(hub), locked(&mirror(hub).state));
    let waited = mirror.told.wait_timeout_while(state, Duration::from_secs(60), |state| !wanted(state));
    let (state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
    assert!(!waited.timed_out(), "it does not come to that: {:?}", state.failure);
}

/// Waits until the mirror can be written again.
#[track_caller]
fn wait_live(hub: &Hub) {
    wait_for(hub, |state| state.failure.is_none() && state.is_live);
}

#[test]
fn what_is_answered_is_in_the_mirror_and_a_start_goes_on_from_it() {
    let disks = Disks::made();
    for start in 0..3 {
        let hub = disks.open();
        for n in 0..20 {
            let title = format!("第{start}届评选之{n}");
            write(&hub, &title).expect("written");
            assert!(contains(&disks.mirror().join(LOG), &title), "it was answered, so it is there");
        }
        close(hub);
        disks.check_equal();
    }
    assert!(segments(&disks.mirror().join(LOG)).len() > 3);
    // It is a log by itself.
    let (log, opened) = Log::open(&disks.mirror().join(LOG), log::Options::default()).expect("it opens");
    assert_eq!(opened.cut, None);
    assert!(log.read(Pos::START).all(|record| record.is_ok()));
}

#[test]
fn a_mirror_that_is_gone_stops_the_provinces_writes_and_nothing_else() {
    let disks = Disks::made();
    let hub = disks.open();
    write(&hub, "一").expect("written");
    let away = disks.dir.path().join("unmounted");
    fs::rename(disks.mirror(), &away).expect("gone");
    // The first learns of it; it is in the log all the same.
    let error = write(&hub, "二").expect_err("not in the mirror");
    assert_eq!(error.class(), Class::Unready, "{error}");
    assert!(error.to_string().contains("in the hub's log"), "{error}");
    let error = write(&hub, "三").expect_err("refused");
    assert!(error.to_string().contains("nothing was saved"), "{error}");
    assert!(!contains(&disks.data().join(LOG), "三"));
    assert_eq!(hub.alive().map_err(|error| error.to_string()), Ok(()), "cities sync on");
    // Who is cut off is carried out in any case.
    let invited = hub.invite(liandong_proto::id::SiteCode(440_100), "127.0.0.1:1", "x");
    assert!(invited.is_ok(), "{invited:?}");

    fs::rename(away, disks.mirror()).expect("mounted again");
    wait_live(&hub);
    write(&hub, "四").expect("written");
    for title in ["一", "二", "四"] {
        assert!(contains(&disks.mirror().join(LOG), title), "{title}");
    }
    close(hub);
    disks.check_equal();
}

/// The mirror's disk was away for a while, and something else stood in its place.
#[test]
fn what_an_older_mirror_lacks_is_filled_before_anything_is_appended() {
    let disks = Disks::made();
    let hub = disks.open();
    write(&hub, "一").expect("written");
    let older = disks.dir.path().join("older");
    copy(&disks.mirror(), &older);
    for title in ["二", "三"] {
        write(&hub, title).expect("written");
    }
    let newer = disks.dir.path().join("newer");
    fs::rename(disks.mirror(), &newer).expect("unmounted");
    fs::rename(&older, disks.mirror()).expect("mounted");
    // Whether or not the first is refused, nothing is answered that lies behind a hole.
    if write(&hub, "四").is_err() {
        wait_live(&hub);
        write(&hub, "四").expect("written");
    }
    for title in ["一", "二", "三", "四"] {
        assert!(contains(&disks.mirror().join(LOG), title), "{title}");
    }
    close(hub);
    disks.check_equal();
    let (log, _) = Log::open(&disks.mirror().join(LOG), log::Options::default()).expect("it opens");
    assert!(log.read(Pos::START).all(|record| record.is_ok()));
}

#[test]
fn a_mirror_that_has_more_than_the_log_is_not_written_over() {
    let disks = Disks::made();
    let hub = disks.open();
    write(&hub, "旧").expect("written");
    close(hub);
    let backup = disks.dir.path().join("backup");
    copy(&disks.data(), &backup);
    let hub = disks.open();
    write(&hub, "新").expect("written");
    close(hub);
    // Yesterday's hub, today's mirror.
    fs::remove_dir_all(disks.data()).expect("lost");
    fs::rename(&backup, disks.data()).expect("put back");
    let before = segments(&disks.mirror().join(LOG));
    let hub = disks.open();
    let error = write(&hub, "另").expect_err("refused");
    assert!(error.to_string().contains("--mirror"), "{error}");
    close(hub);
    assert!(segments(&disks.mirror().join(LOG)) == before, "it is as it was");
    // Nor once the hub has gone on by another way, further than the mirror.
    let hub = disks.open_with(None);
    for n in 0..20 {
        write(&hub, &format!("另{n}")).expect("written");
    }
    close(hub);
    assert!(segments(&disks.data().join(LOG)).len() > before.len());
    let hub = disks.open();
    let error = write(&hub, "另").expect_err("refused");
    assert!(error.to_string().contains("--mirror"), "{error}");
    close(hub);
    assert!(segments(&disks.mirror().join(LOG)) == before, "it is as it was");
}

#[test]
fn a_copying_that_was_cut_short_goes_on_and_a_damaged_copy_is_made_again() {
    let disks = Disks::made();
    let hub = disks.open();
    for n in 0..40 {
        write(&hub, &format!("评选{n}")).expect("written");
    }
    close(hub);
    let dir = disks.mirror().join(LOG);
    for (shorter, is_torn) in [(1, false), (1, true), (150, false), (150, true), (10_000, false)] {
        let path = segment_path(&dir, segments(&dir).len() as u64);
        let bytes = fs::read(&path).expect("read");
        // Not even its header, or a part of what came after it, with something else in the place of the rest.
        let mut cut = bytes[..bytes.len().saturating_sub(shorter).max(if is_torn { 40 } else { 0 })].to_vec();
        cut.resize(if is_torn { bytes.len() } else { cut.len() }, 0x55);
        fs::write(&path, &cut).expect("cut");
        close(disks.open());
        disks.check_equal();
    }
    let mut flipped = fs::read(segment_path(&dir, 2)).expect("read");
    let at = flipped.len() / 2;
    flipped[at] ^= 1;
    fs::write(segment_path(&dir, 2), flipped).expect("damaged");
    let hub = disks.open();
    mirror(&hub).compare().expect("compared");
    close(hub);
    disks.check_equal();
}

#[test]
fn the_copy_of_what_is_damaged_in_the_log_is_kept() {
    let disks = Disks::made();
    let hub = disks.open();
    for n in 0..40 {
        write(&hub, &format!("评选{n}")).expect("written");
    }
    close(hub);
    let (path, good) = (segment_path(&disks.data().join(LOG), 2), segment_path(&disks.mirror().join(LOG), 2));
    let before = fs::read(&good).expect("read");
    let mut flipped = fs::read(&path).expect("read");
    let at = flipped.len() / 2;
    flipped[at] ^= 1;
    fs::write(&path, flipped).expect("damaged");
    let hub = disks.open();
    mirror(&hub).compare().expect("compared");
    let standing = mirror(&hub).standing();
    assert!(standing.damage.is_some() && standing.failure.is_none(), "{standing:?}");
    assert!(fs::read(&good).expect("read") == before, "it can be restored from");
    write(&hub, "还能写").expect("written");
    close(hub);
}

#[test]
fn what_is_erased_is_gone_from_the_mirror_before_the_hub_proves_it() {
    let disks = Disks::made();
    let hub = disks.open();
    let id = write(&hub, "应删除的标题").expect("written");
    write(&hub, "留下的标题").expect("written");
    let dir = disks.mirror().join(LOG);
    assert!(contains(&dir, "应删除的标题"));
    hub.erase(ROUND, &[id], &By::default()).expect("erased");
    assert!(!contains(&disks.data().join(LOG), "应删除的标题"));
    assert!(!contains(&dir, "应删除的标题") && contains(&dir, "留下的标题"));
    close(hub);
    disks.check_equal();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("listed") {
        let entry = entry.expect("one");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else if entry.path().is_file() {
            fs::copy(entry.path(), target).expect("copied");
        }
    }
}
