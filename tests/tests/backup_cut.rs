//! Rehearsals and restores that signals end: what they leave, and what the next one does with that.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

use liandong_tests::cluster::Home;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::{Pid, Signal, kill_process};

use crate::backup::{json, names, refused};
use crate::province::{GUANGZHOU, PATIENCE, Province, program};

/// A command that reads a backup which stops in the middle, as a disk does that hangs.
pub struct Stalled {
    child: Child,
    said: BufReader<ChildStderr>,
    pipe: File,
    rest: Vec<u8>,
}

/// Looks again and again until something is so.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let waited = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waited).await.unwrap_or_else(|_| panic!("in vain: {what}"));
}

impl Stalled {
    /// Starts `restore` with these flags, and lets it read half of `backup`.
    pub async fn begin(province: &Province, backup: &Path, temporary: &Path, flags: &[&str]) -> Stalled {
        Stalled::begin_by(Command::new(program()), province, backup, temporary, flags).await
    }

    /// The same by a command that runs the program.
    async fn begin_by(
        mut command: Command,
        province: &Province,
        backup: &Path,
        temporary: &Path,
        flags: &[&str],
    ) -> Stalled {
        let bytes = fs::read(backup).expect("read");
        let fifo = province.file("fifo");
        let _ = fs::remove_file(&fifo);
        mknodat(CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0).expect("a pipe");
        // Its end never comes as long as this holds it.
        let mut pipe = OpenOptions::new().read(true).write(true).open(&fifo).expect("opened");
        // What it is, by its first bytes, is looked at before it is opened to be read.
        pipe.write_all(&bytes[..4]).expect("written");
        command.args(["site-node", "backup", "restore"]).arg(&fifo).args(flags).args(["--lang", "en"]);
        command.env("TMPDIR", temporary).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.process_group(0).spawn().expect("it starts");
        let said = BufReader::new(child.stderr.take().expect("a pipe"));
        until("it looks at the first bytes", || rustix::io::ioctl_fionread(&pipe).expect("asked") == 0).await;
        let (half, rest) = bytes.split_at(bytes.len() / 2);
        pipe.write_all(half).expect("written");
        until("it reads half of it", || rustix::io::ioctl_fionread(&pipe).expect("asked") == 0).await;
        Stalled { child, said, pipe, rest: rest.to_vec() }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("sent");
    }

    /// What it says up to a line that has these words.
    pub fn hears(&mut self, words: &str) -> String {
        let mut all = String::new();
        while !all.contains(words) {
            let read = self.said.read_line(&mut all).expect("read");
            assert!(read > 0, "it ended without `{words}`: {all}");
        }
        all
    }

    /// Lets it read the rest.
    pub fn goes_on(&mut self) {
        self.pipe.write_all(&self.rest).expect("written");
        self.pipe = File::open("/dev/null").expect("closed");
    }

    /// Its exit code; none when a signal ended it.
    pub async fn ends(&mut self) -> Option<i32> {
        until("it ends", || self.child.try_wait().expect("asked").is_some()).await;
        self.child.wait().expect("it has ended").code()
    }
}

