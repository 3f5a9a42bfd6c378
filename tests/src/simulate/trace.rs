//! How the machines stand, in one line, for whoever looks into one seed.

use std::fmt::Write as _;

use bytes::Bytes;
use liandong_node::rows;
use liandong_proto::id::{RecordId, SiteCode};
use liandong_proto::state::RecordState;

use super::hub;
use super::node::{Running, Uplink};
use super::world::World;

impl World {
    /// Prints how the machines stand, if somebody wants to know and it has changed.
    pub(super) fn print_trace(&mut self) {
        let Some(before) = self.trace.take() else { return };
        let now = self.stands();
        if now != before {
            println!("{:>8} ms  step {:>6}  {now}", self.now_ms, self.counts.steps);
        }
        self.trace = Some(now);
    }

    fn stands(&self) -> String {
        let mut out = String::new();
        match &self.hub.running {
            None => out.push_str("hub down"),
            Some(hub) => {
                let row = &hub.published.row;
                let _ = write!(out, "hub {:x}:{}", row.generation >> 48, row.hub_seq);
                if hub.published.registry.members.unconfirmed_since().is_some() {
                    out.push_str(" unconfirmed");
                }
            }
        }
        if self.hub.disk.full {
            out.push_str(" full");
        }
        for node in self.nodes.iter().filter(|node| !node.retired) {
            let _ = write!(out, " | {}", node.site);
            match &node.running {
                None if node.taking.is_some() => out.push_str(" is taken over"),
                None => out.push_str(" down"),
                Some(running) => {
                    let (epoch, seq) = (running.origin().epoch.0[0], running.author.head.seq);
                    let (confirmed, cursor) = (running.row.confirmed_seq, running.row.hub_seq);
                    let generation = running.row.generation >> 48;
                    let _ = write!(out, " {epoch:02x}:{seq} hub {confirmed} feed {generation:x}:{cursor}");
                    out.push_str(match &running.uplink {
                        Uplink::Offline => " offline",
                        Uplink::Connected(..) => "",
                        Uplink::HandingIn(..) => " hands in",
                        Uplink::Stopped { parted: true } => " parted",
                        Uplink::Stopped { parted: false } => " stopped",
                    });
                }
            }
            if node.disk.full {
                out.push_str(" full");
            }
            if node.offset_ms != 0 {
                let _ = write!(out, " {:+} y", node.offset_ms / 31_557_600_000);
            }
        }
        for (kind, n) in &self.counts.faults {
            if !matches!(*kind, "link cut" | "message delayed") {
                let _ = write!(out, ", {kind} {n}");
            }
        }
        out
    }
}

/// How a node and the hub show the first of some records.
pub(super) fn different(
    site: SiteCode,
    node: &Running,
    hub: Option<&hub::Running>,
    records: &[(u32, Bytes)],
) -> String {
    let first = records.first().and_then(|(kind, id)| Some((*kind, RecordId::from_slice(id)?)));
    let (Some(key), Some(hub)) = (first, hub) else { return format!("{site} and the hub") };
    let theirs = hub.index().get(&rows::record(key.0, key.1)).expect("memory");
    let theirs = theirs.and_then(|item| RecordState::decode(&item.value).ok());
    let shown = |state: Option<RecordState>| {
        state.map(|it| {
            let fields: Vec<_> = it.fields.iter().map(|(tag, raw)| (tag, raw.to_vec())).collect();
            let held: Vec<_> = it
                .held
                .iter()
                .map(|held| (held.tag, held.reason, held.by.origin.site, held.by.seq))
                .collect();
            (it.home, it.deleted(), it.hub_seq, fields, held)
        })
    };
    let (ours, theirs) = (shown(node.shown(key)), shown(theirs));
    format!("{site} shows {} records otherwise, first {key:?}: {ours:?}, the hub {theirs:?}", records.len())
}
