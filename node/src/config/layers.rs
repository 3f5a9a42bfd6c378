//! Laying file, environment and command line over the defaults, and gathering every mistake on the way.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::shape::Given;
use super::{ENVIRONMENT_PREFIX, Key, Mistakes, Settings, Source};
use crate::say;
use crate::text::Said;

/// Variables that are no keys of the file: they say where it is, who does something and what for, what opens a backup,
/// or serve tests.
const OTHER_VARIABLES: [&str; 4] =
    ["LIANDONG_CONFIG", "LIANDONG_AUTHOR", "LIANDONG_PURPOSE", "LIANDONG_BACKUP_PASSPHRASE"];
const TEST_VARIABLES: &str = "LIANDONG_TEST_";

/// A value from a flag of its own.
#[derive(Debug, Clone)]
pub struct Flag {
    /// As typed, with dashes.
    pub flag: &'static str,
    /// The key it sets.
    pub key: &'static str,
    /// The value, when the flag was given.
    pub value: Option<String>,
}

/// A file that is being read.
struct Read<'a> {
    path: &'a Path,
    text: &'a str,
    /// Lines that are no TOML; what was guessed from them is not a mistake of its own.
    broken: Vec<usize>,
}

/// Values from all places, later ones over earlier ones; call in the order file, environment, command line.
#[derive(Debug)]
pub struct Layers {
    table: &'static [Key],
    given: BTreeMap<&'static str, (Given, Source, PathBuf)>,
    mistakes: Vec<Said>,
}

impl Layers {
    /// Nothing but the defaults.
    pub fn new(table: &'static [Key]) -> Layers {
        let defaults = table.iter().filter(|key| !key.default.is_empty());
        let given = defaults
            .map(|key| (key.name, (Given::Bare(unquoted(key.default)), Source::Default, PathBuf::new())));
        Layers { table, given: given.collect(), mistakes: Vec::new() }
    }

    /// Lays a file over it; its relative paths are relative to it.
    pub fn file(mut self, path: &Path, text: &str) -> Layers {
        let (root, errors) = DeTable::parse_recoverable(text);
        let mut broken = Vec::new();
        for error in errors {
            let line = line_of(text, error.span().map_or(0, |span| span.start));
            broken.push(line);
            let (shown, why) = (path.display(), error.message());
            self.mistakes.push(say!(
                "{shown}:{line}：TOML 写法有误（{why}）",
                "{shown}:{line}: not valid TOML: {why}"
            ));
        }
        self.table_of(&Read { path, text, broken }, "", root.get_ref());
        self
    }

