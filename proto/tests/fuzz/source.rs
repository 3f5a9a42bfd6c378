//! Where inputs come from: a seed, valid bytes, and what can go wrong with them on their way.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::collections::VecDeque;

/// Numbers at which programs go wrong.
const EDGES: [u64; 12] =
    [0, 1, 2, 127, 128, 255, 65_535, 65_536, u32::MAX as u64, 1 << 32, i64::MAX as u64, u64::MAX];
/// How many inputs are kept to cut pieces out of.
const MOST_KEPT: usize = 64;

/// Random choices from a seed: splitmix64 (Steele, Lea & Flood 2014), small, and the same everywhere.
#[derive(Debug)]
pub struct Source {
    state: u64,
    /// Inputs of this case so far: pieces of one end up in another.
    kept: VecDeque<Vec<u8>>,
}

impl Source {
    pub fn new(seed: u64) -> Source {
        Source { state: seed, kept: VecDeque::new() }
    }

    pub fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.number() % n.max(1) as u64) as usize
    }

    /// True in `n` of 100 cases.
    pub fn percent(&mut self, n: u64) -> bool {
        self.number() % 100 < n
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// A number as an enemy would choose it: often at an edge, often small.
    pub fn edge(&mut self) -> u64 {
        match self.below(4) {
            0 => self.pick(&EDGES),
            1 => self.pick(&EDGES).wrapping_sub(1),
            2 => self.number() % 16,
            _ => self.number(),
        }
    }

    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.number() as u8)
    }

    pub fn bytes(&mut self, most: usize) -> Vec<u8> {
        let length = self.below(most + 1);
        (0..length).map(|_| self.number() as u8).collect()
    }

    /// The bytes as they are in one of four cases; else with one to eight changes.
    pub fn mutated(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        if self.kept.len() == MOST_KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(bytes.clone());
        if self.percent(25) {
            return bytes;
        }
        let most = if self.percent(70) { 2 } else { 8 };
        for _ in 0..1 + self.below(most) {
            self.change(&mut bytes);
        }
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>) {
        let at = self.below(bytes.len());
        let most = if self.percent(80) { 8 } else { 200 };
        let end = (at + 1 + self.below(most)).min(bytes.len());
        match self.below(9) {
            _ if bytes.is_empty() => *bytes = self.bytes(20),
            0 => bytes[at] ^= 1 << self.below(8),
            1 => bytes[at] = self.number() as u8,
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            5 => {
                let strange = self.bytes(12);
                bytes.splice(at..at, strange);
            }
            6 => {
                let number = varint(self.edge());
                bytes.splice(at..end.min(at + number.len()), number);
            }
            7 => self.nested(bytes),
            _ => {
                let other = self.below(self.kept.len());
                let other = &self.kept[other];
                let (from, length) = (self.state as usize % (other.len() + 1), end - at);
                let piece = other[from..other.len().min(from + length)].to_vec();
                bytes.splice(at..end, piece);
            }
        }
    }

    /// Changes a field of a protobuf message and mends the lengths around it, so that the change is met where it is and
    /// not as a message cut short. At any depth: what has the shape of a message is taken for one.
    fn nested(&mut self, bytes: &mut Vec<u8>) {
        let fields = delimited(bytes);
        if fields.is_empty() {
            return;
        }
        let (key, start, end) = self.pick(&fields);
        let mut inner = bytes[start..end].to_vec();
        if self.percent(60) && !delimited(&inner).is_empty() {
            self.nested(&mut inner);
        } else {
            self.change(&mut inner);
        }
        let number = bytes[key];
        let whole = [&[number], varint(inner.len() as u64).as_slice(), &inner].concat();
        match self.below(8) {
            0 => drop(bytes.drain(key..end)),
            1 => drop(bytes.splice(key..key, whole)),
            _ => drop(bytes.splice(key..end, whole)),
        }
    }

    /// Text as it stands in cells: valid pieces, marks of every kind, and what spreadsheets add.
    pub fn text(&mut self, valid: &[&str]) -> String {
        const MARKS: [&str; 28] = [
            "-", ".", "/", "年", "月", "日", " ", "\u{3000}", "０", "Ｘ", "x", "+86", "E+17", "'", "\"",
            "\r\n", "\0", "·", "（", ")", "@", "0", "9", "\u{200b}", "𠮷", "é", "：", "",
        ];
        let mut text: Vec<char> = self.pick(valid).chars().collect();
        for _ in 0..self.below(5) {
            let at = self.below(text.len() + 1);
            match self.below(5) {
                0 => drop(text.splice(at..at, self.pick(&MARKS).chars())),
                1 if at < text.len() => text[at] = char::from_digit(self.below(10) as u32, 10).unwrap_or('0'),
                2 if at < text.len() => drop(text.remove(at)),
                3 => text.truncate(at),
                _ => drop(text.splice(at..at, self.pick(valid).chars())),
            }
        }
        text.into_iter().collect()
    }
}

/// A base-128 number.
pub fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

/// The fields with a length and a key of one byte: where the key stands, and the value. As far as it can be read.
fn delimited(bytes: &[u8]) -> Vec<(usize, usize, usize)> {
    let (mut out, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let key = at;
        let Some((_, start)) = read(bytes, key) else { return out };
        at = match bytes[key] & 7 {
            0 => read(bytes, start).map(|(_, end)| end),
            1 => Some(start + 8),
            5 => Some(start + 4),
            2 => read(bytes, start).and_then(|(length, start)| {
                let end = start.checked_add(usize::try_from(length).ok()?)?;
                if end <= bytes.len() && bytes[key] < 0x80 {
                    out.push((key, start, end));
                }
                Some(end)
            }),
            _ => None,
        }
        .unwrap_or(bytes.len());
    }
    out
}

fn read(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let mut value = 0;
    for (i, byte) in bytes.get(at..)?.iter().take(9).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Some((value, at + i + 1));
        }
    }
    None
}
