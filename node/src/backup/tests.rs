//! Backups that somebody has crafted: none of them takes memory, disk or time, and none steers a terminal.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use zstd::zstd_safe::CParameter;

use super::*;
use crate::log::MOST_SEGMENT_BYTES;

const MIB: u64 = 1 << 20;

struct AnyChain;

impl Chain for AnyChain {
    fn take(&mut self, _: u8, _: &Bytes) -> Result<(), Said> {
        Ok(())
    }

    fn end(&self) -> (u64, Vec<u8>) {
        (0, Vec::new())
    }
}

/// An archive under way: `format` is its first member.
struct Crafted {
    dir: tempfile::TempDir,
    tar: tar::Builder<zstd::Encoder<'static, File>>,
}

impl Crafted {
    fn begin() -> Crafted {
        let dir = tempfile::tempdir().expect("a directory");
        let encoder = zstd::Encoder::new(File::create(path(&dir)).expect("made"), 3).expect("an encoder");
        let mut crafted = Crafted { dir, tar: tar::Builder::new(encoder) };
        let format = b"liandong backup 1 440100\n";
        crafted.add("format", format.len() as u64, &mut format.as_slice());
        crafted
    }

    fn add(&mut self, name: &str, bytes: u64, content: &mut dyn Read) {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes);
        header.set_mode(0o600);
        let place = &mut header.as_old_mut().name;
        place[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        self.tar.append(&header, content).expect("added");
    }

    fn finish(self) -> tempfile::TempDir {
        self.tar.into_inner().and_then(zstd::Encoder::finish).expect("finished");
        self.dir
    }
}

fn path(dir: &tempfile::TempDir) -> PathBuf {
    dir.path().join("crafted.backup")
}

fn read(file: &Path) -> BackupError {
    let (opening, mut chain, stopped) = (Opening::default(), AnyChain, AtomicBool::new(false));
    let read = unpack(file, &opening, None, &|_| Ok(()), &mut chain, &stopped, &mut |_, _| {});
    read.expect_err("it is no backup that was made by this program")
}

/// What is said of a backup that is refused.
#[track_caller]
fn check(crafted: Crafted, expected: &str) {
    let dir = crafted.finish();
    let said = read(&path(&dir)).said();
    assert!(said.en.contains(expected), "{}", said.en);
    for said in [said.zh, said.en] {
        assert!(!said.contains(char::is_control), "{said:?}");
    }
}

#[test]
fn what_is_packed_small_and_is_huge_inside_is_not_read() {
    for (name, most) in [
        ("keys/city.key", 4 * MIB),
        ("config.toml", 4 * MIB),
        ("layout", 4 << 10),
        ("manifest.json", (4 << 10) + 512),
    ] {
        let mut crafted = Crafted::begin();
        let bytes = 1_024 * MIB;
        crafted.add(name, bytes, &mut io::repeat(0).take(bytes));
        let dir = crafted.finish();
        let packed = fs::metadata(path(&dir)).expect("there").len();
        assert!(packed < MIB, "{packed}");
        let said = read(&path(&dir)).said().en;
        assert!(said.contains(&format!("{name} has {bytes} bytes where {most} are the most")), "{said}");
    }
    // No segment that long can be made: what it claims is enough.
    for log in ["log", "audit"] {
        let mut crafted = Crafted::begin();
        crafted.add(&format!("{log}/{:020}.log", 1), 0, &mut io::empty());
        check(crafted, "header");
        let mut crafted = Crafted::begin();
        let bytes = MOST_SEGMENT_BYTES + 1;
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes);
        header.set_path(format!("{log}/{:020}.log", 1)).expect("a name");
        header.set_cksum();
        crafted.tar.get_mut().write_all(header.as_bytes()).expect("written");
        check(crafted, "are the most there can be");
    }
}

#[test]
fn a_million_members_are_not_counted_to_the_end() {
    let mut crafted = Crafted::begin();
    for n in 0..1_000_000 {
        crafted.add(&format!("keys/{n}"), 0, &mut io::empty());
    }
    check(crafted, "too many small files");
    let mut crafted = Crafted::begin();
    for n in 0..17 {
        crafted.add(&format!("keys/{n}"), 4 * MIB, &mut io::repeat(0).take(4 * MIB));
    }
    check(crafted, "too many small files");
    let mut crafted = Crafted::begin();
    crafted.add("keys/x", 0, &mut io::empty());
    crafted.add("keys/x", 0, &mut io::empty());
    check(crafted, "does not belong there: \"keys/x\"");
}

#[test]
fn no_name_reaches_the_terminal_as_it_is() {
    for name in ["keys/\x1b]0;owned\x07", "\x1b[2Jlog", "keys/a\r\nb", "../\u{202e}x"] {
        let mut crafted = Crafted::begin();
        crafted.add(name, 0, &mut io::empty());
        check(crafted, r"\");
    }
    // Nor one that a manifest makes up.
    let mut crafted = Crafted::begin();
    let member = r#"{ "name": "\u001b]0;owned\u0007", "bytes": 1, "sha256": "" }"#;
    let manifest = format!(
        r#"{{ "format": 1, "version": "", "site": 440100, "epoch": "", "head_seq": 0, "head_hash": "", "generation": 0,
        "hub_seq": 0, "made_at_ms": 0, "keys": true, "members": [{member}] }}"#
    );
    crafted.add("manifest.json", manifest.len() as u64, &mut manifest.as_bytes());
    check(crafted, r"\u{1b}]0;owned\u{7} is not what its manifest says");
}

#[test]
fn what_wants_a_huge_window_is_not_unpacked() {
    let dir = Crafted::begin().finish();
    let inside = zstd::decode_all(File::open(path(&dir)).expect("there")).expect("unpacked");
    let mut encoder = zstd::Encoder::new(File::create(path(&dir)).expect("made"), 3).expect("an encoder");
    encoder.set_parameter(CParameter::WindowLog(27)).expect("set");
    encoder.write_all(&inside).and_then(|()| encoder.flush()).expect("written");
    encoder.finish().expect("finished");
    let said = read(&path(&dir)).said().en;
    assert!(said.contains("memory"), "{said}");
}

#[test]
fn nothing_stands_behind_the_end_and_the_end_is_there() {
    let mut crafted = Crafted::begin();
    crafted.add("layout", 2, &mut &b"1\n"[..]);
    let dir = crafted.finish();
    // Whole as far as it goes, but for the manifest.
    let said = read(&path(&dir)).said().en;
    assert!(said.contains("its end is missing"), "{said}");
    let bytes = fs::read(path(&dir)).expect("read");
    fs::write(path(&dir), &bytes[..bytes.len() - 1]).expect("cut");
    let said = read(&path(&dir)).said().en;
    assert!(said.contains("cannot be read to its end"), "{said}");
    let more = zstd::encode_all(&b"more"[..], 3).expect("packed");
    fs::write(path(&dir), [bytes, more].concat()).expect("written");
    let said = read(&path(&dir)).said().en;
    assert!(said.contains("something stands behind its end"), "{said}");
}
