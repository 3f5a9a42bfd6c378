//! Drives the node's half of sessions: `liandong_node::uplink`, with events in place of a runtime. A process may end
//! between any two outputs.

use std::collections::VecDeque;
use std::sync::Arc;

use liandong_node::site::{Class, SiteError};
use liandong_node::uplink::line;
use liandong_proto::pb::sync::v1 as sync;
use liandong_proto::session::head_to_pb;
use liandong_proto::session::node::{Comparison, Input, NodeSession, Output};
use sync::diverged::Cause;
use sync::refusal::Code;

use super::disk::Sight;
use super::invariants::{Broken, Invariant};
use super::link::{Link, Parcel};
use super::node::{Hand, Running, Uplink};
use super::planted::Planted;
use super::trace;
use super::truth::Key;
use super::world::{Event, World, clock};

/// The longest pause between two tries; a real node's is a minute, and nothing hangs on that.
pub(super) const RETRY_MS: u64 = 3_000;
pub(super) const TICK_MS: u64 = 700;

impl World {
    /// A node's clock.
    pub fn node_now(&self, n: usize) -> u64 {
        clock(self.now_ms, self.nodes[n].offset_ms)
    }

    pub(super) fn node_connects(&mut self, n: usize) -> Result<(), Broken> {
        let pause = self.takes(RETRY_MS);
        let hub_key = self.hub.province.signer.verifying();
        let nonce = self.new_nonce(n);
        let node = &mut self.nodes[n];
        let life = node.life;
        let Some(running) = node.running.as_mut().filter(|it| matches!(it.uplink, Uplink::Offline)) else {
            return Ok(());
        };
        let is_reached = self.hub.running.is_some() && node.unreachable_until <= self.now_ms;
        let greeted = is_reached.then(|| running.greet(&mut node.disk, &node.secrets, nonce, hub_key));
        let standing = match greeted {
            Some(Ok(standing)) => standing,
            Some(Err(error)) => return self.node_errs(n, &error),
            None => {
                self.after(pause, Event::NodeConnects(n, life));
                return Ok(());
            }
        };
        let link = self.next_link;
        self.next_link += 1;
        self.links.insert(link, Link::new(n, node.image));
        self.counts.sessions += 1;
        // What the hub lacks of older epochs comes first, once it has said that it does.
        let stretch = running.hand.as_mut().and_then(|hand| match hand.to_try.last() {
            Some(stretch) => Some(*stretch),
            None => hand.lacking.last().copied(),
        });
        if let Some(stretch) = stretch {
            let (session, outputs) = NodeSession::start(stretch.standing(&standing));
            running.uplink = Uplink::HandingIn(link, Box::new(session), stretch);
            self.counts.fault("older epoch handed in");
            return self.node_outputs(n, outputs);
        }
        let (session, outputs) = NodeSession::start(standing);
        running.uplink = Uplink::Connected(link, Box::new(session));
        let durable = running.durable;
        self.node_outputs(n, outputs)?;
        self.node_input(n, Input::Appended(durable))
    }

    /// As `uplink::line::hand_in`: one of the older epochs is whole at the hub.
    fn node_handed_in(&mut self, n: usize, link: u64) -> Result<(), Broken> {
        self.cut(link, true);
        let Some(running) = self.nodes[n].running.as_mut() else { return Ok(()) };
        running.uplink = Uplink::Offline;
        let hand = running.hand.get_or_insert_default();
        if hand.to_try.is_empty() {
            hand.lacking.pop();
        }
        hand.to_try.clear();
        if hand.lacking.is_empty() {
            running.hand = None;
        }
        let life = self.nodes[n].life;
        self.after(300, Event::NodeConnects(n, life));
        Ok(())
    }

    /// The uplink has ended, and will try again or not.
    pub(super) fn node_hangs_up(&mut self, n: usize, stopped: Option<bool>) {
        let pause = self.takes(RETRY_MS);
        let node = &mut self.nodes[n];
        let life = node.life;
        let Some(running) = node.running.as_mut() else { return };
        let next = match stopped {
            None => Uplink::Offline,
            Some(parted) => Uplink::Stopped { parted },
        };
        if let Uplink::Connected(link, _) | Uplink::HandingIn(link, ..) =
            std::mem::replace(&mut running.uplink, next)
        {
            self.cut(link, true);
        }
        if stopped.is_none() {
            self.after(pause, Event::NodeConnects(n, life));
        }
    }

