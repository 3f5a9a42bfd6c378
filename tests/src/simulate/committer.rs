//! Drives the hub's committer: `liandong_hub::commit` and `writer`, with events in place of threads.

use std::collections::VecDeque;

use liandong_hub::agreements;
use liandong_hub::commit::Round;
use liandong_hub::hub::stage_row;
use liandong_hub::queue::Job;
use liandong_proto::id::SiteCode;
use liandong_proto::pb::sync::v1::refusal::Code;
use liandong_proto::session::hub::Input;
use liandong_proto::session::refusal;

use super::disk::Beside;
use super::invariants::{Broken, Invariant};
use super::planted::Planted;
use super::world::{Event, World, clock};

/// The most entries of a commit.
pub const ROUND_ENTRIES: usize = 8;

impl World {
    /// Lets the judge have a look, unless two rounds are on their way already.
    pub(super) fn kick_judge(&mut self) {
        let life = self.hub.life;
        let pause = self.takes(10);
        self.after(pause, Event::HubJudge(life));
    }

    pub(super) fn hub_judges(&mut self) -> Result<(), Broken> {
        let life = self.hub.life;
        let now_ms = clock(self.now_ms, self.hub.offset_ms);
        let Some(hub) = self.hub.running.as_mut() else { return Ok(()) };
        if (!hub.queue.has_work() && hub.lane.is_empty()) || hub.rounds.len() >= 2 {
            return Ok(());
        }
        hub.ground.set_now(now_ms);
        let mut jobs = match hub.queue.has_work() {
            true => hub.queue.take(ROUND_ENTRIES).unwrap_or_default(),
            false => Vec::new(),
        };
        if self.planted == Some(Planted::OneLane) {
            jobs = in_one_lane(&mut hub.lane, jobs);
        }
        let served: Vec<SiteCode> = jobs
            .iter()
            .filter_map(|job| if let Job::Pushed(pushed) = job { Some(pushed.origin.site) } else { None })
            .collect();
        let round = hub.judge.step(jobs, hub.published_round());
        let round = round.map_err(|error| {
            Broken::new(Invariant::NothingUnexplained, format!("the committer stops: {error}"))
        })?;
        hub.rounds.push_back(round);
        let is_first = hub.rounds.len() == 1;
        for (site, (waiting, rounds)) in &mut hub.waits {
            let taken = served.iter().filter(|it| *it == site).count() as u64;
            *waiting = waiting.saturating_sub(taken);
            *rounds = if taken > 0 || *waiting == 0 { 0 } else { *rounds + 1 };
            // Three entries of each of the others come first, at the most.
            let bound = (3 * self.nodes.len()).div_ceil(ROUND_ENTRIES) as u64 + 1;
            if *rounds > bound {
                let what = format!("a push of {site} has waited for {rounds} rounds");
                return Err(Broken::new(Invariant::BacklogDelaysNobody, what));
            }
        }
        if is_first {
            let pause = self.takes(20);
            self.after(pause, Event::HubAppend(life));
        }
        self.kick_judge();
        Ok(())
    }

    /// The writer takes the next round.
    pub(super) fn hub_appends(&mut self) -> Result<(), Broken> {
        let life = self.hub.life;
        let Some(hub) = self.hub.running.as_mut() else { return Ok(()) };
        let Some(round) = hub.rounds.front().filter(|_| hub.appended.is_none()) else { return Ok(()) };
        let entries: u64 = round.told.at.hub_seq + 1 - round.mark;
        match self.hub.disk.append(&round.batch, Beside::Places(self.next_place)) {
            Ok(end) => hub.appended = Some(end),
            Err(_) => {
                // As `Writer::with_space`: nothing is acknowledged meanwhile, nothing is lost.
                self.after(1_000, Event::HubAppend(life));
                return Ok(());
            }
        }
        self.next_place += entries;
        let pause = self.takes(30);
        self.after(pause, Event::HubSync(life));
        if self.planted == Some(Planted::ReceiptBeforeSync) {
            return self.hub_tells();
        }
        Ok(())
    }

    pub(super) fn hub_syncs(&mut self) -> Result<(), Broken> {
        if self.chance(300) {
            self.hub_crashes();
            return Ok(());
        }
        self.hub.disk.sync();
        if self.planted == Some(Planted::ReceiptBeforeSync) {
            return Ok(());
        }
        self.hub_tells()
    }

    /// As `Writer::write` behind its sync, and `Writer::tell`.
    fn hub_tells(&mut self) -> Result<(), Broken> {
        let life = self.hub.life;
        let Some(hub) = self.hub.running.as_mut() else { return Ok(()) };
        let (Some(round), Some(end)) = (hub.rounds.pop_front(), hub.appended.take()) else { return Ok(()) };
        let Round { number, rows, told, .. } = round;
        let agreements = agreements::changed(&rows);
        stage_row(hub.index(), &told.row, rows, end).expect("memory");
        let touched = hub.follow(&self.hub.disk, end.offset as usize, &mut self.sights)?;
        let heads = hub.published.take(&told, agreements);
        hub.publish(number);
        self.counts.commits += 1;
        if hub.published.registry.members.unconfirmed_since().is_some() {
            // Whose session was the newest is not known any more.
            self.admitted.clear();
        }
        for key in touched {
            hub.truth.check(key, hub.index(), &self.sights)?;
        }
        let mut inputs: Vec<(SiteCode, Input)> = Vec::new();
        told.answers.into_iter().for_each(|answer| answer());
        for site in told.again {
            let why =
                refusal(Code::Unavailable, "", "something has changed at the hub, the session begins anew");
            inputs.push((site, Input::Stop(why)));
        }
        for (site, up_to) in heads {
            let (at, commit_hash) = (told.at, told.commit_hash);
            inputs.push((site, Input::Committed { up_to, at, commit_hash }));
        }
        inputs.extend(told.moved.into_iter().map(|site| (site, Input::FeedMoved)));
        for site in told.void {
            inputs.push((site, Input::Stop(liandong_hub::registry::not_a_member())));
        }
        if let Some(site) = told.broken.first() {
            let what = format!("what {site} pushed does not follow what the hub holds");
            return Err(Broken::new(Invariant::NothingUnexplained, what));
        }
        for (site, input) in inputs {
            let Some(link) = self.hub.running.as_ref().and_then(|hub| hub.sessions.get(&site)).copied()
            else {
                continue;
            };
            self.hub_input(link, input)?;
        }
        self.after(0, Event::HubAnswers(life));
        self.after(1, Event::HubAppend(life));
        self.kick_judge();
        Ok(())
    }
}

/// With a bug: one after the other, as they came.
fn in_one_lane(lane: &mut VecDeque<Job>, jobs: Vec<Job>) -> Vec<Job> {
    let (pushed, mut out): (Vec<Job>, Vec<Job>) =
        jobs.into_iter().partition(|job| matches!(job, Job::Pushed(_)));
    lane.extend(pushed);
    out.extend(lane.pop_front());
    out
}
