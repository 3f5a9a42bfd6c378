//! What a token allows, and what every call needs.

use std::fmt;
use std::str::FromStr;

use liandong_proto::schema;
use serde::{Deserialize, Serialize};

use crate::say;
use crate::text::Said;

/// To read or to write. Neither holds the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// Show records, their history and what has been deleted.
    Read,
    /// Make, change and delete records.
    Write,
}

impl Right {
    const fn word(self) -> &'static str {
        match self {
            Right::Read => "read",
            Right::Write => "write",
        }
    }
}

/// One thing that a token allows: `member:read`, `*:write`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Scope {
    /// Number of the kind; `None` for all of them, those of later versions included.
    kind: Option<u32>,
    right: Right,
}

/// What a token of another system allows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scopes {
    /// Each alone is enough.
    pub scopes: Vec<Scope>,
}

impl Scope {
    /// A right over one kind.
    pub const fn of(kind: u32, right: Right) -> Scope {
        Scope { kind: Some(kind), right }
    }

    /// Whether this one is enough for what is needed.
    pub fn covers(self, needed: Scope) -> bool {
        self.right == needed.right && (self.kind.is_none() || self.kind == needed.kind)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            None => f.write_str("*")?,
            Some(number) => match schema::kind(number) {
                Some(kind) => f.write_str(kind.name)?,
                None => write!(f, "{number}")?,
            },
        }
        write!(f, ":{}", self.right.word())
    }
}

impl FromStr for Scope {
    type Err = Said;

    fn from_str(text: &str) -> Result<Scope, Said> {
        let wrong = || {
            let kinds: Vec<&str> = schema::kinds().iter().map(|kind| kind.name).collect();
            let kinds = kinds.join(", ");
            say!(
                "“{text}”不是权限；应写成 种类:read 或 种类:write，种类为 {kinds} 之一，或 * 表示全部",
                "\"{text}\" is no scope; write KIND:read or KIND:write, where KIND is one of {kinds}, or * for all of them"
            )
        };
        let (kind, right) = text.split_once(':').ok_or_else(wrong)?;
        let right = [Right::Read, Right::Write].into_iter().find(|known| known.word() == right);
        let kind = match kind {
            "*" => None,
            name => Some(schema::kind_by_name(name).ok_or_else(wrong)?.number),
        };
        Ok(Scope { kind, right: right.ok_or_else(wrong)? })
    }
}

impl TryFrom<String> for Scope {
    type Error = String;

    fn try_from(text: String) -> Result<Scope, String> {
        text.parse().map_err(|said: Said| said.en)
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> String {
        scope.to_string()
    }
}

/// What a call needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// A right over every kind that the request names.
    OfKind(Right),
    /// A token, whatever it allows.
    Token,
    /// To be made on the site's own machine: no token is enough.
    Here,
}

/// Every call of the services that are on this machine, and what another system needs for it.
pub static CALLS: &[(&str, Need)] = &[
    ("/liandong.node.v1.Records/Put", Need::OfKind(Right::Write)),
    ("/liandong.node.v1.Records/Get", Need::OfKind(Right::Read)),
    ("/liandong.node.v1.Records/List", Need::OfKind(Right::Read)),
    ("/liandong.node.v1.Records/History", Need::OfKind(Right::Read)),
    ("/liandong.node.v1.Records/Delete", Need::OfKind(Right::Write)),
    ("/liandong.node.v1.Records/Deleted", Need::OfKind(Right::Read)),
    // There is no way back.
    ("/liandong.node.v1.Records/Erase", Need::Here),
    ("/liandong.node.v1.Records/Erasures", Need::Here),
    ("/liandong.node.v1.Outbound/Preview", Need::Here),
    ("/liandong.node.v1.Outbound/Accept", Need::Here),
    ("/liandong.node.v1.Upkeep/Status", Need::Token),
    ("/liandong.node.v1.Upkeep/KeysChanged", Need::Here),
    ("/liandong.node.v1.Upkeep/Backup", Need::Here),
    // Reads the whole log and index.
    ("/liandong.node.v1.Upkeep/Verify", Need::Here),
];

/// What a call needs; one that is not in the table is for this machine.
pub fn need(call: &str) -> Need {
    CALLS.iter().find(|(known, _)| *known == call).map_or(Need::Here, |(_, need)| *need)
}

#[cfg(test)]
mod tests {
    use liandong_proto::pb::DESCRIPTORS;
    use prost_reflect::DescriptorPool;

    use super::*;

    #[test]
    fn every_call_of_the_record_api_says_what_it_needs() {
        let pool = DescriptorPool::decode(DESCRIPTORS).expect("descriptors");
        let services = pool.services().filter(|service| service.full_name().starts_with("liandong.node."));
        let calls: Vec<String> = services
            .flat_map(|service| service.methods().collect::<Vec<_>>())
            .map(|method| format!("/{}/{}", method.parent_service().full_name(), method.name()))
            .collect();
        assert!(calls.len() >= 8, "{calls:?}");
        for call in &calls {
            let rows = CALLS.iter().filter(|(known, _)| known == call).count();
            assert_eq!(rows, 1, "{call}: say in the table who may call it");
        }
        assert_eq!(CALLS.len(), calls.len(), "a row for a call that is gone");
        assert_eq!(need("/liandong.node.v1.Records/Unheard"), Need::Here);
    }

    #[test]
    fn a_scope_covers_its_own_kind_and_right_alone() {
        let scope = |text: &str| text.parse::<Scope>().expect("a scope");
        #[track_caller]
        fn check(given: Scope, needed: Scope, expected: bool) {
            assert_eq!(given.covers(needed), expected, "{given} for {needed}");
        }
        check(scope("member:read"), scope("member:read"), true);
        check(scope("member:read"), scope("member:write"), false);
        check(scope("member:write"), scope("member:read"), false);
        check(scope("member:read"), scope("nomination:read"), false);
        check(scope("*:read"), scope("nomination:read"), true);
        check(scope("*:read"), Scope::of(99, Right::Read), true);
        check(scope("*:read"), scope("member:write"), false);
        for text in ["member:read", "award_round:write", "*:read"] {
            assert_eq!(scope(text).to_string(), text);
        }
        for text in ["member", "member:", "member:all", "members:read", ":read", "", "*", "会员:read"] {
            assert!(text.parse::<Scope>().is_err(), "{text}");
        }
    }
}
