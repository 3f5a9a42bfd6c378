//! Running a target: a bounded count of inputs in an ordinary run, as long as wanted otherwise.
//!
//! | variable | means |
//! |---|---|
//! | `LIANDONG_FUZZ_SECONDS` | how long each target runs, with seeds that no run before has used |
//! | `LIANDONG_FUZZ_SEED` | this one input, as a run that failed has told |
#![allow(
    clippy::disallowed_methods,
    reason = "how long it runs, and which seeds it takes, are asked for on the command line"
)]

use std::env;
use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant};

use super::source::Source;

/// An input that takes longer than this stands out: nobody may keep a site busy with a few bytes.
const SLOW: Duration = Duration::from_secs(10);

/// Says how to get the input again, should it be the one that fails.
struct Told<'a>(&'a str, u64);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Told(target, seed) = self;
            eprintln!("{target} fails: LIANDONG_FUZZ_SEED={seed} cargo test {target}");
        }
    }
}

/// Gives a target inputs: `ordinary` of them, always the same, when nobody asks for more.
pub fn run(target: &str, ordinary: u64, mut case: impl FnMut(&mut Source)) {
    let number = |name: &str| env::var(name).ok().map(|text| text.parse().expect("a number"));
    let mut one = |seed| {
        let told = Told(target, seed);
        let begun = Instant::now();
        case(&mut Source::new(seed));
        let took = begun.elapsed();
        assert!(took < SLOW, "{took:?} for one input");
        drop(told);
    };
    if let Some(seed) = number("LIANDONG_FUZZ_SEED") {
        return one(seed);
    }
    let Some(seconds) = number("LIANDONG_FUZZ_SECONDS") else {
        return (0..ordinary).for_each(one);
    };
    let (first, begun, mut count) = (RandomState::new().hash_one(target), Instant::now(), 0u64);
    while begun.elapsed() < Duration::from_secs(seconds) {
        one(first.wrapping_add(count));
        count += 1;
    }
    println!("{target}: {count} inputs in {seconds} s, from seed {first}");
}
