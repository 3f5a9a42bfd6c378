//! `restore`: makes a lost site again from what the hub kept of it, opened with the recovery key.

use std::io::{BufRead as _, IsTerminal as _};
use std::path::{Path, PathBuf};

use liandong_proto::entry::Head;
use liandong_proto::id::Origin;
use liandong_proto::pb::sync::v1::refusal::Code;
use liandong_proto::schema::Text;
use serde_json::json;

use super::door::blocking;
use super::exit::{Exit, Failure};
use super::global::{Global, city_named, data_dir};
use super::screen::Screen;
use crate::config::{NODE_KEYS, NodeConfig};
use crate::json::site_text;
use crate::restore::{fetch, held_of, kept};
use crate::say;
use crate::site::{Paths, Records as _, RecoveryKey, Restoring, Site, SiteError};
use crate::text::Said;
use crate::trust::{self, Invitation, Membership, Unfinished};
use crate::uplink::UplinkError;

/// Flags of `restore`.
#[derive(Debug, clap::Args)]
pub struct RestoreArgs {
    /// 省协会新发的邀请码 · A fresh invitation of the province
    #[arg(value_name = "CODE")]
    code: String,
    /// 城市代码或名称 · Code or name of the city
    #[arg(long, value_name = "CODE")]
    site: String,
    /// 写有恢复密钥的文件；- 为标准输入 · File with the recovery key; - for standard input
    #[arg(long, value_name = "FILE", default_value = "-")]
    recovery_key: PathBuf,
}

/// Restores the site.
///
/// # Errors
/// When the directory holds a site, the hub holds nothing of it, or the key does not open it. Nothing is left behind
/// then but the invitation, which is used up.
pub async fn run(args: &RestoreArgs, global: &Global, screen: &mut Screen) -> Result<Exit, Failure> {
    let settings = global.settings(NODE_KEYS, Vec::new(), screen)?;
    let dir = data_dir(&settings)?.to_path_buf();
    let site = city_named(&args.site)?;
    let invitation: Invitation = args.code.parse().map_err(Failure::usage)?;
    if args.recovery_key == Path::new("-") && std::io::stdin().is_terminal() {
        screen.note(&say!("请输入恢复密钥：", "type the recovery key:"));
    }
    let key: RecoveryKey = read_key(&args.recovery_key)?.parse().map_err(Failure::data)?;
    let paths = Paths::new(&dir);
    let mut unfinished = Unfinished::load(&paths)?;
    if unfinished.take_if(|before| !before.is_of(&invitation)).is_some() && !paths.log().exists() {
        give_up(&dir, false);
    }
    let mut restoring = Restoring::begin(&dir, site, &key)?;
    let fetched = async {
        let (membership, held) = match unfinished {
            Some(before) => (member(&paths)?, before.held()?),
            None => {
                let joined = trust::join(&invitation, site, &paths).await?;
                let held = joined.held.ok_or_else(nothing_held)?;
                Unfinished::keep(&paths, &invitation, &held)?;
                (joined.membership, held)
            }
        };
        restoring.take_ring(&paths, &held.key_ring).map_err(|error| Failure::data(refused(&error)))?;
        let (epoch, head, anchor) = held_of(&held)?;
        restoring.take_proofs(&kept(&membership).await?.erased, &membership.hub_key()?);
        let bar = screen.bar(Text { zh: "从省级枢纽取回", en: "fetching from the hub" });
        let asked = (Origin { site, epoch }, Head::default());
        let fetched = fetch(asked, &membership, &paths, |entries| {
            restoring.append(entries)?;
            bar.at(restoring.entries(), head.seq.max(restoring.entries()));
            Ok(())
        });
        let fetched = fetched.await;
        bar.finish();
        fetched?;
        restoring.finish(epoch, head, anchor)?;
        Unfinished::forget(&paths);
        Ok::<(), Failure>(())
    };
    if let Err(failure) = fetched.await {
        // What was joined stays joined, so that the same command can go on.
        give_up(&dir, failure.exit == Exit::Unreachable && paths.unfinished().exists());
        return Err(failure);
    }
    let options = super::run::options(&NodeConfig::read(&settings), &dir);
    let caller = global.caller();
    let status = blocking(move || {
        let site = Site::open(&options, &mut |_| {})?;
        site.try_erasures();
        let status = site.status()?;
        let records = status.counts.iter().map(|count| count.records).sum();
        super::audit::restored(site.audit(), &caller, records);
        site.close()?;
        Ok::<_, SiteError>(status)
    });
    let status = status.await??;
    let records: u64 = status.counts.iter().map(|count| count.records).sum();
    let own = &status.signing_key;
    screen.answer(&json!({ "site": site.to_string(), "records": records, "signing_key": own }), || {
        let (name, shown) = (site_text(site, screen.lang), dir.display());
        let said = say!(
            "已恢复 {name}：{records} 条记录，含密封内容；省级的记录在下次同步时下发\n\
             新的签名密钥指纹  {own}，请与省协会核对，由其重新登记协议（city agree）\n\
             关联密钥也请秘书处重新封装：收件公钥是新的，见 linking-key list\n\
             原来的机器如果还在，请不要再启动。\n\
             下一步：liandong-node outbound preview --data-dir {shown}，然后 outbound accept，再 run",
            "{name} is restored: {records} records, what was sealed among them; what the province decided comes with the \
             next sync\nfingerprint of the new signing key  {own}: compare it with the province, which registers the \
             agreement again (city agree)\n\
             Have the secretariat wrap the linking key again, too: the recipient is new, linking-key list shows it\n\
             If the old machine is still there, do not start it again.\n\
             Next: liandong-node outbound preview --data-dir {shown}, then outbound accept, then run"
        );
        said.in_lang(screen.lang).to_owned()
    })?;
    Ok(Exit::Done)
}

