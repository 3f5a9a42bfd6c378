//! What every command understands, and what follows from it: language, settings, directory, author.

use std::path::{Path, PathBuf};

use liandong_proto::id::SiteCode;
use liandong_proto::validate::{Today, today};

use super::exit::Failure;
use super::screen::Screen;
use crate::caller::Caller;
use crate::config::{Flag, Key, Layers, Settings, lang_of};
use crate::json::site_named;
use crate::now::now_ms;
use crate::say;
use crate::text::Lang;

/// Name of the file with the settings inside the data directory.
pub const CONFIG_FILE: &str = "config.toml";

/// Flags of every command.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Global {
    /// 数据目录，也可用 LIANDONG_DATA_DIR · Data directory, also LIANDONG_DATA_DIR
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// 配置文件，默认为数据目录中的 config.toml · Settings; config.toml in the data directory unless given
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// 设定一个配置项，可重复 · Set one of the settings, may be repeated
    #[arg(long = "option", global = true, value_name = "KEY=VALUE")]
    pub options: Vec<String>,
    /// 输出 JSON：一次回答一个对象，列表每行一个 · Answer in JSON: one object, one per line for lists
    #[arg(long, global = true)]
    pub json: bool,
    /// 语言 · Language
    #[arg(long, global = true, value_name = "zh|en", value_parser = ["zh", "en"])]
    pub lang: Option<String>,
    /// 只输出结果和错误 · Only answers and errors
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// 操作人的不透明编号，不要用姓名；也可用 LIANDONG_AUTHOR · Opaque id of who does this, never a name; also LIANDONG_AUTHOR
    #[arg(long, global = true, value_name = "ID")]
    pub author: Option<String>,
    /// 查阅个人信息的用途，记入审计日志；也可用 LIANDONG_PURPOSE · What personal data are read for, kept in the audit log; also
    /// LIANDONG_PURPOSE
    #[arg(long, global = true, value_name = "TEXT")]
    pub purpose: Option<String>,
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

impl Global {
    /// The screen, before any settings are read: flag, environment, locale.
    pub fn screen(&self) -> Screen {
        let asked = self.lang.clone().or_else(|| variable("LIANDONG_LANG"));
        let lang = asked.as_deref().and_then(Lang::named).unwrap_or_else(|| Lang::of_locale(variable));
        Screen::new(lang, self.json, self.quiet)
    }

    /// Reads the settings from all places, in the language that they may name.
    ///
    /// # Errors
    /// All mistakes at once.
    pub fn settings(
        &self,
        table: &'static [Key],
        flags: Vec<Flag>,
        screen: &mut Screen,
    ) -> Result<Settings, Failure> {
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let mut layers = Layers::new(table);
        if let Some((path, is_wanted)) = self.config_path() {
            match std::fs::read_to_string(&path) {
                Ok(text) => layers = layers.file(&path, &text),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound && !is_wanted => {}
                Err(error) => {
                    let (shown, why) = (path.display(), error.kind());
                    layers = layers.mistake(Some(say!(
                        "无法读取配置文件 {shown}（{why}）",
                        "the settings in {shown} cannot be read ({why})"
                    )));
                }
            }
        }
        let own = [
            Flag { flag: "--data-dir", key: "data_dir", value: self.data_dir.as_deref().map(path_text) },
            Flag { flag: "--lang", key: "lang", value: self.lang.clone() },
        ];
        let settings =
            layers.environment(environment).options(&self.options).flags(own).flags(flags).finish()?;
        screen.lang = lang_of(&settings).unwrap_or(screen.lang);
        Ok(settings)
    }

    /// Where the settings are, and whether the file must be there.
    fn config_path(&self) -> Option<(PathBuf, bool)> {
        if let Some(path) = self.config.clone().or_else(|| variable("LIANDONG_CONFIG").map(PathBuf::from)) {
            return Some((path, true));
        }
        let dir = self.data_dir.clone().or_else(|| variable("LIANDONG_DATA_DIR").map(PathBuf::from))?;
        Some((dir.join(CONFIG_FILE), false))
    }

    /// Who does this: an opaque id, the account's number when nothing else is said.
    pub fn author(&self) -> String {
        let asked = self.author.clone().or_else(|| variable("LIANDONG_AUTHOR"));
        asked.unwrap_or_else(|| format!("uid:{}", rustix::process::getuid().as_raw()))
    }

    /// Who does this, and what for.
    pub fn caller(&self) -> Caller {
        let asked = self.purpose.clone().or_else(|| variable("LIANDONG_PURPOSE"));
        Caller { author: self.author(), purpose: asked.unwrap_or_default() }
    }
}

/// The data directory of settings.
///
/// # Errors
/// When none is named.
pub fn data_dir(settings: &Settings) -> Result<&Path, Failure> {
    settings.path("data_dir").ok_or_else(|| {
        Failure::usage(say!(
            "没有指明数据目录；请用 --data-dir 目录，或设置 LIANDONG_DATA_DIR",
            "no data directory was named; use --data-dir DIR, or set LIANDONG_DATA_DIR"
        ))
    })
}

/// The city that a person names by code or name.
///
/// # Errors
/// When it is none of the province's.
pub fn city_named(given: &str) -> Result<SiteCode, Failure> {
    site_named(given).filter(|site| !site.is_province()).ok_or_else(|| {
        Failure::usage(say!(
            "“{given}”不是本省 21 个地级市之一；请写代码或名称，如 440100 或 广州",
            "\"{given}\" is none of the province's 21 cities; give its code or name, such as 440100 or Guangzhou"
        ))
    })
}

/// The day of today in China.
pub fn this_day() -> Today {
    today(now_ms())
}

fn path_text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
