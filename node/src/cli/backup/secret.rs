//! What encrypts and opens a backup: from a file, the environment or the terminal, never from the command line, which
//! other accounts can read.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use age::secrecy::SecretString;
use age::x25519::Identity;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use super::super::door::blocking;
use super::super::exit::{Exit, Failure};
use super::super::screen::Screen;
use super::super::signals::Signals;
use crate::backup::{BackupError, Lock, Opening, Sealing};
use crate::say;
use crate::text::Said;
use crate::trust::wrap::recipient;

/// The passphrase of backups, for whoever runs them unattended.
pub const VARIABLE: &str = "LIANDONG_BACKUP_PASSPHRASE";
/// A backup lies about for years, and whoever has it can try as often as they like.
const SHORTEST: usize = 12;

/// Flags of whatever encrypts.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct SealArgs {
    /// 写有口令的文件；也可用环境变量 LIANDONG_BACKUP_PASSPHRASE，都没有则在终端询问 · File with the passphrase; or
    /// LIANDONG_BACKUP_PASSPHRASE; asked for at the terminal where there is neither
    #[arg(long, value_name = "FILE", conflicts_with_all = ["recipients", "unencrypted"])]
    passphrase_file: Option<PathBuf>,
    /// 加密给此 age 公钥，可重复 · Encrypt for this age recipient, may be repeated
    #[arg(long = "recipient", value_name = "age1…", conflicts_with = "unencrypted")]
    recipients: Vec<String>,
    /// 不加密：文件里的姓名等个人信息（和密钥，如果有）谁拿到都能读 · Do not encrypt: whoever has the file can read the
    /// names in it, and the keys if they are in it
    #[arg(long)]
    unencrypted: bool,
}

impl SealArgs {
    /// How to encrypt.
    ///
    /// # Errors
    /// When that was not said and there is nobody to ask.
    pub async fn sealing(&self, screen: &Screen, signals: &mut Signals) -> Result<Sealing, Failure> {
        if self.unencrypted {
            return Ok(Sealing::None);
        }
        if !self.recipients.is_empty() {
            let read = self.recipients.iter().map(|text| {
                recipient(text).map_err(|why| {
                    Failure::usage(say!(
                        "“{text}”不是 age 公钥：{why}",
                        "\"{text}\" is no age recipient: {why}"
                    ))
                })
            });
            return Ok(Sealing::Recipients(read.collect::<Result<_, _>>()?));
        }
        let typed = match given(self.passphrase_file.as_deref(), screen)? {
            Some(given) => given,
            None if io::stdin().is_terminal() => twice(screen, signals).await?,
            None => {
                return Err(Failure::usage(say!(
                    "没有说明怎样加密，没有备份；请用 --passphrase-file 文件、环境变量 {VARIABLE} 或 --recipient age1…；确实\
                     不加密请加 --unencrypted",
                    "it was not said how to encrypt it, nothing was backed up; use --passphrase-file FILE, {VARIABLE} or \
                     --recipient age1…; add --unencrypted if it is not to be"
                )));
            }
        };
        if typed.chars().count() < SHORTEST {
            return Err(Failure::usage(say!(
                "口令太短，没有备份；备份会长期存放，请用至少 {SHORTEST} 个字符",
                "the passphrase is too short, nothing was backed up; backups lie about for long: use {SHORTEST} characters \
                 at least"
            )));
        }
        Ok(Sealing::Passphrase(SecretString::from(typed)))
    }
}

/// Flags of whatever opens a backup.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct OpenArgs {
    /// 写有口令的文件；也可用环境变量 LIANDONG_BACKUP_PASSPHRASE，都没有则在终端询问 · File with the passphrase; or
    /// LIANDONG_BACKUP_PASSPHRASE; asked for at the terminal where there is neither
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// age 私钥文件，用于加密给公钥的备份 · File with the age identity, for a backup that was encrypted for a recipient
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
}

impl OpenArgs {
    /// What opens a backup, and whether it is encrypted.
    ///
    /// # Errors
    /// When that was not given and there is nobody to ask.
    pub async fn opening(
        &self,
        file: &Path,
        screen: &Screen,
        signals: &mut Signals,
    ) -> Result<(Opening, bool), Failure> {
        match Lock::of(file)? {
            Lock::None => Ok((Opening::default(), false)),
            Lock::Identity => Ok((Opening { identities: self.identities(screen)?, passphrase: None }, true)),
            Lock::Passphrase => {
                let typed = match given(self.passphrase_file.as_deref(), screen)? {
                    Some(given) => given,
                    None if io::stdin().is_terminal() => {
                        hidden(say!("备份的口令：", "passphrase of the backup:"), screen, signals).await?
                    }
                    None => {
                        return Err(Failure::usage(say!(
                            "这份备份用口令加密；请用 --passphrase-file 文件或环境变量 {VARIABLE} 给出口令",
                            "this backup is encrypted with a passphrase; give it with --passphrase-file FILE or {VARIABLE}"
                        )));
                    }
                };
                Ok((Opening { passphrase: Some(SecretString::from(typed)), identities: Vec::new() }, true))
            }
        }
    }

