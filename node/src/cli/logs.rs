//! The log of the process: text on a terminal, JSON otherwise, on stderr. Personal values never stand in it.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;

use super::exit::Failure;
use super::screen::Screen;
use crate::config::LogConfig;
use crate::say;

/// What commands that answer and end say of what goes on inside.
const QUIET_LEVEL: &str = "warn";

/// Starts logging for a process that stays.
///
/// # Errors
/// When the level cannot be read.
pub fn start(config: &LogConfig) -> Result<(), Failure> {
    begin(config, &config.level)
}

/// Starts logging for a command that answers and ends: warnings and errors only.
///
/// # Errors
/// When the level cannot be read.
pub fn start_quietly(config: &LogConfig, screen: &Screen) -> Result<(), Failure> {
    begin(config, if screen.quiet { "error" } else { QUIET_LEVEL })
}

fn begin(config: &LogConfig, level: &str) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(level).map_err(|_| {
        Failure::usage(say!("log_level 的写法不对：{level}", "log_level cannot be read: {level}"))
    })?;
    let as_text = match config.format.as_str() {
        "text" => true,
        "json" => false,
        _ => io::stderr().is_terminal(),
    };
    // Colours would be a feature of the library that is left out; asked for without it, every command complains.
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(false);
    // A second start in one process, as in tests, keeps the first one.
    let _ = if as_text { log.try_init() } else { log.json().flatten_event(true).try_init() };
    Ok(())
}
