//! What each role can get by SQL, and what nobody can.

use std::sync::Arc;

use datafusion::physical_plan::collect;
use liandong_node::api::access::token::Bearer;

use super::engine::Engine;
use super::shelf::Shelf;
use super::statement::Statement;
use crate::analysts::{Analyst, Desk, Grant};
use crate::hub::{Hub, HubOptions};
use crate::release::{Pseudonyms, Reader, Role, VIEWS};

struct Desked {
    desk: Desk,
    engine: Arc<Engine>,
    dir: tempfile::TempDir,
}

impl Desked {
    fn new() -> Desked {
        let dir = tempfile::tempdir().expect("a directory");
        Hub::init(dir.path(), None).expect("a hub is made");
        let hub = Hub::open(&HubOptions::new(dir.path()), &mut |_| {}).expect("it opens");
        hub.shared.publish_release("", "", 1_000, &mut |_| {}).expect("published");
        let desk = Desk::open(hub).expect("a desk");
        let engine = Arc::new(Engine::new(&desk).expect("an engine"));
        Desked { desk, engine, dir }
    }

    fn shelf(&self, role: Role) -> Arc<Shelf> {
        let reader = match role {
            Role::Registrar => Reader::Registrar,
            Role::Analyst => Reader::Analyst(Box::new(Pseudonyms::new(&[1; 32], "a study"))),
            Role::Public => Reader::Public,
        };
        let grant = Grant { role, purpose: "a test".into(), project: "a study".into() };
        let analyst = Analyst { bearer: Bearer { name: "t".into(), grant }, reader };
        self.engine.shelf(&self.desk, Arc::new(analyst), 1)
    }

    async fn rows(&self, role: Role, sql: &str) -> Result<usize, String> {
        let failed = |error: datafusion::error::DataFusionError| error.to_string();
        let (context, plan) = self.engine.plan(&self.shelf(role), sql).await.map_err(failed)?;
        let plan = context.state().create_physical_plan(&plan).await.map_err(failed)?;
        let batches = collect(plan, context.task_ctx()).await.map_err(failed)?;
        Ok(batches.iter().map(|batch| batch.num_rows()).sum())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_view_answers_for_the_roles_that_have_it() {
    let it = Desked::new();
    for view in &VIEWS {
        for role in Role::ALL {
            let sql = format!("SELECT * FROM {}", view.name);
            let answer = it.rows(role, &sql).await;
            assert_eq!(answer.is_ok(), view.roles.contains(&role), "{} for {role:?}: {answer:?}", view.name);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_reading_is_done_and_no_file_of_the_machine_can_be_named() {
    let it = Desked::new();
    let elsewhere = it.dir.path().join("keys").join("signing.key").display().to_string();
    for sql in [
        "DROP TABLE members",
        "DELETE FROM members",
        "INSERT INTO cities SELECT * FROM cities",
        "UPDATE members SET name = 'x'",
        "CREATE TABLE t AS SELECT * FROM cities",
        "CREATE VIEW v AS SELECT * FROM cities",
        "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'",
        "COPY cities TO '/tmp/cities.csv'",
        "SET datafusion.execution.batch_size = 1",
        "PREPARE p AS SELECT 1",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM read_csv('/etc/passwd')",
        &format!("SELECT * FROM '{elsewhere}'"),
        "SELECT 1; DROP TABLE members",
    ] {
        assert!(it.rows(Role::Registrar, sql).await.is_err(), "{sql}");
    }
    let plan = it.rows(Role::Registrar, "EXPLAIN SELECT * FROM cities").await;
    assert!(plan.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_has_no_table_of_another() {
    let it = Desked::new();
    for (role, sql) in [
        (Role::Public, "SELECT * FROM members"),
        (Role::Public, "SELECT * FROM r000001.members"),
        (Role::Public, "SELECT * FROM liandong.latest.nominations"),
        (Role::Registrar, "SELECT * FROM member_counts"),
        (Role::Analyst, "SELECT name FROM members"),
        (Role::Analyst, "SELECT certificate_no FROM members"),
        (Role::Analyst, "SELECT birth_date FROM members"),
        (Role::Analyst, "SELECT grounds FROM cases"),
        (Role::Analyst, "SELECT * FROM cases_by_ground"),
        (Role::Registrar, "SELECT id_number FROM members"),
        (Role::Registrar, "SELECT token FROM sanctions"),
    ] {
        let said = it.rows(role, sql).await.expect_err(sql);
        assert!(said.contains("not found") || said.contains("No field"), "{sql}: {said}");
    }
    for role in Role::ALL {
        let hidden = "SELECT * FROM information_schema.tables WHERE table_name = 'members'";
        let seen = it.rows(role, hidden).await.expect("answered");
        assert_eq!(seen > 0, role != Role::Public, "{role:?}");
    }
}

#[test]
fn a_statement_is_carried_and_a_bent_handle_is_refused() {
    let statement = Statement { sql: "SELECT 1".into(), latest: 3, values: Vec::new() };
    assert_eq!(Statement::read(&statement.handle()).expect("readable"), statement);
    assert!(Statement::read(b"x").is_err());
}
