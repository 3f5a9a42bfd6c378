//! Syncs over bad lines, in small. The full size is `cargo run --release --bin line -- cuts` and `… -- slow`.

use liandong_tests::line::{CutsPlan, SlowPlan, Weather, cuts, slow};

use crate::province::program;

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_is_cut_again_and_again_loses_nothing_and_sends_little_twice() {
    let dir = tempfile::tempdir().expect("a directory");
    let plan = CutsPlan { cities: 3, changes: 3_000, cuts: 15, seed: 3 };
    let report = cuts(&plan, program(), dir.path(), |_| {}).await.unwrap_or_else(|error| panic!("{error}"));
    println!("{report:?}");
    assert!(report.cut.connections >= 15, "{report:?}");
    // As often as 500 times in 100,000 changes. With batches of full size it would be 1.9.
    assert!(report.ratio < 1.2, "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_and_lossy_line_between_two_hosts_only_takes_longer() {
    let dir = tempfile::tempdir().expect("a directory");
    let weather = Weather { rate_kbit: 512, delay_ms: 300, loss_permille: 50, seed: 3 };
    let plan = SlowPlan { weather, cities: 2, changes: 100 };
    match slow(&plan, program(), dir.path()).await.unwrap_or_else(|error| panic!("{error}")) {
        Ok(report) => {
            println!("{report:?}");
            assert!(report.carried.lost > 0 && report.carried.bytes > 50_000, "{report:?}");
        }
        Err(why) => println!("skipped: this machine makes no hosts: {why}"),
    }
}
