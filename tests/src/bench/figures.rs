//! The result of a measurement.

use serde_json::{Value, json};
use unicode_width::UnicodeWidthStr as _;

use super::SyncArgs;
use super::group::Totals;
use super::node::{Made, Single};

/// The yardstick: PostgreSQL 15 logical replication on a machine of this kind (2 cores), 21 publishers and
/// one subscriber, rows of 14 fields, 20,000 rows a transaction, no merging; inserts a second end to end.
pub const POSTGRES_INSERTS_S: f64 = 60_000.0;
/// The same for updates of one field.
pub const POSTGRES_UPDATES_S: f64 = 45_000.0;

const MIB: f64 = (1 << 20) as f64;

/// How long an index needed after the last change, in seconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Catchup {
    /// The slowest node.
    pub nodes_s: f64,
    /// The hub.
    pub hub_s: f64,
}

/// Bytes for each change of a phase.
#[derive(Debug, Clone, Copy, Default)]
pub struct PerChange {
    /// Messages both ways, without the framing of HTTP/2 and TCP.
    pub wire: f64,
    /// Log of the node.
    pub node_log: f64,
    /// Index of the node.
    pub node_index: f64,
    /// Log of the hub.
    pub hub_log: f64,
    /// Index of the hub.
    pub hub_index: f64,
}

impl PerChange {
    /// What the counters have grown by, for each of so many changes. An index may shrink.
    pub fn between(before: &Totals, after: &Totals, changes: u32) -> PerChange {
        let each = |part: fn(&Totals) -> u64| (part(after) as f64 - part(before) as f64) / f64::from(changes);
        PerChange {
            wire: each(|totals| totals.nodes.sent + totals.nodes.received),
            node_log: each(|totals| totals.nodes.log),
            node_index: each(|totals| totals.nodes.index),
            hub_log: each(|totals| totals.hub.log),
            hub_index: each(|totals| totals.hub.index),
        }
    }

    fn json(&self) -> Value {
        json!({
            "wire_bytes": self.wire,
            "node_log_bytes": self.node_log,
            "node_index_bytes": self.node_index,
            "hub_log_bytes": self.hub_log,
            "hub_index_bytes": self.hub_index,
        })
    }

    fn text(&self) -> String {
        let PerChange { wire, node_log, node_index, hub_log, hub_index } = self;
        format!(
            "wire {wire:.0} B; node log {node_log:.0} B, index {node_index:.0} B; hub log {hub_log:.0} B, index \
             {hub_index:.0} B"
        )
    }
}

/// All figures. Rates are changes a second.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    args: Option<SyncArgs>,
    row_fields: f64,
    row_bytes: f64,
    /// First local write to last change merged at the hub.
    pub end_to_end: f64,
    /// The same run, until all was durable at the nodes.
    pub local_write: f64,
    /// Local writes with no hub about.
    pub local_offline: f64,
    /// A backlog, from the moment the nodes are told where the hub is.
    pub drain: f64,
    /// One field of existing records.
    pub update: f64,
    /// After the inserts.
    pub catchup: Catchup,
    /// After the updates.
    pub update_catchup: Catchup,
    /// After the backlog.
    pub drain_catchup: Catchup,
    /// Bytes of an insert.
    pub insert: PerChange,
    /// Bytes of an update.
    pub updated: PerChange,
    /// After the updates: until every city and the hub had compared all they show, and come out equal.
    pub compared_s: f64,
    /// From its start until the hub listened, its log being that of the records that existed before.
    pub hub_start_s: f64,
    single: [f64; 2],
    single_local: [f64; 2],
    node_rss: u64,
    hub_rss: u64,
}

impl Figures {
    /// No figures yet.
    pub fn new(args: &SyncArgs) -> Figures {
        Figures { args: Some(args.clone()), ..Figures::default() }
    }

    /// Notes how large the rows are.
    pub fn rows(&mut self, rows: u32, made: &[Made]) {
        let each = |part: fn(&Made) -> u64| made.iter().map(part).sum::<u64>() as f64 / f64::from(rows);
        (self.row_fields, self.row_bytes) = (each(|made| made.fields), each(|made| made.bytes));
    }

    /// Notes single changes.
    pub fn singles(&mut self, times: &[Single]) {
        let hub: Vec<f64> = times.iter().map(|single| single.hub_ms).collect();
        let local: Vec<f64> = times.iter().map(|single| single.local_ms).collect();
        self.single = [0.50, 0.99].map(|part| quantile(&hub, part));
        self.single_local = [0.50, 0.99].map(|part| quantile(&local, part));
    }

