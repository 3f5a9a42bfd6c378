//! What the programs of the tests have in common: their beginning, how they end, and where they put their files.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use liandong_node::cli::exit::{Exit, Failure};
use liandong_node::cli::screen::Screen;
use liandong_node::text::Lang;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::cluster::stand_in;

/// The arguments of a program; `None`, and how it ends, where this process stands for a site. The first of `args` is the
/// program's name.
pub(crate) fn begun(args: impl IntoIterator<Item = OsString>) -> Result<Vec<OsString>, ExitCode> {
    let args: Vec<OsString> = args.into_iter().collect();
    stand_in(&args[1.min(args.len())..]).map_or(Ok(args), Err)
}

/// Does what a program is for, and says why when it did not.
pub(crate) fn ended(json: bool, carry_out: impl FnOnce(&Screen) -> Result<(), Failure>) -> ExitCode {
    let screen = Screen::new(Lang::of_locale(|name| std::env::var(name).ok()), json, false);
    match carry_out(&screen) {
        Ok(()) => Exit::Done.into(),
        Err(failure) => {
            screen.fail(&failure);
            failure.exit.into()
        }
    }
}

/// Both, for a program whose arguments say whether it answers in JSON.
pub(crate) fn main_with<A: Parser>(
    args: impl IntoIterator<Item = OsString>,
    json: impl FnOnce(&A) -> bool,
    carry_out: impl FnOnce(&A, &Screen) -> Result<(), Failure>,
) -> ExitCode {
    match begun(args).map(A::parse_from) {
        Ok(args) => ended(json(&args), |screen| carry_out(&args, screen)),
        Err(exit) => exit,
    }
}

/// A directory of its own, removed at the end, in `parent` or among the temporary files.
pub(crate) fn directory(parent: Option<&Path>, prefix: &str) -> Result<TempDir, Failure> {
    let parent = parent.map_or_else(std::env::temp_dir, Path::to_path_buf);
    let failed = |error| Failure::file(&parent, &error);
    std::fs::create_dir_all(&parent).map_err(failed)?;
    tempfile::Builder::new().prefix(prefix).tempdir_in(&parent).map_err(failed)
}

/// What runs sites: the executable that stands for them, and a runtime.
pub(crate) fn runner() -> Result<(PathBuf, Runtime), Failure> {
    let program =
        std::env::current_exe().map_err(|error| Failure::file(Path::new("/proc/self/exe"), &error))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    Ok((program, runtime.map_err(|error| Failure::runtime(&error))?))
}
