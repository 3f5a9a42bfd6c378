//! Which columns a table has for whom: generic over the schema. A column that a role may not read is in no file of that
//! role.

use arrow::datatypes::{DataType, Field as ArrowField, Schema, TimeUnit};
use liandong_proto::schema::{Field, Format, Kind, Pii, Share, Type};

/// Number of the kind of members, whose records stand for persons.
pub const MEMBER: u32 = 1;
/// Number of the kind of sanctions, which name a person by token.
pub const SANCTION: u32 = 5;

/// Who reads a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The secretariat: names, and everything that travels in clear.
    Registrar,
    /// Researchers: pseudonymous ids, years of birth; nothing that names a person or could harm one.
    Analyst,
    /// Everybody: counts.
    Public,
}

impl Role {
    /// All, from the one that reads most.
    pub const ALL: [Role; 3] = [Role::Registrar, Role::Analyst, Role::Public];

    /// Its name in commands, and of its folder in a release.
    pub fn name(self) -> &'static str {
        match self {
            Role::Registrar => "registrar",
            Role::Analyst => "analyst",
            Role::Public => "public",
        }
    }

    /// The role of a name.
    pub fn named(name: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.name() == name)
    }
}

/// Where the cells of a column come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The record's id.
    Record,
    /// The person the record is about: the oldest record of a member with the same document number.
    Person,
    /// GB/T 2260 code of the city the record belongs to.
    Site,
    /// When the newest change that is shown was made, by the clock of whoever made it.
    UpdatedAt,
    /// Place of the newest change in the hub's order.
    HubSeq,
    /// A field of the record.
    Field(&'static Field),
    /// The year of a date.
    Year(&'static Field),
}

/// One column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name: that of the schema's field, but for what the release adds.
    pub name: &'static str,
    /// Where its cells come from.
    pub source: Source,
}

impl Column {
    /// Whether its cells are ids of records or persons: analysts get pseudonyms in their place.
    pub fn is_id(self) -> bool {
        match self.source {
            Source::Record | Source::Person => true,
            Source::Field(field) => field.format == Format::Record,
            _ => false,
        }
    }

    /// Its type in Arrow and Parquet.
    pub fn data_type(self) -> DataType {
        match self.source {
            Source::Record | Source::Person => DataType::Utf8,
            Source::Site | Source::Year(_) => DataType::Int32,
            Source::UpdatedAt => DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
            Source::HubSeq => DataType::Int64,
            Source::Field(field) => {
                let is_list = field.repeated && !is_nested(field);
                match field.ty {
                    _ if is_list => DataType::List(ArrowField::new("item", one(field), true).into()),
                    // Few different texts, over and over.
                    Type::Enum(_) => {
                        DataType::Dictionary(Box::new(DataType::Int16), Box::new(DataType::Utf8))
                    }
                    _ => one(field),
                }
            }
        }
    }

    fn arrow(self) -> ArrowField {
        let is_given =
            matches!(self.source, Source::Record | Source::Site | Source::UpdatedAt | Source::HubSeq);
        ArrowField::new(self.name, self.data_type(), !is_given)
    }
}

/// A nested message is one text in JSON, a list of them likewise.
pub fn is_nested(field: &Field) -> bool {
    matches!(field.ty, Type::Message(_))
}

/// The type of one value.
fn one(field: &Field) -> DataType {
    match field.ty {
        Type::String if field.format == Format::FullDate => DataType::Date32,
        Type::String | Type::Bytes | Type::Enum(_) | Type::Message(_) => DataType::Utf8,
        Type::Bool => DataType::Boolean,
        Type::Uint32 | Type::Int32 => DataType::Int32,
        Type::Uint64 | Type::Int64 => DataType::Int64,
        Type::Double => DataType::Float64,
    }
}

/// Name of a kind's table: `award_rounds`.
pub fn table(kind: &Kind) -> String {
    format!("{}s", kind.name)
}

/// The columns of a kind's table for a role; none where the role reads no records.
pub fn columns(kind: &'static Kind, role: Role) -> Vec<Column> {
    let shown: fn(&'static Field) -> Option<Column> = match role {
        Role::Registrar => in_clear,
        Role::Analyst => not_naming,
        Role::Public => return Vec::new(),
    };
    let mut columns = vec![Column { name: "record_id", source: Source::Record }];
    if kind.number == MEMBER || kind.number == SANCTION && role == Role::Registrar {
        columns.push(Column { name: "person_id", source: Source::Person });
    }
    columns.extend([
        Column { name: "site", source: Source::Site },
        Column { name: "updated_at", source: Source::UpdatedAt },
        Column { name: "hub_seq", source: Source::HubSeq },
    ]);
    columns.extend(kind.fields.iter().filter_map(shown));
    columns
}

/// What travels in clear. Tokens do not: they are there to be compared, which [`Source::Person`] has done.
fn in_clear(field: &'static Field) -> Option<Column> {
    let shown = field.share == Share::Open && field.format != Format::TokenText;
    shown.then_some(Column { name: field.name, source: Source::Field(field) })
}

/// What neither names a person nor could harm one. Of a date of birth the year.
fn not_naming(field: &'static Field) -> Option<Column> {
    let column = in_clear(field).filter(|_| field.pii <= Pii::Indirect)?;
    if field.name == "birth_date" {
        return Some(Column { name: "birth_year", source: Source::Year(field) });
    }
    // Free text may name anybody, whatever its class.
    (!matches!(field.format, Format::LongText | Format::Parts | Format::Opaque)).then_some(column)
}

/// The Arrow schema of columns.
pub fn schema(columns: &[Column]) -> Schema {
    Schema::new(columns.iter().map(|column| column.arrow()).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use liandong_proto::schema;

    use super::*;

    #[test]
    fn every_table_says_which_record_whose_and_how_new() {
        for kind in schema::kinds() {
            for role in [Role::Registrar, Role::Analyst] {
                let names: Vec<&str> = columns(kind, role).iter().map(|column| column.name).collect();
                for name in ["record_id", "site", "updated_at", "hub_seq"] {
                    assert_eq!(
                        names.iter().filter(|other| **other == name).count(),
                        1,
                        "{} {name}",
                        kind.name
                    );
                }
            }
        }
    }

    #[test]
    fn an_analyst_has_no_column_that_names_or_harms() {
        for kind in schema::kinds() {
            for column in columns(kind, Role::Analyst) {
                if let Source::Field(field) = column.source {
                    assert!(
                        field.pii <= Pii::Indirect && field.share == Share::Open,
                        "{}.{}",
                        kind.name,
                        field.name
                    );
                }
            }
            assert!(columns(kind, Role::Public).is_empty());
        }
        let member = schema::kind(MEMBER).expect("a kind");
        let names: Vec<&str> = columns(member, Role::Analyst).iter().map(|column| column.name).collect();
        assert!(names.contains(&"birth_year") && !names.contains(&"birth_date") && !names.contains(&"name"));
    }

    #[test]
    fn no_token_and_nothing_sealed_is_in_any_table() {
        for kind in schema::kinds() {
            for column in columns(kind, Role::Registrar) {
                if let Source::Field(field) = column.source {
                    assert!(field.share == Share::Open && field.format != Format::TokenText);
                }
            }
        }
    }
}
