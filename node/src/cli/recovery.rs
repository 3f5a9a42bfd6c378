//! `recovery-key …`: whether what was written down is the key of this site.

use std::io::{self, BufRead as _, IsTerminal as _};

use serde_json::json;

use super::Setup;
use super::exit::{Exit, Failure};
use super::screen::Screen;
use crate::say;
use crate::site::{Paths, RecoveryKey};

/// How often a key that is typed again may be wrong.
const TRIES: usize = 5;

/// What to do with the recovery key.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum RecoveryCommand {
    /// 核对：从标准输入读一行 · Check: reads one line from standard input
    Check,
}

/// Checks a key.
///
/// # Errors
/// When it is none, or another site's.
pub fn run(command: &RecoveryCommand, setup: &Setup) -> Result<Exit, Failure> {
    let RecoveryCommand::Check = command;
    let own = RecoveryKey::of(&Paths::new(&setup.data_dir))?;
    let typed: RecoveryKey = line()?.parse().map_err(Failure::data)?;
    if typed != own {
        return Err(Failure::data(say!(
            "这是完整的恢复密钥，但不是本站点的；请核对是否拿错",
            "this is a whole recovery key, but not this site's; check which site it belongs to"
        )));
    }
    setup.screen.answer(&json!({ "matches": true }), || {
        setup.screen.lang.pick("与本站点的恢复密钥一致", "it is this site's recovery key").to_owned()
    })?;
    Ok(Exit::Done)
}

/// Shows the key at a terminal and has it typed again, so that it has been written down by the time it is gone; false
/// where there is no terminal.
///
/// # Errors
/// When it was wrong too often; the site is made all the same, and `recovery-key check` helps later.
pub fn confirm(key: &RecoveryKey, screen: &Screen) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Ok(false);
    }
    screen.note(&say!(
        "恢复密钥（只在此显示一次，请抄写并存放在服务器之外）：\n\n    {key}\n\n请照抄写的重新输入一遍：",
        "the recovery key (shown this once; write it down and keep it away from this server):\n\n    {key}\n\nType it \
         again from what you have written:"
    ));
    for _ in 0..TRIES {
        match line()?.parse::<RecoveryKey>() {
            Ok(typed) if typed == *key => return Ok(true),
            Ok(_) => screen.note(&say!("不是这个密钥，请再输入一遍：", "that is another key, once more:")),
            Err(said) => screen.note(&said),
        }
    }
    Err(Failure::data(say!(
        "没有核对成功；站点已建立，抄写后请用 recovery-key check 核对",
        "it was not typed right; the site is made, check what you have written with recovery-key check"
    )))
}

fn line() -> Result<String, Failure> {
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line);
    match read.map_err(|error| Failure::file(std::path::Path::new("stdin"), &error))? {
        0 => Err(Failure::usage(say!(
            "没有读到恢复密钥；请从标准输入给出一行",
            "no recovery key was read; give one line on standard input"
        ))),
        _ => Ok(line),
    }
}
