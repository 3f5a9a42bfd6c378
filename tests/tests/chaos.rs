//! Sites killed and damaged under load, while it is checked that nothing acknowledged is missing. The long run is
//! `cargo run --release --bin chaos -- --rounds 500`.

use liandong_tests::chaos::{Plan, run};

use crate::province::program;

#[tokio::test(flavor = "multi_thread")]
async fn killed_and_damaged_under_load_nothing_acknowledged_is_ever_missing() {
    let dir = tempfile::tempdir().expect("a directory");
    let plan = Plan { rounds: 16, cities: 3, seed: 7, damages: true, check_every: 8 };
    let report = run(&plan, program(), dir.path(), |_| {}).await.unwrap_or_else(|error| panic!("{error}"));
    println!("{}", report.json());
    assert!(report.changes > 0 && report.looks > 0 && report.equal >= 3, "{report:?}");
}
