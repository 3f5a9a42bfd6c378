//! A hub that goes over to another signing key: which nodes follow it, and which do not.

use bytes::Bytes;
use liandong_proto::entry::Head;
use liandong_proto::id::{Epoch, Origin, SiteCode};
use liandong_proto::pb::log::v1::KeyRotation;
use liandong_proto::pb::sync::v1 as pb;
use liandong_proto::position::{Generations, Position};
use liandong_proto::rotation::Rotation;
use liandong_proto::session::node::{Input, NodeSession, Output, Standing};
use liandong_proto::sign::SigningKey;

fn key(n: u8) -> SigningKey {
    SigningKey::new(&[n; 32])
}

fn rotation(old: u8, new: u8) -> KeyRotation {
    let origin = Origin { site: SiteCode::PROVINCE, epoch: Epoch([8; 16]) };
    Rotation::sign(origin, 5, 1, &key(old), key(new).verifying())
}

/// What a node that has pinned `pinned` makes of a hub that shows `shown`.
fn welcomed(pinned: u8, shown: u8, key_rotations: Vec<KeyRotation>) -> Vec<Output> {
    let (mut session, _) = NodeSession::start(Standing {
        origin: Origin { site: SiteCode(440_100), epoch: Epoch([1; 16]) },
        nonces: vec![Bytes::from_static(&[1; 16])],
        head: Head::default(),
        cursor: Position::default(),
        generations: Generations::default(),
        restore: false,
        receipt: Default::default(),
        anchor: None,
        signer: key(1),
        hub_key: key(pinned).verifying(),
    });
    let signing_key = Bytes::copy_from_slice(&key(shown).verifying().to_bytes());
    let welcome = pb::Welcome { protocol: 1, signing_key, key_rotations, ..pb::Welcome::default() };
    let down = pb::Down { message: Some(pb::down::Message::Welcome(welcome)) };
    session.on(Input::Received(down), 1)
}

#[track_caller]
fn check(pinned: u8, shown: u8, line: Vec<KeyRotation>, follows: &[u8]) {
    let outputs = welcomed(pinned, shown, line);
    let keys: Vec<_> = follows.iter().map(|n| key(*n).verifying()).collect();
    let expected = (!keys.is_empty()).then_some(Output::HubKeys(keys));
    assert_eq!(outputs.first().filter(|output| matches!(output, Output::HubKeys(_))), expected.as_ref());
    assert!(outputs.iter().any(|output| matches!(output, Output::Welcomed(_))), "{outputs:?}");
}

#[track_caller]
fn refused(pinned: u8, shown: u8, line: Vec<KeyRotation>) {
    let outputs = welcomed(pinned, shown, line);
    let code = |refusal: &pb::Refusal| refusal.code() == pb::refusal::Code::Signature;
    assert!(matches!(outputs.as_slice(), [Output::Refused(why)] if code(why)), "{outputs:?}");
}

#[test]
fn a_node_follows_the_line_from_the_key_it_has_pinned() {
    let line = || vec![rotation(2, 3), rotation(3, 4)];
    check(2, 2, Vec::new(), &[]);
    check(2, 4, line(), &[3, 4]);
    check(3, 4, line(), &[4]);
    check(4, 4, line(), &[]);
}

#[test]
fn a_node_follows_nobody_without_a_line_from_its_pin() {
    refused(2, 3, Vec::new());
    refused(2, 4, vec![rotation(3, 4)]);
    refused(3, 2, vec![rotation(2, 3)]);
    // It leads on, but not to the key that is shown.
    refused(2, 5, vec![rotation(2, 3)]);
    // By a thief, in the name of the key that is pinned.
    let forged = KeyRotation { old_key: rotation(2, 3).old_key, ..rotation(7, 3) };
    refused(2, 3, vec![forged]);
    let another_site = Rotation::sign(
        Origin { site: SiteCode(440_300), epoch: Epoch([8; 16]) },
        5,
        1,
        &key(2),
        key(3).verifying(),
    );
    refused(2, 3, vec![another_site]);
}
