//! Flight SQL as clients use it: statements, prepared ones, what there is, and what is refused.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use arrow_flight::error::FlightError;
use arrow_flight::sql::{
    CommandGetCrossReference, CommandGetDbSchemas, CommandGetExportedKeys, CommandGetImportedKeys,
    CommandGetPrimaryKeys, CommandGetTables, SqlInfo,
};
use futures_util::{StreamExt as _, TryStreamExt as _};
use tonic::Code;

use super::clients::{Client, asked, cells, client, column, fetched, refusal, rows};
use super::study::{GROUPS, Study};
use crate::province::{GUANGZHOU, PATIENCE};

#[tokio::test(flavor = "multi_thread")]
async fn statements_are_answered_over_tls_with_a_token() {
    let study = Study::published().await;
    let registrar = study.token("registrar", "secretariat").await;
    let mut client_ = study.client(&registrar).await;
    let people: u32 = GROUPS.iter().map(|(_, _, count)| count).sum();
    let count = "SELECT count(*) FROM members";
    assert_eq!(column(&mut client_, count).await, [people.to_string()]);
    assert_eq!(column(&mut client_, "SELECT count(*) FROM liandong.r000001.members").await.len(), 1);
    let names = column(&mut client_, "SELECT name FROM latest.members WHERE site = 440100").await;
    assert_eq!(names.len(), 8);
    let known: BTreeSet<&str> = study.members.iter().map(|(_, _, member)| member.name.as_str()).collect();
    assert!(names.iter().all(|name| known.contains(name.as_str())), "{names:?}");

    // A login with the token as its password is answered with a token to go on with.
    let mut login = client(study.address(), &study.certificate(), None).await;
    let given = login.handshake("secretariat", &registrar).await.expect("let in");
    assert_eq!(given, registrar.as_bytes());
    assert_eq!(column(&mut login, count).await, [people.to_string()]);

    // Of whole tables a client is told how many rows there will be, and never a wrong number.
    let info = client_.execute("SELECT name FROM members ORDER BY name".into(), None).await.expect("planned");
    assert_eq!(info.total_records, i64::from(people));
    for sql in [
        "SELECT * FROM members LIMIT 3",
        "SELECT * FROM members ORDER BY name LIMIT 3",
        "SELECT * FROM members WHERE site = 440300",
        "SELECT max(name), count(*) FROM members",
        "WITH x AS (SELECT name AS y FROM members) SELECT min(y), count(DISTINCT y), array_agg(y) FROM x",
        "SELECT name, lead(name) OVER (ORDER BY name), (SELECT max(name) FROM members) FROM members",
        "SELECT unnest([1, 2, 3]), name FROM members",
        "SELECT m.name FROM members m LEFT JOIN duplicates d ON d.person_id = m.person_id",
        "SELECT site FROM members GROUP BY site HAVING count(*) > 5",
        "SELECT site FROM members UNION SELECT site FROM cities",
    ] {
        asked(&mut client_, sql).await;
    }

    // One person who is a member twice.
    let twice = "SELECT cities, records FROM duplicates";
    assert_eq!(asked(&mut client_, twice).await, [["2", "2"]]);
    let by_level =
        "SELECT qualification_level, members FROM members_by_city_level WHERE site = 440300 ORDER BY 1";
    assert_eq!(asked(&mut client_, by_level).await, [["ASSISTANT", "5"], ["SENIOR", "4"]]);
    study.stop().await;
}

