//! One process per directory.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use super::super::{DirLock, LogError};
use super::*;

const HOLD: &str = "LIANDONG_TEST_HOLD_LOCK";

#[track_caller]
fn check_locked(dir: &Path, by: u32) {
    let refused = DirLock::acquire(dir).unwrap_err();
    assert!(matches!(refused, LogError::Locked { holder: Some(pid), .. } if pid == by), "{refused}");
    assert!(refused.to_string().contains(&format!("in use by process {by}")), "{refused}");
}

#[test]
fn a_second_lock_in_one_process_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let inner = dir.path().join("made/when/missing");
    let lock = DirLock::acquire(&inner).unwrap();
    check_locked(&inner, std::process::id());
    drop(lock);
    drop(DirLock::acquire(&inner).unwrap());
}

/// Not a test by itself: the process that `a_dead_process_holds_nothing` starts.
#[test]
fn holder() {
    let Ok(dir) = std::env::var(HOLD) else { return };
    let _lock = DirLock::acquire(Path::new(&dir)).unwrap();
    println!("\nlocked");
    // Until killed.
    let _ = std::io::stdin().read(&mut [0]);
}

#[test]
fn a_dead_process_holds_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (_, module) = module_path!().split_once("::").unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([&format!("{module}::holder"), "--exact", "--nocapture"])
        .env(HOLD, dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line == "locked"), "the other process takes the lock");
    check_locked(dir.path(), child.id());
    child.kill().unwrap();
    child.wait().unwrap();
    DirLock::acquire(dir.path()).unwrap();
}
