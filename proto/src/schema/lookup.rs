//! The generated tables, and how to find one's way in them.

use super::{Audience, Enum, Field, Format, Kind, Merge, Party, Pii, Share, Step, Text, Type, Value};

include!(concat!(env!("OUT_DIR"), "/tables.rs"));

/// All kinds, ascending numbers.
pub fn kinds() -> &'static [Kind] {
    &KINDS
}

/// The kind with a number.
pub fn kind(number: u32) -> Option<&'static Kind> {
    KINDS.binary_search_by_key(&number, |kind| kind.number).ok().map(|at| &KINDS[at])
}

/// The kind with a name such as `award_round`.
pub fn kind_by_name(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}

/// The fields of a nested message, by its full name as [`Type::Message`] has it.
pub fn parts(message: &str) -> Option<&'static [Field]> {
    PARTS.iter().find(|(name, _)| *name == message).map(|(_, fields)| *fields)
}

impl Kind {
    /// The field with a tag.
    pub fn field(&self, tag: u32) -> Option<&'static Field> {
        let fields = self.fields;
        fields.binary_search_by_key(&tag, |field| field.tag).ok().map(|at| &fields[at])
    }

    /// The field with a name.
    pub fn field_by_name(&self, name: &str) -> Option<&'static Field> {
        let fields = self.fields;
        fields.iter().find(|field| field.name == name)
    }

    /// Whether such records say anything about a person: reading them is recorded.
    pub fn is_personal(&self) -> bool {
        let fields = self.fields;
        fields.iter().any(|field| field.pii >= Pii::Indirect)
    }
}

impl Enum {
    /// The value with a number.
    pub fn value(&self, number: i32) -> Option<&'static Value> {
        let values = self.values;
        values.iter().find(|value| value.number == number)
    }

    /// The value that a text means: its name, its Chinese or English label, or an alias. Blanks around the
    /// text and the case of Latin letters do not count.
    pub fn by_text(&self, text: &str) -> Option<&'static Value> {
        let values = self.values;
        values.iter().find(|value| value.texts().any(|known| known.eq_ignore_ascii_case(text.trim())))
    }
}

impl Value {
    /// Every text that means it.
    pub fn texts(&self) -> impl Iterator<Item = &'static str> + use<> {
        let (own, aliases) = ([self.name, self.label.zh, self.label.en], self.aliases);
        own.into_iter().chain(aliases.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member() -> &'static Kind {
        kind_by_name("member").expect("the first of all kinds")
    }

    #[test]
    fn kinds_are_found_by_number_and_name() {
        let names: Vec<_> = (1..=9).map(|number| kind(number).map(|kind| kind.name)).collect();
        let expected = [
            "member",
            "award_round",
            "nomination",
            "case",
            "sanction",
            "transfer",
            "finding",
            "person_link",
            "agreement",
        ];
        assert_eq!(names, expected.map(Some));
        assert_eq!(kinds().len(), expected.len());
        for known in kinds() {
            assert_eq!(kind(known.number), Some(known));
            assert_eq!(kind_by_name(known.name), Some(known));
        }
        assert_eq!(kind(0), None);
        assert_eq!(kind(10), None);
        assert_eq!(kind_by_name("Member"), None);
    }

    #[test]
    fn fields_are_found_by_tag_and_name() {
        for kind in kinds() {
            assert!(kind.fields.is_sorted_by_key(|field| field.tag), "{}", kind.name);
            for field in kind.fields {
                assert_eq!(kind.field(field.tag), Some(field));
                assert_eq!(kind.field_by_name(field.name), Some(field));
            }
            assert_eq!(kind.field(0), None);
            assert_eq!(kind.field(15_000), None);
        }
        assert_eq!(member().field_by_name("age"), None);
    }

    #[test]
    fn options_arrive_in_the_tables() {
        let id = member().field_by_name("id_number").expect("a field");
        assert_eq!((id.share, id.pii, id.format), (Share::Token, Pii::Direct, Format::ResidentId));
        assert_eq!((id.owner, id.merge, id.ty), (Party::Home, Merge::Latest, Type::String));
        assert_eq!(id.group, [id.tag]);
        assert!(id.aliases.contains(&"身份证号"));
        let tier = member().field_by_name("tier").expect("a field");
        assert_eq!((tier.owner, tier.merge), (Party::Shared, Merge::Review));
        let to = member().field_by_name("registered_to").expect("a field");
        assert_eq!(to.group, [21, 22, 23]);
        assert_eq!(member().field_by_name("cpd_hours").map(|hours| hours.unit), Some("h"));
        assert_eq!(member().identity.first(), Some(&id.tag));
        assert_eq!(member().status, Some(30));
        let audience = |name| kind_by_name(name).map(|kind| kind.audience);
        assert_eq!(audience("member"), Some(Audience::Home));
        assert_eq!(audience("award_round"), Some(Audience::AllCities));
        assert_eq!(audience("transfer"), Some(Audience::Sites(&[2, 3])));
        assert_eq!(audience("person_link"), Some(Audience::None));
    }

    #[test]
    fn nested_messages_have_tables() {
        let Some(Type::Message(name)) = kind(2).and_then(|round| round.field(4)).map(|field| field.ty) else {
            panic!("quotas are a message");
        };
        let names: Vec<_> = parts(name).expect("a table").iter().map(|field| field.name).collect();
        assert_eq!(names, ["city", "category", "places"]);
        assert_eq!(parts("liandong.record.v1.Member"), None);
    }

    #[track_caller]
    fn check(field: &str, text: &str, expected: Option<&str>) {
        let field = member().field_by_name(field).expect("a field");
        let Type::Enum(choices) = field.ty else { panic!("{} has no choices", field.name) };
        assert_eq!(choices.by_text(text).map(|value| value.name), expected, "{text}");
    }

    #[test]
    fn choices_are_found_by_text() {
        check("sex", "女", Some("FEMALE"));
        check("sex", "f", Some("FEMALE"));
        check("sex", "1", Some("MALE"));
        check("sex", "unspecified", None);
        check("sex", "", None);
        check("qualification_level", " 社会工作师 ", Some("SOCIAL_WORKER"));
        check("qualification_level", "初级", Some("ASSISTANT"));
        check("qualification_level", "senior", Some("SENIOR"));
        check("status", "在册", Some("ACTIVE"));
        check("status", "Active", Some("ACTIVE"));
        check("status", "退会", Some("RESIGNED"));
    }

    #[test]
    fn steps_are_read_from_the_value_they_lead_to() {
        let Some(Type::Enum(statuses)) = kind(3).and_then(|nomination| nomination.field(30)).map(|f| f.ty)
        else {
            panic!("a status is an enum");
        };
        let number = |name: &str| statuses.by_text(name).expect("a status").number;
        let step = |from: &str, by| Step { from: number(from), by };
        let awarded = statuses.value(number("AWARDED")).expect("a status");
        assert_eq!(awarded.follows, [step("PUBLIC_NOTICE", Party::Province)]);
        let sent_up = statuses.value(number("SENT_UP")).expect("a status");
        assert_eq!(sent_up.follows, [step("CITY_NOTICE", Party::Home)]);
        assert_eq!(statuses.value(0), None);
        assert!(statuses.value(number("DRAFT")).is_some_and(|draft| draft.draft && draft.initial));
    }
}
