//! The person at the other end: answers on stdout, everything else on stderr, in their language.

use std::io::{self, IsTerminal as _, Write as _};

use liandong_proto::schema::Text;
use serde_json::{Value, json};

use super::exit::{Exit, Failure};
use super::progress::Bar;
use crate::text::{Lang, Said};

/// How to speak to whoever runs the command.
#[derive(Debug, Clone, Copy)]
pub struct Screen {
    /// In which language.
    pub lang: Lang,
    /// JSON on stdout in place of text.
    pub json: bool,
    /// Only answers and failures.
    pub quiet: bool,
    /// Colours on stderr.
    color: bool,
    /// Whether stderr is a terminal.
    live: bool,
}

impl Screen {
    /// A screen; no colours where `NO_COLOR` is set (no-color.org) or stderr is no terminal.
    pub fn new(lang: Lang, json: bool, quiet: bool) -> Screen {
        let live = io::stderr().is_terminal();
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Screen { lang, json, quiet, color: live && !no_color, live }
    }

    /// Gives the one answer of a command.
    ///
    /// # Errors
    /// A quiet [`Failure`] when nobody reads it any more.
    pub fn answer(&self, json: &Value, text: impl FnOnce() -> String) -> Result<(), Failure> {
        if self.json { self.line(&json.to_string()) } else { self.line(text().trim_end()) }
    }

    /// Writes one line to stdout.
    ///
    /// # Errors
    /// A quiet [`Failure`] when nobody reads it any more (`… | head`).
    pub fn line(&self, line: &str) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        writeln!(out, "{line}").and_then(|()| out.flush()).map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::quiet(Exit::Done),
            _ => Failure::file(std::path::Path::new("stdout"), &error),
        })
    }

    /// Tells something beside the answer.
    pub fn note(&self, said: &Said) {
        if !self.quiet {
            self.complain(said.in_lang(self.lang));
        }
    }

    /// Tells why a command did not do what it was asked.
    pub fn fail(&self, failure: &Failure) {
        if failure.said == Said::default() {
            return;
        }
        if self.json {
            let Failure { exit, said } = failure;
            let error = json!({ "exit": *exit as u8, "code": exit.word(), "zh": said.zh, "en": said.en });
            return self.complain(&json!({ "error": error }).to_string());
        }
        let word = self.lang.pick("错误：", "error: ");
        let word = if self.color { format!("\x1b[1;31m{word}\x1b[0m") } else { word.to_owned() };
        self.complain(&format!("{word}{}", failure.said.in_lang(self.lang)));
    }

    fn complain(&self, line: &str) {
        // Where stderr is gone there is nobody left to tell.
        let _ = writeln!(io::stderr().lock(), "{line}");
    }

    /// A progress bar for something that may take long.
    pub fn bar(&self, what: Text) -> Bar {
        Bar::new(self.lang.of(what), self.live && !self.quiet, self.color)
    }

    /// The text of the schema in the person's language.
    pub fn of(&self, text: Text) -> &'static str {
        self.lang.of(text)
    }
}
