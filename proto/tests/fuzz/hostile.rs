//! A peer that is a member and keeps to nothing: it signs what it likes, says anything at any time, and says it often.
//!
//! Held against the halves: they do not panic; they answer one input with a few outputs; what they keep does not grow
//! with what they hear; the hub takes in one chain without a gap; a node believes only what the hub has signed.

use std::collections::VecDeque;

use bytes::Bytes;
use liandong_proto::entry::{Entry, Head};
use liandong_proto::id::{Epoch, Origin};
use liandong_proto::pb::log::v1 as log;
use liandong_proto::pb::sync::v1 as pb;
use liandong_proto::position::{GenerationStart, Generations, Position};
use liandong_proto::rotation::Rotation;
use liandong_proto::session::hub::{self, Admission, Compared, FeedBatch, HubKeys, HubSession};
use liandong_proto::session::node::{self, Digests, NodeSession, Standing};
use liandong_proto::session::{PROTOCOL, generations_to_pb, head_to_pb, position_to_pb, refusal};
use liandong_proto::sign::{Receipted, SigningKey};
use prost::Message;

use crate::runner::run;
use crate::source::Source;
use crate::valid::{self, CITY, NOW_MS};
use crate::world::{city_key, hub_key};

const ORIGIN: Origin = Origin { site: CITY, epoch: Epoch([1; 16]) };
const LIMITS: pb::Limits = pb::Limits { batch_bytes: 4096, push_window: 3, deliver_window: 2 };
const STEPS: usize = 60;
/// How many of 100 messages are not what they should be: a session that ends at once shows little.
const RUDE: [u64; 5] = [0, 1, 4, 12, 50];
/// What a node keeps while it looks into its own log, and then answers at once.
const MOST_EARLY: usize = 64;
/// What a half may keep, as text: some of the largest messages made here.
const MOST_KEPT: usize = 1 << 20;

/// A message bent on its way, if it can still be read.
fn bent<M: Message + Default + Clone>(source: &mut Source, message: &M, percent: u64) -> Option<M> {
    if !source.percent(percent) {
        return Some(message.clone());
    }
    M::decode(source.mutated(message.encode_to_vec()).as_slice()).ok()
}

fn history(source: &mut Source) -> Generations {
    let starts = (0..1 + source.below(3) as u64).map(|n| GenerationStart {
        generation: 7 + n,
        first_hub_seq: if n == 0 { 1 } else { source.edge() },
    });
    Generations::new(starts.collect())
}

fn place(source: &mut Source) -> Option<pb::Position> {
    let position = Position { generation: source.pick(&[0, 7, 8, 9]), hub_seq: source.edge() };
    source.percent(90).then(|| position_to_pb(position))
}

fn digests(source: &mut Source) -> pb::Compare {
    let many = if source.percent(5) { 300 } else { 3 };
    let kind = |source: &mut Source| source.pick(&[1, 2, 7, 65_535]);
    pb::Compare {
        own_head: None,
        feed_head: place(source),
        verdict: source.below(5) as i32,
        kinds: (0..source.below(many))
            .map(|_| pb::KindDigest {
                kind: kind(source),
                count: source.edge(),
                digest: source.bytes(32).into(),
            })
            .collect(),
        buckets: (0..source.below(3))
            .map(|_| pb::BucketDigests {
                kind: kind(source),
                sums: source.bytes(200).into(),
                differing: (0..source.below(many)).map(|_| source.edge() as u32).collect(),
            })
            .collect(),
        records: (0..source.below(many))
            .map(|_| pb::RecordDigest {
                kind: kind(source),
                record: source.bytes(17).into(),
                digest: source.bytes(9).into(),
            })
            .collect(),
    }
}

/// What the hub's shell would answer, and what it has taken in.
struct Shell {
    session: HubSession,
    due: VecDeque<hub::Input>,
    taken: Head,
    committed: Head,
    /// Pushes that wait for a receipt, deliveries that wait to be confirmed.
    pushes: usize,
    deliveries: VecDeque<Option<pb::Position>>,
}

