//! `config template` and `config check`.

use serde_json::{Map, json};

use super::exit::{Exit, Failure};
use super::global::Global;
use super::screen::Screen;
use super::table::Table;
use crate::config::{Key, template};

/// What to do with the settings.
#[derive(Debug, Clone, Copy, clap::Subcommand)]
pub enum ConfigCommand {
    /// 输出带说明的配置样例 · Print every setting with its meaning and default
    Template,
    /// 检查配置并列出生效的值 · Check the settings and list what holds
    Check,
}

/// Runs one of them over a program's table of keys.
///
/// # Errors
/// Every mistake in the settings.
pub fn run(
    command: &ConfigCommand,
    program: &str,
    table: &'static [Key],
    global: &Global,
    screen: &mut Screen,
) -> Result<Exit, Failure> {
    match command {
        ConfigCommand::Template => screen.line(template(program, table).trim_end())?,
        ConfigCommand::Check => {
            let settings = global.settings(table, Vec::new(), screen)?;
            let mut rows =
                Table::new(screen.lang.pick(["配置项", "值", "来自"], ["setting", "value", "from"]));
            let mut object = Map::new();
            for (name, value, source) in settings.iter() {
                rows.row([name.to_owned(), value.to_string(), source.to_string()]);
                object.insert(name.into(), json!({ "value": value.to_string(), "from": source.to_string() }));
            }
            screen.answer(&json!({ "settings": object }), || rows.render())?;
        }
    }
    Ok(Exit::Done)
}
