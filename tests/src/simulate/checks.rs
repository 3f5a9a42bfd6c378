//! Invariants that are checked where the hub hears or says something.

use bytes::Bytes;
use liandong_hub::history::locate;
use liandong_node::site::record_kind;
use liandong_proto::id::Origin;
use liandong_proto::pb::sync::v1 as sync;
use liandong_proto::session::head_from_pb;
use prost::Message as _;

use super::invariants::{Broken, Invariant};
use super::world::World;

impl World {
    /// The hub holds, durably, what a receipt speaks of.
    pub(super) fn check_receipt(&mut self, link: u64, receipt: &sync::Receipt) -> Result<(), Broken> {
        let Some(hub) = self.hub.running.as_ref() else { return Ok(()) };
        let Some(origin) = hub.drivers.get(&link).and_then(|driver| driver.session.origin()) else {
            return Ok(());
        };
        let head = head_from_pb(receipt.up_to.as_ref());
        self.counts.receipts += 1;
        self.hub.receipts.insert(origin, head);
        // Of what cannot be read nobody can say.
        let found = locate(&self.hub.disk.durable(), origin, &[head]);
        if found.is_err() || matches!(found, Ok(found) if found == Some(head)) {
            return Ok(());
        }
        let what = format!("a receipt for entry {} of {}, which is not durable", head.seq, origin.site);
        Err(Broken::new(Invariant::ReceiptIsDurable, what))
    }

    /// After a start the hub holds all that it has given receipts for.
    pub(super) fn check_receipts(&self) -> Result<(), Broken> {
        let Some(hub) = &self.hub.running else { return Ok(()) };
        for (origin, head) in &self.hub.receipts {
            let held = hub.published.registry.head(*origin);
            if held.seq < head.seq || (held.seq == head.seq && held.hash != head.hash) {
                let what = format!("of {} entry {} is gone, which has a receipt", origin.site, head.seq);
                return Err(Broken::new(Invariant::ReceiptIsDurable, what));
            }
        }
        Ok(())
    }

    /// Whoever is welcomed is no copy of one that has had a session since, where the hub tells copies apart.
    pub(super) fn check_nonce(
        &mut self,
        link: u64,
        origin: Origin,
        nonce: Bytes,
        is_told: bool,
    ) -> Result<(), Broken> {
        let Some(known) = self.links.get(&link) else { return Ok(()) };
        let image = known.image;
        let before = self.admitted.insert(origin, nonce);
        if !is_told || before.is_none_or(|before| self.image_knows(image, &before)) {
            return Ok(());
        }
        let what = format!("a copy of {} is let in beside another", origin.site);
        Err(Broken::new(Invariant::CopiesAreToldApart, what))
    }

    /// What a node says to have applied is durable there, as it was sent.
    pub(super) fn check_applied(&mut self, link: u64, place: u64) -> Result<(), Broken> {
        let Some(known) = self.links.get_mut(&link) else { return Ok(()) };
        let node = &self.nodes[known.node];
        if known.image != node.image {
            // What was said was said of another disk.
            return Ok(());
        }
        while let Some((_, deliver)) = known.told.pop_front_if(|(up_to, _)| *up_to <= place) {
            let sent = deliver.encode_to_vec();
            if !node.disk.newest_durable(record_kind::RECEIVED).take(30).any(|payload| *payload == sent) {
                let what =
                    format!("{} says that it has applied {place}, and it is not durable there", node.site);
                return Err(Broken::new(Invariant::AppliedIsDurable, what));
            }
        }
        Ok(())
    }
}