impl Shell {
    fn give(&mut self, source: &mut Source, input: hub::Input) {
        let outputs = self.session.on(input);
        assert!(outputs.len() <= 4, "{outputs:?}");
        for output in outputs {
            let answer = match output {
                hub::Output::Send(pb::Down { message: Some(pb::down::Message::Deliver(deliver)) }) => {
                    self.deliveries.push_back(deliver.cursor);
                    continue;
                }
                hub::Output::Admit(_) => hub::Input::Admitted(admission(source, self.taken)),
                hub::Output::Intake { entries, signed } => {
                    for entry in &entries {
                        assert_eq!(entry.header.origin, ORIGIN);
                        assert_eq!(entry.header.follows(&self.taken), Ok(()), "one chain without a gap");
                        self.taken = Head { seq: entry.header.seq, hash: entry.hash };
                    }
                    assert_eq!(
                        (signed.seq, signed.hash.as_ref()),
                        (self.taken.seq, self.taken.hash.as_slice())
                    );
                    continue;
                }
                hub::Output::ReadFeed { after, .. } => {
                    let items = (0..source.below(3)).map(|_| pb::Item::default()).collect();
                    let up_to = after.saturating_add(source.below(5) as u64);
                    hub::Input::Feed(FeedBatch { items, own_seq_inclusive: self.committed.seq, up_to })
                }
                hub::Output::Locate(heads) => hub::Input::Located(heads.first().copied()),
                hub::Output::Compare(ask) => {
                    let pb::Compare { kinds, mut buckets, records, .. } = digests(source);
                    buckets.retain(|_| !ask.buckets_of.is_empty());
                    hub::Input::Compared(source.percent(80).then_some(Compared { kinds, buckets, records }))
                }
                hub::Output::Restore { .. } => hub::Input::Restore(Vec::new(), source.percent(50)),
                _ => continue,
            };
            self.due.push_back(answer);
        }
    }
}

fn admission(source: &mut Source, held: Head) -> Admission {
    match source.below(12) {
        0 => Admission::Refused(refusal(pb::refusal::Code::Unspecified, "", "")),
        1 => Admission::Diverged(pb::Diverged::default()),
        _ => Admission::Welcome {
            held,
            signing_key: city_key().verifying(),
            generations: history(source),
            hub_time_ms: NOW_MS,
            hub_keys: Box::new(HubKeys { signer: hub_key(), rotations: Vec::new() }),
        },
    }
}

/// A push that follows `after`: whole, or with some of it bent and signed all the same.
fn push(source: &mut Source, after: Head, rude: u64) -> (pb::Push, Head) {
    let (mut head, mut entries): (Head, Vec<Entry>) = (after, Vec::new());
    for _ in 0..source.below(4) {
        let (entry, next) = valid::entry(source, ORIGIN, head, 4);
        entries.push(entry);
        head = next;
    }
    let signed = if source.percent(rude) { Head { seq: head.seq, hash: source.array() } } else { head };
    let key = if source.percent(rude) { hub_key() } else { city_key() };
    let from = head_to_pb(&after);
    let push = pb::Push {
        after_seq: from.seq,
        after_hash: from.hash,
        entries,
        head_signature: Bytes::copy_from_slice(&key.sign_head(ORIGIN, &signed)),
    };
    (push, head)
}

/// Any message, at a time that is not its own.
fn anything(source: &mut Source, hello: &pb::Hello, committed: Head) -> pb::up::Message {
    match source.below(6) {
        0 => pb::up::Message::Hello(hello.clone()),
        1 => pb::up::Message::Push(push(source, committed, 10).0),
        2 => pb::up::Message::Applied(pb::Applied { cursor: place(source) }),
        3 => pb::up::Message::Compare(digests(source)),
        4 => pb::up::Message::Restore(pb::RestoreAsk { from_seq_exclusive: source.edge() }),
        _ => {
            let head = pb::Head { seq: source.edge(), hash: source.bytes(33).into() };
            pb::up::Message::Locate(pb::Locate { heads: vec![head; source.below(99)], common: None })
        }
    }
}

