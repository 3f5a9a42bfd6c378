//! Every roster through its node's own import: the command of the node, over the running node's socket.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::Arc;
use std::thread::available_parallelism;

use liandong_node::cli::exit::{Exit, Failure};
use liandong_node::cli::screen::Screen;
use liandong_node::say;
use liandong_proto::id::SiteCode;
use liandong_proto::schema::Text;
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::rosters::Roster;
use crate::cluster::{Cluster, ClusterError};

/// What became of a city's roster.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Imported {
    /// Rows read.
    pub rows: u64,
    /// Rows sent back.
    pub rejected: u64,
    /// What the import asks before it begins.
    questions: Vec<Question>,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Question {
    zh: String,
    en: String,
}

/// Imports all rosters, as many at a time as there are processors.
pub async fn all(
    cluster: &Cluster,
    rosters: &[Roster],
    screen: &Screen,
) -> Result<BTreeMap<SiteCode, Imported>, Failure> {
    let reports = cluster.dir().join("rejected");
    std::fs::create_dir_all(&reports).map_err(|error| Failure::file(&reports, &error))?;
    let at_a_time = Arc::new(Semaphore::new(available_parallelism().map_or(2, NonZero::get)));
    let bar = screen.bar(Text { zh: "导入花名册", en: "importing the rosters" });
    let mut running = JoinSet::new();
    for roster in rosters {
        let (at_a_time, node) = (Arc::clone(&at_a_time), cluster.node(roster.city).clone());
        let report = reports.join(format!("{}.csv", roster.city));
        let roster = roster.clone();
        running.spawn(async move {
            let _turn = at_a_time.acquire_owned().await;
            let (file, report) = (roster.path.display().to_string(), report.display().to_string());
            let args = ["import", &file, "--kind", "member", "--report", &report, "--json"];
            let output = node.command(&args).await?;
            let is_read = [Exit::Done, Exit::Data, Exit::Review].map(|exit| Some(exit as i32));
            if !is_read.contains(&output.status.code()) {
                return Err(node.failed("import", &output).into());
            }
            let imported: Imported = serde_json::from_slice(&output.stdout)
                .map_err(|_| Failure::from(node.failed("import", &output)))?;
            Ok::<_, Failure>((roster, imported))
        });
    }
    let mut done = BTreeMap::new();
    while let Some(ended) = running.join_next().await {
        let cut_short = |_| ClusterError::Slow("an import that was cut short".into());
        let (roster, imported) = ended.map_err(cut_short)??;
        if let Some(Question { zh, en }) = imported.questions.first() {
            let file = roster.path.display();
            return Err(Failure::data(say!("{file} 没有导入：{zh}", "{file} was not imported: {en}")));
        }
        done.insert(roster.city, imported);
        bar.at(done.len() as u64, rosters.len() as u64);
    }
    bar.finish();
    Ok(done)
}
