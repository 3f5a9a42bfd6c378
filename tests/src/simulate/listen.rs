//! Drives the hub's half of sessions: `liandong_hub::listen`, with events in place of a runtime. The process may end between
//! any two outputs.

use std::sync::{Arc, PoisonError};

use liandong_hub::history::{commits, line_entries, locate};
use liandong_hub::queue::{Job, Knock, Pushed};
use liandong_node::rows;
use liandong_proto::entry::Header;
use liandong_proto::id::Origin;
use liandong_proto::pb::sync::v1 as sync;
use liandong_proto::session::hub::{Admission, CheckedEntry, HubSession, Input, Output};
use liandong_proto::session::{generations_from_pb, position_from_pb, refusal};
use liandong_proto::state::RecordState;
use sync::refusal::Code;

use super::disk::Disk;
use super::hub::Driver;
use super::invariants::Broken;
use super::link::{Parcel, UNREAD};
use super::planted::Planted;
use super::world::{Event, World};

/// Small, so that everything takes several turns.
const LIMITS: sync::Limits = sync::Limits { batch_bytes: 600, push_window: 4, deliver_window: 4 };

impl World {
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
        // Places that a cursor passes before what stands there is told are rare where much is told at once.
        let batch_bytes = if self.planted == Some(Planted::FeedWideBase) { 100 } else { LIMITS.batch_bytes };
        let limits = sync::Limits { batch_bytes, ..LIMITS };
        let Some(hub) = self.hub.running.as_mut() else { return Ok(()) };
        let driver = hub.drivers.entry(link).or_insert_with(|| Driver {
            identity,
            session: HubSession::new(identity.site, limits),
            known: Arc::default(),
            nonce: None,
            is_told: true,
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
        let is_told = driver.is_told;
        let nonce = driver.nonce.clone().zip(driver.session.origin()).filter(|_| welcomed);
        let outputs = driver.session.on(input);
        if let Some((nonce, origin)) = nonce {
            self.check_nonce(link, origin, nonce, is_told)?;
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
                driver.nonce = hello.nonces.last().filter(|_| !hello.restore).cloned();
                driver.is_told = is_told;
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
