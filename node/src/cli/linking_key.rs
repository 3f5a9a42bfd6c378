//! `linking-key list`: which linking keys this site has, by their fingerprints, and what one is wrapped for.

use serde_json::json;

use super::Setup;
use super::exit::{Exit, Failure};
use crate::say;
use crate::site::{LinkingRing, Paths};

/// What to do with linking keys.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum LinkingKeyCommand {
    /// 列出指纹和收件公钥 · List fingerprints, and the recipient that keys are wrapped for
    List,
}

/// Lists them, the one in use last.
///
/// # Errors
/// When a file cannot be read.
pub fn run(command: &LinkingKeyCommand, setup: &Setup) -> Result<Exit, Failure> {
    let LinkingKeyCommand::List = command;
    let paths = Paths::new(&setup.data_dir);
    let ring = LinkingRing::read(&paths, setup.config.linking_key.as_deref())?;
    let recipient = paths.linking_recipient()?.to_string();
    let in_use = ring.in_use().map(|key| key.fingerprint().to_owned());
    let fingerprints: Vec<&str> = ring.fingerprints().collect();
    let long: Vec<String> = ring.long_fingerprints().collect();
    let json = json!({
        "fingerprints": fingerprints,
        "long_fingerprints": long,
        "in_use": in_use,
        "recipient": recipient,
    });
    setup.screen.answer(&json, || {
        let lang = setup.screen.lang;
        let mut lines: Vec<String> = long.clone();
        if let Some(last) = lines.last_mut() {
            last.push_str(lang.pick("  在用；请与秘书处核对", "  in use; compare it with the secretariat"));
        }
        if lines.is_empty() {
            lines.push(say!("还没有关联密钥", "no linking key yet").in_lang(lang).to_owned());
        }
        lines.push(say!("收件公钥  {recipient}", "recipient  {recipient}").in_lang(lang).to_owned());
        lines.join("\n")
    })?;
    Ok(Exit::Done)
}
