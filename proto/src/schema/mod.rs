//! What the system knows about every kind of record: static tables, made by the build from the options of
//! the protos. Validation, merging, sharing, import, forms and dictionaries are generic code over them.

mod lookup;

pub use lookup::{kind, kind_by_name, kinds, parts};

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
    /// Its number in entries and keys; never given out again.
    pub number: u32,
    /// Its name in commands and tables: `award_round`.
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
    /// Tag of the status: the one field with [`Merge::Status`].
    pub status: Option<u32>,
    /// Tags of fields of which each alone names one record of a city, in the order an import tries them.
    pub identity: &'static [u32],
    /// Tag of the nested field that says on what basis each group of fields is handled: see [`Field::consent`].
    pub consents: Option<u32>,
}

/// Who owns a field or a kind, or may make a status step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Party {
    /// The city that made the record.
    Home,
    /// The province.
    Province,
    /// Both the home city and the province.
    Shared,
    /// The sites that the record names, in the fields of [`Audience::Sites`].
    Sites,
}

/// Which cities get a record. The province has them all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// The city that made it.
    Home,
    /// Every city.
    AllCities,
    /// The cities whose codes stand in the fields with these tags.
    Sites(&'static [u32]),
    /// None: it stays at the province.
    None,
}

/// One field of a kind, or of a message nested in one.
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
    /// Headers under which it is found in spreadsheets; letter case and blanks do not count.
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
    /// Unit behind a number: `h`, `d`; empty when there is none.
    pub unit: &'static str,
    /// The group of fields, in small letters, that is [`Share::Sealed`] while the person's consent to it is withdrawn;
    /// empty when there is none.
    pub consent: &'static str,
    /// Its type on the wire.
    pub ty: Type,
    /// Whether it holds a list.
    pub repeated: bool,
}

/// What becomes of two different values written without knowledge of each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merge {
    /// The later one is shown, the other is held.
    Latest,
    /// The one that was there stays, the newcomer is held.
    Review,
    /// The one of greater rank is shown, the later among equals.
    Status,
}

/// What of a field leaves the city.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// The value.
    Open,
    /// A keyed token of the normalised value, as a string in the same field.
    Token,
    /// Nothing readable.
    Sealed,
}

/// How personal a value is (Personal Information Protection Law of 2021, articles 4, 28 and 73).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pii {
    /// Says nothing about a person.
    None,
    /// Says something about a person without naming one.
    Indirect,
    /// Names a person or leads straight to one.
    Direct,
    /// Could harm a person's dignity or safety.
    Sensitive,
}

/// How a value is spelt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One line.
    Text,
    /// Several lines.
    LongText,
    /// Name of a person or an organisation.
    Name,
    /// An opaque number of a paper: leading zeros count, blanks do not.
    Code,
    /// GB 11643 when the document type says so.
    ResidentId,
    /// Unified social credit code, GB 32100.
    Uscc,
    /// Mobile number of mainland China, 11 digits.
    Mobile,
    /// E-mail address.
    Email,
    /// `2024`, `2024-05` or `2024-05-31`: never more exact than what is known.
    Date,
    /// `2024-05-31`.
    FullDate,
    /// Four digits.
    Year,
    /// The 16-byte id of a record.
    Record,
    /// GB/T 2260 code of a site.
    Site,
    /// A keyed token, as [`Share::Token`] fields carry it.
    TokenText,
    /// An opaque id that names nobody to an outsider.
    Opaque,
    /// One of an enum's values.
    Choice,
    /// True or false.
    Flag,
    /// A number.
    Number,
    /// A nested message: see [`parts`].
    Parts,
}

/// Type on the wire: protobuf's own types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// `string`.
    String,
    /// `bytes`.
    Bytes,
    /// `bool`.
    Bool,
    /// `uint32`.
    Uint32,
    /// `uint64`.
    Uint64,
    /// `int32`.
    Int32,
    /// `int64`.
    Int64,
    /// `double`.
    Double,
    /// An enum with its choices.
    Enum(&'static Enum),
    /// A nested message, by its full name: see [`parts`].
    Message(&'static str),
}

/// A list of choices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Enum {
    /// Name of the proto's enum.
    pub name: &'static str,
    /// Its values without number 0, which means that nothing was chosen.
    pub values: &'static [Value],
}

/// One choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value {
    /// Its number on the wire; never given out again.
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