    pub(super) fn node_learns(&mut self, link: u64) {
        let Some(known) = self.links.get_mut(&link) else { return };
        known.node_reads = false;
        known.down.clear();
        let n = known.node;
        if self.takes_over(n, link) {
            self.take_ends(n);
        } else if self.is_on(n, link) {
            self.node_hangs_up(n, None);
        }
        self.forget(link);
    }

    fn is_on(&self, n: usize, link: u64) -> bool {
        let uplink = self.nodes[n].running.as_ref().map(|running| &running.uplink);
        matches!(uplink, Some(Uplink::Connected(on, _) | Uplink::HandingIn(on, ..)) if *on == link)
    }

    pub(super) fn node_ticks(&mut self, n: usize) -> Result<(), Broken> {
        let life = self.nodes[n].life;
        self.after(TICK_MS, Event::NodeTick(n, life));
        self.node_input(n, Input::Tick)
    }

    /// What clerks have written is durable: they are told, and so is the uplink.
    pub(super) fn node_syncs(&mut self, n: usize) -> Result<(), Broken> {
        let node = &mut self.nodes[n];
        let Some(running) = node.running.as_mut() else { return Ok(()) };
        if self.planted != Some(Planted::SavedBeforeSync) {
            node.disk.sync();
        }
        running.durable = running.author.head;
        let head = running.durable;
        node.acked = Some(head);
        self.node_input(n, Input::Appended(head))
    }

    /// Something of this site failed. As `uplink::run`: a full disk has space again some time, all else
    /// needs a person.
    fn node_errs(&mut self, n: usize, error: &SiteError) -> Result<(), Broken> {
        let node = &self.nodes[n];
        let is_explained = match error.class() {
            Class::Full => node.disk.full,
            Class::Damaged => node.disk.is_damaged(),
            _ => false,
        };
        if !is_explained {
            let what = format!("{} fails: {error}", node.site);
            return Err(Broken::new(Invariant::NothingUnexplained, what));
        }
        let stopped = (error.class() != Class::Full).then_some(false);
        self.node_hangs_up(n, stopped);
        Ok(())
    }

    /// With a bug: a delivery becomes durable that was told of too early.
    pub(super) fn node_syncs_late(&mut self, n: usize) -> Result<(), Broken> {
        let now_ms = self.node_now(n);
        let node = &mut self.nodes[n];
        let Some(running) = node.running.as_mut() else { return Ok(()) };
        let Some((deliver, seen)) = running.late.pop_front() else {
            node.disk.sync();
            return Ok(());
        };
        let received = running.receive(&mut node.disk, &deliver, &deliver, seen, now_ms);
        node.disk.sync();
        match received {
            Ok((cursor, _)) => self.node_input(n, Input::Persisted(cursor)),
            Err(error) => self.node_errs(n, &error),
        }
    }

    /// A message of the hub has come.
    pub(super) fn down(&mut self, link: u64) -> Result<(), Broken> {
        let Some(known) = self.links.get_mut(&link).filter(|link| link.node_reads) else { return Ok(()) };
        if self.planted == Some(Planted::ReaderWaits) && !known.up.is_empty() {
            self.after(20, Event::Down(link));
            return Ok(());
        }
        let n = known.node;
        let Some(Parcel { down, seen }) = known.down.pop_front() else { return Ok(()) };
        self.counts.messages += 1;
        if self.takes_over(n, link) {
            return self.take_hears(n, down);
        }
        if !self.is_on(n, link) {
            return Ok(());
        }
        self.node_hears(n, Input::Received(down), seen)
    }

    pub(super) fn node_input(&mut self, n: usize, input: Input) -> Result<(), Broken> {
        self.node_hears(n, input, Arc::default())
    }

