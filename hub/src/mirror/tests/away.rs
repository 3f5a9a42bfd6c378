//! A mirror whose disk is not there, or does not answer.

use std::fs::OpenOptions;
use std::process::Command;

use liandong_proto::id::SiteCode;

use super::*;

/// What stands in the place of a file and answers nobody: opening it waits for whoever opens the other end.
struct Stuck {
    path: PathBuf,
    kept: PathBuf,
    other_end: PathBuf,
}

impl Stuck {
    fn new(path: PathBuf) -> Stuck {
        let (kept, other_end) = (path.with_extension("kept"), path.with_extension("other-end"));
        fs::rename(&path, &kept).expect("kept");
        let made = Command::new("mkfifo").arg(&path).status().expect("it runs");
        assert!(made.success());
        fs::hard_link(&path, &other_end).expect("linked");
        Stuck { path, kept, other_end }
    }

    /// The disk answers again: to whoever waits with an empty file, to everybody later with what it held.
    fn answer(self, options: &OpenOptions) {
        fs::rename(&self.kept, &self.path).expect("put back");
        options.open(&self.other_end).expect("opened");
    }
}

impl Disks {
    fn open_watched(&self) -> Arc<Hub> {
        let (mirror, mirror_deadline) = (Some(self.mirror()), Duration::from_millis(200));
        let options =
            HubOptions { mirror, mirror_deadline, segment_bytes: 1_024, ..HubOptions::new(&self.data()) };
        Hub::open(&options, &mut |_| {}).expect("the hub opens")
    }

    fn last_copy(&self) -> PathBuf {
        let dir = self.mirror().join(LOG);
        segment_path(&dir, segments(&dir).len() as u64)
    }
}

fn wait_compared(hub: &Hub) {
    wait_for(hub, |state| state.compared > 0);
}

#[test]
fn a_mount_point_without_its_disk_is_not_taken_for_an_empty_mirror() {
    let disks = Disks::made();
    let hub = disks.open();
    write(&hub, "一").expect("written");
    let away = disks.dir.path().join("unmounted");
    let is_empty = || fs::read_dir(disks.mirror()).expect("listed").count() == 0;
    fs::rename(disks.mirror(), &away).expect("unmounted");
    fs::create_dir(disks.mirror()).expect("made");
    let error = write(&hub, "二").expect_err("not in the mirror");
    assert_eq!(error.class(), Class::Unready, "{error}");
    let error = write(&hub, "三").expect_err("refused").to_string();
    for words in ["nothing was saved", "not mounted", "mirror new"] {
        assert!(error.contains(words), "{error}");
    }
    assert!(is_empty(), "nothing is written to the disk beneath");
    close(hub);
    // Nor by the next start.
    let hub = disks.open();
    assert!(write(&hub, "四").is_err_and(|error| error.to_string().contains("not mounted")) && is_empty());
    fs::remove_dir(disks.mirror()).expect("removed");
    fs::rename(&away, disks.mirror()).expect("mounted again");
    wait_live(&hub);
    write(&hub, "五").expect("written");
    close(hub);
    disks.check_equal();
    assert!(contains(&disks.mirror().join(LOG), "五"));
}

#[test]
fn a_disk_that_hangs_is_one_that_cannot_be_written() {
    let disks = Disks::made();
    let hub = disks.open_watched();
    write(&hub, "一").expect("written");
    let stuck = Stuck::new(disks.last_copy());
    let error = write(&hub, "二").expect_err("not in the mirror").to_string();
    assert!(error.contains("in the hub's log") && error.contains("does not answer"), "{error}");
    let error = write(&hub, "三").expect_err("refused").to_string();
    assert!(error.contains("nothing was saved") && error.contains("does not answer"), "{error}");
    let failure = mirror(&hub).standing().failure.expect("status and doctor tell");
    assert!(failure.en.contains("does not answer"), "{failure:?}");
    let invited = hub.invite(SiteCode(440_100), "127.0.0.1:1", "x");
    assert!(invited.is_ok(), "carried out in any case: {invited:?}");
    stuck.answer(OpenOptions::new().read(true));
    wait_live(&hub);
    write(&hub, "四").expect("written");
    close(hub);
    disks.check_equal();
    assert!(contains(&disks.mirror().join(LOG), "二") && !contains(&disks.mirror().join(LOG), "三"));
}

