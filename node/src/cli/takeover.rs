//! `takeover`: this machine goes on as the city, after its log and the hub's copy of it have parted.

mod told;

use liandong_proto::entry::Head;
use liandong_proto::id::Origin;
use liandong_proto::schema::Text;

use super::door::blocking;
use super::exit::{Exit, Failure};
use super::screen::Screen;
use super::{Setup, ask, logs, run};
use crate::now::now_ms;
use crate::restore::{fetch, held_of, kept};
use crate::say;
use crate::site::{Records as _, Site, SiteError, Takeover};
use crate::text::Said;
use crate::trust::Membership;
use told::{both, comes_to, cut, json_of};

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
    if now_ms() >= membership.not_after_ms {
        return Err(told::join_again());
    }
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
    let (comes_to, both) = (comes_to(&preview), both(&preview));
    if args.dry_run {
        screen.answer(&json_of(&preview, false), || {
            let (Said { zh, en }, more) = (&comes_to, both.as_ref());
            let said = say!("接管后：{zh}；没有改动", "a takeover: {en}; nothing was changed");
            lines([Some(&said), more], screen)
        })?;
        return Ok(Exit::Done);
    }
    let Said { zh, en } = &comes_to;
    let what = say!(
        "由本机接管 {site}：{zh}。此后枢纽只认本机；其他副本上尚未上传的内容不会再同步，请先确认那里没有需要保留的改动",
        "this machine takes over {site}: {en}. From then on the hub knows this machine only; what another copy has not sent \
         yet will not be synced any more, so make sure first that nothing there is needed"
    );
    ask::sure(args.yes, &what, screen)?;
    let taken = blocking(move || takeover.finish(epoch, head, anchor)).await??;
    let (options, caller) = (run::options(&setup.config, &setup.data_dir), setup.caller.clone());
    let status = blocking(move || {
        let site = Site::open(&options, &mut |_| {})?;
        super::audit::taken_over(site.audit(), &caller, preview.fetched + preview.again);
        site.try_erasures();
        let status = site.status()?;
        site.close()?;
        Ok::<_, SiteError>(status)
    });
    let status = status.await??;
    let records: u64 = status.counts.iter().map(|count| count.records).sum();
    // What waited to be erased was erased, and the old log with it.
    let kept = taken.kept.exists().then(|| taken.kept.display().to_string());
    let dir = setup.data_dir.display();
    let mut json = json_of(&taken, true);
    (json["records"], json["kept"]) = (records.into(), kept.clone().into());
    screen.answer(&json, || {
        let old = kept.map_or_else(erased_with_it, |kept| {
            say!(
                "原日志保留在 {kept}，含个人信息，无需时请删除",
                "the log that was is kept in {kept}: it holds personal data, remove it when nobody needs it"
            )
        });
        let Said { zh: old_zh, en: old_en } = old;
        let done = say!(
            "已接管：{zh}。现有记录 {records} 条；{old_zh}\n\
             两边都改过、枢纽也看得到的内容，会在下次同步后列为核对事项",
            "taken over: {en}. {records} records; {old_en}\n\
             What was changed on both sides and the hub sees as well is listed as findings after the next sync"
        );
        let next = say!("下一步：liandong-node run --data-dir {dir}", "Next: liandong-node run --data-dir {dir}");
        lines([Some(&done), both.as_ref(), Some(&next)], screen)
    })?;
    Ok(Exit::Done)
}

fn lines<const N: usize>(said: [Option<&Said>; N], screen: &Screen) -> String {
    said.into_iter().flatten().map(|said| said.in_lang(screen.lang)).collect::<Vec<_>>().join("\n")
}

/// What is told in the place of where an old log is kept.
pub(super) fn erased_with_it() -> Said {
    say!(
        "原日志没有保留：有等待彻底删除的记录，原日志已随之清除",
        "the log that was is not kept: records waited to be erased, and it went with them"
    )
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
