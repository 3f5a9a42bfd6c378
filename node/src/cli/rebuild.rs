//! `rebuild`: makes the index again from the log; the one before is kept beside it.

use liandong_proto::schema::Text;
use serde_json::json;

use super::door::blocking;
use super::exit::{Exit, Failure};
use super::{Setup, logs, run};
use crate::site::{Records as _, Site};
use crate::text::counted;

/// Makes the index again. The site must not be in use.
///
/// # Errors
/// When another process has the site, or the log is damaged.
pub async fn run(setup: &Setup) -> Result<Exit, Failure> {
    let screen = &setup.screen;
    logs::start_quietly(&setup.config.log, screen)?;
    let options = run::options(&setup.config, &setup.data_dir);
    let bar = screen.bar(Text { zh: "由日志重建索引", en: "making the index again from the log" });
    let (work, caller) = (bar.clone(), setup.caller.clone());
    let status = blocking(move || {
        let site = Site::rebuild(&options, &mut |progress| work.on(progress))?;
        site.try_erasures();
        let status = site.status()?;
        super::audit::rebuilt(site.audit(), &caller);
        site.close()?;
        Ok::<_, crate::site::SiteError>(status)
    });
    let status = status.await;
    bar.finish();
    let status = status??;
    let records: u64 = status.counts.iter().map(|count| count.records).sum();
    let entries = status.head_seq;
    screen.answer(&json!({ "rebuilt": true, "records": records, "head_seq": entries }), || {
        screen.lang.pick(
            format!("索引已由日志重建：{records} 条记录，本站点日志 {entries} 条"),
            format!(
                "the index has been made again from the log: {}, {}",
                counted(records, "record"),
                counted(entries, "own entry")
            ),
        )
    })?;
    Ok(Exit::Done)
}
