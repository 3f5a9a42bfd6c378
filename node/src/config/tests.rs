//! Precedence, mistakes and the template.

use std::path::Path;

use super::*;

fn layers(file: &str, environment: &[(&str, &str)], options: &[&str]) -> Result<Settings, Mistakes> {
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
    Layers::new(NODE_KEYS)
        .file(Path::new("/etc/liandong/config.toml"), file)
        .environment(environment)
        .options(&options)
        .finish()
}

#[track_caller]
fn check_mistakes(file: &str, environment: &[(&str, &str)], options: &[&str], expected: &[&str]) {
    let mistakes = layers(file, environment, options).expect_err("there are mistakes");
    let said: Vec<&str> = mistakes.0.iter().map(|said| said.en.as_str()).collect();
    assert_eq!(said.len(), expected.len(), "{said:#?}");
    for (said, expected) in said.iter().zip(expected) {
        assert!(said.contains(expected), "{said} has no {expected}");
    }
    assert!(mistakes.0.iter().all(|said| !said.zh.is_ascii()), "all mistakes are told in Chinese too");
}

#[test]
fn later_layers_win() {
    let key = "sync.retry_max_s";
    let variable = [("LIANDONG_SYNC_RETRY_MAX_S", "3")];
    assert_eq!(layers("", &[], &[]).unwrap().whole(key), 60);
    assert_eq!(layers("sync.retry_max_s = 2", &[], &[]).unwrap().whole(key), 2);
    assert_eq!(layers("[sync]\nretry_max_s = 2", &variable, &[]).unwrap().whole(key), 3);
    let settings = layers("[sync]\nretry_max_s = 2", &variable, &["sync.retry_max_s=4"]).unwrap();
    assert_eq!(settings.whole(key), 4);
    let source = settings.iter().find(|(name, ..)| *name == key).map(|(_, _, source)| source.to_string());
    assert_eq!(source.as_deref(), Some("--option"));
}

#[test]
fn a_flag_wins_over_everything() {
    let flag = Flag { flag: "--hub", key: "hub", value: Some("127.0.0.1:2".into()) };
    let absent = Flag { flag: "--lang", key: "lang", value: None };
    let settings = Layers::new(NODE_KEYS)
        .file(Path::new("c.toml"), "hub = \"127.0.0.1:1\"\nlang = \"en\"")
        .flags([flag, absent])
        .finish()
        .unwrap();
    assert_eq!(settings.text("hub"), Some("127.0.0.1:2"));
    assert_eq!(settings.text("lang"), Some("en"));
}

#[test]
fn a_relative_path_is_relative_to_the_file_that_says_it() {
    let path = |settings: Settings| settings.path("data_dir").unwrap().to_path_buf();
    assert_eq!(path(layers("data_dir = \"d\"", &[], &[]).unwrap()), Path::new("/etc/liandong/d"));
    assert_eq!(path(layers("data_dir = \"/d\"", &[], &[]).unwrap()), Path::new("/d"));
    assert_eq!(path(layers("", &[("LIANDONG_DATA_DIR", "d")], &[]).unwrap()), Path::new("d"));
}

#[test]
fn all_mistakes_come_at_once() {
    check_mistakes(
        "hubb = \"127.0.0.1:1\"\ndrain_seconds = \"5\"\n[log]\nsegment_mib = 0\nother = 1\n",
        &[("LIANDONG_LOG_FORMAT", "xml"), ("LIANDONG_INDEX_CASH_MIB", "8"), ("PATH", "/bin")],
        &["lang", "lang=fr", "index.cache_mib=lots"],
        &[
            "config.toml:1: there is no setting hubb; did you mean hub?",
            "config.toml:5: there is no setting log.other",
            "LIANDONG_INDEX_CASH_MIB is no setting; did you mean LIANDONG_INDEX_CACHE_MIB?",
            "--option lang: write it as KEY=VALUE",
            "config.toml:4: log.segment_mib: a whole number from 1 to 1024",
            "--option: index.cache_mib: a whole number",
            "config.toml:2: drain_seconds: a whole number without quotes",
            "LIANDONG_LOG_FORMAT: log_format: one of these is wanted: auto, text, json",
            "--option: lang: one of these",
        ],
    );
}

#[test]
fn bad_toml_is_told_with_its_line() {
    check_mistakes(
        "lang = \"en\"\nhub = \nlogg = 1\n",
        &[],
        &[],
        &["config.toml:2: not valid TOML", "config.toml:3: there is no setting logg"],
    );
}

#[test]
fn the_hub_is_a_host_with_a_port() {
    for address in ["10.0.0.1:7443", "hub.example.org:7443", "[::1]:7443", "localhost:1"] {
        assert_eq!(check_address(address), Ok(()), "{address}");
    }
    for address in [
        "http://10.0.0.1:7443",
        "hub.example.org",
        "::1:7443",
        ":7443",
        "0.0.0.0:7443",
        "[::]:7443",
        "a b:1",
        "a:0",
        "a:70000",
        "",
    ] {
        assert!(check_address(address).is_err(), "{address}");
    }
}

#[test]
fn a_linking_key_must_exist() {
    check_mistakes(
        "linking_key = \"absent.key\"",
        &[],
        &[],
        &["there is no such file: /etc/liandong/absent.key"],
    );
}

#[test]
fn the_template_names_every_key_with_its_default() {
    let text = template("liandong-node", NODE_KEYS);
    let active: String = text
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(setting) if !setting.starts_with(' ') => format!("{setting}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let table: toml::Table = toml::from_str(&active).expect("the template is TOML");
    for key in NODE_KEYS {
        let mut at = Some(&toml::Value::Table(table.clone())).cloned();
        for part in key.name.split('.') {
            at = at.and_then(|value| value.get(part).cloned());
        }
        assert!(at.is_some(), "{} stands in the template", key.name);
        assert!(text.contains(key.doc.zh) && text.contains(key.doc.en), "{}", key.name);
    }
    let without_files: String = active
        .lines()
        .filter(|line| !["linking_key", "api_certificate", "api_key"].iter().any(|key| line.starts_with(key)))
        .map(|line| format!("{line}\n"))
        .collect();
    let read_back = layers(&without_files, &[], &[]).expect("every key of the template is known");
    let defaults = layers("", &[], &[]).unwrap();
    for (name, value, _) in defaults.iter() {
        let (_, same, _) = read_back.iter().find(|(other, ..)| *other == name).expect("it is set");
        assert_eq!(value, same, "{name}");
    }
    assert!(
        layers(&text, &[], &[]).is_ok_and(|as_it_is| as_it_is == defaults),
        "commented out, it changes nothing"
    );
}

#[test]
fn keys_are_distinct_in_the_environment_too() {
    let mut names: Vec<String> = NODE_KEYS.iter().map(Key::variable).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), NODE_KEYS.len());
    assert!(NODE_KEYS.iter().all(|key| key.default.is_empty() != key.example.is_empty()), "one of the two");
}
