//! `takeover`: this machine goes on as the city, after its log and the hub's copy of it have parted.

use liandong_proto::entry::Head;
use liandong_proto::id::Origin;
use liandong_proto::schema::Text;
use serde_json::json;

use super::door::blocking;
use super::exit::{Exit, Failure};
use super::{Setup, ask, logs, run};
use crate::restore::{fetch, held_of, kept};
use crate::say;
use crate::site::{Records as _, Site, SiteError, Takeover};
use crate::text::counted;
use crate::trust::Membership;
use crate::uplink::UplinkError;

/// Flags of `takeover`.
#[derive(Debug, clap::Args)]
pub struct TakeoverArgs {
    /// 不再询问 · Do not ask
    #[arg(long)]
    yes: bool,
    /// 只查看会发生什么 · Only show what it would come to
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
}

/// Takes the site over. It must not be running, here or anywhere else.
///
/// # Errors
/// When another process has the site, the hub cannot be reached or holds nothing of it, or what it sends does not open.
/// The site is as it was then.
pub async fn run(args: &TakeoverArgs, setup: &Setup) -> Result<Exit, Failure> {
    let screen = &setup.screen;
    logs::start_quietly(&setup.config.log, screen)?;
    let mut takeover = Takeover::begin(&setup.data_dir)?;
    let mut membership = Membership::load(takeover.paths())?.ok_or_else(not_a_member)?;
    if let Some(hub) = &setup.config.hub {
        membership.hub.clone_from(hub);
    }
    let (site, paths) = (takeover.site(), takeover.paths().clone());
    let kept = kept(&membership).await.map_err(|error| cut(&error))?;
    let held = kept.held.ok_or_else(nothing_held)?;
    let (epoch, head, anchor) = held_of(&held)?;
    takeover.take_proofs(&kept.erased, &membership.hub_key()?);
    let bar = screen.bar(Text { zh: "从省级枢纽取回", en: "fetching from the hub" });
    let mut done = 0;
    let fetched = fetch((Origin { site, epoch }, Head::default()), &membership, &paths, |entries| {
        takeover.append(entries)?;
        done += entries.len() as u64;
        bar.at(done, head.seq.max(done));
        Ok(())
    });
    let fetched = fetched.await;
    bar.finish();
    fetched.map_err(|error| cut(&error))?;
    let preview = takeover.preview()?;
    let (fetched, again) = (preview.fetched, preview.again);
    let (lacks, own) = (counted(fetched, "change"), counted(again, "change"));
    if args.dry_run {
        screen.answer(&json!({ "done": false, "fetched": fetched, "again": again }), || {
            let said = say!(
                "接管后将从枢纽取回 {fetched} 条本机没有的改动，并在新一段日志中重新提交只有本机才有的 {again} 条；没有改动",
                "a takeover would fetch {lacks} that this machine lacks, and make {own} of its own again; nothing was changed"
            );
            said.in_lang(screen.lang).to_owned()
        })?;
        return Ok(Exit::Done);
    }
    let what = say!(
        "由本机接管 {site}：从枢纽取回 {fetched} 条改动，重新提交只有本机才有的 {again} 条。此后枢纽只认本机；\
         其他副本上尚未上传的内容不会再同步，请先确认那里没有需要保留的改动",
        "this machine takes over {site}: it fetches {lacks} from the hub and makes {own} of its own again. From then on the \
         hub knows this machine only; what another copy has not sent yet will not be synced any more, so make sure first \
         that nothing there is needed"
    );
    ask::sure(args.yes, &what, screen)?;
    let taken = blocking(move || takeover.finish(epoch, head, anchor)).await??;
    let (options, caller) = (run::options(&setup.config, &setup.data_dir), setup.caller.clone());
    let status = blocking(move || {
        let site = Site::open(&options, &mut |_| {})?;
        super::audit::taken_over(site.audit(), &caller, fetched + again);
        let status = site.status()?;
        site.close()?;
        Ok::<_, SiteError>(status)
    });
    let status = status.await??;
    let records: u64 = status.counts.iter().map(|count| count.records).sum();
    let (kept, dir) = (taken.kept.display().to_string(), setup.data_dir.display());
    let json = json!({ "done": true, "fetched": fetched, "again": again, "records": records, "kept": kept });
    screen.answer(&json, || {
        let said = say!(
            "已接管：取回 {fetched} 条，重新提交 {again} 条，现有记录 {records} 条；原日志保留在 {kept}\n\
             同一内容两边都改过的，会在下次同步后列为核对事项\n\
             下一步：liandong-node run --data-dir {dir}",
            "taken over: {fetched} fetched, {again} made again, {records} records; the log that was is kept in {kept}\n\
             What was changed on both sides is listed as findings after the next sync\n\
             Next: liandong-node run --data-dir {dir}"
        );
        said.in_lang(screen.lang).to_owned()
    })?;
    Ok(Exit::Done)
}

fn not_a_member() -> Failure {
    Failure::data(say!(
        "本站点尚未加入，没有可接管的；请先 join",
        "this site has not joined, so there is nothing to take over; join first"
    ))
}

fn nothing_held() -> Failure {
    Failure::data(say!(
        "省级枢纽没有本市的任何记录，没有分叉可言；请直接 run",
        "the hub holds nothing of this city, so nothing has parted; just run"
    ))
}

fn cut(error: &UplinkError) -> Failure {
    let (exit, next) = match error {
        UplinkError::Refused(_) => (
            Exit::Denied,
            Text {
                zh: "证书作废时请索取新的邀请码，在空目录中用 restore",
                en: "where the certificate is void, ask for a fresh invitation and use restore in an empty directory",
            },
        ),
        UplinkError::Site(_) => (
            Exit::Data,
            Text {
                zh: "内容无法打开时，请用最新的恢复密钥在空目录中 restore",
                en: "where something does not open, use restore in an empty directory with the newest recovery key",
            },
        ),
        _ => (Exit::Unreachable, Text { zh: "请检查网络后重试", en: "check the network and try again" }),
    };
    let Text { zh, en } = next;
    let said = say!(
        "没有接管，没有改动：{error}；{zh}",
        "nothing was taken over, nothing was changed: {error}; {en}"
    );
    Failure { exit, said }
}
