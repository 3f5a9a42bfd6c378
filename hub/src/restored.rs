//! A hub that was restored from a backup. Its order goes on as after any start, but what it has forgotten may be that an
//! invitation was used or a city cut off: so all invitations are void, and no city is let in until a person has looked
//! at who is cut off.
//!
//! An operator says so ([`Hub::say_restored`]), or a city proves it: with a receipt that this hub signed for a place
//! of its order that it knows nothing of. No word of a city alone can lock the others out, and no life that was lost does so
//! twice.

use std::sync::Arc;
use std::{fs, io};

use liandong_node::audit::What;
use liandong_node::site::SiteError;
use liandong_proto::id::{Epoch, Origin, SiteCode};
use liandong_proto::pb::log::v1::registry_change::Change;
use liandong_proto::pb::sync::v1 as sync;
use liandong_proto::position::Generations;
use liandong_proto::session::node::check_receipt;
use liandong_proto::session::{generations_from_pb, position_from_pb, refusal};
use liandong_proto::sign::VerifyingKey;
use prost::Message as _;

use crate::hub::Hub;
use crate::members::Members;

/// The answer to every city while nobody has confirmed.
pub(crate) fn unconfirmed() -> sync::Refusal {
    refusal(
        sync::refusal::Code::Frozen,
        "省级枢纽由备份恢复，正等省协会确认停用名单；同步暂停，本地工作不受影响，确认后自动同步",
        "the hub was restored from a backup and waits for the province to confirm who is cut off; nothing syncs, local work \
         goes on, and sync goes on by itself after that",
    )
}

/// The life of the order of which a city's hello proves this hub to have lost the end, or all; `None` where it proves
/// nothing, or nothing new.
pub(crate) fn proved_loss(
    site: SiteCode,
    hello: &sync::Hello,
    history: &Generations,
    members: &Members,
    hub_keys: &[VerifyingKey],
) -> Option<u64> {
    let receipt = sync::Receipt::decode(hello.receipt.clone()).ok()?;
    let at = position_from_pb(receipt.at.as_ref());
    if at.generation == 0 || !history.lost(at) || members.has_noticed(at.generation) {
        return None;
    }
    let origin = Origin { site, epoch: Epoch::from_slice(&hello.epoch)? };
    let is_signed = hub_keys.iter().any(|key| check_receipt(key, origin, &receipt).is_ok());
    // Whoever has heard of the life in which a restore was noticed, and takes the receipt's place for one that still
    // holds, has seen another restore since.
    let noticed = members.restored_in();
    let known = generations_from_pb(&hello.generations);
    let has_heard = noticed == 0 || known.starts().iter().any(|start| start.generation == noticed);
    (is_signed && has_heard && !known.lost(at)).then_some(at.generation)
}

impl Hub {
    /// Says that this hub was restored from a backup.
    ///
    /// # Errors
    /// [`SiteError`].
    pub fn say_restored(&self, author: &str) -> Result<(), SiteError> {
        self.register(SiteCode::PROVINCE, author, Change::Restored(0))?;
        self.note_decision(What::HubRestored, SiteCode::PROVINCE, author, "");
        tracing::warn!("restored from a backup, by the operator's word; cities wait for a confirmation");
        Ok(())
    }

