//! `init`: makes the hub.

use std::path::{Path, PathBuf};

use liandong_node::cli::door::blocking;
use liandong_node::cli::exit::{Exit, Failure};
use liandong_node::cli::global::{Global, data_dir};
use liandong_node::cli::screen::Screen;
use liandong_node::say;
use liandong_proto::id::SiteCode;
use serde_json::json;

use crate::config::KEYS;
use crate::hub::Hub;

/// Flags of `init`.
#[derive(Debug, clap::Args)]
pub struct InitArgs {
    /// 使用省协会已有的证书颁发机构：证书（PEM） · An authority the province already has: its certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "ca_key")]
    ca_cert: Option<PathBuf>,
    /// 其私钥（PEM） · Its key (PEM)
    #[arg(long, value_name = "FILE", requires = "ca_cert")]
    ca_key: Option<PathBuf>,
}

/// Makes the hub.
///
/// # Errors
/// When the directory already holds a site.
pub async fn run(args: InitArgs, global: &Global, screen: &mut Screen) -> Result<Exit, Failure> {
    let settings = global.settings(KEYS, Vec::new(), screen)?;
    let dir = data_dir(&settings)?.to_path_buf();
    let place = dir.clone();
    let read = |path: &Path| std::fs::read_to_string(path).map_err(|error| Failure::file(path, &error));
    let authority = match (&args.ca_cert, &args.ca_key) {
        (Some(certificate), Some(key)) => Some((read(certificate)?, read(key)?)),
        _ => None,
    };
    blocking(move || {
        let authority = authority.as_ref().map(|(certificate, key)| (certificate.as_str(), key.as_str()));
        Hub::init(&place, authority)
    })
    .await??;
    let shown = dir.display().to_string();
    screen.answer(&json!({ "site": SiteCode::PROVINCE.to_string(), "data_dir": shown }), || {
        let said = say!(
            "已在 {shown} 建立省级枢纽\n下一步：liandong-hub run --data-dir {shown}",
            "made the hub in {shown}\nNext: liandong-hub run --data-dir {shown}"
        );
        said.in_lang(screen.lang).to_owned()
    })?;
    Ok(Exit::Done)
}
