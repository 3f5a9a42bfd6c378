//! Records of the log that are no commits: the province's word about cities, its own keys, sessions.

use bytes::Bytes;
use liandong_node::audit::{Note, What};
use liandong_node::log::Batch;
use liandong_node::site::record_kind;
use liandong_proto::erasure;
use liandong_proto::id::SiteCode;
use liandong_proto::pb::log::v1 as pb;
use liandong_proto::rotation::Rotation;
use liandong_proto::session::hub::{Admission, HubKeys};
use liandong_proto::sign::VerifyingKey;
use pb::registry_change::Change;
use prost::Message as _;

use super::{Judge, Told};
use crate::chain;
use crate::queue::{Knock, Proved, Prover, Register, Rekey};
use crate::registry;
use crate::restored::proved_loss;

impl Judge {
    /// Puts a record that is no commit in line, as a part of the chain.
    fn note(&mut self, batch: &mut Batch, kind: u8, payload: &[u8]) {
        batch.push(kind, &[payload]);
        let hash = chain::note_hash(&self.row.commit_hash, kind, payload);
        chain::advance(&mut self.row, hash);
    }

    /// The province's word about a city, if it may be said as things stand.
    pub(super) fn register(&mut self, register: Register, batch: &mut Batch, told: &mut Told) {
        let Register { change, answer } = register;
        let allowed = self.registry.allow(&change);
        if allowed.is_ok() {
            self.note(batch, record_kind::REGISTRY, &change.encode_to_vec());
            let site = SiteCode(change.site);
            told.cities.push((site, self.registry.change(&change, self.row.generation)));
            if matches!(change.change, Some(Change::Restored(_))) {
                told.again.extend(self.registry.members.sites());
            }
            if crate::members::voids_certificates(&change) {
                told.void.push(site);
            } else if crate::members::changes_keys(&change) {
                told.again.push(site);
            }
        }
        told.answers.push(Box::new(move || answer(allowed)));
    }

    fn hub_keys(&self) -> Box<HubKeys> {
        let rotations = self.registry.members.rotations(SiteCode::PROVINCE);
        Box::new(HubKeys { signer: self.signer.clone(), rotations })
    }

    /// Notes proofs of erasures: the hub's own are signed here, at their place of the order.
    pub(super) fn proved(&mut self, proved: Proved, batch: &mut Batch, told: &mut Told) {
        let Proved { by, answer } = proved;
        let (holder, keys, proofs) = match by {
            Prover::Hub(erased) => {
                let proofs = erased.iter().map(|erased| erasure::prove(&self.signer, erased)).collect();
                (SiteCode::PROVINCE, vec![self.signer.verifying()], proofs)
            }
            Prover::City(identity, proofs) => (identity.site, self.registry.members.line(identity), proofs),
        };
        for proof in proofs {
            if self.registry.erasures.is_news(&proof, holder, &keys) {
                self.note(batch, record_kind::ERASED, &proof.encode_to_vec());
                self.registry.erasures.note(proof);
            }
        }
        told.answers.push(Box::new(move || answer(())));
    }

    /// Takes note of it when a city proves that this hub was restored from a backup.
    fn look_for_loss(&mut self, knock: &Knock, batch: &mut Batch, told: &mut Told) {
        let (site, members) = (knock.identity.site, &self.registry.members);
        let mut keys = vec![self.signer.verifying()];
        let earlier = members.rotations(SiteCode::PROVINCE);
        keys.extend(earlier.iter().filter_map(|it| VerifyingKey::from_slice(&it.old_key)));
        // Whoever has no valid certificate proves nothing.
        let is_member = members.signing_key(knock.identity).is_some();
        let lost = proved_loss(site, &knock.hello, &self.generations, members, &keys);
        let Some(lost) = lost.filter(|_| is_member && members.unconfirmed_since().is_none()) else { return };
        tracing::error!(%site, lost, "a city proves that this hub was restored from a backup; run `city confirm`");
        self.ground.note(Note::city(What::HubRestored, site));
        let change = pb::RegistryChange {
            at_ms: self.ground.now_ms(),
            author: String::new(),
            site: SiteCode::PROVINCE.0,
            change: Some(Change::Restored(lost)),
        };
        self.register(Register { change, answer: Box::new(|_| ()) }, batch, told);
    }

    pub(super) fn knock(&mut self, knock: Knock, batch: &mut Batch, told: &mut Told) {
        self.look_for_loss(&knock, batch, told);
        let admission = match self.registry.admit(
            knock.identity,
            &knock.hello,
            &self.generations,
            self.ground.now_ms(),
        ) {
            // Whoever only takes its entries back begins no session that a copy could be told from.
            Ok((origin, _, signing_key)) if knock.hello.restore => Admission::Welcome {
                held: self.registry.head(origin),
                signing_key,
                generations: self.generations.clone(),
                hub_time_ms: self.ground.now_ms(),
                hub_keys: self.hub_keys(),
            },
            Ok((origin, nonce, signing_key)) => {
                let note = pb::SessionOpened {
                    site: origin.site.0,
                    epoch: Bytes::copy_from_slice(&origin.epoch.0),
                    nonce: nonce.clone(),
                    at_ms: self.ground.now_ms(),
                    anchor: knock.hello.anchor.clone(),
                };
                self.registry.took_the_place(origin, note.anchor.as_ref(), &mut self.lineage);
                self.note(batch, record_kind::SESSION, &note.encode_to_vec());
                let row = self.registry.opened(origin, nonce);
                told.heads.push((origin, row.clone()));
                Admission::Welcome {
                    held: registry::head(&row),
                    signing_key,
                    generations: self.generations.clone(),
                    hub_time_ms: self.ground.now_ms(),
                    hub_keys: self.hub_keys(),
                }
            }
            Err(refused) => *refused,
        };
        told.answers.push(Box::new(move || (knock.answer)(admission)));
    }

    /// The hub signs with another key from here on: the commit that this record is part of already.
    pub(super) fn rekey(&mut self, rekey: Rekey, batch: &mut Batch, told: &mut Told) {
        let Rekey { next, author, answer } = rekey;
        let (at_ms, after_seq) = (self.ground.now_ms(), self.row.hub_seq);
        let rotation = Rotation::sign(self.author.origin, after_seq, at_ms, &self.signer, next.verifying());
        let (site, change) = (SiteCode::PROVINCE.0, Some(Change::Rekeyed(rotation)));
        let change = pb::RegistryChange { at_ms, author, site, change };
        self.note(batch, record_kind::REGISTRY, &change.encode_to_vec());
        let row = self.registry.members.change(&change, self.row.generation);
        told.cities.push((SiteCode::PROVINCE, row));
        self.signer = next.clone();
        told.signer = Some(next);
        told.answers.push(Box::new(move || answer(Ok(()))));
    }
}
