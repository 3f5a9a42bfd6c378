//! Byte strings that must not be found anywhere, in whatever encoding the system writes.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::Path;

use liandong_hub::hub::{Hub, HubOptions};

/// Byte strings that must not be found.
pub struct Needles {
    by_length: BTreeMap<usize, HashSet<Vec<u8>>>,
    /// Whether any of them begins with these two bytes, and goes on with those two.
    first: Vec<bool>,
    second: Vec<bool>,
}

fn pair(bytes: &[u8]) -> usize {
    usize::from(bytes[0]) << 8 | usize::from(bytes[1])
}

impl Needles {
    /// Texts, as UTF-8 and UTF-16 of both orders.
    pub fn of<'a>(texts: impl Iterator<Item = &'a str>) -> Needles {
        let mut needles = Needles::none();
        for text in texts {
            needles.add(text.as_bytes());
            for to_bytes in [u16::to_le_bytes, u16::to_be_bytes] {
                needles.add(&text.encode_utf16().flat_map(to_bytes).collect::<Vec<u8>>());
            }
        }
        needles
    }

    /// Bytes that are no text.
    pub fn of_bytes(bytes: &[u8]) -> Needles {
        let mut needles = Needles::none();
        needles.add(bytes);
        needles
    }

    /// The same, and bytes that are no text.
    #[must_use]
    pub fn and_bytes(mut self, bytes: &[u8]) -> Needles {
        self.add(bytes);
        self
    }

    fn none() -> Needles {
        Needles { by_length: BTreeMap::new(), first: vec![false; 1 << 16], second: vec![false; 1 << 16] }
    }

    fn add(&mut self, bytes: &[u8]) {
        for needle in spellings(bytes) {
            self.first[pair(&needle)] = true;
            self.second[pair(&needle[2..])] = true;
            self.by_length.entry(needle.len()).or_default().insert(needle);
        }
    }

    /// Where one of them begins.
    pub fn find(&self, bytes: &[u8]) -> Option<usize> {
        let begins = |at: &usize| self.first[pair(&bytes[*at..])] && self.second[pair(&bytes[*at + 2..])];
        (0..bytes.len().saturating_sub(3)).filter(begins).find(|at| {
            self.by_length.iter().any(|(length, needles)| {
                bytes.get(*at..*at + length).is_some_and(|window| needles.contains(window))
            })
        })
    }

    /// Fails when one of them is found.
    #[track_caller]
    pub fn check(&self, bytes: &[u8], what: impl std::fmt::Display) {
        assert_eq!(self.find(bytes), None, "what must not leave its city stands in {what}");
    }
}

/// Bytes as they are, in hexadecimal, and wherever they may begin within base64 of both alphabets.
fn spellings(bytes: &[u8]) -> Vec<Vec<u8>> {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut all = vec![bytes.to_vec(), hex.to_uppercase().into(), hex.into()];
    for before in 0..3 {
        let text = base64(&[&vec![0; before], bytes].concat());
        // Characters at both ends hold bits of the neighbours as well.
        let end = (before + bytes.len()) * 8 / 6;
        let text = &text[(before * 8).div_ceil(6)..end];
        let url = |letter: &u8| if *letter == b'+' { b'-' } else { b'_' };
        let plain = |letter: &u8| letter.is_ascii_alphanumeric();
        all.push(text.iter().map(|letter| if plain(letter) { *letter } else { url(letter) }).collect());
        all.push(text.to_vec());
    }
    all
}

/// Base64 without its padding.
pub fn base64(bytes: &[u8]) -> Vec<u8> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = Vec::new();
    for chunk in bytes.chunks(3) {
        let part = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = part(0) << 16 | part(1) << 8 | part(2);
        out.extend((0..4).map(|at| ALPHABET[(bits >> (18 - 6 * at)) as usize & 63]));
    }
    out
}

/// The files of a directory in which one of them is found, and the bytes that were read.
pub fn scan(dir: &Path, needles: &Needles) -> (Vec<String>, u64) {
    let (mut found, mut bytes) = (Vec::new(), 0);
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            let (more, read) = scan(&path, needles);
            found.extend(more);
            bytes += read;
        } else if path.is_file() {
            let content = fs::read(&path).expect("a file");
            found.extend(needles.find(&content).map(|_| path.display().to_string()));
            bytes += content.len() as u64;
        }
    }
    (found, bytes)
}

/// Fails when one of them is found at a hub that is stopped: in its files, or in what they hold once read.
#[track_caller]
pub fn check_hub(dir: &Path, needles: &Needles) {
    let (found, bytes) = scan(dir, needles);
    assert_eq!(found, [] as [&str; 0], "what must not leave its city");
    assert!(bytes > 0);
    // Blocks of the index may be compressed: its rows are read as well, and so is the log, record by record.
    let hub = Hub::open(&HubOptions::new(dir), &mut |_| {}).expect("the hub opens");
    for raw in hub.log().read(Default::default()) {
        needles.check(&raw.expect("readable").payload, "the hub's log");
    }
    for row in hub.index().scan(&[1], None) {
        let (key, value) = row.expect("readable");
        needles.check(&key, "a key of the hub's index");
        needles.check(&value, "a row of the hub's index");
    }
    hub.close().expect("closed");
}
