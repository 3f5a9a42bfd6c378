//! `liandong-node`: one city's site.

use std::process::ExitCode;

fn main() -> ExitCode {
    liandong_node::cli::main_with(std::env::args_os())
}
