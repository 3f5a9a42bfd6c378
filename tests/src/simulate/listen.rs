//! Drives the hub's half of sessions and its committer: `liandong_hub::listen` and `writer`, with events in place of
//! threads. The process may end between any two outputs.

use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use liandong_hub::agreements;
use liandong_hub::commit::Round;
use liandong_hub::history::{commits, line_entries, locate};
use liandong_hub::hub::stage_row;
use liandong_hub::queue::{Job, Knock, Pushed};
use liandong_node::rows;
use liandong_node::site::{Class, record_kind};
use liandong_proto::entry::Header;
use liandong_proto::id::{Origin, SiteCode};
use liandong_proto::pb::sync::v1 as sync;
use liandong_proto::session::hub::{Admission, CheckedEntry, HubSession, Input, Output};
use liandong_proto::session::{generations_from_pb, head_from_pb, position_from_pb, refusal};
use liandong_proto::state::RecordState;
use prost::Message as _;
use sync::refusal::Code;

use super::disk::{Beside, Disk};
use super::hub::{Driver, Running};
use super::invariants::{Broken, Invariant};
use super::link::{Parcel, UNREAD};
use super::planted::Planted;
use super::world::{Event, World, clock};

/// Small, so that everything takes several turns.
const LIMITS: sync::Limits = sync::Limits { batch_bytes: 600, push_window: 4, deliver_window: 4 };
/// The most entries of a commit.
pub const ROUND_ENTRIES: usize = 8;

impl World {
    pub(super) fn hub_start(&mut self) -> Result<(), Broken> {
        let hub = &mut self.hub;
        if hub.running.is_some() {
            return Ok(());
        }
        let now_ms = clock(self.now_ms, hub.offset_ms);
        let opened = Running::open(
            &mut hub.disk,
            &hub.province,
            now_ms,
            self.planted,
            &mut self.sights,
            &mut self.random,
        );
        match opened {
            Ok(running) => hub.running = Some(running),
            // It is tried again, as a service manager does.
            Err(error) if error.class() == Class::Full && hub.disk.full => {
                self.after(1_000, Event::HubStart);
                return Ok(());
            }
            // It stays as it is until somebody looks.
            Err(error) if error.class() == Class::Damaged && hub.disk.is_damaged() => return Ok(()),
            Err(error) => {
                let what = format!("the hub does not start: {error}");
                return Err(Broken::new(Invariant::NothingUnexplained, what));
            }
        }
        self.check_receipts()
    }

    /// The process ends, and with it what was not synced.
    pub fn hub_crashes(&mut self) {
        self.hub_stops();
        self.counts.fault("hub crash");
        let pause = self.takes(2_000);
        self.after(pause, Event::HubStart);
    }

    /// The same, and nobody starts it again.
    pub fn hub_stops(&mut self) {
        self.hub.running = None;
        self.hub.disk.crash(&mut self.random);
        self.hub.life += 1;
        let links: Vec<u64> = self.links.keys().copied().collect();
        for link in links {
            self.cut(link, false);
            self.hub_learns(link);
        }
    }

    pub(super) fn hub_learns(&mut self, link: u64) {
        if let Some(known) = self.links.get_mut(&link) {
            known.hub_reads = false;
            known.up.clear();
        }
        if let Some(hub) = self.hub.running.as_mut()
            && let Some(driver) = hub.drivers.remove(&link)
            && hub.sessions.get(&driver.identity.site) == Some(&link)
        {
            hub.sessions.remove(&driver.identity.site);
        }
        self.forget(link);
    }

    /// A message of a node has come.
    pub(super) fn up(&mut self, link: u64) -> Result<(), Broken> {
        let Some(known) = self.links.get_mut(&link).filter(|link| link.hub_reads) else { return Ok(()) };
        if self.planted == Some(Planted::ReaderWaits) && !known.down.is_empty() {
            self.after(20, Event::Up(link));
            return Ok(());
        }
        let n = known.node;
        let Some(up) = known.up.pop_front() else { return Ok(()) };
        self.counts.messages += 1;
        let identity = self.identity(n);
        let Some(hub) = self.hub.running.as_mut() else { return Ok(()) };
        let driver = hub.drivers.entry(link).or_insert_with(|| Driver {
            identity,
            session: HubSession::new(identity.site, LIMITS),
            known: Arc::default(),
            nonce: None,
            registered: false,
        });
        if !driver.registered && matches!(&up.message, Some(sync::up::Message::Hello(_))) {
            if hub.sessions.contains_key(&identity.site) {
                let busy = refusal(Code::SiteBusy, "", "this site already has a session");
                return self.hub_input(link, Input::Stop(busy));
            }
            driver.registered = true;
            hub.sessions.insert(identity.site, link);
        }
        self.hub_input(link, Input::Received(up))
    }

