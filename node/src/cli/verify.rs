//! `verify`: reads the whole log and index and compares them.

use liandong_proto::pb::node::v1::UpkeepRequest;
use liandong_proto::schema::Text;
use serde_json::json;

use super::door::Door;
use super::exit::{Exit, Failure};
use super::screen::Screen;
use crate::say;
use crate::text::counted;

/// Checks the site; every fault is listed.
///
/// # Errors
/// [`Failure`] when the check could not be finished.
pub async fn run(door: &Door, screen: &Screen) -> Result<Exit, Failure> {
    let bar = screen.bar(Text { zh: "检查日志和索引", en: "checking log and index" });
    let request = UpkeepRequest { author: door.caller().author.clone() };
    let mut progress = door.upkeep().verify(request).await?.into_inner();
    let mut last = None;
    while let Some(step) = progress.message().await? {
        bar.at(step.done, step.total);
        if step.finished {
            last = Some(step);
        }
    }
    bar.finish();
    let found = last.ok_or_else(|| {
        Failure::internal(say!("检查没有做完，请重试", "the check was not finished; try again"))
    })?;
    let faults: Vec<_> =
        found.zh.iter().zip(&found.en).map(|(zh, en)| json!({ "zh": zh, "en": en })).collect();
    let json = json!({
        "sound": found.sound,
        "entries": found.total,
        "rows": found.records,
        "digest": found.digest,
        "faults": faults,
    });
    screen.answer(&json, || {
        let (entries, rows, digest) = (found.total, found.records, &found.digest);
        let (in_log, in_index) = (counted(entries, "record"), counted(rows, "row"));
        let head = if found.sound {
            say!(
                "完好：日志 {entries} 条，索引 {rows} 行，摘要 {digest}",
                "sound: {in_log} in the log, {in_index} in the index, digest {digest}"
            )
        } else {
            let faults = found.zh.len();
            let count = counted(faults as u64, "fault");
            say!(
                "发现 {faults} 处损坏；本地工作请先停下，联系维护人员。索引的问题可用 rebuild 重建，日志的损坏要从备份或省级枢纽恢复：",
                "{count} found; stop working here and tell whoever maintains this. Faults of the \
                 index are mended by rebuild, damage to the log needs a backup or the hub:"
            )
        };
        let faults = screen.lang.pick(&found.zh, &found.en).iter().map(String::as_str);
        std::iter::once(head.in_lang(screen.lang)).chain(faults).collect::<Vec<_>>().join("\n  ")
    })?;
    Ok(if found.sound { Exit::Done } else { Exit::Damaged })
}