    fn node_hears(&mut self, n: usize, input: Input, seen: Arc<Vec<(Key, Sight)>>) -> Result<(), Broken> {
        let now_ms = self.node_now(n);
        let Some(running) = self.nodes[n].running.as_mut() else { return Ok(()) };
        let Some(session) = session_of(&mut running.uplink) else { return Ok(()) };
        let outputs = session.on(input, now_ms);
        self.node_carries_out(n, outputs, seen)?;
        let node = &mut self.nodes[n];
        let Some(running) = node.running.as_mut() else { return Ok(()) };
        let held = match &running.uplink {
            Uplink::HandingIn(link, session, stretch) if session.held_by_hub() == Some(stretch.end) => {
                let link = *link;
                return self.node_handed_in(n, link);
            }
            Uplink::Connected(_, session) => session.held_by_hub(),
            _ => None,
        };
        if let Some(held) = held.filter(|held| held.seq != running.row.confirmed_seq) {
            let receipt = sync::Receipt { up_to: Some(head_to_pb(&held)), ..sync::Receipt::default() };
            if let Err(error) = running.confirmed(&mut node.disk, &receipt) {
                return self.node_errs(n, &error);
            }
        }
        Ok(())
    }

    fn node_outputs(&mut self, n: usize, outputs: Vec<Output>) -> Result<(), Broken> {
        self.node_carries_out(n, outputs, Arc::default())
    }

    fn node_carries_out(
        &mut self,
        n: usize,
        outputs: Vec<Output>,
        seen: Arc<Vec<(Key, Sight)>>,
    ) -> Result<(), Broken> {
        let mut queue: VecDeque<Output> = outputs.into();
        while let Some(output) = queue.pop_front() {
            if self.chance(1_000) {
                self.node_crashes(n);
                return Ok(());
            }
            let node = &mut self.nodes[n];
            let Some(running) = node.running.as_mut() else { return Ok(()) };
            let (link, epoch, end) = match &running.uplink {
                Uplink::Connected(link, _) => (*link, running.author.origin.epoch, running.durable),
                Uplink::HandingIn(link, _, stretch) => (*link, stretch.epoch, stretch.end),
                _ => return Ok(()),
            };
            let hands_in = epoch != running.author.origin.epoch;
            let answer = match output {
                Output::Send(up) => {
                    self.send_up(link, up)?;
                    continue;
                }
                Output::Read { after, max_bytes } => {
                    match Running::read(&node.disk, epoch, after, end, max_bytes as usize) {
                        Ok((entries, last)) => Input::Read(entries, last),
                        Err(error) => return self.node_errs(n, &error),
                    }
                }
                Output::Heads(places) => match Running::heads(&node.disk, epoch, &places) {
                    Ok(heads) => Input::Heads(heads),
                    Err(error) => return self.node_errs(n, &error),
                },
                Output::Diverged(diverged) => return self.node_parts(n, &diverged),
                Output::Refused(refusal) => return self.node_refused(n, &refusal),
                // The session that follows sees to these.
                _ if hands_in => continue,
                Output::Welcomed(generations) => {
                    if let Err(error) = running.welcomed(&mut node.disk, &generations, self.planted) {
                        return self.node_errs(n, &error);
                    }
                    continue;
                }
                Output::Confirmed(receipt) => {
                    if let Err(error) = running.confirmed(&mut node.disk, &receipt) {
                        return self.node_errs(n, &error);
                    }
                    continue;
                }
                Output::Persist(deliver) => match self.node_receives(n, deliver, &seen)? {
                    Some(persisted) => persisted,
                    None => continue,
                },
                Output::Digest(ask) => Input::Digest(running.digests(&ask)),
                Output::Compared(Comparison::Equal { own_head, cursor }) => {
                    running.compared = (own_head, cursor.hub_seq);
                    self.counts.equal += 1;
                    continue;
                }
                Output::Compared(Comparison::Different(records)) => {
                    let what = trace::different(node.site, running, self.hub.running.as_ref(), &records);
                    return Err(Broken::new(Invariant::DigestsEqual, what));
                }
                Output::HubKeys(_) | Output::PersistOwn { .. } => continue,
            };
            let now_ms = self.node_now(n);
            let Some(running) = self.nodes[n].running.as_mut() else { return Ok(()) };
            let Some(session) = session_of(&mut running.uplink) else { return Ok(()) };
            queue.extend(session.on(answer, now_ms));
        }
        Ok(())
    }

