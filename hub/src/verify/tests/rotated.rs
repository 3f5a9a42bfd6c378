//! Signing keys that change in the middle of the log: each counts for its own part of it.

use super::*;

fn next_key() -> SigningKey {
    SigningKey::new(&[5; 32])
}

/// A log in which the city and then the hub go over to other keys, and the hub's line and keys.
fn rotated(dir: &Path) -> (Vec<(u8, Bytes)>, Trusted) {
    Hub::init(dir, None).expect("made");
    let hub = Hub::open(&HubOptions::new(dir), &mut |_| {}).expect("opens");
    join(&hub);
    let pace = crate::listen::Pace::new(8, std::time::Duration::from_secs(600));
    let mut entries = entries(6);
    let (last, middle) = (entries.split_off(4), entries.split_off(2));
    push(&hub, entries);
    let forged = Rotation::sign(CITY, 2, 1, &SigningKey::new(&[6; 32]), next_key().verifying());
    assert!(hub.rekey_city(MEMBER, forged, &pace).is_err(), "by a key that the city has not enrolled");
    let old_key = Bytes::copy_from_slice(&city_key().verifying().to_bytes());
    let forged =
        pb::KeyRotation { old_key, ..Rotation::sign(CITY, 2, 1, &next_key(), next_key().verifying()) };
    assert!(hub.rekey_city(MEMBER, forged, &pace).is_err(), "in the name of the key that it has enrolled");
    let early = Rotation::sign(CITY, 1, 1, &city_key(), next_key().verifying());
    assert!(hub.rekey_city(MEMBER, early, &pace).is_err(), "it would disown an entry that is here");
    let rotation = Rotation::sign(CITY, 3, 1, &city_key(), next_key().verifying());
    hub.rekey_city(MEMBER, rotation.clone(), &pace).expect("taken");
    hub.rekey_city(MEMBER, rotation, &pace).expect("said once more after a lost answer");
    // What the old key has signed and was still under way is not taken any more.
    queue(&hub, middle.clone(), &city_key());
    push_by(&hub, middle, &next_key());
    let (old, new) = hub.rotate_signing_key("a").expect("rotated");
    assert_eq!(hub.signing_key(), new);
    push_by(&hub, last, &next_key());
    hub.close().expect("closed");
    drop(hub);
    // The line is in the log: it is found by the next start as well, which signs with the newest key.
    let hub = Hub::rebuild(&HubOptions::new(dir), &mut |_| {}).expect("opens");
    assert_eq!(hub.signing_key(), new);
    let line = hub.read(|published| published.registry.members.rotations(SiteCode::PROVINCE));
    let trusted = Trusted::new(hub.signing_key(), &line, &[]);
    assert_eq!((trusted.first, trusted.newest), (old, new));
    let records = hub.log().read(Pos::default()).map(|raw| raw.expect("readable"));
    let records = records.map(|raw| (raw.kind, raw.payload)).collect();
    hub.close().expect("closed");
    (records, trusted)
}

#[test]
fn signatures_before_and_after_a_rotation_are_held_against_the_key_of_their_place() {
    let dir = tempfile::tempdir().expect("a directory");
    let (records, trusted) = rotated(dir.path());
    assert_eq!(faults_under(&records, &trusted), [] as [&str; 0]);
    for only in [trusted.first, trusted.newest] {
        assert!(!faults(&records, only).is_empty(), "one key of the hub for the whole log");
    }
    // Without its rotation the chain is broken, whatever the keys; so the city's is looked at alone.
    let mut found = Findings::default();
    let mut check = Check::new(&trusted, &mut found);
    check.enrolled(CITY.site, city_key().verifying());
    let head = Head { seq: 3, hash: [3; 32] };
    let by = |key: &SigningKey| pb::SignedHead {
        site: CITY.site.0,
        epoch: Bytes::copy_from_slice(&CITY.epoch.0),
        seq: 3,
        hash: Bytes::copy_from_slice(&head.hash),
        signature: Bytes::copy_from_slice(&key.sign_head(CITY, &head)),
    };
    let faults = |check: &mut Check<'_>, key: &SigningKey| {
        let before = check.found.faults.len();
        check.signed(&by(key), &mut HashMap::new());
        check.found.faults.len() - before
    };
    assert_eq!((faults(&mut check, &city_key()), faults(&mut check, &next_key())), (0, 1));
    check.rekeyed(CITY.site, &Rotation::sign(CITY, 3, 1, &city_key(), next_key().verifying()));
    assert_eq!((faults(&mut check, &city_key()), faults(&mut check, &next_key())), (1, 0));
}

