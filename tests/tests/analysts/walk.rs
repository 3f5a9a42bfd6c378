//! Everything that each role can get, held against everything that it must not have.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use arrow_flight::sql::{CommandGetDbSchemas, CommandGetTables, SqlInfo};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tonic::Code;

use super::clients::{Client, Https, cells, fetched, rows};
use super::study::{GROUPS, ROLES, Study};
use crate::needles::Needles;

/// All that came back to one role: where from, and the bytes.
#[derive(Default)]
struct Seen(Vec<(String, Vec<u8>)>);

impl Seen {
    fn add(&mut self, what: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        self.0.push((what.into(), bytes.into()));
    }

    fn add_rows(&mut self, what: &str, batches: &[RecordBatch]) {
        let columns = batches.first().map(|batch| format!("{:?}", batch.schema())).unwrap_or_default();
        let shown: Vec<String> = cells(batches).iter().map(|row| row.join("\u{1f}")).collect();
        self.add(what, format!("{columns}\n{}", shown.join("\n")));
    }

    fn holds(&self, needles: &Needles) -> Option<&str> {
        self.0.iter().find(|(_, bytes)| needles.find(bytes).is_some()).map(|(what, _)| what.as_str())
    }
}

async fn statement(seen: &mut Seen, client: &mut Client, sql: &str) -> bool {
    let answer = rows(client, sql).await;
    match &answer {
        Ok(batches) => seen.add_rows(sql, batches),
        Err(error) => seen.add(format!("the refusal of {sql}"), format!("{error:?} {error}")),
    }
    answer.is_ok()
}

/// Every table of every schema, as the client is told of them.
async fn tables(seen: &mut Seen, client: &mut Client) -> Vec<(String, String)> {
    let asked = CommandGetTables { include_schema: true, ..CommandGetTables::default() };
    let info = client.get_tables(asked).await.expect("told");
    let told = fetched(client, info).await.expect("told");
    seen.add_rows("the tables", &told);
    cells(&told).into_iter().map(|row| (row[1].clone(), row[2].clone())).collect()
}

async fn columns(client: &mut Client, table: &str) -> Vec<(String, DataType)> {
    let none = rows(client, &format!("SELECT * FROM {table} LIMIT 1")).await.expect("answered");
    let schema = none.first().map(RecordBatch::schema);
    schema
        .iter()
        .flat_map(|schema| schema.fields())
        .map(|it| (it.name().clone(), it.data_type().clone()))
        .collect()
}

/// What somebody might try with a column: what is answered, and, of texts, what fails while rows are read.
fn tried(table: &str, column: &str, data_type: &DataType) -> Vec<String> {
    let answered = [
        "SELECT upper(CAST({c} AS VARCHAR)), regexp_replace(CAST({c} AS VARCHAR), '(.)', '\\1'), \
         lead({c}) OVER (ORDER BY {c}), (SELECT max({c}) FROM {t}) AS most FROM {t}",
        "WITH x AS (SELECT {c} AS y FROM {t}) SELECT min(y), max(y), count(DISTINCT y), array_agg(y), \
         string_agg(CAST(y AS VARCHAR), '|') FROM x",
    ];
    let failing = [
        "SELECT CAST({c} AS INT) FROM {t}",
        "SELECT to_timestamp({c}), CAST({c} AS DATE), arrow_cast({c}, 'Date64') FROM {t}",
        "SELECT 1 / CAST(length({c}) - length({c}) AS INT), (SELECT {c} FROM {t}) AS one FROM {t}",
    ];
    let failing = failing.into_iter().filter(|_| *data_type == DataType::Utf8);
    let column = format!("\"{column}\"");
    answered.into_iter().chain(failing).map(|sql| sql.replace("{c}", &column).replace("{t}", table)).collect()
}

/// Statements that are about no table of the role's own.
const TRICKS: [&str; 24] = [
    "SELECT * FROM information_schema.tables",
    "SELECT * FROM information_schema.columns",
    "SELECT * FROM information_schema.views",
    "SELECT * FROM information_schema.schemata",
    "SELECT * FROM information_schema.df_settings",
    "SELECT * FROM information_schema.routines",
    "SELECT * FROM information_schema.parameters",
    "SHOW TABLES",
    "SHOW ALL",
    "SHOW COLUMNS FROM members",
    "DESCRIBE members",
    "SELECT * FROM registrar.members",
    "SELECT * FROM liandong.registrar.members",
    "SELECT * FROM \"../registrar/members\"",
    "SELECT * FROM latest.\"../registrar/members\"",
    "SELECT * FROM 'release://shelf/000001/registrar/members.parquet'",
    "SELECT * FROM \"release://shelf/000001/registrar/members.parquet\"",
    "SELECT * FROM read_parquet('000001/registrar/members.parquet')",
    "SELECT * FROM parquet_metadata('000001/registrar/members.parquet')",
    "SELECT * FROM members m WHERE EXISTS (SELECT 1 FROM r000001.cases c WHERE c.respondent = m.record_id)",
    "SELECT name FROM (SELECT * FROM members) x",
    "SELECT id_number, mobile, email, address, remarks FROM members",
    "SELECT * FROM (VALUES (1)) t(x) JOIN members ON true",
    "EXPLAIN VERBOSE SELECT * FROM members JOIN cities USING (site)",
];

