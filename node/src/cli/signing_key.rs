//! `signing-key …`: goes over to another signing key, for which the one before vouches.

use std::time::Duration;

use liandong_proto::pb::node::v1::{KeysChangedRequest, Link, StatusRequest, StatusResponse};
use liandong_proto::sign::SigningKey;
use serde_json::json;

use super::door::Door;
use super::exit::{Exit, Failure};
use super::{Setup, ask};
use crate::now::random;
use crate::say;
use crate::site::{Paths, read_signing_key, write_key};

/// How often, and how long after another, it is looked whether the site has gone over to its next key: 15 seconds, and
/// three where it does not reach the hub.
const LOOKS: usize = 75;
const LOOKS_OFFLINE: usize = 15;
const LOOK_AGAIN: Duration = Duration::from_millis(200);

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
/// When it was not confirmed, or a file cannot be written; the key stays as it was then.
pub async fn run(door: &Door, command: &SigningKeyCommand, setup: &Setup) -> Result<Exit, Failure> {
    let SigningKeyCommand::Rotate(args) = command;
    let (paths, screen) = (Paths::new(&setup.data_dir), &setup.screen);
    let old = door.upkeep().status(StatusRequest {}).await?.into_inner().signing_key;
    let path = paths.next_signing_key();
    if !path.exists() {
        let what = say!(
            "换用新的签名密钥：今后的条目由新密钥签名，原来的密钥 {old} 不再使用",
            "a new signing key: entries are signed with it from now on, and {old} is used no more"
        );
        ask::sure(args.yes, &what, screen)?;
        write_key(&path, &random())?;
    }
    let new = read_signing_key(&path).map(|key: SigningKey| key.verifying().fingerprint())?;
    let status = settled(door, |status| status.signing_key == new).await?;
    let in_use = status.signing_key == new;
    screen.answer(&json!({ "old": old, "new": new, "in_use": in_use }), || {
        let said = if in_use {
            say!(
                "已换用新的签名密钥\n原指纹  {old}\n新指纹  {new}\n请把新指纹写入与省协会的协议",
                "signing with a new key\nfingerprint before  {old}\nfingerprint now     {new}\nWrite the new one into the \
                 agreement with the province"
            )
        } else {
            say!(
                "新的签名密钥已生成，下次连上枢纽时换用；在此之前仍用原来的\n原指纹  {old}\n新指纹  {new}",
                "a new signing key is made, and used from the next connection with the hub on; until then it is the one \
                 before\nfingerprint now   {old}\nfingerprint then  {new}"
            )
        };
        said.in_lang(screen.lang).to_owned()
    })?;
    Ok(Exit::Done)
}

/// Has the site look at its key files, and waits a while until it is as wanted; how it is then.
pub(super) async fn settled(
    door: &Door,
    wanted: impl Fn(&StatusResponse) -> bool,
) -> Result<StatusResponse, Failure> {
    door.upkeep().keys_changed(KeysChangedRequest {}).await?;
    // Where this process has the site itself there is no session that could change anything.
    let looks = if door.is_elsewhere() { LOOKS } else { 1 };
    let mut status = door.upkeep().status(StatusRequest {}).await?.into_inner();
    for look in 1..looks {
        if wanted(&status) || (look > LOOKS_OFFLINE && status.link() != Link::Connected) {
            break;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
        status = door.upkeep().status(StatusRequest {}).await?.into_inner();
    }
    Ok(status)
}
