//! How a comparison with the hub ended, and what follows from that.

use std::sync::Arc;

use bytes::Bytes;
use liandong_proto::id::RecordId;
use liandong_proto::pb::node::v1::Comparison as Verdict;
use liandong_proto::session::node::Comparison;

use super::{Driver, UplinkError, blocking};
use crate::now::now_ms;
use crate::site::NAMED;

impl Driver {
    /// What differs is held against the log; where the index was at fault, the session begins anew and compares again.
    pub(super) async fn compared(&self, comparison: Comparison) -> Result<(), UplinkError> {
        let mut healed = 0;
        let (verdict, covered) = match comparison {
            Comparison::Equal { own_head, cursor } => (Verdict::Equal, (own_head, cursor.hub_seq)),
            Comparison::Different(records) => {
                let named = |(kind, record): (u32, Bytes)| Some((kind, RecordId::from_slice(&record)?));
                let records: Vec<(u32, RecordId)> = records.into_iter().filter_map(named).collect();
                healed = self.held_against_the_log(records).await?;
                (Verdict::Different, (0, 0))
            }
        };
        self.site.set_link(|state| {
            state.comparison = verdict;
            state.compared = covered;
            state.compared_at_ms = now_ms();
        });
        if healed > 0 { Err(UplinkError::Again) } else { Ok(()) }
    }

    /// Names records that differ and puts right those where the index is at fault: how many. What has been looked into and
    /// has not changed since is not looked into again at each comparison.
    async fn held_against_the_log(&self, records: Vec<(u32, RecordId)>) -> Result<usize, UplinkError> {
        let site = Arc::clone(&self.site);
        let records = blocking(move || site.unproved(&records)).await?;
        if records.is_empty() {
            return Ok(0);
        }
        for (kind, record) in records.iter().take(NAMED) {
            tracing::error!(kind, %record, "node and hub show this record differently");
        }
        if records.len() > NAMED {
            tracing::error!(records = records.len(), "node and hub show so many records differently");
        }
        let (site, differing) = (Arc::clone(&self.site), records.len());
        let healed = blocking(move || site.heal(&records)).await?.len();
        if healed < differing {
            tracing::error!(
                records = differing - healed,
                "this site shows them as its log has them: the fault is the hub's; run rebuild there"
            );
        }
        Ok(healed)
    }
}
