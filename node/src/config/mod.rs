//! Settings: one table of keys gives the defaults, the checks, the environment names and the template.
//!
//! Default < TOML file < environment < command line. An unknown key is a mistake, and all mistakes are told
//! at once, before anything is opened or bound.

mod layers;
mod node;
mod shape;
mod template;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use liandong_proto::schema::Text;

use crate::text::{Said, counted};

pub use layers::{Flag, Layers};
pub use node::{
    KEYS as NODE_KEYS, LANG, LOCAL, LOG_FORMAT, LOG_LEVEL, LogConfig, NodeConfig, REQUIRE_PURPOSE, lang_of,
    transport_of,
};
pub use shape::{Shape, check_address, check_listen};
pub use template::template;

/// Before every name of a key in the environment; dots become underscores.
pub const ENVIRONMENT_PREFIX: &str = "LIANDONG_";

/// One thing that can be set.
#[derive(Debug)]
pub struct Key {
    /// Name in the file; a dot stands for a table of TOML.
    pub name: &'static str,
    /// What it does, one sentence.
    pub doc: Text,
    /// What may stand there.
    pub shape: Shape,
    /// As written in TOML; empty when it may be absent.
    pub default: &'static str,
    /// As written in TOML, for the template, where there is no default.
    pub example: &'static str,
}

impl Key {
    /// Name in the environment.
    pub fn variable(&self) -> String {
        format!("{ENVIRONMENT_PREFIX}{}", self.name.to_uppercase().replace('.', "_"))
    }
}

/// A value that has been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A whole number.
    Whole(u64),
    /// Yes or no.
    Flag(bool),
    /// A path; a relative one has been joined to what it is relative to.
    Path(PathBuf),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Text(text) => f.write_str(text),
            Value::Whole(number) => number.fmt(f),
            Value::Flag(is) => is.fmt(f),
            Value::Path(path) => path.display().fmt(f),
        }
    }
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The table of keys.
    Default,
    /// A line of a file.
    File {
        /// Which.
        path: PathBuf,
        /// From 1.
        line: usize,
    },
    /// An environment variable of that name.
    Environment(String),
    /// A flag of that name.
    Flag(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => f.write_str("default"),
            Source::File { path, line } => write!(f, "{}:{line}", path.display()),
            Source::Environment(name) | Source::Flag(name) => f.write_str(name),
        }
    }
}

/// Checked values of every key that has one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    values: BTreeMap<&'static str, (Value, Source)>,
}

impl Settings {
    /// A text; `None` when it is not set.
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.values.get(key) {
            Some((Value::Text(text), _)) => Some(text),
            _ => None,
        }
    }

    /// A path; `None` when it is not set.
    pub fn path(&self, key: &str) -> Option<&Path> {
        match self.values.get(key) {
            Some((Value::Path(path), _)) => Some(path),
            _ => None,
        }
    }

    /// A number that has a default in the table.
    ///
    /// # Panics
    /// When the table has no such number, which the tests of the table rule out.
    pub fn whole(&self, key: &str) -> u64 {
        match self.values.get(key) {
            Some((Value::Whole(number), _)) => *number,
            _ => panic!("the table of keys gives no default for {key}"),
        }
    }

    /// Whether something is set to `true`.
    pub fn flag(&self, key: &str) -> bool {
        matches!(self.values.get(key), Some((Value::Flag(true), _)))
    }

    /// Every value that is set, with where it comes from, in the order of names.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Value, &Source)> {
        self.values.iter().map(|(name, (value, source))| (*name, value, source))
    }
}

/// Everything that is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes(pub Vec<Said>);

impl Mistakes {
    /// All of them as one message.
    pub fn said(&self) -> Said {
        let count = self.0.len();
        let counted = counted(count as u64, "mistake");
        let mut said = crate::say!(
            "配置有 {count} 处错误，程序没有启动；请改正后再试：",
            "{counted} in the settings, nothing was started; mend what is wrong and try again:"
        );
        for mistake in &self.0 {
            said.zh.push_str(&format!("\n  {}", mistake.zh));
            said.en.push_str(&format!("\n  {}", mistake.en));
        }
        said
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.said().en)
    }
}

impl std::error::Error for Mistakes {}

#[cfg(test)]
mod tests;
