//! The hub's half of a session with one node.

mod admission;
mod compare;
mod refuse;
mod window;

use bytes::Bytes;

use super::{
    MOST_NONCES, PROTOCOL, generations_from_pb, generations_to_pb, head_from_pb, head_to_pb,
    position_from_pb, position_to_pb, refusal,
};
use crate::entry::{self, Entry, EntryError, Head, Header};
use crate::id::{Epoch, Hash, Origin, SiteCode};
use crate::pb::log::v1 as pb_log;
use crate::pb::sync::v1 as pb;
use crate::position::{Generations, Position};
use crate::sign::{Receipted, SigningKey, VerifyingKey};
use pb::down::Message as Down;
use pb::refusal::Code;
use pb::up::Message as Up;
use window::Window;

pub use admission::{Admission, HubKeys};
pub use compare::{Ask, Compared};

/// More starts of a hub than any node can have heard of: each costs the committer a step for every entry.
const MOST_GENERATIONS: usize = 16_384;

/// An entry whose chain and payload hashes have been checked.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckedEntry {
    /// The original bytes.
    pub entry: Entry,
    /// Its header, read.
    pub header: Header,
    /// SHA-256 of the header.
    pub hash: Hash,
}

/// A read of the feed.
#[derive(Clone, Debug, Default)]
pub struct FeedBatch {
    /// Records that changed, each once, as they are now.
    pub items: Vec<pb::Item>,
    /// Every own entry up to here was merged before any item was read.
    pub own_seq_inclusive: u64,
    /// Everything up to here has been read.
    pub up_to: u64,
}

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// A message of the node.
    Received(pb::Up),
    /// Answer to [`Output::Admit`].
    Admitted(Admission),
    /// Entries of this origin are committed up to here.
    Committed {
        /// Newest durable entry of the origin.
        up_to: Head,
        /// Where the hub's order stands.
        at: Position,
        /// Hash of the commit.
        commit_hash: Hash,
    },
    /// The feed of this site may have news.
    FeedMoved,
    /// Answer to [`Output::ReadFeed`].
    Feed(FeedBatch),
    /// Answer to [`Output::Locate`].
    Located(Option<Head>),
    /// Answer to [`Output::Compare`]; `None` when this side has moved on since.
    Compared(Option<Compared>),
    /// Answer to [`Output::Restore`].
    Restore(Vec<Entry>, bool),
    /// Stop: the city was cut off, or the hub shuts down.
    Stop(pb::Refusal),
}

/// What must be done, in this order.
#[derive(Debug, PartialEq)]
pub enum Output {
    /// Send a message.
    Send(pb::Down),
    /// Look the node up; answer with [`Input::Admitted`].
    Admit(pb::Hello),
    /// Commit these entries; [`Input::Committed`] follows when they are durable.
    Intake {
        /// In order.
        entries: Vec<CheckedEntry>,
        /// The city's signature over the head they lead to, checked.
        signed: pb_log::SignedHead,
    },
    /// Read the feed; answer with [`Input::Feed`].
    ReadFeed {
        /// Begin behind this place.
        after: u64,
        /// Stop before more than this.
        max_bytes: u32,
    },
    /// The node has everything up to here.
    Applied(u64),
    /// Find the newest of these heads in the origin's log; answer with [`Input::Located`].
    Locate(Vec<Head>),
    /// Compute digests; answer with [`Input::Compared`].
    Compare(Ask),
    /// Read the origin's own entries; answer with [`Input::Restore`].
    Restore {
        /// Begin behind this entry.
        after_seq: u64,
    },
    /// A comparison ended: equal, or which records differ (kind, id).
    Verdict(Result<(), Vec<(u32, Bytes)>>),
    /// The session is over.
    Close,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Waiting,
    Admitting,
    Live,
    /// The node has lost its log: it gets its own entries back and nothing else.
    Restoring,
    /// The last thing the node may ask for is being read.
    Answering,
    Parted,
    Closed,
}

