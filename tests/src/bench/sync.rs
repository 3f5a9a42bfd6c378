//! What is measured of sync, phase by phase; what is not measured happens between phases.

use std::path::Path;

use liandong_node::cli::screen::Screen;
use liandong_node::say;

use super::figures::{Catchup, Figures, PerChange};
use super::group::Group;
use super::node::{Ask, Made, Single};
use super::{BenchError, Clock, SyncArgs, hub};

/// Runs all phases.
pub fn run(args: &SyncArgs, dir: &Path, screen: &Screen) -> Result<Figures, BenchError> {
    let mut figures = Figures::new(args);
    Phases { args, screen, group: Group::start(args, &dir.join("connected"))?, figures: &mut figures }
        .connected()?;
    Phases { args, screen, group: Group::start(args, &dir.join("backlog"))?, figures: &mut figures }
        .backlog()?;
    Ok(figures)
}

/// One hub with its nodes, and what has been measured so far.
struct Phases<'a> {
    args: &'a SyncArgs,
    screen: &'a Screen,
    group: Group,
    figures: &'a mut Figures,
}

impl Phases<'_> {
    /// Nodes and hub are connected from the start: inserts, updates, single changes.
    fn connected(mut self) -> Result<(), BenchError> {
        let hub = self.group.start_hub()?;
        self.connect(&hub, true)?;
        self.exist()?;
        self.make(self.args.changes)?;
        self.quiet()?;
        let before = self.group.count()?;
        self.note("插入", "inserts");
        let (seconds, local) = self.timed(|place, args| {
            let _ = place;
            Ask::Write(args.group as usize)
        })?;
        self.figures.end_to_end = self.rate(seconds);
        self.figures.local_write = self.rate(local);
        self.figures.catchup = self.catch_up()?;
        self.group.ask::<()>(|_| Ask::Receipts)?;
        self.figures.insert = PerChange::between(&before, &self.group.count()?, self.args.changes);
        self.quiet()?;
        self.note("更新", "updates");
        let before = self.group.count()?;
        let (seconds, _) = self.timed(|place, args| Ask::Update {
            count: share(args.changes, args.sites, place),
            group: args.group as usize,
        })?;
        self.figures.update = self.rate(seconds);
        self.figures.update_catchup = self.catch_up()?;
        self.group.ask::<()>(|_| Ask::Receipts)?;
        self.figures.updated = PerChange::between(&before, &self.group.count()?, self.args.changes);
        let clock = Clock::start();
        self.quiet()?;
        self.figures.compared_s = clock.seconds();
        self.note("单条改动", "single changes");
        let singles = self.args.singles as usize;
        let times: Vec<Single> = self.group.first().ask(&Ask::Singles(singles))?;
        self.figures.singles(&times);
        self.figures.memory(&self.group.count()?);
        Ok(())
    }

    /// Everything is written before the hub starts.
    fn backlog(mut self) -> Result<(), BenchError> {
        if self.args.records > 0 {
            let hub = self.group.start_hub()?;
            self.connect(&hub, true)?;
            self.exist()?;
            self.quiet()?;
            self.group.stop_hub()?;
        }
        self.make(self.args.changes)?;
        let group = self.args.group as usize;
        let local: Vec<f64> = self.group.ask(|_| Ask::Write(group))?;
        self.figures.local_offline = self.rate(most(&local));
        self.group.ask::<f64>(|_| Ask::CatchUp)?;
        self.note("补传积压", "draining a backlog");
        let clock = Clock::start();
        let hub = self.group.start_hub()?;
        self.figures.hub_start_s = clock.seconds();
        let place: u64 = self.group.hub()?.ask(&hub::Ask::Place)?;
        self.group.hub()?.tell(&hub::Ask::Merged(place + u64::from(self.args.changes)))?;
        let clock = Clock::start();
        self.connect(&hub, false)?;
        self.group.hub()?.hear::<()>()?;
        self.figures.drain = self.rate(clock.seconds());
        self.figures.drain_catchup = self.catch_up()?;
        self.quiet()?;
        self.figures.memory(&self.group.count()?);
        Ok(())
    }

    /// Seconds from the first local write to the last change merged at the hub; and until the last node had
    /// all of its own durable.
    fn timed(&mut self, ask: impl Fn(usize, &SyncArgs) -> Ask) -> Result<(f64, f64), BenchError> {
        let args = self.args;
        let place: u64 = self.group.hub()?.ask(&hub::Ask::Place)?;
        self.group.hub()?.tell(&hub::Ask::Merged(place + u64::from(args.changes)))?;
        let clock = Clock::start();
        self.group.tell(|place| ask(place, args))?;
        self.group.hub()?.hear::<()>()?;
        let seconds = clock.seconds();
        let local: Vec<f64> = self.group.hear()?;
        Ok((seconds, most(&local)))
    }

    fn connect(&mut self, hub: &str, and_wait: bool) -> Result<(), BenchError> {
        self.group.ask::<()>(|_| Ask::Connect { hub: hub.to_owned(), and_wait }).map(drop)
    }

    /// The records that are there before anything is measured.
    fn exist(&mut self) -> Result<(), BenchError> {
        if self.args.records == 0 {
            return Ok(());
        }
        self.note("写入已有记录", "writing the records that exist before");
        self.make(self.args.records)?;
        let group = self.args.group as usize;
        let place: u64 = self.group.hub()?.ask(&hub::Ask::Place)?;
        self.group.ask::<f64>(|_| Ask::Write(group))?;
        self.group.hub()?.ask::<()>(&hub::Ask::Merged(place + u64::from(self.args.records)))
    }

    /// Members in memory, spread evenly over the cities.
    fn make(&mut self, members: u32) -> Result<(), BenchError> {
        let sites = self.args.sites;
        let made: Vec<Made> = self.group.ask(|place| Ask::Make(share(members, sites, place)))?;
        self.figures.rows(members, &made);
        Ok(())
    }

    /// Waits until nothing is left to do anywhere, and all show the same.
    fn quiet(&mut self) -> Result<(), BenchError> {
        self.group.ask::<()>(|_| Ask::Compared)?;
        self.catch_up().map(drop)
    }

    fn catch_up(&mut self) -> Result<Catchup, BenchError> {
        self.group.hub()?.tell(&hub::Ask::CatchUp)?;
        let nodes: Vec<f64> = self.group.ask(|_| Ask::CatchUp)?;
        Ok(Catchup { nodes_s: most(&nodes), hub_s: self.group.hub()?.hear()? })
    }

    fn rate(&self, seconds: f64) -> f64 {
        f64::from(self.args.changes) / seconds
    }

    fn note(&self, zh: &str, en: &str) {
        self.screen.note(&say!("{zh}…", "{en}…"));
    }
}

fn most(seconds: &[f64]) -> f64 {
    seconds.iter().copied().fold(0.0, f64::max)
}

/// What falls to one city.
fn share(all: u32, sites: u32, place: usize) -> usize {
    let more = place < (all % sites) as usize;
    (all / sites) as usize + usize::from(more)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_of_all_cities_come_to_all() {
        for (all, sites) in [(1_000_000, 21), (20, 21), (21, 21), (7, 1)] {
            let shares = (0..sites as usize).map(|place| share(all, sites, place));
            assert_eq!(shares.sum::<usize>(), all as usize);
        }
    }
}