    fn identities(&self, screen: &Screen) -> Result<Vec<Identity>, Failure> {
        let path = self.identity.as_deref().ok_or_else(|| {
            Failure::usage(say!(
                "这份备份加密给了 age 公钥；请用 --identity 文件给出私钥",
                "this backup is encrypted for an age recipient; name the file with its identity with --identity FILE"
            ))
        })?;
        let text = secret(path, screen)?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let identities: Result<Vec<Identity>, &str> = lines.map(str::parse).collect();
        identities.ok().filter(|identities| !identities.is_empty()).ok_or_else(|| {
            let shown = path.display();
            Failure::usage(say!("{shown} 中没有 age 私钥", "{shown} holds no age identity"))
        })
    }
}

/// What stands in a file that is for nobody else. One that others can read is told and taken all the same: secrets that a
/// system hands to its services look so, and are kept apart by other means.
fn secret(path: &Path, screen: &Screen) -> Result<String, Failure> {
    let failed = |error| Failure::file(path, &error);
    let mut file = std::fs::File::open(path).map_err(failed)?;
    let found = file.metadata().map_err(failed)?;
    if is_exposed(found.is_file(), found.permissions().mode()) {
        let shown = path.display();
        screen.note(&say!(
            "警告：{shown} 可被其他账户读取，谁读到都能打开备份；请运行 chmod 600 {shown}",
            "warning: {shown} can be read by other accounts, and whoever reads it can open the backup; run: chmod 600 {shown}"
        ));
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

/// Whether others than its owner may read a file; a pipe is nobody else's.
fn is_exposed(is_file: bool, mode: u32) -> bool {
    is_file && mode & 0o044 != 0
}

/// The passphrase in a file or in the environment.
fn given(file: Option<&Path>, screen: &Screen) -> Result<Option<String>, Failure> {
    let Some(path) = file else {
        return Ok(std::env::var(VARIABLE).ok().filter(|value| !value.is_empty()));
    };
    let text = secret(path, screen)?;
    let line = text.lines().next().unwrap_or_default().to_owned();
    if line.is_empty() {
        let shown = path.display();
        return Err(Failure::usage(say!(
            "{shown} 的第一行是空的，没有口令",
            "the first line of {shown} is empty, there is no passphrase"
        )));
    }
    Ok(Some(line))
}

async fn twice(screen: &Screen, signals: &mut Signals) -> Result<String, Failure> {
    let ask = say!(
        "备份的口令（没有它备份打不开，请另处保存）：",
        "a passphrase for the backup (nothing opens it without; keep it elsewhere):"
    );
    let first = hidden(ask, screen, signals).await?;
    let again = hidden(say!("再输入一遍：", "once more:"), screen, signals).await?;
    if first != again {
        return Err(Failure::usage(say!(
            "两次输入不同，没有备份；请重新运行",
            "the two differ, nothing was backed up; run it again"
        )));
    }
    Ok(first)
}

/// A terminal that does not show what is typed, until this goes.
struct Silent(Option<Termios>);

impl Silent {
    fn begin() -> Silent {
        let before = tcgetattr(io::stdin()).ok();
        if let Some(before) = &before {
            let mut silent = before.clone();
            silent.local_modes.remove(LocalModes::ECHO);
            // Where that is refused the passphrase can be seen, which whoever types notices.
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, &silent);
        }
        Silent(before)
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
    }
}

async fn hidden(ask: Said, screen: &Screen, signals: &mut Signals) -> Result<String, Failure> {
    // Asked also of whoever wants only answers: there is none without it.
    let mut asking = *screen;
    asking.quiet = false;
    asking.note(&ask);
    let silent = Silent::begin();
    let line = blocking(|| {
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line).map(|_| line)
    });
    let line = tokio::select! {
        line = line => line?,
        _ = signals.next() => return Err(BackupError::Interrupted.into()),
    };
    drop(silent);
    let line = line.map_err(|error| Failure::file(Path::new("stdin"), &error))?;
    let line = line.trim_end_matches(['\r', '\n']).to_owned();
    if line.is_empty() {
        return Err(Failure {
            exit: Exit::Usage, said: say!("没有输入口令", "no passphrase was typed")
        });
    }
    Ok(line)
}
