//! What inputs of these targets once broke, each as a test of its own.

use bytes::Bytes;
use liandong_proto::entry::Head;
use liandong_proto::id::{Epoch, Origin};
use liandong_proto::pb::sync::v1 as pb;
use liandong_proto::position::{Generations, Position};
use liandong_proto::session::node::{Input, NodeSession, Output, Standing};
use liandong_proto::session::{PROTOCOL, head_to_pb};

use crate::valid::CITY;
use crate::world::{city_key, hub_key};

const HELD: Head = Head { seq: 3, hash: [3; 32] };

/// A node that was told of a head which it first has to find in its own log.
fn looking() -> NodeSession {
    let (mut session, _) = NodeSession::start(Standing {
        origin: Origin { site: CITY, epoch: Epoch([1; 16]) },
        nonces: vec![Bytes::from_static(&[1; 16])],
        head: Head { seq: 5, hash: [5; 32] },
        cursor: Position::default(),
        generations: Generations::default(),
        restore: false,
        anchor: None,
        receipt: Bytes::new(),
        signer: city_key(),
        hub_key: hub_key().verifying(),
    });
    let welcome = pb::Welcome {
        protocol: PROTOCOL,
        held: Some(head_to_pb(&HELD)),
        signing_key: Bytes::copy_from_slice(&hub_key().verifying().to_bytes()),
        ..pb::Welcome::default()
    };
    let outputs = session.on(received(pb::down::Message::Welcome(welcome)), 0);
    assert!(outputs.contains(&Output::Heads(vec![3])), "{outputs:?}");
    session
}

fn received(message: pb::down::Message) -> Input {
    Input::Received(pb::Down { message: Some(message) })
}

fn receipt() -> Input {
    received(pb::down::Message::Receipt(pb::Receipt::default()))
}

#[test]
fn what_a_node_keeps_while_it_looks_into_its_log_has_an_end() {
    let mut session = looking();
    let ended = (0..1_000).find(|_| !session.on(receipt(), 0).is_empty());
    assert_eq!(ended, Some(64));
    assert_eq!(session.on(receipt(), 0), []);
}

#[test]
fn a_session_that_has_ended_says_nothing_more_of_what_had_come_before() {
    let mut session = looking();
    for _ in 0..10 {
        assert_eq!(session.on(receipt(), 0), [], "kept");
    }
    // None of the receipts is signed.
    let outputs = session.on(Input::Heads(vec![HELD]), 0);
    let ends = outputs.iter().filter(|output| matches!(output, Output::Refused(_)));
    assert_eq!((ends.count(), session.held_by_hub()), (1, None));
}