async fn by_sql(seen: &mut Seen, client: &mut Client) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (schema, name) in tables(seen, client).await {
        let table = format!("{schema}.{name}");
        assert!(statement(seen, client, &format!("SELECT * FROM {table}")).await, "{table}");
        if names.insert(name) {
            for sql in
                ["EXPLAIN ANALYZE VERBOSE SELECT * FROM", "SELECT count(*) FROM (TABLE {t}) x CROSS JOIN"]
            {
                statement(seen, client, &format!("{} {table}", sql.replace("{t}", &table))).await;
            }
            for (column, data_type) in columns(client, &table).await {
                for sql in tried(&table, &column, &data_type) {
                    statement(seen, client, &sql).await;
                }
            }
        }
    }
    for sql in TRICKS {
        statement(seen, client, sql).await;
    }
    let schemas = client.get_db_schemas(CommandGetDbSchemas::default()).await.expect("told");
    seen.add_rows("the schemas", &fetched(client, schemas).await.expect("told"));
    let info = client.get_sql_info(Vec::<SqlInfo>::new()).await.expect("told");
    seen.add("server", format!("{:?}", fetched(client, info).await.expect("told")));
    names
}

async fn fetch(seen: &mut Seen, https: &Https, path: &str) -> u16 {
    let answer = https.get(path).await;
    seen.add(format!("the head of {path}"), format!("{:?}", answer.headers));
    if answer.status == 200 && path.contains(".parquet") {
        let file = Bytes::from(answer.body.clone());
        let reader =
            ParquetRecordBatchReaderBuilder::try_new(file).expect("Parquet").build().expect("readable");
        seen.add_rows(path, &reader.collect::<Result<Vec<_>, _>>().expect("readable"));
    }
    if answer.status == 200 && path.contains(".arrow") {
        let file = std::io::Cursor::new(answer.body.clone());
        let reader = arrow::ipc::reader::FileReader::try_new(file, None).expect("Arrow");
        seen.add_rows(path, &reader.collect::<Result<Vec<_>, _>>().expect("readable"));
    }
    if answer.status == 200 && path.contains(".xlsx") {
        let mut book = zip::ZipArchive::new(std::io::Cursor::new(answer.body.clone())).expect("a book");
        for at in 0..book.len() {
            let mut part = Vec::new();
            book.by_index(at).expect("a part").read_to_end(&mut part).expect("readable");
            seen.add(format!("part {at} of {path}"), part);
        }
    }
    seen.add(path, answer.body);
    answer.status
}

