//! What the layout promises, checked over the source itself.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// What each crate may import of the others; never the other way.
const DIRECTIONS: [(&str, &[&str]); 4] = [
    ("liandong-proto", &[]),
    ("liandong-node", &["liandong-proto"]),
    ("liandong-hub", &["liandong-node", "liandong-proto"]),
    ("liandong-tests", &["liandong-hub", "liandong-node", "liandong-proto"]),
];
const CRATES: [&str; 4] = ["proto", "node", "hub", "tests"];
const LONGEST: usize = 500;

/// Where the project is.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace").to_path_buf()
}

/// What cargo answers, without the network.
pub fn cargo(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).args(args).arg("--offline").current_dir(root()).output();
    let output = output.expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// Files of the project with one of these extensions, by path from its root.
fn files(extensions: &[&str]) -> BTreeMap<PathBuf, String> {
    fn walk(dir: &Path, extensions: &[&str], out: &mut BTreeMap<PathBuf, String>) {
        for entry in fs::read_dir(dir).expect("a directory") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir() {
                if name != "target" && !name.starts_with(".git") {
                    walk(&path, extensions, out);
                }
            } else if path.extension().is_some_and(|e| extensions.iter().any(|wanted| e == *wanted)) {
                let text = fs::read_to_string(&path).expect("text");
                out.insert(path.strip_prefix(root()).expect("inside").to_path_buf(), text);
            }
        }
    }
    let mut out = BTreeMap::new();
    walk(&root(), extensions, &mut out);
    out
}

/// One implementation of TLS and its cryptography, and none that comes with the system.
#[test]
fn there_is_one_tls_provider() {
    let tree =
        cargo(&["tree", "--workspace", "--edges", "normal,build", "--prefix", "none", "--format", "{p}"]);
    let names: Vec<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(names.contains(&"rustls") && names.contains(&"aws-lc-rs"), "TLS is there");
    for other in ["ring", "openssl", "openssl-sys", "native-tls", "mbedtls", "boring"] {
        assert!(!names.contains(&other), "{other} is among the dependencies");
    }
}

#[test]
fn crates_import_in_one_direction() {
    let metadata: Value =
        serde_json::from_str(&cargo(&["metadata", "--format-version", "1", "--no-deps"])).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    assert_eq!(packages.len(), DIRECTIONS.len(), "a new crate has a place in the layout first");
    for (name, allowed) in DIRECTIONS {
        let package = packages.iter().find(|package| package["name"] == name).expect(name);
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let other = dependency["name"].as_str().expect("a name");
            let is_allowed = !other.starts_with("liandong-") || allowed.contains(&other);
            assert!(is_allowed, "{name} must not import {other}");
        }
    }
}

#[test]
fn the_protocol_is_pure() {
    let tree = cargo(&["tree", "-p", "liandong-proto", "-e", "normal", "--prefix", "none"]);
    let names = tree.lines().filter_map(|line| line.split(' ').next());
    let runtimes =
        ["tokio", "tonic", "mio", "hyper", "async-std", "smol", "getrandom", "rand", "rustix", "libc"];
    for name in names {
        assert!(!runtimes.contains(&name), "the protocol imports {name}:\n{tree}");
    }
}

#[test]
fn every_file_says_what_it_is_and_ends_in_time() {
    for (path, text) in files(&["rs"]) {
        let shown = path.display();
        assert!(text.starts_with("//! "), "{shown} does not begin with a line of //!");
        let lines = text.lines().count();
        assert!(lines <= LONGEST, "{shown} has {lines} lines; cut it in two");
        assert!(CRATES.iter().any(|root| path.starts_with(root)), "{shown} belongs to no crate");
    }
}

#[test]
fn proto_packages_are_versioned_and_where_their_names_say() {
    let files = files(&["proto"]);
    assert!(!files.is_empty());
    for (path, text) in files {
        let shown = path.display();
        let package = text.lines().find_map(|line| line.strip_prefix("package ")).expect("a package");
        let package = package.trim_end_matches(';');
        let version = package.rsplit('.').next().and_then(|last| last.strip_prefix('v'));
        assert!(version.is_some_and(|version| version.parse::<u32>().is_ok()), "{shown}: {package}");
        let place = Path::new("proto").join(package.replace('.', "/"));
        assert_eq!(path.parent(), Some(place.as_path()), "{shown}: {package}");
    }
}

#[test]
fn no_path_of_one_machine_stands_anywhere() {
    let roots = ["home", "root", "Users", "work", "mnt"].map(|root| format!("/{root}/"));
    for (path, text) in files(&["rs", "proto", "toml", "md", "json", "csv", "sh"]) {
        for (at, line) in text.lines().enumerate() {
            let found = roots
                .iter()
                .find(|root| line.split([' ', '"', '(', '`']).any(|word| word.starts_with(*root)));
            assert_eq!(found, None, "{}:{}", path.display(), at + 1);
        }
    }
}
