//! What the hub knows of each origin: how much of its log it holds, its last session, its line of epochs.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use liandong_node::index::{Index, check_of};
use liandong_node::rows;
use liandong_node::site::SiteError;
use liandong_proto::entry::{Anchor, Head};
use liandong_proto::id::{Epoch, Origin, SiteCode};
use liandong_proto::merge::Lineage;
use liandong_proto::pb::log::v1 as pb;
use liandong_proto::pb::sync::v1 as sync;
use liandong_proto::position::Generations;
use liandong_proto::session::hub::Admission;
use liandong_proto::session::{generations_from_pb, head_to_pb, refusal};
use liandong_proto::sign::VerifyingKey;
use liandong_proto::validate;
use prost::Message as _;

use crate::agreements::{Agreements, Lack};
use crate::ca::Identity;
use crate::erasures::Erasures;
use crate::members::Members;
use crate::restored::unconfirmed;

/// All origins.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    origins: HashMap<Origin, pb::OriginRow>,
    checks: HashMap<Origin, u64>,
    changed: BTreeSet<Origin>,
    /// Which cities are members.
    pub members: Members,
    /// Which records are erased.
    pub erasures: Erasures,
    /// Which of them may sync.
    pub agreements: Agreements,
}

/// Whether a node's epoch goes on from the end of what is held of the living one.
fn takes_the_place(hello: &sync::Hello, living: Origin, row: &pb::OriginRow) -> bool {
    let end = Anchor { epoch: living.epoch, seq: row.seq, hash: head(row).hash };
    hello.anchor.as_ref().and_then(Anchor::from_pb) == Some(end)
}

/// Whether a node's epoch goes on from another, of which there may be entries, or of those before it.
fn goes_on(hello: &sync::Hello) -> bool {
    hello.anchor.is_some()
}

/// Whether a node has been welcomed in a life of the order that this hub knows nothing of: it was restored from a
/// backup, and the nonce it remembers is an older one than the node does.
fn has_forgotten(history: &Generations, hello: &sync::Hello) -> bool {
    let newest = generations_from_pb(&hello.generations).current();
    newest != 0 && history.starts().iter().all(|start| start.generation != newest)
}

/// The answer to whoever is not, or no longer, a member.
pub fn not_a_member() -> sync::Refusal {
    refusal(
        sync::refusal::Code::NotAMember,
        "本站点的证书已作废：可能已被停用，或已重新加入；本地工作不受影响，请联系省协会",
        "this site's certificate is void: it was cut off, or has joined anew; local work goes on, ask the province",
    )
}

/// The head in an origin's row.
pub fn head(row: &pb::OriginRow) -> Head {
    Head { seq: row.seq, hash: row.hash.as_ref().try_into().unwrap_or_default() }
}

impl Registry {
    /// Reads the origins of an index.
    ///
    /// # Errors
    /// [`SiteError`].
    pub fn load(index: &Index) -> Result<Registry, SiteError> {
        let (members, agreements) = (Members::load(index)?, Agreements::load(index)?);
        let erasures = Erasures::load(index)?;
        let mut out = Registry { members, agreements, erasures, ..Registry::default() };
        for row in index.scan(rows::ORIGINS, Some(&rows::after_prefix(rows::ORIGINS))) {
            let (key, value) = row?;
            let Some(origin) = rows::parse_origin(&key) else { continue };
            out.checks.insert(origin, check_of(&key, &value));
            let row = pb::OriginRow::decode(value).map_err(|e| SiteError::corrupt("an origin's row", e))?;
            out.origins.insert(origin, row);
        }
        Ok(out)
    }

    /// All origins with their rows.
    pub fn iter(&self) -> impl Iterator<Item = (&Origin, &pb::OriginRow)> {
        self.origins.iter()
    }

    /// What is held of an origin.
    pub fn head(&self, origin: Origin) -> Head {
        self.origins.get(&origin).map(head).unwrap_or_default()
    }

    /// The origin that a site lives in now.
    pub fn living(&self, site: SiteCode) -> Option<(Origin, &pb::OriginRow)> {
        let mut living = self.origins.iter().filter(|(origin, row)| origin.site == site && !row.closed);
        living.next().map(|(origin, row)| (*origin, row))
    }

    /// Notes that the origin's log is held up to `head`.
    pub fn advance(&mut self, origin: Origin, head: Head, now_ms: u64) {
        let row = self.origins.entry(origin).or_default();
        row.seq = head.seq;
        row.hash = Bytes::copy_from_slice(&head.hash);
        row.last_received_ms = now_ms;
        self.changed.insert(origin);
    }

    /// Notes that an epoch goes on from an older one, which is closed by that.
    pub fn anchored(&mut self, origin: Origin, anchor: Anchor) {
        let older = Origin { site: origin.site, epoch: anchor.epoch };
        let row = self.origins.entry(origin).or_default();
        row.anchor = Some(anchor.to_pb());
        if let Some(row) = self.origins.get_mut(&older) {
            row.closed = true;
            self.changed.insert(older);
        }
        self.changed.insert(origin);
    }

    /// Notes what the hello of an epoch that goes on from another says of that, before any entry does.
    pub fn took_the_place(&mut self, origin: Origin, anchor: Option<&pb::Anchor>, lineage: &mut Lineage) {
        if let Some(anchor) = anchor.and_then(Anchor::from_pb).filter(|_| !self.origins.contains_key(&origin))
        {
            lineage.note(origin.epoch, anchor);
            self.anchored(origin, anchor);
        }
    }