/// All tables that there are for anybody, in all forms.
async fn by_https(seen: &mut Seen, https: &Https, mine: &BTreeSet<String>, all: &BTreeSet<String>) {
    for path in ["/releases", "/releases/latest/manifest.json", "/releases/1/manifest.json"] {
        assert_eq!(fetch(seen, https, path).await, 200, "{path}");
    }
    for path in ["/metrics", "/", "/releases/", "/nothing", "/releases/latest/registrar/members.parquet"] {
        fetch(seen, https, path).await;
    }
    for path in ["/releases/latest/..%2fregistrar%2fmembers.parquet", "/releases/..%2f1/members.parquet"] {
        assert!(fetch(seen, https, path).await >= 400, "{path}");
    }
    for name in all {
        for form in ["parquet", "arrow", "csv", "xlsx"] {
            let status = fetch(seen, https, &format!("/releases/latest/{name}.{form}")).await;
            assert_eq!(status == 200, mine.contains(name), "{name}.{form}: {status}");
        }
        let status = fetch(seen, https, &format!("/releases/2/changes/{name}.parquet?since=1")).await;
        assert_eq!(status == 200, mine.contains(name), "changes of {name}: {status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_role_finds_what_it_must_not_see() {
    let study = Study::published().await;
    // Something changes, so that there are changes to be seen.
    let (city, id, _) = study.members[4].clone();
    let edit = liandong_tests::cluster::put_of(
        crate::province::MEMBER,
        Some(id),
        &liandong_proto::pb::record::v1::Member { cpd_hours: Some(91), ..Default::default() },
    );
    study.province.door(city).await.put_all(vec![edit]).await.expect("an edit");
    study.province.equal().await;
    study.publish("").await;
    let manifest = study.asked(&["release", "show"]).await;
    let mut mine: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for table in manifest["tables"].as_array().expect("a list") {
        let role = ROLES.into_iter().find(|role| table["role"] == *role).expect("a role");
        mine.entry(role).or_default().insert(table["name"].as_str().expect("a name").to_owned());
    }
    let all: BTreeSet<String> = mine.values().flatten().cloned().collect();
    let mut everything = BTreeMap::new();
    for role in ROLES {
        let token = study.token(role, &format!("walk-{role}")).await;
        let mut seen = Seen::default();
        let names = by_sql(&mut seen, &mut study.client(&token).await).await;
        assert!(names.is_superset(&mine[role]), "{role} is told of all its tables");
        by_https(&mut seen, &study.https(&token), &mine[role], &all).await;
        assert!(seen.0.len() > 100, "{} answers", seen.0.len());
        // Nor where the hub keeps its files.
        let place = Needles::of([study.province.dir().to_str().expect("a path")].into_iter());
        for (what, bytes) in &seen.0 {
            place.check(bytes, what);
            study.forbidden(role).find(bytes).into_iter().for_each(|at| {
                let around =
                    String::from_utf8_lossy(&bytes[at.saturating_sub(60)..(at + 60).min(bytes.len())]);
                panic!("{role} finds what it must not see in {what}: …{around}…")
            });
        }
        everything.insert(role, seen);
    }
    // What is looked for would be found: the secretariat sees what the others must not.
    let found = everything["registrar"].holds(&study.forbidden("analyst"));
    assert!(found.is_some(), "names are somewhere");
    let found = everything["analyst"].holds(&study.forbidden("public"));
    assert!(found.is_some(), "employers are somewhere");
    study.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_gets_counts_and_none_of_a_small_cell() {
    let study = Study::published().await;
    let token = study.token("public", "everybody").await;
    let (mut client, https) = (study.client(&token).await, study.https(&token));
    let mut truth: BTreeMap<(String, String), u32> = BTreeMap::new();
    for (city, level, count) in GROUPS {
        let level = level.as_str_name().rsplit('_').next().expect("a name").to_owned();
        *truth.entry((city.0.to_string(), level)).or_default() += count;
    }
    let sql = "SELECT site, qualification_level, records, suppressed, status FROM member_counts";
    let shown = cells(&rows(&mut client, sql).await.expect("answered"));
    assert_eq!(shown.len(), truth.len());
    for row in &shown {
        let count = truth[&(row[0].clone(), row[1].clone())];
        let expected = if count < 5 { (String::new(), "true") } else { (count.to_string(), "false") };
        assert_eq!((row[2].clone(), row[3].as_str(), row[4].as_str()), (expected.0, expected.1, "ACTIVE"));
    }
    // One nomination, one case with two grounds.
    for (table, cells_) in [("nomination_counts", 1), ("case_counts", 2)] {
        let shown = cells(
            &rows(&mut client, &format!("SELECT records, suppressed FROM {table}")).await.expect("answered"),
        );
        assert_eq!(shown, vec![vec![String::new(), "true".to_owned()]; cells_], "{table}");
    }

    // Nothing else for everybody counts anything: no total from which what is left out would follow.
    let mut seen = Seen::default();
    for (schema, name) in tables(&mut seen, &mut client).await {
        let one = rows(&mut client, &format!("SELECT * FROM {schema}.{name}")).await.expect("answered");
        for field in one.iter().flat_map(|batch| batch.schema().fields().to_vec()) {
            let counts =
                !matches!(field.data_type(), DataType::Utf8 | DataType::Boolean | DataType::Timestamp(..));
            let is_known = field.name() == "site" || field.name() == "records" && name.ends_with("_counts");
            assert!(!counts || is_known, "{name}.{}", field.name());
        }
    }
    let manifest = https.get("/releases/latest/manifest.json").await.json();
    assert!(manifest["cities"].as_array().expect("a list").iter().all(|city| city.get("counted").is_none()));
    let listed = https.get("/releases").await.json();
    for told in [&manifest, &listed[0]] {
        assert!(told.get("hub_seq").is_none(), "the number of all changes: {told}");
    }
    let seq = study.asked(&["release", "show"]).await["hub_seq"].as_u64().expect("a number").to_string();
    for path in ["/releases", "/releases/latest/manifest.json"] {
        let text = https.get(path).await.text();
        let words = text.split(|letter: char| !letter.is_ascii_digit());
        assert!(
            words.clone().any(|word| word == "1") && words.clone().all(|word| word != seq),
            "{path}: {text}"
        );
    }
    let metrics = https.get("/metrics").await;
    assert_eq!(metrics.status, 403, "{}", metrics.text());
    assert!(metrics.text().contains("token create"), "{}", metrics.text());
    let (code, _) = super::clients::refusal(rows(&mut client, "SELECT * FROM members").await);
    assert_eq!(code, Code::InvalidArgument);
    study.stop().await;
}
