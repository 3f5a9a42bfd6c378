//! `init`: makes a city's site.

use serde_json::json;

use super::door::blocking;
use super::exit::{Exit, Failure};
use super::global::{Global, city_named, data_dir};
use super::recovery;
use super::screen::Screen;
use crate::config::NODE_KEYS;
use crate::say;
use crate::site::{Paths, RecoveryKey, Site};

/// Flags of `init`.
#[derive(Debug, clap::Args)]
pub struct InitArgs {
    /// 城市代码或名称，如 440100、广州 · Code or name of the city, such as 440100 or Guangzhou
    #[arg(long, value_name = "CODE")]
    site: String,
    /// 不要求重新输入恢复密钥（用于无人值守安装） · Do not ask for the recovery key to be typed again (unattended installs)
    #[arg(long)]
    unattended: bool,
}

/// Makes the site.
///
/// # Errors
/// When the city is none, or the directory already holds a site.
pub async fn run(args: &InitArgs, global: &Global, screen: &mut Screen) -> Result<Exit, Failure> {
    let settings = global.settings(NODE_KEYS, Vec::new(), screen)?;
    let dir = data_dir(&settings)?.to_path_buf();
    let site = city_named(&args.site)?;
    let place = dir.clone();
    blocking(move || Site::init(&place, site)).await??;
    let recovery_key = RecoveryKey::of(&Paths::new(&dir))?;
    let confirmed = !args.unattended && !screen.json && recovery::confirm(&recovery_key, screen)?;
    let (shown, name) = (dir.display().to_string(), crate::json::site_text(site, screen.lang));
    screen.answer(&json!({ "site": site.to_string(), "data_dir": shown, "recovery_key": recovery_key.to_string() }), || {
        let key = if confirmed {
            say!("恢复密钥已核对。", "The recovery key has been checked.")
        } else {
            say!(
                "恢复密钥，只在此显示一次，请抄写并存放在服务器之外；没有它，服务器丢失后密封的内容无法恢复：\n\
                 {recovery_key}",
                "The recovery key, shown this once: write it down and keep it away from this server. Without it \
                 nothing sealed can be read again once the server is lost:\n\
                 {recovery_key}"
            )
        };
        let (zh, en) = (key.zh, key.en);
        let said = say!(
            "已在 {shown} 建立站点：{name}\n{zh}\n\
             下一步：向省协会索取邀请码，然后 liandong-node join 邀请码 --data-dir {shown}",
            "made the site {name} in {shown}\n{en}\n\
             Next: ask the province for an invitation, then liandong-node join CODE --data-dir {shown}"
        );
        said.in_lang(screen.lang).to_owned()
    })?;
    Ok(Exit::Done)
}