#[test]
fn a_hub_stops_though_its_mirrors_disk_hangs() {
    let disks = Disks::made();
    let hub = disks.open_watched();
    write(&hub, "一").expect("written");
    let stuck = Stuck::new(disks.last_copy());
    let ended = Arc::downgrade(&hub.shared);
    assert!(write(&hub, "二").is_err());
    close(hub);
    assert!(ended.upgrade().is_some(), "the thread is still there");
    stuck.answer(OpenOptions::new().read(true));
    // The next start goes on, whatever is left of the one before.
    let hub = disks.open();
    write(&hub, "三").expect("written");
    close(hub);
    disks.check_equal();
}

#[test]
fn an_erasure_does_not_wait_for_a_disk_that_hangs() {
    let disks = Disks::made();
    let hub = disks.open_watched();
    let id = write(&hub, "应删除的标题").expect("written");
    for n in 0..10 {
        write(&hub, &format!("评选{n}")).expect("written");
    }
    wait_compared(&hub);
    let dir = disks.mirror().join(LOG);
    let stuck = Stuck::new(segment_path(&dir, 1));
    let error = hub.erase(ROUND, &[id], &By::default()).expect_err("not yet in the mirror").to_string();
    assert!(error.contains("erased from the hub's log") && error.contains("does not answer"), "{error}");
    assert!(!contains(&disks.data().join(LOG), "应删除的标题"));
    stuck.answer(OpenOptions::new().write(true));
    wait_live(&hub);
    hub.shared.wake_eraser();
    hub.shared.wait_for(|published| !published.registry.erasures.wait());
    assert!(!contains(&dir, "应删除的标题"), "that is proved, so it is done");
    close(hub);
    disks.check_equal();
}

#[test]
fn a_segment_that_could_not_be_compared_is_compared_again() {
    let disks = Disks::made();
    let hub = disks.open();
    for n in 0..10 {
        write(&hub, &format!("评选{n}")).expect("written");
    }
    close(hub);
    let path = segment_path(&disks.mirror().join(LOG), 2);
    fs::remove_file(&path).expect("removed");
    fs::create_dir(&path).expect("in its way");
    let hub = disks.open();
    wait_for(&hub, |state| state.failure.is_some());
    fs::remove_dir(&path).expect("out of the way");
    wait_compared(&hub);
    close(hub);
    disks.check_equal();
}

/// What stands in the mirror's log, and is told of in the audit log, is told of in the mirror's audit log too.
#[test]
fn the_log_goes_no_further_than_the_audit_log() {
    let disks = Disks::made();
    let hub = disks.open();
    write(&hub, "一").expect("written");
    let (audit, away) = (disks.mirror().join(AUDIT), disks.dir.path().join("audit"));
    hub.invite(SiteCode(440_100), "127.0.0.1:1", "x").expect("invited");
    while !audit.exists() {
        // The next round looks at it.
        write(&hub, "二").expect("written");
    }
    fs::rename(&audit, &away).expect("moved");
    fs::write(&audit, "in its way").expect("written");
    hub.invite(SiteCode(440_300), "127.0.0.1:1", "x").expect("invited");
    let error = write(&hub, "三");
    assert!(error.is_err() && !contains(&disks.mirror().join(LOG), "三"), "{error:?}");
    fs::remove_file(&audit).expect("removed");
    fs::rename(&away, &audit).expect("back");
    wait_live(&hub);
    write(&hub, "四").expect("written");
    close(hub);
    disks.check_equal();
}