/// A statement in the log is worth what its place makes of it: the hub could have put any there.
#[test]
fn a_rotation_that_is_not_by_the_key_of_its_place_is_a_fault_and_changes_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_, trusted) = rotated(dir.path());
    let mut found = Findings::default();
    let mut check = Check::new(&trusted, &mut found);
    check.enrolled(CITY.site, city_key().verifying());
    check.heads.insert(CITY, Head { seq: 5, hash: [5; 32] });
    let hub = Origin { site: SiteCode::PROVINCE, ..CITY };
    let thief = SigningKey::new(&[6; 32]);
    let statements = [
        (CITY.site, Rotation::sign(CITY, 9, 1, &thief, next_key().verifying())),
        (CITY.site, Rotation::sign(CITY, 4, 1, &city_key(), next_key().verifying())),
        (CITY.site, Rotation::sign(hub, 9, 1, &city_key(), next_key().verifying())),
        (SiteCode(440_300), Rotation::sign(CITY, 9, 1, &city_key(), next_key().verifying())),
        (SiteCode::PROVINCE, Rotation::sign(hub, 0, 1, &thief, next_key().verifying())),
    ];
    for (at, (site, statement)) in statements.iter().enumerate() {
        check.rekeyed(*site, statement);
        assert_eq!(check.found.faults.len(), at + 1, "statement {at}");
    }
    assert_eq!(check.keys.get(&CITY.site), Some(&city_key().verifying()));
    assert_eq!(check.hub_key, trusted.first);
}

#[test]
fn no_bit_of_a_log_with_rotations_can_be_altered() {
    let dir = tempfile::tempdir().expect("a directory");
    let (records, trusted) = rotated(dir.path());
    let rekeyed = |(kind, payload): &(u8, Bytes)| {
        *kind == record_kind::REGISTRY
            && matches!(
                pb::RegistryChange::decode(payload.clone()).map(|change| change.change),
                Ok(Some(Change::Rekeyed(_)))
            )
    };
    let places: Vec<usize> = (0..records.len()).filter(|at| rekeyed(&records[*at])).collect();
    assert_eq!(places.len(), 2, "the city's and the hub's");
    for at in places {
        for bit in 0..8 * records[at].1.len() {
            let mut bent = records[at].1.to_vec();
            bent[bit / 8] ^= 1 << (bit % 8);
            let mut altered = records.clone();
            altered[at].1 = bent.into();
            assert!(!faults_under(&altered, &trusted).is_empty(), "bit {bit} of record {at}");
        }
    }
}

/// What the hub's registry says of a city's key counts for nothing where the agreement names another.
#[test]
fn a_pin_is_trusted_in_place_of_the_registry() {
    let dir = tempfile::tempdir().expect("a directory");
    let (records, trusted) = rotated(dir.path());
    let under = |pins: &[(SiteCode, &SigningKey)]| {
        let pin = |(site, key): &(SiteCode, &SigningKey)| Pin {
            site: *site,
            fingerprint: key.verifying().fingerprint(),
        };
        let trusted = Trusted { pins: pins.iter().map(pin).collect(), ..trusted.clone() };
        let mut found = Findings::default();
        let mut check = Check::new(&trusted, &mut found);
        records.iter().for_each(|(kind, payload)| check.record(*kind, payload.clone(), Pos::default()));
        check.finish();
        (found.faults.len(), found.pins.len())
    };
    assert_eq!(under(&[(CITY.site, &city_key())]), (0, 1));
    let (faults, met) = under(&[(CITY.site, &SigningKey::new(&[8; 32]))]);
    assert!(faults > 3 && met == 0, "nothing that the city is said to have signed holds: {faults}");
    assert!(under(&[(CITY.site, &next_key())]).0 > 0, "the first key is the pinned one");
    assert!(under(&[(SiteCode(440_300), &city_key())]).0 > 0, "a city that is not in the log");
    assert!(under(&[(SiteCode::PROVINCE, &city_key())]).0 > 0, "another hub");
}

/// A crash may come between the record of a rotation and the files.
#[test]
fn a_rotation_that_a_crash_cut_short_is_finished_or_forgotten() {
    let dir = tempfile::tempdir().expect("a directory");
    Hub::init(dir.path(), None).expect("made");
    let keys = dir.path().join("keys");
    let open = || Hub::open(&HubOptions::new(dir.path()), &mut |_| {});
    let hub = open().expect("opens");
    let before = std::fs::read(keys.join("signing.key")).expect("a key");
    let (old, new) = hub.rotate_signing_key("a").expect("rotated");
    hub.close().expect("closed");
    drop(hub);
    // As if the files had not been put in their places.
    std::fs::rename(keys.join("signing.key"), keys.join("signing.next")).expect("renamed");
    std::fs::write(keys.join("signing.key"), &before).expect("written");
    private(&keys.join("signing.key"));
    let hub = open().expect("opens");
    assert_eq!(hub.signing_key(), new);
    // A next key that no record names yet is another one each time.
    std::fs::write(keys.join("signing.next"), &before).expect("written");
    let (from, _) = hub.rotate_signing_key("a").expect("rotated");
    assert_eq!(from, new);
    hub.close().expect("closed");
    drop(hub);
    // A copy of keys/ from before the rotation is not signed with.
    std::fs::write(keys.join("signing.key"), &before).expect("written");
    private(&keys.join("signing.key"));
    let told = open().map(|_| ()).expect_err("refused").to_string();
    assert!(told.contains("newest copy of keys/"), "{told}");
    assert!(!told.contains(&old.fingerprint()));
}

fn private(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("made private");
}
