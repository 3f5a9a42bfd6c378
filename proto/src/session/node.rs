//! The node's half of a session.

mod compare;

use std::collections::VecDeque;

use bytes::Bytes;

use super::{
    PROTOCOL, generations_from_pb, generations_to_pb, head_from_pb, head_to_pb, position_from_pb,
    position_to_pb, refusal,
};
use crate::entry::{Anchor, Entry, Head};
use crate::id::{Origin, SiteCode};
use crate::pb::sync::v1 as pb;
use crate::position::{Generations, Position};
use crate::rotation;
use crate::sign::{BadSignature, Receipted, SigningKey, VerifyingKey};
use pb::down::Message as Down;
use pb::up::Message as Up;

pub use compare::COMPARE_EVERY_MS;
use compare::CompareState;

/// What the node is when it says hello.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Who it is.
    pub origin: Origin,
    /// Nonces of sessions before, those tried since, and this session's: durable before the session starts.
    pub nonces: Vec<Bytes>,
    /// Newest durable own entry.
    pub head: Head,
    /// Its place in the feed.
    pub cursor: Position,
    /// The hub's history as learned so far.
    pub generations: Generations,
    /// Ask for the own entries instead of syncing.
    pub restore: bool,
    /// For an epoch that goes on from another: where.
    pub anchor: Option<Anchor>,
    /// The newest receipt that the hub has signed for this origin, as it came; empty when there is none.
    pub receipt: Bytes,
    /// Signs the heads of the own log.
    pub signer: SigningKey,
    /// What the hub signs its receipts with, as pinned when this site joined.
    pub hub_key: VerifyingKey,
}

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// A message of the hub.
    Received(pb::Down),
    /// The log is durable up to here.
    Appended(Head),
    /// Answer to [`Output::Read`]: entries that follow the place asked for, and the head they lead to.
    Read(Vec<Entry>, Head),
    /// Answer to [`Output::Heads`].
    Heads(Vec<Head>),
    /// A delivery is durable.
    Persisted(Position),
    /// Answer to [`Output::Digest`].
    Digest(Digests),
    /// Own entries from the hub are durable.
    Restored,
    /// Time has passed.
    Tick,
}

/// What must be done, in this order.
#[derive(Debug, PartialEq)]
pub enum Output {
    /// Send a message.
    Send(pb::Up),
    /// The session's nonce is the welcomed one from now on; the history known is this: make both durable.
    Welcomed(Generations),
    /// The hub signs with the last of these keys from now on, each vouched for by the one before: pin them.
    HubKeys(Vec<VerifyingKey>),
    /// Read entries after a head; answer with [`Input::Read`].
    Read {
        /// Begin behind this entry.
        after: Head,
        /// Stop before more than this.
        max_bytes: u32,
    },
    /// Give the heads at these places; answer with [`Input::Heads`].
    Heads(Vec<u64>),
    /// Append the delivery to the log, sync it, then answer [`Input::Persisted`].
    Persist(pb::Deliver),
    /// The hub holds the own entries up to here.
    Confirmed(pb::Receipt),
    /// Compute digests; answer with [`Input::Digest`].
    Digest(Ask),
    /// The comparison ended.
    Compared(Comparison),
    /// Append own entries that the hub kept, sync them, then answer [`Input::Restored`].
    PersistOwn {
        /// Entries in order.
        entries: Vec<Entry>,
        /// There are no more.
        last: bool,
    },
    /// Log and hub have parted: stop syncing, tell the operator.
    Diverged(pb::Diverged),
    /// The session is over for good until somebody acts.
    Refused(pb::Refusal),
}

/// Which digests are asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    /// Of every kind.
    Kinds,
    /// The buckets of some kinds.
    Buckets(Vec<u32>),
    /// The records of some buckets (kind, bucket).
    Records(Vec<(u32, u16)>),
}

/// Digests of what this site shows.
#[derive(Clone, Debug, PartialEq)]
pub enum Digests {
    /// Of every kind with a record.
    Kinds(Vec<pb::KindDigest>),
    /// Of buckets.
    Buckets(Vec<pb::BucketDigests>),
    /// Of records.
    Records(Vec<pb::RecordDigest>),
}

/// How a comparison ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Comparison {
    /// Both sides show the same.
    Equal {
        /// What was compared.
        own_head: u64,
        /// What was compared.
        cursor: Position,
    },
    /// These records differ (kind, id).
    Different(Vec<(u32, Bytes)>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Greeted,
    Checking(Head),
    Locating,
    Live,
    Restoring,
    Closed,
}

