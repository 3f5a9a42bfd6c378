//! Asking before something that cannot be taken back.

use std::io::{self, BufRead as _, IsTerminal as _};

use super::exit::Failure;
use super::screen::Screen;
use crate::say;
use crate::text::Said;

/// Goes on when `yes` was given with the command, or is typed at the terminal.
///
/// # Errors
/// When the answer is another, or there is nobody to ask.
pub fn sure(yes: bool, what: &Said, screen: &Screen) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(Failure::usage(say!(
            "没有终端可以确认，没有改动；确定要做请加 --yes",
            "there is no terminal to ask at, nothing was changed; add --yes if you are sure"
        )));
    }
    let (zh, en) = (&what.zh, &what.en);
    screen.note(&say!("{zh}\n确定请输入 yes：", "{en}\nType yes to go on:"));
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line);
    read.map_err(|error| Failure::file(std::path::Path::new("stdin"), &error))?;
    match line.trim() {
        "yes" => Ok(()),
        _ => Err(Failure::usage(say!("没有确认，没有改动", "not confirmed, nothing was changed"))),
    }
}
