//! Where two logs parted: asked for in one round, with places bent on their way. What nobody has bent names an entry that
//! both sides have, and none of the places asked for lies between it and the parting.

use bytes::Bytes;
use liandong_proto::entry::Head;
use liandong_proto::id::{Epoch, Origin};
use liandong_proto::pb::sync::v1 as pb;
use liandong_proto::position::{Generations, Position};
use liandong_proto::session::hub::{self, Admission, HubSession};
use liandong_proto::session::node::{self, NodeSession, Standing};
use liandong_proto::session::{LIMITS, head_to_pb};
use prost::Message;

use crate::runner::run;
use crate::source::Source;
use crate::valid::CITY;
use crate::world::{city_key, hub_key};

const ORIGIN: Origin = Origin { site: CITY, epoch: Epoch([1; 16]) };
/// What a hub looks for at most, whatever it is asked.
const MOST_HEADS: usize = 64;

/// A log of which only places and hashes are known: `line` from the parting on.
struct Line {
    parted_at: u64,
    newest: u64,
    line: u8,
}

impl Line {
    /// The head at a place, if there is one.
    fn at(&self, seq: u64) -> Option<Head> {
        let line = if seq > self.parted_at { self.line } else { 0 };
        let mut hash = [line; 32];
        hash[..8].copy_from_slice(&seq.to_be_bytes());
        (1..=self.newest).contains(&seq).then_some(Head { seq, hash })
    }

    fn has(&self, head: &Head) -> bool {
        self.at(head.seq) == Some(*head)
    }

    fn newest(&self) -> Head {
        self.at(self.newest).unwrap_or_default()
    }
}

fn bent<M: Message + Default>(source: &mut Source, message: M, is_bent: bool) -> Option<M> {
    if !is_bent {
        return Some(message);
    }
    M::decode(source.mutated(message.encode_to_vec()).as_slice()).ok()
}

fn node_at(source: &mut Source, head: Head) -> (NodeSession, Vec<node::Output>) {
    NodeSession::start(Standing {
        origin: ORIGIN,
        nonces: vec![Bytes::from_static(&[1; 16])],
        head,
        cursor: Position { generation: 7, hub_seq: source.edge() },
        generations: Generations::default(),
        restore: false,
        anchor: None,
        receipt: Bytes::new(),
        signer: city_key(),
        hub_key: hub_key().verifying(),
    })
}

/// How far back the parting may lie: near, anywhere, or further than any log is long.
fn length(source: &mut Source) -> u64 {
    match source.below(4) {
        0 => source.number() % 8,
        1 => source.number() % 5_000,
        2 => source.number() % (1 << 40),
        _ => source.edge() >> 1,
    }
}

#[test]
fn a_parting_is_located_in_one_round() {
    let (mut cases, mut found) = (0u64, 0u64);
    run("a_parting_is_located_in_one_round", 5_000, |source| {
        let parted_at = length(source);
        let mut line = |line| Line { parted_at, newest: parted_at.saturating_add(length(source)), line };
        let (ours, theirs) = (line(1), line(2));
        let is_bent = source.percent(50);
        let (mut node, mut up) = node_at(source, ours.newest());
        let mut hub = HubSession::new(CITY, LIMITS);
        let (mut asked, mut common) = (Vec::new(), None);
        // Hello, its answer, the question and its answer: never more rounds than that, whatever is said.
        for _ in 0..4 {
            let mut down: Vec<pb::Down> = Vec::new();
            for output in std::mem::take(&mut up) {
                let node::Output::Send(message) = output else { continue };
                let Some(message) = bent(source, message, is_bent) else { continue };
                for output in hub.on(hub::Input::Received(message)) {
                    let input = match output {
                        hub::Output::Admit(_) => {
                            let cause = pb::diverged::Cause::Behind as i32;
                            let held = Some(head_to_pb(&theirs.newest()));
                            let diverged = pb::Diverged { cause, held, common: None };
                            hub::Input::Admitted(Admission::Diverged(diverged))
                        }
                        hub::Output::Locate(heads) => {
                            assert!(heads.len() <= MOST_HEADS);
                            let held = heads.iter().filter(|head| theirs.has(head));
                            hub::Input::Located(held.max_by_key(|head| head.seq).copied())
                        }
                        hub::Output::Send(message) => {
                            down.push(message);
                            continue;
                        }
                        _ => continue,
                    };
                    down.extend(hub.on(input).into_iter().filter_map(|output| match output {
                        hub::Output::Send(message) => Some(message),
                        _ => None,
                    }));
                }
            }
            for message in down {
                let Some(message) = bent(source, message, is_bent) else { continue };
                for output in node.on(node::Input::Received(message), 0) {
                    match output {
                        node::Output::Heads(places) => {
                            assert!(places.len() <= MOST_HEADS + 2, "{places:?}");
                            let heads = places.iter().filter_map(|seq| ours.at(*seq)).collect();
                            asked = places;
                            up.extend(node.on(node::Input::Heads(heads), 0));
                        }
                        node::Output::Diverged(diverged) => common = diverged.common,
                        other => up.push(other),
                    }
                }
            }
        }
        cases += 1;
        if is_bent || ours.newest == 0 {
            return;
        }
        let expected = asked.iter().take(MOST_HEADS).filter(|seq| **seq <= parted_at).max();
        let expected = expected.and_then(|seq| ours.at(*seq)).unwrap_or_default();
        assert_eq!(common, Some(head_to_pb(&expected)), "of {asked:?}, parted at {parted_at}");
        found += 1;
    });
    assert!(cases < 1_000 || found > cases / 4, "{found} of {cases}");
}
