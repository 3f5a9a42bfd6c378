//! `init`: makes a city's site.

use serde_json::json;

use super::door::blocking;
use super::exit::{Exit, Failure};
use super::global::{Global, data_dir};
use super::screen::Screen;
use crate::config::NODE_KEYS;
use crate::json::site_named;
use crate::say;
use crate::site::Site;

/// Flags of `init`.
#[derive(Debug, clap::Args)]
pub struct InitArgs {
    /// 城市代码或名称，如 440100、广州 · Code or name of the city, such as 440100 or Guangzhou
    #[arg(long, value_name = "CODE")]
    site: String,
}

/// Makes the site.
///
/// # Errors
/// When the city is none, or the directory already holds a site.
pub async fn run(args: &InitArgs, global: &Global, screen: &mut Screen) -> Result<Exit, Failure> {
    let settings = global.settings(NODE_KEYS, Vec::new(), screen)?;
    let dir = data_dir(&settings)?.to_path_buf();
    let given = &args.site;
    let site = site_named(given).filter(|site| !site.is_province()).ok_or_else(|| {
        Failure::usage(say!(
            "“{given}”不是本省 21 个地级市之一；请写代码或名称，如 440100 或 广州",
            "\"{given}\" is none of the province's 21 cities; give its code or name, such as 440100 or \
             Guangzhou"
        ))
    })?;
    let place = dir.clone();
    blocking(move || Site::init(&place, site)).await??;
    let (shown, name) = (dir.display().to_string(), crate::json::site_text(site, screen.lang));
    screen.answer(&json!({ "site": site.to_string(), "data_dir": shown }), || {
        let said = say!(
            "已在 {shown} 建立站点：{name}\n\
             请备份 {shown}/keys 中的密钥：没有它，密封的内容无法恢复。\n\
             下一步：liandong-node import 花名册.csv --kind member --data-dir {shown}",
            "made the site {name} in {shown}\n\
             Keep a copy of the keys in {shown}/keys: without them nothing sealed can be read again.\n\
             Next: liandong-node import ROSTER.csv --kind member --data-dir {shown}"
        );
        said.in_lang(screen.lang).to_owned()
    })?;
    Ok(Exit::Done)
}
