//! The people who look after the machines: they free disks, put copies back, decide which of two machines is to live, and
//! confirm that the hub was restored.

use std::collections::BTreeSet;

use liandong_proto::id::SiteCode;
use liandong_proto::pb::log::v1::registry_change::Change;
use rand::RngExt as _;

use super::node::{Secrets, Uplink};
use super::world::{Event, World};

/// How often they look.
const LOOK_MS: u64 = 1_500;

impl World {
    /// All that goes wrong by itself ends; what needs somebody is for the operator.
    pub(super) fn mend(&mut self) {
        self.storm = false;
        self.decided.clear();
        self.hub.offset_ms = 0;
        self.hub.disk.full = false;
        for node in &mut self.nodes {
            node.offset_ms = 0;
            node.disk.full = false;
            node.unreachable_until = 0;
        }
        self.look_after();
    }

    pub(super) fn operator(&mut self) {
        self.after(LOOK_MS, Event::Operator);
        // In a storm they are not always there.
        if !self.storm || self.random.random_range(0..3) == 0 {
            self.look_after();
        }
    }

    fn look_after(&mut self) {
        self.look_after_hub();
        for n in 0..self.nodes.len() {
            self.look_after_node(n);
        }
    }

    fn look_after_hub(&mut self) {
        if self.hub.running.is_none() && self.hub.disk.is_damaged() {
            self.hub_put_back();
        }
        let Some(hub) = &self.hub.running else { return };
        let unconfirmed = hub.published.registry.members.unconfirmed_since().is_some();
        if std::mem::take(&mut self.hub.unsaid) && !unconfirmed {
            self.register(SiteCode::PROVINCE, Change::Restored(0));
        } else if unconfirmed {
            self.register(SiteCode::PROVINCE, Change::Confirmed(true));
        }
    }

    /// The hub gets an older copy of its disk.
    pub(super) fn hub_put_back(&mut self) {
        let Some(backup) = self.hub.backup.clone() else { return };
        self.hub_stops();
        self.hub.disk = backup;
        self.hub.receipts.clear();
        self.admitted.clear();
        self.hub.unsaid = true;
        self.doubtful.extend(self.nodes.iter().map(|node| node.site));
        self.counts.fault("hub restored");
        let pause = self.takes(1_000);
        self.after(pause, Event::HubStart);
    }

    /// The other machines of a site.
    pub(super) fn others_of(&self, n: usize) -> Vec<usize> {
        let others = (0..self.nodes.len()).filter(|other| *other != n);
        others.filter(|it| self.nodes[*it].site == self.nodes[n].site && !self.nodes[*it].retired).collect()
    }

    fn look_after_node(&mut self, n: usize) {
        let node = &self.nodes[n];
        let members = self.hub.running.as_ref().map(|hub| &hub.published.registry.members);
        let may_join = members.is_some_and(|members| members.unconfirmed_since().is_none());
        if node.is_void && may_join && !node.retired {
            self.nodes[n].secrets.enrolment = self.random.random();
            self.enrol(n);
            self.counts.fault("node joined anew");
        }
        let node = &self.nodes[n];
        if node.retired || node.taking.is_some() {
            return;
        }
        let others = self.others_of(n).into_iter().map(|other| &self.nodes[other]);
        let mut others = others.map(|it| (it.running.as_ref().map(|it| &it.uplink), it.taking.is_some()));
        let is_other_up = others.any(|(uplink, is_taking)| {
            is_taking || matches!(uplink, Some(Uplink::Connected(..) | Uplink::HandingIn(..)))
        });
        let (site, is_calm) = (node.site, !self.storm);
        let Some(running) = &node.running else {
            if node.disk.is_damaged() {
                match is_other_up {
                    true => self.node_retires(n),
                    false => self.take(n, false),
                }
            }
            return;
        };
        match running.uplink {
            // Each of two machines has been asked for once, at the most: then the one that syncs is to live.
            Uplink::Stopped { parted: true } | Uplink::Offline
                if is_other_up && is_calm && (self.random.random_bool(0.5) || !self.decided.insert(site)) =>
            {
                self.node_retires(n);
            }
            Uplink::Offline if is_other_up && is_calm => self.take(n, true),
            Uplink::Stopped { parted: true } => self.take(n, true),
            // A machine that has failed is started again once there is space.
            Uplink::Stopped { parted: false } if !node.disk.full => self.node_crashes(n),
            _ => {}
        }
    }

