//! What must hold between the options of a kind: owners, shares, groups, steps, ranks and aliases.

use std::collections::HashMap;

use liandong_proto::schema::{
    Audience, Enum, Field, Format, Kind, Merge, Party, Pii, Share, Step, Text, Type, Value, kinds, parts,
};

#[test]
fn the_schema_keeps_its_rules() {
    let faults: Vec<String> = kinds().iter().flat_map(faults).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn kinds_are_numbered_from_one_without_holes() {
    let numbers: Vec<u32> = kinds().iter().map(|kind| kind.number).collect();
    let expected: Vec<u32> = (1..).take(numbers.len()).collect();
    assert_eq!(numbers, expected);
}

#[test]
fn nested_messages_hold_nothing_that_stays_in_the_city() {
    // A record is shared field by field: what stands inside a nested message travels with all of it.
    for field in kinds().iter().flat_map(|kind| kind.fields) {
        let Type::Message(name) = field.ty else { continue };
        for part in parts(name).expect("a table of every nested message") {
            assert_eq!(part.share, field.share, "{name}.{}", part.name);
            assert_eq!(part.owner, field.owner, "{name}.{}", part.name);
            assert!(part.pii <= field.pii, "{name}.{} is more personal than {}", part.name, field.name);
        }
    }
}

/// What is wrong with a kind, one line each.
fn faults(kind: &Kind) -> Vec<String> {
    let mut found = Vec::new();
    for field in kind.fields {
        field_faults(kind, field, &mut |fault| found.push(format!("{}.{}: {fault}", kind.name, field.name)));
        if let Type::Enum(choices) = field.ty {
            let is_status = kind.status == Some(field.tag);
            enum_faults(field, choices, is_status, &mut |fault| {
                found.push(format!("{}.{}: {fault}", kind.name, field.name));
            });
        }
    }
    for tag in kind.identity {
        if kind.field(*tag).is_none_or(|field| field.repeated || field.ty != Type::String) {
            found.push(format!("{}: identity {tag} is not a field with one text", kind.name));
        }
    }
    let names_sites = |field: &Field| field.owner == Party::Sites;
    if (kind.owner == Party::Sites || kind.fields.iter().any(names_sites))
        && !matches!(kind.audience, Audience::Sites(_))
    {
        found.push(format!("{}: owned by sites that no field names", kind.name));
    }
    if let Audience::Sites(tags) = kind.audience {
        let is_site = |tag: &u32| kind.field(*tag).is_some_and(|field| field.format == Format::Site);
        if tags.is_empty() || !tags.iter().all(is_site) {
            found.push(format!("{}: its audience is not named by site codes", kind.name));
        }
    }
    found.extend(consent_faults(kind));
    found.extend(claimed_twice(kind));
    found
}

/// Groups of fields that stay in the city without consent: each has to be one that an entry can name, and its fields the
/// city's own alone, which nobody else writes.
fn consent_faults(kind: &Kind) -> Vec<String> {
    let parts = match kind.consents.and_then(|tag| kind.field(tag)).map(|field| field.ty) {
        Some(Type::Message(name)) => parts(name).unwrap_or_default(),
        _ => &[],
    };
    let group = parts.iter().find(|part| part.name == "group").map(|part| part.ty);
    let is_group = |name: &str| match group {
        Some(Type::Enum(groups)) => groups.values.iter().any(|group| group.name.to_lowercase() == name),
        _ => false,
    };
    let mut found = Vec::new();
    for field in kind.fields.iter().filter(|field| !field.consent.is_empty()) {
        let mut fault = |fault: &str| found.push(format!("{}.{}: {fault}", kind.name, field.name));
        if !is_group(field.consent) {
            fault(&format!("no consent can be given to {}", field.consent));
        }
        if field.owner != Party::Home || field.merge == Merge::Status || Some(field.tag) == kind.consents {
            fault("it cannot stay in the city");
        }
        if field.group.iter().filter_map(|tag| kind.field(*tag)).any(|other| other.consent != field.consent) {
            fault("it merges with a field of another consent");
        }
    }
    if kind.consents.is_some() {
        for name in ["group", "basis", "given_on", "withdrawn_on"] {
            if !parts.iter().any(|part| part.name == name) {
                found.push(format!("{}: consents have no {name}", kind.name));
            }
        }
    }
    found
}

fn field_faults(kind: &Kind, field: &Field, fault: &mut dyn FnMut(&str)) {
    if field.share != Share::Open && field.owner != Party::Home {
        fault("what stays in the city is the city's own");
    }
    if field.share == Share::Open
        && matches!(field.format, Format::ResidentId | Format::Mobile | Format::Email)
    {
        fault("identity numbers, mobiles and addresses do not leave the city");
    }
    if field.share == Share::Token && (field.ty != Type::String || field.repeated) {
        fault("a token stands for one string");
    }
    if field.share == Share::Sealed && field.pii < Pii::Direct {
        fault("sealed although it is not personal");
    }
    if field.merge == Merge::Status
        && (field.repeated || !matches!(field.ty, Type::Enum(_)) || !field.required)
    {
        fault("a status is one required choice");
    }
    if !field.group.contains(&field.tag) || !field.group.is_sorted() {
        fault("not in its own group");
    }
    for other in field.group.iter().filter_map(|tag| kind.field(*tag)) {
        if (other.owner, other.merge) != (field.owner, field.merge) || other.group != field.group {
            fault(&format!("one group with {}, of another owner or merge", other.name));
        }
    }
    if field.group.len() > 1 && field.merge == Merge::Status {
        fault("a status stands alone");
    }
    let fits = match field.ty {
        Type::Enum(_) => field.format == Format::Choice,
        Type::Bool => field.format == Format::Flag,
        Type::Message(_) => field.format == Format::Parts,
        Type::Bytes => matches!(field.format, Format::Record | Format::Opaque),
        Type::String => !matches!(
            field.format,
            Format::Choice | Format::Flag | Format::Parts | Format::Number | Format::Record | Format::Site
        ),
        _ => matches!(field.format, Format::Number | Format::Site | Format::Year),
    };
    if !fits {
        fault("its format does not fit its type");
    }
    if !field.unit.is_empty() && field.format != Format::Number {
        fault("a unit stands behind a number");
    }
}

fn enum_faults(field: &Field, choices: &Enum, is_status: bool, fault: &mut dyn FnMut(&str)) {
    let mut known: HashMap<String, &str> = HashMap::new();
    for value in choices.values {
        for text in value.texts() {
            let other = known.insert(normalised(text), value.name);
            if other.is_some_and(|other| other != value.name) {
                fault(&format!("“{text}” means both {} and {}", other.unwrap_or_default(), value.name));
            }
        }
        let plain = value.rank == 0 && !value.initial && !value.draft && value.follows.is_empty();
        if !is_status {
            if !plain {
                fault(&format!("{} has steps or a rank but is no status", value.name));
            }
            continue;
        }
        if value.draft && !value.initial {
            fault(&format!("{} is a draft in which no record starts", value.name));
        }
        let leads_on =
            choices.values.iter().any(|next| next.follows.iter().any(|step| step.from == value.number));
        if !leads_on && value.rank == 0 {
            fault(&format!("{} is an end without a rank", value.name));
        }
        for step in value.follows {
            match choices.value(step.from) {
                None => fault(&format!("{} follows {}, which is no value", value.name, step.from)),
                Some(from) if from.number == value.number => fault(&format!("{} follows itself", value.name)),
                Some(_) => {}
            }
            if !may_write(field.owner, step.by) {
                fault(&format!("{} is reached by {:?}, who may not write it", value.name, step.by));
            }
        }
    }
    if is_status {
        let reached = reached(choices);
        for value in choices.values.iter().filter(|value| !reached.contains(&value.number)) {
            fault(&format!("{} cannot be reached", value.name));
        }
    }
}

/// Whether whoever takes a step owns the field in which it is written.
fn may_write(owner: Party, by: Party) -> bool {
    match owner {
        Party::Home => by == Party::Home,
        Party::Province => by == Party::Province,
        Party::Shared => by != Party::Sites,
        // The city that made the record is one of those it names.
        Party::Sites => matches!(by, Party::Sites | Party::Home),
    }
}

fn reached(choices: &Enum) -> Vec<i32> {
    let starts = choices.values.iter().filter(|value| value.initial);
    let mut reached: Vec<i32> = starts.map(|value| value.number).collect();
    loop {
        let new = choices.values.iter().find(|value| {
            !reached.contains(&value.number) && value.follows.iter().any(|step| reached.contains(&step.from))
        });
        match new {
            Some(value) => reached.push(value.number),
            None => return reached,
        }
    }
}

/// Headers that mean two fields of a kind.
fn claimed_twice(kind: &Kind) -> Vec<String> {
    let mut claims: HashMap<String, &str> = HashMap::new();
    let mut found = Vec::new();
    for field in kind.fields {
        let labels = [field.name, field.label.zh, field.label.en].into_iter();
        for text in labels.chain(field.aliases.iter().copied()) {
            match claims.insert(normalised(text), field.name) {
                Some(other) if other != field.name => {
                    found.push(format!("{}: “{text}” means both {other} and {}", kind.name, field.name));
                }
                _ => {}
            }
        }
        let mut aliases: Vec<String> = field.aliases.iter().map(|alias| normalised(alias)).collect();
        aliases.sort();
        if let Some(twice) = aliases.windows(2).find(|pair| pair[0] == pair[1]) {
            found.push(format!("{}.{}: “{}” stands twice", kind.name, field.name, twice[0]));
        }
    }
    found
}

/// As headers are compared: lower case, without blanks, and `_` between words is a blank too.
fn normalised(text: &str) -> String {
    text.to_lowercase().chars().filter(|c| !c.is_whitespace() && *c != '_').collect()
}

const NOTHING: Text = Text { zh: "", en: "" };

const PLAIN: Field = Field {
    tag: 1,
    name: "plain",
    label: NOTHING,
    description: NOTHING,
    aliases: &[],
    owner: Party::Home,
    merge: Merge::Latest,
    share: Share::Open,
    pii: Pii::Direct,
    group: &[1],
    format: Format::Text,
    required: false,
    unit: "",
    consent: "",
    ty: Type::String,
    repeated: false,
};

const START: Value = Value {
    number: 1,
    name: "START",
    label: NOTHING,
    aliases: &[],
    rank: 0,
    initial: true,
    draft: false,
    follows: &[],
};

const fn end(follows: &'static [Step]) -> Value {
    Value { number: 2, name: "END", rank: 9, initial: false, follows, ..START }
}

#[track_caller]
fn check(fields: &'static [Field], expected: &[&str]) {
    let kind = Kind {
        number: 1,
        name: "made_up",
        message: "made.up",
        title: NOTHING,
        owner: Party::Home,
        audience: Audience::Home,
        fields,
        status: fields.iter().find(|field| field.merge == Merge::Status).map(|field| field.tag),
        identity: &[],
        consents: None,
    };
    // The texts of the made-up choices are empty, and so all mean the same.
    let found: Vec<String> = faults(&kind).into_iter().filter(|fault| !fault.contains("“”")).collect();
    assert_eq!(found, expected);
}

#[test]
fn broken_fields_are_found() {
    check(&[PLAIN], &[]);
    const FOREIGN: Field = Field { share: Share::Token, owner: Party::Shared, ..PLAIN };
    check(&[FOREIGN], &["made_up.plain: what stays in the city is the city's own"]);
    const NAKED: Field = Field { format: Format::Mobile, ..PLAIN };
    check(&[NAKED], &["made_up.plain: identity numbers, mobiles and addresses do not leave the city"]);
    const FIRST: Field = Field { group: &[1, 2], ..PLAIN };
    const SECOND: Field = Field { tag: 2, name: "second", owner: Party::Province, ..FIRST };
    check(
        &[FIRST, SECOND],
        &[
            "made_up.plain: one group with second, of another owner or merge",
            "made_up.second: one group with plain, of another owner or merge",
        ],
    );
    const NUMBER: Field = Field { format: Format::Number, ..PLAIN };
    check(&[NUMBER], &["made_up.plain: its format does not fit its type"]);
    const SITES: Field = Field { owner: Party::Sites, ..PLAIN };
    check(&[SITES], &["made_up: owned by sites that no field names"]);
}

#[test]
fn a_consent_that_nobody_can_give_is_found() {
    const LOST: Field = Field { consent: "contact", ..PLAIN };
    check(&[LOST], &["made_up.plain: no consent can be given to contact"]);
    const SHARED: Field = Field { owner: Party::Shared, ..LOST };
    check(
        &[SHARED],
        &["made_up.plain: no consent can be given to contact", "made_up.plain: it cannot stay in the city"],
    );
    const WITH: Field = Field { group: &[1, 2], ..LOST };
    const WITHOUT: Field = Field { tag: 2, name: "second", consent: "", ..WITH };
    check(
        &[WITH, WITHOUT],
        &[
            "made_up.plain: no consent can be given to contact",
            "made_up.plain: it merges with a field of another consent",
        ],
    );
}

#[test]
fn a_header_of_two_fields_is_found() {
    const FIRST: Field = Field { aliases: &["Phone No", "phoneno"], ..PLAIN };
    const SECOND: Field = Field { tag: 2, name: "phone_no", group: &[2], ..PLAIN };
    check(
        &[FIRST, SECOND],
        &["made_up.plain: “phoneno” stands twice", "made_up: “phone_no” means both plain and phone_no"],
    );
}

macro_rules! status {
    ($($value:expr),*) => {{
        static CHOICES: Enum = Enum { name: "Status", values: &[$($value),*] };
        const STATUS: Field = Field {
            name: "status",
            merge: Merge::Status,
            required: true,
            format: Format::Choice,
            ty: Type::Enum(&CHOICES),
            ..PLAIN
        };
        &[STATUS]
    }};
}

#[test]
fn broken_machines_are_found() {
    const BY_HOME: &[Step] = &[Step { from: 1, by: Party::Home }];
    check(status![START, end(BY_HOME)], &[]);
    check(status![Value { rank: 1, ..START }, end(&[])], &["made_up.status: END cannot be reached"]);
    check(
        status![START, Value { rank: 0, ..end(BY_HOME) }],
        &["made_up.status: END is an end without a rank"],
    );
    check(
        status![
            Value { rank: 1, ..START },
            Value { initial: true, ..end(&[Step { from: 7, by: Party::Home }]) }
        ],
        &["made_up.status: END follows 7, which is no value"],
    );
    check(
        status![START, end(&[Step { from: 1, by: Party::Province }])],
        &["made_up.status: END is reached by Province, who may not write it"],
    );
    check(
        status![Value { initial: false, draft: true, ..START }, Value { initial: true, ..end(BY_HOME) }],
        &[
            "made_up.status: START is a draft in which no record starts",
            "made_up.status: START cannot be reached",
        ],
    );
}