    pub(super) fn hub_answers(&mut self) -> Result<(), Broken> {
        loop {
            let Some(hub) = self.hub.running.as_ref() else { return Ok(()) };
            let answer = hub.mailbox.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some((link, input)) = answer else { return Ok(()) };
            self.hub_input(link, input)?;
        }
    }

    pub(super) fn hub_input(&mut self, link: u64, input: Input) -> Result<(), Broken> {
        let Some(hub) = self.hub.running.as_mut() else { return Ok(()) };
        let Some(driver) = hub.drivers.get_mut(&link) else { return Ok(()) };
        let welcomed = matches!(&input, Input::Admitted(Admission::Welcome { .. }));
        let nonce = driver.nonce.clone().zip(driver.session.origin()).filter(|_| welcomed);
        let outputs = driver.session.on(input);
        if let Some((nonce, origin)) = nonce {
            self.check_nonce(link, origin, nonce)?;
        }
        for output in outputs {
            if self.chance(2_500) {
                self.hub_crashes();
                return Ok(());
            }
            self.hub_output(link, output)?;
        }
        Ok(())
    }

    fn hub_output(&mut self, link: u64, output: Output) -> Result<(), Broken> {
        let life = self.hub.life;
        let Some(hub) = self.hub.running.as_mut() else { return Ok(()) };
        let Some(driver) = hub.drivers.get_mut(&link) else { return Ok(()) };
        let (identity, origin) = (driver.identity, driver.session.origin());
        match output {
            Output::Send(down) => return self.send_down(link, down),
            Output::Admit(mut hello) => {
                let known = generations_from_pb(&hello.generations);
                // Whoever knows a life of the order that the hub has lost is not told apart from a copy.
                let here = hub.published.generations.starts();
                let is_known = here.iter().any(|start| start.generation == known.current());
                let is_told = known.current() == 0 || is_known;
                driver.nonce = hello.nonces.last().filter(|_| is_told && !hello.restore).cloned();
                driver.known = Arc::new(known);
                if self.planted == Some(Planted::CopyLetIn) {
                    let origin = driver.session.origin();
                    let rows = hub.published.registry.iter();
                    let row =
                        rows.filter(|(it, _)| Some(**it) == origin).map(|(_, row)| row.nonce.clone()).last();
                    hello.nonces.splice(0..0, row);
                }
                if self.planted == Some(Planted::GenerationAsIs)
                    && let Some(cursor) = hello.cursor.as_mut()
                {
                    cursor.generation = hub.published.generations.current();
                }
                let mailbox = Arc::clone(&hub.mailbox);
                let answer = Box::new(move |admission| {
                    let mut mailbox = mailbox.lock().unwrap_or_else(PoisonError::into_inner);
                    mailbox.push_back((link, Input::Admitted(admission)));
                });
                hub.waits.remove(&identity.site);
                hub.queue.put(Job::Knock(Knock { identity, hello, answer }));
                self.kick_judge();
            }
            Output::Intake { entries, signed } => {
                let Some((origin, signing_key)) = origin.zip(driver.session.signing_key()) else {
                    return Ok(());
                };
                let known = Arc::clone(&driver.known);
                let entries = self.bent(entries);
                let (stale, keeps) = (self.chance(20), self.chance(20));
                let Some(hub) = self.hub.running.as_mut() else { return Ok(()) };
                let again = || Pushed {
                    origin,
                    identity,
                    known: Arc::clone(&known),
                    entries: entries.clone(),
                    signed: signed.clone(),
                    signing_key,
                };
                let mut pushes = vec![again()];
                if keeps {
                    hub.stale.push(again());
                }
                // Something of an earlier session, or of this one, comes once more.
                if stale && let Some(pushed) = hub.stale.pop() {
                    pushes.push(pushed);
                    self.counts.fault("push taken in twice");
                }
                for pushed in pushes {
                    hub.waits.entry(pushed.origin.site).or_default().0 += 1;
                    hub.queue.put(Job::Pushed(pushed));
                }
                self.kick_judge();
            }
            Output::ReadFeed { after, max_bytes } => {
                let Some(origin) = origin else { return Ok(()) };
                let batch = hub.read_feed(origin, after, max_bytes as usize);
                self.mail(link, Input::Feed(batch), life);
            }
            Output::Applied(place) => return self.check_applied(link, place),
            Output::Locate(heads) => {
                let found = origin.map_or(Ok(None), |it| locate(&self.hub.disk, it, &heads));
                let answer = found.map_or_else(|_| Input::Stop(unreadable()), Input::Located);
                self.mail(link, answer, life);
            }
            Output::Compare(ask) => {
                let compared = origin.and_then(|origin| hub.compared(origin, &ask));
                self.mail(link, Input::Compared(compared), life);
            }
            Output::Restore { after_seq } => {
                let line = origin.map(|origin| hub.published.registry.line(origin)).unwrap_or_default();
                for part in restored(&self.hub.disk, &line, after_seq) {
                    self.mail(link, part, life);
                }
            }
            Output::Verdict(_) => {}
            Output::Close => {
                // The stream ends: the node reads what was said before, then learns.
                if let Some(known) = self.links.get_mut(&link) {
                    known.cut = true;
                    let due = known.down_at.saturating_sub(self.now_ms) + 1;
                    self.after(due, Event::NodeLearns(link));
                }
                self.hub_learns(link);
            }
        }
        Ok(())
    }