/// The node's half.
#[derive(Debug)]
pub struct NodeSession {
    me: Standing,
    phase: Phase,
    limits: pb::Limits,
    /// Newest entry sent.
    sent: Head,
    /// Newest entry the hub has confirmed.
    confirmed: Head,
    in_flight: VecDeque<u64>,
    reading: bool,
    /// Cursor of the newest delivery received, durable or not.
    received: Position,
    diverged: Option<pb::Diverged>,
    /// Receipts and deliveries that came before it was clear that both logs are one.
    early: Vec<Down>,
    compare: CompareState,
}

impl NodeSession {
    /// Begins a session: the first output is the hello.
    pub fn start(me: Standing) -> (NodeSession, Vec<Output>) {
        let hello = pb::Hello {
            protocol_min: PROTOCOL,
            protocol_max: PROTOCOL,
            site: me.origin.site.0,
            epoch: Bytes::copy_from_slice(&me.origin.epoch.0),
            nonces: me.nonces.clone(),
            head: Some(head_to_pb(&me.head)),
            cursor: Some(position_to_pb(me.cursor)),
            restore: me.restore,
            generations: generations_to_pb(&me.generations),
            anchor: me.anchor.as_ref().map(Anchor::to_pb),
            receipt: me.receipt.clone(),
        };
        let received = me.cursor;
        let session = NodeSession {
            me,
            phase: Phase::Greeted,
            limits: super::LIMITS,
            sent: Head::default(),
            confirmed: Head::default(),
            in_flight: VecDeque::new(),
            reading: false,
            received,
            diverged: None,
            early: Vec::new(),
            compare: CompareState::new(),
        };
        (session, vec![send(Up::Hello(hello))])
    }

    /// What the hub holds of this node's log, once the session is live.
    pub fn held_by_hub(&self) -> Option<Head> {
        (self.phase == Phase::Live).then_some(self.confirmed)
    }

    /// Whether nothing own is left to send or to be confirmed.
    pub fn drained(&self) -> bool {
        self.phase == Phase::Live && self.confirmed == self.me.head && self.me.cursor == self.received
    }

    /// Takes an input; returns what must be done, in order.
    pub fn on(&mut self, input: Input, now_ms: u64) -> Vec<Output> {
        let mut out = Vec::new();
        if self.phase == Phase::Closed {
            return out;
        }
        match input {
            Input::Received(down) => self.receive(down, now_ms, &mut out),
            Input::Appended(head) => {
                if head.seq > self.me.head.seq {
                    self.me.head = head;
                    self.touch(now_ms);
                }
                self.pump(&mut out);
            }
            Input::Read(entries, last) => self.push(entries, last, &mut out),
            Input::Heads(heads) => self.heads(heads, now_ms, &mut out),
            Input::Persisted(cursor) => {
                self.me.cursor = cursor;
                let cursor = Some(position_to_pb(cursor));
                out.push(send(Up::Applied(pb::Applied { cursor })));
            }
            Input::Digest(digests) => self.digests(digests, now_ms, &mut out),
            Input::Restored => {}
            Input::Tick => self.maybe_compare(now_ms, &mut out),
        }
        out
    }

    fn receive(&mut self, down: pb::Down, now_ms: u64, out: &mut Vec<Output>) {
        if let Some(message) = down.message {
            self.take(message, now_ms, out);
        }
    }

    fn take(&mut self, message: Down, now_ms: u64, out: &mut Vec<Output>) {
        match (message, self.phase) {
            (Down::Refusal(refusal), _) => {
                self.phase = Phase::Closed;
                out.push(Output::Refused(refusal));
            }
            (Down::Welcome(welcome), Phase::Greeted) => self.welcome(welcome, out),
            (Down::Locate(locate), Phase::Locating) => {
                let common = Some(locate.common.unwrap_or_default());
                let found = self.diverged.take().unwrap_or_default();
                self.diverge(pb::Diverged { common, ..found }, out);
            }
            // The hub goes on before it can know that the node looks into its log.
            (early @ (Down::Receipt(_) | Down::Deliver(_)), Phase::Checking(_))
                if self.early.len() < super::MOST_EARLY =>
            {
                self.early.push(early);
            }
            (Down::Receipt(_) | Down::Deliver(_), Phase::Locating) => {}
            (Down::Receipt(receipt), Phase::Live) => self.receipt(receipt, now_ms, out),
            (Down::Deliver(deliver), Phase::Live) => self.deliver(deliver, now_ms, out),
            (Down::Compare(compare), Phase::Live) if self.compare.is_running() => {
                self.compared(compare, now_ms, out);
            }
            (Down::Restore(restore), Phase::Restoring) => {
                out.push(Output::PersistOwn { entries: restore.entries, last: restore.last });
            }
            _ => self.refuse(out),
        }
    }

