//! `repair`: makes a damaged log anew; own entries come back from the hub, and what the hub had delivered comes again.

use liandong_proto::schema::Text;
use serde_json::json;

use super::door::blocking;
use super::exit::{Exit, Failure};
use super::progress::Bar;
use super::takeover::erased_with_it;
use super::{Setup, logs, run};
use crate::restore::{fetch, held_of, kept};
use crate::say;
use crate::site::{Paths, Records as _, Repair, Repaired, Site, SiteError};
use crate::text::{Said, counted};
use crate::trust::Membership;
use crate::uplink::UplinkError;

/// Flags of `repair`.
#[derive(Debug, clap::Args)]
pub struct RepairArgs {
    /// 末尾损坏或缺失、谁也没有的条目：舍去 · Go on without entries at the end that are damaged or missing, and nobody holds
    #[arg(long)]
    accept_loss: bool,
}

/// Repairs the log. The site must not be in use.
///
/// # Errors
/// When another process has the site, the hub cannot be asked for entries that are missing, or does not have them.
/// Nothing is changed then.
pub async fn run(args: &RepairArgs, setup: &Setup) -> Result<Exit, Failure> {
    let screen = &setup.screen;
    logs::start_quietly(&setup.config.log, screen)?;
    let options = run::options(&setup.config, &setup.data_dir);
    let bar = screen.bar(Text { zh: "检查日志", en: "checking the log" });
    let (work, looked) = (bar.clone(), options.clone());
    let looked = blocking(move || Repair::look(&looked, &mut |progress| work.on(progress))).await;
    bar.finish();
    let mut repair = looked?.map_err(refused)?;
    if repair.holes().is_empty() {
        screen.answer(&json!({ "repaired": false, "places": [] }), || {
            screen.lang.pick("日志完好，无需修复", "the log is sound: there is nothing to repair").into()
        })?;
        return Ok(Exit::Done);
    }
    if repair.asks().map_err(refused)?
        && let Some(mut membership) = Membership::load(repair.paths())?
    {
        membership.hub = setup.config.hub.clone().unwrap_or(membership.hub);
        let paths = Paths::new(&setup.data_dir);
        let bar = screen.bar(Text { zh: "从省级枢纽取回", en: "fetching from the hub" });
        let fetched = ask(&mut repair, &membership, &paths, &bar).await;
        bar.finish();
        fetched.map_err(unreached)?;
    }
    let bar = screen.bar(Text { zh: "由日志重建索引", en: "making the index again from the log" });
    let (work, caller, accepted) = (bar.clone(), setup.caller.clone(), args.accept_loss);
    let repaired = blocking(move || {
        let done = repair.finish(&caller.author, accepted)?;
        let site = Site::open(&options, &mut |progress| work.on(progress))?;
        site.try_erasures();
        let status = site.status()?;
        let places = done.holes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        super::audit::repaired(site.audit(), &caller, done.fetched, places);
        site.close()?;
        Ok((done, status.counts.iter().map(|count| count.records).sum()))
    });
    let repaired = repaired.await;
    bar.finish();
    let (done, records) = repaired?.map_err(refused)?;
    tell(&done, records, setup)?;
    Ok(Exit::Done)
}

/// Asks as the epoch in which the hub knows the city to live: it may not have heard of the one at hand.
async fn ask(
    repair: &mut Repair,
    membership: &Membership,
    paths: &Paths,
    bar: &Bar,
) -> Result<(), UplinkError> {
    let Some(held) = kept(membership).await?.held else { return Ok(()) };
    let (epoch, _, anchor) = held_of(&held)?;
    let asked = repair.ask(epoch, anchor)?;
    fetch(asked, membership, paths, |entries| {
        repair.take(entries)?;
        bar.at(repair.fetched(), 0);
        Ok(())
    })
    .await
}