    fn table_of(&mut self, file: &Read<'_>, prefix: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let full = format!("{prefix}{}", name.get_ref());
            let line = line_of(file.text, name.span().start);
            if file.broken.contains(&line) {
                continue;
            }
            let is_section = self.table.iter().any(|key| key.name.starts_with(&format!("{full}.")));
            let given = match value.get_ref() {
                DeValue::Table(inner) if is_section => {
                    self.table_of(file, &format!("{full}."), inner);
                    continue;
                }
                DeValue::String(text) => Given::Text(text.to_string()),
                DeValue::Boolean(is) => Given::Flag(*is),
                DeValue::Integer(number) if number.radix() == 10 => Given::Whole(number.as_str().to_owned()),
                other => Given::Other(other.type_str()),
            };
            let source = Source::File { path: file.path.to_path_buf(), line };
            let base = file.path.parent().unwrap_or(Path::new("")).to_path_buf();
            self.give(&full, given, source, base);
        }
    }

    /// Lays environment variables over it; those without the prefix are not looked at, empty ones count as
    /// absent.
    pub fn environment(mut self, variables: impl IntoIterator<Item = (String, String)>) -> Layers {
        for (name, value) in variables {
            let is_other = OTHER_VARIABLES.contains(&name.as_str()) || name.starts_with(TEST_VARIABLES);
            if !name.starts_with(ENVIRONMENT_PREFIX) || is_other || value.is_empty() {
                continue;
            }
            match self.table.iter().find(|key| key.variable() == name) {
                Some(key) => {
                    self.give(key.name, Given::Bare(value), Source::Environment(name), PathBuf::new());
                }
                None => {
                    let hint = nearest(&name, self.table.iter().map(Key::variable));
                    let (zh, en) = (hint_zh(&hint), hint_en(&hint));
                    self.mistakes.push(say!(
                        "环境变量 {name} 不对应任何配置项{zh}",
                        "the environment variable {name} is no setting{en}"
                    ));
                }
            }
        }
        self
    }

    /// Lays flags over it.
    pub fn flags(mut self, flags: impl IntoIterator<Item = Flag>) -> Layers {
        for Flag { flag, key, value } in flags {
            if let Some(value) = value {
                self.give(key, Given::Bare(value), Source::Flag(flag.to_owned()), PathBuf::new());
            }
        }
        self
    }

    /// Lays `--option KEY=VALUE` over it.
    pub fn options(mut self, options: &[String]) -> Layers {
        for option in options {
            match option.split_once('=') {
                Some((name, value)) => {
                    let source = Source::Flag("--option".to_owned());
                    self.give(name.trim(), Given::Bare(value.to_owned()), source, PathBuf::new());
                }
                None => self.mistakes.push(say!(
                    "--option {option}：应写成 键=值",
                    "--option {option}: write it as KEY=VALUE"
                )),
            }
        }
        self
    }

    /// Notes a mistake that was found elsewhere, to be told with the others.
    pub fn mistake(mut self, said: Option<Said>) -> Layers {
        self.mistakes.extend(said);
        self
    }

    fn give(&mut self, name: &str, given: Given, source: Source, base: PathBuf) {
        match self.table.iter().find(|key| key.name == name) {
            Some(key) => {
                self.given.insert(key.name, (given, source, base));
            }
            None => {
                let hint = nearest(name, self.table.iter().map(|key| key.name.to_owned()));
                let (zh, en) = (hint_zh(&hint), hint_en(&hint));
                self.mistakes.push(say!(
                    "{source}：没有配置项 {name}{zh}",
                    "{source}: there is no setting {name}{en}"
                ));
            }
        }
    }

    /// Checks every value.
    ///
    /// # Errors
    /// All [`Mistakes`] at once.
    pub fn finish(mut self) -> Result<Settings, Mistakes> {
        let mut settings = Settings::default();
        for key in self.table {
            let Some((given, source, base)) = self.given.remove(key.name) else { continue };
            match key.shape.check(&given, &base) {
                Ok(value) => {
                    settings.values.insert(key.name, (value, source));
                }
                Err(why) => {
                    let name = key.name;
                    let Said { zh, en } = why;
                    self.mistakes.push(say!("{source}：{name} {zh}", "{source}: {name}: {en}"));
                }
            }
        }
        if self.mistakes.is_empty() { Ok(settings) } else { Err(Mistakes(self.mistakes)) }
    }
}

/// A default of the table without the quotes of TOML.
fn unquoted(toml: &str) -> String {
    toml.trim_matches('"').to_owned()
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

fn hint_zh(hint: &Option<String>) -> String {
    hint.as_ref()
        .map_or_else(|| "；用 config template 查看全部配置项".into(), |name| format!("；是不是 {name}？"))
}

fn hint_en(hint: &Option<String>) -> String {
    hint.as_ref().map_or_else(
        || "; config template shows all of them".into(),
        |name| format!("; did you mean {name}?"),
    )
}

/// The candidate that differs in at most a third of its letters, if any.
fn nearest(name: &str, candidates: impl Iterator<Item = String>) -> Option<String> {
    let scored = candidates.map(|candidate| (distance(name, &candidate), candidate));
    scored.filter(|(score, candidate)| *score <= candidate.len() / 3).min().map(|(_, candidate)| candidate)
}

/// Edit distance (Levenshtein 1966) in bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.bytes().enumerate() {
            let cost = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
