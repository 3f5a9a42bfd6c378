//! What a session is told when it cannot go on for another reason than the protocol's.

use liandong_node::site::SiteError;
use liandong_proto::id::SiteCode;
use liandong_proto::pb::sync::v1 as pb;
use liandong_proto::session::hub::Input;
use liandong_proto::session::refusal;
use tonic::Status;

/// What to say to a node whose message cannot be read, if that is why its stream has ended.
pub fn unreadable(status: &Status) -> Option<Input> {
    let (code, zh, en) = match status.code() {
        tonic::Code::OutOfRange => {
            (pb::refusal::Code::TooLarge, "消息超出了允许的大小", "a message is larger than allowed")
        }
        tonic::Code::Internal => (pb::refusal::Code::Malformed, "消息无法读取", "a message cannot be read"),
        _ => return None,
    };
    let (zh, en) = (format!("{zh}；请升级节点程序"), format!("{en}; upgrade the node"));
    Some(Input::Stop(refusal(code, &zh, &en)))
}

/// After a failure of this side.
pub fn cannot_read(site: SiteCode, error: &SiteError) -> Input {
    tracing::error!(%error, %site, "cannot read for a session");
    Input::Stop(refusal(
        pb::refusal::Code::Unavailable,
        "省级枢纽暂时无法读取数据；稍后自动重试",
        "the hub cannot read its data now; it will be tried again",
    ))
}
