//! What may stand as the value of a key.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::Value;
use crate::say;
use crate::text::Said;

/// What may stand as the value of a key.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// A whole number within bounds, both included.
    Whole {
        /// The least.
        least: u64,
        /// The greatest.
        most: u64,
    },
    /// Yes or no: `true` or `false`.
    Flag,
    /// One of some words.
    Choice(&'static [&'static str]),
    /// A file or directory, which need not exist.
    Path,
    /// A file that exists.
    File,
    /// A text with a rule of its own.
    Checked(fn(&str) -> Result<(), Said>),
}

/// A value as it was given, before it is checked.
#[derive(Debug, Clone)]
pub(super) enum Given {
    /// On the command line or in the environment, where everything is text.
    Bare(String),
    /// A text of TOML.
    Text(String),
    /// A whole number of TOML.
    Whole(String),
    /// Yes or no of TOML.
    Flag(bool),
    /// Something else of TOML.
    Other(&'static str),
}

impl Shape {
    /// Checks a value; a relative path is taken from `base`.
    pub(super) fn check(&self, given: &Given, base: &Path) -> Result<Value, Said> {
        let text = match (self, given) {
            (_, Given::Bare(text)) | (Shape::Whole { .. }, Given::Whole(text)) => text,
            (Shape::Whole { .. }, _) => {
                return Err(say!("应为整数，不加引号", "a whole number without quotes is wanted"));
            }
            (Shape::Flag, Given::Flag(is)) => return Ok(Value::Flag(*is)),
            (Shape::Flag, _) => {
                return Err(say!("应为 true 或 false，不加引号", "true or false is wanted, without quotes"));
            }
            (_, Given::Text(text)) => text,
            (_, Given::Flag(_)) => {
                return Err(say!("不能是 true 或 false", "neither true nor false can stand here"));
            }
            (_, Given::Whole(_)) => {
                return Err(say!("应为文字，请加引号", "a text is wanted; put it in quotes"));
            }
            (_, Given::Other(found)) => {
                return Err(say!("不能是 {found}", "a value of type {found} cannot stand here"));
            }
        };
        match self {
            Shape::Whole { least, most } => {
                let number = text.trim().replace('_', "").parse().ok();
                number.filter(|number| (least..=most).contains(&number)).map(Value::Whole).ok_or_else(|| {
                    say!("应为 {least} 至 {most} 的整数", "a whole number from {least} to {most} is wanted")
                })
            }
            Shape::Flag => text
                .trim()
                .parse()
                .map(Value::Flag)
                .map_err(|_| say!("应为 true 或 false", "true or false is wanted")),
            Shape::Choice(words) if words.contains(&text.as_str()) => Ok(Value::Text(text.clone())),
            Shape::Choice(words) => {
                let (zh, en) = (words.join("、"), words.join(", "));
                Err(say!("应为其中之一：{zh}", "one of these is wanted: {en}"))
            }
            Shape::Path | Shape::File if text.is_empty() => Err(say!("路径是空的", "the path is empty")),
            Shape::Path => Ok(Value::Path(base.join(text))),
            Shape::File => {
                let path: PathBuf = base.join(text);
                if path.is_file() {
                    return Ok(Value::Path(path));
                }
                let shown = path.display();
                Err(say!("没有这个文件：{shown}", "there is no such file: {shown}"))
            }
            Shape::Checked(rule) => rule(text).map(|()| Value::Text(text.clone())),
        }
    }
}

/// Checks a host with a port.
pub fn check_address(text: &str) -> Result<(), Said> {
    let parts = text.rsplit_once(':').filter(|(host, _)| !host.is_empty() && !host.contains(['/', ' ', '@']));
    match parts.map(|(host, port)| (host.contains(':') && !host.starts_with('['), port.parse::<u16>())) {
        Some((false, Ok(port)))
            if port > 0 && !text.starts_with("0.0.0.0:") && !text.starts_with("[::]:") =>
        {
            Ok(())
        }
        _ => Err(say!(
            "应为主机和端口，如 hub.example.org:7443",
            "a host with a port is wanted, such as hub.example.org:7443"
        )),
    }
}

/// Checks an address to listen on.
pub fn check_listen(text: &str) -> Result<(), Said> {
    match text.parse::<SocketAddr>() {
        Ok(_) => Ok(()),
        Err(_) => Err(say!(
            "应为地址和端口，如 127.0.0.1:7443",
            "an address with a port is wanted, such as 127.0.0.1:7443"
        )),
    }
}