impl Drop for Stalled {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn backed_up(province: &Province) -> (Home, PathBuf, PathBuf) {
    let node = province.node(GUANGZHOU).clone();
    let (file, temporary) = (province.file("site.backup"), province.file("tmp"));
    fs::create_dir(&temporary).expect("made");
    json(&node, &["backup", "create", &file.display().to_string(), "--unencrypted"]).await;
    (node, file, temporary)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsal_that_a_signal_ends_leaves_nothing() {
    let province = Province::made(&[GUANGZHOU]).await;
    let (_, file, temporary) = backed_up(&province).await;
    for signal in [Signal::HUP, Signal::TERM, Signal::INT] {
        let mut stalled = Stalled::begin(&province, &file, &temporary, &["--rehearse"]).await;
        assert_eq!(names(&temporary).len(), 1, "it has begun");
        stalled.signal(signal);
        stalled.hears("cleaning up");
        stalled.goes_on();
        stalled.hears("interrupted");
        assert_eq!(stalled.ends().await, Some(1), "{signal:?}");
        assert_eq!(names(&temporary), [] as [&str; 0], "{signal:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_ended_at_once_or_killed_goes_with_the_next_rehearsal() {
    let province = Province::made(&[GUANGZHOU]).await;
    let (_, file, temporary) = backed_up(&province).await;
    // A second Ctrl-C does not wait for a disk that hangs.
    let mut stalled = Stalled::begin(&province, &file, &temporary, &["--rehearse"]).await;
    stalled.signal(Signal::INT);
    stalled.hears("once more ends it at once");
    stalled.signal(Signal::INT);
    assert_eq!(stalled.ends().await, Some(130));
    let mut killed = Stalled::begin(&province, &file, &temporary, &["--rehearse"]).await;
    killed.signal(Signal::KILL);
    assert_eq!(killed.ends().await, None);
    // One that goes on keeps what it has; the two before it have gone with the one after.
    let mut goes_on = Stalled::begin(&province, &file, &temporary, &["--rehearse"]).await;
    assert_eq!(names(&temporary).len(), 1);
    let mut last = Stalled::begin(&province, &file, &temporary, &["--rehearse"]).await;
    assert_eq!(names(&temporary).len(), 2);
    for it in [&mut goes_on, &mut last] {
        it.goes_on();
    }
    assert_eq!((goes_on.ends().await, last.ends().await), (Some(0), Some(0)));
    assert_eq!(names(&temporary), [] as [&str; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_was_killed_is_made_again() {
    let province = Province::made(&[GUANGZHOU]).await;
    let (node, file, temporary) = backed_up(&province).await;
    fs::remove_dir_all(&node.data_dir).expect("lost");
    let (into, shown) = (node.data_dir.display().to_string(), file.display().to_string());
    let mut killed = Stalled::begin(&province, &file, &temporary, &["--data-dir", &into]).await;
    killed.signal(Signal::KILL);
    assert_eq!(killed.ends().await, None);
    assert_eq!(names(&node.data_dir), [".restoring"]);
    json(&node, &["backup", "restore", &shown]).await;
    assert_eq!(json(&node, &["verify"]).await["sound"], true);
}

/// What is under way is nothing left over.
#[tokio::test(flavor = "multi_thread")]
async fn two_restores_do_not_fill_one_directory() {
    let province = Province::made(&[GUANGZHOU]).await;
    let (node, file, temporary) = backed_up(&province).await;
    fs::remove_dir_all(&node.data_dir).expect("lost");
    let (into, shown) = (node.data_dir.display().to_string(), file.display().to_string());
    let mut first = Stalled::begin(&province, &file, &temporary, &["--data-dir", &into]).await;
    for flags in [&[][..], &["--dry-run"]] {
        let (code, said) =
            refused(&node, &[&["backup", "restore", &shown, "--lang", "en"], flags].concat()).await;
        assert!(code == 1 && said.contains("another restore is filling"), "{code} {said}");
    }
    first.goes_on();
    assert_eq!(first.ends().await, Some(0));
    assert_eq!(json(&node, &["verify"]).await["sound"], true);
    let (code, said) = refused(&node, &["backup", "restore", &shown, "--lang", "en"]).await;
    assert!(code == 2 && said.contains("is not empty"), "{code} {said}");
}

/// As under `nohup`: whoever starts it wants it to outlive the terminal.
#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_that_is_ignored_ends_nothing() {
    let province = Province::made(&[GUANGZHOU]).await;
    let (_, file, temporary) = backed_up(&province).await;
    if let Err(error) = Command::new("nohup").arg("true").output() {
        return eprintln!("skipped: there is no nohup here: {error}");
    }
    let mut command = Command::new("nohup");
    command.arg(program());
    let mut stalled = Stalled::begin_by(command, &province, &file, &temporary, &["--rehearse"]).await;
    stalled.signal(Signal::HUP);
    stalled.goes_on();
    assert_eq!(stalled.ends().await, Some(0), "it goes on");
    assert_eq!(names(&temporary), [] as [&str; 0]);
    let mut command = Command::new("nohup");
    command.arg(program());
    let mut stalled = Stalled::begin_by(command, &province, &file, &temporary, &["--rehearse"]).await;
    stalled.signal(Signal::HUP);
    stalled.signal(Signal::TERM);
    stalled.hears("SIGTERM");
    stalled.goes_on();
    assert_eq!(stalled.ends().await, Some(1), "others end it as ever");
}
