//! What a client may ask about: catalogs, schemas, tables, keys, the server itself.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray, UInt8Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow_flight::sql::metadata::{
    SqlInfoData, SqlInfoDataBuilder, XdbcTypeInfoData, XdbcTypeInfoDataBuilder,
};
use arrow_flight::sql::{CommandGetDbSchemas, CommandGetTables, SqlInfo};
use datafusion::catalog::CatalogProvider as _;
use datafusion::error::DataFusionError;
use liandong_proto::schema;
use tonic::Status;

use super::shelf::{CATALOG, Shelf};
use crate::release::{Role, Source, columns, table};

/// What is said of this server.
pub static INFO: LazyLock<SqlInfoData> = LazyLock::new(|| {
    let mut info = SqlInfoDataBuilder::new();
    info.append(SqlInfo::FlightSqlServerName, "liandong-hub");
    info.append(SqlInfo::FlightSqlServerVersion, env!("CARGO_PKG_VERSION"));
    info.append(SqlInfo::FlightSqlServerArrowVersion, "1.3");
    info.append(SqlInfo::FlightSqlServerReadOnly, true);
    info.append(SqlInfo::FlightSqlServerSql, true);
    info.append(SqlInfo::FlightSqlServerSubstrait, false);
    info.append(SqlInfo::FlightSqlServerTransaction, 0i32);
    info.append(SqlInfo::FlightSqlServerCancel, false);
    info.append(SqlInfo::SqlIdentifierQuoteChar, "\"");
    info.append(SqlInfo::SqlDdlCatalog, false);
    info.append(SqlInfo::SqlDdlSchema, false);
    info.append(SqlInfo::SqlDdlTable, false);
    info.build().expect("plain values")
});

/// Types are those of Arrow; none are told one by one.
pub static TYPES: LazyLock<XdbcTypeInfoData> =
    LazyLock::new(|| XdbcTypeInfoDataBuilder::new().build().expect("an empty table"));

/// What went wrong with a query, without the values in it.
pub fn status(error: &DataFusionError) -> Status {
    let root = error.find_root();
    let text = root.strip_backtrace();
    match root {
        DataFusionError::ResourcesExhausted(_) => Status::resource_exhausted(
            "the query needs more memory than one may use; ask for fewer columns or rows, or group by fewer things",
        ),
        DataFusionError::NotImplemented(_) => Status::unimplemented(text),
        DataFusionError::SQL(..) | DataFusionError::Plan(_) | DataFusionError::SchemaError(..) => {
            Status::invalid_argument(text)
        }
        // What fails while rows are read may hold a cell of them.
        DataFusionError::Execution(_) | DataFusionError::ArrowError(..) => Status::invalid_argument(
            "a value does not fit the expression it is used in; look at casts and divisions",
        ),
        DataFusionError::External(_)
        | DataFusionError::IoError(_)
        | DataFusionError::ObjectStore(_)
        | DataFusionError::ParquetError(_) => {
            tracing::error!(error = %text, "a query failed");
            Status::internal("the query failed; the hub's log says why")
        }
        // What else its text may hold nobody knows.
        other => {
            tracing::error!(kind = ?std::mem::discriminant(other), "a query failed");
            Status::internal("the hub cannot run this query; put it otherwise")
        }
    }
}

/// The schemas that are asked for.
pub fn schemas(query: CommandGetDbSchemas, shelf: &Shelf) -> Result<RecordBatch, Status> {
    let mut builder = query.into_builder();
    shelf.schema_names().iter().for_each(|name| builder.append(CATALOG, name));
    builder.build().map_err(|error| Status::internal(error.to_string()))
}

/// The tables and views that are asked for, with their columns when these are.
pub async fn tables(query: CommandGetTables, shelf: &Shelf) -> Result<RecordBatch, Status> {
    let with_columns = query.include_schema;
    let mut builder = query.into_builder();
    for name in shelf.schema_names() {
        let Some(schema) = shelf.schema(&name) else { continue };
        for table in schema.table_names() {
            let is_view = crate::release::VIEWS.iter().any(|view| view.name == table);
            let columns: SchemaRef = if with_columns {
                let found = schema.table(&table).await.map_err(|error| status(&error))?;
                found.map_or_else(|| Arc::new(Schema::empty()), |table| table.schema())
            } else {
                Arc::new(Schema::empty())
            };
            let kind = if is_view { "VIEW" } else { "TABLE" };
            builder
                .append(CATALOG, &name, &table, kind, &columns)
                .map_err(|error| Status::internal(error.to_string()))?;
        }
    }
    builder.build().map_err(|error| Status::internal(error.to_string()))
}