    /// Says so where `backup restore` has left word of it, before anybody is let in: whoever puts a backup back knows what it
    /// is, and nobody has to think of saying so.
    pub(crate) fn heed_put_back(self: Arc<Hub>) -> Result<Arc<Hub>, SiteError> {
        let path = self.shared.paths.put_back();
        match fs::read_to_string(&path) {
            Ok(author) => {
                self.say_restored(&author)?;
                fs::remove_file(&path).map_err(|source| SiteError::File { path, source })?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(SiteError::File { path, source }),
        }
        Ok(self)
    }

    /// Lets cities in again: somebody has looked at who is cut off.
    ///
    /// # Errors
    /// [`SiteError::Refused`] when there is nothing to confirm.
    pub fn confirm(&self, author: &str) -> Result<(), SiteError> {
        self.register(SiteCode::PROVINCE, author, Change::Confirmed(true))?;
        self.note_decision(What::Confirmed, SiteCode::PROVINCE, author, "");
        tracing::warn!("who is cut off was confirmed; cities are let in again");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use liandong_proto::entry::Head;
    use liandong_proto::pb::log::v1 as log;
    use liandong_proto::position::{GenerationStart, Position};
    use liandong_proto::session::{generations_to_pb, head_to_pb, position_to_pb};
    use liandong_proto::sign::{Receipted, SigningKey};

    use liandong_node::site::Paths;

    use super::*;
    use crate::hub::HubOptions;

    #[test]
    fn a_hub_that_was_put_back_knows_it_however_the_restore_ended() {
        let dir = tempfile::tempdir().expect("a directory");
        Hub::init(dir.path(), None).expect("made");
        let word = Paths::new(dir.path()).put_back();
        std::fs::write(&word, "secretary-1").expect("written");
        for _ in 0..2 {
            let hub = Hub::open(&HubOptions::new(dir.path()), &mut |_| {}).expect("it opens");
            assert!(hub.read(|now| now.registry.members.unconfirmed_since().is_some()), "nobody is let in");
            assert!(!word.exists(), "the log says so now");
            hub.close().expect("closed");
        }
    }

    const SITE: SiteCode = SiteCode(440_100);
    const ORIGIN: Origin = Origin { site: SITE, epoch: Epoch([1; 16]) };

    /// Lives of which each gives out five places.
    fn history(generations: &[u64]) -> Generations {
        let start = |(generation, n): (&u64, u64)| GenerationStart {
            generation: *generation,
            first_hub_seq: n * 5 + 1,
        };
        Generations::new(generations.iter().zip(0..).map(start).collect())
    }

    fn receipt(generation: u64, hub_seq: u64, key: &SigningKey) -> Bytes {
        let (up_to, at) = (Head { seq: 3, hash: [2; 32] }, Position { generation, hub_seq });
        let signature = key.sign_receipt(&Receipted { origin: ORIGIN, up_to, at, commit_hash: [4; 32] });
        let receipt = sync::Receipt {
            up_to: Some(head_to_pb(&up_to)),
            at: Some(position_to_pb(at)),
            commit_hash: Bytes::from_static(&[4; 32]),
            signature: Bytes::copy_from_slice(&signature),
        };
        receipt.encode_to_vec().into()
    }

    /// A hello that knows these lives of the order, with a receipt of one of them.
    fn hello(known: &[u64], of: u64, key: &SigningKey) -> sync::Hello {
        sync::Hello {
            epoch: Bytes::copy_from_slice(&ORIGIN.epoch.0),
            generations: generations_to_pb(&history(known)),
            receipt: receipt(of, 90, key),
            ..sync::Hello::default()
        }
    }

    #[test]
    fn only_a_receipt_of_this_hub_proves_that_it_has_forgotten_something() {
        let key = SigningKey::new(&[7; 32]);
        let keys = [key.verifying()];
        // The hub was in its second life, of which its backup knows nothing; now it is in its third.
        let ours = history(&[1, 3]);
        let mut members = Members::default();
        let proved =
            |members: &Members, hello: &sync::Hello, site| proved_loss(site, hello, &ours, members, &keys);
        assert_eq!(proved(&members, &hello(&[1, 2], 2, &key), SITE), Some(2));
        let inside = sync::Hello { receipt: receipt(1, 5, &key), ..hello(&[1], 1, &key) };
        assert_eq!(proved(&members, &inside, SITE), None, "a place that it knows");
        assert_eq!(proved(&members, &hello(&[1], 1, &key), SITE), Some(1), "a backup of a hub that ran");
        assert_eq!(
            proved(&members, &hello(&[1, 3], 1, &key), SITE),
            None,
            "the city knows that this is lost"
        );
        let forged = hello(&[1, 2], 2, &SigningKey::new(&[8; 32]));
        assert_eq!(proved(&members, &forged, SITE), None, "another's signature");
        assert_eq!(proved(&members, &hello(&[1, 2], 2, &key), SiteCode(440_300)), None, "another's receipt");
        let bare = sync::Hello { receipt: Bytes::new(), ..hello(&[1, 2], 2, &key) };
        assert_eq!(proved(&members, &bare, SITE), None, "a word alone");

        // Once it is known, cities that have been away do not lock the others out again.
        let change = Some(Change::Restored(2));
        let restored =
            log::RegistryChange { site: SiteCode::PROVINCE.0, at_ms: 5, change, ..Default::default() };
        members.change(&restored, 3);
        assert_eq!(proved(&members, &hello(&[1, 2], 2, &key), SITE), None);
        // Nor does one that only says it was there after it, with an old receipt.
        assert_eq!(proved(&members, &hello(&[1, 3, 2], 2, &key), SITE), None);
        // One that was there after it, and has seen yet another life that is lost, does.
        assert_eq!(proved(&members, &hello(&[1, 3, 4], 4, &key), SITE), Some(4));
    }
}