    /// Takes over a row that has become durable.
    pub fn publish(&mut self, origin: Origin, row: pb::OriginRow) {
        self.origins.insert(origin, row);
    }

    /// An epoch and those before it, each with the place up to which it counts.
    pub fn line(&self, origin: Origin) -> Vec<(Origin, u64)> {
        let mut line = vec![(origin, u64::MAX)];
        // A chain of anchors is finite; the bound guards against a forged circle.
        while let Some((newest, _)) = line.last().filter(|_| line.len() < 64)
            && let Some(anchor) =
                self.origins.get(newest).and_then(|row| Anchor::from_pb(row.anchor.as_ref()?))
        {
            line.push((Origin { site: origin.site, epoch: anchor.epoch }, anchor.seq));
        }
        line
    }

    /// Notes a session.
    pub fn opened(&mut self, origin: Origin, nonce: Bytes) -> pb::OriginRow {
        let row = self.origins.entry(origin).or_default();
        row.nonce = nonce;
        row.clone()
    }

    /// Rows that changed since the last call.
    pub fn take_changed(&mut self) -> Vec<(Origin, pb::OriginRow)> {
        let changed = std::mem::take(&mut self.changed);
        changed.into_iter().filter_map(|origin| Some((origin, self.origins.get(&origin)?.clone()))).collect()
    }

    /// The check of the row stored before, and the new row's bytes.
    pub fn stored(&mut self, origin: Origin, row: &pb::OriginRow) -> (Option<u64>, Bytes) {
        let value = Bytes::from(row.encode_to_vec());
        let old = self.checks.insert(origin, check_of(&rows::origin(origin), &value));
        (old, value)
    }

    /// Whether the registry may be changed so, as things stand.
    ///
    /// # Errors
    /// [`SiteError::Refused`] saying why not.
    pub fn allow(&self, change: &pb::RegistryChange) -> Result<(), SiteError> {
        self.members.allow(change)?;
        let Some(pb::registry_change::Change::Rekeyed(rotation)) = &change.change else { return Ok(()) };
        let (site, epoch) = (SiteCode(change.site), Epoch::from_slice(&rotation.epoch).unwrap_or_default());
        // An old key that got out cannot be made to have signed what came later.
        if self.head(Origin { site, epoch }).seq > rotation.after_seq {
            return Err(SiteError::Refused(format!(
                "{site}: the rotation ends the old key before entries it signed"
            )));
        }
        Ok(())
    }

    /// Makes a change that has been allowed; the city's row after it. `generation` is the life of the order that it is
    /// made in.
    pub fn change(&mut self, change: &pb::RegistryChange, generation: u64) -> pb::CityRow {
        if matches!(change.change, Some(pb::registry_change::Change::Restored(_))) {
            // What a backup remembers of sessions is older than what the nodes do: it tells no copy from them.
            for (origin, row) in self.origins.iter_mut().filter(|(_, row)| !row.nonce.is_empty()) {
                row.nonce.clear();
                self.changed.insert(*origin);
            }
        }
        self.members.change(change, generation)
    }

    /// Whether a node may sync: its origin, the nonce of its session and the key it signs with if so.
    ///
    /// # Errors
    /// The answer to give.
    pub fn admit(
        &self,
        identity: Identity,
        hello: &sync::Hello,
        history: &Generations,
        now_ms: u64,
    ) -> Result<(Origin, Bytes, VerifyingKey), Box<Admission>> {
        use sync::diverged::Cause;
        let site = identity.site;
        let Some(signing_key) = self.members.signing_key(identity) else {
            return Err(Box::new(Admission::Refused(not_a_member())));
        };
        if self.members.unconfirmed_since().is_some() {
            return Err(Box::new(Admission::Refused(unconfirmed())));
        }
        // What a city wrote is its own to have back.
        if !hello.restore {
            let until = self.agreements.check(site, validate::today(now_ms), &self.members.line(identity));
            until.map_err(|lack: Lack| Box::new(Admission::Refused(lack.refusal())))?;
        }
        let epoch = Epoch::from_slice(&hello.epoch).unwrap_or_default();
        let origin = Origin { site, epoch };
        let nonce = hello.nonces.last().cloned().unwrap_or_default();
        let parted = |cause: Cause, held: Option<&pb::OriginRow>| {
            Err(Box::new(Admission::Diverged(sync::Diverged {
                cause: cause as i32,
                held: held.map(|row| head_to_pb(&head(row))),
                common: None,
            })))
        };
        match (self.origins.get(&origin), self.living(site)) {
            (Some(row), _) if row.closed => parted(Cause::Epoch, Some(row)),
            // It has lost what it knew of sessions, with everything else.
            (Some(_), _) if hello.restore => Ok((origin, nonce, signing_key)),
            (Some(row), _)
                if !row.nonce.is_empty()
                    && !hello.nonces.contains(&row.nonce)
                    && !has_forgotten(history, hello) =>
            {
                parted(Cause::Nonce, Some(row))
            }
            (None, Some((living, row))) if !takes_the_place(hello, living, row) => {
                parted(Cause::Epoch, Some(row))
            }
            // What it goes on from has to be here first.
            (None, None) if goes_on(hello) => parted(Cause::Epoch, None),
            _ => Ok((origin, nonce, signing_key)),
        }
    }
}