/// Whole tables are sent as they lie in a file to whoever can read it; nobody can tell, but by the time it takes.
#[tokio::test(flavor = "multi_thread")]
async fn a_whole_table_is_what_the_engine_would_have_read() {
    let study = Study::published().await;
    let made = study.province.hub().data_dir.join("releases").join("projects").join("000001");
    let made = || -> BTreeSet<String> {
        let folders = std::fs::read_dir(&made).into_iter().flatten().flatten();
        let files = folders.flat_map(|folder| std::fs::read_dir(folder.path()).expect("a folder").flatten());
        let names = files.map(|file| file.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.ends_with(".arrow")).collect()
    };
    let people: u32 = GROUPS.iter().map(|(_, _, count)| count).sum();
    for role in ["registrar", "analyst", "public"] {
        let token = study.token(role, role).await;
        let (mut plain, mut fast) = (study.client(&token).await, study.client(&token).await);
        fast.set_header("arrow-compression", "lz4");
        let listed = "SELECT table_name FROM information_schema.tables \
                      WHERE table_schema = 'latest' AND table_type = 'BASE TABLE'";
        for table in column(&mut plain, listed).await {
            let sql = format!("SELECT * FROM {table}");
            let read = rows(&mut plain, &sql).await.expect("read");
            // Compressed, and by the engine all the same.
            let part = rows(&mut fast, &format!("{sql} WHERE random() < 2")).await.expect("read");
            assert_eq!(cells(&part), cells(&read), "{table} for {role}");
            let given = rows(&mut fast, &sql).await.expect("whole");
            assert_eq!(
                given.first().map(RecordBatch::schema),
                read.first().map(RecordBatch::schema),
                "{table}"
            );
            assert_eq!(cells(&given), cells(&read), "{table} for {role}");
            assert!(made().contains(&format!("{table}.arrow")), "{table} for {role} is sent from its file");
        }
        if role != "public" {
            // Another name for it makes no difference, a part of it does.
            assert_eq!(asked(&mut fast, "SELECT * FROM r000001.members AS m").await.len(), people as usize);
            assert_eq!(asked(&mut fast, "SELECT * FROM members LIMIT 2").await.len(), 2);
            assert_eq!(asked(&mut fast, "SELECT * FROM members WHERE site = 440100").await.len(), 8);
            assert_eq!(asked(&mut fast, "SELECT * FROM duplicates").await.len(), 1);
        }
    }
    study.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prepared_statement_takes_values_and_answers_for_each() {
    let study = Study::published().await;
    let mut client = study.client(&study.token("registrar", "secretariat").await).await;
    let sql = "SELECT member_no FROM members WHERE site = $1 AND qualification_level = $2 ORDER BY 1";
    let mut prepared = client.prepare(sql.into(), None).await.expect("prepared");
    let parameters = prepared.parameter_schema().expect("a schema");
    assert_eq!(parameters.fields().len(), 2);
    assert_eq!(prepared.dataset_schema().expect("a schema").field(0).name(), "member_no");
    for (city, level, count) in GROUPS {
        let values: Vec<(&str, ArrayRef)> = vec![
            ("$1", Arc::new(Int32Array::from(vec![city.0 as i32]))),
            ("$2", Arc::new(StringArray::from(vec![level.as_str_name().rsplit('_').next()]))),
        ];
        let values = RecordBatch::try_from_iter(values).expect("a row");
        prepared.set_parameters(values).expect("bound");
        let info = prepared.execute().await.expect("run");
        let found = cells(&fetched(&mut client, info).await.expect("answered"));
        assert_eq!(found.len(), count as usize, "{city} {level:?}");
    }
    prepared.close().await.expect("closed");
    study.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_finds_out_what_there_is() {
    let study = Study::published().await;
    study.publish("second").await;
    let mut client = study.client(&study.token("analyst", "study").await).await;
    macro_rules! told {
        ($info:expr) => {{
            let info = $info.await.expect("told");
            cells(&fetched(&mut client, info).await.expect("told"))
        }};
    }
    assert_eq!(told!(client.get_catalogs()), [["liandong"]]);
    let schemas = told!(client.get_db_schemas(CommandGetDbSchemas::default()));
    let schemas: Vec<&str> = schemas.iter().map(|row| row[1].as_str()).collect();
    assert_eq!(schemas, ["latest", "r000001", "r000002"]);
    let types = told!(client.get_table_types());
    assert_eq!(types, [["TABLE"], ["VIEW"]]);
    let asked = CommandGetTables {
        db_schema_filter_pattern: Some("latest".into()),
        include_schema: true,
        ..CommandGetTables::default()
    };
    let tables = told!(client.get_tables(asked));
    let kind = |name: &str| tables.iter().find(|row| row[2] == name).map(|row| row[3].as_str());
    assert_eq!((kind("members"), kind("duplicates")), (Some("TABLE"), Some("VIEW")));
    assert_eq!(kind("member_counts"), None, "that is for everybody, by its own token");
    let made = study.province.hub().data_dir.join("releases").join("projects");
    assert!(
        !made.join("000001").exists() && !made.join("000002").exists(),
        "to be told of columns makes no file"
    );
    let one = CommandGetTables { table_name_filter_pattern: Some("nomin%".into()), ..Default::default() };
    assert!(told!(client.get_tables(one)).iter().all(|row| row[2].starts_with("nomin")));
    let info = told!(client.get_sql_info(vec![SqlInfo::FlightSqlServerName]));
    assert_eq!(info.len(), 1);
    assert!(info[0].iter().any(|cell| cell.contains("liandong-hub")), "{info:?}");

    let schema = Some("latest".to_owned());
    let table = |name: &str| (schema.clone(), name.to_owned());
    let (db_schema, name) = table("members");
    let key = CommandGetPrimaryKeys { db_schema, table: name, ..CommandGetPrimaryKeys::default() };
    assert_eq!(told!(client.get_primary_keys(key))[0][3], "record_id");
    let (db_schema, name) = table("nominations");
    let keys = CommandGetImportedKeys { db_schema, table: name, ..CommandGetImportedKeys::default() };
    let imported = told!(client.get_imported_keys(keys));
    assert!(imported.iter().any(|row| row[2] == "members" && row[7] == "member"), "{imported:?}");
    let (db_schema, name) = table("cities");
    let keys = CommandGetExportedKeys { db_schema, table: name, ..CommandGetExportedKeys::default() };
    assert!(told!(client.get_exported_keys(keys)).iter().any(|row| row[6] == "members"));
    let between = CommandGetCrossReference {
        pk_table: "award_rounds".into(),
        fk_table: "nominations".into(),
        ..CommandGetCrossReference::default()
    };
    assert_eq!(told!(client.get_cross_reference(between)).len(), 1);
    study.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_can_be_written_and_a_refusal_says_why() {
    let study = Study::published().await;
    let before = study.asked(&["release", "verify"]).await;
    assert_eq!(before["sound"], true);
    for role in super::study::ROLES {
        let mut client = study.client(&study.token(role, &format!("writer-{role}")).await).await;
        for sql in [
            "DROP TABLE members",
            "DELETE FROM members",
            "DELETE FROM cities",
            "UPDATE cities SET name_zh = 'x'",
            "INSERT INTO cities SELECT * FROM cities",
            "CREATE TABLE t AS SELECT * FROM cities",
            "CREATE VIEW v AS SELECT * FROM cities",
            "CREATE SCHEMA s",
            "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'",
            "COPY cities TO 'cities.csv'",
            "COPY (SELECT 1) TO 'one.parquet'",
            "SET datafusion.execution.batch_size = 1",
            "EXPLAIN ANALYZE INSERT INTO cities SELECT * FROM cities",
            "SELECT 1; DELETE FROM cities",
            "",
        ] {
            let (code, words) = refusal(rows(&mut client, sql).await);
            assert!(
                matches!(code, Code::InvalidArgument | Code::Unimplemented),
                "{role}: {sql}: {code:?} {words}"
            );
            assert!(!words.is_empty() && !words.contains("the hub's log"), "{sql}: {words}");
            let prepared = client.prepare(sql.into(), None).await;
            assert!(prepared.is_err(), "{role}: {sql} was prepared");
        }
        let written = client.execute_update("DELETE FROM cities".into(), None).await;
        assert!(written.is_err(), "{role}: {written:?}");
        for sql in ["SELECT * FROM nowhere", "SELECT nothing FROM cities", "SELECT FROM WHERE"] {
            let (code, words) = refusal(rows(&mut client, sql).await);
            assert_eq!(code, Code::InvalidArgument, "{sql}: {words}");
        }
    }
    assert_eq!(study.asked(&["release", "verify"]).await, before);
    assert_eq!(study.asked(&["status"]).await["site"], "440000");
    study.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_computed_is_an_error_and_never_a_short_answer() {
    let mut study = Study::published().await;
    let token = study.token("registrar", "secretariat").await;
    let mut client = study.client(&token).await;
    for sql in [
        "SELECT CAST(name AS INT) FROM members",
        "SELECT 1 / CAST(cpd_hours - cpd_hours AS INT) FROM members",
        "SELECT CAST(member_no AS DATE) FROM members",
    ] {
        let (code, words) = refusal(rows(&mut client, sql).await);
        assert_eq!(code, Code::InvalidArgument, "{sql}: {words}");
        assert!(words.contains("look at casts and divisions"), "{sql}: {words}");
    }
    // More than a query may hold.
    let many = "SELECT m.name FROM members m CROSS JOIN members n CROSS JOIN members o CROSS JOIN members p \
                CROSS JOIN members q CROSS JOIN members r CROSS JOIN members s ORDER BY m.name";
    let (code, words) = refusal(rows(&mut client, many).await);
    assert_eq!(code, Code::ResourceExhausted, "{words}");
    assert!(words.contains("ask for fewer"), "{words}");
    // An answer that a client leaves is over, and the hub goes on.
    let endless = "SELECT m.name FROM members m CROSS JOIN members n CROSS JOIN members o CROSS JOIN members p \
                   CROSS JOIN members q CROSS JOIN members r CROSS JOIN members s";
    let begin = async |client: &mut Client| {
        let info = client.execute(endless.into(), None).await.expect("planned");
        let ticket = info.endpoint[0].ticket.clone().expect("a ticket");
        let mut stream = client.do_get(ticket).await.expect("begun");
        assert!(stream.try_next().await.expect("rows").is_some());
        stream
    };
    let left = begin(&mut client).await;
    let reads = async || {
        let args =
            ["audit", "list", "--limit", "0", "--what", "READ", "--who", "token:secretariat", "--json"];
        study.province.hub().answer(&args).await.expect("an answer").lines().count()
    };
    let before = reads().await;
    drop(left);
    let over = async { while reads().await == before {} };
    tokio::time::timeout(PATIENCE, over).await.expect("what was left is over, and recorded");
    let site = format!("SELECT count(*) FROM members WHERE site = {}", GUANGZHOU.0);
    assert_eq!(column(&mut client, &site).await, ["8"]);
    // One that breaks off is an error.
    let mut stream = begin(&mut client).await;
    study.province.kill_hub().await.expect("it ends");
    let read = async {
        while let Some(batch) = stream.next().await {
            batch?;
        }
        Ok(())
    };
    let ended: Result<(), FlightError> = tokio::time::timeout(PATIENCE, read).await.expect("it ends");
    assert!(ended.is_err(), "a client takes what it has for the whole");
    study.province.start_hub().await.expect("it starts");
    let mut client = study.client(&token).await;
    assert_eq!(column(&mut client, &site).await, ["8"]);
    study.stop().await;
}