fn read_key(path: &Path) -> Result<String, Failure> {
    if path == Path::new("-") {
        let mut line = String::new();
        let read = std::io::stdin().lock().read_line(&mut line);
        return read.map(|_| line).map_err(|error| Failure::file(Path::new("stdin"), &error));
    }
    std::fs::read_to_string(path).map_err(|error| Failure::file(path, &error))
}

fn nothing_held() -> Failure {
    Failure::data(say!(
        "省级枢纽没有本市的任何记录，无可恢复；请用 init 新建，再用新的邀请码加入",
        "the hub holds nothing of this city, so there is nothing to restore; make it with init and join with a fresh \
         invitation"
    ))
}

/// Why nothing was restored; the invitation is used up by then.
fn refused(error: &SiteError) -> Said {
    say!(
        "没有恢复：{error}；请用新的邀请码重试",
        "nothing was restored: {error}; try again with a fresh invitation"
    )
}

/// The membership that the attempt before has brought.
fn member(paths: &Paths) -> Result<Membership, Failure> {
    Membership::load(paths)?.ok_or_else(|| {
        Failure::data(say!(
            "上次恢复留下的 keys/membership.json 不见了；请用新的邀请码重试",
            "keys/membership.json, which the attempt before has left, is gone; try again with a fresh invitation"
        ))
    })
}

/// Takes away what an attempt that failed has made, so that the next one can begin; or all but what it goes on from.
fn give_up(dir: &Path, goes_on: bool) {
    let paths = Paths::new(dir);
    // What cannot be removed is named by the next attempt: the directory holds a site.
    let _ = std::fs::remove_dir_all(paths.log());
    let _ = std::fs::remove_file(paths.city_key());
    if !goes_on {
        for made in [paths.signing_key(), paths.membership(), paths.unfinished()] {
            let _ = std::fs::remove_file(made);
        }
    }
}

impl From<UplinkError> for Failure {
    fn from(error: UplinkError) -> Failure {
        let en = error.to_string();
        let again = "run the same command again: its invitation stays good for that";
        let afresh = "try again with a fresh invitation";
        let (exit, zh, next) = match &error {
            UplinkError::Refused(refusal)
                if !matches!(refusal.code(), Code::SiteBusy | Code::Unavailable | Code::Frozen) =>
            {
                (Exit::Denied, format!("枢纽拒绝了，没有恢复：{}；请用新的邀请码重试", refusal.zh), afresh)
            }
            UplinkError::Site(_) => {
                (Exit::Data, format!("取回的内容无法使用，没有恢复：{en}；请用新的邀请码重试"), afresh)
            }
            _ => {
                let zh = format!("与枢纽的连接中断，没有恢复：{en}；请重新运行同一命令，邀请码仍可使用");
                (Exit::Unreachable, zh, again)
            }
        };
        Failure { exit, said: Said::new(zh, format!("{en}; nothing was restored, {next}")) }
    }
}
