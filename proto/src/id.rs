//! Names of things: sites, records, epochs, origins, hashes.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

/// A site as a GB/T 2260 code: 440100 … 445300 for cities, [`SiteCode::PROVINCE`] for the hub.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SiteCode(pub u32);

impl SiteCode {
    /// Guangdong as a whole: the hub's own code.
    pub const PROVINCE: SiteCode = SiteCode(440_000);

    /// Whether this is the hub.
    pub fn is_province(self) -> bool {
        self == Self::PROVINCE
    }
}

impl fmt::Display for SiteCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:06}", self.0)
    }
}

macro_rules! bytes16 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub [u8; 16]);

        impl $name {
            /// Reads 16 bytes; `None` for any other length.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", hex(&self.0))
            }
        }
    };
}

bytes16! {
    /// A record: UUIDv7 (RFC 9562), made by the origin that created it.
    RecordId
}

bytes16! {
    /// One life of a site's log: 16 random bytes.
    Epoch
}

impl RecordId {
    /// UUIDv7 from `ms` since 1970 and ten random bytes (RFC 9562 §5.7).
    pub fn v7(ms: u64, random: [u8; 10]) -> RecordId {
        let mut id = [0; 16];
        id[..6].copy_from_slice(&ms.to_be_bytes()[2..]);
        id[6..].copy_from_slice(&random);
        id[6] = (id[6] & 0x0f) | 0x70;
        id[8] = (id[8] & 0x3f) | 0x80;
        RecordId(id)
    }

    /// An id that follows from `parts` alone (RFC 9562 §5.8, UUIDv8 over SHA-256), for records that are
    /// derived and must come out the same on every rebuild.
    pub fn derived(parts: &[&[u8]]) -> RecordId {
        let mut sha = Sha256::new();
        for part in parts {
            sha.update((part.len() as u64).to_be_bytes());
            sha.update(part);
        }
        let mut id = [0; 16];
        id.copy_from_slice(&sha.finalize()[..16]);
        id[6] = (id[6] & 0x0f) | 0x80;
        id[8] = (id[8] & 0x3f) | 0x80;
        RecordId(id)
    }

    /// Whether it was made by [`RecordId::derived`].
    pub fn is_derived(self) -> bool {
        self.0[6] >> 4 == 8
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let h = hex(&self.0);
        write!(f, "{}-{}-{}-{}-{}", &h[..8], &h[8..12], &h[12..16], &h[16..20], &h[20..])
    }
}

/// A text that is not a record id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a record id: expected a UUID such as 01890a5d-ac96-774b-bcce-b302099a8057")]
pub struct NotARecordId;

impl FromStr for RecordId {
    type Err = NotARecordId;

    fn from_str(text: &str) -> Result<Self, NotARecordId> {
        let digits: Vec<u8> = text.bytes().filter(|b| *b != b'-').collect();
        let bytes = unhex(&digits).ok_or(NotARecordId)?;
        RecordId::from_slice(&bytes).ok_or(NotARecordId)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// Who writes: a site in one life of its log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Origin {
    /// The site.
    pub site: SiteCode,
    /// One life of its log.
    pub epoch: Epoch,
}

/// Hasher for maps keyed by record: ids are random enough by themselves. Whoever chooses ids can make such a
/// map slow for its own batch, not for others' data.
#[derive(Clone, Copy, Default, Debug)]
pub struct IdHasher(u64);

impl std::hash::Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(u64::from(word));
    }

    fn write_u64(&mut self, word: u64) {
        // Multiplication by an odd constant (Knuth, TAOCP 6.4) spreads low bits upwards, the rotation down.
        self.0 = (self.0.rotate_left(26) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn finish(&self) -> u64 {
        self.0.rotate_left(26)
    }
}

/// A map keyed by kind and record.
pub type RecordMap<V> =
    std::collections::HashMap<(u32, RecordId), V, std::hash::BuildHasherDefault<IdHasher>>;

/// SHA-256.
pub type Hash = [u8; 32];

/// SHA-256 of `bytes`.
pub fn sha256(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = String::with_capacity(bytes.len() * 2);
    for b in bytes {
        out.push(DIGITS[(b >> 4) as usize] as char);
        out.push(DIGITS[(b & 15) as usize] as char);
    }
    out
}

/// Bytes of a hexadecimal text of even length; `None` when it is not one.
pub fn unhex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |b: u8| (b as char).to_digit(16).map(|d| d as u8);
    if !text.len().is_multiple_of(2) {
        return None;
    }
    text.chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_ids_print_and_parse_as_uuids() {
        let id = RecordId::v7(0x0189_0a5d_ac96, [0x77, 0x4b, 0xbc, 0xce, 0xb3, 2, 9, 0x9a, 0x80, 0x57]);
        assert_eq!(id.to_string(), "01890a5d-ac96-774b-bcce-b302099a8057");
        assert_eq!("01890a5d-ac96-774b-bcce-b302099a8057".parse(), Ok(id));
        assert_eq!("01890a5d".parse::<RecordId>(), Err(NotARecordId));
        assert_eq!("01890a5d-ac96-774b-bcce-b302099a80zz".parse::<RecordId>(), Err(NotARecordId));
    }

    #[test]
    fn record_ids_sort_by_time_of_making() {
        assert!(RecordId::v7(1, [255; 10]) < RecordId::v7(2, [0; 10]));
    }

    #[test]
    fn derived_ids_depend_on_every_part_and_its_length() {
        let id = RecordId::derived(&[b"ab", b"c"]);
        assert_eq!(id, RecordId::derived(&[b"ab", b"c"]));
        assert_ne!(id, RecordId::derived(&[b"a", b"bc"]));
        assert!(id.is_derived() && !RecordId::v7(1, [0; 10]).is_derived());
    }
}
