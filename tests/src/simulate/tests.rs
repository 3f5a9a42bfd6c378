//! The federation simulated from seeds, and the bugs that the simulator must find.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::planted::Planted;
use super::run;

/// How many seeds the ordinary run takes.
const SEEDS: u64 = 200;

/// Does something for each seed, on as many threads as there are processors.
fn each_seed(seeds: u64, work: impl Fn(u64) + Sync) {
    let (next, work) = (AtomicU64::new(0), &work);
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    work(seed);
                }
            });
        }
    });
}

#[test]
fn the_federation_keeps_its_promises() {
    each_seed(SEEDS, |seed| {
        if let Err(failure) = run(seed, None) {
            panic!("{failure}");
        }
    });
}

/// Paste the seed of a failed run here.
#[test]
fn one_seed() {
    let seed = 0;
    if let Err(failure) = run(seed, None) {
        panic!("{failure}");
    }
}

#[test]
fn a_seed_gives_the_same_run_every_time() {
    let (first, second) = (run(3, None).expect("it holds"), run(3, None).expect("it holds"));
    assert_eq!(first, second);
    let planted = || run(0, Some(Planted::BaseIgnored)).expect_err("it is found").to_string();
    assert_eq!(planted(), planted());
}

#[test]
fn every_planted_bug_is_found() {
    let bugs = Planted::ALL.len() as u64;
    each_seed(bugs, |at| {
        let planted = Planted::ALL[at as usize];
        let found = (0..SEEDS).find_map(|seed| run(seed, Some(planted)).err());
        let found = found.unwrap_or_else(|| panic!("{planted} is not found within {SEEDS} seeds"));
        let (seed, broken) = (found.seed, found.broken);
        assert!(
            planted.shows_in(broken.invariant),
            "{planted} is found by chance, with seed {seed}: {broken}"
        );
    });
}