#[test]
fn a_hub_meets_a_node_that_keeps_to_nothing() {
    let (mut cases, mut entries) = (0, 0);
    run("a_hub_meets_a_node_that_keeps_to_nothing", 1_500, |source| {
        let rude = source.pick(&RUDE);
        let held = if source.percent(50) {
            Head::default()
        } else {
            Head { seq: 1 + source.below(9) as u64, hash: source.array() }
        };
        let session = HubSession::new(CITY, LIMITS);
        let mut shell = Shell {
            session,
            due: VecDeque::new(),
            taken: held,
            committed: held,
            pushes: 0,
            deliveries: VecDeque::new(),
        };
        let hello = pb::Hello {
            protocol_min: PROTOCOL,
            protocol_max: PROTOCOL,
            site: CITY.0,
            epoch: Bytes::copy_from_slice(&ORIGIN.epoch.0),
            nonces: vec![Bytes::from(source.bytes(70)); source.below(4)],
            head: Some(head_to_pb(&if source.percent(80) {
                held
            } else {
                Head { seq: source.edge(), hash: [1; 32] }
            })),
            cursor: place(source),
            restore: source.percent(rude / 2),
            generations: generations_to_pb(&history(source)),
            anchor: None,
            receipt: Bytes::new(),
        };
        let mut pushed = held;
        for step in 0..STEPS {
            let message = match step {
                0 => pb::up::Message::Hello(hello.clone()),
                _ if source.percent(rude) => anything(source, &hello, shell.committed),
                _ if !shell.deliveries.is_empty() => {
                    pb::up::Message::Applied(pb::Applied { cursor: shell.deliveries.pop_front().flatten() })
                }
                _ if shell.pushes < LIMITS.push_window as usize || source.percent(rude) => {
                    let (push, head) = push(source, pushed, rude);
                    shell.pushes += usize::from(head != pushed);
                    pushed = head;
                    pb::up::Message::Push(push)
                }
                _ => {
                    let own_head = Some(head_to_pb(&shell.committed));
                    pb::up::Message::Compare(pb::Compare { own_head, ..digests(source) })
                }
            };
            let message = pb::Up { message: Some(message) };
            if let Some(message) = bent(source, &message, rude) {
                for _ in 0..if source.percent(rude / 4) { 30 } else { 1 } {
                    shell.give(source, hub::Input::Received(message.clone()));
                }
            }
            while source.percent(70)
                && let Some(input) = shell.due.pop_front()
            {
                shell.give(source, input);
            }
            if source.percent(40) {
                (shell.committed, shell.pushes) = (shell.taken, 0);
                let at = Position { generation: 7, hub_seq: source.edge() };
                let input = hub::Input::Committed { up_to: shell.taken, at, commit_hash: [2; 32] };
                shell.give(source, input);
            }
            if source.percent(20) {
                shell.give(source, hub::Input::FeedMoved);
            }
            let _ = (shell.session.uncommitted(), shell.session.applied(), shell.session.origin());
        }
        assert!(shell.due.len() <= 8, "{} answers are asked for", shell.due.len());
        assert!(format!("{:?}", shell.session).len() < MOST_KEPT);
        (cases, entries) = (cases + 1, entries + shell.taken.seq - held.seq);
    });
    assert!(cases < 1_000 || entries > cases, "{entries} entries in {cases} sessions: they end too early");
}

fn head_of(source: &mut Source, log: &[(Entry, Head)], rude: u64) -> Head {
    if source.percent(rude) {
        return Head { seq: source.edge(), hash: source.array() };
    }
    log.get(source.below(log.len() + 1)).map_or_else(Head::default, |(_, head)| *head)
}

