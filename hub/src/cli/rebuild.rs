//! `rebuild`: makes the index again from the log; the one before is kept beside it.

use liandong_node::cli::audit;
use liandong_node::cli::door::blocking;
use liandong_node::cli::exit::{Exit, Failure};
use liandong_node::cli::logs;
use liandong_node::say;
use liandong_node::site::{Records as _, SiteError};
use liandong_node::text::Said;
use liandong_proto::schema::Text;
use serde_json::json;

use super::{Setup, run};
use crate::hub::{Hub, Loss};

/// Flags of `rebuild`.
#[derive(Debug, Clone, clap::Args)]
pub struct RebuildArgs {
    /// 日志少了末尾且找不回来：舍去它继续 · The log has lost its end for good: go on without it
    #[arg(long)]
    accept_loss: bool,
}

/// Makes the index again. The hub must not be running.
///
/// # Errors
/// When another process has the hub, the log is damaged, or has lost its end and nobody has accepted that.
pub async fn run(args: &RebuildArgs, setup: &Setup) -> Result<Exit, Failure> {
    let screen = &setup.screen;
    logs::start_quietly(&setup.config.log, screen)?;
    let options = run::options(setup);
    let bar = screen.bar(Text { zh: "由日志重建索引", en: "making the index again from the log" });
    let (work, caller, author) = (bar.clone(), setup.caller.clone(), setup.author.clone());
    let is_accepted = args.accept_loss;
    let status = blocking(move || {
        if let Some(loss) = Hub::loss(&options)?.filter(|_| !is_accepted) {
            return Ok(Err(loss));
        }
        let (hub, lost) = if is_accepted {
            Hub::rebuild_without(&options, &author, &mut |progress| work.on(progress))?
        } else {
            (Hub::rebuild(&options, &mut |progress| work.on(progress))?, None)
        };
        let status = hub.status()?;
        audit::rebuilt(hub.audit(), &caller);
        hub.close()?;
        Ok::<_, SiteError>(Ok((status, lost)))
    });
    let status = status.await;
    bar.finish();
    let (status, lost) = status??.map_err(|loss| unaccepted(&loss))?;
    let records: u64 = status.counts.iter().map(|count| count.records).sum();
    let hub_seq = status.hub_seq;
    let mut json = json!({ "rebuilt": true, "records": records, "hub_seq": hub_seq });
    if let Some(loss) = &lost {
        json["accepted_loss"] = json!({ "known_hub_seq": loss.hub_seq });
    }
    screen.answer(&json, || {
        let done = say!(
            "索引已由日志重建：{records} 条记录，次序到 {hub_seq}",
            "the index has been made again from the log: {records} records, order up to {hub_seq}"
        );
        let done = done.in_lang(screen.lang).to_owned();
        lost.map_or_else(|| done.clone(), |loss| format!("{done}\n{}", gone_on(&loss).in_lang(screen.lang)))
    })?;
    Ok(Exit::Done)
}

fn unaccepted(loss: &Loss) -> Failure {
    let Loss { followed, hub_seq } = loss;
    let said = say!(
        "日志少了末尾，或是一份较旧的副本：原索引跟随日志到 {followed}，次序到 {hub_seq}，而现有日志读不到那里；没有改动任何内容。\
         有镜像或备份时请先用 backup restore；都没有时，先另存整个数据目录，再运行 rebuild --accept-loss：不带这些内容继续，\
         各市会补交自己的部分，省里此后的改动要重新录入，停用名单要重新确认",
        "the log has lost its end, or is an older copy: the index had followed it up to {followed}, the order up to {hub_seq}, and \
         the log that is there cannot be read so far; nothing was changed. Where there is a mirror or a backup, use backup \
         restore. If there is neither, copy the whole data directory elsewhere, then rebuild --accept-loss goes on without: \
         the cities push again what they have, what the province wrote is to be entered again, and who is cut off confirmed"
    );
    Failure { exit: Exit::Damaged, said }
}

fn gone_on(loss: &Loss) -> Said {
    let hub_seq = loss.hub_seq;
    say!(
        "舍去了日志丢失的末尾：原次序曾到 {hub_seq}。邀请码全部作废，各市暂不能同步\n\
         下一步：启动枢纽，核对停用名单，然后 liandong-hub city confirm；省里丢失的改动请重新录入",
        "it goes on without the lost end of the log: the order had been up to {hub_seq}. All invitations are void, and no city \
         syncs for now\n\
         Next: start the hub, look at who is cut off, then liandong-hub city confirm; enter again what the province has lost"
    )
}
