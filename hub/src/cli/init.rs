//! `init`: makes the hub.

use liandong_node::cli::door::blocking;
use liandong_node::cli::exit::{Exit, Failure};
use liandong_node::cli::global::{Global, data_dir};
use liandong_node::cli::screen::Screen;
use liandong_node::say;
use liandong_proto::id::SiteCode;
use serde_json::json;

use crate::config::KEYS;
use crate::hub::Hub;

/// Makes the hub.
///
/// # Errors
/// When the directory already holds a site.
pub async fn run(global: &Global, screen: &mut Screen) -> Result<Exit, Failure> {
    let settings = global.settings(KEYS, Vec::new(), screen)?;
    let dir = data_dir(&settings)?.to_path_buf();
    let place = dir.clone();
    blocking(move || Hub::init(&place)).await??;
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