fn welcome(source: &mut Source, log: &[(Entry, Head)], hub: &SigningKey, rude: u64) -> pb::down::Message {
    let held = head_of(source, log, rude);
    let cause = source.below(6) as i32;
    let common = source.percent(30).then(|| head_to_pb(&held));
    let diverged = pb::Diverged { cause, held: Some(head_to_pb(&held)), common };
    pb::down::Message::Welcome(pb::Welcome {
        protocol: source.pick(&[PROTOCOL, 0, 9]),
        held: Some(head_to_pb(&held)),
        limits: source.percent(30).then(|| pb::Limits {
            batch_bytes: source.edge() as u32,
            push_window: source.edge() as u32,
            deliver_window: source.edge() as u32,
        }),
        generations: generations_to_pb(&history(source)),
        diverged: source.percent(5 + rude).then_some(diverged),
        signing_key: Bytes::copy_from_slice(&hub.verifying().to_bytes()),
        hub_time_ms: source.edge(),
        key_rotations: rotations(source),
    })
}

/// What a hub says that signs with the key pinned: the first two of twelve kinds of messages at any time.
fn down(source: &mut Source, log: &[(Entry, Head)], hub: &SigningKey, kinds: usize) -> pb::down::Message {
    match source.below(kinds) {
        0 => {
            let up_to = head_of(source, log, if kinds > 2 { 20 } else { 0 });
            let at = Position { generation: 7, hub_seq: source.edge() };
            let signed = Receipted { origin: ORIGIN, up_to, at, commit_hash: [2; 32] };
            pb::down::Message::Receipt(pb::Receipt {
                up_to: Some(head_to_pb(&up_to)),
                at: Some(position_to_pb(at)),
                commit_hash: Bytes::from_static(&[2; 32]),
                signature: Bytes::copy_from_slice(&hub.sign_receipt(&signed)),
            })
        }
        1 => pb::down::Message::Deliver(pb::Deliver {
            items: vec![
                pb::Item { kind: 1, record: source.bytes(40).into(), ..pb::Item::default() };
                source.below(9)
            ],
            own_seq_inclusive: source.edge(),
            from_exclusive: place(source),
            cursor: place(source),
        }),
        2 => welcome(source, log, hub, 50),
        3..=5 => pb::down::Message::Compare(digests(source)),
        6..=8 => pb::down::Message::Restore(pb::Restore {
            entries: log.iter().map(|(entry, _)| entry.clone()).collect(),
            last: source.percent(50),
        }),
        _ => pb::down::Message::Locate(pb::Locate {
            heads: Vec::new(),
            common: place(source).map(|_| head_to_pb(&head_of(source, log, 50))),
        }),
    }
}

fn rotations(source: &mut Source) -> Vec<log::KeyRotation> {
    let origin = Origin { site: liandong_proto::id::SiteCode::PROVINCE, epoch: Epoch([9; 16]) };
    if !source.percent(10) {
        return Vec::new();
    }
    vec![Rotation::sign(origin, source.edge(), 1, &hub_key(), city_key().verifying())]
}

