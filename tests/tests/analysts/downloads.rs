//! Downloads: forms, conditions, ranges, changes, and what is said when there is nothing.

use bytes::Bytes;
use liandong_proto::pb::record::v1 as pb;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::clients::{Answer, Https, cells};
use super::study::{Study, person};
use crate::province::MEMBER;

fn parquet_cells(answer: &Answer) -> Vec<Vec<String>> {
    let file = Bytes::from(answer.body.clone());
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("Parquet").build().expect("readable");
    cells(&reader.collect::<Result<Vec<_>, _>>().expect("readable"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_comes_in_each_form_and_not_again_to_whoever_has_it() {
    let study = Study::published().await;
    let https = study.https(&study.token("registrar", "secretariat").await);
    let parquet = https.get("/releases/latest/members.parquet").await;
    assert_eq!((parquet.status, parquet.header("content-type")), (200, "application/vnd.apache.parquet"));
    assert!(parquet.header("content-disposition").contains("members.parquet"));
    let dir = study.province.hub().data_dir.join("releases/000001/registrar/members.parquet");
    assert_eq!(parquet.body, std::fs::read(dir).expect("a file"), "the bytes that were published");

    let csv = https.get("/releases/latest/members.csv").await;
    assert_eq!(csv.header("content-type"), "text/csv; charset=utf-8");
    let text = csv.body.strip_prefix("\u{feff}".as_bytes()).expect("a byte order mark, for Excel");
    let mut reader = csv::Reader::from_reader(text);
    let head: Vec<String> = reader.headers().expect("a head").iter().map(Into::into).collect();
    let rows: Vec<csv::StringRecord> = reader.records().collect::<Result<_, _>>().expect("rows");
    let in_parquet = parquet_cells(&parquet);
    assert_eq!(rows.len(), in_parquet.len());
    let at = |name: &str| head.iter().position(|it| it == name).expect("a column");
    for (row, cells) in rows.iter().zip(&in_parquet) {
        for name in ["record_id", "site", "name", "certificate_no", "birth_date", "registered_to"] {
            assert_eq!(row[at(name)], cells[at(name)], "{name}");
        }
    }
    assert!(text.windows(2).any(|pair| pair == b"\r\n"));

    let arrow = https.get("/releases/latest/members.arrow").await;
    assert_eq!(arrow.header("content-type"), "application/vnd.apache.arrow.file");
    let arrow =
        arrow::ipc::reader::FileReader::try_new(std::io::Cursor::new(arrow.body), None).expect("Arrow");
    assert_eq!(cells(&arrow.collect::<Result<Vec<_>, _>>().expect("readable")), in_parquet);

    let xlsx = https.get("/releases/latest/members.xlsx").await;
    let mut book = zip::ZipArchive::new(std::io::Cursor::new(xlsx.body.clone())).expect("a book");
    let mut sheet = String::new();
    let mut part = book.by_name("xl/worksheets/sheet1.xml").expect("a sheet");
    std::io::Read::read_to_string(&mut part, &mut sheet).expect("text");
    assert_eq!(sheet.matches("<row ").count(), rows.len() + 1);
    assert!(sheet.contains(&study.members[0].2.name), "names are text in the sheet");

    for form in ["parquet", "arrow", "csv", "xlsx"] {
        let path = format!("/releases/latest/members.{form}");
        let whole = https.get(&path).await;
        let tag = whole.header("etag").to_owned();
        let again = https.ask("GET", &path, &[("if-none-match", &tag)]).await;
        assert_eq!((again.status, again.body.len()), (304, 0), "{path}");
        assert_eq!(again.header("etag"), tag);
        let other = https.ask("GET", &path, &[("if-none-match", "\"another\"")]).await;
        assert_eq!((other.status, &other.body), (200, &whole.body), "{path}");
        let part = https.ask("GET", &path, &[("range", "bytes=10-29")]).await;
        assert_eq!((part.status, part.body.as_slice()), (206, &whole.body[10..30]), "{path}");
        assert_eq!(part.header("content-range"), format!("bytes 10-29/{}", whole.body.len()));
        let end = https.ask("GET", &path, &[("range", "bytes=-8")]).await;
        assert_eq!((end.status, end.body.as_slice()), (206, &whole.body[whole.body.len() - 8..]), "{path}");
        let beyond = https.ask("GET", &path, &[("range", "bytes=99999999-")]).await;
        assert_eq!(beyond.status, 416, "{path}");
        let head = https.ask("HEAD", &path, &[]).await;
        assert_eq!((head.status, head.body.len()), (200, 0), "{path}");
        assert_eq!(head.header("content-length"), whole.body.len().to_string());
    }
    // Another role has another file of that name, and another tag.
    let analyst = study.https(&study.token("analyst", "study").await);
    let theirs = analyst.get("/releases/latest/members.parquet").await;
    assert_ne!(theirs.header("etag"), parquet.header("etag"));
    let tag = parquet.header("etag").to_owned();
    let asked = analyst.ask("GET", "/releases/latest/members.parquet", &[("if-none-match", &tag)]).await;
    assert_eq!(asked.status, 200);
    study.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_lead_from_an_older_release_to_a_newer() {
    let study = Study::published().await;
    let (city, id, _) = study.members[5].clone();
    let node = study.province.door(city).await;
    let edit = pb::Member { cpd_hours: Some(73), ..pb::Member::default() };
    node.put(MEMBER, Some(id), &edit).await.expect("an edit");
    node.put(MEMBER, None, &person(901, pb::QualificationLevel::Assistant)).await.expect("one more");
    study.province.equal().await;
    study.publish("").await;
    for role in ["registrar", "analyst"] {
        let https = study.https(&study.token(role, role).await);
        let rows = |path: &'static str| {
            let https = &https;
            async move { parquet_cells(&https.get(path).await) }
        };
        let (old, new) =
            (rows("/releases/1/members.parquet").await, rows("/releases/2/members.parquet").await);
        let changes = rows("/releases/2/changes/members.parquet?since=1").await;
        let mut kinds: Vec<&str> = changes.iter().map(|row| row[0].as_str()).collect();
        kinds.sort_unstable();
        assert_eq!(kinds, ["added", "changed"], "{role}");
        let mut followed: std::collections::BTreeMap<String, Vec<String>> =
            old.into_iter().map(|row| (row[0].clone(), row)).collect();
        for change in changes {
            followed.insert(change[1].clone(), change[1..].to_vec());
        }
        let expected: std::collections::BTreeMap<String, Vec<String>> =
            new.into_iter().map(|row| (row[0].clone(), row)).collect();
        assert_eq!(followed, expected, "{role}");
        let none = rows("/releases/2/changes/members.parquet?since=2").await;
        assert!(none.is_empty(), "{role}");
        let latest = rows("/releases/latest/changes/members.parquet?since=1").await;
        assert_eq!(latest.len(), 2, "{role}");
    }
    let left: Vec<_> = std::fs::read_dir(study.province.hub().data_dir.join("releases/projects"))
        .expect("a directory")
        .filter_map(|entry| entry.expect("an entry").file_name().into_string().ok())
        .filter(|name| name.ends_with(".part"))
        .collect();
    assert_eq!(left, [""; 0], "what was sent once is not kept");
    study.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_for_what_is_not_there_is_told_why_and_what_to_do() {
    let study = Study::new().await;
    let token = study.token("registrar", "secretariat").await;
    let https = study.https(&token);
    let empty = https.get("/releases/latest/members.csv").await;
    assert_eq!(empty.status, 404);
    assert!(empty.text().contains("release publish"), "{}", empty.text());
    assert_eq!(https.get("/releases").await.json(), serde_json::json!([]));
    study.publish("").await;
    for (path, status, words) in [
        ("/releases/9/members.csv", 404, "/releases lists"),
        ("/releases/9/manifest.json", 404, "no release 9"),
        ("/releases/newest/members.csv", 400, "or latest"),
        ("/releases/latest/nothing.csv", 404, "manifest.json"),
        ("/releases/latest/members.doc", 400, ".arrow, .csv or .xlsx"),
        ("/releases/latest/members", 400, ".arrow, .csv or .xlsx"),
        ("/releases/latest/changes/members.parquet", 400, "?since="),
        ("/releases/latest/changes/members.parquet?since=x", 400, "?since="),
        ("/releases/latest/changes/members.parquet?since=9", 404, "no release 9"),
        ("/releases/latest/changes/members.csv?since=1", 400, ".parquet"),
        ("/releases/latest", 404, "/releases"),
        ("/", 404, "/releases"),
        ("/favicon.ico", 404, "/releases"),
    ] {
        let answer = https.get(path).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        assert!(answer.text().contains(words), "{path}: {} has no {words}", answer.text());
    }
    assert!(https.ask("POST", "/releases", &[]).await.status == 405);
    let nobody = Https::new(study.address(), &study.certificate(), None);
    for path in ["/releases", "/releases/9/members.csv", "/metrics"] {
        let answer = nobody.get(path).await;
        assert_eq!(answer.status, 401, "{path}");
        assert!(answer.text().contains("a token is needed"), "{path}: {}", answer.text());
    }
    for path in ["/healthz", "/readyz"] {
        let answer = nobody.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }
    study.stop().await;
}