fn tell(done: &Repaired, records: u64, setup: &Setup) -> Result<(), Failure> {
    let screen = &setup.screen;
    let places: Vec<String> = done.holes.iter().map(ToString::to_string).collect();
    // What waited to be erased was erased, and the damaged log with it.
    let kept = done.kept.exists().then(|| done.kept.display().to_string());
    let json = json!({
        "repaired": true,
        "places": places,
        "kept": done.records,
        "fetched": done.fetched,
        "without_payload": done.bare,
        "lost": done.lost.map(|(first, last)| json!([first, last])),
        "perhaps_more": done.perhaps_more,
        "delivered_again": done.again,
        "damaged_log": kept,
        "records": records,
    });
    screen.answer(&json, || {
        let fetched = done.fetched;
        let (own, shown) = (counted(fetched, "own entry"), counted(records, "record"));
        let old = kept.map_or_else(erased_with_it, |kept| {
            say!(
                "损坏的日志保留在 {kept}，含个人信息，无需时请删除",
                "the damaged log is kept in {kept}: it holds personal data, remove it when nobody needs it"
            )
        });
        let repaired = say!(
            "日志已修复：从省级枢纽取回本市条目 {fetched} 条；索引已重建，{records} 条记录",
            "the log is repaired: {own} came back from the hub; the index was made again, {shown}"
        );
        let mut lines = vec![repaired, old];
        if done.again {
            lines.push(say!(
                "省级下发的内容可能也在损坏之列：下次同步时会重新下发",
                "what the hub had delivered may have been damaged as well: it comes again with the next sync"
            ));
        }
        if let Some((first, last)) = done.lost {
            lines.push(say!(
                "条目 {first} 至 {last} 已经丢失，请补录",
                "entries {first} to {last} are lost: enter them again"
            ));
        }
        if done.perhaps_more {
            let last = done.lost.map_or(done.head, |(_, last)| last);
            lines.push(say!(
                "条目 {last} 之后可能还丢失了尚未上报的条目，无从得知：请核对最近的改动，缺的请补录",
                "whether entries behind {last} are lost that had not been sent nobody can tell: look at the newest records, and \
                 enter again what is missing"
            ));
        }
        if !done.bare.is_empty() {
            let list = done.bare.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
            lines.push(say!(
                "条目 {list} 的内容省级枢纽没有保存（曾因含原始号码被丢弃），请核对并补录",
                "the hub had dropped the content of entries {list} on arrival: look at their records and enter it again"
            ));
        }
        let places = places.join("\n  ");
        lines.push(say!("损坏处：\n  {places}", "what was damaged:\n  {places}"));
        lines.iter().map(|said| said.in_lang(screen.lang)).collect::<Vec<_>>().join("\n")
    })
}

/// What the repair itself says stands in both languages already.
fn refused(error: SiteError) -> Failure {
    let SiteError::Refused(text) = &error else { return error.into() };
    let (zh, en) = text.split_once(" · ").unwrap_or((text, text));
    Failure { exit: Exit::Damaged, said: Said::new(zh, en) }
}

fn unreached(error: UplinkError) -> Failure {
    let en = error.to_string();
    match error {
        UplinkError::Site(error) => refused(error),
        UplinkError::Refused(refusal) => Failure {
            exit: Exit::Denied,
            said: Said::new(
                format!("枢纽拒绝了，没有改动任何内容：{}；请联系省协会后重试", refusal.zh),
                format!(
                    "the hub refused, and nothing was changed: {}; speak to the province, then try again",
                    refusal.en
                ),
            ),
        },
        UplinkError::Diverged(_) => Failure {
            exit: Exit::Review,
            said: say!(
                "省级枢纽上本市的日志已由另一台机器接续（takeover 或 restore），没有改动任何内容：请原样保留本目录，在那台机器上继续；\
                 若要由本机继续，请放回备份后运行 takeover，或在另一个空目录用 restore 重建",
                "another machine has gone on with this city's log at the hub (takeover or restore), and nothing was changed: keep \
                 this directory as it is, and go on there; if this machine is to go on, put back a backup and run takeover, or \
                 make the city again with restore in another, empty directory"
            ),
        },
        _ => Failure {
            exit: Exit::Unreachable,
            said: say!(
                "连不上省级枢纽，缺的条目取不回来，没有改动任何内容：{en}；请在联网后重新运行 repair",
                "the hub cannot be reached, so what is missing cannot come back, and nothing was changed: {en}; run repair \
                 again once it can be reached"
            ),
        },
    }
}

#[cfg(test)]
mod tests {
    use liandong_proto::pb::sync::v1::Diverged;

    use super::*;

    /// A hub that can be reached and has parted is not told as one that cannot be reached.
    #[test]
    fn a_log_that_has_parted_is_told_as_such() {
        let Failure { exit, said } = unreached(UplinkError::Diverged(Diverged::default()));
        assert_eq!(exit, Exit::Review);
        assert!(said.en.contains("takeover") && said.zh.contains("takeover"), "{said}");
        let Failure { exit, .. } = unreached(UplinkError::Ended);
        assert_eq!(exit, Exit::Unreachable);
    }
}