    fn refuse(&mut self, out: &mut Vec<Output>) {
        self.phase = Phase::Closed;
        out.push(Output::Refused(refusal(
            pb::refusal::Code::UnexpectedMessage,
            "省级枢纽发来了此刻不应出现的消息；请检查两端版本",
            "the hub sent a message that has no place here; check the versions of both sides",
        )));
    }

    fn distrust(&mut self, out: &mut Vec<Output>) {
        self.phase = Phase::Closed;
        out.push(Output::Refused(refusal(
            pb::refusal::Code::Signature,
            "省级枢纽的签名与加入时登记的不符：同步已停止，本地工作不受影响；请与省协会秘书处核对枢纽的指纹，\
             若枢纽确已由旧备份恢复，请索取新的邀请码，再运行 join",
            "the hub's signature is not by the key pinned when this site joined: sync has stopped, local work goes on; compare \
             the hub's fingerprint with the secretariat, and if the hub was restored from an old backup, ask for a fresh \
             invitation and run join",
        )));
    }

    fn welcome(&mut self, welcome: pb::Welcome, out: &mut Vec<Output>) {
        if welcome.diverged.is_none() && !self.follows(&welcome, out) {
            return self.distrust(out);
        }
        if let Some(limits) = welcome.limits {
            self.limits = limits;
        }
        let held = head_from_pb(welcome.held.as_ref());
        if let Some(diverged) = welcome.diverged {
            return self.locate(diverged, out);
        }
        let generations = generations_from_pb(&welcome.generations);
        self.me.generations.learn(&generations);
        out.push(Output::Welcomed(self.me.generations.clone()));
        if self.me.restore {
            self.phase = Phase::Restoring;
            out.push(send(Up::Restore(pb::RestoreAsk { from_seq_exclusive: self.me.head.seq })));
        } else if held == self.me.head || held.seq == 0 {
            self.go_live(held, out);
        } else {
            self.phase = Phase::Checking(held);
            out.push(Output::Heads(vec![held.seq]));
        }
    }

    /// Whether the hub's key is the one pinned here, or one that a line of rotations leads to from it.
    fn follows(&mut self, welcome: &pb::Welcome, out: &mut Vec<Output>) -> bool {
        let key = VerifyingKey::from_slice(&welcome.signing_key);
        if key == Some(self.me.hub_key) {
            return true;
        }
        let line = rotation::line(SiteCode::PROVINCE, self.me.hub_key, &welcome.key_rotations);
        let keys: Vec<VerifyingKey> = line.iter().map(|rotation| rotation.new).collect();
        let Some(newest) = keys.last().filter(|newest| key == Some(**newest)) else { return false };
        self.me.hub_key = *newest;
        out.push(Output::HubKeys(keys));
        true
    }

    fn go_live(&mut self, held: Head, out: &mut Vec<Output>) {
        self.phase = Phase::Live;
        self.sent = held;
        self.confirmed = held;
        self.pump(out);
    }

    fn heads(&mut self, heads: Vec<Head>, now_ms: u64, out: &mut Vec<Output>) {
        match self.phase {
            Phase::Checking(held) if heads.contains(&held) => {
                self.go_live(held, out);
                for message in std::mem::take(&mut self.early) {
                    // One of them may have ended it.
                    if self.phase == Phase::Live {
                        self.take(message, now_ms, out);
                    }
                }
            }
            Phase::Checking(held) => {
                let cause = pb::diverged::Cause::Forked as i32;
                let held = Some(head_to_pb(&held));
                self.locate(pb::Diverged { cause, held, common: None }, out);
            }
            Phase::Locating => {
                let heads = heads.iter().map(head_to_pb).collect();
                out.push(send(Up::Locate(pb::Locate { heads, common: None })));
            }
            _ => {}
        }
    }

