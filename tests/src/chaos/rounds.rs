//! Who is killed when, and what is done to its files before it starts again.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use liandong_proto::city;
use liandong_proto::id::SiteCode;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::book::Book;
use super::clerk::{Clerk, Work};
use super::harm::{self, HARMS};
use super::watch::{city as watch_city, hub as watch_hub, posts};
use super::{ChaosError, Report};
use crate::cluster::{Cluster, ClusterError, Home};
use crate::roster::SplitMix64;

/// How long nothing may move while equal records are waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long clerks may need for what a round waits for.
const SLOWEST: Duration = Duration::from_secs(10);

/// What to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many rounds.
    pub rounds: u32,
    /// How many cities.
    pub cities: usize,
    /// Decides what is done, not when exactly it hits.
    pub seed: u64,
    /// Whether files are damaged as well.
    pub damages: bool,
    /// After so many rounds all must be proved equal.
    pub check_every: u32,
}

/// Runs a plan in a directory; `program` has the hidden subcommands. `on` hears of each round.
///
/// # Errors
/// [`ChaosError`]: what was missing, or a site that did not start again.
pub async fn run(plan: &Plan, program: &Path, dir: &Path, on: impl FnMut(u32)) -> Result<Report, ChaosError> {
    let cities: Vec<SiteCode> = city::cities().iter().take(plan.cities).map(|city| city.code).collect();
    let mut cluster = Cluster::make(program, dir, &cities).await?;
    cluster.start_hub().await?;
    cluster.start_nodes().await?;
    let (work, working) = watch::channel(Work::Write);
    let (answered, progress) = watch::channel(0);
    let (answered, resting, looks) = (Arc::new(answered), Arc::new(AtomicU64::new(0)), Arc::default());
    let mut tasks = JoinSet::new();
    let books: Vec<(Home, Book)> =
        cities.iter().map(|city| (cluster.node(*city).clone(), Book::default())).collect();
    for (home, book) in books.clone() {
        let clerk = Clerk {
            random: SplitMix64::of(&[plan.seed, u64::from(home.site.0)]),
            home: home.clone(),
            book: book.clone(),
            work: working.clone(),
            answered: Arc::clone(&answered),
            resting: Arc::clone(&resting),
        };
        tasks.spawn(async move { clerk.run().await.map_err(|error| error.to_string()) });
        tasks.spawn(watch_city(home, book, working.clone(), Arc::clone(&looks)));
    }
    tasks.spawn(watch_hub(cluster.hub().clone(), books.clone(), working, Arc::clone(&looks)));
    let mut rounds = Rounds {
        random: SplitMix64::of(&[plan.seed, 0xC4A05]),
        report: Report::default(),
        plan,
        cluster,
        cities,
        books,
        work,
        progress,
        resting,
        tasks,
    };
    let began = Instant::now();
    rounds.run(on).await?;
    let mut report = rounds.finish().await?;
    report.looks = looks.load(Ordering::Relaxed);
    report.seconds = began.elapsed().as_secs_f64();
    Ok(report)
}

struct Rounds<'a> {
    plan: &'a Plan,
    random: SplitMix64,
    report: Report,
    cluster: Cluster,
    cities: Vec<SiteCode>,
    books: Vec<(Home, Book)>,
    work: watch::Sender<Work>,
    progress: watch::Receiver<u64>,
    resting: Arc<AtomicU64>,
    /// Clerks and readers: each ends early only because something is wrong.
    tasks: JoinSet<Result<(), String>>,
}

