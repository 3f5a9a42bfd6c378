//! The whole federation in one thread and no time: nodes, a hub, and the links between them, driven from one seed.
//!
//! Real are the protocol's session halves, the merge, the node's author, folds and replay, and the hub's queue, judge,
//! fold, feed, registry and replay. The simulator has the rest: disks ([`disk`]), links ([`link`]), and the drivers
//! (`uplink`, `listen`). [`truth`] works out what should be; [`invariants`] names what must hold after every step.

mod checks;
pub mod clerks;
pub mod cli;
mod committer;
pub mod disk;
pub mod faults;
pub mod hub;
pub mod invariants;
pub mod link;
mod listen;
pub mod node;
pub mod operator;
pub mod planted;
mod process;
pub mod shadow;
pub mod taking;
#[cfg(test)]
mod tests;
mod trace;
pub mod truth;
mod uplink;
pub mod world;

use std::collections::BTreeMap;
use std::fmt;

use invariants::Broken;
use planted::Planted;
use world::World;

/// What was simulated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events.
    pub steps: u64,
    /// Simulated milliseconds.
    pub simulated_ms: u64,
    /// Own entries made.
    pub entries: u64,
    /// Puts that were refused.
    pub refused: u64,
    /// Sessions begun.
    pub sessions: u64,
    /// Messages read.
    pub messages: u64,
    /// Deliveries taken in.
    pub deliveries: u64,
    /// Rounds of the committer.
    pub commits: u64,
    /// Receipts sent.
    pub receipts: u64,
    /// Comparisons that came out equal.
    pub equal: u64,
    /// Faults by kind.
    pub faults: BTreeMap<&'static str, u64>,
}

impl Counts {
    /// Notes a fault.
    pub fn fault(&mut self, kind: &'static str) {
        *self.faults.entry(kind).or_default() += 1;
    }

    /// Takes in those of another run.
    pub fn add(&mut self, other: &Counts) {
        let Counts { steps, simulated_ms, entries, refused, sessions, messages, .. } = other;
        self.steps += steps;
        self.simulated_ms += simulated_ms;
        self.entries += entries;
        self.refused += refused;
        self.sessions += sessions;
        self.messages += messages;
        self.deliveries += other.deliveries;
        self.commits += other.commits;
        self.receipts += other.receipts;
        self.equal += other.equal;
        for (kind, n) in &other.faults {
            *self.faults.entry(kind).or_default() += n;
        }
    }
}

/// A run that broke an invariant.
#[derive(Debug)]
pub struct Failure {
    /// Its seed.
    pub seed: u64,
    /// After which step.
    pub step: u64,
    /// Simulated milliseconds since the beginning.
    pub at_ms: u64,
    /// What broke.
    pub broken: Broken,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { seed, step, at_ms, broken } = self;
        write!(f, "seed {seed} (paste it into `one_seed`), step {step}, {at_ms} ms: {broken}")
    }
}

/// Runs one seed.
///
/// # Errors
/// [`Failure`] that names the seed and what broke.
pub fn run(seed: u64, planted: Option<Planted>) -> Result<Counts, Box<Failure>> {
    run_with(seed, planted, false)
}

/// The same; with `trace` it prints how the machines stand whenever that has changed.
///
/// # Errors
/// As [`run`].
pub fn run_with(seed: u64, planted: Option<Planted>, trace: bool) -> Result<Counts, Box<Failure>> {
    let failed = |world: Option<&World>, broken| {
        let (step, at_ms) = world.map_or((0, 0), |world| (world.counts.steps, world.now_ms));
        Box::new(Failure { seed, step, at_ms, broken })
    };
    let mut world = World::new(seed, planted).map_err(|broken| failed(None, broken))?;
    world.trace = trace.then(String::new);
    world.live().map_err(|broken| failed(Some(&world), broken))?;
    world.counts.simulated_ms = world.now_ms;
    Ok(world.counts)
}
