//! `bench`: measurements of the whole system on one machine.

use std::process::ExitCode;

fn main() -> ExitCode {
    liandong_tests::bench::main_with(std::env::args_os())
}