    fn mail(&mut self, link: u64, input: Input, life: u64) {
        if let Some(hub) = &self.hub.running {
            hub.mailbox.lock().unwrap_or_else(PoisonError::into_inner).push_back((link, input));
        }
        let pause = if self.chance(6) { self.takes(500) } else { self.takes(30) };
        self.after(pause, Event::HubAnswers(life));
    }

    fn bent(&self, entries: Vec<CheckedEntry>) -> Vec<CheckedEntry> {
        let (Some(planted), Some(hub)) = (self.planted, &self.hub.running) else { return entries };
        let generation = hub.published.generations.current();
        let shown = |header: &Header| {
            let item = hub.index().get(&rows::record(header.kind, header.record)).expect("memory")?;
            RecordState::decode(&item.value).ok()
        };
        entries
            .into_iter()
            .map(|it| {
                let state = shown(&it.header);
                planted.entry(it, state.as_ref(), generation)
            })
            .collect()
    }

    fn send_down(&mut self, link: u64, down: sync::Down) -> Result<(), Broken> {
        if let Some(sync::down::Message::Receipt(receipt)) = &down.message {
            self.check_receipt(link, receipt)?;
        }
        let Some(hub) = self.hub.running.as_ref() else { return Ok(()) };
        let seen = match &down.message {
            Some(sync::down::Message::Deliver(deliver)) => {
                let items = deliver.items.iter().filter_map(|item| {
                    let record = liandong_proto::id::RecordId::from_slice(&item.record)?;
                    let key = (item.kind, record);
                    let is_gone = matches!(item.what, None | Some(sync::item::What::Withdrawn(_)));
                    Some((key, if is_gone { Arc::default() } else { hub.truth.sight(key) }))
                });
                Arc::new(items.collect())
            }
            _ => Arc::default(),
        };
        let delay = self.delay();
        let now_ms = self.now_ms;
        let Some(known) = self.links.get_mut(&link).filter(|link| !link.cut) else { return Ok(()) };
        let waits = matches!(&down.message, Some(sync::down::Message::Restore(_)));
        if known.down.len() >= UNREAD && !waits {
            self.cut(link, false);
            return Ok(());
        }
        if let Some(sync::down::Message::Deliver(deliver)) = &down.message {
            known.told.push_back((position_from_pb(deliver.cursor.as_ref()).hub_seq, deliver.clone()));
        }
        known.down.push_back(Parcel { down, seen });
        known.down_at = known.down_at.max(now_ms + delay);
        let due = known.down_at - now_ms;
        self.after(due, Event::Down(link));
        Ok(())
    }

