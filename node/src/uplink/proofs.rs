//! Proofs of erasures, exchanged beside the session. A request takes so many, and those that the hub does not answer must
//! not keep the others from it.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use liandong_proto::erasure::ErasureProof;
use liandong_proto::pb::trust::v1::ProveRequest;
use liandong_proto::pb::trust::v1::membership_client::MembershipClient;
use tonic::transport::Channel;

use super::{blocking, refused_or_cut};
use crate::site::Site;
use crate::trust::{Membership, limits};

/// Kind and id of the last one that went.
#[derive(Default)]
pub(super) struct Turn(Mutex<Option<(u32, Bytes)>>);

impl Turn {
    /// Those for the next request, out of all that wait, by kind and id: from behind the last one on, then from the
    /// beginning.
    pub fn next(&self, mut proofs: Vec<ErasureProof>) -> Vec<ErasureProof> {
        let key = |proof: &ErasureProof| (proof.kind, proof.record.clone());
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = proofs.partition_point(|proof| last.as_ref().is_some_and(|last| key(proof) <= *last));
        proofs.rotate_left(gone);
        proofs.truncate(limits::PROOFS);
        *last = proofs.last().map(key);
        proofs
    }
}

/// Erases what a delivery asked for, hands in proofs, and takes in those of the hub. Tried again with the next tick.
pub(super) async fn prove(site: Arc<Site>, channel: Channel, turn: Arc<Turn>) {
    let at_once = {
        let site = Arc::clone(&site);
        async move {
            let site_ = Arc::clone(&site);
            let proofs = blocking(move || {
                if site_.erasures_wait()? {
                    site_.finish_erasures()?;
                }
                site_.unanswered_proofs()
            });
            let proofs = turn.next(proofs.await?);
            if proofs.is_empty() {
                return Ok(());
            }
            let mut client = MembershipClient::new(channel).max_decoding_message_size(limits::MESSAGE_BYTES);
            let answer = client.prove(ProveRequest { proofs }).await.map_err(refused_or_cut)?.into_inner();
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
}
