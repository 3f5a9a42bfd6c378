//! Schedules of a session in which one thing overtakes another.

use super::*;
use crate::id::{Epoch, Origin};
use crate::session::generations_to_pb;

const ORIGIN: Origin = Origin { site: SiteCode(440_100), epoch: Epoch([7; 16]) };

#[test]
fn heads_are_spaced_so_that_forty_reach_back_to_the_first() {
    assert_eq!(spaced(1), [1]);
    assert_eq!(spaced(10), [10, 9, 8, 6, 2, 1]);
    assert!(spaced(1 << 40).len() <= 42);
    assert_eq!(spaced(1 << 40).last(), Some(&1));
}

/// The log grows between the word of an entry and the reading of it: what is read may reach further.
#[test]
fn a_receipt_may_come_before_the_word_that_its_entry_is_durable() {
    let hub = SigningKey::new(&[3; 32]);
    let head = |seq: u64| Head { seq, hash: [seq as u8; 32] };
    let standing = Standing {
        origin: ORIGIN,
        nonces: vec![Bytes::from_static(&[1; 16])],
        head: head(1),
        cursor: Position::default(),
        generations: Generations::default(),
        restore: false,
        anchor: None,
        receipt: Bytes::new(),
        signer: SigningKey::new(&[4; 32]),
        hub_key: hub.verifying(),
    };
    let (mut session, _) = NodeSession::start(standing);
    let welcome = pb::Welcome {
        generations: generations_to_pb(&Generations::default()),
        signing_key: Bytes::copy_from_slice(&hub.verifying().to_bytes()),
        ..pb::Welcome::default()
    };
    let mut say = |input| session.on(input, 1);
    let down = |message| Input::Received(pb::Down { message: Some(message) });
    let out = say(down(Down::Welcome(welcome)));
    assert!(out.iter().any(|output| matches!(output, Output::Read { .. })), "{out:?}");
    say(Input::Read(vec![Entry::default(), Entry::default()], head(2)));

    let (up_to, at, commit_hash) = (head(2), Position { generation: 1, hub_seq: 2 }, [5; 32]);
    let signature = hub.sign_receipt(&Receipted { origin: ORIGIN, up_to, at, commit_hash });
    let receipt = pb::Receipt {
        up_to: Some(head_to_pb(&up_to)),
        at: Some(position_to_pb(at)),
        commit_hash: Bytes::copy_from_slice(&commit_hash),
        signature: Bytes::copy_from_slice(&signature),
    };
    let out = say(down(Down::Receipt(receipt)));
    assert!(out.iter().any(|output| matches!(output, Output::Confirmed(_))), "{out:?}");
    say(Input::Appended(head(2)));
    assert!(session.drained(), "nothing is left to send");
}