impl Rounds<'_> {
    async fn run(&mut self, mut on: impl FnMut(u32)) -> Result<(), ChaosError> {
        for round in 1..=self.plan.rounds {
            let so_far = *self.progress.borrow_and_update();
            let moment = so_far + self.random.between(1, 40) as u64;
            let _ = tokio::time::timeout(SLOWEST, self.progress.wait_for(|now| *now >= moment)).await;
            self.nothing_is_wrong()?;
            self.start_what_ended().await?;
            let mut victims: Vec<SiteCode> = self.cities.clone();
            victims.push(SiteCode::PROVINCE);
            self.random.shuffle(&mut victims);
            victims.truncate(self.random.between(1, 3).min(victims.len()));
            for victim in &victims {
                self.end(*victim).await?;
            }
            let mut damaged_logs = Vec::new();
            for victim in victims.iter().filter(|_| self.plan.damages) {
                if self.damage(*victim)? {
                    damaged_logs.push(*victim);
                }
            }
            // What is missing comes from the hub.
            if victims.contains(&SiteCode::PROVINCE) && !damaged_logs.is_empty() {
                self.start(SiteCode::PROVINCE).await?;
            }
            for city in damaged_logs {
                self.repair(city).await?;
            }
            self.random.shuffle(&mut victims);
            for victim in victims {
                self.start(victim).await?;
            }
            self.report.rounds = round;
            on(round);
            if round.is_multiple_of(self.plan.check_every) {
                self.all_equal().await?;
            }
        }
        Ok(())
    }

    /// The last look: all equal, all killed and started again, all sound.
    async fn finish(mut self) -> Result<Report, ChaosError> {
        self.all_equal().await?;
        for site in self.sites() {
            self.kill(site).await?;
        }
        for site in self.sites() {
            self.start(site).await?;
        }
        self.all_equal().await?;
        for site in self.sites() {
            let verified = self.home(site).door().await?.verify().await?;
            if !verified.sound {
                return Err(ChaosError::Broken(format!("{site}: {:?}", verified.en)));
            }
        }
        self.work.send_replace(Work::Stop);
        while let Some(ended) = self.tasks.join_next().await {
            told(ended)?;
        }
        self.cluster.stop().await?;
        self.report.changes = self.books.iter().map(|(_, book)| book.changes()).sum();
        for site in self.sites() {
            let said = std::fs::read_to_string(&self.home(site).log).unwrap_or_default();
            self.report.rebuilt += said.matches("the index is made again from the log").count() as u64;
        }
        Ok(self.report)
    }

    /// The hub first.
    fn sites(&self) -> Vec<SiteCode> {
        std::iter::once(SiteCode::PROVINCE).chain(self.cities.iter().copied()).collect()
    }

    fn home(&self, site: SiteCode) -> &Home {
        if site.is_province() { self.cluster.hub() } else { self.cluster.node(site) }
    }

    /// A clerk or a reader that has ended has found something.
    fn nothing_is_wrong(&mut self) -> Result<(), ChaosError> {
        self.tasks.try_join_next().map_or(Ok(()), told)
    }

    /// A site that finds its index damaged while it runs ends, and is right again once it is started.
    async fn start_what_ended(&mut self) -> Result<(), ChaosError> {
        for (site, why) in self.cluster.ended() {
            if !self.plan.damages {
                return Err(why.into());
            }
            self.report.ended += 1;
            self.start(site).await?;
        }
        Ok(())
    }

    async fn end(&mut self, site: SiteCode) -> Result<(), ChaosError> {
        if self.random.chance(150) {
            self.report.stopped += 1;
            let stopped = if site.is_province() {
                self.cluster.stop_hub().await
            } else {
                self.cluster.stop_node(site).await
            };
            return match stopped {
                // One with a damaged index says so when it stops.
                Err(ClusterError::Ended { .. }) if self.plan.damages => {
                    self.report.ended += 1;
                    Ok(())
                }
                stopped => Ok(stopped?),
            };
        }
        if site.is_province() {
            self.report.killed.0 += 1;
        } else {
            self.report.killed.1 += 1;
        }
        self.kill(site).await
    }

    async fn kill(&mut self, site: SiteCode) -> Result<(), ChaosError> {
        Ok(if site.is_province() {
            self.cluster.kill_hub().await
        } else {
            self.cluster.kill_node(site).await
        }?)
    }

    /// Starts a site; now and then it is killed in the middle of that, and started again.
    async fn start(&mut self, site: SiteCode) -> Result<(), ChaosError> {
        if self.cluster.pid(site).is_some() {
            return Ok(());
        }
        if self.random.chance(250) {
            let moment = Duration::from_millis(self.random.between(5, 150) as u64);
            let _ = tokio::time::timeout(moment, self.begin(site)).await;
            self.report.killed_starting += 1;
            self.kill(site).await?;
        }
        Ok(self.begin(site).await?)
    }

    async fn begin(&mut self, site: SiteCode) -> Result<(), ClusterError> {
        if site.is_province() { self.cluster.start_hub().await } else { self.cluster.start_node(site).await }
    }

    /// Damages something of a site, or nothing; whether it is the log of a city.
    fn damage(&mut self, site: SiteCode) -> Result<bool, ChaosError> {
        let data_dir = self.home(site).data_dir.clone();
        let failed = |error: std::io::Error| ChaosError::Broken(format!("{site} cannot be damaged: {error}"));
        if self.random.chance(300) {
            let harm = HARMS[self.random.below(HARMS.len())];
            harm::index(&data_dir, harm, &mut self.random).map_err(failed)?;
            *self.report.harms.entry(harm).or_default() += 1;
        } else if !site.is_province() && self.random.chance(200) {
            return harm::log(&data_dir, &mut self.random).map_err(failed);
        }
        Ok(false)
    }

    /// The damage to a city's log is named, and repaired with one command.
    async fn repair(&mut self, city: SiteCode) -> Result<(), ChaosError> {
        let home = self.cluster.node(city).clone();
        let verified = home.command(&["verify", "--json"]).await?;
        if verified.status.code() != Some(7) {
            return Err(ChaosError::Broken(format!("{city}: damage to the log was not named: {verified:?}")));
        }
        let done: Value =
            serde_json::from_str(&home.answer(&["repair", "--json"]).await?).unwrap_or_default();
        if done["repaired"] != true || !done["lost"].is_null() {
            return Err(ChaosError::Broken(format!("{city}: the log was not repaired: {done}")));
        }
        self.report.repaired += 1;
        self.report.fetched += done["fetched"].as_u64().unwrap_or(0);
        Ok(())
    }

    /// The clerks rest until all sites have proved that they show the same, and what they show is what was acknowledged.
    async fn all_equal(&mut self) -> Result<(), ChaosError> {
        self.work.send_replace(Work::Rest);
        while self.resting.load(Ordering::SeqCst) < self.cities.len() as u64 {
            self.nothing_is_wrong()?;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let mut tries = 0;
        loop {
            self.start_what_ended().await?;
            match self.cluster.until_equal(PATIENCE, |_, _| {}).await {
                Ok(_) => break,
                Err(ClusterError::Slow(why)) => {
                    let ended = self.report.ended;
                    self.start_what_ended().await?;
                    tries += 1;
                    if tries > 3 || self.report.ended == ended {
                        return Err(ClusterError::Slow(why).into());
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        let at_hub = posts(&self.cluster.hub().door().await?).await?;
        let mut all = 0;
        for (home, book) in &self.books {
            let shown = posts(&home.door().await?).await?;
            book.check(&book.answered(), &shown)
                .map_err(|why| ChaosError::Broken(format!("{}: {why}", home.site)))?;
            if let Some((record, _)) = shown.iter().find(|(record, post)| at_hub.get(record) != Some(post)) {
                return Err(ChaosError::Broken(format!("{}: {record} is another one at the hub", home.site)));
            }
            all += shown.len();
        }
        if at_hub.len() != all {
            return Err(ChaosError::Broken(format!(
                "{} records at the hub, {all} at the cities",
                at_hub.len()
            )));
        }
        self.report.equal += 1;
        self.nothing_is_wrong()?;
        self.work.send_replace(Work::Write);
        Ok(())
    }
}

fn told(ended: Result<Result<(), String>, tokio::task::JoinError>) -> Result<(), ChaosError> {
    match ended {
        Ok(Ok(())) => Ok(()),
        Ok(Err(why)) => Err(ChaosError::Broken(why)),
        Err(error) => Err(ChaosError::Broken(format!("a clerk or a reader broke off: {error}"))),
    }
}
