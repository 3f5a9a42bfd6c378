//! `line`: syncs over bad lines.

use std::process::ExitCode;

fn main() -> ExitCode {
    liandong_tests::line::main_with(std::env::args_os())
}
