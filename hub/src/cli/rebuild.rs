//! `rebuild`: makes the index again from the log; the one before is kept beside it.

use liandong_node::cli::audit;
use liandong_node::cli::door::blocking;
use liandong_node::cli::exit::{Exit, Failure};
use liandong_node::cli::logs;
use liandong_node::site::{Records as _, SiteError};
use liandong_proto::schema::Text;
use serde_json::json;

use super::{Setup, run};
use crate::hub::Hub;

/// Makes the index again. The hub must not be running.
///
/// # Errors
/// When another process has the hub, or the log is damaged.
pub async fn run(setup: &Setup) -> Result<Exit, Failure> {
    let screen = &setup.screen;
    logs::start_quietly(&setup.config.log, screen)?;
    let options = run::options(setup);
    let bar = screen.bar(Text { zh: "由日志重建索引", en: "making the index again from the log" });
    let (work, caller) = (bar.clone(), setup.caller.clone());
    let status = blocking(move || {
        let hub = Hub::rebuild(&options, &mut |progress| work.on(progress))?;
        let status = hub.status()?;
        audit::rebuilt(hub.audit(), &caller);
        hub.close()?;
        Ok::<_, SiteError>(status)
    });
    let status = status.await;
    bar.finish();
    let status = status??;
    let records: u64 = status.counts.iter().map(|count| count.records).sum();
    let hub_seq = status.hub_seq;
    screen.answer(&json!({ "rebuilt": true, "records": records, "hub_seq": hub_seq }), || {
        screen.lang.pick(
            format!("索引已由日志重建：{records} 条记录，次序到 {hub_seq}"),
            format!("the index has been made again from the log: {records} records, order up to {hub_seq}"),
        )
    })?;
    Ok(Exit::Done)
}
