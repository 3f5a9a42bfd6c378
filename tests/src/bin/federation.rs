//! `federation`: a hub and its city nodes on one machine, from the cities' rosters to the merged province.

use std::process::ExitCode;

fn main() -> ExitCode {
    liandong_tests::federation::main_with(std::env::args_os())
}