/// What names a row of a table.
fn key_of(role: Role, name: &str) -> Option<&'static str> {
    let is_kind = role != Role::Public && schema::kinds().iter().any(|kind| table(kind) == name);
    if is_kind { Some("record_id") } else { (name == "cities").then_some("site") }
}

/// The primary key of a table.
pub fn primary_keys(role: Role, schema_name: &str, name: &str) -> RecordBatch {
    let key: Vec<&str> = key_of(role, name).into_iter().collect();
    let n = key.len();
    let texts = |value: &str| -> ArrayRef { Arc::new(StringArray::from(vec![value; n])) };
    batch(
        &PRIMARY_KEYS,
        vec![
            texts(CATALOG),
            texts(schema_name),
            texts(name),
            Arc::new(StringArray::from(key)),
            Arc::new(Int32Array::from(vec![1; n])),
            Arc::new(StringArray::from(vec![None::<&str>; n])),
        ],
    )
}

/// A reference from one table to another.
struct Reference {
    from: String,
    column: &'static str,
    to: String,
    key: &'static str,
}

/// Every record is of a city; some fields name a record of another table.
fn references(role: Role) -> Vec<Reference> {
    let mut out = Vec::new();
    for kind in schema::kinds() {
        for column in columns(kind, role) {
            let to = match column.source {
                Source::Site => Some(("cities".to_owned(), "site")),
                Source::Field(field) if column.is_id() => {
                    let named =
                        |name: &str| schema::kind_by_name(name).map(|kind| (table(kind), "record_id"));
                    match field.name {
                        "member" | "left" | "right" | "respondent" => named("member"),
                        "round" => named("award_round"),
                        _ => None,
                    }
                }
                _ => None,
            };
            out.extend(to.map(|(to, key)| Reference { from: table(kind), column: column.name, to, key }));
        }
    }
    out
}

/// References between tables of one schema, those from and to the tables named.
pub fn foreign_keys(role: Role, schema_name: &str, from: Option<&str>, to: Option<&str>) -> RecordBatch {
    let mut found = references(role);
    found.retain(|it| from.is_none_or(|from| it.from == from) && to.is_none_or(|to| it.to == to));
    let n = found.len();
    let texts = |value: &str| -> ArrayRef { Arc::new(StringArray::from(vec![value; n])) };
    let each = |of: fn(&Reference) -> &str| -> ArrayRef {
        Arc::new(found.iter().map(|it| Some(of(it))).collect::<StringArray>())
    };
    let none = || -> ArrayRef { Arc::new(StringArray::from(vec![None::<&str>; n])) };
    // Nothing is updated or deleted: no action (3).
    let rule = || -> ArrayRef { Arc::new(UInt8Array::from(vec![3; n])) };
    batch(
        &FOREIGN_KEYS,
        vec![
            texts(CATALOG),
            texts(schema_name),
            each(|it| &it.to),
            each(|it| it.key),
            texts(CATALOG),
            texts(schema_name),
            each(|it| &it.from),
            each(|it| it.column),
            Arc::new(Int32Array::from(vec![1; n])),
            none(),
            none(),
            rule(),
            rule(),
        ],
    )
}

fn batch(schema: &SchemaRef, columns: Vec<ArrayRef>) -> RecordBatch {
    RecordBatch::try_new(Arc::clone(schema), columns).expect("as the schema says")
}

/// As Flight SQL has it.
pub static PRIMARY_KEYS: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new("catalog_name", DataType::Utf8, true),
        Field::new("db_schema_name", DataType::Utf8, true),
        Field::new("table_name", DataType::Utf8, false),
        Field::new("column_name", DataType::Utf8, false),
        Field::new("key_sequence", DataType::Int32, false),
        Field::new("key_name", DataType::Utf8, true),
    ]))
});

/// As Flight SQL has it.
pub static FOREIGN_KEYS: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new("pk_catalog_name", DataType::Utf8, true),
        Field::new("pk_db_schema_name", DataType::Utf8, true),
        Field::new("pk_table_name", DataType::Utf8, false),
        Field::new("pk_column_name", DataType::Utf8, false),
        Field::new("fk_catalog_name", DataType::Utf8, true),
        Field::new("fk_db_schema_name", DataType::Utf8, true),
        Field::new("fk_table_name", DataType::Utf8, false),
        Field::new("fk_column_name", DataType::Utf8, false),
        Field::new("key_sequence", DataType::Int32, false),
        Field::new("fk_key_name", DataType::Utf8, true),
        Field::new("pk_key_name", DataType::Utf8, true),
        Field::new("update_rule", DataType::UInt8, false),
        Field::new("delete_rule", DataType::UInt8, false),
    ]))
});