    /// The hub holds, durably, what a receipt speaks of.
    fn check_receipt(&mut self, link: u64, receipt: &sync::Receipt) -> Result<(), Broken> {
        let Some(hub) = self.hub.running.as_ref() else { return Ok(()) };
        let Some(origin) = hub.drivers.get(&link).and_then(|driver| driver.session.origin()) else {
            return Ok(());
        };
        let head = head_from_pb(receipt.up_to.as_ref());
        self.counts.receipts += 1;
        self.hub.receipts.insert(origin, head);
        // Of what cannot be read nobody can say.
        let found = locate(&self.hub.disk.durable(), origin, &[head]);
        if found.is_err() || matches!(found, Ok(found) if found == Some(head)) {
            return Ok(());
        }
        let what = format!("a receipt for entry {} of {}, which is not durable", head.seq, origin.site);
        Err(Broken::new(Invariant::ReceiptIsDurable, what))
    }

    /// After a start the hub holds all that it has given receipts for.
    fn check_receipts(&self) -> Result<(), Broken> {
        let Some(hub) = &self.hub.running else { return Ok(()) };
        for (origin, head) in &self.hub.receipts {
            let held = hub.published.registry.head(*origin);
            if held.seq < head.seq || (held.seq == head.seq && held.hash != head.hash) {
                let what = format!("of {} entry {} is gone, which has a receipt", origin.site, head.seq);
                return Err(Broken::new(Invariant::ReceiptIsDurable, what));
            }
        }
        Ok(())
    }

    /// Whoever is welcomed is no copy of one that has had a session since.
    fn check_nonce(&mut self, link: u64, origin: Origin, nonce: Bytes) -> Result<(), Broken> {
        let Some(known) = self.links.get(&link) else { return Ok(()) };
        let image = self.nodes[known.node].image;
        let before = self.admitted.insert(origin, nonce);
        if before.is_none_or(|before| self.image_knows(image, &before)) {
            return Ok(());
        }
        let what = format!("a copy of {} is let in beside another", origin.site);
        Err(Broken::new(Invariant::CopiesAreToldApart, what))
    }

    /// What a node says to have applied is durable there, as it was sent.
    fn check_applied(&mut self, link: u64, place: u64) -> Result<(), Broken> {
        let Some(known) = self.links.get_mut(&link) else { return Ok(()) };
        let node = &self.nodes[known.node];
        if known.image != node.image {
            // What was said was said of another disk.
            return Ok(());
        }
        while let Some((_, deliver)) = known.told.pop_front_if(|(up_to, _)| *up_to <= place) {
            let sent = deliver.encode_to_vec();
            if !node.disk.newest_durable(record_kind::RECEIVED).take(30).any(|payload| *payload == sent) {
                let what =
                    format!("{} says that it has applied {place}, and it is not durable there", node.site);
                return Err(Broken::new(Invariant::AppliedIsDurable, what));
            }
        }
        Ok(())
    }

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
        if !hub.queue.has_work() || hub.rounds.len() >= 2 {
            return Ok(());
        }
        hub.ground.set_now(now_ms);
        let jobs = hub.queue.take(ROUND_ENTRIES).unwrap_or_default();
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

fn unreadable() -> sync::Refusal {
    refusal(Code::Unavailable, "", "the hub cannot read its log")
}

/// As `Hub::own_line`.
fn restored(disk: &Disk, line: &[(Origin, u64)], after_seq: u64) -> Vec<Input> {
    let mut all = Vec::new();
    let read = commits(disk, |commit| {
        line_entries(line, commit, |head, entry| {
            if head.seq > after_seq {
                all.push(entry);
            }
        })?;
        Ok(true)
    });
    if read.is_err() {
        return vec![Input::Stop(unreadable())];
    }
    let mut parts: Vec<Input> = all.chunks(40).map(|part| Input::Restore(part.to_vec(), false)).collect();
    parts.push(Input::Restore(Vec::new(), true));
    parts
}