/// The hub's half.
#[derive(Debug)]
pub struct HubSession {
    /// The site this session is with: from the connection, never from a message.
    site: SiteCode,
    limits: pb::Limits,
    /// Signs receipts, and the city's key: both once it is admitted.
    signer: Option<SigningKey>,
    signing_key: Option<VerifyingKey>,
    phase: Phase,
    hello: Option<pb::Hello>,
    origin: Option<Origin>,
    generations: Generations,
    /// Newest entry pushed in this session; behind `taken` while the node repeats what is here already.
    pushed: Head,
    /// Newest entry taken in, committed or not.
    taken: Head,
    committed: Head,
    window: Window,
    /// The place up to which the feed has been sent, and that the node has confirmed.
    sent: u64,
    applied: u64,
    in_flight: u32,
    reading: bool,
    news: bool,
    comparing: Option<pb::Compare>,
}

impl HubSession {
    /// A session with the site that the connection belongs to.
    pub fn new(site: SiteCode, limits: pb::Limits) -> HubSession {
        HubSession {
            site,
            limits,
            signer: None,
            signing_key: None,
            phase: Phase::Waiting,
            hello: None,
            origin: None,
            generations: Generations::default(),
            pushed: Head::default(),
            taken: Head::default(),
            committed: Head::default(),
            window: Window::default(),
            sent: 0,
            applied: 0,
            in_flight: 0,
            reading: false,
            news: true,
            comparing: None,
        }
    }

    /// Who the node is, once it has said hello.
    pub fn origin(&self) -> Option<Origin> {
        self.origin
    }

    /// What the node signs its log with, once it is admitted.
    pub fn signing_key(&self) -> Option<VerifyingKey> {
        self.signing_key
    }

    /// The node has the feed up to here.
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// Takes an input; returns what must be done, in order.
    pub fn on(&mut self, input: Input) -> Vec<Output> {
        let mut out = Vec::new();
        if self.phase == Phase::Closed {
            return out;
        }
        match input {
            Input::Received(up) => self.receive(up, &mut out),
            Input::Admitted(admission) => self.admitted(admission, &mut out),
            Input::Committed { up_to, at, commit_hash } => self.commit(up_to, at, commit_hash, &mut out),
            Input::FeedMoved => {
                self.news = true;
                self.pump(&mut out);
            }
            Input::Feed(batch) => self.feed(batch, &mut out),
            Input::Located(common) => {
                let common = common.as_ref().map(head_to_pb);
                out.push(send(Down::Locate(pb::Locate { heads: Vec::new(), common })));
                self.close(&mut out);
            }
            Input::Compared(ours) => self.compared(ours, &mut out),
            Input::Restore(entries, last) => out.push(send(Down::Restore(pb::Restore { entries, last }))),
            Input::Stop(refusal) => self.refuse(refusal, &mut out),
        }
        out
    }

    fn receive(&mut self, up: pb::Up, out: &mut Vec<Output>) {
        match (up.message, self.phase) {
            (Some(Up::Hello(hello)), Phase::Waiting) => self.hello(hello, out),
            (Some(Up::Push(push)), Phase::Live) => self.push(push, out),
            (Some(Up::Applied(applied)), Phase::Live) => {
                let place = position_from_pb(applied.cursor.as_ref()).hub_seq;
                if place > self.sent || self.in_flight == 0 {
                    return self.unexpected(out);
                }
                self.in_flight -= 1;
                self.applied = place;
                out.push(Output::Applied(place));
                self.pump(out);
            }
            (Some(Up::Compare(compare)), Phase::Live) => self.compare(compare, out),
            (Some(Up::Restore(ask)), Phase::Restoring) => {
                // Once: each reads the whole log.
                self.phase = Phase::Answering;
                out.push(Output::Restore { after_seq: ask.from_seq_exclusive });
            }
            (Some(Up::Locate(locate)), Phase::Parted | Phase::Live) => {
                self.phase = Phase::Answering;
                let heads = locate.heads.iter().take(64).map(|head| head_from_pb(Some(head))).collect();
                out.push(Output::Locate(heads));
            }
            _ => self.unexpected(out),
        }
    }