#[test]
fn a_node_meets_a_hub_that_keeps_to_nothing() {
    let (mut cases, mut receipts) = (0, 0);
    run("a_node_meets_a_hub_that_keeps_to_nothing", 1_500, |source| {
        let (rude, mut asked_to_compare) = (source.pick(&RUDE), false);
        let mut log: Vec<(Entry, Head)> = Vec::new();
        let append = |source: &mut Source, log: &mut Vec<(Entry, Head)>| {
            let after = log.last().map_or_else(Head::default, |(_, head)| *head);
            log.push(valid::entry(source, ORIGIN, after, 4));
        };
        (0..source.below(6)).for_each(|_| append(source, &mut log));
        let (mut session, _) = NodeSession::start(Standing {
            origin: ORIGIN,
            nonces: vec![Bytes::from_static(&[1; 16])],
            head: log.last().map_or_else(Head::default, |(_, head)| *head),
            cursor: Position { generation: 7, hub_seq: source.edge() },
            generations: history(source),
            restore: source.percent(rude / 2),
            anchor: None,
            receipt: Bytes::new(),
            signer: city_key(),
            hub_key: hub_key().verifying(),
        });
        let (mut now_ms, mut due, mut confirmed) = (NOW_MS, VecDeque::new(), 0);
        for step in 0..STEPS {
            now_ms += source.number() % 3_000;
            let mut inputs = Vec::new();
            let message = match step {
                0 => welcome(source, &log, &hub_key(), rude),
                _ if source.percent(rude) => down(source, &log, &hub_key(), 12),
                _ if asked_to_compare => pb::down::Message::Compare(digests(source)),
                _ => down(source, &log, &hub_key(), 2),
            };
            let message = pb::Down { message: Some(message) };
            asked_to_compare = false;
            for _ in 0..if source.percent(rude / 4) { 200 } else { 1 } {
                inputs.extend(bent(source, &message, rude).map(node::Input::Received));
            }
            if source.percent(20) {
                append(source, &mut log);
                inputs.extend(log.last().map(|(_, head)| node::Input::Appended(*head)));
            }
            inputs.push(node::Input::Tick);
            while source.percent(60)
                && let Some(input) = due.pop_front()
            {
                inputs.push(input);
            }
            for input in inputs {
                let outputs = session.on(input, now_ms);
                let asked =
                    outputs.iter().filter(|output| !matches!(output, node::Output::Persist(_))).count();
                assert!(asked <= 2 + MOST_EARLY, "{asked} outputs");
                let last = |output: &node::Output| {
                    matches!(output, node::Output::Refused(_) | node::Output::Diverged(_))
                };
                assert!(outputs.iter().rev().skip(1).all(|output| !last(output)), "the end is the end");
                for output in outputs {
                    asked_to_compare |= matches!(
                        &output,
                        node::Output::Send(pb::Up { message: Some(pb::up::Message::Compare(_)) })
                    );
                    due.extend(answer(source, output, &log, &mut confirmed));
                }
            }
            // Every delivery is written down before the next message is read; the shell answers that at once.
            due.retain(|input| !matches!(input, node::Input::Persisted(_)) || source.percent(90));
            let _ = (session.drained(), session.held_by_hub());
        }
        assert!(format!("{session:?}").len() < MOST_KEPT);
        (cases, receipts) = (cases + 1, receipts + u64::from(confirmed > 0));
    });
    assert!(cases < 1_000 || receipts > cases / 5, "{receipts} of {cases} sessions confirm anything");
}

/// What the node's shell answers.
fn answer(
    source: &mut Source,
    output: node::Output,
    log: &[(Entry, Head)],
    confirmed: &mut u64,
) -> Option<node::Input> {
    Some(match output {
        node::Output::Read { after, .. } => {
            let behind = log.iter().filter(|(_, head)| head.seq > after.seq).take(2);
            let (entries, heads): (Vec<Entry>, Vec<Head>) = behind.cloned().unzip();
            node::Input::Read(entries, heads.last().copied().unwrap_or(after))
        }
        node::Output::Heads(places) => {
            assert!(places.len() <= 66);
            node::Input::Heads(
                log.iter().map(|(_, head)| *head).filter(|head| places.contains(&head.seq)).collect(),
            )
        }
        node::Output::Persist(deliver) => {
            node::Input::Persisted(liandong_proto::session::position_from_pb(deliver.cursor.as_ref()))
        }
        node::Output::Confirmed(receipt) => {
            let up_to = receipt.up_to.expect("a head").seq;
            assert!(up_to > *confirmed && up_to <= log.len() as u64, "{up_to} after {confirmed}");
            *confirmed = up_to;
            return None;
        }
        node::Output::Digest(ask) => {
            let pb::Compare { kinds, buckets, records, .. } = digests(source);
            node::Input::Digest(match ask {
                node::Ask::Kinds => Digests::Kinds(kinds),
                node::Ask::Buckets(_) => Digests::Buckets(buckets),
                node::Ask::Records(_) => Digests::Records(records),
            })
        }
        node::Output::PersistOwn { .. } => node::Input::Restored,
        _ => return None,
    })
}
