//! A mirror on a disk that is unmounted and mounted again while the hub runs. The disk is a directory that is mounted in a
//! mount namespace of its own; where none can be made, the test says why and ends.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use liandong_node::log::segment_path;
use liandong_proto::id::SiteCode;

use crate::backup::{json, refused, round};
use crate::province::{AWARD_ROUND, GUANGZHOU, MEMBER, PATIENCE, Province, member};

/// Whoever holds the namespace; it ends with this value.
struct Namespace {
    holder: Child,
    answers: BufReader<ChildStdout>,
}

impl Namespace {
    /// `None` where this machine does not let anybody make one; why is printed.
    fn new(at: &Path) -> Option<Namespace> {
        fs::create_dir_all(at).expect("a directory");
        for flags in [&["--user", "--map-root-user", "--mount"][..], &["--mount"]] {
            let script = r#"while read -r line; do eval "$line" && echo done || echo failed; done"#;
            let mut holder = Command::new("unshare")
                .args(flags)
                .args(["sh", "-c", script])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .inspect_err(|error| println!("skipped: unshare: {error}"))
                .ok()?;
            let answers = BufReader::new(holder.stdout.take().expect("a pipe"));
            let mut made = Namespace { holder, answers };
            if made.does(&format!("mount --bind {0} {0} && umount {0}", at.display())) {
                return Some(made);
            }
        }
        println!("skipped: nothing can be mounted here");
        None
    }

    fn does(&mut self, command: &str) -> bool {
        let asked = self.holder.stdin.as_mut().map(|stdin| writeln!(stdin, "{command} 2>/dev/null"));
        let mut said = String::new();
        asked.is_some_and(|asked| asked.is_ok())
            && self.answers.read_line(&mut said).is_ok()
            && said.trim() == "done"
    }

    fn mount(&mut self, disk: &Path, at: &Path) {
        assert!(self.does(&format!("mount --bind {} {}", disk.display(), at.display())), "mounted");
    }

    /// Also while somebody has a file of it open.
    fn unmount(&mut self, at: &Path) {
        assert!(self.does(&format!("umount -l {}", at.display())), "unmounted");
    }

    /// A directory as it is seen from there.
    fn seen(&self, dir: &Path) -> PathBuf {
        let inside = dir.strip_prefix("/").expect("an absolute path");
        Path::new("/proc").join(self.holder.id().to_string()).join("root").join(inside)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// The hub's log and its copy, byte for byte as far as that goes; behind it the hub's has what an idle log ends with at most.
#[track_caller]
fn check_equal(province: &Province, disk: &Path) {
    for name in ["log", "audit"] {
        let segments = |dir: &Path| {
            let paths = (1..).map(|number| segment_path(&dir.join(name), number));
            paths.map_while(|path| fs::read(path).ok()).collect::<Vec<_>>()
        };
        let (ours, theirs) = (segments(&province.hub().data_dir), segments(disk));
        assert!(!theirs.is_empty() && ours.len() == theirs.len(), "segments of {name}");
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert!(ours.starts_with(theirs), "{name}");
            assert!(ours[theirs.len()..].iter().skip(20).all(|byte| *byte == 0), "{name} goes on");
        }
    }
}

async fn write(province: &Province, title: &str) -> Result<(), String> {
    let hub = province.door(SiteCode::PROVINCE).await;
    let put = hub.put(AWARD_ROUND, None, &round(title)).await;
    put.map(drop).map_err(|error| error.to_string())
}

/// Writes once the mirror is there again.
async fn written(province: &Province, title: &str) {
    let waited = async {
        while write(province, title).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waited).await.expect("it goes on by itself");
}

#[track_caller]
fn check_refused(written: Result<(), String>) {
    let why = written.expect_err("refused");
    assert!(why.contains("nothing was saved") && why.contains("not mounted"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_that_is_unmounted_stops_the_provinces_writes_until_it_is_mounted() {
    let mut province = Province::made(&[GUANGZHOU]).await;
    let (point, disk, new_disk) = (province.file("point"), province.file("disk"), province.file("new-disk"));
    let Some(mut namespace) = Namespace::new(&point) else { return };
    for disk in [&disk, &new_disk] {
        fs::create_dir(disk).expect("made");
    }
    // From here the mount point is seen without what is mounted.
    let is_bare = || fs::read_dir(&point).expect("listed").count() == 0;
    let mirror = namespace.seen(&point);
    namespace.mount(&disk, &point);
    province.mirror(Some(mirror.clone()));
    province.start_hub().await.expect("it starts");
    province.start_nodes().await.expect("they start");
    write(&province, "一").await.expect("written");

    namespace.unmount(&point);
    assert!(write(&province, "二").await.is_err(), "in the log, and not in the mirror");
    check_refused(write(&province, "三").await);
    province.door(GUANGZHOU).await.put(MEMBER, None, &member(1)).await.expect("a member");
    province.equal().await;
    let looked = province.hub().command(&["doctor", "--quick", "--json"]).await.expect("it runs");
    let said = String::from_utf8_lossy(&looked.stdout);
    assert!(said.contains("MIRROR_NOT_WRITTEN") && said.contains("not mounted"), "{said}");
    // The note of it outlives the process.
    province.stop_hub().await.expect("it stops");
    province.start_hub().await.expect("it starts");
    check_refused(write(&province, "三").await);
    assert!(is_bare(), "nothing is written to the disk beneath");

    namespace.mount(&disk, &point);
    written(&province, "四").await;
    province.equal().await;
    province.stop_hub().await.expect("it stops");
    check_equal(&province, &disk);

    // The disk is replaced: on purpose.
    let again = ["mirror", "new", "--yes", "--lang", "en"];
    let (code, said) = refused(province.hub(), &again).await;
    assert!(code == 2 && said.contains("there is a mirror"), "{code} {said}");
    namespace.unmount(&point);
    namespace.mount(&new_disk, &point);
    province.start_hub().await.expect("it starts");
    check_refused(write(&province, "五").await);
    assert_eq!(json(province.hub(), &again).await["was_set_up"], true);
    written(&province, "六").await;
    assert!(is_bare());
    province.stop().await.expect("they stop");
    check_equal(&province, &new_disk);
}
