//! `linking-key …`: the province's key for tokens. Made away from the hub, which must never have it.

use std::path::PathBuf;

use liandong_node::cli::exit::{Exit, Failure};
use liandong_node::cli::screen::Screen;
use liandong_node::now::random;
use liandong_node::say;
use liandong_node::site::write_key;
use liandong_proto::share::LinkingKey;
use serde_json::json;

/// What to do with the linking key.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum LinkingKeyCommand {
    /// 生成关联密钥；请在与枢纽分开的机器上运行 · Make a linking key; run it on another machine than the hub's
    New(NewArgs),
}

/// Flags of `new`.
#[derive(Debug, Clone, clap::Args)]
pub struct NewArgs {
    /// 写入的文件，不覆盖已有的 · The file to write; one that is there is left alone
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Makes a key.
///
/// # Errors
/// When there is such a file, or it cannot be written.
pub fn run(command: &LinkingKeyCommand, screen: &Screen) -> Result<Exit, Failure> {
    let LinkingKeyCommand::New(NewArgs { out }) = command;
    let shown = out.display();
    if out.exists() {
        return Err(Failure::usage(say!(
            "{shown} 已经存在，没有改动；请换一个文件名",
            "{shown} is there already, nothing was changed; choose another name"
        )));
    }
    let key = random();
    write_key(out, &key)?;
    let fingerprint = LinkingKey::new(&key).fingerprint().to_owned();
    screen.answer(&json!({ "file": shown.to_string(), "fingerprint": fingerprint }), || {
        let said = say!(
            "关联密钥已写入 {shown}，指纹 {fingerprint}\n请当面或用其他可靠途径交给各市；不要放到枢纽上，并另存一份",
            "the linking key is in {shown}, fingerprint {fingerprint}\nGive it to the cities by hand or over a way you \
             trust; never put it on the hub, and keep a copy elsewhere"
        );
        said.in_lang(screen.lang).to_owned()
    })?;
    Ok(Exit::Done)
}
