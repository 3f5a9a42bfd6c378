//! What is recorded: one note for each thing that was done.

use liandong_proto::id::SiteCode;
use liandong_proto::pb::audit::v1::{AuditRecord, What};
use liandong_proto::schema::Text;

/// Longest purpose and detail, in bytes; what is longer is cut.
const LONGEST: usize = 500;
/// Longest name of whoever does something, in bytes.
const LONGEST_NAME: usize = 200;
/// So many digits in a row are a mobile or the number of a document, whatever a person meant to type.
const NUMBER: usize = 11;

/// How somebody came to the site.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Via {
    /// A process of this machine: the site's socket or its directory.
    #[default]
    Socket,
    /// The sync port, with a city's certificate.
    Sync,
    /// The enrolment port.
    Enrolment,
    /// Another port.
    Tcp,
}

impl Via {
    /// As it stands in the log.
    pub const fn name(self) -> &'static str {
        match self {
            Via::Socket => "socket",
            Via::Sync => "sync",
            Via::Enrolment => "enrolment",
            Via::Tcp => "tcp",
        }
    }
}

/// Something that was done, for [`Audit::note`](super::Audit::note). It never holds the value of a field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Note {
    /// What.
    pub what: What,
    /// Who: the opaque id of a person, [`Note::city`], or `token:NAME`.
    pub who: String,
    /// How they came.
    pub via: Via,
    /// Who is at the other end as this machine knows it: `uid:1000`.
    pub peer: String,
    /// Number of the kind of the records concerned.
    pub kind: u32,
    /// How many records, or how often.
    pub count: u64,
    /// What for, as a person typed it.
    pub purpose: String,
    /// The city concerned.
    pub site: u32,
    /// Names, ids, codes; a reason that was typed.
    pub detail: String,
}

impl Note {
    /// What a city itself does, by the certificate it shows.
    pub fn city(what: What, site: SiteCode) -> Note {
        Note { what, who: format!("city {site}"), via: Via::Sync, site: site.0, ..Note::default() }
    }

    /// The record without its place.
    pub(super) fn record(self, at_ms: u64) -> AuditRecord {
        AuditRecord {
            at_ms,
            who: clean(&self.who, LONGEST_NAME),
            via: self.via.name().into(),
            what: self.what as i32,
            kind: self.kind,
            count: self.count,
            purpose: clean(&without_numbers(&self.purpose), LONGEST),
            site: self.site,
            detail: clean(&self.detail, LONGEST),
            peer: self.peer,
            ..AuditRecord::default()
        }
    }
}

/// Hides numbers that could lead to a person from a text that a person typed.
pub(super) fn without_numbers(typed: &str) -> String {
    let mut out = String::with_capacity(typed.len());
    let mut rest = typed;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let digits = rest[at..].find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len() - at);
        out.push_str(&rest[..at]);
        out.push_str(if digits >= NUMBER { "…" } else { &rest[at..at + digits] });
        rest = &rest[at + digits..];
    }
    out + rest
}

/// One line of at most so many bytes.
fn clean(text: &str, longest: usize) -> String {
    let mut out = String::new();
    for c in text.trim().chars() {
        let c = if c.is_control() { ' ' } else { c };
        if out.len() + c.len_utf8() > longest {
            break;
        }
        out.push(c);
    }
    out
}

/// What people call it.
pub fn labels(what: What) -> Text {
    let (zh, en) = match what {
        What::Unspecified => ("本版本不认识", "unknown to this version"),
        What::Started => ("启动", "started"),
        What::Stopped => ("停止", "stopped"),
        What::Read => ("查阅", "read"),
        What::Exported => ("导出", "exported"),
        What::Imported => ("导入", "imported"),
        What::Deleted => ("删除", "deleted"),
        What::Erased => ("彻底删除", "erased"),
        What::Verified => ("检查日志和索引", "verified"),
        What::Rebuilt => ("重建索引", "rebuilt"),
        What::Restored => ("恢复站点", "restored"),
        What::Repaired => ("修复日志", "log repaired"),
        What::AuditRead => ("查阅审计日志", "audit log read"),
        What::AuditExported => ("导出审计日志", "audit log exported"),
        What::AuditVerified => ("检查审计日志", "audit log verified"),
        What::SignedIn => ("登入", "signed in"),
        What::Refused => ("拒绝", "turned away"),
        What::Invited => ("邀请", "invited"),
        What::Joined => ("加入", "joined"),
        What::Renewed => ("续期证书", "certificate renewed"),
        What::Revoked => ("停用", "revoked"),
        What::Retired => ("永久退出", "retired"),
        What::Settled => ("处理核对事项", "finding settled"),
        What::Fetched => ("取回本市记录", "own entries fetched"),
        What::Rekeyed => ("更换签名密钥", "signing key rotated"),
        What::HubRestored => ("枢纽由备份恢复", "hub restored from a backup"),
        What::Confirmed => ("确认停用名单", "who is cut off confirmed"),
        What::BackedUp => ("备份", "backed up"),
        What::PutBack => ("由备份恢复", "put back from a backup"),
        What::TokenMade => ("发放令牌", "token given out"),
        What::TokenRevoked => ("吊销令牌", "token revoked"),
    };
    Text { zh, en }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_typed_into_a_purpose_is_not_kept() {
        #[track_caller]
        fn check(typed: &str, expected: &str) {
            assert_eq!(without_numbers(typed), expected);
        }
        check("", "");
        check("年检 2026", "年检 2026");
        check("核对13800138000的资料", "核对…的资料");
        check("11010519491231002X", "…X");
        check("文号 440100-2026-0012, 440100197401024011", "文号 440100-2026-0012, …");
    }

    #[test]
    fn what_is_recorded_is_one_short_line() {
        let purpose = format!("一\n二\u{1b}[2J{}", "长".repeat(LONGEST));
        let record = Note { purpose, who: "x".repeat(LONGEST), ..Note::default() }.record(7);
        assert!(record.purpose.starts_with("一 二 [2J长") && record.purpose.len() <= LONGEST);
        assert_eq!((record.who.len(), record.at_ms), (LONGEST_NAME, 7));
    }
}