    fn hello(&mut self, hello: pb::Hello, out: &mut Vec<Output>) {
        if hello.protocol_min > PROTOCOL || hello.protocol_max < PROTOCOL {
            return self.refuse(
                refusal(
                    Code::ProtocolVersion,
                    "节点与省级枢纽的协议版本没有交集；请升级较旧的一端",
                    "node and hub share no protocol version; upgrade the older side",
                ),
                out,
            );
        }
        let nonces = hello.nonces.len() <= MOST_NONCES && hello.nonces.iter().all(|nonce| nonce.len() <= 64);
        if hello.generations.len() > MOST_GENERATIONS || !nonces {
            return self.unexpected(out);
        }
        let Some(epoch) = Epoch::from_slice(&hello.epoch).filter(|_| hello.site == self.site.0) else {
            return self.refuse(
                refusal(
                    Code::WrongOrigin,
                    "问候中的站点与连接的身份不符",
                    "the site in the hello is not the one this connection belongs to",
                ),
                out,
            );
        };
        self.origin = Some(Origin { site: self.site, epoch });
        self.phase = Phase::Admitting;
        self.hello = Some(hello.clone());
        out.push(Output::Admit(hello));
    }

    fn admitted(&mut self, admission: Admission, out: &mut Vec<Output>) {
        let Some(hello) = self.hello.take().filter(|_| self.phase == Phase::Admitting) else { return };
        let mut welcome =
            pb::Welcome { protocol: PROTOCOL, limits: Some(self.limits), ..pb::Welcome::default() };
        match admission {
            Admission::Refused(refusal) => self.refuse(refusal, out),
            Admission::Diverged(diverged) => {
                self.phase = Phase::Parted;
                welcome.diverged = Some(diverged);
                out.push(send(Down::Welcome(welcome)));
            }
            Admission::Welcome { held, signing_key, generations, hub_time_ms, hub_keys } => {
                self.signing_key = Some(signing_key);
                welcome.signing_key = Bytes::copy_from_slice(&hub_keys.signer.verifying().to_bytes());
                welcome.key_rotations = hub_keys.rotations;
                self.signer = Some(hub_keys.signer);
                let known = generations_from_pb(&hello.generations);
                let cursor = position_from_pb(hello.cursor.as_ref());
                let place = generations.resolve(cursor, &known);
                // A node that stood behind what this hub has lost has let go of all that came from there: where nobody else
                // writes to such a record its own changes are never echoed, so that everything is told anew.
                self.sent = if place < cursor.hub_seq { 0 } else { place };
                self.applied = self.sent;
                welcome.generations = generations_to_pb(&generations);
                welcome.held = Some(head_to_pb(&held));
                welcome.hub_time_ms = hub_time_ms;
                self.generations = generations;
                (self.pushed, self.taken, self.committed) = (held, held, held);
                let theirs = head_from_pb(hello.head.as_ref());
                let cause = if hello.restore || held.seq < theirs.seq || held == theirs {
                    None
                } else if held.seq > theirs.seq {
                    Some(pb::diverged::Cause::Behind)
                } else {
                    Some(pb::diverged::Cause::Forked)
                };
                self.phase = match cause {
                    Some(_) => Phase::Parted,
                    None if hello.restore => Phase::Restoring,
                    None => Phase::Live,
                };
                welcome.diverged = cause.map(|cause| pb::Diverged {
                    cause: cause as i32,
                    held: Some(head_to_pb(&held)),
                    common: None,
                });
                out.push(send(Down::Welcome(welcome)));
                if self.phase == Phase::Live {
                    // The cursor stands for what an earlier session, or an earlier life of the hub, has delivered.
                    out.push(Output::Applied(self.applied));
                }
                self.pump(out);
            }
        }
    }

