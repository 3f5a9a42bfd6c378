//! `signing-key …`: the hub goes over to another signing key, for which the one before vouches.

use liandong_node::cli::ask;
use liandong_node::cli::door::Door;
use liandong_node::cli::exit::{Exit, Failure};
use liandong_node::say;
use liandong_proto::pb::hub::v1::RotateSigningKeyRequest;
use liandong_proto::pb::hub::v1::hub_client::HubClient;
use serde_json::json;

use super::Setup;

/// What to do with the signing key.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum SigningKeyCommand {
    /// 换用新的签名密钥，由原来的密钥签字认可 · Sign with a new key from now on; the one before vouches for it
    Rotate(RotateArgs),
}

/// Flags of `rotate`.
#[derive(Debug, Clone, clap::Args)]
pub struct RotateArgs {
    /// 不再询问 · Do not ask
    #[arg(long)]
    yes: bool,
}

/// Goes over to another key.
///
/// # Errors
/// When it was not confirmed, or cannot be written; the key stays as it was then.
pub async fn run(door: &Door, command: &SigningKeyCommand, setup: &Setup) -> Result<Exit, Failure> {
    let SigningKeyCommand::Rotate(args) = command;
    let what = say!(
        "枢纽换用新的签名密钥：各市的会话会重新开始，并凭原密钥的签字认可新密钥",
        "a new signing key for the hub: the cities' sessions begin anew, and trust it by the word of the one before"
    );
    ask::sure(args.yes, &what, &setup.screen)?;
    let asked = RotateSigningKeyRequest { author: setup.author.clone() };
    let answer = HubClient::new(door.channel()).rotate_signing_key(asked).await?.into_inner();
    let (old, new) = (&answer.old_key, &answer.new_key);
    setup.screen.answer(&json!({ "old": old, "new": new }), || {
        let said = say!(
            "枢纽已换用新的签名密钥\n原指纹  {old}\n新指纹  {new}\n请更新 keys/ 的备份，并把新指纹写入与各市的协议",
            "the hub signs with a new key\nfingerprint before  {old}\nfingerprint now     {new}\nMake a new copy of keys/, \
             and write the new fingerprint into the agreements with the cities"
        );
        said.in_lang(setup.screen.lang).to_owned()
    })?;
    Ok(Exit::Done)
}
