//! What a backup says of itself: its first member and its last.

use liandong_proto::id::{SiteCode, hex};
use liandong_proto::pb::node::v1::BackupResponse;
use serde::{Deserialize, Serialize};

use super::{BackupError, FORMAT};
use crate::say;

/// Name of the first member.
pub(super) const FORMAT_NAME: &str = "format";
/// Name of the last one.
pub(super) const MANIFEST_NAME: &str = "manifest.json";
/// What the first one holds, before the version.
const WORDS: &str = "liandong backup ";

/// The last member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of the format.
    pub format: u32,
    /// Version of the program that made it.
    pub version: String,
    /// Whose it is.
    pub site: u32,
    /// The life of its own log, hexadecimal.
    pub epoch: String,
    /// At least so far the own log goes.
    pub head_seq: u64,
    /// Hash of that entry, hexadecimal.
    pub head_hash: String,
    /// At the hub, the life of its order.
    pub generation: u64,
    /// At the hub, the newest place of it, at least; at a node, its cursor.
    pub hub_seq: u64,
    /// When it was made, milliseconds since 1970.
    pub made_at_ms: u64,
    /// Whether the keys are in it.
    pub keys: bool,
    /// Every member before this one, in order.
    pub members: Vec<Member>,
}

/// A member of the archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of it, hexadecimal.
    pub sha256: String,
}

impl Manifest {
    /// Of a backup of a site that stands so; the members come as they are written.
    pub fn new(stand: &BackupResponse, keys: bool, made_at_ms: u64) -> Manifest {
        Manifest {
            format: FORMAT,
            version: stand.version.clone(),
            site: stand.site,
            epoch: hex(&stand.epoch),
            head_seq: stand.head_seq,
            head_hash: hex(&stand.head_hash),
            generation: stand.generation,
            hub_seq: stand.hub_seq,
            made_at_ms,
            keys,
            members: Vec::new(),
        }
    }

    /// Whose it is.
    pub fn site(&self) -> SiteCode {
        SiteCode(self.site)
    }

    /// Bytes of all members.
    pub fn bytes(&self) -> u64 {
        self.members.iter().map(|member| member.bytes).sum()
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("a manifest has names for keys")
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Manifest, BackupError> {
        serde_json::from_slice(bytes).map_err(|error| {
            BackupError::damaged(
                format!("清单无法读取（{error}）"),
                format!("its manifest cannot be read ({error})"),
            )
        })
    }
}

/// The content of the first member.
pub(super) fn format_text(site: SiteCode) -> String {
    format!("{WORDS}{FORMAT} {site}\n")
}

/// Whose a backup is that begins so, if this program reads it.
pub(super) fn check_format(text: &[u8]) -> Result<SiteCode, BackupError> {
    let rest = std::str::from_utf8(text).ok().and_then(|text| text.trim_end().strip_prefix(WORDS));
    let (version, site) = rest.map_or(("", ""), |rest| rest.split_once(' ').unwrap_or((rest, "")));
    match version.parse::<u32>().ok() {
        Some(FORMAT) => site.parse().map(SiteCode).map_err(|_| no_backup()),
        Some(found) if found > FORMAT => Err(BackupError::Foreign(say!(
            "备份是较新版本的程序所做（格式 {found}，本程序认识 {FORMAT}）；请升级本程序",
            "the backup was made by a newer version (format {found}, this program knows {FORMAT}); upgrade this program"
        ))),
        _ => Err(no_backup()),
    }
}

/// What is no backup at all.
pub(super) fn no_backup() -> BackupError {
    BackupError::Foreign(say!(
        "这不是联动的备份文件；请检查拿的是哪个文件",
        "this is no backup of liandong; check which file it is"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_format_is_named_and_anything_else_is_no_backup() {
        assert_eq!(
            check_format(format_text(SiteCode(440_100)).as_bytes()).expect("known"),
            SiteCode(440_100)
        );
        let newer = check_format(b"liandong backup 2 440100 more\n").expect_err("not known");
        assert!(newer.said().en.contains("format 2") && newer.said().zh.contains("升级"), "{newer}");
        let others: [&[u8]; 6] = [
            b"",
            b"liandong backup ",
            b"liandong backup x\n",
            b"liandong backup 0 1\n",
            b"liandong backup 1\n",
            &[0xff; 20],
        ];
        for other in others {
            let refused = check_format(other).expect_err("no backup");
            assert!(refused.said().en.contains("no backup"), "{refused}");
        }
    }
}
