//! `join`: makes the site a member of the federation, with an invitation of the province.

use liandong_proto::id::SiteCode;
use liandong_proto::pb::node::v1::StatusRequest;
use serde_json::json;

use super::Setup;
use super::door::Door;
use super::exit::{Exit, Failure};
use super::table::moment;
use crate::say;
use crate::site::Paths;
use crate::text::Said;
use crate::trust::{self, Invitation, JoinError};

/// Flags of `join`.
#[derive(Debug, clap::Args)]
pub struct JoinArgs {
    /// 省协会发来的邀请码 · The invitation that the province has sent
    #[arg(value_name = "CODE")]
    code: String,
}

/// Joins.
///
/// # Errors
/// When the code is none, or the hub says no; nothing is changed then.
pub async fn run(door: &Door, args: &JoinArgs, setup: &Setup) -> Result<Exit, Failure> {
    let invitation: Invitation = args.code.parse().map_err(Failure::usage)?;
    let status = door.upkeep().status(StatusRequest {}).await?.into_inner();
    let paths = Paths::new(&setup.data_dir);
    let membership = trust::join(&invitation, SiteCode(status.site), &paths).await?.membership;
    let own = paths.signing()?.verifying().fingerprint();
    let hub = membership.hub_key()?.fingerprint();
    let (address, until) = (&membership.hub, moment(membership.not_after_ms));
    let shown = setup.data_dir.display();
    let json = json!({
        "site": SiteCode(status.site).to_string(),
        "hub": address,
        "signing_key": own,
        "hub_signing_key": hub,
        "certificate_until_ms": membership.not_after_ms,
    });
    setup.screen.answer(&json, || {
        let said = say!(
            "已加入，枢纽在 {address}；证书有效至 {until}，到期前自动更新\n\
             本站点签名密钥指纹  {own}\n\
             枢纽签名密钥指纹    {hub}\n\
             请与省协会用电话等另外的途径核对这两个指纹，并写入协议；省协会登记协议（city agree）之后才会同步\n\
             同步之前还要查看并确认哪些内容会离开本市：\n\
             下一步：liandong-node outbound preview --data-dir {shown}，然后 outbound accept，再 run",
            "joined; the hub is at {address}; the certificate is good until {until} and renewed before that by itself\n\
             fingerprint of this site's signing key  {own}\n\
             fingerprint of the hub's signing key    {hub}\n\
             Compare both with the province over another way, such as the telephone, and write them into the agreement; \
             nothing syncs before the province has registered it (city agree)\n\
             Nor before somebody here has looked at what leaves, and accepted it\n\
             Next: liandong-node outbound preview --data-dir {shown}, then outbound accept, then run"
        );
        said.in_lang(setup.screen.lang).to_owned()
    })?;
    Ok(Exit::Done)
}

impl From<JoinError> for Failure {
    fn from(error: JoinError) -> Failure {
        let en = error.to_string();
        match error {
            JoinError::Unreachable { address, .. } => Failure {
                exit: Exit::Unreachable,
                said: say!(
                    "连不上 {address}，或那里不是发出邀请的枢纽；请检查网络，并核对邀请码是否为最新",
                    "{en}; check the network, and that the invitation is the latest one"
                ),
            },
            JoinError::Refused(status) => {
                let why = status.message();
                let said: Said = match status.code() {
                    tonic::Code::PermissionDenied => say!(
                        "邀请码不对、已用过或已过期（24 小时内有效）；请向省协会索取新的",
                        "the invitation is wrong, was used or is over (it is good for 24 hours); ask the province for a \
                         fresh one"
                    ),
                    tonic::Code::FailedPrecondition => say!(
                        "邀请码是给另一个城市的，没有加入：{why}",
                        "the invitation is for another city, nothing was changed: {why}"
                    ),
                    _ => say!("枢纽拒绝了：{why}", "the hub refused: {why}"),
                };
                Failure { exit: Exit::Denied, said }
            }
            JoinError::Answer(_) => Failure {
                exit: Exit::Denied,
                said: say!("枢纽的答复无法使用，没有加入：{en}", "{en}; nothing was changed"),
            },
            JoinError::Overtaken => Failure::internal(say!("本市已另行加入；以新的为准", "{en}")),
            JoinError::Key(_) => Failure::internal(say!("无法生成密钥：{en}", "{en}")),
            JoinError::Site(error) => error.into(),
        }
    }
}
