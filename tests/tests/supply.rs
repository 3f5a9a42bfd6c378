//! What comes into the programs from others, held against `deny.toml`: licences, bans, versions, sources, exceptions.
//!
//! Checked: what is built on the system that this runs on, and the whole lock file. Not checked: whether an advisory has
//! been published, which takes the database and `cargo deny check`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::iter::Peekable;
use std::str::SplitWhitespace;

use toml::{Table, Value};

use crate::tidy::{cargo, root};

/// A version of a package that is built: name, version, licence.
type Package = (String, String, String);

fn table(name: &str) -> Table {
    fs::read_to_string(root().join(name)).expect("a file").parse().expect("TOML")
}

/// The entries of a list in `deny.toml`.
fn list(deny: &Table, section: &str, name: &str) -> Vec<Value> {
    let list = deny[section][name].as_array().expect("a list").clone();
    assert!(!list.is_empty(), "{section}.{name} is empty");
    list
}

#[track_caller]
fn text<'a>(entry: &'a Value, name: &str) -> &'a str {
    let text = entry.get(name).and_then(Value::as_str).unwrap_or_default();
    assert!(!text.is_empty(), "{entry:?} has no {name}");
    text
}

/// What is built, programs and tests: packages that a lock file merely names are in none of them.
fn built() -> BTreeSet<Package> {
    let edges = ["--edges", "normal,build,dev", "--prefix", "none", "--format", "{p}|{l}"];
    let tree = cargo(&[&["tree", "--locked", "--workspace"], &edges[..]].concat());
    let package = |line: &str| {
        let (package, licence) = line.trim_end_matches(" (*)").split_once('|').expect("two parts");
        let mut words = package.split(' ');
        let mut word = || words.next().expect("a name and a version").to_owned();
        (word(), word().trim_start_matches('v').to_owned(), licence.to_owned())
    };
    let built: BTreeSet<Package> = tree.lines().filter(|line| !line.is_empty()).map(package).collect();
    assert!(built.len() > 100, "{} packages", built.len());
    built
}

/// The packages of the lock file: name, version, source.
fn locked() -> BTreeSet<(String, String, Option<String>)> {
    let lock = table("Cargo.lock");
    let packages = lock["package"].as_array().expect("packages").iter();
    packages
        .map(|package| {
            let source = package.get("source").and_then(Value::as_str).map(str::to_owned);
            (text(package, "name").to_owned(), text(package, "version").to_owned(), source)
        })
        .collect()
}

/// Whether a licence expression is satisfied by the licences allowed. An oblique stroke is an old way to say OR.
fn is_satisfied(expression: &str, allowed: &[&str]) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    let is_satisfied = any(&mut words, allowed);
    assert_eq!(words.next(), None, "{expression}");
    is_satisfied
}

fn any(words: &mut Peekable<SplitWhitespace<'_>>, allowed: &[&str]) -> bool {
    let mut found = all(words, allowed);
    while words.next_if_eq(&"OR").is_some() {
        found |= all(words, allowed);
    }
    found
}

fn all(words: &mut Peekable<SplitWhitespace<'_>>, allowed: &[&str]) -> bool {
    let mut found = one(words, allowed);
    while words.next_if_eq(&"AND").is_some() {
        found &= one(words, allowed);
    }
    found
}

fn one(words: &mut Peekable<SplitWhitespace<'_>>, allowed: &[&str]) -> bool {
    let name = words.next().expect("a licence");
    if name == "(" {
        let found = any(words, allowed);
        assert_eq!(words.next(), Some(")"), "a bracket is left open");
        return found;
    }
    if words.next_if_eq(&"WITH").is_none() {
        return allowed.contains(&name);
    }
    let name = format!("{name} WITH {}", words.next().expect("an exception"));
    allowed.contains(&name.as_str())
}

#[test]
fn expressions_of_licences_are_understood() {
    #[track_caller]
    fn check(expression: &str, expected: bool) {
        assert_eq!(is_satisfied(expression, &["A", "B", "C WITH D"]), expected, "{expression}");
    }
    for satisfied in ["A", "A OR X", "X/A", "X / A", "A AND B", "(X OR A) AND B", "X OR A AND B", "C WITH D"]
    {
        check(satisfied, true);
    }
    for not in ["X", "A AND X", "X/Y", "C", "A WITH D", "(A OR B) AND X", "X OR A AND Y", "A AND (X OR Y)"] {
        check(not, false);
    }
}

