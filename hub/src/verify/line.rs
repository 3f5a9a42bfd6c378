//! The lines of signing keys: who vouches for a key, and from which place on it counts.

use liandong_node::audit::End;
use liandong_proto::id::{Origin, SiteCode};
use liandong_proto::pb::log::v1 as pb;
use liandong_proto::rotation::Rotation;
use liandong_proto::sign::VerifyingKey;

use super::Check;

impl Check<'_> {
    /// A city has enrolled a key. Where its first key is pinned, the registry's word for another one counts for nothing.
    pub(super) fn enrolled(&mut self, site: SiteCode, key: VerifyingKey) {
        let mut pins = self.trusted.pins.iter().filter(|pin| pin.site == site).peekable();
        if pins.peek().is_none() {
            self.keys.insert(site, key);
            return;
        }
        let pinned = pins.any(|pin| pin.is(&key));
        let vouched = self.vouched.entry(site).or_default();
        if pinned || vouched.contains(&key) {
            vouched.push(key);
            self.keys.insert(site, key);
            return;
        }
        self.keys.remove(&site);
        let fingerprint = key.fingerprint();
        let en =
            format!("{site} enrolled the key {fingerprint}, for which neither a pin nor a rotation vouches");
        self.found
            .fault(&format!("{site} 登记的密钥 {fingerprint} 既不是所给的指纹，也不是由其轮换而来"), &en);
    }

    /// A site hands over to its next key. Only the key of this place can do that.
    pub(super) fn rekeyed(&mut self, site: SiteCode, statement: &pb::KeyRotation) {
        let rotation = Rotation::check(statement).ok().filter(|rotation| rotation.origin.site == site);
        let holds = rotation.filter(|rotation| {
            if site.is_province() {
                return rotation.old == self.hub_key && rotation.after_seq + 1 == self.next;
            }
            let Rotation { origin: Origin { epoch, .. }, after_seq, .. } = *rotation;
            let head = self.heads.get(&Origin { site, epoch }).map_or(0, |head| head.seq);
            self.keys.get(&site) == Some(&rotation.old) && head <= after_seq
        });
        let Some(rotation) = holds else {
            let en = format!("a rotation of the signing key of {site} is not by its key of that place");
            return self.found.fault(&format!("{site} 的签名密钥轮换不是由当时的密钥签署的"), &en);
        };
        if site.is_province() {
            self.hub_key = rotation.new;
            return;
        }
        self.keys.insert(site, rotation.new);
        if let Some(vouched) = self.vouched.get_mut(&site) {
            vouched.push(rotation.new);
        }
    }

    /// At the end of the log: what only the whole tells. The line of the hub leads to the key it has, and every pin has
    /// been met. Where the audit log stood is the answer.
    pub(super) fn finish(mut self) -> Vec<End> {
        self.tell_missing();
        let Check { hub_key, trusted, found, vouched, audit, .. } = self;
        if hub_key != trusted.newest {
            let en = "the hub has another signing key than the one that its log leads to";
            found.fault("枢纽现有的签名密钥与日志中轮换所至的不是同一个", en);
        }
        for pin in &trusted.pins {
            let (site, fingerprint) = (pin.site, &pin.fingerprint);
            let met = match site.is_province() {
                true => pin.is(&trusted.first),
                false => vouched.get(&site).is_some_and(|keys| keys.iter().any(|key| pin.is(key))),
            };
            if met {
                let zh = format!("{site} 的签名以指纹 {fingerprint} 为准核对");
                let en = format!("signatures of {site} held against {fingerprint}, and what follows from it");
                found.pins.push((zh, en));
            } else {
                let en = format!("no key with the pinned fingerprint {fingerprint} of {site} is in the log");
                found.fault(&format!("日志中没有 {site} 指纹为 {fingerprint} 的密钥"), &en);
            }
        }
        audit
    }
}