    fn push(&mut self, push: pb::Push, out: &mut Vec<Output>) {
        if let Err(refusal) = self.window.has_room(&self.limits) {
            return self.refuse(refusal, out);
        }
        let after = head_from_pb(Some(&pb::Head { seq: push.after_seq, hash: push.after_hash }));
        if after != self.pushed {
            return self.refuse_entry(
                &EntryError::Chain { after: self.pushed.seq, found: after.seq.saturating_add(1) },
                out,
            );
        }
        let mut checked = Vec::with_capacity(push.entries.len());
        let mut head = self.pushed;
        for entry in push.entries {
            let (header, hash) = match entry::check(&entry) {
                Ok(read) => read,
                Err(error) => return self.refuse_entry(&error, out),
            };
            if Some(header.origin) != self.origin {
                return self.refuse(
                    refusal(
                        Code::WrongOrigin,
                        "推送的条目不属于本站点",
                        "an entry pushed here belongs to another origin",
                    ),
                    out,
                );
            }
            if let Err(error) = header.follows(&head) {
                return self.refuse_entry(&error, out);
            }
            head = Head { seq: header.seq, hash };
            if head.seq > self.taken.seq {
                checked.push(CheckedEntry { entry, header, hash });
            } else if head.seq == self.taken.seq && head != self.taken {
                // What is here already has this place and another hash.
                return self.refuse_entry(&EntryError::Chain { after: self.taken.seq, found: head.seq }, out);
            }
        }
        let Some((origin, key)) = self.origin.zip(self.signing_key) else { return self.unexpected(out) };
        if key.check_head(origin, &head, &push.head_signature).is_err() {
            return self.refuse(
                refusal(
                    Code::Signature,
                    "推送的签名与本市登记的签名密钥不符；请在节点上运行 verify，或重新加入",
                    "the push is not signed with the key this city has enrolled; run verify at the node, or join again",
                ),
                out,
            );
        }
        self.pushed = head;
        self.window.pushed(head.seq, self.committed.seq);
        if head.seq > self.taken.seq {
            self.taken = head;
        }
        if !checked.is_empty() {
            let signed = pb_log::SignedHead {
                site: origin.site.0,
                epoch: Bytes::copy_from_slice(&origin.epoch.0),
                seq: head.seq,
                hash: Bytes::copy_from_slice(&head.hash),
                signature: push.head_signature,
            };
            out.push(Output::Intake { entries: checked, signed });
        }
    }

    fn commit(&mut self, up_to: Head, at: Position, commit_hash: Hash, out: &mut Vec<Output>) {
        if self.phase != Phase::Live || up_to.seq <= self.committed.seq {
            return;
        }
        self.committed = up_to;
        self.window.committed(up_to.seq);
        if up_to.seq > self.taken.seq {
            // Entries of an earlier session of this node were still on their way to the log; it will repeat them.
            self.taken = up_to;
        }
        let Some((origin, signer)) = self.origin.zip(self.signer.as_ref()) else { return };
        let signature = signer.sign_receipt(&Receipted { origin, up_to, at, commit_hash });
        out.push(send(Down::Receipt(pb::Receipt {
            up_to: Some(head_to_pb(&up_to)),
            at: Some(position_to_pb(at)),
            commit_hash: Bytes::copy_from_slice(&commit_hash),
            signature: Bytes::copy_from_slice(&signature),
        })));
    }

    fn pump(&mut self, out: &mut Vec<Output>) {
        let open = self.in_flight < self.limits.deliver_window;
        if self.phase == Phase::Live && self.news && open && !self.reading {
            self.reading = true;
            self.news = false;
            out.push(Output::ReadFeed { after: self.sent, max_bytes: self.limits.batch_bytes });
        }
    }

    fn feed(&mut self, batch: FeedBatch, out: &mut Vec<Output>) {
        self.reading = false;
        if self.phase != Phase::Live {
            return;
        }
        if !batch.items.is_empty() {
            let at = |hub_seq| {
                let generation = self.generations.current();
                Some(position_to_pb(Position { generation, hub_seq }))
            };
            self.in_flight += 1;
            // There may be more behind a full batch.
            self.news = true;
            out.push(send(Down::Deliver(pb::Deliver {
                items: batch.items,
                own_seq_inclusive: batch.own_seq_inclusive,
                from_exclusive: at(self.sent),
                cursor: at(batch.up_to),
            })));
            self.sent = batch.up_to;
        }
        self.pump(out);
    }

    fn refuse(&mut self, refusal: pb::Refusal, out: &mut Vec<Output>) {
        out.push(send(Down::Refusal(refusal)));
        self.close(out);
    }

    fn close(&mut self, out: &mut Vec<Output>) {
        self.phase = Phase::Closed;
        out.push(Output::Close);
    }
}

fn send(message: Down) -> Output {
    Output::Send(pb::Down { message: Some(message) })
}
