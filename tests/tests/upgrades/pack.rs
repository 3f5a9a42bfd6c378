//! A tree of files in one file: what stands in them without the zeros, which segments and stores consist of for the most
//! part.
//!
//! Behind the magic one part for each file, in the order of the paths: length of the path (2), path, mode (4), length of
//! the file (8), count of pieces (4), and each piece with its offset (8), length (4) and bytes. Big-endian.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

const MAGIC: &[u8] = b"LDTREE1\n";
/// So many zeros in a row are left out.
const GAP: usize = 24;

/// All files of a directory and those in it, by path from it.
fn files(dir: &Path) -> Vec<PathBuf> {
    fn walk(dir: &Path, out: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(&path, out);
            } else if path.is_file() {
                out.push(path);
            }
        }
    }
    let mut all = Vec::new();
    walk(dir, &mut all);
    all.sort();
    all
}

/// The pieces of a file between long runs of zeros, with their offsets.
fn pieces(bytes: &[u8]) -> Vec<(usize, &[u8])> {
    let (mut out, mut at) = (Vec::new(), 0);
    while let Some(start) = bytes[at..].iter().position(|byte| *byte != 0).map(|skipped| at + skipped) {
        let mut end = start;
        while let Some(next) = bytes[end..].iter().take(GAP).position(|byte| *byte != 0) {
            end += next + 1;
        }
        out.push((start, &bytes[start..end]));
        at = end;
    }
    out
}

/// Packs the files of a directory that are wanted, by their paths from it.
pub fn pack(dir: &Path, wanted: impl Fn(&str) -> bool) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    for file in files(dir) {
        let path = file.strip_prefix(dir).expect("inside").to_str().expect("text");
        if !wanted(path) {
            continue;
        }
        let (bytes, mode) = (fs::read(&file).expect("readable"), fs::metadata(&file).expect("there"));
        out.extend((path.len() as u16).to_be_bytes());
        out.extend(path.as_bytes());
        out.extend((mode.permissions().mode() & 0o777).to_be_bytes());
        out.extend((bytes.len() as u64).to_be_bytes());
        let pieces = pieces(&bytes);
        out.extend((pieces.len() as u32).to_be_bytes());
        for (offset, piece) in pieces {
            out.extend((offset as u64).to_be_bytes());
            out.extend((piece.len() as u32).to_be_bytes());
            out.extend(piece);
        }
    }
    out
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken
    }

    fn number(&mut self, bytes: usize) -> usize {
        self.take(bytes).iter().fold(0, |number, byte| number << 8 | usize::from(*byte))
    }
}

/// Lays the files out in a directory as they were. Directories are for their owner alone.
pub fn unpack(packed: &[u8], dir: &Path) {
    let mut reader = Reader(packed.strip_prefix(MAGIC).expect("a packed tree"));
    while !reader.0.is_empty() {
        let length = reader.number(2);
        let path = dir.join(std::str::from_utf8(reader.take(length)).expect("text"));
        let (mode, length) = (reader.number(4) as u32, reader.number(8));
        let mut bytes = vec![0; length];
        for _ in 0..reader.number(4) {
            let (offset, length) = (reader.number(8), reader.number(4));
            bytes[offset..offset + length].copy_from_slice(reader.take(length));
        }
        let parent = path.parent().expect("inside");
        fs::create_dir_all(parent).expect("made");
        fs::set_permissions(parent, fs::Permissions::from_mode(0o700)).expect("ours");
        fs::write(&path, bytes).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("ours");
    }
}

#[test]
fn a_tree_comes_out_as_it_went_in() {
    let (from, to) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("another"));
    let zeros = |n: usize| vec![0u8; n];
    let contents = [
        Vec::new(),
        zeros(100),
        b"x".to_vec(),
        [zeros(99), b"ab".to_vec(), zeros(GAP - 1), b"c".to_vec(), zeros(GAP), b"d".to_vec()].concat(),
        [b"a".to_vec(), zeros(5_000), b"b".to_vec(), zeros(1)].concat(),
    ];
    for (n, bytes) in contents.iter().enumerate() {
        let path = from.path().join(format!("d{}/e/{n}", n % 2));
        fs::create_dir_all(path.parent().expect("inside")).expect("made");
        fs::write(&path, bytes).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(if n == 2 { 0o600 } else { 0o644 }))
            .expect("ours");
    }
    let packed = pack(from.path(), |path| !path.ends_with('1'));
    assert!(packed.len() < 400, "{}", packed.len());
    unpack(&packed, to.path());
    assert_eq!(pack(to.path(), |_| true), packed);
    for (n, bytes) in contents.iter().enumerate() {
        let path = to.path().join(format!("d{}/e/{n}", n % 2));
        assert_eq!(fs::read(&path).ok().as_ref(), (n != 1).then_some(bytes), "{n}");
    }
}