    /// A machine is switched off for good; what it alone has is given up.
    pub(super) fn node_retires(&mut self, n: usize) {
        self.node_stops(n);
        self.nodes[n].retired = true;
        self.counts.fault("machine retired");
    }

    /// Everybody has settled: from here on nothing parts by itself.
    pub(super) fn settled(&mut self) {
        let mut seen = BTreeSet::new();
        let double: BTreeSet<SiteCode> =
            self.nodes.iter().filter(|it| !it.retired && !seen.insert(it.site)).map(|it| it.site).collect();
        self.doubtful.retain(|site| double.contains(site));
    }

    pub(super) fn node_backs_up(&mut self, n: usize) {
        let image = self.new_image(Some(self.nodes[n].image));
        let node = &mut self.nodes[n];
        if node.taking.is_none() && !node.disk.is_damaged() {
            node.backup = Some((node.disk.backup(), image));
        }
    }

    /// A node gets an older copy of its disk, which its site has without knowing that it is old.
    pub(super) fn node_put_back(&mut self, n: usize) {
        let Some((disk, image)) = self.nodes[n].backup.clone() else { return };
        if self.nodes[n].taking.is_some() || self.nodes[n].retired {
            return;
        }
        self.node_stops(n);
        let node = &mut self.nodes[n];
        (node.disk, node.image, node.acked) = (disk, image, None);
        node.backup = None;
        self.doubtful.insert(self.nodes[n].site);
        self.counts.fault("node restored");
        self.after(500, Event::NodeStart(n));
    }

    /// A second machine runs with a copy of a node's disk.
    pub(super) fn node_is_cloned(&mut self, n: usize) {
        let node = &self.nodes[n];
        let machines = self.nodes.iter().filter(|it| it.site == node.site && !it.retired).count();
        if machines > 1 || node.taking.is_some() || node.disk.is_damaged() || node.retired {
            return;
        }
        let image = self.new_image(Some(self.nodes[n].image));
        let copy = self.nodes[n].copy(image);
        self.doubtful.insert(copy.site);
        self.nodes.push(copy);
        self.counts.fault("node cloned");
        let clone = self.nodes.len() - 1;
        self.after(100, Event::NodeStart(clone));
        self.after(700, Event::Clerk(clone));
    }

    /// A machine and its disk are gone; the city joins with a new one and gets back what the hub holds.
    pub(super) fn node_is_lost(&mut self, n: usize) {
        let node = &self.nodes[n];
        let Some(hub) = self.hub.running.as_ref().filter(|_| node.taking.is_none() && !node.retired) else {
            return;
        };
        let members = &hub.published.registry.members;
        if members.unconfirmed_since().is_some() || hub.published.registry.living(node.site).is_none() {
            return;
        }
        let site = node.site;
        self.node_stops(n);
        let (linking, city) = (self.nodes[n].secrets.linking.clone(), self.nodes[n].secrets.city.clone());
        let secrets = Secrets { city, ..Secrets::draw(&mut self.random, &linking) };
        self.nodes[n].secrets = secrets;
        self.nodes[n].backup = None;
        // The certificates of copies are void from now on.
        for copy in self.others_of(n) {
            self.node_retires(copy);
        }
        self.doubtful.insert(site);
        self.enrol(n);
        self.counts.fault("node lost");
        self.take(n, false);
    }
}
