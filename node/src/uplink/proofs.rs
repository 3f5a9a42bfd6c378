//! Proofs of erasures, exchanged beside the session. A request takes so many, and those that the hub does not answer must
//! not keep the others from it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use liandong_proto::erasure::{self, ErasureProof, ErasureRow};
use liandong_proto::id::SiteCode;
use liandong_proto::pb::trust::v1::ProveRequest;
use liandong_proto::pb::trust::v1::membership_client::MembershipClient;
use tonic::transport::Channel;

use super::{blocking, refused_or_cut};
use crate::site::{Site, SiteError};
use crate::trust::{Membership, limits};

type Key = (u32, Bytes);

/// Which proofs go next.
#[derive(Default)]
pub(super) struct Turn(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    /// The last one that went.
    last: Option<Key>,
    /// The life of the hub that `again` is for.
    generation: Option<u64>,
    /// Those that an earlier life of the hub may have answered, and this one has not.
    again: BTreeMap<Key, ErasureProof>,
}

impl Turn {
    /// Has every proof go once more where the hub lives another life than the last time: a backup may lack them.
    fn begin(
        &self,
        generation: u64,
        all: impl FnOnce() -> Result<Vec<ErasureProof>, SiteError>,
    ) -> Result<(), SiteError> {
        let mut waiting = self.waiting();
        if waiting.generation != Some(generation) {
            waiting.again = all()?.into_iter().map(|proof| (key(&proof), proof)).collect();
            waiting.generation = Some(generation);
        }
        Ok(())
    }

    /// Those for the next request: from behind the last one on, then from the beginning.
    fn next(&self, unanswered: Vec<ErasureProof>) -> Vec<ErasureProof> {
        let mut waiting = self.waiting();
        let mut all = waiting.again.clone();
        all.extend(unanswered.into_iter().map(|proof| (key(&proof), proof)));
        let mut proofs: Vec<ErasureProof> = match waiting.last.take() {
            Some(last) => {
                let behind = (Bound::Excluded(last.clone()), Bound::Unbounded);
                all.range(behind).chain(all.range(..=last)).map(|(_, proof)| proof.clone()).collect()
            }
            None => all.into_values().collect(),
        };
        proofs.truncate(limits::PROOFS);
        waiting.last = proofs.last().map(key);
        proofs
    }

    /// Takes note of what the hub has proved itself.
    fn answered(&self, proofs: &[ErasureProof]) {
        let mut waiting = self.waiting();
        for proof in proofs {
            waiting.again.remove(&key(proof));
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(proof: &ErasureProof) -> Key {
    (proof.kind, proof.record.clone())
}

/// Erases what a delivery asked for, hands in proofs, and takes in those of the hub. Tried again with the next tick.
pub(super) async fn prove(site: Arc<Site>, channel: Channel, turn: Arc<Turn>) {
    let at_once = {
        let site = Arc::clone(&site);
        async move {
            let (site_, turn_) = (Arc::clone(&site), Arc::clone(&turn));
            let proofs = blocking(move || {
                if site_.erasures_wait()? {
                    site_.finish_erasures()?;
                }
                turn_.begin(site_.hub_generation(), || site_.proofs(|_| true))?;
                let is_open = |row: &ErasureRow| erasure::proof_of(row, SiteCode::PROVINCE).is_none();
                Ok(turn_.next(site_.proofs(is_open)?))
            });
            let proofs = proofs.await?;
            if proofs.is_empty() {
                return Ok(());
            }
            let mut client = MembershipClient::new(channel).max_decoding_message_size(limits::MESSAGE_BYTES);
            let answer = client.prove(ProveRequest { proofs }).await.map_err(refused_or_cut)?.into_inner();
            turn.answered(&answer.proofs);
            blocking(move || {
                let member = Membership::load(site.paths())?;
                let keys = member.map(|member| member.hub_keys()).transpose()?.unwrap_or_default();
                site.hub_proved(answer.proofs, &keys)
            })
            .await
        }
    };
    if let Err(error) = at_once.await {
        tracing::warn!(%error, "proofs of erasures could not be exchanged; it is tried again");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proofs_without_an_answer_keep_no_others_back() {
        let proof = |n: usize| {
            let record = Bytes::copy_from_slice(&(n as u128).to_be_bytes());
            ErasureProof { kind: 1, record, ..ErasureProof::default() }
        };
        let all: Vec<ErasureProof> = (0..limits::PROOFS * 5 / 2).map(proof).collect();
        let turn = Turn::default();
        let mut seen = vec![false; all.len()];
        for _ in 0..3 {
            let next = turn.next(all.clone());
            assert_eq!(next.len(), limits::PROOFS);
            for proof in next {
                seen[all.iter().position(|it| *it == proof).expect("one of them")] = true;
            }
        }
        assert!(seen.iter().all(|seen| *seen));
        assert_eq!(turn.next(all[..3].to_vec()), all[..3], "fewer go all");
        assert_eq!(turn.next(Vec::new()), []);
    }

    #[test]
    fn every_proof_goes_once_in_each_life_of_the_hub() {
        let proof = |n: u8| ErasureProof { record: Bytes::from(vec![n; 16]), ..ErasureProof::default() };
        let turn = Turn::default();
        let all = [proof(1), proof(2)];
        for generation in [1, 2] {
            turn.begin(generation, || Ok(all.to_vec())).expect("read");
            assert_eq!(turn.next(vec![proof(3)]), [proof(1), proof(2), proof(3)]);
            turn.answered(&[proof(1)]);
            assert_eq!(turn.next(vec![proof(3)]), [proof(2), proof(3)], "until the hub has answered");
            turn.answered(&all);
            assert_eq!(turn.next(vec![proof(3)]), [proof(3)]);
            turn.begin(generation, || unreachable!("they went")).expect("nothing to do");
            assert_eq!(turn.next(Vec::new()), []);
        }
    }
}
