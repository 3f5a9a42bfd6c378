//! A backup's disk and a mirror's that are full. A real file system of that size is needed; where none can be mounted the
//! tests say so and check nothing.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use liandong_hub::cli::room as hub_room;
use liandong_node::cli::room as node_room;
use liandong_proto::id::SiteCode;

use crate::backup::{json, refused, round};
use crate::backup_cut::Stalled;
use crate::province::{AWARD_ROUND, GUANGZHOU, MEMBER, Province, member, program};

/// Keys, settings and what else is rounded up to whole pages.
const SMALL_FILES_KIB: u64 = 256;

/// A file system in memory, gone when dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None`, and a word on stderr, where it cannot be mounted.
    fn mount(kib: u64) -> Option<SmallDisk> {
        let dir = tempfile::tempdir().expect("a directory");
        match mount(&format!("size={kib}k"), dir.path()) {
            Ok(()) => Some(SmallDisk(dir)),
            Err(why) => {
                eprintln!("skipped: a small file system cannot be mounted here: {why}");
                None
            }
        }
    }

    fn grow(&self, kib: u64) {
        mount(&format!("remount,size={kib}k"), self.0.path()).expect("it grows");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).output();
    }
}

fn mount(options: &str, at: &Path) -> Result<(), String> {
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(at).output();
    let mounted = mounted.map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&mounted.stderr).trim().to_owned();
    if mounted.status.success() { Ok(()) } else { Err(said) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_does_not_fit_says_so_and_leaves_nothing() {
    let Some(disk) = SmallDisk::mount(4) else { return };
    let mut province = Province::running(&[GUANGZHOU]).await;
    for n in 0..200 {
        province.door(GUANGZHOU).await.put(MEMBER, None, &member(n)).await.expect("a member");
    }
    province.equal().await;
    let file = disk.0.path().join("site.backup").display().to_string();
    let left = || fs::read_dir(disk.0.path()).expect("listed").count();
    for home in [province.hub(), province.node(GUANGZHOU)] {
        let told = json(home, &["backup", "create", &file, "--dry-run"]).await;
        let bytes = told["bytes"].as_u64().expect("a number");
        assert!(bytes > 40 << 10 && told["done"] == false, "{told}");
        assert_eq!(left(), 0, "nothing is written");
        // What surely does not fit is not begun.
        disk.grow(4);
        let create = ["backup", "create", &file, "--unencrypted", "--lang", "en"];
        let (code, said) = refused(home, &create).await;
        assert!(code == 1 && said.contains("has no room") && said.contains("free some space"), "{said}");
        assert_eq!(left(), 0, "nothing is left");
        // Where that cannot be known, what there is of it is taken away.
        disk.grow((bytes / 8) >> 10);
        let (code, said) = refused(home, &create).await;
        assert!(code == 1 && said.contains("may not fit") && said.contains("disk is full"), "{said}");
        assert_eq!(left(), 0, "nothing is left");
    }
    province.stop().await.expect("they stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_does_a_restore_leave_half_a_site() {
    let Some(disk) = SmallDisk::mount(4) else { return };
    let mut province = Province::running(&[GUANGZHOU]).await;
    for n in 0..200 {
        province.door(GUANGZHOU).await.put(MEMBER, None, &member(n)).await.expect("a member");
    }
    let file = province.file("node.backup").display().to_string();
    let node = province.node(GUANGZHOU).clone();
    json(&node, &["backup", "create", &file, "--unencrypted"]).await;
    let restore = ["backup", "restore", &file, "--lang", "en"];
    let (code, said) = refused(&node, &[&restore[..], &["--dry-run"]].concat()).await;
    assert_eq!(code, 2, "there is a site already: {said}");
    province.stop().await.expect("they stop");
    let into = disk.0.path().join("node");
    let elsewhere = node.at(&into);
    let told = json(&elsewhere, &["backup", "restore", &file, "--dry-run"]).await;
    assert_eq!((&told["done"], into.exists()), (&false.into(), false), "{told}");
    let (code, said) = refused(&elsewhere, &restore).await;
    assert!(code == 1 && said.contains("has no room"), "{code} {said}");
    assert!(!into.exists(), "nothing is left");
    // Nor does a rehearsal.
    let mut rehearsal = Command::new(program());
    rehearsal.args(["site-node"]).args(restore).arg("--rehearse").env("TMPDIR", disk.0.path());
    let output = rehearsal.output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("TMPDIR"), "{said}");
    assert_eq!(fs::read_dir(disk.0.path()).expect("listed").count(), 0, "nothing is left");
    // What it is packed into would fit with an index, and the backup says how long it is inside.
    let packed = fs::metadata(&file).expect("there").len();
    disk.grow(((packed + node_room(packed)) >> 10) + 8);
    let (code, said) = refused(&elsewhere, &restore).await;
    assert!(code == 1 && said.contains("has no room"), "{code} {said}");
    // There was room, and then somebody else took it.
    let bytes = told["bytes"].as_u64().expect("a number");
    let just_fits = ((bytes + node_room(bytes)) >> 10) + SMALL_FILES_KIB;
    disk.grow(just_fits);
    let (data_dir, temporary) = (into.display().to_string(), province.file("tmp"));
    let flags = ["--data-dir", &data_dir];
    let mut stalled = Stalled::begin(&province, Path::new(&file), &temporary, &flags).await;
    assert!(into.exists(), "it has begun");
    let filler = disk.0.path().join("filler");
    let mut writer = fs::File::create(&filler).expect("made");
    while writer.write_all(&[1; 4 << 10]).is_ok() {}
    stalled.goes_on();
    let said = stalled.hears("disk is full");
    assert!(said.contains(&format!("{data_dir}/.restoring/")), "it says what does not fit: {said}");
    assert_eq!((stalled.ends().await, into.exists()), (Some(1), false), "nothing is left");
    drop(writer);
    fs::remove_file(&filler).expect("removed");
    json(&elsewhere, &["backup", "restore", &file]).await;
    assert_eq!(json(&elsewhere, &["verify"]).await["sound"], true);
    let looked = elsewhere.command(&["doctor", "--json"]).await.expect("it runs");
    let said = String::from_utf8_lossy(&looked.stdout);
    assert!(looked.status.code() == Some(1) && said.contains("DISK_FULL"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_that_is_full_stops_the_provinces_writes_and_cities_sync_on() {
    let Some(disk) = SmallDisk::mount(64) else { return };
    let mut province = Province::made(&[GUANGZHOU]).await;
    province.mirror(Some(disk.0.path().to_path_buf()));
    province.start_hub().await.expect("it starts");
    province.start_nodes().await.expect("they start");
    let hub = province.door(SiteCode::PROVINCE).await;
    let mut answered = Vec::new();
    let refused = loop {
        match hub.put(AWARD_ROUND, None, &round(&"评选".repeat(20))).await {
            Ok(id) => answered.push(id),
            Err(error) => break error.to_string(),
        }
        assert!(answered.len() < 1_000, "the mirror never fills");
    };
    assert!(refused.contains("mirror") && refused.contains("full"), "{refused}");
    assert!(!answered.is_empty());
    let again = hub.put(AWARD_ROUND, None, &round("又一届")).await.expect_err("refused").to_string();
    assert!(again.contains("nothing was saved") && again.contains("full"), "{again}");
    province.door(GUANGZHOU).await.put(MEMBER, None, &member(1)).await.expect("a member");
    province.equal().await;
    disk.grow(64 << 10);
    let waited = async {
        while hub.put(AWARD_ROUND, None, &round("又一届")).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(crate::province::PATIENCE, waited).await.expect("it goes on by itself");
    province.equal().await;
    province.stop().await.expect("they stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_that_does_not_fit_beside_its_keys_is_told() {
    let Some(disk) = SmallDisk::mount(4) else { return };
    let mut province = Province::made(&[]).await;
    let mirror = province.file("mirror");
    fs::create_dir(&mirror).expect("made");
    province.mirror(Some(mirror.clone()));
    province.start_hub().await.expect("it starts");
    let door = province.door(SiteCode::PROVINCE).await;
    for _ in 0..600 {
        door.put(AWARD_ROUND, None, &round(&"评选".repeat(20))).await.expect("a round");
    }
    let hub = province.hub().clone();
    let file = province.file("hub.keys").display().to_string();
    json(&hub, &["backup", "create", &file, "--unencrypted", "--only-keys"]).await;
    province.stop().await.expect("they stop");
    let into = disk.0.path().join("hub");
    let mirror = mirror.display().to_string();
    let args = ["backup", "restore", &file, "--mirror", &mirror, "--lang", "en"];
    // What a hub wants free when it opens, and room for keys, and none for the log.
    disk.grow((hub_room(64 << 10) >> 10) + SMALL_FILES_KIB);
    let (code, said) = refused(&hub.at(&into), &args).await;
    assert!(code == 1 && said.contains("has no room") && said.contains(".restoring"), "{code} {said}");
    assert!(!into.exists(), "nothing is left");
    let log = |dir: &str| fs::read_dir(Path::new(&mirror).join(dir)).expect("listed");
    let lengths = log("log").chain(log("audit")).map(|it| it.expect("one").metadata().expect("it").len());
    let bytes = lengths.sum::<u64>();
    disk.grow(((bytes + hub_room(bytes)) >> 10) + SMALL_FILES_KIB);
    json(&hub.at(&into), &args).await;
    assert_eq!(json(&hub.at(&into), &["verify"]).await["sound"], true);
}
