//! The sharing rules as one thing that a person can accept: how far every field travels that a city may write.

use std::cmp::Ordering;

use prost::Message as _;

use super::Share;
use crate::id::{Hash, sha256};
use crate::pb::log::v1 as pb;
use crate::schema::{self, Field, Kind, Party, Type};

/// The version of what is made of the rules: goes up when [`super::project`] lets something travel that it did not.
pub const PROJECTION: u32 = 1;

/// How far one field travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Number of the kind.
    pub kind: u32,
    /// Tag of the field.
    pub tag: u32,
    /// Tag inside a nested message; 0 for the field itself.
    pub part: u32,
    /// Its share class.
    pub share: Share,
    /// The group whose withdrawn consent keeps it in the city; empty when there is none.
    pub consent: String,
}

/// All of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The version of the projection.
    pub projection: u32,
    /// Ascending by kind, tag and part.
    pub rules: Vec<Rule>,
}

/// How a rule differs from the one that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A field that there was not.
    New(Rule),
    /// It travels further, or no longer stops when consent is withdrawn; as it was.
    Further(Rule, Rule),
    /// It travels less far; as it was.
    Less(Rule, Rule),
    /// There is no such field any more.
    Gone(Rule),
}

impl Rule {
    fn place(&self) -> (u32, u32, u32) {
        (self.kind, self.tag, self.part)
    }

    /// As it is written down.
    pub fn to_pb(&self) -> pb::SharingRule {
        let (share, consent) = (number(self.share), self.consent.clone());
        pb::SharingRule { kind: self.kind, tag: self.tag, part: self.part, share, consent }
    }

    fn from_pb(rule: &pb::SharingRule) -> Rule {
        // One of a later version is none that was accepted here: as if nothing of it might leave.
        let share = share_of(rule.share).unwrap_or(Share::Sealed);
        Rule { kind: rule.kind, tag: rule.tag, part: rule.part, share, consent: rule.consent.clone() }
    }

    /// Whether it lets more travel than `then` did, or less.
    fn against(&self, then: &Rule) -> Ordering {
        let by_share = number(then.share).cmp(&number(self.share));
        let by_consent =
            match (self.consent == then.consent, self.consent.is_empty(), then.consent.is_empty()) {
                (true, _, _) => Ordering::Equal,
                (_, false, true) => Ordering::Less,
                // Of another group: whoever withdrew the one before is not heard any more.
                _ => Ordering::Greater,
            };
        by_share.then(by_consent)
    }
}

/// The number of a class, as the schema's options have it: the smaller, the further.
pub fn number(share: Share) -> u32 {
    match share {
        Share::Open => 1,
        Share::Token => 2,
        Share::Sealed => 3,
    }
}

/// The class with a number.
pub fn share_of(number: u32) -> Option<Share> {
    [Share::Open, Share::Token, Share::Sealed].into_iter().find(|share| self::number(*share) == number)
}

impl Rules {
    /// Those of this program's schema.
    pub fn in_force() -> Rules {
        let kinds = schema::kinds().iter().filter(|kind| kind.owner != Party::Province);
        Rules { projection: PROJECTION, rules: kinds.flat_map(of_kind).collect() }
    }

    /// Names exactly these rules.
    pub fn fingerprint(&self) -> Hash {
        let mut text = b"liandong sharing rules 1\0".to_vec();
        text.extend_from_slice(&self.projection.to_be_bytes());
        for rule in &self.rules {
            text.extend(rule.to_pb().encode_length_delimited_to_vec());
        }
        sha256(&text)
    }

    /// As they are written down with an acceptance.
    pub fn to_pb(&self) -> Vec<pb::SharingRule> {
        self.rules.iter().map(Rule::to_pb).collect()
    }

    /// Those that an acceptance has written down.
    pub fn from_pb(accepted: &pb::RulesAccepted) -> Rules {
        Rules { projection: accepted.projection, rules: accepted.rules.iter().map(Rule::from_pb).collect() }
    }

    /// What is otherwise than `before`, in the order of fields.
    pub fn changes_since(&self, before: &Rules) -> Vec<Change> {
        let then = |rule: &Rule| before.rules.iter().find(|other| other.place() == rule.place());
        let is_gone = |rule: &&Rule| !self.rules.iter().any(|other| other.place() == rule.place());
        let now = self.rules.iter().filter_map(|rule| match then(rule) {
            None => Some(Change::New(rule.clone())),
            Some(then) => match rule.against(then) {
                Ordering::Greater => Some(Change::Further(rule.clone(), then.clone())),
                Ordering::Less => Some(Change::Less(rule.clone(), then.clone())),
                Ordering::Equal => None,
            },
        });
        now.chain(before.rules.iter().filter(is_gone).cloned().map(Change::Gone)).collect()
    }
}

