//! `liandong-hub`: the province's hub.

use std::process::ExitCode;

fn main() -> ExitCode {
    liandong_hub::cli::main_with(std::env::args_os())
}