#[test]
fn every_licence_is_allowed_and_every_allowance_is_used() {
    let deny = table("deny.toml");
    let allow = list(&deny, "licenses", "allow");
    let allow: Vec<&str> = allow.iter().map(|licence| licence.as_str().expect("a name")).collect();
    let built = built();
    let refused: Vec<&Package> =
        built.iter().filter(|(.., licence)| licence.is_empty() || !is_satisfied(licence, &allow)).collect();
    assert!(refused.is_empty(), "not allowed by deny.toml: {refused:?}");
    for licence in allow {
        assert!(built.iter().any(|(.., it)| it.contains(licence)), "nothing is under {licence}");
    }
}

#[test]
fn what_is_banned_is_not_built() {
    let deny = table("deny.toml");
    let banned = list(&deny, "bans", "deny");
    let banned: BTreeSet<&str> = banned.iter().map(|entry| text(entry, "crate")).collect();
    for name in ["ring", "openssl", "openssl-sys", "native-tls"] {
        assert!(banned.contains(name), "deny.toml bans {name} no more");
    }
    let found: Vec<Package> =
        built().into_iter().filter(|(name, ..)| banned.contains(name.as_str())).collect();
    assert!(found.is_empty(), "banned by deny.toml: {found:?}");
}

#[test]
fn a_package_stands_twice_only_where_an_exception_says_why() {
    let deny = table("deny.toml");
    assert_eq!(deny["bans"]["multiple-versions"].as_str(), Some("deny"));
    let skips = list(&deny, "bans", "skip");
    let skips: Vec<(&str, &str)> = skips
        .iter()
        .map(|entry| {
            text(entry, "reason");
            text(entry, "crate").split_once('@').expect("a version")
        })
        .collect();
    let is_meant = |skip: &(&str, &str), name: &str, version: &str| {
        let rest = version.strip_prefix(skip.1);
        skip.0 == name && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, version, _) in built() {
        versions.entry(name).or_default().push(version);
    }
    for (name, versions) in &versions {
        let left = versions.iter().filter(|version| !skips.iter().any(|skip| is_meant(skip, name, version)));
        assert_eq!(left.count(), 1, "{name} {versions:?}");
    }
    for skip in &skips {
        let versions = versions.get(skip.0).map(Vec::as_slice).unwrap_or_default();
        let is_used = versions.iter().any(|version| is_meant(skip, skip.0, version));
        assert!(is_used && versions.len() > 1, "{skip:?} is needed no more: {versions:?}");
    }
}

#[test]
fn everything_comes_from_crates_io() {
    let deny = table("deny.toml");
    let lint = |name: &str| deny["sources"][name].as_str().map(str::to_owned);
    assert_eq!(["unknown-registry", "unknown-git"].map(lint), [Some("deny".into()), Some("deny".into())]);
    let registries = list(&deny, "sources", "allow-registry");
    let registries: Vec<String> =
        registries.iter().map(|url| format!("registry+{}", url.as_str().expect("an address"))).collect();
    assert_eq!(registries, ["registry+https://github.com/rust-lang/crates.io-index"]);
    for (name, version, source) in locked() {
        let is_known = match &source {
            Some(source) => registries.contains(source),
            None => name.starts_with("liandong-"),
        };
        assert!(is_known, "{name} {version} comes from {source:?}");
    }
}

#[test]
fn an_exception_for_an_advisory_names_a_package_and_a_day() {
    let deny = table("deny.toml");
    let names: BTreeSet<String> = locked().into_iter().map(|(name, ..)| name).collect();
    let is_digits =
        |text: &str, count: usize| text.len() == count && text.bytes().all(|b| b.is_ascii_digit());
    let is_number = |parts: &[&str], lengths: &[usize]| {
        parts.len() == lengths.len()
            && parts.iter().zip(lengths).all(|(part, length)| is_digits(part, *length))
    };
    for entry in list(&deny, "advisories", "ignore") {
        let (id, reason) = (text(&entry, "id"), text(&entry, "reason"));
        let number: Vec<&str> = id.strip_prefix("RUSTSEC-").unwrap_or_default().split('-').collect();
        assert!(is_number(&number, &[4, 4]), "{id}");
        let package = reason.split(' ').next().unwrap_or_default();
        assert!(names.contains(package), "{id}: {package} is not in the lock file any more");
        let (_, day) =
            reason.rsplit_once("look again by ").unwrap_or_else(|| panic!("{id}: no day: {reason}"));
        assert!(is_number(&day.split('-').collect::<Vec<_>>(), &[4, 2, 2]), "{id}: {day}");
    }
}
