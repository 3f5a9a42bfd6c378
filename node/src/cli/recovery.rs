//! `recovery-key …`: whether what was written down is the key of this site, and another key in its place.

use std::io::{self, BufRead as _, IsTerminal as _};

use liandong_proto::pb::node::v1::StatusResponse;
use serde_json::json;

use super::Setup;
use super::door::Door;
use super::exit::{Exit, Failure};
use super::screen::Screen;
use super::signing_key::settled;
use crate::say;
use crate::site::{Paths, RecoveryKey};

/// How often a key that is typed again may be wrong.
const TRIES: usize = 5;

/// What to do with the recovery key.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum RecoveryCommand {
    /// 核对：从标准输入读一行 · Check: reads one line from standard input
    Check,
    /// 更换恢复密钥：以前的内容仍能打开，今后只需保管新的 · Another recovery key: what was sealed before still opens, and only the new
    /// one need be kept
    Rotate(RotateArgs),
}

/// Flags of `rotate`.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct RotateArgs {
    /// 不要求重新输入（用于无人值守） · Do not ask for the key to be typed again (unattended)
    #[arg(long)]
    unattended: bool,
}

/// Seals with a new key from now on. It is written down before it waits for its use, and used once the older ones are at
/// the hub, sealed under it.
///
/// # Errors
/// When it was not typed right, or a file cannot be written; the key stays as it was then.
pub async fn rotate(door: &Door, args: RotateArgs, setup: &Setup) -> Result<Exit, Failure> {
    let (paths, screen) = (Paths::new(&setup.data_dir), &setup.screen);
    let key = RecoveryKey::next(&paths)?;
    let confirmed = !args.unattended && !screen.json && confirm(&key, screen)?;
    if !confirmed && !args.unattended {
        return Err(Failure::usage(say!(
            "没有终端可以核对新的恢复密钥，没有改动；无人值守时请加 --unattended",
            "there is no terminal to have the new recovery key typed again at, nothing was changed; add --unattended where \
             nobody is there"
        )));
    }
    key.let_wait(&paths)?;
    let waits = |status: &StatusResponse| status.keys_waiting.iter().any(|key| key == "city");
    let status = settled(door, |status| !waits(status)).await?;
    let in_use = !waits(&status);
    screen.answer(&json!({ "recovery_key": key.to_string(), "in_use": in_use }), || {
        let shown = if confirmed {
            say!("新的恢复密钥已核对。", "The new recovery key has been checked.")
        } else {
            say!(
                "新的恢复密钥，只在此显示一次，请抄写并存放在服务器之外：\n{key}",
                "The new recovery key, shown this once: write it down and keep it away from this server:\n{key}"
            )
        };
        let (zh, en) = (shown.zh, shown.en);
        let said = if in_use {
            say!(
                "{zh}\n已启用。以前密封的内容仍能打开；恢复时只需这一个，原来的恢复密钥请销毁。",
                "{en}\nIt is in use. What was sealed before still opens; a restore needs this one alone: destroy the one before."
            )
        } else {
            say!(
                "{zh}\n下次连上枢纽时启用；在此之前原来的恢复密钥仍然有效，请两个都保存。",
                "{en}\nIt is used from the next connection with the hub on; until then the one before counts: keep both."
            )
        };
        said.in_lang(screen.lang).to_owned()
    })?;
    Ok(Exit::Done)
}

/// Checks a key.
///
/// # Errors
/// When it is none, another site's, or one that was replaced.
pub fn check(setup: &Setup) -> Result<Exit, Failure> {
    let paths = Paths::new(&setup.data_dir);
    let own = RecoveryKey::of(&paths)?;
    let typed: RecoveryKey = line()?.parse().map_err(Failure::data)?;
    if typed != own && typed.was_of(&paths)? {
        return Err(Failure::data(say!(
            "这是本站点以前的恢复密钥，已被更换；恢复时要用最新的，请找出更换时抄写的那一个",
            "this was the recovery key of this site and has been replaced; a restore needs the newest one: find what was \
             written down when it was rotated"
        )));
    }
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
        "没有核对成功；如在建立站点，站点已建立，抄写后请用 recovery-key check 核对；如在更换，没有改动",
        "it was not typed right; a site that was being made is made, check what you have written with recovery-key check; a \
         key that was being replaced stays"
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
