//! The federation simulated from seeds, and the bugs that the simulator must find.

use super::run;

/// How many seeds the ordinary run takes.
const SEEDS: u64 = 200;

#[test]
fn the_federation_keeps_its_promises() {
    for seed in 0..SEEDS {
        if let Err(failure) = run(seed, None) {
            panic!("{failure}");
        }
    }
}

/// Paste the seed of a failed run here.
#[test]
fn one_seed() {
    let seed = 0;
    if let Err(failure) = run(seed, None) {
        panic!("{failure}");
    }
}