    /// Finds the newest entry both sides have, in one round, before the divergence is reported.
    fn locate(&mut self, diverged: pb::Diverged, out: &mut Vec<Output>) {
        let cause = diverged.cause();
        let has_point = matches!(cause, pb::diverged::Cause::Behind | pb::diverged::Cause::Forked);
        if diverged.common.is_some() || !has_point || self.me.head.seq == 0 {
            return self.diverge(diverged, out);
        }
        self.phase = Phase::Locating;
        self.diverged = Some(diverged);
        out.push(Output::Heads(spaced(self.me.head.seq)));
    }

    fn diverge(&mut self, diverged: pb::Diverged, out: &mut Vec<Output>) {
        self.phase = Phase::Closed;
        out.push(Output::Diverged(diverged));
    }

    fn pump(&mut self, out: &mut Vec<Output>) {
        let open = self.in_flight.len() < self.limits.push_window as usize;
        if self.phase == Phase::Live && open && !self.reading && self.sent.seq < self.me.head.seq {
            self.reading = true;
            out.push(Output::Read { after: self.sent, max_bytes: self.limits.batch_bytes });
        }
    }

    fn push(&mut self, entries: Vec<Entry>, last: Head, out: &mut Vec<Output>) {
        self.reading = false;
        if self.phase != Phase::Live || entries.is_empty() {
            return;
        }
        let after = head_to_pb(&self.sent);
        out.push(send(Up::Push(pb::Push {
            after_seq: after.seq,
            after_hash: after.hash,
            entries,
            head_signature: Bytes::copy_from_slice(&self.me.signer.sign_head(self.me.origin, &last)),
        })));
        self.sent = last;
        if last.seq > self.confirmed.seq {
            self.in_flight.push_back(last.seq);
        }
        self.pump(out);
    }

    fn receipt(&mut self, receipt: pb::Receipt, now_ms: u64, out: &mut Vec<Output>) {
        let up_to = head_from_pb(receipt.up_to.as_ref());
        // Ahead of what was sent in this session may be what an earlier one had sent; never what is not there.
        if up_to.seq > self.me.head.seq {
            return self.refuse(out);
        }
        if check_receipt(&self.me.hub_key, self.me.origin, &receipt).is_err() {
            return self.distrust(out);
        }
        while self.in_flight.front().is_some_and(|seq| *seq <= up_to.seq) {
            self.in_flight.pop_front();
        }
        if up_to.seq > self.confirmed.seq {
            self.confirmed = up_to;
            self.touch(now_ms);
            out.push(Output::Confirmed(receipt));
        }
        self.pump(out);
    }

    fn deliver(&mut self, deliver: pb::Deliver, now_ms: u64, out: &mut Vec<Output>) {
        self.received = position_from_pb(deliver.cursor.as_ref());
        self.touch(now_ms);
        out.push(Output::Persist(deliver));
    }
}

/// Holds a receipt's signature against the hub's key.
///
/// # Errors
/// [`BadSignature`], also for a receipt that lacks a part.
pub fn check_receipt(key: &VerifyingKey, origin: Origin, receipt: &pb::Receipt) -> Result<(), BadSignature> {
    let commit_hash = receipt.commit_hash.as_ref().try_into().map_err(|_| BadSignature)?;
    let (up_to, at) = (head_from_pb(receipt.up_to.as_ref()), position_from_pb(receipt.at.as_ref()));
    key.check_receipt(&Receipted { origin, up_to, at, commit_hash }, &receipt.signature)
}

fn send(message: Up) -> Output {
    Output::Send(pb::Up { message: Some(message) })
}

/// Places at exponentially growing distances from the newest: about 40 even for 2^40 entries.
fn spaced(newest: u64) -> Vec<u64> {
    let mut places = vec![newest];
    let mut step = 1;
    while let Some(place) = newest.checked_sub(step).filter(|place| *place > 0) {
        places.push(place);
        step = step.saturating_mul(2);
    }
    if places.last() != Some(&1) {
        places.push(1);
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_spaced_so_that_forty_reach_back_to_the_first() {
        assert_eq!(spaced(1), [1]);
        assert_eq!(spaced(10), [10, 9, 8, 6, 2, 1]);
        assert!(spaced(1 << 40).len() <= 42);
        assert_eq!(spaced(1 << 40).last(), Some(&1));
    }
}
