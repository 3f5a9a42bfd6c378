//! What a person at a terminal sees beside the answers: nothing, when all is well.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::province::program;

/// Runs a command whose standard error is a terminal; how it ended, and what stood there.
fn at_a_terminal(dir: &Path, site: &str, args: &[&str]) -> (Option<i32>, String) {
    let near = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&near).expect("ours");
    unlockpt(&near).expect("open");
    let name = ptsname(&near, Vec::new()).expect("a name");
    let far = File::options().read(true).write(true).open(OsStr::from_bytes(name.as_bytes()));
    let ended = Command::new(program())
        .arg(site)
        .args(args)
        .arg("--data-dir")
        .arg(dir.join(site))
        .env("TERM", "xterm")
        .env_remove("NO_COLOR")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(far.expect("the far end"))
        .status()
        .expect("it runs");
    // A terminal whose far end nobody has any more ends in an error, behind what was written there.
    let mut seen = Vec::new();
    let _ = File::from(near).read_to_end(&mut seen);
    (ended.code(), String::from_utf8_lossy(&seen).into_owned())
}

#[test]
fn a_command_at_a_terminal_says_its_answer_and_nothing_else() {
    let dir = tempfile::tempdir().expect("a directory");
    let node: [&[&str]; 2] = [&["init", "--site", "440100", "--unattended"], &["linking-key", "list"]];
    for (site, args) in [("site-node", node[0]), ("site-node", node[1]), ("site-hub", &["init"])] {
        assert_eq!(at_a_terminal(dir.path(), site, args), (Some(0), String::new()), "{site} {args:?}");
    }
    // These open the site, with a bar for what may take long.
    for site in ["site-node", "site-hub"] {
        let (code, seen) = at_a_terminal(dir.path(), site, &["status", "--quiet"]);
        assert_eq!((code, seen.as_str()), (Some(0), ""), "{site}");
        let (code, seen) = at_a_terminal(dir.path(), site, &["record", "list", "--kind", "member"]);
        assert!(code == Some(0) && !seen.contains("tracing"), "{site}: {seen}");
    }
}
