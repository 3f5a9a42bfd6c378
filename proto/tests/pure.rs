//! The crate acts on nothing: no runtime, no files, no sockets, no clock, no randomness.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Crates that reach out of the process or draw from it.
const IMPURE: &[&str] = &[
    "tokio",
    "tonic",
    "hyper",
    "mio",
    "socket2",
    "rustls",
    "rand",
    "getrandom",
    "rustix",
    "libc",
    "tempfile",
    "chrono",
];

/// Parts of the standard library that do.
const OUTSIDE: &[&str] =
    &["std::fs", "std::net", "std::time", "std::thread", "std::env", "std::process", "std::io"];

#[test]
fn no_runtime_is_among_the_dependencies() {
    let out = Command::new(env!("CARGO"))
        .args(["tree", "-p", "liandong-proto", "-e", "normal", "--prefix", "none", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let tree = String::from_utf8(out.stdout).expect("names are text");
    let names: Vec<&str> = tree.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names.contains(&"prost"), "the tree was read: {tree}");
    let impure: Vec<&&str> = names.iter().filter(|name| IMPURE.contains(name)).collect();
    assert!(impure.is_empty(), "{impure:?} in\n{tree}");
}

#[test]
fn no_source_reaches_out() {
    let mut found = Vec::new();
    let mut files = 0;
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for file in fs::read_dir(&folder).expect("a folder of sources") {
            let path = file.expect("a file").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            files += 1;
            let source = fs::read_to_string(&path).expect("sources are text");
            let lines = source.lines().enumerate();
            let reaching = lines.filter(|(_, line)| OUTSIDE.iter().any(|part| line.contains(part)));
            found
                .extend(reaching.map(|(at, line)| format!("{}:{}: {}", path.display(), at + 1, line.trim())));
        }
    }
    assert!(files > 20, "the sources were read");
    assert!(found.is_empty(), "{}", found.join("\n"));
}
