//! `chaos`: real sites killed and damaged under load, and nothing acknowledged missing at any time.

use std::process::ExitCode;

fn main() -> ExitCode {
    liandong_tests::chaos::main_with(std::env::args_os())
}
