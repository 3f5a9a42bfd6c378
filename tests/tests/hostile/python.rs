//! The attempts of an ordinary gRPC library, where there is one: `hostile/hostile.py`, run beside a hub and an honest city.

use std::path::Path;
use std::time::Duration;

use super::{among_enemies, others_sync};

/// What the script ends with when it lacks a library.
const SKIPPED: i32 = 77;
/// The interpreter, where it is not the system's. A site takes every LIANDONG_ for a setting.
const PYTHON: &str = "HOSTILE_PYTHON";

#[tokio::test(flavor = "multi_thread")]
async fn an_ordinary_library_gets_no_further() {
    let (province, enemy) = among_enemies().await;
    let keys = province.file("keys");
    std::fs::create_dir(&keys).expect("a directory");
    let files = [
        ("ca.pem", &enemy.member.ca),
        ("city.pem", &enemy.member.certificate),
        ("city.key", &enemy.member.private_key),
    ];
    for (name, text) in files {
        std::fs::write(keys.join(name), text).expect("written");
    }
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = std::env::var(PYTHON).unwrap_or_else(|_| "python3".into());
    let mut script = tokio::process::Command::new(&python);
    script.arg(here.join("hostile/hostile.py")).args(["--address", &enemy.member.hub, "--protos"]);
    script.arg(here.join("../proto")).arg("--directory").arg(&keys).kill_on_drop(true);
    let run = tokio::time::timeout(Duration::from_secs(300), script.status()).await.expect("an end");
    match run {
        Ok(status) if status.success() => others_sync(&province, 1).await,
        // It has said why.
        Ok(status) if status.code() == Some(SKIPPED) => {}
        Ok(status) => panic!("an answer is another than the one expected: {status}"),
        Err(error) => println!("skipped: {python} does not start: {error}; set {PYTHON}"),
    }
}
