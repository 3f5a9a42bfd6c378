//! What the system knows about every kind of record: static tables, made by the build from the options of
//! the protos. Validation, merging, sharing, import, forms and dictionaries are generic code over them.

/// A short text in the two languages of the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Text {
    /// Chinese.
    pub zh: &'static str,
    /// English.
    pub en: &'static str,
}

/// One kind of record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// Its number in entries and keys.
    pub number: u32,
    /// Its name in commands: `member`.
    pub name: &'static str,
    /// Full name of its message.
    pub message: &'static str,
    /// What people call it.
    pub title: Text,
    /// Who makes and deletes such records.
    pub owner: Party,
    /// Which cities get them.
    pub audience: Audience,
    /// Its fields, ascending tags.
    pub fields: &'static [Field],
    /// Tag of the status.
    pub status: Option<u32>,
    /// Fields of which each alone names one record of a city, in the order an import tries them.
    pub identity: &'static [u32],
}

/// Who owns a field or a kind, or may make a status step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Party {
    /// The city that made the record.
    Home,
    /// The province.
    Province,
    /// Both.
    Shared,
    /// The sites that the record names.
    Sites,
}

/// Which cities get a record. The province has them all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// The city that made it.
    Home,
    /// Every city.
    AllCities,
    /// The cities named by these fields.
    Sites(&'static [u32]),
    /// None: it stays at the province.
    None,
}

/// One field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Its tag on the wire.
    pub tag: u32,
    /// Its name in code, JSON and tables.
    pub name: &'static str,
    /// What people call it.
    pub label: Text,
    /// One sentence that helps a clerk.
    pub description: Text,
    /// Headers under which it is found in spreadsheets.
    pub aliases: &'static [&'static str],
    /// Who may change it.
    pub owner: Party,
    /// What becomes of concurrent values.
    pub merge: Merge,
    /// What of it leaves the city.
    pub share: Share,
    /// How personal it is.
    pub pii: Pii,
    /// Tags that merge as one with it, itself among them; ascending.
    pub group: &'static [u32],
    /// How its value is spelt.
    pub format: Format,
    /// Whether a record is incomplete without it.
    pub required: bool,
    /// Unit behind a number.
    pub unit: &'static str,
    /// Its type on the wire.
    pub ty: Type,
    /// Whether it holds a list.
    pub repeated: bool,
}

/// What becomes of two different values written without knowledge of each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merge {
    /// The later one is shown.
    Latest,
    /// The one that was there stays.
    Review,
    /// The one of greater rank is shown.
    Status,
}

/// What of a field leaves the city.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// The value.
    Open,
    /// A token.
    Token,
    /// Nothing readable.
    Sealed,
}

/// How personal a value is (Personal Information Protection Law, articles 4, 28, 73).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pii {
    /// Says nothing about a person.
    None,
    /// Says something without naming one.
    Indirect,
    /// Names one.
    Direct,
    /// Could harm one.
    Sensitive,
}

/// How a value is spelt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "documented in options.proto, value by value")]
pub enum Format {
    Text,
    LongText,
    Name,
    Code,
    ResidentId,
    Uscc,
    Mobile,
    Email,
    Date,
    FullDate,
    Year,
    Record,
    Site,
    TokenText,
    Opaque,
    Choice,
    Flag,
    Number,
    Parts,
}

/// Type on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names of protobuf's own types")]
pub enum Type {
    String,
    Bytes,
    Bool,
    Uint32,
    Uint64,
    Int32,
    Int64,
    Double,
    Enum(&'static Enum),
    Message(&'static str),
}

/// A list of choices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Enum {
    /// Name of the proto's enum.
    pub name: &'static str,
    /// Its values, without the unspecified one.
    pub values: &'static [Value],
}

/// One choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value {
    /// Its number on the wire.
    pub number: i32,
    /// Its name without the enum's prefix: `ACTIVE`.
    pub name: &'static str,
    /// What people call it.
    pub label: Text,
    /// Other texts that mean it.
    pub aliases: &'static [&'static str],
    /// The greater one wins among concurrent values of a status; 0 for an ordinary one.
    pub rank: u32,
    /// A record may start with it.
    pub initial: bool,
    /// A record in it travels sealed.
    pub draft: bool,
    /// Which values it may follow, and who makes the step.
    pub follows: &'static [Step],
}

/// A step that leads to a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Number of the value before.
    pub from: i32,
    /// Who may make it.
    pub by: Party,
}

include!(concat!(env!("OUT_DIR"), "/tables.rs"));

/// All kinds, by number.
pub fn kinds() -> &'static [Kind] {
    &KINDS
}

/// The kind with a number.
pub fn kind(number: u32) -> Option<&'static Kind> {
    // Numbers are given out from 1 without holes, so this is an index in all but name.
    let at = usize::try_from(number).ok()?.checked_sub(1)?;
    KINDS.get(at).filter(|kind| kind.number == number).or_else(|| KINDS.iter().find(|k| k.number == number))
}

/// The kind with a name.
pub fn kind_by_name(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}

impl Kind {
    /// The field with a tag.
    pub fn field(&self, tag: u32) -> Option<&'static Field> {
        let at = self.fields.binary_search_by_key(&tag, |field| field.tag).ok()?;
        self.fields.get(at)
    }

    /// The field with a name.
    pub fn field_by_name(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}

impl Enum {
    /// The value with a number.
    pub fn value(&self, number: i32) -> Option<&'static Value> {
        self.values.iter().find(|value| value.number == number)
    }

    /// The value that a text means: its name, a label or an alias.
    pub fn by_text(&self, text: &str) -> Option<&'static Value> {
        let text = text.trim();
        let means = |value: &&Value| {
            value.name.eq_ignore_ascii_case(text)
                || value.label.zh == text
                || value.label.en.eq_ignore_ascii_case(text)
                || value.aliases.iter().any(|alias| alias.eq_ignore_ascii_case(text))
        };
        self.values.iter().find(means)
    }
}
