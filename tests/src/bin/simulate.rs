//! `simulate`: long runs of the simulator, and the bugs that are planted in it.

use std::process::ExitCode;

fn main() -> ExitCode {
    liandong_tests::simulate::cli::main_with(std::env::args_os())
}
