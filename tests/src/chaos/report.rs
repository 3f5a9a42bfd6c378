//! What a run has done and found.

use std::collections::BTreeMap;

use liandong_node::say;
use liandong_node::text::Lang;
use serde_json::{Value, json};

use super::harm::Harm;

/// What happened in a run; in one that ended well nothing was missing at any time.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Rounds.
    pub rounds: u32,
    /// Sites killed, the hub's and the cities'.
    pub killed: (u64, u64),
    /// Among them, killed again before they had started.
    pub killed_starting: u64,
    /// Sites that were asked to stop.
    pub stopped: u64,
    /// Indexes damaged.
    pub harms: BTreeMap<Harm, u64>,
    /// Indexes that sites have made again by themselves, and said so.
    pub rebuilt: u64,
    /// Processes that ended because of a damaged index, and were started again.
    pub ended: u64,
    /// Logs of cities damaged, named and repaired.
    pub repaired: u64,
    /// Own entries that came back from the hub then.
    pub fetched: u64,
    /// Changes that were acknowledged.
    pub changes: u64,
    /// Looks at cities and hub in which nothing was missing.
    pub looks: u64,
    /// Times that all were proved equal.
    pub equal: u64,
    /// How long it took.
    pub seconds: f64,
}

impl Report {
    /// For programs.
    pub fn json(&self) -> Value {
        let harms: BTreeMap<String, u64> =
            self.harms.iter().map(|(harm, times)| (format!("{harm:?}").to_lowercase(), *times)).collect();
        json!({
            "rounds": self.rounds,
            "killed": { "hub": self.killed.0, "cities": self.killed.1, "starting": self.killed_starting },
            "stopped": self.stopped,
            "index_damaged": harms,
            "index_rebuilt": self.rebuilt,
            "ended_by_damage": self.ended,
            "logs_repaired": self.repaired,
            "entries_fetched": self.fetched,
            "changes_acknowledged": self.changes,
            "looks": self.looks,
            "equal": self.equal,
            "lost": 0,
            "seconds": self.seconds,
        })
    }

    /// For people.
    pub fn text(&self, lang: Lang) -> String {
        let Report { rounds, killed, killed_starting, stopped, rebuilt, ended, repaired, fetched, .. } = self;
        let (hub, cities) = killed;
        let Report { changes, looks, equal, seconds, .. } = self;
        let harmed: u64 = self.harms.values().sum();
        let said = say!(
            "{rounds} 轮，{seconds:.0} 秒：已确认的改动一条不少\n\
             杀死：枢纽 {hub} 次，各市 {cities} 次，其中启动途中 {killed_starting} 次；正常停止 {stopped} 次\n\
             损坏索引 {harmed} 次：自动重建 {rebuilt} 次，运行中发现 {ended} 次；损坏日志并修复 {repaired} 次，取回条目 {fetched} 条\n\
             已确认的改动 {changes} 条；检查 {looks} 次；各方证明一致 {equal} 次",
            "{rounds} rounds, {seconds:.0} s: nothing that was acknowledged is missing\n\
             killed: the hub {hub} times, cities {cities}, {killed_starting} of these while starting; stopped {stopped}\n\
             indexes damaged {harmed} times: made again by themselves {rebuilt}, noticed while running {ended}; logs damaged \
             and repaired {repaired}, entries fetched {fetched}\n\
             changes acknowledged {changes}; looks {looks}; proved equal {equal} times"
        );
        said.in_lang(lang).to_owned()
    }
}