/// What of a kind a city may write: the province's fields never leave one.
fn of_kind(kind: &Kind) -> Vec<Rule> {
    let rule = |field: &Field, tag, part| {
        let consent = field.consent.to_owned();
        Rule { kind: kind.number, tag, part, share: field.share, consent }
    };
    let fields = kind.fields.iter().filter(|field| field.owner != Party::Province);
    let with_parts = fields.flat_map(|field| {
        let parts = match field.ty {
            Type::Message(name) => schema::parts(name).unwrap_or_default(),
            _ => &[],
        };
        let parts = parts.iter().map(move |part| rule(part, field.tag, part.tag));
        std::iter::once(rule(field, field.tag, 0)).chain(parts)
    });
    with_parts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(shares: &[(u32, Share)]) -> Rules {
        let rules = shares.iter().map(|(tag, share)| rule(*tag, *share)).collect();
        Rules { projection: PROJECTION, rules }
    }

    fn rule(tag: u32, share: Share) -> Rule {
        Rule { kind: 1, tag, part: 0, share, consent: String::new() }
    }

    #[test]
    fn the_rules_cover_what_a_city_may_write_and_nothing_else() {
        let all = Rules::in_force();
        let member = schema::kind_by_name("member").expect("a kind");
        let number = member.field_by_name("id_number").expect("a field");
        assert!(all.rules.contains(&rule(number.tag, Share::Token)));
        let employer = member.field_by_name("employer").expect("a field");
        assert!(
            all.rules.contains(&Rule { consent: "employment".into(), ..rule(employer.tag, Share::Open) })
        );
        let sealed = all.rules.iter().filter(|rule| rule.kind == 1 && rule.share == Share::Sealed).count();
        assert_eq!(sealed, member.fields.iter().filter(|field| field.share == Share::Sealed).count());
        for rule in &all.rules {
            let kind = schema::kind(rule.kind).expect("a kind");
            assert!(kind.owner != Party::Province, "{}", kind.name);
            assert!(kind.field(rule.tag).is_some_and(|field| field.owner != Party::Province));
        }
        assert!(all.rules.windows(2).all(|pair| pair[0].place() < pair[1].place()));
    }

    #[test]
    fn any_difference_gives_another_fingerprint() {
        use Share::{Open, Sealed, Token};
        let all = [
            rules(&[(1, Open), (2, Sealed)]),
            rules(&[(1, Open), (2, Token)]),
            rules(&[(1, Open)]),
            rules(&[(1, Open), (3, Sealed)]),
            Rules { projection: PROJECTION + 1, ..rules(&[(1, Open), (2, Sealed)]) },
            Rules {
                projection: PROJECTION,
                rules: vec![Rule { consent: "contact".into(), ..rule(1, Open) }, rule(2, Sealed)],
            },
        ];
        let prints: std::collections::BTreeSet<Hash> = all.iter().map(Rules::fingerprint).collect();
        assert_eq!(prints.len(), all.len());
        assert_eq!(all[0].fingerprint(), rules(&[(1, Open), (2, Sealed)]).fingerprint());
    }

    #[test]
    fn what_travels_further_is_told_from_what_travels_less_far() {
        use Share::{Open, Sealed, Token};
        let before = rules(&[(1, Open), (2, Sealed), (3, Token), (4, Open)]);
        let now = rules(&[(1, Open), (2, Token), (3, Sealed), (5, Open)]);
        let written =
            pb::RulesAccepted { projection: before.projection, rules: before.to_pb(), ..Default::default() };
        assert_eq!(
            now.changes_since(&Rules::from_pb(&written)),
            [
                Change::Further(rule(2, Token), rule(2, Sealed)),
                Change::Less(rule(3, Sealed), rule(3, Token)),
                Change::New(rule(5, Open)),
                Change::Gone(rule(4, Open)),
            ]
        );
        assert_eq!(now.changes_since(&now), []);
        let bound = Rule { consent: "contact".into(), ..rule(1, Open) };
        let bound = |consent: &str| Rule { consent: consent.into(), ..bound.clone() };
        let one = |rule: Rule| Rules { projection: PROJECTION, rules: vec![rule] };
        let change = |from: &str, to: &str| one(bound(to)).changes_since(&one(bound(from)));
        assert_eq!(change("contact", ""), [Change::Further(bound(""), bound("contact"))]);
        assert_eq!(change("", "contact"), [Change::Less(bound("contact"), bound(""))]);
        assert_eq!(change("contact", "other"), [Change::Further(bound("other"), bound("contact"))]);
    }
}
