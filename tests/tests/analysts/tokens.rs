//! Tokens: nothing is read without one, and none is good for longer than somebody wants.

use std::time::Duration;

use futures_util::TryStreamExt as _;
use liandong_hub::analysts::{Grant, tokens};
use liandong_hub::release::Role;
use liandong_node::site::Paths;
use tonic::Code;

use super::clients::{Client, Https, client, column, refusal, rows};
use super::study::{Study, yesterday};
use crate::needles::base64;

const QUESTION: &str = "SELECT count(*) FROM cities";
const PATHS: [&str; 4] =
    ["/releases", "/releases/latest/manifest.json", "/releases/latest/cities.parquet", "/metrics"];

/// Neither way lets anybody in; the words that both say.
async fn refused(study: &Study, token: Option<&str>, words: &str) {
    let mut client = client(study.address(), &study.certificate(), token).await;
    let (code, said) = refusal(rows(&mut client, QUESTION).await);
    assert_eq!(code, Code::Unauthenticated, "{said}");
    assert!(said.contains(words), "{said} has no {words}");
    assert!(client.get_catalogs().await.is_err() && client.prepare(QUESTION.into(), None).await.is_err());
    let https = Https::new(study.address(), &study.certificate(), token);
    for path in PATHS {
        let answer = https.get(path).await;
        assert_eq!(answer.status, 401, "{path}");
        assert!(answer.header("www-authenticate").contains("Bearer"));
        assert!(answer.text().contains(words), "{path}: {} has no {words}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_reads_without_a_token_that_is_good_now() {
    let study = Study::published().await;
    let good = study.token("analyst", "study").await;
    refused(&study, None, "authorization: Bearer ldt1.").await;
    refused(&study, Some("ldt1.AAAA"), "no such token").await;
    refused(&study, Some(&good[..40]), "no such token").await;

    // One that has ended.
    let kept = tokens(&Paths::new(&study.province.hub().data_dir));
    let grant = Grant { role: Role::Registrar, purpose: "已结束".into(), project: "over".into() };
    let over = kept.make("over", grant, yesterday() - 1_000, yesterday()).expect("made").text();
    refused(&study, Some(&over), "liandong-hub token create").await;
    refused(&study, Some(&over), "has ended").await;

    // One that is revoked while its client is connected: void from the next call on.
    let mut open: Client = study.client(&good).await;
    let info = open.execute("SELECT * FROM members".into(), None).await.expect("good so far");
    let mut prepared = open.prepare(QUESTION.into(), None).await.expect("good so far");
    study.asked(&["token", "revoke", "study"]).await;
    refused(&study, Some(&good), "has been revoked").await;
    let ticket = info.endpoint[0].ticket.clone().expect("a ticket");
    assert_eq!(refusal(open.do_get(ticket).await).0, Code::Unauthenticated, "what was asked before");
    assert_eq!(refusal(prepared.execute().await).0, Code::Unauthenticated);
    assert_eq!(refusal(rows(&mut open, QUESTION).await).0, Code::Unauthenticated);
    let unknown = study.province.hub().command(&["token", "revoke", "nobody"]).await.expect("it runs");
    let words = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert!(!unknown.status.success() && words.contains("liandong-hub token list"), "{words}");
    let listed = study.province.hub().answer(&["token", "list", "--json"]).await.expect("listed");
    assert!(listed.contains("REVOKED") && listed.contains("OVER"), "{listed}");
    assert!(!listed.contains(&good), "a token is shown once");

    // Kept as a hash.
    let file = study.province.hub().data_dir.join("keys").join("analyst-tokens.json");
    let text = std::fs::read_to_string(file).expect("kept");
    assert!(!text.contains(&good) && !text.contains(&good[5..]) && text.contains("行业调查"));

    // A login by name works as well over HTTPS: browsers and Excel have no other.
    let again = study.token("public", "everybody").await;
    let login = format!("any:{again}");
    assert_eq!(login.len() % 3, 0, "needs no padding");
    let login = String::from_utf8(base64(login.as_bytes())).expect("text");
    let https = Https::new(study.address(), &study.certificate(), None).showing(&format!("Basic {login}"));
    assert_eq!(https.get("/releases").await.status, 200);
    study.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_on_its_way_ends_when_its_token_is_revoked() {
    let study = Study::published().await;
    let token = study.token("registrar", "long").await;
    let mut client = study.client(&token).await;
    // More rows than connection and client hold: what is on its way waits for the client.
    let sql = "SELECT m.*, n.name AS other FROM members m CROSS JOIN members n CROSS JOIN members o \
               CROSS JOIN members p CROSS JOIN members q CROSS JOIN members r CROSS JOIN members s";
    let info = client.execute(sql.into(), None).await.expect("planned");
    let ticket = info.endpoint[0].ticket.clone().expect("a ticket");
    let mut stream = client.do_get(ticket).await.expect("begun");
    assert!(stream.try_next().await.expect("rows").is_some());
    study.asked(&["token", "revoke", "long"]).await;
    let read = async {
        loop {
            match stream.try_next().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the answer came to its end"),
                Err(error) => return error,
            }
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(60), read).await.expect("within a minute");
    let (code, words) = refusal::<()>(Err(ended));
    assert_eq!(code, Code::Unauthenticated, "{words}");
    let mut other = study.client(&study.token("public", "everybody").await).await;
    assert_eq!(column(&mut other, QUESTION).await, ["22"], "the others go on: 21 cities and the province");
    study.stop().await;
}