    /// Notes the most memory seen.
    pub fn memory(&mut self, totals: &Totals) {
        self.node_rss = self.node_rss.max(totals.nodes.rss);
        self.hub_rss = self.hub_rss.max(totals.hub.rss);
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let args = self.args.clone();
        let arg = |part: fn(&SyncArgs) -> u32| args.as_ref().map(part);
        let catchup = [self.catchup, self.update_catchup, self.drain_catchup];
        let slowest = catchup.iter().flat_map(|catchup| [catchup.nodes_s, catchup.hub_s]).fold(0.0, f64::max);
        json!({
            "sites": arg(|args| args.sites),
            "changes": arg(|args| args.changes),
            "records": arg(|args| args.records),
            "group": arg(|args| args.group),
            "row_fields": self.row_fields,
            "row_bytes": self.row_bytes,
            "end_to_end_changes_s": self.end_to_end,
            "drain_changes_s": self.drain,
            "update_changes_s": self.update,
            "local_write_changes_s": self.local_write,
            "local_offline_changes_s": self.local_offline,
            "single_p50_ms": self.single[0],
            "single_p99_ms": self.single[1],
            "single_local_p50_ms": self.single_local[0],
            "single_local_p99_ms": self.single_local[1],
            "index_catchup_s": slowest,
            "node_index_catchup_s": self.catchup.nodes_s,
            "hub_index_catchup_s": self.catchup.hub_s,
            "update_node_index_catchup_s": self.update_catchup.nodes_s,
            "update_hub_index_catchup_s": self.update_catchup.hub_s,
            "drain_hub_index_catchup_s": self.drain_catchup.hub_s,
            "compared_s": self.compared_s,
            "hub_start_s": self.hub_start_s,
            "wire_bytes_per_change": self.insert.wire,
            "insert": self.insert.json(),
            "update": self.updated.json(),
            "hub_rss_mib": self.hub_rss as f64 / MIB,
            "node_rss_mib": self.node_rss as f64 / MIB,
            "postgres_insert_changes_s": POSTGRES_INSERTS_S,
            "postgres_update_changes_s": POSTGRES_UPDATES_S,
            "end_to_end_ratio": self.end_to_end / POSTGRES_INSERTS_S,
            "drain_ratio": self.drain / POSTGRES_INSERTS_S,
            "update_ratio": self.update / POSTGRES_UPDATES_S,
        })
    }

    /// For people.
    pub fn text(&self) -> String {
        let args = self.args.as_ref();
        let number = |part: fn(&SyncArgs) -> u32| args.map_or(0, part);
        let head = format!(
            "{} sites, {} changes in groups of {}, {} records before; rows of {:.1} fields and {:.0} bytes\n",
            number(|args| args.sites),
            number(|args| args.changes),
            number(|args| args.group),
            number(|args| args.records),
            self.row_fields,
            self.row_bytes
        );
        let against = |rate: f64, yardstick: f64| {
            format!("{rate:>9.0}/s  {:.2} × PostgreSQL 15 ({yardstick:.0}/s)", rate / yardstick)
        };
        let catchup =
            |catchup: &Catchup| format!("slowest node {:.2} s, hub {:.2} s", catchup.nodes_s, catchup.hub_s);
        let [p50, p99] = self.single;
        let [local_p50, local_p99] = self.single_local;
        let lines = [
            ("端到端插入 inserts, end to end", against(self.end_to_end, POSTGRES_INSERTS_S)),
            ("补传积压 drain of a backlog", against(self.drain, POSTGRES_INSERTS_S)),
            ("单字段更新 one-field updates", against(self.update, POSTGRES_UPDATES_S)),
            (
                "本地写入 local writes",
                format!("{:>9.0}/s, offline {:.0}/s", self.local_write, self.local_offline),
            ),
            (
                "单条改动 single change",
                format!("p50 {p50:.1} ms, p99 {p99:.1} ms from durable here to durable there"),
            ),
            ("", format!("p50 {local_p50:.1} ms, p99 {local_p99:.1} ms until durable here")),
            ("索引追平 index, inserts", catchup(&self.catchup)),
            ("索引追平 index, updates", catchup(&self.update_catchup)),
            ("索引追平 index, backlog", catchup(&self.drain_catchup)),
            ("核对一致 compared", format!("{:.2} s after the updates", self.compared_s)),
            ("每条插入 bytes, insert", self.insert.text()),
            ("每条更新 bytes, update", self.updated.text()),
            (
                "内存峰值 peak memory",
                format!(
                    "hub {:.0} MiB, largest node {:.0} MiB",
                    self.hub_rss as f64 / MIB,
                    self.node_rss as f64 / MIB
                ),
            ),
        ];
        let width = lines.iter().map(|(label, _)| label.width()).max().unwrap_or(0);
        let line = |(label, value): &(&str, String)| {
            format!("{label}{}  {value}\n", " ".repeat(width - label.width()))
        };
        head + &lines.iter().map(line).collect::<String>()
    }
}

/// The value that this part of all does not exceed (nearest rank).
pub fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (part * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_occurred() {
        let values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!([0.5, 0.99, 1.0].map(|part| quantile(&values, part)), [50.0, 99.0, 100.0]);
        assert_eq!(quantile(&[], 0.5), 0.0);
    }

    #[test]
    fn the_keys_that_are_promised_are_there() {
        let json = Figures::default().json();
        for key in [
            "end_to_end_changes_s",
            "drain_changes_s",
            "update_changes_s",
            "single_p50_ms",
            "single_p99_ms",
            "index_catchup_s",
            "wire_bytes_per_change",
            "hub_rss_mib",
            "node_rss_mib",
        ] {
            assert!(json[key].is_number(), "{key}");
        }
    }
}