    /// As `Site::receive`. `None`: there is nothing to answer, or the process or its uplink has ended over it.
    fn node_receives(
        &mut self,
        n: usize,
        deliver: sync::Deliver,
        seen: &Arc<Vec<(Key, Sight)>>,
    ) -> Result<Option<Input>, Broken> {
        let now_ms = self.node_now(n);
        let twice = self.chance(60);
        let (pause, life) = (self.takes(400), self.nodes[n].life);
        let node = &mut self.nodes[n];
        let Some(running) = node.running.as_mut() else { return Ok(None) };
        if self.planted == Some(Planted::CursorEarly) {
            let cursor = sync::Deliver { items: Vec::new(), ..deliver.clone() };
            if running.receive(&mut node.disk, &cursor, &cursor, Arc::default(), now_ms).is_ok() {
                node.disk.sync();
                running.late.push_back((deliver, Arc::clone(seen)));
                self.after(pause, Event::LateSync(n, life));
            }
            return Ok(None);
        }
        let mut bent = deliver.clone();
        if let Some(planted) = self.planted {
            planted.deliver(&mut bent, running.row.confirmed_seq);
        }
        let mut received = running.receive(&mut node.disk, &deliver, &bent, Arc::clone(seen), now_ms);
        if twice && received.is_ok() {
            received = running.receive(&mut node.disk, &deliver, &bent, Arc::clone(seen), now_ms);
            self.counts.fault("delivery taken in twice");
        }
        let (cursor, keys) = match received {
            Ok(received) => received,
            Err(error) => return self.node_errs(n, &error).map(|()| None),
        };
        running.check(keys)?;
        self.counts.deliveries += 1;
        if self.planted == Some(Planted::AppliedBeforeSync) {
            self.after(pause, Event::LateSync(n, life));
            return Ok(Some(Input::Persisted(cursor)));
        }
        if self.chance(400) {
            self.node_crashes(n);
            return Ok(None);
        }
        self.nodes[n].disk.sync();
        Ok(Some(Input::Persisted(cursor)))
    }

    /// The node has stopped for good: who knows why? As `uplink::session`: of an epoch that goes on from another, the hub may
    /// lack the end of that.
    fn node_parts(&mut self, n: usize, diverged: &sync::Diverged) -> Result<(), Broken> {
        let life = self.nodes[n].life;
        let Some(running) = self.nodes[n].running.as_mut() else { return Ok(()) };
        let hands_in = matches!(running.uplink, Uplink::HandingIn(..));
        let lacks_older = diverged.cause() == Cause::Epoch;
        if lacks_older && running.hand.is_none() && running.row.anchor.is_some() {
            let mut to_try = line::line(&running.row);
            to_try.reverse();
            running.hand = Some(Hand { to_try, lacking: Vec::new() });
            return self.node_tries_on(n, life);
        }
        if let (true, true, Some(hand)) = (lacks_older, hands_in, running.hand.as_mut())
            && let Some(stretch) = hand.to_try.pop_if(|stretch| stretch.anchor.is_some())
        {
            hand.lacking.push(stretch);
            return self.node_tries_on(n, life);
        }
        running.hand = None;
        let site = self.nodes[n].site;
        self.node_hangs_up(n, Some(true));
        self.counts.fault("parted");
        if self.doubtful.contains(&site) {
            return Ok(());
        }
        let what = format!("{site} is told that it has parted from the hub: {:?}", diverged.cause());
        Err(Broken::new(Invariant::NothingUnexplained, what))
    }

    fn node_tries_on(&mut self, n: usize, life: u64) -> Result<(), Broken> {
        if let Some(running) = self.nodes[n].running.as_mut()
            && let Uplink::Connected(link, _) | Uplink::HandingIn(link, ..) =
                std::mem::replace(&mut running.uplink, Uplink::Offline)
        {
            self.cut(link, true);
        }
        self.after(300, Event::NodeConnects(n, life));
        Ok(())
    }

    fn node_refused(&mut self, n: usize, refusal: &sync::Refusal) -> Result<(), Broken> {
        let passing = matches!(
            refusal.code(),
            Code::SiteBusy | Code::Unavailable | Code::Frozen | Code::NotAMember | Code::NoAgreement
        );
        if passing {
            self.nodes[n].is_void |= refusal.code() == Code::NotAMember;
            self.node_hangs_up(n, None);
            return Ok(());
        }
        let site = self.nodes[n].site;
        self.node_hangs_up(n, Some(false));
        let what = format!("{site} is refused: {:?}: {}", refusal.code(), refusal.en);
        Err(Broken::new(Invariant::NothingUnexplained, what))
    }
}

fn session_of(uplink: &mut Uplink) -> Option<&mut NodeSession> {
    match uplink {
        Uplink::Connected(_, session) | Uplink::HandingIn(_, session, _) => Some(session),
        _ => None,
    }
}
